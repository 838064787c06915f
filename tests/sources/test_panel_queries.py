"""The queries of panels: one suite, run on each engine, and what none of them may do."""

import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from pydantic import SecretStr

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import PanelError
from reportgen.core.windows import look_back, make_window
from reportgen.sources.base import Source
from reportgen.sources.panel_queries import OF_WINDOW, PanelRows, named_values, panel_values, read_panel
from reportgen.sources.registry import open_source
from reportgen.sources.sample import open_sample
from reportgen.sources.statements import read_daily
from tests.support.engines import ENGINES, IBIS_ENGINES, SPAN, TODAY, Engine, day, make_engine

ROWS = [(day(0), "/a", 1), (day(1), "/b", 4), (day(6), "/a", 2), (day(7), "/a", 32), (day(13), "/c", 64)]
WINDOW = make_window("7d", TODAY, today_complete=False)
OWN_SQL = [name for name in ENGINES if name not in IBIS_ENGINES]
"""The engines whose statements are not read by another library first."""


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, request, tmp_path)


@pytest.fixture(params=OWN_SQL)
def own_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, request, tmp_path)


def read(source: Source, sql: str, timezone: str = "Europe/Berlin", timeout_s: float = 60) -> PanelRows:
    return read_panel(source, sql, panel_values(WINDOW, timezone), timeout_s)


def fault(source: Source, sql: str, timeout_s: float = 60) -> str:
    """Return the message of a query that fails, after which the report's own figures are as before."""
    with pytest.raises(PanelError) as failed:
        read(source, sql, timeout_s=timeout_s)
    assert read_daily(source, SPAN).visits == {row[0]: row[2] for row in reversed(ROWS)}
    assert read(source, "SELECT 1 AS one") == PanelRows(["one"], [[1]])
    line = failed.value.line
    return f"{line}: {failed.value}" if line else str(failed.value)


def test_a_query_reads_the_dates_of_its_window_in_its_order(engine: Engine) -> None:
    with engine.open(engine.load(ROWS)) as source:
        found = read(
            source,
            "SELECT path AS label, sum(visits) AS value FROM metrics\n"
            "WHERE date BETWEEN :first AND :last -- :nothing\nGROUP BY 1 ORDER BY 2 DESC, 1;\n-- the end",
        )
        assert found == PanelRows(["label", "value"], [["/b", 4], ["/a", 3]])
        before = (
            "SELECT sum(visits) AS value FROM metrics WHERE date BETWEEN :previous_first AND :previous_last"
        )
        assert read(source, before).rows == [[96]]
        assert read(source, "SELECT max(date) AS d FROM metrics WHERE date <= :today").rows == [
            ["2026-11-23"]
        ]
        assert read(source, "SELECT :timezone AS zone").rows == [["Europe/Berlin"]]
        assert read(source, "SELECT path AS p FROM metrics WHERE visits > 1000").rows == []
        assert read_daily(source, SPAN).rows == len(ROWS)


def test_only_the_first_rows_are_read(own_engine: Engine) -> None:
    """At most 10,000 rows and a million characters, in the order of the query."""
    with own_engine.open(own_engine.load(ROWS)) as source:
        series = (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n"
        )
        found = read(source, series.format(10_000))
        assert (len(found.rows), found.cut) == (10_000, False)
        found = read(source, f"{series.format(10_002)} ORDER BY i DESC")
        assert (len(found.rows), found.cut, found.rows[0], found.rows[-1]) == (10_000, True, [10_002], [3])
        long = "replace('xxxxxxxxxx', 'x', 'abcdefghij') AS t"
        found = read(
            source, f"SELECT {long}, {long.replace(' t', ' u')}, n.i FROM ({series.format(6_000)}) AS n"
        )
        assert found.cut
        assert sum(len(str(value)) for row in found.rows for value in row) <= 1_000_000
        assert len(found.rows) == 1_000_000 // 208


