"""Settings as they are written in the file, in the environment and as options, before they are checked.

Each of these is one :class:`Layer`, which also says where a setting was written.
"""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from reportgen.core.errors import ConfigError

DEFAULT_FILE = Path("reportgen.toml")
ENV_PREFIX = "REPORTGEN_"
ENV_ONLY = {"REPORTGEN_DEBUG", "REPORTGEN_LOG", "REPORTGEN_PASSWORD"}
"""Variables with our prefix that are not settings: they change one run, not the report."""

Keys = tuple[str | int, ...]
"""The nested keys of a setting, such as ``("source", "url")`` or ``("sites", 0, "name")``."""

OPTIONS: Mapping[Keys, str] = {
    ("source", "url"): "--source",
    ("output", "dir"): "--output",
    ("server", "host"): "--host",
    ("server", "port"): "--port",
}
"""The settings that an option of the command line sets."""


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    ``place_of`` returns where the setting of these keys, or the section around it, was written.
    """

    settings: Mapping[str, Any]
    place_of: Callable[[Keys], str]


def read_file(file: Path | None) -> Layer:
    """Return the settings in ``file``; without one, those in ``reportgen.toml``, which may be absent.

    Raises:
        ConfigError: the file cannot be read, or is not valid TOML.

    """
    path, text = file or DEFAULT_FILE, ""
    try:
        text = path.read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    except FileNotFoundError:
        if file:
            raise ConfigError(f"{path}: no such file. Name an existing one with --config.") from None
        settings = {}
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a UTF-8 text. Save it as UTF-8.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # TOMLDecodeError, or a number of more than 4300 digits
        message, _, at = str(exc).partition(" (at line ")
        line = f":{at.partition(',')[0]}" if at else ""
        raise ConfigError(f"{path}{line}: not valid TOML: {message}") from exc

    def place(keys: Keys) -> str:
        lines = lines_of_keys(text)
        known = (lines[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in lines)
        return f"{path}:{line}" if (line := next(known, None)) else ""

    return Layer(settings, place)


def read_variables(environ: Mapping[str, str]) -> list[Layer]:
    """Return the settings of the environment: ``DATABASE_URL``, and ``REPORTGEN_*``, which override it.

    Two underscores separate nested keys. Upper and lower case of names are equal.
    """
    settings: dict[str, Any] = {}
    names: dict[Keys, str] = {}
    for name in sorted(environ, key=len, reverse=True):  # a section that is set as a value replaces its keys
        if not name.upper().startswith(ENV_PREFIX) or name.upper() in ENV_ONLY:
            continue
        value: Any = environ[name]
        keys = tuple(name[len(ENV_PREFIX) :].lower().split("__"))
        names |= {keys[:depth]: name for depth in range(1, len(keys) + 1)}
        for key in reversed(keys):
            value = {key: value}
        settings = _merge(settings, value)
    url = environ.get("DATABASE_URL")
    return [
        Layer({"source": {"url": url}} if url else {}, lambda _: "DATABASE_URL"),
        Layer(settings, lambda keys: names.get(keys, "")),
    ]


def option_layer(settings: Mapping[str, Any]) -> Layer:
    """Return the layer of the command line, whose places are options."""
    return Layer(settings, lambda keys: OPTIONS.get(keys, ""))


def merge_layers(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the settings of all layers, each over those before it.

    A layer that has ``source.url`` or ``source.url_env`` replaces both of those in earlier layers.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        over, under = layer.settings.get("source"), merged.get("source")
        if isinstance(over, Mapping) and isinstance(under, Mapping) and {"url", "url_env"} & over.keys():
            merged["source"] = {key: under[key] for key in under if key not in {"url", "url_env"}}
        merged = _merge(merged, layer.settings)
    return merged


def origin(layers: Sequence[Layer], keys: Keys) -> str:
    """Return where the setting of these keys, or the section around it, was last set; empty for a default."""
    for depth in range(len(keys), 0, -1):
        for layer in reversed(layers):
            if _has(layer.settings, keys[:depth]):
                return layer.place_of(keys[:depth])
    return ""


def _has(settings: Any, keys: Keys) -> bool:
    for key in keys:
        if not isinstance(settings, Mapping) or key not in settings:
            return False
        settings = settings[key]
    return True


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``under`` with the settings of ``over`` in the place of its own, section by section."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


@lru_cache(maxsize=1)
def lines_of_keys(text: str) -> Mapping[Keys, int]:
    """Return the 1-based line on which each key, and each section, of a valid TOML text is set first.

    A header, or a key with its value, is the shortest run of lines that is valid TOML by itself.
    """
    lines: dict[Keys, int] = {}
    tables: Counter[Keys] = Counter()
    section: Keys = ()
    statement, first = "", 1
    for number, line in enumerate(text.split("\n"), start=1):
        statement += f"{line}\n"
        try:
            parsed = tomllib.loads(statement)
        except ValueError:  # the value has more lines
            continue
        is_header = statement.lstrip().startswith("[")
        found = list(_nested_keys(parsed, () if is_header else section, tables))
        for keys in found:
            lines.setdefault(keys, first)
        section = found[-1] if is_header else section
        statement, first = "", number + 1
    return lines


def _nested_keys(settings: Mapping[str, Any], above: Keys, tables: Counter[Keys]) -> Iterator[Keys]:
    """Yield the keys of a statement inside the section ``above``; ``tables`` counts the arrays' tables."""
    for name, value in settings.items():
        keys = (*above, name)
        yield keys
        if value == [{}]:  # the header of a table in an array
            tables[keys] += 1
        if keys in tables:
            keys = (*keys, tables[keys] - 1)
            yield keys
        if isinstance(value, Mapping):
            yield from _nested_keys(value, keys, tables)
