"""PostgreSQL, and other databases with its protocol, through psycopg.

A build is one read-only, repeatable-read transaction. Statements use the extended protocol, which binds
values and runs a single statement. Prepared statements have no names, because a pooler in transaction mode
does not support named ones.
"""

import os
import re
import socket
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import date
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg import IsolationLevel, errors

from reportgen.config.problems import url_secrets
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable, scrub
from reportgen.core.windows import Span
from reportgen.sources.base import (
    ROWS_PER_FETCH,
    Dialect,
    Finding,
    Source,
    first_moment,
    index_finding,
    name_list,
    quoted_identifier,
    sql_type,
)
from reportgen.sources.errors import QUERY, to_source_error
from reportgen.sources.path_sql import PostgresPathSql

DATE_TYPES = {"date", "timestamp", "timestamptz"}
INTEGER_TYPES = {"int2", "int4", "int8"}
FRACTIONAL_TYPES = {"numeric", "float4", "float8"}

FOREIGN_PARAMETERS = {
    "adapter", "ApplicationName", "binary_parameters", "charset", "connection_limit",
    "default_query_exec_mode", "encoding", "idle_timeout", "max_lifetime", "max_overflow", "pgbouncer",
    "pool", "pool_health_check_period", "pool_max_conn_idle_time", "pool_max_conn_lifetime",
    "pool_max_conns", "pool_min_conns", "pool_mode", "pool_pre_ping", "pool_recycle", "pool_size",
    "pool_timeout", "prepare", "prepared_statement_cache_size", "prepared_statements",
    "preparedStatementCacheQueries", "prepareThreshold", "queue_interval", "queue_target", "reconnect",
    "socket_timeout", "sslaccept", "sslidentity", "statement_cache_capacity", "statement_cache_mode",
    "statement_cache_size", "statement_timeout", "supa", "timeout", "uselibpqcompat", "workaround",
}  # fmt: skip
"""Parameters that other tools read from a URL of PostgreSQL, and that its own library refuses."""


LEADING_INDEX = """
SELECT c.relkind::text, EXISTS (
    SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = c.oid AND a.attname = %(day)s AND i.indisvalid AND i.indpred IS NULL)
FROM pg_class c WHERE c.oid = %(table)s::regclass"""
"""The kind of a table, and whether an index begins with the column ``day``."""

SCANNED_TABLES = """
SELECT sum(greatest(reltuples, 0))::bigint, bool_and(relispartition AND
    (SELECT count(*) FROM pg_partition_tree(pg_partition_root(oid)) WHERE isleaf) > %(count)s),
    coalesce(pg_partition_root(%(table)s::regclass), %(table)s::regclass)::text,
    array_agg(oid::regclass::text ORDER BY relname)
FROM pg_class WHERE oid = ANY (%(tables)s::text[]::regclass[])"""
"""Rows of tables (estimated), whether they are some of the partitions, one's whole table, and their names."""

TABLES = """
SELECT CASE n.nspname WHEN 'public' THEN '' ELSE n.nspname || '.' END || c.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
GROUP BY n.nspname, c.relname
ORDER BY coalesce(bool_or(a.atttypid IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype))
    AND bool_or(a.attname ~* 'path|url|page'), false) DESC, n.nspname <> 'public', 1"""
"""The tables and views of a database; first those with a date and a path."""

