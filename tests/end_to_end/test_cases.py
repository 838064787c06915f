"""Builds of files as real programs export them, from the folder that TEST_CASES_DIR names."""

import json
import os
import re
import sqlite3
import tomllib
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import load_config
from reportgen.core.errors import SourceError
from reportgen.publish.release import lock_output
from tests.end_to_end.test_recipes import RECIPES

NOW, LAST = datetime(2026, 11, 27, 12, tzinfo=UTC), date(2026, 11, 26)
PLAIN = 9674
"""Visits of the 7 days in ``plain.csv``, and in each file with the same rows."""
GA4 = {"columns": {"date": "Date", "path": "Page path and screen class", "visits": "Views"}}
GA = {"columns": {"date": "date", "path": "page", "visits": "pageviews"}}
US = {"date_format": "%m/%d/%Y"}
INSTANTS = [452, 456, 460, 464, 468, 472, 476]


def recipe(heading: str) -> dict[str, Any]:
    """Return the settings of docs/sources.md without the URL."""
    source: dict[str, Any] = tomllib.loads("".join(RECIPES[heading]))["source"]
    return {name: value for name, value in source.items() if name != "url"}


REPORTS: dict[str, tuple[str, Mapping[str, Any], int, Mapping[str, int]]] = {
    "plain": ("plain.csv", {}, PLAIN, {}),
    "by position": ("plain.csv", {"columns": {"date": 1, "path": 2, "visits": 3}}, PLAIN, {}),
    "US dates": ("date_mdy_slash.csv", US, PLAIN, {}),
    "ISO and US dates": ("mixed_mdy.csv", {}, 600, {"invalid_date": 8}),
    "ISO and US dates with a format": ("mixed_mdy.csv", US, 1400, {}),
    "SQLite: US dates": ("mdy.db", US, 462, {}),
    "SQLite: milliseconds": ("epoch_ms.db", {}, 462, {}),
    "GA4": ("ga4.csv", GA4, PLAIN, {}),
    "GA": ("ga_ua.csv", GA, PLAIN, {"totals_row": 1, "second_table": 22}),
    "thousands": ("thousands.csv", {}, PLAIN, {}),
    "semicolons": ("semicolon.csv", {}, PLAIN, {}),
    "tabs": ("tab.csv", {}, PLAIN, {}),
    "UTF-16": ("utf16.csv", {}, PLAIN, {}),
    "trailing comma": ("trailing_comma.csv", {}, PLAIN, {}),
    "GoatCounter": ("goat.csv", recipe("GoatCounter's CSV export"), 112, {}),
    "GoatCounter's database": ("goatcounter.sqlite3", recipe("GoatCounter's database"), 504, {}),
    "Simple Analytics": ("simple.csv", recipe("Simple Analytics' export"), 77, {}),
    "Plausible": ("imported_pages_20261106_20261126.csv", recipe("Plausible's export"), 294, {}),
    "Plausible: visits": ("imported_pages_20261106_20261126.csv", {"columns": {"path": "page"}}, 172, {}),
    "wide": ("wide.csv", recipe("a table with one column for each path"), 1288, {}),
    "a key of each object": ("proto_constructor.csv", {}, 23, {}),
    "a path like such a key": ("proto_slash.csv", {}, 14, {}),
    "odd": ("odd.csv", {}, 6734, {"null_path": 14}),
    "spike": ("spike.csv", {}, 7190, {}),
}
ERRORS = {
    "US dates": ("date_mdy_slash.csv", ("no row has a date", "11/06/2026, /, 1210", '"%m/%d/%Y"')),
    "SQLite: US dates": ("mdy.db", ("no row has a date", "11/06/2026, /, 5", '"%m/%d/%Y"')),
    "unquoted comma": ("unquoted_comma.csv", ("line 39", "2026-11-15,/pricing,x,80", "double quotes")),
    "wide": ("wide.csv", ('no column "path"', "Date, Cat, Dog (animal)", "[source]")),
}


def case(name: str) -> Path:
    folder = os.environ.get("TEST_CASES_DIR")
    if not folder:
        pytest.skip("TEST_CASES_DIR is not set: it names the folder of files as programs export them")
    return Path(folder) / name


