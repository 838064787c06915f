"""One function for each chart of a page: from a window's figures to a specification."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from reportgen.charts import theme
from reportgen.charts.marks import band_rows, height_px, mark_layers, mark_rows
from reportgen.charts.spec import (
    PART,
    SIZES,
    STROKES,
    Chart,
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
    unrecorded,
    visits_axis,
    weekends,
    where_part,
)
from reportgen.config.chart_notes import ChartNote
from reportgen.core.text import LONGEST_NAME, LocaleFormatter, shorten, visible
from reportgen.core.windows import Span, bar_kind, bars_of, is_whole, runs
from reportgen.core.words import heading
from reportgen.metrics.figures import OTHER, Bar, WindowMetrics, bars
from reportgen.metrics.highlights import days_compared

SELECTED = "picked"
"""Name of the selection that a click on the legend makes."""

MIN_WIDTH_WITH_GAP_PX = 6
"""Minimum width of a date for bars to have a gap around them; a gap would hide narrower bars."""

FAINT = 0.15
"""Opacity (0 to 1) of series that are not selected in the legend."""

RUNNING = 0.4
"""Opacity (0 to 1) of the fill of a day that is not over, and of a week or month that lacks days."""

OUTLINE = theme.series_colour(None, "ghost")
"""Colour of the outline of *Other*."""

SPIKE = 5
"""A bar is cut if it is more than this number of times as high as the second highest."""

CUT_AT = 1.5
"""Height of a cut bar, in heights of the second highest."""


def visits_by_path(
    metrics: WindowMetrics,
    stack: pd.DataFrame,
    slots: Mapping[str, int],
    formatter: LocaleFormatter,
    notes: Sequence[ChartNote] = (),
) -> Chart:
    """Draw visits per day by path: see :func:`_visits_by`."""
    words = formatter.words
    return _visits_by(metrics, stack, slots, formatter, notes, (words.path, words.paths, words.path_stem))


def visits_by_section(
    metrics: WindowMetrics,
    stack: pd.DataFrame,
    slots: Mapping[str, int],
    formatter: LocaleFormatter,
    notes: Sequence[ChartNote] = (),
) -> Chart:
    """Draw visits per day by section: see :func:`_visits_by`."""
    return _visits_by(metrics, stack, slots, formatter, notes, ("section", "sections", "section"))


def _visits_by(
    metrics: WindowMetrics,
    stack: pd.DataFrame,
    slots: Mapping[str, int],
    formatter: LocaleFormatter,
    notes: Sequence[ChartNote],
    nouns: tuple[str, str, str],
) -> Chart:
    """Draw visits per day, largest series at the bottom. A spike is cut, and has its number.

    ``stack`` is what :func:`reportgen.metrics.figures.stack` returns: dates x series, ints. ``slots`` names
    the colour of each series, and ``notes`` are those of the window, by date. ``nouns`` are the words for a
    series: one, several, and in the name of the chart.
    """
    noun, plural, stem = nouns
    words = formatter.words
    series = [(path, visits) for path, visits in _series(stack) if sum(visits)]
    names = labels([path for path, _ in series])
    colours = [theme.series_colour(None if path is OTHER else slots[path]) for path, _ in series]
    days = bars(metrics, metrics.comparison)
    unit = bar_kind(metrics.window)
    full = [day.complete and not day.missing and is_whole(metrics.window, day.span) for day in days]
    spike, cut_at = _spike(days)
    rows = [
        {
            "date": day.date.isoformat(),
            "series": series_id(at),
            "order": at,
            "visits": count,
            **({"height": count * cut_at / spike.visits if day == spike else count} if spike else {}),
            "partial": not is_full,
            "outline": OUTLINE if path is OTHER else "var(--paper)" if is_full else colours[at],
        }
        for at, (path, visits) in enumerate(series)
        for day, is_full, count in zip(days, full, visits, strict=True)
        if count
    ]

    def layout(size: Size) -> alt.LayerChart:
        picked = alt.selection_point(name=SELECTED, fields=["series"], bind="legend", toggle="true")
        base = alt.Chart(alt.NamedData("visits"))
        band_px = size.width_px / len(days)
        stacked = base.mark_bar().encode(
            y=alt.Y(
                "height:Q" if spike else "visits:Q",
                stack="zero",
                axis=visits_axis(round(cut_at) if spike else max(day.visits for day in days)),
                scale=alt.Scale(domain=[0, cut_at * 1.12], nice=False) if spike else alt.Undefined,
            ),
            # Read from its first entry on, the legend names the stack from its top.
            color=series_colours(
                names, colours, size, reverse=True, labels_px=height_px(data.get("marks", ()), size)
            ),
            order=alt.Order("order:Q"),
            opacity=_opacity(),
            # Bars that lack days, and today's, are light with an outline in full colour; *Other* is pale with
            # a thin grey one; the others have a thin gap around them.
            stroke=alt.Stroke("outline:N", scale=None),
            strokeWidth=alt.StrokeWidth(
                condition=[
                    {"test": "datum.partial", "value": min(1.5, band_px / 4)},
                    {"test": f"datum.outline == '{OUTLINE}'", "value": min(0.75, band_px / 4)},
                ],
                value=0.75 if band_px >= MIN_WIDTH_WITH_GAP_PX else 0,
            ),
            fillOpacity=alt.FillOpacity(condition=[{"test": "datum.partial", "value": RUNNING}], value=1),
        )
        marks = [stacked.add_params(picked), *(_cut_marks() if spike else ())]
        return _by_date(marks, metrics, size, formatter, data)

    highest = max(days, key=lambda day: day.visits)
    parts = [
        f"{f'all other {plural}' if path is OTHER else _name(path)} {formatter.number(sum(visits))}"
        for path, visits in series
    ]
    most = formatter.number(highest.visits) + ("" if highest.complete else " so far")
    text = (
        f"{formatter.visits(metrics.total)} on {_dates(metrics, formatter)}; most on "
        f"{_when(metrics, highest.span, formatter)}: {most}. "
        f"By {noun}: {', '.join(parts)}.{_no_rows(metrics, formatter)}"
    )
    data = {"visits": rows, **_date_data(metrics, notes)}
    if spike:
        text += f" The bar of {_when(metrics, spike.span, formatter)} is cut."
        data["cut"] = [
            {
                "date": spike.date.isoformat(), "count": formatter.number(spike.visits),
                "top": cut_at, "from": cut_at * 0.76, "to": cut_at * 0.8,
            }
        ]  # fmt: skip
    # From the top of the stack, as in the legend.
    lines = [("", None), (heading(words.visits), None), *zip(names[::-1], colours[::-1], strict=True)]
    tips = {
        day.date.isoformat(): [
            *_day_and_visits(metrics, day, formatter),
            *(formatter.number(visits[at]) for _, visits in series[::-1]),
        ]
        for at, day in enumerate(days)
    }  # fmt: skip
    return make_chart(
        f"{words.visits_stem}-by-{stem}",
        f"{heading(words.visits)} per {unit} by {noun}",
        text,
        data,
        _date_tips(lines, tips, notes, days),
        layout,
        formatter,
    )


def against_previous(
    metrics: WindowMetrics, formatter: LocaleFormatter, notes: Sequence[ChartNote] = ()
) -> Chart:
    """Draw daily visits as a line in front of the previous window's; the line to today is dashed."""
    shown = [both for both in metrics.comparisons if both.days]
    days, *others = (bars(metrics, both) for both in shown)
    names = [formatter.span(metrics.window.span), *(formatter.span(both.earlier.span) for both in shown)]
    names[2:] = [f"{name} (dashed)" for name in names[2:]]
    colours = ["var(--accent)", "var(--ghost)", "var(--quiet)"][: len(names)]

    def layout(size: Size) -> alt.LayerChart:
        picked = alt.selection_point(name=SELECTED, fields=["series"], bind="legend", toggle="true")
        highest = max(max(day.visits, day.previous or 0) for each in (days, *others) for day in each)
        # A line ends where dates have no rows. With round ends, a single date between such dates is a dot.
        whole = all(day.recorded and day.previous is not None for day in days)
        cap: Any = alt.Undefined if whole else "round"
        base = alt.Chart(alt.NamedData("visits")).encode(
            y=alt.Y("visits:Q", axis=visits_axis(highest), scale=alt.Scale(zero=True, nice=True)),
            color=series_colours(
                names, colours, size, labels_px=height_px(data.get("marks", ()), size), **STROKES
            ),
            opacity=_opacity(),
        )
        thick = size.name == "wide" and len(days) <= 62  # noqa: PLR2004 - points would touch
        lines = [
            where_part(base, "previous").mark_line(strokeWidth=1.5, strokeCap=cap).add_params(picked),
            where_part(base, "complete").mark_line(
                strokeWidth=2.25, strokeCap=cap, point={"size": 30} if thick else False
            ),
        ]
        if others:
            other = where_part(base, "other").mark_line(strokeWidth=1.5, strokeCap="round", strokeDash=[1, 4])
            lines.insert(1, other)
        if not days[-1].complete and days[-1].recorded:
            lines += [
                where_part(base, "dashed").mark_line(strokeWidth=1.75, strokeDash=[3, 4]),
                where_part(base, "running").mark_point(size=52, fill="var(--paper)", strokeWidth=1.75),
            ]
        return _by_date(lines, metrics, size, formatter, data)

    tips = {
        day.date.isoformat(): [
            *_day_and_visits(metrics, day, formatter),
            *(_previous(metrics, each, formatter) for each in (day, *more)),
        ]
        for day, *more in zip(days, *others, strict=True)
    }
    visits = heading(formatter.words.visits)
    heads = ["", visits, "Previous", *(both.earlier.label.capitalize() for both in shown[1:])]
    lines = list(zip(heads, [None, *colours], strict=True))
    title = f"{visits} per {bar_kind(metrics.window)} against the {shown[0].earlier.label}"
    data = {"visits": _points(days, *others), **_date_data(metrics, notes)}
    text = _compared_text(metrics, formatter)
    return make_chart(
        "against-previous", title, text, data, _date_tips(lines, tips, notes, days), layout, formatter
    )


