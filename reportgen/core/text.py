"""Numbers, dates and paths as text for readers.

Numbers and dates follow a locale, from Unicode's CLDR through Babel: separators, signs, the order of a date
and the names of weekdays and months. The locale ``en`` without a country writes dates as "Tue 17 Nov 2026".
In paths invisible characters are made visible, and long ones are cut in the middle.
"""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from babel import Locale
from babel.dates import format_date, format_interval, format_skeleton
from babel.numbers import format_decimal, format_scientific
from wcwidth import iter_graphemes, iter_graphemes_reverse, wcswidth

from reportgen.core.windows import TITLES, Span
from reportgen.core.words import USUAL, Words

JOINERS = "\u200c\u200d"
FILLERS = "\u115f\u1160\u3164\uffa0\u2800\u034f"
"""Characters that Unicode counts as letters, but that have no glyph."""

OPEN, CLOSE = "\x02", "\x03"
"""Mark the beginning and the end of a path in a sentence. No visible text holds these characters."""

LONGEST_NAME = 64
"""Maximum columns of a path in a sentence, a table or a tooltip."""

SMALLEST, LARGEST = 0.001, 1e15
"""Numbers of any other size are written as powers of ten."""

LETTERS_A_COLUMN = 2
"""Maximum number of characters, combining marks included, for each column of a cut text.

No script needs more on average. Combining marks take no column, so the columns alone do not limit a text.
"""


