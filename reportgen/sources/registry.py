"""The choice of the adapter for a source URL. Only the adapter that is used is imported."""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError
from reportgen.core.path_rules import NO_RULES, PathRules
from reportgen.core.windows import Span
from reportgen.sources.base import FILE_ENDS, Source

URL_FORMS = (
    "postgresql://user@host/database, sqlite:///file.db, duckdb:///file.duckdb, "
    "the path of such a file, a path that ends in .parquet, .csv, .tsv, .txt or one of these with .gz, "
    "access logs, whose path has .log in its name, sample, or ibis+ENGINE://… (docs/engines.md)"
)

HEADS = {"sqlite": (0, b"SQLite format 3\0"), "duckdb": (8, b"DUCK")}
"""Where the first bytes of a database file say which engine wrote it, and which bytes these are."""


def open_source(settings: SourceSettings, timezone: str, span: Span, rules: PathRules = NO_RULES) -> Source:
    """Return the source that the URL names, not yet entered.

    In ``timezone``, instants (timestamps with a zone) are converted to dates. ``span`` holds the dates that a
    build reads; its last date is today. ``rules`` apply to the paths.

    Raises:
        ConfigError: no adapter reads this URL.

    """
    source = _adapter(settings, timezone, span)
    source.rules = rules
    return source


def _adapter(settings: SourceSettings, timezone: str, span: Span) -> Source:
    url = settings.url.get_secret_value()
    if engine := engine_of_file(url):
        url = f"{engine}:///{quote(url)}"
        settings = settings.model_copy(update={"url": SecretStr(url)})
    scheme = url.partition("://")[0].lower() if "://" in url else ""
    system = scheme.partition("+")[0]  # SQLAlchemy names a driver after it, which is not used here
    if system in {"postgresql", "postgres", "ecto"}:
        from reportgen.sources.postgres import PostgresSource

        return PostgresSource(settings, timezone, span)
    if scheme == "sqlite":
        from reportgen.sources.sqlite import SqliteSource

        return SqliteSource.from_settings(settings, timezone, span.first)
    if scheme == "duckdb" or (not scheme and url.lower().endswith(FILE_ENDS) and not names_log(url)):
        from reportgen.sources.duckdb import DuckdbSource

        return DuckdbSource(settings, timezone, span.first)
    if not scheme and names_log(url):
        from reportgen.sources.logs import LogSource

        return LogSource(settings, timezone, span.first)
    if scheme == "ibis+pyspark":
        from reportgen.sources.ibis.spark import SparkSource

        return SparkSource(settings, timezone)
    if scheme.startswith("ibis+"):
        from reportgen.sources.ibis.source import IbisSource

        return IbisSource(settings, timezone)
    if url == "sample":
        from reportgen.sources.sample import open_sample

        return open_sample(span.last)
    raise _no_adapter(url, scheme, system)


def _no_adapter(url: str, scheme: str, system: str) -> ConfigError:
    """Return the error for a URL that no adapter reads."""
    if system in {"mysql", "mysql2", "mariadb"}:
        return ConfigError(
            f"source.url: {scheme}:// needs the extra ibis, with the driver that docs/engines.md names. "
            "Install it, and write ibis+mysql://user@host/database"
        )
    if not scheme and os.path.isdir(url):  # noqa: PTH112 - Path raises errors for impossible names
        return ConfigError(
            f"source.url: {url} is a directory. Name files in it: {url.rstrip('/')}/access.log*"
        )
    if url.lower().endswith((".xlsx", ".xls", ".ods")):
        return ConfigError("source.url: names a spreadsheet, which cannot be read. Export it as CSV")
    no_file = f"neither a URL nor the path of an existing SQLite or DuckDB file (seen from {Path.cwd()})"
    what = f'no engine for "{scheme}://…"' if scheme else no_file
    return ConfigError(f"source.url: {what}; it can be: {URL_FORMS}")


def names_log(url: str) -> bool:
    """Whether the URL names access logs: by ``log:``, or a path with ".log" in its last part."""
    return url.startswith("log:") or ".log" in url.rpartition("/")[2].lower()


def engine_of_file(url: str) -> str | None:
    """Return the engine whose database file has this path, by the first bytes of the file.

    ``sample`` is never a file, and a pipe is not opened: that would wait for its writer.
    """
    with suppress(OSError, ValueError):
        if url != "sample" and Path(url).is_file():
            with Path(url).open("rb") as file:
                head = file.read(16)
            return next((name for name, (at, text) in HEADS.items() if head[at:].startswith(text)), None)
    return None
