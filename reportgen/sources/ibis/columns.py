"""Which columns a relation has, and how they are stored, from what Ibis tells of their types."""

from collections.abc import Mapping
from typing import Any

from reportgen.config.settings import Columns
from reportgen.core.errors import SourceError
from reportgen.sources.base import quoted
from reportgen.sources.ibis.sql import Days, Numbers, Piece, Stored


def stored_as(relation: Piece, schema: Mapping[str, Any], columns: Columns, source: str) -> Stored:
    """Return the relation with the true names and the kinds of its three columns.

    ``schema`` maps names to Ibis's data types; ``source`` names the source in errors.

    Raises:
        SourceError: a column is missing, or holds neither what it must nor text of it.

    """
    day, path, visits = (
        _true_name(name, schema, source) for name in (columns.date, columns.path, columns.visits)
    )
    if not schema[path].is_string():
        raise _unfit(path, schema, source, "text")
    return Stored(relation, day, path, visits, _days(day, schema, source), _numbers(visits, schema, source))


def _true_name(name: str, schema: Mapping[str, Any], source: str) -> str:
    """Return the column's name as it is stored: some engines write all names in capitals."""
    if name in schema:
        return name
    alike = [stored for stored in schema if stored.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise SourceError(
        f"{source}: there is no column {quoted(name)}; it has: {', '.join(schema)}. "
        "Set columns in [source] to the names the data has"
    )


def _days(name: str, schema: Mapping[str, Any], source: str) -> Days:
    kind = schema[name]
    if kind.is_timestamp():
        return "instant" if kind.timezone else "timestamp"
    if kind.is_date():
        return "date"
    if kind.is_string():
        return "text"
    raise _unfit(name, schema, source, "a date, timestamp or ISO text")


def _numbers(name: str, schema: Mapping[str, Any], source: str) -> Numbers:
    kind = schema[name]
    if kind.is_integer():
        return "whole"
    if kind.is_floating() or kind.is_decimal():
        return "fraction"
    if kind.is_string():
        return "text"
    raise _unfit(name, schema, source, "a number")


def _unfit(name: str, schema: Mapping[str, Any], source: str, wanted: str) -> SourceError:
    return SourceError(
        f"{source}: the column {quoted(name)} is of type {schema[name]}, not {wanted}. "
        "Name another in [source] columns, or cast it with query"
    )
