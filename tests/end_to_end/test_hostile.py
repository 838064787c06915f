"""Paths that try to be something else are text: on every page, in every file, drawn and alive."""

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reportgen.charts.spec import labels
from reportgen.core.text import LONGEST_NAME, isolated, shorten, visible
from reportgen.pages.context import BYTE_BUDGETS, MAX_LINK, MAX_WHOLE_PATH, ByteBudget, cut_path
from tests.support import hostile
from tests.support.releases import REPORTS, TODAY, WINDOWS, Sites, released
from tests.support.visits import Open

SITES = ["hostile", "hostile, with links"]
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = {"svg", "title", "desc", "rect", "g", "path", "text", "tspan", "line", "defs", "clipPath"}
PAGE_ELEMENTS = """
html head meta title link style script body a header h1 div p strong em nav ul li time main section h2 dl dt
dd span svg path g rect text tspan line bdi table caption thead tr th tbody td button label input output
footer defs clippath
"""


def guarded(path: str) -> str:
    """Return a path as a cell that no spreadsheet runs."""
    return f"'{path}" if path.startswith(FORMULAS) else path


def stands_for(text: str, path: str) -> bool:
    """Return whether a label shows a path as it looks, whole or cut in the middle."""
    head, cut, tail = text.strip().partition("\N{HORIZONTAL ELLIPSIS}")
    whole = visible(path).strip()
    return whole == head if not cut else len(head) > 5 and whole.startswith(head) and whole.endswith(tail)


def test_the_data_hold_what_they_promise() -> None:
    """Each is there as stored, most of them twice, and as different paths."""
    assert len(hostile.PATHS) == len(set(hostile.PATHS)) > 65
    assert {len(path) for path in hostile.PATHS} & {2000, 2001, 2002, 2003} != set()
    assert {"\x00", "\x01", "\x0b", "\x1f", "\x7f", "\u2028", "\u202e"} <= set("".join(hostile.PATHS))


@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("window", WINDOWS)
def test_files_for_programs_hold_each_path_as_stored(sites: Sites, case: str, window: str) -> None:
    """Byte for byte in JSON; in CSV a cell that a spreadsheet would run is defused."""
    folder = sites(case).release / window
    report = json.loads((folder / "report.json").read_bytes())
    assert sorted(row["path"] for row in report["paths"]) == sorted(hostile.PATHS)
    assert report["total"] == sum(row["visits"] for row in report["paths"])
    text = (folder / "paths.csv").read_bytes().decode()
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["path", "visits", "share", "previous", "change"]
    assert [row[0] for row in rows] == [guarded(row["path"]) for row in report["paths"]]
    assert [int(row[1]) for row in rows] == [row["visits"] for row in report["paths"]]
    assert [row for row in rows if row[0].startswith(FORMULAS)] == []


@pytest.mark.parametrize("window", WINDOWS)
def test_each_path_keeps_its_visits_by_day(sites: Sites, window: str) -> None:
    """Those that are no UTF-8 too: what the series of the chart leave is the visits of the others."""
    folder = sites("hostile, with links").release / window
    report = json.loads((folder / "report.json").read_bytes())
    first = {row["path"]: row["visits"] for row in report["paths"][:8]}
    assert {hostile.read(path) for path in hostile.NOT_UTF8.values()} <= first.keys()
    page = (folder / "index.html").read_text(encoding="utf-8")
    embedded = page.partition('type="application/json"')[2].partition(">")[2].partition("</script>")[0]
    drawn: dict[str, int] = {}
    for row in json.loads(embedded)["datasets"]["visits"]:
        drawn[row["path"]] = drawn.get(row["path"], 0) + row["visits"]
    shown = {shorten(visible(path), LONGEST_NAME): visits for path, visits in first.items()}
    assert {path: drawn.get(path) for path in shown} == shown


