"""Vega-Lite specifications of users: what is refused, and that none can harm a build or a page."""

import re
import time
from typing import Any

import pytest

from reportgen.charts import own_spec
from reportgen.charts.own_spec import check_spec, complete_specs, draw_specs, harmless
from reportgen.core.errors import PanelError
from reportgen.core.text import ENGLISH
from reportgen.sources.panel_queries import PanelRows

ROWS = PanelRows(
    ["day", "hour", "visits"], [(day, hour, day * hour) for day in range(7) for hour in range(24)]
)
HEAT = {
    "mark": "rect",
    "encoding": {
        "x": {"field": "hour", "type": "ordinal"},
        "y": {"field": "day", "type": "ordinal"},
        "color": {"field": "visits", "type": "quantitative"},
        "tooltip": [{"field": "visits"}],
    },
}
NUMBERS = {"values": [{"a": 1}, {"a": 2}]}
X = {"field": "a", "type": "quantitative"}


def drawings(*specs: dict[str, Any], rows: PanelRows = ROWS, timeout_s: float = 100) -> list[Any]:
    """Return how each specification is drawn, as in a build."""
    found = draw_specs({f"p{at}": (spec, rows) for at, spec in enumerate(specs)}, ENGLISH, timeout_s)
    return [found[f"p{at}"] for at in range(len(specs))]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"layer": [HEAT, {"data": {"url": "a.csv"}}]}, "$.layer[1].data.url: is not possible: nothing is"),
        ({"data": {"sequence": {"start": 0, "stop": 1e9}}}, "$.data: is not possible. Write {"),
        ({"data": {"name": "other"}}, "$.data: is not possible. Write {"),
        ({"data": "rows"}, "$.data: is not possible. Write {"),
        ({"transform": [{"lookup": "a", "from": {"data": {"url": "x"}}}]}, "$.transform[0].from.data.url:"),
        ({"mark": "image"}, "$.mark: is not possible: nothing is loaded"),
        ({"mark": {"type": "image"}}, "$.mark: is not possible: nothing is loaded"),
        ({"encoding": {"url": {"field": "a"}}}, "$.encoding.url: is not possible"),
        ({"encoding": {"href": {"field": "a"}}}, "$.encoding.href: is not possible: marks cannot be links"),
        ({"usermeta": {"embedOptions": {"actions": True}}}, "$.usermeta: is not possible"),
        ({"title": "see HTTPS://x.example"}, "$.title: names an address. Nothing is loaded from elsewhere"),
        ({"config": {"mark": {"color": "url(#a)"}}}, "$.config.mark.color: names an address"),
        ({"title": ["", "//x.example/"]}, "$.title[1]: names an address"),
        ({"params": [{"name": "a", "bind": {"input": "range"}}]}, "$.params[0].bind: is not possible: a"),
    ],
)  # fmt: skip
def test_a_refusal_names_its_place(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(PanelError, match=re.escape(f"vega-lite: {problem}")):
        check_spec(spec)


def test_a_specification_that_is_too_deep_is_refused() -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"layer": [deep]}
    with pytest.raises(PanelError, match="is inside more than 50 objects and lists"):
        check_spec(deep)


def test_other_specifications_may_be_drawn() -> None:
    inline = {"data": {"values": [{"url": "https://x.example"}], "format": {"type": "json"}}}
    for spec in (HEAT, inline, {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "data": None}):
        check_spec(spec)


@pytest.mark.slow
def test_a_drawing_has_no_names_that_clash_and_the_colours_of_the_page() -> None:
    """Of two views of one page, neither has an id of the other."""
    area = {"name": "overdue", "mark": {"type": "area", "clip": True}, "encoding": {"x": {"field": "hour"}}}
    found = drawings(HEAT, area, {"mark": "bar", "encoding": {"x": {"field": "day"}}})
    svgs = [svg for drawn in found for svg in drawn.values()]
    ids = re.findall(r' id="([^"]+)"', "".join(svgs))
    assert len(svgs) == 6
    assert len(set(ids)) == len(ids) > 2
    assert {name.split("-")[0] for name in ids} == {"p0", "p1"}
    assert not re.search(r" (?:class|style|href|xlink:href)=", "".join(svgs))
    assert re.findall(r'<svg[^>]* width="(\d+)"', "".join(svgs)) == ["960", "340"] * 3
    assert "var(--accent)" in svgs[4]


