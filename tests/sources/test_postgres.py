"""PostgreSQL: what an error offers instead of a missing name, and what ``check`` says of indexes."""

import re
import sqlite3
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from reportgen.core.errors import SourceError, SourceUnavailable
from reportgen.sources.base import Finding
from reportgen.sources.statements import read_daily
from tests.support.engines import METRICS_TABLE, SPAN, TODAY, Engine, make_engine

DASHBIT = (
    "CREATE TABLE metrics (date date, path varchar(255), counter integer DEFAULT 0, PRIMARY KEY (date, path))"
)
HITS = "CREATE TABLE hits (id bigserial PRIMARY KEY, path text NOT NULL, created_at timestamptz NOT NULL)"
SOME_HITS = (
    "INSERT INTO hits (path, created_at) SELECT '/' || n % 9, timestamptz '2026-11-24 00:00Z' - n * interval"
    " '1 hour' FROM generate_series(1, 5000) n; ANALYZE hits"
)
GROUPED = "SELECT created_at::date AS date, path, count(*) AS visits FROM hits GROUP BY 1, 2"
FLAT = "SELECT created_at AS date, path, 1 AS visits FROM hits"


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


def failure(engine: Engine, url: str, **settings: Any) -> str:
    with pytest.raises(SourceError) as caught, engine.open(url, **settings):
        pass
    return str(caught.value)


def advised(message: str) -> dict[str, Any]:
    """Return the setting that a message ends with, read as TOML."""
    return tomllib.loads(message.partition("in [source]: ")[2])


@pytest.fixture
def engine(pg: str, tmp_path: Path) -> Engine:
    return Engine("postgres", tmp_path, pg)


def test_the_counter_of_the_well_known_recipe_is_offered(engine: Engine, pg: str) -> None:
    execute(pg, f"{DASHBIT}; INSERT INTO metrics VALUES ('{TODAY}', '/', 7)")
    message = failure(engine, pg)
    assert 'there is no column "visits"; it has: date, path, counter.' in message
    assert message.endswith('columns = { visits = "counter" }')
    with engine.open(pg, **advised(message)) as source:
        assert list(read_daily(source, SPAN).visits.values()) == [7]


