"""How dates and numbers are spelled as text, and which spellings are read.

The patterns are those of RE2, which DuckDB uses, and of Python's ``re``, which the SQLite source uses. A date
that can mean two days (11/06/2026) and a number that can mean two numbers (1.210) are not read, unless
``source.date_format`` or ``source.thousands`` says what they mean.
"""

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

from reportgen.core.errors import mask_logins

BLANKS = " \t\r\n\u00a0\u202f\u2009"
"""Characters that may stand around a date or a number, and between the groups of a number."""

_YEAR = "(?:[1-9][0-9]{3}|0[0-9]{2}[1-9]|0[0-9][1-9]0|0[1-9]00)"
DATE = f"({_YEAR}-[0-9]{{1,2}}-[0-9]{{1,2}}|{_YEAR}/[0-9]{{1,2}}/[0-9]{{1,2}})"
_MINUTES = "(?:[01]?[0-9]|2[0-3]):[0-5][0-9]"
_FRACTION = "(?:[.,][0-9]+)?"
_TIME = f"(?:{_MINUTES}(?::[0-5][0-9]{_FRACTION})?|[01][0-9]|2[0-3])"
_HOURS = "[+-](?:0[0-9]|1[0-4])"
_CLOCK = f"[Tt ] *({_MINUTES}(?::[0-5][0-9])?){_FRACTION} *"
LOCAL = f"{DATE}(?:[Tt ] *{_TIME}(?: ?[AaPp][Mm])?)?"
"""A date, perhaps with a time that has no zone. Group 1 is the date."""
LOCAL_TIME = f"{DATE}{_CLOCK}"
"""A time without a zone that can be converted. Groups: date, time."""
ZULU = f"{DATE}{_CLOCK}(?:[Zz]|UTC|GMT)"
"""A time in UTC. Groups: date, time."""
OFFSET = f"{DATE}{_CLOCK}({_HOURS}):?([0-5][0-9])?(?: [A-Z]{{3,4}})?"
"""A time with its offset, and perhaps the name of its zone. Groups: date, time, hours, minutes."""
COMPACT = "([1-9][0-9]{3})([0-9]{2})([0-9]{2})"
"""Year, month and day without separators."""
EPOCH = "(1[0-9]{9})([0-9]{3})?"
"""Seconds or milliseconds since 1970, from 2001 to 2033. Group 1 is the seconds.

Ten digits that begin with 20 may be a date with its hour, 2026110612.
"""

FORMATS = (
    "%Y%m%d%H", "%Y%m%d%H%M", "%Y%m%d%H%M%S",
    *(f"{day}{clock}"
    for day in (
        "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y",
        "%Y.%m.%d", "%d%m%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y",
        "%d/%b/%Y", "%A, %B %d, %Y", "%a, %d %b %Y",
    )
    for clock in ("", " %H:%M", " %H:%M:%S", ", %H:%M", ", %H:%M:%S", " %I:%M %p", " %I:%M:%S %p",
                 ", %I:%M %p", ", %I:%M:%S %p", ":%H:%M:%S %z", " %H:%M:%S %z")),
)  # fmt: skip
"""Formats to offer for a text that is not read without one."""

THOUSANDS = (".", ",", "'", "\N{RIGHT SINGLE QUOTATION MARK}")
"""Characters that ``source.thousands`` can be."""

LONGEST_EXAMPLE = 100
"""Maximum columns of a row that is shown as an example."""


