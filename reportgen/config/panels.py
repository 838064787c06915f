"""Panels: Markdown files, each with a question of the site's own, as text, a query and a chart.

A file begins with its settings, in YAML between lines ``---`` or in TOML between lines ``+++``. What is wrong
with a file stands in its :class:`Panel`: no file can fail a build.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from reportgen.config.chart_notes import Line
from reportgen.config.problems import Keys, did_you_mean, problem_lines, problems_of, quoted
from reportgen.config.settings import Config, lines_of_keys, toml_error
from reportgen.config.types import Text, TextList, markdown, one_of
from reportgen.core.words import heading

ChartKind = Literal["bars", "line", "stacked", "area", "none"]
MAX_BYTES = 200_000
"""Maximum size of a file."""
MAX_SETTINGS = 5_000
"""Maximum number of characters of the settings at its beginning."""
FENCES = {"---": "YAML", "+++": "TOML"}
"""The line before and after the settings."""


@dataclass(frozen=True)
class Panel:
    """One file ``NAME.md`` of ``panels_dir``.

    ``text`` is its prose as Markdown, ``sql`` its query, which begins on ``sql_line`` of ``file``, and
    ``spec`` its own Vega-Lite specification. ``chart`` is ``None`` if the columns of the result decide.
    ``windows`` are the names of the windows that show it, or ``None`` for all. ``source`` names one of
    ``[sources]``, or is ``None`` for that of the report. ``formats`` has CLDR number patterns, and
    ``headings`` words for readers, both by column in lower case. ``problem`` says why the file cannot be
    used, with its place; it is empty if it can.
    """

    name: str
    title: str
    text: str = ""
    sql: str | None = None
    spec: Mapping[str, Any] | None = None
    chart: ChartKind | None = None
    windows: tuple[str, ...] | None = None
    position: Literal["top", "bottom"] = "bottom"
    source: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    headings: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    file: str = ""
    sql_line: int = 1

    def heading(self, column: str) -> str:
        """Return the words for a column of the query, as at the beginning of a sentence."""
        return self.headings.get(column.lower()) or heading(column)


class PanelFileError(Exception):
    """What is wrong with a file. ``line`` is the number of the line at fault, or 0 if no single line is."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _by_column(example: str) -> BeforeValidator:
    def lower_case(value: object) -> object:
        if not isinstance(value, Mapping):
            raise ValueError(f"is not a section. Write {example}.")  # noqa: TRY004
        return {str(column).lower(): each for column, each in value.items()}

    return BeforeValidator(lower_case)


def _format(pattern: str) -> str:
    from babel.numbers import parse_pattern  # imported here because it costs start-up time

    try:
        valid = re.search("[0#@]", pattern) and parse_pattern(pattern).apply(-1234.5, "en")
    except Exception:  # noqa: BLE001 - Babel raises errors of many classes
        valid = None
    if not valid:
        raise ValueError('is not a number pattern. Write one such as "#,##0.00" or "0.0 %".')
    return pattern