def built(url: object, source: Mapping[str, Any], output: Path, **settings: str) -> Path:
    """Build a report of 7 days, and return its folder."""
    options = {"windows": ["7d"], "site": "a", "source": {"url": str(url), **source}, **settings}
    with lock_output(output) as lock:
        release = build(load_config(None, {}, options), lock, now=NOW, as_of=LAST, warm=True)
    return release.path / "7d"


def figures(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "report.json").read_bytes())
    return found


@pytest.mark.parametrize("name", REPORTS)
def test_a_file_as_it_was_exported_gives_its_report(name: str, tmp_path: Path) -> None:
    file, source, total, notes = REPORTS[name]
    report = figures(built(case(file), source, tmp_path))
    assert (report["total"], {note["kind"]: note["rows"] for note in report["notes"]}) == (total, notes)
    assert all(note["example"] for note in report["notes"])


@pytest.mark.parametrize("name", ERRORS)
def test_a_file_that_cannot_be_read_is_an_error_that_says_why(name: str, tmp_path: Path) -> None:
    file, words = ERRORS[name]
    with pytest.raises(SourceError) as caught:
        built(case(file), {}, tmp_path)
    assert [word for word in words if word not in str(caught.value)] == []
    assert list((tmp_path / "releases").glob("*")) == []


@pytest.mark.parametrize("kind", ["csv", "parquet", "sqlite", "postgres"])
def test_instants_are_cut_in_the_zone_of_the_report(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """A moment at 23:30 in UTC counts for the next date in Berlin, from each kind of source."""
    url: object = case("instants_same.csv")
    rows = [line.split(",") for line in case("instants_same.csv").read_text().splitlines()[1:]]
    if kind == "parquet":
        url = case("instants.parquet")
    if kind == "sqlite":
        url = tmp_path / "m.db"
        with closing(sqlite3.connect(url)) as connection, connection:
            connection.execute("CREATE TABLE metrics (date text, path text, visits integer)")
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", rows)
    if kind == "postgres":
        url = request.getfixturevalue("pg")
        with psycopg.connect(str(url)) as server:
            server.execute("CREATE TABLE metrics (date timestamptz, path text, visits integer)")
            server.cursor().executemany("INSERT INTO metrics VALUES (%s, %s, %s)", rows)
    report = figures(built(url, {}, tmp_path / "out", timezone="Europe/Berlin"))
    assert [day["visits"] for day in report["daily"]] == INSTANTS


def bars(folder: Path) -> Counter[str]:
    """Return the height of the bar of each day that has visits, by its left end."""
    found: Counter[str] = Counter()
    svg = (folder / "visits-by-path.svg").read_text()
    for drawn in re.findall(r'<path d="([^"]+)" fill="[^"]+" stroke="#(?:ffffff|8c939e)"', svg):
        for left, height in re.findall(r"M([\d.]+),[\d.]+h[\d.]+v([\d.]+)h-", drawn):
            found[left] += float(height)
    return found


def test_the_days_beside_a_spike_have_readable_bars(tmp_path: Path) -> None:
    folder = built(case("spike.csv"), {}, tmp_path)
    assert "7,026" in (folder / "visits-by-path.svg").read_text()
    spike, *others = sorted(bars(folder).values(), reverse=True)
    assert (len(others), spike < 3 * others[0], min(others) > 10) == (6, True, True)


@pytest.mark.parametrize("file", ["proto_constructor.csv", "proto_slash.csv", "odd.csv"])
def test_a_path_with_an_odd_name_has_its_bars_and_its_link(file: str, tmp_path: Path) -> None:
    """Each day's bar is as high as its visits."""
    folder = built(case(file), {}, tmp_path, site_url="https://example.com")
    days = [day["visits"] for day in figures(folder)["daily"] if day["visits"]]
    heights = [height for _, height in sorted(bars(folder).items(), key=lambda bar: float(bar[0]))]
    scale = max(heights) / max(days)
    assert heights == pytest.approx([visits * scale for visits in days], abs=0.1)
    if file == "odd.csv":
        links = re.findall(r'href="([^"]*)"', (folder / "index.html").read_text())
        assert {"https://example.com/#/dashboard", "https://example.com/blog/full-url"} <= set(links)
        assert [link for link in links if link.startswith(("javascript:", "mailto:", "//"))] == []