class DateReader:
    """Reads dates in one zone, as ``source.date_format`` and ``source.timestamp_zone`` say."""

    def __init__(self, zone: str, date_format: str | None, timestamp_zone: str | None = None) -> None:
        self._zone = ZoneInfo(zone)
        self._format = date_format
        self._timestamp_zone = ZoneInfo(timestamp_zone) if timestamp_zone else None
        self.day_of_text = lru_cache(4096)(self._day_of_text)

    def day_of(self, value: object) -> str | None:
        """Return the ISO date of a stored text or number, or ``None`` if it cannot be read."""
        try:
            if isinstance(value, str):
                return self.day_of_text(value)
            return self._day_of_number(value) if isinstance(value, int | float) else None
        except (ValueError, OverflowError):
            return None

    def _day_of_text(self, text: str) -> str | None:
        text = text.strip(BLANKS)
        if self._format:
            if moment := _strptime(text, self._format):
                return self._day_of_instant(moment) if has_time(self._format) else moment.date().isoformat()
            if self._format.startswith("%Y"):
                return None
        if match := re.fullmatch(DATE if self._timestamp_zone else LOCAL, text):
            return _iso_date(match[1]).isoformat()
        if moment := self._moment_of(text):
            return self._day_of_instant(moment)
        if self._format:  # digits alone may be spelled in another order
            return None
        if match := re.fullmatch(COMPACT, text):
            return date(*map(int, match.groups())).isoformat()
        if match := re.fullmatch(EPOCH, text):
            return self._day_of_instant(datetime.fromtimestamp(int(match[1]), UTC))
        return None

    def _moment_of(self, text: str) -> datetime | None:
        """Return the time that a text has with its zone, or without one if ``timestamp_zone`` is set."""
        zone: timezone | None = UTC
        if match := re.fullmatch(OFFSET, text):
            sign = -1 if match[3][0] == "-" else 1
            zone = timezone(sign * timedelta(hours=int(match[3][1:]), minutes=int(match[4] or 0)))
        elif not (match := re.fullmatch(ZULU, text)) and self._timestamp_zone:
            match, zone = re.fullmatch(LOCAL_TIME, text), None
        if not match:
            return None
        hour, minute, second = [*map(int, match[2].split(":")), 0][:3]
        return datetime.combine(_iso_date(match[1]), time(hour, minute, second, tzinfo=zone))

    def _day_of_number(self, number: float) -> str | None:
        if 2.4e6 <= number < 2.5e6:  # noqa: PLR2004 - Julian days of the years 1858 to 2132
            return date.fromordinal(int(number - 1721424.5)).isoformat()  # as SQLite's date(): no zone
        if self._format or 1e7 <= number < 1e8:  # noqa: PLR2004
            return self.day_of_text(str(int(number)))
        seconds = number if number < 1e11 else number / 1000  # noqa: PLR2004
        if not 1e8 <= seconds < 2e9:  # noqa: PLR2004 - 1973 to 2033, as 2026110612 may be a date with its hour
            return None
        return self._day_of_instant(datetime.fromtimestamp(seconds, UTC))

    def _day_of_instant(self, moment: datetime) -> str:
        if not moment.tzinfo and (zone := self._timestamp_zone):
            # PostgreSQL and DuckDB, too, take the later of the two instants when the clocks are set back.
            moment = max(moment.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return (moment.astimezone(self._zone) if moment.tzinfo else moment).date().isoformat()


def has_time(date_format: str) -> bool:
    """Return whether a format of strptime has hours."""
    return bool(re.search("%[HI]", date_format))


def _iso_date(text: str) -> date:
    return date(*map(int, text.replace("/", "-").split("-")))


def number_pattern(thousands: str | None) -> str:
    """Return the pattern of a whole number.

    It may have the sign, digits in groups of three and zeros after the decimal point. Without ``thousands``
    a comma or a blank separates groups, and 1.210 and 1.000 do not match.
    """
    point = decimal_point(thousands)
    groups = "|".join(f"(?:{mark}[0-9]{{3}})+" for mark in (re.escape(thousands or ","), f"[{BLANKS}]"))
    plain = f"[0-9]+(?:{point}0+)?" if thousands else f"[0-9]+(?:{point}(?:00?|0000+))?|[0-9]{{4,}}{point}0+"
    return f"[+-]?(?:{plain}|[0-9]{{1,3}}(?:{groups})(?:{point}0+)?)"


def decimal_point(thousands: str | None) -> str:
    """Return the pattern of the character before the fraction: a comma if points separate groups."""
    return "," if thousands == "." else "[.]"


def number_reader(thousands: str | None) -> "re.Pattern[str]":
    """Return the compiled pattern of :func:`number_pattern`, for :func:`number_of`."""
    return re.compile(number_pattern(thousands))


def number_of(text: str, pattern: "re.Pattern[str]", thousands: str | None) -> int | None:
    """Return the whole number that a text spells, or ``None``."""
    text = text.strip(BLANKS)
    if not pattern.fullmatch(text):
        return None
    whole = re.sub(f"{decimal_point(thousands)}0+$", "", text)
    return int(re.sub("[^0-9-]", "", whole))


def fitting_formats(texts: Iterable[str]) -> list[str]:
    """Return the formats of :data:`FORMATS` that every text fits, in their order: at most two."""
    fitting = list(FORMATS)
    for text in texts:
        fitting = [each for each in fitting if _strptime(text.strip(BLANKS), each)]
    return fitting[:2]


def has_local_time(text: str) -> bool:
    """Whether a text is a date with a time that has no zone."""
    text = text.strip(BLANKS)
    return re.fullmatch(LOCAL, text) is not None and re.fullmatch(DATE, text) is None


@lru_cache(512)
def format_pattern(date_format: str) -> str:
    """Return the pattern of the texts that are read by a format: each engine's strptime reads others."""
    number = "[0-9]{2}" if re.search("%.%", date_format) else "[0-9]{1,2}"
    codes = dict.fromkeys("mdHIMS", number) | {
        "Y": _YEAR, "y": "[0-9]{2}", "f": "[0-9]{1,6}", "z": f"{_HOURS}:?[0-5][0-9]", "%": "%",
    }  # fmt: skip
    parts = re.findall("%(.)|([^%]+)", date_format)
    return "".join(codes.get(code, "[A-Za-z]+") if code else re.escape(text) for code, text in parts)


def _strptime(text: str, date_format: str) -> datetime | None:
    with suppress(ValueError):
        if re.fullmatch(format_pattern(date_format), text):
            return datetime.strptime(text, date_format)  # noqa: DTZ007
    return None


def row_example(cells: Sequence[object], limit: int = LONGEST_EXAMPLE) -> str:
    """Return a row to show in a message or on a page: visible, cut, and without logins."""
    from reportgen.core.text import shorten, visible  # takes 40 ms to import

    texts = ("(nothing)" if cell is None else visible(str(cell)) for cell in cells)
    return shorten(mask_logins(", ".join(texts)), limit)


def unreadable_dates(name: str, column: str, rows: Sequence[Sequence[object]]) -> str:
    """Return the message that none of the ``rows``, which begin with a date, has one that can be read."""
    advice = date_advice(str(row[0]) for row in rows) or (
        'Set source.date_format (such as "%d/%m/%Y"), name another column in [source] columns, or convert '
        "it with [source] query"
    )
    example = row_example(rows[0])
    return f'{name}: no row has a date that can be read in "{column}". A row: {example}. {advice}'


def date_advice(texts: Iterable[str]) -> str:
    """Return which ``source.date_format`` reads all texts of dates; empty if none is known."""
    formats = " or ".join(f'"{each}"' for each in fitting_formats(texts))
    return formats and f"Set source.date_format to {formats}"


def number_advice(text: str) -> str:
    """Return which ``source.thousands`` reads the text of a number; empty if none does.

    With a comma, 1.000 is 1.
    """
    possible = [mark for mark in THOUSANDS if mark in {*text, ","}]
    fitting = [mark for mark in possible if number_of(text, number_reader(mark), mark) is not None]
    marks = " or ".join(f'"{mark}"' for mark in fitting)
    return marks and f"Set source.thousands to {marks}"
