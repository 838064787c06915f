"""Builds of files as real programs export them, from the folder that TEST_CASES_DIR names."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import load_config
from reportgen.core.errors import SourceError
from reportgen.publish.release import lock_output

NOW, LAST = datetime(2026, 11, 27, 12, tzinfo=UTC), date(2026, 11, 26)
PLAIN = 9674
"""Visits of the 7 days in ``plain.csv``, and in each file with the same rows."""
GA4 = {"columns": {"date": "Date", "path": "Page path and screen class", "visits": "Views"}}
GA = {"columns": {"date": "date", "path": "page", "visits": "pageviews"}}
HITS = "SELECT {} AS date, {} AS path, 1 AS visits FROM metrics"
US = {"date_format": "%m/%d/%Y"}

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
    "CSV: instants": ("instants_same.csv", {}, 3248, {}),
    "Parquet: instants": ("instants.parquet", {}, 3248, {}),
    "GoatCounter": ("goat.csv", {"query": HITS.format('"Date"', '"2Path"')}, 126, {}),
    "Simple Analytics": ("simple.csv", {"query": HITS.format("added_iso", "path")}, 84, {}),
    "Plausible": ("imported_pages_20261106_20261126.csv", {"columns": {"path": "page"}}, 172, {}),
}
ERRORS = {
    "US dates": ("date_mdy_slash.csv", ("no row has a date", "11/06/2026, /, 1210", '"%m/%d/%Y"')),
    "SQLite: US dates": ("mdy.db", ("no row has a date", "11/06/2026, /, 5", '"%m/%d/%Y"')),
    "unquoted comma": ("unquoted_comma.csv", ("line 39", "2026-11-15,/pricing,x,80", "double quotes")),
    "wide": ("wide.csv", ('no column "path"', "Date, Cat, Dog (animal)", "[source]")),
}


def built(name: str, source: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Return ``report.json`` of the 7 days of a case."""
    folder = os.environ.get("TEST_CASES_DIR")
    if not folder:
        pytest.skip("TEST_CASES_DIR is not set: it names the folder of files as programs export them")
    file = Path(folder) / name
    url = f"sqlite:///{file}" if file.suffix in {".db", ".sqlite3"} else str(file)
    zone = "Europe/Berlin" if name.startswith("instants") else "UTC"
    config = load_config(
        None, {}, {"windows": ["7d"], "timezone": zone, "site": "a", "source": {"url": url, **source}}
    )
    with lock_output(output) as lock:
        release = build(config, lock, now=NOW, as_of=LAST)
    found: dict[str, Any] = json.loads((release.path / "7d" / "report.json").read_bytes())
    return found


@pytest.mark.parametrize("case", REPORTS)
def test_a_file_as_it_was_exported_gives_its_report(case: str, tmp_path: Path) -> None:
    name, source, total, notes = REPORTS[case]
    report = built(name, source, tmp_path)
    assert (report["total"], {note["kind"]: note["rows"] for note in report["notes"]}) == (total, notes)
    assert all(note["example"] for note in report["notes"])


@pytest.mark.parametrize("case", ERRORS)
def test_a_file_that_cannot_be_read_is_an_error_that_says_why(case: str, tmp_path: Path) -> None:
    name, words = ERRORS[case]
    with pytest.raises(SourceError) as caught:
        built(name, {}, tmp_path)
    assert [word for word in words if word not in str(caught.value)] == []
    assert list((tmp_path / "releases").glob("*")) == []
