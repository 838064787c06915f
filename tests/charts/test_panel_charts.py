"""The charts of panels: bars by label, and lines, areas and stacked bars by date."""

import json
from datetime import date, timedelta
from typing import Any

import altair as alt
import pytest

from reportgen.charts.panel_charts import bars_chart, dates_chart
from reportgen.charts.spec import Chart
from reportgen.charts.svg import svg_of
from reportgen.config.panels import Panel
from reportgen.core.text import ENGLISH, LocaleFormatter
from reportgen.core.windows import make_window
from reportgen.metrics.panels import Bars, Dates, interpret
from reportgen.sources.panel_queries import PanelRows
from tests.charts.test_charts import painted, words

TODAY = date(2026, 11, 23)


def ago(days: int) -> str:
    """Return the date ``days`` before today."""
    return (TODAY - timedelta(days)).isoformat()


def drawn(
    columns: str,
    *rows: tuple[Any, ...],
    window: str = "7d",
    formatter: LocaleFormatter = ENGLISH,
    **panel: Any,
) -> Chart:
    """Return the chart of a result of these columns, separated by blanks."""
    made = Panel("own", "Own", "", "SELECT", **panel)
    over = make_window(window, TODAY, today_complete=False)
    found = interpret(made, PanelRows(columns.split(), rows), over)
    assert isinstance(found, Bars | Dates)
    return (
        bars_chart(made, found, formatter) if isinstance(found, Bars) else dates_chart(made, found, formatter)
    )


SPLIT = [(ago(days), 10 * n + days, f"s{n}") for days in range(7) for n in range(1, 11)]
CHARTS: dict[str, Chart] = {
    "bars": drawn("label value", ("a", 4), ("b", 2), ("c", None)),
    "previous": drawn("label value previous", ("a", 4, 8), ("b", -2, None)),
    "split": drawn("label value series", *((label, n, f"s{n}") for label in "ab" for n in range(12))),
    "line": drawn("date value", *((ago(days), 3 - days) for days in range(7))),
    "lines": drawn("date value series", *SPLIT),
    "area": drawn("date value", (ago(3), 7), (ago(1), None), chart="area"),
    "stacked": drawn("date value series", *SPLIT, chart="stacked"),
    "year": drawn("date value series", *SPLIT, chart="stacked", window="365d"),
    "huge": drawn("date value", (ago(1), 1e300), (ago(2), -1e300), (ago(3), 1e-300), chart="area"),
    "today": drawn("date value", (ago(0), 5), window="today"),
}
"""One of each kind."""


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_valid_vega_lite_and_can_be_drawn(name: str) -> None:
    for size, spec in CHARTS[name].specs.items():
        alt.LayerChart.from_dict(
            spec | {"datasets": CHARTS[name].rows}
        )  # raises where the schema is not kept
        assert f'width="{ {"wide": 960, "narrow": 340}[size] }"' in svg_of(CHARTS[name].spec_json(size))[:900]


def test_bars_have_their_labels_numbers_and_words() -> None:
    chart = drawn("label value", ("\x00<b>", 1200), ("b", None), ("zero", 0), formats={"value": "€ #,##0.00"})
    shown = words(svg_of(chart.spec_json("wide")))
    assert shown == ["\u2400<b>", "b", "zero", "€ 1,200.00", "\N{EN DASH}", "€ 0.00"]
    assert chart.alt == "\u2400<b> € 1,200.00, b \N{EN DASH}, zero € 0.00."
    assert chart.tips.values["s0"] == ["\u2400<b>", "€ 1,200.00"]


def test_a_chart_has_twenty_bars_and_says_how_many_more_there_are() -> None:
    chart = drawn("label value", *((f"l{n}", n) for n in range(10_000)))
    assert chart.alt.endswith("l19 19; 9,980 more in the table.")
    assert painted(svg_of(chart.spec_json("wide")), fill="var(--series-1)") == 20


def test_bars_of_series_are_stacked_in_the_colours_of_the_legend() -> None:
    svg = svg_of(CHARTS["split"].spec_json("wide"))
    assert [name for name, colour in CHARTS["split"].tips.lines if colour] == [
        *(f"s{n}" for n in range(11, 3, -1)), "Other",
    ]  # fmt: skip
    assert painted(svg, fill="var(--other)") == 2 + 1  # both bars, and the legend
    assert CHARTS["split"].tips.values["s0"][:3] == ["a", "66", "11"]
    assert CHARTS["split"].tips.values["s0"][-1] == "6"


def test_the_value_before_is_a_rule_and_a_negative_bar_leaves_0_to_the_left() -> None:
    chart = CHARTS["previous"]
    assert [row["end"] for row in chart.rows["ends"]] == [8, 0]
    assert chart.alt == "a 4 (previous: 8), b \N{MINUS SIGN}2 (previous: \N{EN DASH})."
    assert painted(svg_of(chart.spec_json("wide")), fill="var(--ink)") == 1


def test_columns_have_the_names_that_the_file_gives() -> None:
    names = {"value": "Orders", "previous": "Last week"}
    bars = drawn("label VALUE previous", ("a", 4, 8), headings=names)
    assert bars.alt == "a 4 (last week: 8)."
    assert [name for name, _ in bars.tips.lines] == ["", "Orders", "Last week"]
    assert drawn("date value", (ago(0), 1), headings=names).tips.lines[1][0] == "Orders"


def test_a_stack_has_negative_values_below_0_and_the_largest_series_at_0() -> None:
    rows = [(ago(1), value, name) for name, value in {"a": 9, "b": -3, "c": 2, "d": -1, "e": None}.items()]
    chart = drawn("date value series", *rows, chart="stacked")
    parts = [(row["start"], row["end"]) for row in chart.rows["parts"] if row["date"] == ago(1)]
    assert parts == [(0, 9), (0, -3), (9, 11), (-3, -4), (None, None)]
    assert [name for name, _ in chart.tips.lines] == ["", "e", "d", "c", "b", "a"]
    assert chart.tips.values[ago(1)] == [
        "Sun 22 Nov 2026",
        "\N{EN DASH}",
        "\N{MINUS SIGN}1",
        "2",
        "\N{MINUS SIGN}3",
        "9",
    ]


def test_today_is_lighter_or_dashed_while_it_runs() -> None:
    assert (
        painted(svg_of(CHARTS["stacked"].spec_json("wide")), fill="var(--series-1)", fill_opacity="0.4") == 1
    )
    assert painted(svg_of(CHARTS["line"].spec_json("wide")), stroke_dasharray="3,4") == 1
    assert CHARTS["line"].tips.values[ago(0)] == ["Mon 23 Nov 2026 so far", "3"]


def test_bars_of_more_than_92_dates_are_areas() -> None:
    marks = {json.dumps(layer.get("mark", {}).get("type")) for layer in CHARTS["year"].specs["wide"]["layer"]}
    assert '"area"' in marks
    assert '"bar"' not in marks


def test_a_chart_by_date_in_words() -> None:
    assert CHARTS["area"].alt == (
        "Tue 17 \u2013 Mon 23 Nov 2026 (7 days). From 0 on Tue 17 Nov 2026 to 0 on Mon 23 Nov 2026 so far;"
        " highest 7 on Fri 20 Nov 2026, lowest 0 on Tue 17 Nov 2026; 1 day without a value."
    )
    shown = drawn(
        "date value",
        (ago(0), 0.5),
        window="today",
        formats={"value": "0.0 %"},
        formatter=LocaleFormatter.of("de"),
    )
    assert "50,0 %" in shown.alt
