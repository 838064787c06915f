"""From readings to the figures of one window: fills, totals, shares, comparisons.

No input or output, no clock, no settings. Frames in, frozen values out.

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
from reportgen.sources.statements import Cell, PathTotals, relative_change

OTHER = None
"""The series that stands for all paths not shown by name."""


class Day(NamedTuple):
    """One date of a window; ``previous`` is the visits ``days`` dates earlier."""

    date: date
    visits: int
    previous: int
    recorded: bool
    complete: bool


@dataclass(frozen=True)
class Comparison:
    """Complete days against the same dates of the previous window.

    ``change`` is ``None`` where the previous total is 0: a percentage of nothing says nothing.
    """

    span: Span | None
    previous_span: Span | None
    total: int
    previous_total: int

    @property
    def days(self) -> int:
        """How many complete days are compared."""
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

    ``paths`` are the listed paths, most visits first; ``movers`` every path whose change is large enough
    to be named in a sentence.

    ``recent`` holds the visits of the window's last date and the 7 before it, ascending;
    ``recent_recorded`` whether each has any row. ``begins_today``: of all dates read, none before the
    running one has rows, so there is nothing yet to compare with.
    """

    window: Window
    total: int
    comparison: Comparison
    daily: pd.DataFrame
    paths: Sequence[PathTotals]
    movers: Sequence[PathTotals]
    path_count: int
    recent: tuple[int, ...]
    recent_recorded: tuple[bool, ...]
    begins_today: bool

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
        """What the listed paths leave of the total."""
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
        """The previous window's dates, of those that are compared, without any row for any path."""
        unknown = (self.daily["complete"] & ~self.daily["previous_recorded"]).tolist()
        return [day for day, missing in zip(self.window.previous.dates(), unknown, strict=True) if missing]

    @property
    def compared_unrecorded(self) -> int:
        """How many of the dates that are compared, now and before, have no rows."""
        rows = self.daily.loc[self.daily["complete"]]
        return int((~rows["recorded"]).sum() + (~rows["previous_recorded"]).sum())

    @property
    def daily_average(self) -> float | None:
        """Mean visits of the complete days; ``None`` where there are none."""
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
    movers: Sequence[PathTotals],
    path_count: int,
) -> WindowMetrics:
    """Compute one window.

    ``daily`` is what :func:`daily_frame` returns; ``listed`` holds the paths to list, most visits first,
    ``movers`` those whose change is large enough to be named.
    """
    week = Span(window.span.earlier(7).last, window.span.last).dates()
    return WindowMetrics(
        window=window,
        total=sum_over(daily, window.span),
        comparison=compare(window, daily),
        daily=fill_daily(window, daily),
        paths=listed,
        movers=movers,
        path_count=path_count,
        recent=tuple(sum_over(daily, Span(day, day)) for day in week),
        recent_recorded=tuple(pd.Timestamp(day) in daily.index for day in week),
        begins_today=not window.today_complete and not (daily.index < pd.Timestamp(window.span.last)).any(),
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


def _date_index(days: Sequence[date]) -> pd.DatetimeIndex:
    """Return ``days`` as datetime64[s], which holds every date of the calendar."""
    return pd.DatetimeIndex(np.array(days, dtype="datetime64[s]"), name="date")


def fill_daily(window: Window, daily: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each date of the window: 0 visits where nothing was recorded."""
    dates = window.span.dates()
    index, before = _date_index(dates), _date_index(window.previous.dates())
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
    """Compare the window's complete days with the same dates of its previous window."""
    now, before = window.complete, window.complete_previous
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
    """Split each date's visits into the paths of ``series`` and what they leave.

    ``cells`` is as in :func:`by_date`. The result has one row a date (index as ``metrics.daily``), one
    int64 column a path in order, and last the column :data:`OTHER`; its sums are the daily visits.
    """
    named = by_date(metrics, cells, series)
    other = metrics.daily["visits"].to_numpy() - named.sum(axis=0)
    # A str index would make NaN of OTHER.
    columns = pd.Index([*series, OTHER], dtype="object")
    return pd.DataFrame(np.vstack([named, other]).T, index=metrics.daily.index, columns=columns)


def colour_slots(tops: Sequence[Sequence[str]], slots: int) -> Mapping[str, int]:
    """Give every path one colour slot (0-based) that it keeps on all pages.

    ``tops`` holds the paths shown together on each page, most visits first, the page with the
    longest window first; each has at most ``slots`` paths. Paths on one page get different slots.
    Two pages can always be served; where many windows share so much that no slot is free, a path
    takes the one least used beside it.
    """
    given: dict[str, int] = {}
    for top in tops:
        for path in top:
            if path in given:
                continue
            beside = [given[other] for page in tops if path in page for other in page if other in given]
            here = [given[other] for other in top if other in given]
            free = sorted(range(slots), key=lambda slot: (here.count(slot), beside.count(slot), slot))
            given[path] = free[0]
    return given
