"""Formats of access logs: which lines they read, and the SQL of the fields that a report needs.

A format string of nginx (``log_format``) or Apache (``LogFormat``) becomes one regular expression, which
DuckDB (RE2) and Python understand alike. The JSON of Caddy and Traefik is read by paths.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Literal, NamedTuple

from reportgen.sources.base import literal

Field = Literal["time", "request", "method", "target", "query", "status", "agent", "host", "purpose"]

QUOTED = r'(?:[^"\\]|\\.)*'
"""A text in double quotes, in which a backslash escapes the next character."""
CLOCK = "%d/%b/%Y:%H:%M:%S %z"
TIMES = {
    "time_local": CLOCK, "time_iso8601": "iso", "msec": "epoch",
    "t": CLOCK, "{sec}t": "epoch", "{msec}t": "epoch", "{usec}t": "epoch",
}  # fmt: skip
"""The variables that hold the time, and in which form: one of ``strptime``, ISO 8601, or a number."""
FIELDS: dict[str, Field] = {
    "request": "request", "request_method": "method", "request_uri": "target", "uri": "target",
    "document_uri": "target", "args": "query", "query_string": "query", "status": "status",
    "http_user_agent": "agent", "host": "host", "http_host": "host", "server_name": "host",
    "http_sec_purpose": "purpose", "http_purpose": "purpose",
    "r": "request", "m": "method", "U": "target", "q": "query", "s": "status", ">s": "status",
    "{user-agent}i": "agent", "{host}i": "host", "v": "host", "V": "host",
    "{sec-purpose}i": "purpose", "{purpose}i": "purpose",
}  # fmt: skip
"""The other variables that are read, in nginx's and in Apache's spelling."""


UNITS_OF_A_SECOND = {"1e17": "1e9", "1e14": "1e6", "1e11": "1e3"}
"""Numbers of this size are times in parts of a second: how many parts a second has."""


CLOSE = 0.88
"""How alike a misspelled variable is: one or two letters differ."""


class FormatError(ValueError):
    """A format string cannot be read."""


class Piece(NamedTuple):
    """A variable of a format string, or literal text; ``at`` is its position, from 1 on."""

    name: str
    literal: str
    at: int


@dataclass(frozen=True)
class LogFormat:
    """How the lines of a log are read.

    ``pattern`` has a group for each field. Of a JSON format, ``paths`` has the JSON path of each field.
    Each character of a line has only one place in the pattern: RE2 is five times as fast then.
    """

    name: str
    fields: Sequence[Field]
    time_form: str
    pattern: str = ""
    paths: Sequence[str] = ()
    parts: Sequence[tuple[str, str]] = ()
    """The variables and texts of a format string, with the part of the pattern that reads each."""

    def reads(self, line: str) -> bool:
        """Whether the line has this format."""
        if self.pattern:
            return re.match(self.pattern, line) is not None
        try:
            entry = json.loads(line)
            for key in re.findall(r"[\w-]+", self.paths[self.fields.index("status")]):
                entry = entry[key]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        return True

    def first_mismatch(self, line: str) -> str:
        """Return the first variable or text of the format string that ``line`` does not have."""
        pattern = "^"
        for name, part in self.parts:
            pattern += part
            if not re.match(pattern, line):
                return name
        return ""

    @property
    def parsed(self) -> str:
        """The SQL that reads the column ``line``; NULL, or fields of empty text, if it cannot be read."""
        if self.pattern:
            groups = ", ".join(f"'{field}'" for field in self.fields)
            return f"regexp_extract(line, {literal(self.pattern)}, [{groups}])"
        return f"TRY(json_extract_string(line, [{', '.join(map(literal, self.paths))}]))"

    def field(self, name: Field) -> str:
        """Return the SQL of a field of the column ``parsed``; of one that the format lacks, an empty text."""
        if name not in self.fields:
            part = {"method": 1, "target": 2}.get(name)
            return f"split_part({self.field('request')}, ' ', {part})" if part else "''"
        if name == "target" and "query" in self.fields:
            query = f"nullif(ltrim({self.field('query')}, '?'), '-')"
            return f"parsed['target'] || coalesce('?' || nullif({query}, ''), '')"
        key = f"'{name}'" if self.pattern else str(self.fields.index(name) + 1)
        return f"coalesce(parsed[{key}], '')"

    @property
    def time(self) -> str:
        """The SQL of the time, of type TIMESTAMPTZ; NULL if it cannot be read."""
        stored = self.field("time")
        if "%" in self.time_form:
            return f"try_strptime(trim({stored}, '[]'), {literal(self.time_form)})"
        number = f"TRY_CAST({stored} AS DOUBLE)"
        # Caddy and Apache can write milliseconds, microseconds and nanoseconds, too.
        units = " ".join(f"WHEN {number} >= {least} THEN {unit}" for least, unit in UNITS_OF_A_SECOND.items())
        epoch = f"TRY(to_timestamp({number} / CASE {units} ELSE 1 END))"
        instant = f"TRY_CAST(replace({stored}, ',', '.') AS TIMESTAMPTZ)"
        return epoch if self.time_form == "epoch" else f"coalesce({instant}, {epoch})"


def parse_format(text: str, name: str = "source.log.format") -> LogFormat:
    """Return the format that a ``log_format`` of nginx or a ``LogFormat`` of Apache describes.

    Raises:
        FormatError: it lacks a field, or has a variable that cannot be read; the message has the position.

    """
    sign = "%" if re.search(r"%[\w<>{!]", text) else "$"
    pieces = list(_apache_pieces(text) if sign == "%" else _nginx_pieces(text))
    fields: list[Field] = []
    time_form = ""
    parts, quoted, last = [], False, ""
    for piece, following in pairwise([*pieces, Piece("", "", 0)]):
        if not piece.name:
            quoted ^= piece.literal.count('"') % 2 == 1
            shown = f'"{piece.literal}"{last and f" after {last}"}'
            parts.append((shown, re.escape(piece.literal).replace("\\ ", " ")))
            continue
        last = f"{sign}{piece.name}"
        field, form = FIELDS.get(piece.name), _time_form(piece.name)
        if form and not time_form:
            field, time_form = "time", form
        value = _value_pattern(piece.name, following.literal[:1], quoted=quoted)
        if field is None or field in fields:
            parts.append((last, value))
        else:
            fields.append(field)
            parts.append((last, f"({value})"))
    known = {*fields, *(("method", "target") if "request" in fields else ())}
    for needed, names in NEEDED.items():
        if needed not in known:
            raise FormatError(f"has no {needed}: add {names}{_misspelled(needed, sign, pieces)}")
    pattern = "".join(["^", *(part for _, part in parts)])
    return LogFormat(name, tuple(fields), time_form, pattern, parts=tuple(parts))


def _misspelled(needed: Field, sign: str, pieces: Sequence[Piece]) -> str:
    """Return a question whether a variable was meant to hold the field ``needed``; empty if none is close."""
    known = [*TIMES] if needed == "time" else [name for name in FIELDS if FIELDS[name] in {needed, "request"}]
    for piece in (piece for piece in pieces if not {piece.name} & {*TIMES, *FIELDS}):
        for close in get_close_matches(piece.name, known, 1, CLOSE):
            return f'. Unknown variable "{sign}{piece.name}": did you mean "{sign}{close}"?'
    return ""


NEEDED: dict[Field, str] = {
    "time": "$time_local, $time_iso8601 or $msec (Apache: %t)",
    "method": "$request or $request_method (Apache: %r or %m)",
    "target": "$request or $request_uri (Apache: %r or %U)",
    "status": "$status (Apache: %>s)",
}
"""The fields without which no visit can be counted, and the variables that hold each."""


def _time_form(name: str) -> str:
    """Return the form of the time that a variable holds, or an empty text."""
    if (
        name.endswith("}t") and "%z" in name and re.search("%[dF]", name)
    ):  # Apache's strftime; without the zone it is not an instant
        return name[1:-2].replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d")
    return TIMES.get(name, "")


def _value_pattern(name: str, following: str, *, quoted: bool) -> str:
    """Return the pattern of a variable's value, which ends before the character that follows it."""
    form = _time_form(name)
    if name == "t":
        return r"\[[^\]]*\]"
    if "%" in form:
        return re.sub("%[a-zA-Z]", "[0-9A-Za-z.+-]+", re.escape(form).replace("\\ ", " "))
    if FIELDS.get(name) == "status":
        return "[0-9]{3}"
    if quoted:
        return QUOTED
    escaped = following.translate({ord(char): f"\\{char}" for char in "\\[]^-"})
    value = f"[^{escaped}]*" if following else ".*"
    return " ".join([value] * 3) if FIELDS.get(name) == "request" and following == " " else value


