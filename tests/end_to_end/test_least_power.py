"""What a build cannot do, whatever its settings: write, read other files, run programs, connect elsewhere.

``query`` is the operator's own SQL; these tests give it to a superuser's connection, which is the worst case.
"""

import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
import vl_convert

from reportgen.charts.svg import svg_of
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import RenderError, SourceError
from reportgen.core.windows import Span
from reportgen.sources.registry import open_source
from reportgen.sources.statements import read_daily
from tests.support.postgres import Database, temporary_database
from tests.support.services import environment, serving

pytestmark = pytest.mark.slow

SPAN = Span(date(2026, 11, 1), date(2026, 11, 25))
ROW = ("2026-11-20", "/", 3)
TABLE = "CREATE TABLE metrics (date date, path text, visits bigint)"
READ = "SELECT * FROM metrics"


def read_rows(url: str, query: str, **settings: Any) -> int:
    """Read with a query, as a build does; return the number of valid rows."""
    chosen = SourceSettings.model_validate({"url": url, "query": query} | settings)
    with open_source(chosen, "UTC", SPAN) as source:
        return read_daily(source, SPAN).rows


def ending_the_statement(statement: str) -> str:
    """Return a query that ends the statement around it, runs its own, and begins a third."""
    return f"{READ}) AS metrics; {statement}; SELECT date, path, visits FROM ({READ}"


# PostgreSQL, as a superuser.


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    """Give a PostgreSQL server that is reached over TCP through a proxy."""
    with temporary_database() as server:
        yield server


@pytest.fixture(scope="module")
def superuser_url(db: Database) -> str:
    """Give a superuser's URL of a table with one row, in a database with functions that write."""
    db.execute("CREATE DATABASE least")
    pg = db.url.removesuffix("/postgres") + "/least"
    with psycopg.connect(pg) as owner:
        owner.execute(f"{TABLE}; INSERT INTO metrics VALUES ('2026-11-20', '/', 3)".encode())
        owner.execute(
            "CREATE FUNCTION writes() RETURNS bigint LANGUAGE plpgsql AS"
            " $$ BEGIN DELETE FROM metrics; RETURN 1; END $$; CREATE SEQUENCE counter"
        )
        owner.execute(
            "CREATE FUNCTION unlocks() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN"
            " SET TRANSACTION READ WRITE; DELETE FROM metrics; RETURN 1; END $$;"
            " CREATE FUNCTION runs() RETURNS bigint LANGUAGE plpgsql AS"
            " $$ BEGIN COPY metrics FROM PROGRAM 'echo x'; RETURN 1; END $$"
        )
    return pg


WRITING = {
    "delete": ("DELETE FROM metrics RETURNING *", "syntax error"),
    "insert": ("INSERT INTO metrics VALUES ('2026-11-21', '/', 1) RETURNING *", "syntax error"),
    "cte": (f"WITH d AS (DELETE FROM metrics RETURNING *) {READ}", "WITH clause containing a data-modifying"),
    "copy-to-program": ("COPY metrics TO PROGRAM 'touch MARK'", "syntax error"),
    "copy-from-program": ("COPY metrics FROM PROGRAM 'touch MARK'", "syntax error"),
    "two-statements": (f"{READ}; DROP TABLE metrics", "syntax error"),
    "closing-early": (ending_the_statement("DROP TABLE metrics"), "cannot insert multiple commands"),
    "closing-early-commit": (
        ending_the_statement("COMMIT; DROP TABLE metrics"),
        "cannot insert multiple commands",
    ),
    "comment": (f"{READ}) AS metrics; DROP TABLE metrics --", "syntax error"),
    "open-comment": (f"{READ}) AS metrics; DROP TABLE metrics /*", "unterminated"),
    "function": (f"{READ} WHERE writes() > 0", "cannot execute DELETE in a read-only transaction"),
    "set-transaction": (f"{READ} WHERE unlocks() > 0", "must be set before any query"),
    "set-config": (
        f"{READ} WHERE set_config('transaction_read_only', 'off', true) = 'off' AND writes() > 0",
        "must be set before any query",
    ),
    "set-config-isolation": (
        f"{READ} WHERE set_config('transaction_isolation', 'read committed', true) <> ''",
        "must be called before any query",
    ),
    "copy-in-a-function": (f"{READ} WHERE runs() > 0", "cannot execute COPY FROM in a read-only transaction"),
    "sql-in-text": (
        f"{READ} WHERE query_to_xml('DELETE FROM metrics', true, true, '') IS NOT NULL",
        "not allowed in a non-volatile function",
    ),
    "program-in-text": (
        f"{READ} WHERE query_to_xml('COPY (SELECT 1) TO PROGRAM ''touch MARK''', true, true, '') IS NOT NULL",
        "not allowed in a non-volatile function",
    ),
    "sequence": (f"{READ} WHERE nextval('counter') > 0", "cannot execute nextval() in a read-only"),
    "large-object": (f"{READ} WHERE lo_from_bytea(0, 'x') > 0", "cannot execute lo_from_bytea() in a read"),
    "large-object-of-a-file": (f"{READ} WHERE lo_import('/etc/passwd') > 0", "cannot execute lo_import() in"),
    "for-update": (f"{READ} FOR UPDATE", "in a read-only transaction"),
}


