"""Tables sort by every column and are filtered by text, with pointer and keyboard."""

import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from playwright.sync_api import Locator

from reportgen.core.text import ENGLISH
from tests.pages.test_browser import report
from tests.support.releases import TODAY, USUAL, WINDOWS, Published, Sites
from tests.support.visits import Open, Visit

Values = Mapping[str, Mapping[str, Any]]
"""For each row of a table, by the words that head it: each column's value, ``None`` where it is empty."""


def natural(text: str) -> list[Any]:
    """Return a key that sorts texts as readers do: 2 before 10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def change(now: int, before: int) -> float | None:
    """Return a relative change; a new path sorts after all others, no visits at all are ``None``."""
    return now / before - 1 if before else float("inf") if now else None


def day_values(site: Published, window: str) -> Values:
    """Return what the table of days should hold."""
    days = report(site, window)["daily"]
    return {
        ENGLISH.day(date.fromisoformat(day["date"])): {
            "Date": day["date"],
            "Visits": day["visits"],
            f"{len(days)} days before": day["previous"] if is_known else None,
            "Change": change(day["visits"], day["previous"])
            if is_known and day["recorded"] and day["date"] != str(TODAY)
            else None,
        }
        for day in days
        for is_known in (day.get("previous_recorded", True),)
    }


def path_values(site: Published, window: str) -> Values:
    """Return what the table of paths should hold."""
    first = str(TODAY - timedelta(report(site, window)["days"] - 1))
    complete = {path: 0 for _, path, _ in USUAL}
    for days, path, visits in USUAL:
        complete[path] += (visits or 0) if days > 0 and str(TODAY - timedelta(days)) >= first else 0
    columns = ("Rank", "Path", "Visits", "Share", "Change")
    return {
        row["path"]: dict(
            zip(
                columns[: 4 if window == "today" else 5],
                (
                    rank,
                    natural(row["path"]),
                    row["visits"],
                    row["share"],
                    change(complete[row["path"]], row["previous"]),
                ),
                strict=False,
            )
        )
        for rank, row in enumerate(report(site, window)["paths"], start=1)
    }


def press_button(visit: Visit, button: Locator) -> None:
    """Press a button with the keyboard."""
    button.focus()
    visit.page.keyboard.press("Enter")


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("table", "values"), [("days", day_values), ("paths", path_values)])
@pytest.mark.parametrize("press", [lambda _, button: button.click(), press_button], ids=["click", "key"])
def test_tables_sort_by_every_column_in_both_directions_with_empty_values_last(
    sites: Sites,
    visit: Open,
    window: str,
    table: str,
    values: Callable[[Published, str], Values],
    press: Callable[[Visit, Locator], None],
) -> None:
    """``aria-sort`` is set on that column only. A table of one row has no buttons."""
    site = sites("usual")
    expected = values(site, window)
    reader = visit(site.http(f"{window}/index.html"))
    found = reader.page.locator(f"table.{table}")
    if len(expected) == 1:
        assert found.locator("button").count() == 0
        return
    names = list(next(iter(expected.values())))
    assert reader.texts(f"table.{table} thead th") == names
    for at, name in enumerate(names):
        options = set()
        for _ in ("once", "again"):
            press(reader, found.locator("thead button").nth(at))
            options.add(way := found.locator("thead th").nth(at).get_attribute("aria-sort"))
            assert found.locator("thead [aria-sort]").count() == 1
            rows = reader.texts(f"table.{table} tbody th .path, table.days.{table} tbody th")
            assert sorted(rows) == sorted(expected)
            keys = [expected[row][name] for row in rows]
            known = [key for key in keys if key is not None]
            assert known == sorted(known, reverse=way == "descending")
            assert keys == known + [None] * (len(keys) - len(known))
        assert options == {"ascending", "descending"}


def test_some_values_of_both_tables_are_empty(sites: Sites) -> None:
    """So the test above has empty values to sort."""
    for values in (day_values, path_values):
        assert None in [row["Change"] for row in values(sites("usual"), "7d").values()]


def test_space_sorts_as_well(sites: Sites, visit: Open) -> None:
    reader = visit(sites("usual").http("7d/index.html"))
    reader.page.locator("table.paths thead button").nth(2).focus()
    reader.page.keyboard.press("Space")
    assert reader.page.locator("table.paths thead th").nth(2).get_attribute("aria-sort")


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_tables_are_filtered_by_text_and_say_how_many_rows_are_left(
    sites: Sites, visit: Open, scheme: str
) -> None:
    """Upper and lower case match, in any sort order; the other table keeps its rows."""
    reader = visit(getattr(sites("usual"), scheme)("7d/index.html"))
    days, paths = reader.page.get_by_label("Filter").all()
    assert reader.texts(".filter output") == ["7 of 7 days", "18 of 18 paths"]
    shown = reader.page.locator("table.paths tbody tr:visible .path")
    paths.press_sequentially("PoSt/1")
    assert reader.texts(".filter output") == ["7 of 7 days", "6 of 18 paths"]
    wanted = ["/post/1", *(f"/post/{n}" for n in range(10, 15))]
    assert sorted(shown.all_inner_texts()) == wanted
    reader.page.locator("table.paths").get_by_role("button", name="Path").click()
    assert shown.all_inner_texts() == wanted
    paths.fill("no such path")
    assert reader.texts(".filter output")[1] == "0 of 18 paths"
    assert shown.count() == 0
    paths.fill("")
    assert shown.count() == 18
    days.fill("sun")
    assert reader.texts(".filter output") == ["1 of 7 days", "18 of 18 paths"]
