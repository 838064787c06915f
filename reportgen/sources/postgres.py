"""PostgreSQL, and other databases with its protocol, through psycopg.

A build is one read-only, repeatable-read transaction. Statements use the extended protocol, which binds
values and runs a single statement. Prepared statements have no names, because a pooler in transaction mode
does not support named ones.
"""

import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg import IsolationLevel

from reportgen.config.problems import url_secrets
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, scrub
from reportgen.sources.base import ROWS_PER_FETCH, Dialect, Finding, Source, index_finding, quoted_identifier
from reportgen.sources.errors import to_source_error

DATE_TYPES = {"date", "timestamp", "timestamptz"}
INTEGER_TYPES = {"int2", "int4", "int8"}
FRACTIONAL_TYPES = {"numeric", "float4", "float8"}

FOREIGN_PARAMETERS = {
    "adapter", "charset", "connection_limit", "encoding", "pgbouncer", "pool", "pool_max_conns", "pool_size",
    "pool_timeout", "prepared_statements", "reconnect", "socket_timeout", "sslaccept", "sslidentity",
    "statement_cache_size", "statement_timeout", "supa", "timeout", "workaround",
}  # fmt: skip
"""Parameters that other tools read from a URL of PostgreSQL, and that its own library refuses."""


class PostgresSource(Source):
    """A table or query of a PostgreSQL database."""

    driver_errors = (psycopg.Error,)
    grace_s = 2  # the server's own message about the timeout says more
    too_late = (
        "no whole answer within {limit_s} s, though statement_timeout_s is {s} s: the server or the network "
        "hangs. Check that other clients reach it"
    )
    _connection: psycopg.Connection[tuple[Any, ...]]
    _socket: socket.socket
    _types: tuple[str, str]

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        url, schema, self._ignored = _understood(_checked_url(settings.url.get_secret_value()))
        if schema and settings.schema_ is None:
            settings = settings.model_copy(update={"schema_": schema})
        self._url, self._timezone = url, timezone
        super().__init__(settings, _public_name(url))

    def connect(self, opened: ExitStack) -> None:
        """Connect, begin the snapshot, and check table, columns and types."""
        try:
            connection = psycopg.connect(
                self._url,
                connect_timeout=self.settings.connect_timeout_s,
                prepare_threshold=None,
                client_encoding="utf8",
                fallback_application_name="reportgen",
            )
        except psycopg.ProgrammingError as exc:
            raise ConfigError(f"source.url: not a PostgreSQL URL: {self.message_of(exc)}") from None
        except (psycopg.Error, UnicodeError, ValueError) as exc:
            text = f"cannot connect: {self.message_of(exc).removeprefix('connection failed: ')}"
            # Without the cause, which would show the password.
            raise to_source_error(exc, self.name, text.replace("FATAL:  ", ""), 0, self.advice) from None
        self._connection = opened.enter_context(closing(connection))
        self._socket = opened.enter_context(socket.socket(fileno=os.dup(connection.fileno())))
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        self._types = self._begin_snapshot()

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's SQL; dates are compared as dates; instants get their date in the session's zone."""
        day, path, visits = (_escape_percent(quoted_identifier(name)) for name in self.columns)
        # NaN is larger than every number, so the upper bound excludes it.
        whole = (
            f"CASE WHEN {visits} < 1e30 AND {visits} = trunc({visits}::numeric) THEN {visits}::numeric END"
        )
        fractional = f"CASE WHEN {visits} < 1e30 AND {visits} > -1e30 THEN {whole} END"
        return Dialect(
            relation=_escape_percent(self.relation("public")),
            stored_date=day,
            day=f"CAST({day} AS date)",
            path=f"CAST({path} AS text)",
            visits=visits if self._types[1] in INTEGER_TYPES else fractional,
            stored_visits=visits,
            code_point_order=' COLLATE "C"',
            placeholder="%({})s".format,
            date_value=lambda day: day,
        )

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows as they arrive."""
        with self._connection.cursor() as cursor:
            yield from cursor.stream(sql.encode(), values, size=ROWS_PER_FETCH)

    def cancel(self) -> None:
        """Shut the connection down: the server did not keep its timeout, so it, or the network, hangs."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def inspect(self) -> Iterator[Finding]:
        """Yield whether an index begins with the date column, and whether the role may write."""
        if self._ignored:
            yield Finding(
                "ok", "source", f"parameters of other tools are ignored: {', '.join(self._ignored)}"
            )
        if self.settings.query:
            yield Finding("ok", "index", "not checked: the source is a query")
            if self._query_value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", {}):
                yield Finding(
                    "warning", "rights", "the role is a superuser; give reportgen one that may only read"
                )
            else:
                yield Finding("ok", "rights", "the role is not a superuser")
            return
        table, day = self.relation("public"), self.settings.columns.date
        indexed = self._query_value(
            "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
            " AND a.attnum = i.indkey[0] WHERE i.indrelid = %(table)s::regclass AND a.attname = %(day)s"
            " AND i.indisvalid AND i.indpred IS NULL",
            {"table": table, "day": day},
        )
        yield index_finding(day, None if indexed else f"CREATE INDEX ON {table} ({quoted_identifier(day)})")
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

    def message_of(self, exc: BaseException) -> str:
        """Return the first line of the error's message, without secrets."""
        # The secrets go before the text is cut, because a secret may hold a line break.
        text = scrub(str(exc), (*url_secrets(self._url), self._url))
        return (text.strip().splitlines() or [type(exc).__name__])[0]

    def _query_value(self, sql: str, values: Mapping[str, Any]) -> Any:
        return next(iter(list(self.rows(sql, values))))[0]

    def _begin_snapshot(self) -> tuple[str, str]:
        """Begin the transaction with a snapshot newer than any rewrite of the table; return the types.

        If TRUNCATE or ALTER TABLE rewrites a table after the snapshot, the snapshot sees it empty. LOCK TABLE
        takes no snapshot, so the snapshot is taken when the table is locked against such statements.
        """
        if self.settings.query is None:
            # A view in the place of the table passes its lock on, and a partitioned table to its partitions.
            with suppress(psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError):
                self._set_limits(f"; LOCK TABLE {self.relation('public')} IN ACCESS SHARE MODE")
                return self._column_types()
            self._connection.rollback()
        # Some cannot be locked by name: a query, a materialized view, a table with rights on columns only.
        # The first transaction waits for a session that rewrites it; the snapshot of the second is newer.
        self._set_limits()
        self._column_types()
        self._connection.rollback()
        self._set_limits()
        return self._column_types()

    def _set_limits(self, then: str = "") -> None:
        """Begin a transaction, limit the time of its statements, and run ``then`` before its snapshot."""
        timeout_ms = self.settings.statement_timeout_s * 1000
        # The lock timeout is shorter, so that the server's message says which of the two was reached.
        lock_timeout_ms = timeout_ms - min(1000, timeout_ms // 10)
        # In the transaction, not as start-up options, which poolers refuse. SET takes no snapshot.
        limits = (
            f"SET LOCAL statement_timeout = {timeout_ms}; SET LOCAL lock_timeout = {lock_timeout_ms}; "
            f"SET LOCAL TimeZone = '{self._timezone}'"
        )
        with self.timeout():
            self._connection.execute(f"{limits}{then}".encode())

    def _column_types(self) -> tuple[str, str]:
        """Return the type names of the date and the visits column."""
        listed = _escape_percent(", ".join(map(quoted_identifier, self.columns)))
        # LIMIT 0, not WHERE false, which would leave the partitions without a lock.
        sql = f"SELECT {listed} FROM {_escape_percent(self.relation('public'))} LIMIT %(none)s"
        with self.timeout():
            cursor = self._connection.execute(sql.encode(), {"none": 0})
        types = [re.sub(r"\(.*", "", column.type_display) for column in cursor.description or []]
        if types[0] not in DATE_TYPES:
            raise self.wrong_type(self.columns[0], types[0], "a date or timestamp")
        if types[2] not in INTEGER_TYPES | FRACTIONAL_TYPES:
            raise self.wrong_type(self.columns[2], types[2], "a number")
        return types[0], types[2]


def _escape_percent(sql: str) -> str:
    """Return the SQL with doubled percent signs: psycopg takes single ones as placeholders."""
    return sql.replace("%", "%%")


def _checked_url(url: str) -> str:
    """Return the URL if its user and password are clearly separated; otherwise a message might show them."""
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


def _understood(url: str) -> tuple[str, str | None, list[str]]:
    """Return the URL as PostgreSQL's library reads it, the schema that it names, and ignored parameters."""
    base, mark, query = f"postgresql://{url.partition('://')[2]}".partition("?")
    pairs = [(unquote(pair.partition("=")[0]), pair) for pair in query.split("&")]
    schema = next((unquote(pair.partition("=")[2]) for name, pair in pairs if name == "schema"), None)
    kept = [pair for name, pair in pairs if name not in FOREIGN_PARAMETERS | {"schema"}]
    ignored = [name for name, _ in pairs if name in FOREIGN_PARAMETERS]
    return f"{base}{mark}{'&'.join(kept)}", schema, ignored


def _public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    authority, _, rest = url.partition("://")[2].partition("?")[0].partition("/")
    return f"postgresql://{authority.rpartition('@')[2]}/{rest}"
