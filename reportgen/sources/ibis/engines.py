"""What each engine that Ibis reaches wants otherwise than the rest: time-outs, snapshots, exact comparisons.

What a row of :data:`ENGINES` says of an engine that no test runs on comes from that engine's manual;
``docs/engines.md`` names those engines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlglot
from sqlglot import expressions as sql

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError
from reportgen.sources.ibis.sql import COMMON, Piece, Words, at_zone, decimal, whole_part

NO_SNAPSHOT = (
    "none: each statement of a build sees what is stored when it runs; docs/engines.md says what helps"
)
A_TRANSACTION = "one read-only transaction a build"


def _written(text: str, dialect: str) -> Callable[[Piece], Piece]:
    """Return what puts a value in the place of ``x`` in a piece of the engine's own SQL."""

    def around(value: Piece) -> Piece:
        tree = sqlglot.parse_one(text, read=dialect)
        return tree.transform(lambda node: value.copy() if isinstance(node, sql.Column) else node)

    return around


def _no_day(kind: str, instead: str) -> Callable[[Piece, str], Piece]:
    """Return what refuses an instant in an engine that need not know the report's zone."""

    def refused(instant: Piece, zone: str) -> Piece:
        raise SourceError(
            f"source.url: {instant.name} is a {kind}, an instant whose date in {zone} it may not know: "
            f"store a {instead}, or cut it to a date with [source] query"
        )

    return refused


def _to_date(instant: Piece, zone: str) -> Piece:
    return sql.Anonymous(this="toDate", expressions=[instant.copy(), sql.Literal.string(zone)])


def _truncated(value: Piece) -> Piece:
    # Oracle's DATE has a time of day, and a cast to it keeps that.
    return sql.Anonymous(this="TRUNC", expressions=[value.copy()])


def _oracle_bound(beginning: Any) -> Piece:
    if not isinstance(beginning, datetime):
        return sql.convert(beginning)
    if beginning.tzinfo is None:  # a DATE is compared with either kind as it is stored: an index serves
        return sql.convert(beginning.date())
    said = f"{beginning:%Y-%m-%d %H:%M:%S} +00:00"
    how = "YYYY-MM-DD HH24:MI:SS TZH:TZM"
    return sql.Anonymous(this="TO_TIMESTAMP_TZ", expressions=[*map(sql.Literal.string, (said, how))])


@dataclass(frozen=True)
class Engine:
    """One engine.

    ``options`` are keyword arguments of its ``connect``; ``session`` are statements before the table is
    looked at, ``snapshot`` those that begin what all readings see. In both, ``{s}`` and ``{ms}`` stand for
    ``statement_timeout_s``. ``words`` are those of its SQL. ``describe`` gives names and types of a
    ``{query}`` where Ibis's own way does not work, or makes a view. ``cancel`` ends, from another thread, the
    statement that runs.
    """

    options: Callable[[SourceSettings], Mapping[str, Any]] = lambda _: {}
    session: tuple[str, ...] = ()
    snapshot: tuple[str, ...] = ()
    one_state: str = NO_SNAPSHOT
    words: Words = COMMON
    describe: str | None = None
    cancel: Callable[[Any], object] | None = None


def _clickhouse(settings: SourceSettings) -> Mapping[str, Any]:
    # A column named like the sum of it is otherwise taken for the sum.
    own = {"max_execution_time": settings.statement_timeout_s, "prefer_column_name_to_alias": 1}
    return {"connect_timeout": settings.connect_timeout_s, "settings": own}


MYSQL_SESSION = (
    "SET SESSION time_zone = '+00:00', sql_mode = REPLACE(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')"
    # MySQL and MariaDB name it differently, and each skips what is marked for the other.
    " /*!50708 , max_execution_time = {ms} */ /*M!100101 , max_statement_time = {s} */"
)
ORACLE_SESSION = (
    "ALTER SESSION SET NLS_COMP = BINARY NLS_SORT = BINARY NLS_TIMESTAMP_FORMAT = 'YYYY-MM-DD HH24:MI:SS'"
    " NLS_TIMESTAMP_TZ_FORMAT = 'YYYY-MM-DD HH24:MI:SS TZH:TZM'"
)

ENGINES: Mapping[str, Engine] = {
    # Its NUMERIC holds 29 digits.
    "bigquery": Engine(words=Words(decimal="BIGDECIMAL")),
    "clickhouse": Engine(
        options=_clickhouse,
        words=Words(number=decimal, instant=_to_date),
        describe="DESCRIBE TABLE ({query})",
    ),
    "databricks": Engine(
        session=("SET ANSI_MODE = true", "SET TIMEZONE = 'UTC'", "SET STATEMENT_TIMEOUT = {s}"),
    ),
    "duckdb": Engine(
        options=lambda _: {"read_only": True},
        session=("SET enable_external_access = false", "SET lock_configuration = true"),
        snapshot=("BEGIN TRANSACTION",),
        one_state=A_TRANSACTION,
        describe="DESCRIBE {query}",
        cancel=lambda backend: backend.con.interrupt(),
    ),
    "mssql": Engine(
        session=("SET LOCK_TIMEOUT {ms}",),
        words=Words(
            # A text that is not national, or a collation of one, holds what its code page has.
            exactly=_written("CAST(x AS NVARCHAR(MAX)) COLLATE Latin1_General_100_BIN2", "tsql"),
            text=lambda text: sql.National(this=text),
            number=decimal,
            # It knows zones by Windows' names only.
            instant=_no_day("DATETIMEOFFSET", "DATETIME2"),
        ),
    ),
    "mysql": Engine(
        options=lambda settings: {"connect_timeout": settings.connect_timeout_s, "charset": "utf8mb4"},
        session=(MYSQL_SESSION, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        snapshot=("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",),
        one_state=A_TRANSACTION,
        words=Words(
            exactly=_written("CAST(CONVERT(x USING utf8mb4) AS BINARY)", "mysql"),
            instant=_no_day("TIMESTAMP", "DATETIME"),
        ),
    ),
    "oracle": Engine(
        session=(ORACLE_SESSION,),
        snapshot=("SET TRANSACTION READ ONLY",),
        one_state=A_TRANSACTION,
        words=Words(
            date=_truncated,
            timestamp=_truncated,
            instant=lambda instant, zone: _truncated(at_zone(instant, zone)),
            bound=_oracle_bound,
            number=whole_part,  # a NUMBER without digits in its type is told as whole, and need not be
        ),
    ),
    "postgres": Engine(
        options=lambda settings: {"connect_timeout": settings.connect_timeout_s},
        session=("SET statement_timeout = {ms}",),
        snapshot=("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",),
        one_state=A_TRANSACTION,
        words=Words(exactly=_written('x COLLATE "C"', "postgres")),
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
