"""``source.timestamp_zone``: times that are stored without a zone, as Ecto, Rails and Django store UTC."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from reportgen.config.settings import load_config
from reportgen.core.errors import ConfigError
from reportgen.core.windows import Span, make_window
from reportgen.sources.registry import open_source
from reportgen.sources.statements import read_daily, read_paths, read_rows_out_of_range
from tests.support.engines import ENGINES, IBIS_ENGINES, SPAN, Engine, make_engine, run_and_record

LOCAL_ENGINES = [name for name in ENGINES if name not in {*IBIS_ENGINES, "csv.gz"}]
CLOCKS_CHANGE = {
    "23 hours": ("Europe/Berlin", date(2026, 3, 29), 23),
    "25 hours": ("Europe/Berlin", date(2026, 10, 25), 25),
    "quarters": ("Asia/Kathmandu", date(2026, 10, 25), 24),
    "midnight twice": ("America/Havana", date(2026, 11, 1), 25),
    "no midnight": ("Africa/Cairo", date(2026, 4, 24), 23),
}


def quarter_hours(day: date) -> list[datetime]:
    """Return each quarter of an hour in UTC, from two days before ``day`` to three days after it."""
    first = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(days=2)
    return [first + timedelta(minutes=15 * number) for number in range(5 * 96)]


@pytest.mark.parametrize("name", LOCAL_ENGINES)
@pytest.mark.parametrize(("zone", "day", "hours"), CLOCKS_CHANGE.values(), ids=CLOCKS_CHANGE)
def test_a_time_without_a_zone_counts_for_its_date_in_the_reports_zone(
    name: str, zone: str, day: date, hours: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    stored_zone = "UTC" if zone == "Europe/Berlin" else "Asia/Tokyo"
    engine = make_engine(name, request, tmp_path)
    moments = quarter_hours(day)
    stored = [moment.astimezone(ZoneInfo(stored_zone)).replace(tzinfo=None) for moment in moments]
    url = engine.load([(each, "/", 1) for each in stored], dates="timestamp")
    span = Span(day - timedelta(days=1), day + timedelta(days=1))
    window = make_window("1d", day, today_complete=True)
    with engine.open(url, timezone=zone, span=span, timestamp_zone=stored_zone) as source:
        daily = read_daily(source, span)
        [path] = read_paths(source, window, [(day, day - timedelta(days=1))], 10, 5).rows
        future = read_rows_out_of_range(source, span, include_future=True)["future_date"]
    expected = Counter(moment.astimezone(ZoneInfo(zone)).date() for moment in moments)
    assert daily.visits == {each: expected[each] for each in span.dates()}
    assert daily.visits[day] == path.visits == hours * 4
    assert path.before == expected[day - timedelta(days=1)]
    assert future == sum(visits for each, visits in expected.items() if each > span.last)


@pytest.mark.parametrize("name", LOCAL_ENGINES)
def test_of_an_hour_that_is_stored_twice_the_later_is_meant(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """01:30 is 05:30 or 06:30 UTC; a time that does not exist is counted from the hour before."""
    engine = make_engine(name, request, tmp_path)
    times = [datetime(2026, 11, 1, 1, 30), datetime(2026, 3, 8, 2, 30)]  # noqa: DTZ001 - stored without a zone
    url = engine.load([(each, "/", 1) for each in times], dates="timestamp")
    span = Span(date(2026, 1, 1), date(2026, 12, 1))
    for zone, days in (("Etc/GMT+6", (1, 8)), ("Etc/GMT+7", (31, 8)), ("Etc/GMT+8", (31, 7))):
        with engine.open(url, timezone=zone, span=span, timestamp_zone="America/New_York") as source:
            found = {each.day for each in read_daily(source, span).visits}
        assert found == set(days), zone


@pytest.mark.parametrize("name", LOCAL_ENGINES)
def test_a_date_stays_as_it_is(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    engine = make_engine(name, request, tmp_path)
    url = engine.load([(date(2026, 11, 20), "/", 1)])
    with engine.open(url, timezone="America/New_York", timestamp_zone="UTC") as source:
        assert list(read_daily(source, SPAN).visits) == [date(2026, 11, 20)]


@pytest.mark.parametrize("name", ["postgres", "duckdb", "parquet"])
@pytest.mark.parametrize(
    ("dates", "stored_zone", "says"),
    [
        ("date", "UTC", 'timestamp_zone is not used: "date" is of type date'),
        ("timestamptz", "UTC", 'timestamp_zone is not used: "date" is of type timestamp'),
        ("timestamp", None, 'Set timestamp_zone in [source]: to "UTC"'),
        ("timestamp", "UTC", None),
        ("timestamptz", None, None),
        ("date", None, None),
    ],
)
def test_check_says_whether_the_setting_fits_the_column(
    name: str, dates: str, stored_zone: str | None, says: str | None, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    engine = make_engine(name, request, tmp_path)
    url = engine.load([], dates=dates)
    with engine.open(url, timezone="Europe/Berlin", timestamp_zone=stored_zone) as source:
        found = [each for each in source.inspect() if each.subject == "zone"]
    assert [each.level for each in found] == (["warning"] if says else [])
    assert all(says.casefold() in each.message.casefold() for each in found if says)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
@pytest.mark.parametrize("column", ["timestamp(0)", "timestamptz"])
def test_postgres_finds_the_dates_by_the_index_on_the_times(pg: str, zone: str, column: str) -> None:
    """Also those of a query of single hits."""
    with psycopg.connect(pg, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE hits (id bigserial PRIMARY KEY, path text, inserted_at {column} NOT NULL)".encode()
        )
        connection.execute(
            "INSERT INTO hits (path, inserted_at) SELECT '/' || n % 50, timestamp '2024-11-23' + n * interval"
            " '17 minutes' FROM generate_series(1, 60000) n"
        )
        connection.execute("CREATE INDEX ON hits (inserted_at)")
        connection.execute("ANALYZE hits")
    query = "SELECT inserted_at AS date, path, 1 AS visits FROM hits"
    given = {"url": pg, "query": query, "timestamp_zone": "UTC"}
    window = make_window("7d", date(2026, 8, 21), today_complete=False)
    span = Span(window.previous.first, window.span.last)
    with (
        psycopg.connect(pg, autocommit=True) as connection,
        open_source(load_config(None, {}, {"source": given}).source, zone, span) as source,
    ):
        for sql, values in run_and_record(source, window, span):
            plan = [str(row[0]) for row in connection.execute(f"EXPLAIN {sql}".encode(), values)]
            assert [line for line in plan if "Seq Scan" in line] == []


def test_a_zone_that_does_not_exist_is_refused_as_timezone_is() -> None:
    for keys, options in (
        ("timezone", {"timezone": "Mars/Base"}),
        ("source.timestamp_zone", {"source": {"timestamp_zone": "Mars/Base"}}),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(None, {}, options)
        says = 'is not a known time zone. Use an IANA name such as "UTC" or "Europe/Berlin".'
        assert f'{keys} "Mars/Base" {says}' in str(caught.value)


@pytest.mark.parametrize("scheme", ["ibis+duckdb", "ibis+pyspark"])
@pytest.mark.parametrize(
    ("setting", "value"), [("timestamp_zone", "UTC"), ("date_format", "%d/%m/%Y"), ("thousands", ".")]
)
def test_the_setting_is_refused_through_ibis(scheme: str, setting: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{setting}: not possible through Ibis"):
        Engine(scheme, tmp_path).open(f"{scheme}:///m", **{setting: value})
