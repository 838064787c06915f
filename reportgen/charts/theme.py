"""Colours and fonts of pages and charts.

The style sheet and the charts both take their values from here. Charts use CSS variables instead
of colours, so one drawing serves the light and the dark scheme.
"""

import re
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

# Neighbours in this order differ in lightness as well as in hue, for readers who see few hues and for
# printing in black and white. Light colours still have a contrast of 3:1 with the background. *Other*, often
# the largest part, is so pale that the named series stand out; its outline has that contrast.
SERIES_LIGHT = ("#1f4e8c", "#db7018", "#33795a", "#bd7ea8", "#8e4dcb", "#68a05b", "#8c3223", "#3298e1")
SERIES_DARK = ("#8ab8f5", "#d57d1b", "#b6dba0", "#b8499a", "#ba89b8", "#5a824a", "#f6aebd", "#187ecd")
SERIES_COUNT = len(SERIES_LIGHT)

SIZES = {"wide": (960, 300, 14.5, 11), "narrow": (340, 240, 11.5, 5)}
"""Width and height of a drawing in pixels, size of its text, and maximum number of its labels of dates."""

LEGEND_PITCH_PX = 25
"""Distance between two rows of a legend: each is a touch target of at least 24 px (WCAG 2.5.8)."""

LEGEND_OFFSET = 12
"""Distance between a legend and the plot, in pixels."""

LEGEND_GAP = 3
"""Space between the columns of a legend, in font sizes; enough for fonts wider than the measured one."""

LIGHT = {
    "paper": "#ffffff", "ink": "#1c2026", "quiet": "#555d69", "line": "#dde1e6", "wash": "#f4f6f8",
    "accent": "#1f4e8c", "share": "#dbe6f4", "other": "#cdd1d6", "ghost": "#8c939e",
}  # fmt: skip
DARK = {
    "paper": "#14161a", "ink": "#e8eaed", "quiet": "#a7afba", "line": "#30353c", "wash": "#1c1f25",
    "accent": "#8ab8f5", "share": "#23344c", "other": "#4a4f57", "ghost": "#666e79",
}  # fmt: skip


def css_variables(scheme: str) -> str:
    """Return the declarations of all colours of ``light`` or ``dark``."""
    colours, series = (LIGHT, SERIES_LIGHT) if scheme == "light" else (DARK, SERIES_DARK)
    named = [f"--{name}: {value};" for name, value in colours.items()]
    return " ".join(named + [f"--series-{n}: {value};" for n, value in enumerate(series, start=1)])


def with_light_colours(svg: str) -> str:
    """Return a drawing with the light scheme's colours in place of the CSS variables.

    Only attributes change: a path may be named ``/var(--ink)``.
    """
    colours = LIGHT | {f"series-{n}": value for n, value in enumerate(SERIES_LIGHT, start=1)}

    def coloured(tag: re.Match[str]) -> str:
        return re.sub(r'"var\(--([\w-]+)\)"', lambda found: f'"{colours[found[1]]}"', tag[0])

    return re.sub(r"<[^<>]*>", coloured, svg)


def series_colour(slot: int | None, other: str = "other") -> str:
    """Return the CSS colour of a slot (0-based), or that named ``other``."""
    return f"var(--{other})" if slot is None else f"var(--series-{slot + 1})"


def vega_config(font_px: float) -> dict[str, Any]:
    """Return the Vega-Lite configuration of every chart, with text of ``font_px``."""
    return {
        "background": "transparent",
        "font": FONT,
        "padding": 0,
        "aria": False,  # the text alternative is on the element around the chart
        "view": {"stroke": None},
        "axis": {
            "labelColor": "var(--quiet)", "labelFontSize": font_px, "labelPadding": 9,
            "domainColor": "var(--line)", "gridColor": "var(--line)", "tickColor": "var(--line)",
            "ticks": False, "title": None,
            "labelLimit": 0,  # with a limit, each label is measured twice as often
        },
        "axisX": {"grid": False},
        "axisY": {"domain": False, "tickCount": 4},
        "legend": {
            "title": None, "labelColor": "var(--ink)", "labelFontSize": font_px, "symbolType": "square",
            "symbolSize": font_px * 9, "symbolStrokeWidth": 0, "labelLimit": 0,
            "rowPadding": LEGEND_PITCH_PX - font_px,
            "offset": LEGEND_OFFSET,
        },
        "text": {"fill": "var(--quiet)", "fontSize": font_px},
    }  # fmt: skip


def own_config(font_px: float, width_px: int) -> dict[str, Any]:
    """Return the Vega-Lite configuration of users' charts: that of ours, and what only they show."""
    columns = round(width_px / font_px / 15)  # of a legend
    fitting = {"columns": columns, "columnPadding": LEGEND_GAP * font_px}
    ours = vega_config(font_px)
    title = {"titleColor": "var(--quiet)", "titleFontSize": font_px, "titleFontWeight": "normal"}
    axis, legend = (
        {name: value for name, value in ours[part].items() if name != "title"} for part in ("axis", "legend")
    )
    text = {"labelColor": "var(--quiet)", "labelFontSize": font_px}
    return ours | {
        "axis": axis | title,
        "legend": legend
        | title
        | fitting
        | {"orient": "top", "labelLimit": width_px / columns - (LEGEND_GAP + 2) * font_px},
        "header": text | title,
        "title": {"color": "var(--ink)", "fontSize": font_px, "anchor": "start"},
        "mark": {"color": "var(--accent)"},
        "range": {
            "category": [series_colour(slot) for slot in range(SERIES_COUNT)],
            # Vega computes colours between these, which it cannot from variables.
            "heatmap": [LIGHT["share"], LIGHT["accent"]],
            "ramp": [LIGHT["share"], LIGHT["accent"]],
        },
    }
