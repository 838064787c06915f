"""Compute the figures of one window: filled dates, totals, comparisons.

Functions without input, output, clock or settings: they take data frames and return frozen values.

Definitions: ``change = current / previous - 1`` on complete days; a path's share is its visits over
the window's total; the window's total is the sum over its N dates, dates without rows counting 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import islice, zip_longest
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from reportgen.core.windows import Earlier, Span, Window, bars_of, compared_dates
from reportgen.sources.base import LeftOut
from reportgen.sources.statements import Cell, PathTotals, relative_change

OTHER = None
"""Key of the series that sums all paths not shown by name."""
REST = "Other"
"""Name of the section of all paths that are in no other one."""


EarlierDate = date | None


class Day(NamedTuple):
    """One date of a window, and the date that it is compared with.

    ``previous`` are the visits of ``previous_date``, 0 if that has no rows. ``compared``: the date is over,
    and both have rows.
    """

    date: date
    visits: int
    previous: int
    recorded: bool
    complete: bool
    previous_date: EarlierDate
    previous_recorded: bool
    compared: bool


class Bar(NamedTuple):
    """Several dates as one bar of a chart; ``previous`` is ``None`` if no earlier date has rows.

    ``missing`` is the number of its dates without rows.
    """

    span: Span
    visits: int
    previous: int | None
    missing: int
    complete: bool
    previous_span: Span | None

    @property
    def date(self) -> date:
        """The first date."""
        return self.span.first

    @property
    def recorded(self) -> bool:
        """Whether any of its dates has rows."""
        return self.missing < self.span.days


@dataclass(frozen=True)
class Comparison:
    """The complete days of a window compared with earlier ones, date by date, as far as both have rows.

    ``rows`` has each date of the window, ascending.
    """

    earlier: Earlier
    rows: Sequence[Day]

    @property
    def compared(self) -> Sequence[Day]:
        """The dates that are compared."""
        return [row for row in self.rows if row.compared]

    @property
    def days(self) -> int:
        """Number of dates that are compared."""
        return len(self.compared)

    @property
    def complete_days(self) -> int:
        """Number of dates that are over."""
        return sum(row.complete for row in self.rows)

    @property
    def span(self) -> Span | None:
        """The first to the last date that is compared."""
        return Span(self.compared[0].date, self.compared[-1].date) if self.days else None

    @property
    def previous_span(self) -> Span | None:
        """The first to the last date that they are compared with."""
        before = [row.previous_date for row in self.compared if row.previous_date]
        return Span(before[0], before[-1]) if before else None

    @property
    def total(self) -> int:
        """Visits of the dates that are compared."""
        return sum(row.visits for row in self.compared)

    @property
    def previous_total(self) -> int:
        """Visits of the dates that they are compared with."""
        return sum(row.previous for row in self.compared)

    @property
    def in_full(self) -> bool:
        """Whether each date that is over is compared."""
        return self.days == self.complete_days

    @property
    def change(self) -> float | None:
        """Relative change, 0.1 for +10 %; ``None`` if the previous total is 0."""
        return relative_change(self.total, self.previous_total)


@dataclass(frozen=True)
class WindowMetrics:
    """All figures of one window.

    ``paths`` are the listed paths, most visits first;
    ``changed_paths`` every path that changed by ``named_change`` visits, enough to be named in a sentence.

    ``recent`` holds the visits of the window's last date and the 7 before it, ascending;
    ``recent_recorded`` whether each has any row. ``since`` is the first date of the source that has rows, or
    ``None`` if it is not after the first date that was read. ``left_out`` has the requests of a log that are
    not visits. ``sections`` are those of the settings and, last, the rest. ``excluded`` has the number and
    the visits of the stored paths that the path rules leave out, ``forms`` the stored paths of each listed
    path.
    """

    window: Window
    total: int
    comparisons: Sequence[Comparison]
    paths: Sequence[PathTotals]
    changed_paths: Sequence[PathTotals]
    named_change: int
    path_count: int
    recent: tuple[int, ...]
    recent_recorded: tuple[bool, ...]
    since: date | None
    left_out: Sequence[LeftOut] = ()
    sections: Sequence[PathTotals] = ()
    excluded: tuple[int, int] = (0, 0)
    forms: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def comparison(self) -> Comparison:
        """The main comparison."""
        return self.comparisons[0]

    @property
    def days(self) -> Sequence[Day]:
        """A row for each date of the window, ascending."""
        return self.comparison.rows

    @property
    def yesterday(self) -> int:
        """Visits of the date before the window's last, a full day."""
        return self.recent[-2]

    @property
    def week_ago(self) -> int:
        """Visits of the same weekday a week before the window's last date, a full day."""
        return self.recent[0]

    @property
    def other(self) -> int:
        """Visits of the window that are not of the listed paths."""
        return self.total - sum(row.visits for row in self.paths)

    @property
    def known_days(self) -> Sequence[Day]:
        """The days from the first recorded date on."""
        return [day for day in self.days if not self.since or day.date >= self.since]

    @property
    def complete_days(self) -> Sequence[Day]:
        """Those of :attr:`known_days` that are over."""
        return [day for day in self.known_days if day.complete]

    @property
    def shows_previous(self) -> bool:
        """Whether earlier visits are shown: some are compared, or those of the day before today are known."""
        return any(day.compared or (day.previous_recorded and not self.window.complete) for day in self.days)

    @property
    def unrecorded(self) -> list[date]:
        """The window's dates without any row for any path, after the first recorded date."""
        return [day.date for day in self.known_days if not day.recorded]

    @property
    def previous_unrecorded(self) -> list[date]:
        """The dates without rows that complete days would be compared with, after the first recorded date."""
        return [
            day.previous_date
            for day in self.days
            if day.complete and day.previous_date and not day.previous_recorded
            if not self.since or day.previous_date >= self.since
        ]

    @property
    def daily_average(self) -> float | None:
        """Mean visits of the complete days since the first recorded date; ``None`` if there are none."""
        days = self.complete_days
        return sum(day.visits for day in days) / len(days) if days else None

    @property
    def best_day(self) -> tuple[date, int] | None:
        """The complete day with most visits, the latest of equals; ``None`` without any visit."""
        most = max(((day.visits, day.date) for day in self.complete_days), default=(0, None))
        return (most[1], most[0]) if most[0] and most[1] else None


