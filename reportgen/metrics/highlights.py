"""What changed: sentences about one window, each provable from its tables.

No model and no judgement: the total and its change on complete days, the paths that explain most
of it, what is new, what is gone, and a day that stands out. Nothing is said about noise.
"""

import statistics
from collections.abc import Sequence

from reportgen.core.formatting import LocaleFormatter
from reportgen.core.text import isolated
from reportgen.metrics.figures import WindowMetrics
from reportgen.metrics.paths import NAMED_VISITS, smallest_named_change
from reportgen.sources.statements import PathTotals

MOST_SENTENCES = 6
MOST_NAMED = 3
STANDS_OUT = 2
"""The best day is worth a sentence above this many times the median."""


def sentences(metrics: WindowMetrics, formatter: LocaleFormatter) -> list[str]:
    """Return at most six sentences, the most important first.

    Paths in them stand between :data:`reportgen.core.text.OPEN` and ``CLOSE``.
    """
    if not metrics.comparison.days or not (metrics.total or metrics.comparison.previous_total):
        return []
    if metrics.begins_today:
        return ["The first rows are of today: there is nothing to compare yet."]
    said = [_total(metrics, formatter) + _gaps(metrics, formatter)]
    movers = sorted(metrics.movers, key=lambda row: -abs(row.difference))
    said += _explained(metrics, movers[:MOST_NAMED], formatter)
    enough = smallest_named_change(metrics.total)
    new = [(row.path, row.complete) for row in movers if not row.before and row.complete >= enough]
    gone = [(row.path, row.previous) for row in movers if not row.visits and row.previous >= enough]
    if new:
        said.append(f"New: {_listed(new, formatter)}.")
    if gone:
        said.append(f"Gone: {_listed(gone, formatter, ' before')}.")
    said += _best_day(metrics, formatter)
    return said[:MOST_SENTENCES]


def _total(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    both = metrics.comparison
    if both.span is None or both.previous_span is None:
        raise ValueError("a window without complete days has no comparison")
    days = f"{formatter.count(both.days, 'complete day')} ({formatter.span(both.span)})"
    before = formatter.span(both.previous_span)
    now = formatter.count(both.total, "visit")
    if not both.previous_total:
        return f"{now if both.total else 'No visits'} on {days}; none on {before}."
    moved = both.total - both.previous_total
    if not moved:
        return f"{now} on {days}, as many as on {before}."
    more = "more" if moved > 0 else "fewer"
    # A page of one day shows no percentages.
    relative = f" ({formatter.percent(both.change)})" if metrics.window.days > 1 else ""
    return (
        f"{now} on {days}: {formatter.number(abs(moved))} {more} than "
        f"the {formatter.number(both.previous_total)} on {before}{relative}."
    )


def _gaps(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    """Tell how many of the dates that are compared have no rows: they count 0, and may not be."""
    missing = metrics.compared_unrecorded
    if not missing:
        return ""
    have = "has no rows, and counts" if missing == 1 else "have no rows, and count"
    return f" {formatter.number(missing)} of these dates {have} 0."


def _explained(metrics: WindowMetrics, movers: Sequence[PathTotals], formatter: LocaleFormatter) -> list[str]:
    """Name the largest contributions; with all other paths, they sum to the change."""
    moved = metrics.comparison.total - metrics.comparison.previous_total
    if not movers and moved:
        enough = smallest_named_change(metrics.total)
        share = ", 5\N{NO-BREAK SPACE}% of the window's" if enough > NAMED_VISITS else ""
        return [f"No path changed by {formatter.count(enough, 'visit')} or more{share}."]
    if not movers:
        return []
    parts = [f"{isolated(row.path)} {formatter.signed(row.difference)}" for row in movers]
    rest = formatter.signed(moved - sum(row.difference for row in movers))
    together = formatter.signed(moved)
    return [f"By path: {', '.join(parts)}; all other paths {rest}; together {together}."]


def _listed(paths: Sequence[tuple[str, int]], formatter: LocaleFormatter, when: str = "") -> str:
    """Name the first of ``paths``, each given with its visits, and count the others."""
    named = paths[:MOST_NAMED]
    parts = [f"{isolated(path)} ({formatter.count(visits, 'visit')}{when})" for path, visits in named]
    more = len(paths) - len(named)
    return ", ".join(parts) + (f" and {formatter.count(more, 'more path')}" if more else "")


def _best_day(metrics: WindowMetrics, formatter: LocaleFormatter) -> list[str]:
    best = metrics.best_day
    median = statistics.median(day.visits for day in metrics.day_rows() if day.complete)
    if best is None or metrics.comparison.days == 1 or best[1] <= max(STANDS_OUT * median, NAMED_VISITS - 1):
        return []
    day, visits = best
    said = f"The best day was {formatter.day(day)} with {formatter.count(visits, 'visit')}"
    return [f"{said}, against a median of {formatter.decimal(median)}."]
