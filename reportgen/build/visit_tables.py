"""Decide from the columns and the first rows of a table whether it holds visits, and how they are read.

A table qualifies by its columns: a date and a path, and a number of visits unless each row is one hit.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from reportgen.sources.base import quoted_identifier, usual_column
from reportgen.sources.spellings import EPOCH, DateReader, fitting_formats, number_of, number_reader

USUAL_TABLES = ("metrics", "visits", "pageviews", "page_views", "views", "hits", "requests", "events")
"""Names of tables of visits, the best first."""
DEFAULTS = {"", "main", "metrics", "public"}
"""Names of schemas and tables that settings need not have."""
FEW_ROWS = 20
"""Number of rows below which different dates and paths do not mean that rows are counts."""
LOG_RANK, HITS_RANK, DOUBT_RANK = 15, 20, 40
"""Ranks of logs, of tables whose rows are hits, and of those that may be; a smaller one is offered first."""
NUMBERS = "int|num|dec|float|double|real"
NOT_COUNTS = re.compile(
    "(id|key|code|port|.number)$|(^|_)(no|nr|ip|ms|sec)$|^(is|has|row|age$)|status|duration|time(?!s$)|byte|size"
    "|length|width|height|zip|postal|latitude|longitude|version|rank|position|depth|level|score|rate|price|hash"
    "|type|^(year|month|week|day|hour|minute|second)|of_?(year|month|week|day|hour)$"
)
"""Names of columns whose numbers are not counted: they name, measure or order something."""
USER_AGENTS = {"user_agent", "useragent", "user-agent", "http_user_agent", "ua", "agent"}
"""Names of columns of user agents, in lower case."""
ROBOT_WORDS = ("bot", "crawl", "spider", "http")
"""What most robots have in their user agents, the last in the address of a page about them."""
BROWSER = re.compile(f"Mozilla/(?i:(?!.*(?:{'|'.join(ROBOT_WORDS)})))")
"""What the user agents of browsers match, and those of most robots do not."""


class Column(NamedTuple):
    """A column of a table; ``kind`` is its type in lower case, or empty if it is not known.

    ``grant`` is the statement without which it may not be read.
    """

    name: str
    kind: str
    grant: str = ""


class Table(NamedTuple):
    """A table: its schema, its name, its columns, and its first rows if it has a date and a path.

    ``grant`` is the statement without which its visits may not be read.
    """

    schema: str
    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]] = ()
    grant: str = ""

    def values(self, name: str) -> list[Any]:
        """Return the values of a column in the first rows."""
        at = [each.name for each in self.columns].index(name)
        return [row[at] for row in self.rows]


@dataclass(frozen=True)
class FoundSource:
    """A table, file or log that may hold visits: its settings in ``[source]``, what it is, and why.

    ``rivals`` is the number of other settings that fit the same table as well. ``doubt`` is what to check if
    it is chosen without a question.
    """

    settings: Mapping[str, Any]
    what: str
    why: str
    rank: int
    rivals: int = 0
    doubt: str = ""


def roles_of(columns: Sequence[Column]) -> tuple[str | None, str | None, str | None]:
    """Return the columns of date, path and visits, by their names and types."""
    day = _named("date", columns, "") or next(
        (each.name for each in columns if each.kind.startswith(("date", "timestamp"))), None
    )
    return day, _named("path", columns, "char|text|string"), _named("visits", columns, NUMBERS)


def readings_of(table: Table) -> Iterator[FoundSource]:
    """Yield the settings with which a table looks like visits, with a format if no date is read without."""
    day = roles_of(table.columns)[0]
    dates = [value for value in table.values(day) if value] if day else []
    is_read = any(map(DateReader("UTC", None).day_of, dates))
    formats = [] if is_read or not dates else fitting_formats(map(str, dates))
    for each in _readings(table):
        for form in formats:
            settings = {**each.settings, "date_format": form}
            rivals = each.rivals + len(formats) - 1
            yield replace(each, settings=settings, why=f'{each.why}; dates as "{form}"', rivals=rivals)
        if not formats:
            yield each


def _readings(table: Table) -> Iterator[FoundSource]:
    """Yield the settings that read the columns of a table as visits."""
    day, path, visits = roles_of(table.columns)
    if not day or not path:
        return
    counts = _counts(table, {day, path})
    visits = visits or usual_column("visits", counts)  # numbers as text
    what = f'table "{table.name}"' if table.name else ""
    settings: dict[str, Any] = {"schema": table.schema, "table": table.name}
    settings = {key: value for key, value in settings.items() if value not in DEFAULTS}
    name = table.name.lower()
    known = USUAL_TABLES.index(name) if name in USUAL_TABLES else len(USUAL_TABLES)

    def with_columns(visits: str) -> dict[str, Any]:
        names = {"date": day, "path": path, "visits": visits}
        other = {key: name for key, name in names.items() if key != name}
        return {**settings, **({"columns": other} if other else {})}

    said = f'date in "{day}", path in "{path}", visits in'
    if visits:
        yield FoundSource(with_columns(visits), what, f'{said} "{visits}"', known)
        return
    place = ".".join(map(quoted_identifier, settings.values())) or '"metrics"'
    if len(settings) == 1 and "schema" in settings:
        place += '."metrics"'
    quoted = map(quoted_identifier, (day, path))
    query = "SELECT {} AS date, {} AS path, 1 AS visits FROM {}".format(*quoted, place)
    hits = f'each row is one hit, at "{day}" of "{path}"'
    if agent := _user_agent(table):
        query += f" WHERE {_is_browser(agent)}"
        hits += f', without most robots, by "{agent}"'
    has_times, repeats = _form_of_rows(table, day, path)
    if not counts or (has_times and repeats):
        yield FoundSource({"query": query}, what, hits, HITS_RANK + known)
        return
    # With times of day each row may still be one hit, so nothing is taken without a question.
    rivals = len(counts) - 1 + has_times
    for count in counts:
        doubt = f'the visits are taken from "{count}", the only column that may hold a count'
        why = f'{said} "{count}" if that is their number'
        yield FoundSource(with_columns(count), what, why, DOUBT_RANK + known, rivals, doubt)
    yield FoundSource({"query": query}, what, f"or {hits}", DOUBT_RANK + known, rivals + 1)


def _user_agent(table: Table) -> str | None:
    """Return the column in which browsers name themselves, if the first rows have one that does."""
    named = (each.name for each in table.columns if each.name.lower() in USER_AGENTS)
    return next((each for each in named if any(map(BROWSER.match, map(str, table.values(each))))), None)


def _is_browser(column: str) -> str:
    """Return the condition of docs/sources.md, which leaves out most robots in any engine."""
    name = quoted_identifier(column)
    words = (f"lower({name}) NOT LIKE '%{word}%'" for word in ROBOT_WORDS)
    return " AND ".join([f"{name} LIKE 'Mozilla/%'", *words])


def _counts(table: Table, others: Collection[str]) -> list[str]:
    """Return the columns that may hold numbers of visits.

    A key, a status, a port or a duration is a number that counts nothing, and so is a flag of 0 and 1.
    """
    found = []
    for name, kind, *_ in table.columns:
        short = re.sub("[ -]", "_", name.lower())
        fits = not kind or re.search(f"{NUMBERS}|char|text", kind)
        if name in others or not fits or NOT_COUNTS.search(short):
            continue
        numbers = {_whole(value) for value in table.values(name) if value not in {None, ""}}
        is_flag = 0 in numbers and numbers <= {0, 1}
        are_whole = all(number is not None and number >= 0 for number in numbers)
        if (numbers and are_whole and not is_flag) or (not table.rows and re.search(NUMBERS, kind)):
            found.append(name)
    return found


def _whole(value: Any) -> int | None:
    """Return the whole number that a value is or spells, or ``None``."""
    return number_of(str(value), number_reader(None), None) if not isinstance(value, bool) else None


def _form_of_rows(table: Table, day: str, path: str) -> tuple[bool, bool]:
    """Return whether dates have times of day other than whole hours, and whether a date has a path twice.

    Few rows without a path twice on a date say nothing: the second is true then.
    """
    if not table.rows:
        kind = next(each.kind for each in table.columns if each.name == day)
        return kind.startswith(("timestamp", "datetime")), True
    days, paths = (table.values(name) for name in (day, path))
    moments = list(map(_day_and_time, days))
    pairs = {(date, path) for (date, _), path in zip(moments, paths, strict=True)}
    return any(has_time for _, has_time in moments), len(pairs) < len(days) or len(days) < FEW_ROWS


def _day_and_time(value: Any) -> tuple[str, bool]:
    """Return the date of a stored date as text, and whether it has a time other than a whole hour."""
    if match := re.fullmatch(EPOCH, str(value)):
        return str(int(match[1]) // 86400), int(match[1]) % 3600 > 0
    return re.split("[T ]", str(value))[0], bool(re.search(":(?!00)[0-9]{2}", str(value)))


def _named(key: str, columns: Sequence[Column], kinds: str) -> str | None:
    """Return the column that has one of the usual names of ``key``, and a type that fits or is not known."""
    return usual_column(key, [each.name for each in columns if not each.kind or re.search(kinds, each.kind)])