def test_values_become_plain(own_engine: Engine) -> None:
    with own_engine.open(own_engine.load(ROWS)) as source:
        found = read(
            source,
            "SELECT NULL AS n, 1.5 AS f, 9223372036854775807 AS big, 'ä''\"' AS t,\n"
            "CAST(2 AS decimal(9, 2)) AS d",
        )
    assert found == PanelRows(["n", "f", "big", "t", "d"], [[None, 1.5, 2**63 - 1, "ä'\"", 2]])
    assert [type(value) for value in found.rows[0]][1:] == [float, int, str, int]


POSTGRES_VALUES: Mapping[str, Any] = {
    "'NaN'::float8": None, "'-Infinity'::float8": None, "'NaN'::numeric": None, "'Infinity'::numeric": None,
    "1e200::numeric * 1e200": None, "10::numeric ^ 30": 1e30, "123e18::numeric": 1.23e20,
    "'\"\\ud800\"'::json": "\\ud800", "'[\"\\ud800\"]'::json": '["\\ud800"]',
    "true": True,
    "'\\xff41'::bytea": "\\xffA", "ARRAY[1, 2]": "[1, 2]", "'{\"a\": [1]}'::jsonb": '{"a": [1]}',
    "'2026-11-23 14:30'::timestamp": "2026-11-23T14:30:00",
    "'2026-11-23 14:30Z'::timestamptz": "2026-11-23T15:30:00+01:00", "'14:30'::time": "14:30:00",
    "'1 day 02:00'::interval": "1 day, 2:00:00",
    "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid":
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "'10.0.0.1'::inet": "10.0.0.1", "1e300::float8": 1e300,
}  # fmt: skip
DUCKDB_VALUES: Mapping[str, Any] = {
    "'nan'::DOUBLE": None, "'-inf'::FLOAT": None,
    "170141183460469231731687303715884105727::HUGEINT": 2.0**127,
    "'\\xFFA'::BLOB": "\\xffA", "[1, 2]": "[1, 2]", "{'a': 1}": '{"a": 1}', "MAP {'a': 1}": '{"a": 1}',
    "TIMESTAMP '2026-11-23 14:30:00'": "2026-11-23T14:30:00", "DATE '2026-11-23'": "2026-11-23",
    "TIMESTAMPTZ '2026-11-23 14:30:00Z'": "2026-11-23T15:30:00+01:00", "[TIMESTAMPTZ '2026-11-23 14:30:00Z']":
    "['2026-11-23 15:30:00+01']", "true": True, "INTERVAL 1 DAY": "1 day, 0:00:00",
}  # fmt: skip


