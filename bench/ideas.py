"""Measures what each optimisation of a build saves: a cold build of the sample with it, and without it.

An optimisation is removed by lines of Python that run before the build, in the same process.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

from common import Options, costs, interleaved, versions

START = """
import os, sys
from types import SimpleNamespace

def replace(module, name, value):
    getattr(module, name)  # an AttributeError, where it is there no more
    setattr(module, name, value)

sys.argv = ["reportgen", "build", "--quiet", "--source", "sample", "--output", {output!r}]
"""
END = "\nfrom reportgen.__main__ import command\ncommand()\n"

WITHOUT = {
    "as it is": "",
    "V8 starts after pandas, not beside it": """
from reportgen.build import pipeline
replace(pipeline, "processors", lambda: 1)
""",
    "text measured with the machine's fonts": """
from reportgen.charts import svg
replace(svg, "FONTS", "NO_SUCH_VARIABLE")
""",
    "labels of axes with a limit": """
from reportgen.charts import theme
config = theme.vega_config
limited = lambda px: (found := config(px)) | {"axis": found["axis"] | {"labelLimit": 180}}
replace(theme, "vega_config", limited)
""",
    "charts validated in the build": """
from contextlib import nullcontext
from reportgen.build import pipeline
run_in_child = pipeline.run_in_child

def validating(work):
    def validate_and_work():  # in the child process, which alone loads Altair
        from altair.utils import schemapi
        replace(schemapi, "debug_mode", lambda _: nullcontext())
        return work()
    return validate_and_work

replace(pipeline, "run_in_child", lambda work, *rest: run_in_child(validating(work), *rest))
""",
    "numpy with its threads": """
from reportgen.build import pipeline
replace(pipeline, "os", SimpleNamespace(environ={}))
""",
    "the collector on while modules load": """
import gc
replace(gc, "disable", lambda: None)
replace(gc, "freeze", lambda: None)
""",
    "processes that end as Python ends them": """
from reportgen.cli import main
replace(main, "os", SimpleNamespace(environ=os.environ, _exit=sys.exit))
""",
}
"""Name → the lines of Python that remove the optimisation."""


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure a build without each optimisation, in turn."""
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder:
        output = Path(folder) / "output"
        cases = {name: partial(costs, command(lines, output)) for name, lines in WITHOUT.items()}
        figures, _ = interleaved(cases, options)
    return dict(figures), versions("pandas", "altair", "vl-convert-python")


def command(lines: str, output: Path) -> list[str]:
    """Return the command of a build after some lines of Python."""
    return [sys.executable, "-c", START.format(output=str(output)) + lines + END]
