"""Interactive charts, by pointer, finger and keyboard, and the order of focus on a page."""

from collections.abc import Mapping
from typing import Any

import pytest
from playwright.sync_api import Locator

from tests.support.releases import REPORTS, Sites
from tests.support.visits import PHONE, Open, Visit

EVERYTHING = "h1, h2, nav, .fact, dl, section, .chart, .chart svg, section table, section tr, footer"
MARKS = ".role-mark path"
SERIES = ":is([fill^='var(--series'], [fill='var(--other)'])"
TOOLTIP = "#tooltip.visible"

RECTANGLES = r"""(paths) => paths.filter((path) => path.checkVisibility()).flatMap((path) => {
  const { a, d, e, f } = path.getScreenCTM();
  const corners = path.getAttribute("d").matchAll(/M([\d.-]+),([\d.-]+)h([\d.-]+)v([\d.-]+)/g);
  const round = (value) => Math.round(value * 10) / 10;
  return [...corners].map(([, x, y, width, height]) => ({
    x: round(a * x + e + scrollX), y: round(d * y + f + scrollY), width: round(a * width), height: d * height,
  }));
})"""
"""The box of each bar on the page: in a static drawing, bars of one style are one path."""


def bar(reader: Visit, days_ago: int) -> Mapping[str, float]:
    """Return the box of the lowest segment of a date's bar in the first chart on show, which is of "/"."""
    marks = reader.page.locator(f"[aria-labelledby=visits-by-path] .chart .mark-rect{MARKS}{SERIES}")
    boxes = [box for box in marks.evaluate_all(RECTANGLES) if box["height"] > 8]
    columns = sorted({box["x"] for box in boxes})
    unseen = [days for days in (3, 4) if days < days_ago]  # without visits, so without a bar
    column = columns[-1 - days_ago + len(unseen)]
    return max((box for box in boxes if box["x"] == column), key=lambda box: box["y"])


def middle(box: Mapping[str, float]) -> tuple[float, float]:
    """Return the point in the middle of a box."""
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_the_bar_under_the_pointer_shows_its_tooltip_at_once_and_does_not_move(
    sites: Sites, visit: Open, scheme: str
) -> None:
    """The first hover makes the chart interactive and shows the tooltip; nothing shifts."""
    reader = visit(getattr(sites("usual"), scheme)("7d/index.html"), size=(1440, 2400))
    before, place = reader.boxes(EVERYTHING), bar(reader, 1)
    reader.page.mouse.move(*middle(place))
    tooltip = reader.page.locator(TOOLTIP)
    tooltip.wait_for()
    cells = tooltip.locator("td").all_inner_texts()
    assert cells[:3] == ["Sun 22 Nov 2026", "Visits", "399"]
    assert (len(cells), cells[3], cells[-2:]) == (21, "Other", ["/", "67"])
    assert sum(map(int, cells[4::2])) == 399
    assert bar(reader, 1) == pytest.approx(place, abs=1)
    reader.page.mouse.move(*middle(bar(reader, 2)))
    reader.page.locator(TOOLTIP).get_by_text("Sat 21 Nov 2026").wait_for()
    reader.page.mouse.move(0, 0)
    reader.page.locator(TOOLTIP).wait_for(state="hidden")
    reader.charts()[1].hover()
    reader.charts()[1].locator(".live").wait_for()
    assert reader.shifts() == []
    after = reader.boxes(EVERYTHING)
    assert len(after) == len(before)
    assert [(a, b) for a, b in zip(after, before, strict=True) if a != pytest.approx(b, abs=0.51)] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", REPORTS)
@pytest.mark.parametrize("width", [360, 800, 1440])
def test_a_chart_that_becomes_interactive_keeps_its_size_and_moves_nothing(
    sites: Sites, visit: Open, page: str, width: int
) -> None:
    reader = visit(sites("usual").http(page), size=(width, 900))
    before, settled = reader.boxes(EVERYTHING), reader.shifts()
    reader.activate_charts()
    assert reader.shifts() == settled
    after = reader.boxes(EVERYTHING)
    assert len(after) == len(before)
    assert [(a, b) for a, b in zip(after, before, strict=True) if a != pytest.approx(b, abs=0.51)] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", REPORTS)
