"""The shared statements as SQL of one engine, written by sqlglot, the SQL library that Ibis uses.

:mod:`reportgen.sources.statements` is parsed as PostgreSQL's SQL, its parts are replaced in the syntax tree,
and the tree is written as SQL of the engine. Names, values and the operator's query enter as nodes of the
tree, never as text, so the engine's sqlglot dialect quotes them.

Engines differ in the casts that may fail, and some have none. Therefore a text is recognised as a date or
a whole number with functions that every engine has: SUBSTRING, LENGTH, REPLACE, IN and CASE.
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

STATEMENT_DIALECT = "postgres"
"""The sqlglot dialect that parses the shared statements."""
ALIAS = "stored"
"""The alias of the table or query that is read."""
TOKENS = {name: f"${name}" for name in ("relation", "stored_date", "day", "path", "visits", "stored_visits")}
"""Placeholder identifiers in a statement, by the :class:`Dialect` field that they stand for. A table or
column is unlikely to have such a name."""

LONG_MONTHS = ("01", "03", "05", "07", "08", "10", "12")
"""Months of 31 days."""
DIGITS = tuple("0123456789")
MAX_DIGITS = 38
"""Number of digits of the widest decimal type that most engines have."""
DECIMAL = f"DECIMAL({MAX_DIGITS}, 0)"
MAX_MAGNITUDE = sql.Literal.number("1e30")
"""A number of visits at or beyond this value, or its negative, is not valid."""

Expression: TypeAlias = Any
"""A node of a syntax tree: ``sqlglot.expressions.Expression``."""
DateKind = Literal["date", "timestamp", "instant", "text"]
"""How dates are stored. A timestamp has no zone; an instant is a timestamp with one."""
NumberKind = Literal["whole", "fraction", "text"]
"""How visits are stored."""


def _unchanged(value: Expression) -> Expression:
    return value.copy()


def to_date(value: Expression) -> Expression:
    """Return the date of a timestamp without a zone."""
    return sql.cast(value.copy(), "DATE")


def local_time(instant: Expression, zone: str) -> Expression:
    """Return the local time in ``zone`` at an instant."""
    return sql.AtTimeZone(this=instant.copy(), zone=sql.Literal.string(zone))


def local_date(instant: Expression, zone: str) -> Expression:
    """Return the local date in ``zone`` at an instant."""
    return to_date(local_time(instant, zone))


@dataclass(frozen=True)
class Syntax:
    """The parts of SQL that engines write differently; each default suits most engines.

    - ``exact_text`` makes an engine compare and sort a text by its bytes.
    - ``text_literal`` returns the literal of a text.
    - ``date``, ``timestamp`` and ``instant`` return the date of a stored date, timestamp or instant. The last
      takes the name of the time zone as its second argument.
    - ``date_value`` returns the literal that a stored date, timestamp or instant is compared with.
    - ``integer`` returns a stored whole number as a type whose sum holds more than 64 bits, or whose overflow
      is an error.
    - ``decimal_type`` is the type that holds :data:`MAX_DIGITS` digits.
    """

    exact_text: Callable[[Expression], Expression] = _unchanged
    text_literal: Callable[[str], Expression] = sql.Literal.string
    date: Callable[[Expression], Expression] = _unchanged
    timestamp: Callable[[Expression], Expression] = to_date
    instant: Callable[[Expression, str], Expression] = local_date
    date_value: Callable[[Any], Expression] = sql.convert
    integer: Callable[[Expression], Expression] = _unchanged
    decimal_type: str = DECIMAL


COMMON_SYNTAX = Syntax()


@dataclass(frozen=True)
class StoredTable:
    """The table or query that is read, the names of its three columns, and how two of them are stored."""

    relation: Expression
    date: str
    path: str
    visits: str
    date_kind: DateKind
    number_kind: NumberKind


def token_dialect(stored: StoredTable) -> Dialect:
    """Return the dialect that puts :data:`TOKENS` into a statement for :func:`render_statement`."""
    return Dialect(
        **{name: f'"{token}"' for name, token in TOKENS.items()},
        code_point_order="",
        placeholder=":{}".format,
        date_value=date.isoformat if stored.date_kind == "text" else lambda day: day,
    )


def render_statement(
    statement: str,
    values: Mapping[str, Any],
    stored: StoredTable,
    timezone: str,
    syntax: Syntax,
    dialect: Any,
) -> str:
    """Return the statement as SQL of ``dialect``, with each token and each placeholder replaced.

    Raises:
        SourceError: the dialect cannot express the statement.

    """
    replacements, zone = _replacements(stored, timezone, syntax), ZoneInfo(timezone)
    tree = sqlglot.parse_one(statement, read=STATEMENT_DIALECT)
    for column in tree.find_all(sql.Column):
        other = column.parent and column.parent.args.get("expression")
        if column.name == TOKENS["stored_date"] and isinstance(other, sql.Placeholder):
            other.replace(syntax.date_value(_start_of_day(values[other.name], stored.date_kind, zone)))

    def replace(node: Expression) -> Expression:
        if isinstance(node, sql.Placeholder):
            value = values[node.name]
            return syntax.text_literal(value) if isinstance(value, str) else sql.convert(value)
        if isinstance(node, sql.Column | sql.Table) and node.name in replacements:
            return replacements[node.name].copy()
        return node

    return render_sql(tree.transform(replace), dialect)


def _replacements(stored: StoredTable, timezone: str, syntax: Syntax) -> dict[str, Expression]:
    """Return the expression that replaces each token of :data:`TOKENS`."""
    day, path, visits = (_column(name) for name in (stored.date, stored.path, stored.visits))
    stored_date = syntax.exact_text(day) if stored.date_kind == "text" else day
    dates: dict[DateKind, Callable[[], Expression]] = {
        "date": lambda: syntax.date(day),
        "timestamp": lambda: syntax.timestamp(day),
        "instant": lambda: syntax.instant(day, timezone),
        "text": lambda: text_to_iso_date(stored_date),
    }
    numbers: dict[NumberKind, Callable[[], Expression]] = {
        "whole": lambda: syntax.integer(visits),
        "fraction": lambda: fraction_to_integer(visits, syntax.decimal_type),
        "text": lambda: text_to_integer(visits, syntax.decimal_type),
    }
    return {
        TOKENS["relation"]: stored.relation,
        TOKENS["stored_date"]: stored_date,
        TOKENS["day"]: dates[stored.date_kind](),
        TOKENS["path"]: syntax.exact_text(path),
        TOKENS["visits"]: numbers[stored.number_kind](),
        TOKENS["stored_visits"]: visits,
    }


def _start_of_day(day: Any, kind: DateKind, zone: ZoneInfo) -> Any:
    """Return the start of a day as a value of the stored kind, so that no engine has to cast the column."""
    if kind == "timestamp":
        return datetime.combine(day, time())
    if kind == "instant":
        return datetime.combine(day, time(), zone).astimezone(UTC)
    return day


def render_sql(tree: Expression, dialect: Any) -> str:
    """Return the tree as SQL of ``dialect``, with every name quoted.

    Raises:
        SourceError: the dialect cannot express the tree.

    """
    try:
        return str(tree.sql(dialect, identify=True, unsupported_level=errors.ErrorLevel.RAISE))
    except errors.UnsupportedError as exc:
        raise SourceError(
            f"source.url: this engine's SQL cannot express a statement of the build: {exc}. "
            "Convert the columns with [source] query"
        ) from exc


def table_relation(database: Sequence[str], name: str) -> Expression:
    """Return the table as a relation. ``database`` is ``(catalog, schema)``, ``(schema,)`` or ``()``."""
    *catalog, schema = database or (None,)
    where = {"db": schema, "catalog": catalog[0] if catalog else None}
    return sql.alias_(sql.table_(name, quoted=True, **where), ALIAS, table=True, quoted=True)


def query_relation(query: str, dialect: Any) -> Expression:
    """Return the operator's query, written in the engine's own SQL, as a relation.

    Raises:
        SourceError: it is not one statement, or not a query.

    """
    try:
        (tree,) = sqlglot.parse(query, read=dialect)
    except (errors.SqlglotError, ValueError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise SourceError(f"[source] query: not one statement that can be read: {reason}") from exc
    if not isinstance(tree, sql.Query) or tree.find(sql.DML, sql.Into, sql.Lock):
        raise SourceError("[source] query: it may only read: write one SELECT")
    return tree.subquery(sql.to_identifier(ALIAS, quoted=True))


def select_all(relation: Expression, dialect: Any) -> str:
    """Return the SQL of ``dialect`` that selects every column of a relation."""
    return render_sql(sql.select("*").from_(relation), dialect)


def text_to_iso_date(text: Expression) -> Expression:
    """Return the first ten characters of a text if it is an ISO date or timestamp, otherwise NULL."""
    year, month, day = _substring(text, 3, 2), _substring(text, 6, 2), _substring(text, 9, 2)
    digits = [_substring(text, place, 1).isin(*DIGITS) for place in (1, 2, 3, 4)]
    two_digits = [f"{number:02}" for number in range(100)]
    multiples_of_four = two_digits[::4]
    leap_year = sql.or_(
        year.isin(*multiples_of_four[1:]),
        sql.and_(year.isin("00"), _substring(text, 1, 2).isin(*multiples_of_four)),
    )
    valid_day = sql.or_(
        day.isin(*two_digits[1:29]),
        sql.and_(day.isin("29"), sql.or_(month.isin(*two_digits[1:2], *two_digits[3:13]), leap_year)),
        sql.and_(day.isin("30"), month.isin(*two_digits[1:2], *two_digits[3:13])),
        sql.and_(day.isin("31"), month.isin(*LONG_MONTHS)),
    )
    dashes = [_substring(text, place, 1).eq("-") for place in (5, 8)]
    valid_month = month.isin(*two_digits[1:13])
    # The length decides, because character 11 of a shorter text is '' in some engines and NULL in others.
    end = sql.or_(sql.func("LENGTH", text).eq(10), sql.and_(_substring(text, 11, 1).isin(" ", "T")))
    return _case_when(sql.and_(*dashes, *digits, valid_month, valid_day, end), _substring(text, 1, 10))


def fraction_to_integer(value: Expression, decimal_type: str = DECIMAL) -> Expression:
    """Return a decimal or float as a whole number, or NULL if it is not whole."""
    # NaN is excluded too: either it is larger than every number, or each comparison with it is false.
    in_range = sql.and_(
        _compare(value, sql.LT, MAX_MAGNITUDE), _compare(value, sql.GT, sql.Neg(this=MAX_MAGNITUDE.copy()))
    )
    whole = _case_when(
        _compare(value, sql.EQ, sql.func("FLOOR", value.copy())), to_decimal(value, decimal_type)
    )
    return _case_when(in_range, whole)


def text_to_integer(text: Expression, decimal_type: str = DECIMAL) -> Expression:
    """Return the whole number that a text holds, or NULL. The only sign allowed is a minus."""
    rest: Expression = text
    for digit in DIGITS:
        rest = sql.func("REPLACE", rest, sql.Literal.string(digit), sql.Literal.string(""))
    # In Oracle '' is NULL: a text of digits only leaves NULL.
    rest_length = sql.func("COALESCE", sql.func("LENGTH", rest), sql.Literal.number(0))
    length = sql.func("LENGTH", text.copy())
    negative = sql.and_(
        _substring(text, 1, 1).eq("-"), rest_length.eq(1), length.copy().between(2, MAX_DIGITS)
    )
    positive = sql.and_(rest_length.copy().eq(0), length.between(1, MAX_DIGITS))
    return _case_when(sql.or_(positive, negative), to_decimal(text, decimal_type))


def to_decimal(value: Expression, decimal_type: str = DECIMAL) -> Expression:
    """Return a value as a decimal, whose sum holds more than 64 bits in every engine."""
    return sql.cast(value.copy(), decimal_type)


def _column(name: str) -> Expression:
    return sql.column(name, table=ALIAS, quoted=True)


def _substring(text: Expression, start: int, length: int) -> Expression:
    return sql.Substring(this=text.copy(), start=sql.Literal.number(start), length=sql.Literal.number(length))


def _case_when(condition: Expression, then: Expression) -> Expression:
    return sql.Case(ifs=[sql.If(this=condition, true=then)])


def _compare(value: Expression, comparison: type[Any], other: Expression) -> Expression:
    compared: Expression = comparison(this=value.copy(), expression=other.copy())
    return compared
