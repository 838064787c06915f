"""What changed: sentences about one window, each provable from its tables.

No model and no judgement: the total and its change on complete days, the paths that explain most
of it, what is new, what is gone, and a day that stands out. Nothing is said about noise.
"""

import statistics

import pandas as pd

from reportgen.metrics import WindowMetrics
from reportgen.paths import NAMED_VISITS, named_from
from reportgen.spelling import Spelling, isolated

MOST_SENTENCES = 6
MOST_NAMED = 3
STANDS_OUT = 2
"""The best day is worth a sentence above this many times the median."""


def sentences(metrics: WindowMetrics, spelling: Spelling) -> list[str]:
    """Return at most six sentences, the most important first.

    Paths in them stand between :data:`reportgen.spelling.OPEN` and ``CLOSE``.
    """
    if not metrics.comparison.days or not (metrics.total or metrics.comparison.previous_total):
        return []
    if metrics.begins_today:
        return ["The first rows are of today: there is nothing to compare yet."]
    said = [_total(metrics, spelling) + _gaps(metrics, spelling)]
    movers = metrics.movers.assign(moved=metrics.movers["complete"] - metrics.movers["previous"])
    movers = movers.sort_values("moved", key=abs, ascending=False, kind="stable")
    said += _explained(metrics, movers.head(MOST_NAMED), spelling)
    enough = named_from(metrics.total)
    new = movers.loc[(movers["before"] == 0) & (movers["complete"] >= enough)]
    gone = movers.loc[(movers["visits"] == 0) & (movers["previous"] >= enough)]
    if len(new):
        said.append(f"New: {_listed(new, 'complete', spelling)}.")
    if len(gone):
        said.append(f"Gone: {_listed(gone, 'previous', spelling, 'before')}.")
    said += _best_day(metrics, spelling)
    return said[:MOST_SENTENCES]


def _total(metrics: WindowMetrics, spelling: Spelling) -> str:
    both = metrics.comparison
    if both.span is None or both.previous_span is None:
        raise ValueError("a window without complete days has no comparison")
    days = f"{spelling.count(both.days, 'complete day')} ({spelling.span(both.span)})"
    before = spelling.span(both.previous_span)
    now = spelling.count(both.total, "visit")
    if not both.previous_total:
        return f"{now if both.total else 'No visits'} on {days}; none on {before}."
    moved = both.total - both.previous_total
    if not moved:
        return f"{now} on {days}, as many as on {before}."
    more = "more" if moved > 0 else "fewer"
    # A page of one day shows no percentages.
    relative = f" ({spelling.percent(both.change)})" if metrics.window.days > 1 else ""
    return (
        f"{now} on {days}: {spelling.number(abs(moved))} {more} than "
        f"the {spelling.number(both.previous_total)} on {before}{relative}."
    )


def _gaps(metrics: WindowMetrics, spelling: Spelling) -> str:
    """Tell how many of the dates that are compared have no rows: they count 0, and may not be."""
    missing = metrics.compared_unrecorded
    if not missing:
        return ""
    have = "has no rows, and counts" if missing == 1 else "have no rows, and count"
    return f" {spelling.number(missing)} of these dates {have} 0."


def _explained(metrics: WindowMetrics, movers: pd.DataFrame, spelling: Spelling) -> list[str]:
    """Name the largest contributions; with all other paths, they sum to the change."""
    moved = metrics.comparison.total - metrics.comparison.previous_total
    if movers.empty and moved:
        enough = named_from(metrics.total)
        share = ", 5 % of the window's" if enough > NAMED_VISITS else ""
        return [f"No path changed by {spelling.count(enough, 'visit')} or more{share}."]
    if movers.empty:
        return []
    parts = [
        f"{isolated(path)} {spelling.signed(by)}"
        for path, by in zip(movers["path"], movers["moved"], strict=True)
    ]
    rest, together = spelling.signed(moved - int(movers["moved"].sum())), spelling.signed(moved)
    return [f"By path: {', '.join(parts)}; all other paths {rest}; together {together}."]


def _listed(paths: pd.DataFrame, column: str, spelling: Spelling, when: str = "") -> str:
    named = paths.head(MOST_NAMED)
    parts = [
        f"{isolated(path)} ({spelling.count(int(visits), 'visit')}{' ' + when if when else ''})"
        for path, visits in zip(named["path"], named[column], strict=True)
    ]
    more = len(paths) - len(named)
    return ", ".join(parts) + (f" and {spelling.count(more, 'more path')}" if more else "")


def _best_day(metrics: WindowMetrics, spelling: Spelling) -> list[str]:
    best = metrics.best_day
    median = statistics.median(day.visits for day in metrics.day_rows() if day.complete)
    if best is None or metrics.comparison.days == 1 or best[1] <= max(STANDS_OUT * median, NAMED_VISITS - 1):
        return []
    day, visits = best
    said = f"The best day was {spelling.day(day)} with {spelling.count(visits, 'visit')}"
    return [f"{said}, against a median of {spelling.decimal(median)}."]
