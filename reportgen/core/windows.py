"""Windows of dates: calendar arithmetic, without a clock and without data.

A window of N days is exactly N dates, the last of which is *today*. A week, month, quarter or year *to date*
also ends today; a *last* one is whole. Each window is compared with an earlier span, date by date: the first
date with the first, and so on. Comparisons use complete days only, so not today while it is not over.
"""

import re
from calendar import monthrange
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

MAX_DAYS = 1100
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
PERIODS = ("week", "month", "quarter", "year")
TITLES = {
    "today": "Today",
    "yesterday": "Yesterday",
    **{kind: f"This {kind}" for kind in PERIODS},
    **{f"last-{kind}": f"Last {kind}" for kind in PERIODS},
}
"""The title of each window whose name is not a number of days."""

MAX_DAYS_DRAWN, MAX_DAYS_IN_WEEKS = 92, 400
"""Maximum number of dates for a chart to draw days, and to draw weeks; it draws months of more."""

SAME_WEEKDAYS = 364
"""Number of days that a span is moved back by for the same weekdays a year before."""

EARLIEST = date(1000, 1, 1)
"""The first date on which a report may end: its year has four digits, so that dates sort as text."""


@dataclass(frozen=True, order=True)
class Span:
    """Consecutive dates from ``first`` to ``last``, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """The number of dates."""
        return (self.last - self.first).days + 1

    @property
    def end(self) -> date:
        """The first date after the span."""
        return self.last + timedelta(days=1)

    def dates(self) -> list[date]:
        """Return every date, ascending."""
        return [self.first + timedelta(days=n) for n in range(self.days)]

    def head(self, days: int) -> "Span":
        """Return the first ``days`` dates, or all if there are fewer."""
        return Span(self.first, min(self.last, self.first + timedelta(days=days - 1)))

    def meets(self, other: "Span") -> bool:
        """Return whether the two have a date in common."""
        return self.first <= other.last and other.first <= self.last

    def earlier(self, days: int) -> "Span":
        """Return the span of the same length that begins ``days`` earlier."""
        return Span(self.first - timedelta(days=days), self.last - timedelta(days=days))


@dataclass(frozen=True)
class Earlier:
    """The dates that a window is compared with, in the same order; at its end, some may lack.

    ``kind`` is ``previous`` or ``year``; ``label`` says how far they are back: "7 days before".
    """

    kind: str
    label: str
    span: Span


@dataclass(frozen=True)
class Window:
    """One window of a report of ``today``.

    ``earlier`` are the spans that it is compared with, the main one first. ``today_complete`` is true if
    today is over (``--as-of``).
    """

    name: str
    span: Span
    earlier: tuple[Earlier, ...]
    today: date
    today_complete: bool
    week_start: str

    @property
    def days(self) -> int:
        """The number of dates."""
        return self.span.days

    @property
    def running(self) -> bool:
        """Whether the last date is today, and not over."""
        return self.span.last == self.today and not self.today_complete

    @property
    def previous(self) -> Span:
        """The dates of the main comparison."""
        return self.earlier[0].span

    @property
    def complete(self) -> Span | None:
        """The dates that are over, or ``None`` if the window is today alone and today is not over."""
        return self.span.head(self.days - self.running) if self.days > self.running else None

    @property
    def complete_previous(self) -> Span | None:
        """The dates that :attr:`complete` is compared with; there may be fewer."""
        return self.previous.head(self.complete.days) if self.complete else None


def bar_kind(window: Window) -> str:
    """Return what one bar of a chart of ``window`` stands for: ``day``, ``week`` or ``month``."""
    return "day" if window.days <= MAX_DAYS_DRAWN else "week" if window.days <= MAX_DAYS_IN_WEEKS else "month"


def bars_of(window: Window) -> list[Span]:
    """Return the dates of each bar: the first and the last may be a part of a week or month."""
    kind = bar_kind(window)
    if kind == "day":
        return [Span(day, day) for day in window.span.dates()]
    bars, first = [], window.span.first
    while first <= window.span.last:
        bars.append(Span(first, min(period(kind, first, window.week_start).last, window.span.last)))
        first = bars[-1].end
    return bars


def is_whole(window: Window, bar: Span) -> bool:
    """Return whether a bar has all dates of its week or month."""
    kind = bar_kind(window)
    return kind == "day" or bar == period(kind, bar.first, window.week_start)


def check_window_name(name: str) -> None:
    """Check the name of a window.

    Raises:
        ValueError: it is not a valid name.

    """
    days = re.fullmatch(r"([1-9][0-9]{0,3})d", name)
    if name not in TITLES and not (days and int(days[1]) <= MAX_DAYS):
        raise ValueError(
            f'"{name}" is not a valid window: write "today", "yesterday", a number of days such as "7d"'
            f' (1d to {MAX_DAYS}d), "week", "month", "quarter" or "year" (to date), or "last-week",'
            ' "last-month", "last-quarter" or "last-year"'
        )


def make_window(
    name: str,
    today: date,
    *,
    today_complete: bool,
    compare: Sequence[str] = ("previous",),
    week_start: str = WEEKDAYS[0],
) -> Window:
    """Return the window called ``name`` in a report of ``today``.

    ``compare`` lists the kinds of its comparisons. Two that would be of the same dates are one.
    """
    kind = name.removeprefix("last-")
    if kind in PERIODS:
        whole = period(kind, today, week_start)
        if kind != name:
            whole = period(kind, whole.first - timedelta(days=1), week_start)
        span = Span(whole.first, min(whole.last, today))
        label, before = f"{kind} before", period(kind, whole.first - timedelta(days=1), week_start)
    else:
        days = int(name[:-1]) if name.endswith("d") else 1
        last = today - timedelta(days=name == "yesterday")
        span = Span(last - timedelta(days=days - 1), last)
        label, before = "day before" if days == 1 else f"{days} days before", span.earlier(days)
    if kind in PERIODS and kind != "week":
        a_year_before = period(kind, whole.first.replace(year=whole.first.year - 1), week_start)
    else:
        a_year_before = span.earlier(SAME_WEEKDAYS)
    labels = {"previous": label, "year": "year before"}
    spans = {"previous": before.head(span.days), "year": a_year_before.head(span.days)}
    kinds = [kind for kind in compare if kind == compare[0] or spans[kind] != spans[compare[0]]]
    earlier = tuple(Earlier(kind, labels[kind], spans[kind]) for kind in kinds)
    return Window(name, span, earlier, today, today_complete, week_start)


def period(kind: str, day: date, week_start: str) -> Span:
    """Return the whole week, month, quarter or year that ``day`` belongs to."""
    if kind == "week":
        first = day - timedelta(days=(day.weekday() - WEEKDAYS.index(week_start)) % 7)
        return Span(first, first + timedelta(days=min(6, (date.max - first).days)))
    months = {"month": 1, "quarter": 3, "year": 12}[kind]
    begin = (day.month - 1) // months * months + 1
    end = begin + months - 1
    return Span(date(day.year, begin, 1), date(day.year, end, monthrange(day.year, end)[1]))


def compared_dates(window: Window, earlier: Earlier, recorded: Container[date]) -> list[tuple[date, date]]:
    """Return each complete date of a window with its earlier date, if both have rows."""
    complete = window.complete.dates() if window.complete else []
    pairs = zip(complete, earlier.span.dates(), strict=False)
    return [(day, before) for day, before in pairs if day in recorded and before in recorded]


def first_comparison(window: Window, kind: str, since: date) -> Window:
    """Return the first such window that has something to compare, of rows ``since`` a date.

    At the end of the calendar it is the last one. A window of today alone never compares while today runs:
    it is returned as if today were over.
    """
    over = window.today_complete or window.name in ("today", "1d")
    options: Any = {"today_complete": over, "compare": (kind,), "week_start": window.week_start}
    days = (since + timedelta(days=n) for n in range(1, (date.max - since).days))
    later = (make_window(window.name, day, **options) for day in days)
    found = (each for each in later if each.complete_previous and each.complete_previous.last >= since)
    return next(found, None) or make_window(window.name, date.max, **options)


def today_in(zone: ZoneInfo, now: datetime) -> date:
    """Return the date that ``now`` (aware) falls on in ``zone``."""
    return now.astimezone(UTC).astimezone(zone).date()


def look_back(windows: Iterable[Window]) -> Span:
    """Return the dates that a build of ``windows`` reads.

    They reach to today, from the first date of the earliest comparison, or from the weekday a week before a
    window's last date (shown for a window of one day).
    """
    windows = list(windows)
    week_ago = min(window.span.last for window in windows) - timedelta(days=7)
    firsts = (earlier.span.first for window in windows for earlier in window.earlier)
    return Span(min(week_ago, *firsts), windows[0].today)


def runs(dates: Sequence[date]) -> list[Span]:
    """Return ascending dates as spans of consecutive dates."""
    if not dates:
        return []
    breaks = [at for at, (one, two) in enumerate(pairwise(dates), start=1) if (two - one).days > 1]
    return [Span(dates[a], dates[b - 1]) for a, b in pairwise([0, *breaks, len(dates)])]
