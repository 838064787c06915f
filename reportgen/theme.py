"""How things look, in one place: colours, type and the spelling of numbers, dates and paths.

The style sheet and the charts both take their values from here. Charts name CSS variables instead
of colours, so one drawing serves the light and the dark scheme.
"""

import unicodedata
from datetime import date
from itertools import accumulate
from typing import Any

from reportgen.windows import Span

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

# Neighbours in the stack differ in lightness as well as in hue: that is what readers who see few
# hues, and black-and-white printers, go by. Light ones still stand out from the paper (3:1).
SERIES_LIGHT = ("#1f4e8c", "#cf7a22", "#0b6e63", "#d76fa8", "#5b3a8e", "#7f9f1f", "#8c2f24", "#3d9bd1")
SERIES_DARK = ("#8ab8f5", "#c9741e", "#6fd3c4", "#c0508f", "#b9a0ee", "#76901a", "#f2a093", "#2f86bd")
SERIES = len(SERIES_LIGHT)

LIGHT = {
    "paper": "#ffffff", "ink": "#1c2026", "quiet": "#555d69", "line": "#dde1e6", "wash": "#f4f6f8",
    "accent": "#1f4e8c", "share": "#dbe6f4", "other": "#8a9099", "ghost": "#a4abb5",
}  # fmt: skip
DARK = {
    "paper": "#14161a", "ink": "#e8eaed", "quiet": "#a7afba", "line": "#30353c", "wash": "#1c1f25",
    "accent": "#8ab8f5", "share": "#23344c", "other": "#7d848e", "ghost": "#666e79",
}  # fmt: skip

MINUS = "\N{MINUS SIGN}"
JOINERS = "\u200c\u200d"
FILLERS = "\u115f\u1160\u3164\uffa0\u2800\u034f"
"""Letters by category, but without a glyph."""


def css_variables(scheme: str) -> str:
    """Return the declarations of all colours of ``light`` or ``dark``."""
    colours, series = (LIGHT, SERIES_LIGHT) if scheme == "light" else (DARK, SERIES_DARK)
    named = [f"--{name}: {value};" for name, value in colours.items()]
    return " ".join(named + [f"--series-{n}: {value};" for n, value in enumerate(series, start=1)])


def series_colour(slot: int | None) -> str:
    """Return the CSS colour of a slot (0-based), or of *Other*."""
    return "var(--other)" if slot is None else f"var(--series-{slot + 1})"


def vega_config(font_px: float) -> dict[str, Any]:
    """Return the Vega-Lite configuration of every chart, with text of ``font_px``."""
    return {
        "background": "transparent",
        "font": FONT,
        "padding": 0,
        "aria": False,  # the figure around it carries the text alternative
        "view": {"stroke": None},
        "axis": {
            "labelColor": "var(--quiet)", "labelFontSize": font_px, "labelPadding": 6,
            "domainColor": "var(--line)", "gridColor": "var(--line)", "tickColor": "var(--line)",
            "ticks": False, "title": None,
        },
        "axisX": {"grid": False},
        "axisY": {"domain": False, "tickCount": 4},
        "legend": {
            "title": None, "labelColor": "var(--ink)", "labelFontSize": font_px, "symbolType": "square",
            "symbolSize": font_px * 9, "symbolStrokeWidth": 0, "labelLimit": 0, "rowPadding": 4,
            "columnPadding": font_px * 3.5, "offset": 12,  # room for fonts wider than the one measured
        },
        "text": {"fill": "var(--quiet)", "fontSize": font_px},
    }  # fmt: skip


def number(value: int) -> str:
    """Write a whole number with thousands separators."""
    return f"{value:,}".replace("-", MINUS)


def decimal(value: float) -> str:
    """Write a number with at most one decimal."""
    return f"{value:,.1f}".removesuffix(".0").replace("-", MINUS)


def signed(value: int) -> str:
    """Write a whole number with its sign; 0 has none."""
    return f"+{value:,}" if value > 0 else number(value)


def percent(value: float | None) -> str:
    """Write a relative change with its sign, whole from 10 % on; "new" where there was nothing before."""
    if value is None or value != value:  # noqa: PLR0124 - NaN, as frames spell None
        return "new"
    points = value * 100
    whole = abs(round(points, 1)) >= 10  # noqa: PLR2004
    text = f"{abs(points):,.0f}" if whole else f"{abs(points):.1f}".removesuffix(".0")
    sign = "" if text == "0" else "+" if points > 0 else MINUS
    return f"{sign}{text} %"


def share(value: float) -> str:
    """Write a share of the whole with one decimal."""
    return "< 0.1 %" if 0 < value < 0.0005 else f"{value * 100:.1f} %"  # noqa: PLR2004 - rounds to 0.0


def count(value: int, noun: str) -> str:
    """Write how many: "1 visit", "2 visits"."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def day(value: date) -> str:
    """Write a date with its weekday: "Tue 17 Nov 2026"."""
    return f"{value:%a} {value.day} {value:%b} {value:%Y}"


def span(value: Span) -> str:
    """Write first and last date, saying what they share once: "Tue 17 - Mon 23 Nov 2026"."""
    first, last = value.first, value.last
    if first == last:
        return day(last)
    start = f"{first:%a} {first.day}"
    if first.month != last.month or first.year != last.year:
        start += f" {first:%b}"
    if first.year != last.year:
        start += f" {first:%Y}"
    return f"{start} \N{EN DASH} {day(last)}"


def visible(text: str) -> str:
    """Return a path as text a reader can recognise: what has no glyph, or turns text around, is spelled.

    Control characters become their pictures; bidirectional and other invisible characters, lone
    surrogates and noncharacters become ``<U+202E>``. Charts rely on it too: a NUL in a text makes
    vl-convert abort the process.
    """
    shown, before = [], ""
    for char in text:
        glyph = _glyph(char, before)
        shown.append(glyph)
        before = glyph if glyph == char else ""
    return "".join(shown) or "(empty)"


def _glyph(char: str, before: str) -> str:
    code = ord(char)
    if code < 0x20:  # noqa: PLR2004
        return chr(0x2400 + code)
    if code == 0x7F:  # noqa: PLR2004
        return "\N{SYMBOL FOR DELETE}"
    if char in JOINERS and before > "\x7f":  # inside a word of a script, or an emoji, that needs it
        return char
    blank = char != " " and unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # noqa: PLR2004
    return f"<U+{code:04X}>" if blank or noncharacter or char in FILLERS else char


def columns(text: str) -> int:
    """Return how wide a text is in letters: ideographs and emoji count twice, combining marks not at all."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def shorten(text: str, limit: int) -> str:
    """Cut a long text in the middle, where paths differ least, to at most ``limit`` columns."""
    if columns(text) <= limit:
        return text
    tail = (limit - 1) * 2 // 5
    head = limit - 1 - tail
    return f"{_fitting(text, head)}…{_fitting(text[::-1], tail)[::-1]}"


def _fitting(text: str, room: int) -> str:
    """Return the longest beginning of ``text`` that is at most ``room`` columns wide."""
    for end, width in enumerate(accumulate(map(_columns, text))):
        if width > room:
            return text[:end]
    return text
