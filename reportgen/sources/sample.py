"""The sample site: 14 lively months of a real personal blog, moved so that they reach today.

The daily visits of jarv.is (MIT licence, see ``LICENSE.jarv-is.MIT.txt`` beside the data), kept in
an in-memory SQLite database and read like any other.
"""

import csv
import gzip
import sqlite3
from collections.abc import Iterator
from datetime import date, timedelta
from importlib import resources

from reportgen.config.settings import SourceSettings
from reportgen.core.windows import Span
from reportgen.sources.sqlite import SqliteSource

STRETCH = Span(date(2024, 9, 16), date(2025, 11, 16))
FILE = "jarv-is-daily-hits.csv.gz"


class SampleSource(SqliteSource):
    """The sample as a table ``metrics`` that ends on ``today``."""

    def __init__(self, today: date) -> None:
        # What the config says of tables and columns belongs to the reader's own data.
        super().__init__("sample", "file::memory:", SourceSettings())
        self._today = today
        self._weeks = weeks_to_reach(today)
        self.site = "jarv.is"
        self.notice = (
            "Sample data: real visits of jarv.is, a personal blog by Jake Jarvis (MIT licence), "
            f"with all dates moved by {self._weeks} weeks."
        )

    def connect(self) -> sqlite3.Connection:
        """Fill a fresh database: whole weeks keep weekdays; days after today have not come yet."""
        connection = super().connect()
        connection.execute(
            "CREATE TABLE metrics (date TEXT NOT NULL, path TEXT NOT NULL, visits INTEGER NOT NULL,"
            " PRIMARY KEY (date, path)) WITHOUT ROWID"
        )
        last = min(STRETCH.last, self._today - timedelta(weeks=self._weeks))
        connection.executemany(
            f"INSERT INTO metrics VALUES (date(?, '{7 * self._weeks:+d} days'), ?, ?)",
            sample_rows(STRETCH.first.isoformat(), last.isoformat()),
        )
        return connection


def open_sample(today: date) -> SampleSource:
    """Return the sample, not yet entered."""
    return SampleSource(today)


def weeks_to_reach(today: date) -> int:
    """Return by how many weeks the stretch must move so that its last date is today or soon after."""
    return -((STRETCH.last - today).days // 7)


def sample_rows(first: str = "", last: str = "9999") -> Iterator[list[str]]:
    """Yield ``[date, path, visits]`` as text, by date, from ``first`` to ``last`` (all by default)."""
    packed = resources.files("reportgen") / "sample" / FILE
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines()  # no path holds a line's end
    yield from (row for row in csv.reader(lines[1:]) if first <= row[0] <= last)
