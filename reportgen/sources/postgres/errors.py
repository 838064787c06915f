"""From an error of PostgreSQL or psycopg to a SourceError with advice."""

import re

import psycopg
from psycopg import errors

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable


def connection_error(name: str, text: str) -> SourceError:
    """Return the SourceError for a connection that failed. ``text`` is the message without secrets."""
    text = text.removeprefix("connection failed: ").replace("FATAL:  ", "")
    unknown_role = re.search(r'role ".*" does not exist', text)
    if "password" in text or "authentication" in text or "pg_hba" in text or unknown_role:
        return SourceError(
            f"{name}: the server refused the login: {text}. Check user and password in its URL"
        )
    if re.search(r'database ".*" does not exist', text):
        return SourceError(f"{name}: {text}. Check the database's name in its URL")
    return SourceUnavailable(
        f"{name}: cannot connect: {text}. Check host and port in its URL, and that the server runs"
    )


Advice = tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], type[SourceError], str]

ADVICE: tuple[Advice, ...] = (
    (
        errors.LockNotAvailable,
        SourceUnavailable,
        "Another session holds a lock on the table (ALTER TABLE, TRUNCATE?): let it end, or end it",
    ),
    (
        errors.QueryCanceled,
        SourceUnavailable,
        "It took longer than statement_timeout_s ({timeout} s): add an index, or raise it in [source]",
    ),
    (
        (errors.UndefinedTable, errors.InvalidSchemaName),
        SourceError,
        "Set schema and table in [source] to an existing table",
    ),
    (errors.InvalidParameterValue, SourceError, "Set timezone to a zone that this server knows"),
    (errors.UndefinedColumn, SourceError, "Set columns in [source] to the names the table has"),
    (
        errors.InsufficientPrivilege,
        SourceError,
        "Let the role read: GRANT USAGE on the schema, GRANT SELECT on the table",
    ),
    (
        (errors.ReadOnlySqlTransaction, errors.FeatureNotSupported),
        SourceError,
        "[source] query may only read",
    ),
    (
        errors.NumericValueOutOfRange,
        SourceError,
        "The visits add up to more than 64 bits hold: look for a wrong count",
    ),
    ((errors.SyntaxError, errors.SyntaxErrorOrAccessRuleViolation), SourceError, "Check [source] query"),
    (
        (psycopg.OperationalError, psycopg.InterfaceError, errors.TransactionRollback),
        SourceUnavailable,
        "Try again",
    ),
)
"""Classes of psycopg's errors, the error to raise and the advice to give. The first line that fits counts."""


def to_source_error(exc: psycopg.Error, name: str, text: str, settings: SourceSettings) -> SourceError:
    """Return the SourceError for a statement that failed. ``text`` is the message without secrets."""
    for classes, error_class, advice in ADVICE:
        if isinstance(exc, classes):
            return error_class(f"{name}: {text}. {advice.format(timeout=settings.statement_timeout_s)}")
    return SourceError(f"{name}: {text}. Check [source] table, columns and query")
