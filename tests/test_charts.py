"""Charts are valid Vega-Lite, plain SVG for both colour schemes, and words."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from reportgen.build import draw
from reportgen.charts import SIZES, Chart, svg_of
from reportgen.errors import RenderError
from reportgen.windows import make_window
from tests.conftest import gathered

TODAY = date(2026, 11, 23)
TWELVE = [(days, f"/p{n}", 10 + n * 7 + days % 5) for n in range(12) for days in range(60)]
HOSTILE = {
    "</g><script>x</script>": "</g><script>x</script>",
    "/'\"&amp;&lt;`": "/'\"&amp;&lt;`",
    "/]]><!--x": "/]]><!--x",
    "/\x00\x1b\n": "/\u2400\u241b\u240a",
    "/\u202egnp.exe": "/<U+202E>gnp.exe",
    "/" + "a" * 2000 + "/end": "aaa/end",
    "/" + "a" * 2001 + "/end": "aaa/end (2)",
    "Other": "Other",
}  # fmt: skip
"""Paths with the text by which a reader recognises each."""

Row = tuple[int, str, int]
"""Days ago, path, visits."""


def drawn(rows: Iterable[Row], *names: str, over: bool = False) -> list[Chart]:
    """Draw the charts of these windows as a build would; ``over``: today is complete."""
    windows = [make_window(name, TODAY, today_complete=over) for name in names]
    pages = draw(gathered(rows, windows))
    return [page.chart for page in pages if page.chart]


@pytest.fixture(scope="module")
def usual() -> list[Chart]:
    """Give the three charts of a default build of twelve paths."""
    return drawn(TWELVE, "today", "7d", "30d")


@pytest.fixture(scope="module")
def hostile() -> list[Chart]:
    """Give the charts of paths that are no good."""
    return drawn([(days, path, 100 - n) for n, path in enumerate(HOSTILE) for days in (0, 1)], "today", "7d")


def all_svgs(charts: Iterable[Chart]) -> list[str]:
    """Return every drawing."""
    return [svg for chart in charts for svg in chart.svgs.values()]


def words(svg: str) -> list[str]:
    """Return the texts of a drawing, of real text elements."""
    return [text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def layer(chart: Chart, size: str = "wide") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the encoding and the rows of a chart's bars."""
    spec = chart.specs[size]
    bars = spec["layer"][0]
    return bars["encoding"], spec["datasets"][bars.get("data", spec.get("data"))["name"]]


def test_every_specification_is_valid_vega_lite(usual: list[Chart], hostile: list[Chart]) -> None:
    for chart in (*usual, *hostile):
        for spec in chart.specs.values():
            alt.LayerChart.from_dict(spec)  # raises where the schema is not kept


def test_drawings_are_plain_svg_with_real_text_that_any_policy_allows(
    usual: list[Chart], hostile: list[Chart]
) -> None:
    """Nothing that a strict policy forbids, two drawings on a page could share, or is fetched."""
    for svg in all_svgs([*usual, *hostile]):
        elements = list(ET.fromstring(svg).iter())
        tags = {element.tag.rpartition("}")[2] for element in elements}
        names = {name.rpartition("}")[2] for element in elements for name in element.attrib}
        assert tags <= {"svg", "g", "path", "text", "line"}
        assert names.isdisjoint({"id", "style", "href", "src", "clip-path"})
        assert not [name for name in names if name.startswith("on")]
        assert len(words(svg)) > 1


def test_drawings_name_css_variables_and_no_colour(usual: list[Chart]) -> None:
    """One drawing serves light and dark; the house theme declares the variables."""
    for svg in all_svgs(usual):
        painted = [element.get(kind) for element in ET.fromstring(svg).iter() for kind in ("fill", "stroke")]
        assert {colour for colour in painted if colour and not colour.startswith("var(--")} <= {
            "none",
            "transparent",
        }
        assert re.findall(r"#[0-9a-fA-F]{3,8}|rgb|hsl|url\(", svg) == []


def test_the_same_figures_give_the_same_drawing_byte_by_byte(usual: list[Chart]) -> None:
    assert drawn(reversed(TWELVE), "today", "7d", "30d") == usual


def test_wide_and_narrow_drawings_have_exactly_their_widths(usual: list[Chart], hostile: list[Chart]) -> None:
    year = drawn([(days, f"/{days}", 10**12) for days in range(366)], "366d")
    for chart in (*usual, *hostile, *year):
        roots = {size: ET.fromstring(svg) for size, svg in chart.svgs.items()}
        assert {size: root.get("width") for size, root in roots.items()} == {
            size.name: str(size.width_px) for size in SIZES
        }
        assert [root.get("viewBox") for root in roots.values()] == [
            f"0 0 {root.get('width')} {root.get('height')}" for root in roots.values()
        ]


def test_bars_add_up_to_each_days_visits(usual: list[Chart]) -> None:
    """Eight paths by name and the others as Other, on every date."""
    encoding, rows = layer(usual[1])
    names = [f"/p{n}" for n in range(11, 3, -1)]
    assert encoding["color"]["scale"]["domain"] == [*names, "Other"]
    drawn_visits, stored = Counter[str](), Counter[str]()
    for row in rows:
        drawn_visits[row["date"]] += row["visits"]
    for days, _, visits in TWELVE:
        stored[(TODAY - timedelta(days)).isoformat()] += visits if days < 7 else 0
    assert drawn_visits == +stored
    assert [row["visits"] for row in rows if row["path"] == "/p11"] == [
        visits for days, path, visits in sorted(TWELVE, reverse=True) if path == "/p11" and days < 7
    ]


