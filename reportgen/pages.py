"""Pages: view models and templates. The only room that touches HTML.

Autoescaping is on, and a variable that a template asks for and nobody gave fails the build. Styles
and drawings stand inside each page, so that one request, or one saved file, shows it all.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from reportgen import theme
from reportgen.charts import Chart
from reportgen.errors import RenderError
from reportgen.metrics import WindowMetrics, change, path_rows
from reportgen.windows import Span

NOTE_WORDS = {
    "null_path": ("row without a path", "rows without a path"),
    "null_visits": ("row without a number of visits", "rows without a number of visits"),
    "invalid_visits": ("row whose visits are no whole number", "rows whose visits are no whole number"),
    "negative_visits": ("row with negative visits", "rows with negative visits"),
    "invalid_date": ("row whose date is no date", "rows whose date is no date"),
    "null_date": ("row without a date", "rows without a date"),
    "future_date": ("row dated after today", "rows dated after today"),
}

JSON_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Site:
    """What all pages of a build share."""

    name: str
    url: str | None
    timezone: str
    notice: str | None
    windows: Sequence[str]
    default_window: str
    built_at: datetime
    as_of: date
    today_complete: bool
    read: Span
    notes: Mapping[str, int]
    version: str


@dataclass(frozen=True)
class Page:
    """One window's content, ready to render."""

    metrics: WindowMetrics
    chart: Chart | None
    changes: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """One of the figures at the top: a number with its name and what it rests on."""

    name: str
    value: str
    detail: str
    direction: str = ""


def templates_dir() -> Path:
    """Return where the templates stand: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parent
    packed = package / "templates"
    return packed if packed.is_dir() else package.parent / "templates"


def render(site: Site, pages: Sequence[Page]) -> dict[str, bytes]:
    """Render every page and text file of a release, keyed by its path in the release.

    Raises:
        RenderError: a template is wrong.

    """
    with _border():
        environment = _environment()
        files = {
            "404.html": environment.get_template("404.html").render(site=site),
            "robots.txt": environment.get_template("robots.txt").render(),
        }
        template = environment.get_template("report.html")
        for page in pages:
            name = page.metrics.window.name
            files[f"{name}/index.html"] = template.render(_view(site, page, root="../", here=""))
            if name == site.default_window:
                files["index.html"] = template.render(_view(site, page, root="", here=f"{name}/"))
    return {name: text.encode() for name, text in files.items()}


def window_title(name: str) -> str:
    """Return a window's name for readers: "Today", "7 days"."""
    return "Today" if name == "today" else theme.count(int(name.removesuffix("d")), "day")


def note_sentences(notes: Mapping[str, int]) -> list[str]:
    """Return one phrase for each kind of row that was left out, the same as on the page."""
    return [
        f"{theme.number(rows)} {NOTE_WORDS[kind][rows != 1]}" for kind, rows in sorted(notes.items()) if rows
    ]