def _unescaped(text: str) -> str:
    """Return the text between quotes in a configuration without its backslashes."""
    return re.sub(r"\\(.)", lambda found: {"t": "\t"}.get(found[1], found[1]), text)


def _nginx_pieces(text: str) -> Iterator[Piece]:
    """Yield the variables and texts of a ``log_format``; the quotes of the configuration may be missing."""
    whole = re.fullmatch(r"\s*log_format\s+\S+\s+(?:escape=\w+\s+)?(.*?);?\s*", text, re.DOTALL)
    text = (whole[1] if whole else text).strip()
    if whole or text[:1] == "'":
        parts = r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\""
        if not re.fullmatch(rf"(?:(?:{parts})\s*)+", text):
            raise FormatError("has a quote without its end, or text outside its quotes")
        text = "".join(_unescaped(found[1] or found[2] or "") for found in re.finditer(parts, text))
    for found in re.finditer(r"\$(\w+)|\$\{(\w+)\}|([^$]+)|(\$)", text):
        if found[4]:
            raise FormatError(f'has "$" without a name at position {found.start() + 1}')
        yield Piece(found[1] or found[2] or "", found[3] or "", found.start() + 1)


def _apache_pieces(text: str) -> Iterator[Piece]:
    """Yield the variables and texts of a ``LogFormat``."""
    text = re.sub(r"^\s*LogFormat\s+", "", text).strip()
    if found := re.fullmatch(r'"((?:[^"\\]|\\.)*)"(?:\s+\w+)?', text):
        text = found[1]
    text = _unescaped(text)
    variables = r"%[!\d,]*([<>]?)(?:(\{[^}]*\})(\^t[io]|[a-zA-Z])|(\^F[BU]|[a-zA-Z]))"
    for found in re.finditer(rf"{variables}|([^%]+)|(%%)|(%)", text):
        if found[7]:
            raise FormatError(f'has "%" without a known name at position {found.start() + 1}')
        if found[2]:
            label = found[2] if found[3] == "t" else found[2].lower()
            yield Piece(label + found[3], "", found.start() + 1)
        elif found[4]:
            yield Piece((found[1] if found[4] == "s" else "") + found[4], "", found.start() + 1)
        else:
            yield Piece("", found[5] or "%", found.start() + 1)


