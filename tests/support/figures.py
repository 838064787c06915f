"""Figures of small tables, read and computed as a build does."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING

from reportgen.core.windows import Window

if TYPE_CHECKING:
    from reportgen.pages.report import ReportFigures

DATABASES = count()
RECORDED = [(days, "/", 0) for days in range(14)]
"""Rows that make each date of a week and of the one before a recorded date."""


def read_figures(
    rows: Iterable[tuple[int, str, int]], windows: Sequence[Window], top_paths: int = 100
) -> "ReportFigures":
    """Read a table of (days before the windows' end, path, visits) as a build would."""
    from reportgen.config.settings import SourceSettings
    from reportgen.metrics.dataset import read_windows
    from reportgen.pages.exports import paths_csv
    from reportgen.pages.report import compute_figures
    from reportgen.sources.sqlite import SqliteSource

    uri = f"file:figures{next(DATABASES)}?mode=memory&cache=shared"
    today = windows[0].today
    with closing(sqlite3.connect(uri, uri=True)) as table:
        table.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        stored = (((today - timedelta(days)).isoformat(), path, visits) for days, path, visits in rows)
        table.executemany("INSERT INTO metrics VALUES (?, ?, ?)", stored)
        table.commit()
        with SqliteSource("test", uri, SourceSettings()) as source:
            return compute_figures(read_windows(source, windows, top_paths, paths_csv))
