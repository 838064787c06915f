"""What a build reads, as plain values, and the digest that tells whether a report would say anything new.

Light on purpose: a build that finds nothing new ends here, before pandas and its kind are loaded.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from reportgen import __version__, bundle
from reportgen.config import Config
from reportgen.exports import paths_csv
from reportgen.paths import PathRow, named_from, path_row
from reportgen.sources import Source, open_source
from reportgen.sources.readings import (
    Cell,
    DailyReading,
    PathsReading,
    PathTotals,
    read_cells,
    read_daily,
    read_paths,
    read_strays,
)
from reportgen.templates import templates_digest
from reportgen.windows import Span, Window, look_back, make_window, today_in

MOST_LISTED = 100_000
"""How many paths ``paths.csv`` lists at most."""


@dataclass(frozen=True)
class WindowPaths:
    """The paths of one window: those to list, those to name in a sentence, and ``paths.csv``."""

    listed: Sequence[PathRow]
    movers: Sequence[PathTotals]
    path_count: int
    csv: bytes


@dataclass(frozen=True)
class Gathered:
    """All that a build reads, from one snapshot. ``paths`` has an entry for each of ``windows``."""

    windows: Sequence[Window]
    read: Span
    daily: DailyReading
    paths: Sequence[WindowPaths]
    cells: Sequence[Cell]
    notes: Counter[str]
    source: str
    site: str | None
    notice: str | None

    @property
    def files(self) -> dict[str, bytes]:
        """Return the files of the release that are ready as they were read, by their path in it."""
        return {
            f"{window.name}/paths.csv": found.csv
            for window, found in zip(self.windows, self.paths, strict=True)
        }


def gather(config: Config, now: datetime, as_of: date | None = None) -> Gathered:
    """Read all windows from one snapshot of the source.

    Raises:
        SourceError: the data could not be read.

    """
    today = as_of or today_in(config.zone, now)
    windows = [make_window(name, today, today_complete=as_of is not None) for name in config.windows]
    with open_source(config.source, config.timezone, look_back(windows)) as source:
        return read(source, windows, config.top_paths)


def read(source: Source, windows: Sequence[Window], top_paths: int) -> Gathered:
    """Read what ``windows`` show from an open source. Long lists of paths become CSV one at a time."""
    span = look_back(windows)
    daily = read_daily(source, span)
    strays = read_strays(source, span, beyond=not windows[0].today_complete)
    notes = Counter(dict(sorted((daily.notes + strays).items())))  # engines group in any order
    paths = []
    for window in windows:
        total = daily.over(window.span)
        named = named_from(total)
        reading = read_paths(source, window, MOST_LISTED, named)
        paths.append(_window_paths(reading, total, named, top_paths))
    drawn = {
        row.path
        for window, found in zip(windows, paths, strict=True)
        if window.days > 1
        for row in found.listed
    }
    longest = max(windows, key=lambda window: window.days)
    cells = read_cells(source, longest.span, sorted(drawn))
    return Gathered(windows, span, daily, paths, cells, notes, source.name, source.site, source.notice)


def fingerprint(config: Config, gathered: Gathered) -> str:
    """Return a digest of all that a release shows except when it was built."""
    shown = config.model_dump(exclude={"source", "output", "server"})
    read = (gathered.windows, gathered.daily, gathered.cells, gathered.notes, gathered.site, gathered.notice)
    listed = [(found.listed, found.movers, found.path_count) for found in gathered.paths]
    digest = hashlib.sha256(repr((__version__, bundle.name(), shown, read, listed)).encode())
    digest.update(templates_digest(config.templates_dir).encode())
    for found in gathered.paths:
        digest.update(hashlib.sha256(found.csv).digest())
    return digest.hexdigest()


def _window_paths(reading: PathsReading, total: int, named: int, top_paths: int) -> WindowPaths:
    """Sort one stream of paths to where they are shown; a change of ``named`` visits makes a sentence."""
    listed: list[PathRow] = []
    movers: list[PathTotals] = []

    def visited() -> Iterator[PathRow]:
        place = 0
        for totals in reading.rows:
            if abs(totals.complete - totals.previous) >= named:
                movers.append(totals)
            if totals.visits and place < MOST_LISTED:
                place += 1
                row = path_row(totals, total)
                if place <= top_paths:
                    listed.append(row)
                yield row

    csv = paths_csv(visited())
    return WindowPaths(listed, movers, reading.path_count, csv)
