"""The sections of panels on a page, and their files."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import html5lib
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportgen.build.verify import check_files
from reportgen.charts import vega_bundle
from reportgen.charts.svg import NOT_DRAWN, PageDraft, insert_svgs, placeholder
from reportgen.core.errors import RenderError
from reportgen.metrics.panels import WindowPanel, interpret, page_bytes
from reportgen.pages.environment import prose_html
from tests.pages.test_templates import attributes
from tests.support.panels import NOW, files_with, of_every_kind, panel
from tests.support.proof import SCHEMA, assert_valid_page, cell, rows_of
from tests.support.releases import Published, served
from tests.support.visits import Open

PHONE = (360, 800)


@pytest.fixture(scope="module")
def panels() -> list[WindowPanel]:
    """Give one panel of each kind and state."""
    return of_every_kind()


@pytest.fixture(scope="module")
def files(panels: list[WindowPanel]) -> dict[str, bytes]:
    """Give a release with them, and the scripts."""
    found = files_with(panels)
    live = vega_bundle.load()
    return found | live | {"assets/vega.js": next(iter(live.values()))}


@pytest.fixture(scope="module")
def site(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Serve the release."""
    root = tmp_path_factory.mktemp("panels")
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    with served(root) as published:
        yield published


def sections(page: bytes) -> dict[str, Any]:
    """Return the section of each panel by its name."""
    found = html5lib.parse(page, namespaceHTMLElements=False).iter("section")
    return {
        str(section.get("aria-labelledby")).removeprefix("panel-"): section
        for section in found
        if section.get("class") == "panel"
    }


def words(element: Any) -> str:
    """Return the text of an element outside charts, as one line."""
    for each in [each for name in ("th", "td", "li", "p", "h2") for each in element.iter(name)]:
        each.tail = " "
    for each in [*element.iter("div")]:
        if each.get("class") == "chart":
            each.clear()
    for each in element.iter("script"):
        each.clear()
    return " ".join("".join(element.itertext()).split())


def test_a_page_of_every_kind_of_panel_is_sound(files: dict[str, bytes]) -> None:
    assert_valid_page(files["7d/index.html"])
    check_files(files, windows=["7d"], max_page_mb=5)
    report = json.loads(files["7d/report.json"])
    SCHEMA.validate(report)
    listed = {each["panel"]: each for each in report["panels"]}
    assert "prose" not in listed
    assert listed["missing"] == {
        "panel": "missing", "title": "Missing", "renewed": False,
    }  # fmt: skip
    assert listed["old"] == {
        "panel": "old", "title": "Old", "renewed": False, "read_at": "2026-11-21T16:00:00Z",
        "file": "panels/old.json",
    }  # fmt: skip
    assert all(f"7d/{each['file']}" in files for each in listed.values() if "file" in each)


def test_panels_stand_in_order_before_the_figures_or_after_the_tables(files: dict[str, bytes]) -> None:
    page = files["7d/index.html"].decode()
    ids = re.findall(r'<h2 id="([\w-]+)"', page)
    assert ids.index("panel-top") == 0
    assert ids[ids.index("paths") + 1 : ids.index("notes")] == [
        f"panel-{name}"
        for name in (
            "prose", "referrers", "plans", "countries", "line", "area", "stacked", "figure", "funnel", "heat",
            "old", "missing", "empty",
        )
    ]  # fmt: skip


def test_each_kind_says_what_it_shows(files: dict[str, bytes]) -> None:
    shown = {name: words(section) for name, section in sections(files["7d/index.html"]).items()}
    assert shown["prose"] == "Prose Words, a few, and a link or none."
    assert "Tue 17 \N{EN DASH} Mon 23 Nov 2026, so far" in shown["referrers"]
    assert "Host Visits Share github.com 1,204 78.7%" in shown["referrers"]
    assert "<b>\u2400=1+1 12 0.8%" in shown["referrers"]
    assert "€ 980.50 29.0% € 1,100.00 \N{MINUS SIGN}11%" in shown["plans"]
    assert "The thin lines are the previous values." in shown["plans"]
    assert "Date Value Mon 23 Nov 2026 7 Sun 22 Nov 2026 0 Sat 21 Nov 2026 \N{EN DASH}" in shown["area"]
    assert "1 row left out: of other dates, or without a date." in shown["area"]
    assert "Date Mail Feeds Direct Search Mon 23 Nov 2026" in shown["stacked"]
    assert "▲ 4,210 up +7.9% against 3,900" in shown["figure"]
    assert "Visit 1,000 100.0 %" in shown["funnel"]
    assert "The query has more rows than the 3 that were read. 2 values shown as unknown" in shown["funnel"]
    assert "As of Sat 21 Nov 2026, 16:00; it could not be renewed." in shown["old"]
    assert shown["missing"] == "Missing Not available yet: it could not be read."
    assert "The query has no rows." in shown["empty"]
    assert "timeout" not in files["7d/index.html"].decode()
    assert "no such table" not in files["7d/index.html"].decode()


