"""Run the steps of action.yml as GitHub's runner does, in a clean directory."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
TOKEN = "ghs_planted"

INSTALLER = """#!/bin/sh
# Stands for the Python of setup-python: its pip installs nothing, and its uv links our environment.
set -eu
case "$1 $2 ${{3-}}" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip install")
    echo "pip $*" >> {log}
    cp {uv} "${{0%/*}}/uv" ;;
  *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


UV = """#!/bin/sh
set -eu
echo "uv $*" >> {log}
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
ln -s {wrapper} "$UV_PROJECT_ENVIRONMENT/bin/python"
"""


@dataclass
class Finished:
    """How the steps ended: exit code, output, outputs of the action, summary of the job."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str


@dataclass
class Runner:
    """A machine of GitHub's, new for each run; ``caches`` and the repository at ``server`` stay."""

    folder: Path
    caches: dict[str, Path] = field(default_factory=dict)
    runs: int = 0

    @property
    def workspace(self) -> Path:
        """The working directory of the steps of the last run."""
        return self.folder / f"run {self.runs}" / "workspace"

    @property
    def installed(self) -> str:
        """The commands of the last run that would have installed something."""
        return (self.workspace.parent / "log").read_text()

    def run(self, files: Mapping[str, str], inputs: Mapping[str, str], **variables: str) -> Finished:
        """Run all steps with these files in the workspace; ``variables`` are those of the workflow."""
        self.runs += 1
        temp = self.workspace.parent / "temp"
        for folder in (self.workspace, temp, self.workspace.parent / "home"):
            folder.mkdir(parents=True)
        for name, content in files.items():
            (self.workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (self.workspace / name).write_text(content)
        given = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | dict(inputs)
        assert given.keys() == ACTION["inputs"].keys()
        values = {f"inputs.{name}": value for name, value in given.items()} | {
            "runner.temp": str(temp), "github.token": TOKEN,
            "github.run_id": str(1000 + self.runs), "github.run_attempt": "1",
        }  # fmt: skip
        files_of_runner = {name: temp / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(temp.parent / "home"), "CI": "true",
            "RUNNER_TEMP": str(temp), "GITHUB_WORKSPACE": str(self.workspace),
            "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": f"file://{self.folder}", "GITHUB_REPOSITORY": "owner/site",
            **{name: str(file) for name, file in files_of_runner.items()}, **variables,
        }  # fmt: skip
        code, log = 0, ""
        for step in ACTION["runs"]["steps"]:
            if not self.is_wanted(step.get("if"), values):
                continue
            if "uses" in step:
                self.use(step, values)
                continue
            done = self.bash(step, values, environment)
            code, log = done.returncode, log + done.stdout
            for name, value in parse_outputs(files_of_runner["GITHUB_OUTPUT"]).items():
                values[f"steps.{step['id']}.outputs.{name}"] = value
            if code:
                break
        outputs = {
            name: values.get(one["value"].strip("${} "), "") for name, one in ACTION["outputs"].items()
        }
        summary = files_of_runner["GITHUB_STEP_SUMMARY"]
        return Finished(code, log, outputs, summary.read_text() if summary.exists() else "")

    def is_wanted(self, condition: str | None, values: Mapping[str, str]) -> bool:
        """Return whether a step runs; conditions are ``name == 'value'``."""
        if condition is None:
            return True
        name, _, value = condition.partition(" == ")
        return values[name] == value.strip("'")

    def bash(
        self, step: Mapping[str, Any], values: Mapping[str, str], environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run the script of a step as the runner runs it with ``shell: bash``."""
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "values reach a script by its environment only"
        script = Path(environment["RUNNER_TEMP"]) / "script.sh"
        script.write_text(step["run"])
        own = {name: substitute(value, values) for name, value in step.get("env", {}).items()}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)], cwd=self.workspace,
            env=dict(environment) | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip

    def use(self, step: Mapping[str, Any], values: dict[str, str]) -> None:
        """Do what the named action does for ours."""
        name, options = step["uses"].partition("@")[0], step["with"]
        options = {key: substitute(value, values) for key, value in options.items()}
        if name == "actions/setup-python":
            values[f"steps.{step['id']}.outputs.python-path"] = str(self.installer())
        elif name == "actions/cache/restore":
            found = [key for key in self.caches if key.startswith(options["restore-keys"])]
            if found:
                shutil.copytree(self.caches[found[-1]], options["path"], symlinks=True)
        elif name == "actions/cache/save":
            assert options["key"] not in self.caches
            kept = self.folder / f"cache {len(self.caches)}"
            shutil.copytree(options["path"], kept, symlinks=True)
            self.caches[options["key"]] = kept
        else:
            raise AssertionError(name)

    def installer(self) -> Path:
        """Write the program that stands for the Python of setup-python."""
        folder = self.workspace.parent
        named = {name: shlex.quote(str(folder / name)) for name in ("log", "wrapper", "uv")}
        texts = {
            "wrapper": f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n',
            "uv": UV.format(**named),
            "setup-python": INSTALLER.format(**named),
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        return folder / "setup-python"


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Return a text with the values of its expressions ``${{ name }}``."""
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda found: values[found[1]], text)


def parse_outputs(file: Path) -> dict[str, str]:
    """Return what a step wrote into ``GITHUB_OUTPUT``, read as the runner reads it."""
    found: dict[str, str] = {}
    lines = iter(file.read_text().split("\n")) if file.exists() else iter(())
    for line in lines:
        if line:
            name, _, end = line.partition("<<")
            assert "=" not in line
            found[name] = "\n".join(iter(lambda: next(lines), end))
    return found
