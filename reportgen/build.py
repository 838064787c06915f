"""One build, top to bottom: gather, compute, draw, render, publish."""

import hashlib
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd

from reportgen import __version__, bundle, changes, charts, exports, pages
from reportgen.config import Config
from reportgen.drawing import Chart
from reportgen.errors import RenderError
from reportgen.metrics import (
    WindowMetrics,
    by_date,
    colour_slots,
    named_from,
    shares,
    stack,
    sum_over,
    window_metrics,
)
from reportgen.publish import OutputLock, Release, current_release, publish
from reportgen.sources import Source, open_source
from reportgen.sources.readings import read_cells, read_daily, read_paths, read_strays
from reportgen.spelling import Spelling, bare
from reportgen.theme import SERIES
from reportgen.timetable import next_due
from reportgen.views import Page, Site
from reportgen.windows import Span, Window, look_back, make_window, today_in

MOST_LISTED = 100_000
"""How many paths ``paths.csv`` lists at most."""


@dataclass
class Stopwatch:
    """Measures the stages of a build.

    ``begin`` is called with each stage's name, ``tell`` with name and seconds when it has ended,
    ``warn`` with what did not work though the report did.
    """

    begin: Callable[[str], None] = lambda _: None
    tell: Callable[[str, float], None] = lambda *_: None
    warn: Callable[[str], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        self.begin(name)
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Note a stage that ended."""
        self.seconds[name] = round(seconds, 4)
        self.tell(name, self.seconds[name])


@dataclass(frozen=True)
class Built:
    """What a build came to: ``changed`` is false where the release before already said it all."""

    release: Release
    changed: bool


@dataclass(frozen=True)
class Gathered:
    """All that a build reads, from one snapshot."""

    metrics: Sequence[WindowMetrics]
    paths_csv: dict[str, bytes]
    cells: pd.DataFrame
    notes: Counter[str]
    rows: int
    source: str
    site: str | None
    notice: str | None


def build(
    config: Config,
    lock: OutputLock,
    *,
    now: datetime,
    as_of: date | None = None,
    if_changed: bool = False,
    watch: Stopwatch | None = None,
) -> Built:
    """Build all pages and publish them as one release under the locked output.

    ``now`` (aware) is the build time; with ``as_of`` the report is as it would have been at the end
    of that day; with ``if_changed`` nothing is drawn or published where the current release already
    shows the same.

    Raises:
        SourceError: the data could not be read.
        RenderError: a chart or page could not be drawn.
        PublishError: the release could not be written.

    """
    watch = watch or Stopwatch()
    today = as_of or today_in(config.zone, now)
    windows = [make_window(name, today, today_complete=as_of is not None) for name in config.windows]
    read = look_back(windows)
    with watch.stage("query"), open_source(config.source, config.timezone, read) as source:
        gathered = gather(source, windows, read, config.top_paths)
    site = _site(config, gathered, read, now, as_of)
    shown = fingerprint(site, gathered, pages.templates_digest(config.templates_dir))
    if if_changed and (last := current_release(lock.root)) and last.manifest.get("content") == shown:
        return Built(last, changed=False)
    with watch.stage("charts"):
        content = draw(gathered, site.spelling)
    with watch.stage("pages"):
        live = interactive(lock.root / "state", watch)
        files = live | export(site, content, gathered)
        files |= pages.render(site, content, own=config.templates_dir, vega=next(iter(live), None))
    with watch.stage("publish"):
        about = _about(site, gathered, watch, shown)
        return Built(publish(lock, files, about, built_at=now, keep=config.output.keep), changed=True)


def gather(source: Source, windows: Sequence[Window], read: Span, top_paths: int) -> Gathered:
    """Read and compute every window's figures. Long lists of paths become CSV one window at a time."""
    daily = read_daily(source, read)
    strays = read_strays(source, read, beyond=not windows[0].today_complete)
    notes = Counter(dict(sorted((daily.notes + strays).items())))  # engines group in any order
    metrics, listed = [], {}
    for window in windows:
        total = sum_over(daily.daily, window.span)
        found = read_paths(source, window, MOST_LISTED, named_from(total))
        metrics.append(window_metrics(window, daily.daily, found.paths, found.path_count, top_paths))
        listed[window.name] = exports.paths_csv(shares(found.paths, total).head(MOST_LISTED))
    drawn = sorted({path for each in metrics if each.window.days > 1 for path in each.paths["path"]})
    longest = max(windows, key=lambda window: window.days)
    cells = read_cells(source, longest.span, drawn)
    return Gathered(metrics, listed, cells, notes, daily.rows, source.name, source.site, source.notice)


def coloured_paths(metrics: WindowMetrics) -> list[str]:
    """Return the paths that have a colour of their own in the window's chart."""
    paths: list[str] = metrics.paths["path"].head(SERIES).tolist()
    return paths


def draw(gathered: Gathered, spelling: Spelling) -> list[Page]:
    """Draw each window's charts and write its sentences."""
    longest_first = sorted(gathered.metrics, key=lambda metrics: -metrics.window.days)
    stacked = [metrics for metrics in longest_first if metrics.window.days > 1]
    slots = colour_slots([coloured_paths(metrics) for metrics in stacked or longest_first], SERIES)
    return [
        Page(
            metrics,
            _charts(metrics, gathered.cells, slots, spelling) if metrics.total else [],
            changes.sentences(metrics, spelling),
            series(metrics, gathered.cells),
        )
        for metrics in gathered.metrics
    ]


def _charts(
    metrics: WindowMetrics, cells: pd.DataFrame, slots: Mapping[str, int], spelling: Spelling
) -> list[Chart]:
    if metrics.window.days == 1:
        return [charts.top_paths(metrics, slots, spelling)]
    split = stack(metrics, cells, coloured_paths(metrics))
    return [
        charts.visits_by_path(metrics, split, slots, spelling),
        charts.against_previous(metrics, spelling),
    ]


def series(metrics: WindowMetrics, cells: pd.DataFrame) -> dict[str, list[int]]:
    """Return the daily visits of each listed path; none for a single day."""
    listed = metrics.paths["path"].tolist() if metrics.window.days > 1 else []
    return dict(zip(listed, by_date(metrics, cells, listed).tolist(), strict=True))


def interactive(folder: Path, watch: Stopwatch) -> dict[str, bytes]:
    """Return the script that brings charts to life, by its path; without it they stay as drawn."""
    try:
        script = bundle.load(folder)
    except RenderError as exc:
        watch.warn(f"{exc}. Charts are drawn, but not interactive")
        return {}
    return {pages.hashed("assets/vega.js", script): script}


def export(site: Site, content: Sequence[Page], gathered: Gathered) -> dict[str, bytes]:
    """Return the files for programs, keyed by their path in the release."""
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
        files[f"{name}/paths.csv"] = gathered.paths_csv[name]
        files[f"{name}/report.json"] = exports.report_json(
            page.metrics, list(map(bare, page.changes)), gathered.notes, about
        )
    return files


def fingerprint(site: Site, gathered: Gathered, templates: str) -> str:
    """Return a digest of all that a release shows except when it was built."""
    undated = replace(site, built_at=datetime.min.replace(tzinfo=UTC), due=None)
    digest = hashlib.sha256(repr((undated, templates)).encode())
    for metrics in gathered.metrics:
        page = Page(metrics, [], changes.sentences(metrics, site.spelling), {})
        for content in export(undated, [page], gathered).values():
            digest.update(content)
        digest.update(repr(metrics.recent).encode())
    digest.update(gathered.cells.to_csv().encode())
    return digest.hexdigest()


def _site(config: Config, gathered: Gathered, read: Span, now: datetime, as_of: date | None) -> Site:
    return Site(
        name=config.site or gathered.site or "Visits",
        url=config.site_url,
        intro=config.intro,
        timezone=config.timezone,
        spelling=Spelling.of(config.locale),
        notice=gathered.notice,
        windows=config.windows,
        default_window=config.default_window,
        built_at=now.astimezone(config.zone),
        # A report of a past day is not built again by itself.
        due=None if as_of else next_due(config.schedule, config.zone, now.astimezone(config.zone)),
        as_of=read.last,
        read=read,
        notes=gathered.notes,
        version=__version__,
    )


def _about(site: Site, gathered: Gathered, watch: Stopwatch, shown: str) -> dict[str, object]:
    """Return what the manifest says of the build."""
    return {
        "as_of": site.as_of.isoformat(),
        "version": __version__,
        "content": shown,
        "source": gathered.source,
        "rows": gathered.rows,
        "notes": [{"kind": kind, "rows": rows} for kind, rows in sorted(gathered.notes.items())],
        "timings_s": dict(watch.seconds),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
