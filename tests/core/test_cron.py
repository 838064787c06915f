"""When the next build is due: cron as cron counts, intervals, days that are shorter or longer."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.core.cron import Due, due_after, interval_s, next_due

BERLIN = ZoneInfo("Europe/Berlin")
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE, QUARTER, HOUR, DAY = 60, 900, 3600, 86_400


def weekdays(field: str) -> str:
    """Return the days of a week from Sunday on (dates 22 to 28) on which this last field builds at noon."""
    found, at = [], SATURDAY
    for _ in range(7):
        at = due_after(f"0 12 * * {field}", ZoneInfo("UTC"), at)
        if at >= SATURDAY + timedelta(days=8):
            break
        found.append(f"{at:%a}")
    return " ".join(found)


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("*", "Sun Mon Tue Wed Thu Fri Sat"),
        ("0", "Sun"),
        ("7", "Sun"),
        ("1", "Mon"),
        ("6", "Sat"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("5-7", "Sun Fri Sat"),
        ("0-6", "Sun Mon Tue Wed Thu Fri Sat"),
        ("0-7", "Sun Mon Tue Wed Thu Fri Sat"),
        ("*/2", "Sun Tue Thu Sat"),
        ("1-5/2", "Mon Wed Fri"),
        ("1,3-4,6", "Mon Wed Thu Sat"),
        ("0,7", "Sun"),
        ("3-3", "Wed"),
        ("mon", "Mon"),
        ("SUN", "Sun"),
        ("mon-fri", "Mon Tue Wed Thu Fri"),
        ("sun-tue", "Sun Mon Tue"),
        ("sun,2", "Sun Tue"),
        ("05", "Fri"),
        ("01-05", "Mon Tue Wed Thu Fri"),
        ("mon-fri/2", "Mon Wed Fri"),
    ],
)
def test_weekdays_are_counted_from_sunday_as_cron_does(field: str, days: str) -> None:
    assert weekdays(field) == days


@pytest.mark.parametrize("field", ["6-1", "5-0", "1,4-2", "fri-sun"])
def test_weekdays_that_run_backwards_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="it is wrong in day-of-week"):
        due_after(f"0 12 * * {field}", BERLIN, SATURDAY)


@pytest.mark.parametrize(
    "schedule",
    [
        "0 12 * * 8",
        "0 12 * * noday",
        "60 * * * *",
        "* * * *",
        "* * * * * *",
        "",
        "0 0 30 2 *",
    ],
)
def test_what_cron_does_not_know_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"five fields|it is wrong in"):
        next_due(schedule, BERLIN, SATURDAY)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30), ("15m", 900), ("6h", 6 * HOUR), ("1d", DAY), ("999999d", 999_999 * DAY),
        ("0m", None), ("015m", None), ("1000000s", None), ("15", None), ("m", None), ("-5m", None),
        ("1.5h", None), ("15 m", None), ("15M", None), ("1w", None), ("15m\n", None), ("\u0661h", None),
        ("* * * * *", None), ("", None),
    ],
)  # fmt: skip
def test_an_interval_is_a_whole_number_of_seconds_minutes_hours_or_days(
    text: str, seconds: int | None
) -> None:
    assert interval_s(text) == seconds


NOON = datetime(2026, 11, 23, 12, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("schedule", "built_at", "due", "grace"),
    [
        ("*/15 * * * *", NOON, NOON.replace(minute=15), QUARTER),
        ("*/15 * * * *", NOON.replace(minute=14, second=59), NOON.replace(minute=15), QUARTER),
        ("*/15 * * * *", NOON.replace(microsecond=1), NOON.replace(minute=15), QUARTER),
        ("* * * * *", NOON, NOON.replace(minute=1), QUARTER),
        ("5 * * * *", NOON, NOON.replace(minute=5), HOUR),
        ("0 9 * * *", NOON, NOON.replace(day=24, hour=9), DAY),
        ("0 9 * * 1-5", NOON.replace(day=27), NOON.replace(day=30, hour=9), DAY),
        ("0 9 * * 1-5", NOON.replace(day=26), NOON.replace(day=27, hour=9), 3 * DAY),
        ("0 12 29 2 *", NOON, datetime(2028, 2, 29, 12, tzinfo=BERLIN), (4 * 365 + 1) * DAY),
        ("15m", NOON, NOON.replace(minute=15), QUARTER),
        ("30s", NOON, NOON.replace(second=30), QUARTER),
        ("6h", NOON.replace(minute=7), NOON.replace(hour=18, minute=7), 6 * HOUR),
        ("1d", NOON, NOON.replace(day=24), DAY),
    ],
)
def test_the_next_build_is_due_strictly_after_this_one_and_may_be_one_interval_late(
    schedule: str, built_at: datetime, due: datetime, grace: int
) -> None:
    """But at least 15 minutes, so that a reader is not alarmed by a slow build."""
    assert next_due(schedule, BERLIN, built_at) == Due(due, grace)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"])
def test_cron_is_read_in_the_reports_zone_whatever_the_zone_of_the_build_time(zone: str) -> None:
    due = next_due("0 9 * * *", ZoneInfo(zone), NOON.astimezone(UTC))
    assert due.at.astimezone(ZoneInfo(zone)).strftime("%H:%M") == "09:00"
    assert timedelta(0) < due.at - NOON <= timedelta(days=1)


# Days with 23 and 25 hours: 29 March and 25 October 2026 in Berlin.

SPRING, AUTUMN = datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)


def test_a_daily_build_keeps_its_time_of_day() -> None:
    for evening in (SPRING, AUTUMN):
        due = next_due("0 9 * * *", BERLIN, evening.astimezone(BERLIN))
        assert f"{due.at.astimezone(BERLIN):%d %H:%M}" in {"29 09:00", "25 09:00"}


def test_a_build_in_the_hour_that_is_left_out_comes_right_after_it() -> None:
    due = next_due("30 2 * * *", BERLIN, SPRING.astimezone(BERLIN))
    assert f"{due.at.astimezone(UTC).astimezone(BERLIN):%d %H:%M}" == "29 03:00"


@pytest.mark.parametrize("evening", [SPRING, AUTUMN])
@pytest.mark.parametrize(
    ("schedule", "hours"), [("*/15 * * * *", 0.25), ("0 * * * *", 1), ("30 2 * * *", 25)]
)
def test_nights_with_more_hours_or_fewer_leave_no_gap_and_nothing_is_due_in_the_past(
    schedule: str, hours: float, evening: datetime
) -> None:
    """After builds at all tenths of an hour of a night: an hour that comes twice is built in twice."""
    for minutes in range(0, 8 * 60, 6):
        built_at = evening + timedelta(minutes=minutes)
        due = next_due(schedule, BERLIN, built_at.astimezone(BERLIN))
        assert due.at.astimezone(UTC) > built_at, built_at
        assert due.at.astimezone(UTC) - built_at <= timedelta(hours=hours)


@pytest.mark.parametrize("evening", [SPRING, AUTUMN])
@pytest.mark.parametrize("schedule", ["6h", "1d"])
def test_an_interval_is_as_long_in_nights_with_more_hours_or_fewer(schedule: str, evening: datetime) -> None:
    due = next_due(schedule, BERLIN, evening.astimezone(BERLIN))
    assert (due.at.astimezone(UTC) - evening).total_seconds() == interval_s(schedule)


@given(
    st.integers(1, 999_999),
    st.sampled_from("smhd"),
    st.datetimes(datetime.fromisoformat("2000-01-01"), datetime.fromisoformat("2100-01-01")),
)
def test_an_interval_counts_from_the_build(count: int, unit: str, built_at: datetime) -> None:
    try:
        at = built_at + timedelta(seconds=count * {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}[unit])
    except OverflowError:
        return
    due = next_due(f"{count}{unit}", ZoneInfo("UTC"), built_at.replace(tzinfo=UTC))
    assert due == Due(at.replace(tzinfo=UTC), max(QUARTER, round((at - built_at).total_seconds())))
