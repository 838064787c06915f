"""DuckDB: its own database files, Parquet files (also by a glob pattern), CSV and gzipped CSV.

The connection can read only the named files: it loads no extension, has no access to the network, and its
settings are locked. A CSV file is read into memory once, with only the dates that the build reads, because
otherwise each statement would parse the whole file again.
"""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceUnavailable
from reportgen.sources.base import (
    ROWS_PER_FETCH,
    Dialect,
    Finding,
    Source,
    check_file,
    file_from_url,
    quoted_identifier,
)

INTEGER_TYPES = {
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT",
    "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
}  # fmt: skip
FRACTIONAL_TYPES = {"FLOAT", "DOUBLE", "DECIMAL", "UHUGEINT"}
CSV_TABLE = "reportgen_csv"
"""The temporary table that holds the rows of CSV files."""


class DuckdbSource(Source):
    """A table or query of a DuckDB database file, or of Parquet or CSV files.

    ``first`` is the first date that the build reads: earlier CSV rows are not kept.
    """

    driver_errors = (duckdb.Error, OSError)
    _connection: duckdb.DuckDBPyConnection

    def __init__(self, settings: SourceSettings, timezone: str, first: date) -> None:
        url = settings.url.get_secret_value()
        self._timezone = timezone
        self._first = first
        self._is_database = url.lower().startswith("duckdb://")
        self._kind = next(
            (end for end in (".csv.gz", ".csv", ".parquet") if url.lower().endswith(end)), "DuckDB"
        )
        self._types = ("DATE", "BIGINT")
        self._file_states: list[tuple[int, int, int]] = []
        if self._is_database:
            self._files = [str(file_from_url(url, "duckdb"))]
            super().__init__(settings, f"duckdb:///{self._files[0]}")
        else:
            self._files = _matching_files(url)
            super().__init__(settings, url)
        self._relation = self.relation("main") if self._is_database or settings.query else self._view
        self.advice = f"Check that the file is what its name says ({self._kind})"

    def connect(self, opened: ExitStack) -> None:
        """Open the files, restrict the connection, and check columns and types."""
        if self._is_database:
            check_file(Path(self._files[0]), "duckdb")
        elif not self._files:
            kind = "no file matches" if glob.has_magic(self.name) else "no such file"
            raise SourceUnavailable(f"{self.name}: {kind}. The path is relative to {Path.cwd()}")
        self._file_states = _file_states(self._files)
        self._connection = opened.enter_context(
            duckdb.connect(
                self._files[0] if self._is_database else ":memory:",
                read_only=self._is_database,
                config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"},
            )
        )
        listed = ", ".join(map(_literal, self._files))
        if not self._is_database:
            self._connection.execute(f"SET allowed_paths = [{listed}]")
        self._connection.execute("SET temp_directory = ''")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute(f"SET TimeZone = {_literal(self._timezone)}")
        self._connection.execute("SET lock_configuration = true")
        with self.timeout():
            self._connection.execute("BEGIN TRANSACTION")
            if not self._is_database:
                reader = (
                    f"read_parquet([{listed}], union_by_name = true)"
                    if self._kind == ".parquet"
                    # The format is fixed (RFC 4180): DuckDB's guess would depend on the first lines.
                    else f"read_csv([{listed}], header = true, all_varchar = true, delim = ',', quote = '\"',"
                    " escape = '\"', allow_quoted_nulls = false, union_by_name = true)"
                )
                self._connection.execute(f"CREATE TEMP VIEW {self._view} AS SELECT * FROM {reader}")
            self._types = self._column_types()
            if self._kind.startswith(".csv"):
                self._load_csv()

    def check_unchanged(self) -> None:
        """Check that no Parquet or CSV file, which has no snapshot, changed since the start."""
        if not self._is_database and _file_states(self._files) != self._file_states:
            raise SourceUnavailable(f"{self.name}: the file was changed while it was read; try again")

    @property
    def dialect(self) -> Dialect:
        """DuckDB's SQL; dates are compared as dates, or as ISO text if the column is text."""
        day, path, visits = map(quoted_identifier, self.columns)
        text_dates = self._types[0] == "VARCHAR"
        # The cast also accepts 2026-1-5: a text is an ISO date if it stays the same.
        iso = (
            f"CASE WHEN CAST(TRY_CAST(substr({day}, 1, 10) AS DATE) AS VARCHAR) = substr({day}, 1, 10)"
            f" AND substr({day}, 11, 1) IN ('', ' ', 'T') THEN substr({day}, 1, 10) END"
        )
        is_text = self._types[1] == "VARCHAR"
        is_whole = f"regexp_full_match({visits}, '-?[0-9]+')" if is_text else f"{visits} = trunc({visits})"
        whole = f"CASE WHEN {is_whole} THEN TRY_CAST({visits} AS HUGEINT) END"
        return Dialect(
            relation=self._relation,
            stored_date=day,
            day=iso if text_dates else f"CAST({day} AS DATE)",
            path=f"CAST({path} AS VARCHAR)",
            visits=visits if self._types[1] in INTEGER_TYPES else whole,
            stored_visits=visits,
            code_point_order="",
            placeholder="${}".format,
            date_value=date.isoformat if text_dates else lambda day: day,
        )

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows."""
        cursor = self._connection.execute(sql, dict(values))
        while chunk := cursor.fetchmany(ROWS_PER_FETCH):
            yield from chunk

    def cancel(self) -> None:
        """End the running statement."""
        self._connection.interrupt()

    def inspect(self) -> Iterator[Finding]:
        """Yield that neither an index nor rights are needed."""
        yield Finding("ok", "index", "none needed: DuckDB keeps the range of each block")
        yield Finding("ok", "rights", "opened read-only")

    @property
    def _view(self) -> str:
        """The view that a query names to read the files."""
        return quoted_identifier(self.settings.table)

    def _load_csv(self) -> None:
        """Read the rows of CSV files, from the first date on, into a temporary table."""
        day, path, visits = map(quoted_identifier, self.columns)
        self._connection.execute(
            f"CREATE TEMP TABLE {CSV_TABLE} AS SELECT {day}, {path}, {visits} FROM {self._relation}"
            f" WHERE {day} >= $first OR {day} IS NULL",
            {"first": self.dialect.date_value(self._first)},
        )
        self._relation = CSV_TABLE

    def _column_types(self) -> tuple[str, str]:
        """Return the type names of the date and the visits column."""
        described = self._connection.execute(f"DESCRIBE SELECT * FROM {self._relation}").fetchall()
        stored = {str(row[0]).lower(): str(row[1]).partition("(")[0] for row in described}
        for name in self.columns:
            if name.lower() not in stored:
                header = "; a CSV file needs a header row" if self._kind.startswith(".csv") else ""
                raise self.missing_column(name, list(stored), header)
        day, _, visits = (stored[name.lower()] for name in self.columns)
        if day not in {"DATE", "VARCHAR"} and not day.startswith("TIMESTAMP"):
            raise self.wrong_type(self.columns[0], day, "a date, timestamp or ISO text")
        if visits not in INTEGER_TYPES | FRACTIONAL_TYPES | {"VARCHAR"}:
            raise self.wrong_type(self.columns[2], visits, "a number")
        return day, visits


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
