"""The figures of a window, compared with counting by hand."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reportgen.core.windows import Span, make_window
from reportgen.metrics.dataset import smallest_named_change
from reportgen.metrics.figures import OTHER, Day, WindowMetrics, by_date, colour_slots, stack
from reportgen.sources.statements import PathTotals, relative_change
from tests.support.examples import drawn
from tests.support.figures import read_figures

if TYPE_CHECKING:
    from reportgen.pages.report import ReportFigures

TODAY = date(2026, 11, 23)

Row = tuple[int, str, int]
"""Days ago, path, visits."""


def ago(days: int) -> date:
    """Return the date ``days`` before today."""
    return TODAY - timedelta(days=days)


def read(
    rows: Iterable[Row], name: str = "7d", *, over: bool = False, top_paths: int = 100
) -> "ReportFigures":
    """Return the figures of a table of these rows; ``over``: today is complete."""
    return read_figures(rows, [make_window(name, TODAY, today_complete=over)], top_paths)


def figures(rows: Iterable[Row], name: str = "7d", *, over: bool = False) -> WindowMetrics:
    """Return the figures of one window of a table of these rows."""
    return read(rows, name, over=over).metrics[0]


def test_dates_without_rows_count_0_and_are_listed_as_unrecorded() -> None:
    metrics = figures([(0, "/", 3), (2, "/", 5), (5, "/", 7)], "3d")
    common = {"complete": True, "previous_date": ago(5), "previous_recorded": True, "compared": True}
    none = {"previous_recorded": False, "compared": False}
    assert metrics.days == [
        Day(ago(2), 5, 7, recorded=True, **common),
        Day(ago(1), 0, 0, recorded=False, **common | none | {"previous_date": ago(4)}),
        Day(ago(0), 3, 0, recorded=True, **common | none | {"complete": False, "previous_date": ago(3)}),
    ]
    assert (metrics.unrecorded, metrics.previous_unrecorded) == ([ago(1)], [ago(4)])


def test_only_dates_are_compared_that_have_rows_on_both_sides() -> None:
    """Rows of 0 visits are rows."""
    rows = [(days, "/", days + 1) for days in range(14) if days not in {2, 10}] + [(2, "/", 0)]
    both = figures(rows).comparison
    assert [row.date for row in both.compared] == [ago(days) for days in (6, 5, 4, 2, 1)]
    assert (both.days, both.complete_days, both.total, both.previous_total) == (5, 6, 20, 58)
    assert (both.span, both.previous_span) == (Span(ago(6), ago(1)), Span(ago(13), ago(8)))
    listed = figures(rows).paths[0]
    assert (listed.complete, listed.previous) == (20, 58)


@pytest.mark.parametrize(
    ("days", "since", "known"),
    [
        ({0}, 0, 1),
        ({0, 2}, 2, 3),
        ({0, 12}, 12, 7),
        ({0, 13}, None, 7),
        ({0, 2, 90}, None, 7),
        (set(), None, 7),
        ({90}, None, 7),
    ],
)
def test_the_first_recorded_date_is_known_if_it_is_among_those_that_were_read(
    days: set[int], since: int | None, known: int
) -> None:
    """Dates before it are neither gaps nor days of the average."""
    metrics = figures([(day, "/", 4) for day in days])
    assert metrics.since == (None if since is None else ago(since))
    assert len(metrics.known_days) == known
    assert metrics.unrecorded == [ago(day) for day in range(known - 1, -1, -1) if day not in days]
    complete = [day for day in range(1, known) if day in days]
    assert metrics.daily_average == (4 * len(complete) / (known - 1) if known > 1 else None)


def test_earlier_visits_are_shown_where_some_are_compared_or_the_day_before_today_is_known() -> None:
    two_weeks = [(days, "/", 1) for days in range(14)]
    assert figures(two_weeks).shows_previous
    assert not figures(two_weeks[:8]).shows_previous
    assert figures(two_weeks[:9]).shows_previous
    assert figures(two_weeks[:2], "today").shows_previous
    assert not figures(two_weeks[:1], "today").shows_previous
    assert not figures(two_weeks[:1], "yesterday").shows_previous


def test_a_date_whose_rows_all_say_0_visits_is_recorded() -> None:
    metrics = figures([(1, "/", 0), (1, "/a", 0)], "2d", over=True)
    assert metrics.unrecorded == [ago(0)]
    assert (metrics.total, metrics.path_count, metrics.paths) == (0, 0, [])


def test_previous_is_the_same_date_one_window_earlier() -> None:
    metrics = figures([(days, "/", 2**days) for days in range(16)])
    assert [day.previous for day in metrics.days] == [2**days for days in range(13, 6, -1)]


def test_comparisons_leave_today_out_until_it_is_over() -> None:
    rows = [(days, "/", 10 if days < 7 else 5) for days in range(14)]
    running, over = figures(rows).comparison, figures(rows, over=True).comparison
    assert (running.span, running.previous_span) == (Span(ago(6), ago(1)), Span(ago(13), ago(8)))
    assert (running.days, running.total, running.previous_total, running.change) == (6, 60, 30, 1.0)
    assert (over.days, over.total, over.previous_total, over.change) == (7, 70, 35, 1.0)


def test_today_alone_compares_nothing_but_knows_yesterday_and_the_same_weekday_last_week() -> None:
    metrics = figures([(0, "/", 1), (1, "/", 2), (7, "/", 4), (7, "/a", 4)], "today")
    assert (metrics.comparison.days, metrics.comparison.total, metrics.comparison.change) == (0, 0, None)
    assert (metrics.total, metrics.yesterday, metrics.week_ago) == (1, 2, 8)
    assert (metrics.daily_average, metrics.best_day) == (None, None)


@pytest.mark.parametrize(
    ("current", "previous", "expected"),
    [(11, 10, 0.1), (0, 10, -1.0), (10, 10, 0.0), (5, 0, None), (0, 0, None)],
)
def test_a_change_is_relative_and_none_without_earlier_visits(
    current: int, previous: int, expected: float | None
) -> None:
    assert relative_change(current, previous) == (expected if expected is None else pytest.approx(expected))


def test_shares_are_of_the_whole_window_and_changes_of_its_complete_days() -> None:
    metrics = figures(
        [(0, "/a", 50), (1, "/a", 30), (8, "/a", 20), (7, "/a", 9), (1, "/b", 20), (7, "/b", 9)]
    )
    assert metrics.paths == [PathTotals("/a", 80, 30, 20, 29), PathTotals("/b", 20, 20, 0, 9)]
    assert [(row.share(metrics.total), row.change) for row in metrics.paths] == [(0.8, 0.5), (0.2, None)]


def test_other_is_the_visits_of_paths_that_are_not_listed() -> None:
    found = read([(1, f"/{n}", n) for n in range(1, 8)], top_paths=3)
    metrics = found.metrics[0]
    assert [row.path for row in metrics.paths] == ["/7", "/6", "/5"]
    assert (metrics.total, metrics.other, metrics.path_count) == (28, 1 + 2 + 3 + 4, 7)


def test_ties_are_listed_in_code_point_order() -> None:
    paths = ["/a", "/B", "/\u00e9", "/\uffee", "/\U0001f600", "/A", ""]
    listed = [row.path for row in figures([(1, path, 1) for path in paths]).paths]
    assert listed == sorted(paths)


def test_the_best_day_is_the_latest_of_equal_complete_days() -> None:
    metrics = figures([(0, "/", 99), (1, "/", 4), (2, "/", 9), (4, "/", 9), (5, "/", 8)])
    assert metrics.best_day == (ago(2), 9)


def test_there_is_no_best_day_without_visits() -> None:
    assert figures([(0, "/", 9), (1, "/", 0)]).best_day is None
    assert figures([]).best_day is None


def test_the_daily_average_is_over_complete_days_with_or_without_rows() -> None:
    rows = [(0, "/", 100), (1, "/", 4), (2, "/", 5), (8, "/", 5)]
    assert figures(rows).daily_average == 9 / 6
    assert figures(rows, over=True).daily_average == 109 / 7


@pytest.mark.parametrize(
    ("total", "least"),
    [(0, 5), (1, 5), (99, 5), (100, 5), (101, 6), (120, 6), (121, 7), (2**63 - 1, 461168601842738791)],
)
def test_a_path_is_named_from_5_percent_of_the_total_and_5_visits_on(total: int, least: int) -> None:
    assert smallest_named_change(total) == least


small_tables = st.lists(
    st.tuples(
        st.integers(-1, 16), st.sampled_from(["/", "/a", "/A", "/\u00e9", "/\U0001f600"]), st.integers(0, 40)
    ),
    max_size=40,
)
windows = st.sampled_from([("today", 1), ("2d", 2), ("7d", 7)])


def visits(rows: Iterable[Row], first: int, last: int, path: str | None = None) -> int:
    """Return the visits of ``path``, or of every path, from ``first`` to ``last`` days ago."""
    return sum(number for days, name, number in rows if first >= days >= last and path in {None, name})


@drawn(30)
@given(small_tables, windows, st.booleans())
def test_all_figures_by_day_equal_plain_counting(
    rows: list[Row], window: tuple[str, int], over: bool
) -> None:
    """Several rows for one date and path are summed; rows outside the window count nowhere."""
    (name, days), last = window, 0 if over else 1
    metrics = figures(rows, name, over=over)
    recorded = {at for at, _, _ in rows}
    pairs = [(at, at + days) for at in range(days - 1, last - 1, -1) if {at, at + days} <= recorded]
    listed = [
        Day(
            ago(at), visits(rows, at, at), visits(rows, at + days, at + days), at in recorded, at >= last,
            ago(at + days), at + days in recorded, (at, at + days) in pairs,
        )
        for at in range(days - 1, -1, -1)
    ]  # fmt: skip
    assert metrics.days == listed
    assert metrics.total == visits(rows, days - 1, 0) == sum(day.visits for day in listed)
    both = metrics.comparison
    assert both.days == len(pairs)
    assert both.total == sum(visits(rows, at, at) for at, _ in pairs)
    assert both.previous_total == sum(visits(rows, at, at) for _, at in pairs)
    read = range(max(7, 2 * days - 1), -1, -1)
    first = max((at for at in recorded if at >= 0), default=read[0])
    assert metrics.since == (None if first >= read[0] else ago(first))
    complete = [day for day in listed if day.complete and (not metrics.since or day.date >= metrics.since)]
    now = sum(day.visits for day in complete)
    assert metrics.daily_average == (now / len(complete) if complete else None)
    best = max(((day.visits, day.date) for day in complete if day.visits), default=None)
    assert metrics.best_day == (best and best[::-1])
    assert metrics.recent == tuple(visits(rows, at, at) for at in range(7, -1, -1))
    assert metrics.recent_recorded == tuple(at in recorded for at in range(7, -1, -1))
    missing = [at for at in range(2 * days - 1, days + last - 1, -1) if at not in recorded]
    known = [ago(at) for at in missing if not metrics.since or ago(at) >= metrics.since]
    assert metrics.previous_unrecorded == known
    assert (metrics.yesterday, metrics.week_ago) == (visits(rows, 1, 1), visits(rows, 7, 7))


@drawn(30)
@given(small_tables, windows, st.booleans(), st.integers(1, 5))
def test_all_figures_by_path_equal_plain_counting(
    rows: list[Row], window: tuple[str, int], over: bool, top_paths: int
) -> None:
    """The listed paths and ``other`` add up to the total; paths that changed enough are known."""
    (name, days), last = window, 0 if over else 1
    recorded = {at for at, _, _ in rows}
    pairs = [(at, at + days) for at in range(days - 1, last - 1, -1) if {at, at + days} <= recorded]
    metrics = read(rows, name, over=over, top_paths=top_paths).metrics[0]
    counted = []
    for path in {path for _, path, _ in rows}:
        total, before = visits(rows, days - 1, 0, path), visits(rows, 2 * days - 1, days, path)
        now = sum(visits(rows, at, at, path) for at, _ in pairs)
        previous = sum(visits(rows, at, at, path) for _, at in pairs)
        row = PathTotals(path, total, now, previous, before)
        assert row.share(metrics.total) == total / max(metrics.total, 1)
        assert row.change == (now / previous - 1 if previous else None)
        counted.append(row)
    visited = sorted((row for row in counted if row.visits), key=lambda row: (-row.visits, row.path))
    assert metrics.paths == visited[:top_paths]
    assert metrics.path_count == len(visited)
    assert metrics.other == sum(row.visits for row in visited[top_paths:])
    assert metrics.total == sum(row.visits for row in metrics.paths) + metrics.other
    compared = sum(visits(rows, at, at) for at, _ in pairs)
    enough = smallest_named_change(metrics.total if len(pairs) == days - last else compared)
    assert set(metrics.changed_paths) == {
        row for row in counted if abs(row.complete - row.previous) >= enough
    }


@drawn(30)
@given(small_tables, st.lists(st.sampled_from(["/", "/a", "/A"]), unique=True))
def test_a_stack_splits_each_days_visits_and_loses_none(rows: list[Row], series: Sequence[str]) -> None:
    rows = [*rows, *((1, path, 41) for path in series)]  # so that the build reads these paths
    found = read(rows)
    split = stack(found.metrics[0], found.cells, series)
    assert split.columns.tolist() == [*series, OTHER]
    assert split.sum(axis="columns").tolist() == [day.visits for day in found.metrics[0].days]
    for path in series:
        assert split[path].tolist() == [visits(rows, at, at, path) for at in range(6, -1, -1)]


@drawn(30)
@given(small_tables, st.lists(st.sampled_from(["/", "/a", "/none"]), unique=True))
def test_visits_by_date_are_one_row_a_path_in_the_order_asked_for(
    rows: list[Row], asked: Sequence[str]
) -> None:
    """Cells of other dates and paths are ignored; a date without a cell has 0."""
    rows = [*rows, (0, "/", 41), (6, "/a", 41)]  # so that the build reads these paths
    week, month = (make_window(name, TODAY, today_complete=False) for name in ("7d", "30d"))
    found = read_figures(rows, [week, month])
    assert by_date(found.metrics[0], found.cells, asked).tolist() == [
        [visits(rows, at, at, path) for at in range(6, -1, -1)] for path in asked
    ]


tops = st.lists(st.sampled_from([f"/{n}" for n in range(20)]), max_size=8, unique=True)


@example(list("abcdefgh"), ["a", "x"], [["x", *"bcdefgh"]])
@given(tops, tops, st.lists(tops, max_size=4))
@drawn(30)
def test_on_two_pages_no_two_paths_share_a_colour_whatever_other_pages_there_are(
    one: list[str], two: list[str], others: list[list[str]]
) -> None:
    """All pages have one mapping, so that a path has the same colour on each of them."""
    slots = colour_slots([one, two, *others], 8)
    assert [len({slots[path] for path in page}) for page in (one, two)] == [len(one), len(two)]


@given(tops, st.integers(0, 8))
def test_a_page_whose_paths_are_all_on_the_other_changes_no_colour(one: list[str], size: int) -> None:
    assert colour_slots([one, one[:size][::-1]], 8) == colour_slots([one], 8)


@given(st.lists(tops, max_size=6))
def test_any_number_of_pages_gets_slots_that_exist(pages: list[list[str]]) -> None:
    slots = colour_slots(pages, 8)
    assert set(slots) == {path for page in pages for path in page}
    assert set(slots.values()) <= set(range(8))