@pytest.mark.parametrize("name", WRITING)
def test_a_query_of_postgres_cannot_write(name: str, superuser_url: str, tmp_path: Path) -> None:
    """Nor run a program, in any way that ends in another statement."""
    query, words = WRITING[name]
    with pytest.raises(SourceError) as caught:
        read_rows(superuser_url, query.replace("MARK", str(tmp_path / "mark")))
    assert words in str(caught.value)
    with psycopg.connect(superuser_url) as owner:
        assert owner.execute("SELECT date::text, path, visits FROM metrics").fetchall() == [ROW]
        assert owner.execute("SELECT is_called FROM counter").fetchone() == (False,)
        assert owner.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone() == (0,)
    assert not (tmp_path / "mark").exists()


def test_a_superusers_query_can_read_files_of_the_server(superuser_url: str) -> None:
    """A role that may only read prevents this."""
    assert read_rows(superuser_url, f"{READ} WHERE pg_read_file('PG_VERSION') <> ''") == 1
    assert read_rows(superuser_url, f"{READ} WHERE set_config('statement_timeout', '0', true) = '0'") == 1
    with psycopg.connect(superuser_url) as owner:
        owner.execute("CREATE ROLE only_reads LOGIN; GRANT SELECT ON metrics TO only_reads")
    url = superuser_url.replace("://postgres:", "://only_reads:")
    assert read_rows(url, READ) == 1
    with pytest.raises(SourceError, match="permission denied for function pg_read_file"):
        read_rows(url, f"{READ} WHERE pg_read_file('PG_VERSION') <> ''")


# SQLite and DuckDB: the file, and nothing else.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a working directory with the same row for each engine, and a file that belongs to none."""
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("a.db")) as database:
        database.execute(TABLE)
        database.execute("INSERT INTO metrics VALUES (?, ?, ?)", ROW)
        database.commit()
    with duckdb.connect("a.duckdb") as database:
        database.execute(TABLE)
        database.execute("INSERT INTO metrics VALUES (?, ?, ?)", ROW)
        database.execute("COPY metrics TO 'a.parquet'")
    for name in ("a.csv", "secret.csv"):
        Path(name).write_text("date,path,visits\n2026-11-20,/,3\n")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    yield tmp_path
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


SQLITE = {
    "delete": ("DELETE FROM metrics RETURNING *", "syntax error"),
    "cte": (f"WITH d AS (DELETE FROM metrics RETURNING *) {READ}", "syntax error"),
    "closing-early": (ending_the_statement("DROP TABLE metrics"), "one statement at a time"),
    "attach": (ending_the_statement("ATTACH 'new.db' AS new"), "one statement at a time"),
    "pragma": (ending_the_statement("PRAGMA writable_schema = ON"), "one statement at a time"),
    "vacuum-into": ("VACUUM INTO 'new.db'", "syntax error"),
    "pragma-function": ("SELECT * FROM pragma_writable_schema(1)", "too many arguments"),
    "extension": (f"{READ} WHERE load_extension('x') IS NULL", "not authorized"),
    "writefile": (f"{READ} WHERE writefile('new', 'x')", "no such function"),
    "readfile": (f"{READ} WHERE readfile('secret.csv')", "no such function"),
}


@pytest.mark.parametrize("name", SQLITE)
def test_a_query_of_sqlite_reads_only_its_file(name: str, folder: Path) -> None:
    query, words = SQLITE[name]
    assert read_rows(f"sqlite:///{folder}/a.db", READ) == 1
    with pytest.raises(SourceError) as caught:
        read_rows(f"sqlite:///{folder}/a.db", query)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM metrics", "CREATE TABLE new (a)", "PRAGMA user_version = 7", "ATTACH 'new.db' AS new"],
)
def test_sqlite_is_opened_read_only_whatever_the_statement(statement: str, folder: Path) -> None:
    """A second protection, should a statement pass the first one."""
    settings = SourceSettings.model_validate({"url": f"sqlite:///{folder}/a.db"})
    with open_source(settings, "UTC", SPAN) as source:
        list(source.rows("PRAGMA query_only = OFF", {}))
        with pytest.raises(SourceError, match=r"readonly|only read|too many attached"):
            list(source.rows(statement, {}))


