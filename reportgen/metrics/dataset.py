"""Read all that a build needs from the source, as plain values.

This module does not import pandas: a build whose data have not changed ends before pandas is loaded.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from reportgen.config.settings import Config
from reportgen.core.windows import Span, Window, look_back, make_window, today_in
from reportgen.metrics.paths import MAX_LISTED, PathsWriter, WindowPaths, smallest_named_change, sort_paths
from reportgen.sources.base import Source
from reportgen.sources.registry import open_source
from reportgen.sources.statements import (
    Cell,
    DailyReading,
    read_cells,
    read_daily,
    read_paths,
    read_rows_out_of_range,
)


@dataclass(frozen=True)
class Dataset:
    """All that a build reads, from one snapshot of the source.

    ``paths`` has an entry for each of ``windows``; ``read`` holds the dates that were read; ``cells`` are the
    visits by date and path of the listed paths; ``notes`` counts rows that were left out, by kind.
    """

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
        """Return ``paths.csv`` of each window, by its path in the release."""
        return {
            f"{window.name}/paths.csv": found.csv
            for window, found in zip(self.windows, self.paths, strict=True)
        }


def read_dataset(config: Config, now: datetime, as_of: date | None, paths_csv: PathsWriter) -> Dataset:
    """Return what all windows show, read from one snapshot of the source.

    Raises:
        SourceError: the data could not be read.

    """
    today = as_of or today_in(config.zone, now)
    windows = [make_window(name, today, today_complete=as_of is not None) for name in config.windows]
    with open_source(config.source, config.timezone, look_back(windows)) as source:
        return read_windows(source, windows, config.top_paths, paths_csv)


def read_windows(
    source: Source, windows: Sequence[Window], top_paths: int, paths_csv: PathsWriter
) -> Dataset:
    """Return what ``windows`` show, read from an open source. Paths become CSV while they are read."""
    span = look_back(windows)
    daily = read_daily(source, span)
    out_of_range = read_rows_out_of_range(source, span, include_future=not windows[0].today_complete)
    notes = Counter(dict(sorted((daily.notes + out_of_range).items())))  # engines group in any order
    paths = []
    for window in windows:
        total = daily.sum_over(window.span)
        reading = read_paths(source, window, MAX_LISTED, smallest_named_change(total))
        paths.append(sort_paths(reading, total, top_paths, paths_csv))
    charted = {
        row.path
        for window, found in zip(windows, paths, strict=True)
        if window.days > 1
        for row in found.listed
    }
    longest = max(windows, key=lambda window: window.days)
    cells = read_cells(source, longest.span, sorted(charted))
    return Dataset(windows, span, daily, paths, cells, notes, source.name, source.site, source.notice)
