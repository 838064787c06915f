"""Every source returns the same results for the same rows: one suite, run on each engine."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from reportgen.config.settings import load_config
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.core.windows import Span, Window, make_window
from reportgen.metrics.dataset import read_days, read_examples
from reportgen.sources.base import Source
from reportgen.sources.registry import open_source
from reportgen.sources.sample import open_sample
from reportgen.sources.statements import (
    has_older_rows,
    read_cells,
    read_daily,
    read_newest_before,
    read_paths,
    read_rows_out_of_range,
)
from tests.support.engines import (
    ENGINES,
    IBIS_ENGINES,
    METRICS_TABLE,
    SPAN,
    TODAY,
    ZONED_ENGINES,
    Engine,
    day,
    make_engine,
    pairs,
    run_and_record,
    week,
)

TEXT_ENGINES = ENGINES[1:]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, request, tmp_path)


@pytest.fixture(params=TEXT_ENGINES)
def text_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, request, tmp_path)


def path_rows(
    source: Source, window: Window, limit: int = 100, min_change: int = 5, left_out: Sequence[date] = ()
) -> tuple[list[list[Any]], int]:
    """Return the rows of :func:`read_paths` as lists, and its number of paths."""
    reading = read_paths(source, window, pairs(window, *left_out), limit, min_change)
    rows = [list(row) for row in reading.rows]
    assert {tuple(map(type, row)) for row in rows} <= {(str, int, int, int, int)}
    return rows, reading.path_count


def test_visits_are_summed_by_date(engine: Engine) -> None:
    """Several rows for one date and path are summed; dates outside the span are not read."""
    url = engine.load(
        [(day(0), "/a", 1), (day(0), "/a", 2), (day(0), "/b", 4), (day(2), "/a", 8), (day(3), "/a", 0),
         (day(13), "/a", 16), (day(14), "/a", 32), (day(-1), "/a", 64)]
    )  # fmt: skip
    with engine.open(url) as source:
        reading = read_daily(source, SPAN)
    found = reading.visits
    assert {(type(day), type(visits)) for day, visits in found.items()} == {(date, int)}
    assert found == {day(13): 16, day(3): 0, day(2): 8, day(0): 7}
    assert list(found) == sorted(found)
    assert (reading.rows, reading.notes) == (6, {})


def test_paths_are_summed_over_window_complete_days_and_previous_dates(engine: Engine) -> None:
    """7 days with today running: six complete days against the same six dates a week earlier."""
    url = engine.load(
        [(day(0), "/a", 1), (day(1), "/a", 2), (day(6), "/a", 4), (day(7), "/a", 8), (day(8), "/a", 16),
         (day(13), "/a", 32), (day(14), "/a", 64)]
    )  # fmt: skip
    with engine.open(url) as source:
        paths, count = path_rows(source, week())
    # previous ends before day 7, the counterpart of today; before is the whole previous window
    assert paths == [["/a", 7, 6, 48, 56]]
    assert count == 1


def test_paths_with_equal_visits_are_sorted_by_code_point(engine: Engine) -> None:
    """With any collation of the database: Z before a, a before é, the basic plane before the others."""
    names = ["/a", "/Z", "/é", "/\uff5e", "/\U0001f600", "/A", "/zz", "/z", "/_", "/ü", "/日本"]
    url = engine.load([(day(1), name, 3) for name in names] + [(day(1), "/most", 4)])
    with engine.open(url) as source:
        paths, _ = path_rows(source, week())
    assert [row[0] for row in paths] == ["/most", *sorted(names)]


def test_the_limit_cuts_the_list_of_paths_but_not_their_count(engine: Engine) -> None:
    """A path after the limit is returned only if its change is large enough."""
    url = engine.load(
        [(day(1), f"/{n}", 10 - n) for n in range(5)]
        + [(day(9), f"/{n}", 10 - n) for n in range(5)]
        + [(day(8), "/gone", 5), (day(8), "/gone-small", 4), (day(1), "/zero", 0)]
    )
    with engine.open(url) as source:
        paths, count = path_rows(source, week(), limit=2, min_change=5)
    assert [row[0] for row in paths] == ["/0", "/1", "/gone"]
    assert count == 5


def test_cells_are_summed_by_date_and_path(engine: Engine) -> None:
    url = engine.load(
        [
            (day(1), "/a'b", 1),
            (day(1), "/a'b", 2),
            (day(0), '/"', 4),
            (day(0), "/no", 8),
            (day(2), "/a'b", 16),
        ]
    )
    with engine.open(url) as source:
        cells = read_cells(source, Span(day(1), day(0)), ["/a'b", '/"', "/absent"])
        none = read_cells(source, SPAN, [])
    assert cells == [(day(1), "/a'b", 3), (day(0), '/"', 4)]
    assert {tuple(map(type, cell)) for cell in cells} == {(date, str, int)}
    assert none == []


def test_bad_rows_are_left_out_and_counted_by_kind(engine: Engine) -> None:
    """A bad row adds no visits and is counted; its date counts as recorded."""
    url = engine.load(
        [(day(0), "/a", 7), (day(0), None, 1), (day(0), None, -1), (day(1), "/a", None), (day(1), "/b", -5),
         (day(1), "/a", -1), (day(20), "/a", -1), (day(20), None, 3)]
    )  # fmt: skip
    with engine.open(url) as source:
        reading = read_daily(source, SPAN)
        paths, _ = path_rows(source, week())
    assert list(reading.visits.values()) == [0, 7]
    assert reading.notes == {"null_path": 2, "null_visits": 1, "negative_visits": 2}
    assert (reading.rows, paths) == (1, [["/a", 7, 0, 0, 0]])


def test_rows_without_a_date_or_after_today_are_counted(engine: Engine) -> None:
    url = engine.load([(None, "/a", 1), (day(-1), "/a", 1), (day(-900), "/b", 1), (day(0), "/a", 1)])
    with engine.open(url) as source:
        assert read_rows_out_of_range(source, SPAN, include_future=True) == {"null_date": 1, "future_date": 2}
        assert read_rows_out_of_range(source, SPAN, include_future=False) == {"null_date": 1}
        assert read_daily(source, SPAN).rows == 1


def test_the_newest_date_before_a_span_is_found(engine: Engine) -> None:
    url = engine.load([(None, "/a", 1), (day(14), "/a", 1), (day(900), "/b", 1), (day(0), "/a", 1)])
    with engine.open(url, span=Span(day(900), TODAY)) as source:
        assert read_newest_before(source, SPAN) == day(14)
        assert read_newest_before(source, Span(day(900), TODAY)) is None


@pytest.mark.parametrize("older", [False, True])
def test_it_is_known_whether_there_are_rows_before_the_dates_that_are_read(
    engine: Engine, older: bool
) -> None:
    """Also from a source that does not keep them."""
    url = engine.load([(None, "/a", 1), (day(13), "/a", 1), *[(day(14), "/b", 1)] * older])
    with engine.open(url) as source:
        source.read_all_spellings(thorough=True)
        assert has_older_rows(source, SPAN) == older


def test_a_path_is_compared_only_on_the_dates_that_are_named(engine: Engine) -> None:
    """A date in the middle is left out with its earlier one, and so is the first."""
    url = engine.load([(day(days), "/a", 2**days) for days in range(14)])
    with engine.open(url) as source:
        rows, _ = path_rows(source, week(), left_out=[day(6), day(10)])
    compared = [1, 2, 4, 5]
    complete, previous = (sum(2 ** (days + back) for days in compared) for back in (0, 7))
    assert rows == [["/a", 2**7 - 1, complete, previous, 2**14 - 2**7]]


def test_dates_between_a_window_and_the_year_before_are_not_read(engine: Engine) -> None:
    url = engine.load([(day(days), "/a", days) for days in (0, 1, 6, 7, 200, 364, 365, 370, 371)])
    window = make_window("7d", TODAY, today_complete=False, compare=("year",))
    with engine.open(url, span=Span(day(371), TODAY)) as source:
        rows, _ = path_rows(source, window)
    assert rows == [["/a", 7, 7, 365 + 370, 364 + 365 + 370]]


def test_text_that_is_not_a_date_is_counted(text_engine: Engine) -> None:
    """It is counted wherever it sorts."""
    url = text_engine.load(
        [("2026-11-20", "/a", 1), ("2026-11-21T10:00:00", "/a", 2), ("2026-11-22 23:59", "/a", 4),
         ("2026-11-31", "/a", 8), ("2026-11-2x", "/a", 16), ("2026-11-20x", "/a", 32),
         ("2026-11-1?", "/a", 64), ("yesterday", "/a", 128), ("11/06/2026", "/a", 1),
         ("2026-12-01", "/a", 256)],
        dates="text",
    )  # fmt: skip
    with text_engine.open(url) as source:
        reading, notes = read_days(source, SPAN, include_future=True)
        examples = read_examples(source, SPAN, notes)
    assert reading.visits == {date(2026, 11, 20): 1, date(2026, 11, 21): 2, date(2026, 11, 22): 4}
    assert notes == {"future_date": 1, "invalid_date": 6}
    assert examples == {"future_date": "2026-12-01, /a, 256", "invalid_date": "11/06/2026, /a, 1"}


def test_an_empty_table_gives_empty_readings(engine: Engine) -> None:
    url = engine.load([])
    with engine.open(url) as source:
        reading = read_daily(source, SPAN)
        assert (len(reading.visits), reading.rows, reading.notes) == (0, 0, {})
        assert path_rows(source, week()) == ([], 0)
        assert len(read_cells(source, SPAN, ["/a"])) == 0
        assert read_rows_out_of_range(source, SPAN, include_future=True) == {}


def test_a_timestamp_counts_for_its_date_as_stored(engine: Engine) -> None:
    last, first = datetime(2026, 11, 22, 23, 59, 59), datetime(2026, 11, 23)  # noqa: DTZ001 - stored without a zone
    url = engine.load([(last, "/a", 1), (first, "/a", 2)], dates="timestamp")
    with engine.open(url, timezone="Asia/Tokyo") as source:
        reading = read_daily(source, SPAN)
    assert reading.visits == {
        day(1): 1,
        day(0): 2,
    }


@pytest.mark.parametrize("name", ["postgres", "duckdb", "parquet", *ZONED_ENGINES])
def test_an_instant_counts_for_its_date_in_the_reports_zone(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A timestamp with a zone is an instant: 23:30 UTC is the next day in Berlin."""
    engine = make_engine(name, request, tmp_path)
    moment = "2026-11-21 23:30:00+00"
    url = engine.load([(moment, "/a", 1), (moment, None, 1)], dates="timestamptz")
    for zone, expected in (("Europe/Berlin", date(2026, 11, 22)), ("UTC", date(2026, 11, 21))):
        with engine.open(url, timezone=zone) as source:
            assert list(read_daily(source, SPAN).visits) == [expected]
            assert read_examples(source, SPAN, {"null_path": 1})["null_path"].startswith("2026-11-2")


