"""The engines that the conformance suite runs on: each stores rows and opens a source on them."""

import csv
import gzip
import importlib.util
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import duckdb
import psycopg
import pytest

from reportgen.config.settings import load_config
from reportgen.core.windows import Span, Window, make_window
from reportgen.sources.base import Source
from reportgen.sources.registry import open_source
from reportgen.sources.statements import read_cells, read_daily, read_paths, read_rows_out_of_range

Row = tuple[Any, Any, Any]

TODAY = date(2026, 11, 23)
SPAN = Span(TODAY - timedelta(days=13), TODAY)
ZONED_ENGINES = ("ibis-duckdb", "ibis-postgres", "ibis-spark")
IBIS_ENGINES = (*ZONED_ENGINES, "ibis-mysql")
ENGINES = ("postgres", "sqlite", "duckdb", "parquet", "csv", "csv.gz", *IBIS_ENGINES)
SERVERS = {"postgres": "pg", "ibis-postgres": "pg", "ibis-spark": "spark", "ibis-mysql": "mysql"}
"""The name of the fixture that starts an engine's server."""
WITHOUT_IBIS = "Ibis is not installed in this environment, because of its size: run make test-spark"


METRICS_TABLE = (
    "CREATE TABLE metrics (date date NOT NULL, path text NOT NULL,"
    " visits integer NOT NULL DEFAULT 0, PRIMARY KEY (date, path))"
)
"""The documented table."""


def with_database(url: str, name: str) -> str:
    """Return ``url`` with another database."""
    head, mark, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{query}"


def needs_ibis() -> None:
    """Skip the test if Ibis is not installed."""
    if importlib.util.find_spec("ibis") is None:
        pytest.skip(WITHOUT_IBIS)


def day(number: int) -> date:
    """Return the date ``number`` days before today."""
    return TODAY - timedelta(days=number)


def insert_in_duckdb(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[object]]
) -> None:
    """Insert the rows with one statement, which takes a tenth of the time of one for each row."""
    if rows:
        places = ", ".join(["(?, ?, ?)"] * len(rows))
        connection.execute(f'INSERT INTO "{table}" VALUES {places}', [cell for row in rows for cell in row])


