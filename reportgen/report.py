"""From what was read to the files of a release: figures, charts, sentences, pages, files for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import combinations, pairwise
from pathlib import Path

import pandas as pd

from reportgen import __version__, changes, charts, exports, pages
from reportgen.config import Config
from reportgen.drawing import Chart
from reportgen.gather import Gathered
from reportgen.ink import Draft
from reportgen.metrics import (
    WindowMetrics,
    by_date,
    cells_frame,
    colour_slots,
    daily_frame,
    stack,
    window_metrics,
)
from reportgen.spelling import Spelling, bare
from reportgen.stopwatch import Stopwatch
from reportgen.theme import SERIES, alike
from reportgen.timetable import next_due
from reportgen.views import Page, Site


@dataclass(frozen=True)
class Measured:
    """The figures of all windows; ``cells`` is what :func:`reportgen.metrics.cells_frame` returns."""

    metrics: Sequence[WindowMetrics]
    cells: pd.DataFrame


def measure(gathered: Gathered) -> Measured:
    """Compute every window's figures."""
    daily = daily_frame(gathered.daily.visits)
    metrics = [
        window_metrics(window, daily, found.listed, found.movers, found.path_count)
        for window, found in zip(gathered.windows, gathered.paths, strict=True)
    ]
    return Measured(metrics, cells_frame(gathered.cells))


def draw(measured: Measured, spelling: Spelling) -> list[Page]:
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
            _charts(metrics, measured.cells, slots, spelling) if metrics.total else [],
            changes.sentences(metrics, spelling),
            series(metrics, measured.cells),
        )
        for metrics in measured.metrics
    ]


def render(
    site: Site,
    content: Sequence[Page],
    gathered: Gathered,
    *,
    own: Path | None,
    vega: str | None,
    base: str = "/",
) -> Draft:
    """Return every file of the release, keyed by its path in it, with holes for the drawings.

    ``own`` is a directory of templates that override ours; ``vega`` the path of the script that makes charts
    interactive, where there is one; ``base`` the path at which the release is served.

    Raises:
        RenderError: a template is wrong.

    """
    draft = pages.render(site, content, own=own, vega=vega, base=base)
    return replace(draft, files={**draft.files, **_for_programs(site, content, gathered)})


def draft(
    config: Config, gathered: Gathered, now: datetime, as_of: date | None, vega: str | None, watch: Stopwatch
) -> Draft:
    """Compute, specify and render everything but the drawings.

    Raises:
        RenderError: a chart cannot be specified, or a template is wrong.

    """
    with watch.stage("charts"):
        site = site_of(config, gathered, now, as_of)
        content = draw(measure(gathered), site.spelling)
    with watch.stage("pages"):
        return render(site, content, gathered, own=config.templates_dir, vega=vega, base=config.base_path)


def site_of(config: Config, gathered: Gathered, now: datetime, as_of: date | None) -> Site:
    """Return what all pages share."""
    built_at = now.astimezone(config.zone)
    return Site(
        name=config.site or gathered.site or "Visits",
        url=config.site_url,
        intro=config.intro,
        timezone=config.timezone,
        spelling=Spelling.of(config.locale),
        notice=gathered.notice,
        windows=config.windows,
        default_window=config.default_window,
        built_at=built_at,
        # A report of a past day is not built again by itself.
        due=None if as_of else next_due(config.schedule, config.zone, built_at, config.jitter_s),
        as_of=gathered.read.last,
        read=gathered.read,
        notes=gathered.notes,
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
    paths: list[str] = metrics.paths["path"].head(SERIES).tolist()
    return paths


def series(metrics: WindowMetrics, cells: pd.DataFrame) -> dict[str, list[int]]:
    """Return the daily visits of each listed path; none for a single day."""
    listed = metrics.paths["path"].tolist() if metrics.window.days > 1 else []
    return dict(zip(listed, by_date(metrics, cells, listed).tolist(), strict=True))


def _charts(
    metrics: WindowMetrics, cells: pd.DataFrame, slots: Mapping[str, int], spelling: Spelling
) -> list[Chart]:
    if metrics.window.days == 1:
        return [charts.top_paths(metrics, slots, spelling)]
    split = stack(metrics, cells, coloured_paths(metrics))
    by_path = charts.visits_by_path(metrics, split, slots, spelling)
    return [by_path] if metrics.begins_today else [by_path, charts.against_previous(metrics, spelling)]


def _for_programs(site: Site, content: Sequence[Page], gathered: Gathered) -> dict[str, bytes]:
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
            page.metrics, list(map(bare, page.changes)), gathered.notes, about
        )
    return files
