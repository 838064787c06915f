"""Engines that Ibis reaches: Spark, Trino, ClickHouse, BigQuery, Snowflake, Databricks, MySQL, Oracle, MSSQL.

Ibis connects, returns the columns and their types, and provides the SQL dialect for the shared statements.
The rows come from the engine's driver, without Arrow or pandas in between. Ibis and the driver are imported
only when such a source is opened; if they are not installed, the error names them.
"""

import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from reportgen.config.problems import url_secrets
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, ReportgenError, SourceUnavailable, scrub
from reportgen.sources.base import Dialect, Finding, strip_semicolon
from reportgen.sources.ibis.errors import to_source_error

if TYPE_CHECKING:
    from reportgen.sources.ibis.engines import Engine
    from reportgen.sources.ibis.sql import StoredTable

PREFIX = "ibis+"
ROWS_PER_FETCH = 5_000


def not_installed_error(backend: str, exc: ImportError) -> ConfigError:
    """Return the error that says what is not installed, and what to install."""
    return ConfigError(
        f"source.url: {PREFIX}{backend} needs the extra ibis and the driver of its engine, "
        f"and {exc.name or exc} is not installed. Install the extra ibis and ibis-framework[{backend}]: "
        "see docs/install.md"
    )


def backend_name(url: str) -> str:
    """Return the name of the Ibis backend of a URL."""
    backend = url.partition("://")[0].lower().removeprefix(PREFIX)
    return "postgres" if backend == "postgresql" else backend


