"""The shared statements as SQL of one engine: read as PostgreSQL's and spelled by sqlglot, as Ibis does.

Names, values and an operator's query enter a statement as parts of its syntax tree, never as text: what is
quoted, and how, is the business of the engine's dialect. Whether a stored value is a date or a whole number
is classified by what every SQL has (SUBSTRING, REPLACE, IN, CASE), since each engine has a cast of its
own for
what may fail, and some have none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import sqlglot
from sqlglot import errors
from sqlglot import expressions as sql

from reportgen.core.errors import SourceError
from reportgen.sources.base import Dialect

READ_AS = "postgres"
ALIAS = "stored"
PIECES = {name: f"${name}" for name in ("relation", "stored_date", "day", "path", "visits", "stored_visits")}
"""What stands in a statement for a part of the syntax tree: no name that a table could have by chance."""

LONG_MONTHS = ("01", "03", "05", "07", "08", "10", "12")
DIGITS = tuple("0123456789")
MOST_DIGITS = 38
"""How many digits a decimal of the widest common kind holds."""
DECIMAL = f"DECIMAL({MOST_DIGITS}, 0)"
TOO_MUCH = sql.Literal.number("1e30")

Piece: TypeAlias = Any
"""A part of a syntax tree: ``sqlglot.expressions.Expression``."""
Days = Literal["date", "timestamp", "instant", "text"]
Numbers = Literal["whole", "fraction", "text"]


def _as_it_is(value: Piece) -> Piece:
    return value.copy()


def date_in(value: Piece) -> Piece:
    """Return the date of a timestamp, as stored."""
    return sql.cast(value.copy(), "DATE")


def at_zone(instant: Piece, zone: str) -> Piece:
    """Return what a clock in ``zone`` showed at an instant."""
    return sql.AtTimeZone(this=instant.copy(), zone=sql.Literal.string(zone))


def day_at(instant: Piece, zone: str) -> Piece:
    """Return the date in ``zone`` at an instant."""
    return date_in(at_zone(instant, zone))


@dataclass(frozen=True)
class Words:
    """How one engine says what engines say differently.

    ``exactly`` makes a text be compared byte by byte; ``text`` writes one. ``date``, ``timestamp`` and
    ``instant`` cut a stored date, timestamp or instant to its day, the last in a zone; ``bound`` writes the
    date or datetime that a stored one is compared with. ``number`` makes a whole number one whose sum is wide
    enough, or fails; ``decimal`` is the type that holds :data:`MOST_DIGITS`.
    """

    exactly: Callable[[Piece], Piece] = _as_it_is
    text: Callable[[str], Piece] = sql.Literal.string
    date: Callable[[Piece], Piece] = _as_it_is
    timestamp: Callable[[Piece], Piece] = date_in
    instant: Callable[[Piece, str], Piece] = day_at
    bound: Callable[[Any], Piece] = sql.convert
    number: Callable[[Piece], Piece] = _as_it_is
    decimal: str = DECIMAL


COMMON = Words()


@dataclass(frozen=True)
class Stored:
    """The relation that is read, and how its three columns are stored, by their true names."""

    relation: Piece
    date: str
    path: str
    visits: str
    days: Days
    numbers: Numbers


def dialect_of(stored: Stored) -> Dialect:
    """Return the dialect in which :mod:`reportgen.sources.statements` writes for :func:`spelled`."""
    return Dialect(
        **{name: f'"{token}"' for name, token in PIECES.items()},
        code_point_order="",
        placeholder=":{}".format,
        date_value=date.isoformat if stored.days == "text" else lambda day: day,
    )


def spelled(
    statement: str, values: Mapping[str, Any], stored: Stored, timezone: str, words: Words, dialect: Any
) -> str:
    """Return the statement as SQL of ``dialect``, with every piece and value in its place.

    Raises:
        SourceError: the dialect has no words for it.

    """
    pieces, zone = _pieces(stored, timezone, words), ZoneInfo(timezone)
    tree = sqlglot.parse_one(statement, read=READ_AS)
    for column in tree.find_all(sql.Column):
        other = column.parent and column.parent.args.get("expression")
        if column.name == PIECES["stored_date"] and isinstance(other, sql.Placeholder):
            other.replace(words.bound(_beginning(values[other.name], stored.days, zone)))

    def placed(node: Piece) -> Piece:
        if isinstance(node, sql.Placeholder):
            value = values[node.name]
            return words.text(value) if isinstance(value, str) else sql.convert(value)
        if isinstance(node, sql.Column | sql.Table) and node.name in pieces:
            return pieces[node.name].copy()
        return node

    return text_of(tree.transform(placed), dialect)


def _pieces(stored: Stored, timezone: str, words: Words) -> dict[str, Piece]:
    """Return the part of the tree that each token of a statement stands for."""
    day, path, visits = (_column(name) for name in (stored.date, stored.path, stored.visits))
    stored_date = words.exactly(day) if stored.days == "text" else day
    days: dict[Days, Callable[[], Piece]] = {
        "date": lambda: words.date(day),
        "timestamp": lambda: words.timestamp(day),
        "instant": lambda: words.instant(day, timezone),
        "text": lambda: iso_day(stored_date),
    }
    numbers: dict[Numbers, Callable[[], Piece]] = {
        "whole": lambda: words.number(visits),
        "fraction": lambda: whole_part(visits, words.decimal),
        "text": lambda: spelled_number(visits, words.decimal),
    }
    return {
        PIECES["relation"]: stored.relation,
        PIECES["stored_date"]: stored_date,
        PIECES["day"]: days[stored.days](),
        PIECES["path"]: words.exactly(path),
        PIECES["visits"]: numbers[stored.numbers](),
        PIECES["stored_visits"]: visits,
    }


def _beginning(day: Any, days: Days, zone: ZoneInfo) -> Any:
    """Return the beginning of a day as a value of the stored kind, so that like meets like."""
    if days == "timestamp":
        return datetime.combine(day, time())
    if days == "instant":
        return datetime.combine(day, time(), zone).astimezone(UTC)
    return day


def text_of(tree: Piece, dialect: Any) -> str:
    """Return the tree as SQL of ``dialect``, every name quoted.

    Raises:
        SourceError: the dialect has no words for it.

    """
    try:
        return str(tree.sql(dialect, identify=True, unsupported_level=errors.ErrorLevel.RAISE))
    except errors.UnsupportedError as exc:
        raise SourceError(
            f"source.url: this engine's SQL has no words for it: {exc}. Read through [source] query"
        ) from exc


def table_of(database: Sequence[str], name: str) -> Piece:
    """Return a relation: a table; ``database`` is its catalog and schema, its schema, or nothing."""
    *catalog, schema = database or (None,)
    where = {"db": schema, "catalog": catalog[0] if catalog else None}
    return sql.alias_(sql.table_(name, quoted=True, **where), ALIAS, table=True, quoted=True)


def query_of(query: str, dialect: Any) -> Piece:
    """Return a relation: the operator's query, in the engine's own SQL.

    Raises:
        SourceError: it is no query, or more than one statement.

    """
    try:
        (tree,) = sqlglot.parse(query, read=dialect)
    except (errors.SqlglotError, ValueError) as exc:
        said = str(exc).strip().partition("\n")[0]
        raise SourceError(f"[source] query: not one statement that can be read: {said}") from exc
    if not isinstance(tree, sql.Query) or tree.find(sql.DML, sql.Into, sql.Lock):
        raise SourceError("[source] query: it may only read: write one SELECT")
    return tree.subquery(sql.to_identifier(ALIAS, quoted=True))


def all_of(relation: Piece, dialect: Any) -> str:
    """Return the SQL of ``dialect`` that selects every column of a relation."""
    return text_of(sql.select("*").from_(relation), dialect)


def iso_day(text: Piece) -> Piece:
    """Return the date, as text, of an ISO date or timestamp in text; NULL where it is no date."""
    year, month, day = _part(text, 3, 2), _part(text, 6, 2), _part(text, 9, 2)
    digits = [_part(text, place, 1).isin(*DIGITS) for place in (1, 2, 3, 4)]
    two_digits = [f"{number:02}" for number in range(100)]
    every_fourth = two_digits[::4]
    leap = sql.or_(
        year.isin(*every_fourth[1:]), sql.and_(year.isin("00"), _part(text, 1, 2).isin(*every_fourth))
    )
    last = sql.or_(
        day.isin(*two_digits[1:29]),
        sql.and_(day.isin("29"), sql.or_(month.isin(*two_digits[1:2], *two_digits[3:13]), leap)),
        sql.and_(day.isin("30"), month.isin(*two_digits[1:2], *two_digits[3:13])),
        sql.and_(day.isin("31"), month.isin(*LONG_MONTHS)),
    )
    dashes = [_part(text, place, 1).eq("-") for place in (5, 8)]
    months = month.isin(*two_digits[1:13])
    # One more character than there is comes out as '', or as NULL where '' is NULL.
    rest = sql.or_(sql.func("LENGTH", text).eq(10), sql.and_(_part(text, 11, 1).isin(" ", "T")))
    return _case(sql.and_(*dashes, *digits, months, last, rest), _part(text, 1, 10))


def whole_part(value: Piece, kind: str = DECIMAL) -> Piece:
    """Return a whole number stored as a fraction; NULL for any other. NaN is above, or equal to, nothing."""
    small = sql.and_(_of(value, sql.LT, TOO_MUCH), _of(value, sql.GT, sql.Neg(this=TOO_MUCH.copy())))
    whole = _case(_of(value, sql.EQ, sql.func("FLOOR", value.copy())), decimal(value, kind))
    return _case(small, whole)


def spelled_number(text: Piece, kind: str = DECIMAL) -> Piece:
    """Return the whole number that a text spells, with no sign but a minus; NULL where it spells none."""
    rest: Piece = text
    for digit in DIGITS:
        rest = sql.func("REPLACE", rest, sql.Literal.string(digit), sql.Literal.string(""))
    # Where '' is NULL, so is what is left of digits alone.
    left = sql.func("COALESCE", sql.func("LENGTH", rest), sql.Literal.number(0))
    length = sql.func("LENGTH", text.copy())
    negative = sql.and_(_part(text, 1, 1).eq("-"), left.eq(1), length.copy().between(2, MOST_DIGITS))
    positive = sql.and_(left.copy().eq(0), length.between(1, MOST_DIGITS))
    return _case(sql.or_(positive, negative), decimal(text, kind))


def decimal(value: Piece, kind: str = DECIMAL) -> Piece:
    """Return a value as a decimal, whose sum holds more than 64 bits in every engine."""
    return sql.cast(value.copy(), kind)


def _column(name: str) -> Piece:
    return sql.column(name, table=ALIAS, quoted=True)


def _part(text: Piece, start: int, length: int) -> Piece:
    return sql.Substring(this=text.copy(), start=sql.Literal.number(start), length=sql.Literal.number(length))


def _case(condition: Piece, then: Piece) -> Piece:
    return sql.Case(ifs=[sql.If(this=condition, true=then)])


def _of(value: Piece, comparison: type[Any], other: Piece) -> Piece:
    compared: Piece = comparison(this=value.copy(), expression=other.copy())
    return compared
