"""Which colours there are, for eyes of every kind and for both schemes."""

import json
import re
from itertools import pairwise

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


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, relative luminance)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_and_bars_stand_out_as_wcag_aa_asks(scheme: str) -> None:
    """Text 4.5:1 on whatever lies behind it, bars 3:1 on the paper."""
    named, series = SCHEMES[scheme]
    behind = {"ink": ("paper", "wash", "share"), "quiet": ("paper",), "accent": ("paper", "wash")}
    faint = [
        f"{text} on {ground}"
        for text, grounds in behind.items()
        for ground in grounds
        if contrast(named[text], named[ground]) < 4.5
    ]
    faint += [bar for bar in (*series, named["other"]) if contrast(bar, named["paper"]) < 3]
    assert faint == []


def test_neighbours_in_the_stack_differ_in_lightness_too() -> None:
    """Black-and-white printers and readers who see few hues go by it."""
    for _, series in SCHEMES.values():
        assert [pair for pair in pairwise(series) if contrast(*pair) < 1.5] == []


def test_a_drawing_in_light_colours_names_no_variable() -> None:
    """Every variable that charts use has its colour; other text stays as it is."""
    names = [*theme.LIGHT, *(f"series-{n}" for n in range(1, theme.SERIES + 1))]
    drawing = "".join(f'<path fill="var(--{name})"/>' for name in names)
    colours = [*theme.LIGHT.values(), *theme.SERIES_LIGHT]
    assert theme.light(drawing) == "".join(f'<path fill="{colour}"/>' for colour in colours)
    assert theme.light("<text>--ink, var(), $1</text>") == "<text>--ink, var(), $1</text>"
