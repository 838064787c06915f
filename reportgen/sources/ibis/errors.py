"""From an error of an engine's driver to a SourceError with advice.

The drivers have no common error classes. Therefore the class's name and the words of the message decide.
"""

import re

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable

MAX_MESSAGE_LENGTH = 400
"""Maximum number of characters of a driver's message that are shown."""

UNAVAILABLE_CLASSES = {
    "ConnectionError",
    "ConnectionRefusedError",
    "TimeoutError",
    "OperationalError",
    "InterfaceError",
    "Py4JNetworkError",
    "ServiceUnavailable",
}
"""Names of error classes after which a retry may succeed."""

LOGIN = r"authenti|password|credential|access denied|permission|not authorized|unauthorized|forbidden"
TIMED_OUT = r"timed? ?out|timeout|interrupt|cancell?ed|max_execution_time|max_statement_time"
NOT_FOUND = (
    r"does(n't| not) exist|no such|not ?found|unknown (table|database|column)|PATH_NOT_FOUND|"
    r"TABLE_OR_VIEW_NOT_FOUND|UNRESOLVED_COLUMN"
)
UNREACHABLE = (
    r"refused|unreachable|reset by peer|broken pipe|name or service|could not connect|can't connect|"
    r"unavailable|SparkContext was shut down|stopped SparkContext|FILE_NOT_EXIST|FAILED_READ_FILE"
)

ADVICE: tuple[tuple[str, type[SourceError], str], ...] = (
    (
        r"overflow|out of range",
        SourceError,
        "The visits add up to more than 64 bits hold: look for a wrong count",
    ),
    (LOGIN, SourceError, "Check user, password and rights"),
    (UNREACHABLE, SourceUnavailable, "Try again"),
    (
        TIMED_OUT,
        SourceUnavailable,
        "It took longer than {timeout} s: try again, or raise statement_timeout_s",
    ),
    (NOT_FOUND, SourceError, "Set schema, table and columns in [source] to what is there"),
)
"""Patterns of a message, the error to raise and the advice to give. The first pattern that matches counts."""


def to_source_error(exc: Exception, name: str, text: str, settings: SourceSettings) -> SourceError:
    """Return the SourceError for a driver's error. ``text`` is the error's message without secrets."""
    message = f'no table "{text}"' if type(exc).__name__ == "TableNotFound" else _shorten(text)
    for pattern, error_class, advice in ADVICE:
        if re.search(pattern, f"{type(exc).__name__} {text}", re.IGNORECASE):
            return error_class(f"{name}: {message}. {advice.format(timeout=settings.statement_timeout_s)}")
    if UNAVAILABLE_CLASSES & {base.__name__ for base in type(exc).__mro__}:
        return SourceUnavailable(f"{name}: {message}. Try again")
    return SourceError(f"{name}: {message}. Check [source] url, table, columns and query")


def _shorten(text: str) -> str:
    """Return a message without Java's stack: Spark's hold ``[CONDITION] text`` between stack lines."""
    condition = re.search(r"\[[A-Z][A-Z_0-9.]+\] .*?(?= SQLSTATE|; line \d| at (org|java|scala)\.|$)", text)
    message = condition.group() if condition else re.split(r"\s+at (?=(?:org|java|scala|py4j)\.)", text)[0]
    return message[:MAX_MESSAGE_LENGTH].rstrip(" .;") or "it failed without a message"
