"""Windows are exact: each has the dates that its name says, and is compared date by date."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.core.windows import (
    PERIODS,
    TITLES,
    WEEKDAYS,
    Span,
    Window,
    bar_kind,
    bars_of,
    check_window_name,
    compared_dates,
    is_whole,
    look_back,
    make_window,
    runs,
    today_in,
)

TODAY = date(2026, 11, 23)


def window_of(name: str, today: date = TODAY, *, over: bool = False, **options: Any) -> Window:
    """Return a window of a report of ``today``; ``over``: today is complete."""
    check_window_name(name)
    return make_window(name, today, today_complete=over, **options)


@pytest.mark.parametrize(
    ("name", "days"), [("today", 1), ("1d", 1), ("7d", 7), ("30d", 30), ("366d", 366), ("1100d", 1100)]
)
def test_a_windows_name_says_how_many_dates(name: str, days: int) -> None:
    assert window_of(name).days == days


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0d",
        "07d",
        "1101d",
        "10000d",
        "7",
        "d",
        "7D",
        "-7d",
        "Week",
        "last-7d",
        "last-today",
        "7d ",
        "\u0667d",
    ],
)
def test_other_names_are_refused_with_the_forms_that_work(name: str) -> None:
    with pytest.raises(ValueError, match=r"today.*7d.*1100d.*week.*last-year"):
        check_window_name(name)


@pytest.mark.parametrize(
    ("name", "first", "last", "before_first", "before_last"),
    [
        ("yesterday", "2026-11-22", "2026-11-22", "2026-11-21", "2026-11-21"),
        ("week", "2026-11-23", "2026-11-23", "2026-11-16", "2026-11-16"),
        ("month", "2026-11-01", "2026-11-23", "2026-10-01", "2026-10-23"),
        ("quarter", "2026-10-01", "2026-11-23", "2026-07-01", "2026-08-23"),
        ("year", "2026-01-01", "2026-11-23", "2025-01-01", "2025-11-23"),
        ("last-week", "2026-11-16", "2026-11-22", "2026-11-09", "2026-11-15"),
        ("last-month", "2026-10-01", "2026-10-31", "2026-09-01", "2026-09-30"),
        ("last-quarter", "2026-07-01", "2026-09-30", "2026-04-01", "2026-06-30"),
        ("last-year", "2025-01-01", "2025-12-31", "2024-01-01", "2024-12-30"),
    ],
)
def test_calendar_windows_are_periods_to_date_or_whole_ones(
    name: str, first: str, last: str, before_first: str, before_last: str
) -> None:
    """They are compared with as many dates of the period before, or all that it has."""
    window = window_of(name)
    assert window.span == Span(date.fromisoformat(first), date.fromisoformat(last))
    assert window.previous == Span(date.fromisoformat(before_first), date.fromisoformat(before_last))


def test_a_longer_month_is_compared_with_all_days_of_the_shorter_one_before() -> None:
    """On 31 March, 30 dates are over; February has 28, so 28 are compared."""
    window = window_of("month", date(2026, 3, 31))
    assert window.complete == Span(date(2026, 3, 1), date(2026, 3, 30))
    pairs = compared_dates(window, window.earlier[0], window.previous.dates() + window.span.dates())
    assert [day.day for day, _ in pairs] == [before.day for _, before in pairs] == list(range(1, 29))
    assert window.complete_previous == Span(date(2026, 2, 1), date(2026, 2, 28))


@pytest.mark.parametrize(
    ("name", "today", "before"),
    [
        ("7d", date(2026, 11, 23), Span(date(2025, 11, 18), date(2025, 11, 24))),
        ("last-week", date(2026, 11, 23), Span(date(2025, 11, 17), date(2025, 11, 23))),
        ("month", date(2024, 2, 29), Span(date(2023, 2, 1), date(2023, 2, 28))),
        ("last-quarter", date(2024, 4, 1), Span(date(2023, 1, 1), date(2023, 3, 31))),
        ("year", date(2026, 11, 23), Span(date(2025, 1, 1), date(2025, 11, 23))),
    ],
)
def test_a_year_before_has_the_same_weekdays_or_the_same_dates(name: str, today: date, before: Span) -> None:
    """The leap day has no date in the year before it."""
    (earlier,) = window_of(name, today, compare=("year",)).earlier
    assert (earlier.kind, earlier.label, earlier.span) == ("year", "year before", before)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("7d", ["year", "previous"]), ("month", ["year", "previous"]), ("year", ["year"]), ("364d", ["year"])],
)
def test_two_comparisons_with_the_same_dates_are_one(name: str, kinds: list[str]) -> None:
    assert [earlier.kind for earlier in window_of(name, compare=("year", "previous")).earlier] == kinds


@pytest.mark.parametrize(("days", "kind", "bars"), [
    (1, "day", 1), (92, "day", 92), (93, "week", 15), (400, "week", 58),
    (401, "month", 14), (1100, "month", 37),
])  # fmt: skip
def test_long_windows_are_drawn_by_week_or_month(days: int, kind: str, bars: int) -> None:
    window = window_of(f"{days}d")
    assert (bar_kind(window), len(bars_of(window))) == (kind, bars)


@settings(deadline=None)
@given(st.integers(1, 1100), st.dates(date(1010, 1, 1), date(9990, 1, 1)), st.sampled_from(WEEKDAYS))
def test_every_date_of_a_window_is_in_one_bar_and_only_the_ends_are_parts(
    days: int, today: date, start: str
) -> None:
    window = window_of(f"{days}d", today, week_start=start)
    bars = bars_of(window)
    assert [day for bar in bars for day in bar.dates()] == window.span.dates()
    assert all(is_whole(window, bar) for bar in bars[1:-1])
    if bar_kind(window) != "day":
        first = bars[1].first
        assert first.weekday() == WEEKDAYS.index(start) if bar_kind(window) == "week" else first.day == 1


days = st.dates(date(1003, 1, 1), date(9998, 12, 31))


@given(days, st.sampled_from(WEEKDAYS))
def test_every_date_belongs_to_exactly_one_week_month_quarter_and_year(day: date, start: str) -> None:
    """The whole periods before two consecutive ends touch: none lacks a date, and none has one twice."""
    for kind in PERIODS:
        last = window_of(f"last-{kind}", day, week_start=start).span
        now = window_of(kind, day, week_start=start).span
        assert last.end == now.first <= day == now.last
        whole = window_of(f"last-{kind}", now.first + timedelta(days=366), week_start=start).span
        assert window_of(kind, whole.last, week_start=start).span == whole
        assert (whole.first.weekday() == WEEKDAYS.index(start)) if kind == "week" else whole.first.day == 1
        length = {"week": {7}, "month": {28, 29, 30, 31}, "quarter": {90, 91, 92}, "year": {365, 366}}[kind]
        assert {last.days, whole.days} <= length
        assert (
            window_of(kind, now.first + timedelta(days=min(length) - 1), week_start=start).span.first
            == now.first
        )


@settings(deadline=None)
@given(
    st.sampled_from([*TITLES, "1d", "30d", "365d", "1100d"]),
    days,
    st.booleans(),
    st.sampled_from(WEEKDAYS),
    st.sampled_from([("previous",), ("year",), ("previous", "year"), ("year", "previous")]),
)
def test_every_comparison_has_as_many_complete_days_on_both_sides(
    name: str, today: date, over: bool, start: str, compare: tuple[str, ...]
) -> None:
    """A comparison leaves out at most three dates: 28 of February against 31 of another month."""
    window = window_of(name, today, over=over, week_start=start, compare=compare)
    assert window.earlier[0].kind == compare[0]
    assert window.span.last <= today
    complete = window.days - (window.span.last == today and not over)
    assert (window.complete.days if window.complete else 0) == complete
    for earlier in window.earlier:
        assert 0 <= window.days - earlier.span.days <= 3
        assert earlier.span.last < window.span.last
        assert earlier.span.first < window.span.first
        pairs = compared_dates(window, earlier, {*window.span.dates(), *earlier.span.dates()})
        assert len(pairs) == min(complete, earlier.span.days)
        assert all(before < day for day, before in pairs)
        assert [day for day, _ in pairs] == window.span.dates()[: len(pairs)]
        assert [before for _, before in pairs] == earlier.span.dates()[: len(pairs)]
    assert look_back([window]).first <= min(earlier.span.first for earlier in window.earlier)
    assert look_back([window]).last == today


def test_a_window_of_seven_days_is_seven_dates_ending_today() -> None:
    window = make_window("7d", TODAY, today_complete=False)
    assert window.span.dates() == [date(2026, 11, 17) + timedelta(days=n) for n in range(7)]
    assert window.previous == Span(date(2026, 11, 10), date(2026, 11, 16))


def test_today_is_left_out_of_comparisons_while_it_runs() -> None:
    """Six complete days against the same six weekdays of the week before."""
    window = make_window("7d", TODAY, today_complete=False)
    assert window.complete == Span(date(2026, 11, 17), date(2026, 11, 22))
    assert window.complete_previous == Span(date(2026, 11, 10), date(2026, 11, 15))


def test_a_past_day_counts_as_complete() -> None:
    window = make_window("7d", TODAY, today_complete=True)
    assert window.complete == window.span
    assert window.complete_previous == window.previous


def test_today_alone_has_no_complete_day_until_it_is_over() -> None:
    assert make_window("today", TODAY, today_complete=False).complete is None
    assert make_window("today", TODAY, today_complete=False).complete_previous is None
    assert make_window("today", TODAY, today_complete=True).complete == Span(TODAY, TODAY)


@given(st.integers(1, 366), st.dates(date(1003, 1, 1), date(9998, 12, 31)), st.booleans())
def test_windows_touch_and_never_overlap(days: int, today: date, over: bool) -> None:
    """Leap days and year ends included, a window and its previous one are 2N consecutive dates."""
    window = make_window(f"{days}d", today, today_complete=over)
    both = window.previous.dates() + window.span.dates()
    assert len(set(both)) == len(both) == 2 * days
    assert (both[-1] - both[0]).days == 2 * days - 1
    assert window.span.last == today
    if window.complete:
        assert window.complete.days == (days if over else days - 1)
        assert window.complete_previous == window.complete.earlier(days)


@pytest.mark.parametrize(
    ("now", "zone", "today"),
    [
        ("2026-11-23T23:59:59+00:00", "UTC", date(2026, 11, 23)),
        ("2026-11-23T23:00:00+00:00", "Europe/Berlin", date(2026, 11, 24)),
        ("2026-11-24T07:59:59+00:00", "America/Los_Angeles", date(2026, 11, 23)),
        ("2026-11-23T10:00:00+00:00", "Pacific/Kiritimati", date(2026, 11, 24)),
        ("2026-03-29T00:59:59+00:00", "Europe/Berlin", date(2026, 3, 29)),
        ("2026-10-24T22:30:00+00:00", "Europe/Berlin", date(2026, 10, 25)),
        ("2011-12-30T09:59:59+00:00", "Pacific/Apia", date(2011, 12, 29)),
        ("2011-12-30T10:00:00+00:00", "Pacific/Apia", date(2011, 12, 31)),
    ],
)
def test_the_zone_decides_which_date_is_today(now: str, zone: str, today: date) -> None:
    """Daylight saving changes and a skipped calendar day (Samoa, 2011) included."""
    assert today_in(ZoneInfo(zone), datetime.fromisoformat(now)) == today


def test_a_build_reads_back_to_the_earliest_previous_window() -> None:
    windows = [make_window(name, TODAY, today_complete=False) for name in ("today", "7d", "30d")]
    assert look_back(windows) == Span(date(2026, 9, 25), TODAY)


def test_today_alone_still_reads_the_same_weekday_last_week() -> None:
    windows = [make_window("today", TODAY, today_complete=False)]
    assert look_back(windows) == Span(date(2026, 11, 16), TODAY)


def test_the_clock_is_always_an_argument() -> None:
    """The same instant in two zones may be two dates; nothing here asks the system."""
    now = datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert today_in(ZoneInfo("Pacific/Kiritimati"), now) == date(2027, 1, 1)
    assert today_in(ZoneInfo("Pacific/Pago_Pago"), now) == date(2026, 12, 31)


@given(st.sets(st.integers(0, 40)))
def test_dates_are_joined_into_as_few_spans_as_there_are_gaps(days: set[int]) -> None:
    dates = [TODAY + timedelta(days=day) for day in sorted(days)]
    spans = runs(dates)
    assert [day for span in spans for day in span.dates()] == dates
    assert all((two.first - one.last).days > 1 for one, two in pairwise(spans))


def test_a_single_date_is_a_span_of_one_day() -> None:
    assert runs([TODAY]) == [Span(TODAY, TODAY)]
    assert runs([]) == []
