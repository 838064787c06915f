"""Pages in a real Chromium, as readers open them: without scripts, small, zoomed, dark, from a file."""

import json
from typing import Any

import pytest

from tests.support.releases import CASES, DIFFERENT, PAGES, REPORTS, WINDOWS, Published, Sites
from tests.support.visits import DESKTOP, PHONE, Open, Visit

UNLIKE = (REPORTS[0], REPORTS[-1])
"""Today and the longest window: the others have the elements of the longest."""

PATH_COUNT = {"today": 16, "7d": 18, "30d": 18}

VISIBLE = """(all) => all.map((one) => {
  const { width, height } = one.getBoundingClientRect();
  return width > 1 && height > 1 && one.checkVisibility({ opacityProperty: true, visibilityProperty: true });
})"""

TEXT_SIZES = """() => [...document.querySelectorAll(".chart svg")].filter((svg) => svg.checkVisibility())
  .flatMap((svg) => {
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return [...svg.querySelectorAll("text")].filter((text) => text.textContent.trim())
      .map((text) => [scale * parseFloat(getComputedStyle(text).fontSize), text.textContent]);
  })"""

SMALL_TARGETS = """(selector) => {
  const inline = (one) => getComputedStyle(one).display === "inline"
    && one.closest("p, li")?.textContent.trim().length > one.textContent.trim().length;
  const targets = [...document.querySelectorAll(selector)]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().left >= 0 && !inline(one))
    .map((one) => ({ one, box: one.getBoundingClientRect() }));
  const small = ({ box }) => box.width < 24 || box.height < 24;
  const circle = ({ box }) => [box.left + box.width / 2, box.top + box.height / 2];
  const reaches = ([x, y], { box }) => Math.hypot(
    Math.max(box.left - x, 0, x - box.right), Math.max(box.top - y, 0, y - box.bottom)) < 12;
  const meets = (one, two) => reaches(circle(one), two)
    || (small(two) && Math.hypot(circle(one)[0] - circle(two)[0], circle(one)[1] - circle(two)[1]) < 24);
  const apart = (one, two) => !one.one.contains(two.one) && !two.one.contains(one.one);
  return targets.filter(small)
    .filter((one) => targets.some((two) => one !== two && apart(one, two) && meets(one, two)))
    .map(({ one, box }) => `${one.textContent} ${box.width} x ${box.height}`);
}"""
"""Targets below 24 x 24 px whose circle of 24 px meets another: WCAG 2.5.8 with its exceptions."""

CONTROLS = "a[href], button, input, summary, [tabindex='0']"


def report(site: Published, window: str) -> dict[str, Any]:
    """Return a window's ``report.json``."""
    found: dict[str, Any] = json.loads((site.release / window / "report.json").read_bytes())
    return found


def all_visible(visit: Visit, selector: str) -> int:
    """Return how many elements match; fail unless all of them are visible."""
    seen = visit.page.eval_on_selector_all(selector, VISIBLE)
    assert all(seen)
    return len(seen)


def interact(visit: Visit) -> None:
    """Use charts by pointer and keyboard, sort, filter."""
    visit.activate_charts()
    for chart in visit.charts():
        chart.focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowLeft"):
            visit.page.keyboard.press(key)
    for button in visit.page.locator("thead button").all():
        button.click()
    for field in visit.page.get_by_role("searchbox").all():
        field.fill("/")
        field.fill("nothing has this text")
        field.fill("")
    visit.page.locator("h1").hover()


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
def test_everything_can_be_read_without_scripts(sites: Sites, visit: Open, window: str) -> None:
    """Figures, sentences, drawings, tables, notes, downloads, footer; no controls without a function."""
    site = sites("usual")
    truth = report(site, window)
    reader = visit(site.http(f"{window}/index.html"), java_script_enabled=False)
    page, days = reader.page, truth["days"]
    assert all_visible(reader, "nav a") == 3
    assert all_visible(reader, "dl.figures dt") == (4 if days == 1 else 5)
    assert all_visible(reader, "dl.figures .value > span, dl.figures .detail") == 2 * (4 if days == 1 else 5)
    assert f"{truth['total']:,}" in page.locator("dl.figures dd").first.inner_text()
    assert all_visible(reader, "ul.changes li") == len(truth["changes"])
    assert (days == 1) == (truth["changes"] == [])
    assert all_visible(reader, "table.days tbody tr") == days
    assert all_visible(reader, "table.paths tbody tr") == len(truth["paths"]) == PATH_COUNT[window]
    assert all_visible(reader, "table.paths tbody th .path, table td:not(.rank)") > PATH_COUNT[window]
    assert len(reader.charts()) == (1 if days == 1 else 2)
    for chart in reader.charts():
        (drawing,) = [svg for svg in chart.locator("svg").all() if svg.is_visible()]
        box = drawing.bounding_box() or {}
        assert box["width"] > 900
        assert box["height"] > 200
        texts = drawing.locator("text").all()
        assert len(texts) > 10
        assert all(text.is_visible() for text in texts)
    assert all_visible(reader, "ul.notes li") >= 2
    assert all_visible(reader, ".downloads a") == 3 + len(reader.charts())
    assert all_visible(reader, "footer p") == 1
    assert page.locator("button, input").count() == 0
    assert not page.locator(".overdue").is_visible()
    assert not any(bar.is_visible() for bar in page.locator(".filter").all())


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_question_mark_opens_an_explanation_below_it(
    sites: Sites, visit: Open, size: tuple[int, int]
) -> None:
    """Without scripts, from the keyboard. Nothing moves that is above it or in the line of its figure."""
    reader = visit(sites("usual").http("7d/index.html"), size=size, java_script_enabled=False)
    marks = reader.page.locator(".help summary").all()
    assert [mark.get_attribute("aria-label") for mark in marks] == [
        "About: Visits",
        "About: Change",
        "About: Visits per day by path",
        "About: Visits per day against the 7 days before",
        "About: Top paths",
    ]
    everything = "h1, h2, dt, .value > span, .figures .spark, .sub, .chart, summary"
    for at, mark in enumerate(marks):
        assert len(reader.boxes(".help p")) == 0
        place, before = reader.boxes(".help summary")[at], reader.boxes(everything)
        mark.press("Enter")
        (text,), after = reader.boxes(".help p"), reader.boxes(everything)
        above = [(one, two) for one, two in zip(before, after, strict=True) if one["y"] <= place["y"]]
        assert [moved for moved in above if moved[0] != moved[1]] == []
        assert place["height"] - 4 <= text["y"] - place["y"] < place["height"] + 8
        assert text["width"] > 120
        mark.press("Space")


