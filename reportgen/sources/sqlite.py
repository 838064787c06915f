"""SQLite through the standard library: opened read-only, with one read transaction per build.

A column of SQLite may hold values of any type, so each value is classified by its own type. A date is ISO
text. A number of visits is a whole number, or a text of one, which ``.import`` produces.
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable
from reportgen.sources.base import Dialect, Finding, quoted_identifier, strip_semicolon, table_name
from reportgen.sources.files import file_from_url, missing_file_message

STEPS_BETWEEN_TIME_CHECKS = 10_000
"""Number of steps of SQLite's virtual machine between two checks of the time: some 10,000 checks a second."""


class SqliteSource:
    """A table or query of a SQLite database file, or of an in-memory database (the sample)."""

    site: str | None = None
    notice: str | None = None

    def __init__(self, name: str, uri: str, settings: SourceSettings, file: Path | None = None) -> None:
        self.name = name
        self.file = file
        self._uri = uri
        self._settings = settings
        self._connection: sqlite3.Connection | None = None
        self._raw_texts: dict[str, bytes] = {}

    @classmethod
    def from_settings(cls, settings: SourceSettings) -> Self:
        """Return the source of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``."""
        url = settings.url.get_secret_value()
        file = file_from_url(url, "sqlite")
        return cls(f"sqlite:///{file}", f"{file.absolute().as_uri()}?mode=ro", settings, file)

    def __enter__(self) -> Self:
        """Open the file and begin the read transaction."""
        if self.file is not None and not self.file.is_file():
            raise SourceUnavailable(missing_file_message(self.file, "sqlite"))
        with self._translate_errors():
            self._connection = self.connect()
            self._start_timeout(self._connection)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("BEGIN")
            self._check_columns(self._connection)
        return self

    def connect(self) -> sqlite3.Connection:
        """Return a new connection that decodes texts with :meth:`_decode`."""
        connection = sqlite3.connect(
            self._uri, uri=True, timeout=self._settings.connect_timeout_s, isolation_level=None
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, which ends the transaction."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def dialect(self) -> Dialect:
        """SQLite's SQL; dates are compared as ISO text."""
        columns = self._settings.columns
        day, path, visits = (
            quoted_identifier(columns.date),
            quoted_identifier(columns.path),
            quoted_identifier(columns.visits),
        )
        digits = f"ltrim({visits}, '-')"
        return Dialect(
            relation=self._relation,
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
            placeholder=":{}".format,
            date_value=date.isoformat,
        )

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows; it is stopped after ``statement_timeout_s``."""
        if self._connection is None:
            raise RuntimeError("the source is not open")
        self._start_timeout(self._connection)
        bound = dict(values)
        for name, value in values.items():
            if isinstance(value, str) and value in self._raw_texts:
                bound[name] = self._raw_texts[value]
                sql = re.sub(rf":{name}\b", f"CAST(:{name} AS TEXT)", sql)
        with self._translate_errors():
            yield from self._connection.execute(sql, bound)

    def _start_timeout(self, connection: sqlite3.Connection) -> None:
        """Start the timeout of the next statement."""
        deadline = time.monotonic() + self._settings.statement_timeout_s
        connection.set_progress_handler(lambda: time.monotonic() > deadline, STEPS_BETWEEN_TIME_CHECKS)

    def inspect(self) -> Iterator[Finding]:
        """Yield whether an index begins with the date column."""
        yield Finding("ok", "rights", "opened read-only")
        if self._settings.query:
            yield Finding("ok", "index", "not checked: the source is a query")
            return
        table, column = self._settings.table, self._settings.columns.date
        leading = "SELECT i.name FROM pragma_index_list(:t) l, pragma_index_info(l.name) i WHERE i.seqno = 0"
        keyed = "SELECT name FROM pragma_table_info(:t) WHERE pk = 1"
        names = {str(row[0]).lower() for row in self.rows(f"{leading} UNION {keyed}", {"t": table})}
        if column.lower() in names:
            yield Finding("ok", "index", f"an index begins with {quoted_identifier(column)}")
        else:
            yield Finding(
                "warning", "index",
                f"no index begins with {quoted_identifier(column)}: every build reads the whole table. "
                f"CREATE INDEX metrics_date ON {quoted_identifier(table)} ({quoted_identifier(column)});",
            )  # fmt: skip

    @property
    def _relation(self) -> str:
        query = self._settings.query
        return f"({strip_semicolon(query)}\n) AS metrics" if query else table_name(self._settings, "main")

    def _check_columns(self, connection: sqlite3.Connection) -> None:
        """Read one row, so that a wrong column fails with a clear message.

        Raises:
            SourceError: the dates are not stored as text.
            sqlite3.Error: a table or column does not exist.

        """
        columns = self._settings.columns
        day = quoted_identifier(columns.date)
        # SQLite takes a quoted name that is not a column as a string, unless it is qualified by the table.
        alias = "metrics" if self._settings.query else quoted_identifier(self._settings.table)
        listed = ", ".join(
            f"{alias}.{quoted_identifier(name)}" for name in (columns.date, columns.path, columns.visits)
        )
        connection.execute(f"SELECT {listed} FROM {self._relation} LIMIT 0")
        found = connection.execute(
            f"SELECT typeof({day}) FROM {self._relation} WHERE {day} IS NOT NULL LIMIT 1"
        ).fetchone()
        if found is not None and found[0] != "text":
            raise SourceError(
                f"{self.name}: the column {day} holds {found[0]} values, not ISO dates such as 2026-11-23. "
                f"Convert them with [source] query, for example: SELECT date({day}, 'unixepoch') AS date, …"
            )

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise sqlite3's errors as :class:`SourceError`."""
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning) as exc:  # Warning: two statements, before Python 3.12
            raise _to_source_error(exc, self.name, self._settings) from exc
        except UnicodeEncodeError as exc:
            raise SourceError(f"{self.name}: a name in [source] is not valid text: {exc}") from exc


def _to_source_error(exc: Exception, name: str, settings: SourceSettings) -> SourceError:
    """Return the SourceError for an error of SQLite; the words of its message decide."""
    text = str(exc)
    if text == "interrupted":
        return SourceUnavailable(
            f"{name}: a statement took longer than {settings.statement_timeout_s} s. Add an index "
            "on the date column, or raise statement_timeout_s in [source]"
        )
    if "locked" in text or "busy" in text:
        return SourceUnavailable(f"{name}: another program holds the database locked ({text}); try again")
    if "no such table" in text:
        return SourceError(f"{name}: {text}. Set schema and table in [source] to an existing table")
    if "no such column" in text:
        return SourceError(f"{name}: {text}. Set columns in [source] to the names the table has")
    if "not a database" in text or "malformed" in text:
        return SourceError(f"{name}: this file is not a SQLite database, or it is damaged ({text})")
    if "integer overflow" in text:
        return SourceError(f"{name}: the visits add up to more than 64 bits hold. Look for a wrong count")
    if "unable to open" in text:
        return SourceUnavailable(
            f"{name}: cannot be opened for reading. Check the file's permissions; a database in WAL mode "
            "needs its -wal and -shm files beside it, or permission to create them"
        )
    if ("readonly database" in text or "attempt to write" in text) and settings.query is None:
        return SourceUnavailable(
            f"{name}: opened read-only, but SQLite wants to write: {text}. A database in WAL mode needs its "
            "-wal and -shm files beside it, or permission to create them"
        )
    if "readonly database" in text or "attempt to write" in text:
        return SourceError(f"{name}: [source] query tried to write; it may only read")
    return SourceError(f"{name}: {text}. Check [source] query, table and columns")
