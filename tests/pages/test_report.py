"""The pages of a whole build: content, links, files, and what they escape."""

import base64
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest

from reportgen import __version__
from reportgen.build.pipeline import build
from reportgen.config.settings import Config
from reportgen.core.errors import RenderError
from reportgen.core.text import ENGLISH
from reportgen.core.windows import Span
from reportgen.pages.templates import TEMPLATES, packaged_templates
from reportgen.publish.history import BuildResult
from reportgen.publish.release import lock_output
from tests.support.documents import read_blocks

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
PAGES = ("index.html", "today/index.html", "7d/index.html", "30d/index.html")
ALL = (*PAGES, "404.html")
ONE_WINDOW: dict[str, Any] = {"windows": ["today"], "default_window": "today"}
"""Settings of a build that takes an eighth of the time, as it draws one chart."""
DATES = {
    "today": "Mon 23 Nov 2026",
    "7d": "Tue 17 \u2013 Mon 23 Nov 2026",
    "30d": "Sun 25 Oct \u2013 Mon 23 Nov 2026",
}
DAYS = {"today": "1 day", "7d": "7 days", "30d": "30 days"}
SVG = "{http://www.w3.org/2000/svg}"
REFERENCE = Path(__file__).parents[2] / "docs" / "reference.md"
LONG = "/\"onclick='x'>" + "y" * 70
HOSTILE = ("/<script>alert(1)</script>", LONG, "/\u202e&lt;", "javascript:alert(1)", "//evil.test/")
ROWS: list[tuple[int, str | None, int]] = [
    *((days, "/", 20 + days) for days in range(60) if days not in {3, 4, 11}),
    *((days, "/notes/a b?c=d", 10) for days in (0, 1, 7, 8, 9)),
    *((1, path, 4) for path in HOSTILE),
    *((1, f"/few/{n}", 1) for n in range(9)),
    *[(2, "/", -1), (2, None, 3), (5, None, 3), (-1, "/", 3)],
]
"""Days ago, path, visits: three dates have no rows, and the last four rows are invalid."""


def store(folder: Path, rows: Iterable[tuple[int, str | None, int]] = ROWS) -> None:
    """Write the rows into a table in ``folder``."""
    with closing(sqlite3.connect(folder / "metrics.db")) as table:
        table.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        stored = (((TODAY - timedelta(days)).isoformat(), path, visits) for days, path, visits in rows)
        table.executemany("INSERT INTO metrics VALUES (?, ?, ?)", stored)
        table.commit()


