"""Settings: ``reportgen.toml``, overridden by the environment, overridden by options.

:func:`load_config` returns one frozen :class:`Config`, or raises one :class:`ConfigError` that names every
problem, each with its key and its place. Secrets are ``SecretStr``: no repr, message or traceback shows them.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from reportgen.config.problems import (
    ENV_PREFIX,
    SECRET_WORD,
    Keys,
    Problem,
    problem_lines,
    problems_of,
    quoted,
    url_secrets,
)
from reportgen.config.types import (
    ASSETS,
    BasePath,
    BucketAddress,
    CaseRule,
    Column,
    Comparisons,
    DateFormat,
    Directory,
    Encoding,
    ExistingDirectory,
    FileNames,
    FilePath,
    Glob,
    GlobList,
    Globs,
    HeaderName,
    Intro,
    LocaleName,
    NewPath,
    QueryRule,
    Schedule,
    Seconds,
    SectionName,
    SlashRule,
    Text,
    TextList,
    Thousands,
    VariableName,
    WebAddress,
    Weekday,
    WindowNames,
    Word,
    ZoneName,
)
from reportgen.core.errors import ConfigError
from reportgen.core.path_rules import SCANNERS, PathRules, overlap
from reportgen.core.words import Words, file_stem

DEFAULT_FILE = Path("reportgen.toml")
ENV_ONLY = {"REPORTGEN_DEBUG", "REPORTGEN_LOG", "REPORTGEN_PASSWORD"}
"""Variables with our prefix that are not settings: they change one run, not the report."""

FILE_STEMS = {"daily", "index", "panels", "report", "sections"}
"""Names of other files in the folder of a window."""

Table = TypeVar("Table", bound=BaseModel)

OPTIONS: Mapping[Keys, str] = {
    ("source", "url"): "--source",
    ("output", "dir"): "--output",
    ("server", "host"): "--host",
    ("server", "port"): "--port",
}
"""The settings that an option of the command line sets."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Columns(_Section):
    """``[source.columns]``: the names of the three columns in the table or the query's result.

    Of a CSV file without a header they are positions, from 1 on.
    """

    date: Column = "date"
    path: Column = "path"
    visits: Column = "visits"

    @property
    def positions(self) -> tuple[int, int, int] | None:
        """The positions of date, path and visits, from 0 on, or ``None`` if they are names."""
        names = (self.date, self.path, self.visits)
        if not all(re.fullmatch("[1-9][0-9]{0,3}", name) for name in names):
            return None
        date, path, visits = (int(name) - 1 for name in names)
        return date, path, visits


class LogSettings(_Section):
    """``[source.log]``: how access logs are read, and which of their requests are visits."""

    format: Text | None = None
    query: TextList = ()
    hosts: TextList = ()
    include: TextList = ()
    exclude: TextList = ()
    assets: TextList = ASSETS


class SourceSettings(_Section):
    """``[source]``: where to read the metrics, and how long to wait for them."""

    url: SecretStr = SecretStr("sample")
    url_env: VariableName | None = None
    schema_: Text | None = Field(default=None, alias="schema")
    table: Text = "metrics"
    columns: Columns = Columns()
    query: Text | None = None
    date_format: DateFormat | None = None
    timestamp_zone: ZoneName | None = None
    thousands: Thousands | None = None
    encoding: Encoding | None = None
    log: LogSettings = LogSettings()
    connect_timeout_s: Seconds = 10
    statement_timeout_s: Seconds = 60


class NamedSource(SourceSettings):
    """``[sources.NAME]``: another source, for panels. It needs no table of visits."""

    url: SecretStr


class ImportSettings(_Section):
    """``[import]``: logs whose visits are added to a table before each build."""

    logs: TextList = ()
    into: SecretStr | None = None
    create: bool = False

    @model_validator(mode="after")
    def _has_a_table(self) -> Self:
        if self.logs and self.into is None:
            raise ValueError(
                "has logs, but not into. Set it, or REPORTGEN_IMPORT__INTO, to the URL of the database."
            )
        return self


