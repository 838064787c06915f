"""From what was read to the files of a release: figures, charts, sentences, pages, files for programs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import combinations, pairwise
from pathlib import Path

import pandas as pd

from reportgen import __version__
from reportgen.charts import charts
from reportgen.charts.spec import Chart
from reportgen.charts.svg import PageDraft, Sheet
from reportgen.charts.theme import SERIES, alike
from reportgen.charts.vega_bundle import hashed
from reportgen.config.settings import Config
from reportgen.core.cron import next_due
from reportgen.core.formatting import LocaleFormatter
from reportgen.core.release_files import ASSETS
from reportgen.core.text import bare, visible
from reportgen.core.timing import Stopwatch
from reportgen.metrics import highlights
from reportgen.metrics.dataset import Dataset
from reportgen.metrics.figures import (
    WindowMetrics,
    by_date,
    cells_frame,
    colour_slots,
    daily_frame,
    stack,
    window_metrics,
)
from reportgen.pages import exports
from reportgen.pages.context import Page, SiteHeader, drawing_key, page_view
from reportgen.pages.environment import environment, translate_errors


@dataclass(frozen=True)
class ReportFigures:
    """The figures of all windows; ``cells`` is what :func:`reportgen.metrics.figures.cells_frame` returns."""

    metrics: Sequence[WindowMetrics]
    cells: pd.DataFrame


def compute_figures(dataset: Dataset) -> ReportFigures:
    """Compute every window's figures."""
    daily = daily_frame(dataset.daily.visits)
    metrics = [
        window_metrics(window, daily, found.listed, found.movers, found.path_count)
        for window, found in zip(dataset.windows, dataset.paths, strict=True)
    ]
    return ReportFigures(metrics, cells_frame(dataset.cells))


def draw(measured: ReportFigures, formatter: LocaleFormatter) -> list[Page]:
    """Specify each window's charts and write its sentences.

    Raises:
        RenderError: a chart could not be specified.

    """
    longest_first = sorted(measured.metrics, key=lambda metrics: -metrics.window.days)
    stacked = [metrics for metrics in longest_first if metrics.window.days > 1]
    tops = [coloured_paths(metrics) for metrics in stacked or longest_first]
    slots = told_apart(colour_slots(tops, SERIES), tops)
    return [
        Page(
            metrics,
            _charts(metrics, measured.cells, slots, formatter) if metrics.total else [],
            highlights.sentences(metrics, formatter),
            series(metrics, measured.cells),
        )
        for metrics in measured.metrics
    ]


def render(
    site: SiteHeader,
    content: Sequence[Page],
    dataset: Dataset,
    *,
    own: Path | None,
    vega: str | None,
    base: str = "/",
) -> PageDraft:
    """Return every file of the release, keyed by its path in it, with holes for the drawings.

    ``own`` is a directory of templates that override ours; ``vega`` the path of the script that makes charts
    interactive, where there is one; ``base`` the path at which the release is served.

    Raises:
        RenderError: a template is wrong.

    """
    draft = _render_pages(site, content, own=own, vega=vega, base=base)
    return replace(draft, files={**draft.files, **_for_programs(site, content, dataset)})


def draft(
    config: Config, dataset: Dataset, now: datetime, as_of: date | None, vega: str | None, watch: Stopwatch
) -> PageDraft:
    """Compute, specify and render everything but the drawings.

    Raises:
        RenderError: a chart cannot be specified, or a template is wrong.

    """
    with watch.stage("charts"):
        site = site_of(config, dataset, now, as_of)
        content = draw(compute_figures(dataset), site.formatter)
    with watch.stage("pages"):
        return render(site, content, dataset, own=config.templates_dir, vega=vega, base=config.base_path)


def site_of(config: Config, dataset: Dataset, now: datetime, as_of: date | None) -> SiteHeader:
    """Return what all pages share."""
    built_at = now.astimezone(config.zone)
    return SiteHeader(
        name=config.site or dataset.site or "Visits",
        url=config.site_url,
        intro=config.intro,
        timezone=config.timezone,
        formatter=LocaleFormatter.of(config.locale),
        notice=dataset.notice,
        windows=config.windows,
        default_window=config.default_window,
        built_at=built_at,
        # A report of a past day is not built again by itself.
        due=None if as_of else next_due(config.schedule, config.zone, built_at, config.jitter_s),
        as_of=dataset.read.last,
        read=dataset.read,
        notes=dataset.notes,
        version=__version__,
    )


