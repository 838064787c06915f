"""Parts that all charts share: sizes, axes, labels, and the step from Altair to a Vega-Lite specification.

Each chart is specified in a wide and a narrow size, because scaling one SVG down to a phone would shrink its
text; the page shows the one that fits. Channels are written as ``alt.Text("name:N")``, because Altair takes
long to find the class of a bare text. :mod:`reportgen.charts.svg` draws them.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from reportgen.charts import theme
from reportgen.charts.svg import translate_chart_errors
from reportgen.core.text import LocaleFormatter, columns, shorten, visible
from reportgen.core.windows import runs
from reportgen.metrics.figures import OTHER

Rows = Sequence[Mapping[str, Any]]

LABEL_COLUMNS = 28
"""Maximum width of a path in a legend and in the tooltip of a date, in columns."""

LETTER_WIDTHS = {"il|.,:;'!/()[]{}tfrjI1- ": 0.42, "mwMW%@": 0.98}
"""Widths of letters in font sizes, in DejaVu Sans, a wide one of the usual fonts; all others have 0.65."""

SHORTEST_BAR_PX = 64
"""Minimum length of the longest horizontal bar, with the gaps around it."""

MAX_PATH_COLUMNS = {"wide": 48, "narrow": 24}
"""Maximum width of a path before a horizontal bar, in columns, by the name of a size."""

GAP = 0.1
"""Gap between two dates, as a part of their distance."""

FRIDAY = 5
"""Its number in the week, of which the weekend is the rest (ISO 8601)."""

SHADE = 0.05
"""Opacity (0 to 1) of the ink behind weekends."""

COMPACT_FROM = 100_000
"""Number of visits from which on an axis is labelled in thousands (k), millions (M) or billions (B)."""


STROKES: dict[str, Any] = {"symbolType": "stroke", "symbolStrokeWidth": 3}
"""How a legend shows lines."""

PART = "part"
"""The word below a bar that has not all dates of its week or month."""


@dataclass(frozen=True)
class Size:
    """One size of a chart: width and height of the drawing, size of text, maximum number of date labels."""

    name: str
    width_px: int
    height_px: int
    font_px: float
    ticks: int

    def legend(self, names: Sequence[str], *, reverse: bool = False, labels_px: float = 0) -> dict[str, Any]:
        """Return position and columns of a legend of series, whose rows have about equal lengths.

        ``names`` are those of the series by number. With ``reverse`` the last series comes first.
        ``labels_px`` is the height of labels above the plot.
        """
        entry_px = max(text_width_px(name, self.font_px) for name in names) + self.font_px * 1.2
        # Vega's font has no full-width letters; Vega measures them a quarter too narrow.
        wide = max(columns(name) - len(name) for name in names)
        gap_px = self.font_px * (theme.LEGEND_GAP + max(0, wide) / 4)
        fitting = max(1, int((self.width_px * 0.94 + gap_px) / (entry_px + gap_px)))
        rows = -(-len(names) // fitting)
        orient = "top" if self.name == "wide" else "bottom"
        ids = list(map(series_id, range(len(names))))
        offset = {"offset": theme.LEGEND_OFFSET + labels_px} if orient == "top" and labels_px else {}
        return {
            **offset, "orient": orient, "columns": -(-len(names) // rows), "columnPadding": gap_px,
            "values": ids[::-1] if reverse else ids, "labelExpr": label_expr(names),
        }  # fmt: skip


SIZES = tuple(Size(name, *numbers) for name, numbers in theme.SIZES.items())


@dataclass(frozen=True)
class Tips:
    """The tooltips of a chart: lines with a name, or none, and a colour, or none; ``values`` are by mark."""

    lines: Sequence[tuple[str, str | None]]
    values: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A chart ready for the page.

    ``name`` is its id on the page and the name of its download. ``alt`` describes it in words and numbers.
    ``rows`` are the named data of its specifications; ``specs`` has one specification for each
    :attr:`Size.name`. The tooltip of a mark in them is the mark's key in ``tips``: names of paths cannot be
    keys of an object in JavaScript, where ``__proto__`` and ``404`` have a meaning of their own. Without
    ``tips``, the specifications have tooltips of their own.
    """

    name: str
    title: str
    alt: str
    rows: Mapping[str, Rows]
    tips: Tips | None
    specs: Mapping[str, dict[str, Any]]

    def spec_json(self, size: str) -> str:
        """Return a specification with its data, as JSON."""
        return json.dumps(self.specs[size] | {"datasets": self.rows})


