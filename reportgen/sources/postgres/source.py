"""PostgreSQL, and what speaks its protocol, through psycopg.

A build is one read-only, repeatable-read transaction. Statements go through the extended protocol
(values are always bound), which runs one statement only; named prepared statements are off, so a
pooler in transaction mode may stand between.
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
from reportgen.sources.base import Dialect, Finding, bare_query, quoted, table_name
from reportgen.sources.postgres.errors import refused, translated
from reportgen.sources.postgres.rewrites import begun

ROWS_AT_ONCE = 5_000
GRACE_S = 2
"""How much longer than the server a statement is waited for: what the server says of it tells more."""
DAYS = {"date", "timestamp", "timestamptz"}
WHOLE = {"int2", "int4", "int8"}
FRACTIONAL = {"numeric", "float4", "float8"}


class PostgresSource:
    """A table or query of one PostgreSQL database."""

    site: str | None = None
    notice: str | None = None

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        self._url = _sound(settings.url.get_secret_value())
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
                self._types = self._snapshot(self._connection)
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
        """PostgreSQL compares dates as dates; instants are cut in the session's zone."""
        columns = self._settings.columns
        names = (columns.date, columns.path, columns.visits)
        day, path, visits = (_escaped(quoted(name)) for name in names)
        # NaN sorts above every number, so one bound keeps it and the infinities out.
        fractional = (
            f"CASE WHEN {visits} < 1e30 AND {visits} = trunc({visits}::numeric) THEN {visits}::numeric END"
        )
        bound = f"CASE WHEN {visits} < 1e30 AND {visits} > -1e30 THEN {fractional} END"
        return Dialect(
            relation=_escaped(self._relation),
            stored_date=day,
            day=f"CAST({day} AS date)",
            path=f"CAST({path} AS text)",
            visits=visits if self._types[1] in WHOLE else bound,
            stored_visits=visits,
            code_point_order=' COLLATE "C"',
            placeholder="%({})s".format,
            date_value=lambda day: day,
        )

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and stream its rows."""
        if self._connection is None:
            raise RuntimeError("the source is not open")
        open_ = self._connection
        with self._translate_errors(), self._deadline(open_), open_.cursor() as cursor:
            yield from cursor.stream(sql.encode(), values, size=ROWS_AT_ONCE)

    def inspect(self) -> Iterator[Finding]:
        """Look for an index that begins with the date column, and for rights beyond reading."""
        if self._settings.query:
            yield Finding("ok", "index", "not looked for: the source is a query")
            yield self._superuser()
            return
        table, day = self._relation, self._settings.columns.date
        indexed = self._one(
            "SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid"
            " AND a.attnum = i.indkey[0] WHERE i.indrelid = %(table)s::regclass AND a.attname = %(day)s"
            " AND i.indisvalid AND i.indpred IS NULL",
            {"table": table, "day": day},
        )
        if indexed:
            yield Finding("ok", "index", f"an index begins with {quoted(day)}")
        else:
            yield Finding(
                "warning", "index",
                f"no index begins with {quoted(day)}: every build reads the whole table. "
                f"CREATE INDEX ON {table} ({quoted(day)});",
            )  # fmt: skip
        writes = self._one(
            "SELECT string_agg(p, ', ') FROM unnest(ARRAY['INSERT','UPDATE','DELETE','TRUNCATE']) p"
            " WHERE has_table_privilege(%(table)s::regclass, p)",
            {"table": table},
        )
        if writes:
            role = self._one("SELECT current_user", {})
            yield Finding(
                "warning", "rights",
                f"the role {role} may also {writes} on {table}. reportgen only reads: give it a role of "
                f"its own with no more than GRANT SELECT ON {table}",
            )  # fmt: skip
        else:
            yield Finding("ok", "rights", "the role may read, and cannot write to the table")

    def _superuser(self) -> Finding:
        if self._one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", {}):
            return Finding(
                "warning", "rights", "the role is a superuser; give reportgen one that may only read"
            )
        return Finding("ok", "rights", "the role is no superuser")

    def _one(self, sql: str, values: Mapping[str, Any]) -> Any:
        return next(iter(list(self.rows(sql, values))))[0]

    @property
    def _relation(self) -> str:
        query = self._settings.query
        return f"({bare_query(query)}\n) AS metrics" if query else table_name(self._settings, "public")

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
            raise refused(self.name, self._clean(exc)) from None  # the chain would show the password

    def _snapshot(self, connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
        """Begin the transaction, with a snapshot from after any rewrite of the table; return the types."""
        limit_s = self._settings.statement_timeout_s
        types = begun(connection, self._begin, self._deadline, limit_s)
        if types is None:
            raise SourceUnavailable(
                f"{self.name}: for {limit_s} s the table was rewritten again and again (TRUNCATE, ALTER "
                "TABLE?), with no moment in between to read it. Try again later, or let its writers pause"
            )
        return types

    def _begin(self, connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
        """Begin the transaction, which locks the table against changes of its shape; return the types."""
        timeout_ms = self._settings.statement_timeout_s * 1000
        with self._deadline(connection):
            # Inside the transaction, not at start-up: poolers refuse start-up options.
            connection.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
                " set_config('TimeZone', %s, true)",
                # A little less for locks, so that the server says which of the two it was.
                (str(timeout_ms), str(timeout_ms - min(1000, timeout_ms // 10)), self._timezone),
            )
        with self._deadline(connection):
            return self._probe(connection)

    def _probe(self, connection: psycopg.Connection[tuple[Any, ...]]) -> tuple[str, str]:
        """Return the type names of the date and the visits column.

        Raises:
            SourceError: a type that holds no dates, or no numbers.

        """
        columns = self._settings.columns
        names = (columns.date, columns.path, columns.visits)
        listed = _escaped(", ".join(map(quoted, names)))
        # Not WHERE false: then the server would not look at, and not lock, the partitions.
        sql = f"SELECT {listed} FROM {_escaped(self._relation)} LIMIT %(none)s"
        cursor = connection.execute(sql.encode(), {"none": 0})
        types = [column.type_display for column in cursor.description or []]
        base = [re.sub(r"\(.*", "", shown) for shown in types]
        if base[0] not in DAYS:
            raise SourceError(
                f"{self.name}: the column {quoted(names[0])} is of type {types[0]}, not a date or timestamp. "
                "Name another in [source] columns, or cast it with query: "
                f"SELECT {quoted(names[0])}::date AS date, …"
            )
        if base[2] not in WHOLE | FRACTIONAL:
            raise SourceError(
                f"{self.name}: the column {quoted(names[2])} is of type {types[2]}, not a number. "
                "Name another in [source] columns, or cast it with query: "
                f"SELECT …, {quoted(names[2])}::integer AS visits"
            )
        return base[0], base[2]

    @contextmanager
    def _deadline(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
        """Cut the line where the server does not keep to its time: it, or the network, may be frozen."""
        limit_s = self._settings.statement_timeout_s + GRACE_S
        late = threading.Event()
        line = socket.socket(fileno=os.dup(connection.fileno()))

        def cut() -> None:
            late.set()
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(limit_s, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except psycopg.Error as exc:
            if not late.is_set():
                raise
            raise SourceUnavailable(
                f"{self.name}: no whole answer within {limit_s} s, though statement_timeout_s is "
                f"{limit_s - GRACE_S} s: the server, or the way to it, hangs. Look whether others reach it"
            ) from exc
        finally:
            timer.cancel()
            timer.join()
            line.close()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Turn psycopg's errors into ours."""
        try:
            yield
        except psycopg.Error as exc:
            raise translated(exc, self.name, self._clean(exc), self._settings) from exc

    def _clean(self, exc: Exception) -> str:
        """Return the first line of a message, without secrets."""
        text = scrub(str(exc), (*url_secrets(self._url), self._url))  # before a line break can cut a secret
        return (text.strip().splitlines() or [type(exc).__name__])[0]


def _escaped(sql: str) -> str:
    """Double the percent signs, which psycopg takes for placeholders."""
    return sql.replace("%", "%%")


def _sound(url: str) -> str:
    """Return the URL if it can be taken apart without a doubt; else a password might be shown.

    Raises:
        ConfigError: a user or password with an unencoded delimiter, or a port that is no number.

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