REFRESH = """
SELECT string_agg(format('REFRESH MATERIALIZED VIEW %%s;', oid::regclass), ' ') FROM pg_class
WHERE relkind = 'm' AND NOT relispopulated AND position(relname in %(message)s) > 0"""
"""The statements that fill the materialized views which an error's message names."""


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

    def __init__(self, settings: SourceSettings, timezone: str, span: Span) -> None:
        url, schema, self._ignored = understood_url(settings.url.get_secret_value())
        if schema and settings.schema_ is None:
            settings = settings.model_copy(update={"schema_": schema})
        self._url, self._timezone, self._span = url, timezone, span
        super().__init__(settings, public_name(url))

    def connect(self, opened: ExitStack) -> None:
        """Connect, begin the snapshot, and check table, columns and types."""
        connection = open_connection(self._url, self.settings.connect_timeout_s)
        self._connection = opened.enter_context(closing(connection))
        self._socket = opened.enter_context(socket.socket(fileno=os.dup(connection.fileno())))
        connection.read_only = True
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        if not self.reads_visits:
            self._set_limits()
            return
        try:
            self._types = self._begin_snapshot()
        except (errors.UndefinedColumn, errors.UndefinedTable, errors.ObjectNotInPrerequisiteState) as exc:
            connection.rollback()
            self._set_limits()
            raise self._explained(exc) from None

    @property
    def dialect(self) -> Dialect:
        """PostgreSQL's SQL; dates are compared as dates; instants get their date in the session's zone."""
        day, path, visits = (_escape_percent(quoted_identifier(name)) for name in self.columns)
        # NaN is larger than every number, so the upper bound excludes it.
        whole = (
            f"CASE WHEN {visits} < 1e30 AND {visits} = trunc({visits}::numeric) THEN {visits}::numeric END"
        )
        fractional = f"CASE WHEN {visits} < 1e30 AND {visits} > -1e30 THEN {whole} END"
        stored_zone = self._stored_zone
        is_instant = stored_zone or self._types[0] == "timestamptz"
        in_zone = f"{day} AT TIME ZONE '{stored_zone}'" if stored_zone else day
        return Dialect(
            relation=_escape_percent(self.relation("public")),
            stored_date=day,
            day=f"CAST({in_zone} AS date)",
            path=f"CAST({path} AS text)",
            visits=visits if self._types[1] in INTEGER_TYPES else fractional,
            stored_visits=visits,
            code_point_order=' COLLATE "C"',
            placeholder="%({})s".format,
            date_value=lambda day: day,
            stored_date_value=lambda day: (
                first_moment(day, self._timezone, stored_zone) if is_instant else day
            ),
        )

    @property
    def _stored_zone(self) -> str | None:
        """The zone of the stored timestamps, if they have none of their own and it is set."""
        return self.settings.timestamp_zone if self._types[0] == "timestamp" else None

    def by_rules(self, relation: str) -> str:
        """Return the SQL of ``relation`` with the columns ``path`` and ``section``."""
        return _escape_percent(PostgresPathSql().by_rules(relation, self.rules))

    def execute(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows as they arrive."""
        with self._connection.cursor() as cursor:
            yield from cursor.stream(sql.encode(), values, size=ROWS_PER_FETCH)

    def bound_value(self, name: str, value: date | str | None) -> tuple[str, Any]:
        """Return a placeholder of a type: the server knows none of a bound NULL or text."""
        return f"CAST(%({name})s AS {sql_type(value)})", value

    def escaped(self, sql: str) -> str:
        """Return the SQL with doubled percent signs."""
        return _escape_percent(sql)

    @contextmanager
    def run_query(
        self, sql: str, values: Mapping[str, Any], timeout_s: float, count: int
    ) -> Iterator[tuple[Sequence[str], Iterable[Iterable[Any]]]]:
        """Run a panel's query between a savepoint and the way back to it, which undoes set_config, too."""
        connection = self._connection
        connection.execute(
            f"SAVEPOINT panel; SET LOCAL statement_timeout = {max(1, int(1000 * timeout_s))}".encode()
        )
        try:
            described = connection.execute(self.limited(sql, 0).encode(), values).description or []
            with (
                connection.cursor() as cursor,
                closing(_stream(cursor, self.limited(sql, count), values)) as rows,
            ):
                yield [column.name for column in described], rows
        finally:
            with suppress(psycopg.OperationalError):  # if the connection is lost, the next statement says so
                connection.execute("ROLLBACK TO SAVEPOINT panel")

    def cancel(self) -> None:
        """Shut the connection down: the server did not keep its timeout, so it, or the network, hangs."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def left_out_table(self) -> str | None:
        """Return the quoted table that holds what an import left out, if there is one that may be read."""
        table = f"{quoted_identifier(self.settings.schema_ or 'public')}.left_out"
        may_read, role = self._query_row(
            "SELECT has_table_privilege(to_regclass(%(table)s), 'SELECT'), quote_ident(current_user)",
            {"table": table},
        )
        if may_read is False:
            self.warnings.append(
                f"{self.name}: what the import left out is not shown: GRANT SELECT ON {table} TO {role};"
            )
        return _escape_percent(table) if may_read else None

    def inspect(self) -> Iterator[Finding]:
        """Yield whether an index begins with the date column, and whether the role may write."""
        if self._ignored:
            yield Finding(
                "ok", "source", f"parameters of other tools are ignored: {', '.join(self._ignored)}"
            )
        yield from self.zone_findings(self._types[0], self._timezone)
        yield self._index_finding()
        if self.settings.query:
            if self._query_value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", {}):
                yield Finding(
                    "warning", "rights", "the role is a superuser; give reportgen one that may only read"
                )
            else:
                yield Finding("ok", "rights", "the role is not a superuser")
            return
        table = self.relation("public")
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

    def _index_finding(self) -> Finding:
        """Return whether an index finds the dates that a build reads."""
        table, day = self.relation("public"), self.columns[0]
        kind, has_index = "v", False
        if self.settings.query is None:
            kind, has_index = self._query_row(LEADING_INDEX, {"table": table, "day": day})
        if kind == "f":
            return Finding("ok", "index", "not checked: a foreign table has its indexes on its own server")
        if has_index or kind not in {"v", "p"}:
            create = None if has_index else f"CREATE INDEX ON {table} ({quoted_identifier(day)})"
            return index_finding(day, create)
        return self._plan_finding()

    def _plan_finding(self) -> Finding:
        """Return how the planner finds the dates that a build reads in the tables of a query or view."""
        dialect, day = self.dialect, self.dialect.stored_date
        first, end = map(dialect.stored_date_value, (self._span.first, self._span.end))
        # Otherwise the planner reads a small table without its index.
        self._query_value("SELECT set_config('enable_seqscan', 'off', true)", {})
        plan = self._query_value(
            f"EXPLAIN (VERBOSE, FORMAT JSON) SELECT * FROM {dialect.relation}"
            f" WHERE {day} >= %(first)s AND {day} < %(end)s",
            {"first": first, "end": end},
        )
        self._query_value("SELECT set_config('enable_seqscan', 'on', true)", {})
        nodes = list(_plan_nodes(plan[0]["Plan"]))
        if any(re.search("[<>]", node.get("Index Cond", "")) for node in nodes):
            return Finding("ok", "index", "an index finds the dates")
        scans = {_table_of(node): node.get("Filter", "") for node in nodes if "Relation Name" in node}
        if not scans:
            return Finding("ok", "index", "not checked: no table is read")
        # A filter by the column itself, not by a value that is computed from it.
        compared = {
            table: re.search(r'\((?:\w+\.|"[^"]+"\.)?(\w+|"[^"]+") >= ', scans[table]) for table in scans
        }
        table, column = next(((table, found[1]) for table, found in compared.items() if found), ("", ""))
        rows, pruned, whole, names = self._query_row(
            SCANNED_TABLES, {"tables": list(scans), "count": len(scans), "table": table or None}
        )
        if pruned:
            return Finding("ok", "index", "only the partitions of these dates are read")
        read = f"each statement of a build reads all of {name_list(names)}"
        read += f", {rows:,} rows (estimated)" if rows else ""
        if table:
            return Finding("warning", "index", f"{read}. CREATE INDEX ON {whole} ({column});")
        return Finding(
            "warning", "index",
            f"rows are grouped, or their dates computed, before dates are chosen, so {read}. Write the "
            "query flat, with the date as stored: SELECT created_at AS date, path, 1 AS visits FROM hits",
        )  # fmt: skip

    def _explained(self, exc: psycopg.Error) -> Exception:
        """Return the error of a missing name with the names that exist, or of a view with what to run."""
        text = f"{self.name}: {self.message_of(exc)}"
        if isinstance(exc, errors.UndefinedTable):
            found = [name for (name,) in self.rows(TABLES, {})]
            if not found:
                return SourceError(f"{text}. The database has no tables: check its name in the URL")
            advice = "Set schema and table in [source]" if self.settings.query is None else QUERY
            return SourceError(f"{text}; there are: {name_list(found)}. {advice}")
        if isinstance(exc, errors.ObjectNotInPrerequisiteState):
            refresh = self._query_value(REFRESH, {"message": str(exc)})
            return SourceUnavailable(f"{text}. Run: {refresh}") if refresh else exc
        try:
            with self.timeout():
                cursor = self._connection.execute(f"SELECT * FROM {self.relation('public')} LIMIT 0".encode())
        except psycopg.Error:  # a column of the query's own tables, or not all columns may be read
            hint = f"{exc.diag.message_hint or ''} {QUERY}".strip()
            return SourceError(f"{text}. {hint}") if self.settings.query else exc
        names = [column.name for column in cursor.description or []]
        missing = next((name for name in self.columns if name not in names), None)
        return self.missing_column(missing, names) if missing else exc

    def message_of(self, exc: BaseException) -> str:
        """Return the first line of the error's message, without secrets."""
        return message_of(exc, self._url)

    def _query_value(self, sql: str, values: Mapping[str, Any]) -> Any:
        return self._query_row(sql, values)[0]

    def _query_row(self, sql: str, values: Mapping[str, Any]) -> Sequence[Any]:
        return list(self.rows(sql, values))[0]  # noqa: RUF015 - all rows are read, so that the statement ends

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


def _stream(
    cursor: psycopg.Cursor[tuple[Any, ...]], sql: str, values: Mapping[str, Any]
) -> Generator[Sequence[Any], None, None]:
    yield from cursor.stream(sql.encode(), values, size=100)


def _table_of(node: Mapping[str, Any]) -> str:
    """Return the quoted name of the table that a node of a plan reads."""
    return f"{quoted_identifier(node['Schema'])}.{quoted_identifier(node['Relation Name'])}"


def open_connection(url: str, timeout_s: int) -> psycopg.Connection[tuple[Any, ...]]:
    """Return a connection to a URL from :func:`understood_url`; no message shows its password."""
    try:
        return psycopg.connect(
            url,
            connect_timeout=timeout_s,
            prepare_threshold=None,
            client_encoding="utf8",
            fallback_application_name="reportgen",
        )
    except psycopg.ProgrammingError as exc:
        text = message_of(exc, url)
        advice = ". Correct its name, or leave the parameter out" if "query parameter" in text else ""
        raise ConfigError(f"source.url: not a PostgreSQL URL: {text}{advice}") from None
    except (psycopg.Error, UnicodeError, ValueError) as exc:
        text = f"cannot connect: {message_of(exc, url).removeprefix('connection failed: ')}"
        # Without the cause, which would show the password.
        raise to_source_error(exc, public_name(url), text.replace("FATAL:  ", ""), 0, Source.advice) from None


def message_of(exc: BaseException, url: str) -> str:
    """Return the first line of an error's message, without the secrets in ``url``."""
    # The secrets go before the text is cut, because a secret may hold a line break.
    text = scrub(str(exc), (*url_secrets(url), url))
    return (text.strip().splitlines() or [type(exc).__name__])[0]


def _plan_nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every node of a plan."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from _plan_nodes(child)


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


def understood_url(url: str) -> tuple[str, str | None, list[str]]:
    """Return the URL as PostgreSQL's library reads it, the schema that it names, and ignored parameters.

    Raises:
        ConfigError: a part of the URL is wrong.

    """
    base, mark, query = f"postgresql://{_checked_url(url).partition('://')[2]}".partition("?")
    pairs = [(unquote(pair.partition("=")[0]), pair) for pair in query.split("&")]
    schema = next((unquote(pair.partition("=")[2]) for name, pair in pairs if name == "schema"), None)
    kept = [pair for name, pair in pairs if name not in FOREIGN_PARAMETERS | {"schema"}]
    ignored = [name for name, _ in pairs if name in FOREIGN_PARAMETERS]
    return f"{base}{mark}{'&'.join(kept)}", schema, ignored


def public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    authority, _, rest = url.partition("://")[2].partition("?")[0].partition("/")
    return f"postgresql://{authority.rpartition('@')[2]}/{rest}"
