"""Write the sentences "What changed" about one window; each can be checked against its tables.

They name the total and its change on complete days, the paths that explain most of the change, new and
gone paths, and a day with unusually many visits. Small changes are not mentioned.
"""

import statistics
from collections.abc import Sequence
from datetime import date

from reportgen.core.text import LocaleFormatter, isolated
from reportgen.core.windows import SAME_WEEKDAYS, Earlier, Span, Window, first_comparison
from reportgen.metrics.dataset import NAMED_VISITS
from reportgen.metrics.figures import Comparison, WindowMetrics
from reportgen.sources.statements import PathTotals

MAX_SENTENCES = 6
MAX_NAMED = 3
STANDS_OUT = 2
"""The best day has a sentence if its visits are above this multiple of the median."""


def sentences(metrics: WindowMetrics, formatter: LocaleFormatter) -> list[str]:
    """Return at most six sentences, the most important first.

    Paths in them are enclosed in :data:`reportgen.core.text.OPEN` and ``CLOSE``.
    """
    if not metrics.total and not any(both.previous_total for both in metrics.comparisons):
        return []
    others = [_total(metrics, both, formatter) for both in metrics.comparisons[1:] if both.days]
    if not metrics.comparison.days:
        return others + _best_day(metrics, formatter)
    found = [_total(metrics, metrics.comparison, formatter)]
    changed_paths = sorted(metrics.changed_paths, key=lambda row: -abs(row.difference))
    found += _explained(metrics, changed_paths[:MAX_NAMED], formatter) + others
    enough = metrics.named_change
    new = [(row.path, row.complete) for row in changed_paths if not row.before and row.complete >= enough]
    gone = [(row.path, row.previous) for row in changed_paths if not row.visits and row.previous >= enough]
    if new:
        found.append(f"New: {_listed(new, formatter)}.")
    if gone:
        found.append(f"Gone: {_listed(gone, formatter, ' before')}.")
    found += _best_day(metrics, formatter)
    return found[:MAX_SENTENCES]


def _total(metrics: WindowMetrics, both: Comparison, formatter: LocaleFormatter) -> str:
    if both.span is None or both.previous_span is None:
        raise ValueError("nothing is compared")
    now, before = (part_of(both, formatter) + formatter.span(of) for of in (both.span, both.previous_span))
    total, none = formatter.visits(both.total), f"No {formatter.words.visits}"
    if not both.previous_total:
        return f"{total if both.total else none} on {now}; none on {before}."
    moved = both.total - both.previous_total
    if not moved:
        return f"{total} on {now}, as many as on {before}."
    more = formatter.visits(abs(moved), "more " if moved > 0 else "fewer ")
    earlier = earlier_name(metrics.window, both.earlier)
    # A page of one day shows no percentages, and 0 % is none.
    if metrics.window.days == 1 or not round((both.change or 0) * 100, 1):
        found = f"{more} than {earlier}"
    else:
        points = formatter.unsigned_percent(both.change or 0)
        found = f"{'Up' if moved > 0 else 'Down'} {points} on {earlier}: {more}"
    numbers = formatter.number(both.total), formatter.number(both.previous_total)
    return f"{found} ({numbers[0]} on {now}, {numbers[1]} on {before})."


def part_of(both: Comparison, formatter: LocaleFormatter) -> str:
    """Return "22 days of " if not every date from the first to the last is compared, or nothing."""
    gaps = both.span is not None and both.days < both.span.days
    return f"{formatter.count(both.days, 'day')} of " if gaps else ""


def earlier_name(window: Window, earlier: Earlier) -> str:
    """Return the name of the dates that a window is compared with: "the week before"."""
    if earlier.kind == "year":
        name = "weekday" if window.span.earlier(SAME_WEEKDAYS).first == earlier.span.first else "date"
        return f"the same {name}{'s' if window.days > 1 else ''} a year before"
    return "the week before" if earlier.label == "7 days before" else f"the {earlier.label}"