class RenameSettings(_Section):
    """``[[paths.rename]]``: paths that are shown under another name."""

    from_: Glob = Field(alias="from")
    to: NewPath


class PathSettings(_Section):
    """``[paths]``: how stored paths are merged, and which are left out."""

    query: QueryRule = "keep"
    slash: SlashRule = "keep"
    index: FileNames = ()
    case: CaseRule = "keep"
    decode: bool = False
    exclude: GlobList = ()
    rename: tuple[RenameSettings, ...] = ()


class SectionSettings(_Section):
    """``[[sections]]``: a part of the site."""

    name: SectionName
    match: Globs


class WordSettings(_Section):
    """``[words]``: what the report counts, and by what, for one and for several."""

    visit: Word = "visit"
    visits: Word = "visits"
    path: Word = "path"
    paths: Word = "paths"

    @model_validator(mode="after")
    def _has_both_forms(self) -> Self:
        for forms in (("visit", "visits"), ("path", "paths")):
            missing = [name for name in forms if name not in self.model_fields_set]
            if len(missing) == 1:
                given = next(name for name in forms if name not in missing)
                raise ValueError(f"has {given}, but not {missing[0]}. Write both, for one and for several.")
        stem = file_stem(self.paths, "paths")
        if stem in FILE_STEMS:
            raise ValueError(f"has paths = {quoted(self.paths)}: {stem} is another file. Write another word.")
        return self


class OutputSettings(_Section):
    """``[output]``: where to write releases, how many to keep, and how large a page may be."""

    dir: Directory = Path("output")
    bucket: BucketAddress | None = None
    keep: Annotated[int, Field(ge=1, le=10_000)] = 10
    max_page_mb: Annotated[int, Field(ge=1, le=1000)] = 5


class ServerSettings(_Section):
    """``[server]``: the address of the web server, and who may use it."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    public: bool = False
    client_header: HeaderName | None = None
    access_log: bool = False


class Config(_Section):
    """All settings of one report, checked."""

    site: Text | None = None
    site_url: WebAddress | None = None
    base_path: BasePath = "/"
    intro: Intro = ""
    locale: LocaleName = "en"
    templates_dir: ExistingDirectory | None = None
    notes_file: FilePath | None = None
    panels_dir: ExistingDirectory | None = None
    panel_timeout_s: Seconds = 10
    timezone: ZoneName = "UTC"
    windows: WindowNames = ("today", "7d", "30d")
    default_window: str = Field(default="7d", validate_default=True)
    compare: Comparisons = ("previous",)
    week_start: Weekday = "monday"
    top_paths: Annotated[int, Field(ge=1, le=1000)] = 100
    schedule: Schedule = "*/15 * * * *"
    jitter_s: Annotated[int, Field(ge=0, le=3600)] = 0
    build_timeout_s: Seconds = 600
    source: SourceSettings = SourceSettings()
    sources: dict[str, NamedSource] = {}
    import_: ImportSettings = Field(default=ImportSettings(), alias="import")
    paths: PathSettings = PathSettings()
    sections: tuple[SectionSettings, ...] = ()
    words: WordSettings = WordSettings()
    output: OutputSettings = OutputSettings()
    server: ServerSettings = ServerSettings()

    @field_validator("default_window")
    @classmethod
    def _is_a_window(cls, name: str, info: ValidationInfo) -> str:
        windows = info.data.get("windows")  # absent if it is wrong itself
        if windows is not None and name not in windows:
            raise ValueError(f"is not one of windows ({', '.join(windows)}). Write one of them.")
        return name

    @field_validator("sources")
    @classmethod
    def _have_names(cls, sources: dict[str, NamedSource]) -> dict[str, NamedSource]:
        for name in sources:
            if not re.fullmatch("[a-z][a-z0-9_-]*", name):
                raise ValueError(
                    f"has the name {quoted(name)}. Write small letters, and digits, _ or - after the first."
                )
        return sources

    @property
    def path_rules(self) -> PathRules:
        """The rules of ``[paths]`` and ``[[sections]]``."""
        paths, names = self.paths, {"keep": None, "drop": ()}
        globs = (SCANNERS if glob == "scanners" else (glob,) for glob in paths.exclude)
        return PathRules(
            query=names[paths.query] if isinstance(paths.query, str) else paths.query,
            decode=paths.decode,
            lower=paths.case == "lower",
            index=paths.index,
            slash=paths.slash == "merge",
            renames=tuple((rename.from_, rename.to) for rename in paths.rename),
            exclude=tuple(chain.from_iterable(globs)),
            sections=tuple((section.name, section.match) for section in self.sections),
        )

    @property
    def nouns(self) -> Words:
        """The words of ``[words]``."""
        return Words(**self.words.model_dump())

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that decides which date is today."""
        return ZoneInfo(self.timezone)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must not be shown: see :func:`reportgen.core.errors.scrub`."""
        sources = (self.source, *self.sources.values())
        urls = (*(source.url for source in sources), self.import_.into)
        return tuple(word for url in urls if url for word in url_secrets(url.get_secret_value()))


@dataclass(frozen=True)
class Layer:
    """Settings from one place.

    ``place_of`` returns where the setting of these keys, or the section around it, was written.
    """

    settings: Mapping[str, Any]
    place_of: Callable[[Keys], str]


@dataclass(frozen=True)
class MergedSettings:
    """The settings of several layers as one, and what is wrong with them; ``config`` is ``None`` then."""

    layers: Sequence[Layer]
    settings: Mapping[str, Any]
    config: Config | None
    problems: Sequence[Problem]


def load_config(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> Config:
    """Read, merge and check all settings.

    ``file`` must exist if it is given; ``reportgen.toml`` in the working directory may be absent.
    ``options`` is nested like the file, and overrides the file and the environment.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    layers = [read_file(file), *read_variables(environ), option_layer(options or {})]
    return checked_config(merge_settings(layers, environ, paths_beside(file)), environ)