def runs(dates: Sequence[date]) -> list[Span]:
    """Join consecutive dates into spans."""
    if not dates:
        return []
    breaks = [at for at, (one, two) in enumerate(pairwise(dates), start=1) if (two - one).days > 1]
    return [Span(dates[a], dates[b - 1]) for a, b in pairwise([0, *breaks, len(dates)])]


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_dir()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        number=theme.number, day=theme.day, span=theme.span, percent=theme.percent, share=theme.share,
        signed=theme.signed, visible=theme.visible, window_title=window_title,
    )  # fmt: skip
    style = environment.get_template("style.css").render(
        light=Markup(theme.css_variables("light")),  # noqa: S704 - our own constants
        dark=Markup(theme.css_variables("dark")),  # noqa: S704
        font=Markup(theme.FONT),  # noqa: S704
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment.globals.update(
        style=Markup(style),  # noqa: S704 - our own style sheet
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
    )
    return environment


def _view(site: Site, page: Page, *, root: str, here: str) -> dict[str, Any]:
    metrics = page.metrics
    return {
        "site": site,
        "window": metrics.window,
        "metrics": metrics,
        "root": root,
        "here": here,
        "links": [(name, f"{root}{name}/index.html", name == metrics.window.name) for name in site.windows],
        "figures": _figures(metrics),
        "changes": page.changes,
        "chart": _drawing(page.chart, site.timezone) if page.chart else None,
        "days": list(_day_rows(metrics)),
        "paths": list(_path_rows(site, metrics)),
        "all_unrecorded": len(metrics.unrecorded) == metrics.window.days,
        "unrecorded": [theme.span(span) for span in runs(metrics.unrecorded)],
        "left_out": note_sentences(site.notes),
    }


def _figures(metrics: WindowMetrics) -> list[Figure]:
    running = not metrics.window.today_complete
    so_far = ""
    if running:
        today = int(metrics.daily["visits"].iloc[-1])
        so_far = "so far today" if metrics.window.days == 1 else f"with {theme.number(today)} so far today"
    first = Figure("Visits", theme.number(metrics.total), so_far or f"on {theme.span(metrics.window.span)}")
    last = Figure("Paths visited", theme.number(metrics.path_count), "with at least one visit")
    if metrics.window.days == 1:
        yesterday, week_ago = metrics.window.span.earlier(1), metrics.window.span.earlier(7)
        return [
            first,
            Figure("Yesterday", theme.number(metrics.yesterday), f"full day, {theme.day(yesterday.last)}"),
            Figure(
                "Same day last week", theme.number(metrics.week_ago), f"full day, {theme.day(week_ago.last)}"
            ),
            last,
        ]
    return [first, *_comparison_figures(metrics), last]


def _comparison_figures(metrics: WindowMetrics) -> Iterator[Figure]:
    both, best, average = metrics.comparison, metrics.best_day, metrics.daily_average
    if both.span and both.previous_span and average is not None:
        direction = (
            "" if both.total == both.previous_total else "up" if both.total > both.previous_total else "down"
        )
        yield Figure(
            "Change on complete days",
            theme.percent(both.change) if both.total or both.previous_total else "0 %",
            f"{theme.number(both.total)} on {theme.span(both.span)}, "
            f"{theme.number(both.previous_total)} on {theme.span(both.previous_span)}",
            direction,
        )
        yield Figure("Daily average", theme.decimal(average), f"of {theme.count(both.days, 'complete day')}")
    if best:
        yield Figure("Best day", theme.number(best[1]), f"{theme.day(best[0])}, of the complete days")


def _drawing(chart: Chart, timezone: str) -> dict[str, Any]:
    spec = json.dumps(chart.specs["wide"], ensure_ascii=False, separators=(",", ":")).translate(JSON_ESCAPES)
    return {
        "name": chart.name,
        "title": chart.title,
        "alt": f"{chart.alt} Dates are in the zone {timezone}.",
        # Vega escapes all text in a drawing; what ends a script element is escaped above.
        "svgs": {size: Markup(svg) for size, svg in chart.svgs.items()},  # noqa: S704
        "spec": Markup(spec),  # noqa: S704
    }


def _day_rows(metrics: WindowMetrics) -> Iterator[dict[str, Any]]:
    """Yield the daily table's rows, newest first."""
    for day in reversed(metrics.day_rows()):
        yield day._asdict() | {"change": change(day.visits, day.previous)}


def _path_rows(site: Site, metrics: WindowMetrics) -> Iterator[dict[str, Any]]:
    """Yield the top-paths table's rows; ``bar`` is the share relative to the largest, in percent."""
    rows = list(path_rows(metrics.paths))
    for rank, row in enumerate(rows, start=1):
        shown = theme.visible(row.path)
        yield row._asdict() | {
            "rank": rank,
            "shown": shown,
            "short": theme.shorten(shown, LONGEST_PATH),
            "href": f"{site.url}{quote(row.path, safe=PATH_SAFE)}"
            if site.url and row.path[:1] == "/"
            else None,
            "bar": f"{100 * row.visits / rows[0].visits:.1f}",
            "compared": bool(row.complete or row.previous),
        }


LONGEST_PATH = 64
"""Characters of a path shown in a table; the whole path is at hand in its title."""

PATH_SAFE = "/%?=&+:@!$'()*,;~-._"
"""Characters a stored path keeps in a link; a percent sign stays, since paths come encoded already."""


@contextmanager
def _border() -> Iterator[None]:
    """Turn Jinja2's errors into ours."""
    try:
        yield
    except TemplateError as exc:
        line = getattr(exc, "lineno", None)
        where = f"{getattr(exc, 'name', None) or 'a template'}{f', line {line}' if line else ''}"
        raise RenderError(f"{where} cannot be rendered: {exc}") from exc
