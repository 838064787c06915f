"""Settings: ``reportgen.toml``, overridden by the environment, overridden by options.

:func:`load_config` returns one frozen :class:`Config`, or raises one :class:`ConfigError` that names every
problem, each with its key and its place. Secrets are ``SecretStr``: no repr, message or traceback shows them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
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
from reportgen.config.origins import ENV_PREFIX, Layer, environment_layer, option_layer
from reportgen.config.problems import Problem, did_you_mean, problem_lines, problems_of, url_secrets
from reportgen.config.types import (
    BasePath,
    BucketAddress,
    Directory,
    ExistingDirectory,
    HeaderName,
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

ENV_ONLY = {"REPORTGEN_DEBUG", "REPORTGEN_LOG", "REPORTGEN_PASSWORD"}
"""Variables with our prefix that are not settings: they change one run, not the report."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Section):
    """``[source.columns]``: the names of the three columns in the table or the query's result."""

    date: Text = "date"
    path: Text = "path"
    visits: Text = "visits"


class SourceSettings(_Section):
    """``[source]``: where to read the metrics, and how long to wait for them."""

    url: SecretStr = SecretStr("sample")
    url_env: VariableName | None = None
    schema_: Text | None = Field(default=None, alias="schema")
    table: Text = "metrics"
    columns: Columns = Columns()
    query: Text | None = None
    connect_timeout_s: Seconds = 10
    statement_timeout_s: Seconds = 60


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
        windows = info.data.get("windows")  # absent if it is wrong itself
        if windows is not None and name not in windows:
            raise ValueError(f"is not one of windows ({', '.join(windows)}). Write one of them.")
        return name

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that decides which date is today."""
        return ZoneInfo(self.timezone)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that must not be shown: see :func:`reportgen.core.errors.scrub`."""
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
        """Take only the arguments: :func:`load_config` reads and merges file and environment."""
        return (init_settings,)


def load_config(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> Config:
    """Read, merge and check all settings.

    ``file`` must exist if it is given; ``reportgen.toml`` in the working directory may be absent.
    ``options`` is nested like the file, and overrides the file and the environment.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    layers = [read_file(file), *variables(environ), option_layer(options or {})]
    merged, problems = merge_layers(layers, environ)
    config, wrong = validate(merged)
    lines = [*wrong_variables(environ), *empty_database_url(merged, environ)]
    return config_or_error(config, [*lines, *problem_lines([*problems, *wrong], layers)])


def config_from_options(options: Mapping[str, Any]) -> Config:
    """Return the settings that ``options`` give, without a file and without the environment.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    config, problems = validate(options)
    return config_or_error(config, list(problem_lines(problems, [option_layer(options)])))


def validate(settings: Mapping[str, Any]) -> tuple[Config | None, list[Problem]]:
    """Return the checked settings, or ``None`` and what is wrong with them."""
    try:
        return Config(**settings), []
    except ValidationError as exc:
        return None, list(problems_of(exc, Config))


def config_or_error(config: Config | None, problems: list[str]) -> Config:
    """Return ``config``.

    Raises:
        ConfigError: with ``problems``, one a line, if there are any.

    """
    if problems or config is None:
        raise ConfigError("\n".join(problems))
    return config


def variables(environ: Mapping[str, str]) -> list[Layer]:
    """Return the settings of the environment; ``REPORTGEN_*`` override ``DATABASE_URL``."""
    url = environ.get("DATABASE_URL")
    database_url = Layer({"source": {"url": url}} if url else {}, lambda _: "DATABASE_URL")
    return [database_url, environment_layer(environ, _Variables(environ)())]


class _Variables(EnvSettingsSource):
    """Reads ``REPORTGEN_*`` from the environment that is passed in, not from that of the process."""

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
    """Return whether a variable's value is UTF-8: Python reads other bytes as lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _sections() -> dict[str, type[BaseModel]]:
    """Return the model of each section, by the variable that would set the section as a whole."""
    return {
        "REPORTGEN_SOURCE": SourceSettings,
        "REPORTGEN_SOURCE__COLUMNS": Columns,
        "REPORTGEN_OUTPUT": OutputSettings,
        "REPORTGEN_SERVER": ServerSettings,
    }


def wrong_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each ``REPORTGEN_*`` variable that is not a setting or cannot be read."""
    known = [ENV_PREFIX + name.upper() for name in Config.model_fields]
    for name in sorted(environ):
        setting = name.upper()  # names of variables are compared without regard to case
        if not setting.startswith(ENV_PREFIX) or setting in ENV_ONLY:
            continue
        if section := _sections().get(setting):
            first = next(iter(section.model_fields)).rstrip("_").upper()
            yield f"{name} is a section, not a value. Set each setting in it, such as {setting}__{first}."
        elif setting.partition("__")[0] not in known:
            yield f"{name} is not a setting. {did_you_mean(setting, known)}".rstrip()
        elif not _is_text(environ[name]):
            yield f"{name} is not a UTF-8 text. Set it to one."


def empty_database_url(merged: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a line if ``DATABASE_URL`` is empty, and the settings name no other source."""
    source = merged.get("source", {})
    if (
        environ.get("DATABASE_URL") == ""
        and isinstance(source, Mapping)
        and not {"url", "url_env"} & source.keys()
    ):
        yield "DATABASE_URL is empty, and no other setting names a source. Set it to the URL, or unset it."