def top_paths(
    metrics: WindowMetrics, slots: Mapping[str, int], formatter: LocaleFormatter, limit: int = 20
) -> Chart:
    """Draw the first ``limit`` paths of one day as horizontal bars.

    A path that has a colour on other pages has it here; the others are grey. No colour is used twice.
    """
    paths = metrics.paths[:limit]
    longest_number = max((formatter.number(row.visits) for row in paths), key=len)
    names = {size.name: fitting_labels([row.path for row in paths], longest_number, size) for size in SIZES}
    owners = {slots[row.path]: row.path for row in reversed(paths) if row.path in slots}
    rows = [
        {
            "series": series_id(at),
            "visits": row.visits,
            "count": formatter.number(row.visits),
            "colour": theme.series_colour(slot if owners.get(slot) == row.path else None, "ghost"),
        }
        for at, row in enumerate(paths)
        for slot in [slots.get(row.path, -1)]
    ]

    most_visits = max(row.visits for row in paths)

    def layout(size: Size) -> alt.LayerChart:
        axis, plot_px = label_axis(names[size.name], size)
        # The number after the longest bar must be inside the drawing.
        bars_px = plot_px - text_width_px(longest_number, size.font_px) - 10
        base = alt.Chart(alt.NamedData("visits")).encode(
            y=alt.Y("series:N", sort=None, axis=axis),
            x=alt.X(
                "visits:Q",
                axis=None,
                scale=alt.Scale(domain=[0, most_visits * plot_px / bars_px], nice=False),
            ),
            tooltip=alt.Tooltip("series:N"),
        )
        bars = base.mark_bar().encode(color=alt.Color("colour:N", scale=None, legend=None))
        words = base.mark_text(align="left", dx=5).encode(text=alt.Text("count:N"))
        return alt.LayerChart(layer=[bars, words], height=round(size.font_px * 1.8) * len(rows))

    tips = {
        str(row["series"]): [_name(path.path), str(row["count"])]
        for row, path in zip(rows, paths, strict=True)
    }
    parts = [" ".join(tip) for tip in tips.values()]
    text = f"{formatter.visits(metrics.total)} on {_dates(metrics, formatter)}. {', '.join(parts)}."
    words = formatter.words
    title = f"{heading(words.visits)} by {words.path}"
    lines = [("", None), (heading(words.visits), None)]
    return make_chart(
        f"top-{words.paths_stem}", title, text, {"visits": rows}, Tips(lines, tips), layout, formatter
    )


