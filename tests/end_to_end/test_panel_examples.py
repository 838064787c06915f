"""The panels of examples/panels and those of docs/panels.md, each on a small table of its own."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reportgen.build.pipeline import build
from reportgen.cli.main import DEMO_PANELS
from reportgen.config.panels import read_panels
from reportgen.config.settings import Config
from reportgen.publish.release import Release, lock_output
from tests.support.commands import Run
from tests.support.documents import read_blocks
from tests.support.releases import NOW, TODAY

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples/panels"
DAYS = [TODAY - timedelta(days) for days in range(70)]
Rows = list[tuple[Any, ...]]

TABLES: Mapping[str, tuple[str, Rows]] = {
    "metrics": ("date date, path text, visits integer", [
        *((day, "/notes/a", 30) for day in DAYS), *((day, "/notes/github-x", 12) for day in DAYS),
        *((day, "/notes/how-to-pull-request-fork-github", 8) for day in DAYS),
        *((day, "/", 5) for day in DAYS),
    ]),
    "referrers": ("date date, host text, visits integer", [
        (day, f"{n}.example", n) for day in DAYS for n in range(1, 31)
    ]),
    "countries": ("date date, country text, visits integer", [
        *((day, "DE", 3) for day in DAYS), *((day, "FR", 1 + 2 * (n < 7)) for n, day in enumerate(DAYS)),
    ]),
    "answers": ("date date, status integer, requests integer", [
        (day, status, count) for day in DAYS for status, count in ((200, 50), (206, 5), (301, 4), (404, 9))
    ]),
    "timings": ("date date, path text, requests integer, total_ms integer, slowest_ms integer", [
        *((day, "/fast", 100, 1_000, 30) for day in DAYS), *((day, "/slow", 2, 1_999, 1_500) for day in DAYS),
        (TODAY, "/rare", 1, 60_000, 60_000),
    ]),
    "hourly": ("date date, hour integer, visits integer", [
        (day, hour, hour) for day in DAYS for hour in range(24)
    ]),
    "orders": ("date date, plan text, amount numeric(9, 2), refunded boolean", [
        *((day, "Pro", "19.90", False) for day in DAYS), *((day, "Pro", "19.90", True) for day in DAYS),
        *((day, "Team", "99.00", False) for day in DAYS),
    ]),
    "hits": ("created_at timestamp, path text, user_agent text", [
        (f"{day} {time}", "/", f"Mozilla/5.0 (X11) {agent}") for day in DAYS for time, agent in (
            ("00:00:00", "Gecko/20100101 Firefox/140.0"), ("12:00:00", "AppleWebKit/537.36 Safari/605.1.15"),
            ("23:59:59.5", "Gecko/20100101 Firefox/141.0"),
            ("13:00:00", "AppleWebKit/537.36 (KHTML, like Gecko; Googlebot/2.1) Chrome/140.0 Safari/537.36"),
        )
    ]),
    "searches": ("date date, term text, searches integer", [
        *((day, " Docker", 2) for day in DAYS), *((day, "docker ", 1) for day in DAYS),
        *((day, "gone", 4) for day in DAYS[7:]),
    ]),
}  # fmt: skip

SEVEN = [(TODAY - timedelta(days)).isoformat() for days in range(6, -1, -1)]
SLOW = 1999 / 2
EXPECTED: Mapping[str, list[list[Any]]] = {
    "referrers": [[f"{n}.example", 7 * n] for n in range(30, 10, -1)],
    "countries": [["DE", 18, 18], ["FR", 18, 6]],
    "status-codes": [[day, kind, n] for day in SEVEN for kind, n in (("2xx", 55), ("3xx", 4), ("4xx", 9))],
    "slow-pages": [["/slow", 14, SLOW, 1500], ["/fast", 700, 10, 30]],
    "funnel": [
        ["All notes", 350, 1, None], ["Notes about GitHub", 140, 0.4, 0.4],
        ["Pull requests from a fork", 56, 0.16, 0.4],
    ],
    "search-terms": [["docker", 18, 18]],
    "topics": [["All others", 245], ["GitHub", 140]],
    "browsers": [["Firefox", 14], ["Robots", 7], ["Safari", 7]],
}  # fmt: skip
"""The rows of the window of seven days; those that compare leave out today, which is not over."""


def stored(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give the URL of a database with all tables."""
    if request.param == "sqlite":
        with closing(sqlite3.connect(tmp_path / "site.db")) as connection:
            for name, (columns, rows) in TABLES.items():
                connection.execute(f"CREATE TABLE {name} ({columns})")
                marks = ", ".join("?" * len(rows[0]))
                texts = [[stored(value) for value in row] for row in rows]
                connection.executemany(f"INSERT INTO {name} VALUES ({marks})", texts)
            connection.commit()
        yield f"sqlite:///{tmp_path / 'site.db'}"
        return
    address = request.getfixturevalue("pg")
    with psycopg.connect(address) as server, server.cursor() as cursor:
        for name, (columns, rows) in TABLES.items():
            cursor.execute(f"CREATE TABLE {name} ({columns})".encode())
            marks = ", ".join(["%s"] * len(rows[0]))
            cursor.executemany(f"INSERT INTO {name} VALUES ({marks})".encode(), rows)
    yield address


