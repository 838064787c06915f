"""The action for GitHub, and the workflows that publish a report: action.yml and examples/pages."""

import importlib.util
import json
import re
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
import yaml
from markdown_it import MarkdownIt

from reportgen.core.text import visible
from tests.support.actions import ACTION, ROOT, TOKEN, Finished, Runner, parse_outputs
from tests.support.commands import ONE_WINDOW
from tests.support.hostile import TEXTS
from tests.support.stores import NAME, Proxy, variables

PAGES = sorted((ROOT / "examples/pages").glob("*.yml"))
LIVE = ROOT / ".github/workflows/pages.yml"
SETTINGS = "[server]\npublic = true\n[output]\nkeep = 3\n"
WEEK = {"REPORTGEN_WINDOWS": "7d", "REPORTGEN_DEFAULT_WINDOW": "7d"}


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report", ROOT / "deploy/github/report.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def table(folder: Path, per_day: int = 10, path: str = "/a") -> dict[str, str]:
    """Write visits of the last 14 days, twice as many in the last 7; return the inputs that read them."""
    file = folder / "visits.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS metrics (date TEXT, path TEXT, visits INTEGER)")
        connection.execute("DELETE FROM metrics")
        today = datetime.now(UTC).date()
        rows = [((today - timedelta(n)).isoformat(), path, per_day * (2 if n < 7 else 1)) for n in range(14)]
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", [row for row in rows if per_day])
        connection.commit()
    return {"source": f"sqlite:///{file}"}


def run(runner: Runner, settings: str = SETTINGS, files: Mapping[str, str] = {}, **inputs: str) -> Finished:
    """Run the action with these settings, on a small table unless ``source`` is given."""
    given = table(runner.folder) | inputs
    return runner.run({given.get("config", "reportgen.toml"): settings, **files}, given, **WEEK)


def run_without_visits(
    runner: Runner, settings: str = SETTINGS, state: str = "cache", **more: str
) -> Finished:
    """Run the action after all visits are lost, and check that it is refused. It knows the last release."""
    inputs = table(runner.folder, 0) | {"state": state}
    done = runner.run({"reportgen.toml": settings}, inputs, **WEEK, **more)
    assert (done.code, "there really were no visits" in done.log) == (1, True)
    return done


def exported(runner: Runner, folder: str = "public") -> set[str]:
    return {file.name for file in (runner.workspace / folder).glob("*")}


def test_the_first_run_exports_says_what_it_found_and_keeps_the_release(runner: Runner) -> None:
    done = run(runner)
    assert done.code == 0, done.log
    assert {"index.html", ".nojekyll", "_headers", "7d"} <= exported(runner)
    assert (done.outputs["visits"], done.outputs["change"]) == ("140", "1.0")
    assert (
        json.loads((runner.workspace / "public/manifest.json").read_text())["id"] == done.outputs["release"]
    )
    assert "**140 visits**" in done.summary
    assert "change **+100%** (120 against 60 on complete days)" in done.summary
    assert "- Up 100% on the week before\\: 60 more visits" in done.summary
    assert done.outputs["summary"] == done.summary.rstrip("\n")
    assert [key.rsplit("-", 2)[0] for key in runner.caches] == ["reportgen-reportgen.toml"]
    uv = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert uv
    assert f" uv=={uv[1]}\n" in runner.installed
    assert "uv sync --quiet --locked --no-dev --no-editable --extra s3 --python " in runner.installed


def test_a_build_does_not_get_the_token_of_the_job(runner: Runner) -> None:
    """Each Python that starts writes whether it builds, and whether it has the token."""
    seen = runner.folder / "seen"
    (runner.folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        f"with open({str(seen)!r}, 'a') as file:\n"
        "    print('build' in sys.orig_argv, 'GITHUB_TOKEN' in os.environ, file=file)\n"
    )
    variables = {**WEEK, "PYTHONPATH": str(runner.folder)}
    assert runner.run({"reportgen.toml": SETTINGS}, table(runner.folder), **variables).code == 0
    lines = seen.read_text().splitlines()
    assert ("False True" in lines, "True False" in lines, "True True" in lines) == (True, True, False)


