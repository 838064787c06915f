"""Faults of the database and of the network: the build fails in time, says why, and changes nothing.

Real builds read from a real PostgreSQL server through a proxy that knows the protocol. The cases of
:data:`CASES` run at the same time, because most of them only wait. The fixture ``results`` starts each case
once, in its own folder.
"""

import hashlib
import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import psycopg
import pytest

from reportgen.build.verify import check_not_emptied
from reportgen.config.settings import load_config
from reportgen.core.errors import SourceEmptied
from reportgen.metrics.dataset import read_dataset
from reportgen.pages.exports import paths_csv
from reportgen.publish.release import current_release
from tests.support.postgres import Database, Fault, Proxy, temporary_database
from tests.support.services import eventually, reportgen

pytestmark = pytest.mark.slow

CONNECT_S, STATEMENT_S, GRACE_S = 2, 1, 2
SLACK_S = 15
"""Seconds for the start of Python on a busy machine."""
LIMITS = {
    "REPORTGEN_SOURCE__CONNECT_TIMEOUT_S": str(CONNECT_S),
    "REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S": str(STATEMENT_S),
}
PATIENT = {"REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S": "30"}
SECRET = "geheim"
WINDOWS = {"REPORTGEN_WINDOWS": "7d"}
"""A single window, for a quick build."""

CONNECTING = ["ssl request", "ssl answer", "startup", "authentication", "parameter status", "ready"]
RUNNING = [
    ("query", "LOCK TABLE"),
    ("complete", "LOCK TABLE"),
    ("parse", "classified"),
    ("bind", "classified"),
    ("parsed", "classified"),
    ("row description", "per_path"),
    ("rows", "per_path"),
    ("complete", "per_path"),
]
NO_ANSWER = f"no whole answer within {STATEMENT_S + GRACE_S} s"
CASES = {
    **{Fault(phase, "reset"): ("cannot connect", 0) for phase in CONNECTING},
    **{Fault(phase, "silent"): ("cannot connect: connection timeout", CONNECT_S) for phase in CONNECTING},
    Fault("authentication", "drip"): ("cannot connect: connection timeout", CONNECT_S),
    **{Fault(phase, "reset", sql): ("Try again", 0) for phase, sql in RUNNING},
    **{Fault(phase, "silent", sql): (NO_ANSWER, STATEMENT_S + GRACE_S) for phase, sql in RUNNING},
    Fault("rows", "drip", "per_path"): (NO_ANSWER, STATEMENT_S + GRACE_S),
}
"""Each fault, with a part of the error message, and the seconds after which the build fails."""


@dataclass(frozen=True)
class FaultResult:
    """The results of a build with a fault, and of the next build without it (``again``)."""

    status: int
    document: dict[str, Any]
    stderr: str
    seconds: float
    happened: bool
    before: dict[str, str]
    after: dict[str, str]
    again: dict[str, Any] | None


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    """Start a PostgreSQL server for this module, with ten days of ten paths."""
    with temporary_database() as server:
        yield server


@pytest.fixture(scope="module")
def good(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a published report of that database."""
    folder = tmp_path_factory.mktemp("good")
    assert successful_build(folder, db.url)["status"] == "published"
    return folder


@pytest.fixture
def site(good: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder."""
    return shutil.copytree(good, tmp_path / "site", symlinks=True)


@pytest.fixture(scope="module")
def results(
    db: Database, good: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Fault, Future[FaultResult]]]:
    """Return the result of every case; six cases run at a time."""
    root = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(6) as pool:
        yield {
            fault: pool.submit(run_case, db, fault, shutil.copytree(good, root / str(number), symlinks=True))
            for number, fault in enumerate(CASES)
        }


def run_case(db: Database, fault: Fault, folder: Path) -> FaultResult:
    proxy = Proxy(db.proxy.target)
    try:
        proxy.fault = fault
        before, start = published(folder), time.monotonic()
        done = run_build(folder, url_for(proxy.port), **LIMITS)
        seconds, after = time.monotonic() - start, published(folder)
        proxy.fault = None
        # A build keeps no state that depends on the phase, so one phase of each kind of fault is enough.
        repeated = fault.phase in {"ready", "rows"}
        again = successful_build(folder, url_for(proxy.port), "--if-changed") if repeated else None
        document = json.loads(done.stdout)
        return FaultResult(
            done.returncode, document, done.stderr, seconds, proxy.happened.is_set(), before, after, again
        )
    finally:
        proxy.close()


