"""Adding the visits of logs to a table: each line is counted exactly once, whatever happens."""

import gzip
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from reportgen.config.settings import config_from_options
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.sources import log_import
from reportgen.sources.log_import import ImportResult, import_logs
from tests.sources.test_logs import BROWSER, combined
from tests.support.commands import ONE_WINDOW, Run, environment, run_as_nobody, run_command
from tests.support.disks import disk
from tests.support.proof import assert_sound
from tests.support.services import eventually, serving


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'm.db'}"
    return str(request.getfixturevalue("pg"))


def add(url: str, *logs: Path | str, **options: Any) -> ImportResult:
    config = config_from_options({"source": {"url": "sample"}})
    return import_logs(config, list(map(str, logs)), SecretStr(url), **({"create": True} | options))


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return connection.execute(sql).fetchall()
    with psycopg.connect(url) as connection:
        return connection.execute(sql.encode()).fetchall()


def visits(url: str) -> dict[tuple[str, str], int]:
    return {
        (str(day), path): count for day, path, count in rows(url, "SELECT date, path, visits FROM metrics")
    }


def lines(*numbers: int) -> str:
    """Lines with a path of their own each, two of a day."""
    return "".join(
        combined(f"GET /{n} HTTP/1.1", time=f"{1 + n // 2 % 28:02d}/Nov/2026:12:00:00 +0000") for n in numbers
    )


def test_lines_are_counted_once_however_a_log_is_rotated(url: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(0, 1))
    assert add(url, log).visits == 2
    assert add(url, log, create=False).lines == 0
    with log.open("a") as file:
        file.write(lines(2) + lines(3)[:40])  # the server is writing the last line
    assert add(url, log).visits == 1
    with log.open("a") as file:
        file.write(lines(3)[40:])
    rotated = log.rename(tmp_path / "access.log.1")
    log.write_text(lines(4, 5))
    assert add(url, f"{tmp_path}/access.log*").visits == 3
    packed = Path(shutil.move(rotated, tmp_path / "access.log.2"))
    (tmp_path / "access.log.2.gz").write_bytes(
        gzip.compress(packed.read_bytes())
    )  # both are there for a moment
    assert add(url, f"{tmp_path}/access.log*").lines == 0
    packed.unlink()
    copy = shutil.copy(log, tmp_path / "access.log.1")  # logrotate's copytruncate
    log.write_text(lines(6))
    assert add(url, f"{tmp_path}/access.log*", copy).visits == 1
    assert visits(url) == {(f"2026-11-{1 + n // 2:02d}", f"/{n}"): 1 for n in range(7)}


def test_visits_are_added_to_those_that_the_table_has(url: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(lines(0, 0, 1))
    add(url, log)
    log.write_text(lines(1, 0) + "junk\n" + combined("GET /x HTTP/1.1", 404))
    result = add(url, log)
    assert (result.lines, result.visits) == (4, 2)
    stored = {("2026-11-01", "/0"): 3, ("2026-11-01", "/1"): 2}
    assert visits(url) == stored | {("2026-11-26", "/"): 0}  # a day without visits was recorded, too
    left_out = rows(url, "SELECT reason, requests FROM left_out ORDER BY reason")
    assert left_out == [("error", 1), ("unreadable", 1)]


def test_an_example_for_each_reason_has_file_line_and_path(run: Run, tmp_path: Path) -> None:
    """Nothing of a reader is in them."""
    log = tmp_path / "access.log"
    log.write_text(
        combined() * 2 + "\n" + combined("GET /?id=1 HTTP/1.1", agent="ABot/1.0 +http://a.test") * 2
        + f'198.18.0.1 - "{BROWSER}"\n' + combined("GET /e HTTP/1.1", 404) + combined("POST /m HTTP/1.1")
    )  # fmt: skip
    assert run("import", log, "--into", "sqlite:///m.db", "--create").stdout == (
        "7 new lines in 1 file: 2 visits added\n"
        "left out: 5 requests: bots 2 (ABot 2), errors 1, methods other than GET 1, unreadable lines 1\n"
        f"example: {log}: line 4, bots: /\nexample: {log}: line 6, unreadable lines\n"
        f"example: {log}: line 7, errors: /e\nexample: {log}: line 8, methods other than GET: /m\n"
    )
    start = log.stat().st_size
    with log.open("a") as file:
        file.write(combined("GET /a.css HTTP/1.1"))
    done = run("import", log, "--into", "sqlite:///m.db", "--json")
    example = {"file": f"{log}: after byte {start:,}", "line": 1, "reason": "asset", "path": "/a.css"}
    assert json.loads(done.stdout)["examples"] == [example]
    log.write_text(combined("GET /reset/8f3a HTTP/1.1"))
    done = run("import", log, "--into", "sqlite:///m.db", REPORTGEN_SOURCE__LOG__EXCLUDE="/reset/**")
    assert done.stdout.endswith(f"example: {log}: line 1, excluded paths\n")


def test_a_dry_run_writes_nothing(url: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(lines(0))
    add(url, tmp_path / "a.log")
    (tmp_path / "b.log").write_text(lines(1, 2))
    with closing(_connect(url)) as connection:
        connection.execute("DROP TABLE left_out")
        connection.commit()
    assert add(url, tmp_path / "*.log", dry_run=True).visits == 2
    assert len(visits(url)) == 1
    assert add(url, tmp_path / "*.log").visits == 2
    other = tmp_path / "other.db"
    assert add(f"sqlite:///{other}", tmp_path / "*.log", dry_run=True).visits == 3
    assert not other.exists()


def test_any_path_can_be_stored(url: str, tmp_path: Path) -> None:
    """PostgreSQL holds no NUL, and indexes at most 2,700 bytes: a long path must not end all imports."""
    log, seed = tmp_path / "a.log", random.Random(7)
    long = "".join(seed.choices("abcdefghijklmnopqrstuvwxyz", k=6000))
    paths = [f"/{long}", f"/{long}1", "/" + "\u4e2d" * 3000, "/\0"]
    log.write_text("".join(combined(f"GET {path} HTTP/1.1") for path in paths))
    assert add(url, log).visits == 4
    cut = {f"/{long[:999]}": 2, "/" + "\u4e2d" * 333: 1, "/\ufffd": 1}
    assert {path: count for (_, path), count in visits(url).items()} == cut


def test_a_role_without_the_right_to_create_imports_into_tables_that_exist(pg: str, tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(lines(0))
    add(pg, log)
    with psycopg.connect(pg, autocommit=True) as connection:
        connection.execute(
            "CREATE ROLE imports; "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO imports"
        )
        writer = f"{pg}{'&' if '?' in pg else '?'}options=-c%20role%3Dimports"
        try:
            log.write_text(lines(1))
            assert add(writer, log).visits == 1
            connection.execute("DROP TABLE left_out")
            with pytest.raises(SourceError, match='CREATE ON SCHEMA "public"; or let another role run'):
                add(writer, log)
        finally:
            connection.execute("DROP OWNED BY imports; DROP ROLE imports")


def test_a_log_that_cannot_be_read_to_its_end_counts_nothing(url: str, tmp_path: Path) -> None:
    packed = gzip.compress("".join([combined(f"GET /{n} HTTP/1.1") for n in range(5000)]).encode())
    log = tmp_path / "half.log.gz"
    log.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(SourceUnavailable, match=r"half.log.gz: Compressed file ended .* Nothing of this log"):
        add(url, log)
    assert visits(url) == {}
    log.write_bytes(packed)
    assert add(url, log).visits == 5000


def test_a_log_that_is_cut_while_it_is_read_is_imported_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logrotate's copytruncate, at the worst moment: new lines are already where the old ones were."""
    log = tmp_path / "access.log"
    log.write_text(lines(0, 1))
    add(url, log)
    copy_lines = log_import._copy_lines

    def rotate_first(*arguments: Any, **options: Any) -> int:
        shutil.copy(log, tmp_path / "access.log.1")
        log.write_text(lines(*range(2, 10)))
        return copy_lines(*arguments, **options)

    monkeypatch.setattr(log_import, "_copy_lines", rotate_first)
    with pytest.raises(SourceUnavailable, match="cut while it was read"):
        add(url, log)
    monkeypatch.undo()
    assert add(url, f"{log}*").visits == 8
    assert sum(visits(url).values()) == 10


def test_a_killed_import_leaves_no_lines_on_disk(tmp_path: Path) -> None:
    """The new lines are copied into a file without a name."""
    (tmp_path / "a.log").write_text(lines(*range(100_000)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "reportgen", "import", str(tmp_path / "a.log"), "--create", "--into"]
    process = subprocess.Popen(
        [*command, f"sqlite:///{tmp_path / 'm.db'}"], env=environment() | {"TMPDIR": str(temporary)}
    )
    eventually(lambda: _has_unnamed_file(process.pid, temporary))
    process.kill()
    process.wait()
    assert [path for path in temporary.rglob("*") if path.is_file()] == []


def _has_unnamed_file(process: int, folder: Path) -> bool:
    """Return whether a process has a file in ``folder`` open that has no name there."""
    for link in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            target = str(link.readlink())
            if target.startswith(str(folder)) and target.endswith("(deleted)"):
                return True
    return False


def test_two_imports_at_once_count_each_line_once(url: str, tmp_path: Path) -> None:
    for part in range(6):
        (tmp_path / f"{part}.log").write_text(lines(*range(part * 500, part * 500 + 500)))
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: add(url, tmp_path / "*.log"), range(4)))
    assert sum(result.visits for result in results) == 3000
    assert sum(visits(url).values()) == 3000


@pytest.mark.slow
def test_a_hundred_killed_imports_count_each_line_once(url: str, tmp_path: Path) -> None:
    """The command is killed while logs grow and rotate, at moments between its start and its usual end."""
    log, seed = tmp_path / "access.log", random.Random(7)
    killed = rounds = 0
    command = ("import", f"{log}*", "--into", url, "--create")
    run_command(tmp_path, ("import", "--help"), environment())  # loads the program
    log.write_text(lines(*range(written := 300)))
    started = time.monotonic()
    assert run_command(tmp_path, command, environment()).returncode == 0
    usual_s = time.monotonic() - started
    while killed < 100:
        with log.open("a") as file:
            file.write(lines(*range(written, written + 300)))
        written += 300
        try:
            run_command(tmp_path, command, environment(), timeout_s=seed.uniform(0.05, 1) * usual_s)
        except subprocess.TimeoutExpired:
            killed += 1
        rounds += 1
        if rounds % 3 == 2:
            log.rename(tmp_path / f"access.log.{rounds}")
    assert run_command(tmp_path, command, environment()).returncode == 0
    assert visits(url) == dict(Counter((f"2026-11-{1 + n // 2 % 28:02d}", f"/{n}") for n in range(written)))


@pytest.mark.parametrize(
    ("statements", "options", "message"),
    [
        ([], {"create": False}, "Run reportgen import --create once"),
        (
            ["CREATE TABLE metrics (date text, path text, visits integer)"],
            {},
            "no unique key of date and path",
        ),
        (["CREATE TABLE metrics (day text, path text, visits integer)"], {}, "Set table and columns in"),
        (["CREATE TABLE left_out (reason text)"], {}, "left_out needs the columns date, reason and requests"),
        (
            ["CREATE TABLE metrics (date text, path text, visits int, x text NOT NULL, UNIQUE (date, path))"],
            {},
            "Give the other columns of the table a default",
        ),
    ],
)
def test_a_table_that_cannot_be_written_is_an_error(
    statements: Sequence[str], options: dict[str, Any], message: str, url: str, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_text(lines(0) + combined(status=404))
    with closing(_connect(url)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    with pytest.raises(SourceError, match=message):
        add(url, tmp_path / "a.log", **options)


def _connect(url: str) -> Any:
    return (
        sqlite3.connect(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else psycopg.connect(url)
    )


def test_a_role_that_may_only_read_is_told_which_rights_it_needs(pg: str, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(lines(0))
    add(pg, tmp_path / "a.log")
    with psycopg.connect(pg, autocommit=True) as connection:
        connection.execute(
            "CREATE ROLE only_reads; GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads"
        )
        try:
            (tmp_path / "a.log").write_text(lines(1))
            reader = f"{pg}{'&' if '?' in pg else '?'}options=-c%20role%3Donly_reads"
            with pytest.raises(
                SourceError, match=r'GRANT SELECT, INSERT, UPDATE, DELETE ON "metrics", left_out'
            ):
                add(reader, tmp_path / "a.log", create=False)
        finally:
            connection.execute("DROP OWNED BY only_reads; DROP ROLE only_reads")


def test_a_disk_that_fills_counts_nothing_of_the_log(tmp_path: Path) -> None:
    with disk(tmp_path / "small", "size=256k") as place:
        url = f"sqlite:///{place / 'm.db'}"
        (tmp_path / "a.log").write_text(lines(*range(20)))
        add(url, tmp_path / "a.log")
        (tmp_path / "b.log").write_text(
            "".join(combined(f"GET /{'x' * 500}{n} HTTP/1.1") for n in range(2000))
        )
        with pytest.raises(SourceError, match="disk is full"):
            add(url, tmp_path / "b.log")
        assert sum(visits(url).values()) == 20
        assert rows(url, "SELECT count(*) FROM reportgen_import") == [(1,)]


def test_the_database_of_an_import_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(lines(0))
    with pytest.raises(ConfigError, match=r"mysql://\*\*\*@host/db is not a database to write"):
        add("mysql://me:secret@host/db", tmp_path / "a.log")
    with pytest.raises(SourceError, match=r"none/m\.db: cannot be created\. Create the directory"):
        add(f"sqlite:///{tmp_path}/none/m.db", tmp_path / "a.log")
    with pytest.raises(SourceError, match=r"postgresql://127\.0\.0\.1:1/db: cannot connect"):
        add("postgresql://me:secret@127.0.0.1:1/db", tmp_path / "a.log")


def test_a_build_imports_first_if_the_settings_say_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_text(lines(0, 1, 2))
    (tmp_path / "reportgen.toml").write_text(
        'site = "x"\n[source]\nurl = "sqlite:///m.db"\n[import]\nlogs = ["access.log*"]\ncreate = true\n'
        'into = "sqlite:///m.db"\n'
    )
    done = run("build", **ONE_WINDOW)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("imported: 3 new lines in 1 file: 3 visits added\n")
    assert sum(visits(f"sqlite:///{tmp_path}/m.db").values()) == 3
    done = run("import")
    assert done.stdout == "0 new lines in 0 files: 0 visits added\n"
    done = run("import", "access.log", "--into", "sqlite:///other.db", "--create", "--json")
    assert '"lines": 3, "visits": 3' in done.stdout


def test_a_report_of_imported_visits_says_what_the_import_left_out(
    url: str, run: Run, tmp_path: Path
) -> None:
    today = f"{datetime.now(UTC):%d/%b/%Y:00:00:00 +0000}"
    log, week_ago = (
        tmp_path / "access.log",
        f"{datetime.now(UTC) - timedelta(days=7):%d/%b/%Y:12:00:00 +0000}",
    )
    log.write_text(
        combined(time=today) + combined(time=today, status=404) + combined(time=week_ago, agent="ABot/1.0")
    )
    settings = {
        "REPORTGEN_SOURCE__URL": url,
        "REPORTGEN_IMPORT__INTO": url,
        "REPORTGEN_IMPORT__LOGS": f"{log}",
        "REPORTGEN_WINDOWS": "7d,30d",
    }
    built = run("build", "--json", REPORTGEN_IMPORT__CREATE="true", **settings)
    assert json.loads(built.stdout)["imported"] == {"files": 1, "lines": 3, "visits": 1}
    release = tmp_path / "output" / "current"
    errors, bots = {"reason": "error", "requests": 1}, {"reason": "bot", "requests": 1}
    for window, expected in {"7d": [errors], "30d": [bots, errors]}.items():
        report = json.loads((release / window / "report.json").read_text())
        assert report["left_out"]["reasons"] == expected
    assert "<li>Left out: 2 requests: bots 1, errors 1" in (release / "30d" / "index.html").read_text()
    files = {
        str(file.relative_to(release)): file.read_bytes() for file in release.rglob("*") if file.is_file()
    }
    assert_sound(files, ["7d", "30d"])
    assert "left out: 2 requests: bots 1, errors 1" in run("build", **settings).stdout
    assert "2 requests: bots 1, errors 1" in run("check", **settings).stdout


def test_a_reader_that_may_not_read_what_was_left_out_is_told_the_right_it_needs(
    pg: str, run: Run, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    log.write_text(combined() + combined(status=404))
    add(pg, log)
    with psycopg.connect(pg, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader; GRANT SELECT ON metrics TO reader")
        try:
            settings = {
                "REPORTGEN_SOURCE__URL": f"{pg}{'&' if '?' in pg else '?'}options=-c%20role%3Dreader",
                "REPORTGEN_IMPORT__INTO": pg,
                "REPORTGEN_IMPORT__LOGS": str(log),
            }
            advice = 'left out is not shown: GRANT SELECT ON "public".left_out TO reader;'
            built = run("build", **settings, **ONE_WINDOW)
            assert (built.returncode, "left out:" in built.stdout) == (0, False)
            assert advice in built.stderr
            assert advice in run("check", **settings).stdout
            connection.execute("DROP TABLE left_out")
            built = run("build", "--as-of", "2026-11-26", **settings, **ONE_WINDOW)
            assert (built.returncode, "warning" in built.stderr) == (0, False)
        finally:
            connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_check_tries_what_an_import_needs_and_writes_nothing(url: str, run: Run, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    settings = {
        "REPORTGEN_SOURCE__URL": url,
        "REPORTGEN_IMPORT__INTO": url,
        "REPORTGEN_IMPORT__LOGS": f"{log}",
    }
    first = run("check", **settings)
    assert first.returncode == 1
    assert f"error    import  {log}: no such file\n" in first.stdout
    assert "If nothing was imported yet, run: reportgen import --create\n" in first.stdout
    assert re.search(r"error    import  .*Run reportgen import --create once", first.stdout)
    log.write_text(lines(0, 1))
    again = run("check", REPORTGEN_IMPORT__CREATE="true", **settings).stdout
    assert "ok       import  logs: 1 file: combined\n" in again
    assert "can be written\n" in again
    if url.startswith("sqlite"):
        assert not (tmp_path / "m.db").exists()
    add(url, log)
    before = [rows(url, f"SELECT * FROM {table}") for table in ("metrics", "left_out", "reportgen_import")]
    done = run("check", **settings)
    assert (done.returncode, "can be written\n" in done.stdout) == (0, True)
    assert before == [
        rows(url, f"SELECT * FROM {table}") for table in ("metrics", "left_out", "reportgen_import")
    ]
    other = run("check", **settings | {"REPORTGEN_SOURCE__URL": "sample"}).stdout
    assert "Let source.url name this database, too: sample does not show its visits" in other
    with closing(_connect(url)) as connection:
        connection.execute("DROP TABLE left_out")
        connection.commit()
    assert re.search("error    import  .*left_out", run("check", **settings).stdout)


def test_a_role_that_cannot_create_tables_is_told_the_right_it_needs(
    pg: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_text(lines(0))
    with psycopg.connect(pg, autocommit=True) as connection:
        connection.execute("CREATE ROLE writer; REVOKE CREATE ON SCHEMA public FROM public")
        writer = f"{pg}{'&' if '?' in pg else '?'}options=-c%20role%3Dwriter"
        try:
            done = run("import", "a.log", "--create", "--into", writer)
            assert 'the role needs GRANT USAGE, CREATE ON SCHEMA "public"; or let another role' in done.stderr
            add(pg, tmp_path / "a.log")
            # As docs/logs.md has it.
            connection.execute(
                "GRANT USAGE ON SCHEMA public TO writer;"
                "GRANT SELECT, INSERT, UPDATE, DELETE ON metrics, left_out, reportgen_import TO writer"
            )
            (tmp_path / "a.log").write_text(lines(1))
            assert run("import", "a.log", "--into", writer).returncode == 0
        finally:
            connection.execute("DROP OWNED BY writer; DROP ROLE writer")


def test_what_stops_a_first_import_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(lines(0))
    into = ("--into", "sqlite:///m.db")
    missing = run("import", "a.log", *into).stderr
    assert "error: sqlite:///m.db: no such file. Run reportgen import --create once, which" in missing
    assert run("import", "a.log", *into, "--create", "--dry-run").returncode == 0
    assert not (tmp_path / "m.db").exists()
    wrong = run("import", "a.log", REPORTGEN_IMPORT__INTO="mysql://host/db")
    assert (wrong.returncode, wrong.stderr[:38]) == (2, "error: import.into: mysql://host/db is")
    wrong = run("import", "a.log", "--into", "sqlite://host/m.db")
    assert wrong.stderr.startswith("error: import.into: a sqlite URL names a file, not a host")


def test_a_reader_of_the_output_that_ends_early_is_not_an_unexpected_error(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(lines(0))
    command = [sys.executable, "-m", "reportgen", "import", "a.log", "--into", "sqlite:///m.db", "--create"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate()
    assert (process.returncode, said) == (1, b"")
    assert len(visits(f"sqlite:///{tmp_path}/m.db")) == 1


def test_files_that_this_user_may_not_use_are_named(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can become another user")
    with TemporaryDirectory(prefix="reportgen-rights-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (closed := folder / "closed").mkdir()
        (closed / "access.log").write_text(lines(0))
        shutil.copy(closed / "access.log", folder / "access.log")
        add(f"sqlite:///{folder}/m.db", folder / "access.log")
        closed.chmod(0o600)
        (folder / "output").mkdir()
        (folder / "output").chmod(0o777)

        def said(*arguments: str) -> str:
            done = run_as_nobody(folder, *arguments)
            assert done.returncode == 1
            return done.stderr

        let = f"permission denied. Let this user read the directory {closed}: on Debian, add the user"
        for log in (f"{closed}/access.log", f"{closed}/access.log*"):
            assert f"error: {log}: {let}" in said("import", log, "--into", f"sqlite:///{folder}/m.db")
            assert f"error: {log}: {let}" in said("build", "--source", log, "--output", f"{folder}/output")
        (folder / "access.log").write_text(lines(1))
        assert "readonly database. Let this user write to the file and to its directory" in said(
            "import", f"{folder}/access.log", "--into", f"sqlite:///{folder}/m.db"
        )


@pytest.mark.slow
def test_the_service_imports_before_each_scheduled_build(tmp_path: Path) -> None:
    """Lines that were added, and those of a rotated log, are on the next page; SIGTERM loses none."""
    log, url = tmp_path / "access.log", f"sqlite:///{tmp_path}/m.db"
    today = f"{datetime.now(UTC):%d/%b/%Y:00:00:00 +0000}"
    log.write_text(combined("GET /a HTTP/1.1", time=today) * 3)
    (tmp_path / "reportgen.toml").write_text(
        f'site = "x"\nschedule = "3s"\n[source]\nurl = "{url}"\n[import]\nlogs = ["access.log*"]\n'
        "create = true\n"
    )
    with serving(tmp_path, REPORTGEN_IMPORT__INTO=url) as service:

        def total() -> int:
            return int(json.loads(service.ask("/30d/report.json").body)["total"])

        service.await_event("release_served")
        assert total() == 3
        log.rename(tmp_path / "access.log.1")
        log.write_text(combined("GET /b HTTP/1.1", time=today) * 4)
        eventually(lambda: total() == 7)
        assert service.stop() == 0
    add(url, f"{log}*", create=False)
    assert {path: count for (_, path), count in visits(url).items()} == {"/a": 3, "/b": 4}