@pytest.mark.parametrize(
    ("columns", "given", "expected"),
    [
        ('day date, url text, "Page_Views" integer', {}, [3]),
        ('day date, path text, "my ""hits""" integer', {"columns": {"visits": 'my "hits"'}}, [3]),
        ('"insertedAt" timestamptz, "URL" text, id serial', {}, [1]),
        ('day date, "it\'s" text, n integer', {"columns": {"path": "it's"}}, [1]),
        ('"timestamp" date, "page" text, n integer', {"columns": {"visits": "N"}}, [1]),
        ('"order" date, path text, n integer', {"columns": {"date": "order"}}, [1]),
        ("day date, user_agent text, n integer", {}, ["it has: day, user_agent, n. Set columns"]),
    ],
)
@pytest.mark.parametrize("name", ["postgres", "sqlite", "duckdb"])
def test_a_missing_column_is_answered_with_settings_that_work(
    name: str, columns: str, given: dict[str, Any], expected: list[Any], tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """The columns that exist by their usual names, or a query that counts each row as one hit."""
    engine = make_engine(name, request, tmp_path)
    statements = (
        f"CREATE TABLE metrics ({columns})",
        f"INSERT INTO metrics VALUES ('{TODAY}', '/', 3)",
    )
    if name == "postgres":
        assert engine.server
        url = engine.server
        execute(url, ";".join(statements))
    elif name == "duckdb":
        url = f"duckdb:///{tmp_path}/m.duckdb"
        with duckdb.connect(str(tmp_path / "m.duckdb")) as connection:
            for statement in statements:
                connection.execute(statement.replace("serial", "integer"))
    else:
        url = f"sqlite:///{tmp_path}/m.db"
        with sqlite3.connect(tmp_path / "m.db") as stored:
            stored.executescript(";".join(statements))
        stored.close()
    message = failure(engine, url, **given)
    if isinstance(expected[0], str):
        assert expected[0] in message
        return
    with engine.open(url, **given | advised(message)) as source:
        assert list(read_daily(source, SPAN).visits.values()) == expected


def test_a_missing_table_lists_those_that_exist(engine: Engine, pg: str) -> None:
    """First those with a date and a path; another schema is part of the name; partitions are not listed."""
    execute(
        pg,
        "CREATE TABLE aaa (id integer); CREATE SCHEMA web; CREATE TABLE web.views (url text, at timestamp);"
        "CREATE TABLE users (inserted_at timestamptz); CREATE VIEW zz AS SELECT now(), '/' AS path;"
        "CREATE TABLE visits (day date, path text) PARTITION BY RANGE (day);"
        "CREATE TABLE visits_1 PARTITION OF visits DEFAULT",
    )
    message = failure(engine, pg)
    assert 'relation "public.metrics" does not exist; there are: ' in message
    assert "there are: visits, zz, web.views, aaa, users. Set schema and table in [source]" in message
    message = failure(engine, pg, query="SELECT day AS date, path, 1 AS visits FROM visit")
    assert "there are: visits, zz, web.views, aaa, users. Check [source] query" in message


def test_a_long_list_of_tables_is_cut(engine: Engine, pg: str) -> None:
    assert "The database has no tables: check its name in the URL" in failure(engine, pg)
    execute(pg, ";".join(f"CREATE TABLE t{number:02} (id integer)" for number in range(40)))
    assert "t28, t29 and 10 more. Set schema and table" in failure(engine, pg)


def test_a_column_that_the_query_itself_lacks_is_named_with_postgres_own_hint(
    engine: Engine, pg: str
) -> None:
    execute(pg, HITS)
    message = failure(engine, pg, query="SELECT creatd_at AS date, path, 1 AS visits FROM hits")
    assert (
        'column "creatd_at" does not exist. Perhaps you meant to reference the column "hits.created_at"'
        in message
    )
    assert message.endswith("Check [source] query")
    message = failure(engine, pg, query="SELECT created_at, path FROM hits")
    assert 'there is no column "date"; it has: created_at, path. Set columns in [source]' in message


@pytest.mark.parametrize(
    "given", [{"table": "daily"}, {"table": "shown"}, {"query": "SELECT * FROM web.daily"}]
)
def test_a_materialized_view_without_rows_is_to_be_refreshed(
    engine: Engine, pg: str, given: dict[str, str]
) -> None:
    """The advice is a statement that works as it is, whatever reads the view."""
    execute(
        pg,
        "CREATE SCHEMA web; CREATE MATERIALIZED VIEW web.daily AS SELECT current_date AS date, '/' AS path,"
        " 1 AS visits WITH NO DATA; CREATE VIEW web.shown AS SELECT * FROM web.daily",
    )
    given = {"schema": "web"} | given
    with pytest.raises(SourceUnavailable) as caught, engine.open(pg, **given):
        pass
    statement = str(caught.value).partition("Run: ")[2]
    assert statement == "REFRESH MATERIALIZED VIEW web.daily;"
    execute(pg, statement)
    with engine.open(pg, **given):
        pass


def index_finding(engine: Engine, pg: str, prepare: str, **settings: Any) -> Finding:
    """Return what ``check`` says of the index, and test that its advice ends the warning."""
    execute(pg, prepare)
    with engine.open(pg, **settings) as source:
        [found] = [each for each in source.inspect() if each.subject == "index"]
        assert list(source.rows("SHOW enable_seqscan", {})) == [("on",)]
    if advice := re.search("CREATE INDEX .*;", found.message):
        execute(pg, advice.group())
        with engine.open(pg, **settings) as source:
            assert "ok" in {each.level for each in source.inspect() if each.subject == "index"}
    return found


KINDS_OF_TABLES = {
    "table": (METRICS_TABLE, {}, "ok", 'an index begins with "date"'),
    "table without index": (
        "CREATE TABLE metrics (date date, path text, visits integer)", {},
        "warning", 'no index begins with "date"',
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW metrics AS SELECT current_date AS date, '/' AS path, 1 AS visits", {},
        "warning", 'no index begins with "date"',
    ),
    "view of single hits": (
        f"{HITS}; CREATE INDEX ON hits (created_at); CREATE VIEW metrics AS {FLAT}", {},
        "ok", "an index finds the dates",
    ),
    "view without index": (
        f"{HITS}; {SOME_HITS}; CREATE VIEW metrics AS {FLAT}", {},
        "warning", "each statement of a build reads all of hits, 5,000 rows (estimated). CREATE INDEX ON",
    ),
    "view that groups": (
        f"{HITS}; {SOME_HITS}; CREATE INDEX ON hits (created_at); CREATE VIEW metrics AS {GROUPED}", {},
        "warning", "grouped, or their dates computed",
    ),
    "partitions by date": (
        ("CREATE TABLE metrics (date date, path text, visits integer) PARTITION BY RANGE (date);"
         "CREATE TABLE old PARTITION OF metrics FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');"
         "CREATE TABLE new PARTITION OF metrics FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"), {},
        "ok", "only the partitions of these dates are read",
    ),
    "other partitions": (
        ("CREATE TABLE metrics (date date, path text, visits integer) PARTITION BY HASH (path);"
        "CREATE TABLE metrics_0 PARTITION OF metrics FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE metrics_1 PARTITION OF metrics FOR VALUES WITH (MODULUS 2, REMAINDER 1)"), {},
        "warning", "CREATE INDEX ON metrics (date);",
    ),
    "partitions with an index": (
        ("CREATE TABLE metrics (date date, path text, visits integer) PARTITION BY HASH (path);"
        "CREATE TABLE metrics_0 PARTITION OF metrics FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "CREATE INDEX ON metrics (date)"), {},
        "ok", 'an index begins with "date"',
    ),
    "query of single hits": (
        f"{HITS}; CREATE INDEX ON hits (created_at)", {"query": FLAT}, "ok", "an index finds the dates"
    ),
    "query without index": (f"{HITS}; {SOME_HITS}", {"query": FLAT}, "warning", "CREATE INDEX ON"),
    "query that groups": (
        f"{HITS}; {SOME_HITS}; CREATE INDEX ON hits (created_at)", {"query": GROUPED}, "warning",
        "reads all of hits, 5,000 rows (estimated). Write the query flat, with the date as stored: " + FLAT,
    ),
    "query that casts": (
        f"{HITS}; {SOME_HITS}; CREATE INDEX ON hits (created_at)",
        {"query": "SELECT created_at::date AS date, path, 1 AS visits FROM hits"},
        "warning", "Write the query flat, with the date as stored",
    ),
    "query of partitions": (
        (HITS.replace("bigserial PRIMARY KEY", "bigint") + " PARTITION BY HASH (path);"
         'CREATE TABLE "Part 0" PARTITION OF hits FOR VALUES WITH (MODULUS 1, REMAINDER 0);'
         "CREATE TABLE a (path text)"), {"query": f"{FLAT} JOIN a USING (path)"},
        "warning", "CREATE INDEX ON hits (created_at);",
    ),
    "query with an index on the cast": (
        "CREATE TABLE hits (path text, created_at timestamp); CREATE INDEX ON hits (date(created_at))",
        {"query": "SELECT date(created_at) AS date, path, count(*) AS visits FROM hits GROUP BY 1, 2"},
        "ok", "an index finds the dates",
    ),
    "query that limits itself": (
        f"{HITS}; {SOME_HITS}; CREATE INDEX ON hits (created_at)",
        {"query": GROUPED.replace("GROUP", "WHERE created_at > current_date - 70 GROUP")},
        "ok", "an index finds the dates",
    ),
    "query of another index": (
        f"{HITS}; {SOME_HITS}; CREATE INDEX ON hits (path)", {"query": f"{FLAT} WHERE path = '/1'"},
        "warning", "CREATE INDEX ON",
    ),
    "query of no table": (
        "", {"query": "SELECT current_date AS date, '/' AS path, 1 AS visits"}, "ok", "no table is read",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("prepare", "settings", "level", "says"), KINDS_OF_TABLES.values(), ids=KINDS_OF_TABLES
)
def test_check_says_how_the_dates_are_found(
    engine: Engine, pg: str, prepare: str, settings: dict[str, str], level: str, says: str
) -> None:
    """An index is advised where one can be made, and would be used."""
    found = index_finding(engine, pg, prepare, **settings)
    assert (found.level, says in found.message) == (level, True), found.message


def test_a_foreign_table_gets_no_advice_to_create_an_index(
    engine: Engine, pg: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of the tests has no foreign data wrapper, so a table stands for one."""
    monkeypatch.setattr("reportgen.sources.postgres.LEADING_INDEX", "SELECT 'f', false")
    found = index_finding(engine, pg, METRICS_TABLE)
    assert (found.level, "foreign table" in found.message) == ("ok", True)
