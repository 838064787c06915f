"""What a build reads: four statements, written once, that every engine runs.

Each aggregates in the engine; what arrives here, as plain rows, is what a report shows, so memory
does not grow with the table. ``classified`` sorts every stored row between two dates into *good* or one
kind of bad; only good rows count, bad ones are counted by kind.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from reportgen.core.errors import SourceError
from reportgen.core.windows import Span, Window
from reportgen.sources.base import Source

GOOD = 0
KINDS = {
    1: "invalid_date",
    2: "null_path",
    3: "null_visits",
    4: "invalid_visits",
    5: "negative_visits",
    6: "null_date",
    7: "future_date",
}
MAX_INT64 = 2**63 - 1

CLASSIFIED = """
WITH classified AS (
    SELECT {day} AS day, {path} AS path, {visits} AS visits,
           CASE WHEN {day} IS NULL THEN 1
                WHEN {path} IS NULL THEN 2
                WHEN {stored_visits} IS NULL THEN 3
                WHEN {visits} IS NULL THEN 4
                WHEN {visits} < 0 THEN 5
                ELSE 0 END AS kind
    FROM {relation}
    WHERE {stored_date} >= {first} AND {stored_date} < {end}
)"""

DAILY = (
    CLASSIFIED
    + """
SELECT day, kind, SUM(CASE WHEN kind = 0 THEN visits ELSE 0 END) AS visits, COUNT(*) AS stored_rows
FROM classified GROUP BY day, kind"""
)

# One row a path: visits in the window, on its complete days, on the complete days' previous dates,
# and in the whole previous window. Beyond the listed places, only paths whose change is large
# enough to be named come back: a path that has gone has no visits, hence no place on the list.
PATHS = (
    CLASSIFIED
    + """, per_path AS (
    SELECT path,
           SUM(CASE WHEN day >= {start} THEN visits ELSE 0 END) AS visits,
           SUM(CASE WHEN day >= {start} AND day < {complete_end} THEN visits ELSE 0 END) AS complete,
           SUM(CASE WHEN day < {previous_end} THEN visits ELSE 0 END) AS previous,
           SUM(CASE WHEN day < {start} THEN visits ELSE 0 END) AS before
    FROM classified WHERE kind = 0 GROUP BY path
), ranked AS (
    SELECT path, visits, complete, previous, before,
           ROW_NUMBER() OVER (ORDER BY visits DESC, path{code_point_order}) AS place,
           SUM(CASE WHEN visits > 0 THEN 1 ELSE 0 END) OVER () AS path_count
    FROM per_path
)
SELECT path, visits, complete, previous, before, path_count FROM ranked
WHERE (visits > 0 AND place <= {limit})
    OR complete - previous >= {min_change} OR previous - complete >= {min_change}
ORDER BY place"""
)

CELLS = (
    CLASSIFIED
    + """
SELECT day, path, SUM(visits) AS visits FROM classified
WHERE kind = 0 AND path IN ({paths}) GROUP BY day, path"""
)

# Rows that no window holds. Two index lookups, not a scan: one for NULL, one beyond the end.
ROWS_WITHOUT_DATE = "SELECT 6 AS kind, COUNT(*) AS stored_rows FROM {relation} WHERE {stored_date} IS NULL"
ROWS_AFTER_END = """
SELECT CASE WHEN {day} IS NULL THEN 1 ELSE 7 END AS kind, COUNT(*) AS stored_rows
FROM {relation} WHERE {stored_date} >= {end} GROUP BY CASE WHEN {day} IS NULL THEN 1 ELSE 7 END"""


@dataclass(frozen=True)
class DailyReading:
    """What :func:`read_daily` found.

    ``visits`` has an entry for each date with any stored row, ascending. ``notes`` maps a kind of bad
    row to how many there are. ``rows`` counts the good rows.
    """

    visits: Mapping[date, int]
    notes: Counter[str]
    rows: int

    def sum_over(self, span: Span) -> int:
        """Return the visits of all recorded dates in ``span``."""
        return sum(visits for day, visits in self.visits.items() if span.first <= day <= span.last)


class PathTotals(NamedTuple):
    """Visits of one path: the row that the engine returns, and the only form of it up to the page.

    ``visits`` are in the window, ``complete`` on its complete days, ``previous`` on the same dates of the
    previous window, ``before`` in the whole previous window.
    """

    path: str
    visits: int
    complete: int
    previous: int
    before: int

    @property
    def difference(self) -> int:
        """Visits on the complete days minus those on their previous dates."""
        return self.complete - self.previous

    @property
    def change(self) -> float | None:
        """The same as a relative change, as :func:`relative_change` returns it."""
        return relative_change(self.complete, self.previous)

    def share(self, total: int) -> float:
        """Return the path's part of ``total``, the visits of its window: 0.0 to 1.0."""
        return self.visits / max(total, 1)