def test_names_are_quoted(engine: Engine) -> None:
    """A name may be a keyword, hold quotes or spaces, or look like SQL."""
    columns = ("select", "pa th %s", "visits%; DROP TABLE x")
    table = "metrics" if engine.name in {"parquet", "csv", "csv.gz"} else "order by"
    url = engine.load([(day(0), "/a", 1)], table=table, columns=columns)
    names = dict(zip(("date", "path", "visits"), columns, strict=True))
    with engine.open(url, table=table, columns=names) as source:
        assert list(read_daily(source, SPAN).visits.values()) == [1]


def test_a_query_replaces_the_table(engine: Engine) -> None:
    """The query may count events, and may hold percent signs, colons, a comment and a semicolon."""
    url = engine.load([(day(0), "/a%20b:c$1", 1), (day(0), "/a%20b:c$1", 1), (day(1), "/b", 1)])
    query = (
        "SELECT date AS at, path AS page, count(*) AS hits FROM metrics"
        " WHERE path LIKE '/a%' OR path = ':x' GROUP BY 1, 2 -- all of it\n; "
    )
    columns = {"date": "at", "path": "page", "visits": "hits"}
    with engine.open(url, query=query, columns=columns) as source:
        assert path_rows(source, week()) == ([["/a%20b:c$1", 2, 0, 0, 0]], 1)