@pytest.mark.parametrize("case", SITES)
def test_every_drawing_is_an_image_that_holds_text_and_nothing_else(sites: Sites, case: str) -> None:
    """It parses as XML; its elements are those of charts; the first paths stand in it as they look."""
    files = sorted(sites(case).release.rglob("*.svg"))
    assert len(files) == 5
    for file in files:
        root = ET.fromstring(file.read_bytes())
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= DRAWN
        assert [name for element in root.iter() for name in element.attrib if name.startswith("on")] == []
        if file.stem != "against-previous":
            most = 20 if file.stem == "top-paths" else 8
            report = json.loads((file.parent / "report.json").read_bytes())
            paths = [row["path"] for row in report["paths"][:most]]
            texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
            assert [path for path in paths if not any(stands_for(text, path) for text in texts)] == []


@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("page", REPORTS)
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_page_shows_each_path_as_text_isolated_and_whole(
    sites: Sites, visit: Open, case: str, page: str, scripts: bool
) -> None:
    """No element, attribute, request or dialog more; nothing hangs over on a small phone."""
    reader = visit(sites(case).http(page), size=(360, 800), java_script_enabled=scripts)
    cells = "table.paths tbody th bdi.path"
    assert sorted(reader.texts(cells)) == sorted(map(visible, hostile.PATHS))
    assert reader.page.locator("table.paths tbody tr").count() == len(hostile.PATHS)
    titles = reader.page.eval_on_selector_all(cells, "(all) => all.map((e) => e.title)")
    long = sorted(visible(path) for path in hostile.PATHS if cut_path(path).middle)
    assert sorted(filter(None, titles)) == long
    named = {shorten(visible(path), LONGEST_NAME) for path in hostile.PATHS}
    assert set(reader.texts(".changes bdi")) <= named
    isolation = reader.page.eval_on_selector_all(
        "bdi", "(all) => all.map((e) => getComputedStyle(e).unicodeBidi)"
    )
    assert {value.partition("-")[0] for value in isolation} == {"isolate"}
    names = reader.page.evaluate("() => [...document.querySelectorAll('*')].map((one) => one.localName)")
    assert set(map(str.lower, names)) <= set(PAGE_ELEMENTS.split())
    handlers = (
        "() => document.evaluate('count(//@*[starts-with(name(), \"on\")])', document, null, 1).numberValue"
    )
    assert reader.page.evaluate(handlers) == 0
    foreign = "(all) => all.map((one) => one.type + one.getAttribute('src'))"
    programs = [kind for kind in reader.page.eval_on_selector_all("script", foreign) if "json" not in kind]
    (own,) = sites(case).release.glob("assets/report.*.js")
    assert programs == [f"../assets/{own.name}"]
    assert reader.sideways() == 0
    assert reader.unasked() == []
    if case == "hostile":
        assert reader.page.locator("h1").text_content() == '"></title><script>window.__pwned=1</script>'
        assert reader.page.title().endswith('"></title><script>window.__pwned=1</script>')


@pytest.mark.parametrize("case", SITES)
def test_sentences_name_hostile_paths(sites: Sites, visit: Open, case: str) -> None:
    """So the test above has seen some; and they are listed by their most visits first."""
    first = hostile.PATHS[:3] if case == "hostile" else hostile.PATHS[-3:]
    reader = visit(sites(case).http("7d/index.html"))
    named = {shorten(visible(path), LONGEST_NAME) for path in first}
    assert set(reader.texts(".changes bdi")) == named


@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("page", REPORTS)
def test_live_charts_show_paths_as_text_too(sites: Sites, visit: Open, case: str, page: str) -> None:
    """Every mark, walked through by keyboard: legend, tooltip and what is read aloud."""
    reader = visit(sites(case).http(page), size=(1440, 900))
    drawn = reader.page.locator(".chart").first.locator(".wide text").all_text_contents()
    reader.activate_charts()
    chart = reader.charts()[0]
    assert chart.locator(".live text").all_text_contents() == drawn
    chart.focus()
    paths = {"Other"} | {shorten(visible(path), LONGEST_NAME) for path in hostile.PATHS}
    seen = set()
    for _ in range(20):
        reader.page.keyboard.press("ArrowRight")
        tooltip = reader.page.locator("#tooltip.visible")
        inside = "(one) => [...one.querySelectorAll('*')].map((each) => each.localName)"
        assert set(tooltip.evaluate(inside)) == {"table", "tbody", "tr", "td"}
        rows = dict(zip(*[iter(tooltip.locator("td").all_text_contents())] * 2, strict=True))
        seen.add(rows["Path"])
        assert rows["Path"] in chart.locator("xpath=following-sibling::p").first.text_content()
    assert seen <= paths
    assert len(seen) > 5
    assert reader.unasked() == []