@pytest.mark.parametrize(("name", "values"), [("postgres", POSTGRES_VALUES), ("duckdb", DUCKDB_VALUES)])
def test_values_of_every_type_become_plain(
    name: str, values: Mapping[str, Any], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = make_engine(name, request, tmp_path)
    with engine.open(engine.load(ROWS), timezone="Europe/Berlin") as source:
        found = read(source, f"SELECT {', '.join(f'{sql} AS c{at}' for at, sql in enumerate(values))}")
    assert dict(zip(values, found.rows[0], strict=True)) == dict(values)
    assert found.not_finite == list(values.values()).count(None)


def test_json_that_python_cannot_hold_is_an_error(pg: str, tmp_path: Path) -> None:
    engine = Engine("postgres", tmp_path, pg)
    with engine.open(engine.load(ROWS)) as source:
        assert fault(source, "SELECT ('[' || repeat('9', 5000) || ']')::json AS a")
        assert fault(source, "SELECT (repeat('[', 90000) || repeat(']', 90000))::json AS a")


def test_names_in_texts_and_comments_are_not_replaced(own_engine: Engine) -> None:
    with own_engine.open(own_engine.load(ROWS)) as source:
        found = read(
            source,
            """SELECT ':first;' AS "a:last", 'it''s :x' AS b, /* :no; ' */ 100 % 7 AS c, '%s %(x)s' AS d,
            CAST(:first AS varchar(10)) AS e -- ; :nix ' " """,
        )
    assert found == PanelRows(
        ["a:last", "b", "c", "d", "e"], [[":first;", "it's :x", 2, "%s %(x)s", "2026-11-17"]]
    )


@pytest.mark.parametrize("name", ["postgres", "duckdb"])
def test_casts_dollar_quotes_and_slices_are_not_names(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = make_engine(name, request, tmp_path)
    with engine.open(engine.load(ROWS)) as source:
        found = read(
            source,
            "SELECT :last::text AS a, $x$:nix; ' $$ $x$ AS b, $$:nix$$ AS c, '1'::int AS d, E'\\':x' AS e",
        )
        assert found.rows == [["2026-11-23", ":nix; ' $$ ", ":nix", 1, "':x"]]
        sliced = {"postgres": "(ARRAY[1, 2, 3])[2:3]", "duckdb": "[1, 2, 3][2:3]"}[name]
        assert read(source, f"SELECT {sliced} AS s").rows == [["[2, 3]"]]


def test_what_is_wrong_with_a_query_is_named_with_its_line(own_engine: Engine) -> None:
    with own_engine.open(own_engine.load(ROWS)) as source:
        known = '2: :frist is not a known value. Did you mean "first"?'
        assert fault(source, "SELECT 1\nWHERE :frist = 2") == known
        assert "referers" in fault(source, "SELECT 1 AS a\nFROM referers")
        assert fault(source, "SELECT 1 AS a;\nSELECT 2").startswith("2: there is a second statement")


def test_two_columns_of_one_name_are_refused(pg: str, tmp_path: Path) -> None:
    """The other engines rename one of them."""
    engine = Engine("postgres", tmp_path, pg)
    with engine.open(engine.load(ROWS)) as source:
        assert fault(source, "SELECT 1 AS a, 2 AS a").startswith('there are two columns "a".')


def test_postgres_and_duckdb_name_the_line(pg: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for name in ("postgres", "duckdb", "csv"):
        engine = make_engine(name, request, tmp_path)
        with engine.open(engine.load(ROWS)) as source:
            assert fault(source, "SELECT :first AS a,\n\n  visist\nFROM metrics").startswith("3: ")


WRITES = (
    "DELETE FROM metrics",
    "DELETE FROM metrics RETURNING path",
    "WITH gone AS (DELETE FROM metrics RETURNING path) SELECT * FROM gone",
    "SELECT 1) AS a; DELETE FROM metrics; SELECT * FROM (SELECT 1",
    "SELECT 1) AS a; COMMIT; DELETE FROM metrics; SELECT * FROM (SELECT 1",
    "COMMIT", "ROLLBACK", "VACUUM", "CREATE TABLE x (a int)", "ATTACH 'x.db' AS x", "COPY metrics TO 'x.csv'",
    "PRAGMA query_only = OFF", "SET statement_timeout = 0", "SELECT 1 AS a INTO x", "",
)  # fmt: skip


@pytest.mark.parametrize("sql", WRITES)
def test_a_query_cannot_write(own_engine: Engine, sql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own_engine.folder)
    with own_engine.open(own_engine.load(ROWS)) as source:
        before = sorted(own_engine.folder.iterdir())
        assert fault(source, sql)
        assert sorted(own_engine.folder.iterdir()) == before


FILES = {
    "postgres": ["SELECT pg_read_file('/etc/hostname')", "SELECT pg_ls_dir('/')",
                 "SELECT lo_import('/etc/hostname')"],
    "sqlite": ["SELECT load_extension('x')", "SELECT readfile('/etc/hostname')",
               "SELECT writefile('x', 'y')"],
    "duckdb": ["SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM '/etc/hostname'",
               "SELECT * FROM glob('/etc/*')", "SELECT * FROM read_csv('https://example.com/x.csv')"],
}  # fmt: skip


@pytest.mark.parametrize("name", [*FILES, "csv", "parquet"])
def test_a_query_opens_no_file(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = make_engine(name, request, tmp_path)
    url = engine.load(ROWS)
    if name == "postgres":
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("DROP ROLE IF EXISTS panel_reader")
            admin.execute("CREATE ROLE panel_reader LOGIN; GRANT SELECT ON metrics TO panel_reader")
        url = url.replace("//postgres:", "//panel_reader:").replace("//postgres@", "//panel_reader@")
    with engine.open(url) as source:
        for sql in FILES.get(name, FILES["duckdb"]):
            assert fault(source, sql)


SLOW = {
    "postgres": "SELECT pg_sleep(30), set_config('statement_timeout', '0', true)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "duckdb": "SELECT count(*) FROM range(10000000000) a, range(10000) b",
}


@pytest.mark.parametrize("name", [*SLOW, "csv"])
def test_a_query_that_takes_too_long_is_ended(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = make_engine(name, request, tmp_path)
    with engine.open(engine.load(ROWS)) as source:
        start = time.monotonic()
        found = fault(source, SLOW.get(name, SLOW["duckdb"]), timeout_s=0.5)
        assert found.startswith("the query took longer than 0.5 s.")
        assert time.monotonic() - start < 5


def test_settings_of_one_query_do_not_reach_the_next(pg: str, tmp_path: Path) -> None:
    engine = Engine("postgres", tmp_path, pg)
    with engine.open(engine.load(ROWS)) as source:
        for name, value in (("statement_timeout", "0"), ("TimeZone", "Asia/Tokyo"), ("search_path", "x")):
            for local in ("true", "false"):
                read(source, f"SELECT set_config('{name}', '{value}', {local}) AS a")
            assert read(source, f"SELECT current_setting('{name}') AS a").rows != [[value]]
        assert "read-write" in fault(source, "SELECT set_config('transaction_read_only', 'off', true)")
        assert read(source, "SELECT current_setting('statement_timeout') AS a").rows == [["1min"]]


def test_a_source_of_panels_needs_no_table_of_visits(own_engine: Engine) -> None:
    url = own_engine.load(
        [(day(0), "Pro", 3), (day(1), "Team", 5)], table="orders", columns=("placed", "plan", "sold")
    )
    source = own_engine.open(url, table="orders")
    source.reads_visits = False
    with source:
        found = read(
            source,
            "SELECT plan AS label, sum(sold) AS value FROM orders"
            " WHERE placed >= :first GROUP BY 1 ORDER BY 2",
        )
    assert found.rows == [["Pro", 3], ["Team", 5]]


CSV_FILES = {
    "regular": "date,path,visits,country\n2026-11-20,/a,3,de\n2026-11-21,/b,4,\n",
    "with a preamble": "# Report\n\ndate;path;visits\n2026-11-20;/a;3\n2026-11-21;/b;4\n\nTotal;;7\n",
    "in UTF-16": "date\tpath\tvisits\n2026-11-20\t/ä\t3\n2026-11-21\t/b\t4\n",
}


@pytest.mark.parametrize("kind", CSV_FILES)
def test_the_columns_of_csv_files_have_types(kind: str, tmp_path: Path) -> None:
    """As in the report, lines before the header and lines of totals are left out."""
    file = tmp_path / "m.csv"
    file.write_text(CSV_FILES[kind], encoding="utf-16" if kind == "in UTF-16" else "utf-8")
    settings = SourceSettings(url=SecretStr(str(file)), table="my visits")
    with open_source(settings, "UTC", SPAN) as source:
        sql = 'SELECT sum(visits) AS v, max(date) AS d FROM "my visits" WHERE date >= :first'
        assert read(source, sql).rows == [[7, "2026-11-21"]]
        if kind == "regular":
            assert read(source, 'SELECT country AS c FROM "my visits" ORDER BY visits').rows == [
                ["de"],
                [None],
            ]


def test_a_csv_file_that_is_not_one_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("Report;x\n\nDay;Clicks\n2026-11-20;3\n\nOther\nx;1\n")
    source = open_source(SourceSettings(url=SecretStr(str(tmp_path / "m.csv"))), "UTC", SPAN)
    source.reads_visits = False
    with source, pytest.raises(PanelError, match=r"m\.csv: not one table in CSV\. Leave only a header"):
        read(source, "SELECT * FROM metrics")


def test_logs_are_read_as_visits_and_what_was_left_out(tmp_path: Path) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    line = f'198.18.0.1 - - [23/Nov/2026:10:00:00 +0000] "GET {{}} HTTP/1.1" {{}} 9 "-" "{agent}"\n'
    file = tmp_path / "access.log"
    file.write_text(line.format("/a", 200) * 3 + line.format("/b", 200) + line.format("/x", 404))
    with open_source(SourceSettings(url=SecretStr(str(file))), "UTC", SPAN) as source:
        top = "SELECT date, path, sum(visits) AS n FROM metrics WHERE date = :today GROUP BY ALL ORDER BY n"
        assert read(source, top).rows == [["2026-11-23", "/b", 1], ["2026-11-23", "/a", 3]]
        errors = "SELECT date, sum(requests) AS n FROM left_out WHERE reason = 'error' GROUP BY ALL"
        assert read(source, errors).rows == [["2026-11-23", 1]]
        with pytest.raises(PanelError, match="second statement"):
            read(source, "SELECT 1) AS a; DROP TABLE visits; SELECT * FROM (SELECT 1")
        assert read_daily(source, SPAN).visits == {TODAY: 4}


@pytest.mark.parametrize("name", IBIS_ENGINES)
def test_through_ibis_a_query_only_reads_and_the_next_one_works(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = make_engine(name, request, tmp_path)
    with engine.open(engine.load(ROWS)) as source:
        assert fault(source, "SELECT x FROM gone")
        for sql in ("DELETE FROM metrics", "SELECT 1 AS a; DELETE FROM metrics", "SELECT 1) AS a; SELECT (1"):
            assert fault(source, sql)
        assert len(read(source, "SELECT path AS p FROM metrics ORDER BY 1 LIMIT 20000").rows) == len(ROWS)
        union = "SELECT path AS p FROM metrics UNION SELECT '/z' ORDER BY 1 DESC"
        assert read(source, union).rows == [["/z"], ["/c"], ["/b"], ["/a"]]
        if name == "ibis-postgres":
            slow = "SELECT pg_sleep(20) AS a"
            assert fault(source, slow, timeout_s=1).startswith("the query took longer than 1 s")


def test_the_sample_is_read_by_panels() -> None:
    with open_sample(TODAY) as source:
        found = read(source, "SELECT sum(visits) AS value FROM metrics WHERE date BETWEEN :first AND :last")
        assert found.rows == [[sum(read_daily(source, WINDOW.span).visits.values())]]


UTC_ROWS = [
    (datetime.fromisoformat(f"{moment}Z"), "/a", visits)
    for moment, visits in (
        ("2026-10-12 21:59:59", 1), ("2026-10-12 22:00:00", 2),  # 13 October begins in Berlin, in summer time
        ("2026-10-18 23:00:00", 4), ("2026-10-19 22:00:00", 8),  # 19 and 20 October
        ("2026-10-25 22:59:59", 16), ("2026-10-25 23:00:00", 32),  # 25 and 26 October: winter time
        ("2026-10-26 22:59:59", 64), ("2026-10-26 23:00:00", 128),  # 26 and 27 October
    )
]  # fmt: skip
CLOCKS_CHANGED = make_window("7d", date(2026, 10, 26), today_complete=False)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("stored", ["with a zone", "in UTC", "in local time"])
def test_moments_bound_the_hits_of_the_dates_of_the_report(engine: Engine, stored: str) -> None:
    """Hits with a time are of the dates that the report counts them for, also when clocks change."""
    through_ibis = engine.name in IBIS_ENGINES
    if engine.name in ("sqlite", "csv", "csv.gz") if stored == "with a zone" else through_ibis:
        pytest.skip("not stored so")
    zone = {"with a zone": None, "in UTC": UTC, "in local time": BERLIN}[stored]
    rows = [(at.astimezone(zone).replace(tzinfo=None) if zone else at, *rest) for at, *rest in UTC_ROWS]
    settings = {"timestamp_zone": "UTC"} if stored == "in UTC" else {}
    url = engine.load(rows, dates="timestamp" if zone else "timestamptz")
    window = CLOCKS_CHANGED
    source = engine.open(url, timezone="Europe/Berlin", span=look_back([window]), **settings)
    source.reads_visits = engine.name != "ibis-mysql"  # whose dates in a zone the report cannot read
    with source:
        values = panel_values(window, "Europe/Berlin", source.settings.timestamp_zone)
        for first, end, span, visits in (
            ("start", "end", window.span, 8 + 16 + 32 + 64),
            ("start", "end_complete", window.complete, 8 + 16),
            ("previous_start", "previous_end", window.previous, 2 + 4),
            ("previous_start", "previous_end_complete", window.complete_previous, 2),
        ):
            sql = f"SELECT sum(visits) AS n FROM metrics WHERE date >= :{first} AND date < :{end}"
            assert read_panel(source, sql, values, 60).rows == [[visits]], end
            assert span
            assert not source.reads_visits or sum(read_daily(source, span).visits.values()) == visits


def test_sqlite_compares_other_spellings_of_a_moment_as_the_document_says(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "m.db")) as connection:
        connection.execute("CREATE TABLE hits (iso, seconds)")
        for at, _, _ in UTC_ROWS:
            row = (at.replace(tzinfo=None).isoformat(), int(at.timestamp()))
            connection.execute("INSERT INTO hits VALUES (?, ?)", row)
        connection.commit()
    settings = SourceSettings(url=SecretStr(f"sqlite:///{tmp_path}/m.db"), timestamp_zone="UTC")
    source = open_source(settings, "Europe/Berlin", SPAN)
    source.reads_visits = False
    with source:
        values = panel_values(CLOCKS_CHANGED, "Europe/Berlin", "UTC")
        for column, moment in (("iso", "replace(:{}, ' ', 'T')"), ("seconds", "unixepoch(:{})")):
            between = f"{column} >= {moment.format('start')} AND {column} < {moment.format('end')}"
            sql = f"SELECT count(*) AS n FROM hits WHERE {between}"
            assert read_panel(source, sql, values, 60).rows == [[4]]


def test_the_window_decides_only_where_its_dates_are_named() -> None:
    assert named_values("SELECT :previous_last AS x, x::text") & OF_WINDOW
    assert named_values("SELECT 1 WHERE created_at >= :start") & OF_WINDOW
    assert not named_values("SELECT ':first' AS x, :today AS y -- :last") & OF_WINDOW


@pytest.mark.parametrize(
    ("window", "over", "last", "previous"),
    [
        ("7d", False, "2026-11-22", "2026-11-15"),
        ("7d", True, "2026-11-23", "2026-11-16"),  # --as-of
        ("last-month", False, "2026-10-31", "2026-09-30"),
        ("month", False, "2026-11-22", "2026-10-22"),
        ("today", False, "2026-11-22", "2026-11-21"),  # no date: each is before its first
    ],
)
def test_complete_days_can_be_compared(window: str, over: bool, last: str, previous: str) -> None:
    found = panel_values(make_window(window, TODAY, today_complete=over), "UTC")
    assert [str(found[name]) for name in ("last_complete", "previous_last_complete")] == [last, previous]
