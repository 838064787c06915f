"""Notes on charts: ``notes.toml``, whose ``[[note]]`` sections say what happened on a date.

:func:`read_chart_notes` returns them, or raises one ``ConfigError`` that names every problem with its line.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from reportgen.config.problems import Problem, problem_lines, problems_of, quoted
from reportgen.config.settings import read_toml
from reportgen.config.types import Link, Text
from reportgen.core.errors import ConfigError
from reportgen.core.windows import Span

LONGEST_TEXT = 500
"""Maximum number of characters of a note's text, and of its path."""


def _date(value: object) -> object:
    """Return a date of TOML, or of a text such as 2026-11-20."""
    with suppress(ValueError):
        if isinstance(value, str) and len(value) == len("2026-11-20"):
            return date.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise ValueError("is not a date. Write one such as 2026-11-20.")


def _one_line(value: object) -> object:
    return " ".join(value.split()) if isinstance(value, str) else value


def _from_the_root(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f'does not begin with "/". Write {quoted(f"/{path}")}.')
    return path


NoteDate = Annotated[date, BeforeValidator(_date)]
Line = Annotated[Text, BeforeValidator(_one_line), Field(max_length=LONGEST_TEXT)]


class ChartNote(BaseModel):
    """One ``[[note]]``: what happened on ``date``, or from ``date`` to ``until``."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    date: NoteDate
    until: NoteDate | None = None
    path: Annotated[Line, AfterValidator(_from_the_root)] | None = None
    link: Link | None = None
    text: Line

    @field_validator("until")
    @classmethod
    def _ends_after_it_began(cls, until: NoteDate | None, info: ValidationInfo) -> NoteDate | None:
        first = info.data.get("date")  # absent if it is wrong itself
        if until and first and until < first:
            raise ValueError(f"is before {first}, the date of the note. Write a later one.")
        return until

    @property
    def span(self) -> Span:
        """The dates of the note."""
        return Span(self.date, self.until or self.date)


def read_chart_notes(file: Path | None) -> tuple[ChartNote, ...]:
    """Return the notes of a file by date; none if there is no file.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    layer = read_toml(file) if file else None
    if layer is None:
        return ()
    advice = {"notes": "Write [[note]], not [[notes]]."}
    problems = [
        Problem((key,), f"is not a key of this file. {advice.get(key, 'Write it below [[note]].')}")
        for key in layer.settings
        if key != "note"
    ]
    tables, notes = layer.settings.get("note", []), []
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        problems.append(Problem(("note",), "is not a list of sections. Write [[note]] above each note."))
        tables = []
    for number, table in enumerate(tables):
        try:
            notes.append(ChartNote.model_validate(table))
        except ValidationError as exc:
            found = problems_of(exc, ChartNote, "a note")
            problems += [replace(each, keys=("note", number, *each.keys)) for each in found]
    if problems:
        raise ConfigError("\n".join(problem_lines(problems, layer.place_of)))
    return tuple(sorted(notes, key=_by_date))


def new_note(given: Mapping[str, Any]) -> ChartNote:
    """Return the note that the options of a command describe.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    try:
        return ChartNote.model_validate(given)
    except ValidationError as exc:
        raise ConfigError(
            "\n".join(problem_lines(problems_of(exc, ChartNote, "a note"), lambda _: "note"))
        ) from None


def append_note(file: Path, note: ChartNote) -> None:
    """Add a note at the end of a file, whose text stays as it is; create the file if it is missing.

    The file is replaced by one rename, so a process that is killed leaves the old or the new one. A lock on
    its directory lets two processes write one after the other.

    Raises:
        ConfigError: the file is wrong, or cannot be written.

    """
    try:
        with _replacing(file.resolve()) as fresh:  # a link stays a link
            before = read_chart_notes(file)
            old = file.read_bytes() if file.exists() else b""
            gap = b"" if not old else b"\n" if old.endswith(b"\n") else b"\n\n"
            with fresh.open("wb") as stream:
                stream.write(old + gap + _toml(note).encode())
                stream.flush()
                os.fsync(stream.fileno())
            if _read_or_none(fresh) != tuple(sorted([*before, note], key=_by_date)):
                raise ConfigError(
                    f"{file}: no note can be added at its end. Write [[note]] above each of its notes."
                )
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be written: {exc.strerror}") from exc


@contextmanager
def _replacing(file: Path) -> Iterator[Path]:
    """Yield a file that replaces ``file`` if no error is raised; hold a lock meanwhile."""
    handle = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        fresh = file.with_name(f".{file.name}.new")
        try:
            yield fresh
            if file.exists():
                shutil.copymode(file, fresh)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _read_or_none(file: Path) -> Sequence[ChartNote] | None:
    with suppress(ConfigError):
        return read_chart_notes(file)
    return None


def _by_date(note: ChartNote) -> tuple[date, date]:
    return note.span.first, note.span.last


def _toml(note: ChartNote) -> str:
    """Return a note as TOML."""
    lines = ["[[note]]"]
    for name, value in note:
        if value is not None:
            # TOML reads the escapes of JSON; it forbids one more character.
            text = (
                json.dumps(value, ensure_ascii=False).replace("\x7f", r"\u007f")
                if isinstance(value, str)
                else value
            )
            lines.append(f"{name} = {text}")
    return "\n".join([*lines, ""])