COMBINED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent"'
)
KNOWN_FORMATS = (
    parse_format(COMBINED, "combined"),
    parse_format('%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"', "combined with host"),
    parse_format('%h %l %u %t "%r" %>s %b', "common"),
    LogFormat(
        "Caddy", ("time", "method", "target", "status", "agent", "host", "purpose"), "iso",
        paths=("$.ts", "$.request.method", "$.request.uri", "$.status", '$.request.headers."User-Agent"[0]',
               "$.request.host", '$.request.headers."Sec-Purpose"[0]'),
    ),
    LogFormat(
        "Traefik", ("time", "method", "target", "status", "agent", "host", "purpose"), "iso",
        paths=("$.StartUTC", "$.RequestMethod", "$.RequestPath", "$.DownstreamStatus",
               '$."request_User-Agent"', "$.RequestHost", '$."request_Sec-Purpose"'),
    ),
)  # fmt: skip
"""The formats that are found by themselves, in the order in which they are tried."""


def find_format(lines: Sequence[str]) -> LogFormat | None:
    """Return the known format that reads the most of ``lines``, if it reads half of them."""
    read = {each: sum(map(each.reads, lines)) for each in KNOWN_FORMATS}
    best = max(KNOWN_FORMATS, key=lambda each: read[each])
    return best if lines and 2 * read[best] >= len(lines) else None
