"""The counter: what it writes, and what it does if it cannot write."""

import logging
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from counter.tests.support import SECONDS, sqlite_url, table, wait_for
from reportgen_counter import Counter
from tests.support.commands import Run
from tests.support.disks import disk
from tests.support.engines import with_database
from tests.support.postgres import Database, Fault, Proxy, temporary_database

HOUR = 3600


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with temporary_database() as server:
        yield server


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def process() -> Iterator[Start]:
    """Give a function that runs Python code that prints a line when it is ready."""
    with ExitStack() as stack:

        def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
            imports = "import sys, os, signal, time\nfrom reportgen_counter import Counter\n"
            running = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", imports + code, *map(str, arguments)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
            stack.callback(running.kill)
            assert running.stdout
            assert running.stdout.readline(), running.communicate()
            return running

        yield start


def test_visits_are_added_to_those_of_the_table(url: str) -> None:
    for expected in (2, 4):
        counter = Counter(url, flush_s=HOUR)
        for path in ("/b", "/a", "/b"):
            counter.add(path)
        assert counter.flush()
        assert table(url) == {"/a": expected // 2, "/b": expected}


def test_reportgen_reads_the_table(url: str, run: Run) -> None:
    counter = Counter(url, flush_s=HOUR)
    counter.add("/a")
    assert counter.flush()
    assert "/a" in run("check", "--source", url).stdout


def test_dates_are_those_of_the_time_zone(url: str) -> None:
    """The two zones never have the same date: there are 25 hours between them."""
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        counter = Counter(url, timezone=zone, flush_s=HOUR)
        counter.add("/")
        counter.flush()
    sql = "SELECT count(DISTINCT date) FROM metrics"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            assert connection.execute(sql).fetchone() == (2,)
    else:
        with psycopg.connect(url) as session:
            assert session.execute(sql).fetchone() == (2,)


def test_threads_count_exactly_while_it_writes(url: str) -> None:
    counter = Counter(url, flush_s=0.01)

    def add() -> None:
        for number in range(2000):
            counter.add(f"/{number % 20}")

    threads = [Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.flush()
    assert table(url) == {f"/{number}": 800 for number in range(20)}


@pytest.mark.slow
def test_eight_writers_do_not_deadlock(process: Start, url: str) -> None:
    """Each writes the same paths, several times a second, in an order of its own."""
    code = """
import random
counter = Counter(sys.argv[1], flush_s=0.1)
print("ready", flush=True)
input()  # until all are ready
end, added, paths = time.monotonic() + float(sys.argv[2]), 0, [f"/{n}" for n in range(1000)]
while time.monotonic() < end:
    random.shuffle(paths)
    for path in paths:
        counter.add(path)
        added += 1
    time.sleep(0.02)
print(added)
"""
    writers = [process(code, url, SECONDS) for _ in range(8)]
    for writer in writers:
        assert writer.stdin
        print(file=writer.stdin, flush=True)
    ended = [writer.communicate(timeout=SECONDS + 60) for writer in writers]
    assert [errors for _, errors in ended if errors] == []
    assert sum(table(url).values()) == sum(int(added) for added, _ in ended)


def test_the_buffer_is_written_early_if_it_is_full(url: str) -> None:
    counter = Counter(url, flush_s=HOUR)
    for number in range(10_000):
        counter.add(f"/{number}")
    wait_for(lambda: len(table(url)) == 10_000)


def test_of_a_database_that_cannot_be_written_50_000_paths_wait_and_others_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "metrics.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE metrics (date, path)")
    counter = Counter(sqlite_url(file), flush_s=HOUR)
    for number in range(50_010):
        counter.add(f"/{number}")
    counter.add("/0")
    for _ in range(3):
        assert not counter.flush()
    assert (counter.overflow, counter.waiting) == (10, 50_001)
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "The table must have the columns date, path and visits" in messages[0]
    assert messages[1] == "10 visits are lost: 50000 paths wait in memory"
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM metrics").fetchone() == (0,)
        connection.execute("DROP TABLE metrics")
    assert counter.flush()
    assert sum(table(sqlite_url(file)).values()) == 50_001
    assert caplog.records[-1].message == "the database can be written again"


def test_a_table_without_a_unique_key_is_not_written(url: str, caplog: pytest.LogCaptureFixture) -> None:
    create = "CREATE TABLE metrics (date date, path text, visits integer)"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute(create)
    else:
        with psycopg.connect(url) as session:
            session.execute(create)
    counter = Counter(url, flush_s=HOUR)
    counter.add("/")
    assert not counter.flush()
    assert "CREATE UNIQUE INDEX visits_of_path ON metrics (date, path)" in caplog.text
    assert table(url) == {}
    change(url, "CREATE UNIQUE INDEX visits_of_path ON metrics (date, path)")
    assert counter.flush()
    assert table(url) == {"/": 1}


def change(url: str, *statements: str) -> None:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)
    else:
        with psycopg.connect(url, autocommit=True) as session:
            for statement in statements:
                session.execute(statement.encode())