def open_help(reader: Visit) -> None:
    """Open all explanations."""
    reader.page.locator(".help").evaluate_all("(all) => all.forEach((one) => (one.open = true))")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_page_requests_itself_and_its_script_and_one_file_more_once_a_chart_is_touched(
    sites: Sites, visit: Open, page: str, scheme: str
) -> None:
    """From a server or a file: no other request, an empty console, no violation of the policy."""
    site = sites("usual")
    reader = visit(getattr(site, scheme)(page))
    own = [url.rpartition("/")[2] for url in reader.requests]
    scripts = [file.name for file in site.release.glob("assets/report.*.js")]
    bundle = [file.name for file in site.release.glob("assets/vega.*.js")]
    if page == "404.html":
        assert own == ["404.html"]
        return
    assert own == ["index.html", *scripts]
    reader.page.locator("h1").click()
    reader.page.mouse.move(0, 0)  # beside the charts, that scroll by
    reader.page.mouse.wheel(0, 400)
    reader.page.locator("thead button").first.focus()
    reader.page.keyboard.press("Enter")
    reader.frames()
    assert len(reader.requests) == 2
    interact(reader)
    assert [url.rpartition("/")[2] for url in reader.requests] == [*own, *bundle]
    assert reader.violations() == []


def test_the_page_for_a_wrong_address_makes_no_other_request(sites: Sites, visit: Open) -> None:
    reader = visit(sites("usual").http("404.html"))
    assert reader.page.get_by_role("heading", level=2).inner_text() == "There is no such page"
    assert reader.texts("main a") == ["Today", "7 days", "30 days"]