def test_sums_beyond_32_bits_are_exact(engine: Engine) -> None:
    big = 3_000_000_000_000_000_001
    url = engine.load([(day(1), "/a", big), (day(1), "/b", big), (day(2), "/a", big)])
    with engine.open(url) as source:
        assert list(read_daily(source, SPAN).visits.values()) == [big, 2 * big]
        assert path_rows(source, week())[0] == [["/a", 2 * big, 2 * big, 0, 0], ["/b", big, big, 0, 0]]


@pytest.mark.parametrize("dates", [(1, 1, 1, 1), (1, 2, 3, 4)], ids=["one day", "all days together"])
def test_sums_beyond_64_bits_fail_with_a_clear_error(engine: Engine, dates: tuple[int, ...]) -> None:
    url = engine.load([(day(n), "/a", 3_000_000_000_000_000_000) for n in dates])
    with (
        pytest.raises(SourceError, match=r"64 bits|out of range|overflow"),
        engine.open(url) as source,
    ):
        read_daily(source, SPAN)


@pytest.mark.parametrize("engine", ["postgres", "sqlite", "duckdb", "parquet", *IBIS_ENGINES], indirect=True)
@pytest.mark.parametrize("kind", ["numeric", "double precision"])
def test_fractions_of_visits_are_bad_rows(engine: Engine, kind: str) -> None:
    url = engine.load([(day(0), "/a", 2.0), (day(0), "/a", 1.5)], visits=kind)
    with engine.open(url) as source:
        reading = read_daily(source, SPAN)
    assert list(reading.visits.values()) == [2]
    assert reading.notes == {"invalid_visits": 1}


