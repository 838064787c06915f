"""Settings: ``reportgen.toml``, overridden by the environment, overridden by options.

:func:`load_config` gives one frozen, typed :class:`Config` or one :class:`ConfigError` that names
every problem at once, each with its key and where it was set. Secrets are ``SecretStr``: no repr,
message or traceback shows them.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from reportgen.diagnosis import SECRET_WORD, explain
from reportgen.errors import ConfigError
from reportgen.windows import window_days

DEFAULT_FILE = Path("reportgen.toml")
ENV_PREFIX = "REPORTGEN_"
ENV_ONLY = {"REPORTGEN_DEBUG", "REPORTGEN_LOG", "REPORTGEN_PASSWORD"}
"""Variables with our prefix that are no settings: they steer one run, not the report."""


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


def _schedule(text: str) -> str:
    if re.fullmatch(r"[1-9][0-9]*[smhd]", text) or re.fullmatch(r"[\w*/,#-]+( +[\w*/,#-]+){4}", text):
        return text
    raise ValueError(
        'neither a cron expression of five fields ("*/15 * * * *") nor an interval ("15m", "6h")'
    )


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError('write the whole address, such as "https://example.com"')
    return text.rstrip("/")


def _directory(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("write the path of a directory")
    return Path(value)


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
WindowName = Annotated[str, AfterValidator(_window)]


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
    """``[output]``: where releases go and how many stay."""

    dir: Annotated[Path, PlainValidator(_directory)] = Path("output")
    keep: Annotated[int, Field(ge=1, le=10_000)] = 10


class ServerSettings(_Section):
    """``[server]``: where the pages are served."""

    host: Text = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    public: bool = False


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
    site_url: Annotated[str, AfterValidator(_web_address)] | None = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    windows: Annotated[
        tuple[WindowName, ...], NoDecode, BeforeValidator(_comma_list), Field(min_length=1, max_length=12)
    ] = ("today", "7d", "30d")
    default_window: WindowName = "7d"
    top_paths: Annotated[int, Field(ge=1, le=1000)] = 100
    schedule: Annotated[str, AfterValidator(_schedule)] = "*/15 * * * *"
    source: SourceSettings = SourceSettings()
    output: OutputSettings = OutputSettings()
    server: ServerSettings = ServerSettings()

    @model_validator(mode="after")
    def _windows_agree(self) -> Self:
        if len(set(self.windows)) < len(self.windows):
            raise ValueError("windows: a window is named twice")
        if self.default_window not in self.windows:
            raise ValueError(f'default_window: "{self.default_window}" is not among windows')
        return self

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
    """Return the password of a URL and the values of its secret-looking query parameters."""
    try:
        parts = urlsplit(url)
        found = [parts.password or ""]
    except ValueError:  # a URL too broken to take apart is a secret as a whole
        return (url,)
    found += [value for key, value in parse_qsl(parts.query) if SECRET_WORD.search(key)]
    return tuple({form for value in found if value for form in (value, unquote(value))})


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
    problems = [f"{name}: no such setting" for name in _unknown_variables(environ)]
    try:
        layers: list[Mapping[str, Any]] = [
            _parse(path, text),
            {"source": {"url": environ["DATABASE_URL"]}} if environ.get("DATABASE_URL") else {},
            EnvSettingsSource(Config)(),
            options or {},
        ]
        merged: dict[str, Any] = {}
        for layer in layers:
            merged = _merge(merged, layer)
        config = Config(**merged)
    except SettingsError as exc:
        problems.append(f"environment: {exc}")
    except ValidationError as exc:
        problems += explain(exc, Config, path, text, environ, ENV_PREFIX)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def _read(path: Path, *, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            raise ConfigError(f"{path}: no such file; name an existing one with --config") from None
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {exc}") from exc


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: not valid TOML: {exc}") from exc


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ):
        if name.startswith(ENV_PREFIX) and name not in ENV_ONLY:
            top = name.removeprefix(ENV_PREFIX).split("__")[0].lower()
            if top not in Config.model_fields:
                yield name