def test_an_interactive_chart_shows_the_same_text_as_its_drawing(
    sites: Sites, visit: Open, page: str
) -> None:
    for size in ((1440, 900), (360, 900)):
        reader = visit(sites("usual").http(page), size=size)
        drawn = [chart.locator("svg text:visible").all_text_contents() for chart in reader.charts()]
        reader.activate_charts()
        alive = [chart.locator("svg text:visible").all_text_contents() for chart in reader.charts()]
        assert alive == drawn


def test_a_tap_makes_a_chart_interactive(sites: Sites, visit: Open) -> None:
    """And shows the tooltip of the tapped bar."""
    reader = visit(sites("usual").http("7d/index.html"), size=PHONE, has_touch=True, is_mobile=True)
    reader.charts()[0].scroll_into_view_if_needed()
    assert len(reader.requests) == 2
    x, y = middle(bar(reader, 1))
    reader.page.touchscreen.tap(x, y - reader.page.evaluate("() => scrollY"))
    reader.charts()[0].locator(".live").wait_for()
    assert len(reader.requests) == 3
    reader.page.locator(TOOLTIP).get_by_text("Sun 22 Nov 2026").wait_for()


def faint(chart: Locator) -> dict[str, set[bool]]:
    """Return for each colour of a chart's marks whether they are faint."""
    marks = chart.locator(f".live .mark-rect{MARKS}{SERIES}")
    found: dict[str, set[bool]] = {}
    for fill, opacity in marks.evaluate_all(
        "(all) => all.map((one) => [one.getAttribute('fill'), getComputedStyle(one).opacity])"
    ):
        found.setdefault(fill, set()).add(float(opacity) < 0.3)
    return found


def test_a_click_in_the_legend_makes_the_others_faint_and_another_click_undoes_it(
    sites: Sites, visit: Open
) -> None:
    reader = visit(sites("usual").http("7d/index.html"))
    reader.activate_charts()
    chart = reader.charts()[0]
    colours = set(faint(chart))
    assert len(colours) == 9
    assert faint(chart) == {colour: {False} for colour in colours}
    entry = chart.locator(".live .role-legend-label text").nth(1)
    (own,) = {chart.locator(".live .role-legend-symbol path").nth(1).get_attribute("fill")}
    entry.click()
    reader.frames()
    assert faint(chart) == {colour: {colour != own} for colour in colours}
    entry.click()
    reader.frames()
    assert faint(chart) == {colour: {False} for colour in colours}


def test_arrow_keys_move_through_marks_and_legend(sites: Sites, visit: Open) -> None:
    """Right and left through the marks, announced and shown; down and up through the legend."""
    reader = visit(sites("usual").http("7d/index.html"))
    chart, keys = reader.charts()[0], reader.page.keyboard
    said = reader.page.get_by_role("status").filter(visible=None).locator("xpath=self::p").first
    chart.focus()
    chart.locator(".live").wait_for()
    heard: list[str] = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        keys.press(key)
        heard.append(said.text_content() or "")
        words = reader.page.locator(f"{TOOLTIP} td:last-child").all_inner_texts()
        assert [word for word in words if word not in str(heard[-1])] == []
        assert len(words) == 11
    assert heard[0] == heard[2] == heard[4]
    assert heard[0].startswith("Tue 17 Nov 2026, Visits: ")
    assert heard[0].endswith(", /: 71")
    assert heard[1].startswith("Wed 18 Nov 2026, Visits: ")
    assert heard[3].startswith("Mon 23 Nov 2026, Visits: ")
    everything = faint(chart)
    keys.press("ArrowDown")
    reader.frames()
    assert sorted(map(str, faint(chart).values())) == ["{False}"] + ["{True}"] * 8
    keys.press("ArrowUp")
    reader.frames()
    assert faint(chart) == everything
    keys.press("Tab")
    reader.page.locator(TOOLTIP).wait_for(state="hidden")


@pytest.mark.parametrize(("page", "words"), [
    ("today/index.html", "/, Visits: 60"),
    ("30d/index.html", "Sun 25 Oct 2026, Visits: "),
])  # fmt: skip
def test_the_keyboard_starts_with_the_first_mark(sites: Sites, visit: Open, page: str, words: str) -> None:
    reader = visit(sites("usual").http(page))
    reader.charts()[0].focus()
    reader.charts()[0].locator(".live").wait_for()
    reader.page.keyboard.press("ArrowRight")
    said = reader.charts()[0].locator("xpath=following-sibling::p").first.text_content() or ""
    assert said.startswith(words)