def test_text_of_visits_is_read_if_it_is_a_whole_number(text_engine: Engine) -> None:
    """Such texts come from SQLite's .import and from CSV."""
    url = text_engine.load(
        [
            (day(0), "/a", "12"),
            (day(0), "/a", "-3"),
            (day(0), "/a", "1e3"),
            (day(0), "/a", "many"),
            (day(0), "/a", ""),
        ],
        visits="text",
    )
    with text_engine.open(url) as source:
        reading = read_daily(source, SPAN)
    assert list(reading.visits.values()) == [12]
    assert reading.notes == {"negative_visits": 1, "invalid_visits": 3}


def test_an_empty_path_is_a_path(engine: Engine) -> None:
    url = engine.load([(day(0), "", 1)])
    with engine.open(url) as source:
        assert path_rows(source, week())[0] == [["", 1, 0, 0, 0]]


def test_the_sample_ends_today_and_keeps_its_weekdays(jarvis: list[tuple[str, str, int]]) -> None:
    """On each weekday, the sample is moved by whole weeks and ends today."""
    by_date: dict[str, int] = {}
    for stored, _, visits in jarvis:
        by_date[stored] = by_date.get(stored, 0) + visits
    config = load_config(None, {})
    for number in range(8):
        today = TODAY + timedelta(days=number)
        span = Span(today - timedelta(days=13), today)
        with open_source(config.source, "UTC", span) as source:
            daily = read_daily(source, span).visits
            assert read_rows_out_of_range(source, span, include_future=True) == {}
            assert source.notice is not None
            assert "jarv.is" in source.notice
        weeks = (max(daily) - date(2025, 11, 16)).days // 7 + (today.weekday() != 6)
        found = {(day - timedelta(weeks=weeks)).isoformat(): visits for day, visits in daily.items()}
        assert max(daily) == today
        assert found == {stored: by_date[stored] for stored in found}


@pytest.mark.parametrize(
    ("today", "moved"),
    [
        (date(2025, 11, 16), ""),
        (date(2025, 11, 17), ", with all dates moved by 1 week"),
        (date(2026, 11, 23), ", with all dates moved by 54 weeks"),
        (date(2025, 11, 9), ", with all dates moved back by 1 week"),
        (date(2025, 6, 1), ", with all dates moved back by 24 weeks"),
    ],
)
def test_the_notice_of_the_sample_says_how_far_its_dates_are_moved(today: date, moved: str) -> None:
    credit = "Sample data: real visits of jarv.is, a personal blog by Jake Jarvis (MIT licence)"
    assert open_sample(today).notice == f"{credit}{moved}."


