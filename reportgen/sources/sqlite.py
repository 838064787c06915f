"""SQLite through the standard library: opened read-only, with one read transaction per build.

A column of SQLite may hold values of any type, so each value is classified by its own type. A date is ISO
text. A number of visits is a whole number, or a text of one, which ``.import`` produces.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import date
from pathlib import Path
from typing import Any, Self

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError
from reportgen.sources.base import (
    Dialect,
    Finding,
    Source,
    check_file,
    file_from_url,
    index_finding,
    quoted_identifier,
)


class SqliteSource(Source):
    """A table or query of a SQLite database file, or of an in-memory database (the sample)."""

    driver_errors = (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError)
    _connection: sqlite3.Connection

    def __init__(self, name: str, uri: str, settings: SourceSettings, file: Path | None = None) -> None:
        super().__init__(settings, name)
        self._file = file
        self._uri = uri
        self._raw_texts: dict[str, bytes] = {}

    @classmethod
    def from_settings(cls, settings: SourceSettings) -> Self:
        """Return the source of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
        file = file_from_url(settings.url.get_secret_value(), "sqlite")
        return cls(f"sqlite:///{file}", f"{file.absolute().as_uri()}?mode=ro", settings, file)

    def connect(self, opened: ExitStack) -> None:
        """Open the file, begin the read transaction and check the columns."""
        if self._file is not None:
            check_file(self._file, "sqlite")
        self._connection = opened.enter_context(closing(self.open_database()))
        with self.timeout():
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("BEGIN")
            self._check_columns()

    def open_database(self) -> sqlite3.Connection:
        """Return a new connection that decodes texts with :meth:`_decode`."""
        connection = sqlite3.connect(
            self._uri, uri=True, timeout=self.settings.connect_timeout_s, isolation_level=None
        )
        connection.text_factory = self._decode
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)  # ATTACH would create a file
        return connection

    def _decode(self, raw: bytes) -> str:
        """Return a stored text; a byte that is not UTF-8 becomes an escape, and the stored bytes are kept."""
        try:
            return raw.decode()
        except UnicodeDecodeError:
            text = raw.decode(errors="backslashreplace")
            self._raw_texts[text] = raw
            return text

    @property
    def dialect(self) -> Dialect:
        """SQLite's SQL; dates are compared as ISO text."""
        day, path, visits = map(quoted_identifier, self.columns)
        digits = f"ltrim({visits}, '-')"
        return Dialect(
            relation=self.relation("main"),
            stored_date=day,
            # With a modifier, date() turns 2026-02-30 into 2026-03-02: a text is a date if it stays the same.
            day=f"CASE WHEN date(substr({day}, 1, 10), '+0 days') = substr({day}, 1, 10)"
            f" AND substr({day}, 11, 1) IN ('', ' ', 'T') THEN substr({day}, 1, 10) END",
            path=f"CAST({path} AS TEXT)",
            # Whole numbers beyond 64 bits stay REAL, so that their sum is REAL too and is refused.
            visits=f"CASE typeof({visits}) WHEN 'integer' THEN {visits}"
            f" WHEN 'real' THEN CASE WHEN {visits} = round({visits}) THEN"
            f" CASE WHEN abs({visits}) < 9e18 THEN CAST({visits} AS INTEGER) ELSE {visits} END END"
            f" WHEN 'text' THEN CASE WHEN {digits} <> '' AND {digits} NOT GLOB '*[^0-9]*'"
            f" AND length({visits}) - length({digits}) <= 1 THEN"
            f" CASE WHEN length({digits}) <= 18 THEN CAST({visits} AS INTEGER)"
            f" ELSE CAST({visits} AS REAL) END"
            f" END END",
            stored_visits=visits,
            code_point_order=" COLLATE BINARY",
            placeholder=lambda name, value: (
                f"CAST(:{name} AS TEXT)" if value in self._raw_texts else f":{name}"
            ),
            date_value=date.isoformat,
        )

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows."""
        bound = {name: self._raw_texts.get(value, value) for name, value in values.items()}
        yield from self._connection.execute(sql, bound)

    def cancel(self) -> None:
        """End the running statement."""
        self._connection.interrupt()

    def inspect(self) -> Iterator[Finding]:
        """Yield whether an index begins with the date column."""
        yield Finding("ok", "rights", "opened read-only")
        if self.settings.query:
            yield Finding("ok", "index", "not checked: the source is a query")
            return
        table, column = self.settings.table, self.settings.columns.date
        leading = "SELECT i.name FROM pragma_index_list(:t) l, pragma_index_info(l.name) i WHERE i.seqno = 0"
        keyed = "SELECT name FROM pragma_table_info(:t) WHERE pk = 1"
        names = {str(row[0]).lower() for row in self.rows(f"{leading} UNION {keyed}", {"t": table})}
        create = f"CREATE INDEX metrics_date ON {quoted_identifier(table)} ({quoted_identifier(column)})"
        yield index_finding(column, None if column.lower() in names else create)

    def _check_columns(self) -> None:
        """Read one row, so that a wrong column fails with a clear message."""
        # SQLite takes a quoted name that is not a column as a string, unless it is qualified by the table.
        alias = "metrics" if self.settings.query else quoted_identifier(self.settings.table)
        listed = ", ".join(f"{alias}.{quoted_identifier(name)}" for name in self.columns)
        relation, day = self.relation("main"), quoted_identifier(self.settings.columns.date)
        self._connection.execute(f"SELECT {listed} FROM {relation} LIMIT 0")
        found = self._connection.execute(
            f"SELECT typeof({day}) FROM {relation} WHERE {day} IS NOT NULL LIMIT 1"
        ).fetchone()
        if found is not None and found[0] != "text":
            raise SourceError(
                f"{self.name}: the column {day} holds {found[0]} values, not ISO dates such as 2026-11-23. "
                f"Convert them with [source] query, for example: SELECT date({day}, 'unixepoch') AS date, …"
            )
