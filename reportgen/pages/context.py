"""Return the variables of a page's template: figures, table rows, drawings, sentences, as plain values."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from reportgen.charts import sparklines
from reportgen.charts.sparklines import Spark
from reportgen.charts.spec import Chart
from reportgen.charts.svg import placeholder
from reportgen.config.chart_notes import ChartNote
from reportgen.core.cron import Due
from reportgen.core.text import CLOSE, LONGEST_NAME, OPEN, LocaleFormatter, cut, shorten, visible
from reportgen.core.windows import Span, bar_kind, bars_of, runs
from reportgen.core.words import heading
from reportgen.metrics.dataset import note_sentences
from reportgen.metrics.figures import WindowMetrics, bars
from reportgen.metrics.highlights import comparison_note, days_compared, part_of
from reportgen.metrics.left_out import excluded_sentence, left_out_sentence, left_out_summary
from reportgen.sources.statements import PathTotals, relative_change

if TYPE_CHECKING:  # only a report with panels needs it
    from reportgen.metrics.panels import WindowPanel

JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}

PATH_SAFE = "/%?#=&+:@!$'()*,;~-._"
"""Characters of a stored path that are not escaped in a link.

``%`` is one, as paths are encoded already, and ``#``, which begins the routes of some sites.
"""

MAX_PATH = 200
"""Maximum length of a path that is whole in the page, for search and copy; a longer one lacks its middle.

So visitors who invent long paths cannot make a page larger than ``output.max_page_mb``.
"""

MAX_LINK = 1000
"""Maximum length of a link's address, as HTML."""

MAX_DAYS_SIDE_BY_SIDE = 31
"""Maximum number of dates for both tables to be side by side: longer ones would leave half a page empty."""

MAX_DIGITS = {"total": 11, "day": 9}
"""Maximum length of the total (999,999,999) and of a day's visits (9,999,999) in the usual layout."""


@dataclass(frozen=True)
class SiteHeader:
    """Template variable ``site``: what all pages share. ``built_at`` and ``due`` are in the report's zone."""

    name: str
    url: str | None
    intro: str
    timezone: str
    formatter: LocaleFormatter
    notice: str | None
    windows: Sequence[str]
    default_window: str
    built_at: datetime
    due: Due | None
    as_of: date
    read: Span
    notes: Mapping[str, int]
    examples: Mapping[str, str]
    version: str


@dataclass(frozen=True)
class Page:
    """One window's content.

    ``series`` holds the daily visits of each listed path, ``section_series`` those of each section.
    ``annotations`` are the notes on its charts, by date; the number of each is its place, from 1 on.
    """

    metrics: WindowMetrics
    charts: Sequence[Chart]
    changes: Sequence[str]
    series: Mapping[str, Sequence[int]]
    annotations: Sequence[ChartNote] = ()
    section_series: Mapping[str, Sequence[int]] = field(default_factory=dict)
    panels: "Sequence[WindowPanel]" = ()


@dataclass(frozen=True)
class Figure:
    """One of the figures at the top: a number with its name, an explanation, and a small chart."""

    name: str
    value: str
    detail: str
    direction: str = ""
    spark: Spark | None = None


@dataclass(frozen=True)
class CutPath:
    """A path as text in three parts; of a long path, ``middle`` is hidden until it has the focus."""

    head: str
    middle: str
    tail: str

    @property
    def whole(self) -> str:
        """All parts together."""
        return self.head + self.middle + self.tail


def page_variables(site: SiteHeader, page: Page, *, root: str, here: str) -> dict[str, Any]:
    """Return the variables of ``report.html``; ``docs/templates.md`` describes them.

    ``root`` is the relative URL of the top of the release, ``here`` that of the window's files.
    """
    metrics, formatter = page.metrics, site.formatter
    return {
        "window": metrics.window,
        "metrics": metrics,
        "root": root,
        "here": here,
        "links": [(name, f"{root}{name}/index.html", name == metrics.window.name) for name in site.windows],
        "long": _has_long_numbers(metrics, formatter),
        "stacked": metrics.window.days > MAX_DAYS_SIDE_BY_SIDE,
        "stem": f"{_slug(site.name)}-{metrics.window.name}-{metrics.window.span.last.isoformat()}",
        "figures": list(figures(metrics, formatter)),
        "bar_kind": bar_kind(metrics.window),
        "comparison_note": comparison_note(metrics, formatter),
        "days_compared": _days_compared(metrics, formatter),
        "changes": [sentence_parts(sentence) for sentence in page.changes],
        "charts": [chart_variables(chart, page.metrics.window.name, site.timezone) for chart in page.charts],
        "annotations": [_note_variables(site, note) for note in page.annotations],
        "days": list(_day_rows(metrics)),
        "sections": list(_rows(site, metrics, metrics.sections, page.section_series)),
        "paths": [
            row | {"forms": forms, "href": _href(site, forms[0] if forms else row["path"])}
            for row in _rows(site, metrics, metrics.paths, page.series)
            for forms in [metrics.forms.get(row["path"], ())]
        ],
        "all_unrecorded": not any(day.recorded for day in metrics.days),
        "unrecorded": [formatter.span(span) for span in runs(metrics.unrecorded)],
        "unrecorded_before": [formatter.span(span) for span in runs(metrics.previous_unrecorded)],
        "left_out": note_sentences(site.notes, formatter, site.examples),
        "left_out_by_rules": excluded_sentence(metrics.excluded, formatter),
        "panels_top": [],
        "panels": [],
        "left_out_requests": left_out_sentence(left_out_summary(metrics.left_out), formatter),
    }