@dataclass(frozen=True)
class LocaleFormatter:
    """Formats numbers and dates in one locale; ``words`` are what is counted, and by what."""

    locale: Locale
    words: Words = USUAL

    @classmethod
    def of(cls, name: str, words: Words = USUAL) -> "LocaleFormatter":
        """Return the formatter of a locale such as ``en``, ``de`` or ``pt-BR``."""
        return cls(Locale.parse(name, sep="-"), words)

    @property
    def tag(self) -> str:
        """The locale as a language tag (BCP 47)."""
        return str(self.locale).replace("_", "-")

    @property
    def direction(self) -> str:
        """``ltr`` or ``rtl``."""
        return str(self.locale.text_direction)

    def number(self, value: int) -> str:
        """Return a whole number with thousands separators."""
        return self._signed_text(value, format_decimal(abs(value), locale=self.locale), plus=False)

    def decimal(self, value: float) -> str:
        """Return a number with at most one decimal."""
        return self._signed_text(value, self._rounded(abs(value), "0.#"), plus=False)

    def value(self, value: float, pattern: str | None = None) -> str:
        """Return a number by a CLDR pattern, or with up to 3 decimals; a very large one as a power of ten."""
        if abs(value) >= LARGEST or (pattern is None and 0 < abs(value) < SMALLEST):
            text = format_scientific(value, "0.###E0", locale=self.locale)
        else:
            text = format_decimal(value, pattern, locale=self.locale)
        return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text

    def signed(self, value: int) -> str:
        """Return a whole number with its sign; 0 has none."""
        return self._signed_text(value, format_decimal(abs(value), locale=self.locale), plus=True)

    def percent(self, value: float | None) -> str:
        """Return a relative change in percent with its sign, or "new" for ``None``.

        It has one decimal below 10 % and none from there on.
        """
        if value is None or value != value:  # noqa: PLR0124 - NaN stands for None in a frame
            return "new"
        text = self.unsigned_percent(value)
        return self._signed_text(value if round(value * 100, 1) else 0, text, plus=True)

    def unsigned_percent(self, value: float) -> str:
        """Return the amount of a relative change in percent, without a sign."""
        points = round(abs(value) * 100, 1)
        if 0 < points < 10:  # noqa: PLR2004
            return self._percent(points, "0.0")
        return self._percent(round(abs(value) * 100), "0")

    def share(self, value: float) -> str:
        """Return a share of 1 in percent with one decimal."""
        least = 0 < value < 0.0005  # noqa: PLR2004 - rounds to 0.0
        return f"< {self._percent(0.1, '0.0')}" if least else self._percent(value * 100, "0.0")

    def count(self, value: int, noun: str) -> str:
        """Return a number with its noun: "1 day", "2 days"."""
        return f"{self.number(value)} {noun}{'' if value == 1 else 's'}"

    def visits(self, value: int, which: str = "") -> str:
        """Return a number of visits: "1 visit", "2 more visits"."""
        return f"{self.number(value)} {which}{self.words.visit if value == 1 else self.words.visits}"

    def paths(self, value: int, which: str = "") -> str:
        """Return a number of paths: "1 path", "2 more paths"."""
        return f"{self.number(value)} {which}{self.words.path if value == 1 else self.words.paths}"

    def day(self, value: date) -> str:
        """Return a date with its weekday: "Tue 17 Nov 2026"."""
        return self._date(value, "EEE d MMM y", "yMMMEd")

    def tick(self, value: date, *, weekday: bool) -> str:
        """Return the label of a date on an axis: "17 Nov", "Tue 17 Nov"."""
        if weekday:
            return self._date(value, "EEE d MMM", "MMMEd")
        return self._date(value, "d MMM", "MMMd")

    def month(self, value: date) -> str:
        """Return the month of a date: "Nov 2026"."""
        return self._date(value, "MMM y", "yMMM")

    def span(self, value: Span) -> str:
        """Return first and last date, with their common month and year once: "Tue 17 - Mon 23 Nov 2026"."""
        first, last = value.first, value.last
        if first == last:
            return self.day(last)
        if not self._plain:
            return self._apart(format_interval(first, last, "yMMMEd", locale=self.locale))
        shared = "EEE d MMM y" if first.year != last.year else "EEE d MMM"
        shared = "EEE d" if (first.year, first.month) == (last.year, last.month) else shared
        return f"{format_date(first, shared, locale=self.locale)} \N{EN DASH} {self.day(last)}"

    def short_span(self, value: Span, year: int) -> str:
        """Return first and last date without weekdays: "17 - 22 Nov"; the year if it is not ``year``."""
        first, last = value.first, value.last
        named = {first.year, last.year} != {year}
        if first == last:
            return self._date(last, "d MMM y", "yMMMd") if named else self.tick(last, weekday=False)
        if not self._plain:
            return self._apart(format_interval(first, last, "yMMMd" if named else "MMMd", locale=self.locale))
        shared = "d MMM y" if first.year != last.year else "d MMM" if first.month != last.month else "d"
        ends = (first, shared), (last, "d MMM y" if named else "d MMM")
        return " \N{EN DASH} ".join(format_date(end, pattern, locale=self.locale) for end, pattern in ends)

    def clock(self, value: datetime) -> str:
        """Return the time of day of ``value``, without a change of zone: "16:00"."""
        return str(format_skeleton("Hm", value.replace(tzinfo=None), locale=self.locale))

    def moment(self, value: datetime) -> str:
        """Return date and time of ``value``, without a change of zone: "Mon 23 Nov 2026, 16:00"."""
        return f"{self.day(value.date())}, {self.clock(value)}"

    def vega_locale(self) -> dict[str, Any]:
        """Return Vega's number locale (https://github.com/d3/d3-format#formatLocale)."""
        symbols = self.locale.number_symbols["latn"]
        last, others = self.locale.decimal_formats[None].grouping
        return {
            "decimal": symbols["decimal"],
            "thousands": symbols["group"],
            "grouping": [last] + [others] * 6,
            "currency": ["", ""],
        }

    @property
    def _plain(self) -> bool:
        return str(self.locale) == "en"

    def _date(self, value: date, pattern: str, skeleton: str) -> str:
        if self._plain:
            return str(format_date(value, pattern, locale=self.locale))
        return self._apart(format_skeleton(skeleton, value, locale=self.locale))

    def _apart(self, text: str) -> str:
        """Return a text isolated from the page's direction if the locale is written from right to left."""
        if self.direction == "ltr":
            return text
        return f"\N{RIGHT-TO-LEFT ISOLATE}{text}\N{POP DIRECTIONAL ISOLATE}"

    def _rounded(self, value: float, digits: str) -> str:
        pattern = self.locale.decimal_formats[None].pattern.replace("0.###", digits)
        return str(format_decimal(round(value, 1), pattern, locale=self.locale))

    def _percent(self, points: float, digits: str) -> str:
        """Return percentage points with the locale's percent sign at the locale's place."""
        around = self.locale.percent_formats[None]
        sign = self.locale.number_symbols["latn"]["percentSign"]
        before, after = (part.replace("%", sign) for part in (around.prefix[0], around.suffix[0]))
        return f"{before}{self._rounded(points, digits)}{after}"

    def _signed_text(self, value: float, text: str, *, plus: bool) -> str:
        symbols = self.locale.number_symbols["latn"]
        if value < 0:
            return f"{symbols['minusSign']}{text}".replace("-", "\N{MINUS SIGN}")
        return f"{symbols['plusSign']}{text}" if plus and value > 0 else text


