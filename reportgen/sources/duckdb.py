"""DuckDB: its own database files, Parquet files (also by a glob pattern), CSV and gzipped CSV.

The connection can read only the named files: it loads no extension, has no access to the network, and its
settings are locked. CSV files, and dates that are not plain ISO text, are read into memory once. Only the
dates that the build reads are kept. Otherwise each statement would parse all rows again.

Dates and numbers may be text in the spellings of :mod:`reportgen.sources.spellings`. DuckDB itself reads CSV
files in UTF-8 in which every row has the columns of the header and a date. All other CSV files are first
written anew by :mod:`reportgen.sources.csv_files`.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import PanelError, SourceError, SourceUnavailable
from reportgen.sources import csv_files, spellings
from reportgen.sources.base import (
    CSV_ENDS,
    FILE_ENDS,
    ROWS_PER_FETCH,
    Dialect,
    Finding,
    Source,
    check_file,
    file_from_url,
    first_moment,
    literal,
    matching_files,
    quoted_identifier,
    sql_type,
)
from reportgen.sources.errors import QUERY
from reportgen.sources.path_sql import PathSql
from reportgen.sources.spellings import row_example, unreadable_dates

INTEGER_TYPES = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip
FRACTIONAL_TYPES = {"FLOAT", "DOUBLE", "DECIMAL", "UHUGEINT"}
NUMBER_TYPES = INTEGER_TYPES | FRACTIONAL_TYPES
LONGEST_MESSAGE = 2_000
"""Maximum columns of an error about a line of a CSV file: it quotes the line."""
ROWS = "reportgen_rows"
"""The temporary table or view that holds the rows with the dates that were read from text or numbers."""


class DuckdbConnectionSource(Source):
    """A source whose statements DuckDB runs."""

    driver_errors = (duckdb.Error, OSError, EOFError)
    _connection: duckdb.DuckDBPyConnection

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows."""
        cursor = self._connection.execute(sql, dict(values))
        while chunk := cursor.fetchmany(ROWS_PER_FETCH):
            yield from chunk

    def bound_value(self, name: str, value: date | str | None) -> tuple[str, Any]:
        """Return a placeholder of a type."""
        return f"CAST(${name} AS {sql_type(value)})", value

    @property
    def panel_views(self) -> Mapping[str, str]:
        """The queries that a panel reads by a name, if the names are not those of a database."""
        return {}

    @contextmanager
    def run_query(
        self,
        sql: str,
        values: Mapping[str, Any],
        _: float,
        count: int,
    ) -> Iterator[tuple[Sequence[str], Iterable[Iterable[Any]]]]:
        """Run a panel's query on a connection of its own: after an error, a transaction cannot go on."""
        whole = self._connection
        try:
            with closing(whole.cursor()) as self._connection:
                self._make_panel_views()
                limited = self.limited(sql, count)
                if len(duckdb.extract_statements(limited)) != 1:  # all of them would run
                    raise PanelError("there is a second statement. Write one SELECT in each panel.")
                columns = self._connection.execute(f"DESCRIBE {limited}", values).fetchall()
                # DuckDB's driver needs another package to return a timestamp with a zone.
                zoned = [quoted_identifier(name) for name, kind, *_ in columns if "TIME ZONE" in kind]
                if zoned:
                    casts = ", ".join(f"CAST({each} AS VARCHAR) AS {each}" for each in zoned)
                    limited = f"SELECT * REPLACE ({casts}) FROM ({limited})"
                instants = [kind == "TIMESTAMP WITH TIME ZONE" for _, kind, *_ in columns]
                rows = self.execute(limited, values)
                yield [name for name, *_ in columns], (map(_moment, row, instants) for row in rows)
        finally:
            self._connection = whole

    def _make_panel_views(self) -> None:
        for name, view in self.panel_views.items():
            try:
                self._connection.execute(f"CREATE TEMP VIEW {quoted_identifier(name)} AS {view}")
            except duckdb.InvalidInputException:  # its message is about options of DuckDB
                raise PanelError(
                    f"{self.name}: not one table in CSV. Leave only a header and its rows in the file."
                ) from None

    def cancel(self) -> None:
        """End the running statement."""
        self._connection.interrupt()

    def by_rules(self, relation: str) -> str:
        """Return the SQL of ``relation`` with the columns ``path`` and ``section``."""
        return PathSql().by_rules(relation, self.rules)