def test_postgres_reads_one_snapshot_and_cannot_write(pg: str, tmp_path: Path) -> None:
    """One read-only, repeatable-read transaction with the configured timeout and no prepared statements."""
    engine = Engine("postgres", tmp_path, pg)
    url = engine.load([(day(0), "/a", 1)])
    with engine.open(url, statement_timeout_s=7) as source:
        assert read_daily(source, SPAN).rows == 1
        with psycopg.connect(url) as writer:
            writer.execute("INSERT INTO metrics VALUES (%s, '/b', 1)", (TODAY,))
        for _ in range(7):  # by default, psycopg prepares a statement after five runs
            assert read_daily(source, SPAN).rows == 1
        shown = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'),"
        shown += " current_setting('statement_timeout'), (SELECT count(*) FROM pg_prepared_statements)"
        assert list(source.rows(shown, {})) == [("repeatable read", "on", "7s", 0)]
        assert source._connection.prepare_threshold is None  # type: ignore[attr-defined]
        with pytest.raises(SourceError, match="read-only"):
            list(source.rows("INSERT INTO metrics VALUES (%(day)s, '/c', 1) RETURNING 1", {"day": TODAY}))


def test_postgres_refuses_an_unknown_role(pg: str, tmp_path: Path) -> None:
    url = Engine("postgres", tmp_path, pg).load([]).replace("://postgres:", "://nobody:")
    assert "nobody" in url
    with (
        pytest.raises(SourceError, match=r"cannot connect: .*\. Check user and password"),
        Engine("postgres", tmp_path, pg).open(url),
    ):
        pass


def test_postgres_reads_by_the_index_on_date(pg: str, jarvis: list[tuple[str, str, int]]) -> None:
    """No statement scans the table, not even those that count rows outside the windows."""
    with psycopg.connect(pg) as connection:
        connection.execute(METRICS_TABLE.encode())
        with connection.cursor().copy("COPY metrics FROM STDIN") as copy:
            for row in jarvis:
                copy.write_row(row)
    config = load_config(None, {}, {"source": {"url": pg}})
    window = make_window("7d", date(2026, 8, 21), today_complete=False)
    span = Span(window.previous.first, window.span.last)
    with (
        psycopg.connect(pg, autocommit=True) as connection,
        open_source(config.source, "UTC", span) as source,
    ):
        connection.execute("ANALYZE metrics")
        for sql, values in run_and_record(source, window, span):
            plan = [str(row[0]) for row in connection.execute(f"EXPLAIN {sql}".encode(), values)]
            assert [line for line in plan if "Seq Scan" in line] == []


