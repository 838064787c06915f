"""What every source provides: the :class:`Source` protocol, the SQL :class:`Dialect`, and helpers for names.

A source is one adapter for one engine, and a context manager: inside the ``with`` block, every statement
reads one snapshot of the data. It runs the shared statements of :mod:`reportgen.sources.statements` and
computes nothing itself. :func:`reportgen.sources.registry.open_source` chooses the adapter by URL.
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
    """How one engine writes the parts of the shared statements that differ.

    All fields but the last two are SQL:

    - ``relation`` is the table or query that is read.
    - ``stored_date`` and ``stored_visits`` are the columns as stored. Ranges of dates are compared with
      ``stored_date``, so that the engine can use an index on it.
    - ``day`` is the date, NULL if the stored value is not a date. ``visits`` is the number, NULL if the
      stored value is not a whole number. With the stored columns, a statement can tell NULL from a bad value.
    - ``path`` is the path as text.
    - ``code_point_order`` follows ``path`` in ORDER BY and makes the order that of Unicode code points.

    ``date_value`` returns the value to bind for a date. ``placeholder`` returns what stands for a named value
    in a statement: a placeholder, or the value itself as a literal. The values ``first`` and ``end`` are
    compared with ``stored_date``, all other dates with ``day``.
    """

    relation: str
    stored_date: str
    day: str
    path: str
    visits: str
    stored_visits: str
    code_point_order: str
    placeholder: Callable[[str, Any], str]
    date_value: Callable[[date], Any]


@dataclass(frozen=True)
class Finding:
    """One line of ``reportgen check``: the ``subject`` that was checked, the result, and its level."""

    level: Literal["ok", "warning", "error"]
    subject: str
    message: str


class Source(Protocol):
    """One table or query of one engine.

    ``name`` is the source's URL without secrets. ``site`` is the name of the site if the source knows it.
    ``notice`` is shown on every page if it is set.
    """

    name: str
    site: str | None
    notice: str | None

    def __enter__(self) -> Self:
        """Connect and begin the snapshot.

        Raises:
            SourceUnavailable: the engine is down, busy or too slow; a retry may succeed.
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
        """How this engine writes the parts of the shared statements that differ."""
        ...

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement with ``values`` bound by name, and yield its rows without holding all of them."""
        ...

    def inspect(self) -> Iterator[Finding]:
        """Yield what ``reportgen check`` shows of the engine: index, rights and others."""
        ...


def quoted_identifier(name: str) -> str:
    """Return an SQL identifier in double quotes, as the SQL standard defines it.

    Raises:
        ConfigError: the name holds the character NUL.

    """
    if "\0" in name:
        raise ConfigError("source: a table or column name cannot hold the character NUL")
    return '"' + name.replace('"', '""') + '"'


def table_name(settings: SourceSettings, default_schema: str) -> str:
    """Return the quoted table name with its quoted schema."""
    return f"{quoted_identifier(settings.schema_ or default_schema)}.{quoted_identifier(settings.table)}"


def strip_semicolon(query: str) -> str:
    """Return the query without a semicolon at its end, so that it can stand in a FROM clause."""
    return query.strip().rstrip(";").rstrip()