def comparison_note(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    """Return why not every complete day is compared; empty if each is."""
    found = " ".join(filter(None, (_left_out(metrics, both, formatter) for both in metrics.comparisons)))
    return found.replace("..", ".")  # after a month that is cut short: "4. Dez."


def _left_out(metrics: WindowMetrics, both: Comparison, formatter: LocaleFormatter) -> str:
    since, earlier, year = metrics.since, both.earlier.span, metrics.window.today.year
    against = "" if both is metrics.comparison else f" with the {both.earlier.label}"
    recorded = ""
    if since:
        recorded = formatter.tick(since, weekday=True) if since.year == year else formatter.day(since)
    if since and not metrics.known_days:
        return "" if against else f"Recorded since {formatter.day(since)}."
    if since and earlier.head(max(1, both.complete_days)).last < since:
        if metrics.window.days == 1 and against and metrics.window.running:
            return ""  # its page never shows them
        since_when = "Comparisons" if against else f"Recorded since {recorded}: comparisons"
        return f"{since_when}{against} begin {_begin(metrics, both, since, formatter)}."
    if both.in_full or not metrics.total:
        return ""
    if not both.days:
        reason = "where a complete day has rows, the day to compare it with has none"
        if not any(row.previous_recorded for row in both.rows if row.complete):
            before = formatter.short_span(earlier.head(both.complete_days), year)
            reason = f"there are no rows of {before} to compare with"
        return f"Nothing is compared{against}: {reason}."
    left_out = [row for row in both.rows if row.complete and not row.compared]
    early = sum(bool(since and row.previous_date and row.previous_date < since) for row in left_out)
    beyond = sum(row.previous_date is None for row in left_out)
    missing = len(left_out) - early - beyond
    reasons = [f"recorded since {recorded}"] * bool(early)
    reasons += [f"{formatter.number(missing)} without rows"] * bool(missing)
    reasons += ["the earlier period is shorter"] * bool(beyond)
    return f"{days_compared(both, formatter)} compared{against}: {', '.join(reasons)}."


def _begin(metrics: WindowMetrics, both: Comparison, since: date, formatter: LocaleFormatter) -> str:
    """Return when comparisons begin: the first page that has one, or the first date that is compared.

    The visits of a date are compared from the next day on, except on the page of today alone.
    """
    window, visits = first_comparison(metrics.window, both.earlier.kind, since), formatter.words.visits
    by_page = window.name in ("today", "1d") or window.span.last < window.today
    day = window.today if by_page or not window.complete else window.complete.last
    if day == metrics.window.today:
        return f"tomorrow, with today's {visits}"
    named = formatter.short_span(Span(day, day), metrics.window.today.year)
    return f"on {named}" if by_page else f"with the {visits} of {named}"


def days_compared(both: Comparison, formatter: LocaleFormatter) -> str:
    """Return the number of days that are compared: "6 complete days", or "5 of 6 complete days"."""
    part = "" if both.in_full else f"{formatter.number(both.days)} of "
    return part + formatter.count(both.complete_days, "complete day")


def _explained(
    metrics: WindowMetrics, changed_paths: Sequence[PathTotals], formatter: LocaleFormatter
) -> list[str]:
    """Return a sentence with the largest changes; together with all other paths, they sum to the change."""
    moved = metrics.comparison.total - metrics.comparison.previous_total
    if not changed_paths and moved:
        enough = metrics.named_change
        visits = formatter.words.visits
        of = f"the window's {visits}" if metrics.comparison.in_full else f"the {visits} that are compared"
        share = f", which is 5\N{NO-BREAK SPACE}% of {of}" if enough > NAMED_VISITS else ""
        return [f"No {formatter.words.path} changed by {formatter.visits(enough)} or more{share}."]
    if not changed_paths:
        return []
    rest = moved - sum(row.difference for row in changed_paths)
    changes = [(isolated(row.path), row.difference) for row in changed_paths]
    changes.append((f"all other {formatter.words.paths}", rest))
    if moved and all(moved * change >= 0 for _, change in changes):
        (name, by), *others = changes
        first = f"{name} {'brought' if moved > 0 else 'lost'} {formatter.number(abs(by))} of them"
        parts = [first, *(f"{name} {formatter.number(abs(by))}" for name, by in others)]
        together = ""
    else:
        parts = [f"{name} {_moved(by, formatter)}" for name, by in changes]
        together = f"; together {formatter.signed(moved)}"
    return [f"{', '.join(parts[:-1])}; {parts[-1]}{together}."]


def _moved(visits: int, formatter: LocaleFormatter) -> str:
    verb = "gained " if visits > 0 else "lost " if visits < 0 else ""
    return f"{verb}{formatter.number(abs(visits))}"


def _listed(paths: Sequence[tuple[str, int]], formatter: LocaleFormatter, when: str = "") -> str:
    """Return the names of the first ``paths``, each a pair of path and visits, and the number of others."""
    named = paths[:MAX_NAMED]
    parts = [f"{isolated(path)} ({formatter.visits(visits)}{when})" for path, visits in named]
    more = len(paths) - len(named)
    return ", ".join(parts) + (f" and {formatter.paths(more, 'more ')}" if more else "")


def _best_day(metrics: WindowMetrics, formatter: LocaleFormatter) -> list[str]:
    best, days = metrics.best_day, metrics.complete_days
    if best is None or len(days) == 1:
        return []
    median = statistics.median(day.visits for day in days)
    if best[1] <= max(STANDS_OUT * median, NAMED_VISITS - 1):
        return []
    day, visits = best
    sentence = f"The best day was {formatter.day(day)} with {formatter.visits(visits)}"
    return [f"{sentence}, against a median of {formatter.decimal(median)}."]