def relative_change(current: int, previous: int) -> float | None:
    """Return ``current / previous - 1``, or ``None`` where ``previous`` is 0."""
    return current / previous - 1 if previous else None


@dataclass(frozen=True)
class PathsReading:
    """What :func:`read_paths` found.

    ``rows`` come while they are read, most visits first, ties in code-point order: the first ``limit``
    paths of the window and every path whose change is large enough to be named. ``path_count`` counts
    the window's paths, listed or not.
    """

    rows: Iterator[PathTotals]
    path_count: int


class Cell(NamedTuple):
    """Visits of one path on one date."""

    date: date
    path: str
    visits: int


def read_daily(source: Source, span: Span) -> DailyReading:
    """Sum visits and count rows by date over ``span``.

    Raises:
        SourceError: the visits of the whole span do not fit 64 bits.

    """
    visits: dict[date, int] = {}
    notes: Counter[str] = Counter()
    good_rows = 0
    for stored_day, kind, total, stored_rows in _run(source, DAILY, **_range(source, span)):
        if stored_day is not None:
            day = _date(stored_day)
            visits[day] = visits.get(day, 0) + (_int64(total, source) if kind == GOOD else 0)
        if kind == GOOD:
            good_rows += int(stored_rows)
        else:
            notes[KINDS[kind]] += int(stored_rows)
    _int64(sum(visits.values()), source)  # so every smaller sum fits too: good visits are never negative
    return DailyReading(dict(sorted(visits.items())), notes, good_rows)


def read_paths(source: Source, window: Window, limit: int, min_change: int) -> PathsReading:
    """Sum visits by path over ``window`` and its previous window.

    ``limit`` is how many paths are listed; ``min_change`` the change from which on a path is kept anyway.
    """
    span, previous = window.span, window.previous
    complete, complete_previous = window.complete, window.complete_previous
    value = source.dialect.date_value
    found = _run(
        source,
        PATHS,
        **_range(source, Span(previous.first, span.last)),
        start=value(span.first),
        complete_end=value(complete.end if complete else span.first),
        previous_end=value(complete_previous.end if complete_previous else previous.first),
        limit=limit,
        min_change=min_change,
    )
    first, fitting = list(islice(found, 1)), partial(_int64, source=source)
    rows = (PathTotals(path, *map(fitting, totals)) for path, *totals, _ in chain(first, found))
    return PathsReading(rows, int(first[0][-1]) if first else 0)


def read_cells(source: Source, span: Span, paths: Sequence[str]) -> list[Cell]:
    """Sum visits by date and path over ``span`` for ``paths`` only.

    Sorted by date, then path; pairs without visits are absent.
    """
    names = {f"path_{n}": path for n, path in enumerate(paths)}
    listed = ", ".join(map(source.dialect.placeholder, names)) or "NULL"
    return sorted(
        Cell(_date(day), path, _int64(total, source))
        for day, path, total in _run(source, CELLS, {"paths": listed}, **_range(source, span), **names)
    )


def read_rows_out_of_range(source: Source, span: Span, *, include_future: bool) -> Counter[str]:
    """Count rows without a date and, with ``include_future``, rows dated after ``span``, by kind."""
    found = list(_run(source, ROWS_WITHOUT_DATE))
    if include_future:
        found += _run(source, ROWS_AFTER_END, end=source.dialect.date_value(span.end))
    notes: Counter[str] = Counter()
    for kind, stored_rows in found:
        notes[KINDS[kind]] += int(stored_rows)
    return +notes


def _run(
    source: Source, statement: str, pieces: Mapping[str, str] | None = None, **values: Any
) -> Iterator[Sequence[Any]]:
    """Spell ``statement`` for the engine and run it with ``values`` bound by name."""
    dialect = source.dialect
    sql = statement.format(
        relation=dialect.relation,
        stored_date=dialect.stored_date,
        day=dialect.day,
        path=dialect.path,
        visits=dialect.visits,
        stored_visits=dialect.stored_visits,
        code_point_order=dialect.code_point_order,
        **{name: dialect.placeholder(name) for name in values},
        **(pieces or {}),
    )
    return source.rows(sql, values)


def _range(source: Source, span: Span) -> dict[str, Any]:
    value = source.dialect.date_value
    return {"first": value(span.first), "end": value(span.end)}


def _date(stored: date | str) -> date:
    return date.fromisoformat(stored) if isinstance(stored, str) else stored


def _int64(total: Any, source: Source) -> int:
    """Return an engine's sum as an int that fits 64 bits.

    Engines sum wider than 64 bits (numeric, hugeint) or fall back to floats; both must not wrap
    around unseen further down.
    """
    if isinstance(total, float) or not 0 <= int(total) <= MAX_INT64:
        raise SourceError(
            f"{source.name}: the visits add up to more than 64 bits hold ({MAX_INT64:,}). "
            "Look for a wrong count in the table, or scale the counts with [source] query"
        )
    return int(total)
