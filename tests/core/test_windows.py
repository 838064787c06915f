"""Windows are exact: N dates, the last of which is today in the report's zone."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.core.windows import Span, look_back, make_window, runs, today_in, window_days

TODAY = date(2026, 11, 23)


@pytest.mark.parametrize(("name", "days"), [("today", 1), ("1d", 1), ("7d", 7), ("30d", 30), ("366d", 366)])
def test_a_windows_name_says_how_many_dates(name: str, days: int) -> None:
    assert window_days(name) == days


@pytest.mark.parametrize(
    "name", ["", "0d", "07d", "367d", "1000d", "7", "d", "7D", "-7d", "week", "7d ", "\u0667d"]
)
def test_other_names_are_refused_with_the_forms_that_work(name: str) -> None:
    with pytest.raises(ValueError, match=r"today.*7d"):
        window_days(name)


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
