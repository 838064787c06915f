"""How numbers, dates and paths are spelled, and which colours there are."""

import json
import math
import re
import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen import theme
from reportgen.pages import templates_dir
from reportgen.windows import Span

SCHEMES = {"light": (theme.LIGHT, theme.SERIES_LIGHT), "dark": (theme.DARK, theme.SERIES_DARK)}


BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Classes of characters that turn the text around them."""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1234567, "1,234,567"), (-1234, "\u22121,234"), (2**31, "2,147,483,648")],
)
def test_whole_numbers_have_thousands_separators_and_a_real_minus(value: int, text: str) -> None:
    assert theme.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(5, "+5"), (1234, "+1,234"), (0, "0"), (-3, "\u22123"), (-1234, "\u22121,234")]
)
def test_contributions_carry_their_sign(value: int, text: str) -> None:
    assert theme.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (3.0, "3"), (156.33, "156.3"), (1234.56, "1,234.6"), (-2.5, "\u22122.5")]
)
def test_averages_have_at_most_one_decimal(value: float, text: str) -> None:
    assert theme.decimal(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "new"),
        (math.nan, "new"),
        (0.0, "0 %"),
        (0.0004, "0 %"),
        (-0.0004, "0 %"),
        (0.0006, "+0.1 %"),
        (-0.001, "\u22120.1 %"),
        (0.05, "+5 %"),
        (0.094, "+9.4 %"),
        (0.0994, "+9.9 %"),
        (0.0999, "+10 %"),
        (-0.0999, "\u221210 %"),
        (0.1, "+10 %"),
        (0.1145, "+11 %"),
        (-0.11451, "\u221211 %"),
        (0.1151, "+12 %"),
        (0.496, "+50 %"),
        (12.3, "+1,230 %"),
        (-1.0, "\u2212100 %"),
    ],
)
def test_changes_are_rounded_once_to_a_decimal_below_10_percent_and_whole_above(
    value: float | None, text: str
) -> None:
    assert theme.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0 %"), (0.0004, "< 0.1 %"), (0.0006, "0.1 %"), (0.3241, "32.4 %"), (1.0, "100.0 %")],
)
def test_a_small_share_is_never_shown_as_none(value: float, text: str) -> None:
    assert theme.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 visits"), (1, "1 visit"), (1000, "1,000 visits")])
def test_only_one_is_singular(value: int, text: str) -> None:
    assert theme.count(value, "visit") == text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (date(2026, 11, 23), date(2026, 11, 23), "Mon 23 Nov 2026"),
        (date(2026, 11, 17), date(2026, 11, 23), "Tue 17 \u2013 Mon 23 Nov 2026"),
        (date(2026, 10, 25), date(2026, 11, 3), "Sun 25 Oct \u2013 Tue 3 Nov 2026"),
        (date(2026, 12, 31), date(2027, 1, 1), "Thu 31 Dec 2026 \u2013 Fri 1 Jan 2027"),
        (date(2025, 11, 23), date(2026, 11, 23), "Sun 23 Nov 2025 \u2013 Mon 23 Nov 2026"),
    ],
)
def test_a_span_says_once_what_its_ends_share(first: date, last: date, text: str) -> None:
    assert theme.span(Span(first, last)) == text


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "(empty)"),
        ("/plain-path_1?q=\u00e9#\U0001f600", "/plain-path_1?q=\u00e9#\U0001f600"),
        ("/a\x00b\tc\nd\x1b", "/a\u2400b\u2409c\u240ad\u241b"),
        ("/\x7f", "/\u2421"),
        ("/\x85\u2028\u2029", "/<U+0085><U+2028><U+2029>"),
        ("/\u202egnp.exe", "/<U+202E>gnp.exe"),
        ("\u061c\u200e\u200f\u202a\u2066\u2069", "<U+061C><U+200E><U+200F><U+202A><U+2066><U+2069>"),
        ("/\ud800/\udcff", "/<U+D800>/<U+DCFF>"),
        ("/\ufffe\U0010ffff", "/<U+FFFE><U+10FFFF>"),
        ("/a\u200b\ufeff\u00ad\u3164\u00a0", "/a<U+200B><U+FEFF><U+00AD><U+3164><U+00A0>"),
        ("/\U000e0041\ue000", "/<U+E0041><U+E000>"),
        ("/a\u200db", "/a<U+200D>b"),
        ("/\u0645\u06cc\u200c\u062e", "/\u0645\u06cc\u200c\u062e"),
        ("/\U0001f469\u200d\U0001f52c", "/\U0001f469\u200d\U0001f52c"),
    ],
)
def test_what_has_no_glyph_or_turns_text_around_is_spelled(path: str, text: str) -> None:
    assert theme.visible(path) == text


@given(st.text(st.characters()))
def test_any_path_becomes_text_that_utf8_and_xml_can_hold(path: str) -> None:
    shown = theme.visible(path)
    assert shown.encode().decode() == shown
    assert re.fullmatch("[\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+", shown)
    assert {unicodedata.bidirectional(char) for char in shown}.isdisjoint(BIDI)
    assert theme.visible(shown) == shown


@pytest.mark.parametrize(
    ("limit", "text"),
    [(10, "abcdefghij"), (9, "abcde\u2026hij"), (5, "abc\u2026j"), (2, "a\u2026"), (1, "\u2026")],
)
def test_a_long_text_is_cut_in_the_middle(limit: int, text: str) -> None:
    assert theme.shorten("abcdefghij", limit) == text


def test_wide_letters_take_the_room_of_two() -> None:
    """A label of ideographs is as long as its drawing, not as its count; accents take no room."""
    assert theme.columns("/日本\u0301") == 5
    assert theme.shorten("/日本語のページ", 10) == "/日本…ジ"
    assert theme.columns(theme.shorten("/" + "語" * 50, 24)) == 22


@given(st.text(st.characters(codec="ascii"), max_size=60), st.integers(1, 60))
def test_a_shortened_text_has_exactly_the_length_there_is_room_for(text: str, limit: int) -> None:
    short = theme.shorten(text, limit)
    assert len(short) == min(len(text), limit)
    head, mark, tail = short.partition("\u2026")
    assert short == text or (mark == "\u2026" and text.startswith(head) and text.endswith(tail))


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
    style = (templates_dir() / "style.css").read_text(encoding="utf-8")
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