def window_metrics(
    window: Window,
    visits: Mapping[date, int],
    since: date | None,
    listed: Sequence[PathTotals],
    changed_paths: Sequence[PathTotals],
    named_change: int,
    path_count: int,
    left_out: Sequence[LeftOut] = (),
) -> WindowMetrics:
    """Return the figures of one window.

    ``visits`` are those of each date that has rows; ``listed`` are the paths to list, most visits first;
    ``changed_paths`` those that changed by ``named_change`` visits or more.
    """
    week = Span(window.span.earlier(7).last, window.span.last).dates()
    return WindowMetrics(
        window=window,
        total=sum(visits.get(day, 0) for day in window.span.dates()),
        comparisons=[compare(window, earlier, visits) for earlier in window.earlier],
        paths=listed,
        changed_paths=changed_paths,
        named_change=named_change,
        path_count=path_count,
        recent=tuple(visits.get(day, 0) for day in week),
        recent_recorded=tuple(day in visits for day in week),
        since=since,
        left_out=left_out,
    )


def compare(window: Window, earlier: Earlier, visits: Mapping[date, int]) -> Comparison:
    """Return the comparison of a window with ``earlier`` dates; dates without rows count 0."""
    compared = dict(compared_dates(window, earlier, visits))
    return Comparison(
        earlier,
        [
            Day(
                date=day,
                visits=visits.get(day, 0),
                previous=visits.get(before, 0) if before else 0,
                recorded=day in visits,
                complete=window.complete is not None and day <= window.complete.last,
                previous_date=before,
                previous_recorded=before in visits,
                compared=day in compared,
            )
            for day, before in zip_longest(window.span.dates(), earlier.span.dates())
        ],
    )


def section_totals(
    window: Window, visits: Mapping[date, int], sections: Mapping[str, Mapping[date, int]]
) -> list[PathTotals]:
    """Return the figures of each section, and last those of all other paths; none without sections.

    ``visits`` are those of all paths on each date that has rows.
    """
    if not sections:
        return []
    rest = {
        day: total - sum(found.get(day, 0) for found in sections.values()) for day, total in visits.items()
    }
    totals = []
    for name, found in {**sections, REST: rest}.items():
        by_day = {day: found.get(day, 0) for day in visits}
        both = compare(window, window.earlier[0], by_day)
        here, before = (
            sum(by_day.get(day, 0) for day in span.dates()) for span in (window.span, window.previous)
        )
        totals.append(PathTotals(name, here, both.total, both.previous_total, before))
    return totals