def url_for(*ports: int, user: str = "postgres") -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://{user}:{SECRET}@{hosts}/postgres"


def run_build(folder: Path, url: str, *options: str, **settings: str) -> CompletedProcess[str]:
    return reportgen(folder, "build", "--json", *options, DATABASE_URL=url, **WINDOWS, **settings)


def successful_build(folder: Path, url: str, *options: str, **settings: str) -> dict[str, Any]:
    """Run a build that succeeds; return the JSON document that it prints."""
    done = run_build(folder, url, *options, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def assert_build_fails(folder: Path, url: str, error: str, *words: str, **settings: str) -> None:
    """Run a build that fails with ``error`` and ``words``, shows no password, and changes no release."""
    before = published(folder)
    done = run_build(folder, url, **(LIMITS | settings))
    assert done.returncode == 1, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert (document["error"], document["retry"]) == (error, error == "SourceUnavailable"), document
    assert [word for word in words if word not in document["message"]] == [], document["message"]
    assert SECRET not in done.stdout + done.stderr
    assert published(folder) == before


def published(folder: Path) -> dict[str, str]:
    """Return the target of ``current`` and the hash of each file of each release."""
    output = folder / "output"
    files = (file for file in (output / "releases").rglob("*") if file.is_file())
    found = {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert not list((output / "state" / "staging").iterdir())
    return found | {"current": str((output / "current").readlink())}


def read_report(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "output/current/7d/report.json").read_text())
    daily, listed = (sum(row["visits"] for row in document[part]) for part in ("daily", "paths"))
    assert daily == document["total"] == listed + document["other"]
    return document


def stored_visits(db: Database, table: str = "metrics") -> int:
    ((total,),) = db.execute(f"SELECT sum(visits) FROM {table} WHERE date > current_date - 7")
    return int(total)


@pytest.mark.parametrize("fault", CASES, ids=lambda fault: f"{fault.what}-{fault.statement}-{fault.phase}")
def test_whatever_happens_to_the_connection_the_build_ends_in_time_and_the_last_report_stays(
    fault: Fault, results: dict[Fault, Future[FaultResult]]
) -> None:
    """The connection is reset, silent or slow, at each phase of the protocol."""
    found, (words, wait_s) = results[fault].result(), CASES[fault]
    assert found.happened
    assert (found.status, found.document["error"]) == (1, "SourceUnavailable"), found
    assert words in found.document["message"]
    assert found.document["retry"] is True
    assert SECRET not in json.dumps(found.document) + found.stderr
    assert wait_s <= found.seconds < wait_s + SLACK_S
    assert found.after == found.before
    assert found.again is None or found.again["status"] == "unchanged"


def test_a_server_that_refuses(site: Path, db: Database) -> None:
    proxy = Proxy(db.proxy.target)
    url = url_for(proxy.port)
    proxy.close()
    assert_build_fails(site, url, "SourceUnavailable", "Connection refused", "Check host and port")
    assert successful_build(site, db.url, "--if-changed")["status"] == "unchanged"


def test_a_server_that_freezes_in_the_middle_of_a_statement(site: Path, db: Database) -> None:
    """The server's kernel acknowledges all data, so TCP keep-alive does not detect it."""
    with db.locked(), background(lambda: run_build(site, db.url, **PATIENT | LIMITS)) as build:
        eventually(db.readers)
        frozen = db.readers()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            done = build.result(STATEMENT_S + GRACE_S + SLACK_S)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
    document = json.loads(done.stdout)
    assert (document["error"], document["retry"]) == ("SourceUnavailable", True)
    assert NO_ANSWER in document["message"]
    assert "statement_timeout_s" in document["message"]
    assert successful_build(site, db.url, "--if-changed")["status"] == "unchanged"


@contextmanager
def background(work: Callable[[], Any]) -> Iterator["Future[Any]"]:
    """Run ``work`` in a thread during the block."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(work)


def test_a_lock_held_on_the_table_is_named(site: Path, db: Database) -> None:
    with db.locked():
        start = time.monotonic()
        assert_build_fails(
            site, db.url, "SourceUnavailable", "lock timeout", "Another session holds a lock on the table"
        )
        assert time.monotonic() - start < STATEMENT_S + GRACE_S + SLACK_S
    assert successful_build(site, db.url, "--if-changed")["status"] == "unchanged"


def test_a_query_cannot_lift_its_own_time_limit(site: Path, db: Database) -> None:
    """A query can change the server's limit, which is a session setting, so the client has a timeout too."""
    # The first statement removes the limit, the second is slow.
    query = (
        "SELECT * FROM metrics WHERE (SELECT CASE WHEN current_setting('statement_timeout') = '0'"
        " THEN pg_sleep(100)::text ELSE set_config('statement_timeout', '0', true) END) IS NOT NULL"
    )
    start = time.monotonic()
    assert_build_fails(site, db.url, "SourceUnavailable", NO_ANSWER, REPORTGEN_SOURCE__QUERY=query)
    assert time.monotonic() - start < STATEMENT_S + GRACE_S + SLACK_S


def test_a_restart_of_the_server_in_the_middle_of_a_build(site: Path, db: Database) -> None:
    """The build fails, and the next build succeeds without any action."""
    proxy = Proxy(db.proxy.target)

    def restart() -> None:
        db.stop()
        db.start()

    proxy.fault = Fault("rows", restart, "per_path")
    before = published(site)
    done = run_build(site, url_for(proxy.port), **LIMITS | PATIENT)
    proxy.fault = None
    document = json.loads(done.stdout)
    if proxy.happened.is_set() and done.returncode == 0:  # the rest was sent before the restart
        pytest.fail("the build ended before the restart: stop the server earlier")
    assert (done.returncode, document["error"], document["retry"]) == (1, "SourceUnavailable", True)
    assert published(site) == before
    assert successful_build(site, url_for(proxy.port), "--if-changed")["status"] == "unchanged"
    proxy.close()


def test_failover_to_an_older_snapshot_in_the_middle_of_a_build_mixes_nothing(
    site: Path, db: Database
) -> None:
    """A build that loses its server fails; the next build reads everything from the other server."""
    with temporary_database() as older:
        older.execute("DELETE FROM metrics WHERE path IN ('/0', '/1')")
        first = Proxy(db.proxy.target)
        url = url_for(first.port, older.proxy.port)
        assert successful_build(site, url, "--if-changed")["status"] == "unchanged"

        first.fault = Fault("complete", first.close, "per_path")
        assert_build_fails(site, url, "SourceUnavailable", "Try again", **PATIENT)
        assert first.happened.is_set()

        assert successful_build(site, url)["status"] == "published"
        assert read_report(site)["total"] == stored_visits(older) == stored_visits(db) - 3
        assert {row["path"] for row in read_report(site)["paths"]} == {f"/{n}" for n in range(2, 7)}


def test_rows_and_columns_that_change_between_two_statements_of_a_build(site: Path, db: Database) -> None:
    """The snapshot does not see new rows; ALTER TABLE waits until the build has ended."""
    proxy, refused = Proxy(db.proxy.target), threading.Event()

    def change() -> None:
        db.execute("INSERT INTO metrics VALUES (current_date, '/late', 1000)")
        try:
            db.execute("SET lock_timeout = '100ms'; ALTER TABLE metrics DROP COLUMN visits")
        except psycopg.errors.LockNotAvailable:
            refused.set()

    proxy.fault = Fault("complete", change, "GROUP BY day, kind")
    try:
        assert successful_build(site, url_for(proxy.port), "--if-changed", **PATIENT)["status"] == "unchanged"
        assert refused.is_set()
        assert stored_visits(db) == read_report(site)["total"] + 1000
    finally:
        proxy.close()
        db.execute("DELETE FROM metrics WHERE path = '/late'")


READER = (
    "DO $$ BEGIN IF to_regrole('reader') IS NULL THEN CREATE ROLE reader LOGIN; END IF; END $$;"
    " GRANT SELECT ON metrics TO reader;"
)
FRESH = "DROP VIEW IF EXISTS seen; DROP TABLE IF EXISTS moved, fresh CASCADE;"
PARTITIONS = (
    "CREATE TABLE moved (date date, path text, visits integer) PARTITION BY RANGE (date);"
    " CREATE TABLE latest PARTITION OF moved FOR VALUES FROM (current_date - 3) TO (MAXVALUE);"
    " CREATE TABLE oldest PARTITION OF moved DEFAULT; INSERT INTO moved TABLE metrics"
)
LATEST = "SELECT date, path, visits * {0} AS visits FROM metrics WHERE date >= current_date - 3"
TABLE = "CREATE TABLE moved AS TABLE metrics"
READ_FROM = {
    "table": (TABLE, {"REPORTGEN_SOURCE__TABLE": "moved"}),
    "query": (TABLE, {"REPORTGEN_SOURCE__QUERY": "SELECT * FROM moved"}),
    "view": (f"{TABLE}; CREATE VIEW seen AS TABLE moved", {"REPORTGEN_SOURCE__TABLE": "seen"}),
    "columns": (
        f"{TABLE}; GRANT SELECT (date, path, visits) ON moved TO reader",
        {"REPORTGEN_SOURCE__TABLE": "moved"},
    ),
    "partitions": (PARTITIONS, {"REPORTGEN_SOURCE__TABLE": "moved"}),
}
"""How a source is made, and the settings that name it."""


@pytest.mark.parametrize(
    ("source", "rewrite"),
    [
        *((source, "TRUNCATE moved; INSERT INTO moved TABLE metrics") for source in READ_FROM),
        ("table", "ALTER TABLE moved ALTER visits TYPE bigint"),
        ("table", "DROP TABLE moved; CREATE TABLE moved AS TABLE metrics"),
        ("partitions", f"TRUNCATE latest; INSERT INTO latest {LATEST.format(1)}"),
    ],
)
def test_a_table_that_is_rewritten_while_the_build_waits_for_it_is_not_empty(
    site: Path, db: Database, source: str, rewrite: str
) -> None:
    """A snapshot older than a rewrite sees an empty table; the build still reads all rows."""
    create, settings = READ_FROM[source]
    db.execute(f"{READER} {FRESH} {create}")
    url = url_for(db.proxy.port, user="reader") if source == "columns" else db.url
    with psycopg.connect(db.server.get_uri()) as writer:
        writer.execute(rewrite.encode())
        with background(lambda: successful_build(site, url, "--if-changed", **settings, **PATIENT)) as build:
            eventually(db.readers)
            writer.commit()
            assert build.result()["status"] == "unchanged"


TIMES = "SELECT date, path, visits * {0} AS visits FROM metrics"
SWAP_PARTITIONS = (
    f"CREATE TABLE fresh AS {LATEST}; ALTER TABLE moved DETACH PARTITION latest; DROP TABLE latest;"
    " ALTER TABLE fresh RENAME TO latest;"
    " ALTER TABLE moved ATTACH PARTITION latest FOR VALUES FROM (current_date - 3) TO (MAXVALUE)"
)
REWRITES = {
    "truncate": (TABLE, [f"TRUNCATE moved; INSERT INTO moved {TIMES}"]),
    "truncate, in two transactions": (TABLE, ["TRUNCATE moved", f"INSERT INTO moved {TIMES}"]),
    "rename": (
        TABLE,
        [f"CREATE TABLE fresh AS {TIMES}; DROP TABLE moved; ALTER TABLE fresh RENAME TO moved"],
    ),
    "truncate a partition": (PARTITIONS, [f"TRUNCATE latest; INSERT INTO latest {LATEST}"]),
    "swap partitions": (PARTITIONS, [SWAP_PARTITIONS]),
}
"""The table, and the transactions that write it again with visits multiplied by ``{0}``."""


@pytest.mark.parametrize("rewrite", REWRITES)
def test_no_report_is_published_from_half_a_rewrite(site: Path, db: Database, rewrite: str) -> None:
    """A writer does nothing else while builds read. They publish whole states, and refuse an empty table."""
    create, transactions = REWRITES[rewrite]
    db.execute(f"{FRESH} {create}")
    whole = {28, 118 if "partition" in rewrite else 280}
    source = {"url": db.server.get_uri(), "table": "moved"}
    config = load_config(None, {}, {"source": source, "windows": ["7d"], "default_window": "7d"})
    last = current_release(site / "output")
    done = threading.Event()

    def write() -> int:
        with psycopg.connect(db.server.get_uri()) as writer:
            for count in itertools.count():
                for transaction in transactions:
                    writer.execute(transaction.format((10, 1)[count % 2]).encode())
                    writer.commit()
                if done.is_set():
                    return count
        raise AssertionError

    found, refused = Counter[int](), 0
    with background(write) as writing:
        try:
            end = time.monotonic() + 5
            while time.monotonic() < end:
                read = read_dataset(config, datetime.now(UTC), None, paths_csv)
                try:
                    check_not_emptied(read, last, past=False)
                except SourceEmptied:
                    refused += 1
                    continue
                total = read.daily.sum_over(read.windows[0].span)
                assert total == sum(row.visits for row in read.paths[0].listed)
                assert total == sum(cell.visits for cell in read.cells)
                found[total] += 1
            published = [run_build(site, db.url, REPORTGEN_SOURCE__TABLE="moved") for _ in range(2)]
        finally:
            done.set()
        assert writing.result() > 20
    assert set(found) == whole, found
    assert (refused > 0) == (rewrite == "truncate, in two transactions")
    for result in published:
        document = json.loads(result.stdout)
        assert result.returncode == 0 or (document["error"], document["retry"]) == ("SourceEmptied", True)
    assert read_report(site)["total"] in whole


@pytest.mark.parametrize(
    ("fault", "mend", "words"),
    [
        (
            "REVOKE SELECT ON metrics FROM reader", "GRANT SELECT ON metrics TO reader",
            ["permission denied", "GRANT SELECT on the table"],
        ),
        (
            "ALTER TABLE metrics RENAME TO renamed", "ALTER TABLE renamed RENAME TO metrics",
            ['"public.metrics" does not exist', "Set schema and table"],
        ),
        (
            "ALTER TABLE metrics RENAME visits TO hits", "ALTER TABLE metrics RENAME hits TO visits",
            ['no column "visits"; it has: date, path, hits', "Set columns"],
        ),
        (
            "ALTER TABLE metrics ALTER visits TYPE text",
            "ALTER TABLE metrics ALTER visits TYPE integer USING visits::integer",
            ['"visits" is of type text, not a number', "cast it with query"],
        ),
        (
            "ALTER TABLE metrics ALTER date TYPE text",
            "ALTER TABLE metrics ALTER date TYPE date USING date::date",
            ['"date" is of type text, not a date', "cast it with query"],
        ),
    ],
    ids=["revoked", "renamed", "column-renamed", "visits-text", "date-text"],
)  # fmt: skip
def test_a_table_that_changes_between_builds(
    site: Path, db: Database, fault: str, mend: str, words: list[str]
) -> None:
    db.execute(READER)
    url = url_for(db.proxy.port, user="reader")
    assert successful_build(site, url, "--if-changed")["status"] == "unchanged"
    db.execute(fault)
    try:
        assert_build_fails(site, url, "SourceError", *words, **PATIENT)
    finally:
        db.execute(mend)
    assert successful_build(site, url, "--if-changed")["status"] == "unchanged"


def test_ten_thousand_bad_rows_are_counted_and_change_no_figure(tmp_path: Path, db: Database) -> None:
    db.execute(
        "CREATE TABLE untidy (date date, path text, visits numeric); INSERT INTO untidy TABLE metrics;"
        " INSERT INTO untidy SELECT current_date - n % 7, CASE WHEN n % 4 > 0 THEN '/bad' END,"
        " CASE n % 4 WHEN 1 THEN NULL WHEN 2 THEN -1 ELSE 0.5 END FROM generate_series(0, 7999) n;"
        " INSERT INTO untidy SELECT CASE WHEN n % 2 = 0 THEN current_date + 1 END, '/bad', 1"
        " FROM generate_series(1, 2000) n"
    )
    printed = successful_build(tmp_path, db.url, REPORTGEN_SOURCE__TABLE="untidy")
    expected = {
        "null_path": 2000, "null_visits": 2000, "negative_visits": 2000, "invalid_visits": 2000,
        "null_date": 1000, "future_date": 1000,
    }  # fmt: skip
    for document in (printed, read_report(tmp_path)):
        assert {note["kind"]: note["rows"] for note in document["notes"]} == expected
    assert read_report(tmp_path)["total"] == stored_visits(db)
    assert "/bad" not in {row["path"] for row in read_report(tmp_path)["paths"]}
