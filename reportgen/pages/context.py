"""What a page shows, as plain values that templates print: figures, rows, drawings, sentences."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from itertools import chain
from typing import Any
from urllib.parse import quote

from reportgen.charts import sparklines
from reportgen.charts.sparklines import Spark
from reportgen.charts.spec import Chart
from reportgen.charts.svg import placeholder
from reportgen.core.cron import Due
from reportgen.core.formatting import LocaleFormatter
from reportgen.core.text import CLOSE, LONGEST_NAME, OPEN, cut, visible
from reportgen.core.windows import Span, runs
from reportgen.metrics.data_quality import note_sentences
from reportgen.metrics.figures import WindowMetrics
from reportgen.sources.statements import relative_change

JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}

PATH_SAFE = "/%?=&+:@!$'()*,;~-._"
"""Characters a stored path keeps in a link; a percent sign stays, since paths come encoded already."""

WHOLE_UP_TO = 4000
"""Letters up to which a cut path is still whole in the page, for search and copy; more is junk."""

LONGEST_LINK = 8000
"""Characters of an address up to which it is a link: web servers refuse request lines beyond 8 KB."""

ROOM = {"links": 400_000, "rests": 400_000, "sparks": 1_000_000}
"""Bytes of a page for what its listed paths have besides a row. Whoever can make visits can make paths, so
they must not be able to make a page that is too large to be published: see ``output.max_page_mb``."""

MOST_BESIDE = 31
"""Dates up to which both tables stand side by side: longer ones would leave half a page empty."""

LONG_NUMBERS = {"total": 11, "day": 9}
"""Letters of the total (999,999,999) and of a day (9,999,999) that fit the page's usual places."""


@dataclass(frozen=True)
class SiteHeader:
    """What all pages of a build share. ``built_at`` and ``due`` are in the report's zone."""

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
    version: str


@dataclass(frozen=True)
class Page:
    """One window's content, ready to render. ``series`` holds daily visits of the listed paths."""

    metrics: WindowMetrics
    charts: Sequence[Chart]
    changes: Sequence[str]
    series: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Figure:
    """One of the figures at the top: a number with its name, what it rests on, and its picture."""

    name: str
    value: str
    detail: str
    direction: str = ""
    spark: Spark | None = None


@dataclass(frozen=True)
class CutPath:
    """A path as text: ``middle`` is not shown until it is asked for."""

    head: str
    middle: str
    tail: str

    @property
    def whole(self) -> str:
        """The path as a reader can recognise it, uncut."""
        return self.head + self.middle + self.tail


def page_view(site: SiteHeader, page: Page, *, root: str, here: str) -> dict[str, Any]:
    """Return the variables of ``report.html``.

    ``root`` leads from the page to the top of the release, ``here`` to the window's files.
    """
    metrics, formatter = page.metrics, site.formatter
    return {
        "window": metrics.window,
        "metrics": metrics,
        "root": root,
        "here": here,
        "links": [(name, f"{root}{name}/index.html", name == metrics.window.name) for name in site.windows],
        "long": _has_long_numbers(metrics, formatter),
        "stacked": metrics.window.days > MOST_BESIDE,
        "stem": f"{_slug(site.name)}-{metrics.window.name}-{metrics.window.span.last.isoformat()}",
        "figures": list(figures(metrics, formatter)),
        "changes": [sentence_parts(sentence) for sentence in page.changes],
        "charts": [_drawing(chart, page.metrics.window.name, site.timezone) for chart in page.charts],
        "days": list(_day_rows(metrics)),
        "paths": list(_path_rows(site, page)),
        "all_unrecorded": len(metrics.unrecorded) == metrics.window.days,
        "unrecorded": [formatter.span(span) for span in runs(metrics.unrecorded)],
        "unrecorded_before": [formatter.span(span) for span in runs(metrics.previous_unrecorded)],
        "left_out": note_sentences(site.notes, formatter),
    }


def sentence_parts(sentence: str) -> list[tuple[str, bool]]:
    """Split a sentence into texts, each with whether it is a path."""
    parts: list[tuple[str, bool]] = []
    for piece in sentence.split(CLOSE):
        words, _, path = piece.partition(OPEN)
        parts += [(words, False), (path, True)]
    return [part for part in parts if part[0]]


@dataclass
class Room:
    """What is left of the bytes for one kind of thing in a page; when it is used up it stays so."""

    left: int

    def holds(self, *texts: str) -> bool:
        """Take the room that texts need as HTML; tell whether there was enough."""
        self.left -= sum(len(escape(text).encode("utf-8", "replace")) for text in texts)
        return self.left >= 0


def cut_path(path: str, room: Room | None = None) -> CutPath:
    """Return a path to show: cut in the middle where it is long, with the middle at hand.

    Where that is too long, or ``room`` is used up, its length stands there instead.
    """
    whole = visible(path)
    head, middle, tail = cut(whole, LONGEST_NAME)
    # A page holds the whole path twice: once more to be shown when it is pointed at.
    if len(whole) > WHOLE_UP_TO or (middle and room and not room.holds(middle, whole)):
        middle = f"… {len(middle)} characters …"
    return CutPath(head, middle, tail)