def config_from_options(options: Mapping[str, Any]) -> Config:
    """Return the settings that ``options`` give, without a file and without the environment.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    return checked_config(merge_settings([option_layer(options)], {}), {})


def paths_beside(file: Path | None, prefix: str = "") -> dict[str, Path]:
    """Return the defaults of ``notes_file`` and, if it exists, ``panels_dir`` of the settings in ``file``."""
    notes, panels = ((file or DEFAULT_FILE).with_name(prefix + name) for name in ("notes.toml", "panels"))
    return {"notes_file": notes} | ({"panels_dir": panels} if panels.is_dir() else {})


def merge_settings(
    layers: Sequence[Layer], environ: Mapping[str, str], defaults: Mapping[str, Any] | None = None
) -> MergedSettings:
    """Merge and check the settings of ``layers``; ``source.url_env`` names a variable of ``environ``.

    ``defaults`` holds the settings whose default depends on the file.
    """
    merged: dict[str, Any] = {**(defaults or {}), **merge_layers(layers)}
    problems = [problem for keys in _source_keys(merged) for problem in _set_url(merged, keys, environ)]
    problems += _rule_problems(merged)
    try:
        config = Config.model_validate(merged)
    except ValidationError as exc:
        return MergedSettings(layers, merged, None, [*problems, *problems_of(exc, Config)])
    return MergedSettings(layers, merged, None if problems else config, problems)


def checked_config(merged: MergedSettings, environ: Mapping[str, str]) -> Config:
    """Return the settings of one site.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    lines = list(problem_lines(merged.problems, partial(origin, merged.layers)))
    source = merged.settings.get("source", {})
    if environ.get("DATABASE_URL") == "" and isinstance(source, Mapping) and "url" not in source:
        lines.append(
            "DATABASE_URL is empty, and no other setting names a source. Set it to the URL, or unset it."
        )
    if lines or merged.config is None:
        raise ConfigError("\n".join(lines))
    return merged.config


