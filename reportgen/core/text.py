"""Paths as text a reader recognises: invisible characters are shown, long texts are cut in the middle."""

import unicodedata
from itertools import accumulate

JOINERS = "\u200c\u200d"


FILLERS = "\u115f\u1160\u3164\uffa0\u2800\u034f"
"""Letters by category, but without a glyph."""


OPEN, CLOSE = "\x02", "\x03"
"""Stand around a path inside a sentence, so that a page can set it apart; no shown path holds them."""


LONGEST_NAME = 64
"""Columns of a path that a sentence, a table or a tooltip shows at once."""


LETTERS_A_COLUMN = 2
"""Letters, marks among them, that a cut text has for each of its columns. No script needs more on average;
without a bound, a path of marks alone would fit into no column and be of any length."""


def isolated(path: str) -> str:
    """Write a path inside a sentence: recognisable, short, and between :data:`OPEN` and :data:`CLOSE`."""
    return f"{OPEN}{shorten(visible(path), LONGEST_NAME)}{CLOSE}"


def bare(sentence: str) -> str:
    """Return a sentence without the marks around its paths."""
    return sentence.replace(OPEN, "").replace(CLOSE, "")


def visible(text: str) -> str:
    """Return a path as text a reader can recognise: what has no glyph, or turns text around, is spelled.

    Control characters become their pictures; bidirectional and other invisible characters, lone
    surrogates and noncharacters become ``<U+202E>``. Charts rely on it too: a NUL in a text makes
    vl-convert abort the process.
    """
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
    if char in JOINERS and before > "\x7f":  # inside a word of a script, or an emoji, that needs it
        return char
    blank = char != " " and unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"}
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF  # noqa: PLR2004
    return f"<U+{code:04X}>" if blank or noncharacter or char in FILLERS else char


def columns(text: str) -> int:
    """Return how wide a text is in letters: ideographs and emoji count twice, combining marks not at all."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def shorten(text: str, limit: int) -> str:
    """Cut a long text in the middle, where paths differ least, to at most ``limit`` columns."""
    head, middle, tail = cut(text, limit)
    return f"{head}…{tail}" if middle else head


def cut(text: str, limit: int) -> tuple[str, str, str]:
    """Part a long text into its beginning, its end and what to leave out between them.

    With a sign of one column in the place of the middle it takes at most ``limit`` columns; a text that
    fits is all beginning. It has at most :data:`LETTERS_A_COLUMN` letters for each of the columns.
    """
    if len(text) <= LETTERS_A_COLUMN * limit and columns(text) <= limit:
        return text, "", ""
    behind = (limit - 1) * 2 // 5
    head = _fitting(text, limit - 1 - behind)
    tail = _fitting(text[::-1], behind)[::-1]
    return head, text[len(head) : len(text) - len(tail)], tail


def _fitting(text: str, room: int) -> str:
    """Return the longest beginning of ``text`` that is at most ``room`` columns wide, of bounded letters."""
    most = text[: LETTERS_A_COLUMN * room]
    for end, width in enumerate(accumulate(map(_columns, most))):
        if width > room:
            return most[:end]
    return most
