"""Read all that a build needs from the source, as plain values.

This module does not import pandas: a build whose data have not changed ends before pandas is loaded.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

from reportgen.config.chart_notes import ChartNote, read_chart_notes
from reportgen.config.settings import Config
from reportgen.core.errors import SourceError
from reportgen.core.windows import Span, Window, compared_dates, look_back, make_window, today_in
from reportgen.sources.base import LeftOut, Source
from reportgen.sources.registry import open_source
from reportgen.sources.spellings import row_example
from reportgen.sources.statements import (
    Cell,
    DailyReading,
    PathsReading,
    PathTotals,
    has_older_rows,
    read_bad_row,
    read_cells,
    read_daily,
    read_imported_left_out,
    read_paths,
    read_rows_out_of_range,
    setting_advice,
)

if TYPE_CHECKING:  # they load Babel, and what only panels need
    from reportgen.core.text import LocaleFormatter
    from reportgen.metrics.panels import WindowPanel

NAMED_ONE_IN = 20
NAMED_VISITS = 5
"""A sentence names a path whose visits changed by 5 % (one in 20) of the window's total and by 5 visits.

See :func:`smallest_named_change`.
"""

MAX_LISTED = 100_000
"""Maximum number of paths in ``paths.csv``."""

Forms = Mapping[str, Sequence[str]]
"""The stored paths that path rules make a path of, most visited first."""
PathsWriter = Callable[[Iterable[PathTotals], int, Forms | None], bytes]
"""Returns ``paths.csv`` from the rows of one window, the window's total, and the forms if it lists them."""
PanelsReader = Callable[[Source, Sequence[Window]], "Sequence[Sequence[WindowPanel]]"]
"""Returns the panels of each window, read from an open source after all other statements."""

NOTE_WORDS = {
    "null_path": ("row without {a_path}", "rows without {a_path}"),
    "null_visits": ("row without a number of {visits}", "rows without a number of {visits}"),
    "invalid_visits": (
        "row whose {visits} are not a whole number",
        "rows whose {visits} are not a whole number",
    ),
    "negative_visits": ("row with negative {visits}", "rows with negative {visits}"),
    "invalid_date": ("row whose date is not a date", "rows whose date is not a date"),
    "null_date": ("row without a date", "rows without a date"),
    "future_date": ("row dated after today", "rows dated after today"),
    "totals_row": ("row of totals", "rows of totals"),
    "second_table": ("row of another table in the file", "rows of another table in the file"),
}
"""The singular and the plural of each kind of rows that are left out."""


@dataclass(frozen=True)
class WindowPaths:
    """The paths of one window: those to list, those to name in a sentence, and ``paths.csv``.

    ``changed_paths`` changed by ``named_change`` visits or more. ``csv`` lists ``csv_paths`` of the
    ``path_count`` paths, which have ``csv_visits`` together. ``excluded`` has the number and the visits of
    the stored paths that the path rules leave out, ``forms`` those of the listed paths.
    """

    listed: Sequence[PathTotals]
    changed_paths: Sequence[PathTotals]
    named_change: int
    path_count: int
    csv: bytes
    csv_paths: int
    csv_visits: int
    excluded: tuple[int, int] = (0, 0)
    forms: Forms = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """All that a build reads, from one snapshot of the source.

    ``paths`` has an entry for each of ``windows``; ``read`` holds the dates that were read; ``since`` is the
    first date that has rows, or ``None`` if it is not after the first of ``read``; ``cells`` are the
    visits by date and path of the listed paths; ``notes`` counts rows that were left out, by kind, and
    ``examples`` has one of each. ``left_out`` has the requests of a log that are not visits, for each of
    ``windows``. ``annotations`` are the notes on dates of any of ``windows``. ``panels`` are those of each
    of ``windows``; empty if there are none.
    """

    windows: Sequence[Window]
    read: Span
    daily: DailyReading
    since: date | None
    paths: Sequence[WindowPaths]
    cells: Sequence[Cell]
    notes: Counter[str]
    examples: Mapping[str, str]
    left_out: Sequence[Sequence[LeftOut]]
    source: str
    site: str | None
    notice: str | None
    warnings: Sequence[str] = ()
    annotations: Sequence[ChartNote] = ()
    panels: "Sequence[Sequence[WindowPanel]]" = ()

    @property
    def longest_left_out(self) -> Sequence[LeftOut]:
        """The requests of a log that are not visits in the longest window."""
        return max(zip(self.windows, self.left_out, strict=True), key=lambda each: each[0].days)[1]

    def files(self, paths: str) -> dict[str, bytes]:
        """Return the CSV file named ``paths`` of each window, by its path in the release."""
        return {
            f"{window.name}/{paths}.csv": found.csv
            for window, found in zip(self.windows, self.paths, strict=True)
        }


