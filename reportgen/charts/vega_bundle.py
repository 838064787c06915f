"""The script that makes charts interactive: Vega, Vega-Lite and Vega-Embed, bundled by vl-convert.

Bundling takes seconds and more memory than a build, so it is done once for each version of vl-convert:
when reportgen is installed (``python -m reportgen.charts.vega_bundle``), or else in a child process of the
first build that finds no bundle. It is kept in the package, beside its licences.
"""

import hashlib
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from reportgen.core.errors import RenderError
from reportgen.core.release_files import ASSETS, BEST, SUFFIXES, packed

LICENCES = Path(__file__).parents[1] / "assets" / "vega.LICENSES.txt"
COMMAND = (sys.executable, "-P", "-m", "reportgen.charts.vega_bundle")
TIMEOUT_S = 120
FORMS = ("", *SUFFIXES.values())


def name() -> str:
    """Return the file's name, with the version of vl-convert: the same version draws the static charts."""
    return f"vega-{version('vl-convert-python')}.js"


def hashed(name: str, content: bytes) -> str:
    """Return a file's name with a hash of its content in it: ``assets/report.0a1b2c3d4e.js``."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}.{hashlib.sha256(content).hexdigest()[:10]}.{suffix}"


def load() -> dict[str, bytes]:
    """Return the bundle, plain and compressed, by the path of each form in a release. Make it if need be.

    Raises:
        RenderError: it could not be made. Without it, charts are drawn but not interactive.

    """
    places = {suffix: LICENCES.with_name(name() + suffix) for suffix in FORMS}
    if not all(place.is_file() for place in places.values()):
        _make_in_child_process()
    forms = {suffix: place.read_bytes() for suffix, place in places.items()}
    path = hashed(f"{ASSETS}vega.js", forms[""])
    return {path + suffix: content for suffix, content in forms.items()}


def make(target: Path) -> None:
    """Write the bundle as a classic script that defines one global name: ``vegaEmbed``."""
    import vl_convert  # V8 takes more memory than everything else here, and `load` does not need it

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Inside a function, its hundreds of short top-level names cannot clash with those of a page.
    notices = LICENCES.read_text(encoding="utf-8")
    whole = f"/*!\n{notices}*/\n(() => {{\n{script}\n}})();\n".encode()
    forms = {target.name: whole} | packed({target.name: whole}, BEST)
    for file, content in forms.items():
        staged = target.with_name(f"{file}.{os.getpid()}")
        staged.write_bytes(content)
        staged.replace(target.with_name(file))


def _make_in_child_process() -> None:
    if not os.access(LICENCES.parent, os.W_OK):  # each build would try in vain
        raise RenderError(
            f"{LICENCES.parent}: cannot be written, and lacks the charts' script."
            f" As a user who may write there, run this once: {' '.join(COMMAND)}"
        )
    try:
        subprocess.run(COMMAND, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - our own module
    except (OSError, subprocess.SubprocessError) as exc:
        cause = [str(exc), *(getattr(exc, "stderr", "") or "").strip().splitlines()][-1]
        raise RenderError(f"the interactive charts' script could not be made: {cause}") from exc


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else LICENCES.with_name(name()))
