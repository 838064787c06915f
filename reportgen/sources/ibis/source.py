"""Other engines, through Ibis: DuckDB, PostgreSQL, MySQL, MariaDB, Spark; the tests run no other engine.

Ibis connects, returns the columns and their types, and knows the SQL dialect. The rows come from the engine's
driver, without Arrow or pandas in between. Ibis and the driver are imported only if such a source is opened.
"""

import importlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import Any

from reportgen.config.problems import url_secrets
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, SourceError, scrub
from reportgen.sources.base import ROWS_PER_FETCH, Dialect, Finding, Source, first_moment
from reportgen.sources.spellings import row_example

PREFIX = "ibis+"
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
    holds the statements that run first after connecting, ``limits`` those that limit the time of each
    statement to ``{s}`` seconds, and ``snapshot`` those that begin the transaction of a build. ``state`` says
    whether all statements of a build read the same data. With ``connect_timeout``, the function has such an
    argument.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    session: Sequence[str] = ()
    limits: Sequence[str] = ()
    snapshot: Sequence[str] = ()
    state: str = NO_SNAPSHOT
    connect_timeout: bool = False


UNTESTED = Engine()
ENGINES = {
    "duckdb": Engine(
        {"read_only": True},
        ("SET enable_external_access = false", "SET lock_configuration = true"),
        (),
        ("BEGIN TRANSACTION",),
        ONE_TRANSACTION,
    ),
    "mysql": Engine(
        {"charset": "utf8mb4"},
        (
            "SET SESSION sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        ),
        # Only MariaDB reads the comment: MySQL names the timeout differently.
        ("SET time_zone = '+00:00' /*M!100101 , max_statement_time = {s} */",),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",),
        ONE_TRANSACTION,
        connect_timeout=True,
    ),
    "postgres": Engine(
        {},
        (),
        ("SET statement_timeout = '{s}s'",),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
        ONE_TRANSACTION,
        connect_timeout=True,
    ),
    "pyspark": Engine(),
}
"""The engines that the tests run, by the name of their Ibis backend. All others are :data:`UNTESTED`."""


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


class IbisSource(Source):
    """A table or query of an engine that Ibis connects to."""

    driver_errors = (Exception,)
    reads_spellings = False
    _backend: Any

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        self._url = settings.url.get_secret_value()
        super().__init__(settings, public_name(self._url))
        self._timezone = timezone
        for name in ("timestamp_zone", "date_format", "thousands"):
            if getattr(settings, name):
                raise ConfigError(
                    f"source.{name}: not possible through Ibis. Convert the column with source.query"
                )
        self._backend_name = load_backend(self._url)
        self._engine = ENGINES.get(self._backend_name, UNTESTED)
        self._secrets = (*url_secrets(self._url), self._url)

    def connect(self, opened: ExitStack) -> None:
        """Connect, read the columns and their types, and begin the snapshot if the engine has one."""
        from reportgen.sources.ibis.sql import relation_of

        if self.rules:
            self.by_rules("")
        with (
            translate_import_errors(self._backend_name),
            self.timeout(self.settings.connect_timeout_s),
            warnings.catch_warnings(action="ignore"),  # such as that MySQL does not know a zone by its name
        ):
            self._backend = self.open_backend(opened)
            self._run_all((*self._engine.session, *self._engine.limits))
            if not self.reads_visits:
                self._run_all(self._engine.snapshot)
                return
            relation = relation_of(self.settings, self._backend.dialect)
            self._dialect = self._describe(relation, self.schema_of(f"SELECT * FROM {relation}"))
            self._run_all(self._engine.snapshot)

    @property
    def dialect(self) -> Dialect:
        """How the engine writes the statements. Values are literals, because drivers differ in binding."""
        return self._dialect

    def by_rules(self, relation: str) -> str:  # noqa: ARG002
        """Refuse the rules: engines differ too much in what they can do with texts."""
        raise ConfigError(
            "paths: rules and sections are not possible through Ibis. Leave [paths] and [[sections]] out, "
            "and convert the paths with source.query"
        )

    def execute(self, sql: str, _: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows."""
        for row in self.fetch(self._backend.raw_sql(sql)):
            yield [_plain_value(value) for value in row]

    def bound_value(self, name: str, value: date | str | None) -> tuple[str, Any]:  # noqa: ARG002
        """Return a literal, because drivers differ in binding."""
        from reportgen.sources.ibis import sql

        moment = value.astimezone(UTC) if isinstance(value, datetime) else value
        return sql.literal(moment, self._backend.dialect), None

    def limited(self, sql: str, count: int) -> str:
        """Return at most ``count`` rows of a query that only reads."""
        from reportgen.sources.ibis.sql import limited

        return limited(sql, count, self._backend.dialect)

    @contextmanager
    def run_query(
        self, sql: str, _: Mapping[str, Any], timeout_s: float, count: int
    ) -> Iterator[tuple[Sequence[str], Iterable[Iterable[Any]]]]:
        """Run a panel's query; after an error begin a new snapshot, because a transaction may have ended."""
        try:
            self._run_all(self._engine.limits, max(1, int(timeout_s)))
            result = self._backend.raw_sql(self.limited(sql, count))
            columns = getattr(result, "columns", None) or [column[0] for column in result.description]
            yield [str(name) for name in columns], self.fetch(result)
        except Exception:
            for statements in (("ROLLBACK",), self._engine.snapshot) if self._engine.snapshot else ():
                with suppress(Exception):  # it is over already; or the connection is lost
                    self._run_all(statements)
            raise

    def cancel(self) -> None:
        """End the running statement, if the engine has no timeout of its own."""
        if self._backend_name == "duckdb":
            self._backend.con.interrupt()

    def read_all_spellings(self, *, thorough: bool) -> bool:  # noqa: ARG002
        """Find all texts that are not ISO dates, by one scan; compare dates as read if there are any."""
        stored, day = self._dialect.stored_date, self._dialect.day
        if not self._reads_text or self._dialect.raw_date:
            return False
        counted = f"SELECT COUNT({stored}), COUNT({day}), MIN({stored}) FROM {self._dialect.relation}"
        stored_rows, dates, example = next(iter(list(self.rows(counted, {}))))
        if stored_rows and not dates:
            raise SourceError(
                f'{self.name}: no row has an ISO date such as 2026-11-06 in "{self.columns[0]}". '
                f"One is: {row_example([example])}. Convert it to a date with [source] query"
            )
        if stored_rows > dates:
            self._dialect = replace(self._dialect, stored_date=day, raw_date=stored)
        return bool(stored_rows > dates)

    def inspect(self) -> Iterator[Finding]:
        """Yield whether the engine is tested, whether a build reads one snapshot, and what is not checked."""
        if self._engine is UNTESTED:
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

    def open_backend(self, opened: ExitStack) -> Any:
        """Return the connected backend of Ibis."""
        import ibis

        options = dict(self._engine.options)
        if self._engine.connect_timeout:
            options["connect_timeout"] = self.settings.connect_timeout_s
        backend = ibis.connect(self._url.partition("+")[2], **options)
        opened.callback(backend.disconnect)
        return backend

    def fetch(self, result: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of a driver's result, which is a cursor or yields its rows."""
        if hasattr(result, "fetchmany"):
            while chunk := result.fetchmany(ROWS_PER_FETCH):
                yield from chunk
        else:
            yield from result

    def schema_of(self, query: str) -> Mapping[str, Any]:
        """Return Ibis's data type of each column of the table or query, by its name."""
        settings = self.settings
        if self._backend_name == "duckdb":  # Ibis 12 calls a method that newer versions of DuckDB do not have
            type_of = self._backend.compiler.type_mapper.from_string
            described = self._backend.raw_sql(f"DESCRIBE {query}").fetchall()
            return {str(name): type_of(str(kind)) for name, kind, *_ in described}
        if settings.query:
            return dict(self._backend.sql(query).schema())
        database = tuple(settings.schema_.split(".")) if settings.schema_ else None
        return dict(self._backend.table(settings.table, database=database).schema())

    def message_of(self, exc: BaseException) -> str:
        """Return the error's message in one line, without secrets and Java's stack."""
        text = " ".join(scrub(str(exc), self._secrets).split())
        if type(exc).__name__ == "TableNotFound":  # Ibis says only its name
            return f'no table "{text}"'
        # Spark's messages hold ``[CONDITION] text`` between stack lines.
        condition = re.search(
            r"\[[A-Z][A-Z_0-9.]+\] .*?(?= SQLSTATE|; line \d| at (org|java|scala)\.|$)", text
        )
        text = condition.group() if condition else re.split(r"\s+at (?=(?:org|java|scala|py4j)\.)", text)[0]
        return text[:MAX_MESSAGE_LENGTH].rstrip(" .;") or "it failed without a message"

    def _run_all(self, statements: Sequence[str], limit_s: int | None = None) -> None:
        for statement in statements:
            self._backend.raw_sql(statement.format(s=limit_s or self.settings.statement_timeout_s))

    def _describe(self, relation: str, schema: Mapping[str, Any]) -> Dialect:
        """Return how the engine writes the statements for a relation with the columns of ``schema``."""
        from reportgen.sources.ibis import sql

        dialect = self._backend.dialect
        names = [self._stored_name(name, schema) for name in self.columns]
        days, paths, numbers = (schema[name] for name in names)
        day, path, visits = (f"stored.{sql.quoted(name, dialect)}" for name in names)
        exact = sql.EXACT_TEXT.get(dialect, "{}")
        is_instant = days.is_timestamp() and days.timezone is not None
        self._reads_text = days.is_string()
        if self._reads_text:
            day = exact.format(day)
            date_of_day = sql.write(sql.iso_date(), day, dialect)
        elif days.is_date():
            date_of_day = day
        elif days.is_timestamp():
            template = sql.LOCAL_DATE.format(self._timezone) if is_instant else sql.DATE
            date_of_day = sql.write(template, day, dialect)
        else:
            raise self.wrong_type(names[0], days, "a date, timestamp or ISO text")
        if not paths.is_string():
            raise self.wrong_type(names[1], paths, "text")
        if numbers.is_integer():
            whole = visits if self._engine is not UNTESTED else sql.write(sql.DECIMAL, visits, dialect)
        elif numbers.is_floating() or numbers.is_decimal():
            whole = sql.write(sql.WHOLE_DECIMAL, visits, dialect)
        elif numbers.is_string():
            whole = sql.write(sql.whole_number(), visits, dialect)
        else:
            raise self.wrong_type(names[2], numbers, "a number")

        return Dialect(
            relation=relation,
            stored_date=day,
            day=date_of_day,
            path=exact.format(path),
            visits=whole,
            stored_visits=visits,
            code_point_order="",
            placeholder=lambda _, value: sql.literal(value, dialect),
            date_value=date.isoformat if self._reads_text else lambda day: day,
            stored_date_value=lambda day: _first_value(day, days, self._timezone),
            raw_date=date_of_day if is_instant else "",  # DuckDB's driver needs pytz to return the instant
        )

    def _stored_name(self, name: str, schema: Mapping[str, Any]) -> str:
        """Return the column's name as the engine stores it: some engines store all names in capitals."""
        matches = [stored for stored in schema if stored.lower() == name.lower()]
        if name not in schema and len(matches) != 1:
            raise self.missing_column(name, list(schema))
        return name if name in schema else matches[0]


def public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    scheme, _, rest = url.partition("://")
    rest, _, parameters = rest.partition("?")
    if "@" in parameters:  # the question mark may be part of a password
        return f"{scheme.lower()}://…"
    authority, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{authority.rpartition('@')[2]}{slash}{path}"


def _first_value(day: date, kind: Any, timezone: str) -> str | date:
    """Return the first value of a day in the type of the stored dates: no engine has to cast the column."""
    if kind.is_string():
        return day.isoformat()
    if kind.is_timestamp() and kind.timezone is not None:
        return first_moment(day, timezone).astimezone(UTC)
    return datetime.combine(day, time()) if kind.is_timestamp() else day


def _plain_value(value: Any) -> Any:
    """Return a value without the time of day or bytes that some engines return for dates and exact text."""
    if isinstance(value, datetime):
        return value.date()
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
