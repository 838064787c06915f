"""Which columns a relation has, and how they are stored, from the data types that Ibis reports."""

from collections.abc import Mapping
from typing import Any

from reportgen.config.settings import Columns
from reportgen.core.errors import SourceError
from reportgen.sources.base import quoted_identifier
from reportgen.sources.ibis.sql import DateKind, Expression, NumberKind, StoredTable


def describe_columns(
    relation: Expression, schema: Mapping[str, Any], columns: Columns, source: str
) -> StoredTable:
    """Return the relation with the stored names of its three columns and the kinds of their values.

    ``schema`` maps column names to Ibis's data types; ``source`` is the source's name in error messages.

    Raises:
        SourceError: a column is missing, or its type cannot hold the values.

    """
    day, path, visits = (
        _stored_name(name, schema, source) for name in (columns.date, columns.path, columns.visits)
    )
    if not schema[path].is_string():
        raise _wrong_type(path, schema, source, "text")
    return StoredTable(
        relation, day, path, visits, _date_kind(day, schema, source), _number_kind(visits, schema, source)
    )


def _stored_name(name: str, schema: Mapping[str, Any], source: str) -> str:
    """Return the column's name as the engine stores it: some engines store all names in capitals."""
    if name in schema:
        return name
    matches = [stored for stored in schema if stored.lower() == name.lower()]
    if len(matches) == 1:
        return matches[0]
    raise SourceError(
        f"{source}: there is no column {quoted_identifier(name)}; it has: {', '.join(schema)}. "
        "Set columns in [source] to the names the data has"
    )


def _date_kind(name: str, schema: Mapping[str, Any], source: str) -> DateKind:
    data_type = schema[name]
    if data_type.is_timestamp():
        return "instant" if data_type.timezone else "timestamp"
    if data_type.is_date():
        return "date"
    if data_type.is_string():
        return "text"
    raise _wrong_type(name, schema, source, "a date, timestamp or ISO text")


def _number_kind(name: str, schema: Mapping[str, Any], source: str) -> NumberKind:
    data_type = schema[name]
    if data_type.is_integer():
        return "whole"
    if data_type.is_floating() or data_type.is_decimal():
        return "fraction"
    if data_type.is_string():
        return "text"
    raise _wrong_type(name, schema, source, "a number")


def _wrong_type(name: str, schema: Mapping[str, Any], source: str, expected: str) -> SourceError:
    return SourceError(
        f"{source}: the column {quoted_identifier(name)} is of type {schema[name]}, not {expected}. "
        "Name another in [source] columns, or cast it with query"
    )
