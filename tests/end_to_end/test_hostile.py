"""Hostile paths are text: on every page, in every file, in static and interactive charts."""

import csv
import io
import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reportgen.charts.spec import labels
from reportgen.core.text import LONGEST_NAME, isolated, shorten, visible
from reportgen.pages.context import MAX_LINK, MAX_PATH, cut_path
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
footer defs clippath details summary
"""


def guarded(path: str) -> str:
    """Return a path as a CSV cell that no spreadsheet runs as a formula."""
    return f"'{path}" if path.startswith(FORMULAS) else path


def stands_for(text: str, path: str) -> bool:
    """Return whether a label shows a path as it looks, whole or cut in the middle."""
    head, cut, tail = text.strip().partition("\N{HORIZONTAL ELLIPSIS}")
    whole = visible(path).strip()
    return whole == head if not cut else len(head) > 5 and whole.startswith(head) and whole.endswith(tail)


def test_the_data_have_every_hostile_path() -> None:
    """Each is there as stored, most of them twice, and as different paths."""
    assert len(hostile.PATHS) == len(set(hostile.PATHS)) > 65
    assert {len(path) for path in hostile.PATHS} & {2000, 2001, 2002, 2003} != set()
    assert {"\x00", "\x01", "\x0b", "\x1f", "\x7f", "\u2028", "\u202e"} <= set("".join(hostile.PATHS))


@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("window", WINDOWS)
def test_data_files_have_each_path_as_stored(sites: Sites, case: str, window: str) -> None:
    """Byte for byte in JSON; in CSV a cell that a spreadsheet would run has a leading quote."""
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
    """Also paths that are not UTF-8: the chart's series and *Other* add up to all visits."""
    folder = sites("hostile, with links").release / window
    report = json.loads((folder / "report.json").read_bytes())
    first = {row["path"]: row["visits"] for row in report["paths"][:8]}
    assert {hostile.read(path) for path in hostile.NOT_UTF8.values()} <= first.keys()
    page = (folder / "index.html").read_text(encoding="utf-8")
    embedded = page.partition('type="application/json"')[2].partition(">")[2].partition("</script>")[0]
    chart = json.loads(embedded)
    names = [name for name, _ in chart["lines"]]
    drawn: dict[str, int] = {}
    if window == "today":  # a bar for each path
        for path, visits in chart["tips"].values():
            drawn[path] = int(visits.split()[0].replace(",", ""))
    for tip in chart["tips"].values() if window != "today" else ():
        for path, visits in zip(names[2:], tip[2:], strict=True):
            drawn[path] = drawn.get(path, 0) + int(visits.replace(",", ""))
    shown = {shorten(visible(path), LONGEST_NAME): visits for path, visits in first.items()}
    assert {path: drawn.get(path) for path in shown} == shown


@pytest.mark.parametrize("case", SITES)
def test_every_drawing_is_an_image_with_text_and_nothing_else(sites: Sites, case: str) -> None:
    """It parses as XML; its elements are those of charts; the first paths are in it as readers see them."""
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


@pytest.mark.slow
@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("page", REPORTS)
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_page_shows_each_path_as_text_isolated_and_whole(
    sites: Sites, visit: Open, case: str, page: str, scripts: bool
) -> None:
    """No additional element, attribute, request or dialog; nothing overflows on a small phone."""
    reader = visit(sites(case).http(page), size=(360, 800), java_script_enabled=scripts)
    cells = "table.paths tbody th bdi.path"
    shown = [cut_path(path) for path in hostile.PATHS]
    assert sorted(reader.texts(cells)) == sorted(text.whole for text in shown)
    assert sum(text.whole == visible(path) for text, path in zip(shown, hostile.PATHS, strict=True)) > 40
    assert reader.page.locator("table.paths tbody tr").count() == len(hostile.PATHS)
    titles = reader.page.eval_on_selector_all(cells, "(all) => all.map((e) => e.title)")
    assert sorted(filter(None, titles)) == sorted(text.whole for text in shown if text.middle)
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
    assert reader.overflow_px() == 0
    assert reader.violations() == []
    if case == "hostile":
        assert reader.page.locator("h1").text_content() == '"></title><script>window.__pwned=1</script>'
        assert reader.page.title().endswith('"></title><script>window.__pwned=1</script>')


@pytest.mark.parametrize("case", SITES)
def test_sentences_name_hostile_paths(sites: Sites, visit: Open, case: str) -> None:
    """So the test above has sentences with such paths."""
    first = hostile.PATHS[:3] if case == "hostile" else hostile.PATHS[-3:]
    reader = visit(sites(case).http("7d/index.html"))
    named = {shorten(visible(path), LONGEST_NAME) for path in first}
    assert set(reader.texts(".changes bdi")) == named