@pytest.mark.parametrize(
    ("settings", "inputs", "message"),
    [
        ("", {}, "reportgen.toml: server.public is false, and everybody can read what is published on Pages"),
        ("[[sites]]\nname = 'a'\n", {}, "reportgen.toml: server.public is false"),
        (SETTINGS, {"state": "disk"}, 'state "disk" is not a valid state. Write cache, branch or bucket.'),
        (SETTINGS, {"state": "bucket"}, "state: bucket needs output.bucket, which reportgen.toml lacks."),
        (SETTINGS, {"source": ""}, "DATABASE_URL is empty, and no other setting names a source."),
        (SETTINGS + "site = 7\n", {}, "reportgen.toml:5: output.site is not a setting"),
    ],
)
def test_what_cannot_be_published_ends_with_2_before_anything_is_written(
    runner: Runner, settings: str, inputs: dict[str, str], message: str
) -> None:
    done = run(runner, settings, **inputs)
    assert done.code == 2
    assert f"::error title=reportgen::{message}" in done.log
    assert (exported(runner), done.summary, done.outputs["release"], runner.caches) == (set(), "", "", {})
    assert not (runner.workspace.parent / "temp/reportgen/state/reportgen.toml/releases").exists()


@pytest.mark.slow
def test_a_source_that_fails_or_loses_its_visits_leaves_what_is_published(runner: Runner) -> None:
    """The job fails with the reason; no later step publishes. The second needs the release that was kept."""
    assert run(runner).code == 0
    absent = run(runner, source="sqlite:////absent.db")
    assert (absent.code, "/absent.db" in absent.log) == (1, True)
    for done in (absent, run_without_visits(runner)):
        assert re.search("^::error title=reportgen::.+(absent.db|visits)", done.log, re.MULTILINE)
        assert (done.outputs["release"], done.summary) == ("", "")
        assert exported(runner) == set()
    assert len(runner.caches) == 1


@pytest.mark.slow
def test_an_export_may_be_a_folder_of_a_site_and_a_settings_file_anywhere(runner: Runner) -> None:
    files = {"site/index.html": "mine"}
    done = run(runner, files=files, config="conf/own report.toml", export="site/stats")
    assert done.code == 0, done.log
    assert (runner.workspace / "site/index.html").read_text() == "mine"
    assert "index.html" in exported(runner, "site/stats")


def repository(folder: Path) -> Path:
    """Make an empty repository where the runner's server has it."""
    bare = folder / "owner/site"
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
    return bare


def git(bare: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(bare), *arguments], capture_output=True, text=True, check=True
    ).stdout


BRANCH = "reportgen-state/reportgen-toml"


@pytest.mark.slow
def test_a_branch_keeps_the_release_in_one_commit(runner: Runner) -> None:
    bare = repository(runner.folder)
    first = run(runner, state="branch")
    assert first.code == 0, first.log
    assert git(bare, "show", f"{BRANCH}:current") == f"releases/{first.outputs['release']}"
    run_without_visits(runner, state="branch")
    second = run(runner, state="branch")
    assert second.code == 0, second.log
    assert git(bare, "show", f"{BRANCH}:current") == f"releases/{second.outputs['release']}"
    assert git(bare, "rev-list", "--count", BRANCH) == "1\n"
    assert len(git(bare, "ls-tree", f"{BRANCH}:releases").splitlines()) == 1
    assert TOKEN not in first.log + second.log + git(bare, "grep", "-c", "", BRANCH)


@pytest.mark.slow
@pytest.mark.parametrize("newer", [True, False])
def test_a_push_that_another_run_has_overtaken_is_tried_again(runner: Runner, newer: bool) -> None:
    """Of two releases the newer one stays, whichever was pushed first."""
    bare = repository(runner.folder)
    hook, other = bare / "hooks/pre-receive", "releases/2" if not newer else "releases/3"
    hook.write_text(
        f"""#!/bin/sh
rm "$0"; unset GIT_QUARANTINE_PATH
blob=$(printf {other} | git hash-object -w --stdin)
tree=$(printf '120000 blob %s\\tcurrent\\n' $blob | git mktree)
git update-ref refs/heads/{BRANCH} $(git -c user.name=a -c user.email=a@b commit-tree $tree -m other)
"""
    )
    hook.chmod(0o755)
    done = run(runner, state="branch")
    assert done.code == 0, done.log
    kept = git(bare, "show", f"{BRANCH}:current")
    assert kept == (other if newer else f"releases/{done.outputs['release']}")


