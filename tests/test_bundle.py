"""The script that makes charts interactive: found, or made once, apart, and never in the way."""

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from reportgen import bundle
from reportgen.errors import RenderError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a bundle made by the command that packagers use."""
    target = tmp_path_factory.mktemp("made") / "assets" / "bundle.js"
    subprocess.run([sys.executable, "-m", "reportgen.bundle", str(target)], check=True)
    return target


@pytest.fixture
def bare_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take the installed bundle away; give a folder for builds to keep one in."""
    monkeypatch.setattr(bundle, "LICENCES", tmp_path / "none" / "vega.LICENSES.txt")
    return tmp_path / "state"


def test_the_name_tells_which_version_draws_the_same_charts() -> None:
    assert bundle.name() == f"vega-{version('vl-convert-python')}.js"


def test_the_bundle_is_one_classic_script_with_its_licences_in_front(made: Path) -> None:
    """No module: pages load it from the file system, too."""
    text = made.read_text(encoding="utf-8")
    assert text.startswith(f"/*!\n{bundle.LICENCES.read_text()}*/\n(() => {{")
    assert text.endswith("})();\n")
    assert list(made.parent.iterdir()) == [made]
    for name in ("Vega", "BSD"):
        assert name in text[:3000]


def test_the_bundle_leaves_one_name_behind(made: Path, tmp_path: Path) -> None:
    """Its hundreds of short names cannot meet those of a page."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here")
    probe = tmp_path / "probe.js"
    probe.write_text(
        "const vm = require('vm'), fs = require('fs');"
        "const page = {console, setTimeout, clearTimeout, URL, structuredClone, TextEncoder, TextDecoder};"
        "page.window = page; page.self = page; page.globalThis = page;"
        "const before = new Set(Object.keys(page)); vm.createContext(page);"
        f"vm.runInContext(fs.readFileSync({json.dumps(str(made))}, 'utf8'), page);"
        "const names = Object.keys(page).filter((name) => !before.has(name));"
        "console.log(JSON.stringify([names, typeof page.vegaEmbed, page.vegaEmbed.version]));"
    )
    done = subprocess.run([node, probe], capture_output=True, text=True, check=True, timeout=60)
    names, kind, embed = json.loads(done.stdout)
    assert (names, kind) == (["vegaEmbed"], "function")
    assert embed


def test_a_bundle_that_was_kept_is_read_and_none_is_made(bare_install: Path) -> None:
    bare_install.mkdir()
    (bare_install / bundle.name()).write_bytes(b"kept")
    assert bundle.load(bare_install) == b"kept"


def test_the_installed_bundle_comes_first(bare_install: Path) -> None:
    for folder in (bare_install, bundle.LICENCES.parent):
        folder.mkdir()
        (folder / bundle.name()).write_text(folder.name)
    assert bundle.load(bare_install) == b"none"


def test_a_bundle_of_another_version_is_not_taken(
    bare_install: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Charts that come alive would not look as they are drawn."""
    bare_install.mkdir()
    (bare_install / "vega-0.1.js").write_bytes(b"old")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RenderError):
        bundle.load(bare_install)


def test_without_one_it_is_made_apart_and_kept(bare_install: Path, made: Path) -> None:
    """The engine's memory goes with the process that made it."""
    found = bundle.load(bare_install)
    assert found == made.read_bytes()
    assert [file.name for file in bare_install.iterdir()] == [bundle.name()]
    assert bundle.load(bare_install) == found


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; print('first'); sys.exit('the last line')", "the last line"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "exit status -9 (out of memory?)"),
        ("import time; time.sleep(60)", "timed out"),
    ],
)
def test_what_goes_wrong_while_it_is_made_is_told(
    bare_install: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, says: str
) -> None:
    """A process in the place of the one that makes it: failing, killed, or stuck."""
    interpreter = tmp_path / "interpreter"
    interpreter.write_text(f"#!{sys.executable}\n{script}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(bundle, "TIMEOUT_S", 1)
    with pytest.raises(RenderError, match="the interactive charts' script could not be made") as caught:
        bundle.load(bare_install)
    assert says in str(caught.value)


def test_a_folder_that_cannot_be_written_to_is_told(bare_install: Path) -> None:
    bare_install.write_text("a file, no folder")
    with pytest.raises(RenderError, match="could not be made: .*(exists|directory)"):
        bundle.load(bare_install)
