"""Settings before they are checked: the file as it stands, and one layer of settings over another."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reportgen.core.errors import ConfigError

DEFAULT_FILE = Path("reportgen.toml")


def read_file(file: Path | None) -> tuple[Path, str, dict[str, Any]]:
    """Return the path of the settings' file, its text, and what it says; nothing is checked yet.

    Raises:
        ConfigError: it cannot be read, or is no TOML.

    """
    path = file or DEFAULT_FILE
    text = _read(path, required=file is not None)
    return path, text, _parse(path, text)


def merge_layers(
    layers: Iterable[Mapping[str, Any]], environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    """Merge settings, each layer over those before it; return them with what is wrong with their source.

    ``source.url_env`` becomes the URL that it names. A layer with either replaces both of those below.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        over, under = layer.get("source"), merged.get("source")
        if isinstance(over, Mapping) and isinstance(under, Mapping) and {"url", "url_env"} & over.keys():
            merged["source"] = {key: under[key] for key in under if key not in {"url", "url_env"}}
        merged = _merge(merged, layer)
    source = merged.get("source", {})
    if not isinstance(source, Mapping):
        return merged, []
    name = source.get("url_env")
    if isinstance(name, str) and name.isidentifier():
        if "url" in source:
            return merged, ["source.url_env: source.url is set, too; leave one of them out"]
        if not environ.get(name):
            return merged, [f"source.url_env: the variable {name} is not set, or empty; set it to the URL"]
        return _merge(merged, {"source": {"url": environ[name]}}), []
    if environ.get("DATABASE_URL") == "" and "url" not in source:
        return merged, ["DATABASE_URL: is empty, and nothing else names a source; set it, or unset it"]
    return merged, []


def _read(path: Path, *, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: no such file; name an existing one with --config") from None
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no UTF-8 text; save it as UTF-8") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        message, _, place = str(exc).partition(" (at line ")
        line = f":{place.partition(',')[0]}" if place else ""
        raise ConfigError(f"{path}{line}: not valid TOML: {message}") from exc


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
