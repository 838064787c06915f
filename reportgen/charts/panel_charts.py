"""Charts of panels: horizontal bars by label; lines, areas and stacked bars by date."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from reportgen.charts import theme
from reportgen.charts.charts import MIN_WIDTH_WITH_GAP_PX, RUNNING
from reportgen.charts.spec import (
    COMPACT_FROM,
    SIZES,
    STROKES,
    Chart,
    Layers,
    Rows,
    Size,
    Tips,
    date_axis,
    fitting_labels,
    label_axis,
    labels,
    make_chart,
    on_dates,
    series_colours,
    series_id,
    shade,
    text_width_px,
    weekends,
    where_part,
)
from reportgen.config.panels import Panel
from reportgen.core.text import LARGEST, LONGEST_NAME, LocaleFormatter, shorten, visible
from reportgen.core.windows import MAX_DAYS_DRAWN, Span
from reportgen.core.words import in_sentence
from reportgen.metrics.figures import OTHER
from reportgen.metrics.panels import BarRow, Bars, Dates, Number

MAX_BARS = 20
"""Maximum number of bars of a chart; the table has more."""

MAX_DAYS_WITH_POINTS = 62
"""Maximum number of dates for a line to have a point at each: of more, points would touch."""

ShowValue = Callable[[Number | None], str]


class Part(NamedTuple):
    """A series' part of a stack; ``None`` at a gap."""

    series: str
    start: Number | None
    end: Number | None


def value_text(formatter: LocaleFormatter, pattern: str | None = None) -> ShowValue:
    """Return the function that returns a value as text: a dash for ``None``."""
    return lambda value: "\N{EN DASH}" if value is None else formatter.value(value, pattern)


def bars_chart(panel: Panel, found: Bars, formatter: LocaleFormatter) -> Chart:
    """Draw the first labels as horizontal bars, stacked by series if there are some.

    The previous value is a thin rule.
    """
    show = value_text(formatter, panel.formats.get("value"))
    groups: dict[object, list[BarRow]] = {}
    for at, row in enumerate(found.rows):
        groups.setdefault(row.label if found.series else at, []).append(row)
    shown = list(groups.values())[:MAX_BARS]
    names = [visible(group[0].label) for group in shown]
    split = [_by_series(group, found.series) for group in shown]
    stacks = list(map(_stacked, split))
    ends, before = (
        [_sum(values) for values in split],
        [_sum([row.previous for row in group]) for group in shown],
    )
    counts = list(map(show, ends))
    longest = max(counts, key=len)
    numbers = [0, *(part.end for stack in stacks for part in stack), *before]
    known = [number for number in numbers if number is not None]
    low, length = min(known), (max(known) - min(known)) or 1
    fitted = {size.name: fitting_labels(names, longest, size) for size in SIZES}
    series, colours = series_names(panel, found.series), _colours(found.series)

    def layout(size: Size) -> Layers:
        axis, plot_px = label_axis(fitted[size.name], size)
        bars_px = plot_px - text_width_px(longest, size.font_px) - 10  # behind them are the numbers
        scale = alt.Scale(domain=[low, low + length * (plot_px / bars_px)], nice=False, zero=False)
        rows: dict[str, Any] = {"y": alt.Y("row:N", axis=axis, scale=alt.Scale(domain=[*tips]))}
        ended = alt.Chart(alt.NamedData("ends")).encode(**rows)
        bars = alt.Chart(alt.NamedData("parts")).mark_bar(stroke="var(--paper)", strokeWidth=0.75)
        color = series_colours(series, colours, size) if series else alt.ColorValue(colours[0])
        layers = [
            bars.encode(x=alt.X("start:Q", axis=None, scale=scale), x2=alt.X2("end:Q"), color=color, **rows),
            ended.mark_tick(color="var(--paper)", thickness=5).encode(x=alt.X("before:Q")),
            ended.mark_tick(color="var(--ink)", thickness=1.5).encode(x=alt.X("before:Q")),
            ended.mark_text(align="left", dx=5).encode(x=alt.X("end:Q"), text=alt.Text("text:N")),
            ended.mark_rect(color="transparent", x=0, x2="width").encode(tooltip=alt.Tooltip("row:N")),
        ]
        if not found.has_previous:
            del layers[1:3]
        return Layers(layers, round(size.font_px * 1.8) * len(shown))

    data: dict[str, Rows] = {
        "parts": [
            {"row": series_id(at), **part._asdict()} for at, stack in enumerate(stacks) for part in stack
        ],
        "ends": [
            {"row": series_id(at), "text": text, "before": old, "end": max(0, *_ends(stack), old or 0)}
            for at, (text, old, stack) in enumerate(zip(counts, before, stacks, strict=True))
        ],
    }
    was = value_text(formatter, panel.formats.get("previous"))
    heads = [visible(panel.heading(column)) for column in ("value", "previous")[: 1 + found.has_previous]]
    lines = [("", None), *((head, None) for head in heads)]
    tips = {
        series_id(at): [
            shorten(name, LONGEST_NAME),
            counts[at],
            *([was(before[at])] if found.has_previous else []),
            *("" if value is None else show(value) for value in (split[at] if series else ())),
        ]
        for at, name in enumerate(names)
    }
    listed = [
        f"{name} {count}{f' ({in_sentence(heads[1])}: {old})' if found.has_previous else ''}"
        for name, count, old, *_ in ([*tip, ""] for tip in tips.values())
    ]
    more = (
        f"; {formatter.number(len(groups) - len(shown))} more in the table" if len(groups) > MAX_BARS else ""
    )
    text = f"{', '.join(listed)}{more}."
    entries = [*lines, *zip(series, colours if series else (), strict=True)]
    return _chart(panel, text, data, Tips(entries, tips), layout, formatter)


