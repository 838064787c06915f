"""Where each setting was written: an option, an environment variable, or a line of the settings file."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

ENV_PREFIX = "REPORTGEN_"

Keys = tuple[str | int, ...]
"""The nested keys of a setting, such as ``("source", "url")`` or ``("sites", 0, "name")``."""

OPTIONS: Mapping[Keys, str] = {
    ("source", "url"): "--source",
    ("output", "dir"): "--output",
    ("server", "host"): "--host",
    ("server", "port"): "--port",
}
"""The settings that an option of the command line sets."""

_KEY = r"""(?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_STATEMENT = re.compile(rf"[ \t]*(\[\[?)?[ \t]*({_KEY}(?:[ \t]*\.[ \t]*{_KEY})*)[ \t]*[\]=]")
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'{3}.*?\'{3,5}|"(?:\\.|[^"\\])*"|'[^']*'|#[^\n]*|[^"'#\[\]{}\n]+|.''',
    re.DOTALL,
)
"""Strings and comments whole, so that brackets and line ends in them are not found; brackets; line ends."""


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    ``place_of`` returns where the setting of these keys, or the section around it, was written.
    """

    settings: Mapping[str, Any]
    place_of: Callable[[Keys], str]


def file_layer(path: Path, text: str, settings: Mapping[str, Any]) -> Layer:
    """Return the layer of a settings file, whose places are ``path:line``. ``text`` must be valid TOML."""

    def place(keys: Keys) -> str:
        lines = lines_of_keys(text)
        known = (lines[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in lines)
        line = next(known, None)
        return f"{path}:{line}" if line else ""

    return Layer(settings, place)


def environment_layer(environ: Mapping[str, str], settings: Mapping[str, Any]) -> Layer:
    """Return the layer of ``REPORTGEN_*``, whose places are the variables as ``environ`` spells them."""

    def place(keys: Keys) -> str:
        wanted = ENV_PREFIX + "__".join(map(str, keys)).upper()
        exact = [name for name in environ if name.upper() == wanted]
        inside = [name for name in environ if name.upper().startswith(f"{wanted}__")]
        return (exact or inside or [""])[-1]

    return Layer(settings, place)


def option_layer(settings: Mapping[str, Any]) -> Layer:
    """Return the layer of the command line, whose places are options."""
    return Layer(settings, lambda keys: OPTIONS.get(keys, ""))


def origin(layers: Sequence[Layer], keys: Keys) -> str:
    """Return where the setting of these keys, or the section around it, was last set; empty for a default.

    A later layer replaces an earlier one.
    """
    depths = [_depth(layer.settings, keys) for layer in layers]
    deepest = max(depths, default=0)
    if deepest == 0:
        return ""
    last = max(number for number, depth in enumerate(depths) if depth == deepest)
    return layers[last].place_of(keys[:deepest])


def _depth(settings: Any, keys: Keys) -> int:
    """Return the number of ``keys`` that ``settings`` has, one within the other."""
    for depth, key in enumerate(keys):
        if not isinstance(settings, Mapping) or key not in settings:
            return depth
        settings = settings[key]
    return len(keys)


@lru_cache(maxsize=1)
def lines_of_keys(text: str) -> Mapping[Keys, int]:
    """Return the 1-based line on which each key, and each section, of a valid TOML text is set first.

    Keys inside a value (an inline table) are not listed.
    """
    lines: dict[Keys, int] = {}
    tables: dict[Keys, int] = {}  # the index of the last table of each array of tables
    section: Keys = ()
    for number, statement in _statements(text):
        if match := _STATEMENT.match(statement):
            brackets, dotted = match.groups()
            names = [name[1:-1] if name[0] in "\"'" else name for name in re.findall(_KEY, dotted)]
            keys = section if not brackets else ()
            for depth, name in enumerate(names, start=1):
                keys = (*keys, name)
                lines.setdefault(keys, number)
                if brackets == "[[" and depth == len(names):
                    tables[keys] = tables.get(keys, -1) + 1
                if keys in tables:
                    keys = (*keys, tables[keys])
                    lines.setdefault(keys, number)
            section = keys if brackets else section
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the text of each header, and of each key with its value, of a TOML text."""
    number, begin, depth = 1, 0, 0
    for token in _TOKEN.finditer(text + "\n"):
        depth += (token[0] in {"[", "{"}) - (token[0] in {"]", "}"})
        if token[0] == "\n" and depth == 0:
            statement = text[begin : token.start()]
            yield number, statement
            number += statement.count("\n") + 1
            begin = token.end()
