"""Turns a failed validation of the settings into lines a person can act on.

Each line says where the setting was made (variable, or file and line), its key, what is wrong, and
its value, unless the value may hold a secret.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

SECRET_WORD = re.compile(r"pass|secret|token|key", re.IGNORECASE)
"""Names whose values are never shown."""


def explain(
    error: ValidationError,
    model: type[BaseModel],
    path: Path,
    text: str,
    environ: Mapping[str, str],
    env_prefix: str,
) -> Iterator[str]:
    """Yield one line a problem of ``error``.

    ``text`` is what ``path`` holds, ``environ`` what was merged over it under ``env_prefix``.
    """
    for item in error.errors(include_url=False, include_context=False):
        keys = [str(part) for part in item["loc"]]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "no such setting" + _near(keys, model)
        if not keys:  # a rule over several settings names them itself
            yield f"{path}: {message}" if text else message
            continue
        origin = _origin(keys, path, text, environ, env_prefix)
        yield f"{origin}{'.'.join(keys)}: {message}{_shown(keys, item['input'])}"


def _shown(keys: list[str], value: object) -> str:
    """Return the value for the message; nothing where a URL's or another password may be in it."""
    text = repr(value)
    if "://" in text or "@" in text or isinstance(value, Mapping) or any(map(SECRET_WORD.search, keys)):
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
    """Return the 1-based line of the deepest of the nested keys ``names`` that ``text`` sets."""
    found, section = None, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            section = header[1]
            key = section
        elif assignment := re.match(r"""\s*([\w."'-]+)\s*=""", line):
            key = ".".join(filter(None, [section, assignment[1].strip("\"'")]))
        else:
            continue
        if any(key == ".".join(names[:depth]) for depth in range(1, len(names) + 1)):
            found = number
    return found
