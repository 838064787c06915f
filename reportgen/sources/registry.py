"""The choice of the adapter for a source URL. Only the adapter that is used is imported."""

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError
from reportgen.core.windows import Span
from reportgen.sources.base import Source

URL_FORMS = (
    "postgresql://user@host/database, sqlite:///file.db, duckdb:///file.duckdb, "
    "a path that ends in .parquet, .csv or .csv.gz, sample, or ibis+ENGINE://… (docs/engines.md)"
)


def open_source(settings: SourceSettings, timezone: str, span: Span) -> Source:
    """Return the source that the URL names, not yet entered.

    In ``timezone``, instants (timestamps with a zone) are converted to dates. ``span`` holds the dates that a
    build reads; its last date is today.

    Raises:
        ConfigError: no adapter reads this URL.

    """
    url = settings.url.get_secret_value()
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    if scheme in {"postgresql", "postgres"}:
        from reportgen.sources.postgres import PostgresSource

        return PostgresSource(settings, timezone)
    if scheme == "sqlite":
        from reportgen.sources.sqlite import SqliteSource

        return SqliteSource.from_settings(settings)
    if scheme == "duckdb" or (not scheme and url.lower().endswith((".parquet", ".csv", ".csv.gz"))):
        from reportgen.sources.duckdb import DuckdbSource

        return DuckdbSource(settings, timezone, span.first)
    if scheme == "ibis+pyspark":
        from reportgen.sources.ibis.spark import SparkSource

        return SparkSource(settings, timezone)
    if scheme.startswith("ibis+"):
        from reportgen.sources.ibis.source import IbisSource

        return IbisSource(settings, timezone)
    if url == "sample":
        from reportgen.sources.sample import open_sample

        return open_sample(span.last)
    what = f'no engine for "{scheme}://…"' if scheme else "not understood"
    raise ConfigError(f"source.url: {what}; it can be: {URL_FORMS}")
