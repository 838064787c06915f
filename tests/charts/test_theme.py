"""Colours and fonts of both schemes, and their names."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import combinations, pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.charts import theme
from reportgen.config.settings import Config
from reportgen.metrics.dataset import read_dataset
from reportgen.metrics.figures import colour_slots
from reportgen.pages.exports import paths_csv
from reportgen.pages.report import coloured_paths, compute_figures, separate_neighbours
from reportgen.pages.templates import packaged_templates

SCHEMES = {"light": (theme.LIGHT, theme.SERIES_LIGHT), "dark": (theme.DARK, theme.SERIES_DARK)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_colour_is_written_in_six_hex_digits(scheme: str) -> None:
    named, series = SCHEMES[scheme]
    assert [colour for colour in (*named.values(), *series) if not re.fullmatch("#[0-9a-f]{6}", colour)] == []
    assert len(set(series)) == len(series) == theme.SERIES_COUNT


def variables(scheme: str) -> list[str]:
    """Return the names of the CSS variables that a scheme declares."""
    return re.findall(r"--([\w-]+): #[0-9a-f]{6};", theme.css_variables(scheme))


def test_light_and_dark_give_a_colour_to_the_same_names() -> None:
    assert list(theme.LIGHT) == list(theme.DARK)
    assert variables("light") == variables("dark")
    assert variables("light") == [*theme.LIGHT, *(f"series-{n}" for n in range(1, theme.SERIES_COUNT + 1))]


def test_charts_and_style_sheet_use_only_colours_that_are_declared() -> None:
    slots = [theme.series_colour(slot) for slot in (None, *range(theme.SERIES_COUNT))]
    style = (packaged_templates() / "style.css").read_text(encoding="utf-8")
    used = re.findall(r"var\(--([\w-]+)\)", " ".join(slots) + json.dumps(theme.vega_config(12)) + style)
    assert set(used) <= set(variables("light"))
    assert len(set(slots)) == theme.SERIES_COUNT + 1
    assert re.findall(r"#[0-9a-f]{3,8}\b", json.dumps(theme.vega_config(12)) + style) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_declares_the_colours_that_it_has(scheme: str) -> None:
    named, series = SCHEMES[scheme]
    declared = dict(re.findall(r"--([\w-]+): ([^;]*);", theme.css_variables(scheme)))
    assert declared == named | {f"series-{n}": colour for n, colour in enumerate(series, start=1)}


def test_the_light_scheme_has_dark_text_and_the_dark_scheme_light_text() -> None:
    """Lightness of text and background."""

    def brightness(colour: str) -> int:
        return sum(bytes.fromhex(colour[1:]))

    for ground in ("paper", "wash"):
        assert brightness(theme.LIGHT[ground]) > brightness(theme.LIGHT["ink"])
        assert brightness(theme.DARK[ground]) < brightness(theme.DARK["ink"])


def test_text_of_a_chart_has_the_given_size_and_font() -> None:
    small, large = theme.vega_config(11), theme.vega_config(22)
    for part, size in (("axis", "labelFontSize"), ("legend", "labelFontSize"), ("text", "fontSize")):
        assert (small[part][size], large[part][size]) == (11, 22)
    assert small["font"] == theme.FONT
    assert small | {"axis": 0, "legend": 0, "text": 0} == large | {"axis": 0, "legend": 0, "text": 0}


def test_a_chart_has_no_background_and_no_text_alternative_of_its_own() -> None:
    """The page's background is visible in light, dark and print; the element around it has the text."""
    config = theme.vega_config(12)
    assert (config["background"], config["view"]["stroke"], config["aria"]) == ("transparent", None, False)


def test_a_drawing_in_light_colours_names_no_variable() -> None:
    """Every variable that charts use is replaced by its colour; other text stays as it is."""
    names = [*theme.LIGHT, *(f"series-{n}" for n in range(1, theme.SERIES_COUNT + 1))]
    drawing = "".join(f'<path fill="var(--{name})"/>' for name in names)
    colours = [*theme.LIGHT.values(), *theme.SERIES_LIGHT]
    assert theme.with_light_colours(drawing) == "".join(f'<path fill="{colour}"/>' for colour in colours)
    assert theme.with_light_colours("<text>--ink, var(), $1</text>") == "<text>--ink, var(), $1</text>"


def test_a_variable_that_does_not_exist_has_no_colour() -> None:
    """An error is better than a drawing without a colour."""
    with pytest.raises(KeyError, match="nobody"):
        theme.with_light_colours('<path fill="var(--nobody)"/>')


# Neighbours in a stack.


