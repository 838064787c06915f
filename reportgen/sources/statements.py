"""The SQL statements of a build: written once here, and run by every engine.

===================== =========================================== ==============================
statement             result                                      run by
===================== =========================================== ==============================
``DAILY``             visits and number of rows of each date      :func:`read_daily`
``PATHS``             visits of each path in a window             :func:`read_paths`
``CELLS``             visits of each date and path, for few paths :func:`read_cells`
``…_BY_RULES``        the same three if there are path rules      the same
``STORED_PATHS``      visits of each stored path                  :func:`read_stored_paths`
``ROWS_WITHOUT_DATE`` number of rows whose date cannot be read    :func:`read_rows_out_of_range`
``ROWS_AFTER_END``    number of rows dated after today            :func:`read_rows_out_of_range`
``EXAMPLE``           one bad row of a kind, if there is one      :func:`read_bad_row`
``NEWEST``            the newest date before a date               :func:`read_newest_before`
``LEFT_OUT``          requests that an import left out            :func:`read_imported_left_out`
===================== =========================================== ==============================

The engine sums and counts. Only the sums and counts arrive here, so the memory of a build does not grow with
the table. ``{day}``, ``{path}`` and other parts are replaced by the SQL of the engine's
:class:`~reportgen.sources.base.Dialect`; ``{first}``, ``{end}`` and other values are bound as parameters.
No name in the statements is a reserved word of a tested engine.

The first three statements begin with ``CLASSIFIED``, which gives each row between two dates a number, its
*kind*. Kind 0 is a good row: it has a date, a path and a whole number of visits that is not negative. Every
other kind is a bad row, and :data:`KINDS` names the reason. A bad row adds no visits. Bad rows are counted by
kind, and the report shows the counts as notes, each with a row as an example.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain, islice
from typing import Any, NamedTuple

from reportgen.core.errors import SourceError
from reportgen.core.path_rules import EXCLUDED
from reportgen.core.windows import Span, Window
from reportgen.sources.base import REASONS, LeftOut, Source
from reportgen.sources.spellings import date_advice, number_advice

GOOD = 0
"""The kind of a good row."""
INVALID_DATE, NULL_DATE, FUTURE_DATE = 1, 6, 7
KINDS = {
    INVALID_DATE: "invalid_date",
    2: "null_path",
    3: "null_visits",
    4: "invalid_visits",
    5: "negative_visits",
    NULL_DATE: "null_date",
    FUTURE_DATE: "future_date",
}
"""The name of each kind of bad row, as notes and ``report.json`` show it."""
MAX_INT64 = 2**63 - 1
MAX_FORMS = 20
"""Maximum number of forms of a path that ``paths.csv`` lists."""
PATHS_WITH_FORMS = 1000
"""Number of paths, from the most visited on, whose forms are read."""

KIND = """CASE WHEN {day} IS NULL THEN 1
                WHEN {path} IS NULL THEN 2
                WHEN {stored_visits} IS NULL THEN 3
                WHEN {visits} IS NULL THEN 4
                WHEN {visits} < 0 THEN 5
                ELSE 0 END"""
IN_RANGE = "{stored_date} >= {first} AND {stored_date} < {end}"
IN_TWO_RANGES = (
    "({stored_date} >= {first} AND {stored_date} < {first_range_end}"
    " OR {stored_date} >= {second_range} AND {stored_date} < {end})"
)
CLASSIFIED = f"""
WITH classified AS (
    SELECT {{day}} AS day, {{path}} AS path, {{visits}} AS visits,
           {KIND} AS kind
    FROM {{relation}}
    WHERE {IN_RANGE}
)"""

DAILY = (
    CLASSIFIED
    + """