OUTSIDE = "file system operations are disabled"
DUCKDB = {
    "read_csv": ("SELECT * FROM read_csv('secret.csv')", OUTSIDE),
    "file-as-table": ("SELECT * FROM 'secret.csv'", OUTSIDE),
    "read_text": (f"{READ} WHERE (SELECT content FROM read_text('/etc/passwd')) <> ''", OUTSIDE),
    "glob": (f"{READ} WHERE (SELECT count(*) FROM glob('/etc/*')) > 0", OUTSIDE),
    "http": ("SELECT * FROM read_csv('http://127.0.0.1:9/a.csv')", ""),
    "copy": (ending_the_statement("COPY (SELECT 1) TO 'new.csv'"), OUTSIDE),
    "export": (ending_the_statement("EXPORT DATABASE 'new'"), OUTSIDE),
    "attach": (ending_the_statement("ATTACH 'new.db' AS new"), OUTSIDE),
    "install": (ending_the_statement("INSTALL httpfs"), OUTSIDE),
    "load": (ending_the_statement("LOAD httpfs"), ""),
    "access": (ending_the_statement("SET enable_external_access = true"), ""),
    "directories": (ending_the_statement("SET allowed_directories = ['/']"), "locked"),
    "unlock": (ending_the_statement("SET lock_configuration = false"), "locked"),
    "spill": (ending_the_statement(f"SET temp_directory = '{Path('/tmp')}'"), ""),
    "log": (ending_the_statement("SET log_query_path = 'new.log'"), "locked"),
    "sql-in-text": ("SELECT * FROM query('DROP TABLE metrics')", "single SELECT"),
    "environment": (f"{READ} WHERE getenv('HOME') <> ''", "getenv"),
}  # fmt: skip


@pytest.mark.parametrize("file", ["a.duckdb", "a.parquet", "a.csv"])
@pytest.mark.parametrize("name", DUCKDB)
def test_a_query_of_duckdb_reads_only_its_files(name: str, file: str, folder: Path) -> None:
    """DuckDB runs several statements if a query holds them; each of them fails."""
    url = f"duckdb:///{folder}/{file}" if file.endswith("duckdb") else file
    query, words = DUCKDB[name]
    assert read_rows(url, READ) == 1
    with pytest.raises(SourceError) as caught:
        read_rows(url, query)
    assert words in str(caught.value)


# Drawings and templates.