class DuckdbSource(DuckdbConnectionSource):
    """A table or query of a DuckDB database file, or of Parquet or CSV files.

    ``first`` is the first date that the build reads: earlier CSV rows are not kept.
    """

    def __init__(self, settings: SourceSettings, timezone: str, first: date) -> None:
        url = settings.url.get_secret_value()
        self._timezone = timezone
        self._first = first
        self._is_database = url.lower().startswith("duckdb://")
        self._kind = next((end for end in FILE_ENDS if url.lower().endswith(end)), "DuckDB")
        self._is_csv = self._kind in CSV_ENDS
        self._types = ("DATE", "BIGINT")
        self._file_states: list[tuple[int, int, int]] = []
        if self._is_database:
            self._files = [str(file_from_url(url, "duckdb"))]
            super().__init__(settings, f"duckdb:///{self._files[0]}")
        else:
            self._files = matching_files(url)
            super().__init__(settings, url)
        self._relation = ""
        self._panel_views: Mapping[str, str] = {}
        if not self._is_database:
            self.query_advice = f'{QUERY}: it names the files "{settings.table}"'
        self.advice = f"Check that the file is what its name says ({self._kind})"

    def connect(self, opened: ExitStack) -> None:
        """Open the files, restrict the connection, and check columns and types."""
        if self._is_database:
            check_file(Path(self._files[0]), "duckdb")
        elif not self._files:
            kind = "no file matches" if glob.has_magic(self.name) else "no such file"
            raise SourceUnavailable(f"{self.name}: {kind}. The path is relative to {Path.cwd()}")
        self._file_states = file_states(self._files)
        if not self._is_csv:
            self._open_files(opened, self._files)
            return
        # As for a query, which names the columns itself.
        settings = self.settings if self.reads_visits else self.settings.model_copy(update={"query": "*"})
        forms = [csv_files.find_form(file, settings) for file in self._files]
        if all(form.is_regular for form in forms) and self._read_as_is(opened, forms):
            return
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="reportgen-csv-")))
        reader = csv_files.CsvWriter(settings, self._timezone)
        copies = [reader.write(form, folder / f"{number}.csv") for number, form in enumerate(forms)]
        self.left_out, self.examples = reader.left_out, reader.examples
        self._open_files(opened, [copy.file for copy in copies], copies)

    @property
    def panel_views(self) -> Mapping[str, str]:
        """The files, with columns of the types that DuckDB finds, by the name of the table."""
        return self._panel_views

    def _read_as_is(self, opened: ExitStack, forms: "Sequence[csv_files.CsvForm]") -> bool:
        """Let DuckDB read the CSV files; return false if a row has other columns, or no date."""
        with ExitStack() as attempt:
            try:
                self._open_files(attempt, self._files, forms)
            except SourceUnavailable:  # it took too long
                raise
            except (duckdb.InvalidInputException, SourceError):
                return False
            if self.reads_visits and self.settings.query is None and self._has_row("day IS NULL"):
                return False
            opened.push(attempt.pop_all())
        return True

    def _open_files(
        self, opened: ExitStack, files: "Sequence[str]", forms: "Sequence[csv_files.CsvForm]" = ()
    ) -> None:
        """Connect, and make the relation that the statements read; ``forms`` are those of CSV files."""
        database = files[0] if self._is_database else None
        self._connection = open_confined(opened, files, self._timezone, database=database)
        listed = ", ".join(map(literal, files))
        with self.timeout():
            self._connection.execute("BEGIN TRANSACTION")
            if not self._is_database:
                selected = (
                    " UNION ALL BY NAME ".join(map(_read_csv, forms))
                    if forms
                    else f"SELECT * FROM read_parquet([{listed}], union_by_name = true)"
                )
                self._connection.execute(f"CREATE TEMP VIEW {self._view} AS {selected}")
                typed = " UNION ALL BY NAME ".join(_read_csv(form, typed=True) for form in forms)
                self._panel_views = {self.settings.table: typed or selected}
            if not self.reads_visits:
                return
            is_named = self._is_database or self.settings.query
            self._relation = self.relation("main") if is_named else self._view
            self._types = self._column_types()
            if self._uses_rows:
                self._read_spellings()

    def _read_spellings(self) -> None:
        """Make :data:`ROWS`, in which each date is a date, or NULL if it cannot be read.

        It is a table of the rows from the first date on, because files and texts are slow to parse. If all
        dates are plain ISO dates of a database or Parquet files, it is a view.
        """
        stored, path, visits = map(quoted_identifier, self.columns)
        is_view = False
        if self._types[0] == "VARCHAR":
            day, plain = self._day_of_text(stored), _plain_day(stored)
            other = f"{stored} IS NOT NULL AND {plain} IS NULL"
            if not (self._is_csv or self.settings.date_format or self._has_row(other, self._relation)):
                day, is_view = plain, True
        elif self._types[0] in NUMBER_TYPES:
            day = self._day_of_number(stored)
        else:
            day = _day_in_zone(stored, self._stored_zone)
        rows = f"SELECT {day} AS day, {stored} AS raw_date, {path} AS path, {visits} AS visits"
        rows += f" FROM {self._relation}"
        if is_view:
            self._connection.execute(f"CREATE TEMP VIEW {ROWS} AS {rows}")
        else:
            from_first = f"WHERE day >= DATE '{self._first.isoformat()}' OR day IS NULL"
            # OFFSET 0 keeps the filter outside, where it does not compute each date again.
            kept = f"SELECT * FROM ({rows} OFFSET 0) {from_first}"
            self._connection.execute(f"CREATE TEMP TABLE {ROWS} AS {kept}")
            older = f"{day} < DATE '{self._first.isoformat()}'"
            self.older_rows = f"SELECT 1 FROM {self._relation} WHERE {older} LIMIT 1"
        unreadable = "day IS NULL AND raw_date IS NOT NULL"
        if self._has_row("day IS NOT NULL") or not self._has_row(unreadable):
            return
        if self._has_row(f"{day} IS NOT NULL", self._relation):
            return  # all rows with a date are older
        found = self._connection.execute(
            f"SELECT CAST(raw_date AS VARCHAR), path, visits FROM {ROWS} WHERE {unreadable} LIMIT 1000"
        ).fetchall()
        raise SourceError(unreadable_dates(self.name, self.columns[0], found))

    def _has_row(self, condition: str, relation: str = ROWS) -> bool:
        found = self._connection.execute(f"SELECT 1 FROM {relation} WHERE {condition} LIMIT 1")
        return found.fetchone() is not None

    def _day_of_text(self, column: str) -> str:
        """Return the SQL of the date that a text spells: see :class:`spellings.DateReader`."""
        text = f"trim({column}, {literal(spellings.BLANKS)})"

        def groups(pattern: str, form: str) -> str:
            return f"regexp_replace({text}, {literal(f'^{pattern}$')}, {literal(form)})"

        def instant(pattern: str, form: str) -> str:
            # An offset without minutes leaves a colon at the end.
            return f"CAST(TRY_CAST(rtrim({groups(pattern, form)}, ':') AS TIMESTAMPTZ) AS DATE)"

        stored_zone = self.settings.timestamp_zone
        dated = spellings.DATE if stored_zone else spellings.LOCAL
        local = groups(dated, r"\1")
        cases = [
            (dated, f"TRY_CAST({local} AS DATE)"),
            (spellings.ZULU, instant(spellings.ZULU, r"\1 \2+00")),
            (spellings.OFFSET, instant(spellings.OFFSET, r"\1 \2\3:\4")),
        ]
        if stored_zone:
            local_time = groups(spellings.LOCAL_TIME, r"\1 \2")
            moment = f"TRY_CAST({local_time} AS TIMESTAMP)"
            cases.append((spellings.LOCAL_TIME, _day_in_zone(moment, stored_zone)))
        date_format = self.settings.date_format
        if date_format is None:
            compact, seconds = groups(spellings.COMPACT, r"\1-\2-\3"), groups(spellings.EPOCH, r"\1")
            cases += [
                (spellings.COMPACT, f"TRY_CAST({compact} AS DATE)"),
                (spellings.EPOCH, f"CAST(to_timestamp(TRY_CAST({seconds} AS BIGINT)) AS DATE)"),
            ]
        whens = " ".join(
            f"WHEN regexp_full_match({text}, {literal(pattern)}) THEN {day}" for pattern, day in cases
        )
        # Plain dates first: the patterns take three times as long.
        default = f"coalesce({_plain_day(column)}, CASE {whens} END)"
        if date_format is None:
            return default
        matches = f"regexp_full_match({text}, {literal(spellings.format_pattern(date_format))})"
        moment = f"CASE WHEN {matches} THEN try_strptime({text}, {literal(date_format)}) END"
        is_local = stored_zone and spellings.has_time(date_format) and "%z" not in date_format
        formatted = _day_in_zone(moment, stored_zone if is_local else None)
        return formatted if date_format.startswith("%Y") else f"coalesce({formatted}, {default})"

    def _day_of_number(self, column: str) -> str:
        """Return the SQL of the date that a number means: see :class:`spellings.DateReader`."""
        digits = f"CAST(TRY_CAST(floor({column}) AS BIGINT) AS VARCHAR)"
        instant = f"CAST(to_timestamp(CAST({column} AS DOUBLE) / {{}}) AS DATE)".format
        spelled = self._day_of_text(digits) if self.settings.date_format else "NULL"
        return (
            f"CASE WHEN {column} >= 2.4e6 AND {column} < 2.5e6"
            f" THEN DATE '1858-11-16' + CAST(floor({column} - 2399999.5) AS INTEGER)"
            f" WHEN {self.settings.date_format is not None} THEN {spelled}"
            f" WHEN {column} >= 1e7 AND {column} < 1e8 THEN CAST(try_strptime({digits}, '%Y%m%d') AS DATE)"
            f" WHEN {column} >= 1e8 AND {column} < 2e9 THEN {instant(1)}"
            f" WHEN {column} >= 1e11 AND {column} < 2e12 THEN {instant(1000)} END"
        )

    def check_unchanged(self) -> None:
        """Check that no Parquet or CSV file, which has no snapshot, changed since the start."""
        if not self._is_database and file_states(self._files) != self._file_states:
            raise SourceUnavailable(f"{self.name}: the file was changed while it was read; try again")

    @property
    def dialect(self) -> Dialect:
        """DuckDB's SQL; dates are compared as dates, or as ISO text if the column is text."""
        day, path, visits = map(quoted_identifier, self.columns)
        if self._uses_rows:
            day, path, visits = "day", "path", "visits"
        stored_zone = None if self._uses_rows else self._stored_zone
        is_text = self._types[1] == "VARCHAR"
        whole = self._whole_number(visits) if is_text else (
            f"CASE WHEN {visits} = trunc({visits}) THEN TRY_CAST({visits} AS HUGEINT) END"
        )  # fmt: skip
        return Dialect(
            relation=ROWS if self._uses_rows else self._relation,
            stored_date=day,
            day=_day_in_zone(day, stored_zone),
            path=f"CAST({path} AS VARCHAR)",
            visits=visits if self._types[1] in INTEGER_TYPES else whole,
            stored_visits=visits,
            code_point_order="",
            placeholder="${}".format,
            date_value=lambda day: day,
            stored_date_value=lambda day: (
                first_moment(day, self._timezone, stored_zone) if stored_zone else day
            ),
            # DuckDB's driver needs another package to return a timestamp with a zone.
            raw_date="raw_date" if self._uses_rows else f"CAST({day} AS VARCHAR)",
        )

    @property
    def _stored_zone(self) -> str | None:
        """The zone of the stored timestamps, if they have none of their own and it is set."""
        is_local = self._types[0].startswith("TIMESTAMP") and "ZONE" not in self._types[0]
        return self.settings.timestamp_zone if is_local else None

    def _whole_number(self, column: str) -> str:
        """Return the SQL of the whole number that a text spells: see :func:`spellings.number_of`."""
        thousands = self.settings.thousands
        text = f"trim({column}, {literal(spellings.BLANKS)})"
        whole = f"regexp_replace({text}, '{spellings.decimal_point(thousands)}0+$', '')"
        digits = f"regexp_replace({whole}, '[^0-9-]', '', 'g')"
        pattern = literal(spellings.number_pattern(thousands))
        return (
            f"CASE WHEN regexp_full_match({column}, '-?[0-9]+') THEN TRY_CAST({column} AS HUGEINT)"
            f" WHEN regexp_full_match({text}, {pattern}) THEN TRY_CAST({digits} AS HUGEINT) END"
        )

    @property
    def _uses_rows(self) -> bool:
        """Whether the statements read :data:`ROWS`: files are CSV, or dates are stored as text or numbers."""
        return self._is_csv or self._types[0] == "VARCHAR" or self._types[0] in NUMBER_TYPES

    def message_of(self, exc: BaseException) -> str:
        """Return the error's message in one line; all of it if it is about a line of a CSV file."""
        whole = self._is_csv and isinstance(exc, duckdb.InvalidInputException)
        return (
            row_example([" ".join(str(exc).split())], LONGEST_MESSAGE) if whole else super().message_of(exc)
        )

    def inspect(self) -> Iterator[Finding]:
        """Yield that neither an index nor rights are needed."""
        if self._types[0] == "VARCHAR":
            found = self._connection.execute(f"SELECT raw_date FROM {ROWS} WHERE day IS NOT NULL LIMIT 100")
            yield from self.text_zone_findings((row[0] for row in found.fetchall()), self._timezone)
        else:
            yield from self.zone_findings(self._types[0], self._timezone)
        yield Finding("ok", "index", "none needed: DuckDB keeps the range of each block")
        yield Finding("ok", "rights", "opened read-only")

    @property
    def _view(self) -> str:
        """The view that a query names to read the files."""
        return quoted_identifier(self.settings.table)

    def _column_types(self) -> tuple[str, str]:
        """Return the type names of the date and the visits column."""
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {self._relation}").fetchall()
        stored = {str(row[0]).lower(): str(row[1]).partition("(")[0] for row in described}
        for name in self.columns:
            if name.lower() not in stored:
                raise self.missing_column(name, list(stored), csv_files.HEADER_HINT if self._is_csv else "")
        day, _, visits = (stored[name.lower()] for name in self.columns)
        types = {"DATE", "VARCHAR"} | NUMBER_TYPES
        if day not in types and not day.startswith("TIMESTAMP"):
            raise self.wrong_type(self.columns[0], day, "a date, a timestamp, text or a number")
        if visits not in NUMBER_TYPES | {"VARCHAR"}:
            raise self.wrong_type(self.columns[2], visits, "a number")
        return day, visits