SELECT day, kind, SUM(CASE WHEN kind = 0 THEN visits ELSE 0 END) AS total, COUNT(*) AS stored_rows
FROM classified GROUP BY day, kind"""
)

# One row a path: visits in the window, on its days that are compared, on the dates that these are compared
# with, and on all earlier dates of the comparison. A path after the first {limit} is returned only if its
# visits changed by {min_change} or more. For a path without visits in the window, the change alone decides.
PER_PATH = (
    CLASSIFIED
    + """, per_path AS (
    SELECT path,
           SUM(CASE WHEN day >= {start} THEN visits ELSE 0 END) AS total,
           SUM(CASE WHEN {on_compared} THEN visits ELSE 0 END) AS complete,
           SUM(CASE WHEN {on_previous} THEN visits ELSE 0 END) AS previous,
           SUM(CASE WHEN day < {whole_previous_end} THEN visits ELSE 0 END) AS whole_previous
    FROM classified WHERE kind = 0 GROUP BY path
)"""
)
PATHS = (
    PER_PATH
    + """, ranked AS (
    SELECT path, total, complete, previous, whole_previous,
           ROW_NUMBER() OVER (ORDER BY total DESC, path{code_point_order}) AS place,
           SUM(CASE WHEN total > 0 THEN 1 ELSE 0 END) OVER () AS path_count
    FROM per_path
)
SELECT path, total, complete, previous, whole_previous, path_count FROM ranked
WHERE (total > 0 AND place <= {limit})
    OR complete - previous >= {min_change} OR previous - complete >= {min_change}
ORDER BY place"""
)

# The same with path rules. The first rows are forms: stored paths that become one of the first
# {paths_with_forms} paths, at most {forms} of each, most visited first. The next row, whose path is NULL,
# sums what the rules leave out.
PATHS_BY_RULES = (
    PER_PATH
    + """, stored AS (
    SELECT path AS form, total, complete, previous, whole_previous FROM per_path
), ruled AS MATERIALIZED (
    SELECT form, path, total, complete, previous, whole_previous FROM {by_rules}
), merged AS (
    SELECT path, CASE WHEN path IS NULL THEN 0 ELSE 1 END AS is_kept,
           SUM(total) AS total, SUM(complete) AS complete, SUM(previous) AS previous,
           SUM(whole_previous) AS whole_previous, SUM(CASE WHEN total > 0 THEN 1 ELSE 0 END) AS form_count
    FROM ruled GROUP BY path
), ranked AS MATERIALIZED (
    SELECT path, is_kept, total, complete, previous, whole_previous, form_count,
           ROW_NUMBER() OVER (PARTITION BY is_kept ORDER BY total DESC, path{code_point_order}) AS place,
           SUM(CASE WHEN total > 0 THEN is_kept ELSE 0 END) OVER () AS path_count
    FROM merged
), forms AS (
    SELECT path, form,
           ROW_NUMBER() OVER (PARTITION BY path ORDER BY total DESC, form{code_point_order}) AS place
    FROM ruled
    WHERE total > 0 AND path IN (SELECT path FROM ranked WHERE is_kept = 1 AND place <= {paths_with_forms})
)
SELECT path, 0 AS total, 0 AS complete, 0 AS previous, 0 AS whole_previous, 0 AS path_count, 0 AS form_count,
       form, -1 AS is_kept, place
FROM forms WHERE place <= {forms}
UNION ALL
SELECT path, total, complete, previous, whole_previous, path_count, form_count, NULL AS form, is_kept, place
FROM ranked
WHERE is_kept = 0 OR (total > 0 AND place <= {limit})
    OR complete - previous >= {min_change} OR previous - complete >= {min_change}
ORDER BY is_kept, place"""
)

# The relation is read twice: a CTE that is used twice would be stored.
STORED = f""", stored AS (
    SELECT DISTINCT {{path}} AS form FROM {{relation}} WHERE {IN_RANGE} AND {{path}} IS NOT NULL
)"""
DAILY_BY_RULES = (
    CLASSIFIED
    + STORED
    + """, ruled AS MATERIALIZED (
    SELECT form, section FROM {by_rules}
), forms AS MATERIALIZED (
    SELECT form, section FROM ruled WHERE section <> 0
)
SELECT day, kind, COALESCE(section, 0) AS section,
       SUM(CASE WHEN kind = 0 THEN visits ELSE 0 END) AS total, COUNT(*) AS stored_rows
