"""Colours and fonts of both schemes, and their names."""

import json
import re

import pytest

from reportgen.charts import theme
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