@pytest.mark.parametrize("page", REPORTS)
def test_links_lead_to_the_site_and_nowhere_else(sites: Sites, visit: Open, page: str) -> None:
    """Only paths that begin with a slash are links; a browser finds the very path behind each of them."""
    bare = visit(sites("hostile").http(page)).page.locator("bdi a")
    assert bare.count() == 0
    reader = visit(sites("hostile, with links").http(page))
    found = reader.page.eval_on_selector_all(
        "bdi a", "(all) => all.map((one) => [one.textContent, one.origin, one.protocol])"
    )
    expected = sorted(visible(path) for path in hostile.PATHS if path.startswith("/"))
    assert sorted(text for text, _, _ in found) == expected
    assert {(origin, protocol) for _, origin, protocol in found} == {("https://example.com", "https:")}


def test_what_no_engine_can_hold_is_spelled_all_the_same() -> None:
    """A lone surrogate never comes out of a database; where one came, it would be written out."""
    path = "/a\ud800b"
    assert visible(path) == "/a<U+D800>b" == cut_path(path).whole
    assert labels([path]) == ["/a<U+D800>b"]
    assert isolated(path).encode()


def test_a_path_too_long_to_search_for_is_cut_for_good() -> None:
    assert (
        cut_path("/" + "x" * MAX_WHOLE_PATH).whole
        == f"/{'x' * 37}… {MAX_WHOLE_PATH - 62} characters …{'x' * 25}"
    )


def test_every_path_was_visited_on_every_date(sites: Sites) -> None:
    """So the same ones stand on all pages."""
    for window in WINDOWS:
        report = json.loads((sites("hostile").release / window / "report.json").read_bytes())
        assert report["path_count"] == len(hostile.PATHS)
        assert report["end"] == str(TODAY)


# Whoever can make visits can make paths: they must not stop the report by the size of a page.

FLOODS: dict[str, tuple[list[str], int, int]] = {
    "quotes": ([f"/{n}" + '"' * 20_000 for n in range(100)], 8, 1_000_000),
    "marks": ([f"/{n}" + "\u0336" * 20_000 for n in range(100)], 8, 1_000_000),
    "2 KB": ([f"/{n}/" + "w" * 1900 for n in range(1000)], 2, 3_000_000),
    "busy": ([f"/{n}" for n in range(1000)], 180, 3_000_000),
}
"""By what there is too much of: paths, on how many dates, and the bytes that a page may have."""


@pytest.mark.parametrize("name", FLOODS)
def test_no_paths_make_a_page_too_large_to_publish(tmp_path: Path, name: str) -> None:
    paths, days, most_bytes = FLOODS[name]
    rows = [(day, path, 3000 - n + day % 7) for n, path in enumerate(paths) for day in range(days)]
    release = released(
        tmp_path,
        rows,
        site_url="https://example.com",
        top_paths=1000,
        windows=["366d"],
        default_window="366d",
    )
    page = (release / "366d" / "index.html").read_text(encoding="utf-8")
    assert page.count('class="path"') >= len(paths)
    assert len(page.encode()) < most_bytes
    links = re.findall('href="(https://example.com/[^"]*)"', page)
    assert all(len(link) <= MAX_LINK for link in links)
    assert (len(links) > 0) == (name in {"2 KB", "busy"})
    assert sum(map(len, links)) <= BYTE_BUDGETS["links"]
    if name == "2 KB":  # the first are whole, then there is no more room
        assert 0 < page.count("w" * 1800) < 2 * len(paths)
        assert page.count("… 18") > 0


def test_a_middle_is_left_out_for_good_when_the_page_has_no_more_room() -> None:
    path = "/" + "<" * 100
    room = ByteBudget(2 * 4 * 100)
    assert cut_path(path, room).whole == path
    assert "… 38 characters …" in cut_path(path, room).whole
    assert "… " in cut_path("/" + "x" * 65, room).whole
    assert cut_path("/x", room).whole == "/x"
