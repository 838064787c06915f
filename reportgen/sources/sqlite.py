"""SQLite through the standard library: opened read-only, with one read transaction per build.

A column of SQLite may hold values of any type, so each value is classified by its own type. At first dates
are compared as ISO text, so that an index on them is used. Where other texts or numbers are found, Python
reads the dates once, into a temporary table. A number of visits is a whole number, or a text of one.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any, Self

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
from reportgen.sources.spellings import DateReader, number_of, number_reader, unreadable_dates

if TYPE_CHECKING:
    from pathlib import Path

ROWS = "reportgen_rows"
"""The temporary table that holds the rows with the dates that Python has read."""
PROBE_S = 2
"""Maximum number of seconds in which a build looks for dates that are not ISO text."""
PROBED_ROWS = 10_000
"""Number of the first and of the last rows whose dates are looked at when a build begins."""


class SqliteSource(Source):
    """A table or query of a SQLite database file, or of an in-memory database (the sample)."""

    driver_errors = (sqlite3.Error, sqlite3.Warning, UnicodeEncodeError)
    _connection: sqlite3.Connection

    def __init__(self, name: str, uri: str, settings: SourceSettings) -> None:
        super().__init__(settings, name)
        self._file: Path | None = None
        self._uri = uri
        self._raw_texts: dict[str, bytes] = {}
        self._timezone = "UTC"
        self._first = date.min
        self._uses_rows = False

    @classmethod
    def from_settings(cls, settings: SourceSettings, timezone: str, first: date) -> Self:
        """Return the source of ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

        ``first`` is the first date that the build reads. Instants are converted to dates in ``timezone``.
        """
        file = file_from_url(settings.url.get_secret_value(), "sqlite")
        source = cls(f"sqlite:///{file}", f"{file.absolute().as_uri()}?mode=ro", settings)
        source._file, source._timezone, source._first = file, timezone, first
        return source

    def connect(self, opened: ExitStack) -> None:
        """Open the file, begin the read transaction and check the columns."""
        if self._file is not None:
            check_file(self._file, "sqlite")
        self._connection = opened.enter_context(closing(self.open_database()))
        with self.timeout():
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute("BEGIN")
            if not self.reads_visits:
                return
            self._check_columns()
            self._create_functions()
            settings = self.settings
            has_format = settings.date_format or settings.timestamp_zone
            if self._file and (has_format or self._finds_other_spellings()):
                self._read_spellings()

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
        stored, path, visits = ("raw_date", "path", "visits") if self._uses_rows else self._stored_columns
        digits = f"ltrim({visits}, '-')"
        return Dialect(
            relation=ROWS if self._uses_rows else self.relation("main"),
            stored_date="day" if self._uses_rows else stored,
            raw_date=stored,
            day="day" if self._uses_rows else _iso_day(stored),
            path=f"CAST({path} AS TEXT)",
            # Whole numbers beyond 64 bits stay REAL, so that their sum is REAL too and is refused.
            visits=f"CASE typeof({visits}) WHEN 'integer' THEN {visits}"
            f" WHEN 'real' THEN CASE WHEN {visits} = round({visits}) THEN"
            f" CASE WHEN abs({visits}) < 9e18 THEN CAST({visits} AS INTEGER) ELSE {visits} END END"
            f" WHEN 'text' THEN CASE WHEN {digits} <> '' AND {digits} NOT GLOB '*[^0-9]*'"
            f" AND length({visits}) - length({digits}) <= 1 THEN"
            f" CASE WHEN length({digits}) <= 18 THEN CAST({visits} AS INTEGER)"
            f" ELSE CAST({visits} AS REAL) END"
            f" ELSE reportgen_number(CAST({visits} AS BLOB)) END END",
            stored_visits=visits,
            code_point_order=" COLLATE BINARY",
            placeholder=lambda name, value: (
                f"CAST(:{name} AS TEXT)" if value in self._raw_texts else f":{name}"
            ),
            date_value=date.isoformat,
            stored_date_value=date.isoformat,
        )

    def by_rules(self, relation: str) -> str:
        """Return the SQL of ``relation`` with the columns ``path`` and ``section``."""
        form = "CAST(form AS BLOB)"
        columns = f"CAST(reportgen_path({form}) AS TEXT) AS path, reportgen_section({form}) AS section"
        return f"(SELECT *, {columns} FROM {relation}) AS ruled"

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows."""
        bound = {name: self._raw_texts.get(value, value) for name, value in values.items()}
        yield from self._connection.execute(sql, bound)

    def bound_value(self, name: str, value: date | str | None) -> tuple[str, Any]:
        """Return a placeholder; a date is its ISO text, and a moment one with a blank, as most store it."""
        if isinstance(value, datetime):
            value = value.replace(tzinfo=None)
        return f":{name}", str(value) if isinstance(value, date) else value

    @contextmanager
    def run_query(
        self,
        sql: str,
        values: Mapping[str, Any],
        _: float,
        count: int,
    ) -> Iterator[tuple[Sequence[str], Iterable[Iterable[Any]]]]:
        """Run a panel's query."""
        with closing(self._connection.execute(self.limited(sql, count), values)) as cursor:
            yield [str(column[0]) for column in cursor.description], cursor

    def cancel(self) -> None:
        """End the running statement."""
        self._connection.interrupt()

    def read_all_spellings(self, *, thorough: bool) -> bool:
        """Read the dates by Python if there are others than ISO text; return whether there are."""
        if self._uses_rows:
            return False
        with self.translate_errors(), self.timeout():
            if not self._finds_unread_date(None if thorough else PROBE_S):
                return False
            self._read_spellings()
        return True

    def left_out_table(self) -> str | None:
        """Return the quoted table that holds what an import left out, if there is one."""
        return '"left_out"' if self._has_row("sqlite_master", "name = 'left_out'") else None

    def inspect(self) -> Iterator[Finding]:
        """Yield whether an index begins with the date column."""
        yield Finding("ok", "rights", "opened read-only")
        day = self._stored_columns[0]
        texts = f"SELECT {day} FROM {self.relation('main')} WHERE typeof({day}) = 'text' LIMIT 100"
        yield from self.text_zone_findings(
            (row[0] for row in self._connection.execute(texts)), self._timezone
        )
        if self.settings.query:
            yield Finding("ok", "index", "not checked: the source is a query")
            return
        table, column = self.settings.table, self.settings.columns.date
        create = f"CREATE INDEX metrics_date ON {quoted_identifier(table)} ({quoted_identifier(column)})"
        yield index_finding(column, None if self._has_index() else create)

    @property
    def _stored_columns(self) -> tuple[str, str, str]:
        day, path, visits = map(quoted_identifier, self.columns)
        return day, path, visits

    @property
    def _is_unread(self) -> str:
        day = self._stored_columns[0]
        return f"{day} IS NOT NULL AND {_iso_day(day)} IS NULL"

    def _has_index(self) -> bool:
        """Whether an index of the table begins with the date column."""
        leading = "SELECT i.name FROM pragma_index_list(:t) l, pragma_index_info(l.name) i WHERE i.seqno = 0"
        keyed = "SELECT name FROM pragma_table_info(:t) WHERE pk = 1"
        found = self._connection.execute(f"{leading} UNION {keyed}", {"t": self.settings.table})
        return self.settings.columns.date.lower() in {str(row[0]).lower() for row in found}

    def _create_functions(self) -> None:
        """Let SQL call Python for a date or a number that SQL cannot read. Texts are passed as bytes."""
        settings = self.settings
        dates = DateReader(self._timezone, settings.date_format, settings.timestamp_zone)
        thousands = settings.thousands
        pattern = number_reader(thousands)

        def number(raw: bytes) -> float | None:
            found = number_of(raw.decode(errors="replace"), pattern, thousands)
            return found if found is None or -(2**63) <= found < 2**63 else float(found)

        def day(value: object) -> str | None:
            if isinstance(value, bytes):  # SQLite's own functions end a text at its first NUL
                value = value.partition(b"\0")[0].decode(errors="replace")
            return dates.day_of(value)

        def path(raw: bytes) -> bytes | None:
            found = self.rules.path_of(raw.decode(errors="surrogateescape"))
            return None if found is None else found.encode(errors="surrogateescape")

        def section(raw: bytes) -> int:
            return self.rules.section_of(raw.decode(errors="surrogateescape"))

        self._connection.create_function("reportgen_path", 1, path, deterministic=True)
        self._connection.create_function("reportgen_section", 1, section, deterministic=True)
        self._connection.create_function("reportgen_number", 1, number, deterministic=True)
        self._connection.create_function("reportgen_day", 1, day, deterministic=True)

    def _finds_other_spellings(self) -> bool:
        """Whether one of the first, last, smallest or largest dates cannot be read as ISO text."""
        day, relation = self._stored_columns[0], self.relation("main")
        ends = [f"LIMIT {PROBED_ROWS}"]
        if self.settings.query is None:
            ends.append(f"ORDER BY rowid DESC LIMIT {PROBED_ROWS}")
        ends += [f"WHERE {day} IS NOT NULL ORDER BY {day} {order} LIMIT 1" for order in ("ASC", "DESC")]
        for end in ends:
            sql = f"SELECT 1 FROM (SELECT {day} FROM {relation} {end}) WHERE {self._is_unread} LIMIT 1"
            with suppress(sqlite3.OperationalError):  # a view has no rowid, and a table may have none
                plan = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()
                sorts = any("FOR ORDER BY" in str(row[3]) for row in plan)
                if not sorts and self._connection.execute(sql).fetchone():
                    return True
        return False

    def _finds_unread_date(self, limit_s: float | None) -> bool:
        """Whether a date of any row is not ISO text; false if that is not known after ``limit_s``."""
        if limit_s is not None:
            end = time.monotonic() + limit_s
            self._connection.set_progress_handler(lambda: time.monotonic() > end, 100_000)
        try:
            return self._has_row(self.relation("main"), self._is_unread)
        except sqlite3.OperationalError:
            if limit_s is None or time.monotonic() < end:
                raise
            self.warnings.append(
                f"{self.name}: some dates have no rows, and not every row could be looked at in {limit_s} s. "
                "reportgen check looks at all of them"
            )
            return False
        finally:
            self._connection.set_progress_handler(None, 0)

    def _read_spellings(self) -> None:
        """Let Python read the dates, once, into a temporary table of the rows from the first date on."""
        stored, path, visits = self._stored_columns
        day = (
            f"reportgen_day(CASE typeof({stored}) WHEN 'text' THEN CAST({stored} AS BLOB) ELSE {stored} END)"
        )
        relation, first = self.relation("main"), self._first.isoformat()
        # An offset moves an instant by at most two days.
        limit = self._first - timedelta(days=min(3, (self._first - date.min).days))
        seconds = int(datetime.combine(limit, clock(), UTC).timestamp())
        is_old = (
            f"CASE typeof({stored}) WHEN 'text' THEN"
            f" {stored} < '{limit.isoformat()}' AND {_iso_day(f'substr({stored}, 1, 10)')} IS NOT NULL"
            f" AND date({stored}) IS NOT NULL AND substr({stored}, 12) < '24'"
            f" AND (substr({stored}, 11) = '' OR substr({stored}, 11) GLOB '[ T][0-9]*')"
            f" WHEN 'integer' THEN +{stored} BETWEEN 100000000 AND {seconds}"
            f" OR +{stored} BETWEEN 100000000000 AND {seconds}000 END"
        )
        if self.settings.date_format:
            is_old = "false"
        self._connection.execute("PRAGMA query_only = OFF")
        self._connection.execute(
            f"CREATE TEMP TABLE {ROWS} AS SELECT {day} AS day, {stored} AS raw_date, {path} AS path,"
            f" {visits} AS visits FROM {relation} WHERE ({is_old}) IS NOT TRUE"
            f" AND ({day} >= '{first}' OR {day} IS NULL)"
        )
        self._connection.execute("PRAGMA query_only = ON")
        self._uses_rows = True
        self.older_rows = f"SELECT 1 FROM {relation} WHERE {day} < '{first}' LIMIT 1"
        unread = "day IS NULL AND raw_date IS NOT NULL"
        if (
            self._has_row(ROWS, unread)
            and not self._has_row(ROWS, "day IS NOT NULL")
            and not self._has_row(relation, f"{day} IS NOT NULL")
        ):
            found = self._connection.execute(
                f"SELECT raw_date, path, visits FROM {ROWS} WHERE {unread} LIMIT 1000"
            ).fetchall()
            raise SourceError(unreadable_dates(self.name, self.columns[0], found))

    def _has_row(self, relation: str, condition: str) -> bool:
        found = self._connection.execute(f"SELECT 1 FROM {relation} WHERE {condition} LIMIT 1")
        return found.fetchone() is not None

    def _check_columns(self) -> None:
        """Check that the columns exist: SQLite takes a quoted name that is not a column as a string."""
        cursor = self._connection.execute(f"SELECT * FROM {self.relation('main')} LIMIT 0")
        found = [str(column[0]) for column in cursor.description]
        for name in self.columns:
            if name.lower() not in map(str.lower, found):
                raise self.missing_column(name, found)


def _iso_day(column: str) -> str:
    """Return the SQL of the date of an ISO text that has a time without a zone, or no time; or NULL."""
    begin = f"substr({column}, 1, 10)"
    # With a modifier, date() turns 2026-02-30 into 2026-03-02: a text is a date if it stays the same.
    return (
        f"CASE WHEN date({column}, '+0 days') = {begin} AND (substr({column}, 11) = ''"
        f" OR substr({column}, 11, 1) IN (' ', 'T') AND length({column}) <> 11"
        f" AND substr({column}, 12) NOT GLOB '*[^0-9:.]*') AND {column} >= '0001' THEN {begin} END"
    )
