"""A failed build ends in one message that says what to do, and leaves the published release as it is.

Every case is a real run of the command line, after a good build of the sample into the same output.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from uuid import uuid4

import duckdb
import jsonschema
import psycopg
import pytest

from tests.support import disks
from tests.support.commands import ONE_WINDOW, Run, environment, run_as_nobody, run_command

Done = subprocess.CompletedProcess[str]

SECRET = "geheim7f3a"
STAGE = re.compile(r"[a-z]+ +\d+\.\d\d s")
UNTIDY = re.compile(r"\.\.(?!/)|\. \.|\s[.,;](\s|$)|: [.:]|(?<![.!?:;,)]) (Check|Set|Look|Use|Raise) ")
"""Doubled or missing punctuation, as it comes from joining a driver's message to ours."""

NO_TABLE = "CREATE TABLE something (else_ integer)"
TABLE = "CREATE TABLE metrics (date date, path text, visits bigint)"
A_ROW = f"{TABLE}; INSERT INTO metrics VALUES (current_date, '/', 3)"
TWO_HUGE = f"{TABLE}; INSERT INTO metrics VALUES (current_date, '/', {2**63 - 1}), (current_date, '/b', 1)"


# The published site, and the checks after a failure.


@pytest.fixture(scope="session")
def good_output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output directory with one release of the sample."""
    folder = tmp_path_factory.mktemp("good")
    run_command(
        folder, ["build", "--source", "sample", "--quiet"], environment(**ONE_WINDOW)
    ).check_returncode()
    return folder / "output"


class Site:
    """A working directory with a published release, and the command line run in it."""

    def __init__(self, folder: Path, run: Run, good_output: Path) -> None:
        self.folder = folder
        self.output = folder / "output"
        self.run = run
        shutil.copytree(good_output, self.output, symlinks=True)

    def write(self, settings: str) -> None:
        """Write reportgen.toml."""
        (self.folder / "reportgen.toml").write_text(settings, encoding="utf-8")

    def fails(
        self, *arguments: object, code: int = 1, says: Sequence[str], lines: int = 1, **environment: str
    ) -> list[str]:
        """Run ``reportgen build`` with ``arguments`` and return its messages."""
        with untouched(self.output):
            done = self.run("build", *arguments, **environment)
        return failure(done, code=code, says=says, lines=lines)

    def checks(self, *arguments: object, code: int = 0, **environment: str) -> list[tuple[str, str]]:
        """Run ``reportgen check`` and return each line as (level, the rest)."""
        with untouched(self.output):
            done = self.run("check", *arguments, **environment)
        assert (done.returncode, done.stderr) == (code, ""), done
        assert SECRET not in done.stdout
        found = [re.fullmatch(r"(ok|warning|error) +(\w+ +\S.*)", line) for line in done.stdout.splitlines()]
        assert all(found), done.stdout
        return [(line[1], line[2]) for line in found if line]

    def succeeds(self, *arguments: object, **environment: str) -> Done:
        """Run ``reportgen build``, which publishes a release without the secret."""
        done = self.run("build", *arguments, **environment)
        assert done.returncode == 0, done.stderr
        assert_no_secret(done, self.output)
        return done


@pytest.fixture
def site(tmp_path: Path, run: Run, good_output: Path) -> Site:
    """Give a working directory with a published release of the sample."""
    return Site(tmp_path, run, good_output)


def failure(done: Done, *, code: int, says: Sequence[str], lines: int = 1) -> list[str]:
    """Check a failed run's exit code and output, and return its messages; they hold the texts ``says``."""
    printed = done.stderr.splitlines()
    messages = [line.removeprefix("error: ") for line in printed if line.startswith("error: ")]
    assert done.returncode == code, done.stderr
    assert len(messages) == lines, done.stderr
    assert done.stdout == ""
    assert SECRET not in done.stderr
    rest = [line for line in printed if not line.startswith("error: ")]
    assert all(STAGE.fullmatch(line) for line in rest), done.stderr
    assert "please report it" not in done.stderr  # a bug, not a bad input
    for expected in says:
        assert any(expected in message for message in messages), f"{expected!r} is not in: {done.stderr}"
    for message in messages:
        assert not UNTIDY.search(message), message
    return messages


@contextmanager
def untouched(output: Path) -> Iterator[None]:
    """Check that the published release stays as it is, and that no staged file and no secret is left."""
    before = tree(output)
    yield
    assert tree(output) == before
    assert not list((output / "state" / "staging").iterdir())
    for file in files_of(output):
        assert SECRET.encode() not in file.read_bytes(), file


def tree(output: Path) -> dict[str, str]:
    """Return every entry below ``output`` with its link's target or its content's sha256.

    Plain files directly in ``state`` (the lock, a record of the last run) may change.
    """
    found = {}
    for entry in sorted(output.rglob("*")):
        if entry.is_symlink():
            found[str(entry.relative_to(output))] = f"-> {entry.readlink()}"
        elif entry.is_dir():
            found[str(entry.relative_to(output))] = "directory"
        elif entry.parent != output / "state":
            found[str(entry.relative_to(output))] = hashlib.sha256(entry.read_bytes()).hexdigest()
    return found


def files_of(output: Path) -> list[Path]:
    return [entry for entry in output.rglob("*") if entry.is_file() and not entry.is_symlink()]


