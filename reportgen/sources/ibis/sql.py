"""The parts of the shared statements in the SQL of an engine that Ibis reaches.

Engines differ in the casts that may fail, and some have none. Therefore a text is recognised as a date or a
whole number with functions that every engine has: SUBSTRING, LENGTH, REPLACE, IN and CASE. Such an
expression is a template in PostgreSQL's SQL for a column ``"x"``. sqlglot, the SQL library of Ibis, writes it
in the engine's SQL, and every name and value.
"""

from collections.abc import Iterable
from datetime import date

import sqlglot
from sqlglot import errors
from sqlglot import expressions as exp

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError
from reportgen.sources.base import strip_semicolon

MAX_DIGITS = 38
"""Number of digits of the widest decimal type that most engines have."""
DECIMAL = f'CAST("x" AS DECIMAL({MAX_DIGITS}, 0))'
# NaN is out of range too: either it is larger than every number, or each comparison with it is false.
WHOLE_DECIMAL = f'CASE WHEN "x" < 1e30 AND "x" > -1e30 THEN CASE WHEN "x" = FLOOR("x") THEN {DECIMAL} END END'
DATE = 'CAST("x" AS DATE)'
LOCAL_DATE = "CAST(\"x\" AT TIME ZONE '{}' AS DATE)"
EXACT_TEXT = {"postgres": '{} COLLATE "C"', "mysql": "CAST(CONVERT({} USING utf8mb4) AS BINARY)"}
"""How an engine with collations, by its sqlglot dialect, compares and sorts a text by its bytes."""


def relation_of(settings: SourceSettings, dialect: str) -> str:
    """Return the table or query of the settings as a relation ``stored``, in the engine's SQL.

    Raises:
        SourceError: the query is not one statement, or not a query that only reads.

    """
    if not settings.query:
        names = [*(settings.schema_.split(".") if settings.schema_ else ()), settings.table]
        return f"{'.'.join(quoted(name, dialect) for name in names)} stored"
    return f"({read_query(settings.query, dialect, '[source] query').sql(dialect)}) stored"


def read_query(query: str, dialect: str, what: str) -> exp.Query:
    """Return the tree of a query; ``what`` names it in messages.

    Raises:
        SourceError: the query is not one statement, or not a query that only reads.

    """
    try:
        (tree,) = sqlglot.parse(strip_semicolon(query), read=dialect)
    except (errors.SqlglotError, ValueError) as exc:
        reason = str(exc).strip().partition("\n")[0]
        raise SourceError(f"{what}: not one statement that can be read: {reason}") from exc
    if not isinstance(tree, exp.Query) or tree.find(exp.DML, exp.Into, exp.Lock):
        raise SourceError(f"{what}: it may only read: write one SELECT")
    return tree


def limited(query: str, count: int, dialect: str) -> str:
    """Return a query with at most ``count`` rows, in its order: engines may forget that of a subquery."""
    tree = read_query(query, dialect, "the query")
    if tree.args.get("limit") or tree.args.get("fetch"):
        return str(sqlglot.select("*").from_(tree.subquery("panel")).limit(count).sql(dialect))
    return str(tree.limit(count).sql(dialect))


def quoted(name: str, dialect: str) -> str:
    """Return a name as an identifier of the engine's SQL."""
    return str(exp.to_identifier(name, quoted=True).sql(dialect))


def literal(value: str | int | date | None, dialect: str) -> str:
    """Return a value as a literal of the engine's SQL."""
    return str(exp.convert(value).sql(dialect))


def write(template: str, value: str, dialect: str) -> str:
    """Return a template as an expression of the engine's SQL, with ``value`` in the place of the column.

    Raises:
        SourceError: the engine has no such expression.

    """
    tree = sqlglot.parse_one(template, read="postgres")
    try:
        written = tree.sql(dialect, identify=True, unsupported_level=errors.ErrorLevel.RAISE)
    except errors.UnsupportedError as exc:
        raise SourceError(f"{value}: {exc}. Convert the column with [source] query") from exc
    return str(written).replace(quoted("x", dialect), value)


def _is_in(expression: str, texts: Iterable[str]) -> str:
    listed = "', '".join(texts)
    return f"{expression} IN ('{listed}')"


def _without(expression: str, characters: str) -> str:
    for character in characters:
        expression = f"REPLACE({expression}, '{character}', '')"
    return expression


def iso_date() -> str:
    """Return the template of the date of an ISO text, or NULL: a time may follow, but not a zone."""
    part = 'SUBSTRING("x", {}, {})'.format
    year, month, day = part(3, 2), part(6, 2), part(9, 2)
    numbers = [f"{number:02}" for number in range(100)]
    multiples_of_four = numbers[::4]
    century = f"{year} = '00' AND {_is_in(part(1, 2), multiples_of_four)}"
    leap_year = f"({_is_in(year, multiples_of_four[1:])} OR {century})"
    other_month = _is_in(month, [number for number in numbers[1:13] if number != "02"])
    valid_day = (
        f"({_is_in(day, numbers[1:29])} OR {day} = '29' AND ({other_month} OR {leap_year})"
        f" OR {day} = '30' AND {other_month}"
        f" OR {day} = '31' AND {_is_in(month, ('01', '03', '05', '07', '08', '10', '12'))})"
    )
    digits = " AND ".join(_is_in(part(place, 1), "0123456789") for place in (1, 2, 3, 4))
    # The length decides, because character 11 of a shorter text is '' in some engines and NULL in others.
    time_left = _without('SUBSTRING("x", 12, LENGTH("x"))', "0123456789:.")
    end = f'(LENGTH("x") = 10 OR {_is_in(part(11, 1), " T")} AND COALESCE(LENGTH({time_left}), 0) = 0)'
    dashes = f"{part(5, 1)} = '-' AND {part(8, 1)} = '-'"
    valid = f"{dashes} AND {digits} AND {_is_in(month, numbers[1:13])} AND {valid_day} AND {end}"
    return f"CASE WHEN {valid} THEN {part(1, 10)} END"


def whole_number() -> str:
    """Return the template of the whole number that a text holds, or NULL. Its only sign is a minus."""
    rest = _without('"x"', "0123456789")
    # In some engines an empty text is NULL.
    rest_length = f"COALESCE(LENGTH({rest}), 0)"
    positive = f'{rest_length} = 0 AND LENGTH("x") BETWEEN 1 AND {MAX_DIGITS}'
    negative = (
        f'{rest_length} = 1 AND SUBSTRING("x", 1, 1) = \'-\' AND LENGTH("x") BETWEEN 2 AND {MAX_DIGITS}'
    )
    return f"CASE WHEN {positive} OR {negative} THEN {DECIMAL} END"
