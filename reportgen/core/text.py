"""Paths as text for readers: invisible characters are made visible, long texts are cut in the middle."""

import unicodedata
from collections.abc import Iterable

from wcwidth import iter_graphemes, iter_graphemes_reverse, wcswidth

JOINERS = "\u200c\u200d"
FILLERS = "\u115f\u1160\u3164\uffa0\u2800\u034f"
"""Characters that Unicode counts as letters, but that have no glyph."""

OPEN, CLOSE = "\x02", "\x03"
"""Mark the beginning and the end of a path in a sentence. No visible text holds these characters."""

LONGEST_NAME = 64
"""Maximum columns of a path in a sentence, a table or a tooltip."""

LETTERS_A_COLUMN = 2
"""Maximum number of characters, combining marks included, for each column of a cut text.

No script needs more on average. Combining marks take no column, so the columns alone do not limit a text.
"""


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