FROM classified LEFT JOIN forms ON form = path AND kind = 0 GROUP BY day, kind, COALESCE(section, 0)"""
)

CELLS = (
    CLASSIFIED
    + """
SELECT day, path, SUM(visits) AS total FROM classified
WHERE kind = 0 AND path IN ({paths}) GROUP BY day, path"""
)

CELLS_BY_RULES = (
    CLASSIFIED
    + STORED
    + """, ruled AS MATERIALIZED (
    SELECT form, path AS shown FROM {by_rules}
), forms AS MATERIALIZED (
    SELECT form, shown FROM ruled WHERE shown IN ({paths})
)
SELECT day, shown, SUM(visits) AS total FROM classified JOIN forms ON form = path
WHERE kind = 0 GROUP BY day, shown"""
)

STORED_PATHS = (
    CLASSIFIED
    + """
SELECT path, SUM(visits) AS total FROM classified WHERE kind = 0 GROUP BY path
ORDER BY total DESC, path{code_point_order}"""
)

# Rows that are in no window. Two statements, because an engine uses its index on the date for each of them.
# ``stored_date`` may be the day that was read from ``raw_date``, and NULL if that is not a date.
ROWS_WITHOUT_DATE = """
SELECT CASE WHEN {raw_date} IS NULL THEN 6 ELSE 1 END AS kind, COUNT(*) AS stored_rows
FROM {relation} WHERE {stored_date} IS NULL GROUP BY CASE WHEN {raw_date} IS NULL THEN 6 ELSE 1 END"""
ROWS_AFTER_END = """
SELECT CASE WHEN {day} IS NULL THEN 1 ELSE 7 END AS kind, COUNT(*) AS stored_rows
FROM {relation} WHERE {stored_date} >= {end} GROUP BY CASE WHEN {day} IS NULL THEN 1 ELSE 7 END"""

# The first bad row of a kind, by its stored values.
EXAMPLE = """
WITH bad AS (
    SELECT {raw_date} AS bad_date, {path} AS path, {stored_visits} AS bad_visits,
           ROW_NUMBER() OVER (ORDER BY {raw_date}, {path}{code_point_order}, {stored_visits}) AS place
    FROM {relation} WHERE {condition}
)
SELECT bad_date, path, bad_visits FROM bad WHERE place = 1"""
WITHOUT_DATE = {
    "invalid_date": "{raw_date} IS NOT NULL AND {day} IS NULL",
    "null_date": "{raw_date} IS NULL",
    "future_date": "{stored_date} >= {end} AND {day} IS NOT NULL",
}
"""The conditions of the kinds of bad rows that may be outside the dates that are read."""

# For ``reportgen check``. Written so that an engine finds the date at the end of its index.
NEWEST = """
SELECT MAX({day}) AS newest FROM {relation} WHERE {stored_date} = (
    SELECT MAX({stored_date}) FROM {relation} WHERE {stored_date} < {first}
)"""

# What ``reportgen import`` keeps beside the visits.
LEFT_OUT = """
SELECT reason, SUM(requests) AS total FROM {left_out} WHERE date >= {first} AND date <= {last}
GROUP BY reason HAVING SUM(requests) > 0"""


@dataclass(frozen=True)
class DailyReading:
    """The result of :func:`read_daily`.

    ``visits`` maps each date that has a row, good or bad, to its visits, by ascending date. ``notes`` maps a
    kind of bad row to the number of such rows. ``good_rows`` maps each date to its number of good rows.
    ``sections`` maps the name of each section to its visits by date. What the path rules leave out is only in
    ``good_rows``.
    """

    visits: Mapping[date, int]
    notes: Counter[str]
    good_rows: Counter[date]
    sections: Mapping[str, Mapping[date, int]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of good rows."""
        return self.good_rows.total()

    def sum_over(self, span: Span) -> int:
        """Return the sum of the visits on the dates of ``span``."""
        return sum(visits for day, visits in self.visits.items() if span.first <= day <= span.last)


