"""Measures what each optimisation of a build saves: a cold build of the sample with it, and without it.

An optimisation is removed by a line of Python that runs before the build, in the same process.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

from common import Options, costs, interleaved, versions

START = (
    "import sys; sys.argv = ['reportgen', 'build', '--quiet', '--source', 'sample', '--output', {output!r}]; "
)
END = "from reportgen.__main__ import command; command()"

WITHOUT = {
    "as it is": "",
    "V8 starts after pandas, not beside it": "import reportgen.build.pipeline as b; b.processors = lambda: 1",
    "text measured with the machine's fonts": "from reportgen.charts import svg; "
    "svg.FONTS = 'NO_SUCH_VARIABLE'",
    "labels of axes with a limit": (
        "from reportgen.charts import theme; config = theme.vega_config; theme.vega_config = lambda px: "
        "(found := config(px)) | {'axis': found['axis'] | {'labelLimit': 180}}"
    ),
    "charts validated in the build": (  # in the child process, which alone loads Altair
        "from reportgen.core import processes; work = processes._work; processes._work = lambda do, *rest: "
        "work(lambda: (validate(), do())[1], *rest)\n"
        "def validate():\n"
        "  from contextlib import nullcontext; from altair.utils import schemapi\n"
        "  schemapi.debug_mode = lambda _: nullcontext()"
    ),
    "numpy with its threads": (
        "import types, reportgen.build.pipeline as b; b.os = types.SimpleNamespace(environ={})"
    ),
    "the collector on while modules load": "import gc; gc.disable = lambda: None; gc.freeze = lambda: None",
    "processes that end as Python ends them": (
        "import os, types, reportgen.cli.main as cli; "
        "cli.os = types.SimpleNamespace(environ=os.environ, _exit=sys.exit)"
    ),
}
"""Name → the line of Python that removes the optimisation."""


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure a build without each optimisation, in turn."""
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder:
        figures, _ = interleaved(
            {name: partial(costs, command(line, Path(folder) / "output")) for name, line in WITHOUT.items()},
            options,
        )
    return dict(figures), versions("pandas", "altair", "vl-convert-python")


def command(line: str, output: Path) -> list[str]:
    """Return the command of a build after a line of Python."""
    return [sys.executable, "-c", f"{START.format(output=str(output))}{line}\n{END}"]
