"""Measures builds of many sites: ``python bench/sites.py [--sites N] [--runs N] [--short]``.

Builds N sites with the sample's table in one process, in two, on a Dask cluster of two workers, and each by
a cold ``reportgen build``. Writes its tables into ``docs/growth.md``; with ``--short`` it prints them.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from common import (
    OURS,
    REPORTGEN,
    ROOT,
    AbsentError,
    Options,
    commit,
    cost_of,
    interleaved,
    machine,
    versions,
)
from table import left_out, paragraph, replace_table, spread, table

PAGE = ROOT / "docs" / "growth.md"
WINDOWS = {"three windows": '["today", "7d", "30d"]', "one window": '["7d"]'}
HEAD = ("", "sites a minute", "one more site, CPU s", "all sites, s", "memory of a process, MB")


WHOLE = """
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
from reportgen.sites.runner import publish_index
from reportgen.sites.overview import index_files
from reportgen.config.sites import load_settings
from reportgen.build.status import status_of_all
begun = time.perf_counter()
sites = load_settings(Path("whole.toml"), {}, {})
read, now = time.perf_counter(), datetime.now(UTC)
status_of_all(sites, sites.all, now)
seen = time.perf_counter()
files = index_files(sites, now)
drawn = time.perf_counter()
publish_index(sites, now)
print(json.dumps({
    "settings": read - begun, "status": seen - read, "page": drawn - seen,
    "published": time.perf_counter() - drawn, "bytes": len(files["index.html"]),
}))
"""
"""A script that times the work for all sites together."""

COUNTS = (100, 1_000, 5_000)


def main() -> None:
    """Measure, and write or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sites", type=int, default=24)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    options = Options(1 if given.short else given.runs, given.short)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as name, ExitStack() as stack:
        folders = {
            kind: settings(Path(name) / kind.replace(" ", "-"), given.sites, said)
            for kind, said in WINDOWS.items()
        }
        address = stack.enter_context(cluster(Path(name)))
        figures, absent = interleaved(cases(folders, address), options)
        together = {count: whole(folders["one window"], count) for count in COUNTS[: 2 if given.short else 3]}
    body = f"{rendered(figures, absent)}\n\n{summed(together)}\n\n{measured_on(given.sites, options)}"
    if given.short:
        print(body)
    else:
        PAGE.write_text(replace_table(PAGE.read_text(), "sites", body))


def settings(folder: Path, count: int, windows: str) -> Path:
    """Write settings with ``count`` sites of the sample's table, and with one site; return their folder."""
    folder.mkdir()
    top = f'windows = {windows}\nsource.url = "sample"\n'
    sites = "".join(f'[[sites]]\nname = "site-{n:03}"\n' for n in range(count))
    (folder / "many.toml").write_text(f"{top}\n{sites}")
    (folder / "one.toml").write_text(f'output.dir = "cold"\n{top}')
    return folder


def cases(folders: Mapping[str, Path], address: str) -> dict[str, Callable[[], Mapping[str, float]]]:
    """Return the cases by name."""
    found: dict[str, Callable[[], Mapping[str, float]]] = {}
    options = {
        "1 process": ("--processes", "1"),
        "2 processes": ("--processes", "2"),
        "Dask, 2 workers": ("--executor", address),
    }
    for kind, folder in folders.items():
        found[f"cold builds, {kind}"] = partial(cold, folder)
        for way, given in options.items():
            found[f"{way}, {kind}"] = partial(a_round, folder, *given)
        found[f"1 process, {kind}, nothing new"] = partial(
            a_round, folder, "--processes", "1", "--if-changed"
        )
    return found


def cold(folder: Path) -> dict[str, float]:
    """Build one site in a new process."""
    cost, _ = cost_of([*REPORTGEN, "build", "--quiet", "--config", "one.toml"], cwd=folder)
    return {"rate": 60 / cost.wall_s, "cpu_s": cost.cpu_s, "peak_mb": cost.peak_mb}


