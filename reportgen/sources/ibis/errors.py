"""What the errors of many engines mean for a report: their drivers share no classes, so words must tell."""

import re

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable

SAID_AT_MOST = 400
"""Characters of a foreign message that are shown."""

UNAVAILABLE = {
    "ConnectionError",
    "ConnectionRefusedError",
    "TimeoutError",
    "OperationalError",
    "InterfaceError",
    "Py4JNetworkError",
    "ServiceUnavailable",
}
"""Names of classes whose errors may be gone at the next try."""

LOGIN = r"authenti|password|credential|access denied|permission|not authorized|unauthorized|forbidden"
ENDED = r"timed? ?out|timeout|interrupt|cancell?ed|max_execution_time|max_statement_time"
ABSENT = (
    r"does(n't| not) exist|no such|not ?found|unknown (table|database|column)|PATH_NOT_FOUND|"
    r"TABLE_OR_VIEW_NOT_FOUND|UNRESOLVED_COLUMN"
)
AWAY = (
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
    (AWAY, SourceUnavailable, "Try again"),
    (ENDED, SourceUnavailable, "It took longer than {timeout} s: try again, or raise statement_timeout_s"),
    (ABSENT, SourceError, "Set schema, table and columns in [source] to what is there"),
)
"""Words of a message, and what they mean: the first that are found count."""


def translated(exc: Exception, name: str, text: str, settings: SourceSettings) -> SourceError:
    """Return our error for a foreign one. ``text`` is what it said, without secrets."""
    said = f'no table "{text}"' if type(exc).__name__ == "TableNotFound" else _short(text)
    for words, ours, advice in ADVICE:
        if re.search(words, f"{type(exc).__name__} {text}", re.IGNORECASE):
            return ours(f"{name}: {said}. {advice.format(timeout=settings.statement_timeout_s)}")
    if UNAVAILABLE & {kind.__name__ for kind in type(exc).__mro__}:
        return SourceUnavailable(f"{name}: {said}. Try again")
    return SourceError(f"{name}: {said}. Check [source] url, table, columns and query")


def _short(text: str) -> str:
    """Return the part of a message that says it: Spark puts a stack around ``[CONDITION] words``."""
    condition = re.search(r"\[[A-Z][A-Z_0-9.]+\] .*?(?= SQLSTATE|; line \d| at (org|java|scala)\.|$)", text)
    said = condition.group() if condition else re.split(r"\s+at (?=(?:org|java|scala|py4j)\.)", text)[0]
    return said[:SAID_AT_MOST].rstrip(" .;") or "failed without a word"