def _by_date(
    layers: Iterable[alt.Chart],
    metrics: WindowMetrics,
    size: Size,
    formatter: LocaleFormatter,
    data: Mapping[str, Rows],
) -> alt.LayerChart:
    """Return the layers on an axis of the window's dates, in front of weekends and marks of notes.

    ``data`` is what :func:`_date_data` returns, among others.
    """
    found = bars(metrics, metrics.comparison)
    known = [bar for bar in found if not metrics.since or bar.span.last >= metrics.since]
    missing = [bar.date for bar in known if not bar.recorded]
    parts = [
        bar.date for bar in found if not is_whole(metrics.window, bar.span) or 0 < bar.missing < bar.span.days
    ]
    words = dict.fromkeys(parts, PART) | dict.fromkeys(missing, "no rows")
    if metrics.window.running:
        words[found[-1].date] = "so far"
    marks = [unrecorded(alt.Chart(alt.NamedData("dates")), missing, size)] if missing else []
    months = bar_kind(metrics.window) == "month"
    axis = date_axis([bar.date for bar in found], words, size, formatter, months=months)
    behind = [shade(axis)] if "weekends" in data else []
    behind += mark_layers(data.get("marks", ()), data.get("bands", ()), axis, size)
    placed = on_dates((*layers, *marks), axis, len(found), size, behind)
    return alt.LayerChart(layer=placed, height=size.height_px)


