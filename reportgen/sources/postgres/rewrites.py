"""A snapshot that is not older than a rewrite of its tables.

TRUNCATE and some forms of ALTER TABLE replace the files of a table. A transaction whose snapshot is older
than such a rewrite then sees an empty table, because the old rows are gone. So a build begins its transaction
again until its snapshot is newer than every rewrite.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
UNSUPPORTED = (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError)
"""Errors of servers that speak PostgreSQL's protocol but lack this part of its catalog."""

# pg_class is read with the snapshot; pg_relation_filenode returns what is committed now. A table that
# replaced another after the snapshot has no row in pg_class. Views and partitioned tables have no file.
# Users' tables have oids from 16384.
REWRITTEN_TABLES = """
SELECT l.relation, pg_relation_filenode(l.relation)
FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.relation >= %(first)s AND coalesce(c.relkind, 'r') IN ('r', 'p', 'm')
AND pg_relation_filenode(l.relation) IS DISTINCT FROM nullif(c.relfilenode, 0)
"""


def begin_after_rewrites(
    connection: Connection,
    begin: Callable[[Connection], T],
    timeout: Callable[[Connection], AbstractContextManager[None]],
    limit_s: float,
) -> T | None:
    """Call ``begin`` until the snapshot is newer than any rewrite of the tables that it locks.

    Return the last result of ``begin``, or None if a table is rewritten each time for ``limit_s`` seconds.
    On a server that cannot report rewrites, ``begin`` is called twice.
    """
    end = time.monotonic() + limit_s
    # The first call waits for a session that is rewriting the table, so its snapshot may be too old. The next
    # session in the queue may rewrite the table before the second call.
    begin(connection)
    before: set[tuple[Any, ...]] | None = None
    with timeout(connection), suppress(*UNSUPPORTED):
        before = _rewritten_tables(connection)
    while True:
        connection.rollback()
        result = begin(connection)
        if before is None:
            return result
        with timeout(connection):
            now = _rewritten_tables(connection)
        # This snapshot is newer than the files that the last attempt found. If they still look new to it, the
        # server numbers its files differently.
        if not now or now == before:
            return result
        if time.monotonic() > end:
            return None
        before = now


def _rewritten_tables(connection: Connection) -> set[tuple[Any, ...]]:
    """Return oid and new file of each locked table that was rewritten after the snapshot.

    Raises:
        psycopg.Error: one of ``UNSUPPORTED``, or another; the transaction is aborted.

    """
    return set(connection.execute(REWRITTEN_TABLES, {"first": 16_384}).fetchall())