def test_a_figure_without_an_earlier_one_is_compared_with_none() -> None:
    found = files_with([panel("a", "value previous", (7, None))])
    assert "against" not in words(sections(found["7d/index.html"])["a"])


@pytest.mark.parametrize(
    ("sql", "dates"),
    [
        ("SELECT :first, :last_complete", "Tue 17 \N{EN DASH} Sun 22 Nov 2026 \N{MIDDLE DOT} UTC"),
        ("SELECT :start, :end_complete", "Tue 17 \N{EN DASH} Sun 22 Nov 2026 \N{MIDDLE DOT} UTC"),
        ("SELECT :today", ""),
        ("SELECT visits::int", ""),
    ],
)
def test_a_panel_names_the_dates_of_its_rows(sql: str, dates: str) -> None:
    shown = panel("a", "label value", ("x", 1), title="One")
    found = files_with([replace(shown, panel=replace(shown.panel, sql=sql))])
    about = words(sections(found["7d/index.html"])["a"]).partition(" One Label")[0]
    assert about == f"One {dates}".strip()


def test_data_files_hold_the_rows_as_they_are(files: dict[str, bytes], panels: list[WindowPanel]) -> None:
    """CSV keeps a spreadsheet from running a formula."""
    for each in panels:
        if each.rows:
            stored = json.loads(files[f"7d/panels/{each.panel.name}.json"])
            assert (stored["columns"], stored["rows"]) == (each.rows.columns, list(map(list, each.rows.rows)))
            header, *lines = rows_of(files[f"7d/panels/{each.panel.name}.csv"])
            assert header == each.rows.columns
            assert lines == [[cell(value) for value in row] for row in each.rows.rows]
    stored = json.loads(files["7d/panels/heat.json"])
    assert stored["vega_lite"] == next(each.spec for each in panels if each.panel.name == "heat")
    old = json.loads(files["7d/panels/old.json"])
    assert {name: old[name] for name in ("start", "end", "read_at", "renewed", "kind")} == {
        "start": "2026-11-15", "end": "2026-11-21", "read_at": "2026-11-21T16:00:00Z", "renewed": False,
        "kind": "bars",
    }  # fmt: skip


def test_a_page_without_panels_has_neither_their_style_nor_their_files() -> None:
    found = files_with([])
    assert ".panel" not in found["7d/index.html"].decode()
    assert not [name for name in found if "/panels/" in name]
    assert "panels" not in json.loads(found["7d/report.json"])


def test_a_link_of_prose_cannot_make_a_release_wrong() -> None:
    html = prose_html("[a](#x) [b](c/d) [e](/f) [g](https://h.example) <b>\n\n# i")
    assert "<a>a</a> <a>b</a>" in html
    assert re.findall(r'href="([^"]*)"', html) == ["/f", "https://h.example"]
    assert "&lt;b&gt;" in html


def test_a_chart_that_cannot_be_drawn_does_not_stop_the_release() -> None:
    page, said = f"<p>{placeholder('7d/panel-a.wide')}</p>".encode(), list[str]()
    draft = PageDraft({"a.html": page}, {"7d/panel-a.wide": "{}"}, [], optional=["7d/panel-a.wide"])
    assert insert_svgs(draft, said.append) == {"a.html": f"<p>{NOT_DRAWN}</p>".encode()}
    assert said[0].startswith("7d/panel-a.wide: a chart could not be drawn: ")
    with pytest.raises(RenderError):
        insert_svgs(replace(draft, optional=()))


def test_a_panel_that_cannot_be_shown_does_not_stop_the_release() -> None:
    said: list[str] = []
    wrong = panel("wrong", "value", (1e14,), formats={"value": "0." + "0" * 30})
    found = files_with([wrong, panel("right", "value", (1e20,), formats={"value": "0.0 %"})], warnings=said)
    shown = {name: words(section) for name, section in sections(found["7d/index.html"]).items()}
    assert shown["wrong"] == "Wrong Not available yet: it could not be read."
    assert "1E20" in shown["right"]
    assert said[0].startswith("7d: panel wrong cannot be shown: ")
    assert_valid_page(found["7d/index.html"])


def test_rows_of_another_file_are_a_table() -> None:
    """The file has changed since they were read, and the new query fails."""
    found = files_with([panel("a", "label value", ("x", "y"), chart="line", problem="timeout")])
    assert "Label Value x y" in words(sections(found["7d/index.html"])["a"])


def test_a_long_table_is_cut_and_says_so() -> None:
    rows = [(f"l{n}", n, *range(30)) for n in range(9000)]
    found = files_with([panel("long", " ".join(["a", "b", *(f"c{n}" for n in range(30))]), *rows)])
    shown = words(sections(found["7d/index.html"])["long"])
    assert "100 of 9,000 rows; the files have all. 20 of 32 columns; the files have all." in shown
    assert len(rows_of(found["7d/panels/long.csv"])) == 9001
    bars = files_with([panel("bars", "label value series", *((f"l{n % 30}", n, f"s{n}") for n in range(60)))])
    assert "The chart has the first 20 of 30 labels." in words(sections(bars["7d/index.html"])["bars"])


