"""Windows of dates: calendar arithmetic, without a clock and without data.

A window of N days is exactly N dates, the last of which is *today*. Its previous window is the N dates
before. Comparisons use complete days only: while today is not over, the first N-1 dates of the window are
compared with the same dates N days earlier.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

MAX_DAYS = 366
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

    def earlier(self, days: int) -> "Span":
        """Return the span of the same length that begins ``days`` earlier."""
        return Span(self.first - timedelta(days=days), self.last - timedelta(days=days))


@dataclass(frozen=True)
class Window:
    """One window of a report.

    ``span`` ends on today; ``today_complete`` is true if the last date is over (``--as-of``).
    """

    name: str
    span: Span
    today_complete: bool

    @property
    def days(self) -> int:
        """The number of dates."""
        return self.span.days

    @property
    def previous(self) -> Span:
        """The same number of dates directly before."""
        return self.span.earlier(self.days)

    @property
    def complete(self) -> Span | None:
        """The dates that are over, or ``None`` if the window is today alone and today is not over."""
        if self.today_complete:
            return self.span
        if self.days == 1:
            return None
        return Span(self.span.first, self.span.last - timedelta(days=1))

    @property
    def complete_previous(self) -> Span | None:
        """The dates that :attr:`complete` is compared with: the same dates, ``days`` earlier."""
        return None if self.complete is None else self.complete.earlier(self.days)


def window_days(name: str) -> int:
    """Return the length in days of a window's name: ``today`` or ``Nd`` with N from 1 to 366.

    Raises:
        ValueError: the name is neither.

    """
    if name == "today":
        return 1
    match = re.fullmatch(r"([1-9][0-9]{0,2})d", name)
    if match is None or int(match[1]) > MAX_DAYS:
        raise ValueError(
            f'"{name}" is not a valid window: write "today" or a number of days such as "7d"'
            f" (1d to {MAX_DAYS}d)"
        )
    return int(match[1])


def make_window(name: str, today: date, *, today_complete: bool) -> Window:
    """Return the window called ``name`` that ends on ``today``."""
    first = today - timedelta(days=window_days(name) - 1)
    return Window(name, Span(first, today), today_complete)


def today_in(zone: ZoneInfo, now: datetime) -> date:
    """Return the date that ``now`` (aware) falls on in ``zone``."""
    return now.astimezone(UTC).astimezone(zone).date()


def look_back(windows: Iterable[Window]) -> Span:
    """Return the dates that a build of ``windows`` reads.

    They reach from the first date of the earliest previous window, or the same weekday last week
    (shown on ``today``), to today.
    """
    windows = list(windows)
    today = windows[0].span.last
    return Span(min(today - timedelta(days=7), *(w.previous.first for w in windows)), today)


def runs(dates: Sequence[date]) -> list[Span]:
    """Return ascending dates as spans of consecutive dates."""
    if not dates:
        return []
    breaks = [at for at, (one, two) in enumerate(pairwise(dates), start=1) if (two - one).days > 1]
    return [Span(dates[a], dates[b - 1]) for a, b in pairwise([0, *breaks, len(dates)])]