def bars(metrics: WindowMetrics, both: Comparison) -> list[Bar]:
    """Return the bars of a chart of the window, with the earlier visits of a comparison."""
    rows = iter(both.rows)
    return [_bar(span, list(islice(rows, span.days)), metrics.since) for span in bars_of(metrics.window)]


def _bar(span: Span, rows: Sequence[Day], since: date | None) -> Bar:
    before = [row.previous_date for row in rows if row.previous_date]
    known = any(row.previous_recorded for row in rows) and not (since and before[0] < since)
    return Bar(
        span=span,
        visits=sum(row.visits for row in rows),
        previous=sum(row.previous for row in rows) if known else None,
        missing=sum(not row.recorded for row in rows),
        complete=all(row.complete for row in rows),
        previous_span=Span(before[0], before[-1]) if before else None,
    )


def sums_by_bar(window: Window, visits: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return visits by date, which is the last axis, as visits by bar of a chart."""
    firsts = [(bar.first - window.span.first).days for bar in bars_of(window)]
    return np.add.reduceat(visits, firsts, axis=-1)


def cells_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return cells as a frame: ``date`` (datetime64[s]), ``path`` (object: str), ``visits`` (int64)."""
    return pd.DataFrame(
        {
            "date": _date_index([cell.date for cell in cells]),
            "path": pd.Series([cell.path for cell in cells], dtype="object"),
            "visits": np.array([cell.visits for cell in cells], dtype="int64"),
        }
    )


def _date_index(days: Sequence[date]) -> pd.DatetimeIndex:
    """Return ``days`` as datetime64[s], which holds every date of the calendar."""
    return pd.DatetimeIndex(np.array(days, dtype="datetime64[s]"), name="date")


def by_date(metrics: WindowMetrics, cells: pd.DataFrame, paths: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return visits as int64, one row a path and one column a date of the window.

    ``cells`` is what :func:`cells_frame` returns.
    """
    place = {path: at for at, path in enumerate(paths)}
    rows = np.array([place.get(path, -1) for path in cells["path"]], dtype="int64")
    index = _date_index(metrics.window.span.dates())
    columns = index.get_indexer(pd.DatetimeIndex(cells["date"]))
    inside = (rows >= 0) & (columns >= 0)
    visits = np.zeros((len(paths), metrics.window.days), dtype="int64")
    visits[rows[inside], columns[inside]] = cells["visits"].to_numpy()[inside]
    return visits


def stack(metrics: WindowMetrics, cells: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Return the visits of each bar split into the paths of ``series`` and all others.

    ``cells`` is as in :func:`by_date`. The result has one row for each bar, one int64 column for each path
    in order, and last the column :data:`OTHER`. A row's sum is the bar's visits.
    """
    named = by_date(metrics, cells, series)
    other = np.array([day.visits for day in metrics.days], dtype="int64") - named.sum(axis=0)
    # An index of dtype str would turn OTHER into NaN.
    columns = pd.Index([*series, OTHER], dtype="object")
    return pd.DataFrame(sums_by_bar(metrics.window, np.vstack([named, other])).T, columns=columns)


def colour_slots(tops: Sequence[Sequence[str]], slots: int) -> Mapping[str, int]:
    """Return the colour slot (0-based) of each path, the same on all pages.

    ``tops`` holds the paths shown together on each page, most visits first, the page with the longest
    window first; each has at most ``slots`` paths. Paths on one page get different slots: always for two
    pages, and for more pages as long as a slot is free. Otherwise a path gets the slot least used on the
    pages that show it.
    """
    slot_of: dict[str, int] = {}
    for top in tops:
        for path in top:
            if path in slot_of:
                continue
            on_this = [slot_of[other] for other in top if other in slot_of]
            on_any = [slot_of[other] for page in tops if path in page for other in page if other in slot_of]
            slot_of[path] = min(
                range(slots), key=lambda slot: (on_this.count(slot), on_any.count(slot), slot)
            )
    return slot_of
