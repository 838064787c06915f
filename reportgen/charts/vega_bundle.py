"""The one file that makes charts interactive: Vega, Vega-Lite and Vega-Embed, bundled by vl-convert.

To make it takes seconds and more memory than a build, so it is made once for a version of vl-convert:
where reportgen is installed (``python -m reportgen.charts.vega_bundle``), or else by a process of its own
when the first build finds none, and kept beside the releases.
"""

import hashlib
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from reportgen.core.compression import BEST, SUFFIXES, packed
from reportgen.core.errors import RenderError
from reportgen.core.release_files import ASSETS

LICENCES = Path(__file__).parents[1] / "assets" / "vega.LICENSES.txt"
TIMEOUT_S = 120
FORMS = ("", *SUFFIXES.values())


def name() -> str:
    """Return the file's name; it tells the version of vl-convert, which draws the same charts."""
    return f"vega-{version('vl-convert-python')}.js"


def hashed(name: str, content: bytes) -> str:
    """Return a file's name with a hash of its content in it: ``assets/report.0a1b2c3d4e.js``."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:10]}.{suffix}"


def load(folder: Path) -> dict[str, bytes]:
    """Return the bundle, plain and compressed, by the path of each form in a release.

    It is the installed one, or the one in ``folder``, made there if it is not.

    Raises:
        RenderError: it could not be made here; nothing but interaction depends on it.

    """
    kept = [place for place in (LICENCES.with_name(name()), folder / name()) if _is_whole(place)]
    place = kept[0] if kept else _made_apart(folder / name())
    path = hashed(f"{ASSETS}vega.js", place.read_bytes())
    return {path + suffix: place.with_name(place.name + suffix).read_bytes() for suffix in FORMS}


def make(target: Path) -> None:
    """Write the bundle as a classic script that leaves one name behind: ``vegaEmbed``."""
    import vl_convert  # its engine takes more memory than all the rest; `load` never needs it

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Inside a function, its hundreds of short top-level names cannot meet those of a page.
    notices = LICENCES.read_text(encoding="utf-8")
    whole = f"/*!\n{notices}*/\n(() => {{\n{script}\n}})();\n".encode()
    forms = {target.name: whole} | packed({target.name: whole}, BEST)
    for file, content in reversed(forms.items()):  # the plain one last: where it is, the others are
        staged = target.with_name(f"{file}.part")
        staged.write_bytes(content)
        staged.replace(target.with_name(file))


def _is_whole(place: Path) -> bool:
    return all(place.with_name(place.name + suffix).is_file() for suffix in FORMS)


def _made_apart(target: Path) -> Path:
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
