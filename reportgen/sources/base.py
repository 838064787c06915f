"""What every source provides: :class:`Source`, its SQL :class:`Dialect`, and helpers for names and files.

A source is one adapter for one engine, and a context manager: inside the ``with`` block, every statement
reads one snapshot of the data. It runs the shared statements of :mod:`reportgen.sources.statements` and
computes nothing itself. :func:`reportgen.sources.registry.open_source` chooses the adapter by URL.
"""

import glob
import gzip
import json
import os
import re
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, Literal, NamedTuple, Self, cast
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, ReportgenError, SourceError, SourceUnavailable
from reportgen.core.path_rules import NO_RULES
from reportgen.core.windows import Span
from reportgen.sources.errors import QUERY, to_source_error
from reportgen.sources.spellings import has_local_time

ROWS_PER_FETCH = 5_000
"""Number of rows that are read from a driver at a time."""

CSV_ENDS = tuple(f"{end}{packed}" for packed in (".gz", "") for end in (".csv", ".tsv", ".txt"))
FILE_ENDS = (*CSV_ENDS, ".parquet")
"""How the path of a file ends that DuckDB reads."""


LISTED_NAMES = 30
"""Maximum number of tables or columns that a message lists."""

USUAL_NAMES = {
    "date": "date day createdat insertedat timestamp datetime time visitedat viewedat visitdate eventdate"
    " addediso",
    "path": "path urlpath pathname pagepath pagepathandscreenclass requestpath page pageurl pagelocation"
    " landingpage 2path label url uri",
    "visits": "pageviews visits counter count hits nbhits views screenpageviews totalviews totalpageviews"
    " viewcount pageviewcount hitcount visitcount totalvisits totalhits requests uniquepageviews nbvisits"
    " sessions totalsessions visitors uniquevisitors nbuniqvisitors totalvisitors users totalusers"
    " activeusers",
}
"""Names that the three columns often have, in lower case, without blanks, underscores and
hyphens. Of visits, numbers of pages come first, then of sessions, then of persons."""


@dataclass(frozen=True)
class Dialect:
    """How one engine writes the parts of the shared statements that differ.

    All fields but the last three functions are SQL:

    - ``relation`` is the table or query that is read.
    - ``stored_date`` and ``stored_visits`` are the columns as stored. Ranges of dates are compared with
      ``stored_date``, so that the engine can use an index on it.
    - ``raw_date`` is the date as stored if ``stored_date`` is a date that was read from it.
    - ``day`` is the date, NULL if the stored value is not a date. ``visits`` is the number, NULL if the
      stored value is not a whole number. With the stored columns, a statement can tell NULL from a bad value.
    - ``path`` is the path as text.
    - ``code_point_order`` follows ``path`` in ORDER BY and makes the order that of Unicode code points.

    ``placeholder`` returns what stands for a named value in a statement: a placeholder, or the value itself
    as a literal. ``date_value`` returns the value to bind for a date that is compared with ``day``, and
    ``stored_date_value`` for one that is compared with ``stored_date``.
    """

    relation: str
    stored_date: str
    day: str
    path: str
    visits: str
    stored_visits: str
    code_point_order: str
    placeholder: Callable[[str, Any], str]
    date_value: Callable[[date], Any]
    stored_date_value: Callable[[date], Any]
    raw_date: str = ""


@dataclass(frozen=True)
class Finding:
    """One line of ``reportgen check``: the ``subject`` that was checked, the result, and its level."""

    level: Literal["ok", "warning", "error"]
    subject: str
    message: str


REASONS = (
    "bot", "error", "method", "redirect", "other_status", "prefetch", "asset", "other_host", "excluded",
    "unreadable",
)  # fmt: skip
"""Why a request is not a visit. Of several reasons the first is counted."""


class LeftOut(NamedTuple):
    """The number of requests that are not visits for one reason; of bots, by kind and name."""

    reason: str
    kind: str
    name: str
    requests: int