@pytest.mark.slow
def test_a_hostile_specification_neither_hangs_nor_takes_others_with_it() -> None:
    started = time.monotonic()
    found = drawings(
        {"data": NUMBERS, "mark": "point", "encoding": {"x": X | {"axis": {"tickCount": 1_000_000_000}}}},
        HEAT,
        {
            "data": NUMBERS,
            "mark": "area",
            "transform": [{"density": "a", "steps": 1e9}],
            "encoding": {"x": X},
        },
        {"hello": 1},
        {"data": NUMBERS, "mark": "point", "transform": [{"calculate": "length(sequence(1e9))", "as": "b"}]},
        {"mark": {"type": "bar", "color": "var(--nothing)"}, "encoding": {"x": {"field": "day"}}},
    )
    assert [type(each) for each in found].count(dict) == 1
    ends = [str(each) for each in found if isinstance(each, PanelError)]
    assert sum("It may take more than 5 s or 256 MB" in end for end in ends) == 3
    assert "vega-lite: var(--nothing) is not a colour of the report" in ends
    assert any(end.startswith("vega-lite: Error: Invalid specification {…}. Make sure") for end in ends)
    assert time.monotonic() - started < 100


@pytest.mark.slow
def test_a_text_that_ends_the_engine_and_columns_with_a_meaning_are_drawn() -> None:
    rows = PanelRows(["__proto__", "b", "a"], [("\x00", "</svg><script>", 1), (None, "\u202e", None)])
    text = {"mark": "text", "encoding": {"text": {"field": "b"}, "x": {"field": "__proto__"}}}
    (found,) = drawings(text, rows=rows)
    assert "&lt;/svg&gt;&lt;script&gt;" in found["wide"]
    assert "<script" not in found["wide"]


def test_a_value_that_every_object_has_is_drawn_as_any_other() -> None:
    """Readers of a site about programs search for "constructor"."""
    bars = {"mark": "bar", "encoding": {"x": {"field": "term"}, "y": {"field": "n", "type": "quantitative"}}}
    rows = [(term, 1) for term in ["a", *own_spec.IN_EVERY_OBJECT]]
    (found,) = drawings(bars, rows=PanelRows(["term", "n"], rows))
    drawn = re.search(r'"([^"]*)" fill="var\(--accent\)"', found["wide"])
    assert drawn
    assert drawn[1].count("Z") == len(rows)


@pytest.mark.slow
def test_without_time_all_fail() -> None:
    assert [str(each) for each in drawings(HEAT, HEAT, timeout_s=0.01)] == [
        "vega-lite: not drawn within 0.01 s"
    ] * 2


def test_what_leads_out_of_a_page_is_removed_from_a_drawing() -> None:
    drawn = harmless(
        '<svg width="9"><g class="a" style="b" onload="c" fill="url(//x)" stroke="url(#g)"/></svg>', "p"
    )
    assert drawn == '<svg width="9"><g stroke="url(#p-g)"/></svg>'
    for inside in ("<script>", '<image href="a"/>', "<foreignObject/>", '<a href="b">'):
        with pytest.raises(PanelError, match="which is not possible in a page"):
            harmless(f"<svg>{inside}</svg>", "p")
    with pytest.raises(PanelError, match=r"the drawing has 0\.5 MB, of 0\.5 MB that are possible"):
        harmless(f"<svg>{' ' * own_spec.MAX_SVG_BYTES}</svg>", "p")


def test_the_theme_is_below_what_the_specification_says() -> None:
    own = {"config": {"axis": {"grid": False}, "background": "white"}, "height": 9, "width": {"step": 5}}
    spec = complete_specs(own, ENGLISH)["narrow"]
    assert (spec["config"]["background"], spec["height"], spec["width"]) == ("white", 9, {"step": 5})
    assert spec["config"]["axis"]["grid"] is False
    assert spec["config"]["axis"]["labelColor"] == "var(--quiet)"
    assert "autosize" not in spec
    assert complete_specs(HEAT, ENGLISH)["narrow"]["width"] == 340


def test_a_long_legend_fits_into_its_drawing() -> None:
    rows = [(f"/a/long/path/of/many/letters/{n}", n) for n in range(9)]
    spec = {"mark": "bar", "encoding": {"x": {"field": "n"}, "color": {"field": "path"}}}
    drawn = draw_specs({"a": (spec, PanelRows(["path", "n"], rows))}, ENGLISH, 60)["a"]
    assert isinstance(drawn, dict)
    for size, width_px in (("wide", 960), ("narrow", 340)):
        legend = complete_specs(spec, ENGLISH)[size]["config"]["legend"]
        assert legend["columns"] * (legend["labelLimit"] + legend["columnPadding"]) < width_px
        labels = re.findall(r">(/a/long[^<]*)<", drawn[size])
        assert len(labels) == 9
        assert all(label.endswith("\N{HORIZONTAL ELLIPSIS}") for label in labels)
    assert "width" not in complete_specs({"encoding": {"facet": {}}}, ENGLISH)["wide"]
