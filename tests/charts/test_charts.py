"""Charts are valid Vega-Lite, plain SVG for both colour schemes, and have a text alternative."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from reportgen.charts.charts import against_previous
from reportgen.charts.spec import SIZES, Chart, text_width_px
from reportgen.charts.svg import ChartFile, PageDraft, insert_svgs, placeholder, svg_file, svg_of
from reportgen.core.errors import RenderError
from reportgen.core.text import ENGLISH, LocaleFormatter, columns
from reportgen.core.windows import make_window
from reportgen.pages.report import make_pages
from tests.support.figures import read_figures

TODAY = date(2026, 11, 23)
NOW, BEFORE = "Tue 17 \u2013 Mon 23 Nov 2026", "Tue 10 \u2013 Mon 16 Nov 2026"
SVG = "{http://www.w3.org/2000/svg}"
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
"""Paths with the text that a chart shows for each."""

Row = tuple[int, str, int]
"""Days ago, path, visits."""


def drawn(
    rows: Iterable[Row], *names: str, over: bool = False, formatter: LocaleFormatter = ENGLISH
) -> list[Chart]:
    """Return the charts of these windows as in a build; ``over``: today is complete."""
    windows = [make_window(name, TODAY, today_complete=over) for name in names]
    return [chart for page in make_pages(read_figures(rows, windows), formatter) for chart in page.charts]


def stacked(
    rows: Iterable[Row], *names: str, over: bool = False, formatter: LocaleFormatter = ENGLISH
) -> list[Chart]:
    """Return the chart of visits by path of each window."""
    charts = drawn(rows, *names, over=over, formatter=formatter)
    return [chart for chart in charts if chart.name != "against-previous"]


def compared(
    rows: Iterable[Row], name: str = "7d", *, over: bool = False, formatter: LocaleFormatter = ENGLISH
) -> Chart:
    """Return the chart of one window against the one before."""
    metrics = read_figures(rows, [make_window(name, TODAY, today_complete=over)]).metrics[0]
    return against_previous(metrics, formatter)


@pytest.fixture(scope="module")
def usual() -> list[Chart]:
    """Give the five charts of a default build of twelve paths."""
    return drawn(TWELVE, "today", "7d", "30d")


@pytest.fixture(scope="module")
def hostile() -> list[Chart]:
    """Give the charts of hostile paths."""
    return drawn([(days, path, 100 - n) for n, path in enumerate(HOSTILE) for days in (0, 1)], "today", "7d")


once = cache(svg_of)


def svgs(chart: Chart) -> dict[str, str]:
    """Return a chart's drawings, by size."""
    return {size: once(chart.spec_json(size)) for size in chart.specs}


def in_a_file(chart: Chart, about: str) -> bytes:
    """Return a chart's wide drawing as an SVG file."""
    return svg_file(svgs(chart)["wide"], ChartFile("a.svg", "key", chart.title, chart.alt, about))


def all_svgs(charts: Iterable[Chart]) -> list[str]:
    """Return every drawing."""
    return [svg for chart in charts for svg in svgs(chart).values()]


def words(svg: str | bytes) -> list[str]:
    """Return the texts of a drawing, of real text elements; lines of one text are joined with ``|``."""
    return ["|".join(text.itertext()) for text in ET.fromstring(svg).iter(f"{SVG}text")]


def painted(svg: str, **attributes: str) -> int:
    """Count the shapes of a drawing that have these attributes; ``_`` stands for a hyphen."""
    wanted = {name.replace("_", "-"): value for name, value in attributes.items()}
    paths = [path for path in ET.fromstring(svg).iter(f"{SVG}path") if wanted.items() <= path.attrib.items()]
    return sum(path.get("d", "").count("M") for path in paths)


def colours(chart: Chart, size: str = "wide") -> dict[str, Any]:
    """Return how a chart's series are coloured, with their legend."""
    encodings = [layer["encoding"] for layer in chart.specs[size]["layer"]]
    found: dict[str, Any] = next(each["color"] for each in encodings if "legend" in each.get("color", {}))
    return found


def series_names(chart: Chart, size: str = "wide") -> dict[str, str]:
    """Return the name of each series by its id, in the order of the legend."""
    legend = colours(chart, size)["legend"]
    (found,) = re.findall(r"slice\((\[.*\])\[", legend["labelExpr"])
    return {each: json.loads(found)[int(each[1:])].removeprefix("=") for each in legend["values"]}


def scale(chart: Chart) -> dict[str, str]:
    """Return the colour of each series, by its name in the legend."""
    colour, names = colours(chart)["scale"], series_names(chart)
    return {names[each]: shown for each, shown in zip(colour["domain"], colour["range"], strict=True)}


@pytest.mark.slow
def test_every_specification_is_valid_vega_lite_with_the_named_rows(
    usual: list[Chart], hostile: list[Chart]
) -> None:
    """A specification names its rows, so that both sizes share them; each name that it uses exists."""
    names = [chart.name for chart in usual]
    assert names == ["top-paths", *["visits-by-path", "against-previous"] * 2]
    for chart in (*usual, *hostile):
        for spec in chart.specs.values():
            assert "datasets" not in spec
            alt.LayerChart.from_dict(spec | {"datasets": chart.rows})  # raises where the schema is not kept
            called = {layer["data"]["name"] for layer in spec["layer"] if "data" in layer}
            assert called | ({spec["data"]["name"]} if "data" in spec else set()) <= chart.rows.keys()