def read_dataset(
    config: Config,
    now: datetime,
    as_of: date | None,
    paths_csv: PathsWriter,
    panels: PanelsReader | None = None,
) -> Dataset:
    """Return what all windows show, read from one snapshot of the source, ``panels`` last.

    Raises:
        SourceError: the data could not be read.

    """
    windows = make_windows(config, as_of or today_in(config.zone, now), today_complete=as_of is not None)
    with open_source(config.source, config.timezone, look_back(windows), config.path_rules) as source:
        dataset = read_windows(source, windows, config.top_paths, paths_csv)
        if config.import_.logs:
            left_out = read_imported_left_out(source, [window.span for window in windows])
            dataset = replace(dataset, left_out=left_out or dataset.left_out)
        if panels:
            dataset = replace(dataset, panels=panels(source, windows))
    notes = read_chart_notes(config.notes_file)
    shown = [note for note in notes if any(note.span.meets(window.span) for window in windows)]
    rules = config.path_rules
    # The path of a note is shown as the tables show it, also if it is left out there.
    new_paths = [{"path": note.path and (rules.path_of(note.path) or note.path)} for note in shown]
    renamed = [note.model_copy(update=new) for note, new in zip(shown, new_paths, strict=True)]
    return replace(dataset, annotations=renamed)


def make_windows(config: Config, today: date, *, today_complete: bool) -> list[Window]:
    """Return all windows of a report of ``today``."""
    return [
        make_window(
            name, today, today_complete=today_complete, compare=config.compare, week_start=config.week_start
        )
        for name in config.windows
    ]


def read_windows(
    source: Source, windows: Sequence[Window], top_paths: int, paths_csv: PathsWriter
) -> Dataset:
    """Return what ``windows`` show, read from an open source. Paths become CSV while they are read."""
    span = look_back(windows)
    daily, notes = read_days(source, span, include_future=not windows[0].today_complete)
    since = read_first_date(source, span, daily)
    paths = []
    for window in windows:
        total = daily.sum_over(window.span)
        pairs = compared_dates(window, window.earlier[0], daily.visits)
        in_full = window.complete is None or len(pairs) == window.complete.days
        enough = smallest_named_change(total if in_full else sum(daily.visits[day] for day, _ in pairs))
        reading = read_paths(source, window, pairs, MAX_LISTED, enough)
        paths.append(sort_paths(reading, total, enough, top_paths, paths_csv))
    charted = {
        row.path
        for window, found in zip(windows, paths, strict=True)
        if window.days > 1
        for row in found.listed
    }
    shown = Span(min(window.span.first for window in windows), max(window.span.last for window in windows))
    cells = read_cells(source, shown, sorted(charted))
    examples = read_examples(source, span, notes)
    left_out = [source.read_left_out(window.span) for window in windows]
    return Dataset(
        windows,
        span,
        daily,
        since,
        paths,
        cells,
        notes,
        examples,
        left_out,
        source.name,
        source.site,
        source.notice,
        source.warnings,
    )


