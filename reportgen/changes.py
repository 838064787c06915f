"""What changed: sentences about one window, each provable from its tables.

No model and no judgement: the total and its change on complete days, the paths that explain most
of it, what is new, what is gone, and a day that stands out. Nothing is said about noise.
"""

import statistics

import pandas as pd

from reportgen import theme
from reportgen.metrics import WindowMetrics, named_from

MOST_SENTENCES = 6
MOST_NAMED = 3
STANDS_OUT = 2
"""The best day is worth a sentence above this many times the median."""


def sentences(metrics: WindowMetrics) -> list[str]:
    """Return at most six sentences, the most important first."""
    if not metrics.comparison.days:
        return []
    said = [_total(metrics)]
    movers = metrics.movers.assign(moved=metrics.movers["complete"] - metrics.movers["previous"])
    movers = movers.sort_values("moved", key=abs, ascending=False, kind="stable")
    said += _explained(metrics, movers.head(MOST_NAMED))
    enough = named_from(metrics.total)
    new = movers.loc[(movers["before"] == 0) & (movers["complete"] >= enough)]
    gone = movers.loc[(movers["visits"] == 0) & (movers["previous"] >= enough)]
    if len(new):
        said.append(f"New: {_listed(new, 'complete')}.")
    if len(gone):
        said.append(f"Gone: {_listed(gone, 'previous', 'before')}.")
    said += _best_day(metrics)
    return said[:MOST_SENTENCES]


def _total(metrics: WindowMetrics) -> str:
    both = metrics.comparison
    if both.span is None or both.previous_span is None:
        raise ValueError("a window without complete days has no comparison")
    days = f"{theme.count(both.days, 'complete day')} ({theme.span(both.span)})"
    before = theme.span(both.previous_span)
    now = theme.count(both.total, "visit")
    if not both.previous_total:
        return f"{now} on {days}; none on {before}."
    moved = both.total - both.previous_total
    if not moved:
        return f"{now} on {days}, as many as on {before}."
    more = "more" if moved > 0 else "fewer"
    # A page of one day shows no percentages.
    relative = f" ({theme.percent(both.change)})" if metrics.window.days > 1 else ""
    return (
        f"{now} on {days}: {theme.number(abs(moved))} {more} than the {theme.number(both.previous_total)} "
        f"on {before}{relative}."
    )


def _explained(metrics: WindowMetrics, movers: pd.DataFrame) -> list[str]:
    """Name the largest contributions; with all other paths, they sum to the change."""
    moved = metrics.comparison.total - metrics.comparison.previous_total
    if movers.empty:
        return []
    parts = [
        f"{theme.visible(path)} {theme.signed(by)}"
        for path, by in zip(movers["path"], movers["moved"], strict=True)
    ]
    rest = moved - int(movers["moved"].sum())
    return [
        f"By path: {', '.join(parts)}; all other paths {theme.signed(rest)}; together {theme.signed(moved)}."
    ]


def _listed(paths: pd.DataFrame, column: str, when: str = "") -> str:
    named = paths.head(MOST_NAMED)
    parts = [
        f"{theme.visible(path)} ({theme.count(int(visits), 'visit')}{' ' + when if when else ''})"
        for path, visits in zip(named["path"], named[column], strict=True)
    ]
    more = len(paths) - len(named)
    return ", ".join(parts) + (f" and {theme.count(more, 'more path')}" if more else "")


def _best_day(metrics: WindowMetrics) -> list[str]:
    best = metrics.best_day
    median = statistics.median(day.visits for day in metrics.day_rows() if day.complete)
    if best is None or metrics.comparison.days == 1 or best[1] <= STANDS_OUT * median:
        return []
    day, visits = best
    said = f"The best day was {theme.day(day)} with {theme.count(visits, 'visit')}"
    return [f"{said}, against a median of {theme.decimal(median)}."]