def test_drawings_are_plain_svg_with_real_text_that_any_policy_allows(
    usual: list[Chart], hostile: list[Chart]
) -> None:
    """They contain nothing that a strict policy forbids, no ids, and no URL that is fetched."""
    for svg in all_svgs([*usual, *hostile]):
        elements = list(ET.fromstring(svg).iter())
        tags = {element.tag.rpartition("}")[2] for element in elements}
        names = {name.rpartition("}")[2] for element in elements for name in element.attrib}
        assert tags <= {"svg", "g", "path", "text", "tspan", "line"}
        assert names.isdisjoint({"id", "style", "href", "src", "clip-path"})
        assert not [name for name in names if name.startswith("on")]
        assert len(words(svg)) > 1


def test_drawings_name_css_variables_and_no_colour(usual: list[Chart]) -> None:
    """One drawing serves light and dark; our theme declares the variables."""
    for svg in all_svgs(usual):
        colours = {element.get(kind) for element in ET.fromstring(svg).iter() for kind in ("fill", "stroke")}
        assert {str(colour) for colour in colours if not str(colour).startswith("var(--")} <= {
            "None",
            "none",
            "transparent",
        }
        assert re.findall(r"#[0-9a-fA-F]{3,8}|rgb|hsl|url\(", svg) == []


def test_the_same_figures_give_the_same_drawing_byte_by_byte(usual: list[Chart]) -> None:
    assert drawn(reversed(TWELVE), "today", "7d", "30d") == usual


def test_wide_and_narrow_drawings_have_exactly_their_widths(usual: list[Chart], hostile: list[Chart]) -> None:
    year = drawn([(days, f"/{days}", 10**12) for days in range(366)], "366d")
    for chart in (*usual, *hostile, *year):
        roots = {size: ET.fromstring(svg) for size, svg in svgs(chart).items()}
        assert {size: root.get("width") for size, root in roots.items()} == {
            size.name: str(size.width_px) for size in SIZES
        }
        assert [root.get("viewBox") for root in roots.values()] == [
            f"0 0 {root.get('width')} {root.get('height')}" for root in roots.values()
        ]


def test_bars_add_up_to_each_days_visits(usual: list[Chart]) -> None:
    """Eight paths by name and the others as Other, on every date."""
    chart = usual[1]
    names = [f"/p{n}" for n in range(11, 3, -1)]
    assert list(scale(chart)) == [*names, "Other"]
    drawn_visits, stored = Counter[str](), Counter[str]()
    for row in chart.rows["visits"]:
        drawn_visits[row["date"]] += row["visits"]
    for days, _, visits in TWELVE:
        stored[(TODAY - timedelta(days)).isoformat()] += visits if days < 7 else 0
    assert drawn_visits == +stored
    assert [row["visits"] for row in chart.rows["visits"] if row["series"] == "s0"] == [
        visits for days, path, visits in sorted(TWELVE, reverse=True) if path == "/p11" and days < 7
    ]


def test_a_path_keeps_its_colour_on_every_page_and_shares_it_with_none() -> None:
    """The first path of the week is not that of the month, so the two pages name different paths."""
    rows = [(days, f"/{n}", 500 - 9 * n if days > 6 else 10 + n * 9) for n in range(12) for days in range(30)]
    week, month = map(scale, stacked(rows, "7d", "30d"))
    assert (len(set(week.values())), len(set(month.values()))) == (9, 9)
    shared = week.keys() & month.keys()
    assert 1 < len(shared) < 9
    assert {path: week[path] for path in shared} == {path: month[path] for path in shared}


def test_what_has_no_visits_is_neither_drawn_nor_named() -> None:
    """No bar without height, whose outline would be visible, and no *Other* without visits."""
    rows = [(days, "/a", 9) for days in range(7)] + [(2, "/b", 5), (3, "/b", 0)]
    chart = stacked(rows, "7d")[0]
    assert list(scale(chart)) == ["/a", "/b"]
    assert [row["visits"] for row in chart.rows["visits"]] == [9] * 7 + [5]
    for svg in svgs(chart).values():
        assert "Other" not in words(svg)
        assert painted(svg, stroke="var(--paper)", stroke_width="0.75") == 7
        assert painted(svg, stroke=scale(chart)["/a"], fill_opacity="0.4") == 1  # today's
    assert "all other paths" not in chart.alt


def heights(svg: str) -> list[float]:
    """Return the height of each bar in the colour of the first series, in pixels, by date."""
    bars = [path for path in ET.fromstring(svg).iter(f"{SVG}path") if path.get("fill") == "var(--series-1)"]
    return [float(height) for bar in bars for height in re.findall(r"v([\d.]+)h-", bar.attrib["d"])]


def test_a_spike_is_cut_and_has_its_number() -> None:
    """The other bars stay in proportion and readable; every number in words and in the data is exact."""
    rows = [(days, "/a", 7000 if days == 3 else 20 + days) for days in range(7)]
    chart = stacked([*rows, (3, "/b", 26)], "7d", over=True)[0]
    for size in SIZES:
        svg = svgs(chart)[size.name]
        bars = heights(svg)[:7]
        others = [26, 25, 24, 22, 21, 20]
        assert "7,026" in words(svg)
        assert max(bars) == bars[3]
        for height, visits in zip(bars[:3] + bars[4:], others, strict=True):
            assert height == pytest.approx(bars[0] * visits / 26, abs=0.05)
        assert bars[0] > size.height_px / 2
        assert painted(svg, fill="var(--paper)") >= 1
    assert sum(row["visits"] for row in chart.rows["visits"]) == 7026 + 138
    assert "most on Fri 20 Nov 2026: 7,026." in chart.alt
    assert chart.alt.endswith("The bar of Fri 20 Nov 2026 is cut.")


