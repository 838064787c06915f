"""The sample data: 14 months of visits to a real personal blog, with dates moved so that they reach today.

The daily visits of jarv.is (MIT licence, see ``LICENSE.jarv-is.MIT.txt`` beside the data) are put into an
in-memory SQLite database and read like any other database.
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

SAMPLE_SPAN = Span(date(2024, 9, 16), date(2025, 11, 16))
"""The dates of the sample as they were recorded."""
DATA_FILE = "jarv-is-daily-hits.csv.gz"


class SampleSource(SqliteSource):
    """The sample as a table ``metrics`` that ends on ``today``."""

    def __init__(self, today: date) -> None:
        # The user's table and column names do not apply to the sample.
        super().__init__("sample", "file::memory:", SourceSettings())
        self._today = today
        self._weeks = weeks_to_reach(today)
        self.site = "jarv.is"
        self.notice = (
            "Sample data: real visits of jarv.is, a personal blog by Jake Jarvis (MIT licence)"
            f"{_describe_move(self._weeks)}."
        )

    def open_database(self) -> sqlite3.Connection:
        """Return a new database with the sample, moved by whole weeks to keep weekdays, and cut at today."""
        connection = super().open_database()
        connection.execute(
            "CREATE TABLE metrics (date TEXT NOT NULL, path TEXT NOT NULL, visits INTEGER NOT NULL,"
            " PRIMARY KEY (date, path)) WITHOUT ROWID"
        )
        last = min(SAMPLE_SPAN.last, self._today - timedelta(weeks=self._weeks))
        connection.executemany(
            f"INSERT INTO metrics VALUES (date(?, '{7 * self._weeks:+d} days'), ?, ?)",
            sample_rows(SAMPLE_SPAN.first.isoformat(), last.isoformat()),
        )
        return connection


def open_sample(today: date) -> SampleSource:
    """Return the sample as a source, not yet entered."""
    return SampleSource(today)


def weeks_to_reach(today: date) -> int:
    """Return the number of weeks to move the sample so that its last date is today or up to 6 days later.

    The number is negative if today is a week or more before the sample's last date.
    """
    return -((SAMPLE_SPAN.last - today).days // 7)


def _describe_move(weeks: int) -> str:
    """Return the part of the notice that says how far the dates are moved; nothing if they are not moved."""
    if weeks == 0:
        return ""
    direction = "moved" if weeks > 0 else "moved back"
    return f", with all dates {direction} by {abs(weeks)} {'week' if abs(weeks) == 1 else 'weeks'}"


def sample_rows(first: str = "", last: str = "9999") -> Iterator[list[str]]:
    """Yield ``[date, path, visits]`` as text, sorted by date, from ``first`` to ``last`` (default: all)."""
    packed = resources.files("reportgen") / "sample" / DATA_FILE
    lines = gzip.decompress(packed.read_bytes()).decode().splitlines()  # no path holds a line break
    yield from (row for row in csv.reader(lines[1:]) if first <= row[0] <= last)