class Source(ABC):
    """One table or query of one engine.

    ``name`` is the source's URL without secrets. ``site`` is the name of the site if the source knows it.
    ``notice`` is shown on every page if it is set. ``left_out`` counts rows that no statement reads, by kind,
    and ``examples`` has one of each. ``warnings`` says what could not be looked at. ``rules`` apply to
    the paths. An adapter defines the abstract methods, and names in ``driver_errors`` the classes of errors
    that its driver raises.
    """

    driver_errors: ClassVar[tuple[type[BaseException], ...]]
    reads_visits = True
    """Whether the table of visits is looked for: false of a source that only panels read."""
    reads_spellings = True
    """Whether texts are read as ``date_format`` and ``thousands`` say."""
    advice = "Check [source] url, table, columns and query"
    """What to do after an error for which there is no other advice."""
    query_advice = QUERY
    """What to do about a table or column that [source] query names wrongly."""
    grace_s = 0
    """Seconds to wait after ``statement_timeout_s``, if the engine has such a timeout of its own."""
    too_late = (
        "a statement took longer than statement_timeout_s ({s} s): add an index, or raise it in [source]"
    )
    older_rows = ""
    """Statement that returns a row if there are rows before the dates that are read and kept."""
    site: str | None = None
    notice: str | None = None
    rules = NO_RULES

    def __init__(self, settings: SourceSettings, name: str) -> None:
        self.settings = settings
        self.name = name
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.warnings: list[str] = []
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Connect and begin the snapshot.

        Raises:
            SourceUnavailable: the engine is down, busy or too slow; a retry may succeed.
            SourceError: the table, its columns or their types are not as configured.

        """
        with self.translate_errors(), ExitStack() as opened:
            self.connect(opened)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the snapshot and disconnect; fail if files, which have no snapshot, changed since the start."""
        with self.translate_errors(), self._opened:
            if kind is None:
                self.check_unchanged()

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement with ``values`` bound by name, and yield its rows without holding all of them."""
        with self.translate_errors(), self.timeout():
            yield from self.execute(sql, values)

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """How this engine writes the parts of the shared statements that differ."""

    @abstractmethod
    def connect(self, opened: ExitStack) -> None:
        """Connect, begin the snapshot and check the columns; ``opened`` closes all when the source ends."""

    @abstractmethod
    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows."""

    @abstractmethod
    def cancel(self) -> None:
        """End the running statement. This is called from another thread, perhaps several times."""

    @abstractmethod
    def bound_value(self, name: str, value: date | str | None) -> tuple[str, Any]:
        """Return the SQL that stands for ``value`` in a panel's query, and the value to bind by its name."""

    def escaped(self, sql: str) -> str:
        """Return the SQL of a panel as the driver takes it."""
        return sql

    def limited(self, sql: str, count: int) -> str:
        """Return the query of a panel, at most ``count`` rows of it: only a query can stand in FROM."""
        return f"SELECT * FROM ({sql}\n) AS panel LIMIT {count}"

    @abstractmethod
    def run_query(
        self, sql: str, values: Mapping[str, Any], timeout_s: float, count: int
    ) -> AbstractContextManager[tuple[Sequence[str], Iterable[Iterable[Any]]]]:
        """Run a panel's query and give the names of its columns and its first ``count`` rows.

        Afterwards the snapshot is as before, also if the query failed.
        """

    @abstractmethod
    def by_rules(self, relation: str) -> str:
        """Return the SQL of ``relation`` with two more columns, which the rules make of its column ``form``.

        ``path`` is the path, or NULL if it is left out, and ``section`` the number of its section.
        """

    def read_all_spellings(self, *, thorough: bool) -> bool:  # noqa: ARG002
        """Return whether dates that are not ISO text were found, which the statements now read or count too.

        Only a source that at first reads ISO text alone looks for them, and SQLite for two seconds unless
        it must be ``thorough``.
        """
        return False

    def read_left_out(self, span: Span) -> Sequence[LeftOut]:  # noqa: ARG002
        """Return the requests between two dates that are not visits, if the source is a log."""
        return ()

    def left_out_table(self) -> str | None:
        """Return the quoted table that holds what an import left out, if there is one that may be read."""
        return None

    @abstractmethod
    def inspect(self) -> Iterator[Finding]:
        """Yield what ``reportgen check`` shows of the engine: index, rights and others."""

    @property
    def state(self) -> str | None:
        """What changes when the files of the source change, if that can be known without reading them."""
        return None

    @property
    def contents(self) -> str:
        """What the URL leads to, for ``reportgen check``."""
        what = "query" if self.settings.query else f'table "{self.settings.table}"'
        return f"{what} has {', '.join(map(quoted_identifier, self.columns))}"

    def check_unchanged(self) -> None:  # noqa: B027 - only files need it
        """Raise SourceUnavailable if files were changed while they were read."""

    def message_of(self, exc: BaseException) -> str:
        """Return the error's message in one line, without secrets."""
        return str(exc).strip().partition("\n")[0].rstrip(".!") or type(exc).__name__

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise the errors of the driver as :class:`SourceError`."""
        try:
            yield
        except ReportgenError:
            raise
        except self.driver_errors as exc:
            timeout_s = self.settings.statement_timeout_s
            query = self.query_advice if self.settings.query else None
            raise to_source_error(
                exc, self.name, self.message_of(exc), timeout_s, self.advice, query
            ) from exc

    @contextmanager
    def timeout(self, extra_s: float = 0) -> Iterator[None]:
        """Cancel what takes ``extra_s`` longer than a statement may, and raise SourceUnavailable."""
        limit_s = self.settings.statement_timeout_s + self.grace_s + extra_s
        late, done = threading.Event(), threading.Event()

        def watch() -> None:
            wait_s = limit_s
            while not done.wait(wait_s):
                late.set()
                with suppress(Exception):  # the connection may be closing
                    self.cancel()
                wait_s = 1  # repeat: the statement may begin only now

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        except ReportgenError:
            raise
        except Exception as exc:
            if not late.is_set():
                raise
            reason = self.too_late.format(s=self.settings.statement_timeout_s, limit_s=limit_s)
            raise SourceUnavailable(f"{self.name}: {reason}") from exc
        finally:
            done.set()
            watcher.join(1)  # a driver may hang while it cancels

    @property
    def columns(self) -> tuple[str, str, str]:
        """The names of the columns of date, path and visits."""
        columns = self.settings.columns
        return columns.date, columns.path, columns.visits

    def relation(self, default_schema: str) -> str:
        """Return the quoted table name with its schema, or the query as a subquery ``metrics``."""
        if self.settings.query:
            return f"({strip_semicolon(self.settings.query)}\n) AS metrics"
        schema = self.settings.schema_ or default_schema
        return f"{quoted_identifier(schema)}.{quoted_identifier(self.settings.table)}"

    def missing_column(self, column: str, found: Sequence[str], hint: str = "") -> SourceError:
        """Return the error for a column that is not among those that were ``found``."""
        return SourceError(
            f"{self.name}: there is no column {quoted_identifier(column)}; it has: {name_list(found)}. "
            f"{columns_advice(self.settings, found, hint)}"
        )

    def zone_findings(self, kind: str, timezone: str) -> Iterator[Finding]:
        """Yield whether ``timestamp_zone`` fits the type of the date column, ``kind``."""
        column, zone = quoted_identifier(self.columns[0]), self.settings.timestamp_zone
        is_local = kind.lower().startswith("timestamp") and "z" not in kind.lower()
        if zone and not is_local:
            yield Finding("warning", "zone", f"timestamp_zone is not used: {column} is of type {kind}")
        elif is_local and not zone and timezone != "UTC":
            yield Finding(
                "warning", "zone",
                f"{column} has no zone, so its dates are read as stored. Set timestamp_zone in [source]: to "
                f'"UTC" if it is stored in UTC, as Ecto and Rails do, or to "{timezone}"',
            )  # fmt: skip

    def text_zone_findings(self, dates: Iterable[str], timezone: str) -> Iterator[Finding]:
        """Yield whether ``timestamp_zone`` may be missing for dates that are stored as text."""
        if not self.settings.timestamp_zone and any(map(has_local_time, dates)):
            yield from self.zone_findings("timestamp as text", timezone)

    def wrong_type(self, column: str, found: object, expected: str) -> SourceError:
        """Return the error for a column whose type cannot hold the values."""
        return SourceError(
            f"{self.name}: the column {quoted_identifier(column)} is of type {found}, not {expected}. "
            "Name another in [source] columns, or cast it with query"
        )


def columns_advice(settings: SourceSettings, found: Sequence[str], hint: str = "") -> str:
    """Return the setting that names the columns if their usual names are among ``found``; else ``hint``."""
    columns = (settings.columns.date, settings.columns.path, settings.columns.visits)
    stored = {
        key: name if name in found else usual_column(key, found) or ""
        for key, name in zip(USUAL_NAMES, columns, strict=True)
    }
    if all(stored.values()):
        pairs = ", ".join(f"{key} = {json.dumps(name)}" for key, name in stored.items() if name != key)
        return f"Set columns in [source]: columns = {{ {pairs} }}" if pairs else "Leave source.columns out"
    if settings.query or not (stored["date"] and stored["path"]):
        return f"Set columns in [source] to the names the data has{hint}"
    quoted = map(quoted_identifier, (stored["date"], stored["path"], *columns))
    table = ".".join(quoted_identifier(name) for name in (settings.schema_, settings.table) if name)
    query = "SELECT {0} AS {2}, {1} AS {3}, 1 AS {4} FROM {table}".format(*quoted, table=table)
    toml = json.dumps(query) if "'" in query else f"'{query}'"
    return f"If each row is one hit, set query in [source]: query = {toml}"


def usual_column(key: str, names: Sequence[str]) -> str | None:
    """Return the first of ``names`` that is one of :data:`USUAL_NAMES`, the most usual name first."""
    by_name = {re.sub("[ _-]", "", name.lower()): name for name in reversed(names)}
    return next((by_name[usual] for usual in USUAL_NAMES[key].split() if usual in by_name), None)


def name_list(names: Sequence[str]) -> str:
    """Return names to show, at most :data:`LISTED_NAMES`, with the number of the others."""
    more = len(names) - LISTED_NAMES
    return ", ".join(names[:LISTED_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def index_finding(column: str, create: str | None) -> Finding:
    """Return the finding of an index on the date ``column``, or of its absence; ``create`` would make it."""
    column = quoted_identifier(column)
    if create is None:
        return Finding("ok", "index", f"an index begins with {column}")
    return Finding(
        "warning", "index", f"no index begins with {column}: every build reads the whole table. {create};"
    )


def first_moment(day: date, timezone: str, stored_zone: str | None = None) -> datetime:
    """Return when ``day`` begins in ``timezone``; in ``stored_zone`` and without a zone if that is given."""
    moment = datetime.combine(day, time(), ZoneInfo(timezone))
    return moment.astimezone(ZoneInfo(stored_zone)).replace(tzinfo=None) if stored_zone else moment


def sql_type(value: date | str | None) -> str:
    """Return the type of a value in PostgreSQL and DuckDB."""
    if isinstance(value, datetime):
        return "timestamptz" if value.tzinfo else "timestamp"
    return "text" if isinstance(value, str) else "date"


def quoted_identifier(name: str) -> str:
    """Return an SQL identifier in double quotes, as the SQL standard defines it.

    Raises:
        ConfigError: the name holds the character NUL.

    """
    if "\0" in name:
        raise ConfigError("source: a table or column name cannot hold the character NUL")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def strip_semicolon(query: str) -> str:
    """Return the query without a semicolon at its end, so that it can stand in a FROM clause."""
    return query.strip().rstrip(";").rstrip()


def file_from_url(url: str, scheme: str) -> Path:
    """Return the file that a ``scheme:///…`` URL names: three slashes are relative, four are absolute.

    ``sqlite:///tmp/x.db`` returns ``/tmp/x.db`` if only that file exists: to forget a slash is common.

    Raises:
        ConfigError: the URL names a host, names no file, or the file's name cannot be used.

    """
    host, _, name = url[len(scheme) + len("://") :].partition("?")[0].partition("/")
    if host:
        raise ConfigError(f"source.url: a {scheme} URL names a file, not a host: write {scheme}:///name")
    if not name.strip("/"):
        raise ConfigError(f"source.url: names no file: write {scheme}:///name")
    relative, absolute = Path(unquote(name)), Path("/" + unquote(name))
    try:
        return absolute if not relative.exists() and absolute.exists() else relative
    except OSError as exc:  # for example a name that is too long, or a directory without permission
        raise ConfigError(f"source.url: {exc.strerror}: write {scheme}:///name of a file") from None


def matching_files(pattern: str) -> list[str]:
    """Return the files that a path or glob pattern names, sorted. An existing file is never a pattern."""
    found = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH113, PTH207
    return [file for file in found if os.path.isfile(file)]  # noqa: PTH113


def open_bytes(file: str) -> IO[bytes]:
    """Return the content of a file, unpacked if its name ends in ``.gz``."""
    return cast("IO[bytes]", gzip.open(file)) if file.lower().endswith(".gz") else Path(file).open("rb")


def check_file(file: Path, scheme: str) -> None:
    """Check that the file of a ``scheme:///…`` URL exists.

    Raises:
        SourceUnavailable: it does not exist.

    """
    if not file.is_file():
        raise SourceUnavailable(
            f"{file}: no such file. {scheme}:///name is relative to the working directory ({Path.cwd()}); "
            f"an absolute path takes four slashes: {scheme}:////data/name"
        )
