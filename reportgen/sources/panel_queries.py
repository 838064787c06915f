"""The queries of panels: one statement with bound dates, read as plain values."""

import json
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock
from decimal import Decimal
from typing import Any

from reportgen.config.problems import did_you_mean
from reportgen.core.errors import PanelError, ReportgenError
from reportgen.core.windows import Window
from reportgen.sources.base import Source, first_moment

Value = bool | int | float | str | None
"""A value of a result: dates and times are ISO texts, whole numbers have 64 bits, floats are finite."""

MAX_ROWS = 10_000
MAX_CHARACTERS = 1_000_000
"""Maximum number of characters of a result's texts; any other value counts as :data:`NUMBER_CHARACTERS`."""
NUMBER_CHARACTERS = 8

BOUNDS = {
    "first": "start", "last": "end", "last_complete": "end_complete", "previous_first": "previous_start",
    "previous_last": "previous_end", "previous_last_complete": "previous_end_complete",
}  # fmt: skip
"""The moment that bounds the hits from a first date on, or up to a last date, by the name of the date."""
OF_WINDOW = {*BOUNDS, *BOUNDS.values()}
"""The names that have another value in each window."""

TOKEN = re.compile(
    r"""(?P<skipped>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z) | '[^']*(?:'|\Z) | "[^"]*(?:"|\Z) | `[^`]*(?:`|\Z)
        | (?<![\w$])\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z))
    | (?P<comment>--[^\n]* | /\*.*?(?:\*/|\Z))
    | (?<![\w:'")\]]):(?P<name>[A-Za-z_]\w*)
    | (?P<end>;)""",
    re.VERBOSE | re.DOTALL,
)
"""What is not plain SQL: texts and quoted names, comments, names of values, and the end of a statement.

A colon after a name, a bracket or another colon is a part of a slice, a structure or a cast.
"""


@dataclass(frozen=True)
class PanelRows:
    """The result of a panel's query.

    ``cut`` says that it had more rows than were read; ``not_finite`` counts numbers that became ``None``,
    because JSON has neither NaN nor infinity.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Value]]
    cut: bool = False
    not_finite: int = 0


def panel_values(
    window: Window, timezone: str, stored_zone: str | None = None
) -> dict[str, date | str | None]:
    """Return the values that a panel's query can name.

    Moments have the zone ``timezone``, or are in ``stored_zone`` and without a zone if that is given.
    """
    complete = window.days - window.running
    dates = {
        "first": window.span.first,
        "last": window.span.last,
        "last_complete": window.span.head(complete).last,
        "previous_first": window.previous.first,
        "previous_last": window.previous.last,
        "previous_last_complete": window.previous.head(complete).last,
    }
    # A date ends when the next one begins.
    moments = {
        bound: first_moment(dates[name] + timedelta(days="end" in bound), timezone, stored_zone)
        for name, bound in BOUNDS.items()
    }
    return {**dates, **moments, "today": window.today, "timezone": timezone}


def named_values(sql: str) -> set[str]:
    """Return the names of the values that a query uses."""
    return {token["name"] for token in TOKEN.finditer(sql) if token["name"]}


def read_panel(
    source: Source, sql: str, values: Mapping[str, date | str | None], timeout_s: float
) -> PanelRows:
    """Run a panel's query in an open source, whose snapshot stays as it is.

    Raises:
        PanelError: the query is not valid, fails or takes too long.

    """
    bound = {name: source.bound_value(name, value) for name, value in values.items()}
    text, named = _with_values(source.escaped(sql), {name: placed for name, (placed, _) in bound.items()})
    given, start = {name: bound[name][1] for name in named}, time.monotonic()
    of_values = (ValueError, ArithmeticError, RecursionError)  # numbers of 5,000 digits, deep JSON
    errors: tuple[type[BaseException], ...] = (ReportgenError, *of_values, *source.driver_errors)
    try:
        extra_s = timeout_s - source.settings.statement_timeout_s  # instead of the time of a statement
        with (
            source.timeout(extra_s),
            source.run_query(text, given, timeout_s, MAX_ROWS + 1) as (columns, rows),
        ):
            return _plain_rows(columns, rows)
    except errors as exc:
        if time.monotonic() - start >= timeout_s:
            advice = "Add an index, ask for fewer rows, or raise panel_timeout_s."
            raise PanelError(f"the query took longer than {timeout_s:.3g} s. {advice}") from None
        if isinstance(exc, PanelError):
            raise
        raise _explained(exc, source) from None


def _explained(exc: BaseException, source: Source) -> PanelError:
    """Return the error of a driver, with the hint and the line that its message has."""
    text = str(exc)
    hint = re.search(r"^(?:HINT: +)?((?:Perhaps|Did) .*)$", text, re.MULTILINE)
    error = PanelError(f"{source.message_of(exc).rstrip('.')}{f'. {hint[1]}' if hint else ''}")
    if line := re.search(r"^LINE ([0-9]+): ", text, re.MULTILINE):
        error.line = int(line[1])
    return error


def _with_values(sql: str, placed: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return one statement with its values in their places, and the names of those.

    Raises:
        PanelError: a name is not known, or there is a second statement.

    """
    parts, named, at, ended = [], set(), 0, False
    for token in TOKEN.finditer(sql):
        between, name = sql[at : token.start()], token["name"]
        if ended and (between.strip() or (not token["comment"] and not token["end"])):
            break
        at = token.end()
        if name and name not in placed:
            error = PanelError(f":{name} is not a known value. {_known(name, placed)}")
            error.line = sql.count("\n", 0, token.start()) + 1
            raise error
        if name:
            named.add(name)
        ended = ended or token["end"] is not None
        parts += [between, placed[name] if name else "" if ended else token[0]]
    if ended and sql[at:].strip():
        error = PanelError("there is a second statement. Write one SELECT in each panel.")
        error.line = sql.count("\n", 0, len(sql) - len(sql[at:].lstrip())) + 1
        raise error
    return "".join(parts) + ("" if ended else sql[at:]), named


def _known(name: str, placed: Mapping[str, str]) -> str:
    return did_you_mean(name, placed) or f"Known are: {', '.join(f':{each}' for each in placed)}."


def _plain_rows(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> PanelRows:
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise PanelError(f'there are two columns "{twice}". Give each a name of its own: AS name.')
    found: list[list[Value]] = []
    characters = not_finite = 0
    for row in map(list, rows):
        plain = [_plain(value) for value in row]
        characters += sum(len(each) if isinstance(each, str) else NUMBER_CHARACTERS for each in plain)
        if len(found) == MAX_ROWS or characters > MAX_CHARACTERS:
            return PanelRows(columns, found, cut=True, not_finite=not_finite)
        not_finite += sum(was is not None and now is None for was, now in zip(row, plain, strict=True))
        found.append(plain)
    return PanelRows(columns, found, not_finite=not_finite)


def _plain(value: Any) -> Value:
    """Return a value of a driver as text, number or ``None``."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return _plain_number(value)
    if isinstance(value, datetime | date | clock):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode(errors="backslashreplace")
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = str(value)
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()  # half a character


def _plain_number(value: float | Decimal) -> int | float | None:
    """Return a number, or ``None`` if no finite float is near it."""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    try:
        number = float(value)
    except (OverflowError, ValueError):  # a large integer; a signaling NaN
        return None
    if isinstance(value, Decimal) and abs(number) < 2**63 and value == value.to_integral_value():
        return int(value)
    return number if math.isfinite(number) else None
