"""PostgreSQL, and other databases that speak its protocol, through psycopg.

A build is one read-only, repeatable-read transaction. All statements use the extended protocol, which binds
values and runs a single statement. Prepared statements have no names, because a pooler in transaction mode
does not support named ones.
"""

import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import IsolationLevel

from reportgen.config.problems import url_secrets
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable, scrub
from reportgen.sources.base import Dialect, Finding, quoted_identifier, strip_semicolon, table_name
from reportgen.sources.postgres.errors import connection_error, to_source_error

ROWS_PER_FETCH = 5_000
GRACE_S = 2
"""Seconds to wait after ``statement_timeout_s``: the server's own message about the timeout says more."""
DATE_TYPES = {"date", "timestamp", "timestamptz"}
INTEGER_TYPES = {"int2", "int4", "int8"}
FRACTIONAL_TYPES = {"numeric", "float4", "float8"}


class PostgresSource:
    """A table or query of a PostgreSQL database."""

    site: str | None = None
    notice: str | None = None

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        self._url = _checked_url(settings.url.get_secret_value())
        self._settings = settings
        self._timezone = timezone
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._types: tuple[str, str] = ("date", "int8")
        self.name = _public_name(self._url)

    def __enter__(self) -> Self:
        """Connect, begin the snapshot, and check table, columns and types."""
        self._connection = self._connect()
        try:
            with self._translate_errors():
                self._connection.read_only = True
                self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
                self._types = self._begin_snapshot(self._connection)
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, which ends the transaction."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's SQL; dates are compared as dates; instants get their date in the session's zone."""
        columns = self._settings.columns
        names = (columns.date, columns.path, columns.visits)
        day, path, visits = (_escape_percent(quoted_identifier(name)) for name in names)
        # NaN is larger than every number, so the upper bound excludes it.
        whole = (
            f"CASE WHEN {visits} < 1e30 AND {visits} = trunc({visits}::numeric) THEN {visits}::numeric END"
        )
        fractional = f"CASE WHEN {visits} < 1e30 AND {visits} > -1e30 THEN {whole} END"
        return Dialect(
            relation=_escape_percent(self._relation),
            stored_date=day,
            day=f"CAST({day} AS date)",
            path=f"CAST({path} AS text)",
            visits=visits if self._types[1] in INTEGER_TYPES else fractional,
            stored_visits=visits,
            code_point_order=' COLLATE "C"',
            placeholder="%({})s".format,
            date_value=lambda day: day,
        )

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows as they arrive."""
        if self._connection is None:
            raise RuntimeError("the source is not open")
        connection = self._connection
        with self._translate_errors(), self._timeout(connection), connection.cursor() as cursor:
            yield from cursor.stream(sql.encode(), values, size=ROWS_PER_FETCH)

    def inspect(self) -> Iterator[Finding]:
        """Yield whether an index begins with the date column, and whether the role may write."""
        if self._settings.query:
            yield Finding("ok", "index", "not checked: the source is a query")
            yield self._superuser_finding()
            return
        table, day = self._relation, self._settings.columns.date
        indexed = self._query_value(
            "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
            " AND a.attnum = i.indkey[0] WHERE i.indrelid = %(table)s::regclass AND a.attname = %(day)s"
            " AND i.indisvalid AND i.indpred IS NULL",
            {"table": table, "day": day},
        )
        if indexed:
            yield Finding("ok", "index", f"an index begins with {quoted_identifier(day)}")
        else:
            yield Finding(
                "warning", "index",
                f"no index begins with {quoted_identifier(day)}: every build reads the whole table. "
                f"CREATE INDEX ON {table} ({quoted_identifier(day)});",
            )  # fmt: skip
        writes = self._query_value(
            "SELECT string_agg(p, ', ') FROM unnest(ARRAY['INSERT','UPDATE','DELETE','TRUNCATE']) p"
            " WHERE has_table_privilege(%(table)s::regclass, p)",
            {"table": table},
        )
        if writes:
            role = self._query_value("SELECT current_user", {})
            yield Finding(
                "warning", "rights",
                f"the role {role} may also {writes} on {table}. reportgen only reads: give it a role of "
                f"its own with no more than GRANT SELECT ON {table}",
            )  # fmt: skip
        else:
            yield Finding("ok", "rights", "the role may read, and cannot write to the table")

    def _superuser_finding(self) -> Finding:
        if self._query_value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", {}):
            return Finding(
                "warning", "rights", "the role is a superuser; give reportgen one that may only read"
            )
        return Finding("ok", "rights", "the role is not a superuser")

    def _query_value(self, sql: str, values: Mapping[str, Any]) -> Any:
        return next(iter(list(self.rows(sql, values))))[0]

    @property
    def _relation(self) -> str:
        query = self._settings.query
        return f"({strip_semicolon(query)}\n) AS metrics" if query else table_name(self._settings, "public")

    def _connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        try:
            return psycopg.connect(
                self._url,
                connect_timeout=self._settings.connect_timeout_s,
                prepare_threshold=None,
                client_encoding="utf8",
                fallback_application_name="reportgen",
            )
        except psycopg.ProgrammingError as exc:
            raise ConfigError(f"source.url: not a PostgreSQL URL: {self._clean(exc)}") from None
        except (psycopg.Error, UnicodeError, ValueError) as exc:
            raise connection_error(self.name, self._clean(exc)) from None  # the cause would show the password

    def _begin_snapshot(self, connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
        """Begin the transaction with a snapshot newer than any rewrite of the table; return the types.

        If TRUNCATE or ALTER TABLE rewrites a table after the snapshot, the snapshot sees it empty. LOCK TABLE
        takes no snapshot, so the snapshot is taken when the table is locked against such statements.
        """
        if self._settings.query is None:
            # A view in the place of the table passes its lock on, and a partitioned table to its partitions.
            with suppress(psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError):
                self._set_limits(connection, f"; LOCK TABLE {self._relation} IN ACCESS SHARE MODE")
                return self._column_types(connection)
            connection.rollback()
        # Some cannot be locked by name: a query, a materialized view, a table with rights on columns only.
        # The first transaction waits for a session that rewrites it; the snapshot of the second is newer.
        self._set_limits(connection)
        self._column_types(connection)
        connection.rollback()
        self._set_limits(connection)
        return self._column_types(connection)

    def _set_limits(self, connection: psycopg.Connection[tuple[Any, ...]], then: str = "") -> None:
        """Begin a transaction, limit the time of its statements, and run ``then`` before its snapshot."""
        timeout_ms = self._settings.statement_timeout_s * 1000
        # The lock timeout is shorter, so that the server's message says which of the two was reached.
        lock_timeout_ms = timeout_ms - min(1000, timeout_ms // 10)
        # In the transaction, not as start-up options, which poolers refuse. SET takes no snapshot.
        limits = (
            f"SET LOCAL statement_timeout = {timeout_ms}; SET LOCAL lock_timeout = {lock_timeout_ms}; "
            f"SET LOCAL TimeZone = '{self._timezone}'"
        )
        with self._timeout(connection):
            connection.execute(f"{limits}{then}".encode())

    def _column_types(self, connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
        """Return the type names of the date and the visits column.

        Raises:
            SourceError: the type of a column is not a date, or not a number.

        """
        columns = self._settings.columns
        names = (columns.date, columns.path, columns.visits)
        listed = _escape_percent(", ".join(map(quoted_identifier, names)))
        # LIMIT 0, not WHERE false, which would leave the partitions without a lock.
        sql = f"SELECT {listed} FROM {_escape_percent(self._relation)} LIMIT %(none)s"
        with self._timeout(connection):
            cursor = connection.execute(sql.encode(), {"none": 0})
        types = [column.type_display for column in cursor.description or []]
        base = [re.sub(r"\(.*", "", shown) for shown in types]
        if base[0] not in DATE_TYPES:
            raise SourceError(
                f"{self.name}: the column {quoted_identifier(names[0])} is of type {types[0]}, "
                "not a date or timestamp. Name another in [source] columns, or cast it with query: "
                f"SELECT {quoted_identifier(names[0])}::date AS date, …"
            )
        if base[2] not in INTEGER_TYPES | FRACTIONAL_TYPES:
            raise SourceError(
                f"{self.name}: the column {quoted_identifier(names[2])} is of type {types[2]}, not a number. "
                "Name another in [source] columns, or cast it with query: "
                f"SELECT …, {quoted_identifier(names[2])}::integer AS visits"
            )
        return base[0], base[2]

    @contextmanager
    def _timeout(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
        """Shut the connection down if the server does not keep its timeout: it, or the network, may hang."""
        limit_s = self._settings.statement_timeout_s + GRACE_S
        late = threading.Event()
        duplicate = socket.socket(fileno=os.dup(connection.fileno()))

        def shut_down() -> None:
            late.set()
            with suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(limit_s, shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield
        except psycopg.Error as exc:
            if not late.is_set():
                raise
            raise SourceUnavailable(
                f"{self.name}: no whole answer within {limit_s} s, though statement_timeout_s is "
                f"{limit_s - GRACE_S} s: the server or the network hangs. Check that other clients reach it"
            ) from exc
        finally:
            timer.cancel()
            timer.join()
            duplicate.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise psycopg's errors as :class:`SourceError`."""
        try:
            yield
        except psycopg.Error as exc:
            raise to_source_error(exc, self.name, self._clean(exc), self._settings) from exc

    def _clean(self, exc: Exception) -> str:
        """Return the first line of the error's message, without secrets."""
        # The secrets go before the text is cut, because a secret may hold a line break.
        text = scrub(str(exc), (*url_secrets(self._url), self._url))
        return (text.strip().splitlines() or [type(exc).__name__])[0]


def _escape_percent(sql: str) -> str:
    """Return the SQL with doubled percent signs: psycopg takes single ones as placeholders."""
    return sql.replace("%", "%%")


def _checked_url(url: str) -> str:
    """Return the URL if its user and password are clearly separated; otherwise a message might show them.

    Raises:
        ConfigError: an unencoded delimiter in user or password, or a port that is not a valid number.

    """
    authority, rest = re.split("[/?]", url.partition("://")[2] + "/", maxsplit=1)
    if "#" in url or "@" in rest or authority.count("@") > 1:
        raise ConfigError(
            "source.url: a user or password with / ? # or @ in it must be percent-encoded: %2F %3F %23 %40"
        )
    for host in authority.rpartition("@")[2].split(","):
        port = re.sub(r"^\[.*\]", "", host).partition(":")[2]
        if port and not (port.isdecimal() and 0 < int(port) < 65_536):  # noqa: PLR2004
            raise ConfigError("source.url: the port must be a number from 1 to 65535")
    return url


def _public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    authority, _, rest = url.partition("://")[2].partition("?")[0].partition("/")
    return f"postgresql://{authority.rpartition('@')[2]}/{rest}"
