"""What only sources through Ibis have: SQL of other engines, an extra to install, errors of many drivers.

``test_adapters.py`` tests that they return the same results as all other sources.
"""

import calendar
import re
import subprocess
import sys
from contextlib import closing
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from reportgen.config.settings import load_config
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.core.windows import Span
from reportgen.sources.ibis.backends import BACKENDS
from reportgen.sources.ibis.source import public_name
from reportgen.sources.registry import open_source
from reportgen.sources.statements import (
    CELLS,
    DAILY,
    PATHS,
    ROWS_AFTER_END,
    ROWS_WITHOUT_DATE,
    read_cells,
    read_daily,
)
from tests.support.engines import (
    IBIS_ENGINES,
    SPAN,
    TODAY,
    Engine,
    day,
    make_engine,
    needs_ibis,
    run_and_record,
    week,
)

STATEMENTS = (DAILY, PATHS, CELLS, ROWS_AFTER_END, ROWS_WITHOUT_DATE)
HOSTILE = [
    "'", "''", "\\", "\\'", "\\\\'", "' OR 1=1 --", "'; DROP TABLE metrics; --",
    "-- x", "/* x */", "${env:HOME}", "${spark.app.name}", "%s", "%(x)s", "{x}", "{x:String}", ":path_0",
    "$1", "$day", "?", '"', "`", "/a\nb",
    "/a\tb", "\x01", "\\u0041", "\\x41", "\\101", "/%27", "é", "\U0001f600", " ", "/a ", "/a", "/A", "\u2019",
    "\uff07",
]  # fmt: skip


@pytest.fixture(params=IBIS_ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, request, tmp_path)


def open_url(url: str, **settings: Any) -> Any:
    return open_source(load_config(None, {}, {"source": {"url": url, **settings}}).source, "UTC", SPAN)


