"""What only sources through Ibis have: SQL of other engines, an extra to install, errors of many drivers.

``test_adapters.py`` tests that they return the same results as all other sources.
"""

import calendar
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
from reportgen.metrics.dataset import read_days, read_examples
from reportgen.sources.ibis.source import public_name
from reportgen.sources.registry import open_source
from reportgen.sources.statements import read_cells, read_daily
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
    needs_ibis()
    with pytest.raises(ConfigError, match=r"after ibis\+ it can be athena, bigquery, clickhouse"):
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


def test_an_engine_that_no_test_runs_is_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DuckDB here takes the place of such an engine. ``check`` says that it is not tested."""
    needs_ibis()
    from reportgen.sources.ibis import source

    monkeypatch.delitem(source.ENGINES, "duckdb")
    engine = Engine("ibis-duckdb", tmp_path)
    url = engine.load([(day(0), "/a", 2**62), (day(0), "/b", 2**62 - 1), (day(9), "/b", None)])
    with engine.open(url) as opened:
        reading = read_daily(opened, SPAN)
        found = {finding.subject: finding for finding in opened.inspect()}
        sums = next(sql for sql, _ in run_and_record(opened, week(), SPAN) if "per_path" in sql)
    assert (reading.visits[TODAY], reading.notes) == (2**63 - 1, {"null_visits": 1})
    assert 'CAST(stored."visits" AS DECIMAL(38, 0)) AS visits' in sums
    assert [found[subject].level for subject in ("engine", "state")] == ["warning", "warning"]
    assert "not tested" in found["engine"].message


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
        ("ibis-mysql", f"{READ} WHERE SLEEP(30) = 0"),
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
        statements = [sql for sql, _ in run_and_record(source, week(), SPAN)]
    assert ['stored."path" COLLATE "C" AS path' in sql for sql in statements if '"path"' in sql] == [True] * 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"table": "absent"}, "Set schema and table"),
        ({"schema": "absent"}, "Set schema and table"),
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


def test_text_with_a_zone_is_not_cut_as_it_is_written(engine: Engine) -> None:
    """Of a text, an engine of Ibis reads ISO dates only; a query converts others."""
    instant = "2026-11-20T23:30:00Z"
    url = engine.load([(instant, "/a", 1), ("11/06/2026", "/a", 1)], dates="varchar(40)")
    with engine.open(url) as source, pytest.raises(SourceError) as caught:
        read_days(source, SPAN, include_future=True)
    assert 'ISO date such as 2026-11-06 in "date". One is: 11/06/2026. Convert it' in str(caught.value)
    rows = [(instant, "/a", 1), ("2026-11-20 23:30:00.5", "/a", 2), (None, "/b", 1)]
    with engine.open(engine.load(rows, dates="varchar(40)", table="m2"), table="m2") as source:
        reading, notes = read_days(source, SPAN, include_future=True)
        assert read_examples(source, SPAN, notes)["invalid_date"] == f"{instant}, /a, 1"
    assert reading.visits == {date(2026, 11, 20): 2}
    assert notes == {"invalid_date": 1, "null_date": 1}


def test_an_instant_of_mysql_is_refused(mysql: str, tmp_path: Path) -> None:
    """The server may not know the report's time zone."""
    engine = Engine("ibis-mysql", tmp_path, mysql)
    url = engine.load([("2026-11-21 23:30:00", "/a", 1)], dates="timestamptz")
    with pytest.raises(SourceError, match=r"AT TIME ZONE is not supported by MySQL.*\[source\] query"):
        open_and_count(engine, url)


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
