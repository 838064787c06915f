"""What PostgreSQL's errors mean for a report, and what to do about them."""

import re

import psycopg
from psycopg import errors

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable


def refused(name: str, text: str) -> SourceError:
    """Return our error for a connection that did not come about."""
    text = text.removeprefix("connection failed: ").replace("FATAL:  ", "")
    no_role = re.search(r'role ".*" does not exist', text)
    if "password" in text or "authentication" in text or "pg_hba" in text or no_role:
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
"""What to do about a foreign error: the first line that fits its class counts."""


def translated(exc: psycopg.Error, name: str, text: str, settings: SourceSettings) -> SourceError:
    """Return our error for a statement that failed. ``text`` is what the server said, without secrets."""
    for kinds, ours, advice in ADVICE:
        if isinstance(exc, kinds):
            return ours(f"{name}: {text}. {advice.format(timeout=settings.statement_timeout_s)}")
    return SourceError(f"{name}: {text}. Check [source] table, columns and query")
