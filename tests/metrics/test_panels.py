"""How the result of a panel's query is read, by the names of its columns."""

from datetime import date, timedelta
from typing import Any

import pytest

from reportgen.config.panels import Panel
from reportgen.core.errors import PanelError
from reportgen.core.windows import make_window
from reportgen.metrics.panels import BarRow, Bars, Dates, OneFigure, Result, Table, change_of, interpret
from reportgen.sources.panel_queries import PanelRows

TODAY = date(2026, 11, 23)
DAYS = [TODAY - timedelta(days) for days in (2, 1, 0)]


def read(columns: str, *rows: tuple[Any, ...], chart: Any = None, **panel: Any) -> Result:
    """Return a result of these columns, separated by blanks, in a window of three days."""
    window = make_window("3d", TODAY, today_complete=False)
    made = Panel("p", "P", "", "SELECT", chart=chart, **panel)
    return interpret(made, PanelRows(columns.split(), rows), window)


def test_labels_and_values_are_bars_in_the_order_of_the_query() -> None:
    assert read("Label VALUE", ("b", 1), (404, 2.5), (None, None)) == Bars(
        [BarRow("b", 1), BarRow("404", 2.5), BarRow("", None)], has_previous=False, series=[], total=3.5
    )
    assert read("label value previous", ("a", -1, 0)) == Bars(
        [BarRow("a", -1, 0)], has_previous=True, series=[], total=None
    )


def test_series_are_ranked_by_size_and_the_ninth_is_among_the_others() -> None:
    found = read("label value series", *(("a", n, f"s{n}") for n in range(9)))
    assert isinstance(found, Bars)
    assert found.series == ["s8", "s7", "s6", "s5", "s4", "s3", "s2", "s1", None]


def test_every_date_of_the_window_is_filled_and_null_is_a_gap() -> None:
    rows = [("2026-11-21", None), ("2026-11-23T10:00:00+01:00", 4), ("2026-11-24", 9), (None, 9)]
    assert read("date value", *rows) == Dates("line", DAYS, {"": [None, 0, 4]}, left_out=2, running=True)
    assert read("date value") == Dates("line", DAYS, {"": [0, 0, 0]}, left_out=0, running=True)


def test_the_series_of_dates_after_the_eighth_are_summed() -> None:
    rows = [("2026-11-22", n, f"s{n}") for n in range(1, 11)] + [("2026-11-23", None, "s1")]
    found = read("date value series", *rows, chart="stacked")
    assert isinstance(found, Dates)
    assert (found.kind, list(found.series)) == (
        "stacked",
        ["s10", "s9", "s8", "s7", "s6", "s5", "s4", "s3", None],
    )
    assert found.series[None] == [0, 1 + 2, 0]


def test_a_value_alone_is_a_figure_and_other_columns_are_a_table() -> None:
    assert read("value", (7,)) == OneFigure(7)
    assert read("value previous", (7, None)) == OneFigure(7, None)
    assert read("previous value", (7, 8)) == OneFigure(8, 7)
    tables: dict[str, list[tuple[Any, ...]]] = {
        "value": [(1,), (2,)],
        "step users": [("a", 1)],
        "label value extra": [("a", 1, 2)],
    }
    for columns, rows in tables.items():
        assert read(columns, *rows) == Table(columns.split(), tuple(rows))
    assert read("label value", ("a", "x"), chart="none") == Table(["label", "value"], (("a", "x"),))
    assert read("label value", ("a", "x"), spec={"mark": "bar"}) == Table(["label", "value"], (("a", "x"),))


def test_a_chart_that_is_named_may_have_more_columns() -> None:
    found = read("label value rate", ("a", 1, 0.5), chart="bars")
    assert isinstance(found, Bars)


@pytest.mark.parametrize(
    ("columns", "rows", "chart", "problem"),
    [
        (
            "label value", [("a", 1)], "line",
            "chart: line needs the columns date and value; the query returns label, value. Rename them",
        ),
        ("label value", [("a", 1), ("b", "x" * 99)], None, f'row 2: value is "{"x" * 40}", which is not a'),
        ("label value", [("a", True)], None, 'row 1: value is "true", which is not a number'),
        ("label value", [("a", 10**301)], None, "row 1: value is too large to draw"),
        ("date value", [("23.11.2026", 1)], None, 'row 1: date is "23.11.2026", which is not a date such as'),
        ("date value", [("2026-11-23", 1)] * 2, None, "row 2: 2026-11-23 has a second value. Group the"),
        ("date value series", [("2026-11-23", 1, "x")] * 2, None, "row 2: 2026-11-23 has a second value of"),
    ],
)  # fmt: skip
def test_columns_and_values_that_do_not_fit_are_named(
    columns: str, rows: list[tuple[Any, ...]], chart: str | None, problem: str
) -> None:
    with pytest.raises(PanelError) as error:
        read(columns, *rows, chart=chart)
    assert str(error.value).startswith(problem)


def test_a_change_is_one_from_a_positive_value() -> None:
    assert change_of(3, 2) == 0.5
    unknown = [(None, 2), (3, None), (3, 0), (3, -1), (1e300, 1e-300), (4e28, 1)]
    assert {change_of(*both) for both in unknown} == {None}
