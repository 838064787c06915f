"""What ``reportgen check`` says of the rows of a source."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from reportgen.build.preflight import check_settings
from reportgen.config.settings import config_from_options
from reportgen.publish.release import lock_output, publish
from reportgen.sources.base import Finding
from tests.support.engines import ENGINES, TODAY, Row, day, make_engine

OWN_ENGINES = [name for name in ENGINES if not name.startswith("ibis")]
ENDS = "2026-09-25 to 2026-11-23, the dates a build reads"
NONE = f"none on {ENDS}: the report will say that nothing was recorded"

OLD = (
    "2026-09-14, before all dates that a build reads. Name a newer table or file in [source], or build a "
    "past report: reportgen build --as-of 2026-09-14"
)
FUTURE = (
    "all dates are after today, 2026-11-23. Check the clock of what writes them, timezone and "
    "source.date_format"
)


def said(url: str, folder: Path, today: date = TODAY, **source: object) -> list[tuple[str, str, str]]:
    """Return what is said of the rows: level, subject and message."""
    config = config_from_options({"source": {"url": url, **source}, "output": {"dir": str(folder / "out")}})
    found = [
        (each.level, each.subject, each.message)
        for each in check_settings(config, today)
        if each.subject in {"rows", "newest", "paths"}
    ]
    assert all(message.isprintable() for _, _, message in found)
    return found


RECENT: list[Row] = [
    (day(0), "/", 1200), (day(1), "/", 10), (day(2), "/a", 300), (day(6), "/b", 300), (day(7), "/a", 9),
    (day(3), "/c", 1), (day(20), "/d", 5000),
]  # fmt: skip
CASES: dict[str, tuple[list[Row], list[tuple[str, str, str]]]] = {
    "rows of this week": (RECENT, [
        ("ok", "rows", f"7 rows from 2026-11-03 to 2026-11-23, of {ENDS}"),
        ("ok", "newest", "2026-11-23; from 2026-11-17 on: 5 rows, 1,811 visits"),
        ("ok", "paths", "4 from 2026-11-17 to 2026-11-23; most visits: / (1,210), /a (300), /b (300)"),
    ]),
    "rows of last week": ([(day(8), "/old", 3), (day(9), "/old", 4), (day(9), None, 1)], [
        ("ok", "rows", f"2 rows from 2026-11-14 to 2026-11-15, of {ENDS}"),
        ("warning", "newest",
         "2026-11-15; from 2026-11-09 on: 2 rows, 7 visits. Check that the table is still written"),
        ("ok", "paths", "1 from 2026-11-09 to 2026-11-15; most visits: /old (7)"),
        ("warning", "rows", "1 will be left out: null path, such as: 2026-11-14, (nothing), 1"),
    ]),
    "older rows": ([(day(70), "/old", 3), (day(300), "/old", 4)], [
        ("warning", "rows", NONE),
        ("warning", "newest", OLD),
    ]),
    "rows of the future": ([(day(-1), "/", 3)], [
        ("warning", "rows", NONE),
        ("warning", "rows", "1 will be left out: future date, such as: 2026-11-24, /, 3"),
        ("warning", "newest", FUTURE),
    ]),
    "no rows": ([], [
        ("warning", "rows", NONE),
        ("warning", "newest", "no row with a date was found. Check [source] url, table and query"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN_ENGINES)
@pytest.mark.parametrize("rows", CASES)
def test_check_shows_whether_it_is_the_right_table(
    name: str, rows: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    stored, expected = CASES[rows]
    assert said(make_engine(name, request, tmp_path).load(stored), tmp_path) == expected


def test_older_rows_are_found_in_any_spelling(tmp_path: Path) -> None:
    older = date(2024, 2, 29)
    for text, settings in (
        ("29/02/2024", {"date_format": "%d/%m/%Y"}),
        ("20240229", {}),
        ("1709164800", {}),
        ("2024-02-29T08:00:00Z", {}),
    ):
        (tmp_path / "m.csv").write_text(f"date,path,visits\n{text},/,1\n2024-02-28,/,1\n")
        found = said(str(tmp_path / "m.csv"), tmp_path, **settings)
        assert found[1][2].startswith(f"{older}, before all dates")


@pytest.mark.parametrize(
    ("row", "settings", "advice"),
    [
        (f"{TODAY},/,1.210", {}, '1.210. Set source.thousands to "."'),
        (f"{TODAY},/,1.000", {}, '1.000. Set source.thousands to "." or ","'),
        (f"{TODAY},/,1'210", {}, """1'210. Set source.thousands to "'\""""),
        (f"{TODAY},/,many", {}, "/, many"),
        (f"{TODAY},/,1.210", {"thousands": ","}, "/, 1.210"),
        ("11/23/2026,/,1", {}, '/, 1. Set source.date_format to "%m/%d/%Y"'),
        ("11/06/2026,/,1", {}, '/, 1. Set source.date_format to "%m/%d/%Y" or "%d/%m/%Y"'),
        ("11/23/2026,/,1", {"date_format": "%d/%m/%Y"}, "11/23/2026, /, 1"),
    ],
)
def test_check_offers_the_setting_that_reads_a_bad_row(
    row: str, settings: dict[str, str], advice: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text(f"date,path,visits\n{TODAY},/,1\n{row}\n")
    assert said(str(tmp_path / "m.csv"), tmp_path, **settings)[-1][2].endswith(advice)


def test_a_path_cannot_change_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f'date,path,visits\n{TODAY},"/\x1b[2J\u202e\r\n{"x" * 500}",1\n')
    ((_, _, message),) = [each for each in said(str(tmp_path / "m.csv"), tmp_path) if each[1] == "paths"]
    assert (len(message) < 150, "␛[2J<U+202E>" in message, message.endswith("x (1)")) == (True, True, True)


def test_check_ends_after_the_statement_timeout(pg: str, tmp_path: Path) -> None:
    query = "SELECT current_date AS date, pg_sleep(100)::text AS path, 1 AS visits"
    config = config_from_options({"source": {"url": pg, "query": query, "statement_timeout_s": 1}})
    last = list(check_settings(config, TODAY + timedelta(days=1)))[-2]
    assert (last.level, "longer than statement_timeout_s (1 s)" in last.message) == ("error", True)


@pytest.mark.parametrize("name", ["sqlite", "csv"])
def test_check_warns_of_texts_of_times_without_a_zone(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = make_engine(name, request, tmp_path).load([("2026-11-23 23:30:00", "/", 5)])

    def zones(**source: str) -> list[Finding]:
        options = {"source": {"url": url, **source}, "timezone": "Europe/Berlin"}
        found = check_settings(config_from_options(options), TODAY)
        return [each for each in found if each.subject == "zone" and each.level == "warning"]

    assert ["Set timestamp_zone in" in each.message for each in zones()] == [True]
    assert zones(timestamp_zone="UTC") == []


def test_check_finds_that_the_source_was_lost(tmp_path: Path) -> None:
    """The sample's figures are not shown for those of the last release."""
    with lock_output(tmp_path) as lock:
        publish(lock, {"index.html": b"x"}, {"source": "site.db"}, built_at=datetime.now(UTC), keep=1)
    found = list(check_settings(config_from_options({"output": {"dir": tmp_path}}), TODAY))
    (error,) = [each.message for each in found if each.level == "error"]
    assert error.startswith(
        "source.url: is not set, and the last release is of site.db. It stays. Set DATABASE_URL"
    )
    assert not [each for each in found if each.subject in {"rows", "newest"}]


def test_check_warns_if_no_source_is_set() -> None:
    found = [each for each in check_settings(config_from_options({}), TODAY) if each.subject == "source"]
    assert [(each.level, each.message) for each in found] == [
        ("warning", "no source is set, so this is the sample site. Set DATABASE_URL")
    ]
