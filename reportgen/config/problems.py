"""Describes what is wrong with settings in lines that a person can act on.

Each line says where the setting was written (option, variable, or file and line), its key and its value,
what is wrong, and what to do. A value that may hold a secret is left out.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin
from urllib.parse import unquote, unquote_plus, urlsplit

from pydantic import BaseModel, ValidationError

ENV_PREFIX = "REPORTGEN_"

Keys = tuple[str | int, ...]
"""The nested keys of a setting, such as ``("source", "url")`` or ``("sites", 0, "name")``."""

SECRET_WORD = re.compile(r"pass|secret|token|key", re.IGNORECASE)
"""Names whose values are never shown."""

CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
"""How the names of environment variables of object stores begin."""

MIN_SECRET_LENGTH = 8
"""Minimum length of their credentials, in characters: shorter values are words such as ``true``."""

LONGEST_VALUE = 80
"""Maximum number of characters of a value in a message."""

WORDS = {
    "missing": "is not set. Write it.",
    "string_too_short": "is empty. Write a text, or leave the setting out.",
    "string_too_long": "is too long. Write at most {max_length} characters.",
    "string_type": "is not a text. Write it in quotes.",
    "string_unicode": "is not a UTF-8 text. Write it as UTF-8.",
    "int_parsing": "is not a whole number. Write one such as 10.",
    "int_parsing_size": "is not a whole number that fits. Write one such as 10.",
    "int_type": "is not a whole number. Write one such as 10.",
    "int_from_float": "is not a whole number. Write one such as 10.",
    "finite_number": "is not a whole number. Write one such as 10.",
    "bool_parsing": "is neither true nor false. Write one of the two.",
    "bool_type": "is neither true nor false. Write one of the two.",
    "greater_than_equal": "is too small. Write a number of at least {ge}.",
    "less_than_equal": "is too large. Write a number of at most {le}.",
    "tuple_type": 'is not a list. Write one such as ["today", "7d"].',
    "too_short": "is empty. Write at least one entry.",
    "too_long": "has too many entries. Write at most {max_length}.",
}
"""What is wrong and what to do, for each kind of error that pydantic finds."""

DECIDED_BY: Mapping[Keys, Keys] = {("default_window",): ("windows",)}
"""Settings whose default can become invalid through another setting, with that setting."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with the setting ``keys``; ``message`` follows its key and its value."""

    keys: Keys
    message: str
    value: str = ""
    """As it is shown; empty where it may hold a secret."""


def cloud_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the credentials of object stores in an environment."""
    return tuple(
        value
        for name, value in environ.items()
        if len(value) >= MIN_SECRET_LENGTH and name.startswith(CLOUDS) and SECRET_WORD.search(name)
    )


def url_secrets(url: str) -> tuple[str, ...]:
    """Return the password of a URL and the values of its query parameters whose names look secret.

    Both are also returned as they are written in the URL: ``urlsplit`` drops line breaks, and ends a login
    early at a delimiter that is not encoded.
    """
    try:
        found = [urlsplit(url).password or ""]
    except ValueError:  # a URL that cannot be parsed is a secret as a whole
        found = [url]
    found.append(url.partition("://")[2].rpartition("@")[0].partition(":")[2])
    pairs = (pair.partition("=") for pair in url.partition("?")[2].split("&"))
    found += [value for key, _, value in pairs if SECRET_WORD.search(unquote(key))]
    return tuple({form for value in found if value for form in (value, unquote(value), unquote_plus(value))})


def problems_of(error: ValidationError, model: type[BaseModel], of: str = "") -> Iterator[Problem]:
    """Yield each problem that a failed validation of ``model`` found.

    ``of`` is what the keys belong to, if they are not settings: "a note".
    """
    for item in error.errors(include_url=False):
        keys, kind = item["loc"], item["type"]
        if kind == "extra_forbidden":
            names = _names_in(keys[:-1], model)
            listed = f"The {f'keys of {of}' if of else 'settings here'} are: {', '.join(names)}."
            nearest = did_you_mean(str(keys[-1]), names) or ("" if of else _belongs_to(keys, model))
            yield Problem(keys, f"is not a {f'key of {of}' if of else 'setting'}. {nearest or listed}")
        elif kind == "model_type":
            first = (*keys, next(iter(_names_in(keys, model))))
            variable = ENV_PREFIX + "__".join(map(str, first)).upper()
            example = f"{'.'.join(map(str, first))} (or {variable})"
            yield Problem(keys, f"is a section, not a value. Set each setting in it, such as {example}.")
        else:
            words = WORDS.get(kind)  # pydantic's own words may quote the value, with braces
            limits = item.get("ctx", {})
            message = words.format(**limits) if words else item["msg"].removeprefix("Value error, ")
            if of:
                message = message.replace(", or leave the setting out", "")
            yield Problem(keys, message, _shown(keys, item["input"]))


def problem_lines(
    problems: Iterable[Problem], place_of: Callable[[Keys], str], *, prefix: str = "", default_place: str = ""
) -> Iterator[str]:
    """Yield one line for each problem of settings.

    ``place_of`` returns where a setting was written; empty for a default, whose place is ``default_place``.
    ``prefix`` stands before each key. The line tells entries of one list apart, so no number does.
    """
    for problem in problems:
        place = place_of(problem.keys) or place_of(DECIDED_BY.get(problem.keys, ())) or default_place
        key = prefix + ".".join(str(key) for key in problem.keys if not isinstance(key, int)) or quoted("")
        subject = f"{key} {problem.value}".rstrip()
        yield f"{place}: {subject} {problem.message}" if place else f"{subject} {problem.message}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question that names the known name nearest to a wrong one; empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'Did you mean "{near[0]}"?' if near else ""


def quoted(value: object) -> str:
    """Return a value as TOML writes it, on one line and cut after :data:`LONGEST_VALUE` characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except ValueError:  # a number of more than 4300 digits
        return ""
    text = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _shown(keys: Keys, value: object) -> str:
    """Return the value for the message; empty where a URL's or another password may be in it."""
    text = quoted(value)
    hidden = keys[-1] in {"source", "url", "url_env"} or isinstance(value, Mapping)
    if hidden or "://" in text or "@" in text or any(SECRET_WORD.search(str(key)) for key in keys):
        return ""
    return text


def _belongs_to(keys: Keys, model: type[BaseModel]) -> str:
    """Return where a setting belongs that was written in another table; empty if there is no such setting."""
    if len(keys) > 1 and keys[-1] in _names_in((), model):
        return "It belongs to the top of the file, above all tables."
    for name, field in model.model_fields.items():
        table = field.alias or name
        is_table = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        if is_table and keys[-1] in _names_in((table,), model):
            return f"It belongs to [{table}]."
    return ""


def _names_in(keys: Keys, model: type[BaseModel]) -> list[str]:
    """Return the names of the settings in the section ``keys``."""
    section: Any = model
    for key in keys:
        if isinstance(key, int):  # a table of an array
            (section, _) = get_args(section)
        elif get_origin(section) is dict:  # a section with a name of the user's choice
            section = get_args(section)[1]
        else:
            fields = section.model_fields.items()
            section = next(field.annotation for name, field in fields if key in {name, field.alias})
    return [field.alias or name for name, field in section.model_fields.items()]