@dataclass(frozen=True)
class Layers:
    """The layers of a chart without a selection. Altair's ``LayerChart`` copies each, which takes long."""

    layers: Sequence[alt.Chart]
    height_px: int


def make_chart(
    name: str,
    title: str,
    text: str,
    rows: Mapping[str, Rows],
    tips: Tips,
    layout: Callable[[Size], "alt.LayerChart | Layers"],
    formatter: LocaleFormatter,
) -> Chart:
    """Return a chart with a specification for every size.

    ``layout`` returns the Altair chart of one size, or its layers, which refer to their data by their names
    in ``rows``.

    Raises:
        RenderError: it cannot be specified.

    """
    # The tests validate every kind of chart; validation here would take a tenth of a build's time.
    with debug_mode(False), translate_chart_errors("specified"):  # noqa: FBT003 - Altair's own
        specs = {size.name: _spec(layout(size), size, formatter) for size in SIZES}
    return Chart(name, title, text, rows, tips, specs)


def text_width_px(text: str, font_px: float) -> float:
    """Return the width that a text may have in a reader's font, at most."""
    widths = (
        next((em for few, em in LETTER_WIDTHS.items() if char in few), 0.65 * columns(char)) for char in text
    )
    return font_px * sum(widths)


def date_axis(
    dates: Sequence[date],
    words: Mapping[date, str],
    size: Size,
    formatter: LocaleFormatter,
    *,
    months: bool = False,
) -> alt.X:
    """Return the axis of dates, with as many labels as fit; the last date always has one.

    ``words`` are shown below the label of a date: "so far", "no rows". If the first bar is :data:`PART` of a
    week or month, it has a label, in place of the first of the usual ones. With ``months`` a date stands for
    its month.
    """
    step = max(1, -(-len(dates) // size.ticks))
    shown = list(dates[::-1][::step][::-1])
    if words.get(dates[0]) == PART:
        shown[0] = dates[0]
    weekday = len(dates) <= 14 and size.name == "wide"  # noqa: PLR2004 - as many as fit
    texts = {
        day.isoformat(): [
            formatter.month(day) if months else formatter.tick(day, weekday=weekday),
            *([words[day]] if day in words else []),
        ]
        for day in shown
    }
    axis = alt.Axis(
        values=list(texts),
        labelExpr=f"{json.dumps(texts, ensure_ascii=False)}[datum.value]",
        labelAngle=0,
        labelOverlap=False,
        labelFlush=False,
        zindex=0,  # Vega-Lite puts axes in front of areas of dates
    )
    # Without padding, rounding may put the first date just outside the range, and its label is dropped.
    scale = alt.Scale(
        type="band", domain=[day.isoformat() for day in dates], paddingInner=GAP, paddingOuter=GAP / 2
    )
    return alt.X("date:O", axis=axis, scale=scale)


def series_colours(
    names: Sequence[str],
    colours: Sequence[str],
    size: Size,
    *,
    reverse: bool = False,
    labels_px: float = 0,
    **legend: Any,
) -> alt.Color:
    """Return the colours of the series of a chart, with their legend; the arguments are as in ``legend``."""
    scale = alt.Scale(domain=list(map(series_id, range(len(names)))), range=colours)
    placed = size.legend(names, reverse=reverse, labels_px=labels_px)
    return alt.Color("series:N", scale=scale, legend=alt.Legend(**placed, **legend))


def label_axis(names: Sequence[str], size: Size) -> tuple[alt.Axis, float]:
    """Return the axis of labels before horizontal bars, and the width that it leaves to the bars.

    Readers' fonts differ from the one that vl-convert measures with. Labels that start at the left edge, in a
    space wide enough for a wide font, neither leave the drawing nor touch the bars.
    """
    labels_px = round(max(text_width_px(name, size.font_px) for name in names)) + 12
    axis = alt.Axis(
        domain=False, labelLimit=0, labelColor="var(--ink)", labelAlign="left",
        labelExpr=label_expr(names), labelPadding=labels_px, minExtent=labels_px,
    )  # fmt: skip
    return axis, size.width_px - labels_px


def on_dates(
    layers: Iterable[alt.Chart], axis: alt.X, dates: int, size: Size, behind: Sequence[alt.Chart]
) -> list[alt.Chart]:
    """Return layers on an axis of dates, each of which has a tooltip, in front of those ``behind``."""
    return [*behind, *(layer.encode(x=axis) for layer in (*layers, hover_areas(dates, size)))]


def where_part(base: alt.Chart, name: str) -> alt.Chart:
    """Return a chart of the rows whose ``part`` has this name."""
    filtered: alt.Chart = base.transform_filter(alt.FieldEqualPredicate(field="part", equal=name))
    return filtered


def hover_areas(dates: int, size: Size) -> alt.Chart:
    """Return what opens the tooltip of a date anywhere above or below it, without a gap between dates."""
    gap_px = 2 + size.width_px / dates * GAP
    base = alt.Chart(alt.NamedData("dates")).mark_rect(
        color="transparent", stroke="transparent", strokeWidth=gap_px
    )
    areas: alt.Chart = base.encode(tooltip=alt.Tooltip("date:N"))
    return areas


def visits_axis(highest: int) -> alt.Axis:
    """Return the axis of visits: whole numbers, abbreviated if they are long."""
    # At most one tick per visit: ticks at half visits would be rounded to numbers that other ticks have.
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


def weekends(dates: Sequence[date]) -> Rows:
    """Return the first and the last date of each weekend among ascending dates, as rows."""
    free = runs([day for day in dates if day.isoweekday() > FRIDAY])
    return [{"date": span.first.isoformat(), "last": span.last.isoformat()} for span in free]


def shade(axis: alt.X) -> alt.Chart:
    """Return a faint area behind the dates of each of :func:`weekends`, the grid lines visible through it."""
    base = alt.Chart(alt.NamedData("weekends")).mark_rect(color="var(--ink)", opacity=SHADE)
    area: alt.Chart = base.encode(x=axis.bandPosition(0), x2=alt.X2("last", bandPosition=1))
    return area


def series_id(number: int) -> str:
    """Return the value that stands for a series in a specification.

    Vega uses such values as keys of JavaScript objects, where the key ``constructor`` is there already.
    """
    return f"s{number}"


def label_expr(names: Sequence[str]) -> str:
    """Return the Vega expression that gives each series its name.

    Vega looks up strings of an expression in an object, too: a sign before each makes it another word.
    """
    return f"slice({json.dumps([f'={name}' for name in names])}[+slice(datum.value, 1)], 1)"


def labels(paths: Sequence[str | None], limit: int = LABEL_COLUMNS) -> list[str]:
    """Return a short, distinct label for each path; the colour scale identifies a series by its label."""
    taken = {"Other"} if OTHER in paths else set()  # even if a path has this name
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
    """Return labels short enough for the longest bar and its number to fit beside them."""
    available_px = size.width_px - text_width_px(number, size.font_px) - SHORTEST_BAR_PX
    for limit in range(MAX_PATH_COLUMNS[size.name], 0, -1):
        names = labels(paths, limit)
        if max(text_width_px(name, size.font_px) for name in names) <= available_px:
            return names
    return names


def _spec(chart: "alt.LayerChart | Layers", size: Size, formatter: LocaleFormatter) -> dict[str, Any]:
    """Return the specification with our theme, fitted to the whole width of the size."""
    # Fitting includes labels and legend, so every drawing has exactly the width of its size.
    # Attributes are set in place: the method `properties` would copy the whole chart.
    spec: dict[str, Any]
    if isinstance(chart, Layers):
        inner = {"top_level": False, "datasets": {}}
        layers = [layer.to_dict(validate=False, context=dict(inner)) for layer in chart.layers]
        fit = {"type": "fit-x", "contains": "padding"}
        spec = {"layer": layers, "height": chart.height_px, "width": size.width_px, "autosize": fit}
    else:
        chart.width, chart.autosize = size.width_px, alt.AutoSizeParams(type="fit-x", contains="padding")
        spec = chart.to_dict(validate=False)
    spec["config"] = theme.vega_config(size.font_px) | {"locale": {"number": formatter.vega_locale()}}
    return spec