def built(folder: Path, **settings: Any) -> tuple[Release, list[str]]:
    """Build a report, and return the release and the warnings of its build."""
    from reportgen.core.processes import Stopwatch

    warnings: list[str] = []
    config = Config.model_validate({"windows": ["7d", "30d"], **settings})
    with lock_output(folder / "output") as lock:
        result = build(config, lock, now=NOW, warm=True, watch=Stopwatch(warn=warnings.append))
    return Release(result.release, folder / "output/current", {}), warnings


def panel_of(release: Release, window: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((release.path / window / f"panels/{name}.json").read_bytes())
    assert found["renewed"] is True
    return found


def test_every_example_shows_the_figures_of_its_table(tmp_path: Path, url: str) -> None:
    release, warnings = built(tmp_path, source={"url": url}, panels_dir=EXAMPLES)
    assert warnings == []
    for name, rows in EXPECTED.items():
        found = panel_of(release, "7d", name)["rows"]
        assert found == [
            [pytest.approx(value) if isinstance(value, float) else value for value in row] for row in rows
        ]
    hours = panel_of(release, "30d", "weekday-hour")
    assert hours["rows"][-1] == [TODAY.isoformat(), 23, 23]
    assert len(hours["rows"]) == 30 * 24
    days = panel_of(release, "30d", "weekdays")["rows"]
    assert days == [[day.isoformat(), 55] for day in reversed(DAYS[:30])]
    money = panel_of(release, "30d", "revenue")["rows"]
    assert sum(row[2] for row in money) == pytest.approx(30 * (19.9 + 99))
    page = (release.path / "30d/index.html").read_text()
    assert {file.stem for file in EXAMPLES.iterdir()} == {*EXPECTED, "weekday-hour", "weekdays", "revenue"}
    for panel in read_panels(Config(panels_dir=EXAMPLES, windows=("7d", "30d"))):
        assert f"<bdi>{panel.title}</bdi></h2>" in page
    assert "1,000 ms" in page


def test_the_demo_shows_two_of_the_examples(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--no-serve")
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    page = (tmp_path / "output/current/30d/index.html").read_text()
    shown = list(DEMO_PANELS.iterdir())
    assert len(shown) == 2
    for file in shown:
        assert file.read_bytes() == (EXAMPLES / file.name).read_bytes()
        assert f'id="panel-{file.stem}"' in page
    assert (tmp_path / "output/current/30d/panels/weekdays.svg").is_file()


def test_the_panels_of_the_document_work_as_they_are_written(tmp_path: Path, url: str) -> None:
    blocks = read_blocks("docs/panels.md", "markdown")
    files = [block.text for block in blocks if "```sql" in block.text]
    queries = [block.text for block in read_blocks("docs/panels.md", "sql")]
    for number, content in enumerate(files):
        (tmp_path / "panels").mkdir(exist_ok=True)
        (tmp_path / f"panels/{number}.md").write_text(content)
    for number, query in enumerate(queries):
        (tmp_path / f"panels/query-{number}.md").write_text(f"```sql\n{query}```\n")
    assert len(files) == 2
    assert len(queries) > len(files)
    release, warnings = built(tmp_path, source={"url": url}, panels_dir=tmp_path / "panels")
    assert warnings == []
    assert panel_of(release, "7d", "0")["kind"] == "bars"
    assert panel_of(release, "7d", "0")["rows"] == EXPECTED["referrers"]
