"""Make the files of a release from a dataset: figures, charts, sentences, pages and data files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from reportgen import __version__
from reportgen.charts import charts
from reportgen.charts.spec import Chart
from reportgen.charts.svg import ChartFile, PageDraft
from reportgen.charts.theme import SERIES_COUNT
from reportgen.charts.vega_bundle import hashed
from reportgen.config.chart_notes import ChartNote
from reportgen.config.settings import Config
from reportgen.core.cron import next_due
from reportgen.core.processes import Stopwatch
from reportgen.core.release_files import ASSETS
from reportgen.core.text import LocaleFormatter, bare, visible
from reportgen.core.words import heading
from reportgen.metrics import highlights
from reportgen.metrics.dataset import Dataset, note_list
from reportgen.metrics.figures import (
    WindowMetrics,
    by_date,
    cells_frame,
    colour_slots,
    section_totals,
    stack,
    sums_by_bar,
    window_metrics,
)
from reportgen.pages import exports
from reportgen.pages.context import Page, SiteHeader, drawing_key, note_line, page_variables
from reportgen.pages.environment import environment, translate_template_errors
from reportgen.sources.statements import Cell


@dataclass(frozen=True)
class ReportFigures:
    """The figures of all windows.

    ``cells`` are those of paths and ``section_cells`` those of sections, as
    :func:`reportgen.metrics.figures.cells_frame` returns them.
    """

    metrics: Sequence[WindowMetrics]
    cells: pd.DataFrame
    section_cells: pd.DataFrame


def compute_figures(dataset: Dataset) -> ReportFigures:
    """Return the figures of every window."""
    visits, since = dataset.daily.visits, dataset.since
    metrics = [
        replace(
            window_metrics(
                window,
                visits,
                since,
                found.listed,
                found.changed_paths,
                found.named_change,
                found.path_count,
                left_out,
            ),
            sections=section_totals(window, visits, dataset.daily.sections),
            excluded=found.excluded,
            forms=found.forms,
        )
        for window, found, left_out in zip(dataset.windows, dataset.paths, dataset.left_out, strict=True)
    ]
    section_cells = [
        Cell(day, name, visits)
        for name, by_day in dataset.daily.sections.items()
        for day, visits in by_day.items()
    ]
    return ReportFigures(metrics, cells_frame(dataset.cells), cells_frame(section_cells))


def make_pages(
    figures: ReportFigures, formatter: LocaleFormatter, annotations: Sequence[ChartNote] = ()
) -> list[Page]:
    """Return each window's page: its figures, chart specifications, sentences and notes of its dates.

    Raises:
        RenderError: a chart could not be specified.

    """
    longest_first = sorted(figures.metrics, key=lambda metrics: -metrics.window.days)
    stacked = [metrics for metrics in longest_first if metrics.window.days > 1 and not metrics.sections]
    tops = [coloured_paths(metrics) for metrics in stacked or longest_first]
    slots = colour_slots(tops, SERIES_COUNT)
    section_slots = colour_slots([coloured_sections(metrics) for metrics in longest_first], SERIES_COUNT)
    return [
        Page(
            metrics,
            _make_charts(metrics, figures, slots, section_slots, formatter, notes) if metrics.total else [],
            highlights.sentences(metrics, formatter),
            series(metrics, figures.cells),
            notes,
            section_series(metrics, figures.section_cells),
        )
        for metrics in figures.metrics
        for notes in [[note for note in annotations if note.span.meets(metrics.window.span)]]
    ]


def render(
    site: SiteHeader,
    content: Sequence[Page],
    dataset: Dataset,
    *,
    templates_dir: Path | None,
    vega: str | None,
    base_path: str = "/",
    top_paths: int = 100,
) -> PageDraft:
    """Return every file of the release, by its path in it, with placeholders for the drawings.

    ``templates_dir`` is a directory of templates that override ours; ``vega`` the path of the script that
    makes charts interactive, if there is one; ``base_path`` the path at which the release is served;
    ``top_paths`` the maximum number of rows of a panel's table.

    Raises:
        RenderError: a template is wrong.

    """
    own, variables_of = PageDraft({}, {}, []), dict[str, dict[str, Any]]()
    style_sheets = ["style.css"]
    if any(page.panels for page in content):
        from reportgen.pages.panels import draw_panels  # only a report with panels needs it

        own, variables_of = draw_panels(site, content, top_paths)
        style_sheets.append("panel.css")
    with translate_template_errors():
        jinja = environment(templates_dir, site.formatter, site.intro, style_sheets=style_sheets, site=site)
        script = jinja.get_template("report.js").render().encode()
        script_name = hashed(f"{ASSETS}report.js", script)
        files = {script_name: script, **_data_files(site, content, dataset), **own.files}
        jinja.globals.update(script=script_name, vega=vega)
        files["404.html"] = jinja.get_template("404.html").render(root=base_path).encode()
        files["robots.txt"] = jinja.get_template("robots.txt").render().encode()
        template = jinja.get_template("report.html")
        for page in content:
            name = page.metrics.window.name
            panels = variables_of.get(name, {})
            variables = page_variables(site, page, root="../", here="") | panels
            files[f"{name}/index.html"] = template.render(variables).encode()
            if name == site.default_window:
                variables = page_variables(site, page, root="", here=f"{name}/") | panels
                files["index.html"] = template.render(variables).encode()
    specs = {
        drawing_key(page.metrics.window.name, chart, size): chart.spec_json(size)
        for page in content
        for chart in page.charts
        for size in chart.specs
    }
    chart_files = [file for page in content for file in _chart_files(site, page)]
    return PageDraft(
        files, {**specs, **own.specs}, chart_files + own.chart_files, own.drawn, own.optional, own.warnings
    )


def draft(
    config: Config, dataset: Dataset, now: datetime, as_of: date | None, vega: str | None, watch: Stopwatch
) -> PageDraft:
    """Return the release without its drawings: compute figures, specify charts, render pages.

    Raises:
        RenderError: a chart cannot be specified, or a template is wrong.

    """
    with watch.stage("charts"):
        site = site_header(config, dataset, now, as_of)
        content = make_pages(compute_figures(dataset), site.formatter, dataset.annotations)
        if dataset.panels:
            pairs = zip(content, dataset.panels, strict=True)
            content = [replace(page, panels=panels) for page, panels in pairs]
    with watch.stage("pages"):
        return render(
            site,
            content,
            dataset,
            templates_dir=config.templates_dir,
            vega=vega,
            base_path=config.base_path,
            top_paths=config.top_paths,
        )


def site_header(config: Config, dataset: Dataset, now: datetime, as_of: date | None) -> SiteHeader:
    """Return what all pages share."""
    built_at = now.astimezone(config.zone)
    return SiteHeader(
        name=config.site or dataset.site or heading(config.nouns.visits),
        url=config.site_url,
        intro=config.intro,
        timezone=config.timezone,
        formatter=LocaleFormatter.of(config.locale, config.nouns),
        notice=dataset.notice,
        windows=config.windows,
        default_window=config.default_window,
        built_at=built_at,
        # The schedule does not build the report of a past day again.
        due=None if as_of else next_due(config.schedule, config.zone, built_at, config.jitter_s),
        as_of=dataset.read.last,
        read=dataset.read,
        notes=dataset.notes,
        examples=dataset.examples,
        version=__version__,
    )


def coloured_paths(metrics: WindowMetrics) -> list[str]:
    """Return the paths that have a colour of their own in the window's chart."""
    return [row.path for row in metrics.paths[:SERIES_COUNT]]