def _spike(days: Sequence[Bar]) -> tuple[Bar | None, float]:
    """Return the date whose bar would make the others invisible, and the height at which to cut it.

    Beside one other bar, or a day that has just begun, nothing is a spike.
    """
    ranked = sorted(days, key=lambda day: day.visits)
    others = [day.visits for day in ranked[:-1] if day.visits and day.complete]
    second = ranked[-2].visits if len(others) > 1 else 0
    return (ranked[-1] if 0 < SPIKE * second < ranked[-1].visits else None), CUT_AT * second


def _cut_marks() -> list[alt.Chart]:
    """Return the gap in a cut bar, and the number above it."""
    base = alt.Chart(alt.NamedData("cut"))
    gap = base.mark_bar(color="var(--paper)").encode(y=alt.Y("from:Q"), y2=alt.Y2("to:Q"))
    return [gap, base.mark_text(baseline="bottom", dy=-4).encode(y=alt.Y("top:Q"), text=alt.Text("count:N"))]


def _points(days: Sequence[Bar], other: Sequence[Bar] = ()) -> Rows:
    """Return the points of each line: the window is the first series, then what it is compared with."""
    now, before, second = map(series_id, range(3))
    complete = [day for day in days if day.complete]
    running = [day for day in days if not day.complete]

    def recorded(day: Bar) -> int | None:
        return day.visits if day.recorded else None

    lines: dict[str, list[tuple[str, Any, int | None]]] = {
        "previous": [(before, day.date, day.previous) for day in days],
        "other": [(second, day.date, day.previous) for day in other],
        "complete": [(now, day.date, recorded(day)) for day in complete],
        "dashed": [(now, day.date, recorded(day)) for day in complete[-1:] + running] if running else [],
        "running": [(now, day.date, day.visits) for day in running if day.recorded],
    }
    return [
        {"part": part, "series": series, "date": day.isoformat(), "visits": visits}
        for part, points in lines.items()
        for series, day, visits in points
    ]


