"""What the value of a setting may be. Each check says what to write instead."""

import difflib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints

from reportgen.timetable import due_after
from reportgen.windows import window_days


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # KeyError: not found; the others: what is no name at all
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        hint = f'did you mean "{near[0]}"?' if near else 'write a name such as "UTC" or "Europe/Berlin"'
        raise ValueError(f"unknown zone; {hint}") from None
    return name


def _window(name: str) -> str:
    window_days(name)
    return name


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a window is named twice")
    return names


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _schedule(text: str) -> str:
    try:
        due_after(text, ZoneInfo("UTC"), datetime(2000, 1, 1, tzinfo=UTC))
    except ValueError as exc:
        forms = 'a cron expression of five fields ("*/15 * * * *") or an interval ("15m", "6h")'
        raise ValueError(f"write {forms}; {exc}") from None
    return text


def _locale(text: str) -> str:
    from babel import Locale, UnknownLocaleError  # only where one is set: it costs start-up time

    try:
        return str(Locale.parse(text.replace("_", "-"), sep="-")).replace("_", "-")
    except (UnknownLocaleError, ValueError):
        raise ValueError('no such locale; write one such as "en", "en-GB", "de" or "pt-BR"') from None


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError('write the whole address, such as "https://example.com"')
    return text.rstrip("/")


def _existing(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError("there is no such directory")
    return value


def _directory(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("write the path of a directory")
    return Path(value)


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
ZoneName = Annotated[str, AfterValidator(_zone)]
WindowName = Annotated[str, AfterValidator(_window)]
WindowNames = Annotated[
    tuple[WindowName, ...],
    BeforeValidator(_comma_list),
    AfterValidator(_each_once),
    Field(min_length=1, max_length=12),
]
Schedule = Annotated[str, AfterValidator(_schedule)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
LocaleName = Annotated[str, AfterValidator(_locale)]
Intro = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)]
Directory = Annotated[Path, PlainValidator(_directory)]
ExistingDirectory = Annotated[Directory, AfterValidator(_existing)]