@pytest.mark.slow
@pytest.mark.parametrize("page", DIFFERENT)
@pytest.mark.parametrize(
    "size", [DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=["desktop", "phone"]
)
def test_axe_finds_nothing(sites: Sites, visit: Open, page: str, size: tuple[int, int]) -> None:
    """Light and dark, with static and interactive charts, explanations closed and open."""
    reader = visit(sites("usual").http(page), size=size)
    found = {}
    for state in ("drawn", "alive"):
        for scheme in ("light", "dark"):
            reader.page.emulate_media(color_scheme=scheme)
            found[state, scheme] = reader.axe()
        reader.activate_charts()
        open_help(reader)
    assert {state: findings for state, findings in found.items() if findings} == {}


@pytest.mark.parametrize(
    "page", [UNLIKE[0], *(pytest.param(page, marks=pytest.mark.slow) for page in UNLIKE[1:])]
)
def test_axe_finds_nothing_while_a_tooltip_is_shown(sites: Sites, visit: Open, page: str) -> None:
    reader = visit(sites("usual").http(page))
    reader.activate_charts()
    reader.charts()[0].focus()
    reader.page.keyboard.press("ArrowRight")
    reader.page.locator("#tooltip.visible").wait_for()
    assert reader.axe() == []


@pytest.mark.slow
@pytest.mark.parametrize("page", DIFFERENT)
@pytest.mark.parametrize("case", ["usual", "sample"])
def test_no_page_scrolls_sideways_on_a_small_phone_or_at_200_percent(
    sites: Sites, visit: Open, case: str, page: str
) -> None:
    """1440 px zoomed to 200 % are 720; with static and interactive charts."""
    for width, scale in ((360, 3), (720, 2)):
        reader = visit(sites(case).http(page), size=(width, 800), device_scale_factor=scale)
        assert reader.overflow_px() == 0
        reader.activate_charts()
        assert reader.overflow_px() == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", REPORTS)
def test_no_text_of_a_chart_is_shown_smaller_than_11_px(sites: Sites, visit: Open, page: str) -> None:
    reader = visit(sites("usual").http(page), size=(360, 800))
    for _ in ("drawn", "alive"):
        for width in (1440, 1024, 800, 768, 767, 600, 520, 390, 360):
            reader.page.set_viewport_size({"width": width, "height": 800})
            sizes = reader.page.evaluate(TEXT_SIZES)
            assert len(sizes) > 10
            assert [(width, size, text) for size, text in sizes if size < 11] == []
        reader.activate_charts()  # the narrow drawings
        reader.page.set_viewport_size({"width": 1440, "height": 800})
        reader.activate_charts()


@pytest.mark.slow
@pytest.mark.parametrize("page", DIFFERENT)
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_control_is_large_enough_for_a_finger(
    sites: Sites, visit: Open, page: str, size: tuple[int, int]
) -> None:
    """24 x 24 px, or that far from others; links inside a sentence are exempt."""
    reader = visit(sites("usual").http(page), size=size)
    assert reader.page.evaluate(SMALL_TARGETS, CONTROLS) == []
    for box in reader.boxes("button, input, summary, nav a, .downloads a"):
        assert min(box["width"], box["height"]) >= 24


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_entries_of_a_legend_are_large_enough_for_a_finger(
    sites: Sites, visit: Open, size: tuple[int, int]
) -> None:
    reader = visit(sites("usual").http("7d/index.html"), size=size)
    reader.activate_charts()
    assert reader.page.evaluate(SMALL_TARGETS, ".live .role-legend-label text") == []


@pytest.mark.slow
@pytest.mark.parametrize("page", REPORTS)
@pytest.mark.parametrize("width", [360, 700, 800, 1440])
def test_nothing_moves_when_the_script_arrives(sites: Sites, visit: Open, page: str, width: int) -> None:
    """Also if it arrives late: the style sheet reserves the height of its controls."""
    reader = visit(None, size=(width, 900))
    held: list[Any] = []
    reader.page.route("**/report.*.js", lambda route: held.append(route))  # noqa: PLW0108 - Playwright cannot hold a list's method
    reader.page.goto(sites("usual").http(page), wait_until="commit")
    reader.page.locator("footer p").wait_for()
    reader.frames()
    everything = "h1, h2, nav, .fact, dl, dt, section, .chart, table, tr, th, td, footer"
    before = reader.boxes(everything)
    assert reader.page.locator("button").count() == 0
    held[0].continue_()
    reader.page.locator("thead th:last-child button").last.wait_for()
    assert reader.shifts() == []
    assert reader.boxes(everything) == before


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "usual"])
def test_every_state_of_a_report_fits_the_window_and_says_nothing_to_the_console(
    sites: Sites, visit: Open, case: str
) -> None:
    """With all kinds of rows, locales and dates, on a phone and a desktop; axe finds nothing either."""
    reader = visit(None)
    found = {}
    for page in REPORTS:
        reader.page.set_viewport_size({"width": 360, "height": 800})
        reader.page.goto(sites(case).http(page))
        open_help(reader)
        narrow = reader.overflow_px()
        reader.page.set_viewport_size({"width": 1440, "height": 900})
        wide = reader.overflow_px()
        findings = reader.axe() if page in UNLIKE else []
        reader.activate_charts()
        for button in reader.page.locator("thead th:last-child button").all():
            button.click()
        found[page] = (narrow, wide, reader.overflow_px(), findings, reader.violations())
        reader.noise.clear()
    assert found == dict.fromkeys(REPORTS, (0, 0, 0, [], []))


def test_a_page_from_right_to_left_starts_on_the_right(sites: Sites, visit: Open) -> None:
    """Headings begin at the right edge, numbers of a table are at the left, charts keep their direction."""
    reader = visit(sites("ar").http("7d/index.html"))
    assert reader.page.locator("html").get_attribute("dir") == "rtl"
    body, first, last = reader.boxes(
        "body, table.paths thead th:first-child, table.paths thead th:last-child"
    )
    assert first["x"] > last["x"] > body["x"]
    (direction,) = {chart.evaluate("(one) => getComputedStyle(one).direction") for chart in reader.charts()}
    assert direction == "ltr"


@pytest.mark.slow
def test_nothing_is_animated_for_readers_who_ask_for_less_motion(sites: Sites, visit: Open) -> None:
    reader = visit(sites("usual").http("30d/index.html"), reduced_motion="reduce")
    interact(reader)
    moving = """() => document.getAnimations().length + [...document.querySelectorAll("*")]
      .map((one) => getComputedStyle(one))
      .filter((style) => style.animationName !== "none" || parseFloat(style.transitionDuration) > 0).length"""
    assert reader.page.evaluate(moving) == 0