def test_a_path_keeps_its_colour_on_every_page_and_shares_it_with_none() -> None:
    """Another path leads the week than the month, so the two pages name different eight."""
    rows = [(days, f"/{n}", 500 - 9 * n if days > 6 else 10 + n * 9) for n in range(12) for days in range(30)]
    scales = [layer(chart)[0]["color"]["scale"] for chart in drawn(rows, "7d", "30d")]
    week, month = (dict(zip(scale["domain"], scale["range"], strict=True)) for scale in scales)
    assert (len(set(week.values())), len(set(month.values()))) == (9, 9)
    shared = week.keys() & month.keys()
    assert 1 < len(shared) < 9
    assert {path: week[path] for path in shared} == {path: month[path] for path in shared}


def test_todays_bar_is_marked_so_far_until_the_day_is_over(usual: list[Chart]) -> None:
    running, over = usual[1], drawn(TWELVE, "7d", over=True)[0]
    for size in running.svgs:
        assert ("so far" in words(running.svgs[size]), "so far" in words(over.svgs[size])) == (True, False)
        assert 'opacity="0.55"' in running.svgs[size]
        assert 'opacity="0.55"' not in over.svgs[size]
    assert {row["date"] for row in layer(running)[1] if row["running"]} == {TODAY.isoformat()}


def test_today_is_drawn_as_bars_of_its_first_20_paths() -> None:
    chart = drawn([(0, f"/{n}", 1000 * n) for n in range(1, 30)], "today")[0]
    for svg in chart.svgs.values():
        assert words(svg) == [f"/{n}" for n in range(29, 9, -1)] + [f"{n},000" for n in range(29, 9, -1)]


def test_the_axis_names_first_week_and_today(usual: list[Chart]) -> None:
    assert [word for word in words(usual[1].svgs["wide"]) if "Nov" in word] == [
        "Tue 17 Nov", "Wed 18 Nov", "Thu 19 Nov", "Fri 20 Nov", "Sat 21 Nov", "Sun 22 Nov", "Mon 23 Nov",
    ]  # fmt: skip
    for svg in all_svgs(usual[1:]):
        assert [word for word in words(svg) if "Nov" in word][-1].endswith("23 Nov")


def test_hostile_paths_are_drawn_as_text_one_by_one(hostile: list[Chart]) -> None:
    for svg in all_svgs(hostile):
        labels = words(svg)
        assert [end for end in HOSTILE.values() if not any(label.endswith(end) for label in labels)] == []
        assert max(map(len, labels)) <= 44
    week = layer(hostile[1])[0]["color"]["scale"]
    assert len(set(week["domain"])) == len(set(week["range"])) == len(HOSTILE) + 1
    assert [row["visits"] for row in layer(hostile[0])[1]] == [100 - n for n in range(len(HOSTILE))]


def test_the_alternative_states_total_dates_and_each_path(usual: list[Chart]) -> None:
    rows = [(1, "/a", 1000), (2, "/a", 500), (0, "/b\n", 7), *((3, f"/{n}", 10 + n) for n in range(8))]
    day, week = drawn([*rows, (0, "/c", 1)], "today", "7d")
    assert day.alt == "8 visits on Mon 23 Nov 2026 (1 date). /b\u240a 7, /c 1."
    assert week.alt == (
        "1,616 visits on Tue 17 \u2013 Mon 23 Nov 2026 (7 dates); most on Sun 22 Nov 2026: 1,000. "
        "By path: /a 1,500, /7 17, /6 16, /5 15, /4 14, /3 13, /2 12, /1 11, all other paths 18."
    )


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder from another process; the list holds, in the end, who asked for what."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "0",
        "--bind",
        "127.0.0.1",
        "--directory",
        str(folder),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        asked: list[str] = []
        address = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert address is not None
        yield address[0], asked
        server.terminate()
        asked += server.communicate()[1].splitlines()


@pytest.mark.parametrize("spec", [
    {"data": {"url": "URL/data.json"}, "mark": "point", "encoding": {"x": {"field": "a"}}},
    {"data": {"values": [{"a": 1}]}, "mark": "point", "transform": [
        {"lookup": "a", "from": {"data": {"url": "URL/data.json"}, "key": "a", "fields": ["b"]}}]},
])  # fmt: skip
def test_nothing_that_a_specification_names_is_fetched(spec: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('[{"a": 1, "b": 2}]')
    refused: list[str] = []
    with web_server(tmp_path) as (address, asked):
        try:
            svg_of(json.loads(json.dumps(spec).replace("URL", address)))
        except RenderError as exc:
            refused.append(str(exc))
    assert asked == []
    assert ["not allowed" in message for message in refused] == [True]


def test_a_specification_that_cannot_be_drawn_is_an_error_of_ours() -> None:
    with pytest.raises(RenderError, match="could not be drawn"):
        svg_of({"data": {"values": []}, "mark": "nonsense"})
