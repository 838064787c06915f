"""What panels show: each in each window, with the rows of its query read by the names of their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import Any, NamedTuple

from reportgen.config.panels import Panel
from reportgen.core.errors import PanelError
from reportgen.core.text import LONGEST_NAME, shorten, visible
from reportgen.core.windows import Span, Window
from reportgen.sources.panel_queries import PanelRows, Value

MAX_SERIES = 8
"""Maximum number of series that a chart names; the others are one more, *Other*."""

MAX_COLUMNS = 20
"""Maximum number of columns of a table on a page."""

MAX_CELL = 2 * LONGEST_NAME
"""Maximum number of characters of a cell on a page, most of which are there twice."""

BYTES_A_DATE, BYTES_A_VALUE, BYTES_A_CELL = 300, 150, 60
"""What a page takes for a date of a chart, for each of its values, and for a cell beside its text."""

LARGEST_CHANGE = 1e6
"""Changes from this one on are not shown: the previous value is next to nothing."""

LARGEST = 1e300
"""Largest number that is drawn: sums of 10,000 such numbers are still finite."""

NEEDS = {"bars": ("label", "value"), "figure": ("value",)} | dict.fromkeys(
    ("line", "area", "stacked"), ("date", "value")
)
"""The columns that each kind of chart needs."""

Number = int | float


@dataclass(frozen=True)
class WindowPanel:
    """One panel as a window's page shows it.

    ``rows`` are ``None`` for a panel without a query, and for one that could never be read. ``span`` has the
    dates of the rows, and ``read_at`` (UTC) is when they were read: both are older than the page if the
    panel could not be renewed. ``problem`` says why; it is empty if the panel was renewed. ``spec`` is the
    Vega-Lite specification that was drawn, and ``drawings`` are its SVGs by size.
    """

    panel: Panel
    span: Span
    rows: PanelRows | None = None
    read_at: datetime | None = None
    spec: Mapping[str, Any] | None = None
    drawings: Mapping[str, str] | None = None
    problem: str = ""

    @property
    def has_data(self) -> bool:
        """Whether there is anything to download: rows, or a drawing."""
        return self.rows is not None or self.drawings is not None


class BarRow(NamedTuple):
    """One row of :class:`Bars`. ``series`` is ``""`` without such a column."""

    label: str
    value: Number | None
    previous: Number | None = None
    series: str = ""


@dataclass(frozen=True)
class Bars:
    """Values by label, in the order of the query. ``total`` is ``None`` if a value is negative.

    ``series`` are those of a result with such a column, the largest first; ``None`` is the sum of the others.
    """

    rows: Sequence[BarRow]
    has_previous: bool
    series: Sequence[str | None]
    total: Number | None
    kind: str = "bars"


@dataclass(frozen=True)
class Dates:
    """Values of each date of the window by series, the largest series first; ``None`` is a gap.

    The key ``""`` is the series of a result without such a column; ``None`` sums the series that have no
    place of their own. ``left_out`` is the number of rows of other dates, or without a date.
    """

    kind: str
    dates: Sequence[date]
    series: Mapping[str | None, Sequence[Number | None]]
    left_out: int
    running: bool


@dataclass(frozen=True)
class OneFigure:
    """A single number, and the one that it is compared with, if there is one."""

    value: Number | None
    previous: Number | None = None
    kind: str = "figure"


@dataclass(frozen=True)
class Table:
    """Rows without a chart of our own."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    kind: str = "table"


Result = Bars | Dates | OneFigure | Table


def interpret(panel: Panel, rows: PanelRows, window: Window) -> Result:
    """Return the rows of a panel's query as the names of their columns say.

    Raises:
        PanelError: the columns or the values do not fit.

    """
    names = [name.lower() for name in rows.columns]
    kind = panel.chart or _kind(set(names), len(rows.rows))
    if panel.spec is not None or kind in {"none", "table"}:
        return Table(rows.columns, rows.rows)
    place = {name: names.index(name) for name in reversed(names)}
    if not set(NEEDS.get(kind, ())) <= place.keys():
        raise PanelError(
            f"chart: {kind} needs the columns {' and '.join(NEEDS[kind])}; the query returns"
            f" {', '.join(rows.columns)}. Rename them there with AS"
        )
    numbers = {
        name: [_number(row[place[name]], name, at) for at, row in enumerate(rows.rows, start=1)]
        for name in ("value", "previous")
        if name in place
    }
    if kind == "figure":
        value, *before = (found[0] for found in numbers.values())
        return OneFigure(value, before[0] if before else None)
    series = [as_text(row[place["series"]]) if "series" in place else "" for row in rows.rows]
    if kind == "bars":
        labels = [as_text(row[place["label"]]) for row in rows.rows]
        previous = numbers.get("previous", [None] * len(labels))
        found = list(map(BarRow, labels, numbers["value"], previous, series))
        positive = all((value or 0) >= 0 for value in numbers["value"])
        total = sum(value or 0 for value in numbers["value"]) if positive else None
        named, other = _ranked(series, numbers["value"])
        split = [*named, *([None] if other else [])] if "series" in place else []
        return Bars(found, "previous" in place, split, total)
    days = [_date(row[place["date"]], at) for at, row in enumerate(rows.rows, start=1)]
    return _dates(kind, days, series, numbers["value"], window)