class IbisSource:
    """A table or query of an engine that Ibis connects to."""

    site: str | None = None
    notice: str | None = None

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        self._settings = settings
        self._timezone = timezone
        self._url = settings.url.get_secret_value()
        self._secrets = (*url_secrets(self._url), self._url)
        self._backend: Any = None
        self.name = public_name(self._url)

    @cached_property
    def _engine(self) -> "Engine":
        from reportgen.sources.ibis.engines import ENGINES

        return ENGINES[backend_name(self._url)]

    def __enter__(self) -> Self:
        """Connect, read the columns and their types, and begin the snapshot if the engine has one."""
        limit_s = self._settings.connect_timeout_s + self._settings.statement_timeout_s
        with self._translate_errors(), self._timeout(limit_s):
            try:
                self._backend = self._connect()
                self._run_all(self._engine.session)
                self._stored = self._describe_relation()
                self._run_all(self._engine.snapshot)
            except BaseException:
                self._disconnect()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, which ends the snapshot."""
        with self._translate_errors():
            self._disconnect()

    @property
    def dialect(self) -> Dialect:
        """Tokens for the parts of a statement that engines write differently; :meth:`rows` replaces them."""
        from reportgen.sources.ibis.sql import token_dialect

        return token_dialect(self._stored)

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement in the engine's SQL and yield its rows as they arrive."""
        if self._backend is None:
            raise RuntimeError("the source is not open")
        with self._translate_errors(), self._timeout(self._settings.statement_timeout_s):
            for row in self._fetch(self._backend.raw_sql(self.render_statement(sql, values))):
                yield [_plain_value(value) for value in row]

    def render_statement(self, sql: str, values: Mapping[str, Any]) -> str:
        """Return a shared statement in the engine's SQL."""
        from reportgen.sources.ibis.sql import render_statement

        syntax, dialect = self._engine.syntax, self._backend.dialect
        return render_statement(sql, values, self._stored, self._timezone, syntax, dialect)

    def inspect(self) -> Iterator[Finding]:
        """Yield whether a build reads one snapshot, and what is not checked."""
        consistency = self._engine.consistency
        yield Finding("warning" if consistency.startswith("none") else "ok", "state", consistency)
        yield Finding(
            "ok", "index", "not checked: the engine decides how the table is partitioned and sorted"
        )
        yield Finding(
            "ok", "rights", "not checked; no statement writes. Give reportgen a user that may only read"
        )

    def _connect(self) -> Any:
        import ibis

        with warnings.catch_warnings():
            # For example, that MySQL does not know a zone by its name: the session sets it by its offset.
            warnings.simplefilter("ignore", UserWarning)
            return ibis.connect(self._url.partition("+")[2], **self._engine.options(self._settings))

    def _disconnect(self) -> None:
        if self._backend is not None:
            backend, self._backend = self._backend, None
            backend.disconnect()

    def _cancel(self) -> None:
        if self._engine.cancel and self._backend is not None:
            self._engine.cancel(self._backend)

    def _fetch(self, result: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of a driver's result, which is a cursor or holds all rows."""
        if hasattr(result, "fetchmany"):
            while chunk := result.fetchmany(ROWS_PER_FETCH):
                yield from chunk
        else:
            yield from getattr(result, "result_rows", result)  # ClickHouse has result_rows; BigQuery iterates

    def _run_all(self, statements: Sequence[str]) -> None:
        limit_s = self._settings.statement_timeout_s
        for statement in statements:
            self._backend.raw_sql(statement.format(s=limit_s, ms=limit_s * 1000))

    def _describe_relation(self) -> "StoredTable":
        """Return the relation with the stored names of its columns and the kinds of their values.

        Raises:
            SourceError: a column is missing, or its type cannot hold the values.

        """
        from reportgen.sources.ibis.columns import describe_columns
        from reportgen.sources.ibis.sql import query_relation, table_relation

        settings = self._settings
        database = tuple(settings.schema_.split(".")) if settings.schema_ else ()
        if settings.query:
            relation = query_relation(strip_semicolon(settings.query), self._backend.dialect)
        else:
            relation = table_relation(database, settings.table)
        return describe_columns(relation, self._schema(relation, database), settings.columns, self.name)

    def _schema(self, relation: Any, database: tuple[str, ...]) -> Mapping[str, Any]:
        """Return Ibis's data type of each column of a relation, by its name."""
        from reportgen.sources.ibis.sql import select_all

        describe = self._engine.describe
        if describe is None and not self._settings.query:
            return dict(self._backend.table(self._settings.table, database=database or None).schema())
        query = select_all(relation, self._backend.dialect)
        if describe is None:
            return dict(self._backend.sql(query).schema())
        typed = self._backend.compiler.type_mapper.from_string
        found = self._fetch(self._backend.raw_sql(describe.format(query=query)))
        return {str(name): typed(str(kind)) for name, kind, *_ in found}

    @contextmanager
    def _timeout(self, limit_s: float) -> Iterator[None]:
        """Cancel a statement that takes longer than ``limit_s``, if the engine can cancel statements."""
        late, done = threading.Event(), threading.Event()

        def watch() -> None:
            wait_s = limit_s
            while not done.wait(wait_s):
                late.set()
                with suppress(Exception):  # the connection may be closing
                    self._cancel()
                wait_s = 1  # repeat: the statement may begin only now

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        except ReportgenError:
            raise
        except Exception as exc:
            if not late.is_set():
                raise
            raise SourceUnavailable(
                f"{self.name}: a statement took longer than statement_timeout_s "
                f"({self._settings.statement_timeout_s} s). Raise it in [source]"
            ) from exc
        finally:
            done.set()

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise the errors of Ibis and of any driver as :class:`SourceError`."""
        try:
            yield
        except ReportgenError:
            raise
        except ImportError as exc:  # some backends import their driver when they connect
            raise not_installed_error(backend_name(self._url), exc) from exc
        except Exception as exc:  # the drivers' error classes have no common base
            raise to_source_error(exc, self.name, self._clean(exc), self._settings) from exc

    def _clean(self, exc: Exception) -> str:
        """Return the error's message in one line, without secrets."""
        return " ".join(scrub(str(exc), self._secrets).split())


def public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    scheme, _, rest = url.partition("://")
    rest, _, parameters = rest.partition("?")
    if "@" in parameters:  # the question mark may be part of a password
        return f"{scheme.lower()}://…"
    authority, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{authority.rpartition('@')[2]}{slash}{path}"


def _plain_value(value: Any) -> Any:
    """Return a value without the time of day or bytes that some engines return for dates and exact text."""
    if isinstance(value, datetime):
        return value.date()
    return value.decode(errors="backslashreplace") if isinstance(value, bytes | bytearray) else value