class PathTotals(NamedTuple):
    """Visits of one path: the row that the engine returns, and the only form of it up to the page.

    ``visits`` are those in the window, ``complete`` those on its days that are compared, ``previous`` those
    on the dates that these are compared with, and ``before`` those on all earlier dates of the comparison.
    """

    path: str
    visits: int
    complete: int
    previous: int
    before: int

    @property
    def difference(self) -> int:
        """Visits on the days that are compared minus those on their previous dates."""
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
    """The result of :func:`read_paths`.

    ``rows`` yields paths while they are read, by descending visits, then by Unicode code points: the first
    ``limit`` paths of the window, and every path that changed by ``min_change`` visits or more.
    ``path_count`` is the number of paths with visits in the window, listed or not. ``excluded`` has the
    number and the visits of the stored paths that the rules leave out. ``forms`` has the first
    stored paths that the rules make a path of, most visited first; it is ``None`` if no rule merges paths.
    """

    rows: Iterator[PathTotals]
    path_count: int
    excluded: tuple[int, int] = (0, 0)
    forms: Mapping[str, Sequence[str]] | None = None


class Cell(NamedTuple):
    """Visits of one path on one date."""

    date: date
    path: str
    visits: int


def read_daily(source: Source, span: Span) -> DailyReading:
    """Return the visits of each date of ``span``, and the number of good and bad rows.

    Raises:
        SourceError: the visits of the whole span do not fit 64 bits.

    """
    visits: dict[date, int] = {}
    notes: Counter[str] = Counter()
    good_rows: Counter[date] = Counter()
    names = [name for name, _ in source.rules.sections]
    sections: dict[str, dict[date, int]] = {name: {} for name in names}
    if source.rules.by_date:
        parts = {"by_rules": source.by_rules("stored")}
        found = _execute(source, DAILY_BY_RULES, parts, **_span_bounds(source, span))
    else:
        plain = _execute(source, DAILY, **_span_bounds(source, span))
        found = ([day, kind, 0, *sums] for day, kind, *sums in plain)
    # Engines group in any order, and the fingerprint of a build must not depend on it.
    rows = sorted(found, key=lambda row: (str(row[0]), *row[1:3]))
    for stored_day, kind, section, total, stored_rows in rows:
        is_shown = kind == GOOD and section != EXCLUDED
        if stored_day is not None:
            day = _date(stored_day)
            visits[day] = visits.get(day, 0) + (_int64(total, source) if is_shown else 0)
        if section > 0:
            sections[names[section - 1]][day] = int(total)
        if kind == GOOD:
            good_rows[day] += int(stored_rows)
        else:
            notes[KINDS[kind]] += int(stored_rows)
    _int64(sum(visits.values()), source)  # visits are never negative, so every other sum is smaller
    return DailyReading(visits, notes, good_rows, sections)


def read_newest_before(source: Source, span: Span) -> date | None:
    """Return the newest date before ``span``, or ``None`` if there is none."""
    first = _span_bounds(source, span)["first"]
    ((newest,),) = _execute(source, NEWEST, first=first)
    return None if newest is None else _date(newest)


def has_older_rows(source: Source, span: Span) -> bool:
    """Return whether the source has rows before ``span``."""
    if source.older_rows:
        return next(source.rows(source.older_rows, {}), None) is not None
    return read_newest_before(source, span) is not None


