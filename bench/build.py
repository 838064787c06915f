"""Measures a cold build of the sample and an unchanged one: as a whole, and by stage."""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import Options, build_command, cost_of, costs, interleaved, versions

STAGES = (
    "interpreter", "imports", "query", "frames", "specs", "SVG", "HTML", "CSV and JSON", "compress",
    "proof", "publish", "rest",
)  # fmt: skip
PACKAGES = ("pandas", "altair", "vl-convert-python", "jinja2", "brotli")


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure both builds, as a whole and by stage, in turn."""
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder:
        output = Path(folder)
        figures, _ = interleaved(
            {
                "cold build": lambda: costs(build_command(output, "--source", "sample")),
                "unchanged build": lambda: costs(build_command(output, "--source", "sample", "--if-changed")),
                "cold build, stages": staged(output),
                "unchanged build, stages": staged(output, "--if-changed"),
            },
            options,
        )
    return dict(figures), versions(*PACKAGES)


def staged(output: Path, *arguments: str) -> Callable[[], dict[str, float]]:
    """Return a function that runs a build and returns the seconds of each stage."""
    file = output / "stages.json"

    def run() -> dict[str, float]:
        start = time.perf_counter()
        script = str(Path(__file__).with_name("staged.py"))
        ours = build_command(output, "--source", "sample", *arguments)[3:]
        cost_of([sys.executable, script, str(start), str(file), *ours])
        found: dict[str, float] = json.loads(file.read_text())
        return {name: found.get(name, 0.0) for name in STAGES}

    return run
