"""Engines that Ibis reaches: Spark, Trino, ClickHouse, BigQuery, Snowflake, Databricks, MySQL, Oracle, MSSQL.

Ibis connects, tells which columns a table has, and brings the dialect in which the shared statements are
spelled; what comes back are rows of the engine's own driver, without Arrow or pandas in between. Ibis and the
driver are imported when such a source is opened, and named in an error where they are missing.
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
from reportgen.sources.base import Dialect, Finding, bare_query
from reportgen.sources.ibis.errors import translated

if TYPE_CHECKING:
    from reportgen.sources.ibis.engines import Engine
    from reportgen.sources.ibis.sql import Stored

PREFIX = "ibis+"
ROWS_AT_ONCE = 5_000


def lacking(backend: str, exc: ImportError) -> ConfigError:
    """Return the error that names what is not installed, and what to install."""
    return ConfigError(
        f"source.url: {PREFIX}{backend} needs the extra ibis and the driver of its engine, "
        f"and {exc.name or exc} is not installed. Install the extra ibis and ibis-framework[{backend}]: "
        "see docs/install.md"
    )


def backend_of(url: str) -> str:
    """Return what Ibis calls the engine of a URL."""
    backend = url.partition("://")[0].lower().removeprefix(PREFIX)
    return "postgres" if backend == "postgresql" else backend


class IbisSource:
    """A table or query of one engine that Ibis connects to."""

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

        return ENGINES[backend_of(self._url)]

    def __enter__(self) -> Self:
        """Connect, learn the columns and their types, and begin the snapshot if the engine has one."""
        with (
            self._translate_errors(),
            self._deadline(self._settings.connect_timeout_s + self._settings.statement_timeout_s),
        ):
            try:
                self._backend = self._connect()
                self._tell(self._engine.session)
                self._stored = self._described()
                self._tell(self._engine.snapshot)
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, which ends the snapshot."""
        with self._translate_errors():
            self._close()

    @property
    def dialect(self) -> Dialect:
        """Tokens for the pieces that engines spell differently: :meth:`rows` knows what they stand for."""
        from reportgen.sources.ibis.sql import dialect_of

        return dialect_of(self._stored)

    def rows(self, sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
        """Run one statement, spelled for the engine, and yield its rows as they come."""
        if self._backend is None:
            raise RuntimeError("the source is not open")
        with self._translate_errors(), self._deadline(self._settings.statement_timeout_s):
            for row in self._fetched(self._backend.raw_sql(self.spelled(sql, values))):
                yield [_plain(value) for value in row]

    def spelled(self, sql: str, values: Mapping[str, Any]) -> str:
        """Return a shared statement as the engine gets it."""
        from reportgen.sources.ibis.sql import spelled

        words, dialect = self._engine.words, self._backend.dialect
        return spelled(sql, values, self._stored, self._timezone, words, dialect)

    def inspect(self) -> Iterator[Finding]:
        """Say what the engine promises, and what nobody looked at."""
        told = self._engine.one_state
        yield Finding("warning" if told.startswith("none") else "ok", "state", told)
        yield Finding(
            "ok", "index", "not looked for: how the table is cut and sorted is the engine's business"
        )
        yield Finding(
            "ok", "rights", "not looked at; no statement writes. Give reportgen a user that may only read"
        )

    def _connect(self) -> Any:
        import ibis

        with warnings.catch_warnings():
            # Of a zone that MySQL does not know by name, for one: our session sets it by its offset.
            warnings.simplefilter("ignore", UserWarning)
            return ibis.connect(self._url.partition("+")[2], **self._engine.options(self._settings))

    def _close(self) -> None:
        if self._backend is not None:
            backend, self._backend = self._backend, None
            backend.disconnect()

    def _cancel(self) -> None:
        if self._engine.cancel and self._backend is not None:
            self._engine.cancel(self._backend)

    def _fetched(self, result: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows of what a driver returned: a cursor, or all rows at once."""
        if hasattr(result, "fetchmany"):
            while chunk := result.fetchmany(ROWS_AT_ONCE):
                yield from chunk
        else:
            yield from getattr(result, "result_rows", result)  # ClickHouse's, and BigQuery's

    def _tell(self, statements: Sequence[str]) -> None:
        limit_s = self._settings.statement_timeout_s
        for statement in statements:
            self._backend.raw_sql(statement.format(s=limit_s, ms=limit_s * 1000))

    def _described(self) -> "Stored":
        """Return the relation, with the true names and the kinds of its columns.

        Raises:
            SourceError: a column is missing, or holds neither what it must nor text of it.

        """
        from reportgen.sources.ibis.columns import stored_as
        from reportgen.sources.ibis.sql import query_of, table_of

        settings = self._settings
        database = tuple(settings.schema_.split(".")) if settings.schema_ else ()
        if settings.query:
            relation = query_of(bare_query(settings.query), self._backend.dialect)
        else:
            relation = table_of(database, settings.table)
        return stored_as(relation, self._schema(relation, database), settings.columns, self.name)

    def _schema(self, relation: Any, database: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the types of a relation's columns, as Ibis names them."""
        from reportgen.sources.ibis.sql import all_of

        describe = self._engine.describe
        if describe is None and not self._settings.query:
            return dict(self._backend.table(self._settings.table, database=database or None).schema())
        query = all_of(relation, self._backend.dialect)
        if describe is None:
            return dict(self._backend.sql(query).schema())
        typed = self._backend.compiler.type_mapper.from_string
        found = self._fetched(self._backend.raw_sql(describe.format(query=query)))
        return {str(name): typed(str(kind)) for name, kind, *_ in found}

    @contextmanager
    def _deadline(self, limit_s: float) -> Iterator[None]:
        """End a statement that takes too long, where the engine lets itself be asked."""
        late, done = threading.Event(), threading.Event()

        def watch() -> None:
            wait_s = limit_s
            while not done.wait(wait_s):
                late.set()
                with suppress(Exception):  # the connection may be going away
                    self._cancel()
                wait_s = 1  # again and again: what was asked for may begin only now

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
        """Turn the errors of Ibis and of any driver into ours."""
        try:
            yield
        except ReportgenError:
            raise
        except ImportError as exc:  # some drivers are looked for no sooner than they connect
            raise lacking(backend_of(self._url), exc) from exc
        except Exception as exc:  # each driver has errors of its own, and none is a base of all
            raise translated(exc, self.name, self._clean(exc), self._settings) from exc

    def _clean(self, exc: Exception) -> str:
        """Return a message without secrets, in one line."""
        return " ".join(scrub(str(exc), self._secrets).split())


def public_name(url: str) -> str:
    """Return the URL without user, password and parameters."""
    scheme, _, rest = url.partition("://")
    rest, _, asked = rest.partition("?")
    if "@" in asked:  # or is it a password with a question mark?
        return f"{scheme.lower()}://…"
    authority, slash, path = rest.partition("/")
    return f"{scheme.lower()}://{authority.rpartition('@')[2]}{slash}{path}"


def _plain(value: Any) -> Any:
    """Return a value as the readings take it: some engines give days with a time, and exact text as bytes."""
    if isinstance(value, datetime):
        return value.date()
    return value.decode(errors="backslashreplace") if isinstance(value, bytes | bytearray) else value