def told_apart(slots: Mapping[str, int], tops: Sequence[Sequence[str]]) -> Mapping[str, int]:
    """Swap slots until no swap lets more neighbours in the stacks of all pages differ in lightness.

    That is what readers who see few hues, and black-and-white printers, go by. A swap of two slots on every
    page leaves each path its one colour.
    """

    def cost(given: Mapping[str, int]) -> int:
        stacks = [[*(given[path] for path in top), None] for top in tops]
        return sum(alike(one, two) for stack in stacks for one, two in pairwise(stack))

    best, swaps = dict(slots), list(combinations(range(SERIES), 2))
    while True:
        tries = [
            {path: {one: two, two: one}.get(slot, slot) for path, slot in best.items()} for one, two in swaps
        ]
        better = min(tries, key=cost)
        if cost(better) >= cost(best):
            return best
        best = better


def coloured_paths(metrics: WindowMetrics) -> list[str]:
    """Return the paths that have a colour of their own in the window's chart."""
    return [row.path for row in metrics.paths[:SERIES]]


def series(metrics: WindowMetrics, cells: pd.DataFrame) -> dict[str, list[int]]:
    """Return the daily visits of each listed path; none for a single day."""
    listed = [row.path for row in metrics.paths] if metrics.window.days > 1 else []
    return dict(zip(listed, by_date(metrics, cells, listed).tolist(), strict=True))


def _charts(
    metrics: WindowMetrics, cells: pd.DataFrame, slots: Mapping[str, int], formatter: LocaleFormatter
) -> list[Chart]:
    if metrics.window.days == 1:
        return [charts.top_paths(metrics, slots, formatter)]
    split = stack(metrics, cells, coloured_paths(metrics))
    by_path = charts.visits_by_path(metrics, split, slots, formatter)
    return [by_path] if metrics.begins_today else [by_path, charts.against_previous(metrics, formatter)]


def _for_programs(site: SiteHeader, content: Sequence[Page], dataset: Dataset) -> dict[str, bytes]:
    about = {
        "site": site.name,
        "timezone": site.timezone,
        "built_at": f"{site.built_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "as_of": site.as_of.isoformat(),
        "sample": site.notice is not None,
    }
    files = {}
    for page in content:
        name = page.metrics.window.name
        files[f"{name}/daily.csv"] = exports.daily_csv(page.metrics)
        files[f"{name}/report.json"] = exports.report_json(
            page.metrics, list(map(bare, page.changes)), dataset.notes, about
        )
    return files


def _render_pages(
    site: SiteHeader,
    pages: Sequence[Page],
    *,
    own: Path | None = None,
    vega: str | None = None,
    base: str = "/",
) -> PageDraft:
    """Render every page, script and text file of a release, with holes for its drawings.

    ``own`` is a directory whose templates override ours; ``vega`` the path in the release of the
    bundle that makes charts interactive; ``base`` the path at which the release is served.

    Raises:
        RenderError: a template is wrong.

    """
    with translate_errors():
        made = environment(own, site.formatter, site.intro, site=site)
        script = made.get_template("report.js").render().encode()
        files = {hashed(f"{ASSETS}report.js", script): script}
        made.globals.update(script=next(iter(files)), vega=vega)
        files["404.html"] = made.get_template("404.html").render(root=base).encode()
        files["robots.txt"] = made.get_template("robots.txt").render().encode()
        template = made.get_template("report.html")
        for page in pages:
            name = page.metrics.window.name
            view = page_view(site, page, root="../", here="")
            files[f"{name}/index.html"] = template.render(view).encode()
            if name == site.default_window:
                view = page_view(site, page, root="", here=f"{name}/")
                files["index.html"] = template.render(view).encode()
    specs = {
        drawing_key(page.metrics.window.name, chart, size): chart.whole(size)
        for page in pages
        for chart in page.charts
        for size in chart.specs
    }
    return PageDraft(files, specs, [sheet for page in pages for sheet in _sheets(site, page)])


def _sheets(site: SiteHeader, page: Page) -> Iterator[Sheet]:
    """Yield each chart as a file of its own."""
    window, formatter = page.metrics.window, site.formatter
    dates = f"{formatter.span(window.span)} \N{MIDDLE DOT} {formatter.count(window.days, 'day')}"
    about = f"{visible(site.name)} \N{MIDDLE DOT} {dates} \N{MIDDLE DOT} {site.timezone}"
    for chart in page.charts:
        key = drawing_key(window.name, chart, "wide")
        yield Sheet(f"{window.name}/{chart.name}.svg", key, chart.title, chart.alt, about)
