"""The step "Build and export" of action.yml: builds the report, exports it, and says what it found.

It runs in the environment that the action has installed, in the user's workspace. Paths in a report come from
visitors: whatever is printed or written here must be text for the runner, too.
"""

import base64
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportgen.config.settings import Config
from reportgen.config.sites import Sites, load_settings
from reportgen.core.errors import ConfigError, PublishError, ReportgenError
from reportgen.core.text import ENGLISH, visible
from reportgen.publish.history import read_runs
from reportgen.publish.release import current_release

STATES = ("cache", "branch", "bucket")
ATTEMPTS = 5
"""Maximum number of pushes to the branch of the state if other runs push there, too."""

MOST_SITES = 50
"""Maximum number of sites in the summary: GitHub shows at most 1 MiB."""

ADVICE = "Check that the job has the permission contents: write"
BOT = "github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com"


def main() -> int:
    """Build, export, keep the state, and write outputs and summary; return the exit code."""
    given = {name: os.environ[f"REPORT_{name.upper()}"] for name in ("config", "source", "state", "export")}
    output = Path(f"{os.environ['RUNNER_TEMP']}/reportgen/state/{given['config']}")  # action.yml caches it
    output.mkdir(parents=True, exist_ok=True)
    if given["source"]:
        os.environ["DATABASE_URL"] = given["source"]
    os.environ.setdefault("DATABASE_URL", "")  # a secret that is not set is an error, and not the sample site
    try:
        settings = load_settings(Path(given["config"]), os.environ, {"output": {"dir": str(output)}})
        check(settings, given["config"], given["state"])
        branch = Branch(output, given["config"]) if given["state"] == "branch" else None
        if branch:
            branch.restore()
        # Nothing here reads older releases; those of a bucket may have readers.
        kept = {} if given["state"] == "bucket" else {"REPORTGEN_OUTPUT__KEEP": "1"}
        if code := build(given["config"], output, given["export"], kept):
            runs = read_runs(output)
            if runs.failures and runs.last_failure:
                annotate(runs.last_failure.message)
            return code
        if branch:
            branch.save()
        write_results(settings)
    except ReportgenError as exc:
        annotate(str(exc))
        return exc.exit_code
    return 0


def annotate(message: str) -> None:
    """Show an error on the page of the run."""
    line = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::error title=reportgen::{line}")


def check(settings: Config | Sites, config: str, state: str) -> None:
    """Check what only a published report needs.

    Raises:
        ConfigError: the report must not be published, or its state cannot be kept.

    """
    common = settings.common if isinstance(settings, Sites) else settings
    if not common.server.public:
        raise ConfigError(
            f"{config}: server.public is false, and everybody can read what is published on Pages. If"
            " they may, write public = true below [server]. If not, publish the report elsewhere."
        )
    if state not in STATES:
        raise ConfigError(f'state "{state}" is not a valid state. Write cache, branch or bucket.')
    if state == "bucket" and not common.output.bucket:
        raise ConfigError(f"state: bucket needs output.bucket, which {config} lacks. Set it, or write cache.")


def build(config: str, output: Path, export: str, settings: Mapping[str, str]) -> int:
    """Build with these variables, and export; return the exit code.

    Meanwhile the runner ignores commands in what is printed: an example of a bad row may hold one.
    """
    token, variables = secrets.token_hex(16), {**os.environ, **settings}
    variables.pop("GITHUB_TOKEN", None)  # a build needs no right in the repository
    print(f"::stop-commands::{token}", flush=True)
    command = [sys.executable, "-P", "-m", "reportgen", "build", "--config", config, "--output", str(output)]
    done = subprocess.run([*command, "--export", export], env=variables, check=False)
    print(f"::{token}::", flush=True)
    return done.returncode


