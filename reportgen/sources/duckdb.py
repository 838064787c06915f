"""DuckDB: its own database files, Parquet files (also by a glob pattern), CSV and gzipped CSV.

The connection can read only the named files: it loads no extension, has no access to the network, and its
settings are locked. A CSV file is read into memory once, with only the dates that the build reads, because
otherwise each statement would parse the whole file again.
"""

import glob
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable
from reportgen.sources.base import Dialect, Finding, quoted_identifier, strip_semicolon, table_name
from reportgen.sources.files import file_from_url, missing_file_message

INTEGER_TYPES = {
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
}
FRACTIONAL_TYPES = {"FLOAT", "DOUBLE", "DECIMAL", "UHUGEINT"}
CSV_TABLE = "reportgen_csv"
"""The temporary table that holds the rows of CSV files."""


class DuckdbSource:
    """A table or query of a DuckDB database file, or of Parquet or CSV files.

    ``first`` is the first date that the build reads: earlier CSV rows are not kept.
    """

    site: str | None = None
    notice: str | None = None

    def __init__(self, settings: SourceSettings, timezone: str, first: date) -> None:
        self._settings = settings
        self._timezone = timezone
        self._first = first
        self._url = settings.url.get_secret_value()
        self._is_database = self._url.lower().startswith("duckdb://")
        self._relation = ""
        self._types = ("DATE", "BIGINT")
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._file_states: list[tuple[int, int, int]] = []
        self._files = (
            [str(file_from_url(self._url, "duckdb"))] if self._is_database else _matching_files(self._url)
        )
        self.name = f"duckdb:///{self._files[0]}" if self._is_database else self._url

    def __enter__(self) -> Self:
        """Open the files, restrict the connection, and check columns and types."""
        if not self._files:
            kind = "no file matches" if glob.has_magic(self._url) else "no such file"
            raise SourceUnavailable(f"{self.name}: {kind}. The path is relative to {Path.cwd()}")
        if self._is_database and not Path(self._files[0]).is_file():
            raise SourceUnavailable(missing_file_message(Path(self._files[0]), "duckdb"))
        with self._translate_errors():
            self._file_states = _file_states(self._files)
            self._connection = self._connect()
            try:
                with self._timeout(self._connection):
                    self._connection.execute("BEGIN TRANSACTION")
                    self._define_relation(self._connection)
            except BaseException:
                self._connection.close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; fail if a Parquet or CSV file, which has no snapshot, changed since the start."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with self._translate_errors():
            changed = not self._is_database and _file_states(self._files) != self._file_states
        if changed and kind is None:
            raise SourceUnavailable(f"{self.name}: the file was changed while it was read; try again")

    @property
    def dialect(self) -> Dialect:
        """DuckDB's SQL; dates are compared as dates, or as ISO text if the column is text."""
        columns = self._settings.columns
        day, path, visits = (
            quoted_identifier(columns.date),
            quoted_identifier(columns.path),
            quoted_identifier(columns.visits),
        )
        text_dates = self._types[0] == "VARCHAR"
        # The cast also accepts 2026-1-5: a text is an ISO date if it stays the same.
        iso = (
            f"CASE WHEN CAST(TRY_CAST(substr({day}, 1, 10) AS DATE) AS VARCHAR) = substr({day}, 1, 10)"
            f" AND substr({day}, 11, 1) IN ('', ' ', 'T') THEN substr({day}, 1, 10) END"
        )
        if self._types[1] == "VARCHAR":
            number = (
                f"CASE WHEN regexp_full_match({visits}, '-?[0-9]+') THEN TRY_CAST({visits} AS HUGEINT) END"
            )
        elif self._types[1] in INTEGER_TYPES:
            number = visits
        else:
            number = f"CASE WHEN {visits} = trunc({visits}) THEN TRY_CAST({visits} AS HUGEINT) END"
        return Dialect(
            relation=self._relation,
            stored_date=day,
            day=iso if text_dates else f"CAST({day} AS DATE)",
            path=f"CAST({path} AS VARCHAR)",
            visits=number,
            stored_visits=visits,
            code_point_order="",
            placeholder="${}".format,
            date_value=date.isoformat if text_dates else lambda day: day,
        )

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows; it is stopped after ``statement_timeout_s``."""
        if self._connection is None:
            raise RuntimeError("the source is not open")
        with self._translate_errors(), self._timeout(self._connection):
            cursor = self._connection.execute(sql, dict(values))
            while chunk := cursor.fetchmany(5_000):
                yield from chunk

    def inspect(self) -> Iterator[Finding]:
        """Yield that neither an index nor rights are needed."""
        yield Finding("ok", "index", "none needed: DuckDB keeps the range of each block")
        yield Finding("ok", "rights", "opened read-only")

    def _connect(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        if self._is_database:
            connection = duckdb.connect(self._files[0], read_only=True, config=config)
        else:
            connection = duckdb.connect(config=config)
            listed = ", ".join(map(_literal, self._files))
            connection.execute(f"SET allowed_paths = [{listed}]")
        connection.execute("SET temp_directory = ''")
        connection.execute("SET enable_external_access = false")
        connection.execute(f"SET TimeZone = {_literal(self._timezone)}")
        connection.execute("SET lock_configuration = true")
        return connection

    def _define_relation(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Define the relation that the statements read, and its column types."""
        settings = self._settings
        table = table_name(settings, "main") if self._is_database else quoted_identifier(settings.table)
        if not self._is_database:
            listed = ", ".join(map(_literal, self._files))
            reader = (
                f"read_parquet([{listed}], union_by_name = true)"
                if self._url.lower().endswith(".parquet")
                # The format is fixed (RFC 4180): DuckDB's guess would depend on the first lines.
                else f"read_csv([{listed}], header = true, all_varchar = true, delim = ',', quote = '\"',"
                " escape = '\"', allow_quoted_nulls = false, union_by_name = true)"
            )
            connection.execute(f"CREATE TEMP VIEW {table} AS SELECT * FROM {reader}")
        self._relation = f"({strip_semicolon(settings.query)}\n) AS metrics" if settings.query else table
        self._types = self._column_types(connection)
        if self._url.lower().endswith((".csv", ".csv.gz")):
            first = self.dialect.date_value(self._first)
            day = quoted_identifier(settings.columns.date)
            connection.execute(
                f"CREATE TEMP TABLE {CSV_TABLE} AS SELECT {self._columns} FROM {self._relation}"
                f" WHERE {day} >= $first OR {day} IS NULL",
                {"first": first},
            )
            self._relation = CSV_TABLE

    @property
    def _columns(self) -> str:
        columns = self._settings.columns
        return ", ".join(map(quoted_identifier, (columns.date, columns.path, columns.visits)))

    def _column_types(self, connection: duckdb.DuckDBPyConnection) -> tuple[str, str]:
        """Return the type names of the date and the visits column."""
        described = connection.execute(f"DESCRIBE SELECT * FROM {self._relation}").fetchall()
        stored = {str(row[0]).lower(): str(row[1]).partition("(")[0] for row in described}
        columns = self._settings.columns
        names = (columns.date, columns.path, columns.visits)
        for name in names:
            if name.lower() not in stored:
                header = "; a CSV file needs a header row" if ".csv" in self.name else ""
                raise SourceError(
                    f"{self.name}: there is no column {quoted_identifier(name)}; "
                    f"it has: {', '.join(stored)}. Set columns in [source] to the names the data has{header}"
                )
        types = [stored[name.lower()] for name in names]
        if types[0] not in {"DATE", "VARCHAR"} and not types[0].startswith("TIMESTAMP"):
            raise SourceError(
                f"{self.name}: the column {quoted_identifier(self._settings.columns.date)} "
                f"is of type {types[0]}, not a date, timestamp or ISO text. "
                "Name another in [source] columns, or cast it with query"
            )
        if types[2] not in INTEGER_TYPES | FRACTIONAL_TYPES | {"VARCHAR"}:
            raise SourceError(
                f"{self.name}: the column {quoted_identifier(self._settings.columns.visits)} "
                f"is of type {types[2]}, not a number. "
                "Name another in [source] columns, or cast it with query"
            )
        return types[0], types[2]

    @contextmanager
    def _timeout(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt a statement that takes longer than ``statement_timeout_s``."""
        timer = threading.Timer(self._settings.statement_timeout_s, connection.interrupt)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise the errors of DuckDB and of the file system as :class:`SourceError`."""
        try:
            yield
        except (duckdb.Error, OSError) as exc:
            raise _to_source_error(exc, self.name, self._settings) from exc


def _to_source_error(exc: Exception, name: str, settings: SourceSettings) -> SourceError:
    """Return the SourceError for an error of DuckDB or of the file system."""
    text = str(exc).strip().partition("\n")[0].rstrip(".!") + "."
    if isinstance(exc, duckdb.InterruptException):
        return SourceUnavailable(
            f"{name}: a statement took longer than statement_timeout_s ({settings.statement_timeout_s} s). "
            "Raise it in [source]"
        )
    if isinstance(exc, OSError):
        return SourceUnavailable(f"{name}: cannot be read: {exc.strerror}. Check the file's permissions")
    if "Conflicting lock" in text:
        return SourceUnavailable(f"{name}: another program has the database open for writing. Try again")
    if "Permission denied" in text:
        return SourceUnavailable(f"{name}: {text} Check the file's permissions")
    for classes, advice in ADVICE:
        if isinstance(exc, classes):
            return SourceError(f"{name}: {text} {advice}")
    kind = next((end for end in (".csv.gz", ".csv", ".parquet") if name.lower().endswith(end)), "DuckDB")
    return SourceError(f"{name}: {text} Check that the file is what its name says ({kind})")


ADVICE: tuple[tuple[type[duckdb.Error] | tuple[type[duckdb.Error], ...], str], ...] = (
    (duckdb.CatalogException, "Set schema and table in [source] to an existing table"),
    ((duckdb.ParserException, duckdb.BinderException, duckdb.SyntaxException), "Check [source] query"),
    (duckdb.PermissionException, "[source] query may read only this source"),
    (
        (duckdb.ConversionException, duckdb.OutOfRangeException),
        "Look for a wrong count, or cast it with [source] query",
    ),
    (duckdb.OutOfMemoryException, "Use shorter windows, or a machine with more memory"),
)
"""Advice for each class of DuckDB's errors: the first line that the error is an instance of counts."""


def _matching_files(pattern: str) -> list[str]:
    """Return the files that a path or glob pattern names, sorted. An existing file is never a pattern."""
    found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH113, PTH207
    return [file for file in found if os.path.isfile(file)]  # noqa: PTH113


def _file_states(files: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return inode, size and time of the last change (ns) of each file: one changes if the file does."""
    stats = [os.stat(file) for file in files]  # noqa: PTH116
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