def assert_no_secret(done: Done, output: Path) -> None:
    assert SECRET not in done.stdout + done.stderr
    for file in files_of(output):
        assert SECRET.encode() not in file.read_bytes(), file


@contextmanager
def another_process(program: str, *arguments: object) -> Iterator[None]:
    """Keep a Python program running that says ``ready`` and then waits for the end of its input."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield


# PostgreSQL: the server and the login.


def login(url: str, user: str, password: str = SECRET, database: str | None = None) -> str:
    """Return ``url`` with another user and password, and perhaps another database."""
    parts = urlsplit(url)
    place = f"{user}:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
    path = parts.path if database is None else f"/{database}"
    return urlunsplit((parts.scheme, place, path, parts.query, ""))


def with_secret(url: str) -> str:
    """Return the superuser's URL with a password, which the server does not ask for."""
    parts = urlsplit(url)
    return url if parts.password else login(url, parts.username or "postgres")


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


@pytest.fixture
def reader(pg: str) -> Iterator[str]:
    """Give the name of a role with a password and without rights."""
    name = f"r{uuid4().hex}"
    execute(pg, f"CREATE ROLE {name} LOGIN PASSWORD '{SECRET}'")
    yield name
    execute(pg, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """Give a port of this machine on which no program listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_server_that_is_down(site: Site, closed_port: int) -> None:
    url = f"postgresql://app:{SECRET}@127.0.0.1:{closed_port}/stats"
    says = [f"postgresql://127.0.0.1:{closed_port}/stats", "Connection refused", "Check host and port"]
    site.fails(says=says, DATABASE_URL=url)


def test_a_host_that_does_not_exist(site: Site) -> None:
    url = f"postgresql://app:{SECRET}@no-such-host.invalid/stats"
    says = ["postgresql://no-such-host.invalid/stats", "no-such-host.invalid", "Check host and port"]
    site.fails(says=says, DATABASE_URL=url)


def test_a_server_that_never_answers(site: Site) -> None:
    """A listening port whose program does not answer: the connection times out after connect_timeout_s."""
    site.write("[source]\nconnect_timeout_s = 1\n")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://app:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/stats"
        site.fails(says=["cannot connect", "timeout", "Check host and port"], DATABASE_URL=url)


BREAKING = [
    f"x/{SECRET}", f"{SECRET}/x", f"{SECRET}#x", f"{SECRET}?x", f"x@{SECRET}", f"{SECRET}%zz", f"{SECRET} x",
]  # fmt: skip
"""Such characters must be percent-encoded. If they are not, the message still must not show the password."""


@pytest.mark.parametrize("password", BREAKING)
def test_a_password_that_breaks_the_url_is_not_shown(site: Site, closed_port: int, password: str) -> None:
    lines = site.checks(code=1, DATABASE_URL=f"postgresql://app:{password}@127.0.0.1:{closed_port}/stats")
    assert any(level == "error" for level, _ in lines)


def test_a_build_shows_no_password_that_breaks_the_url(site: Site) -> None:
    with untouched(site.output):
        done = site.run("build", "--source", f"postgresql://app:{SECRET}/x@127.0.0.1:1/stats")
    assert done.returncode in {1, 2}
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_a_password_in_a_files_url_is_not_shown(site: Site, scheme: str) -> None:
    lines = site.checks("--source", f"{scheme}://app:{SECRET}@host/stats", code=1)
    assert any(level == "error" for level, _ in lines)


def test_a_wrong_password(site: Site, pg: str, reader: str) -> None:
    if os.environ.get("TEST_DATABASE_URL"):
        pytest.skip("TEST_DATABASE_URL names a server whose pg_hba.conf is not ours to change")
    wrong = login(pg, reader, f"wrong{SECRET}")
    with passwords_required(pg, reader):
        says = ["password authentication failed", reader, "Check user and password in its URL"]
        site.fails(says=says, DATABASE_URL=wrong)
        site.fails(
            says=["no password supplied", "Check user"], DATABASE_URL=wrong.replace(f":wrong{SECRET}@", "@")
        )


@contextmanager
def passwords_required(admin: str, role: str) -> Iterator[None]:
    """Make the server ask ``role`` for its password."""
    with psycopg.connect(admin, autocommit=True) as connection:
        row = connection.execute("SHOW hba_file").fetchone()
        assert row
        rules = Path(row[0])
        before = rules.read_bytes()
        try:
            rules.write_bytes(f"local all {role} scram-sha-256\n".encode() + before)
            connection.execute("SELECT pg_reload_conf()")
            wait_for(lambda: not can_connect(login(admin, role, "not it")))
            yield
        finally:
            rules.write_bytes(before)
            connection.execute("SELECT pg_reload_conf()")


def can_connect(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def wait_for(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_unknown_database(site: Site, pg: str) -> None:
    parts = urlsplit(with_secret(pg))
    url = login(pg, parts.username or "", unquote(parts.password or ""), database="no_such_db")
    says = ['database "no_such_db" does not exist', "Check the database's name in its URL"]
    site.fails(says=says, DATABASE_URL=url)


def test_an_unknown_role(site: Site, pg: str) -> None:
    says = ["no_such_role", "Check user and password in its URL"]
    site.fails(says=says, DATABASE_URL=login(pg, "no_such_role"))


# PostgreSQL: the table.


@dataclass(frozen=True)
class BadTable:
    """Statements that prepare the database, lines of ``[source]``, and what the message holds."""

    prepare: str
    settings: str
    says: tuple[str, ...]


DELETING = f"""{A_ROW};
CREATE FUNCTION spoil() RETURNS SETOF metrics LANGUAGE sql VOLATILE AS 'DELETE FROM metrics RETURNING *'"""
BAD_TABLES = {
    "unknown table": BadTable(
        NO_TABLE, "",
        ('"public.metrics" does not exist', "there are: something", "Set schema and table in [source]"),
    ),
    "unknown schema": BadTable(
        A_ROW, 'schema = "nowhere"', ("nowhere", "does not exist", "Set schema and table in [source]")
    ),
    "unknown column": BadTable(
        A_ROW,
        'columns = { visits = "hits" }',
        ('no column "hits"; it has: date, path, visits', "Leave source.columns out"),
    ),
    "dates as numbers": BadTable(
        "CREATE TABLE metrics (date integer, path text, visits integer)",
        "",
        ('the column "date" is of type int4', "not a date", "[source] columns"),
    ),
    "visits as text": BadTable(
        "CREATE TABLE metrics (date date, path text, visits text)",
        "",
        ('the column "visits" is of type text', "not a number", "[source] columns"),
    ),
    "syntax error": BadTable(
        A_ROW, 'query = "SELECT date, path, visits FORM metrics"', ("syntax error", "Check [source] query")
    ),
    "query that deletes": BadTable(
        A_ROW,
        'query = "WITH gone AS (DELETE FROM metrics RETURNING *) SELECT date, path, visits FROM gone"',
        ("[source] query may only read",),
    ),
    "query that calls what deletes": BadTable(
        DELETING,
        'query = "SELECT date, path, visits FROM spoil()"',
        ("DELETE", "[source] query may only read"),
    ),
    "statement timeout": BadTable(
        A_ROW,
        "statement_timeout_s = 1\n"
        "query = \"SELECT current_date AS date, '/' AS path, 1 AS visits FROM pg_sleep(60)\"",
        ("statement_timeout_s (1 s)", "add an index, or raise it in [source]"),
    ),
    "sum beyond 64 bits": BadTable(TWO_HUGE, "", ("64 bits", "Look for a wrong count")),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_table_of_postgres_that_cannot_be_read(site: Site, pg: str, bad: BadTable) -> None:
    execute(pg, bad.prepare)
    site.write(f"[source]\n{bad.settings}\n")
    [message] = site.fails(says=bad.says, DATABASE_URL=with_secret(pg))
    assert message.startswith("postgresql://")
    if "INSERT" in bad.prepare:  # and nothing was written
        with psycopg.connect(pg) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM metrics").fetchone() == (True,)


@pytest.mark.parametrize(
    ("revoke", "says"),
    [
        ("", ["permission denied for table metrics", "GRANT SELECT"]),
        ("REVOKE ALL ON SCHEMA public FROM PUBLIC", ["permission denied for schema public", "GRANT USAGE"]),
    ],
    ids=["table", "schema"],
)
def test_no_right_to_read(site: Site, pg: str, reader: str, revoke: str, says: list[str]) -> None:
    execute(pg, f"{A_ROW}; {revoke}")
    site.fails(says=says, DATABASE_URL=login(pg, reader))


# SQLite, DuckDB and plain files.


@dataclass(frozen=True)
class BadFile:
    """A source below the working directory, how it is made, and what the message holds."""

    source: str
    make: Callable[[Path], object]
    says: tuple[str, ...]
    settings: str = ""


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def in_sqlite(statements: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        connection = sqlite3.connect(folder / "a.db")
        connection.executescript(statements)
        connection.close()

    return make


def in_duckdb(statements: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        with duckdb.connect(str(folder / "a.duckdb")) as connection:
            connection.execute(statements)

    return make


def nothing(folder: Path) -> None:
    """Make nothing."""


SQLITE_HUGE = f"""CREATE TABLE metrics (date text, path text, visits integer);
INSERT INTO metrics VALUES (date(), '/', {2**63 - 1}), (date(), '/b', 1)"""
CSV_HUGE = f"date,path,visits\n{{0}},/,{2**63 - 1}\n{{0}},/b,1\n"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)"
LONG = "SELECT CAST('2026-11-20' AS DATE) AS date, '/' AS path, sum(hash(a.i) % 7) AS visits"
CROSSED = "FROM range(1000000) a(i), range(1000000) b(i)"
BAD_FILES = {
    "sqlite: missing file": BadFile(
        "sqlite:///no.db", nothing,
        ("no.db: no such file", "relative to the working directory", "four slashes"),
    ),
    "sqlite: a text file": BadFile(
        "sqlite:///a.db", text("a.db", "not a database, but long enough to be one\n" * 50),
        ("sqlite:///a.db", "is not a SQLite database"),
    ),
    "sqlite: missing table": BadFile(
        "sqlite:///a.db", in_sqlite(NO_TABLE),
        ("no such table: main.metrics", "Set schema and table in [source]"),
    ),
    "sqlite: missing column": BadFile(
        "sqlite:///a.db", in_sqlite("CREATE TABLE metrics (date text, path text, hits integer)"),
        ('no column "visits"; it has: date, path, hits', 'columns = { visits = "hits" }'),
    ),
    "sqlite: dates that mean two days": BadFile(
        "sqlite:///a.db",
        in_sqlite(
            "CREATE TABLE metrics (date text, path text, visits integer);"
            "INSERT INTO metrics VALUES ('11/06/2026', '/', 3)"
        ),
        ("no row has a date that can be read", "11/06/2026, /, 3", 'date_format to "%m/%d/%Y" or "%d/%m/%Y"'),
    ),
    "sqlite: sum beyond 64 bits": BadFile(
        "sqlite:///a.db", in_sqlite(SQLITE_HUGE), ("64 bits", "Look for a wrong count")
    ),
    "sqlite: a query that writes": BadFile(
        "sqlite:///a.db", in_sqlite(TABLE), ("sqlite:///a.db", "[source] query"),
        'query = "DELETE FROM metrics RETURNING *"',
    ),
    "sqlite: a statement that takes too long": BadFile(
        "sqlite:///a.db", in_sqlite(TABLE), ("statement_timeout_s (1 s)", "in [source]"),
        f"query = \"{ENDLESS} SELECT '2026-11-20' AS date, '/' AS path, i AS visits FROM n\"\n"
        "statement_timeout_s = 1",
    ),
    "duckdb: missing file": BadFile(
        "duckdb:///no.duckdb", nothing, ("no.duckdb: no such file", "relative to the working directory")
    ),
    "duckdb: a text file": BadFile(
        "duckdb:///a.duckdb", text("a.duckdb", "not a database\n" * 500),
        ("duckdb:///a.duckdb", "not a valid DuckDB database", "Check that the file is what its name says"),
    ),
    "duckdb: missing table": BadFile(
        "duckdb:///a.duckdb", in_duckdb(NO_TABLE),
        ("metrics does not exist", "Set schema and table in [source]"),
    ),
    "duckdb: dates as numbers": BadFile(
        "duckdb:///a.duckdb", in_duckdb("CREATE TABLE metrics (date boolean, path text, visits integer)"),
        ('"date" is of type BOOLEAN', "[source] columns"),
    ),
    "duckdb: a query that writes": BadFile(
        "duckdb:///a.duckdb", in_duckdb(TABLE), ("duckdb:///a.duckdb", "[source] query"),
        'query = "DELETE FROM metrics RETURNING *"',
    ),
    "duckdb: a statement that takes too long": BadFile(
        "duckdb:///a.duckdb", in_duckdb(TABLE), ("1 s", "statement_timeout_s", "in [source]"),
        f'query = "{LONG} {CROSSED}"\nstatement_timeout_s = 1',
    ),
    "csv: missing file": BadFile("no.csv", nothing, ("no.csv: no such file", "relative to")),
    "csv: binary": BadFile(
        "a.csv", lambda folder: (folder / "a.csv").write_bytes(bytes(range(256)) * 40),
        ("a.csv", "Check that the file is what its name says (.csv)"),
    ),
    "csv: other columns": BadFile(
        "a.csv", text("a.csv", "day,url,hits\n2026-11-20,/,3\n"),
        ("a.csv", "date", "Set columns in [source]"),
    ),
    "csv: no header": BadFile(
        "a.csv", text("a.csv", "2026-11-20,/,3\n2026-11-21,/,4\n"), ("a.csv", "needs a header row")
    ),
    "csv: sum beyond 64 bits": BadFile(
        "a.csv", text("a.csv", CSV_HUGE.format(datetime.now(UTC).date())),
        ("64 bits", "Look for a wrong count"),
    ),
    "csv: a query with a syntax error": BadFile(
        "a.csv", text("a.csv", "date,path,visits\n"), ("a.csv", "syntax error", "[source] query"),
        'query = "SELECT date, path, visits FORM metrics"',
    ),
    "csv: a query that reads other files": BadFile(
        "a.csv", text("a.csv", "date,path,visits\n"), ("a.csv", "b.csv", "[source] query"),
        "query = \"SELECT date, path, visits FROM 'b.csv'\"",
    ),
    "csv.gz: plain text": BadFile(
        "a.csv.gz", text("a.csv.gz", "date,path,visits\n2026-11-20,/,3\n"),
        ("a.csv.gz", "Not a gzipped file", "Check that the file is what its name says (.csv.gz)"),
    ),
    "parquet: a glob without matches": BadFile(
        "*.parquet", nothing, ("*.parquet: no file matches", "relative to")
    ),
    "parquet: a text file": BadFile(
        "a.parquet", text("a.parquet", "date,path,visits\n2026-11-20,/,3\n" * 20),
        ("a.parquet", "Check that the file is what its name says (.parquet)"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_cannot_be_read(site: Site, bad: BadFile) -> None:
    bad.make(site.folder)
    site.write(f"[source]\n{bad.settings}\n")
    site.fails("--source", bad.source, says=bad.says)


@pytest.mark.parametrize(
    ("source", "make", "query"),
    [
        (
            "sqlite:///a.db",
            in_sqlite(TABLE),
            f"{ENDLESS} SELECT '2026-11-20' AS date, '/' AS path, sum(i) AS visits FROM n",
        ),
        ("a.csv", text("a.csv", "date,path,visits\n"), f"{LONG} {CROSSED}"),
    ],
    ids=["sqlite", "csv"],
)
def test_the_first_look_at_the_data_has_a_time_limit_too(
    site: Site, source: str, make: Callable[[Path], object], query: str
) -> None:
    """Finding the types of the columns, and loading a CSV file, count as statements."""
    make(site.folder)
    site.write(f'[source]\nstatement_timeout_s = 1\nquery = "{query}"\n')
    with untouched(site.output):
        done = run_command(site.folder, ["build", "--source", source], environment(), timeout_s=10)
    failure(done, code=1, says=["1 s", "statement_timeout_s", "[source]"])


def test_a_sqlite_database_that_another_program_has_locked(site: Site) -> None:
    in_sqlite(TABLE)(site.folder)
    site.write("[source]\nconnect_timeout_s = 1\n")
    program = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        " c.execute('BEGIN EXCLUSIVE'); print('ready', flush=True); sys.stdin.read()"
    )
    with another_process(program, site.folder / "a.db"):
        says = ["sqlite:///a.db", "Another program holds the database locked", "Try again"]
        site.fails("--source", "sqlite:///a.db", says=says)


def test_a_duckdb_database_that_another_program_writes_to(site: Site) -> None:
    in_duckdb(TABLE)(site.folder)
    program = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('ready', flush=True); sys.stdin.read()"
    )
    with another_process(program, site.folder / "a.duckdb"):
        says = ["duckdb:///a.duckdb", "Another program has the database open for writing", "Try again"]
        site.fails("--source", "duckdb:///a.duckdb", says=says)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"mysql://app:{SECRET}@db/stats", "write ibis+mysql://user@host/database"),
        (f"mysql+pymysql://app:{SECRET}@db/stats", "mysql+pymysql:// needs the extra ibis"),
        (f"mariadb://app:{SECRET}@db/stats", "needs the extra ibis, with the driver"),
        (f"oracle://app:{SECRET}@db/stats", 'no engine for "oracle://…"'),
        (f"https://app:{SECRET}@host/stats.csv", 'no engine for "https://…"'),
        (f"host=db user=app password={SECRET}", "neither a URL nor the path of an existing SQLite"),
        ("sqlite:///", "names no file"),
        ("duckdb:///", "names no file"),
    ],
)
def test_a_source_that_no_engine_takes(site: Site, url: str, says: str) -> None:
    site.fails(code=2, says=["source.url", says], DATABASE_URL=url)


def test_an_unknown_source_is_answered_with_examples_of_urls(site: Site) -> None:
    """The login of an example is not a secret, so it is not masked."""
    site.fails("--source", "my table", code=2, says=["postgresql://user@host/database"])


# The output directory.


@pytest.fixture
def reachable(run: Run, good_output: Path) -> Iterator[Site]:
    """Give a site outside pytest's private directories, which other users can read."""
    with tempfile.TemporaryDirectory(prefix="reportgen-site-") as name:
        Path(name).chmod(0o755)
        yield Site(Path(name), run, good_output)


@pytest.mark.parametrize("output", ["output", "new/output"])
def test_a_directory_that_this_user_may_not_write_to(reachable: Site, output: str) -> None:
    says = ["Permission denied", output.partition("/")[0], "Let this user write there", "--output"]
    with read_only(reachable.folder), untouched(reachable.output):
        arguments = ("build", "--source", "sample", "--output", output)
        if os.geteuid():
            done = run_command(reachable.folder, arguments, environment())
        else:
            done = run_as_nobody(reachable.folder, *arguments)
    failure(done, code=1, says=says)
    assert not (reachable.folder / "new").exists()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write from all users but root."""
    entries = [folder, *(entry for entry in folder.rglob("*") if not entry.is_symlink())]
    modes = [entry.stat().st_mode for entry in entries]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    try:
        yield
    finally:
        for entry, mode in zip(entries, modes, strict=True):
            entry.chmod(mode)


def test_an_output_that_is_a_file(site: Site) -> None:
    (site.folder / "taken").write_text("mine", encoding="utf-8")
    site.fails("--output", "taken", says=["taken", "is a file", "name a directory with --output"])
    site.fails("--output", "taken/below", says=["taken/below", "is a file", "name a directory with --output"])
    assert (site.folder / "taken").read_text(encoding="utf-8") == "mine"


def test_an_output_without_a_name(site: Site) -> None:
    """An empty variable in a script must not make releases in the working directory."""
    site.write('[output]\nkeep = 3\ndir = "output"\n')
    before = sorted(entry.name for entry in site.folder.iterdir())
    says = ['--output: output.dir "" is not the path of a directory']
    [message] = site.fails("--output", "", code=2, says=says)
    assert site.fails("--output", "", code=2, says=says, REPORTGEN_OUTPUT__DIR="output") == [message]
    assert sorted(entry.name for entry in site.folder.iterdir()) == before


@pytest.mark.slow
def test_a_current_that_is_not_a_link(site: Site) -> None:
    """A directory of that name was made by a user: it stays, and no releases collect beside it."""
    (site.output / "current").unlink()
    (site.output / "current").mkdir()
    (site.output / "current" / "index.html").write_text("by hand", encoding="utf-8")
    site.fails("--as-of", "2026-01-02", says=["output/current", "move the directory of that name away"])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a mounted file system of 8 MB of its own."""
    with disks.disk(tmp_path / "disk", "size=8m") as place:
        yield place


@pytest.mark.slow
def test_a_full_disk(small_disk: Path, run: Run, good_output: Path) -> None:
    """The release does not fit: its files are removed, and the next build works when there is space."""
    site = Site(small_disk, run, good_output)
    filler = small_disk / "filler"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(b"x" * (free - 60_000))
    arguments = ("--source", "sample", "--as-of", "2026-01-02", "--output", site.output)
    site.fails(*arguments, says=["No space left", "disk is full", "free some space"])
    filler.unlink()
    site.succeeds(*arguments)


def test_a_read_only_file_system(small_disk: Path, run: Run, good_output: Path) -> None:
    site = Site(small_disk, run, good_output)
    disks.mount("-o", "remount,ro", str(small_disk))
    says = [str(site.output), "read-only", "name another directory with --output"]
    site.fails("--source", "sample", "--output", site.output, says=says)


# One build at a time.

HOLDS_LOCK = """
import fcntl, sys
lock = open(sys.argv[1], "r+")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write("process 4711\\n"), lock.truncate(), lock.flush()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_busy_output_is_refused_with_no_wait(site: Site) -> None:
    with another_process(HOLDS_LOCK, site.output / "state" / "lock"):
        says = ["output: another build is running (process 4711)", "try again when it is done"]
        site.fails("--no-wait", code=3, says=says)
        done = site.run("build", "--no-wait", "--json")
        failure_as_json(done, code=3, error="OutputBusy", says=says[0])


@pytest.mark.slow
def test_a_busy_output_is_waited_for(site: Site) -> None:
    """The build says that it waits, and runs when the other one has ended."""
    before = (site.output / "current").readlink()
    with ExitStack() as stack:
        other = stack.enter_context(ExitStack())
        other.enter_context(another_process(HOLDS_LOCK, site.output / "state" / "lock"))
        waiting = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "reportgen", "build", "--source", "sample"],
                cwd=site.folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True,
            )
        )  # fmt: skip
        stack.callback(waiting.kill)
        assert waiting.stderr
        assert waiting.stderr.readline() == "waiting for another build (process 4711)\n"
        assert (site.output / "current").readlink() == before
        other.close()
        stdout, stderr = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, stderr
    assert stdout.startswith("published ")
    assert (site.output / "current").readlink() != before


# Settings and options.


def test_settings_that_are_not_toml(site: Site) -> None:
    site.write(f'site = "example.com"\n[source\nurl = "postgresql://app:{SECRET}@db/stats"\n')
    [message] = site.fails(code=2, says=["reportgen.toml", "not valid TOML"])
    assert re.search(r"line 2|toml:2", message)


@pytest.mark.parametrize("content", [b'site = "\xff\xfe"\n', None], ids=["bytes", "directory"])
def test_settings_that_are_not_text(site: Site, content: bytes | None) -> None:
    file = site.folder / "reportgen.toml"
    file.write_bytes(content) if content else file.mkdir()
    site.fails(
        code=2, says=["reportgen.toml: not a UTF-8 text" if content else "reportgen.toml: cannot be read"]
    )


MANY = f"""\
site = ""
site_url = "example.com"
timezone = "Europe/Berlim"
windows = ["today", "9"]
top_paths = 0
schedule = "sometimes"

[source]
url = ["postgresql://app:{SECRET}@db/stats"]
connect_timeout_s = "soon"
columns = {{ visits = "" }}
password = "{SECRET}"

[output]
dir = ""
keep = 0

[server]
port = 70000
public = "perhaps"
"""
MANY_SAID = """\
reportgen.toml:1: site "" is empty
reportgen.toml:2: site_url "example.com" is not a web address
reportgen.toml:3: timezone "Europe/Berlim" is not a known time zone. Did you mean "Europe/Berlin"?
reportgen.toml:4: windows ["today", "9"] has "9", not a valid window: write "today"
reportgen.toml:5: top_paths 0 is too small
reportgen.toml:6: schedule "sometimes" is not a valid schedule
reportgen.toml:9: source.url is not a text
reportgen.toml:10: source.connect_timeout_s "soon" is not a whole number
reportgen.toml:11: source.columns.visits "" is empty
reportgen.toml:12: source.password is not a setting
reportgen.toml:15: output.dir "" is not the path of a directory
reportgen.toml:16: output.keep 0 is too small
reportgen.toml:19: server.port 70000 is too large
reportgen.toml:20: server.public "perhaps" is neither true nor false
REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S: source.statement_timeout_s "never" is not a whole number
REPORTGEN_SOURCE__TABEL: source.tabel is not a setting. Did you mean "table"?
REPORTGEN_TIMEZON: timezon is not a setting
"""


def test_every_problem_of_the_settings_is_named_at_once(site: Site) -> None:
    """Each with its place, its key and its value, unless the value may be a password."""
    site.write(MANY)
    expected = MANY_SAID.splitlines()
    messages = site.fails(
        code=2, says=[], lines=len(expected), REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S="never",
        REPORTGEN_SOURCE__TABEL="x", REPORTGEN_TIMEZON="UTC",
    )  # fmt: skip
    for start in expected:
        assert [message for message in messages if message.startswith(start)], start


@pytest.mark.parametrize(
    "line", [f'pwd = "{SECRET}"', f'dsn = "host=db password={SECRET}"', f'auth = "app:{SECRET}"']
)
def test_a_login_under_a_key_of_ones_own_is_not_shown(site: Site, line: str) -> None:
    """A user may write the password into a setting that does not exist. The message names only the key."""
    site.write(f"[source]\n{line}\n")
    key = line.partition(" ")[0]
    site.fails(code=2, says=[f"reportgen.toml:2: source.{key} is not a setting"])


def test_an_unknown_variable_is_named_with_the_likely_one(site: Site) -> None:
    says = ['REPORTGEN_TIMEZON: timezon is not a setting. Did you mean "timezone"?']
    site.fails(code=2, says=says, REPORTGEN_TIMEZON="UTC")


def test_an_unreadable_variable_is_named(site: Site) -> None:
    """A whole section in one variable is refused with the variable that works, and never shown."""
    broken = f'{{"url": "postgresql://app:{SECRET}@db/stats"'
    site.fails(
        code=2,
        says=["REPORTGEN_SOURCE: source is a section", "REPORTGEN_SOURCE__URL"],
        REPORTGEN_SOURCE=broken,
    )


def test_an_unknown_key_of_any_section_is_named_with_the_likely_one(site: Site) -> None:
    site.write(
        'top_path = 3\n[source]\ntabel = "x"\n[source.columns]\nvisit = "v"\n'
        "[output]\nkep = 3\n[server]\nprt = 80\n[sauce]\nurl = 1\n"
    )
    expected = [
        'reportgen.toml:1: top_path is not a setting. Did you mean "top_paths"?',
        'reportgen.toml:3: source.tabel is not a setting. Did you mean "table"?',
        'reportgen.toml:5: source.columns.visit is not a setting. Did you mean "visits"?',
        'reportgen.toml:7: output.kep is not a setting. Did you mean "keep"?',
        'reportgen.toml:9: server.prt is not a setting. Did you mean "port"?',
        'reportgen.toml:10: sauce is not a setting. Did you mean "source"?',
    ]
    site.fails(code=2, lines=len(expected), says=expected)


def test_check_names_bad_settings_as_build_does(site: Site, run: Run) -> None:
    site.write('timezone = "Mars/Olympus"\n')
    says = ['reportgen.toml:1: timezone "Mars/Olympus" is not a known time zone', '"Europe/Berlin"']
    site.fails(code=2, says=says)
    failure(run("check"), code=2, says=says)


@pytest.mark.parametrize(
    ("day", "says"),
    [
        ("2999-01-01", ["2999-01-01 is in the future. Today is", "in UTC"]),
        ("23.11.2026", ['"23.11.2026" is not a date', "Write it as 2026-11-23"]),
        ("2026-02-30", ['"2026-02-30" is not a date', "Write it as 2026-11-23"]),
        ("", ['"" is not a date', "Write it as 2026-11-23"]),
        ("0999-12-31", ["0999-12-31 is too long ago. The first possible date is 1000-01-01"]),
    ],
)
def test_a_day_that_no_report_can_end_on(site: Site, day: str, says: list[str]) -> None:
    site.fails("--as-of", day, code=2, says=["--as-of", *says])


def test_a_settings_file_that_is_not_there(site: Site) -> None:
    site.fails("--config", "absent.toml", code=2, says=["absent.toml: no such file", "with --config"])


def test_an_unknown_option(site: Site, run: Run) -> None:
    with untouched(site.output):
        done = run("build", "--bogus")
    assert done.returncode == 2
    assert re.search(r"^error: .*--bogus", done.stderr, re.MULTILINE), done.stderr
    assert "Traceback" not in done.stderr


# Tracebacks and JSON.


def test_the_traceback_is_shown_on_demand_without_the_password(site: Site, closed_port: int) -> None:
    url = f"postgresql://app:{SECRET}@127.0.0.1:{closed_port}/stats"
    with untouched(site.output):
        done = site.run("build", DATABASE_URL=url, REPORTGEN_DEBUG="1")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "SourceUnavailable: postgresql://127.0.0.1" in done.stderr
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "code", "error", "says"),
    [
        ("no.csv", 1, "SourceUnavailable", "no.csv: no such file"),
        (f"oracle://app:{SECRET}@db/stats", 2, "ConfigError", "no engine"),
    ],
    ids=["source", "settings"],
)
def test_a_failure_as_json_is_one_document(site: Site, source: str, code: int, error: str, says: str) -> None:
    with untouched(site.output):
        done = site.run("build", "--json", DATABASE_URL=source)
    failure_as_json(done, code=code, error=error, says=says)


def failure_as_json(done: Done, *, code: int, error: str, says: str) -> None:
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (code, "")
    assert document.keys() == {"status", "error", "message", "exit_code", "retry"}
    assert (document["status"], document["error"], document["exit_code"]) == ("failed", error, code)
    assert says in document["message"]
    assert SECRET not in done.stdout


# reportgen check.


CHECKED = [
    "sqlite: a text file", "sqlite: missing column", "sqlite: sum beyond 64 bits", "duckdb: missing table",
    "csv: missing file", "csv: no header",
]  # fmt: skip


@pytest.mark.parametrize("name", CHECKED)
def test_check_names_a_file_that_cannot_be_read(site: Site, name: str) -> None:
    bad = BAD_FILES[name]
    bad.make(site.folder)
    lines = site.checks("--source", bad.source, code=1)
    [message] = [message for level, message in lines if level == "error"]
    assert all(expected in message for expected in bad.says), message


@pytest.mark.parametrize("name", ["unknown table", "unknown column", "dates as numbers"])
def test_check_names_a_table_of_postgres_that_cannot_be_read(site: Site, pg: str, name: str) -> None:
    bad = BAD_TABLES[name]
    execute(pg, bad.prepare)
    site.write(f"[source]\n{bad.settings}\n")
    lines = site.checks(code=1, DATABASE_URL=with_secret(pg))
    [message] = [message for level, message in lines if level == "error"]
    assert all(expected in message for expected in bad.says), message


def test_check_names_every_problem_of_source_and_output(site: Site, closed_port: int) -> None:
    (site.folder / "taken").touch()
    url = f"postgresql://app:{SECRET}@127.0.0.1:{closed_port}/stats"
    lines = site.checks("--output", "taken", code=1, DATABASE_URL=url)
    errors = [message for level, message in lines if level == "error"]
    assert [message.split()[0] for message in errors] == ["source", "output"]
    assert "Check host and port" in errors[0]
    assert "name a directory with --output" in errors[1]


def test_check_names_an_engine_that_does_not_exist(site: Site) -> None:
    lines = site.checks(code=1, DATABASE_URL=f"oracle://app:{SECRET}@db/stats")
    assert any(level == "error" and 'no engine for "oracle://…"' in message for level, message in lines)


def test_check_as_json_holds_the_same_findings(site: Site) -> None:
    done = site.run("check", "--json", "--source", "no.csv")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert all(finding.keys() == {"level", "subject", "message"} for finding in found)
    assert [finding["subject"] for finding in found if finding["level"] == "error"] == ["source"]


def test_check_warns_of_a_missing_index_and_of_rights_to_write(site: Site, pg: str, reader: str) -> None:
    """Neither stops a build, so the exit code is 0. Both warnings name the statement to run."""
    execute(pg, f"{A_ROW}; GRANT SELECT, INSERT ON metrics TO {reader}")
    lines = site.checks(DATABASE_URL=login(pg, reader))
    warnings = [message for level, message in lines if level == "warning"]
    assert [message.split()[0] for message in warnings] == ["index", "rights"]
    assert "CREATE INDEX" in warnings[0]
    assert reader in warnings[1]
    assert "INSERT" in warnings[1]
    assert "GRANT SELECT" in warnings[1]


def test_check_accepts_a_role_that_only_reads_an_indexed_table(site: Site, pg: str, reader: str) -> None:
    execute(pg, f"{A_ROW}; CREATE INDEX ON metrics (date); GRANT SELECT ON metrics TO {reader}")
    lines = site.checks(DATABASE_URL=login(pg, reader))
    assert {level for level, _ in lines} == {"ok"}


def test_check_warns_of_a_missing_index_in_sqlite(site: Site) -> None:
    in_sqlite(TABLE)(site.folder)
    lines = site.checks("--source", "sqlite:///a.db")
    assert any(level == "warning" and "CREATE INDEX" in message for level, message in lines)


# Correct tables without visits for the report.

OLD_ROW = "INSERT INTO metrics VALUES ('2001-02-03', '/old', 5)"


@pytest.mark.slow
@pytest.mark.parametrize("rows", ["", OLD_ROW], ids=["empty", "only old rows"])
@pytest.mark.parametrize("engine", ["postgres", "sqlite", "duckdb", "csv"])
def test_no_visits_make_a_report_that_says_so(
    site: Site, request: pytest.FixtureRequest, engine: str, rows: str
) -> None:
    today = datetime.now(UTC).date()
    site.succeeds("--as-of", today, DATABASE_URL=quiet_source(site, request, engine, rows))
    current = site.output / "current"
    assert "No visits recorded" in (current / "7d" / "index.html").read_text(encoding="utf-8")
    schema = json.loads((resources.files("reportgen") / "report.schema.json").read_text(encoding="utf-8"))
    for window, days in (("today", 1), ("7d", 7), ("30d", 30)):
        report = json.loads((current / window / "report.json").read_text(encoding="utf-8"))
        jsonschema.validate(report, schema)
        assert report["daily"] == no_visits(today, days)
        assert (report["total"], report["other"], report["path_count"]) == (0, 0, 0)
        assert (report["paths"], report["notes"]) == ([], [])
        assert report["complete"]["total"] == report["complete"]["previous_total"] == 0
        assert report["complete"]["change"] is None


def no_visits(last: date, days: int) -> list[dict[str, Any]]:
    dates = [(last - timedelta(days=back)).isoformat() for back in reversed(range(days))]
    return [
        {"date": day, "visits": 0, "previous": 0, "recorded": False, "previous_recorded": False}
        for day in dates
    ]


def quiet_source(site: Site, request: pytest.FixtureRequest, engine: str, rows: str) -> str:
    """Make a table with ``rows`` and return its URL."""
    if engine == "postgres":
        url = request.getfixturevalue("pg")
        execute(url, f"{TABLE}; {rows}")
        return with_secret(url)
    if engine == "sqlite":
        in_sqlite(f"{TABLE}; {rows}")(site.folder)
        return "sqlite:///a.db"
    if engine == "duckdb":
        in_duckdb(f"{TABLE}; {rows}")(site.folder)
        return "duckdb:///a.duckdb"
    text("a.csv", "date,path,visits\n" + ("2001-02-03,/old,5\n" if rows else ""))(site.folder)
    return "a.csv"