def _source_keys(settings: Mapping[str, Any]) -> list[Keys]:
    """Return the keys of ``[source]`` and of each of ``[sources]``, if they are sections."""
    named = settings.get("sources")
    names = named if isinstance(named, Mapping) else ()
    keys: list[Keys] = [("source",), *(("sources", name) for name in names)]
    return [each for each in keys if isinstance(_value(settings, each), Mapping)]


def _set_url(settings: Mapping[str, Any], keys: Keys, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Set the URL of the source ``keys`` from the variable of its ``url_env``, or yield what is wrong."""
    source = _value(settings, keys)
    name = source.get("url_env")
    if not isinstance(name, str) or not name.isidentifier():
        return
    if "url" in source:
        both = f"and {'.'.join(map(str, keys))}.url are both set. Leave one of them out."
        yield Problem((*keys, "url_env"), both)
    elif not environ.get(name):
        source["url"] = ""  # its absence is not a second problem
        message = f"names the variable {name}, which is not set, or empty. Set it to the URL of the source."
        yield Problem((*keys, "url_env"), message)
    else:
        source["url"] = environ[name]


def _rule_problems(settings: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with path rules and sections that are each valid by themselves."""
    given = settings.get("paths")
    own = given if isinstance(given, Mapping) else {}
    paths = _valid_paths(own)
    rules = Config(paths=paths).path_rules
    sections = _valid_tables(SectionSettings, settings.get("sections"))
    renames = _valid_tables(RenameSettings, own.get("rename"))
    globs: list[tuple[Keys, str]] = [
        (("paths", "exclude", at), glob) for at, glob in enumerate(paths.exclude) if glob != "scanners"
    ]
    for at, section in sections.items():
        keys: Keys = ("sections", at)
        globs += [((*keys, "match"), glob) for glob in section.match]
        if section.name in [each.name for before, each in sections.items() if before < at]:
            message = "is set twice. Write all globs into one list, match."
            yield Problem((*keys, "name"), message, quoted(section.name))
    for at, rename in renames.items():
        keys = ("paths", "rename", at)
        globs += [((*keys, "from"), rename.from_), ((*keys, "to"), rename.to)]
        if rename.to.endswith("/**") and not rename.from_.endswith("/**"):
            message = 'ends in "/**", and from does not. Write both with it, or none.'
            yield Problem((*keys, "to"), message, quoted(rename.to))
        if message := _renamed_again(rename, renames.values()):
            yield Problem((*keys, "to"), message, quoted(rename.to))
    for keys, glob in globs:
        if (normal := rules.normal(glob)) != glob:
            message = f"cannot be met, as other rules change such paths first. Write {quoted(normal)}."
            yield Problem(keys, message, quoted(glob))


def _renamed_again(rename: RenameSettings, every: Collection[RenameSettings]) -> str:
    """Return what is wrong with the new path of a rule if a rule would rename it again; empty if none."""

    def renaming(to: str) -> Iterator[RenameSettings]:
        changes = (each for each in every if each.to != to or to.endswith("/**"))
        return (each for each in changes if overlap(each.from_, to))

    if rename.from_ == rename.to:
        return "is the same as from. Leave this rule out."
    again = next(renaming(rename.to), None)
    if again is None:
        return ""
    if again is rename:
        return "would be renamed again by the same rule. Write a path that from does not match."
    last = again.from_ == rename.to and not any(renaming(again.to))
    return (
        f"of from = {quoted(rename.from_)} would be renamed again, by from = {quoted(again.from_)} to ="
        f" {quoted(again.to)}. Leave one of the two rules out{f', or write {quoted(again.to)} here' * last}."
    )


def _valid_tables(model: type[Table], tables: object) -> dict[int, Table]:
    """Return those tables of an array that are valid, by their number."""
    found = {}
    for at, table in enumerate(tables if isinstance(tables, list | tuple) else ()):
        with suppress(ValidationError):
            found[at] = model.model_validate(table)
    return found


def _valid_paths(settings: Mapping[str, Any]) -> PathSettings:
    """Return the valid settings of ``[paths]``."""
    try:
        return PathSettings.model_validate(settings)
    except ValidationError as exc:
        wrong = {error["loc"][0] for error in exc.errors(include_url=False)}
        return PathSettings.model_validate({key: settings[key] for key in settings if key not in wrong})


def read_file(file: Path | None) -> Layer:
    """Return the settings in ``file``; without one, those in ``reportgen.toml``, which may be absent.

    Raises:
        ConfigError: the file cannot be read, or is not valid TOML.

    """
    found = read_toml(file or DEFAULT_FILE)
    if file and found is None:
        raise ConfigError(f"{file}: no such file. Name an existing one with --config.")
    return found or Layer({}, lambda _: "")


def read_toml(path: Path) -> Layer | None:
    """Return what a TOML file sets, with its lines, or ``None`` if there is no such file.

    Raises:
        ConfigError: the file cannot be read, or is not valid TOML.

    """
    try:
        text = path.read_text(encoding="utf-8")
        settings = tomllib.loads(text)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a UTF-8 text. Save it as UTF-8.") from None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # TOMLDecodeError, or a number of more than 4300 digits
        message, line = toml_error(exc)
        place = f"{path}:{line}" if line else path
        hint = _quotes_hint(text.split("\n")[line - 1]) if line else ""
        raise ConfigError(f"{place}: not valid TOML: {message}{hint}") from exc

    def place_of(keys: Keys) -> str:
        lines = lines_of_keys(text)
        known = (lines[keys[:depth]] for depth in range(len(keys), 0, -1) if keys[:depth] in lines)
        return f"{path}:{line}" if (line := next(known, None)) else ""

    return Layer(settings, place_of)


def _quotes_hint(line: str) -> str:
    """Return what to write for a text without quotes, unless it may hold a secret; empty for other lines."""
    found = re.fullmatch(r"\s*([\w.-]+)\s*=\s*(?!true|false|True|False)([A-Za-z][\w/ .-]*?)\s*(#.*)?", line)
    if not found or SECRET_WORD.search(found[1]):
        return ""
    return f'. A text needs quotes: {found[1]} = "{found[2]}"'


def toml_error(exc: ValueError) -> tuple[str, int | None]:
    """Return what is wrong with a TOML text, and the line if it is known."""
    found = re.fullmatch(r"(.*) \(at line ([0-9]+),.*\)", str(exc), re.DOTALL)
    return (found[1], int(found[2])) if found else (str(exc), None)


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

    A layer that has ``url`` or ``url_env`` of a source replaces both of those in earlier layers.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for keys in _source_keys(layer.settings):
            under = _value(merged, keys)
            if isinstance(under, dict) and {"url", "url_env"} & _value(layer.settings, keys).keys():
                under.pop("url", None)  # a section of ``merged`` is not that of a layer
                under.pop("url_env", None)
        merged = _merge(merged, layer.settings)
    return merged


def origin(layers: Sequence[Layer], keys: Keys) -> str:
    """Return where the setting of these keys, or the section around it, was last set; empty for a default."""
    for depth in range(len(keys), 0, -1):
        for layer in reversed(layers):
            if _has(layer.settings, keys[:depth]):
                return layer.place_of(keys[:depth])
    return ""


def _value(settings: Any, keys: Keys) -> Any:
    """Return the setting of these keys, or ``None``."""
    for key in keys:
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


def _has(settings: Any, keys: Keys) -> bool:
    for key in keys:
        is_list = isinstance(settings, list) and isinstance(key, int) and key < len(settings)
        if not is_list and not (isinstance(settings, Mapping) and key in settings):
            return False
        settings = settings[key]
    return True


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``under`` with the settings of ``over`` in the place of its own, each section a new one."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        is_section = isinstance(value, Mapping)
        merged[key] = _merge(below if isinstance(below, Mapping) else {}, value) if is_section else value
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
