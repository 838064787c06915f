"""Settings: ``reportgen.toml``, overridden by the environment, overridden by options.

:func:`load_config` gives one frozen, typed :class:`Config` or one :class:`ConfigError` that names
every problem at once, each with its key and where it was set. Secrets are ``SecretStr``: no repr,
message or traceback shows them.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, unquote_plus, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.sources.utils import parse_env_vars

from reportgen.diagnosis import SECRET_WORD, explain
from reportgen.errors import ConfigError
from reportgen.values import (
    BucketAddress,
    Directory,
    ExistingDirectory,
    Intro,
    LocaleName,
    Schedule,
    Seconds,
    Text,
    WebAddress,
    WindowName,
    WindowNames,
    ZoneName,
)

DEFAULT_FILE = Path("reportgen.toml")
ENV_PREFIX = "REPORTGEN_"
ENV_ONLY = {"REPORTGEN_DEBUG", "REPORTGEN_LOG", "REPORTGEN_PASSWORD"}
"""Variables with our prefix that are no settings: they steer one run, not the report."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Section):
    """The names of the three columns in the table or the query's result."""

    date: Text = "date"
    path: Text = "path"
    visits: Text = "visits"


class SourceSettings(_Section):
    """``[source]``: where the metrics are and how long to wait for them."""

    url: SecretStr = SecretStr("sample")
    schema_: Text | None = Field(default=None, alias="schema")
    table: Text = "metrics"
    columns: Columns = Columns()
    query: Text | None = None
    connect_timeout_s: Seconds = 10
    statement_timeout_s: Seconds = 60


class OutputSettings(_Section):
    """``[output]``: where releases go, how many stay, and how large a page may be."""

    dir: Directory = Path("output")
    bucket: BucketAddress | None = None
    keep: Annotated[int, Field(ge=1, le=10_000)] = 10
    max_page_mb: Annotated[int, Field(ge=1, le=1000)] = 5


class ServerSettings(_Section):
    """``[server]``: where the pages are served."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    public: bool = False
    client_header: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    access_log: bool = False


class Config(BaseSettings):
    """All settings of one report, checked."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    site: Text | None = None
    site_url: WebAddress | None = None
    intro: Intro = ""
    locale: LocaleName = "en"
    templates_dir: ExistingDirectory | None = None
    timezone: ZoneName = "UTC"
    windows: Annotated[WindowNames, NoDecode] = ("today", "7d", "30d")
    default_window: WindowName = Field(default="7d", validate_default=True)
    top_paths: Annotated[int, Field(ge=1, le=1000)] = 100
    schedule: Schedule = "*/15 * * * *"
    jitter_s: Annotated[int, Field(ge=0, le=3600)] = 0
    build_timeout_s: Seconds = 600
    source: SourceSettings = SourceSettings()
    output: OutputSettings = OutputSettings()
    server: ServerSettings = ServerSettings()

    @field_validator("default_window")
    @classmethod
    def _is_a_window(cls, name: str, info: ValidationInfo) -> str:
        windows = info.data.get("windows")  # absent where it is wrong itself
        if windows is not None and name not in windows:
            raise ValueError(f'"{name}" is not among windows')
        return name

    @property
    def zone(self) -> ZoneInfo:
        """The zone that decides which date is today."""
        return ZoneInfo(self.timezone)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return every secret value that must not be shown: see :func:`reportgen.errors.scrub`."""
        return url_secrets(self.source.url.get_secret_value())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what is passed in; :func:`load_config` merges the layers in one visible place."""
        return (init_settings,)


def url_secrets(url: str) -> tuple[str, ...]:
    """Return the password of a URL and the values of its secret-looking query parameters.

    They are taken as written, too: ``urlsplit`` drops line breaks, and ends a login early at a delimiter
    that is not encoded.
    """
    try:
        found = [urlsplit(url).password or ""]
    except ValueError:  # a URL too broken to take apart is a secret as a whole
        found = [url]
    found.append(url.partition("://")[2].rpartition("@")[0].partition(":")[2])
    pairs = (pair.partition("=") for pair in url.partition("?")[2].split("&"))
    found += [value for key, _, value in pairs if SECRET_WORD.search(unquote(key))]
    return tuple({form for value in found if value for form in (value, unquote(value), unquote_plus(value))})


def load_config(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> Config:
    """Read, merge and check all settings.

    ``file`` must exist if it is named; ``reportgen.toml`` in the working directory may be absent.
    ``options`` is nested like the file and wins over everything.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    path = file or DEFAULT_FILE
    text = _read(path, required=file is not None)
    problems = list(_wrong_variables(environ))
    layers: list[Mapping[str, Any]] = [
        _parse(path, text),
        {"source": {"url": environ["DATABASE_URL"]}} if environ.get("DATABASE_URL") else {},
        _Variables(environ)(),
        options or {},
    ]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    try:
        config = Config(**merged)
    except ValidationError as exc:
        problems += explain(exc, Config, path, text, environ, ENV_PREFIX)
    if environ.get("DATABASE_URL") == "" and "url" not in merged.get("source", {}):
        problems.append("DATABASE_URL: is empty, and nothing else names a source; set it, or unset it")
    if problems:
        raise ConfigError("\n".join(problems))
    return config


class _Variables(EnvSettingsSource):
    """REPORTGEN_* of the environment that is passed in, not of the process."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._given = {
            name: value
            for name, value in environ.items()
            if name.upper() not in _sections() and _is_text(value)
        }
        super().__init__(Config)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return parse_env_vars(
            self._given, self.case_sensitive, self.env_ignore_empty, self.env_parse_none_str
        )


def _is_text(value: str) -> bool:
    """Tell whether a variable's value is UTF-8: Python spells other bytes as lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _sections() -> dict[str, type[BaseModel]]:
    """Return the variables that would name a whole section, with what is in it."""
    return {
        "REPORTGEN_SOURCE": SourceSettings,
        "REPORTGEN_SOURCE__COLUMNS": Columns,
        "REPORTGEN_OUTPUT": OutputSettings,
        "REPORTGEN_SERVER": ServerSettings,
    }


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


def _wrong_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each variable that cannot be a setting."""
    known = [ENV_PREFIX + name.upper() for name in Config.model_fields]
    for name in sorted(environ):
        setting = name.upper()  # case counts for nothing in names of variables that are settings
        if not setting.startswith(ENV_PREFIX) or setting in ENV_ONLY:
            continue
        if section := _sections().get(setting):
            first = next(iter(section.model_fields)).rstrip("_").upper()
            yield f"{name}: is a section; set what is in it, such as {setting}__{first}"
        elif setting.partition("__")[0] not in known:
            near = difflib.get_close_matches(setting, known, n=1)
            yield f"{name}: no such setting" + (f'; did you mean "{near[0]}"?' if near else "")
        elif not _is_text(environ[name]):
            yield f"{name}: is no UTF-8 text"
