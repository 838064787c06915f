"""Numbered marks of notes on a chart of dates: which numbers share a mark, and where their labels are."""

from collections.abc import Sequence
from datetime import date

import altair as alt

from reportgen.charts.spec import SIZES, Rows, Size, text_width_px
from reportgen.config.chart_notes import ChartNote

LINE = 1.2
"""Height of a line of labels, in font sizes."""

BAND = 0.12
"""Opacity (0 to 1) of the accent behind the dates of a note with ``until``."""


def mark_rows(notes: Sequence[ChartNote], dates: Sequence[date]) -> Rows:
    """Return a row for each date on which notes begin: their numbers, and where the label is in each size.

    ``notes`` are those of the window, by date; the number of a note is its place. One that began earlier is
    marked on the first of ``dates``.
    """
    numbers: dict[date, list[int]] = {}
    for number, note in enumerate(notes, start=1):
        numbers.setdefault(max(note.date, dates[0]), []).append(number)
    names = {day: _label(found) for day, found in numbers.items()}
    lines = {size.name: _lines(names, dates, size) for size in SIZES}
    return [
        {"date": day.isoformat(), "label": name, **{size: found[day] for size, found in lines.items()}}
        for day, name in names.items()
    ]


def band_rows(notes: Sequence[ChartNote], dates: Sequence[date]) -> Rows:
    """Return the first and the last date of each note that has more than one, inside ``dates``."""
    return [
        {"date": max(note.date, dates[0]).isoformat(), "last": min(note.until, dates[-1]).isoformat()}
        for note in notes
        if note.until and note.until > note.date
    ]


def mark_layers(marks: Rows, bands: Rows, axis: alt.X, size: Size) -> list[alt.Chart]:
    """Return the bands, and for each mark a thin rule below its numbers, which are above the plot."""
    if not marks:
        return []
    base = alt.Chart(alt.NamedData("marks")).encode(x=axis, y=alt.Y(f"{size.name}:Q", scale=None))
    layers = [
        base.mark_rule(color="var(--ghost)", strokeWidth=0.75).encode(y2=alt.value(size.height_px)),
        base.mark_text(baseline="bottom", dy=-1, color="var(--ink)").encode(text="label:N"),
    ]
    if bands:
        area = alt.Chart(alt.NamedData("bands")).mark_rect(color="var(--accent)", opacity=BAND)
        layers.insert(0, area.encode(x=axis.bandPosition(0), x2=alt.X2("last", bandPosition=1)))
    return layers


def height_px(marks: Rows, size: Size) -> float:
    """Return the height of the labels above the plot."""
    return max((size.font_px - mark[size.name] for mark in marks), default=0)


def _label(numbers: Sequence[int]) -> str:
    """Return consecutive numbers as a label: "1", "1, 2", "1 - 3"."""
    if len(numbers) < 3:  # noqa: PLR2004 - as long as the range
        return ", ".join(map(str, numbers))
    return f"{numbers[0]}\N{EN DASH}{numbers[-1]}"


def _lines(names: dict[date, str], dates: Sequence[date], size: Size) -> dict[date, int]:
    """Return the height of each label above the plot: on the lowest line that has space for it."""
    ends: list[float] = []
    found = {}
    for day, name in names.items():
        width_px = text_width_px(name, size.font_px) + size.font_px / 2
        left_px = (dates.index(day) + 0.5) * 0.9 * size.width_px / len(dates) - width_px / 2
        line = next((at for at, end in enumerate(ends) if end <= left_px), len(ends))
        ends[line : line + 1] = [left_px + width_px]
        found[day] = -2 - round(line * LINE * size.font_px)
    return found
