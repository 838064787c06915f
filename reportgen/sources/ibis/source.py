"""Other engines, through Ibis: DuckDB, PostgreSQL, MySQL, MariaDB, Spark; the tests run no other engine.

Ibis connects, returns the columns and their types, and knows the SQL dialect. The rows come from the engine's
driver, without Arrow or pandas in between. Ibis and the driver are imported only if such a source is opened.
"""

import importlib
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from reportgen.config.problems import url_secrets
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, ReportgenError, SourceError, SourceUnavailable, scrub
from reportgen.sources.base import Dialect, Finding

PREFIX = "ibis+"
ROWS_PER_FETCH = 5_000
NO_SNAPSHOT = (
    "none: each statement of a build reads what is stored when the statement runs; "
    "docs/engines.md says how to avoid differences"
)
ONE_TRANSACTION = "one read-only transaction a build"
NOT_SUPPORTED = {"polars", "sqlite"}
"""Ibis backends that cannot run the statements: Polars has no SQL that returns rows, SQLite no dates."""
MAX_MESSAGE_LENGTH = 400
"""Maximum number of characters of a driver's message that are shown."""


@dataclass(frozen=True)
class Engine:
    """What a source does differently for one engine.

    ``options`` are keyword arguments for the ``connect`` function of the engine's Ibis backend. ``session``
    holds the statements that run first after connecting, ``snapshot`` those that begin the transaction of a
    build. In both, ``{s}`` and ``{ms}`` are ``statement_timeout_s``. ``state`` says whether all statements of
    a build read the same data. With ``connect_timeout``, the function has such an argument.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    session: Sequence[str] = ()
    snapshot: Sequence[str] = ()
    state: str = NO_SNAPSHOT
    connect_timeout: bool = False
    tested: bool = True


UNTESTED = Engine(tested=False)
ENGINES = {
    "duckdb": Engine(
        {"read_only": True},
        ("SET enable_external_access = false", "SET lock_configuration = true"),
        ("BEGIN TRANSACTION",),
        ONE_TRANSACTION,
    ),
    "mysql": Engine(
        {"charset": "utf8mb4"},
        (
            "SET SESSION sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')",
            # Only MariaDB reads the comment: MySQL names the timeout differently.
            "SET time_zone = '+00:00' /*M!100101 , max_statement_time = {s} */",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        ),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",),
        ONE_TRANSACTION,
        connect_timeout=True,
    ),
    "postgres": Engine(
        {},
        ("SET statement_timeout = {ms}",),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
        ONE_TRANSACTION,
        connect_timeout=True,
    ),
    "pyspark": Engine(),
}
"""The engines that the tests run, by the name of their Ibis backend. All others are :data:`UNTESTED`."""

UNAVAILABLE = (
    r"refused|unreachable|reset by peer|broken pipe|name or service|could not connect|can't connect|"
    r"unavailable|SparkContext was shut down|stopped SparkContext|FILE_NOT_EXIST|FAILED_READ_FILE"
)
TIMED_OUT = r"timed? ?out|timeout|interrupt|cancell?ed|max_execution_time|max_statement_time"
NOT_FOUND = (
    r"does(n't| not) exist|no such|not ?found|unknown (table|database|column)|PATH_NOT_FOUND|"
    r"TABLE_OR_VIEW_NOT_FOUND|UNRESOLVED_COLUMN"
)
ADVICE: tuple[tuple[str, type[SourceError], str], ...] = (
    (
        r"overflow|out of range",
        SourceError,
        "The visits add up to more than 64 bits hold: look for a wrong count",
    ),
    (
        r"authenti|password|access denied|permission|authorized",
        SourceError,
        "Check user, password and rights",
    ),
    (UNAVAILABLE, SourceUnavailable, "Try again"),
    (TIMED_OUT, SourceUnavailable, "It took longer than {s} s: try again, or raise statement_timeout_s"),
    (NOT_FOUND, SourceError, "Set schema, table and columns in [source] to what is there"),
    (r"ConnectionError|OperationalError|InterfaceError|Py4JNetworkError", SourceUnavailable, "Try again"),
    ("", SourceError, "Check [source] url, table, columns and query"),
)
"""Patterns of an error, the error to raise and the advice to give. The first pattern that matches counts.