def sentence_parts(sentence: str) -> list[tuple[str, bool]]:
    """Return the parts of a sentence as pairs: the text, and whether it is a path."""
    parts: list[tuple[str, bool]] = []
    for piece in sentence.split(CLOSE):
        words, _, path = piece.partition(OPEN)
        parts += [(words, False), (path, True)]
    return [part for part in parts if part[0]]


def cut_path(path: str) -> CutPath:
    """Return a path to show; a long one has a hidden middle, and a very long one only its length."""
    whole = visible(path)
    head, middle, tail = cut(whole, LONGEST_NAME)
    return CutPath(head, middle if len(whole) <= MAX_PATH else f"… {len(middle)} characters …", tail)


def figures(metrics: WindowMetrics, formatter: LocaleFormatter) -> Iterator[Figure]:
    """Yield the figures at the top of a window's page, in their order."""
    words, running = formatter.words, metrics.window.running
    visits_name = heading(words.visits)
    so_far = ""
    if running:
        now = formatter.number(metrics.recent[-1])
        so_far = "so far today" if metrics.window.days == 1 else f"with {now} so far today"
    detail = so_far or f"on {formatter.span(metrics.window.span)}"
    total = formatter.number(metrics.total)
    if metrics.window.days == 1:
        yield Figure(visits_name, total, detail, spark=sparklines.bars(metrics.recent, highlighted=7))
        yesterday, week_ago = metrics.window.span.earlier(1).last, metrics.window.span.earlier(7).last
        is_today = metrics.window.span.last == metrics.window.today
        for name, visits, day, at in (
            ("Yesterday" if is_today else "Day before", metrics.yesterday, yesterday, 6),
            ("Same day last week" if is_today else "A week before", metrics.week_ago, week_ago, 0),
        ):
            if metrics.since and day < metrics.since:
                continue
            spark = sparklines.bars(metrics.recent, highlighted=at)
            known = metrics.recent_recorded[at]
            value = formatter.number(visits) if known else "\N{EN DASH}"
            yield Figure(
                name, value, f"{'full day' if known else 'no rows'}, {formatter.day(day)}", spark=spark
            )
    else:
        drawn = [bar.visits for bar in bars(metrics, metrics.comparison)]
        today = len(drawn) - 1 if running else None
        yield Figure(visits_name, total, detail, spark=sparklines.bars(drawn, running=today))
        yield from _comparison_figures(metrics, formatter)
    name = "Paths visited" if words.are_usual else heading(words.paths)
    yield Figure(name, formatter.number(metrics.path_count), f"with at least one {words.visit}")


