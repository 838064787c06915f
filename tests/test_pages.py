"""The pages of a whole build: what they say, to whom they link, and what they never let through."""

import base64
import hashlib
import json
import re
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from reportgen.build import Built, build
from reportgen.config import Config
from reportgen.publish import lock_output

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
PAGES = ("index.html", "today/index.html", "7d/index.html", "30d/index.html")
LONG = "/\"onclick='x'>" + "y" * 70
HOSTILE = ("/<script>alert(1)</script>", LONG, "/\u202e&lt;", "javascript:alert(1)", "//evil.test/")
ROWS: list[tuple[int, str | None, int]] = [
    *((days, "/", 20 + days) for days in range(60) if days not in {3, 4, 11}),
    *((days, "/notes/a b?c=d", 10) for days in (0, 1, 7, 8, 9)),
    *((1, path, 4) for path in HOSTILE),
    *((1, f"/few/{n}", 1) for n in range(9)),
    *[(2, "/", -1), (2, None, 3), (5, None, 3), (-1, "/", 3)],
]
"""Days ago, path, visits: nobody counted on three dates, and the last four rows are no good."""


def store(folder: Path, rows: Iterable[tuple[int, str | None, int]] = ROWS) -> None:
    """Write the rows into a table in ``folder``."""
    with closing(sqlite3.connect(folder / "metrics.db")) as table:
        table.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        stored = (((TODAY - timedelta(days)).isoformat(), path, visits) for days, path, visits in rows)
        table.executemany("INSERT INTO metrics VALUES (?, ?, ?)", stored)
        table.commit()


def built(
    folder: Path, *, to: str = "output", hour: int = 0, if_changed: bool = False, **settings: Any
) -> Built:
    """Build the site of the table in ``folder``, so many hours after ``NOW``."""
    source = {"url": f"sqlite:///{folder / 'metrics.db'}"}
    about = {"site": "example.com", "timezone": "Europe/Berlin", "source": source} | settings
    now = NOW + timedelta(hours=hour)
    with lock_output(folder / to) as lock:
        return build(Config.model_validate(about), lock, now=now, if_changed=if_changed)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the release of the site; the table stands in the folder above its output."""
    folder = tmp_path_factory.mktemp("site")
    store(folder)
    return built(folder).release.path


class _Page(HTMLParser):
    """A page taken apart: its elements in order, with the text inside each."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.raw = file.read_text(encoding="utf-8")
        self.feed(self.raw)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}, []))
        if tag != "meta":  # the only void element here; all others are closed, in turn
            self.open.append(self.elements[-1])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element[2].append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes, _ in self.elements if name == tag]

    def texts(self, tag: str) -> list[str]:
        return [" ".join("".join(parts).split()) for name, _, parts in self.elements if name == tag]

    def figures(self) -> dict[str, list[str]]:
        values = self.texts("dd")
        return {name: values[2 * n : 2 * n + 2] for n, name in enumerate(self.texts("dt"))}


