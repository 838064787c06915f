"""The script that makes charts interactive: found, or made once in a child process."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import brotli
import pytest

from reportgen.charts import vega_bundle
from reportgen.core.errors import RenderError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a bundle made by the command that packagers use."""
    target = tmp_path_factory.mktemp("made") / "bundle.js"
    subprocess.run([sys.executable, "-m", "reportgen.charts.vega_bundle", str(target)], check=True)
    return target


@pytest.fixture
def bare_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of an installation that has no bundle."""
    shutil.copy(vega_bundle.LICENCES, tmp_path)
    monkeypatch.setattr(vega_bundle, "LICENCES", tmp_path / vega_bundle.LICENCES.name)
    return tmp_path


def keep(place: Path, script: bytes) -> None:
    """Write a bundle, in each form."""
    for form in vega_bundle.FORMS:
        place.with_name(place.name + form).write_bytes(script)


def forms(script: bytes) -> dict[str, bytes]:
    """Return the loaded files of a bundle that :func:`keep` wrote."""
    return {vega_bundle.hashed("assets/vega.js", script) + form: script for form in vega_bundle.FORMS}


def test_a_bundle_that_is_not_whole_is_made_anew(bare_install: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare_install / vega_bundle.name()).write_bytes(b"without its compressed forms")
    monkeypatch.setattr(vega_bundle, "COMMAND", ("/bin/false",))
    with pytest.raises(RenderError):
        vega_bundle.load()


def test_the_name_contains_the_version_that_draws_the_charts() -> None:
    assert vega_bundle.name() == f"vega-{version('vl-convert-python')}.js"


@pytest.mark.slow
def test_the_bundle_is_one_classic_script_with_its_licences_in_front(made: Path) -> None:
    """Not a module: pages load it from the file system, too. No other file is left beside it."""
    text = made.read_text(encoding="utf-8")
    licences = vega_bundle.LICENCES.read_text(encoding="utf-8")
    assert "*/" not in licences
    assert text.startswith(f"/*!\n{licences}*/\n(() => {{\n")
    assert text.endswith("\n})();\n")
    assert {path.name for path in made.parent.iterdir()} == {made.name + form for form in ("", ".br", ".gz")}
    assert brotli.decompress(made.with_name(made.name + ".br").read_bytes()) == made.read_bytes()
    assert gzip.decompress(made.with_name(made.name + ".gz").read_bytes()) == made.read_bytes()


PARTS = {
    "vega-embed-style": ("University of Washington Interactive Data Lab",),  # Vega, BSD-3-Clause
    "naturalEarth1": ("Mike Bostock", "Charles Karney"),  # D3 (d3-geo), ISC and MIT
    "hullPrev": ("Mapbox", "Observable"),  # Delaunator and d3-delaunay, ISC
    "fbb4aeb3cde3ccebc5": ("Cynthia Brewer",),  # ColorBrewer in d3-scale-chromatic, Apache-2.0
    "topojson": ("Michael Bostock",),  # TopoJSON, ISC
    "SEMVER_SPEC_VERSION": ("Isaac Z. Schlueter",),  # semver, ISC
    "Octal literals are not allowed in strict mode": ("Ariya Hidayat",),  # Esprima, BSD-2-Clause
    "OPERATION_OP_INVALID": ("Joachim Wester",),  # fast-json-patch, MIT
    r'/("(?:[^\\"]|\\.)*")|[:,]/g': ("Simon Lydell",),  # json-stringify-pretty-compact, MIT
    "Converting circular structure to JSON": (
        "Evgeny Poberezkin",
        "James Halliday",
    ),  # fast-json-stable-…, MIT
    "process.binding is not supported": ("Roman Shtylman",),  # node-process, MIT
}
"""Code that identifies each library, and the holder of its licence."""


@pytest.mark.slow
@pytest.mark.parametrize("mark", PARTS, ids=[" and ".join(holders) for holders in PARTS.values()])
def test_the_licences_name_the_authors_of_every_library_in_the_bundle(made: Path, mark: str) -> None:
    licences, _, code = made.read_text(encoding="utf-8").partition("*/")
    assert mark in code, "no longer in the bundle: it may leave this list and the licences"
    assert [holder for holder in PARTS[mark] if holder not in licences] == []


@pytest.mark.parametrize(
    "words",
    [
        "Redistributions in binary form must reproduce the above copyright notice",
        "Permission to use, copy, modify, and/or distribute this software for any purpose",
        "The above copyright notice and this permission notice shall be included in all copies",
        "http://www.apache.org/licenses/LICENSE-2.0",
    ],
    ids=["BSD", "ISC", "MIT", "Apache"],
)
def test_the_text_of_each_licence_is_in_the_bundle(words: str) -> None:
    assert words in " ".join(vega_bundle.LICENCES.read_text(encoding="utf-8").split())


def test_the_bundle_defines_one_global_name(tmp_path: Path) -> None:
    """Its hundreds of short names cannot clash with a page's, nor with its own if it is loaded twice."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not here: this test runs the bundle with it, outside of a browser")
    bundle, probe = tmp_path / "bundle.js", tmp_path / "probe.js"
    bundle.write_bytes(next(iter(vega_bundle.load().values())))
    probe.write_text(
        "const vm = require('vm'), fs = require('fs');"
        "const page = {console, setTimeout, clearTimeout, setInterval, clearInterval,"
        " URL, structuredClone, TextEncoder, TextDecoder};"
        "page.window = page; page.self = page; page.globalThis = page;"
        "const before = new Set(Object.getOwnPropertyNames(vm.createContext(page)));"
        f"const script = new vm.Script(fs.readFileSync({json.dumps(str(bundle))}, 'utf8'));"
        "script.runInContext(page); script.runInContext(page);"
        "const names = Object.getOwnPropertyNames(page).filter((name) => !before.has(name));"
        "console.log(JSON.stringify([names, typeof page.vegaEmbed]));"
    )
    done = subprocess.run([node, probe], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert json.loads(done.stdout) == [["vegaEmbed"], "function"]


def test_an_installed_bundle_is_read_and_none_is_made(bare_install: Path) -> None:
    keep(bare_install / vega_bundle.name(), b"kept")
    assert vega_bundle.load() == forms(b"kept")


def test_a_bundle_of_another_version_is_not_used(bare_install: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interactive charts would not look like the static ones."""
    keep(bare_install / "vega-0.1.js", b"old")
    monkeypatch.setattr(vega_bundle, "COMMAND", ("/bin/false",))
    with pytest.raises(RenderError):
        vega_bundle.load()


@pytest.mark.slow
def test_without_one_it_is_made_in_a_child_process_and_kept(
    bare_install: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory of V8 is freed with the child process."""
    command = (*vega_bundle.COMMAND, str(bare_install / vega_bundle.name()))
    monkeypatch.setattr(vega_bundle, "COMMAND", command)
    found = vega_bundle.load()
    assert next(iter(found.values())) == made.read_bytes()
    bundle = {vega_bundle.name() + form for form in vega_bundle.FORMS}
    assert {file.name for file in bare_install.iterdir()} == bundle | {vega_bundle.LICENCES.name}
    monkeypatch.setattr(vega_bundle, "COMMAND", ("/bin/false",))
    assert vega_bundle.load() == found


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import sys; print('first'); sys.exit('the last line')", "the last line"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import time; time.sleep(60)", "timed out"),
    ],
)
def test_the_error_says_why_it_could_not_be_made(
    bare_install: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    """The child process is replaced by one that fails, is killed, or hangs."""
    monkeypatch.setattr(vega_bundle, "COMMAND", (sys.executable, "-c", script))
    monkeypatch.setattr(vega_bundle, "TIMEOUT_S", 1)
    with pytest.raises(RenderError, match="the interactive charts' script could not be made") as caught:
        vega_bundle.load()
    assert says in str(caught.value)


def test_an_installation_that_this_user_may_not_change_names_the_command(
    bare_install: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may write everywhere, so the answer of the system is replaced."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RenderError, match=r"cannot be written.* -P -m reportgen\.charts\.vega_bundle$"):
        vega_bundle.load()
