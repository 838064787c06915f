"""Which of Ibis's backends reads a source URL.

Ibis and the driver are imported when such a source is opened.
"""

import importlib

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError
from reportgen.sources.ibis.source import PREFIX, IbisSource, backend_of, lacking

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


def open_ibis(settings: SourceSettings, timezone: str) -> "IbisSource":
    """Return the source, not yet entered, of a URL ``ibis+<backend>://…``.

    Raises:
        ConfigError: no such backend, or Ibis or its driver is not installed.

    """
    backend = backend_of(settings.url.get_secret_value())
    if backend not in BACKENDS:
        raise ConfigError(
            f'source.url: no engine "{PREFIX}{backend}"; after {PREFIX} it can be {", ".join(BACKENDS)}'
        )
    try:
        importlib.import_module(f"ibis.backends.{backend}")
    except ImportError as exc:
        raise lacking(backend, exc) from exc
    if backend == "pyspark":
        from reportgen.sources.ibis.spark import SparkSource

        return SparkSource(settings, timezone)
    return IbisSource(settings, timezone)
