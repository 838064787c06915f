"""Compute the figures of one window: filled dates, totals, comparisons.

Functions without input, output, clock or settings: they take data frames and return frozen values.

Definitions: ``change = current / previous - 1`` on complete days; a path's share is its visits over
the window's total; the window's total is the sum over its N dates, dates without rows counting 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from reportgen.core.windows import Span, Window
from reportgen.sources.base import LeftOut
from reportgen.sources.statements import Cell, PathTotals, relative_change

OTHER = None
"""Key of the series that sums all paths not shown by name."""


class Day(NamedTuple):
    """One date of a window; ``previous`` are the visits of the date one window earlier."""

    date: date
    visits: int
    previous: int
    recorded: bool
    complete: bool


@dataclass(frozen=True)
class Comparison:
    """The complete days of a window compared with the same dates of its main comparison.

    ``change`` is ``None`` if the previous total is 0.
    """

    span: Span | None
    previous_span: Span | None
    total: int
    previous_total: int

    @property
    def days(self) -> int:
        """Number of complete days that are compared."""
        return self.span.days if self.span else 0

    @property
    def change(self) -> float | None:
        """Relative change, 0.1 for +10 %."""
        return relative_change(self.total, self.previous_total)


@dataclass(frozen=True)
class WindowMetrics:
    """All figures of one window.

    ``daily``: one row a date of the window, index ``date`` (datetime64[s], ascending), columns
    ``visits``, ``previous`` (int64: the same date N days earlier), ``recorded``, ``previous_recorded``,
    ``complete`` (bool).

    ``paths`` are the listed paths, most visits first; ``changed_paths`` every path whose change is large
    enough to be named in a sentence.

    ``recent`` holds the visits of the window's last date and the 7 before it, ascending;
    ``recent_recorded`` whether each has any row. ``begins_today``: only today, which is not over, has rows,
    so there is nothing yet to compare with. ``left_out`` has the requests of a log that are not visits.
    """

    window: Window
    total: int
    comparison: Comparison
    daily: pd.DataFrame
    paths: Sequence[PathTotals]
    changed_paths: Sequence[PathTotals]
    path_count: int
    recent: tuple[int, ...]
    recent_recorded: tuple[bool, ...]
    begins_today: bool
    left_out: Sequence[LeftOut] = ()

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

    def day_rows(self) -> list[Day]:
        """Return :attr:`daily` as plain rows, ascending."""
        columns = [self.daily[name].tolist() for name in ("visits", "previous", "recorded", "complete")]
        return [Day(*row) for row in zip(self.window.span.dates(), *columns, strict=True)]

    @property
    def unrecorded(self) -> list[date]:
        """The window's dates without any row for any path."""
        return [day.date for day in self.day_rows() if not day.recorded]

    @property
    def previous_unrecorded(self) -> list[date]:
        """The dates of the previous window that are compared and have no row for any path."""
        unknown = (self.daily["complete"] & ~self.daily["previous_recorded"]).tolist()
        return [day for day, missing in zip(self.window.previous.dates(), unknown, strict=False) if missing]

    @property
    def compared_unrecorded(self) -> int:
        """Number of dates without rows among those that are compared, in this window and the previous one."""
        rows = self.daily.loc[self.daily["complete"]]
        return int((~rows["recorded"]).sum() + (~rows["previous_recorded"]).sum())

    @property
    def daily_average(self) -> float | None:
        """Mean visits of the complete days; ``None`` if there are none."""
        return self.comparison.total / self.comparison.days if self.comparison.days else None

    @property
    def best_day(self) -> tuple[date, int] | None:
        """The complete day with most visits, the latest of equals; ``None`` without any visit."""
        most = max(((day.visits, day.date) for day in self.day_rows() if day.complete), default=(0, None))
        return (most[1], most[0]) if most[0] and most[1] else None