def read_days(
    source: Source, span: Span, *, include_future: bool, thorough: bool = False
) -> tuple[DailyReading, Counter[str]]:
    """Return the visits of each date of ``span``, and the number of rows that are left out, by kind.

    With ``thorough`` every row of the source is looked at, which may take long.

    Raises:
        SourceError: no row of ``span`` has a number of visits that can be read.

    """

    def read() -> tuple[DailyReading, Counter[str]]:
        daily = read_daily(source, span)
        notes = daily.notes + read_rows_out_of_range(source, span, include_future=include_future)
        return daily, notes + source.left_out

    daily, notes = read()
    doubtful = len(daily.visits) < span.days or notes["invalid_date"] > 0
    if (doubtful or thorough) and source.read_all_spellings(thorough=thorough):
        daily, notes = read()
    if not daily.rows and daily.notes.keys() == {"invalid_visits"}:
        raise SourceError(_unreadable_visits(source, span))
    return daily, Counter(dict(sorted(notes.items())))  # engines group in any order


def read_first_date(source: Source, span: Span, daily: DailyReading) -> date | None:
    """Return the first date of the source that has rows, if it is after the first date of ``span``."""
    first = min(daily.visits, default=span.first)
    return None if first == span.first or has_older_rows(source, span) else first


def read_examples(source: Source, span: Span, notes: Mapping[str, int]) -> dict[str, str]:
    """Return one row of each kind in ``notes`` as text to show."""
    rows = ((kind, read_bad_row(source, span, kind)) for kind in notes if kind not in source.examples)
    return {**source.examples, **{kind: row_example(row) for kind, row in rows if row}}


def _unreadable_visits(source: Source, span: Span) -> str:
    row = read_bad_row(source, span, "invalid_visits") or (None, None, None)
    advice = setting_advice(source, "invalid_visits", row) or (
        "Name another column in [source] columns, or convert it with [source] query"
    )
    return (
        f"{source.name}: no row of {span.first} to {span.last} has a whole number in "
        f'"{source.columns[2]}". A row: {row_example(row)}. {advice}'
    )


def smallest_named_change(total: int) -> int:
    """Return the change in visits from which on a path is named, of ``total`` visits.

    They are the window's, or those of the compared days if only a part of the complete days is compared: few
    days rarely change by 5 % of many.
    """
    return max(NAMED_VISITS, -(-total // NAMED_ONE_IN))


def sort_paths(
    reading: PathsReading, total: int, enough: int, top_paths: int, paths_csv: PathsWriter
) -> WindowPaths:
    """Sort one window's paths into listed and changed paths, and write its CSV, in one pass.

    ``total`` is the number of visits of the window. The first ``top_paths`` are listed. Paths that changed
    by ``enough`` visits are named. The first :data:`MAX_LISTED` are written as CSV, and are never all in
    memory.
    """
    listed: list[PathTotals] = []
    changed_paths: list[PathTotals] = []
    place = visits = 0

    def visited() -> Iterator[PathTotals]:
        nonlocal place, visits
        for row in reading.rows:
            if abs(row.difference) >= enough:
                changed_paths.append(row)
            if row.visits and place < MAX_LISTED:
                place += 1
                visits += row.visits
                if place <= top_paths:
                    listed.append(row)
                yield row

    csv = paths_csv(visited(), total, reading.forms)
    forms = {row.path: (reading.forms or {}).get(row.path, ()) for row in listed}
    found = (listed, changed_paths, enough, reading.path_count, csv, place, visits)
    return WindowPaths(*found, reading.excluded, forms)


def note_list(notes: Mapping[str, int], examples: Mapping[str, str]) -> list[dict[str, object]]:
    """Return the notes as ``report.json`` and the manifest hold them."""
    return [
        {"kind": kind, "rows": rows} | ({"example": examples[kind]} if kind in examples else {})
        for kind, rows in sorted(notes.items())
    ]


def note_sentences(
    notes: Mapping[str, int], formatter: "LocaleFormatter", examples: Mapping[str, str] | None = None
) -> list[str]:
    """Return one phrase for each kind of row that was left out, such as "2 rows without a path"."""
    words = formatter.words
    a_path = "a path" if words.are_usual else f"any {words.path}"
    return [
        f"{formatter.number(rows)} {NOTE_WORDS[kind][rows != 1].format(a_path=a_path, visits=words.visits)}"
        + (f" (such as: {examples[kind]})" if examples and kind in examples else "")
        for kind, rows in sorted(notes.items())
        if rows
    ]