def test_a_role_that_may_not_create_tables_uses_the_existing_one(
    pg: str, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"r{random.randrange(10**9)}"
    change(
        pg,
        f"CREATE ROLE {role} LOGIN",
        "CREATE TABLE metrics (date date, path text, visits int, PRIMARY KEY (date, path))",
    )
    counter = Counter(f"{pg}{'&' if '?' in pg else '?'}user={role}", flush_s=HOUR)
    counter.add("/")
    assert not counter.flush()
    assert "The role needs GRANT SELECT, INSERT, UPDATE ON metrics" in caplog.text
    change(pg, f"GRANT SELECT, INSERT, UPDATE ON metrics TO {role}")
    assert counter.flush()
    assert table(pg) == {"/": 1}
    change(pg, "DROP OWNED BY " + role, "DROP ROLE " + role)


def test_a_full_disk_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with disk(tmp_path / "disk", "size=64k") as place:
        counter = Counter(sqlite_url(place / "metrics.db"), flush_s=HOUR)
        counter.add("/first")
        assert counter.flush()
        ballast = place / "ballast"
        with pytest.raises(OSError, match="space"):
            ballast.write_bytes(bytes(65536))
        for number in range(500):
            counter.add(f"/{number}")
        assert not counter.flush()
        assert "cannot be written: database or disk is full" in caplog.text
        ballast.unlink()
        assert counter.flush()
        assert table(sqlite_url(place / "metrics.db")) == {"/first": 1} | {f"/{n}": 1 for n in range(500)}


@pytest.mark.slow
def test_a_database_that_is_down_loses_nothing(database: Database) -> None:
    database.execute("TRUNCATE metrics")
    url = database.server.get_uri()
    counter, added = Counter(url, flush_s=0.2), Counts[str]()
    counter.add("/")
    assert counter.flush()
    database.stop()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            path, start = f"/{random.randrange(1000)}", time.monotonic()
            counter.add(path)
            added[path] += 1
            assert time.monotonic() - start < 1, "a request waited for the database"
            time.sleep(0.0005)
    finally:
        database.start()
    added["/"] += 1
    wait_for(lambda: table(url) == added)


@pytest.mark.parametrize("phase", ["query", "complete"])
def test_a_commit_without_an_answer_is_not_repeated(
    database: Database, caplog: pytest.LogCaptureFixture, phase: str
) -> None:
    """Before COMMIT arrived nothing is stored; after it all visits are, once. The counter cannot know."""
    database.execute("TRUNCATE metrics")
    proxy = Proxy(database.proxy.target)
    proxy.fault = Fault(phase, "reset", "COMMIT")
    counter = Counter(f"postgresql://postgres:geheim@127.0.0.1:{proxy.port}/postgres", flush_s=HOUR)
    counter.add("/a")
    assert not counter.flush()
    proxy.fault = None
    assert "1 visits may be lost" in caplog.text
    assert "geheim" not in caplog.text
    counter.add("/b")
    assert counter.flush()
    stored = {"/b": 1} if phase == "query" else {"/a": 1, "/b": 1}
    assert table(database.server.get_uri()) == stored
    proxy.close()


@pytest.mark.parametrize(
    ("phase", "statement"), [("startup", ""), ("parse", "INSERT"), ("complete", "INSERT")]
)
def test_a_connection_that_fails_before_commit_loses_nothing(
    database: Database, phase: str, statement: str
) -> None:
    database.execute("TRUNCATE metrics")
    proxy = Proxy(database.proxy.target)
    proxy.fault = Fault(phase, "reset", statement)
    counter = Counter(f"postgresql://postgres:geheim@127.0.0.1:{proxy.port}/postgres", flush_s=HOUR)
    counter.add("/a")
    assert not counter.flush()
    proxy.fault = None
    assert counter.flush()
    assert table(database.server.get_uri()) == {"/a": 1}
    proxy.close()


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_given_up(database: Database) -> None:
    database.execute("TRUNCATE metrics")
    counter = Counter(database.server.get_uri(), flush_s=HOUR)
    with database.locked():
        counter.add("/a")
        assert not counter.flush(timeout_s=30)
    assert counter.flush()
    assert table(database.server.get_uri()) == {"/a": 1}


def test_after_a_fork_parent_and_child_count_for_themselves(process: Start, url: str) -> None:
    """The child forgets the visits of its parent, also if it is forked while the parent writes."""
    code = """
counter = Counter(sys.argv[1], flush_s=0.005)
print("ready", flush=True)
children = []
for _ in range(10):
    for n in range(10):
        counter.add("/parent")
    pid = os.fork()
    if pid == 0:
        counter.add("/child")
        sys.exit(0 if counter.flush() else 1)
    children.append(pid)
print([os.waitpid(pid, 0)[1] for pid in children])
"""
    output, errors = process(code, url).communicate(timeout=60)
    assert output.strip() == str([0] * 10), errors
    assert table(url) == {"/parent": 100, "/child": 10}


ENDINGS = {
    "end of the program": ("", 0),
    "exception": ("raise SystemExit(3)", 3),
    "SIGTERM": ("time.sleep(60)", -signal.SIGTERM),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_end_of_the_process_writes(process: Start, url: str, ending: str) -> None:
    code, status = ENDINGS[ending]
    running = process(
        f"counter = Counter(sys.argv[1])\ncounter.add('/')\nprint('ready', flush=True)\n{code}", url
    )
    if ending == "SIGTERM":
        running.send_signal(signal.SIGTERM)
    running.communicate(timeout=30)
    assert running.returncode == status
    assert table(url) == {"/": 1}


def test_an_earlier_handler_of_sigterm_is_called(process: Start, url: str) -> None:
    """And visits that follow are written soon, because the process may end without a word."""
    code = """
handled = []
signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
counter = Counter(sys.argv[1], flush_s=3600)
counter.add("/")
print("ready", flush=True)
while not handled:
    time.sleep(0.01)
print("handled", flush=True)
counter.add("/late")
time.sleep(60)
"""
    running = process(code, url)
    running.send_signal(signal.SIGTERM)
    assert running.stdout
    assert running.stdout.readline() == "handled\n"
    wait_for(lambda: table(url) == {"/": 1, "/late": 1})
    running.kill()
    running.communicate()


def test_a_process_ends_also_if_its_database_is_down(process: Start, tmp_path: Path) -> None:
    url = "postgresql://postgres:geheim@127.0.0.1:1/none"
    running = process("counter = Counter(sys.argv[1])\ncounter.add('/')\nprint('ready', flush=True)", url)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 0
    assert "the process ends, and at least 1 visits are lost" in errors
    assert "geheim" not in errors


@pytest.mark.slow
def test_kill_9_loses_at_most_the_visits_of_the_last_flush_s(process: Start, url: str) -> None:
    code = """
counter, number = Counter(sys.argv[1], flush_s=0.5), 0
while True:
    number += 1
    counter.add(f"/{number}")
    print(f"{number} {time.monotonic()}", flush=True)
    time.sleep(0.01)
"""
    running = process(code, url)
    time.sleep(3)
    running.kill()
    output, _ = running.communicate()
    written = table(url)
    assert len(written) > 50
    assert set(written) == {f"/{number}" for number in range(1, len(written) + 1)}
    lines = [line.split() for line in output.splitlines()]
    last_written = next(float(at) for number, at in lines if int(number) == len(written))
    assert float(lines[-1][1]) - last_written < 0.5 + 0.3  # a write takes time, too


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "mysql://u:geheim@h/db"}, "url: not a database that can be written"),
        ({"url": "geheim"}, "not a database"),
        ({"url": "sqlite:///"}, "write sqlite:///file.db"),
        ({"url": "sqlite://file.db"}, "write sqlite:///file.db"),
        ({"url": "sqlite:///no/such/file.db"}, "An absolute path has four slashes"),
        ({"url": "sqlite:////tmp"}, "is a directory"),
        ({"url": "postgresql://u:geheim/x@h/db"}, "percent-encode special characters of the password"),
        ({"url": "postgresql://u:p@geheim@h/db"}, "percent-encode special characters of the password"),
        ({"url": "postgresql://h/db?unknown=1"}, "is not a valid URL of PostgreSQL"),
        ({"url": "sqlite:///m.db", "timezone": "Mars/Base"}, '"Mars/Base" is not a known time zone'),
        ({"url": "sqlite:///m.db", "timezone": "../x"}, "is not a known time zone"),
        ({"url": "sqlite:///m.db", "flush_s": 0}, "flush_s 0 is not a number of seconds greater than 0"),
        ({"url": "sqlite:///m.db", "flush_s": float("nan")}, "flush_s nan"),
        ({"url": "sqlite:///m.db", "exclude": "/admin/**"}, "exclude is a text; write a list of globs"),
    ],
)
def test_a_wrong_argument_is_one_clear_message(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        Counter(**arguments)  # type: ignore[arg-type]
    assert "geheim" not in str(error.value)


def test_a_file_that_is_not_a_database_is_logged_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "metrics.db"
    file.write_bytes(b"This is not a database. " * 100)
    counter = Counter(sqlite_url(file), flush_s=HOUR)
    counter.add("/")
    assert not counter.flush()
    assert "cannot be written: file is not a database" in caplog.text
    assert file.read_bytes() == b"This is not a database. " * 100
    file.unlink()
    assert counter.flush()


def test_a_database_that_is_created_later_gets_all_visits(pg: str) -> None:
    later = with_database(pg, "later" + str(random.randrange(10**9)))
    counter = Counter(later, flush_s=HOUR)
    counter.add("/")
    assert not counter.flush()
    name = later.partition("?")[0].rpartition("/")[2]
    change(pg, f"CREATE DATABASE {name}")
    assert counter.flush()
    assert table(later) == {"/": 1}
    change(pg, f"DROP DATABASE {name} WITH (FORCE)")


def test_the_log_of_a_library_is_quiet_while_all_is_well(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="reportgen_counter"):
        counter = Counter(url, flush_s=HOUR)
        counter.add("/")
        assert counter.flush()
    assert caplog.records == []