def test_slots_are_similar_if_their_lightness_is_similar_in_either_scheme() -> None:
    """In both orders, and each slot with itself."""
    slots = [None, *range(theme.SERIES_COUNT)]
    assert all(theme.similar_lightness(slot, slot) for slot in slots)
    pairs = list(combinations(slots, 2))
    assert [theme.similar_lightness(two, one) for one, two in pairs] == [
        theme.similar_lightness(one, two) for one, two in pairs
    ]
    assert 0 < sum(theme.similar_lightness(one, two) for one, two in pairs) < len(pairs) / 2


@pytest.mark.parametrize(
    ("colour", "lightness"),
    [("#000000", 0), ("#ffffff", 100), ("#777777", 50.03), ("#ff0000", 53.24), ("#010101", 0.27)],
)
def test_lightness_is_that_of_cielab(colour: str, lightness: float) -> None:
    assert theme._lightness(colour) == pytest.approx(lightness, abs=0.01)


def test_a_pair_is_similar_below_8_steps_of_lightness(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one scheme or the other: pages are read in both."""
    grey, close, distinct = "#777777", "#8a8a8a", "#8d8d8d"  # L* 50.0, 57.3, 58.4
    for name, other in (("SERIES_LIGHT", "SERIES_DARK"), ("SERIES_DARK", "SERIES_LIGHT")):
        monkeypatch.setattr(theme, name, (grey, close, distinct))
        monkeypatch.setattr(theme, other, ("#000000", "#777777", "#ffffff"))
        assert [theme.similar_lightness(0, 1), theme.similar_lightness(0, 2)] == [True, False]


Slots = Mapping[str, int]
Stacks = Sequence[Sequence[str]]


def neighbours(slots: Slots, tops: Stacks) -> list[tuple[int | None, int | None]]:
    """Return the pairs of slots that touch in each page's stack; *Other* is last."""
    return [pair for top in tops for pair in pairwise([*(slots[path] for path in top), None])]


def similar_neighbours(slots: Slots, tops: Stacks) -> int:
    """Count the neighbours that are about equally light."""
    return sum(theme.similar_lightness(one, two) for one, two in neighbours(slots, tops))


stacks = st.lists(
    st.lists(st.sampled_from([f"/{n}" for n in range(12)]), max_size=8, unique=True), max_size=4
)


@given(stacks)
def test_swapped_slots_have_no_more_similar_neighbours_and_no_fewer_colours(tops: Stacks) -> None:
    """A path that had a slot of its own on a page keeps one; the same pages give the same slots."""
    given_slots = colour_slots(tops, theme.SERIES_COUNT)
    found = separate_neighbours(given_slots, tops)
    assert similar_neighbours(found, tops) <= similar_neighbours(given_slots, tops)
    assert found.keys() == given_slots.keys()
    assert set(found.values()) <= set(range(theme.SERIES_COUNT))
    for one, two in combinations(found, 2):
        assert (found[one] == found[two]) == (given_slots[one] == given_slots[two])
    assert separate_neighbours(given_slots, tops) == found


def test_slots_of_similar_neighbours_are_swapped() -> None:
    """On a single page, no two similar slots touch, in whatever order its paths come."""
    top = [f"/{n}" for n in range(theme.SERIES_COUNT)]
    likest = max(
        permutations(range(theme.SERIES_COUNT), 3),
        key=lambda few: sum(theme.similar_lightness(*two) for two in pairwise(few)),
    )
    order = [*likest, *(slot for slot in range(theme.SERIES_COUNT) if slot not in likest)]
    slots = dict(zip(top, order, strict=True))
    assert similar_neighbours(slots, [top]) > 1
    assert similar_neighbours(separate_neighbours(slots, [top]), [top]) == 0


def test_the_samples_stacks_have_as_few_similar_neighbours_as_any_order_of_the_colours() -> None:
    """Against all 40,320 of them, over the pages of 7 and 30 days."""
    read = read_dataset(
        Config(windows=("7d", "30d")), datetime(2026, 11, 23, 16, tzinfo=UTC), None, paths_csv
    )
    tops = [coloured_paths(metrics) for metrics in reversed(compute_figures(read).metrics)]
    slots = colour_slots(tops, theme.SERIES_COUNT)
    pairs = neighbours(slots, tops)
    slotted = [None, *range(theme.SERIES_COUNT)]
    like = {(one, two): theme.similar_lightness(one, two) for one in slotted for two in slotted}
    fewest = min(
        sum(like[new[one], new[two]] for one, two in pairs)
        for order in permutations(range(theme.SERIES_COUNT))
        for new in [{None: None, **dict(enumerate(order))}]
    )
    assert (
        similar_neighbours(separate_neighbours(slots, tops), tops) == fewest < similar_neighbours(slots, tops)
    )