def a_round(folder: Path, *options: str) -> dict[str, float]:
    """Build all sites; ``cpu_s`` is the median of the sites' CPU seconds."""
    cost, printed = cost_of([*REPORTGEN, "build", "--json", "--config", "many.toml", *options], cwd=folder)
    sites = json.loads(printed)["sites"]
    used = sorted(site["cpu_seconds"] for site in sites)
    return {
        "rate": 60 * len(sites) / cost.wall_s,
        "cpu_s": used[len(used) // 2],
        "wall_s": cost.wall_s,
        "peak_mb": max(site["peak_memory_bytes"] for site in sites) / 2**20,
    }


def whole(folder: Path, count: int) -> dict[str, float]:
    """Return the seconds of the work for ``count`` sites together, each with the same release."""
    built = folder / "output" / "site-000"
    lines = "".join(f'[[sites]]\nname = "site-{n:05}"\n' for n in range(count))
    text = (
        f'output.dir = "whole"\nwindows = ["7d"]\nsource.url = "sample"\noutput.max_page_mb = 1000\n{lines}'
    )
    (folder / "whole.toml").write_text(text)
    for n in range(count):
        place = folder / "whole" / f"site-{n:05}"
        if not place.exists():
            shutil.copytree(built, place, symlinks=True, copy_function=os.link)
    found: dict[str, float] = json.loads(cost_of([sys.executable, "-c", WHOLE], cwd=folder)[1])
    return found


def summed(together: Mapping[int, Mapping[str, float]]) -> str:
    """Return the table of the work for all sites together."""
    head = (
        "all sites together",
        "read settings, s",
        "status of all, s",
        "draw the page, s",
        "and publish, s",
        "page, MB",
    )
    parts = ("settings", "status", "page", "published")
    return table(
        head,
        [
            [f"{count:,} sites", *(f"{found[part]:.2f}" for part in parts), f"{found['bytes'] / 1e6:.2f}"]
            for count, found in together.items()
        ],
    )


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a Dask scheduler and two workers of one thread each; yield the address."""
    with ExitStack() as stack:
        log = folder / "scheduler.log"
        scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        stack.enter_context(running(log, folder, *scheduler))
        for _ in range(300):
            if found := re.search(r"Scheduler at: +tcp://(\S+)", log.read_text()):
                break
            time.sleep(0.1)
        else:
            raise AbsentError(f"no Dask scheduler: {log.read_text()[-500:]}")
        for name in ("one", "two"):
            worker = (
                "distributed.cli.dask_worker",
                f"tcp://{found[1]}",
                "--nthreads",
                "1",
                "--no-nanny",
                "--no-dashboard",
            )
            stack.enter_context(running(folder / f"{name}.log", folder, *worker))
        yield f"dask://{found[1]}"


@contextmanager
def running(log: Path, folder: Path, *arguments: str) -> Iterator[None]:
    """Run a process of the cluster until the block ends."""
    with log.open("w") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", *arguments], cwd=folder, env=OURS, stdout=stream, stderr=stream
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def rendered(figures: Mapping[str, Mapping[str, list[float]]], absent: Mapping[str, str]) -> str:
    """Return the table of builds, and what was left out."""
    rows = [
        [
            name,
            spread(found["rate"], 0),
            spread(found["cpu_s"]),
            spread(found["wall_s"], 1) if "wall_s" in found else "",
            spread(found["peak_mb"], 0),
        ]
        for name, found in figures.items()
    ]
    return table(HEAD, rows) + left_out({"left out": absent})


def measured_on(sites: int, options: Options) -> str:
    """Return the command, commit, machine and versions as a paragraph."""
    about = machine()
    named = ", ".join(f"{name} {version}" for name, version in versions("distributed").items())
    return paragraph(
        f"`python bench/sites.py --sites {sites} --runs {options.runs}`, commit {commit()}. {about['cpu']}; "
        f"{about['memory']}; {about['system']}; load {about['load']} at the end. {named}. Medians of "
        f"{options.runs} interleaved runs after a warm-up run; minimum to maximum in brackets."
    )


if __name__ == "__main__":
    main()