The drivers have no common error classes, so the names of the classes and the words of the message decide."""


def load_backend(url: str) -> str:
    """Import the Ibis backend of a URL ``ibis+<backend>://…``, and return its name.

    Raises:
        ConfigError: Ibis does not know the backend, or Ibis or the driver is not installed.

    """
    backend = url.partition("://")[0].lower().removeprefix(PREFIX)
    backend = "postgres" if backend == "postgresql" else backend
    with translate_import_errors(backend):
        util = importlib.import_module("ibis.util")
        known = sorted({each.name for each in util.backend_entry_points()} - NOT_SUPPORTED)
        if backend not in known:
            raise ConfigError(
                f'source.url: "{PREFIX}{backend}" is not a known engine; '
                f"after {PREFIX} it can be {', '.join(known)}"
            )
        importlib.import_module(f"ibis.backends.{backend}")
    return backend


@contextmanager
def translate_import_errors(backend: str) -> Iterator[None]:
    """Raise an ImportError as the ConfigError that says what is not installed, and what to install."""
    try:
        yield
    except ImportError as exc:
        raise ConfigError(
            f"source.url: {PREFIX}{backend} needs the extra ibis and the driver of its engine, "
            f"and {exc.name or exc} is not installed. Install the extra ibis and ibis-framework[{backend}]: "
            "see docs/install.md"
        ) from exc


class IbisSource:
    """A table or query of an engine that Ibis connects to."""

    site: str | None = None
    notice: str | None = None

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        self._settings = settings
        self._timezone = timezone
        self._url = settings.url.get_secret_value()
        self._backend_name = load_backend(self._url)
        self._engine = ENGINES.get(self._backend_name, UNTESTED)
        self._secrets = (*url_secrets(self._url), self._url)
        self._limits = {"s": settings.statement_timeout_s, "ms": settings.statement_timeout_s * 1000}
        self._backend: Any = None
        self.name = public_name(self._url)

    def __enter__(self) -> Self:
        """Connect, read the columns and their types, and begin the snapshot if the engine has one."""
        limit_s = self._settings.connect_timeout_s + self._settings.statement_timeout_s
        with self._translate_errors(), self._timeout(limit_s), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for example, that MySQL does not know a zone by its name
            try:
                self._backend = self._connect()
                self._run_all(self._engine.session)
                self._dialect = self._describe()
                self._run_all(self._engine.snapshot)
            except BaseException:
                self._disconnect()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, which ends the snapshot."""
        with self._translate_errors():
            self._disconnect()

    @property
    def dialect(self) -> Dialect:
        """How the engine writes the statements. Values are literals, because drivers differ in binding."""
        return self._dialect

    def rows(self, sql: str, _: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows as they arrive."""
        if self._backend is None:
            raise RuntimeError("the source is not open")
        with self._translate_errors(), self._timeout(self._settings.statement_timeout_s):
            for row in self._fetch(self._backend.raw_sql(sql)):
                yield [_plain_value(value) for value in row]

    def inspect(self) -> Iterator[Finding]:
        """Yield whether the engine is tested, whether a build reads one snapshot, and what is not checked."""
        if not self._engine.tested:
            yield Finding(
                "warning", "engine",
                "not tested with reportgen: compare the visits of one day with your own query, "
                "and tell us the result. docs/engines.md",
            )  # fmt: skip
        yield Finding("warning" if self._engine.state == NO_SNAPSHOT else "ok", "state", self._engine.state)
        yield Finding(
            "ok", "index", "not checked: the engine decides how the table is partitioned and sorted"
        )
        yield Finding(
            "ok", "rights", "not checked; no statement writes. Give reportgen a user that may only read"
        )

    def _connect(self) -> Any:
        import ibis

        options = dict(self._engine.options)
        if self._engine.connect_timeout:
            options["connect_timeout"] = self._settings.connect_timeout_s
        return ibis.connect(self._url.partition("+")[2], **options)

    def _disconnect(self) -> None:
        if self._backend is not None:
            backend, self._backend = self._backend, None
            backend.disconnect()

    def _cancel(self) -> None:
        """End the running statement, if the driver can; this is called from another thread."""
        if self._backend_name == "duckdb" and self._backend is not None:
            self._backend.con.interrupt()

    def _fetch(self, result: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of a driver's result, which is a cursor or holds all rows."""
        if hasattr(result, "fetchmany"):
            while chunk := result.fetchmany(ROWS_PER_FETCH):
                yield from chunk
        else:
            yield from getattr(result, "result_rows", result)  # ClickHouse has result_rows; BigQuery iterates

    def _run_all(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._backend.raw_sql(statement.format(**self._limits))

    def _describe(self) -> Dialect:
        """Return how the engine writes the statements for the table or query of the settings.

        Raises:
            SourceError: a column is missing, or its type cannot hold the values.

        """
        from reportgen.sources.ibis.sql import dialect_of, relation_of

        name = self._backend.dialect
        relation = relation_of(self._settings, name)
        schema = self._schema(f"SELECT * FROM {relation}")
        return dialect_of(schema, self._settings, relation, name, self._timezone, self.name)

    def _schema(self, query: str) -> Mapping[str, Any]:
        """Return Ibis's data type of each column of the table or query, by its name."""
        settings = self._settings
        if self._backend_name == "duckdb":  # Ibis 12 calls a method that newer versions of DuckDB do not have
            type_of = self._backend.compiler.type_mapper.from_string
            described = self._backend.raw_sql(f"DESCRIBE {query}").fetchall()
            return {str(name): type_of(str(kind)) for name, kind, *_ in described}
        if settings.query:
            return dict(self._backend.sql(query).schema())
        database = tuple(settings.schema_.split(".")) if settings.schema_ else None
        return dict(self._backend.table(settings.table, database=database).schema())

    @contextmanager
    def _timeout(self, limit_s: float) -> Iterator[None]:
        """Cancel a statement that takes longer than ``limit_s``, if the engine can cancel statements."""
        late, done = threading.Event(), threading.Event()

        def watch() -> None:
            wait_s = limit_s
            while not done.wait(wait_s):
                late.set()
                with suppress(Exception):  # the connection may be closing
                    self._cancel()
                wait_s = 1  # repeat: the statement may begin only now

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        except ReportgenError:
            raise
        except Exception as exc:
            if not late.is_set():
                raise
            raise SourceUnavailable(
                f"{self.name}: a statement took longer than statement_timeout_s "
                f"({self._settings.statement_timeout_s} s). Raise it in [source]"
            ) from exc
        finally:
            done.set()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise the errors of Ibis and of any driver as :class:`SourceError`."""
        try:
            with translate_import_errors(self._backend_name):  # some import their driver when they connect
                yield
        except ReportgenError:
            raise
        except Exception as exc:  # the drivers' error classes have no common base
            text = " ".join(scrub(str(exc), self._secrets).split())
            classes = " ".join(base.__name__ for base in type(exc).__mro__)
            message = f'no table "{text}"' if type(exc).__name__ == "TableNotFound" else _shorten(text)
            for pattern, error_class, advice in ADVICE:
                if re.search(pattern, f"{classes} {text}", re.IGNORECASE):
                    raise error_class(f"{self.name}: {message}. {advice.format(**self._limits)}") from exc


def _shorten(text: str) -> str:
    """Return a message without Java's stack: Spark's hold ``[CONDITION] text`` between stack lines."""
    condition = re.search(r"\[[A-Z][A-Z_0-9.]+\] .*?(?= SQLSTATE|; line \d| at (org|java|scala)\.|$)", text)
    message = condition.group() if condition else re.split(r"\s+at (?=(?:org|java|scala|py4j)\.)", text)[0]
    return message[:MAX_MESSAGE_LENGTH].rstrip(" .;") or "it failed without a message"


def public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    scheme, _, rest = url.partition("://")
    rest, _, parameters = rest.partition("?")
    if "@" in parameters:  # the question mark may be part of a password
        return f"{scheme.lower()}://…"
    authority, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{authority.rpartition('@')[2]}{slash}{path}"


def _plain_value(value: Any) -> Any:
    """Return a value without the time of day or bytes that some engines return for dates and exact text."""
    if isinstance(value, datetime):
        return value.date()
    return value.decode(errors="backslashreplace") if isinstance(value, bytes | bytearray) else value