@pytest.mark.parametrize("backend", ["trino", "snowflake", "oracle"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(backend: str) -> None:
    """Neither Ibis nor the driver of any engine is installed by default."""
    with pytest.raises(ConfigError) as caught, open_url(f"ibis+{backend}://user:hunter2@host/database"):
        pass
    assert f"Install the extra ibis and ibis-framework[{backend}]: see docs/install.md" in str(caught.value)
    assert "is not installed" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["ibis+access://x", "ibis+://x", "ibis+sqlite:///x.db"])
def test_the_error_of_an_unknown_ibis_engine_lists_the_known_ones(url: str) -> None:
    with pytest.raises(ConfigError, match=r"after ibis\+ it can be bigquery, clickhouse"):
        open_url(url)


def test_the_name_of_a_source_shows_neither_login_nor_parameters() -> None:
    assert public_name("IBIS+Trino://u:p%40w@host:8080/cat/sch?token=x") == "ibis+trino://host:8080/cat/sch"


def test_other_sources_do_not_import_ibis() -> None:
    needs_ibis()
    code = (
        "import sys; from datetime import date; from reportgen.config.settings import load_config;"
        "from reportgen.sources.registry import open_source; from reportgen.core.windows import Span;"
        "c = load_config(None, {}, {'source': {'url': 'x.csv'}});"
        "open_source(c.source, 'UTC', Span(date(2026, 1, 1), date(2026, 1, 2)));"
        "print([name for name in ('ibis', 'sqlglot', 'pyspark', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


FUNCTIONS = {"SUM", "COUNT", "CAST", "SUBSTRING", "LENGTH", "REPLACE", "COALESCE", "FLOOR", "ROW_NUMBER"}
FUNCTIONS_OF = {  # as the engines' manuals name them, in addition to those above
    "bigquery": {"DATETIME", "TIMESTAMP"},
    "clickhouse": {"CHAR_LENGTH", "toDate", "Nullable", "Decimal", "DateTime64"},
    "databricks": {"FROM_UTC_TIMESTAMP"},
    "mssql": {"COUNT_BIG", "LEN", "NVARCHAR", "NUMERIC"},
    "mysql": {"CONVERT", "CHAR_LENGTH"},
    "oracle": {"TRUNC", "TO_DATE", "TO_TIMESTAMP_TZ", "SUBSTR", "NUMBER"},
    "pyspark": {"FROM_UTC_TIMESTAMP"},
    "snowflake": {"CONVERT_TIMEZONE"},
    "trino": {"AT_TIMEZONE"},
}
NO_FUNCTIONS = {"WITH", "AS", "AND", "OR", "IN", "OVER", "FROM", "WHEN", "WHERE", "BY", "DECIMAL", "NOT"}


def rendered(backend: str, days: Any, numbers: Any, statement: str, path: str = "it's") -> str:
    """Return a statement in an engine's SQL."""
    from reportgen.sources.ibis import sql
    from reportgen.sources.ibis.engines import ENGINES

    relation = sql.table_relation(("c", "s"), "order by")
    stored = sql.StoredTable(relation, "date", "path", "visits", days, numbers)
    dialect = sql.token_dialect(stored)
    names = ("first", "end", "start", "complete_end", "previous_end")
    values = dict.fromkeys(names, dialect.date_value(TODAY)) | {"limit": 9, "min_change": 5, "path_0": path}
    text = statement.format(
        **{name: getattr(dialect, name) for name in sql.TOKENS},
        **{name: dialect.placeholder(name) for name in values},
        code_point_order="",
        paths=":path_0",
    )
    return sql.render_statement(text, values, stored, "Europe/Berlin", ENGINES[backend].syntax, backend)


@pytest.fixture
def dialects() -> None:
    """Load the sqlglot dialects that Ibis changes."""
    needs_ibis()
    import ibis.backends.sql.dialects

    assert ibis.backends.sql.dialects


@pytest.mark.usefixtures("dialects")
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_statement_can_be_written_for_every_engine(backend: str) -> None:
    """It uses only functions that the engine's manual names, and sqlglot can parse it again."""
    import sqlglot

    from reportgen.sources.ibis import sql
    from reportgen.sources.ibis.engines import ENGINES

    assert tuple(ENGINES) == BACKENDS
    for days, numbers, statement in product(
        ("date", "timestamp", "instant", "text"), ("whole", "fraction", "text"), STATEMENTS
    ):
        if days == "instant" and backend in ("mysql", "mssql"):
            with pytest.raises(SourceError, match="date in Europe/Berlin"):
                rendered(backend, days, numbers, statement)
            continue
        text = rendered(backend, days, numbers, statement)
        assert "order by" in text
        assert not [token for token in sql.TOKENS.values() if token in text]
        called = set(re.findall(r"(\w+) ?\(", text)) - NO_FUNCTIONS
        assert called <= FUNCTIONS | FUNCTIONS_OF.get(backend, set()), text
        (tree,) = sqlglot.parse(text, read=backend)
        assert isinstance(tree, sqlglot.expressions.Query)


@pytest.mark.usefixtures("dialects")
@pytest.mark.parametrize(
    ("days", "day", "bound"),
    [
        ("date", 'TRUNC("stored"."date")', "TO_DATE('2026-11-23', 'YYYY-MM-DD')"),
        ("timestamp", 'TRUNC("stored"."date")', "TO_DATE('2026-11-23', 'YYYY-MM-DD')"),
        (
            "instant",
            'TRUNC("stored"."date" AT TIME ZONE \'Europe/Berlin\')',
            "TO_TIMESTAMP_TZ('2026-11-22 23:00:00 +00:00', 'YYYY-MM-DD HH24:MI:SS TZH:TZM')",
        ),
    ],
)
def test_oracle_dates_lose_their_time_of_day(days: str, day: str, bound: str) -> None:
    text = rendered("oracle", days, "whole", DAILY)
    assert f'SELECT {day} AS "day"' in text
    assert f'WHERE "stored"."date" >= {bound}' in text


@pytest.mark.usefixtures("dialects")
def test_oracle_numbers_are_checked_for_fractions() -> None:
    """Ibis reports NUMBER as an integer, but a NUMBER may be 1.5."""
    assert '"stored"."visits" = FLOOR("stored"."visits")' in rendered("oracle", "date", "whole", DAILY)


@pytest.mark.usefixtures("dialects")
def test_sql_server_compares_paths_as_unicode() -> None:
    text = rendered("mssql", "date", "whole", CELLS, "/日本's")
    assert "[path] IN (N'/日本''s')" in text
    assert "CAST([stored].[path] AS NVARCHAR(MAX)) COLLATE Latin1_General_100_BIN2 AS [path]" in text


@pytest.mark.usefixtures("dialects")
@pytest.mark.parametrize("numbers", ["fraction", "text"])
def test_bigquery_holds_as_many_digits_as_others(numbers: str) -> None:
    assert "AS BIGNUMERIC)" in rendered("bigquery", "date", numbers, DAILY)
    assert "AS NUMERIC)" not in rendered("bigquery", "date", numbers, DAILY)


def test_a_path_that_looks_like_sql_is_a_path(engine: Engine) -> None:
    """The visitors of a site choose its paths, and the statement of the cells holds them."""
    url = engine.load([(day(1), path, 1 + place) for place, path in enumerate(HOSTILE)])
    with engine.open(url) as source:
        cells = read_cells(source, SPAN, HOSTILE)
        rows = read_daily(source, SPAN).rows
    assert [(cell.path, cell.visits) for cell in cells] == sorted(
        (path, 1 + place) for place, path in enumerate(HOSTILE)
    )
    assert rows == len(HOSTILE)


READ = "SELECT * FROM metrics"


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM metrics", "INSERT INTO metrics VALUES (NULL, NULL, NULL)", "DROP TABLE metrics",
        f"{READ}; DROP TABLE metrics", f"{READ}) AS metrics; DROP TABLE metrics; SELECT * FROM ({READ}",
        f"{READ}) AS metrics; DROP TABLE metrics --", "SELECT * INTO other FROM metrics",
        f"WITH d AS (DELETE FROM metrics RETURNING *) {READ}", f"{READ} FOR UPDATE", "SET x = 1", "CALL x()",
        "COPY metrics TO '/tmp/x'", "ATTACH 'x.db'", "PRAGMA x", "ALTER TABLE metrics RENAME TO x", "VACUUM",
    ],
)  # fmt: skip
def test_a_query_that_may_write_is_refused(query: str, tmp_path: Path) -> None:
    """An engine without a read-only transaction would run it."""
    engine = Engine("ibis-duckdb", tmp_path)
    needs_ibis()
    url = engine.load([(day(0), "/a", 1)])
    with pytest.raises(SourceError, match=r"may only read|not one statement"):
        open_and_count(engine, url, query=query)
    assert open_and_count(engine, url) == 1