def read_paths(
    source: Source, window: Window, compared: Sequence[tuple[date, date]], limit: int, min_change: int
) -> PathsReading:
    """Return the visits of each path in ``window`` and on the earlier dates that it is compared with.

    ``compared`` has the dates that are compared, each with its earlier date. ``limit`` is the number of paths
    to list. A path after them is returned too if its visits on these dates differ by ``min_change`` or more.
    """
    span, previous = window.span, window.previous
    value = source.dialect.date_value
    on_compared, compared_values = _on_dates(source, "compared", [day for day, _ in compared])
    on_previous, previous_values = _on_dates(source, "previous", [before for _, before in compared])
    rules, parts = source.rules, {"on_compared": on_compared, "on_previous": on_previous}
    statement, ranges = PATHS_BY_RULES if rules else PATHS, {}
    if previous.end < span.first:  # such as a year before
        statement = statement.replace(IN_RANGE, IN_TWO_RANGES)
        stored_value = source.dialect.stored_date_value
        ranges = {"first_range_end": stored_value(previous.end), "second_range": stored_value(span.first)}
    result = _execute(
        source,
        statement,
        parts | {"by_rules": source.by_rules("stored")} if rules else parts,
        **_span_bounds(source, Span(previous.first, span.last)),
        **ranges,
        **compared_values,
        **previous_values,
        start=value(span.first),
        whole_previous_end=value(previous.end),
        limit=limit,
        min_change=min_change,
        **({"paths_with_forms": PATHS_WITH_FORMS, "forms": MAX_FORMS} if rules else {}),
    )
    to_int64 = partial(_int64, source=source)
    if rules:
        return _merged(result, to_int64, with_forms=rules.merge)
    first = list(islice(result, 1))
    rows = (PathTotals(path, *map(to_int64, totals)) for path, *totals, _ in chain(first, result))
    return PathsReading(rows, int(first[0][-1]) if first else 0)


def _on_dates(source: Source, name: str, dates: Sequence[date]) -> tuple[str, dict[str, Any]]:
    """Return the condition that a row is of one of ascending ``dates``, and the values in it."""
    if not dates:
        return "day IS NULL", {}
    span = Span(dates[0], dates[-1])
    others = sorted({*span.dates()} - {*dates})
    days = {f"{name}_first": span.first, f"{name}_end": span.end}
    days |= {f"{name}_not_{at}": day for at, day in enumerate(others)}
    values = {key: source.dialect.date_value(day) for key, day in days.items()}
    first, end, *excluded = (source.dialect.placeholder(key, value) for key, value in values.items())
    condition = f"day >= {first} AND day < {end}"
    return condition + (f" AND day NOT IN ({', '.join(excluded)})" if excluded else ""), values


def _merged(
    rows: Iterator[Sequence[Any]], to_int64: Callable[[Any], int], *, with_forms: bool
) -> PathsReading:
    """Return the paths of :data:`PATHS_BY_RULES`, with their forms."""
    forms: dict[str, list[str]] = {}
    excluded, path_count = (0, 0), 0
    for row in rows:
        path, visits, *_, path_count, form_count, form, is_kept, _ = row
        if is_kept > 0:
            rows = chain([row], rows)
            break
        if form is None:
            excluded = int(form_count), to_int64(visits)
        else:
            forms.setdefault(path, []).append(form)
    merged = (PathTotals(path, *map(to_int64, totals[:4])) for path, *totals in rows)
    return PathsReading(merged, int(path_count), excluded, forms if with_forms else None)


def read_cells(source: Source, span: Span, paths: Sequence[str]) -> list[Cell]:
    """Return the visits of each date and path over ``span``, for ``paths`` only.

    The cells are sorted by date, then path. A date and path without good rows has no cell.
    """
    names = {f"path_{n}": path for n, path in enumerate(paths)}
    listed = ", ".join(map(source.dialect.placeholder, names, names.values())) or "NULL"
    statement, parts = CELLS, {"paths": listed}
    if source.rules.merge:  # otherwise the shown paths are stored paths
        statement, parts = CELLS_BY_RULES, parts | {"by_rules": source.by_rules("stored")}
    return sorted(
        Cell(_date(day), path, _int64(total, source))
        for day, path, total in _execute(source, statement, parts, **_span_bounds(source, span), **names)
    )


