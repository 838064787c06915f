"""Describe the rows that were left out, in the same words for readers and operators."""

from collections.abc import Mapping

from reportgen.core.formatting import LocaleFormatter

NOTE_WORDS = {
    "null_path": ("row without a path", "rows without a path"),
    "null_visits": ("row without a number of visits", "rows without a number of visits"),
    "invalid_visits": ("row whose visits are not a whole number", "rows whose visits are not a whole number"),
    "negative_visits": ("row with negative visits", "rows with negative visits"),
    "invalid_date": ("row whose date is not a date", "rows whose date is not a date"),
    "null_date": ("row without a date", "rows without a date"),
    "future_date": ("row dated after today", "rows dated after today"),
}


def note_sentences(notes: Mapping[str, int], formatter: LocaleFormatter) -> list[str]:
    """Return one phrase for each kind of row that was left out, such as "2 rows without a path"."""
    return [
        f"{formatter.number(rows)} {NOTE_WORDS[kind][rows != 1]}"
        for kind, rows in sorted(notes.items())
        if rows
    ]