@pytest.mark.parametrize("visits", [
    [100, 20, 20, 20],  # today first
    [20, 100, 20, 20],
    [3, 100],  # today has just begun
    [3, 100, 9],
    [0, 100, 0, 0],
])  # fmt: skip
def test_no_bar_is_cut_without_need(visits: list[int]) -> None:
    chart = stacked([(days, "/a", count) for days, count in enumerate(visits)], "7d")[0]
    assert "cut" not in chart.rows


def test_other_is_named_if_it_has_visits() -> None:
    chart = stacked([(1, f"/{n}", 20 - n) for n in range(9)], "7d")[0]
    assert list(scale(chart))[-1] == "Other"
    assert "Other" in words(svgs(chart)["wide"])
    assert "/7 13, all other paths 12." in chart.alt


def strokes(svg: str) -> dict[str, set[str]]:
    """Return the widths of the outlines of a drawing's bars, by their colours."""
    found: dict[str, set[str]] = {}
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if path.get("stroke") and path.get("aria-label") is None:
            found.setdefault(path.attrib["stroke"], set()).add(path.get("stroke-width", "1"))
    return found


@pytest.mark.parametrize(("days", "gaps", "today"), [
    (7, ["0.75", "0.75"], [1.5, 1.5]),
    (90, ["0.75", "0"], [1.5, 340 / 90 / 4]),
    (366, ["0.75", "0.75"], [1.5, 1.5]),  # weeks
])  # fmt: skip
def test_bars_have_no_gaps_if_dates_are_too_narrow(days: int, gaps: list[str], today: list[float]) -> None:
    """Gaps would hide bars of less than 6 px; today's outline is thin there, too."""
    chart = stacked([(day, f"/{n}", 9 + n + day % 7) for day in range(days) for n in range(9)], f"{days}d")[0]
    for svg, gap, width in zip(svgs(chart).values(), gaps, today, strict=True):
        found = strokes(svg)
        assert found.pop("var(--paper)") == {gap}
        other = found.pop("var(--ghost)")  # around each of its bars, the last of which is today's
        assert sorted(map(float, other)) == pytest.approx(sorted({min(0.75, width), width}), abs=0.01)
        assert found.keys() == set(scale(chart).values()) - {"var(--other)"}
        (outline,) = set.union(*found.values())
        assert float(outline) == pytest.approx(width, abs=0.01)


def test_the_legend_begins_with_the_top_of_the_stack(usual: list[Chart]) -> None:
    chart = usual[1]
    for size in ("wide", "narrow"):
        names = list(scale(chart))[::-1]
        assert list(series_names(chart, size).values()) == names
        assert [word for word in words(svgs(chart)[size]) if word in names] == names


def test_entries_of_a_legend_in_full_width_letters_do_not_touch() -> None:
    """The font that Vega measures with has no such letters."""
    paths = ["/" + "\u6771\u4eac" * 7 + str(number) for number in range(9)]
    chart = stacked([(day, path, 50 - at) for at, path in enumerate(paths) for day in range(7)], "7d")[0]
    entry = (
        r'<g transform="translate\(([\d.]+),[\d.]+\)"><path class="background"[^>]*><g><g class="mark-symbol'
    )
    starts = sorted(set(map(float, re.findall(entry, svgs(chart)["wide"]))))
    label = next(iter(scale(chart)))
    full = sum(char in "\u6771\u4eac" for char in label)
    assert (len(starts), full > 10) == (2, True)
    assert starts[1] - starts[0] > 14.5 * (1.3 + full + 0.6 * (len(label) - full))


def test_todays_bar_is_marked_so_far_until_the_day_is_over(usual: list[Chart]) -> None:
    """A second line of its label says so, and the bar is lighter."""
    running, over = usual[1], stacked(TWELVE, "7d", over=True)[0]
    for size in svgs(running):
        labels = [
            next(word for word in words(svgs(chart)[size]) if "23" in word) for chart in (running, over)
        ]
        assert [label.partition("|")[2] for label in labels] == ["so far", ""]
        assert 'fill-opacity="0.4"' in svgs(running)[size]
        assert 'fill-opacity="0.4"' not in svgs(over)[size]
    assert {row["date"] for row in running.rows["visits"] if row["partial"]} == {TODAY.isoformat()}


def test_today_is_drawn_as_bars_of_its_first_20_paths() -> None:
    chart = drawn([(0, f"/{n}", 1000 * n) for n in range(1, 30)], "today")[0]
    for svg in svgs(chart).values():
        assert words(svg) == [f"/{n}" for n in range(29, 9, -1)] + [f"{n},000" for n in range(29, 9, -1)]


LONGEST = [
    ("/", 5),
    ("/" + "a" * 60, 1_000_000),
    ("/" + "mW" * 30, 12),
    ("/\u6771\u4eac" * 20, 99_999),
    ("/" + "mW" * 30, 10**9),
    ("/" + "mW" * 30, 10**18),
]  # fmt: skip