def read_stored_paths(source: Source, span: Span) -> Iterator[tuple[str, int]]:
    """Yield each stored path with its visits over ``span``, most visits first, as it is without rules."""
    for path, total in _execute(source, STORED_PATHS, **_span_bounds(source, span)):
        yield path, _int64(total, source)


def read_imported_left_out(source: Source, spans: Sequence[Span]) -> list[list[LeftOut]]:
    """Return the requests that an import left out in each of ``spans``; nothing if they cannot be read."""
    table, value = source.left_out_table(), source.dialect.date_value
    if table is None:
        return []
    found = []
    for span in spans:
        bounds = {"first": value(span.first), "last": value(span.last)}
        requests = {
            reason: int(total) for reason, total in _execute(source, LEFT_OUT, {"left_out": table}, **bounds)
        }
        found.append([LeftOut(reason, "", "", requests[reason]) for reason in REASONS if reason in requests])
    return found


def read_rows_out_of_range(source: Source, span: Span, *, include_future: bool) -> Counter[str]:
    """Count rows without a date and, with ``include_future``, rows dated after ``span``, by kind."""
    counted = list(_execute(source, ROWS_WITHOUT_DATE))
    if include_future:
        counted += _execute(source, ROWS_AFTER_END, end=source.dialect.stored_date_value(span.end))
    notes: Counter[str] = Counter()
    for kind, stored_rows in counted:
        notes[KINDS[kind]] += int(stored_rows)
    return +notes


def read_bad_row(source: Source, span: Span, kind: str) -> Sequence[Any] | None:
    """Return the stored date, path and visits of a bad row of ``kind``, or ``None`` if there is none."""
    condition = WITHOUT_DATE.get(kind)
    if condition is None:
        number = next(number for number, name in KINDS.items() if name == kind)
        condition = f"{IN_RANGE} AND {KIND} = {number}"
    bounds = _span_bounds(source, span).items()
    used = {name: value for name, value in bounds if f"{{{name}}}" in condition}
    return next(_execute(source, EXAMPLE.replace("{condition}", condition), **used), None)


def setting_advice(source: Source, kind: str, row: Sequence[Any]) -> str:
    """Return which setting would read a bad row; empty if none is known, or if one is set already."""
    settings, (stored_date, _, stored_visits) = source.settings, row
    if kind == "invalid_date" and source.reads_spellings and not settings.date_format:
        return date_advice([str(stored_date)])
    if kind == "invalid_visits" and source.reads_spellings and not settings.thousands:
        return number_advice(stored_visits) if isinstance(stored_visits, str) else ""
    return ""


def _execute(
    source: Source, statement: str, parts: Mapping[str, str] | None = None, **values: Any
) -> Iterator[Sequence[Any]]:
    """Run ``statement`` in the engine's SQL with ``values`` bound by name; ``parts`` are inserted as SQL."""
    dialect = source.dialect
    sql = statement.format(
        **vars(dialect) | {"raw_date": dialect.raw_date or dialect.stored_date},
        **{name: dialect.placeholder(name, value) for name, value in values.items()},
        **(parts or {}),
    )
    return source.rows(sql, values)


def _span_bounds(source: Source, span: Span) -> dict[str, Any]:
    value = source.dialect.stored_date_value
    return {"first": value(span.first), "end": value(span.end)}


def _date(stored: date | str) -> date:
    return date.fromisoformat(stored) if isinstance(stored, str) else stored


def _int64(total: Any, source: Source) -> int:
    """Return an engine's sum as an int that fits 64 bits.

    Engines return wider sums as numeric, hugeint or float. pandas would overflow without an error.
    """
    if isinstance(total, float) or not 0 <= int(total) <= MAX_INT64:
        raise SourceError(
            f"{source.name}: the visits add up to more than 64 bits hold ({MAX_INT64:,}). "
            "Look for a wrong count in the table, or scale the counts with [source] query"
        )
    return int(total)