ENGLISH = LocaleFormatter.of("en")


def window_title(name: str, formatter: LocaleFormatter) -> str:
    """Return the title of a window: "Today", "This week", "7 days"."""
    return TITLES.get(name) or formatter.count(int(name.removesuffix("d")), "day")


def isolated(path: str) -> str:
    """Return a path for a sentence: visible, cut, and between :data:`OPEN` and :data:`CLOSE`."""
    return f"{OPEN}{shorten(visible(path), LONGEST_NAME)}{CLOSE}"


def bare(sentence: str) -> str:
    """Return a sentence without the marks around its paths."""
    return sentence.replace(OPEN, "").replace(CLOSE, "")


def visible(text: str) -> str:
    """Return a text with a visible sign for each character that has no glyph or changes the text direction.

    So has each blank of a text that holds nothing else. Control characters become their pictures;
    bidirectional and other invisible characters, lone surrogates and noncharacters become ``<U+202E>``.
    Charts need it as well: a NUL in a text makes vl-convert abort the process.
    """
    if text and not text.strip(" "):
        return "\N{SYMBOL FOR SPACE}" * len(text)
    shown, before = [], ""
    for char in text:
        glyph = _glyph(char, before)
        shown.append(glyph)
        before = glyph if glyph == char else ""
    return "".join(shown) or "(empty)"


def _glyph(char: str, before: str) -> str:
    code = ord(char)
    if code < 0x20:  # noqa: PLR2004
        return chr(0x2400 + code)
    if code == 0x7F:  # noqa: PLR2004
        return "\N{SYMBOL FOR DELETE}"
    if char in JOINERS and before > "\x7f":  # part of a word or an emoji
        return char
    blank = char != " " and unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # noqa: PLR2004
    return f"<U+{code:04X}>" if blank or noncharacter or char in FILLERS else char


def columns(text: str) -> int:
    """Return the width of a visible text in columns: ideographs and emoji take two, combining marks none."""
    return max(0, wcswidth(text))


def shorten(text: str, limit: int) -> str:
    """Cut a long text in the middle, where paths differ least, to at most ``limit`` columns."""
    head, middle, tail = cut(text, limit)
    return f"{head}…{tail}" if middle else head


def cut(text: str, limit: int) -> tuple[str, str, str]:
    """Return the beginning of a visible text, the middle to leave out, and the end.

    With one character in place of the middle it takes at most ``limit`` columns. A text that fits is returned
    as the beginning. It has at most :data:`LETTERS_A_COLUMN` characters for each column. Letters keep their
    marks, and emoji their parts.
    """
    most = LETTERS_A_COLUMN * limit
    if len(text) <= most and columns(text) <= limit:
        return text, "", ""
    behind = (limit - 1) * 2 // 5
    head = _fitting(iter_graphemes(text[:most]), limit - 1 - behind)
    tail = _fitting(iter_graphemes_reverse(text[-most:]), behind)[::-1]
    begin, end = "".join(head), "".join(tail)
    return begin, text[len(begin) : len(text) - len(end)], end


def _fitting(letters: Iterable[str], limit: int) -> list[str]:
    """Return the first ``letters`` that take at most ``limit`` columns."""
    width = length = 0
    fitting = []
    for letter in letters:
        width, length = width + columns(letter), length + len(letter)
        if width > limit or length > LETTERS_A_COLUMN * limit:
            break
        fitting.append(letter)
    return fitting