WHERE = """() => {
  const one = document.activeElement;
  if (one === document.body) return null;
  window.__stops ||= [];
  const follows = !window.__stops.length
    || !!(window.__stops.at(-1).compareDocumentPosition(one) & Node.DOCUMENT_POSITION_FOLLOWING);
  window.__stops.push(one);
  const { outlineWidth, outlineStyle, outlineColor } = getComputedStyle(one);
  const { width, height, left, right } = one.getBoundingClientRect();
  const kinds = { skip: ".skip", tab: "nav a", help: ".help summary", chart: ".chart",
    filter: ".filter input", header: "thead button", download: ".downloads a", path: ".path, .path a",
    link: "a" };
  return {
    kind: Object.keys(kinds).find((kind) => one.matches(kinds[kind])) || one.outerHTML.slice(0, 80), follows,
    ring: outlineStyle !== "none" && outlineColor !== "rgba(0, 0, 0, 0)" ? parseFloat(outlineWidth) : 0,
    seen: width > 0 && height > 0 && right > 0 && left < innerWidth,
  };
}"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_tab_reaches_everything_in_the_order_of_the_page_with_a_visible_ring(
    sites: Sites, visit: Open, scheme: str, width: int
) -> None:
    reader = visit(sites("usual").http("7d/index.html"), size=(width, 900), color_scheme=scheme)
    stops: list[dict[str, Any]] = []
    for _ in range(100):
        reader.page.keyboard.press("Tab")
        stop = reader.page.evaluate(WHERE)
        if stop is None:
            break
        stops.append(stop)
    assert [stop for stop in stops if not (stop["ring"] and stop["seen"] and stop["follows"])] == []
    kinds = [stop["kind"] for stop in stops]
    runs = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
    charts, tables = ["help", "chart"] * 2, ["filter", "header", "help", "filter", "header", "path"]
    assert [kind for kind in runs if kind != "link"] == ["skip", "tab", *charts, *tables, "download"]
    counted = ("tab", "help", "chart", "filter", "header", "path", "download")
    counts = {kind: kinds.count(kind) for kind in counted}
    headers = 8 if width == 360 else 9  # the rank is not shown on a phone
    assert counts == {
        "tab": 3, "help": 5, "chart": 2, "filter": 2, "header": headers, "path": 18, "download": 5,
    }  # fmt: skip


def test_the_skip_link_moves_the_focus_past_the_header(sites: Sites, visit: Open) -> None:
    reader = visit(sites("usual").http("7d/index.html"))
    reader.page.keyboard.press("Tab")
    reader.page.keyboard.press("Enter")
    assert reader.page.evaluate("() => location.hash") == "#content"
    reader.page.keyboard.press("Tab")
    assert reader.page.evaluate(WHERE)["kind"] == "help"


def test_a_long_path_is_whole_while_it_has_the_focus(sites: Sites, visit: Open) -> None:
    reader = visit(sites("usual").http("30d/index.html"))
    path = reader.page.locator(".paths .path[title]")
    whole, cut = path.get_attribute("title") or "", path.locator(".cut")
    assert path.inner_text().replace("\n", "") == whole
    assert (cut.bounding_box() or {"width": 0})["width"] < 40
    path.locator("a").focus()
    assert (cut.bounding_box() or {"width": 0})["width"] > 100


def test_escape_and_a_turn_of_the_wheel_close_the_tooltip(sites: Sites, visit: Open) -> None:
    """What lies below it can be read without moving the pointer (WCAG 1.4.13)."""
    reader = visit(sites("usual").http("7d/index.html"), size=(1440, 2400))
    for close in (lambda: reader.page.keyboard.press("Escape"), lambda: reader.page.mouse.wheel(0, 1)):
        reader.page.mouse.move(*middle(bar(reader, 1)))
        reader.page.locator(TOOLTIP).wait_for()
        close()
        reader.page.locator(TOOLTIP).wait_for(state="hidden")
        reader.page.mouse.move(0, 0)
