"""One build with its time by stage: ``python bench/staged.py STARTED_AT FILE build …``.

Wraps functions of reportgen in this process, and writes the seconds of each stage to FILE. A stage does not
count the stages inside it, so that all stages add up to the whole. A build uses two processes; here all of it
runs in one, one part after the other. ``STARTED_AT`` is the parent's monotonic clock at the start. The end of
the process is not counted.
"""

import time

ENTERED = time.perf_counter()

import builtins  # noqa: E402 - the clock first
import functools  # noqa: E402
import importlib.machinery  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

STAGES = {
    "reportgen.build.pipeline": {
        "read_dataset": "query", "fingerprint": "frames", "interactive": "HTML", "publish": "publish",
    },
    "reportgen.core.release_files": {"packed": "compress"},
    "reportgen.pages.report": {
        "compute_figures": "frames", "series": "frames", "stack": "frames", "colour_slots": "frames",
        "make_pages": "specs", "render": "HTML",
    },
    "reportgen.pages.exports": {
        "paths_csv": "CSV and JSON", "daily_csv": "CSV and JSON", "report_json": "CSV and JSON",
    },
    "reportgen.core.processes": {},
    "reportgen.charts.svg": {"svg_of": "SVG", "insert_svgs": "SVG"},
    "reportgen.build.verify": {"check_not_emptied": "proof", "check_sums": "proof", "check_files": "proof"},
    "reportgen.charts.sparklines": {"bars": "SVG", "with_mean": "SVG", "lines": "SVG"},
}  # fmt: skip
"""Module → function → name of its stage."""

seconds: defaultdict[str, float] = defaultdict(float)
here = threading.local()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time until the block ends to the stage, without the stages inside it."""
    inside = here.__dict__.setdefault("inside", [0.0])
    inside.append(0.0)
    start = time.perf_counter()
    try:
        yield
    finally:
        took = time.perf_counter() - start
        seconds[name] += took - inside.pop()
        inside[-1] += took


def wrapped(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return the function with its time added to the stage ``name``."""

    @functools.wraps(function)
    def counted(*given: Any, **named: Any) -> Any:
        with stage(name):
            return function(*given, **named)

    return counted


class Finder:
    """Wraps the functions of a module as soon as it is loaded, before others import them."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        """Return the spec of a module that has stages; ``None`` for all others."""
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name in STAGES else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def loaded(module: Any) -> None:
            load(module)
            for function, kind in STAGES[name].items():
                setattr(module, function, wrapped(getattr(module, function), kind))
            if name == "reportgen.core.processes":  # one process, so that one clock measures all of it
                module.run_in_child = lambda work, _: (work(), 0)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def main() -> None:
    """Build, and write the seconds of each stage to the file."""
    started, file = float(sys.argv[1]), Path(sys.argv[2])
    seconds["interpreter"] = ENTERED - started
    imported = builtins.__import__

    def counted(*given: Any, **named: Any) -> Any:
        if getattr(here, "importing", False):
            return imported(*given, **named)
        here.importing = True
        try:
            with stage("imports"):
                return imported(*given, **named)
        finally:
            here.importing = False

    sys.meta_path.insert(0, Finder)
    builtins.__import__ = counted
    sys.argv = ["reportgen", *sys.argv[3:]]
    try:
        with stage("rest"):
            from reportgen.cli.main import main as run

            run()
    finally:
        file.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