def _comparison_figures(metrics: WindowMetrics, formatter: LocaleFormatter) -> Iterator[Figure]:
    best, average = metrics.best_day, metrics.daily_average
    for both in metrics.comparisons:
        if not both.span or not both.previous_span:
            continue
        moved = both.total - both.previous_total if both.previous_total else 0
        year = metrics.window.span.last.year
        spans = [formatter.short_span(span, year) for span in (both.span, both.previous_span)]
        drawn = [bar for bar in bars(metrics, both) if bar.complete and bar.recorded]
        pairs = [(bar.visits, bar.previous) for bar in drawn if bar.previous is not None]
        yield Figure(
            "Change" if both is metrics.comparison else f"Change on the {both.earlier.label}",
            formatter.percent(both.change) if both.total or both.previous_total else "\N{EN DASH}",
            f"{part_of(both, formatter)}{spans[0]} against {spans[1]}",
            "up" if moved > 0 else "down" if moved < 0 else "",
            sparklines.lines([now for now, _ in pairs], [before for _, before in pairs]) if pairs else None,
        )
    if average is None or not any(day.recorded for day in metrics.complete_days):
        return
    total, days = sum(day.visits for day in metrics.complete_days), len(metrics.complete_days)
    # From a thousand on, whole visits are enough; computed in integers, which stay exact where floats do not.
    whole = formatter.number((2 * total + days) // (2 * days))
    mean = formatter.decimal(average) if average < 1000 else whole  # noqa: PLR2004
    of = f"of {formatter.count(days, 'complete day')}"
    if missing := sum(not day.recorded for day in metrics.complete_days):
        of += f", {formatter.number(missing)} without rows"
    known = [
        bar
        for bar in bars(metrics, metrics.comparison)
        if bar.span.first <= metrics.complete_days[-1].date and bar.span.last >= metrics.complete_days[0].date
    ]
    visits = [bar.visits for bar in known]
    spark = sparklines.with_mean(visits, sum(visits) / len(visits))
    yield Figure("Daily average", mean, of, spark=spark)
    if best:
        at = next(at for at, bar in enumerate(known) if bar.span.first <= best[0] <= bar.span.last)
        on = formatter.day(best[0])
        yield Figure("Best day", formatter.number(best[1]), on, spark=sparklines.bars(visits, highlighted=at))


def _slug(name: str) -> str:
    """Return a site's name in a form that is safe in names of downloaded files."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.").lower() or "report"


def _has_long_numbers(metrics: WindowMetrics, formatter: LocaleFormatter) -> bool:
    """Return whether numbers are so long that the page needs the wide layout."""
    most = max(max(day.visits, day.previous) for day in metrics.days)
    numbers = {"total": metrics.total, "day": most}
    return any(len(formatter.number(numbers[name])) > limit for name, limit in MAX_DIGITS.items())


def drawing_key(window: str, chart: Chart, size: str) -> str:
    """Return the key of a drawing, unique in a release."""
    return f"{window}/{chart.name}.{size}"


def chart_variables(chart: Chart, window: str, timezone: str) -> dict[str, Any]:
    """Return the variables of a chart, with placeholders for its drawings."""
    tips = {"lines": chart.tips.lines, "tips": chart.tips.values} if chart.tips else {}
    live = {"datasets": chart.rows, **tips, **chart.specs}
    interactive = json.dumps(live, ensure_ascii=False, separators=(",", ":"))
    return {
        "name": chart.name,
        "title": chart.title,
        "alt": f"{chart.alt} Dates are in the zone {timezone}.",
        "weekends": "weekends" in chart.rows,
        "cut": "cut" in chart.rows,
        "partial": any(row.get("partial") for row in chart.rows.get("visits", ())),
        "svgs": {size: placeholder(drawing_key(window, chart, size)) for size in chart.specs},
        "live": interactive.translate(JSON_ESCAPES),
    }


def _note_variables(site: SiteHeader, note: ChartNote) -> dict[str, Any]:
    return {
        "dates": site.formatter.span(note.span),
        "text": visible(note.text),
        "path": cut_path(note.path) if note.path else None,
        "href": _href(site, note.path) if note.path else None,
        "link": note.link,
        "link_text": _link_text(note),
    }


def note_line(number: int, note: ChartNote, formatter: LocaleFormatter) -> str:
    """Return a note on a chart as one line of text."""
    path = f" ({visible(note.path)})" if note.path else ""
    link = f" {_link_text(note)}" if note.link else ""
    return f"{number}. {formatter.span(note.span)}: {visible(note.text)}{path}{link}"


def _link_text(note: ChartNote) -> str:
    """Return an address without its scheme, cut."""
    return shorten(visible(note.link.partition("://")[2]), LONGEST_NAME) if note.link else ""


def _day_rows(metrics: WindowMetrics) -> Iterator[dict[str, Any]]:
    """Yield the daily table's rows, newest first."""
    for day in reversed(metrics.known_days or metrics.days):
        yield day._asdict() | {"change": relative_change(day.visits, day.previous)}


def _rows(
    site: SiteHeader,
    metrics: WindowMetrics,
    rows: Sequence[PathTotals],
    series: Mapping[str, Sequence[int]],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of the table of paths or of sections.

    ``bar`` is the share relative to the largest, in percent.
    """
    running = len(bars_of(metrics.window)) - 1 if metrics.window.running else None
    largest = max((row.visits for row in rows), default=0) or 1
    for rank, row in enumerate(rows, start=1):
        yield row._asdict() | {
            "share": row.share(metrics.total),
            "change": row.change,
            "rank": rank,
            "text": cut_path(row.path),
            "bar": f"{100 * row.visits / largest:.1f}".removesuffix(".0"),
            "compared": bool(row.complete or row.previous),
            "basis": f"{site.formatter.number(row.complete)} against {site.formatter.number(row.previous)} "
            f"on {_days_compared(metrics, site.formatter)}",
            "spark": sparklines.bars(series.get(row.path, ()), running=running),
        }


def _days_compared(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    """Return what changes are computed from: all complete days, or the number of those with rows."""
    both = metrics.comparison
    return "complete days" if both.in_full else days_compared(both, formatter)


def _href(site: SiteHeader, path: str) -> str | None:
    """Return the URL of a path on the site, or ``None`` if it cannot be a link.

    A stored URL on the site's host is its own link.
    """
    if not site.url or len(path) > MAX_LINK:
        return None
    host = re.match("https?://([^/?#]*)", path, re.IGNORECASE)
    whole = host and host[1].lower() == urlsplit(site.url).netloc.lower()
    if not whole and path[:1] != "/":
        return None
    href = f"{'' if whole else site.url}{quote(path, safe=PATH_SAFE)}"
    return href if len(escape(href)) <= MAX_LINK else None