def test_sqlite_reads_by_the_index_on_date(tmp_path: Path, jarvis: list[tuple[str, str, int]]) -> None:
    """The date may be NULL here: if it may not, the plan shows a scan that never runs."""
    with sqlite3.connect(tmp_path / "m.db") as connection:
        connection.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        connection.execute("CREATE INDEX by_date ON metrics (date)")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", jarvis)
        connection.create_function("reportgen_number", 1, int)
    config = load_config(None, {}, {"source": {"url": f"sqlite:///{tmp_path}/m.db"}})
    window = make_window("7d", date(2026, 8, 21), today_complete=False)
    span = Span(window.previous.first, window.span.last)
    with open_source(config.source, "UTC", span) as source:
        for sql, values in run_and_record(source, window, span):
            plan = [str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
            assert [line for line in plan if re.match(r"SCAN (main\.)?metrics", line)] == []
    connection.close()


def test_sqlite_reads_one_snapshot_and_cannot_write(tmp_path: Path) -> None:
    engine = Engine("sqlite", tmp_path, None)
    url = engine.load([(day(0), "/a", 1)])
    writer = sqlite3.connect(tmp_path / "m.db")
    writer.execute("PRAGMA journal_mode = WAL")
    with engine.open(url) as source:
        writer.execute("INSERT INTO metrics VALUES (?, '/b', 1)", (TODAY.isoformat(),))
        writer.commit()
        assert read_daily(source, SPAN).rows == 1
        with pytest.raises(SourceError, match=r"readonly|read-only|may only read"):
            list(source.rows("DELETE FROM metrics", {}))
    writer.close()


@pytest.mark.parametrize("name", ["parquet", "csv", "csv.gz"])
def test_a_file_that_changes_while_it_is_read_fails_the_build(name: str, tmp_path: Path) -> None:
    engine = Engine(name, tmp_path, None)
    url = engine.load([(day(0), "/a", 1)])

    def read_while_it_changes() -> None:
        with engine.open(url) as source:
            read_daily(source, SPAN)
            engine.load([(day(0), "/a", 1), (day(0), "/b", 1)])

    with pytest.raises(SourceUnavailable, match="changed while it was read"):
        read_while_it_changes()


@pytest.mark.parametrize("name", ["duckdb", "parquet", "csv"])
def test_duckdb_can_read_only_its_own_files(name: str, tmp_path: Path) -> None:
    """It cannot read or write another file, use the network, load an extension, or lift these limits."""
    (tmp_path / "secret.csv").write_text("a\nhidden\n")
    engine = Engine(name, tmp_path, None)
    url = engine.load([(day(0), "/a", 1)])
    with engine.open(url) as source:
        for statement in (
            f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
            f"COPY (SELECT 1) TO '{tmp_path}/out.csv'",
            "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')",
            "INSTALL httpfs",
            "SET enable_external_access = true",
        ):
            with pytest.raises(SourceError):
                list(source.rows(statement, {}))
    assert not (tmp_path / "out.csv").exists()


def test_parquet_globs_and_partitions_are_one_table(tmp_path: Path) -> None:
    """A file a day, in folders named by date, with columns in different orders."""
    with duckdb.connect() as connection:
        for number in range(3):
            (tmp_path / f"date={day(number)}").mkdir()
            target = tmp_path / f"date={day(number)}" / "part [1].parquet"
            columns = "'/a' AS path, 2 AS visits" if number else "2 AS visits, '/a' AS path"
            connection.execute(f"COPY (SELECT {columns}) TO '{target}'")
    engine = Engine("parquet", tmp_path, None)
    with engine.open(f"{tmp_path}/**/*.parquet") as source:
        assert list(read_daily(source, SPAN).visits.values()) == [2, 2, 2]
    with engine.open(f"{tmp_path}/date={day(1)}/part [1].parquet") as source:
        assert list(read_daily(source, SPAN).visits.values()) == [2]


def test_sqlite_paths_that_are_not_utf8_stay_distinct(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "m.db") as connection:
        connection.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        for raw in (b"/\xff", b"/\xfe"):
            connection.execute("INSERT INTO metrics VALUES (?, CAST(? AS TEXT), 1)", (TODAY.isoformat(), raw))
    connection.close()
    with Engine("sqlite", tmp_path, None).open(f"sqlite:///{tmp_path}/m.db") as source:
        paths, _ = path_rows(source, week())
    assert [row[0] for row in paths] == ["/\\xfe", "/\\xff"]


@pytest.mark.parametrize(
    ("url", "absent"),
    [("sample", ["psycopg", "duckdb"]), ("sqlite:///x.db", ["psycopg", "duckdb"]), ("x.csv", ["psycopg"]),
     ("postgresql://h/d", ["duckdb"])],
)  # fmt: skip
def test_only_the_engine_in_use_is_imported(url: str, absent: list[str]) -> None:
    code = (
        "import sys; from datetime import date; from reportgen.config.settings import load_config;"
        "from reportgen.sources.registry import open_source; from reportgen.core.windows import Span;"
        f"c = load_config(None, {{}}, {{'source': {{'url': {url!r}}}}});"
        "open_source(c.source, 'UTC', Span(date(2026, 1, 1), date(2026, 1, 2)));"
        f"print([name for name in {absent} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("url", ["oracle://h/d", "metrics.doc", "", "http://h/x.html", "SAMPLE!"])
def test_the_error_of_an_unknown_url_lists_the_known_forms(url: str) -> None:
    config = load_config(None, {}, {"source": {"url": url}})
    with pytest.raises(ConfigError, match=re.escape("sqlite:///file.db")):
        open_source(config.source, "UTC", SPAN)
