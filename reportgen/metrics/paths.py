"""One path of a window: its visits, its share and its change, as plain values."""

from typing import NamedTuple

from reportgen.sources.statements import PathTotals

NAMED_ONE_IN = 20
NAMED_VISITS = 5
"""A path is named only for a contribution of at least 5 % (one in 20) of the window's total and 5 visits."""


class PathRow(NamedTuple):
    """One path of a window.

    ``share`` is of the window's total; ``change`` is on complete days, ``None`` where the path had no
    previous visit.
    """

    path: str
    visits: int
    complete: int
    previous: int
    before: int
    share: float
    change: float | None


def path_row(totals: PathTotals, window_total: int) -> PathRow:
    """Return a path with its share of ``window_total`` and its change."""
    return PathRow(*totals, totals.visits / max(window_total, 1), change(totals.complete, totals.previous))


def change(current: int, previous: int) -> float | None:
    """Return ``current / previous - 1``, or ``None`` where ``previous`` is 0."""
    return current / previous - 1 if previous else None


def named_from(total: int) -> int:
    """Return the smallest change in visits for which a path of a window with ``total`` is named."""
    return max(NAMED_VISITS, -(-total // NAMED_ONE_IN))