@pytest.mark.slow
@pytest.mark.parametrize("case", SITES)
@pytest.mark.parametrize("page", REPORTS)
def test_interactive_charts_show_paths_as_text_too(sites: Sites, visit: Open, case: str, page: str) -> None:
    """Every mark, by keyboard: legend, tooltip and announcement."""
    reader = visit(sites(case).http(page), size=(1440, 900))
    drawn = reader.page.locator(".chart").first.locator(".wide text").all_text_contents()
    reader.activate_charts()
    chart = reader.charts()[0]
    assert chart.locator(".live text").all_text_contents() == drawn
    chart.focus()
    one_day = page.startswith("today/")
    paths = {shorten(visible(path), LONGEST_NAME) for path in hostile.PATHS}
    seen = set()
    for _ in range(20 if one_day else 2):
        reader.page.keyboard.press("ArrowRight")
        tooltip = reader.page.locator("#tooltip.visible")
        inside = "(one) => [...one.querySelectorAll('*')].map((each) => each.localName)"
        assert set(tooltip.evaluate(inside)) == {"table", "tbody", "tr", "td"}
        first, *rest = tooltip.locator("td:first-child").all_text_contents()
        names = [first] if one_day else [name for name in rest if name != "Visits"]
        seen |= set(names)
        said = chart.locator("xpath=following-sibling::p").first.text_content()
        assert [name for name in names if name not in said] == []
    assert set(map(str.strip, seen)) <= set(map(str.strip, paths if one_day else drawn))
    assert len(seen) > 5
    assert reader.violations() == []


@pytest.mark.parametrize("page", REPORTS)
def test_links_go_to_the_site_only(sites: Sites, visit: Open, page: str) -> None:
    """Only paths that begin with a slash, and are not too long, are links."""
    bare = visit(sites("hostile").http(page)).page.locator("bdi a")
    assert bare.count() == 0
    reader = visit(sites("hostile, with links").http(page))
    found = reader.page.eval_on_selector_all(
        "bdi a", "(all) => all.map((one) => [one.textContent, one.origin, one.protocol])"
    )
    expected = sorted(visible(path) for path in hostile.PATHS if path[:1] == "/" and len(path) < MAX_LINK)
    assert sorted(text for text, _, _ in found) == expected
    assert {(origin, protocol) for _, origin, protocol in found} == {("https://example.com", "https:")}


def test_a_lone_surrogate_is_shown_by_its_name() -> None:
    """No database returns one; if one did, the page could still be written."""
    path = "/a\ud800b"
    assert visible(path) == "/a<U+D800>b" == cut_path(path).whole
    assert labels([path]) == ["/a<U+D800>b"]
    assert isolated(path).encode()


def test_every_path_was_visited_on_every_date(sites: Sites) -> None:
    """So all pages list the same paths."""
    for window in WINDOWS:
        report = json.loads((sites("hostile").release / window / "report.json").read_bytes())
        assert report["path_count"] == len(hostile.PATHS)
        assert report["end"] == str(TODAY)


# Anybody who visits a site can make paths; they must not make a page too large to be published.

FLOODS: dict[str, tuple[list[str], int]] = {
    "quotes": ([f"/{n}" + '"' * 20_000 for n in range(100)], 8),
    "marks": ([f"/{n}" + "\u0336" * 20_000 for n in range(100)], 8),
    "whole": ([f"/{n:03}" + '"' * (MAX_PATH - 4) for n in range(1000)], 8),
    "2 KB": ([f"/{n}/" + "w" * 1900 for n in range(1000)], 2),
    "busy": ([f"/{n}" for n in range(1000)], 180),
}
"""Cases by what is large: the paths, and the number of dates."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOODS)
def test_no_paths_make_a_page_too_large_to_publish(tmp_path: Path, name: str) -> None:
    """The build checks the size. CSV and JSON have each path whole."""
    paths, days = FLOODS[name]
    release = released(
        tmp_path,
        [(day, path, 3000 - n + day % 7) for n, path in enumerate(paths) for day in range(days)],
        site_url="https://example.com",
        top_paths=1000,
        windows=["366d"],
        default_window="366d",
    )
    page = (release / "366d" / "index.html").read_text(encoding="utf-8")
    assert page.count('class="path"') >= len(paths)
    links = re.findall('href="(https://example.com/[^"]*)"', page)
    assert all(len(link) <= MAX_LINK for link in links)
    assert (len(links) > 0) == (name in {"whole", "busy"})
    assert page.count("… ") >= (len(paths) if name in {"quotes", "marks", "2 KB"} else 0)
    report = json.loads((release / "366d" / "report.json").read_bytes())
    assert {row["path"] for row in report["paths"]} == set(paths)