@pytest.fixture
def web_server(tmp_path: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Give the URL of a web server in another process, and a function that returns its requests."""
    (tmp_path / "x.csv").write_text("x,y\n4711,2\n")
    log = tmp_path / "requests"
    with log.open("w") as stream, subprocess.Popen(
        [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=stream, text=True,
    ) as server:  # fmt: skip
        assert server.stdout
        port = re.findall(r"port (\d+)", server.stdout.readline())[0]
        yield f"http://127.0.0.1:{port}", lambda: re.findall(r'"GET (\S+)', log.read_text())
        server.terminate()


def chart(address: str, mark: str) -> dict[str, Any]:
    """Return a specification with a URL, as data or as an image."""
    x = {"x": {"field": "x", "type": "quantitative"}}
    if mark == "image":
        values = {"values": [{"x": 1}]}
        return {
            "data": values,
            "mark": {"type": "image", "url": address, "width": 9, "height": 9},
            "encoding": x,
        }
    return {"data": {"url": address, "format": {"type": "csv"}}, "mark": "point", "encoding": x}


@pytest.mark.parametrize("scheme", ["http", "file", "path"])
def test_a_chart_fetches_nothing(
    scheme: str, web_server: tuple[str, Callable[[], list[str]]], tmp_path: Path
) -> None:
    """Not even a local file. An image remains a link, which nothing follows here."""
    address, requests = web_server
    file = tmp_path / "x.csv"
    place = {"http": f"{address}/x.csv", "file": file.as_uri(), "path": str(file)}[scheme]
    drawn = []
    for mark in ("point", "image"):
        with suppress(RenderError):
            drawn.append(svg_of(json.dumps(chart(place, mark))))
    assert "4711" not in "".join(drawn)
    assert "4,711" not in "".join(drawn)
    assert requests() == []


def test_vl_convert_fetches_if_it_is_allowed(web_server: tuple[str, Callable[[], list[str]]]) -> None:
    """This shows that the test above can fail."""
    address, requests = web_server
    spec = json.dumps(chart(f"{address}/x.csv", "point"))
    drawn = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[f"{address}/"])
    assert requests() == ["/x.csv"]
    assert "4,711" in drawn or "4711" in drawn


INJECTED = ["{{ 7*7 }}", "{% include '/etc/passwd' %}", "{# gone #}", "{{ config }}", "${7*7}"]


def test_text_of_users_is_never_a_template(tmp_path: Path) -> None:
    """Paths, the site's name and the introduction are shown as they are written."""
    today = datetime.now().astimezone().date()
    lines = [f'{today},"/{text}",{n}' for n, text in enumerate(INJECTED, 1)]
    (tmp_path / "a.csv").write_text("\n".join(["date,path,visits", *lines, ""]))
    settings = {"REPORTGEN_SITE": INJECTED[0], "REPORTGEN_INTRO": " ".join(INJECTED)}
    subprocess.run(
        [sys.executable, "-m", "reportgen", "build", "--source", "a.csv", "--as-of", today.isoformat()],
        cwd=tmp_path, env=environment(**settings), check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    page = (tmp_path / "output/current/7d/index.html").read_text()
    plain = page.replace("&#39;", "'").replace("&#x27;", "'").replace("&quot;", '"')
    for text in INJECTED:
        assert plain.count(text) >= 2, text  # in the introduction, and as a path
    assert "root:" not in page
    assert not re.search(r"\b49\b", re.sub(r"<(svg|style|script).*?</\1>", "", page, flags=re.DOTALL))


# Whom a build and a service call.


def addresses_in(trace: str) -> set[tuple[str, int]]:
    """Return each address outside this process that a system call names, as (host, port)."""
    pattern = r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"'
    return {(host, int(port)) for port, host in re.findall(pattern, trace)}


@pytest.fixture(scope="module")
def strace() -> str:
    """Give the program that records the system calls of Python, libpq, DuckDB and V8."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("strace is not installed: it records the connections that C code makes")
    tried = subprocess.run([program, "-f", "true"], capture_output=True, check=False, timeout=20)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode()[-200:]}")
    return program


def test_a_chart_needs_no_font_of_the_machine(strace: str, tmp_path: Path) -> None:
    """So it is the same everywhere. Later child processes have all fonts again."""
    code = (
        "import os; from reportgen.charts.svg import start_v8; start_v8();"
        " print(os.environ.get('FONTCONFIG_FILE'))"
    )
    for before in (None, "/etc/fonts/fonts.conf"):
        done = subprocess.run(
            [strace, "-f", "--seccomp-bpf", "-o", "trace", "-e", "trace=openat", sys.executable, "-c", code],
            cwd=tmp_path, env=environment(**({"FONTCONFIG_FILE": before} if before else {})),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        opened = re.findall(r'openat\([^"]*"([^"]*)"', (tmp_path / "trace").read_text())
        assert done.stdout.strip() == str(before), done.stderr
        assert [file for file in opened if file.endswith("reportgen/charts/fonts.conf")] != []
        assert [file for file in opened if file.endswith((".ttf", ".otf", ".pfb", ".ttc"))] == []


CALLS = "trace=connect,sendto,sendmsg,sendmmsg"


def test_a_build_connects_only_to_its_database(strace: str, db: Database, tmp_path: Path) -> None:
    """Neither Python code nor libraries: every system call with an address is recorded."""
    command = [sys.executable, "-m", "reportgen", "build", "--json"]
    done = subprocess.run(
        [strace, "-f", "--seccomp-bpf", "-o", "trace", "-e", CALLS, *command],
        cwd=tmp_path, env=environment(DATABASE_URL=db.url), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["status"] == "published", done.stderr
    assert addresses_in((tmp_path / "trace").read_text()) == {("127.0.0.1", db.proxy.port)}


def test_a_service_connects_only_to_its_database(strace: str, db: Database, tmp_path: Path) -> None:
    """Neither the server process nor its builds."""
    log = tmp_path / "trace"
    with serving(tmp_path, DATABASE_URL=db.url, REPORTGEN_SCHEDULE="1s", REPORTGEN_WINDOWS="7d") as service:
        tracer = subprocess.Popen(
            [strace, "-f", "-o", str(log), "-e", CALLS, "-p", str(service.process.pid)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert tracer.stderr
        attached = tracer.stderr.readline()
        assert "attached" in attached, attached
        service.await_event("release_served", within_s=60)
        done = len(service.events("build_unchanged"))
        service.await_event("build_unchanged", done + 2, within_s=60)
        assert service.ask("/7d/").status == 200
        tracer.terminate()
        tracer.communicate(timeout=20)
    assert addresses_in(log.read_text()) == {("127.0.0.1", db.proxy.port)}