def test_the_document_names_every_attribute_of_a_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    from reportgen.pages import panels as module

    made: list[dict[str, Any]] = []
    variables = module._variables
    monkeypatch.setattr(module, "_variables", lambda *args: made.append(variables(*args)) or made[-1])
    files_with([panel("a", "label value", ("x", 1))])
    assert attributes("panel") - {"html"} == set(made[0])  # `panel.html` is the file


def test_the_estimate_of_a_panels_size_is_near(panels: list[WindowPanel]) -> None:
    """It may be half or thrice of what the page takes."""
    from reportgen.core.windows import make_window

    hostile = panel("hostile", "a b", *(("\x00<" * 300, "&" * n) for n in range(100)))
    without = len(files_with([])["7d/index.html"])
    window = make_window("7d", NOW.date(), today_complete=False)
    for each in [*(one for one in panels if one.panel.name in {"heat", "stacked"}), hostile]:
        took = len(files_with([each])["7d/index.html"]) - without
        result = interpret(each.panel, each.rows, window) if each.rows else None
        assert took / 3 < page_bytes(each, result, 100) < took * 3, each.panel.name


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(["2026-11-20", "=1+1", "<script>", "</script><!--", "\u202e", "__proto__", "{{ x }}"]),
)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    columns=st.sampled_from(
        ["label value", "label value previous series", "date value series", "value", "a b c"]
    ),
    chart=st.sampled_from([None, None, "bars", "line", "area", "stacked", "none"]),
    data=st.data(),
)
def test_any_result_gives_a_valid_page_and_files_that_agree(
    columns: str, chart: Any, data: st.DataObject
) -> None:
    width = len(columns.split())
    numbers = st.one_of(st.none(), st.floats(-1e300, 1e300), st.integers(-(10**40), 10**40))
    of = [numbers if name in {"value", "previous"} else VALUES for name in columns.split()]
    rows = data.draw(st.lists(st.tuples(*of), max_size=30))
    assert all(len(row) == width for row in rows)
    found = files_with([panel("any", columns, *rows, chart=chart, title="</title>\x00", position="top")])
    assert_valid_page(found["7d/index.html"])
    vega = {"assets/vega.js": b"-"}
    check_files(found | vega, windows=["7d"], max_page_mb=5)
    stored = json.loads(found["7d/panels/any.json"])
    assert stored["rows"] == [list(row) for row in rows]
    _, *lines = rows_of(found["7d/panels/any.csv"])
    for line, row in zip(lines, rows, strict=True):
        for text, value in zip(line, row, strict=True):
            if isinstance(value, str):
                assert text.removeprefix("'") == value.removeprefix("'")
            elif isinstance(value, float):
                assert math.isclose(float(text), value, rel_tol=1e-12)
            else:
                assert text == cell(value)


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, (1440, 900)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    site: Published, visit: Open, size: tuple[int, int], scheme: Any
) -> None:
    reader = visit(site.http("7d/index.html"), size=size, color_scheme=scheme)
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert reader.page.evaluate(wide) == 0
    assert reader.axe() == []
    reader.activate_charts()
    assert reader.axe() == []
    assert reader.page.evaluate(wide) == 0


def test_charts_of_panels_become_interactive_under_the_policy(site: Published, visit: Open) -> None:
    """By keyboard, too: a bar, a date, and a mark of a specification of the panel's own."""
    reader = visit(site.http("7d/index.html"), size=(1440, 900))
    for name, key, text in (
        ("referrers", "ArrowRight", "github.com, Visits: 1,204"),
        ("stacked", "ArrowLeft", "Mon 23 Nov 2026 so far, Search: 10, Direct: 17, Feeds: 24, Mail: 31"),
        ("heat", "ArrowRight", "day: Mon, visits: 0"),
    ):
        chart = reader.page.locator(f"#panel-{name} ~ .chart")
        chart.focus()
        chart.locator(".live").wait_for()
        reader.page.keyboard.press(key)
        assert reader.page.locator(f"#panel-{name} ~ [role=status]").first.text_content() == text
    assert reader.violations() == []


def test_a_table_of_a_panel_sorts_and_filters(site: Published, visit: Open) -> None:
    reader = visit(site.http("7d/index.html"))
    table = reader.page.locator("#panel-plans ~ .table")
    table.get_by_role("button", name="Change").click()
    names = table.locator("tbody th").all_inner_texts()
    assert names == ["Team", "Basic", "Trial"]
    heat = reader.page.locator("section[aria-labelledby=panel-heat]")
    heat.get_by_role("searchbox").fill("tue")
    assert heat.locator("output").inner_text() == "24 of 72 rows"


def test_a_panel_is_printed_without_its_downloads(site: Published, visit: Open) -> None:
    reader = visit(site.http("7d/index.html"))
    reader.page.emulate_media(media="print")
    section = reader.page.locator("section[aria-labelledby=panel-referrers]")
    assert section.locator(".chart .wide").is_visible()
    assert not section.locator(".downloads").is_visible()
    assert section.locator("table").is_visible()