def open_confined(
    opened: ExitStack,
    files: Sequence[str],
    timezone: str,
    *,
    database: str | None = None,
    temp_directory: str = "",
    memory_limit: str | None = None,
) -> duckdb.DuckDBPyConnection:
    """Return a connection that can read only ``files``, or only the file ``database``."""
    connection = opened.enter_context(
        duckdb.connect(
            database or ":memory:",
            read_only=database is not None,
            config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
        )
    )
    settings = {
        "temp_directory": literal(temp_directory),
        "enable_external_access": "false",
        "GLOBAL TimeZone": literal(timezone),  # global: the connections of panels have it, too
        "lock_configuration": "true",
    }
    if database is None:
        settings = {"allowed_paths": f"[{', '.join(map(literal, files))}]", **settings}
    if memory_limit:
        settings = {"memory_limit": literal(memory_limit), "preserve_insertion_order": "false", **settings}
    for name, value in settings.items():
        connection.execute(f"SET {name} = {value}")
    return connection


def file_states(files: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return inode, size and time of the last change (ns) of each file: one changes if the file does."""
    stats = [os.stat(file) for file in files]  # noqa: PTH116
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _plain_day(column: str) -> str:
    """Return the SQL of the date of a text as 2026-11-06. A cast alone accepts other texts, too."""
    day = f"TRY_CAST({column} AS DATE)"
    return f"CASE WHEN length({column}) = 10 AND CAST({day} AS VARCHAR) = {column} THEN {day} END"


def _moment(value: Any, is_instant: bool) -> Any:  # noqa: FBT001
    """Return a value of a row; of a timestamp that was read as text, the timestamp if Python has it."""
    try:
        return datetime.fromisoformat(value) if is_instant and value else value
    except ValueError:
        return value


def _day_in_zone(moment: str, stored_zone: str | None) -> str:
    """Return the SQL of the date of a timestamp; one without a zone is of ``stored_zone`` if that is set."""
    if stored_zone:
        moment = f"CAST({moment} AS TIMESTAMP) AT TIME ZONE {literal(stored_zone)}"
    return f"CAST({moment} AS DATE)"


def _read_csv(form: "csv_files.CsvForm", *, typed: bool = False) -> str:
    """Return the SQL that reads a CSV file (RFC 4180) without guessing its form.

    All columns are text; if ``typed``, they have the types that fit all rows.
    """
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in form.names)
    of_columns = f"auto_detect = false, columns = {{{columns}}}"
    if typed:
        of_columns = f"names = [{', '.join(map(literal, form.names))}], sample_size = -1"
    return (
        f"SELECT * FROM read_csv({literal(form.file)}, {of_columns},"
        f" header = false, skip = {form.skipped_lines}, delim = {literal(form.separator)}, quote = '\"',"
        " escape = '\"', allow_quoted_nulls = false, strict_mode = true)"
    )