@dataclass
class Branch:
    """The state on a branch of the repository, which has one commit without a parent: it does not grow.

    ``head`` is the commit that was restored or pushed, or empty if there is no such branch.
    """

    output: Path
    config: str
    head: str = ""

    @property
    def ref(self) -> str:
        """The full name of the branch; each settings file has its own."""
        return "refs/heads/reportgen-state/" + re.sub("[^a-z0-9]+", "-", self.config.lower()).strip("-")

    @property
    def url(self) -> str:
        """The address of the repository."""
        return f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"

    def git(self, *arguments: str) -> str:
        """Run git on the output directory, and return what it prints.

        Raises:
            PublishError: it has failed.

        """
        done = self.try_git(*arguments)
        if done.returncode:
            raise PublishError(
                f"state: branch: git {arguments[0]}: {done.stderr.strip().rstrip('.')}. {ADVICE}"
            )
        return done.stdout.strip()

    def try_git(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run git on the output directory."""
        login = base64.b64encode(f"x-access-token:{os.environ['GITHUB_TOKEN']}".encode()).decode()
        variables = {
            "GIT_DIR": f"{self.output}.git",
            "GIT_WORK_TREE": str(self.output),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{os.environ['GITHUB_SERVER_URL']}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {login}",
            **{
                f"GIT_{who}_{what}": value
                for who in ("AUTHOR", "COMMITTER")
                for what, value in zip(("NAME", "EMAIL"), BOT, strict=True)
            },
        }
        return subprocess.run(
            ["git", *arguments], env=os.environ | variables, capture_output=True, text=True, check=False
        )

    def fetch(self) -> str:
        """Return the commit of the branch, fetched, or nothing if there is no branch."""
        if found := self.git("ls-remote", self.url, self.ref):
            self.git("fetch", "--quiet", "--depth=1", self.url, self.ref)
            return found.split()[0]
        return ""

    def restore(self) -> None:
        """Write the files of the branch into the output directory, if there is a branch."""
        self.git("init", "--quiet")
        self.head = self.fetch()
        if self.head:
            self.git("read-tree", "--reset", "-u", self.head)

    def save(self) -> None:
        """Make the output directory the only commit of the branch, unless another run has a newer release."""
        self.git("add", "--all", "--force", ".")
        commit = self.git(
            "commit-tree", self.git("write-tree"), "-m", "State of the report; made anew by each run"
        )
        for _ in range(ATTEMPTS):
            pushed = self.try_git(
                "push",
                "--quiet",
                f"--force-with-lease={self.ref}:{self.head}",
                self.url,
                f"{commit}:{self.ref}",
            )
            other = "" if pushed.returncode == 0 else self.fetch()
            if pushed.returncode == 0 or (other and self.release(other) > self.release(commit)):
                return
            if other == self.head:  # not refused because of another run
                break
            self.head = other
        raise PublishError(f"state: branch: git push: {pushed.stderr.strip().rstrip('.')}. {ADVICE}")

    def release(self, commit: str) -> str:
        """Return the id of the current release in a commit; ids of later releases are greater."""
        return self.git("show", f"{commit}:current")


def write_results(settings: Config | Sites) -> None:
    """Write the outputs of the step, and the summary of the job."""
    many = isinstance(settings, Sites)
    configs = [site.config for site in settings.all] if isinstance(settings, Sites) else [settings]
    release = current_release(settings.root if isinstance(settings, Sites) else settings.output.dir)
    reports = [(config, report) for config in configs[:MOST_SITES] if (report := report_of(config))]
    parts = [section(config, report) for config, report in reports]
    if len(configs) > MOST_SITES:
        parts.append(f"… and {len(configs) - MOST_SITES:,} more sites.")
    summary = "\n\n".join(parts)
    report = reports[0][1] if reports and not many else {}
    change = report.get("complete", {}).get("change")
    outputs = {
        "release": release.id if release else "",
        "visits": report.get("total", ""),
        "change": "" if change is None else round(change, 4),
        "summary": summary,
    }
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
        file.write(f"{summary}\n")
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        for name, value in outputs.items():
            end = secrets.token_hex(16)
            file.write(f"{name}<<{end}\n{value}\n{end}\n")


def report_of(config: Config) -> dict[str, Any] | None:
    """Return ``report.json`` of a site's default window, or ``None`` if nothing is published."""
    release = current_release(config.output.dir)
    if release is None:
        return None
    report: dict[str, Any] = json.loads((release.path / config.default_window / "report.json").read_bytes())
    return report


def section(config: Config, report: Mapping[str, Any]) -> str:
    """Return the Markdown about one site: total, change, and what changed."""
    both, visits = report["complete"], escape(config.nouns.visits)
    line = f"**{report['total']:,} {visits}** from {report['start']} to {report['end']}"
    if both["change"] is not None:
        figures = f"{both['total']:,} against {both['previous_total']:,} on complete days"
        line += f"; change **{ENGLISH.percent(both['change'])}** ({figures})"
    changes = [f"- {escape(sentence)}" for sentence in report["changes"]]
    return "\n".join([f"### {escape(report['site'])}", "", f"{line}.", "", *changes])


def escape(text: str) -> str:
    """Return a text as Markdown that shows it, on one line."""
    return re.sub(r"[!#$&*+.:<>@[\\\]^_`{|}~-]", r"\\\g<0>", visible(text))


if __name__ == "__main__":
    sys.exit(main())
