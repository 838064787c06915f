"""Logs: one line for each event, as logfmt or as JSON, without secrets.

They go through the standard library's logging, so that lines of libraries have the same format. An event
is a short name with fields: ``event("build_done", release="…", seconds=1.4)``.
"""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from reportgen.core.errors import ConfigError, mask

LOGGER = logging.getLogger("reportgen")
Form = Literal["logfmt", "json"]
OURS = ("time", "level", "event")


def event(name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log an event; fields that are ``None`` are left out."""
    LOGGER.log(
        level, name, extra={"fields": {key: value for key, value in fields.items() if value is not None}}
    )


def form_of(setting: str | None) -> Form:
    """Return the format that ``REPORTGEN_LOG`` names.

    Raises:
        ConfigError: it is not a known format.

    """
    if setting in {None, "", "logfmt"}:
        return "logfmt"
    if setting == "json":
        return "json"
    raise ConfigError(
        f'REPORTGEN_LOG: "{setting}" is not a known log format. Set it to "json" or "logfmt", or unset it'
    )


def set_up(form: Form, secrets: Iterable[str]) -> None:
    """Write all logs of this process to standard error in format ``form``, without ``secrets``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(form, tuple(secrets)))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    LOGGER.setLevel(logging.INFO)


class Lines(logging.Formatter):
    """Formats each record as one line."""

    def __init__(self, form: Form, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._form = form
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record: time, level, event, fields."""
        own = getattr(record, "fields", None)
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage() if own is not None else record.name,
            **(own if own is not None else {"message": record.getMessage()}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            fields["error"] = f"{type(error).__name__}: {error}"
            fields["traceback"] = self.formatException(record.exc_info)
        # Our own words are not masked: a password that is one of them would show by the gap.
        clean = {name: value if name in OURS else self._clean(value) for name, value in fields.items()}
        return _json(clean) if self._form == "json" else logfmt(clean)

    def _clean(self, value: Any) -> Any:
        return mask(value, self._secrets) if isinstance(value, str) else value


def logfmt(fields: Mapping[str, Any]) -> str:
    """Return fields as ``name=value``; a value that is not one plain word is quoted."""
    return " ".join(f"{name}={_word(value)}" for name, value in fields.items())


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else _json(value)
    plain = text and text.isprintable() and not set(text) & {" ", '"', "=", "\\"}
    return text if plain else _json(text)


def _json(value: Any) -> str:
    """Return JSON in one line, with every unprintable character escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