def figures(metrics: WindowMetrics, formatter: LocaleFormatter) -> Iterator[Figure]:
    """Yield the figures of a window in their order."""
    running = not metrics.window.today_complete
    today = metrics.window.days - 1 if running else None
    so_far = ""
    if running:
        now = formatter.number(metrics.recent[-1])
        so_far = "so far today" if metrics.window.days == 1 else f"with {now} so far today"
    detail = so_far or f"on {formatter.span(metrics.window.span)}"
    total = formatter.number(metrics.total)
    if metrics.window.days == 1:
        yield Figure("Visits", total, detail, spark=sparklines.bars(metrics.recent, lit=7))
        yesterday, week_ago = metrics.window.span.earlier(1).last, metrics.window.span.earlier(7).last
        for name, visits, day, at in (
            ("Yesterday", metrics.yesterday, yesterday, 6),
            ("Same day last week", metrics.week_ago, week_ago, 0),
        ):
            picture = sparklines.bars(metrics.recent, lit=at)
            known = "full day" if metrics.recent_recorded[at] else "no rows"
            yield Figure(name, formatter.number(visits), f"{known}, {formatter.day(day)}", spark=picture)
    else:
        daily = [day.visits for day in metrics.day_rows()]
        yield Figure("Visits", total, detail, spark=sparklines.bars(daily, faint=today))
        if not metrics.begins_today:
            yield from _comparison_figures(metrics, formatter)
    yield Figure("Paths visited", formatter.number(metrics.path_count), "with at least one visit")


def _comparison_figures(metrics: WindowMetrics, formatter: LocaleFormatter) -> Iterator[Figure]:
    both, best, average = metrics.comparison, metrics.best_day, metrics.daily_average
    if not both.span or not both.previous_span or average is None:
        return
    days = [day for day in metrics.day_rows() if day.complete]
    visits = [day.visits for day in days]
    moved = both.total - both.previous_total if both.previous_total else 0
    before = f"{formatter.number(both.previous_total)} on {formatter.span(both.previous_span)}"
    yield Figure(
        "Change on complete days",
        formatter.percent(both.change) if both.total or both.previous_total else "\N{EN DASH}",
        f"{formatter.number(both.total)} on {formatter.span(both.span)}, "
        f"against {before}{_gaps(metrics, formatter)}",
        "up" if moved > 0 else "down" if moved < 0 else "",
        sparklines.lines(visits, [day.previous for day in days]),
    )
    of = f"of {formatter.count(both.days, 'complete day')}"
    # Beyond a thousand a tenth of a visit says nothing; whole numbers stay exact where floats do not.
    whole = formatter.number((2 * both.total + both.days) // (2 * both.days))
    mean = formatter.decimal(average) if average < 1000 else whole  # noqa: PLR2004
    yield Figure("Daily average", mean, of, spark=sparklines.with_mean(visits, average))
    if best:
        at = [day.date for day in days].index(best[0])
        on = f"{formatter.day(best[0])}, of the complete days"
        yield Figure("Best day", formatter.number(best[1]), on, spark=sparklines.bars(visits, lit=at))


def _gaps(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    """Tell how many dates behind a comparison have no rows."""
    missing = metrics.compared_unrecorded
    return f"; {formatter.number(missing)} of these dates without rows" if missing else ""


def _slug(name: str) -> str:
    """Return a site's name as the beginning of the names of files."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.").lower() or "report"


def _has_long_numbers(metrics: WindowMetrics, formatter: LocaleFormatter) -> bool:
    """Tell whether the page has to make room."""
    most = max(max(day.visits, day.previous) for day in metrics.day_rows())
    numbers = {"total": metrics.total, "day": most}
    return any(len(formatter.number(numbers[name])) > room for name, room in LONG_NUMBERS.items())


def drawing_key(window: str, chart: Chart, size: str) -> str:
    """Return what tells one drawing of a release from the others."""
    return f"{window}/{chart.name}.{size}"


def _drawing(chart: Chart, window: str, timezone: str) -> dict[str, Any]:
    live = json.dumps({"datasets": chart.rows, **chart.specs}, ensure_ascii=False, separators=(",", ":"))
    return {
        "name": chart.name,
        "title": chart.title,
        "alt": f"{chart.alt} Dates are in the zone {timezone}.",
        "svgs": {size: placeholder(drawing_key(window, chart, size)) for size in chart.specs},
        "live": live.translate(JSON_ESCAPES),
    }


def _day_rows(metrics: WindowMetrics) -> Iterator[dict[str, Any]]:
    """Yield the daily table's rows, newest first."""
    for day in reversed(metrics.day_rows()):
        yield day._asdict() | {"change": relative_change(day.visits, day.previous)}


def _path_rows(site: SiteHeader, page: Page) -> Iterator[dict[str, Any]]:
    """Yield the top-paths table's rows; ``bar`` is the share relative to the largest, in percent.

    Links, the middles of long paths and pictures stand there by rank, as far as :data:`ROOM` goes.
    """
    rows = page.metrics.paths
    running = None if page.metrics.window.today_complete else page.metrics.window.days - 1
    room = {kind: Room(size) for kind, size in ROOM.items()}
    for rank, row in enumerate(rows, start=1):
        spark = sparklines.bars(page.series.get(row.path, ()), faint=running)
        href = _href(site, row.path)
        yield row._asdict() | {
            "share": row.share(page.metrics.total),
            "change": row.change,
            "rank": rank,
            "text": cut_path(row.path, room["rests"]),
            "href": href if href and room["links"].holds(href) else None,
            "bar": f"{100 * row.visits / rows[0].visits:.1f}".removesuffix(".0"),
            "compared": bool(row.complete or row.previous),
            "basis": f"{site.formatter.number(row.complete)} against {site.formatter.number(row.previous)} "
            "on complete days",
            "spark": spark if spark and room["sparks"].holds(*chain(*spark.layers)) else None,
        }


def _href(site: SiteHeader, path: str) -> str | None:
    """Return the address of a path on the site, where it is one that can be followed."""
    if not site.url or path[:1] != "/" or len(path) > LONGEST_LINK:
        return None
    href = f"{site.url}{quote(path, safe=PATH_SAFE)}"
    return href if len(href) <= LONGEST_LINK else None