@pytest.mark.parametrize("name", [*PAGES, "404.html"])
def test_a_page_has_what_browsers_and_policies_ask_for(site: Path, name: str) -> None:
    """Language, noindex, and a policy that allows nothing but the page's own styles, by their hash."""
    page = _Page(site / name)
    metas = {meta.get("name") or meta.get("http-equiv"): meta.get("content", "") for meta in page.all("meta")}
    styles = re.findall("<style>(.*?)</style>", page.raw, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
    assert page.raw.startswith("<!doctype html>\n")
    assert (page.all("html")[0]["lang"], metas["robots"]) == ("en", "noindex")
    policy = dict(part.strip().split(" ", 1) for part in metas["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert [f"'sha256-{digest}'" for digest in digests] == [policy["style-src"]]
    assert "unsafe" not in str(policy)


@pytest.mark.parametrize("name", [*PAGES, "404.html"])
def test_nothing_on_a_page_runs_or_comes_from_another_host(site: Path, name: str) -> None:
    """No handlers, no inline styles or programs; scripts are data, or files of the release."""
    page = _Page(site / name)
    used = {key for _, attributes, _ in page.elements for key in attributes}
    assert {key for key in used if key.startswith("on")} | used & {"style", "srcset", "xlink:href"} == set()
    assert {"link", "base", "img", "iframe", "form", "object"}.isdisjoint(tag for tag, _, _ in page.elements)
    for script in page.all("script"):
        assert (
            script.get("type") == "application/json" or (site / name).parent.joinpath(script["src"]).is_file()
        )
    known = r"http://www\.w3\.org/(2000/svg|1999/xlink)|https://vega\.github\.io/schema/"
    assert re.findall(r"https?:[^\"'\s]*|url\([^)]*\)", re.sub(known, "", page.raw)) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_of_the_release(site: Path, name: str) -> None:
    page = _Page(site / name)
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {attributes.get("aria-labelledby", ids[0]) for _, attributes, _ in page.elements} <= set(ids)
    links = [link["href"] for link in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    for link in links:
        assert link.startswith("#") or (site / name).parent.joinpath(link).is_file()
    downloads = {link["href"].rpartition("/")[2] for link in page.all("a") if "download" in link}
    assert downloads >= {"daily.csv", "paths.csv", "report.json"}


@pytest.mark.parametrize(("name", "window", "dates"), [
    ("index.html", "7 days", "Tue 17 \u2013 Mon 23 Nov 2026 \u00b7 7 dates"),
    ("today/index.html", "Today", "Mon 23 Nov 2026 \u00b7 1 date"),
    ("7d/index.html", "7 days", "Tue 17 \u2013 Mon 23 Nov 2026 \u00b7 7 dates"),
    ("30d/index.html", "30 days", "Sun 25 Oct \u2013 Mon 23 Nov 2026 \u00b7 30 dates"),
])  # fmt: skip
def test_a_page_says_which_window_it_shows(site: Path, name: str, window: str, dates: str) -> None:
    """Dates, their count and zone; the windows are links, the current one is marked."""
    page = _Page(site / name)
    named = dict(zip(page.texts("a"), page.all("a"), strict=True))
    marked = {each: named[each].get("aria-current") for each in ("Today", "7 days", "30 days")}
    assert marked == dict.fromkeys(marked) | {window: "page"}
    assert (page.texts("title"), page.texts("h1")) == ([f"{window} \u00b7 example.com"], ["example.com"])
    assert f"{dates} \u00b7 Europe/Berlin \u00b7" in page.texts("header")[0]
    assert "Built 2026-11-23 16:00 UTC \u00b7 data as of Mon 23 Nov 2026" in page.texts("footer")[0]


def test_the_figures_of_the_week(site: Path) -> None:
    """Five days of "/" (20 + days ago), two of a note (10), five hostile paths (4), nine of one visit."""
    today, complete = 30, 21 + 22 + 25 + 26 + 10 + 5 * 4 + 9
    before = 28 + 29 + 30 + 32 + 33 + 2 * 10
    assert _Page(site / "7d" / "index.html").figures() == {
        "Visits": [str(today + complete), "with 30 so far today"],
        "Change on complete days": [
            f"\u25bc \u2212{100 - 100 * complete / before:.0f} % down",
            f"{complete} on Tue 17 \u2013 Sun 22 Nov 2026, {before} on Tue 10 \u2013 Sun 15 Nov 2026",
        ],
        "Daily average": [f"{complete / 6:.1f}", "of 6 complete days"],
        "Best day": ["60", "Sun 22 Nov 2026, of the complete days"],
        "Paths visited": ["16", "with at least one visit"],
    }


def test_today_shows_yesterday_and_the_weekday_last_week_as_full_days_without_percentage(site: Path) -> None:
    page = _Page(site / "today" / "index.html")
    assert page.figures() == {
        "Visits": ["30", "so far today"],
        "Yesterday": ["60", "full day, Sun 22 Nov 2026"],
        "Same day last week": ["37", "full day, Mon 16 Nov 2026"],
        "Paths visited": ["2", "with at least one visit"],
    }
    assert "What changed" not in page.texts("h2")


def test_the_tables_hold_each_day_and_each_path_and_can_be_read_aloud(site: Path) -> None:
    page = _Page(site / "7d" / "index.html")
    captions = [caption.partition(",")[0] for caption in page.texts("caption")]
    assert captions == ["Visits per day", "Paths by visits"]
    assert {th.get("scope") for th in page.all("th")} == {"col", "row"}
    rows = [row for row in page.texts("tr") if "Visits" not in row]
    assert rows[:2] + rows[3:4] + rows[7:9] == [
        "Mon 23 Nov 20263037so far",
        "Sun 22 Nov 20266038+58 %",
        "Fri 20 Nov 2026030no rows",
        "1/11469.9 %\u221238 %",
        "2/notes/a b?c=d2012.3 %\u221250 %",
    ]
    assert len(rows) == 7 + 16


@pytest.mark.parametrize("name", PAGES)
def test_the_embedded_specification_is_json_that_cannot_end_its_element(site: Path, name: str) -> None:
    page = _Page(site / name)
    scripts = re.findall(r"<script type=\"application/json\"[^>]*>(.*?)</script>", page.raw, re.DOTALL)
    specs = [json.loads(script) for script in scripts]
    assert ("<script>alert(1)" in str(specs)) == (not name.startswith("today"))
    assert [spec for spec in specs if "vega-lite" not in spec["$schema"]] == []
    assert "<" not in "".join(scripts)


def test_hostile_paths_are_shown_as_text(site: Path) -> None:
    """A long one is cut, and whole in its title."""
    page = _Page(site / "7d" / "index.html")
    assert [raw for raw in ("<script>alert", "\u202e") if raw in page.raw] == []
    shown = {"/<script>alert(1)</script>", "/<U+202E>&lt;", "javascript:alert(1)", "//evil.test/"}
    assert shown <= set(page.texts("bdi"))
    assert [bdi["title"] for bdi in page.all("bdi") if bdi] == [LONG]


def test_paths_link_to_the_site_where_its_address_is_set_and_nowhere_else(site: Path) -> None:
    release = built(site.parents[2], to="linked", site_url="https://example.com/").release
    links = [link["href"] for link in _Page(release.path / "7d" / "index.html").all("a")]
    paths = ["", "notes/a%20b?c=d", "%3Cscript%3Ealert(1)%3C/script%3E", "%E2%80%AE&lt;", "/evil.test/"]
    paths += ["%22onclick='x'%3E" + "y" * 70, *(f"few/{n}" for n in range(9))]
    assert {link for link in links if ":" in link} == {f"https://example.com/{path}" for path in paths}


def test_dates_without_rows_and_rows_left_out_are_told(site: Path) -> None:
    """In words on the page; the rows also in the report and in the manifest, by kind."""
    kinds = {"future_date": 1, "negative_visits": 1, "null_path": 2}
    notes = [{"kind": kind, "rows": rows} for kind, rows in kinds.items()]
    assert json.loads((site / "manifest.json").read_bytes())["notes"] == notes
    week = "Thu 19 \u2013 Fri 20 Nov 2026"
    for name, spans in {"today": [], "7d": [week], "30d": [f"Thu 12 Nov 2026; {week}"]}.items():
        said = _Page(site / name / "index.html").texts("main")[0]
        assert "1 row dated after today; 1 row with negative visits; 2 rows without a path." in said
        assert re.findall(r"No rows for any path on (.*?)\. ", said) == spans
        assert json.loads((site / name / "report.json").read_bytes())["notes"] == notes


def test_an_empty_table_gives_pages_that_say_so(tmp_path: Path) -> None:
    store(tmp_path, [])
    release = built(tmp_path).release.path
    week, today = (_Page(release / name / "index.html") for name in ("7d", "today"))
    assert "No visits recorded between Tue 17 Nov 2026 and Mon 23 Nov 2026." in week.texts("main")[0]
    assert "No visits recorded on Mon 23 Nov 2026." in today.texts("main")[0]
    assert "No rows for any path on Tue 17 \u2013 Mon 23 Nov 2026." in week.texts("main")[0]
    figures = week.figures()
    assert (figures["Visits"][0], figures["Change on complete days"][0]) == ("0", "0 %")


def test_the_same_rows_settings_and_time_give_the_same_bytes(site: Path) -> None:
    """All but how long the build took and how much memory."""
    again = built(site.parents[2], to="again").release.path
    one, two = (json.loads((release / "manifest.json").read_bytes()) for release in (site, again))
    measured = {"timings_s": None, "peak_memory_bytes": None}
    assert one | measured == two | measured
    assert {name: (again / name).read_bytes() for name in two["files"]} == {
        name: (site / name).read_bytes() for name in one["files"]
    }


@pytest.mark.parametrize(("sql", "settings", "changed"), [
    ("SELECT 1", {}, False),
    ("UPDATE metrics SET visits = 21 WHERE date = '2026-11-23' AND path = '/'", {}, True),
    ("UPDATE metrics SET path = '/fewer' WHERE path = '/few/8'", {}, True),
    ("UPDATE metrics SET path = '''=two' WHERE path = '=two'", {}, True),
    ("INSERT INTO metrics VALUES ('2026-11-20', '/', 0)", {}, True),
    ("INSERT INTO metrics VALUES ('2026-11-20', '/', -1)", {}, True),
    ("SELECT 1", {"site": "example.org"}, True),
])  # fmt: skip
def test_a_report_that_says_the_same_is_not_published_again(
    tmp_path: Path, sql: str, settings: Mapping[str, Any], changed: bool
) -> None:
    store(tmp_path, [*ROWS, (1, "/three", 3), (1, "=two", 2)])
    first = built(tmp_path, windows=["7d"])
    with closing(sqlite3.connect(tmp_path / "metrics.db")) as table:
        table.execute(sql)
        table.commit()
    second = built(tmp_path, hour=1, if_changed=True, windows=["7d"], **settings)
    assert (first.changed, second.changed) == (True, changed)
    assert (second.release.id != first.release.id) == changed
    assert (tmp_path / "output" / "current").resolve().name == second.release.id
