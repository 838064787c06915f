"""What each engine that Ibis reaches needs: options, timeouts, snapshots and SQL syntax.

``docs/engines.md`` says which engines the tests run. For the others, a row of :data:`ENGINES` follows that
engine's manual.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlglot
from sqlglot import expressions as sql

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError
from reportgen.sources.ibis.sql import (
    COMMON_SYNTAX,
    Expression,
    Syntax,
    fraction_to_integer,
    local_time,
    to_decimal,
)

NO_SNAPSHOT = (
    "none: each statement of a build reads what is stored when the statement runs; "
    "docs/engines.md says how to avoid differences"
)
ONE_TRANSACTION = "one read-only transaction a build"


def _sql_template(text: str, dialect: str) -> Callable[[Expression], Expression]:
    """Return a function that puts an expression in the place of ``x`` in the engine's SQL ``text``."""

    def fill(value: Expression) -> Expression:
        tree = sqlglot.parse_one(text, read=dialect)
        return tree.transform(lambda node: value.copy() if isinstance(node, sql.Column) else node)

    return fill


def _reject_instant(column_type: str, other_type: str) -> Callable[[Expression, str], Expression]:
    """Return a function that raises SourceError: the engine may not know the report's time zone."""

    def reject(instant: Expression, zone: str) -> Expression:
        raise SourceError(
            f"source.url: {instant.name} is a {column_type}: this engine may not know its date in {zone}. "
            f"Store a {other_type}, or convert it to a date with [source] query"
        )

    return reject


def _clickhouse_to_date(instant: Expression, zone: str) -> Expression:
    return sql.Anonymous(this="toDate", expressions=[instant.copy(), sql.Literal.string(zone)])


def _oracle_trunc(value: Expression) -> Expression:
    # Oracle's DATE has a time of day, which a cast to DATE keeps.
    return sql.Anonymous(this="TRUNC", expressions=[value.copy()])


def _oracle_date_value(start: Any) -> Expression:
    if not isinstance(start, datetime):
        return sql.convert(start)
    if start.tzinfo is None:  # a DATE compares with DATE and TIMESTAMP without a cast, so an index is used
        return sql.convert(start.date())
    text = f"{start:%Y-%m-%d %H:%M:%S} +00:00"
    text_format = "YYYY-MM-DD HH24:MI:SS TZH:TZM"
    return sql.Anonymous(this="TO_TIMESTAMP_TZ", expressions=[*map(sql.Literal.string, (text, text_format))])


@dataclass(frozen=True)
class Engine:
    """What a source does differently for one engine.

    - ``options`` returns keyword arguments for the ``connect`` function of the engine's Ibis backend.
    - ``session`` holds the statements that run first after connecting, ``snapshot`` those that begin the
      transaction of a build. In both, ``{s}`` and ``{ms}`` are replaced by ``statement_timeout_s``.
    - ``consistency`` says whether all statements of a build read the same data; ``reportgen check`` shows it.
    - ``syntax`` holds the parts of the SQL that differ.
    - ``describe`` is a statement that returns name and type of each column of ``{query}``. It is set where
      Ibis's own method does not work, or would create a view.
    - ``cancel`` ends the running statement; it is called from another thread.
    """

    options: Callable[[SourceSettings], Mapping[str, Any]] = lambda _: {}
    session: tuple[str, ...] = ()
    snapshot: tuple[str, ...] = ()
    consistency: str = NO_SNAPSHOT
    syntax: Syntax = COMMON_SYNTAX
    describe: str | None = None
    cancel: Callable[[Any], object] | None = None


def _clickhouse(settings: SourceSettings) -> Mapping[str, Any]:
    # Without the second setting, ClickHouse takes the column "visits" in a sum named "visits" for that sum.
    own = {"max_execution_time": settings.statement_timeout_s, "prefer_column_name_to_alias": 1}
    return {"connect_timeout": settings.connect_timeout_s, "settings": own}