@pytest.mark.slow
def test_a_branch_that_cannot_be_written_says_which_right_is_missing(runner: Runner) -> None:
    bare = repository(runner.folder)
    (bare / "hooks/pre-receive").write_text("#!/bin/sh\necho no right >&2\nexit 1\n")
    (bare / "hooks/pre-receive").chmod(0o755)
    done = run(runner, state="branch")
    assert done.code == 1
    assert "no right" in done.log
    assert "Check that the job has the permission contents: write" in done.log
    assert done.outputs["release"] == ""


@pytest.mark.slow
def test_a_bucket_keeps_the_release(runner: Runner, proxy: Proxy) -> None:
    settings = SETTINGS + f'bucket = "s3://{NAME}/{uuid4().hex}"\n'
    inputs = table(runner.folder) | {"state": "bucket"}
    first = runner.run({"reportgen.toml": settings}, inputs, **WEEK, **variables(proxy.address))
    assert first.code == 0, first.log
    run_without_visits(runner, settings, "bucket", **variables(proxy.address))
    assert not runner.caches


@pytest.mark.slow
def test_a_site_that_fails_is_named_and_fails_the_job(runner: Runner) -> None:
    """With many sites, nothing is published then: the cache and the outputs stay as they are."""
    urls = [table(runner.folder)["source"], "sqlite:////absent.db"]
    sites = [
        f'[[sites]]\nname = "{name}"\nsource.url = "{url}"\n' for name, url in zip("ab", urls, strict=True)
    ]
    done = run(runner, SETTINGS + "".join(sites), source="")
    assert (done.code, done.outputs["release"], runner.caches) == (1, "", {})
    assert re.search("^::error title=reportgen::.*\\bb\\b", done.log, re.MULTILINE)


@pytest.mark.slow
def test_many_sites_are_sections_of_the_summary(runner: Runner) -> None:
    source = table(runner.folder)["source"]
    sites = "".join(f'[[sites]]\nname = "{name}"\nsite = "{name}*"\n' for name in "ab")
    done = run(runner, f'[source]\nurl = "{source}"\n{SETTINGS}{sites}', source="")
    assert done.code == 0, done.log
    assert {"a", "b", "index.html"} <= exported(runner)
    assert re.findall("^### .*$", done.summary, re.MULTILINE) == ["### a\\*", "### b\\*"]
    assert (done.outputs["visits"], done.outputs["change"]) == ("", "")
    assert done.outputs["release"]