def open_and_count(engine: Engine, url: str, **settings: Any) -> int:
    with engine.open(url, **settings) as source:
        return read_daily(source, SPAN).rows


def test_postgres_gives_one_snapshot_and_cannot_write(pg: str, tmp_path: Path) -> None:
    needs_ibis()
    engine = Engine("ibis-postgres", tmp_path, pg)
    url = engine.load([(day(0), "/a", 1)])
    with psycopg.connect(pg) as owner:
        owner.execute(
            "CREATE FUNCTION writes() RETURNS bigint LANGUAGE plpgsql AS"
            " $$ BEGIN DELETE FROM metrics; RETURN 1; END $$"
        )
    with engine.open(url) as source, psycopg.connect(pg, autocommit=True) as writer:
        assert read_daily(source, SPAN).rows == 1
        writer.execute("INSERT INTO metrics VALUES (%s, '/b', 1)", (TODAY,))
        assert read_daily(source, SPAN).rows == 1
    with pytest.raises(SourceError, match="read-only transaction"):
        open_and_count(engine, url, query=f"{READ} WHERE writes() > 0")
    assert open_and_count(engine, url) == 2


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("ibis-postgres", f"{READ} WHERE pg_sleep(30) IS NOT NULL"),
        ("ibis-duckdb", "SELECT metrics.* FROM metrics, range(1000000000) AS r(i) WHERE hash(i) % 7 < 9"),
    ],
)
def test_a_statement_that_takes_too_long_is_cancelled(
    name: str, query: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = make_engine(name, request, tmp_path)
    url = engine.load([(day(0), "/a", 1)])
    with pytest.raises(SourceUnavailable, match="statement_timeout_s"):
        open_and_count(engine, url, query=query, statement_timeout_s=1)


def test_an_unreachable_server_can_be_retried_and_no_password_is_shown() -> None:
    needs_ibis()
    with pytest.raises(SourceUnavailable) as caught, open_url("ibis+postgres://me:hunter2@127.0.0.1:9/x"):
        pass
    assert "ibis+postgres://127.0.0.1:9/x" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_that_the_server_repeats_is_not_shown(pg: str, tmp_path: Path) -> None:
    """The server here asks for no password, and its error repeats a name that it does not know."""
    needs_ibis()
    url = Engine("ibis-postgres", tmp_path, pg).load([]).replace("://postgres:@", "://postgres:hunter2@")
    assert "hunter2" in url
    query = "SELECT date, path, hunter2 AS visits FROM metrics"
    with pytest.raises(SourceError, match=r'column "\*\*\*" does not exist'), open_url(url, query=query):
        pass


def test_postgres_compares_paths_by_code_point(pg: str, tmp_path: Path) -> None:
    """The SQL is checked, because the server of these tests has no other collation that would show it."""
    needs_ibis()
    engine = Engine("ibis-postgres", tmp_path, pg)
    with engine.open(engine.load([])) as source:
        statements = [
            source.render_statement(sql, values) for sql, values in run_and_record(source, week(), SPAN)
        ]  # type: ignore[attr-defined]
    assert ['"stored"."path" COLLATE "C" AS "path"' in sql for sql in statements if '"path"' in sql] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"table": "absent"}, "Set schema, table and columns"),
        ({"schema": "absent"}, "Set schema, table and columns"),
        ({"columns": {"path": "absent"}}, 'no column "absent"; it has: '),
        ({"columns": {"path": "visits"}}, 'the column "visits" is of type int64, not text'),
        ({"columns": {"date": "visits"}}, 'the column "visits" is of type int64, not a date'),
        ({"columns": {"visits": "date"}}, 'the column "date" is of type date, not a number'),
    ],
)
def test_the_error_names_the_wrong_table_or_column(
    settings: dict[str, Any], words: str, engine: Engine
) -> None:
    if engine.name == "ibis-spark" and settings.keys() & {"schema", "table"}:
        pytest.skip("a folder of Parquet files has no schema, and any name")
    url = engine.load([(day(0), "/a", 1)])
    with pytest.raises(SourceError) as caught:
        open_and_count(engine, url, **settings)
    assert words in str(caught.value)