def dates_chart(panel: Panel, found: Dates, formatter: LocaleFormatter) -> Chart:
    """Draw the values of each date: as lines, areas, or bars that are stacked by series.

    Of many dates, areas are drawn instead of bars. Today is lighter, or dashed, while it is not over.
    """
    show = value_text(formatter, panel.formats.get("value"))
    series, colours = series_names(panel, found.series), _colours(found.series)
    dates = [day.isoformat() for day in found.dates]
    values = list(zip(*found.series.values(), strict=True))
    kind = "area" if found.kind == "stacked" and len(dates) > MAX_DAYS_DRAWN else found.kind
    stacks = [_stacked(each, apart=kind == "line") for each in values]
    running = len(dates) - found.running
    # The part of today begins at the point of yesterday, except of bars.
    parts = {"complete": (0, running), "running": (running - (kind != "stacked" and running > 0), len(dates))}
    ends = [end for stack in stacks for end in _ends(stack)]
    days = Span(found.dates[0], found.dates[-1])

    def layout(size: Size) -> Layers:
        base = alt.Chart(alt.NamedData("parts")).encode(
            y=alt.Y("end:Q", axis=_axis(panel, ends), scale=alt.Scale(zero=True)),
            color=series_colours(
                series, colours, size, reverse=kind != "line", **(STROKES if kind == "line" else {})
            )
            if len(series) > 1
            else alt.ColorValue(colours[0]),
        )
        complete, today = where_part(base, "complete"), where_part(base, "running")
        if kind == "line":
            points = size.name == "wide" and len(dates) <= MAX_DAYS_WITH_POINTS and len(series) == 1
            cap: Any = "round" if None in {end for part in stacks for *_, end in part} else alt.Undefined
            layers = [
                complete.mark_line(strokeWidth=2.25, strokeCap=cap, point={"size": 30} if points else False)
            ]
            if found.running:
                last = alt.FieldEqualPredicate(field="date", equal=dates[-1])
                layers += [
                    today.mark_line(strokeWidth=1.75, strokeDash=[3, 4]),
                    today.transform_filter(last).mark_point(size=52, fill="var(--paper)", strokeWidth=1.75),
                ]
        else:
            gap = 0.75 if size.width_px / len(dates) >= MIN_WIDTH_WITH_GAP_PX else 0
            style: dict[str, Any] = {"stroke": "var(--paper)", "strokeWidth": gap}
            if kind == "area" and len(series) == 1:
                style = {"line": {"strokeWidth": 2}, "opacity": RUNNING}
            layers = [
                (each.mark_area if kind == "area" else each.mark_bar)(fillOpacity=opacity, **style).encode(
                    y2=alt.Y2("start:Q")
                )
                for each, opacity in ((complete, 1), (today, RUNNING))[: 1 + found.running]
            ]
        words = {days.last: "so far"} if found.running else {}
        axis = date_axis(found.dates, words, size, formatter)
        behind = [shade(axis)] if data["weekends"] and len(dates) <= MAX_DAYS_DRAWN else []
        return Layers(on_dates(layers, axis, len(dates), size, behind), size.height_px)

    data: dict[str, Rows] = {
        "parts": [
            {"part": name, "date": dates[at], **part._asdict()}
            for name, (first, end) in parts.items()
            for at in range(first, end)
            for part in stacks[at]
        ],
        "dates": [{"date": day} for day in dates],
        "weekends": weekends(found.dates),
    }
    order = slice(None, None, 1 if kind == "line" else -1)  # from the top of a stack, as in the legend
    lines = [("", None), *zip(series[order], colours[order], strict=True)]
    now = " so far" if found.running else ""
    tips = {
        day.isoformat(): [
            formatter.day(day) + (now if day == days.last else ""),
            *(show(value) for value in each[order]),
        ]
        for day, each in zip(found.dates, values, strict=True)
    }
    texts = [
        (f"{name}: " if len(series) > 1 else "") + _in_words(found, by_date, show, formatter)
        for name, by_date in zip(series, found.series.values(), strict=True)
    ]
    text = f"{formatter.span(days)} ({formatter.count(len(dates), 'day')}). {' '.join(texts)}"
    return _chart(panel, text, data, Tips(lines, tips), layout, formatter)


