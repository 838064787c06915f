"""Settings: ``reportgen.toml``, overridden by the environment, overridden by options.

:func:`load_config` gives one frozen, typed :class:`Config` or one :class:`ConfigError` that names
every problem at once, each with its key and where it was set. Secrets are ``SecretStr``: no repr,
message or traceback shows them.
"""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
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

from reportgen.config.loading import merge_layers, read_file
from reportgen.config.problems import explain, url_secrets
from reportgen.config.types import (
    BasePath,
    BucketAddress,
    Directory,
    ExistingDirectory,
    Intro,
    LocaleName,
    Schedule,
    Seconds,
    Text,
    VariableName,
    WebAddress,
    WindowName,
    WindowNames,
    ZoneName,
)
from reportgen.core.errors import ConfigError

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
    url_env: VariableName | None = None
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
    base_path: BasePath = "/"
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
        """Return every secret value that must not be shown: see :func:`reportgen.core.errors.scrub`."""
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


def load_config(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> Config:
    """Read, merge and check all settings.

    ``file`` must exist if it is named; ``reportgen.toml`` in the working directory may be absent.
    ``options`` is nested like the file and wins over everything.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    path, text, stored = read_file(file)
    merged, problems = merge_layers([stored, *variables(environ), options or {}], environ)
    problems = [*wrong_variables(environ), *problems]
    try:
        config = Config(**merged)
    except ValidationError as exc:
        problems += explain(exc, Config, path, text, environ, ENV_PREFIX)
    if problems:
        raise ConfigError("\n".join(problems))
    return config


def config_from_options(options: Mapping[str, Any]) -> Config:
    """Return the settings that ``options`` give, without a file and without the environment.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    try:
        return Config(**options)
    except ValidationError as exc:
        raise ConfigError("\n".join(explain(exc, Config, Path(), "", {}, ENV_PREFIX))) from None


def variables(environ: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """Return the settings of the environment, ``DATABASE_URL`` below ``REPORTGEN_*``."""
    url = environ.get("DATABASE_URL")
    return [{"source": {"url": url}} if url else {}, _Variables(environ)()]


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


def wrong_variables(environ: Mapping[str, str]) -> Iterator[str]:
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