def coloured_sections(metrics: WindowMetrics) -> list[str]:
    """Return the sections that have a colour of their own in the window's chart, most visits first."""
    ranked = sorted(metrics.sections[:-1], key=lambda row: -row.visits)
    return [row.path for row in ranked[:SERIES_COUNT]]


def section_series(metrics: WindowMetrics, cells: pd.DataFrame) -> dict[str, list[int]]:
    """Return the visits of each section by bar of a chart; an empty mapping for a window of one day."""
    names = [row.path for row in metrics.sections] if metrics.window.days > 1 else []
    split = stack(metrics, cells, names[:-1]).to_numpy().T.tolist() if names else []
    return dict(zip(names, split, strict=True))


def series(metrics: WindowMetrics, cells: pd.DataFrame) -> dict[str, list[int]]:
    """Return the visits of each listed path by bar of a chart; an empty mapping for a window of one day."""
    listed = [row.path for row in metrics.paths] if metrics.window.days > 1 else []
    visits = sums_by_bar(metrics.window, by_date(metrics, cells, listed))
    return dict(zip(listed, visits.tolist(), strict=True))


def _make_charts(
    metrics: WindowMetrics,
    figures: ReportFigures,
    slots: Mapping[str, int],
    section_slots: Mapping[str, int],
    formatter: LocaleFormatter,
    notes: Sequence[ChartNote],
) -> list[Chart]:
    if metrics.window.days == 1:
        return [charts.top_paths(metrics, slots, formatter)]
    if metrics.sections:
        split = stack(metrics, figures.section_cells, coloured_sections(metrics))
        stacked = charts.visits_by_section(metrics, split, section_slots, formatter, notes)
    else:
        split = stack(metrics, figures.cells, coloured_paths(metrics))
        stacked = charts.visits_by_path(metrics, split, slots, formatter, notes)
    if not any(both.days for both in metrics.comparisons):
        return [stacked]
    return [stacked, charts.against_previous(metrics, formatter, notes)]


def _data_files(site: SiteHeader, content: Sequence[Page], dataset: Dataset) -> dict[str, bytes]:
    about = {
        "site": site.name,
        "timezone": site.timezone,
        "built_at": f"{site.built_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "as_of": site.as_of.isoformat(),
        "sample": site.notice is not None,
        "words": site.formatter.words,
    }
    notes, words = note_list(dataset.notes, dataset.examples), site.formatter.words
    files = {}
    for page in content:
        name = page.metrics.window.name
        files[f"{name}/daily.csv"] = exports.daily_csv(page.metrics, words)
        if page.metrics.sections:
            files[f"{name}/sections.csv"] = exports.sections_csv(page.metrics, words)
        files[f"{name}/report.json"] = exports.report_json(
            page.metrics, list(map(bare, page.changes)), notes, about, page.annotations, page.panels
        )
    return files


def _chart_files(site: SiteHeader, page: Page) -> Iterator[ChartFile]:
    """Yield each chart of a page as an SVG file."""
    window, formatter = page.metrics.window, site.formatter
    dates = f"{formatter.span(window.span)} \N{MIDDLE DOT} {formatter.count(window.days, 'day')}"
    about = f"{visible(site.name)} \N{MIDDLE DOT} {dates} \N{MIDDLE DOT} {site.timezone}"
    notes = [note_line(number, note, formatter) for number, note in enumerate(page.annotations, start=1)]
    for chart in page.charts:
        key = drawing_key(window.name, chart, "wide")
        yield ChartFile(f"{window.name}/{chart.name}.svg", key, chart.title, chart.alt, about, notes)