MYSQL_SESSION = (
    "SET SESSION time_zone = '+00:00', sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')"
    # MySQL and MariaDB name the timeout differently, and each ignores the other's comment.
    " /*!50708 , max_execution_time = {ms} */ /*M!100101 , max_statement_time = {s} */"
)
ORACLE_SESSION = (
    "ALTER SESSION SET NLS_COMP = BINARY NLS_SORT = BINARY NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS'"
    " NLS_TIMESTAMP_TZ_FORMAT = 'YYYY-MM-DD HH24:MI:SS TZH:TZM'"
)

ENGINES: Mapping[str, Engine] = {
    # BigQuery's NUMERIC holds 29 digits before the point.
    "bigquery": Engine(syntax=Syntax(decimal_type="BIGDECIMAL")),
    "clickhouse": Engine(
        options=_clickhouse,
        syntax=Syntax(integer=to_decimal, instant=_clickhouse_to_date),
        describe="DESCRIBE TABLE ({query})",
    ),
    "databricks": Engine(
        session=("SET ANSI_MODE = true", "SET TIMEZONE = 'UTC'", "SET STATEMENT_TIMEOUT = {s}"),
    ),
    "duckdb": Engine(
        options=lambda _: {"read_only": True},
        session=("SET enable_external_access = false", "SET lock_configuration = true"),
        snapshot=("BEGIN TRANSACTION",),
        consistency=ONE_TRANSACTION,
        describe="DESCRIBE {query}",
        cancel=lambda backend: backend.con.interrupt(),
    ),
    "mssql": Engine(
        session=("SET LOCK_TIMEOUT {ms}",),
        syntax=Syntax(
            # A VARCHAR, and a literal without N, hold only the characters of one code page.
            exact_text=_sql_template("CAST(x AS NVARCHAR(MAX)) COLLATE Latin1_General_100_BIN2", "tsql"),
            text_literal=lambda text: sql.National(this=text),
            integer=to_decimal,
            # SQL Server knows time zones only by their Windows names.
            instant=_reject_instant("DATETIMEOFFSET", "DATETIME2"),
        ),
    ),
    "mysql": Engine(
        options=lambda settings: {"connect_timeout": settings.connect_timeout_s, "charset": "utf8mb4"},
        session=(MYSQL_SESSION, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        snapshot=("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",),
        consistency=ONE_TRANSACTION,
        syntax=Syntax(
            exact_text=_sql_template("CAST(CONVERT(x USING utf8mb4) AS BINARY)", "mysql"),
            instant=_reject_instant("TIMESTAMP", "DATETIME"),
        ),
    ),
    "oracle": Engine(
        session=(ORACLE_SESSION,),
        snapshot=("SET TRANSACTION READ ONLY",),
        consistency=ONE_TRANSACTION,
        syntax=Syntax(
            date=_oracle_trunc,
            timestamp=_oracle_trunc,
            instant=lambda instant, zone: _oracle_trunc(local_time(instant, zone)),
            date_value=_oracle_date_value,
            integer=fraction_to_integer,  # Ibis reports NUMBER as an integer, but a NUMBER may hold fractions
        ),
    ),
    "postgres": Engine(
        options=lambda settings: {"connect_timeout": settings.connect_timeout_s},
        session=("SET statement_timeout = {ms}",),
        snapshot=("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
        consistency=ONE_TRANSACTION,
        syntax=Syntax(exact_text=_sql_template('x COLLATE "C"', "postgres")),
    ),
    "pyspark": Engine(),
    "snowflake": Engine(
        session=("ALTER SESSION SET STATEMENT_TIMEOUT_IN_SECONDS = {s}, TIMEZONE = 'UTC'",),
    ),
    "trino": Engine(
        options=lambda settings: {
            "session_properties": {"query_max_execution_time": f"{settings.statement_timeout_s}s"}
        },
    ),
}