class Engine:
    """Stores rows in one engine and opens a source on them."""

    def __init__(self, name: str, folder: Path, server: str | None = None) -> None:
        self.name = name
        self.folder = folder
        self.server = server
        self.stores_in = name.removeprefix("ibis-")

    def load(
        self,
        rows: Sequence[Row],
        *,
        dates: str = "date",
        visits: str = "bigint",
        table: str = "metrics",
        columns: tuple[str, str, str] = ("date", "path", "visits"),
    ) -> str:
        """Store the rows in a table without keys and return the source's URL."""
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        types = [
            f"{name} {kind}" for name, kind in zip(names.split(", "), (dates, "text", visits), strict=True)
        ]
        ddl = f'CREATE TABLE "{table}" ({", ".join(types)})'
        if self.stores_in == "postgres":
            assert self.server
            with psycopg.connect(self.server) as connection:
                connection.execute(ddl.encode())
                insert = f'INSERT INTO "{table}" VALUES (%s, %s, %s)'.encode()
                connection.cursor().executemany(insert, rows)
            return self.server if self.name == "postgres" else f"ibis+{self.server}"
        if self.stores_in == "mysql":
            return self._in_mysql(rows, table, columns, dates, visits)
        if self.name == "sqlite":
            with sqlite3.connect(self.folder / "m.db") as connection:
                connection.execute(ddl.replace("text", "blob"))  # no affinity: values are not converted
                texts = [(value if value is None else str(value), *rest) for value, *rest in rows]
                connection.executemany(f'INSERT INTO "{table}" VALUES (?, ?, ?)', texts)
            connection.close()
            return f"sqlite:///{self.folder}/m.db"
        if self.name.startswith("csv"):
            return self._csv(rows, columns)
        database = str(self.folder / "m.duckdb") if self.stores_in == "duckdb" else ":memory:"
        with duckdb.connect(database) as connection:
            connection.execute(ddl)
            insert_in_duckdb(connection, table, rows)
            if self.stores_in == "duckdb":
                return f"{self.name.replace('-', '+')}:///{database}"
            if self.stores_in == "spark":
                return self._partitioned(
                    connection, table, columns[0], by_date=dates == "date" and bool(rows)
                )
            connection.execute(f"COPY \"{table}\" TO '{self.folder}/m.parquet'")
        return f"{self.folder}/m.parquet"

    def _in_mysql(
        self, rows: Sequence[Row], table: str, columns: tuple[str, str, str], dates: str, visits: str
    ) -> str:
        """Store the rows with a collation in which a equals A and é equals e, as in MySQL's default."""
        import MySQLdb

        assert self.server
        server = urlsplit(self.server)
        kinds = {"timestamp": "datetime", "timestamptz": "timestamp", "numeric": "decimal(20, 3)"}
        types = (kinds.get(dates, dates), "varchar(500)", kinds.get(visits, visits))
        definitions = ", ".join(f"`{name}` {kind} NULL" for name, kind in zip(columns, types, strict=True))
        with (
            closing(
                MySQLdb.connect(host=server.hostname, port=server.port, user=server.username)
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("DROP DATABASE IF EXISTS reportgen_test")
            cursor.execute("CREATE DATABASE reportgen_test CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
            cursor.execute(f"CREATE TABLE reportgen_test.`{table}` ({definitions})".replace("%", "%%"), ())
            insert = f"INSERT INTO reportgen_test.`{table}` VALUES (%s, %s, %s)"
            cursor.executemany(insert, [tuple(row) for row in rows])
            connection.commit()
        return f"ibis+{self.server}/reportgen_test"

    def _partitioned(
        self, connection: duckdb.DuckDBPyConnection, table: str, column: str, *, by_date: bool
    ) -> str:
        """Write Parquet files, in folders by date if ``by_date``; return the URL for Spark."""
        folder = self.folder / "metrics"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if by_date:
            column = column.replace('"', '""')
            connection.execute(f'COPY "{table}" TO \'{folder}\' (FORMAT parquet, PARTITION_BY ("{column}"))')
        else:
            connection.execute(f"COPY \"{table}\" TO '{folder}/m.parquet'")
        return f"{self.server}?parquet={quote(str(folder))}"

    def _csv(self, rows: Sequence[Row], columns: tuple[str, str, str]) -> str:
        file = self.folder / f"m.{self.name}"
        opener: Any = gzip.open if self.name.endswith(".gz") else open
        with opener(file, "wt", encoding="utf-8", newline="") as stream:
            csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC).writerow(columns)
            for row in rows:  # an absent value is an empty cell, an empty text is a quoted one
                cells = ["" if value is None else '"' + str(value).replace('"', '""') + '"' for value in row]
                stream.write(",".join(cells) + "\r\n")
        return str(file)

    def open(self, url: str, timezone: str = "UTC", span: Span = SPAN, **settings: Any) -> Source:
        """Return the source for ``url`` with ``[source]`` settings."""
        config = load_config(None, {}, {"source": {"url": url, **settings}})
        return open_source(config.source, timezone, span)


def make_engine(name: str, request: pytest.FixtureRequest, folder: Path) -> Engine:
    """Return the engine of :data:`ENGINES` with this name, and start its server if it needs one."""
    if name in IBIS_ENGINES:
        needs_ibis()
    return Engine(name, folder, request.getfixturevalue(SERVERS[name]) if name in SERVERS else None)


def week() -> Window:
    """Return the window of seven days that ends today; today is not complete."""
    return make_window("7d", TODAY, today_complete=False)


def pairs(window: Window, *left_out: date) -> list[tuple[date, date]]:
    """Return the window's complete dates with their earlier ones, without those of ``left_out``."""
    complete, before = window.complete, window.complete_previous
    found = zip(complete.dates(), before.dates(), strict=True) if complete and before else ()
    return [pair for pair in found if not set(pair) & set(left_out)]


def run_and_record(source: Source, window: Window, span: Span) -> list[tuple[str, dict[str, Any]]]:
    """Run every statement of a build on the source; return their SQL and values."""
    statements: list[tuple[str, dict[str, Any]]] = []
    run = source.rows

    def record(sql: str, values: Any) -> Any:
        statements.append((sql, dict(values)))
        return run(sql, values)

    source.rows = record  # type: ignore[method-assign]
    read_daily(source, span)
    read_rows_out_of_range(source, span, include_future=True)
    read_paths(source, window, pairs(window, day(3)), 100, 5)
    read_cells(source, span, ["/notes/my-first-code"])
    assert len(statements) == 5
    return statements
