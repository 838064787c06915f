"""Reads the settings file, and merges settings from several places. The values are checked elsewhere."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reportgen.config.origins import Layer, file_layer
from reportgen.config.problems import Problem
from reportgen.core.errors import ConfigError

DEFAULT_FILE = Path("reportgen.toml")


def read_file(file: Path | None) -> Layer:
    """Return the settings in ``file``; without one, those in ``reportgen.toml``, which may be absent.

    Raises:
        ConfigError: the file cannot be read, or is not valid TOML.

    """
    path = file or DEFAULT_FILE
    text = _read(path, required=file is not None)
    return file_layer(path, text, _parse(path, text))


def merge_layers(layers: Sequence[Layer], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[Problem]]:
    """Merge settings, each layer over those before it, and look up the variable of ``source.url_env``.

    A layer that has ``source.url`` or ``source.url_env`` replaces both of those in earlier layers. Returns
    the merged settings, and what is wrong with ``source.url_env``.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        over, under = layer.settings.get("source"), merged.get("source")
        if isinstance(over, Mapping) and isinstance(under, Mapping) and {"url", "url_env"} & over.keys():
            merged["source"] = {key: under[key] for key in under if key not in {"url", "url_env"}}
        merged = _merge(merged, layer.settings)
    source = merged.get("source")
    name = source.get("url_env") if isinstance(source, Mapping) else None
    if not isinstance(source, Mapping) or not isinstance(name, str) or not name.isidentifier():
        return merged, []
    keys = ("source", "url_env")
    if "url" in source:
        return merged, [Problem(keys, "and source.url are both set. Leave one of them out.")]
    if not environ.get(name):
        message = f"names the variable {name}, which is not set, or empty. Set it to the URL of the source."
        return merged, [Problem(keys, message)]
    return _merge(merged, {"source": {"url": environ[name]}}), []


def _read(path: Path, *, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: no such file. Name an existing one with --config.") from None
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a UTF-8 text. Save it as UTF-8.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as exc:  # TOMLDecodeError, or a number of more than 4300 digits
        message, _, place = str(exc).partition(" (at line ")
        line = f":{place.partition(',')[0]}" if place else ""
        raise ConfigError(f"{path}{line}: not valid TOML: {message}") from exc


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``under`` with the settings of ``over`` in the place of its own, section by section."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged
