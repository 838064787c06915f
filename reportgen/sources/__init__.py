"""Where metrics come from.

A source is a context manager: inside it, every query sees one snapshot of the data. It knows how
its engine spells a few pieces of SQL (:class:`Dialect`) and runs the shared statements of
:mod:`reportgen.sources.readings`; it computes nothing itself. :func:`open_source` chooses the
adapter by URL and imports only that one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from reportgen.config import SourceSettings
from reportgen.errors import ConfigError
from reportgen.windows import Span

FORMS = (
    "postgresql://user@host/database, sqlite:///file.db, duckdb:///file.duckdb, "
    "a path that ends in .parquet, .csv or .csv.gz, sample, or ibis+ENGINE://… (docs/engines.md)"
)


@dataclass(frozen=True)
class Dialect:
    """How one engine spells what the shared statements need. All fields but the last two are SQL.

    ``day`` is NULL where the stored value is no date, ``visits`` where it is no whole number;
    ``stored_date``, ``path`` and ``stored_visits`` are the stored values, so that NULL can be told from
    bad. Ranges of dates are compared on ``stored_date``, so that an index on it serves.
    """

    relation: str
    stored_date: str
    day: str
    path: str
    visits: str
    stored_visits: str
    code_point_order: str
    placeholder: Callable[[str], str]
    date_value: Callable[[date], Any]


@dataclass(frozen=True)
class Finding:
    """One line of ``reportgen check``: ``subject`` is ok, worth a warning, or wrong."""

    level: Literal["ok", "warning", "error"]
    subject: str
    message: str


class Source(Protocol):
    """One engine, opened on one table or query.

    ``name`` says which data this is, without secrets. ``notice`` is shown on every page if set.
    """

    name: str
    site: str | None
    notice: str | None

    def __enter__(self) -> Self:
        """Connect and begin the snapshot.

        Raises:
            SourceUnavailable: down, busy or too slow; a later try may work.
            SourceError: the table, its columns or their types are not as configured.

        """
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the snapshot and disconnect."""
        ...

    @property
    def dialect(self) -> Dialect:
        """How this engine spells the shared statements."""
        ...

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement and yield its rows without holding them all."""
        ...

    def inspect(self) -> Iterator[Finding]:
        """Yield what an operator should know: index, rights, and so on."""
        ...


def quoted(name: str) -> str:
    """Return an SQL identifier, quoted by the standard's rule."""
    if "\0" in name:
        raise ConfigError("source: a table or column name cannot hold the character NUL")
    return '"' + name.replace('"', '""') + '"'


def table_name(settings: SourceSettings, default_schema: str) -> str:
    """Return the schema-qualified, quoted table name."""
    return f"{quoted(settings.schema_ or default_schema)}.{quoted(settings.table)}"


def bare_query(query: str) -> str:
    """Return the query as it can stand in a FROM clause: without the closing semicolon."""
    return query.strip().rstrip(";").rstrip()


def open_source(settings: SourceSettings, timezone: str, span: Span) -> Source:
    """Return the source, not yet entered, that the URL names.

    ``timezone`` cuts instants (timestamps with a zone) to dates; ``span`` holds the dates that will be
    read, the last of which is today.

    Raises:
        ConfigError: no engine takes this URL.

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
    if scheme.startswith("ibis+"):
        from reportgen.sources.ibis import open_ibis

        return open_ibis(settings, timezone)
    if url == "sample":
        from reportgen.sources.sample import open_sample

        return open_sample(span.last)
    what = f'no engine for "{scheme}://…"' if scheme else "not understood"
    raise ConfigError(f"source.url: {what}; it can be: {FORMS}")
