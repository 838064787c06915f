"""Small charts: one stroke for each date, nothing outside the box, none if all values are 0."""

import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reportgen.charts.sparklines import HEIGHT, Spark, bar_path, bars, line_path, lines, with_mean

counts = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=60)


def strokes(path: str) -> dict[int, int]:
    """Return the height of each bar in SVG path data, by the index of its date."""
    start, x, found = re.match(r"M\.5 (\d+)", path), 0, {}
    assert start is not None
    assert int(start[1]) == HEIGHT
    rest = path[start.end() :]
    for move, height, down in re.findall(r"(?:m(\d+) 0)?v-(\d+)m0 (\d+)", rest):
        x += int(move or 0)
        assert height == down
        found[x] = int(height)
    assert re.fullmatch(r"(?:(?:m\d+ 0)?v-\d+m0 \d+)*", rest)
    return found


def layers(spark: Spark | None) -> dict[str, str]:
    """Return the layers of a chart, by name."""
    assert spark is not None
    return dict(spark.layers)


@given(counts)
def test_every_bar_is_at_its_date_and_inside_the_box(values: list[int]) -> None:
    """Its height is in proportion, at least one unit for a value above 0; 0 has no stroke."""
    top = max(values)
    found = strokes(bar_path(values, top))
    assert set(found) == {at for at, value in enumerate(values) if value}
    for at, height in found.items():
        assert 1 <= height <= HEIGHT
        assert abs(height - HEIGHT * values[at] / top) <= (1 if height == 1 else 0.5)


def test_bars_are_drawn_as_svg_path_data() -> None:
    assert bar_path([0, 5, 0, 0, 10], 10) == "M.5 20m1 0v-10m0 10m3 0v-20m0 20"
    assert bar_path([10, 1], 10) == "M.5 20v-20m0 20m1 0v-2m0 2"
    assert bar_path([0, 0], 10) == "M.5 20"


@given(counts, st.data())
def test_a_highlighted_bar_and_one_of_a_running_day_have_layers_of_their_own(
    values: list[int], data: st.DataObject
) -> None:
    """Together, the layers have the same bars on the same scale."""
    places = st.none() | st.integers(0, len(values) - 1)
    highlighted, faint = data.draw(places), data.draw(places)
    spark = bars(values, highlighted=highlighted, running=faint if faint != highlighted else None)
    if not any(values):
        assert spark is None
        return
    drawn = {name: strokes(path) for name, path in layers(spark).items()}
    together = {at: height for found in drawn.values() for at, height in found.items()}
    assert together == strokes(bar_path(values, max(values)))
    assert sum(map(len, drawn.values())) == len(together)
    if highlighted is not None:
        assert set(drawn["bar"]) <= {highlighted}
    if faint is not None and faint != highlighted:
        assert set(drawn["faint"]) <= {faint}


@pytest.mark.parametrize(
    ("highlighted", "faint", "names"),
    [
        (None, None, ["bar"]),
        (None, 1, ["bar", "faint"]),
        (1, None, ["mute", "bar"]),
        (0, 1, ["mute", "bar", "faint"]),
    ],
)
def test_the_others_are_grey_only_beside_a_highlighted_bar(
    highlighted: int | None, faint: int | None, names: Sequence[str]
) -> None:
    spark = bars([3, 4], highlighted=highlighted, running=faint)
    assert list(layers(spark)) == names
    assert spark is not None
    assert spark.width == 2


def test_a_line_runs_from_the_first_date_to_the_last() -> None:
    assert line_path([0, 10, 5], 10) == "M0 19L1 1L2 10"
    assert line_path([1, 1, 1], 3) == "M0 13L1 13L2 13"


@pytest.mark.parametrize("dates", [1, 2, 7, 30])
def test_two_lines_reach_from_edge_to_edge_of_their_box(dates: int) -> None:
    """A line over N dates is N - 1 wide; a single date is level, and as wide as one."""
    spark = lines([3] * dates, [5] * dates)
    assert spark is not None
    assert spark.width == max(1, dates - 1)
    for path in layers(spark).values():
        assert path.startswith("M0 ")
        assert dates == 1 or f"L{spark.width} " in path
        assert path.count("L") == dates - 1


def test_a_single_value_is_a_level_line() -> None:
    assert line_path([10], 10) == "M0 1h1"


@given(counts, st.data())
def test_two_lines_share_their_scale_and_stay_inside_the_box(values: list[int], data: st.DataObject) -> None:
    before = data.draw(st.lists(st.integers(0, 2**63 - 1), min_size=len(values), max_size=len(values)))
    spark = lines(values, before)
    if not any(values + before):
        assert spark is None
        return
    drawn = layers(spark)
    assert list(drawn) == ["ghost", "line"]
    heights = {
        name: [float(height) for height in re.findall(r"(?<= )[\d.]+", path)] for name, path in drawn.items()
    }
    assert len(heights["line"]) == len(heights["ghost"]) == len(values)
    assert min(heights["line"] + heights["ghost"]) == 1
    assert max(heights["line"] + heights["ghost"]) <= HEIGHT - 1


def test_the_mean_is_a_rule_across_all_bars() -> None:
    drawn = layers(with_mean([0, 10, 20], 10))
    assert drawn == {"mute": "M.5 20m1 0v-10m0 10m1 0v-20m0 20", "rule": "M0 10H3"}


@given(counts)
@example([1_895_754_359_352_679])
def test_the_mean_lies_inside_the_box(values: list[int]) -> None:
    spark = with_mean(values, sum(values) / len(values))
    if not any(values):
        assert spark is None
        return
    level, end = re.fullmatch(r"M0 ([\d.]+)H(\d+)", layers(spark)["rule"]).groups()  # type: ignore[union-attr]
    assert 0 <= float(level) <= HEIGHT
    assert int(end) == len(values)


@pytest.mark.parametrize(
    "spark", [bars([0, 0]), bars([0], highlighted=0), with_mean([0, 0], 0.0), lines([0], [0])]
)
def test_there_is_no_chart_if_all_values_are_0(spark: Spark | None) -> None:
    assert spark is None
