"""Numbered marks of notes on a chart: which numbers share a mark, and where their labels are."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import date

import altair as alt

from reportgen.charts.spec import SIZES, Rows, Size, text_width_px
from reportgen.config.chart_notes import ChartNote
from reportgen.core.windows import Span

LINE = 1.2
"""Height of a line of labels, in font sizes."""

BAND = 0.12
"""Opacity (0 to 1) of the accent behind the dates of a note with ``until``."""


def mark_rows(notes: Sequence[ChartNote], bars: Sequence[Span]) -> Rows:
    """Return a row for each bar in which notes begin: their numbers, and where the label is in each size.

    ``notes`` are those of the window, by date; the number of a note is its place. ``bars`` are the dates of
    each bar, ascending. A note that began before them is marked on the first.
    """
    numbers: dict[int, list[int]] = {}
    for number, note in enumerate(notes, start=1):
        numbers.setdefault(_place(note.date, bars), []).append(number)
    names = {at: _label(found) for at, found in numbers.items()}
    lines = {size.name: _lines(names, len(bars), size) for size in SIZES}
    return [
        {
            "date": bars[at].first.isoformat(),
            "label": name,
            **{size: found[at] for size, found in lines.items()},
        }
        for at, name in names.items()
    ]


def band_rows(notes: Sequence[ChartNote], bars: Sequence[Span]) -> Rows:
    """Return the first and the last bar of each note that has more than one date."""
    ends = [(_place(note.date, bars), _place(note.until, bars)) for note in notes if note.until]
    return [{"date": bars[a].first.isoformat(), "last": bars[b].first.isoformat()} for a, b in ends]


def _place(day: date, bars: Sequence[Span]) -> int:
    """Return the index of the bar that has a date, or of the nearest one."""
    return min(bisect_left(bars, day, key=lambda bar: bar.last), len(bars) - 1)


def mark_layers(marks: Rows, bands: Rows, axis: alt.X, size: Size) -> list[alt.Chart]:
    """Return the bands, and for each mark a thin rule below its numbers, which are above the plot."""
    if not marks:
        return []
    base = alt.Chart(alt.NamedData("marks")).encode(x=axis, y=alt.Y(f"{size.name}:Q", scale=None))
    layers = [
        base.mark_rule(color="var(--ghost)", strokeWidth=0.75).encode(y2=alt.value(size.height_px)),
        base.mark_text(baseline="bottom", dy=-1, color="var(--ink)").encode(text=alt.Text("label:N")),
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


def _lines(names: Mapping[int, str], bars: int, size: Size) -> dict[int, int]:
    """Return the height of each label above the plot: on the lowest line that has space for it."""
    ends: list[float] = []
    found = {}
    for at, name in names.items():
        width_px = text_width_px(name, size.font_px) + size.font_px / 2
        left_px = (at + 0.5) * 0.9 * size.width_px / bars - width_px / 2
        line = next((line for line, end in enumerate(ends) if end <= left_px), len(ends))
        ends[line : line + 1] = [left_px + width_px]
        found[at] = -2 - round(line * LINE * size.font_px)
    return found
