"""Adding visits to the table, in one transaction of a connection that is opened for it."""

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import unquote

Rows = list[tuple[str, str, int]]
"""Date, path and visits, sorted: writers that lock rows in the same order cannot deadlock."""

WAIT_S = 10
"""Maximum time to wait for a lock or an answer of the database."""
CREATE = (
    "CREATE TABLE IF NOT EXISTS metrics"
    " (date date NOT NULL, path text NOT NULL, visits bigint NOT NULL, PRIMARY KEY (date, path))"
)
ADD = (
    "INSERT INTO metrics (date, path, visits) {} "
    "ON CONFLICT (date, path) DO UPDATE SET visits = metrics.visits + excluded.visits"
)
ADD_SQLITE = ADD.format("VALUES (?, ?, ?)")
ADD_POSTGRESQL = ADD.format("SELECT * FROM unnest(%s::date[], %s::text[], %s::bigint[])")
COLUMNS = "The table must have the columns date, path and visits, and no others without a default"
ADVICE = {
    "on conflict": "The table needs a unique key: CREATE UNIQUE INDEX visits_of_path ON metrics (date, path)",
    "permission denied": "The role needs GRANT SELECT, INSERT, UPDATE ON metrics, or the right to create it",
    "column": COLUMNS,
    "not null constraint": COLUMNS,
}
"""What to do, by a part of the database's message."""


_writing_sqlite = Lock()
os.register_at_fork(  # SQLite must not be in use: the child would see locks of the parent as its own
    before=_writing_sqlite.acquire,
    after_in_parent=_writing_sqlite.release,
    after_in_child=_writing_sqlite.release,
)


class UnsureCommitError(Exception):
    """The connection failed during COMMIT: the visits were written, or not."""


def writer_for(url: str) -> Callable[[Rows], None]:
    """Return the function that adds rows to the table ``metrics`` of a database, and creates it if missing.

    Raises:
        ValueError: the URL does not name a database that can be written.

    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return partial(_write_sqlite, _sqlite_file(rest))
    if scheme.partition("+")[0] in {"postgresql", "postgres"}:
        return partial(_write_postgresql, _postgresql_parameters(f"postgresql://{rest}"))
    raise ValueError("url: not a database that can be written. Write sqlite:///file.db or postgresql://…")


def advice_for(error: Exception) -> str:
    """Return the message of an error on one line, and what to do if that is known."""
    text = " ".join(str(error).split())
    advice = (advice for part, advice in ADVICE.items() if part in text.lower())
    return ". ".join([text.rstrip("."), *list(advice)[:1]])


def _sqlite_file(rest: str) -> Path:
    if not rest.startswith("/") or not rest.strip("/"):
        raise ValueError(
            "url: write sqlite:///file.db, or sqlite:////directory/file.db with an absolute path"
        )
    file = Path(unquote(rest[1:])).absolute()
    if file.is_dir() or not file.parent.is_dir():
        raise ValueError(
            f"url: {file} is a directory, or lies in one that does not exist."
            " An absolute path has four slashes: sqlite:////directory/file.db"
        )
    return file


def _write_sqlite(file: Path, rows: Rows) -> None:
    """Add rows. An error means that nothing was written, also one of COMMIT: SQLite rolls back."""
    with (
        _writing_sqlite,
        closing(sqlite3.connect(file, timeout=WAIT_S, isolation_level=None)) as connection,
    ):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(CREATE)
        connection.executemany(ADD_SQLITE, rows)
        connection.execute("COMMIT")


def _postgresql_parameters(url: str) -> dict[str, Any]:
    """Return the parameters of the connection, with time limits for those that the URL does not set."""
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as exc:
        raise ImportError(f"{exc}: install reportgen-counter[postgresql]") from exc
    limits = {
        "application_name": "reportgen-counter", "connect_timeout": WAIT_S, "tcp_user_timeout": WAIT_S * 1000,
        "keepalives_idle": WAIT_S, "keepalives_interval": 5, "keepalives_count": 3,
    }  # fmt: skip
    with suppress(ProgrammingError):
        parameters: dict[str, Any] = {**limits, **conninfo_to_dict(url)}
        # libpq reads a part of a password with "@" or "/" as host or port, and would show it in messages.
        if "@" not in parameters.get("host", "") and re.fullmatch(r"[\d,]*", parameters.get("port", "")):
            return parameters
    raise ValueError(
        "url: is not a valid URL of PostgreSQL. Write postgresql://user:password@host/database,"
        " and percent-encode special characters of the password"
    )


def _write_postgresql(parameters: dict[str, Any], rows: Rows) -> None:
    """Add rows.

    Raises:
        UnsureCommitError: COMMIT failed. After any other error nothing was written.

    """
    import psycopg
    from psycopg import errors

    with closing(psycopg.connect(**parameters, autocommit=True)) as connection:
        # CREATE TABLE IF NOT EXISTS needs the right to create, even if the table exists.
        if connection.execute("SELECT to_regclass('metrics')").fetchone() == (None,):
            # Another process creates it at the same moment: the error depends on how far it is.
            with suppress(errors.UniqueViolation, errors.DuplicateObject, errors.DuplicateTable):
                connection.execute(CREATE)
        connection.execute("BEGIN")
        connection.execute(f"SET LOCAL statement_timeout = '{WAIT_S}s'")
        connection.execute(ADD_POSTGRESQL, [list(column) for column in zip(*rows, strict=True)])
        try:
            connection.execute("COMMIT")
        except psycopg.Error as exc:
            raise UnsureCommitError(str(exc)) from exc