def change_of(value: Number | None, previous: Number | None) -> float | None:
    """Return the relative change from a previous value, or ``None`` if there is none from such a value."""
    if value is None or previous is None or previous <= 0:
        return None
    change = value / previous - 1
    return change if change < LARGEST_CHANGE else None


def page_bytes(source: WindowPanel, result: Result | None, top_paths: int) -> int:
    """Return about how many bytes of a page a panel takes, with its drawings and its interactive chart."""
    rows = source.rows.rows if source.rows else ()
    names = sum(len(name) + 6 for name in source.rows.columns) if source.rows else 0
    drawn = sum(map(len, (source.drawings or {}).values()))
    if drawn:
        drawn += sum(names + sum(len(as_text(value)) for value in row) for row in rows)
    elif isinstance(result, Dates):
        drawn = len(result.dates) * (BYTES_A_DATE + BYTES_A_VALUE * len(result.series))
    cells = (as_text(value) for row in rows[:top_paths] for value in row[:MAX_COLUMNS])
    table = sum(BYTES_A_CELL + len(escape(visible(shorten(cell, MAX_CELL)))) for cell in cells)
    return drawn + table + 2 * len(source.panel.text)


def as_text(value: Value) -> str:
    """Return a value of a result as text: a label, a series, a cell of CSV."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _kind(names: set[str], rows: int) -> str:
    """Return what the names of the columns make of a result."""
    if {"label", "value"} <= names <= {"label", "value", "previous", "series"}:
        return "bars"
    if {"date", "value"} <= names <= {"date", "value", "series"}:
        return "line"
    return "figure" if {"value"} <= names <= {"value", "previous"} and rows == 1 else "table"


def _number(value: Value, column: str, row: int) -> Number | None:
    if value is None:
        return None
    if isinstance(value, str | bool):
        raise PanelError(
            f'row {row}: {column} is "{as_text(value)[:40]}", which is not a number. Convert it in the query'
        )
    if abs(value) > LARGEST:
        raise PanelError(f"row {row}: {column} is too large to draw. Divide it in the query")
    return value


def _date(value: Value, row: int) -> date | None:
    try:
        return None if value is None else date.fromisoformat(as_text(value)[: len("2026-11-23")])
    except ValueError:
        raise PanelError(
            f'row {row}: date is "{as_text(value)[:40]}", which is not a date such as "2026-11-23".'
            " Convert it in the query"
        ) from None


def _ranked(series: Sequence[str], values: Sequence[Number | None]) -> tuple[list[str], set[str]]:
    """Return the series to name, the largest first, and the others."""
    sizes = dict.fromkeys(series, 0.0)
    for name, value in zip(series, values, strict=True):
        sizes[name] += abs(value or 0)
    ranked = sorted(sizes, key=lambda name: -sizes[name])
    return ranked[:MAX_SERIES], set(ranked[MAX_SERIES:])


def _dates(
    kind: str,
    days: Sequence[date | None],
    series: Sequence[str],
    values: Sequence[Number | None],
    window: Window,
) -> Dates:
    dates = window.span.dates()
    inside = [
        (row, day, name, value)
        for row, (day, name, value) in enumerate(zip(days, series, values, strict=True), start=1)
        if day and window.span.first <= day <= window.span.last
    ]
    named, others = _ranked([name for *_, name, _ in inside], [value for *_, value in inside])
    found: dict[str | None, list[Number | None]] = {name: [0] * len(dates) for name in named or [""]}
    if others:
        found[None] = [0] * len(dates)
    taken = set()
    for row, day, name, value in inside:
        if (day, name) in taken:
            of = f' of "{name[:40]}"' if name else ""
            raise PanelError(
                f"row {row}: {day} has a second value{of}. Group the query by date, or call the column that"
                " tells them apart series"
            )
        taken.add((day, name))
        at, key = (day - window.span.first).days, None if name in others else name
        found[key][at] = value if key is not None else (found[key][at] or 0) + (value or 0)
    return Dates(kind, dates, found, len(days) - len(inside), window.running)
