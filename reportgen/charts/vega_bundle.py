"""The script that makes charts interactive: Vega, Vega-Lite and Vega-Embed, bundled by vl-convert.

Bundling takes seconds and more memory than a build, so it is done once for each version of vl-convert:
when reportgen is installed (``python -m reportgen.charts.vega_bundle``), or else in a child process of the
first build that finds no bundle. The bundle is then kept beside the releases.
"""

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from reportgen.core.errors import RenderError
from reportgen.core.release_files import ASSETS, BEST, SUFFIXES, packed

LICENCES = Path(__file__).parents[1] / "assets" / "vega.LICENSES.txt"
TIMEOUT_S = 120
FORMS = ("", *SUFFIXES.values())


def name() -> str:
    """Return the file's name, with the version of vl-convert: the same version draws the static charts."""
    return f"vega-{version('vl-convert-python')}.js"


def hashed(name: str, content: bytes) -> str:
    """Return a file's name with a hash of its content in it: ``assets/report.0a1b2c3d4e.js``."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:10]}.{suffix}"


def load(folder: Path) -> dict[str, bytes]:
    """Return the bundle, plain and compressed, by the path of each form in a release.

    It is read from the installed package or from ``folder``; if neither has it, it is made in ``folder``.

    Raises:
        RenderError: it could not be made. Without it, charts are drawn but not interactive.

    """
    kept = [place for place in (LICENCES.with_name(name()), folder / name()) if _is_whole(place)]
    place = kept[0] if kept else _make_in_child_process(folder / name())
    path = hashed(f"{ASSETS}vega.js", place.read_bytes())
    return {path + suffix: place.with_name(place.name + suffix).read_bytes() for suffix in FORMS}


def make(target: Path) -> None:
    """Write the bundle as a classic script that defines one global name: ``vegaEmbed``."""
    import vl_convert  # V8 takes more memory than everything else here, and `load` does not need it

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Inside a function, its hundreds of short top-level names cannot clash with those of a page.
    notices = LICENCES.read_text(encoding="utf-8")
    whole = f"/*!\n{notices}*/\n(() => {{\n{script}\n}})();\n".encode()
    forms = {target.name: whole} | packed({target.name: whole}, BEST)
    for file, content in reversed(forms.items()):  # the plain form last: if it exists, all forms exist
        staged = target.with_name(f"{file}.part")
        staged.write_bytes(content)
        staged.replace(target.with_name(file))


def _is_whole(place: Path) -> bool:
    return all(place.with_name(place.name + suffix).is_file() for suffix in FORMS)


def _make_in_child_process(target: Path) -> Path:
    command = [sys.executable, "-P", "-m", "reportgen.charts.vega_bundle", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - our own module
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise RenderError(f"the interactive charts' script could not be made: {exc}") from exc
    if done.returncode:
        cause = (done.stderr.strip().splitlines() or [f"exit status {done.returncode} (out of memory?)"])[-1]
        raise RenderError(f"the interactive charts' script could not be made: {cause}")
    return target


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else LICENCES.with_name(name()))
