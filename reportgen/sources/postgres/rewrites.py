"""Whether a table was rewritten after a snapshot was taken: to that snapshot it may hold nothing."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]
NO_ANSWER = (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.InternalError)
"""What servers say that speak PostgreSQL's protocol, but lack this part of its catalog."""

# pg_class is read with the snapshot, pg_relation_filenode looks at what is committed now. A table that took
# the place of another after the snapshot has no row in pg_class; views and parents of partitions no file.
# From 16384 on, oids are the users'.
REWRITTEN = """
SELECT l.relation, pg_relation_filenode(l.relation)
FROM pg_locks l LEFT JOIN pg_class c ON c.oid = l.relation
WHERE l.pid = pg_backend_pid() AND l.relation >= %(first)s AND coalesce(c.relkind, 'r') IN ('r', 'p', 'm')
AND pg_relation_filenode(l.relation) IS DISTINCT FROM nullif(c.relfilenode, 0)
"""


def begun(
    connection: Connection,
    begin: Callable[[Connection], T],
    deadline: Callable[[Connection], AbstractContextManager[None]],
    limit_s: float,
) -> T | None:
    """Begin until the snapshot is of no time before a rewrite of a table that ``begin`` locks.

    Return what ``begin`` returned, or None if somebody rewrites the table each time for ``limit_s`` seconds.
    """
    end = time.monotonic() + limit_s
    # Once to wait for whoever rewrites the table (ALTER TABLE, TRUNCATE and INSERT), and again: to a snapshot
    # from before a rewrite the table is empty. The next in the queue may then rewrite it once more.
    begin(connection)
    before: set[tuple[Any, ...]] | None = None
    with deadline(connection), suppress(*NO_ANSWER):
        before = _rewritten(connection)
    while True:
        connection.rollback()
        found = begin(connection)
        if before is None:
            return found
        with deadline(connection):
            now = _rewritten(connection)
        # The same files as before, which this snapshot would know: the server numbers them in another way.
        if not now or now == before:
            return found
        if time.monotonic() > end:
            return None
        before = now


def _rewritten(connection: Connection) -> set[tuple[Any, ...]]:
    """Return the locked tables, with their new files, that the snapshot sees as they were before.

    Raises:
        psycopg.Error: among them ``NO_ANSWER``; the transaction is aborted.

    """
    return set(connection.execute(REWRITTEN, {"first": 16_384}).fetchall())
