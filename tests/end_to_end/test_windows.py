"""Every kind of window, built as a whole from a table of two years."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import config_from_options
from reportgen.core.windows import TITLES
from reportgen.publish.release import lock_output
from tests.support.proof import assert_sound

NAMES = [*TITLES, "1100d"]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with two paths on each date from 2024 on."""
    file = tmp_path_factory.mktemp("table") / "visits.db"
    first, last = date(2024, 1, 1), date(2026, 12, 31)
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    rows = [(day.isoformat(), path, day.day + day.weekday()) for day in days for path in ("/", "/a")]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", rows)
    return file


@pytest.mark.slow
@pytest.mark.parametrize(("today", "compare"), [("2026-11-23", "previous"), ("2026-03-31", "year")])
def test_all_windows_together_make_a_sound_release(
    table: Path, tmp_path: Path, today: str, compare: str
) -> None:
    config = config_from_options(
        {
            "source": {"url": f"sqlite:///{table}"}, "windows": NAMES, "default_window": "month",
            "compare": f"{compare},{'previous' if compare == 'year' else 'year'}", "week_start": "sunday",
        }
    )  # fmt: skip
    now = datetime.fromisoformat(f"{today}T12:00:00+00:00").astimezone(UTC)
    with lock_output(tmp_path) as lock:
        release = build(config, lock, now=now, warm=True).path
    files = {
        path.relative_to(release).as_posix(): path.read_bytes()
        for path in release.rglob("*")
        if path.is_file() and path.parent.name != "assets" and path.suffix not in {".br", ".gz"}
    }
    assert_sound(files, NAMES)
    assert b">This month</a>" in files["index.html"]
    for name in NAMES:
        report = json.loads(files[f"{name}/report.json"])
        main = report.get("comparisons", [{"kind": compare}])[0]
        assert main["kind"] == compare
        for both in report.get("comparisons", []):
            earlier = both["daily_previous"]
            assert len(earlier) == report["days"]
            assert sum(visits or 0 for visits in earlier[: both["complete_days"]]) == both["previous_total"]
            if both["days"]:
                spans = (("start", "end"), ("previous_start", "previous_end"))
                lengths = {date.fromisoformat(both[b]) - date.fromisoformat(both[a]) for a, b in spans}
                assert lengths == {timedelta(days=both["days"] - 1)}