@pytest.mark.parametrize(("path", "visits"), LONGEST)
def test_the_number_after_the_longest_bar_is_inside_the_drawing(path: str, visits: int) -> None:
    """In a wide font as well; the bar's length is in proportion to the others."""
    chart = drawn([(0, path, visits), (0, "/half", visits // 2)], "today")[0]
    for size in SIZES:
        svg = svgs(chart)[size.name]
        bars = sorted(float(length) for length in re.findall(r"M0,[\d.]+h([\d.]+)v[\d.]+h-\1Z", svg))[:2]
        (plot,) = re.findall(r'role-frame root"><g transform="translate\(([\d.]+),0\)', svg)
        assert bars[1] >= 10
        assert bars[0] == pytest.approx(bars[1] * (visits // 2) / visits, abs=0.02)
        end = float(plot) + bars[1] + 5 + text_width_px(f"{visits:,}", size.font_px)
        assert end <= size.width_px


def test_the_width_of_a_text_is_that_of_a_wide_font() -> None:
    """Narrow, usual and wide letters, those of two columns among them, in proportion to their size."""
    assert [text_width_px(text, 10) for text in ("", "i", "a", "W", "\u6771")] == [0, 4.2, 6.5, 9.8, 13]
    assert (
        text_width_px("/news", 20)
        == 2 * text_width_px("/news", 10)
        == pytest.approx(2 * (4.2 + 3 * 6.5 + 9.8))
    )


def test_the_axis_names_first_week_and_today(usual: list[Chart]) -> None:
    assert [word for word in words(svgs(usual[1])["wide"]) if "Nov" in word] == [
        "Tue 17 Nov", "Wed 18 Nov", "Thu 19 Nov", "Fri 20 Nov", "Sat 21 Nov", "Sun 22 Nov",
        "Mon 23 Nov|so far",
    ]  # fmt: skip
    for svg in all_svgs(usual[1:]):
        dates = [word for word in words(svg) if "Nov" in word and "2026" not in word]
        assert dates[-1].endswith("23 Nov|so far")


@pytest.mark.slow
def test_every_label_of_the_axis_of_dates_is_drawn() -> None:
    """In windows of any length: rounding once put the first date out of the range, and its label was lost.

    The labels are spaced evenly, do not overlap, and the last is always today.
    """
    lengths = range(2, 32)
    windows = [make_window(f"{days}d", TODAY, today_complete=True) for days in lengths]
    for metrics in read_figures(TWELVE, windows).metrics:
        dates = metrics.window.span.dates()
        ticks = {ENGLISH.tick(day, weekday=weekday): day for day in dates for weekday in (True, False)}
        chart = against_previous(metrics, ENGLISH)
        for size in SIZES:
            shown = [dates.index(ticks[word]) for word in words(svgs(chart)[size.name]) if word in ticks]
            gaps = {two - one for one, two in pairwise(shown)}
            step = -(-len(dates) // size.ticks)
            assert (gaps or {step}, shown[-1], shown[0] < step) == ({step}, len(dates) - 1, True), (
                len(dates),
                size.name,
            )


def shaded(svg: str) -> list[list[float]]:
    """Return the left and the right end of each shaded area of a drawing."""
    areas = "".join(re.findall(r'<path d="([^"]*)" fill="var\(--ink\)" opacity="0.05"/>', svg))
    found = re.findall(r"M([\d.]+),0h([\d.]+)", areas)
    return [[float(left), pytest.approx(float(left) + float(width), abs=0.1)] for left, width in found]


def test_saturdays_and_sundays_are_shaded_from_edge_to_edge_behind_both_charts() -> None:
    """A weekend that the window cuts, too; a window of weekdays has no shade."""
    rows = [(days, "/", 10) for days in range(20)]
    bars, against = drawn(rows, "9d", over=True)  # Sun 15 to Mon 23 Nov
    for size in SIZES:
        (columns,) = re.findall(r'<path d="([^"]*)" fill="var\(--series-1\)', svgs(bars)[size.name])[:1]
        lefts, widths = zip(*re.findall(r"M([\d.]+),[\d.]+h([\d.]+)", columns), strict=True)
        weekends = [[float(lefts[a]), float(lefts[b]) + float(widths[b])] for a, b in ((0, 0), (6, 7))]
        assert shaded(svgs(bars)[size.name]) == shaded(svgs(against)[size.name]) == weekends
    weekdays = make_window("5d", date(2026, 11, 20), today_complete=True)
    (metrics,) = read_figures(rows, [weekdays]).metrics
    assert [shaded(svg) for svg in svgs(against_previous(metrics, ENGLISH)).values()] == [[], []]


def test_dates_without_rows_are_marked_and_named_on_both_charts() -> None:
    """Each has a mark below the axis; a date whose rows have 0 visits has none."""
    rows = [(days, "/", 0 if days == 4 else 10) for days in range(14) if days not in {2, 3, 9}]
    for chart in drawn(rows, "7d"):
        labels = words(svgs(chart)["wide"])
        assert [word for word in labels if "|" in word] == [
            "Fri 20 Nov|no rows", "Sat 21 Nov|no rows", "Mon 23 Nov|so far",
        ]  # fmt: skip
        for svg in svgs(chart).values():
            assert painted(svg, fill="var(--quiet)") == 2
        assert chart.alt.endswith(" No rows on Fri 20 \u2013 Sat 21 Nov 2026.")
    whole = drawn([(days, "/", 10) for days in range(14)], "7d")
    assert [painted(svg, fill="var(--quiet)") for svg in all_svgs(whole)] == [0, 0, 0, 0]
    assert [chart.alt for chart in whole if "No rows" in chart.alt] == []
    gaps = compared([(days, "/", 10) for days in range(14) if days not in {1, 3, 4}])
    assert gaps.alt.endswith(" No rows on Thu 19 \u2013 Fri 20 Nov 2026; Sun 22 Nov 2026.")
    assert [tip[1] for tip in gaps.tips.values.values()] == [
        "10", "10", "0, no rows", "0, no rows", "10", "0, no rows", "10 so far",
    ]  # fmt: skip


def test_todays_numbers_say_so_far_until_the_day_is_over() -> None:
    rows = [(days, "/", 1000 if days == 0 else 9) for days in range(14)]
    running, over = (stacked(rows, "7d", over=over)[0] for over in (False, True))
    assert [tip[1] for tip in running.tips.values.values()] == ["9"] * 6 + ["1,000 so far"]
    assert [tip[1] for tip in over.tips.values.values()] == ["9"] * 6 + ["1,000"]
    most = "most on Mon 23 Nov 2026: 1,000"
    assert f"{most} so far. By path:" in running.alt
    assert f"{most}. By path:" in over.alt


def test_there_is_no_comparison_if_no_complete_day_has_rows_on_both_sides() -> None:
    for before in (0, 1, 6, 7, 9, 13):
        rows = [(0, "/", 9), (2, "/", 1), (before, "/", 0)]
        names = [chart.name for chart in drawn(rows, "7d")]
        assert names == ["visits-by-path", *["against-previous"] * (before == 9)]
    assert len(drawn([(0, "/", 9), (7, "/", 0)], "7d", over=True)) == 2


def test_a_line_ends_where_dates_have_no_rows() -> None:
    """Also where the recording began; a single date is a dot."""
    rows = [(days, "/", 9) for days in range(12) if days not in {2, 3, 8}]
    chart = compared(rows)
    visits = {line: [number for _, number in points] for line, points in lines(chart).items()}
    now, before = "Tue 17 \u2013 Mon 23 Nov 2026", "Tue 10 \u2013 Mon 16 Nov 2026"
    assert visits[f"complete {now}"] == [9, 9, 9, None, None, 9]
    assert visits[f"previous {before}"] == [None, None, 9, 9, 9, None, 9]
    previous, complete = (layer["mark"] for layer in chart.specs["wide"]["layer"][1:3])
    assert (previous["strokeCap"], complete["strokeCap"]) == ("round", "round")


# Against the window before.


def lines(chart: Chart) -> dict[str, list[tuple[str, int]]]:
    """Return the day of the month and the visits of each point, by line."""
    found: dict[str, list[tuple[str, int]]] = {}
    names = series_names(chart)
    for row in chart.rows["visits"]:
        line = f"{row['part']} {names[row['series']]}"
        found.setdefault(line, []).append((row["date"][-2:], row["visits"]))
    return found


def test_the_previous_days_are_drawn_on_the_dates_of_the_window() -> None:
    """The previous line is whole; a line of its own connects today with the last complete day."""
    chart = compared([(days, "/", 100 - days) for days in range(14)])
    dates = [str(day) for day in range(17, 24)]
    assert lines(chart) == {
        f"previous {BEFORE}": list(zip(dates, range(87, 94), strict=True)),
        f"complete {NOW}": list(zip(dates[:-1], range(94, 100), strict=True)),
        f"dashed {NOW}": [("22", 99), ("23", 100)],
        f"running {NOW}": [("23", 100)],
    }


def test_a_window_that_is_over_has_two_whole_lines() -> None:
    chart = compared([(days, "/", 100 - days) for days in range(14)], over=True)
    assert {name: len(points) for name, points in lines(chart).items()} == {
        f"previous {BEFORE}": 7,
        f"complete {NOW}": 7,
    }


def test_today_is_dashed_and_hollow_only_while_it_runs(usual: list[Chart]) -> None:
    """Complete days have points if these do not touch: on a wide drawing of a short window."""
    running, over = usual[2], compared(TWELVE, over=True)
    for size in svgs(running):
        for chart, there in ((running, 1), (over, 0)):
            svg = svgs(chart)[size]
            assert svg.count("stroke-dasharray") == there
            assert painted(svg, fill="var(--paper)", stroke="var(--accent)") == there
    points = [painted(svg, fill="var(--accent)", stroke_width="2") for svg in svgs(over).values()]
    assert points == [7, 0]


def test_a_window_of_two_days_with_one_complete_day_is_drawn() -> None:
    chart = compared([(days, "/", 10 + days) for days in range(4)], "2d")
    assert lines(chart)["complete Sun 22 \u2013 Mon 23 Nov 2026"] == [("22", 11)]
    for svg in svgs(chart).values():
        assert svg.count("stroke-dasharray") == 1


def test_the_legend_names_both_spans_in_their_colours(usual: list[Chart]) -> None:
    assert scale(usual[2]) == {NOW: "var(--accent)", BEFORE: "var(--ghost)"}
    for svg in svgs(usual[2]).values():
        assert words(svg)[-2:] == [NOW, BEFORE]


def test_the_tooltip_of_a_date_has_both_numbers_and_both_dates() -> None:
    tips = compared([(0, "/", 1500), (7, "/", 2500), (1, "/", 3), (2, "/", 1), (9, "/", 1)]).tips
    assert tips.lines == [("", None), ("Visits", "var(--accent)"), ("Previous", "var(--ghost)")]
    assert len(tips.values) == 7
    assert tips.values["2026-11-23"] == ["Mon 23 Nov 2026", "1,500 so far", "2,500 on Mon 16 Nov 2026"]
    assert tips.values["2026-11-22"] == ["Sun 22 Nov 2026", "3", "no rows"]


def test_the_tooltip_of_a_date_lists_the_stack_from_its_top_with_all_colours(usual: list[Chart]) -> None:
    """Their sum is the total of the date; a path without visits on the date has 0."""
    chart = usual[1]
    names, found = list(scale(chart).items())[::-1], chart.tips
    assert found.lines == [("", None), ("Visits", None), *names]
    for tip in found.values.values():
        assert sum(map(int, tip[2:])) == int(tip[1].removesuffix(" so far"))
    rows = [(1, "/a", 1000), (1, "/b", 7), (2, "/a", 9)]
    assert stacked(rows, "7d")[0].tips.values["2026-11-21"] == ["Sat 21 Nov 2026", "9", "0", "9"]
    assert stacked(rows, "7d")[0].tips.values["2026-11-22"] == ["Sun 22 Nov 2026", "1,007", "7", "1,000"]


SUNDAY, SATURDAY = "Sun 22 Nov 2026", "Sat 21 Nov 2026"
COMPARED = [
    (
        7,
        False,
        (
            f"{NOW} (7 days): 7,000 visits on 6 complete days (Tue 17 \u2013 {SUNDAY}) against 2,503 on"
            " Tue 10 \u2013 Sun 15 Nov 2026."
            f" Most on a complete day: 6,999 on {SATURDAY}."
            " Today so far 4, against 9 on the whole of the day 7 days before."
        ),
    ),
    (
        7,
        True,
        (
            f"{NOW} (7 days): 7,004 visits on 7 complete days ({NOW}) against 2,512 on {BEFORE}."
            f" Most on a complete day: 6,999 on {SATURDAY}."
        ),
    ),
    (
        2,
        False,
        (
            f"Sun 22 \u2013 Mon 23 Nov 2026 (2 days): 1 visit on 1 complete day ({SUNDAY}) against"
            " 0 on Fri 20 Nov 2026."
            f" Most on a complete day: 1 on {SUNDAY}."
            " Today so far 4, against 6,999 on the whole of the day 2 days before."
        ),
    ),
]


@pytest.mark.parametrize(("days", "over", "text"), COMPARED)
def test_the_alternative_states_both_totals_the_best_day_and_today(days: int, over: bool, text: str) -> None:
    rows = [(0, "/", 4), (1, "/", 1), (2, "/", 6999), (7, "/", 9), (9, "/", 2500), (13, "/", 3)]
    rows += [(day, "/", 0) for day in range(14)]
    chart = compared(rows, f"{days}d", over=over)
    assert (chart.title, chart.alt) == (f"Visits per day against the {days} days before", text)


def test_the_alternative_of_nothing_names_no_best_day() -> None:
    assert compared([(1, "/", 0), (8, "/", 5)]).alt == (
        f"{NOW} (7 days): 0 visits on 1 of 6 complete days (Sun 22 Nov 2026) against 5 on "
        "Sun 15 Nov 2026. Today so far 0, against 0 on the whole of the day 7 days before, "
        "which has no rows. No rows on Tue 17 \u2013 Sat 21 Nov 2026; Mon 23 Nov 2026."
    )


def test_dates_that_a_shorter_month_lacks_are_compared_with_nothing() -> None:
    window = make_window("month", date(2027, 3, 31), today_complete=False)
    figures = read_figures([(day, "/", 9) for day in range(80)], [window])
    chart = against_previous(figures.metrics[0], ENGLISH)
    assert chart.alt.endswith("Today so far 9.")
    assert chart.tips.values["2027-03-28"][2] == "9 on Sun 28 Feb 2027"
    assert chart.tips.values["2027-03-29"][2] == "\N{EN DASH}"


def test_a_week_that_was_recorded_in_part_is_no_earlier_week() -> None:
    """Its sum would look like a fall that was none."""
    window = make_window("365d", date(2026, 11, 27), today_complete=True)
    (metrics,) = read_figures([(day, "/", 1) for day in range(365 + 200)], [window]).metrics
    earlier = [values[2] for values in against_previous(metrics, ENGLISH).tips.values.values()]
    assert {visits.partition(" on ")[0] for visits in earlier} == {"no rows", "7", "5"}  # 23 to 27 Nov


# In every locale, and of any size.


@pytest.mark.parametrize(
    ("name", "visits", "ticks"),
    [
        ("en", 4000, ["0", "1,000", "2,000", "3,000", "4,000"]),
        ("de", 4000, ["0", "1.000", "2.000", "3.000", "4.000"]),
        ("en", 99_999, ["0", "20,000", "40,000", "60,000", "80,000"]),
        ("hi", 99_999, ["0", "20,000", "40,000", "60,000", "80,000"]),
        ("fr", 99_999, ["0", *(f"{n}\u202f000" for n in (20, 40, 60, 80))]),
        ("en", 100_000, ["0", "20k", "40k", "60k", "80k"]),
        ("de", 2_500_000, ["0", "500k", "1M", "1,5M", "2M"]),
        ("en", 3_000_000_000, ["0", "1B", "2B", "3B"]),
        ("en", 3, ["0", "1", "2", "3"]),
    ],
)
def test_an_axis_follows_the_locale_and_abbreviates_from_100_000_on(
    name: str, visits: int, ticks: list[str]
) -> None:
    """Whole numbers, even for few visits; 0 is 0, and a billion is B, not G."""
    for chart in drawn([(1, "/", visits)], "2d", formatter=LocaleFormatter.of(name)):
        numbers = [
            word for word in words(svgs(chart)["wide"]) if re.fullmatch(r"[\d.,\u202f]+[A-Za-z]?", word)
        ]
        assert numbers[: len(ticks)] == ticks


def test_dates_and_counts_of_a_chart_follow_the_locale() -> None:
    bars, comparison = drawn([(1, "/", 1234), (8, "/", 1000)], "7d", formatter=LocaleFormatter.of("de"))
    assert bars.rows["visits"][0] | {"order": 0} == {
        "date": "2026-11-22", "series": "s0", "order": 0, "visits": 1234, "partial": False,
        "outline": "var(--paper)",
    }  # fmt: skip
    assert bars.tips.values["2026-11-22"] == ["So., 22. Nov. 2026", "1.234", "1.234"]
    assert comparison.tips.values["2026-11-22"][2] == "1.000 on So., 15. Nov. 2026"
    assert "So., 22. Nov." in words(svgs(bars)["wide"])
    assert next(iter(scale(comparison))) == "Di., 17.\u2009\u2013\u2009Mo., 23. Nov. 2026"
    assert "1.234 visits" in bars.alt


def test_hostile_paths_are_drawn_as_text_one_by_one(hostile: list[Chart]) -> None:
    for chart in hostile[:2]:
        for size, svg in svgs(chart).items():
            labels = words(svg)
            assert [end for end in HOSTILE.values() if not any(label.endswith(end) for label in labels)] == []
            assert max(map(columns, labels)) <= {"wide": 52, "narrow": 34}[size]  # with " (2)"
    colours = scale(hostile[1])
    assert len(colours) == len(set(colours.values())) == len(HOSTILE)
    assert [row["visits"] for row in hostile[0].rows["visits"]] == [100 - n for n in range(len(HOSTILE))]


OF_OBJECTS = ["constructor", "toString", "__proto__", "hasOwnProperty", "valueOf", "", " "]
"""Names that each JavaScript object has as keys, and paths without a visible character."""


@pytest.mark.parametrize("first", OF_OBJECTS)
def test_paths_that_are_keys_of_each_javascript_object_are_drawn(first: str) -> None:
    """Each is the most visited once: Vega treats the first value of a scale apart."""
    paths = [first, *(path for path in OF_OBJECTS if path != first)]
    for chart in drawn(
        [(days, path, 100 - n) for n, path in enumerate(paths) for days in (0, 1)], "today", "2d"
    )[:2]:
        for svg in svgs(chart).values():
            shown = {"": "(empty)", " ": "\u2420"}
            assert {shown.get(path, path) for path in paths} <= set(words(svg))
        assert sum(row["visits"] for row in chart.rows["visits"]) in {679, 2 * 679}
        assert painted(svgs(chart)["wide"], fill="var(--series-1)") >= 1


def test_a_drawing_that_lacks_its_rows_is_refused(usual: list[Chart]) -> None:
    """A scale that knows none of the series leaves the bars out without an error of Vega."""
    spec = json.loads(usual[0].spec_json("wide"))
    for layer in spec["layer"]:
        layer["transform"] = [{"filter": "false"}]
    with pytest.raises(RenderError, match="has rows, but its drawing lacks them"):
        svg_of(json.dumps(spec))


def test_a_path_named_other_has_another_label_than_other() -> None:
    chart = stacked([*((1, f"/{n}", 20 - n) for n in range(9)), (1, "Other", 99)], "7d")[0]
    assert [name for name in scale(chart) if "Other" in name] == ["Other (2)", "Other"]


def test_the_alternative_states_total_dates_and_each_path(usual: list[Chart]) -> None:
    rows = [(1, "/a", 1000), (2, "/a", 500), (0, "/b\n", 7), *((3, f"/{n}", 10 + n) for n in range(8))]
    rows += [(day, "/a", 0) for day in range(4, 7)]
    day, week = stacked([*rows, (0, "/c", 1)], "today", "7d")
    assert day.alt == "8 visits on Mon 23 Nov 2026 (1 day). /b\u240a 7, /c 1."
    assert week.alt == (
        "1,616 visits on Tue 17 \u2013 Mon 23 Nov 2026 (7 days); most on Sun 22 Nov 2026: 1,000. "
        "By path: /a 1,500, /7 17, /6 16, /5 15, /4 14, /3 13, /2 12, /1 11, all other paths 18."
    )


# As an SVG file.


def test_an_svg_file_is_an_image_with_its_text_on_a_light_background(usual: list[Chart]) -> None:
    """It needs no style sheet; title, description and two lines of text tell what the page tells around it.

    Around the drawing of the page is a margin of 24 px, above it 64 px for the words.
    """
    for chart in usual:
        file = in_a_file(chart, "example.com \u00b7 7 days")
        root, inner = ET.fromstring(file), ET.fromstring(svgs(chart)["wide"])
        assert "var(" not in file.decode()
        assert (root.tag, root.get("role")) == (f"{SVG}svg", "img")
        width, height = 960 + 48, int(inner.attrib["height"]) + 48 + 64
        assert [root.get(name) for name in ("width", "height", "viewBox")] == [
            str(width), str(height), f"-24 -88 {width} {height}",
        ]  # fmt: skip
        title, text, paper = list(root)[:3]
        assert [(each.tag, each.text) for each in (title, text)] == [
            (f"{SVG}title", chart.title), (f"{SVG}desc", chart.alt),
        ]  # fmt: skip
        assert (paper.tag, paper.attrib) == (
            f"{SVG}rect", {"x": "-24", "y": "-88", "width": "100%", "height": "100%", "fill": "#ffffff"},
        )  # fmt: skip
        assert words(file) == [chart.title, "example.com \u00b7 7 days", *words(svgs(chart)["wide"])]
        for text in list(root)[3:5]:
            assert -88 + float(text.attrib["font-size"]) <= float(text.attrib["y"]) < -12


def test_a_drawing_of_hostile_paths_is_still_an_image(hostile: list[Chart]) -> None:
    for chart in hostile:
        root = ET.fromstring(in_a_file(chart, "</text><script>&"))
        assert words(in_a_file(chart, "</text><script>&"))[1] == "</text><script>&"
        assert root.findtext(f"{SVG}desc") == chart.alt
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            "svg", "title", "desc", "rect", "g", "path", "text", "tspan", "line",
        }  # fmt: skip


def test_a_path_that_looks_like_a_variable_stays_as_it_is() -> None:
    paths = ['/"var(--ink)"', "/var(--evil)", "/-->&<"]
    chart = stacked([(0, path, 3) for path in paths], "today")[0]
    about, *found = words(in_a_file(chart, "var(--ink)"))[1:]
    assert (about, found[:3]) == ("var(--ink)", sorted(paths))


@contextmanager
def web_server(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder from another process; the list holds, in the end, the requests."""
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
            svg_of(json.dumps(spec).replace("URL", address))
        except RenderError as exc:
            refused.append(str(exc))
    assert asked == []
    assert ["not allowed" in message for message in refused] == [True]


def test_a_specification_that_cannot_be_drawn_raises_render_error() -> None:
    with pytest.raises(RenderError, match="could not be drawn"):
        svg_of('{"data": {"values": []}, "mark": "nonsense"}')


def test_drawings_replace_their_placeholders_and_nothing_else(usual: list[Chart]) -> None:
    """A comment in a user's template that looks similar stays; files that are not pages stay as they are."""
    page = f"<p>{placeholder('7d/a.wide')}</p><!--drawing of mine--><!--drawing mine-->"
    draft = PageDraft(
        {"a.html": page.encode(), "a.csv": page.encode()}, {"7d/a.wide": usual[0].spec_json("wide")}, []
    )
    files = insert_svgs(draft)
    expected = page.replace(placeholder("7d/a.wide"), svgs(usual[0])["wide"])
    assert (files["a.html"].decode(), files["a.csv"].decode()) == (expected, page)


# Weeks and months.


@pytest.mark.parametrize(("days", "unit", "bars", "tip"), [
    (93, "week", 15, "16 \u2013 22 Nov 2026"),
    (1100, "month", 37, "1 \u2013 31 Oct 2026"),
])  # fmt: skip
def test_long_windows_are_drawn_by_week_or_month(days: int, unit: str, bars: int, tip: str) -> None:
    """No visit is lost. Parts of a week or month say so."""
    rows = [(day, f"/{day % 3}", 1 + day % 7) for day in range(2 * days)]
    by_path, compared = drawn(rows, f"{days}d")
    assert by_path.title == f"Visits per {unit} by path"
    assert compared.title == f"Visits per {unit} against the {days} days before"
    total = sum(visits for day, _, visits in rows if day < days)
    assert sum(row["visits"] for row in by_path.rows["visits"]) == total
    points = [row for row in compared.rows["visits"] if row["part"] in {"complete", "running"}]
    assert sum(row["visits"] for row in points) == total
    for chart in (by_path, compared):
        assert len(chart.rows["dates"]) == len(chart.tips.values) == bars
        assert "weekends" not in chart.rows
        first, *_, before, last = (tips[0] for tips in chart.tips.values.values())
        assert first.endswith(f", part of the {unit}")
        assert (before, last.endswith("23 Nov 2026, part of the " + unit)) == (tip, True)
        svg = svgs(chart)["wide"]
        assert ">so far<" in svg
        assert ">part<" in svg


def test_a_week_without_rows_of_each_of_its_days_is_light() -> None:
    """It would be read as a fall in visits."""
    (chart,) = stacked([(day, "/", 5) for day in range(93) if day not in {10, 11}], "93d")
    light = [row["date"] for row in chart.rows["visits"] if row["partial"]]
    assert light == ["2026-08-23", "2026-11-09", "2026-11-23"]
    for svg in svgs(chart).values():
        assert painted(svg, fill_opacity="0.4") == len(light)


@pytest.mark.parametrize(
    ("days", "label"), [(93, "23 Aug|part"), (94, "22 Aug|part"), (1100, "Nov 2023|part")]
)
def test_a_first_bar_that_is_a_part_has_a_label_as_the_last_one_has(days: int, label: str) -> None:
    """Labels are counted from the last bar, which may leave out the first."""
    for chart in drawn([(day, "/", 5) for day in range(2 * days)], f"{days}d"):
        for svg in svgs(chart).values():
            found = [text for text in words(svg) if text.endswith(("|part", "|so far"))]
            assert [found[0], found[-1].split("|")[1]] == [label, "so far"]


def test_a_second_comparison_is_a_dashed_line_with_its_dates() -> None:
    window = make_window("7d", TODAY, today_complete=False, compare=("previous", "year"))
    found = read_figures([(days, "/", days + 1) for days in range(372)], [window])
    _, chart = make_pages(found, ENGLISH)[0].charts
    other = [row["visits"] for row in chart.rows["visits"] if row["part"] == "other"]
    assert other == [371, 370, 369, 368, 367, 366, 365]
    assert list(series_names(chart).values())[2] == "Tue 18 \u2013 Mon 24 Nov 2025 (dashed)"
    assert chart.tips.lines[-1] == ("Year before", "var(--quiet)")
    assert chart.tips.values["2026-11-22"][1:] == ["2", "9 on Sun 15 Nov 2026", "366 on Sun 23 Nov 2025"]
    assert "stroke-dasharray" in svgs(chart)["wide"]


def test_today_without_rows_is_drawn_without_a_line_to_it() -> None:
    rows = [(days, "/", 9) for days in range(1, 14)]
    chart = compared(rows)
    assert {row["part"] for row in chart.rows["visits"]} == {"previous", "complete", "dashed"}
    assert all(svg for svg in svgs(chart).values())


def test_the_tooltip_of_a_week_says_how_many_of_its_days_have_no_rows() -> None:
    rows = [(days, "/", 2) for days in range(200) if days not in {9, 10, *range(15, 22)}]
    tips = list(stacked(rows, "100d")[0].tips.values.values())
    assert [tip[1] for tip in tips[-4:]] == ["0, no rows", "10, 2 of 7 days without rows", "14", "2 so far"]