class PanelSettings(BaseModel):
    """The settings at the beginning of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    title: Line | None = None
    chart: Annotated[str, one_of("bars", "line", "stacked", "area", "none")] | None = None
    windows: Annotated[TextList, Field(min_length=1)] | None = None
    position: Annotated[str, one_of("top", "bottom")] = "bottom"
    source: Text | None = None
    format: Annotated[
        dict[str, Annotated[Text, Field(max_length=100), AfterValidator(_format)]],
        _by_column('a pattern for each column: {revenue: "#,##0.00"}'),
    ] = {}
    names: Annotated[
        dict[str, Annotated[Line, Field(max_length=60)]],
        _by_column("words for each column: {label: Host, value: Visits}"),
    ] = {}


def read_panels(config: Config) -> tuple[Panel, ...]:
    """Return the panel of each file of ``panels_dir``, in the order of their names."""
    folder = config.panels_dir
    if folder is None:
        return ()
    try:
        names = (file for file in folder.iterdir() if file.suffix == ".md" and not file.name.startswith("."))
        files = sorted(names)
    except OSError as exc:
        return (Panel("panels", "Panels", problem=f"{folder}: cannot be read: {exc.strerror}"),)
    return tuple(read_panel_file(file, config) for file in files)


def read_panel_file(file: Path, config: Config) -> Panel:
    """Return the panel of one file; ``problem`` says why it cannot be used."""
    shown = str(file).encode(errors="backslashreplace").decode()  # a name may hold any bytes
    name, title = Path(shown).stem, _title(Path(shown).stem)
    if not re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII):  # it is a part of addresses
        name = f"panel-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        message = 'is not a usable name. Write at most 100 letters and digits of ASCII, ".", "_" or "-".'
        return Panel(name, title, problem=f"{shown}: {message}", file=shown)
    panel = Panel(name, title, file=shown)
    try:
        settings, body, line = _split(_read(file))
        panel = replace(panel, title=_given_title(settings.values) or title)
        panel = _with_body(panel, body, line)
        panel = _with_settings(panel, settings, config)
        _check_together(panel, settings)
    except PanelFileError as exc:
        place = f"{shown}:{exc.line}" if exc.line else shown
        return replace(panel, problem=f"{place}: {exc}")
    return panel


def _title(stem: str) -> str:
    """Return the title of a file whose settings have none: "Slow pages" of ``20-slow-pages``."""
    words = re.sub(r"^[0-9]+[-_. ]+(?=.)", "", stem).replace("-", " ").replace("_", " ").strip() or stem
    return words[:1].upper() + words[1:]


def _read(file: Path) -> str:
    """Return the text of a file. A directory or a pipe of its name is not read."""
    try:
        if not file.is_file():
            raise PanelFileError(0, "is not a file. Move it away, or write the panel into it.")
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise PanelFileError(0, f"is larger than {MAX_BYTES // 1000} kB. Write less into one panel.")
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise PanelFileError(line, "not a UTF-8 text. Save it as UTF-8.") from None
    except OSError as exc:
        raise PanelFileError(0, f"cannot be read: {exc.strerror}") from None


@dataclass(frozen=True)
class _FileSettings:
    """The settings of a file as they stand in it, and the line of each in the file."""

    values: Mapping[str, Any]
    lines: Mapping[Keys, int]

    def line_of(self, keys: Keys) -> int:
        known = (self.lines[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in self.lines)
        return next(known, 1)


def _split(text: str) -> tuple[_FileSettings, str, int]:
    """Return the settings of a file, the text after them, and the number of its first line."""
    lines = text.split("\n")
    fence = lines[0].rstrip()
    if fence not in FENCES:
        return _FileSettings({}, {}), text, 1
    end = next((at for at, line in enumerate(lines[1:], start=1) if line.rstrip() == fence), None)
    if end is None:
        raise PanelFileError(1, f"the settings do not end. Write a line {fence} below them.")
    own = "\n".join(lines[1:end]) + "\n"
    if len(own) > MAX_SETTINGS:
        raise PanelFileError(1, f"the settings have more than {MAX_SETTINGS:,} characters. Write less.")
    try:
        settings = _yaml(own) if fence == "---" else _toml(own)
    except RecursionError:
        raise PanelFileError(1, "the settings are nested too deeply. Write fewer brackets.") from None
    return settings, "\n".join(lines[end + 1 :]), end + 2


def _toml(text: str) -> _FileSettings:
    try:
        values = tomllib.loads(text)
    except ValueError as exc:
        message, line = toml_error(exc)
        raise PanelFileError((line or 0) + 1, f"not valid TOML: {message}") from None
    return _FileSettings(values, {keys: line + 1 for keys, line in lines_of_keys(text).items()})


def _yaml(text: str) -> _FileSettings:
    """Return settings in YAML: every value is read as the text that stands there."""
    import yaml  # only a file with YAML needs it

    lines: dict[Keys, int] = {}
    try:
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few lines of them can stand for billions of values
                message = f"*{event.anchor} is not possible here. Write the value itself."
                raise PanelFileError(_line_of(event.start_mark), message)
        node = yaml.compose(text, yaml.SafeLoader)
        values = {} if node is None else _plain_yaml(node, (), lines)
    except yaml.MarkedYAMLError as exc:
        raise PanelFileError(_line_of(exc.problem_mark), f"not valid YAML: {exc.problem}") from None
    except (yaml.YAMLError, ValueError) as exc:  # such as a character that YAML does not allow
        reason = " ".join(str(exc).split()[:12])
        raise PanelFileError(1, f"not valid YAML: {reason}") from None
    if not isinstance(values, dict):
        raise PanelFileError(2, "the settings have no names. Write each as name and value: title: Plans")
    return _FileSettings(values, lines)


def _plain_yaml(node: Any, keys: Keys, lines: dict[Keys, int]) -> Any:
    """Return a node as texts, lists and dictionaries, and put the line of each key into ``lines``."""
    if node.id == "scalar":
        return node.value
    if node.id == "sequence":
        return [_plain_yaml(each, (*keys, at), lines) for at, each in enumerate(node.value)]
    values = {}
    for key, value in node.value:
        line = _line_of(key.start_mark)
        if key.id != "scalar":
            raise PanelFileError(line, "a name of a setting is not a text. Write a name, such as title.")
        if key.value in values:
            raise PanelFileError(line, f"{quoted(key.value)} is set twice. Leave one of them out.")
        lines[*keys, key.value] = line
        values[key.value] = _plain_yaml(value, (*keys, key.value), lines)
    return values


def _line_of(mark: Any) -> int:
    """Return the line of the file; the settings begin on the second."""
    return mark.line + 2 if mark else 1


def _given_title(values: Mapping[str, Any]) -> str:
    """Return the title that a file gives, if it can be shown."""
    with suppress(ValidationError):
        return PanelSettings(title=values.get("title")).title or ""
    return ""


def _with_body(panel: Panel, body: str, first_line: int) -> Panel:
    """Return a panel with the prose, the query and the specification of its file."""
    lines, kept, found = body.split("\n"), [], {}
    at = 0
    for token in markdown().parse(body):
        kind = (token.info.split() or [""])[0].lower()
        if token.type != "fence" or token.level or kind not in {"sql", "vega-lite"} or not token.map:
            continue
        begin, end = token.map
        line = first_line + begin
        if kind in found:
            raise PanelFileError(line, f"a second {kind} block. Write one in each panel.")
        if end - begin < token.content.count("\n") + 2:
            raise PanelFileError(
                line, f"the {kind} block does not end. Write a line {token.markup} below it."
            )
        if not token.content.strip():
            raise PanelFileError(line, f"the {kind} block is empty. Write into it, or leave it out.")
        found[kind] = token.content, line + 1
        kept += lines[at:begin]
        at = end
    sql, line = found.get("sql", (None, 1))
    panel = replace(panel, text="\n".join([*kept, *lines[at:]]).strip(), sql=sql, sql_line=line)
    return replace(panel, spec=_spec(*found["vega-lite"])) if "vega-lite" in found else panel


def _spec(text: str, first_line: int) -> Mapping[str, Any]:
    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number of JSON")

    try:
        spec = json.loads(text, parse_constant=refuse)
        json.dumps(spec, ensure_ascii=False, allow_nan=False).encode()  # as the release will hold it
    except UnicodeEncodeError:
        message = "not valid JSON: half of a character (a lone surrogate). Write both halves."
        raise PanelFileError(first_line, message) from None
    except json.JSONDecodeError as exc:
        raise PanelFileError(first_line + exc.lineno - 1, f"not valid JSON: {exc.msg}") from None
    except (ValueError, RecursionError) as exc:
        reason = "too many brackets inside each other" if isinstance(exc, RecursionError) else exc
        raise PanelFileError(first_line, f"not valid JSON: {reason}") from None
    if not isinstance(spec, dict):
        raise PanelFileError(first_line, "not a Vega-Lite specification. Write { before it, and } after it.")
    return spec


def _with_settings(panel: Panel, settings: _FileSettings, config: Config) -> Panel:
    try:
        given = PanelSettings.model_validate(settings.values)
    except ValidationError as exc:
        for problem in problems_of(exc, PanelSettings, "a panel"):
            (line,) = problem_lines([problem], lambda _: "")
            raise PanelFileError(settings.line_of(problem.keys), line) from None
    for key, names, known, section in (
        ("windows", given.windows or (), config.windows, "windows"),
        ("source", (given.source,) if given.source else (), config.sources, "[sources]"),
    ):
        for name in names:
            if name not in known:
                listed = f"They are: {', '.join(known)}." if known else f"Write [sources.{name}]."
                advice = did_you_mean(name, known) or listed
                message = f"{key} {quoted(name)} is not one of {section} in the settings. {advice}"
                raise PanelFileError(settings.line_of((key,)), message)
    chosen = given.model_dump(exclude={"title", "format", "names"}, exclude_unset=True)
    return replace(panel, **chosen, formats=given.format, headings=given.names)


def _check_together(panel: Panel, settings: _FileSettings) -> None:
    """Check what one part of a file needs of another."""
    if panel.spec is not None and panel.chart is not None:
        message = "chart is set, and the file has a vega-lite block. Leave one of them out."
        raise PanelFileError(settings.line_of(("chart",)), message)
    if panel.sql is None and panel.chart is not None:
        message = "chart is set, and the file has no sql block. Write one, or leave chart out."
        raise PanelFileError(settings.line_of(("chart",)), message)
    if panel.sql is None and panel.spec is not None and _names_rows(panel.spec):
        raise PanelFileError(0, 'the vega-lite block reads "rows", and there is no sql block. Write one.')


def _names_rows(spec: Any) -> bool:
    """Return whether a part of a specification reads the data ``rows``."""
    if isinstance(spec, Mapping):
        return spec.get("data") == {"name": "rows"} or any(map(_names_rows, spec.values()))
    return isinstance(spec, Sequence) and not isinstance(spec, str) and any(map(_names_rows, spec))
