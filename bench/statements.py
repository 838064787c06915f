"""The SQL statements of a build: their text, their time without a build, and PostgreSQL's plans.

``python bench/statements.py record|time|plan URL FILE``: ``record`` reads as a build does and writes the
text and values of every statement to FILE. ``time`` runs them through the driver alone and discards the rows.
``plan`` explains them. Each prints JSON.
"""

import json
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from common import LAST

Statements = list[tuple[str, dict[str, Any]]]


def record(url: str, **source: str) -> Statements:
    """Read as a build does; return its statements with their values."""
    from reportgen.config.settings import load_config
    from reportgen.metrics import dataset
    from reportgen.pages.exports import paths_csv

    found: Statements = []
    opened = dataset.open_source

    def open_recorded(*given: Any) -> Any:
        source = opened(*given)
        run = source.rows

        def rows(sql: str, values: Mapping[str, Any]) -> Any:
            found.append((sql, dict(values)))
            return run(sql, values)

        source.rows = rows  # type: ignore[method-assign]
        return source

    dataset.open_source = open_recorded
    config = load_config(None, {}, {"source": {"url": url, **source}})
    dataset.read_dataset(config, datetime.now(UTC), LAST, paths_csv)
    dataset.open_source = opened
    return found


def runner(url: str) -> Callable[[str, Mapping[str, Any]], object]:
    """Connect through the driver alone; return a function that runs a statement and fetches its rows."""
    if url.startswith("postgresql"):
        import psycopg

        postgres = psycopg.connect(url, prepare_threshold=None)
        return lambda sql, values: postgres.execute(sql.encode(), values).fetchall()
    if url.startswith("sqlite"):
        sqlite = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
        return lambda sql, values: sqlite.execute(sql, dict(values)).fetchall()
    import duckdb

    if url.startswith("duckdb"):
        connection = duckdb.connect(url.removeprefix("duckdb:///"), read_only=True)
    else:
        connection = duckdb.connect()
        connection.execute(f"CREATE TEMP VIEW metrics AS SELECT * FROM read_parquet('{url}')")
    return lambda sql, values: connection.execute(sql, dict(values)).fetchall()


def plan(url: str, statements: Statements) -> list[list[str]]:
    """Return PostgreSQL's plan of each statement, with actual row counts."""
    run = runner(url)
    how = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
    return [[str(row[0]) for row in run(how + sql, values)] for sql, values in statements]  # type: ignore[attr-defined]


def read(file: Path) -> Statements:
    """Return the statements in a file, with their dates as dates."""
    return [
        (
            sql,
            {
                name: date.fromisoformat(value["date"]) if isinstance(value, dict) else value
                for name, value in values.items()
            },
        )
        for sql, values in json.loads(file.read_text())
    ]


def main() -> None:
    """Record, time or explain the statements."""
    what, url, file = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if what == "record":
        file.write_text(json.dumps(record(url), default=lambda day: {"date": day.isoformat()}))
    elif what == "plan":
        print(json.dumps(plan(url, read(file))))
    else:
        statements, run = read(file), runner(url)
        start = time.perf_counter()
        for sql, values in statements:
            run(sql, values)
        print(json.dumps({"sql_s": time.perf_counter() - start}))


if __name__ == "__main__":
    main()