def window_metrics(
    window: Window,
    daily: pd.DataFrame,
    listed: Sequence[PathTotals],
    changed_paths: Sequence[PathTotals],
    path_count: int,
    left_out: Sequence[LeftOut] = (),
) -> WindowMetrics:
    """Return the figures of one window.

    ``daily`` is what :func:`daily_frame` returns; ``listed`` are the paths to list, most visits first;
    ``changed_paths`` those whose change is large enough to be named.
    """
    week = Span(window.span.earlier(7).last, window.span.last).dates()
    return WindowMetrics(
        window=window,
        total=sum_over(daily, window.span),
        comparison=compare(window, daily),
        daily=fill_daily(window, daily),
        paths=listed,
        changed_paths=changed_paths,
        path_count=path_count,
        recent=tuple(sum_over(daily, Span(day, day)) for day in week),
        recent_recorded=tuple(pd.Timestamp(day) in daily.index for day in week),
        begins_today=window.running and not (daily.index < pd.Timestamp(window.span.last)).any(),
        left_out=left_out,
    )


def daily_frame(visits: Mapping[date, int]) -> pd.DataFrame:
    """Return recorded dates as a frame: index ``date`` (datetime64[s], ascending), ``visits`` (int64)."""
    values = np.array(list(visits.values()), dtype="int64")
    return pd.DataFrame({"visits": values}, index=_date_index(list(visits)))


def cells_frame(cells: Sequence[Cell]) -> pd.DataFrame:
    """Return cells as a frame: ``date`` (datetime64[s]), ``path`` (object: str), ``visits`` (int64)."""
    return pd.DataFrame(
        {
            "date": _date_index([cell.date for cell in cells]),
            "path": pd.Series([cell.path for cell in cells], dtype="object"),
            "visits": np.array([cell.visits for cell in cells], dtype="int64"),
        }
    )


def _date_index(days: Sequence[date | None]) -> pd.DatetimeIndex:
    """Return ``days`` as datetime64[s], which holds every date of the calendar; ``None`` is no date."""
    return pd.DatetimeIndex(np.array(days, dtype="datetime64[s]"), name="date")


def fill_daily(window: Window, daily: pd.DataFrame) -> pd.DataFrame:
    """Return ``WindowMetrics.daily``: one row for each date of the window, 0 visits without rows."""
    dates, earlier = window.span.dates(), window.previous.dates()
    without = [None] * (len(dates) - len(earlier))
    index, before = _date_index(dates), _date_index([*earlier, *without])
    return pd.DataFrame(
        {
            "visits": daily["visits"].reindex(index, fill_value=0).to_numpy(),
            "previous": daily["visits"].reindex(before, fill_value=0).to_numpy(),
            "recorded": index.isin(daily.index),
            "previous_recorded": before.isin(daily.index),
            "complete": [window.complete is not None and day <= window.complete.last for day in dates],
        },
        index=index,
    )


def compare(window: Window, daily: pd.DataFrame) -> Comparison:
    """Return the window's complete days compared with the dates of its main comparison, as many as it has."""
    now, before = window.compared, window.complete_previous
    return Comparison(
        now, before, sum_over(daily, now) if now else 0, sum_over(daily, before) if before else 0
    )


def sum_over(daily: pd.DataFrame, span: Span) -> int:
    """Return the visits of all recorded dates in ``span``."""
    inside = (daily.index >= pd.Timestamp(span.first)) & (daily.index <= pd.Timestamp(span.last))
    return int(daily.loc[inside, "visits"].sum())


def by_date(metrics: WindowMetrics, cells: pd.DataFrame, paths: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return visits as int64, one row a path and one column a date of the window.

    ``cells`` is what :func:`cells_frame` returns.
    """
    place = {path: at for at, path in enumerate(paths)}
    rows = np.array([place.get(path, -1) for path in cells["path"]], dtype="int64")
    columns = metrics.daily.index.get_indexer(pd.DatetimeIndex(cells["date"]))
    inside = (rows >= 0) & (columns >= 0)
    visits = np.zeros((len(paths), metrics.window.days), dtype="int64")
    visits[rows[inside], columns[inside]] = cells["visits"].to_numpy()[inside]
    return visits


def stack(metrics: WindowMetrics, cells: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Return each date's visits split into the paths of ``series`` and all others.

    ``cells`` is as in :func:`by_date`. The result has one row for each date (index as ``metrics.daily``), one
    int64 column for each path in order, and last the column :data:`OTHER`. A row's sum is the date's visits.
    """
    named = by_date(metrics, cells, series)
    other = metrics.daily["visits"].to_numpy() - named.sum(axis=0)
    # An index of dtype str would turn OTHER into NaN.
    columns = pd.Index([*series, OTHER], dtype="object")
    return pd.DataFrame(np.vstack([named, other]).T, index=metrics.daily.index, columns=columns)


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
