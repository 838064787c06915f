"""Which colours and fonts there are, in both schemes, and what they are called."""

import json
import re

import pytest

from reportgen import theme
from reportgen.pages import packaged_templates

SCHEMES = {"light": (theme.LIGHT, theme.SERIES_LIGHT), "dark": (theme.DARK, theme.SERIES_DARK)}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_colour_is_written_in_six_hex_digits(scheme: str) -> None:
    named, series = SCHEMES[scheme]
    assert [colour for colour in (*named.values(), *series) if not re.fullmatch("#[0-9a-f]{6}", colour)] == []
    assert len(set(series)) == len(series) == theme.SERIES


def variables(scheme: str) -> list[str]:
    """Return the names of the CSS variables that a scheme declares."""
    return re.findall(r"--([\w-]+): #[0-9a-f]{6};", theme.css_variables(scheme))


def test_light_and_dark_give_a_colour_to_the_same_names() -> None:
    assert list(theme.LIGHT) == list(theme.DARK)
    assert variables("light") == variables("dark")
    assert variables("light") == [*theme.LIGHT, *(f"series-{n}" for n in range(1, theme.SERIES + 1))]


def test_charts_and_style_sheet_use_only_colours_that_are_declared() -> None:
    slots = [theme.series_colour(slot) for slot in (None, *range(theme.SERIES))]
    style = (packaged_templates() / "style.css").read_text(encoding="utf-8")
    used = re.findall(r"var\(--([\w-]+)\)", " ".join(slots) + json.dumps(theme.vega_config(12)) + style)
    assert set(used) <= set(variables("light"))
    assert len(set(slots)) == theme.SERIES + 1
    assert re.findall(r"#[0-9a-f]{3,8}\b", json.dumps(theme.vega_config(12)) + style) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_scheme_declares_the_colours_that_it_has(scheme: str) -> None:
    named, series = SCHEMES[scheme]
    declared = dict(re.findall(r"--([\w-]+): ([^;]*);", theme.css_variables(scheme)))
    assert declared == named | {f"series-{n}": colour for n, colour in enumerate(series, start=1)}


def test_light_is_on_paper_and_dark_on_ink() -> None:
    """Text and its ground change places."""

    def brightness(colour: str) -> int:
        return sum(bytes.fromhex(colour[1:]))

    for ground in ("paper", "wash"):
        assert brightness(theme.LIGHT[ground]) > brightness(theme.LIGHT["ink"])
        assert brightness(theme.DARK[ground]) < brightness(theme.DARK["ink"])


def test_text_of_a_chart_has_the_size_and_the_font_that_are_asked_for() -> None:
    small, large = theme.vega_config(11), theme.vega_config(22)
    for part, size in (("axis", "labelFontSize"), ("legend", "labelFontSize"), ("text", "fontSize")):
        assert (small[part][size], large[part][size]) == (11, 22)
    assert small["font"] == theme.FONT
    assert small | {"axis": 0, "legend": 0, "text": 0} == large | {"axis": 0, "legend": 0, "text": 0}


def test_a_chart_paints_no_ground_and_leaves_its_words_to_the_page() -> None:
    """Paper shows through in light, dark and print; the figure around it carries the text alternative."""
    config = theme.vega_config(12)
    assert (config["background"], config["view"]["stroke"], config["aria"]) == ("transparent", None, False)


def test_a_drawing_in_light_colours_names_no_variable() -> None:
    """Every variable that charts use has its colour; other text stays as it is."""
    names = [*theme.LIGHT, *(f"series-{n}" for n in range(1, theme.SERIES + 1))]
    drawing = "".join(f'<path fill="var(--{name})"/>' for name in names)
    colours = [*theme.LIGHT.values(), *theme.SERIES_LIGHT]
    assert theme.light(drawing) == "".join(f'<path fill="{colour}"/>' for colour in colours)
    assert theme.light("<text>--ink, var(), $1</text>") == "<text>--ink, var(), $1</text>"


def test_a_variable_that_does_not_exist_has_no_colour() -> None:
    """Better no drawing than one with holes."""
    with pytest.raises(KeyError, match="nobody"):
        theme.light('<path fill="var(--nobody)"/>')