def test_columns_are_found_in_upper_case_too(engine: Engine) -> None:
    """Snowflake and Oracle store names in capitals."""
    url = engine.load([(day(0), "/a", 1)], columns=("DATE", "PATH", "VISITS"))
    assert open_and_count(engine, url) == 1


@pytest.fixture
def dates(tmp_path: Path) -> tuple[str, set[date]]:
    """Return the URL of a DuckDB file with texts in the form of dates, and those that are dates."""
    needs_ibis()
    texts, real = [], set()
    for year, month, number in product((1900, 2000, 2023, 2024, 2100, 2400), range(14), range(34)):
        texts.append(f"{year:04}-{month:02}-{number:02}")
        if 1 <= month <= 12 and 1 <= number <= calendar.monthrange(year, month)[1]:
            real.add(date(year, month, number))
    with closing(duckdb.connect(f"{tmp_path}/m.duckdb")) as connection:
        connection.execute("CREATE TABLE metrics (date text, path text, visits int)")
        connection.executemany("INSERT INTO metrics VALUES (?, '/', 1)", [[text] for text in texts])
    return f"ibis+duckdb:///{tmp_path}/m.duckdb", real


def test_text_is_a_date_where_the_calendar_has_one(dates: tuple[str, set[date]]) -> None:
    """The statement holds the rules for leap years and months; it uses no cast."""
    url, real = dates
    span = Span(date(1, 1, 1), date(9999, 12, 30))
    with open_url(url) as source:
        reading = read_daily(source, span)
    assert set(reading.visits) == real
    assert reading.notes == {"invalid_date": 6 * 14 * 34 - len(real)}


def test_check_reports_state_index_and_rights(engine: Engine) -> None:
    url = engine.load([(day(0), "/a", 1)])
    with engine.open(url) as source:
        found = {finding.subject: finding for finding in source.inspect()}
    assert {subject: finding.level for subject, finding in found.items()} == dict.fromkeys(
        ("state", "index", "rights"), "ok"
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("ibis+trino://u:secret@h/db?x=1", "ibis+trino://h/db"),
        ("ibis+trino://u:se?cret@h/db", "ibis+trino://\N{HORIZONTAL ELLIPSIS}"),
        ("ibis+trino://h/db?mail=a@secret", "ibis+trino://\N{HORIZONTAL ELLIPSIS}"),
    ],
)
def test_the_name_of_a_source_shows_no_part_of_a_login(url: str, name: str) -> None:
    """If a password may hold a question mark, only the scheme is shown."""
    assert public_name(url) == name