def _compared_text(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    today = metrics.days[-1]
    text = " ".join(
        f"{formatter.visits(both.total)} on {days_compared(both, formatter)} "
        f"({formatter.span(both.span)}) against {formatter.number(both.previous_total)} on "
        f"{formatter.span(both.previous_span)}."
        for both in metrics.comparisons
        if both.span and both.previous_span
    )
    if best := metrics.best_day:
        text += f" Most on a complete day: {formatter.number(best[1])} on {formatter.day(best[0])}."
    if not today.complete:
        text += f" Today so far {formatter.number(today.visits)}"
        if today.previous_date:
            label = metrics.window.earlier[0].label
            label = label if label[0].isdigit() else f"of the {label}"
            unknown = "" if today.previous_recorded else ", which has no rows"
            text += f", against {formatter.number(today.previous)} on the whole of the day {label}{unknown}"
        text += "."
    return f"{_dates(metrics, formatter)}: {text}{_no_rows(metrics, formatter)}"


def _no_rows(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    """Return a sentence that names the dates without rows: they are drawn as 0, which may be wrong."""
    if not metrics.unrecorded:
        return ""
    return f" No rows on {'; '.join(map(formatter.span, runs(metrics.unrecorded)))}."


def _opacity() -> alt.Opacity:
    """Return the opacity that makes series faint that are not selected."""
    return alt.Opacity(condition=[{"test": {"not": {"param": SELECTED}}, "value": FAINT}], value=1)


def _when(metrics: WindowMetrics, bar: Span, formatter: LocaleFormatter) -> str:
    """Return the name of a bar: a date, or the dates of a week or month, and whether it is a part of one."""
    kind = bar_kind(metrics.window)
    if kind == "day":
        return formatter.day(bar.first)
    part = "" if is_whole(metrics.window, bar) else f", part of the {kind}"
    return formatter.short_span(bar, 0) + part


def _previous(metrics: WindowMetrics, bar: Bar, formatter: LocaleFormatter) -> str:
    """Return the earlier visits of a bar with their dates; a dash if the earlier period is shorter."""
    if bar.previous_span is None:
        return "\N{EN DASH}"
    if bar.previous is None:
        return "no rows"
    is_day = bar_kind(metrics.window) == "day"
    before = bar.previous_span
    dates = formatter.day(before.first) if is_day else formatter.short_span(before, 0)
    return f"{formatter.number(bar.previous)} on {dates}"


def _day_and_visits(metrics: WindowMetrics, day: Bar, formatter: LocaleFormatter) -> list[str]:
    """Return the dates of a bar and its visits, as the first lines of its tooltip."""
    state = " so far" if not day.complete else "" if day.recorded else ", no rows"
    if not state and day.missing:
        state = f", {day.missing} of {formatter.count(day.span.days, 'day')} without rows"
    return [_when(metrics, day.span, formatter), formatter.number(day.visits) + state]


def _date_data(metrics: WindowMetrics, notes: Sequence[ChartNote]) -> dict[str, Rows]:
    """Return the data that each chart on an axis of dates has: dates, weekends, and the marks of notes."""
    spans = bars_of(metrics.window)
    found: dict[str, Rows] = {
        "dates": [{"date": span.first.isoformat()} for span in spans],
        "weekends": weekends([span.first for span in spans]) if len(spans) == metrics.window.days else [],
        "marks": mark_rows(notes, spans),
        "bands": band_rows(notes, spans),
    }
    return {name: rows for name, rows in found.items() if rows}


def _date_tips(
    lines: Sequence[tuple[str, str | None]],
    values: Mapping[str, Sequence[str]],
    notes: Sequence[ChartNote],
    days: Sequence[Bar],
) -> Tips:
    """Return the tooltips of dates, with the numbers and texts of the notes on each in one more line."""
    if not notes:
        return Tips(lines, values)
    texts = [
        f"Note {at}: {shorten(visible(note.text), LONGEST_NAME)}" for at, note in enumerate(notes, start=1)
    ]

    def on(span: Span) -> str:
        found = zip(notes, texts, strict=True)
        return "; ".join(text for note, text in found if note.span.meets(span))

    with_notes = {day.date.isoformat(): [*values[day.date.isoformat()], on(day.span)] for day in days}
    return Tips([*lines, ("", None)], with_notes)


def _series(stack: pd.DataFrame) -> list[tuple[str | None, list[int]]]:
    """Return each column of a stack with its visits by date."""
    return list(zip(stack.columns, stack.to_numpy().T.tolist(), strict=True))


def _name(path: str | None) -> str:
    return "Other" if path is OTHER else shorten(visible(path), LONGEST_NAME)


def _dates(metrics: WindowMetrics, formatter: LocaleFormatter) -> str:
    return f"{formatter.span(metrics.window.span)} ({formatter.count(metrics.window.days, 'day')})"