class Rendered(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Collect a tag."""
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        """Collect text."""
        self.text += data


HOSTILE = {
    **TEXTS,
    "table": "/a|b|c", "code": "/`rm`", "fence": "```\nx", "output": "/\n::set-output name=x::y",
    "old": "##[add-path]/x", "heading": "# /a", "list": "- [ ] a", "link": "[a](https://evil.example)",
    "bare link": "https://evil.example/a", "www": "www.evil.example", "picture": "![a](//evil.example)",
    "mention": "@everyone", "delimiter": "/\nEOF\n", "math": "$x$", "emoji": ":tada:",
    "strong": "**a** __b__ ~~c~~", "footnote": "[^1]: a", "break": "a  \\\nb",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_path_is_text_in_the_summary(name: str) -> None:
    """As a parser of Markdown with tables and HTML reads it."""
    escaped = load_script().escape(f"{HOSTILE[name]} gained 5")
    assert len(escaped.splitlines()) == 1
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    page = Rendered(parser.render(f"- {escaped}\n"))
    assert page.tags <= {"ul", "li"}
    shown = visible(f"{HOSTILE[name]} gained 5")
    assert page.text.split() == shown.split()
    assert not re.search(r"(?<!\\)[:@]|www\.", escaped), "GitHub makes links of such texts, too"


@pytest.mark.slow
def test_nothing_that_a_visitor_wrote_is_a_command_of_the_runner(runner: Runner) -> None:
    """Not in the outputs, and in what a build prints commands are off: here an example of a row left out."""
    path = "/\n::set-output name=release::evil\n##[add-path]/evil`|<b>"
    given = table(runner.folder, path=path)
    with closing(sqlite3.connect(runner.folder / "visits.db")) as connection:
        connection.execute("INSERT INTO metrics SELECT date, path, 'x' FROM metrics LIMIT 1")
        connection.commit()
    done = runner.run({"reportgen.toml": SETTINGS}, given, **WEEK)
    assert done.code == 0, done.log
    assert done.outputs["release"].startswith("20")
    before, token, within = re.split("::stop-commands::([0-9a-f]{32})\n", done.log)
    printed, end, after = within.partition(f"\n::{token}::\n")
    assert end
    assert "##[add-path]" in printed
    assert not [
        line for line in (before + after).splitlines() if "add-path" in line or "::set-output" in line
    ]
    raw = (runner.workspace.parent / "temp/github_output").read_text()
    ends = re.findall(r"^\w+<<([0-9a-f]{32})$", raw, re.MULTILINE)
    assert len(set(ends)) == 4
    assert "add\\-path" in done.summary


def scripts(document: Any) -> Iterator[str]:
    """Yield every shell script of a workflow, an action or a pipeline."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "run":
                yield value
            elif key == "script":
                yield "\n".join(value)
            else:
                yield from scripts(value)
    elif isinstance(document, list):
        for one in document:
            yield from scripts(one)


@pytest.mark.parametrize("file", [ROOT / "action.yml", LIVE, *PAGES], ids=lambda file: file.name)
def test_every_script_is_bash_and_calls_our_commands_as_they_are(file: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(file.read_text())
    for script in scripts(document):
        assert "${{" not in script
        assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
        for command in re.findall(r"^reportgen [^#\n]+", script, re.MULTILINE):
            assert command.strip() == "reportgen build --export public"


def steps_of(file: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(file.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


WORKFLOWS = [LIVE, *(file for file in PAGES if file.name != "gitlab-ci.yml")]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_uses_our_action_with_inputs_it_has_and_publishes_what_it_exports(file: Path) -> None:
    steps = steps_of(file)
    (ours,) = [step for step in steps if step.get("uses", "").startswith(("OWNER/reportgen@", "./"))]
    assert ours["with"].keys() <= ACTION["inputs"].keys()
    later = str(steps[steps.index(ours) + 1 :])
    assert re.search(r"\bpublic\b", later)
    for step in steps:
        if step is not ours and "uses" in step:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"]), "pinned by the hash of a commit"


def test_each_action_of_others_has_one_version_everywhere() -> None:
    files = [ROOT / "action.yml", *(ROOT / ".github/workflows").glob("*.yml"), *PAGES]
    used = {found for file in files for found in re.findall(r"uses: (\w+/[\w-]+)\S*@(\S+)", file.read_text())}
    assert len(used) == len({name for name, _ in used}) > 5


def test_the_pipeline_of_gitlab_keeps_and_publishes_the_directories_of_its_commands() -> None:
    job = yaml.safe_load((ROOT / "examples/pages/gitlab-ci.yml").read_text())["pages"]
    assert (job["pages"], job["artifacts"]["paths"], job["cache"]["paths"]) == (True, ["public"], ["output/"])
    assert job["script"][-1].startswith("reportgen build --export public")


def test_the_live_example_is_public_and_on_the_schedule_of_its_workflow() -> None:
    settings = tomllib.loads((ROOT / "examples/pages/sample.toml").read_text())
    cron = yaml.safe_load(LIVE.read_text())[True]["schedule"][0]["cron"]
    assert (settings["server"]["public"], settings["source"]["url"]) == (True, "sample")
    assert settings["schedule"] == cron


@pytest.mark.slow
def test_the_live_example_builds(runner: Runner) -> None:
    (ours,) = [step for step in steps_of(LIVE) if step.get("uses") == "./"]
    config = ours["with"]["config"]
    files = {config: (ROOT / config).read_text()}
    done = runner.run(files, ours["with"], REPORTGEN_BASE_PATH="/reportgen/", **ONE_WINDOW)
    assert done.code == 0, done.log
    assert "### jarv\\.is" in done.summary
    assert "/reportgen/" in (runner.workspace / "public/404.html").read_text()


def test_an_output_that_spans_lines_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a<<x\none\n\ntwo\nx\nb<<y\n\ny\n")
    assert parse_outputs(tmp_path / "out") == {"a": "one\n\ntwo", "b": ""}
