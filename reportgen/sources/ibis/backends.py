"""The Ibis backends that a source URL can name.

Ibis and the driver are imported only when such a source is opened.
"""

import importlib

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError
from reportgen.sources.ibis.source import PREFIX, IbisSource, backend_name, not_installed_error

BACKENDS = (
    "bigquery",
    "clickhouse",
    "databricks",
    "duckdb",
    "mssql",
    "mysql",
    "oracle",
    "postgres",
    "pyspark",
    "snowflake",
    "trino",
)


def open_ibis(settings: SourceSettings, timezone: str) -> IbisSource:
    """Return the source of a URL ``ibis+<backend>://…``, not yet entered.

    Raises:
        ConfigError: the backend is not known, or Ibis or its driver is not installed.

    """
    backend = backend_name(settings.url.get_secret_value())
    if backend not in BACKENDS:
        raise ConfigError(
            f'source.url: "{PREFIX}{backend}" is not a known engine; '
            f"after {PREFIX} it can be {', '.join(BACKENDS)}"
        )
    try:
        importlib.import_module(f"ibis.backends.{backend}")
    except ImportError as exc:
        raise not_installed_error(backend, exc) from exc
    if backend == "pyspark":
        from reportgen.sources.ibis.spark import SparkSource

        return SparkSource(settings, timezone)
    return IbisSource(settings, timezone)
