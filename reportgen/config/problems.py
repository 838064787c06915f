"""Turns a failed validation of the settings into lines a person can act on.

Each line says where the setting was made (variable, or file and line), its key, what is wrong, and
its value, unless the value may hold a secret.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

from pydantic import BaseModel, ValidationError

SECRET_WORD = re.compile(r"pass|secret|token|key", re.IGNORECASE)
"""Names whose values are never shown."""


WORDS = {
    "extra_forbidden": "no such setting",
    "string_too_short": "write a name, or leave the line out",
    "string_type": "write text in quotes",
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "greater_than_equal": "write a number of at least {ge}",
    "less_than_equal": "write a number of at most {le}",
    "tuple_type": 'write a list such as ["today", "7d"]',
    "too_short": "name at least one",
    "too_long": "name at most {max_length}",
}
"""What to do, for each kind of problem that pydantic finds."""


def url_secrets(url: str) -> tuple[str, ...]:
    """Return the password of a URL and the values of its secret-looking query parameters.

    They are taken as written, too: ``urlsplit`` drops line breaks, and ends a login early at a delimiter
    that is not encoded.
    """
    try:
        found = [urlsplit(url).password or ""]
    except ValueError:  # a URL too broken to take apart is a secret as a whole
        found = [url]
    found.append(url.partition("://")[2].rpartition("@")[0].partition(":")[2])
    pairs = (pair.partition("=") for pair in url.partition("?")[2].split("&"))
    found += [value for key, _, value in pairs if SECRET_WORD.search(unquote(key))]
    return tuple({form for value in found if value for form in (value, unquote(value), unquote_plus(value))})


def explain(
    error: ValidationError,
    model: type[BaseModel],
    path: Path,
    text: str,
    environ: Mapping[str, str],
    env_prefix: str,
    *,
    whose: str = "",
    known: ValidationError | None = None,
) -> Iterator[str]:
    """Yield one line a problem of ``error``.

    ``text`` is what ``path`` holds, ``environ`` what was merged over it under ``env_prefix``. ``whose``
    stands before each key; what ``known`` says is left out.
    """
    told = [(item["loc"], item["msg"]) for item in known.errors(include_url=False)] if known else []
    for item in error.errors(include_url=False):
        if (item["loc"], item["msg"]) in told:
            continue
        keys = [str(part) for part in item["loc"]]
        unknown = item["type"] == "extra_forbidden"
        limits = item.get("ctx", {})
        ours = WORDS.get(item["type"])  # pydantic's words may quote the value, braces and all
        message = ours.format(**limits) if ours else item["msg"].removeprefix("Value error, ")
        if unknown:
            message += _near(keys, model)
        elif item["type"] == "model_type":
            message = f"is a section: write [{'.'.join(keys)}] and its settings below"
        shown = "" if unknown else _shown(keys, item["input"])
        yield f"{_origin(keys, path, text, environ, env_prefix)}{whose}{'.'.join(keys)}: {message}{shown}"


def _shown(keys: list[str], value: object) -> str:
    """Return the value for the message; nothing where a URL's or another password may be in it."""
    text = repr(value)
    whole_section = keys[-1] in {"source", "url", "url_env"} or isinstance(value, Mapping)
    if "://" in text or "@" in text or whole_section or any(map(SECRET_WORD.search, keys)):
        return ""
    return f" (is {text[:80]})"


def _near(keys: list[str], model: type[BaseModel]) -> str:
    section: Any = model
    for key in keys[:-1]:
        section = section.model_fields[key].annotation
    names = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(keys[-1], names, n=1)
    return f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(names)}"


def _origin(keys: list[str], path: Path, text: str, environ: Mapping[str, str], env_prefix: str) -> str:
    """Return where a key was set: the variable, or the file and line; empty for options and defaults."""
    names = [key for key in keys if not key.isdigit()]
    for depth in range(len(names), 0, -1):
        variable = env_prefix + "__".join(names[:depth]).upper()
        if variable in environ:
            return f"{variable}: "
    line = _line_of(names, text)
    return f"{path}:{line}: " if line else ""


def _line_of(names: list[str], text: str) -> int | None:
    """Return the 1-based line that sets the nested key ``names``, or else the section around it."""
    lines: dict[str, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            section = re.sub(r"[\"']", "", header[1])
            lines.setdefault(section, number)
        elif assignment := re.match(r"""\s*([\w."'-]+)\s*=""", line):
            key = re.sub(r"[\"']", "", assignment[1])
            lines.setdefault(f"{section}.{key}" if section else key, number)
    prefixes = [".".join(names[:depth]) for depth in range(len(names), 0, -1)]
    return next((lines[prefix] for prefix in prefixes if prefix in lines), None)