def built(
    folder: Path,
    *,
    to: str = "output",
    hour: int = 0,
    if_changed: bool = False,
    as_of: date | None = None,
    **settings: Any,
) -> BuildResult:
    """Build the site of the table in ``folder``, ``hours`` after ``NOW``, in this process: it is faster."""
    source = {"url": f"sqlite:///{folder / 'metrics.db'}"}
    about = {"site": "example.com", "timezone": "Europe/Berlin", "source": source} | settings
    now = NOW + timedelta(hours=hour)
    with lock_output(folder / to) as lock:
        return build(
            Config.model_validate(about), lock, now=now, as_of=as_of, if_changed=if_changed, warm=folder
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the release of the site; the table is in the folder above its output."""
    folder = tmp_path_factory.mktemp("site")
    store(folder)
    return built(folder).path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Give a folder with the table of the site, to be built with other settings."""
    store(tmp_path)
    return tmp_path


class _Page(HTMLParser):
    """The elements of a page in order, with the text inside each."""

    VOID = frozenset({"br", "hr", "link", "meta"})

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
        if tag not in self.VOID:  # all others are closed, in turn
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for element in reversed(self.open):
            element[2].append(data)
            if element[0] == "details":  # the elements around it do not show a closed explanation
                break

    def matching(self, tag: str, **wanted: str) -> list[tuple[dict[str, str], str]]:
        """Return attributes and text of each element with this tag and these attributes."""
        return [
            (attributes, " ".join("".join(parts).split()))
            for name, attributes, parts in self.elements
            if name == tag and wanted.items() <= attributes.items()
        ]

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        return [attributes for attributes, _ in self.matching(tag, **wanted)]

    def texts(self, tag: str, **wanted: str) -> list[str]:
        return [text for _, text in self.matching(tag, **wanted)]

    def figures(self) -> dict[str, list[str]]:
        values = self.texts("dd")
        return {name: values[2 * n : 2 * n + 2] for n, name in enumerate(self.texts("dt"))}

    def head(self) -> dict[str, str]:
        """Return the content of the page's ``meta`` elements, by name."""
        return {
            meta.get("name") or meta["http-equiv"]: meta["content"]
            for meta in self.all("meta")
            if "content" in meta
        }

    def policy(self) -> dict[str, str]:
        parts = self.head()["Content-Security-Policy"].split("; ")
        return dict(part.split(" ", 1) for part in parts)

    def style_hashes(self) -> list[str]:
        """Return what a policy calls the page's style sheets."""
        styles = re.findall("<style>(.*?)</style>", self.raw, re.DOTALL)
        digests = [base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() for style in styles]
        return [f"'sha256-{digest}'" for digest in digests]

    def live(self) -> dict[str, Any]:
        """Return the JSON of each chart's script element by its id."""
        found = re.findall(
            r'<script type="application/json" id="([^"]*)">(.*?)</script>', self.raw, re.DOTALL
        )
        return {name: json.loads(text) for name, text in found}


def first(release: Path) -> _Page:
    """Return the page of the default window."""
    return _Page(release / "index.html")


def week(release: Path) -> _Page:
    """Return the page of seven days."""
    return _Page(release / "7d" / "index.html")


# The document.


@pytest.mark.parametrize("name", ALL)
def test_a_page_has_the_metadata_of_its_head(site: Path, name: str) -> None:
    """Language, direction, noindex, no referrer, and an icon that is not a file."""
    page = _Page(site / name)
    head = page.head()
    assert page.raw.startswith("<!doctype html>\n")
    assert page.all("html") == [{"lang": "en", "data-locale": "en", "dir": "ltr"}]
    assert (head["robots"], head["referrer"], head["color-scheme"]) == (
        "noindex",
        "no-referrer",
        "light dark",
    )
    assert head["viewport"] == "width=device-width, initial-scale=1"
    (link,) = page.all("link")
    assert link["rel"] == "icon"
    assert link["href"].startswith("data:image/svg+xml,")
    assert len(page.texts("h1")) == 1
    assert len(page.all("main", id="content")) == 1


@pytest.mark.parametrize("name", ALL)
def test_the_policy_allows_the_pages_own_styles_and_files_and_nothing_else(site: Path, name: str) -> None:
    """The one style sheet by its hash, scripts from files of the same place, the icon; no ``unsafe-…``."""
    page = _Page(site / name)
    (style,) = page.style_hashes()
    assert page.policy() == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": style,
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("name", ALL)
def test_nothing_on_a_page_runs_or_comes_from_another_host(site: Path, name: str) -> None:
    """No handlers, no inline styles or programs; scripts are data, or one file of the release."""
    page = _Page(site / name)
    used = {key for _, attributes, _ in page.elements for key in attributes}
    assert {key for key in used if key.startswith("on")} | used & {"style", "srcset", "xlink:href"} == set()
    active = {"base", "embed", "form", "iframe", "image", "img", "object", "use"}
    assert active.isdisjoint(tag for tag, _, _ in page.elements)
    programs = [script for script in page.all("script") if script.get("type") != "application/json"]
    assert len(programs) == (name != "404.html")
    for script in programs:
        assert set(script) == {"src", "defer"}
        assert (site / name).parent.joinpath(script["src"]).is_file()
        assert re.search(rf'<script src="{re.escape(script["src"])}" defer></script>', page.raw)
    known = r"http://www\.w3\.org/(2000/svg|1999/xlink)|https://vega\.github\.io/schema/"
    assert re.findall(r"https?:[^\"'\s]*|url\([^)]*\)", re.sub(known, "", page.raw)) == []


@pytest.mark.parametrize("name", ["report", "vega"])
def test_a_script_has_the_hash_of_its_content_in_its_name(site: Path, name: str) -> None:
    """So that caches may keep it forever."""
    (file,) = (site / "assets").glob(f"{name}.*.js")
    assert file.name == f"{name}.{hashlib.sha256(file.read_bytes()).hexdigest()[:10]}.js"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_the_bundle_that_makes_its_charts_interactive(site: Path, name: str) -> None:
    (body,) = _Page(site / name).all("body")
    bundle = (site / name).parent.joinpath(body["data-vega"]).resolve()
    assert (bundle.parent, bundle.is_file()) == ((site / "assets").resolve(), True)
    assert "data-vega" not in _Page(site / "404.html").all("body")[0]


# Links.


@pytest.mark.parametrize("name", ALL)
def test_every_link_is_a_file_of_the_release(site: Path, name: str) -> None:
    """From a server: a directory is its index. From the file system, too, but for the page of errors."""
    page = _Page(site / name)
    ids = [attributes["id"] for _, attributes, _ in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {attributes.get("aria-labelledby", ids[0]) for _, attributes, _ in page.elements} <= set(ids)
    links = [link["href"] for link in page.all("a")]
    assert len(links) > len(PAGES) - 1
    for link in links:
        path = urlsplit(urljoin(f"https://host.test/{name}", link))
        file = site / path.path[1:]
        assert path.netloc == "host.test"
        assert (file / "index.html" if path.path.endswith("/") else file).is_file(), link
        assert path.fragment in {"", *ids}
        if name != "404.html" and not link.startswith("#"):
            assert (site / name).parent.joinpath(link).is_file(), link


@pytest.mark.parametrize("name", PAGES)
def test_every_file_of_a_window_can_be_downloaded_from_its_page(site: Path, name: str) -> None:
    """The data, and each chart as an image of its own that says what it shows.

    Files are saved by names that still say what they are of, beside those of other days and sites.
    """
    page = _Page(site / name)
    downloads = [(link, text) for link, text in page.matching("a") if "download" in link]
    links = {text: link["href"] for link, text in downloads}
    window = "7d" if name == "index.html" else name.partition("/")[0]
    assert [link["download"] for link, _ in downloads] == [
        f"example.com-{window}-2026-11-23-{link['href'].rpartition('/')[2]}" for link, _ in downloads
    ]
    files = {(site / name).parent.joinpath(link).resolve() for link in links.values()}
    kept = (file for file in (site / window).iterdir() if file.suffix != ".html" and not is_packed(file))
    assert files == {file.resolve() for file in kept}
    assert {"Days as CSV", "Paths as CSV", "All of it as JSON"} <= set(links)
    charts = page.all("div", role="img")
    drawings = [text for text in links if text.endswith(" as SVG")]
    assert len(drawings) == len(charts)
    for text, chart in zip(drawings, charts, strict=True):
        drawing = ET.parse((site / name).parent / links[text]).getroot()
        assert f"{drawing.findtext(f'{SVG}title')} as SVG" == text
        assert chart["aria-label"].startswith(drawing.findtext(f"{SVG}desc", "?"))
        about = f"example.com \u00b7 {DATES[window]} \u00b7 {DAYS[window]} \u00b7 Europe/Berlin"
        assert [words.text for words in drawing.findall(f"{SVG}text")] == [
            drawing.findtext(f"{SVG}title"),
            about,
        ]


LINKED = {
    "/": "",
    "/notes/a b?c=d": "notes/a%20b?c=d",
    "/<script>alert(1)</script>": "%3Cscript%3Ealert(1)%3C/script%3E",
    "/\u202e&lt;": "%E2%80%AE&lt;",
    "//evil.test/": "/evil.test/",
    LONG: "%22onclick='x'%3E" + "y" * 70,
    "/\\evil.test": "%5Cevil.test",
    "/@evil.test": "@evil.test",
    "/%zz\n\x00": "%zz%0A%00",
    "/caf\u00e9": "caf%C3%A9",
    "/#/route?a=1": "#/route?a=1",
    "https://example.com/whole url": "whole%20url",
}
"""Stored paths, and where they lead below the site's address."""

UNLINKED = (
    "javascript:alert(1)", "https://evil.test/", "data:text/html,x", ".evil.test", "@evil.test", "",
    "https://example.com.evil.test/", "https://example.com@evil.test/", "https://evil.test\\@example.com/",
    "https://example.com:8080/", "ftp://example.com/", "http:/example.com/", "https://",
)  # fmt: skip


def test_paths_link_to_the_site_if_its_address_is_set(tmp_path: Path) -> None:
    """A link of any path stays on the site; a path without a leading slash is text."""
    store(tmp_path, [(0, path, 1) for path in (*LINKED, *UNLINKED)])
    page = first(built(tmp_path, site_url="https://example.com/", **ONE_WINDOW).path)
    out = {link["href"] for link in page.all("a") if ":" in link["href"]}
    assert out == {f"https://example.com/{target}" for target in LINKED.values()}
    assert {urlsplit(link).netloc for link in out} == {"example.com"}
    assert len(page.texts("bdi")) >= len(LINKED) + len(UNLINKED)


def test_a_stored_url_on_the_host_of_the_site_is_its_own_link(tmp_path: Path) -> None:
    urls = {
        "https://example.com?q=1",
        "https://example.com#/route",
        "HTTP://Example.COM/a",
        "https://example.com",
    }
    store(tmp_path, [(0, url, 1) for url in urls])
    page = first(built(tmp_path, site_url="https://example.com", **ONE_WINDOW).path)
    assert {link["href"] for link in page.all("a") if ":" in link["href"]} == urls


def test_paths_are_text_if_no_address_is_set(site: Path) -> None:
    assert [link for link in week(site).all("a") if ":" in link["href"]] == []


# The files.


def is_packed(file: Path) -> bool:
    """Return whether a file is the compressed form of another."""
    return file.suffix in {".br", ".gz"} and file.with_suffix("").is_file()


def test_the_reference_names_every_file_of_a_release_and_what_is_in_it(site: Path) -> None:
    """The columns of each table and the keys of the manifest, too."""
    (tree,) = (block.text for block in read_blocks("docs/reference.md") if block.heading == "Files")
    contents = dict(re.findall(r"^ +(?:\w+/)?([\w-]+\.\w+) {2,}(.*)$", tree, re.MULTILINE))
    named = set(re.findall(r"[\w-]+\.(?:html|json|csv|svg|txt)", tree.replace("report.schema.json", "")))
    files = {file.relative_to(site) for file in site.rglob("*") if file.is_file() and not is_packed(file)}
    assert named == {file.name for file in files if file.parent.name != "assets"}
    assert "assets/" in tree
    assert set(contents["manifest.json"].split(", ")) == set(
        json.loads((site / "manifest.json").read_bytes())
    )
    for name in ("daily.csv", "paths.csv"):
        columns = (site / "7d" / name).read_text("utf-8").splitlines()[0].split(",")
        assert contents[name].partition(":")[0].split(", ") == columns


def test_the_reference_names_every_template_that_can_be_overridden() -> None:
    text = REFERENCE.read_text("utf-8").partition("### Templates")[2].partition("from [templates/]")[0]
    assert re.findall(r"`([\w.]+)`", text) == list(TEMPLATES)
    assert set(TEMPLATES) == {file.name for file in packaged_templates().iterdir()}


# The content of a page.


@pytest.mark.parametrize(("name", "window", "dates"), [
    ("index.html", "7 days", "Tue 17 \u2013 Mon 23 Nov 2026 \u00b7 7 days"),
    ("today/index.html", "Today", "Mon 23 Nov 2026 \u00b7 1 day"),
    ("7d/index.html", "7 days", "Tue 17 \u2013 Mon 23 Nov 2026 \u00b7 7 days"),
    ("30d/index.html", "30 days", "Sun 25 Oct \u2013 Mon 23 Nov 2026 \u00b7 30 days"),
])  # fmt: skip
def test_a_page_says_which_window_it_shows(site: Path, name: str, window: str, dates: str) -> None:
    """Dates, their count, zone and hour; the windows are links, the current one is marked."""
    page = _Page(site / name)
    named = {text: link for link, text in page.matching("a")}
    marked = {each: named[each].get("aria-current") for each in ("Today", "7 days", "30 days")}
    assert marked == dict.fromkeys(marked) | {window: "page"}
    assert (page.texts("title"), page.texts("h1")) == ([f"{window} \u00b7 example.com"], ["example.com"])
    span = dates.partition(" \u00b7")[0]
    assert page.head()["description"] == f"Visits to example.com, {span}"
    assert f"{dates} \u00b7 Europe/Berlin \u00b7 today so far, updated 17:00" in page.texts("header")[0]


@pytest.mark.parametrize("name", PAGES)
def test_the_footer_says_when_the_page_was_built_and_when_the_next_is_due(site: Path, name: str) -> None:
    """For readers as they write it, for programs with its zone."""
    page = _Page(site / name)
    (footer,) = page.texts("footer")
    built_at, as_of, due, version = footer.split(" \u00b7 ")
    assert (built_at, as_of) == ("Built Mon 23 Nov 2026, 17:00", "data as of Mon 23 Nov 2026")
    assert (due, version) == ("next build due 17:15", f"reportgen {__version__}")
    times = {time["datetime"]: text for time, text in page.matching("time")}
    assert {datetime.fromisoformat(moment).utcoffset() for moment in times} == {timedelta(hours=1)}
    assert set(times) == {"2026-11-23T17:00:00+01:00", "2026-11-23T17:15:00+01:00"}
    assert page.texts("time", **{"class": "ago"}) == ["17:00"]


def test_a_page_without_a_schedule_is_never_overdue(table: Path) -> None:
    page = first(built(table, schedule="manual", **ONE_WINDOW).path)
    assert "data-due" not in page.all("body")[0]
    assert not [notice for notice in page.matching("p") if "overdue" in notice[0].get("class", "")]
    assert "due" not in page.texts("footer")[0]


@pytest.mark.parametrize(("schedule", "due", "grace", "words"), [
    ("*/15 * * * *", "2026-11-23T17:15:00+01:00", 900, "17:15"),
    ("6h", "2026-11-23T23:00:00+01:00", 21_600, "23:00"),
    ("30s", "2026-11-23T17:00:30+01:00", 900, "17:00"),
    ("0 6 * * *", "2026-11-24T06:00:00+01:00", 86_400, "Tue 24 Nov 2026, 06:00"),
])  # fmt: skip
def test_a_page_knows_when_it_is_overdue(
    table: Path, schedule: str, due: str, grace: int, words: str
) -> None:
    """One interval late, at least 15 minutes; the banner is hidden until the script shows it."""
    page = first(built(table, schedule=schedule, **ONE_WINDOW).path)
    (body,) = page.all("body")
    assert (body["data-due"], body["data-grace"]) == (due, str(grace))
    (banner,) = [notice for notice in page.matching("p") if "overdue" in notice[0].get("class", "")]
    assert "hidden" in banner[0]
    assert banner[1].startswith("The next build was due ")
    assert f"next build due {words} " in page.texts("footer")[0]


def test_a_report_of_a_past_day_has_no_next_build(table: Path) -> None:
    """It counts the day as over, and leaves out later rows."""
    release = built(table, as_of=TODAY - timedelta(days=1)).path
    for name in PAGES:
        page = _Page(release / name)
        assert {"data-due", "data-grace"}.isdisjoint(page.all("body")[0])
        assert "overdue" not in str(page.all("p"))
        assert "next build" not in page.texts("body")[0]
        assert "data as of Sun 22 Nov 2026" in page.texts("footer")[0]
        assert "as of the end of Sun 22 Nov 2026" in page.texts("header")[0]
        assert "so far" not in page.texts("body")[0]


def test_the_figures_of_the_week(site: Path) -> None:
    """Five days of "/" (20 + days ago), two of a note (10), five hostile paths (4), nine of one visit."""
    today, complete = 30, 21 + 22 + 25 + 26 + 10 + 5 * 4 + 9
    before = 28 + 29 + 32 + 33 + 2 * 10  # not the 30 of a date whose date in the week has no rows
    assert week(site).figures() == {
        "Visits": [str(today + complete), "with 30 so far today"],
        "Change": [
            f"\u25bc \u2212{100 - 100 * complete / before:.1f}% down",
            "4 days of 17 \u2013 22 Nov against 10 \u2013 15 Nov",
        ],
        "Daily average": [f"{complete / 6:.1f}", "of 6 complete days, 2 without rows"],
        "Best day": ["60", "Sun 22 Nov 2026"],
        "Paths visited": ["16", "with at least one visit"],
    }


def explanations(page: _Page) -> dict[str, str]:
    """Return the texts that the question marks of a page open, by name."""
    names = [mark["aria-label"].removeprefix("About: ") for mark in page.all("summary")]
    return dict(zip(names, (text.removeprefix("?") for text in page.texts("details")), strict=True))


def test_explanations_speak_of_what_the_page_shows(site: Path, table: Path, tmp_path: Path) -> None:
    """Of comparisons, today, what is left out, and a bar that is cut, only where there is one."""
    usual = explanations(week(site))
    assert set(usual) == {
        "Visits", "Change", "What changed", "Visits per day by path",
        "Visits per day against the 7 days before", "Top paths",
    }  # fmt: skip
    assert usual["Visits"].endswith("About these data says what is left out.")
    assert "at least 7 visits" in usual["What changed"]
    assert "A dashed end is a day that is not over." in usual["Visits per day against the 7 days before"]
    assert set(explanations(_Page(site / "today" / "index.html"))) == {"Visits", "Top paths"}

    over = explanations(week(built(table, to="over", as_of=date(2026, 11, 22)).path))
    assert set(over) == set(usual)
    assert not re.search("[Tt]oday|dashed", " ".join(over.values()))

    (tmp_path / "young").mkdir()
    store(tmp_path / "young", [(0, "/", 5), (1, "/", 12), (2, "/", 900), (3, "/", 11)])
    young = explanations(week(built(tmp_path / "young", words={"visit": "hit", "visits": "hits"}).path))
    assert set(young) == {"Hits", "Hits per day by path", "Top paths"}
    assert young["Hits"] == "All hits of these dates, with today so far."
    assert "A bar with a gap is far higher" in young["Hits per day by path"]
    assert "cut" not in usual["Visits per day by path"]


def test_today_shows_yesterday_and_the_weekday_last_week_as_full_days_without_percentage(site: Path) -> None:
    page = _Page(site / "today" / "index.html")
    assert page.figures() == {
        "Visits": ["30", "so far today"],
        "Yesterday": ["60", "full day, Sun 22 Nov 2026"],
        "Same day last week": ["37", "full day, Mon 16 Nov 2026"],
        "Paths visited": ["2", "with at least one visit"],
    }
    assert "What changed" not in page.texts("h2")


@pytest.mark.parametrize(("name", "dates"), [
    ("today", [8, 8, 8]),
    ("7d", [7, 3, 6, 6] + [7] * 16),
    ("30d", [30, 25, 29, 29] + [30] * 16),
])  # fmt: skip
def test_numbers_of_a_series_have_a_small_chart(site: Path, name: str, dates: list[int]) -> None:
    """Figures first, then each listed path: a box as wide as its dates, hidden from screen readers.

    Bars stand on dates; the lines of the change run between them.
    """
    page = _Page(site / name / "index.html")
    pictures = page.all("svg", **{"class": "spark"})
    assert [int(picture["viewbox"].split()[2]) for picture in pictures] == dates
    assert {picture["aria-hidden"] for picture in pictures} == {"true"}
    assert pictures == [
        attributes for attributes, text in page.matching("svg", **{"class": "spark"}) if not text
    ]


def test_what_changed_names_paths_in_isolation(site: Path) -> None:
    """A path cannot change the direction of the sentence around it."""
    page = week(site)
    (sentence,) = (text for text in page.texts("li") if "all other paths" in text)
    assert sentence == "/ lost 28, /notes/a b?c=d lost 10; all other paths gained 29; together \u22129."
    changes = page.raw.partition('<ul class="changes">')[2].partition("</ul>")[0]
    assert re.findall(r'<bdi class="path" dir="ltr">(.*?)</bdi>', changes) == ["/", "/notes/a b?c=d"]


def test_the_tables_hold_each_day_and_each_path_and_can_be_read_aloud(site: Path) -> None:
    page = week(site)
    captions = [caption.partition(",")[0] for caption in page.texts("caption")]
    assert captions == ["Visits per day", "Paths by visits"]
    # Whichever way a reader has sorted it.
    assert page.texts("caption")[0] == "Visits per day, Tue 17 \u2013 Mon 23 Nov 2026"
    assert {th.get("scope") for th in page.all("th")} == {"col", "row"}
    rows = [row for row in page.texts("tr") if "Visits" not in row]
    assert rows[:2] + rows[3:4] + rows[7:9] == [
        "Mon 23 Nov 20263037so far",
        "Sun 22 Nov 20266038+58%",
        "Fri 20 Nov 2026030no rows",
        "1/11469.9%\u221223%",
        "2/notes/a b?c=d2012.3%\u221250%",
    ]
    assert len(rows) == 7 + 16


def test_a_long_table_of_days_is_below_the_paths_and_captions_explain_what_is_shaded(table: Path) -> None:
    release = built(table, windows=["30d", "year"], default_window="30d").path
    page = (release / "year" / "index.html").read_text()
    assert page.index('id="paths"') < page.index('id="days"')
    assert "light bars lack some days of the week" in page
    assert "weekends shaded" not in page
    page = (release / "30d" / "index.html").read_text()
    assert page.index('id="days"') < page.index('id="paths"')
    assert "weekends shaded" in page
    assert "light bars" not in page


def test_a_change_of_a_path_names_the_numbers_behind_it(site: Path) -> None:
    """On a page of one day there is no change to explain."""
    cells = [(cell["title"], text) for cell, text in week(site).matching("td") if "title" in cell]
    assert cells[0] == ("94 against 122 on 4 of 6 complete days", "\u221223%")
    assert [text for title, text in cells if title == "4 against 0 on 4 of 6 complete days"] == ["new"] * 5
    assert not [cell for cell in _Page(site / "today" / "index.html").all("td") if "title" in cell]


def test_cells_hold_their_values_for_sorting(site: Path) -> None:
    """Values that are not numbers are empty; "new" sorts above any change."""
    cells = [(cell["data-v"], text) for cell, text in week(site).matching("td") if "data-v" in cell]
    values = {text: value for value, text in cells}
    assert (values["so far"], values["no rows"], values["new"]) == ("", "", "Infinity")
    assert (values["+58%"], values["\u221250%"], values["60"]) == ("0.5789", "-0.5000", "60")
    heads = [(head, text) for head, text in week(site).matching("th") if "aria-sort" in head]
    assert [(head["aria-sort"], text) for head, text in heads] == [
        ("descending", "Date"),
        ("ascending", "Rank"),
    ]


def test_the_path_table_ends_at_top_paths_and_says_what_it_leaves_out(table: Path) -> None:
    """Table and ``report.json`` list as many; ``paths.csv`` holds all of them."""
    release = built(table, top_paths=3).path
    page, report = week(release), json.loads((release / "7d" / "report.json").read_bytes())
    ranks = page.texts("td", **{"class": "n rank"})
    assert ranks == ["1", "2", "3"]
    assert [table["data-noun"] for table in page.all("table")] == ["days", "listed paths"]
    assert len(report["paths"]) == 3
    left = report["other"]
    assert left == report["total"] - sum(path["visits"] for path in report["paths"]) > 0
    (note,) = (text for text in page.texts("p") if "paths.csv" in text)
    assert note == f"3 of 16 paths; the others have {left} visits together. paths.csv lists them all."
    assert len((release / "7d" / "paths.csv").read_bytes().splitlines()) == 1 + 16
    today = _Page(release / "today" / "index.html")
    assert not any("paths.csv lists" in text for text in today.texts("p"))
    assert [table["data-noun"] for table in today.all("table")] == ["day", "paths"]


# Charts.


CHARTS = {
    "today": {"top-paths": "Visits by path"},
    "7d": {
        "visits-by-path": "Visits per day by path",
        "against-previous": "Visits per day against the 7 days before",
    },
    "30d": {
        "visits-by-path": "Visits per day by path",
        "against-previous": "Visits per day against the 30 days before",
    },
}


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_drawn_in_the_page_in_two_widths_with_a_text_alternative(site: Path, name: str) -> None:
    """Today's paths; otherwise days by path, and days against the days before."""
    page = _Page(site / name / "index.html")
    sections = {text: section["id"] for section, text in page.matching("h2")}
    charts = page.all("div", **{"class": "chart"})
    assert {sections[title]: title for title in CHARTS[name].values()} == CHARTS[name]
    assert [chart["data-live"] for chart in charts] == [f"{chart}-live" for chart in CHARTS[name]]
    for chart in charts:
        assert chart["role"] == "img"
        assert chart["aria-label"].endswith(" Dates are in the zone Europe/Berlin.")
    about = f"{DATES[name]} \u00b7 Europe/Berlin"
    if name == "today":
        about += " \u00b7 paths in the colours of the other pages, grey where they have none"
    else:
        about += " \u00b7 weekends shaded"
    compared = {"7d": "4 of 6 complete days", "30d": "26 of 29 complete days"}.get(name, "")
    without_rows = {"7d": 2, "30d": 3}.get(name)
    assert page.texts("p", **{"class": "sub"}) == [
        *[f"{compared} compared: {without_rows} without rows."] * bool(compared),
        *[about] * len(charts),
        *[f"Visits of all days \u00b7 change on {compared}"] * bool(compared),
    ]
    widths = [each["class"] for each in page.all("div") if each.get("class") in {"wide", "narrow"}]
    assert widths == ["wide", "narrow"] * len(charts)


def test_the_text_alternatives_of_charts_have_their_numbers(site: Path) -> None:
    by_path, compared = (chart["aria-label"] for chart in week(site).all("div", role="img"))
    assert by_path.startswith(
        "163 visits on Tue 17 \u2013 Mon 23 Nov 2026 (7 days); most on Sun 22 Nov 2026: 60. By path: / 114, "
    )
    assert compared.startswith(
        "Tue 17 \u2013 Mon 23 Nov 2026 (7 days): 133 visits on 4 of 6 complete days "
        "(Tue 17 \u2013 Sun 22 Nov 2026) against 142 on Tue 10 \u2013 Sun 15 Nov 2026."
    )
    assert "Today so far 30, against 37 on the whole of the day 7 days before." in compared
    for alternative in (by_path, compared):
        assert alternative.endswith(
            " No rows on Thu 19 \u2013 Fri 20 Nov 2026. Dates are in the zone Europe/Berlin."
        )


@pytest.mark.parametrize("name", PAGES)
def test_each_chart_has_its_specifications_as_json_that_cannot_end_its_element(site: Path, name: str) -> None:
    """Both widths share their rows, and need nothing else to become interactive."""
    page = _Page(site / name)
    live = page.live()
    assert list(live) == [chart["data-live"] for chart in page.all("div", role="img")]
    for each in live.values():
        assert set(each) == {"datasets", "lines", "tips", "wide", "narrow"}
        assert all("vega-lite" in each[width]["$schema"] for width in ("wide", "narrow"))
        assert '"url"' not in json.dumps(each)
    assert ("<script>alert(1)" in str(live)) == (not name.startswith("today"))
    scripts = re.findall(r"<script type=\"application/json\"[^>]*>(.*?)</script>", page.raw, re.DOTALL)
    assert len(scripts) == len(page.texts("script")) - 1
    assert re.findall(r"[<>&\u2028\u2029]", "".join(scripts)) == []


# Escaping.


def test_hostile_paths_are_shown_as_text(site: Path) -> None:
    """Isolated, from left to right; a long one is cut, and whole for search, copy and in its title."""
    page = week(site)
    assert [raw for raw in ("<script>alert", "\u202e") if raw in page.raw] == []
    shown = {"/<script>alert(1)</script>", "/<U+202E>&lt;", "javascript:alert(1)", "//evil.test/", LONG}
    assert shown <= set(page.texts("bdi"))
    assert {bdi["dir"] for bdi in page.all("bdi")} == {"ltr"}
    assert [bdi["title"] for bdi in page.all("bdi") if "title" in bdi] == [LONG]
    (cut,) = page.texts("span", **{"class": "cut"})
    assert 0 < len(cut) < len(LONG)
    assert cut in LONG


def test_a_hostile_name_of_the_site_is_shown_as_text(table: Path) -> None:
    name = '"></title><script>alert(1)</script>{{ 7 * 7 }}'
    release = built(table, site=name, **ONE_WINDOW).path
    for page in (_Page(release / each) for each in ("index.html", "today/index.html", "404.html")):
        assert page.texts("h1") == [name]
        assert page.texts("title")[0].endswith(f" \u00b7 {name}")
        assert "<script>alert" not in page.raw


# The intro.


def intro_of(table: Path, intro: str) -> tuple[_Page, str]:
    """Return a page with this intro, and the markup of the intro alone."""
    page = first(built(table, intro=intro, **ONE_WINDOW).path)
    return page, page.raw.partition('<div class="intro">')[2].partition("</div>")[0].strip()


def test_an_intro_is_below_the_sites_name_as_markdown(table: Path) -> None:
    text = "Read **this**, *or*\n[not](https://a.test/?b=c&d).\n\n- one\n- `two < 3`\n"
    page, intro = intro_of(table, text)
    assert page.raw.index("</h1>") < page.raw.index(intro) < page.raw.index("<nav")
    assert intro == (
        '<p>Read <strong>this</strong>, <em>or</em>\n<a href="https://a.test/?b=c&amp;d">not</a>.</p>\n'
        "<ul>\n<li>one</li>\n<li><code>two &lt; 3</code></li>\n</ul>"
    )


def test_without_an_intro_there_is_no_element_for_it(site: Path) -> None:
    assert "intro" not in [element.get("class") for element in week(site).all("div")]


@pytest.mark.parametrize("intro", [
    "<b onclick=alert(1)>bold</b>",
    "<script>alert(1)</script>",
    "a <!-- comment --> <![CDATA[x]]> <?php ?>",
    "<div>\n\n</div></div></header><img src=x onerror=alert(1)>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    '```html" onload="alert(1)\n<script>alert(1)</script>\n```',
    "    <iframe src=https://evil.test>",
    "[x](https://a.test/\"onmouseover=\"alert(1)) [y](https://a.test '\"><script>alert(1)</script>')",
])  # fmt: skip
def test_raw_html_in_an_intro_is_text(table: Path, intro: str) -> None:
    page, markup = intro_of(table, intro)
    tags = set(re.findall(r"<(\w+)", markup))
    assert tags <= {"p", "pre", "code", "a"}
    assert len(page.all("script")) == 2  # the chart's data, and the page's own
    used = {key for _, attributes, _ in page.elements for key in attributes}
    assert [key for key in used if key.startswith("on")] == []


@pytest.mark.parametrize("intro", [
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x][1]\n\n[1]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "[x](vbscript:alert)",
    "[x](data:text/html,<b>x</b>)",
    "[x](file:///etc/passwd)",
])  # fmt: skip
def test_a_link_of_an_intro_that_would_run_a_script_or_open_a_local_file_is_text(
    table: Path, intro: str
) -> None:
    page, markup = intro_of(table, intro)
    assert "<a" not in markup
    assert [link for link in page.all("a") if ":" in link["href"]] == []


def test_an_intro_requests_no_other_host_and_has_no_headings(table: Path) -> None:
    """An image becomes a link, a heading a paragraph."""
    text = "# One\n\nTwo\n===\n\nThree\n---\n\n![four](https://evil.test/x.png)\n"
    page, markup = intro_of(table, text)
    assert set(re.findall(r"<(\w+)", markup)) <= {"p", "a", "hr"}
    assert [link["href"] for link in page.all("a") if ":" in link["href"]] == ["https://evil.test/x.png"]
    assert page.texts("h1") == ["example.com"]
    assert {"One", "Two", "Three"}.isdisjoint(page.texts("h2"))


# The locale.


def test_numbers_and_dates_follow_the_locale(tmp_path: Path) -> None:
    """Words stay English; data files do not follow the locale."""
    store(tmp_path, [(days, "/", 1234) for days in range(14)])
    release = built(tmp_path, locale="de", windows=["7d"]).path
    page = week(release)
    assert page.all("html") == [{"lang": "en", "data-locale": "de", "dir": "ltr"}]
    assert page.figures()["Visits"] == ["8.638", "with 1.234 so far today"]
    assert "Di., 17. \u2013 Mo., 23. Nov. 2026 \u00b7 7 days" in page.texts("header")[0]
    assert [row for row in page.texts("tr") if row.startswith("Mo., 23. Nov. 2026")]
    assert "Built Mo., 23. Nov. 2026, 17:00" in page.texts("footer")[0]
    english = json.loads((release / "7d" / "report.json").read_bytes())
    assert (english["start"], english["total"]) == ("2026-11-17", 8638)


@pytest.mark.parametrize(("locale", "lang", "direction"), [("pt_BR", "pt-BR", "ltr"), ("ar", "ar", "rtl")])
def test_the_locale_gives_every_page_its_direction_and_its_dates_their_language(
    table: Path, locale: str, lang: str, direction: str
) -> None:
    """Words are English everywhere; screen readers need the language of a table's dates."""
    release = built(table, locale=locale, windows=["7d"]).path
    for name in ("index.html", "7d/index.html", "404.html"):
        page = _Page(release / name)
        assert page.all("html") == [{"lang": "en", "data-locale": lang, "dir": direction}]
        if name == "404.html":
            continue
        dates = [head for head in page.all("th", scope="row") if "data-v" in head]
        assert {head["lang"] for head in dates} == {lang}
        assert sum("lang" in attributes for _, attributes, _ in page.elements) == 1 + len(dates)
    paths = week(release).all("bdi", **{"class": "path"})
    assert {path["dir"] for path in paths} == {"ltr"}


# Templates of the user.


@pytest.fixture
def own(table: Path) -> Path:
    """Give an empty directory for templates."""
    folder = table / "own"
    folder.mkdir()
    return folder


def test_a_file_of_the_user_replaces_ours_and_the_others_stay(site: Path, table: Path, own: Path) -> None:
    (own / "404.html").write_text("<!doctype html>\n<title>Lost \u2013 {{ site.name }}</title>\n", "utf-8")
    release = built(table, templates_dir=own).path
    changed = {
        name
        for name in json.loads((release / "manifest.json").read_bytes())["files"]
        if (release / name).read_bytes() != (site / name).read_bytes()
    }
    assert changed == {"404.html"}
    assert (release / "404.html").read_text("utf-8").endswith("<title>Lost \u2013 example.com</title>\n")


def test_our_templates_can_be_extended_by_the_name_reportgen(site: Path, table: Path, own: Path) -> None:
    """One block changes, the rest of the page stays ours."""
    (own / "report.html").write_text(
        '{% extends "reportgen/report.html" %}\n{% block title %}Visits \u00b7 {{ super() }}{% endblock %}\n',
        "utf-8",
    )
    release = built(table, templates_dir=own).path
    for name in PAGES:
        ours, theirs = _Page(site / name), _Page(release / name)
        (title,) = ours.texts("title")
        assert theirs.raw == ours.raw.replace(
            f"<title>{title}</title>", f"<title>Visits \u00b7 {title}</title>"
        )


def test_a_base_template_of_the_user_is_that_of_every_page(table: Path, own: Path) -> None:
    """Our other templates extend it, too."""
    (own / "base.html").write_text(
        '{% extends "reportgen/base.html" %}{% block description %}mine{% endblock %}'
    )
    release = built(table, templates_dir=own, **ONE_WINDOW).path
    assert _Page(release / "404.html").head()["description"] == "mine"
    ours = (packaged_templates() / "base.html").read_text("utf-8")
    (own / "base.html").write_text(ours.replace("<body", '<body class="mine"'), "utf-8")
    release = built(table, templates_dir=own, hour=1, **ONE_WINDOW).path
    pages = ("index.html", "today/index.html", "404.html")
    assert [_Page(release / name).all("body")[0]["class"] for name in pages] == ["mine"] * 3


def test_the_policy_allows_a_style_sheet_of_the_user(table: Path, own: Path) -> None:
    (own / "style.css").write_text('body { color: var(--ink) } /* > & " </p> */ :root { {{ light }} }')
    release = built(table, templates_dir=own, **ONE_WINDOW).path
    for name in ("index.html", "today/index.html", "404.html"):
        page = _Page(release / name)
        assert page.texts("style")[0].startswith(
            'body { color: var(--ink) } /* > & " </p> */ :root { --paper:'
        )
        assert page.policy()["style-src"] == page.style_hashes()[0]


def test_a_script_of_the_user_has_its_own_hash_in_its_name(table: Path, own: Path) -> None:
    (own / "report.js").write_text("document.title = '{{ 6 * 7 }}';\n")
    release = built(table, templates_dir=own, **ONE_WINDOW).path
    (file,) = (release / "assets").glob("report.*.js")
    assert file.read_text() == "document.title = '42';\n"
    pages = ("index.html", "today/index.html")
    assert [_Page(release / name).all("script", defer="")[0]["src"].rpartition("/")[2] for name in pages] == [
        file.name
    ] * 2


@pytest.mark.parametrize(("name", "text", "line", "says"), [
    ("404.html", "<p>\n{% if %}\n", 2, "Expected an expression"),
    ("404.html", "<p>\n\n{{ nobody }}\n", 3, "'nobody' is undefined"),
    ("robots.txt", "\n{{ site.nobody }}", 2, "no attribute 'nobody'"),
    ("report.html", '{% extends "reportgen/report.html" %}\n{% block title %}{{ nobody }}{% endblock %}', 2,
     "'nobody' is undefined"),
    ("style.css", "a {}\n{{ 1 + 'a' }}", 2, "unsupported operand"),
    ("report.js", "\n\n{{ 5 | nobody }}", 3, "No filter named 'nobody'"),
    ("base.html", '\n{% extends "nobody.html" %}', 2, "nobody.html"),
])  # fmt: skip
def test_a_wrong_template_fails_the_build_with_its_name_and_line(
    table: Path, own: Path, name: str, text: str, line: int, says: str
) -> None:
    """The last report stays."""
    last = built(table, **ONE_WINDOW).release
    (own / name).write_text(text)
    with pytest.raises(RenderError) as caught:
        built(table, templates_dir=own, hour=1, **ONE_WINDOW)
    assert (table / "output" / "current").resolve().name == last
    assert says in str(caught.value)
    assert f"{name}, line {line} " in str(caught.value)


def test_a_template_that_is_not_utf8_fails_the_build_with_its_name(table: Path, own: Path) -> None:
    (own / "robots.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(RenderError, match=r"robots\.txt"):
        built(table, templates_dir=own, **ONE_WINDOW)


# Days without rows, tables without any.


def test_dates_without_rows_and_rows_left_out_are_named(site: Path) -> None:
    """In words on the page; the rows also in the report and in the manifest, by kind."""
    kinds = {"future_date": 1, "negative_visits": 1, "null_path": 2}
    examples = ("2026-11-24, /, 3", "2026-11-21, /, -1", "2026-11-18, (nothing), 3")
    notes = [
        {"kind": kind, "rows": rows, "example": example}
        for (kind, rows), example in zip(kinds.items(), examples, strict=True)
    ]
    assert json.loads((site / "manifest.json").read_bytes())["notes"] == notes
    dates = "Thu 19 \u2013 Fri 20 Nov 2026"
    for name, spans in {"today": [], "7d": [dates], "30d": [f"Thu 12 Nov 2026; {dates}"]}.items():
        said = _Page(site / name / "index.html").texts("main")[0]
        assert (
            "Left out of every figure: 1 row dated after today (such as: 2026-11-24, /, 3); "
            "1 row with negative visits (such as: 2026-11-21, /, -1); "
            "2 rows without a path (such as: 2026-11-18, (nothing), 3). "
            "Dates read: Fri 25 Sep \u2013 Mon 23 Nov 2026."
        ) in said
        assert "Dates are in the zone Europe/Berlin. Today is not over" in said
        assert re.findall(r"No rows for any path on (.*?), marked below the axis\. ", said) == spans
        before = ["Thu 12 Nov 2026"] if name == "7d" else []
        assert re.findall(r"No rows on ([^.]*), of the dates this window is compared with\.", said) == before
        assert json.loads((site / name / "report.json").read_bytes())["notes"] == notes


def test_an_empty_table_gives_pages_that_say_so(tmp_path: Path) -> None:
    """No chart, no small chart, no percentage, and no download of a missing file."""
    store(tmp_path, [])
    release = built(tmp_path).path
    seven, today = (_Page(release / name / "index.html") for name in ("7d", "today"))
    assert "No visits recorded between Tue 17 Nov 2026 and Mon 23 Nov 2026." in seven.texts("main")[0]
    assert "No visits recorded on Mon 23 Nov 2026, so far." in today.texts("main")[0]
    assert "The table is reachable; it has no rows for these dates." in seven.texts("main")[0]
    assert "No rows for any path on Tue 17 \u2013 Mon 23 Nov 2026." in seven.texts("main")[0]
    figures = seven.figures()
    assert {name: value for name, (value, _) in figures.items()} == {"Visits": "0", "Paths visited": "0"}
    for page in (seven, today):
        assert page.all("svg") == []
        assert page.live() == {}
        assert "data-vega" not in page.all("body")[0]
        assert [link["href"] for link in page.all("a") if "download" in link] == [
            "daily.csv",
            "paths.csv",
            "report.json",
        ]


def test_a_window_that_ended_before_the_first_row_has_one_sentence_instead_of_tables(tmp_path: Path) -> None:
    store(tmp_path, [(days, "/", 5) for days in range(3)])
    page = _Page(
        built(tmp_path, windows=["last-year"], default_window="last-year").path / "last-year" / "index.html"
    )
    text = page.texts("main")[0]
    assert "No visits recorded Recorded since Sat 21 Nov 2026. About these data" in " ".join(text.split())
    assert [
        word for word in ("no rows", "Paths visited", "The table", "comparisons begin") if word in text
    ] == []
    assert page.all("table") == []


# The same report, and another one.


@pytest.mark.slow
def test_the_same_rows_settings_and_time_give_the_same_bytes(site: Path) -> None:
    """In another process with another hash seed, except for the build's times and memory."""
    code = (
        "import sys, pathlib; from tests.pages.test_report import built; "
        "built(pathlib.Path(sys.argv[1]), to='two')"
    )
    folder = site.parents[2]
    subprocess.run(
        [sys.executable, "-c", code, folder],
        check=True, cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONHASHSEED": "7"}, timeout=120,
    )  # fmt: skip
    again = (folder / "two" / "current").resolve()
    one, two = (json.loads((release / "manifest.json").read_bytes()) for release in (site, again))
    figures = {"timings_s": None, "peak_memory_bytes": None}
    assert one | figures == two | figures
    assert {name: (again / name).read_bytes() for name in two["files"]} == {
        name: (site / name).read_bytes() for name in one["files"]
    }


@pytest.mark.slow
@pytest.mark.parametrize(("sql", "settings", "changed"), [
    ("SELECT 1", {}, False),
    ("UPDATE metrics SET visits = 21 WHERE date = '2026-11-23' AND path = '/'", {}, True),
    ("UPDATE metrics SET path = '/fewer' WHERE path = '/few/8'", {}, True),
    ("UPDATE metrics SET path = '''=two' WHERE path = '=two'", {}, True),
    ("INSERT INTO metrics VALUES ('2026-11-20', '/', 0)", {}, True),
    ("INSERT INTO metrics VALUES ('2026-11-20', '/', -1)", {}, True),
    ("SELECT 1", {"site": "example.org"}, True),
    ("SELECT 1", {"site_url": "https://example.org"}, True),
    ("SELECT 1", {"intro": "*new*"}, True),
    ("SELECT 1", {"locale": "en-GB"}, True),
    ("SELECT 1", {"top_paths": 5}, True),
])  # fmt: skip
def test_a_report_with_the_same_content_is_not_published_again(
    tmp_path: Path, sql: str, settings: Mapping[str, Any], changed: bool
) -> None:
    store(tmp_path, [*ROWS, (0, "/few/8", 1), (0, "/three", 3), (0, "=two", 2)])
    one = built(tmp_path, **ONE_WINDOW)
    with closing(sqlite3.connect(tmp_path / "metrics.db")) as table:
        table.execute(sql)
        table.commit()
    two = built(tmp_path, hour=1, if_changed=True, **ONE_WINDOW, **settings)
    assert (one.changed, two.changed) == (True, changed)
    assert (two.release != one.release) == changed
    assert (tmp_path / "output" / "current").resolve().name == two.release


@pytest.mark.parametrize("name", ["style.css", "banner.html"])
def test_a_report_is_published_again_when_a_template_changes(table: Path, own: Path, name: str) -> None:
    """Also one that only another template of the user includes."""
    (own / "404.html").write_text('{% include "banner.html" %}')
    (own / "banner.html").write_text("one")
    built(table, templates_dir=own, **ONE_WINDOW)
    assert not built(table, templates_dir=own, **ONE_WINDOW, hour=1, if_changed=True).changed
    (own / name).write_text("two")
    assert built(table, templates_dir=own, **ONE_WINDOW, hour=2, if_changed=True).changed


def test_a_report_is_published_again_if_the_notes_of_its_dates_change(table: Path) -> None:
    """Those of other dates, comments and the order of notes do not matter."""
    notes = table / "notes.toml"

    def changed(hour: int, text: str) -> bool:
        notes.write_text(text)
        return built(table, notes_file=notes, windows=["7d"], hour=hour, if_changed=True).changed

    one, two = (f'[[note]]\ndate = {TODAY}\ntext = "{text}"\n' for text in ("one", "two"))
    assert changed(0, one)
    assert not changed(1, f"# mine\n{one}")
    assert not changed(2, '[[note]]\ndate = 2020-01-01\ntext = "old"\n' + one)
    assert changed(3, one + two)
    assert changed(4, "")


def test_a_note_may_say_why_there_are_no_visits(table: Path) -> None:
    notes = table / "notes.toml"
    notes.write_text('[[note]]\ndate = 2020-01-01\ntext = "Moved"\n')
    release = built(table, notes_file=notes, windows=["7d"], as_of=date(2020, 1, 2)).path
    assert _Page(release / "7d" / "index.html").texts("ol") == ["Wed 1 Jan 2020: Moved"]


def test_notes_are_listed_below_the_first_chart_as_text(table: Path) -> None:
    """With links to the path on the site and to read more; a page without their dates has none."""
    notes = table / "notes.toml"
    notes.write_text(
        f'[[note]]\ndate = {TODAY - timedelta(3)}\nuntil = {TODAY - timedelta(2)}\npath = "/few/1"\n'
        'link = "https://news.test/a?b=1&c"\ntext = "<b>On HN</b>\\u202e"\n'
    )
    release = built(table, notes_file=notes, windows=["today", "7d"], site_url="https://example.com").path
    week, today = (_Page(release / name / "index.html") for name in ("7d", "today"))
    first, last = TODAY - timedelta(3), TODAY - timedelta(2)
    assert week.texts("ol") == [
        f"{ENGLISH.span(Span(first, last))}: <b>On HN</b><U+202E> (/few/1) news.test/a?b=1&c"
    ]
    hrefs = [link["href"] for link in week.all("a")]
    assert {"https://example.com/few/1", "https://news.test/a?b=1&c"} <= set(hrefs)
    assert today.texts("ol") == []
    assert "annotations" not in json.loads((release / "today" / "report.json").read_bytes())
    for chart in ("visits-by-path", "against-previous"):
        file = (release / "7d" / f"{chart}.svg").read_text()
        assert ": &lt;b&gt;On HN&lt;/b&gt;&lt;U+202E&gt; (/few/1) news.test/a?b=1&amp;c</text>" in file