def _chart(
    panel: Panel,
    text: str,
    data: Mapping[str, Rows],
    tips: Tips,
    layout: Callable[[Size], Layers],
    formatter: LocaleFormatter,
) -> Chart:
    return make_chart(f"panel-{panel.name}", visible(panel.title), text, data, tips, layout, formatter)


def _in_words(
    found: Dates, values: Sequence[Number | None], show: ShowValue, formatter: LocaleFormatter
) -> str:
    """Return a sentence of the first, last, highest and lowest value of a series."""
    known = [(value, day) for value, day in zip(values, found.dates, strict=True) if value is not None]
    if not known:
        return "No value."
    first, last, highest, lowest = (
        f"{show(value)} on {formatter.day(day)}"
        for value, day in (known[0], known[-1], max(known), min(known))
    )
    so_far = " so far" if found.running and known[-1][1] == found.dates[-1] else ""
    gaps = len(values) - len(known)
    missing = f"; {formatter.count(gaps, 'day')} without a value" if gaps else ""
    return f"From {first} to {last}{so_far}; highest {highest}, lowest {lowest}{missing}."


def _by_series(rows: Sequence[BarRow], series: Sequence[str | None]) -> list[Number | None]:
    """Return the value of each series among the rows of a label; of several, their sum."""
    named = {name: at for at, name in enumerate(series) if name is not OTHER}
    values: list[list[Number | None]] = [[] for _ in series or [""]]
    for row in rows:
        values[named.get(row.series, len(values) - 1)].append(row.value)
    return list(map(_sum, values))


def _sum(values: Sequence[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _stacked(values: Sequence[Number | None], *, apart: bool = False) -> list[Part]:
    """Return values as parts of a stack, the first at its bottom, or ``apart``. Negative ones are below 0."""
    tops: dict[bool, Number] = {True: 0, False: 0}
    parts = []
    for at, value in enumerate(values):
        if value is None:
            parts.append(Part(series_id(at), None, None))
            continue
        start = 0 if apart else tops[value < 0]
        tops[value < 0] = start + value
        parts.append(Part(series_id(at), start, start + value))
    return parts


def _ends(stack: Sequence[Part]) -> list[Number]:
    return [part.end for part in stack if part.end is not None]


def series_names(panel: Panel, series: Collection[str | None]) -> list[str]:
    """Return the name of each series; the only one of a result without such a column is its values'."""
    return [visible(panel.heading("value"))] if list(series) == [""] else labels(list(series))


def _colours(series: Collection[str | None]) -> list[str]:
    return [theme.series_colour(None if name is OTHER else at) for at, name in enumerate(series or [""])]


def _axis(panel: Panel, ends: Sequence[Number]) -> alt.Axis:
    """Return the axis of values: in percent if their format is, and abbreviated if they are long."""
    low, high = min([0, *ends]), max([0, *ends])
    if "%" in panel.formats.get("value", ""):
        return alt.Axis(format="~%", tickCount=4)
    if max(-low, high) >= LARGEST:
        return alt.Axis(format="~e", tickCount=4)
    if max(-low, high) >= COMPACT_FROM:
        words = "datum.value ? replace(format(datum.value, '~s'), 'G', 'B') : '0'"
        return alt.Axis(labelExpr=words, tickCount=4)
    # Whole numbers have at most one tick each: labels between them would be rounded to equal numbers.
    whole = all(isinstance(end, int) for end in ends)
    return alt.Axis(tickCount=max(1, min(4, high - low)) if whole else 4)
