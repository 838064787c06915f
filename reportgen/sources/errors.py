"""From an error of an engine's driver to a SourceError with advice, for every engine.

Drivers have no common error classes, and SQLite has one for nearly everything. Therefore the names of an
error's classes and the words of its message decide.
"""

import re

from reportgen.core.errors import SourceError, SourceUnavailable

TABLE = "Set schema and table in [source] to an existing table"
COLUMNS = "Set columns in [source] to the names the table has"
QUERY = "Check [source] query"
READ_ONLY = "[source] query may only read this source"
TIMEOUT = "It took longer than statement_timeout_s ({s} s): add an index, or raise it in [source]"
OVERFLOW = "The visits add up to more than 64 bits hold. Look for a wrong count"
LOGIN = "Check user and password in its URL"
READABLE = (
    "Check the file's permissions. A SQLite database in WAL mode needs its -wal and -shm files beside it, or "
    "permission to create them"
)

ADVICE: tuple[tuple[str, type[SourceError], str], ...] = (
    # Classes of errors, as the drivers name them.
    ("LockNotAvailable", SourceUnavailable,
     "Another session holds a lock on the table (ALTER TABLE, TRUNCATE?): let it end, or end it"),
    ("QueryCanceled", SourceUnavailable, TIMEOUT),
    ("UndefinedTable|InvalidSchemaName|CatalogException|TableNotFound", SourceError, TABLE),
    ("UndefinedColumn", SourceError, COLUMNS),
    ("InvalidParameterValue", SourceError, "Set timezone and timestamp_zone to zones that this server knows"),
    ("InsufficientPrivilege", SourceError,
     "Let the role read: GRANT USAGE on the schema, GRANT SELECT on the table"),
    ("ReadOnlySqlTransaction|FeatureNotSupported|PermissionException", SourceError, READ_ONLY),
    ("NumericValueOutOfRange|OutOfRangeException", SourceError, OVERFLOW),
    ("SyntaxError|ParserException|BinderException|syntax error", SourceError, QUERY),
    ("ConversionException", SourceError, "Look for a wrong value, or cast it with [source] query"),
    ("OutOfMemoryException", SourceError, "Use shorter windows, or a machine with more memory"),
    # Words of messages.
    ("No usable temporary directory", SourceError,
     "Set TMPDIR to a directory that may be written to; in a read-only container, mount one: --tmpfs /tmp"),
    (r"role \".*\" does not exist|pg_hba|authenti|password|access denied|not authorized", SourceError, LOGIN),
    (r"database \".*\" does not exist", SourceError, "Check the database's name in its URL"),
    ("invalid sslmode", SourceError, "Write one that libpq knows, such as sslmode=require, in its URL"),
    ("cannot connect: |connection failed: ", SourceUnavailable,
     "Check host and port in its URL, and that the server runs"),
    ("Conflicting lock", SourceUnavailable, "Another program has the database open for writing. Try again"),
    ("database is locked|busy", SourceUnavailable, "Another program holds the database locked. Try again"),
    ("not a database|malformed", SourceError, "This file is not a SQLite database, or it is damaged"),
    ("no such table|TABLE_OR_VIEW_NOT_FOUND|PATH_NOT_FOUND|unknown (table|database)", SourceError, TABLE),
    ("no such column|UNRESOLVED_COLUMN|unknown column", SourceError, COLUMNS),
    ("overflow|out of range", SourceError, OVERFLOW),
    ("unable to open|permission denied", SourceUnavailable, READABLE),
    ("readonly database|attempt to write|read-only|permission", SourceError, READ_ONLY),
    ("shut ?down|stopped SparkContext|FILE_NOT_EXIST|FAILED_READ_FILE|refused|reset by peer|can't connect",
     SourceUnavailable, "Try again"),
    (r"timed? ?out|timeout|interrupt|cancell?ed|max_statement_time", SourceUnavailable, TIMEOUT),
    # Classes that hold many kinds of errors. Those of SQLite and DuckDB say nothing about a retry.
    (r"ConnectionError|InterfaceError|(?<!sqlite3\.)(?<!duckdb\.)OperationalError|Py4JNetworkError",
     SourceUnavailable, "Try again"),
    ("OSError", SourceUnavailable, READABLE),
)  # fmt: skip
"""Patterns of an error, the error to raise and the advice to give. The first pattern that matches counts."""


def to_source_error(
    exc: BaseException, source: str, text: str, timeout_s: float, otherwise: str, query: str | None = None
) -> SourceError:
    """Return the SourceError for a driver's error. ``text`` is its message, in one line and without secrets.

    ``source`` is the source's name, and ``otherwise`` the advice if no pattern matches. ``query`` is the
    advice about tables and columns, if the source is a query.
    """
    classes = " ".join(f"{each.__module__}.{each.__name__}" for each in type(exc).__mro__[:-3])
    for pattern, error_class, advice in ADVICE:
        if re.search(pattern, f"{classes}: {text}", re.IGNORECASE):
            given = query if query and advice in {TABLE, COLUMNS} else advice.format(s=timeout_s)
            return error_class(f"{source}: {text}. {given}")
    return SourceError(f"{source}: {text}. {otherwise}")
