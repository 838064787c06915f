"""Where metrics come from.

A source is a context manager: inside it, every query sees one snapshot of the data. It knows how
its engine spells a few pieces of SQL (:class:`Dialect`) and runs the shared statements of
:mod:`reportgen.sources.statements`; it computes nothing itself. :func:`open_source` chooses the
adapter by URL and imports only that one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError


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
