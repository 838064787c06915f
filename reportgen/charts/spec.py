"""How a chart is laid out: sizes, axes, labels, the house theme, Altair, Vega-Lite.

Each chart is drawn wide and narrow, because an SVG scaled down to a phone shrinks its text with it;
the page shows the one that fits. :mod:`reportgen.charts.svg` draws them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from reportgen.charts import theme
from reportgen.charts.svg import translate_errors
from reportgen.core.formatting import LocaleFormatter
from reportgen.core.text import columns, shorten, visible
from reportgen.metrics.figures import OTHER

Rows = Sequence[Mapping[str, Any]]

LABEL_COLUMNS = 28
"""Room for a path in a legend; a tooltip shows more of it."""

LETTERS = {"il|.,:;'!/()[]{}tfrjI1- ": 0.42, "mwMW%@": 0.98}
"""Widths of letters, in font sizes, in a wide one of the usual fonts (DejaVu Sans); of all others: 0.65."""

SHORTEST_BAR_PX = 64
"""What the longest horizontal bar has at least, with the gaps around it."""

ROOM_FOR_PATHS = {"wide": 48, "narrow": 24}
"""Columns of a path before a horizontal bar."""

COMPACT_FROM = 100_000
"""From this many visits on, an axis counts in thousands (k), millions (M), billions (B)."""


@dataclass(frozen=True)
class Size:
    """One width a chart is drawn for: ``width_px`` of the whole drawing, text, room for words."""

    name: str
    width_px: int
    height_px: int
    font_px: float
    ticks: int

    def legend(self, names: Sequence[str]) -> dict[str, Any]:
        """Say where a legend of ``names`` stands, in rows as full as each other."""
        entry_px = max(letters_px(name, self.font_px) for name in names) + self.font_px * 1.2
        # Vega measures full-width letters, which its font has not, a quarter too small.
        wide = max(columns(name) - len(name) for name in names)
        apart_px = self.font_px * (theme.LEGEND_GAP + max(0, wide) / 4)
        fitting = max(1, int((self.width_px * 0.94 + apart_px) / (entry_px + apart_px)))
        rows = -(-len(names) // fitting)
        orient = "top" if self.name == "wide" else "bottom"
        return {
            "orient": orient, "columns": -(-len(names) // rows), "columnPadding": apart_px,
            "values": list(names),
        }  # fmt: skip


SIZES = (
    Size("wide", 960, 300, 14.5, 11),
    Size("narrow", 340, 240, 11.5, 5),
)


@dataclass(frozen=True)
class Chart:
    """A chart ready for the page.

    ``name`` is its id and the name of its download. ``alt`` says in words and numbers what it shows.
    ``rows`` are the named data of its specifications, which are keyed by :attr:`Size.name`.
    """

    name: str
    title: str
    alt: str
    rows: Mapping[str, Rows]
    specs: Mapping[str, dict[str, Any]]

    def whole(self, size: str) -> str:
        """Return a specification with its data, as JSON."""
        return json.dumps(self.specs[size] | {"datasets": self.rows})


def draw(
    name: str,
    title: str,
    text: str,
    rows: Mapping[str, Rows],
    plan: Callable[[Size], alt.LayerChart],
    formatter: LocaleFormatter,
) -> Chart:
    """Specify a chart in every size. ``plan`` lays it out; its data are called by their names in ``rows``.

    Raises:
        RenderError: it cannot be specified.

    """
    # The tests validate every kind of chart; here it would take a tenth of a build.
    with debug_mode(False), translate_errors("specified"):  # noqa: FBT003 - Altair's own
        specs = {size.name: _spec(plan(size), size, formatter) for size in SIZES}
    return Chart(name, title, text, rows, specs)


def letters_px(text: str, font_px: float) -> float:
    """Return how much room a text may take in a reader's font."""
    widths = (next((em for few, em in LETTERS.items() if char in few), 0.65 * columns(char)) for char in text)
    return font_px * sum(widths)


def date_axis(
    dates: Sequence[date], words: Mapping[date, str], size: Size, formatter: LocaleFormatter
) -> alt.X:
    """Return the axis of dates: as many labels as fit, counted from the last.

    ``words`` stand below the label of a date: "so far", "no rows".
    """
    step = max(1, -(-len(dates) // size.ticks))
    shown = dates[::-1][::step][::-1]
    weekday = len(dates) <= 14 and size.name == "wide"  # noqa: PLR2004 - room for them
    texts = {
        day.isoformat(): [formatter.tick(day, weekday=weekday), *([words[day]] if day in words else [])]
        for day in shown
    }
    axis = alt.Axis(
        values=list(texts),
        labelExpr=f"{json.dumps(texts, ensure_ascii=False)}[datum.value]",
        labelAngle=0,
        labelOverlap=False,
        labelFlush=False,
    )
    # Without a margin, rounding may put the first date a hair outside of the range, and its label is lost.
    scale = alt.Scale(
        type="band", domain=[day.isoformat() for day in dates], paddingInner=0.1, paddingOuter=0.05
    )
    return alt.X("date:O", axis=axis, scale=scale)


def visits_axis(highest: int) -> alt.Axis:
    """Return the axis of visits: whole numbers, compact where they are long."""
    # Half visits are no ticks: they would be rounded to numbers that stand there already.
    if highest < COMPACT_FROM:
        return alt.Axis(format=",d", tickCount=min(4, highest))
    words = "datum.value ? replace(format(datum.value, '~s'), 'G', 'B') : '0'"
    return alt.Axis(labelExpr=words, tickCount=4)


def unrecorded(base: alt.Chart, dates: Sequence[date], size: Size) -> alt.Chart:
    """Return a mark below the axis for each date without rows."""
    listed = [day.isoformat() for day in dates]
    marks: alt.Chart = (
        base.transform_filter(alt.FieldOneOfPredicate(field="date", oneOf=listed))
        .mark_bar(color="var(--quiet)", height=3)
        .encode(y=alt.value(size.height_px + 3))
    )
    return marks


def labels(paths: Sequence[str | None], limit: int = LABEL_COLUMNS) -> list[str]:
    """Return a short, distinct label for each path; the scale tells series apart by it."""
    taken = {"Other"} if OTHER in paths else set()  # even where a path has this very name
    found: list[str] = []
    for path in paths:
        label = short = "Other" if path is OTHER else shorten(visible(path), limit)
        twin = 2
        while path is not OTHER and label in taken:
            label, twin = f"{short} ({twin})", twin + 1
        taken.add(label)
        found.append(label)
    return found


def fitting_labels(paths: Sequence[str], number: str, size: Size) -> list[str]:
    """Return labels that leave room for the longest bar and its number."""
    room_px = size.width_px - letters_px(number, size.font_px) - SHORTEST_BAR_PX
    for limit in range(ROOM_FOR_PATHS[size.name], 0, -1):
        names = labels(paths, limit)
        if max(letters_px(name, size.font_px) for name in names) <= room_px:
            return names
    return names


def _spec(chart: alt.LayerChart, size: Size, formatter: LocaleFormatter) -> dict[str, Any]:
    """Return the specification with the house theme, fitted to the size's whole width."""
    # Fitting counts labels and legend in, so every drawing has exactly the width it is made for.
    # Set in place: for a property more, Altair would copy the whole chart.
    chart.width, chart.autosize = size.width_px, alt.AutoSizeParams(type="fit-x", contains="padding")
    spec: dict[str, Any] = chart.to_dict(validate=False)
    spec["config"] = theme.vega_config(size.font_px) | {"locale": {"number": formatter.vega_locale()}}
    return spec
