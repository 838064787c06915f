"""``reportgen init``: what it finds, what it says about it, and the settings that it writes."""

import os
import pty
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reportgen.build.visit_tables import FoundSource
from reportgen.cli.init import settings_text, system_zone
from tests.support.commands import ONE_WINDOW, Run, environment
from tests.support.documents import read_blocks

TODAY = datetime.now(UTC).date()
GA4 = """\
# ----------------------------------------
# Pages and screens
# ----------------------------------------
Date,Page path and screen class,Views
{day:%Y%m%d},/,12
"""


def store(file: Path, table: str, columns: str, row: Sequence[object]) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE {table} ({columns})")
        connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
        connection.commit()


def printed(run: Run, **variables: str) -> tuple[dict[str, Any], str]:
    """Return the settings that --print shows, and what it says about what it found."""
    done = run("init", "--print", **variables)
    assert done.returncode == 0, done.stderr
    assert not Path("reportgen.toml").exists()
    return tomllib.loads(done.stdout), done.stderr


CASES = {
    "the documented table": ("metrics", "date TEXT, path TEXT, visits INTEGER", {}),
    "other names": (
        "daily", "Day TEXT, URL TEXT, Page_Views INTEGER",
        {"table": "daily", "columns": {"date": "Day", "path": "URL", "visits": "Page_Views"}},
    ),
    "one row a hit": (
        "hits", "created_at TIMESTAMP, path TEXT, ip_known BOOLEAN",
        {"query": 'SELECT "created_at" AS date, "path" AS path, 1 AS visits FROM "hits"'},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_table_is_known_by_its_columns(run: Run, tmp_path: Path, case: str) -> None:
    table, columns, expected = CASES[case]
    store(tmp_path / "site.db", table, columns, [TODAY.isoformat(), "/", 3])
    store(tmp_path / "data.db", "people", "name TEXT, born TEXT, age INTEGER", ["x", "y", 1])
    found, said = printed(run)
    assert found["source"] == {"url": "site.db", **expected}
    assert f'1  table "{table}" of sqlite:///site.db: ' in said
    assert "not used: sqlite:///data.db: no table with a date and a path; its tables are: people" in said


def test_the_name_of_a_column_adds_no_line_to_the_settings(run: Run, tmp_path: Path) -> None:
    hostile = "views\n[server]\npublic = true\x1b[2J"
    store(
        tmp_path / "site.db",
        "metrics",
        f'date TEXT, path TEXT, "{hostile}" INTEGER',
        [TODAY.isoformat(), "/", 3],
    )
    found, said = printed(run)
    assert (found["source"]["columns"], "server" in found) == ({"visits": hostile}, False)
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("agent", "is_filtered"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", True),
        ("Firefox", False),  # not the header
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", False),
    ],
)
def test_robots_are_left_out_if_the_table_has_user_agents(
    run: Run, tmp_path: Path, agent: str, *, is_filtered: bool
) -> None:
    """By the condition of the document, which would leave out all rows if the column has other texts."""
    columns = "created_at TEXT, path TEXT, User_Agent TEXT"
    store(tmp_path / "site.db", "hits", columns, [f"{TODAY} 10:15:07", "/", agent])
    found, said = printed(run)
    (documented,) = (block.text for block in read_blocks("docs/sources.md", "sql") if "WHERE" in block.text)
    query = found["source"]["query"]
    written = query.replace('"', "").replace("path AS path", "path").replace("User_Agent", "user_agent")
    assert (written == " ".join(documented.split())) == is_filtered
    assert ("WHERE" in query) == is_filtered
    assert ('without most robots, by "User_Agent"' in said) == is_filtered


HEADERS = {
    "Date,Page,Visitors": "Visitors",
    "day,page,sessions": "sessions",
    "Date,Page,Users,Sessions,Page-Views": "Page-Views",
    "date,path,visitors,pageviews,id": "pageviews",
    "No,Date,Page URL,Unique visitors,Bounce rate": "Unique visitors",
    "Date,Page,N": "N",
    "Date,Page,Number,Load ms,Order number": "Number",
}


@pytest.mark.parametrize("header", HEADERS)
def test_a_column_of_an_export_is_the_number_of_visits(run: Run, tmp_path: Path, header: str) -> None:
    others = [f"{number}" for number in range(120, 120 + header.count(","))]
    cells = {
        "no": "1",
        "date": TODAY.isoformat(),
        "day": TODAY.isoformat(),
        "page": "/",
        "path": "/",
        "page url": "/",
    }
    names, rest = header.split(","), iter(others)
    row = ",".join(cells.get(name.lower()) or next(rest) for name in names)
    (tmp_path / "export.csv").write_text(f"{header}\n{row}\n{row}\n")
    found, said = printed(run)
    assert found["source"]["columns"]["visits"] == HEADERS[header]
    assert ("note: the visits are taken from" in said) == header.startswith("Date,Page,N")


def test_it_does_not_guess_between_columns_of_numbers(run: Run, tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text(
        f"Date,Page,Status code,N,M\n{TODAY},/,200,12,13\n{TODAY},/b,404,5,5\n"
    )
    done = run("init", "--yes", DATABASE_URL="export.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'url = "export.csv"\ncolumns = { date = "Date", path = "Page", visits = "N" }' in done.stderr
    assert (
        "error: export.csv: more than one reading fits, and none of them is certain. Run reportgen init"
        in done.stderr
    )
    offered = [line for line in done.stderr.splitlines() if line[:1].isdigit()]
    assert [line.partition(": ")[2] for line in offered] == [
        'date in "Date", path in "Page", visits in "N" if that is their number',
        'date in "Date", path in "Page", visits in "M" if that is their number',
        'or each row is one hit, at "Date" of "Page"',
    ]


NUMBERS = "id INTEGER PRIMARY KEY, day TIMESTAMP, url TEXT, {} INTEGER, {} INTEGER"
HITS = {
    "keys and measures": ("user_id", "status", "10:15:{:02}", "hits"),
    "another number, and times": ("bookmarks", "duration_ms", "10:15:{:02}", "hits"),
    "a flag": ("user_id", "newcomer", "00:00:00", "hits"),
    "a number for each date and path": ("bookmarks", "section_id", "00:00:00", "bookmarks"),
}


@pytest.mark.parametrize("case", HITS)
def test_numbers_of_a_table_are_counts_only_if_its_rows_are(run: Run, tmp_path: Path, case: str) -> None:
    first, second, clock, expected = HITS[case]
    with closing(sqlite3.connect(tmp_path / "site.db")) as connection:
        connection.execute(f"CREATE TABLE log ({NUMBERS.format(first, second)})")
        for number in range(30):
            page = "/" if "{" in clock else f"/{number}"
            last = number % 2 if second == "newcomer" else 200
            row = (number, f"{TODAY} {clock.format(number)}", page, number % 7 + 2, last)
            connection.execute("INSERT INTO log VALUES (?, ?, ?, ?, ?)", row)
        connection.commit()
    source = printed(run)[0]["source"]
    assert ("query" in source) == (expected == "hits")
    assert source.get("columns", {"visits": "hits"})["visits"] == expected


def test_times_with_a_number_for_each_date_and_path_need_a_person(run: Run, tmp_path: Path) -> None:
    rows = [f"{TODAY}T10:15:{number:02},/{number},{number + 2}" for number in range(30)]
    (tmp_path / "export.csv").write_text("\n".join(["Time,Page,N", *rows, ""]))
    assert "export.csv: more than one reading fits" in run("init", "--yes").stderr


def test_tables_of_postgresql_are_ranked_and_explained(run: Run, pg: str) -> None:
    with psycopg.connect(pg) as server:
        server.execute("CREATE TABLE logins (at timestamptz, path text)")
        server.execute("CREATE TABLE page_views (day date, path text, count bigint)")
        server.execute("CREATE TABLE people (name text)")
    found, said = printed(run, DATABASE_URL=pg)
    found["source"].pop("url", None)
    assert found["source"] == {"table": "page_views", "columns": {"date": "day", "visits": "count"}}
    first, second = [line for line in said.splitlines() if line[0].isdigit()][:2]
    assert 'table "page_views" of postgresql://' in first
    assert first.endswith('date in "day", path in "path", visits in "count"')
    assert second.endswith('each row is one hit, at "at" of "path"')


def test_an_export_with_lines_before_its_header_is_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ga4.csv").write_text(GA4.format(day=TODAY))
    found, _ = printed(run)
    columns = {"date": "Date", "path": "Page path and screen class", "visits": "Views"}
    assert found["source"] == {"url": "ga4.csv", "columns": columns}


def test_a_pattern_of_files_is_read_like_one_of_them(run: Run, tmp_path: Path) -> None:
    (tmp_path / "free form 1.csv").write_text(GA4.format(day=TODAY))
    found, _ = printed(run, DATABASE_URL="free*.csv")
    assert found["source"]["url"] == "free*.csv"
    for url, said in {"frei*.csv": "no file matches", "free.csv": "no such file"}.items():
        done = run("init", "--yes", DATABASE_URL=url)
        assert (done.returncode, f"error: {url}: {said}. The path is relative to" in done.stderr) == (1, True)


def test_pages_are_counted_rather_than_sessions(run: Run, tmp_path: Path) -> None:
    """As in Plausible's export, whose visits are sessions: only its pageviews add up."""
    (tmp_path / "pages.csv").write_text(f"date,page,visits,pageviews\n{TODAY},/,2,5\n")
    assert printed(run)[0]["source"]["columns"] == {"path": "page", "visits": "pageviews"}


def test_columns_of_a_file_without_dates_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pages.csv").write_text("Page path,Views\n/,12\n")
    done = run("init", "--yes")
    assert "pages.csv: no table with a date and a path; its columns are: Page path, Views" in done.stderr


def test_the_format_of_dates_is_found(run: Run, tmp_path: Path) -> None:
    (tmp_path / "export.csv").write_text("date,path,visits\n11/02/2026,/,3\n11/26/2026,/,4\n")
    found, said = printed(run)
    assert found["source"] == {"url": "export.csv", "date_format": "%m/%d/%Y"}
    assert 'visits in "visits"; dates as "%m/%d/%Y"' in said
    (tmp_path / "export.csv").write_text("date,path,visits\n11/02/2026,/,3\n")
    done = run("init", "--yes")
    assert done.returncode == 2
    assert "more than one reading fits" in done.stderr
    assert 'date_format = "%m/%d/%Y"\n' in done.stderr
    assert (
        '2  export.csv: date in "date", path in "path", visits in "visits"; dates as "%d/%m/%Y"'
        in done.stderr
    )


def test_logs_are_found_in_the_working_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    request = '"GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0 Firefox/140"'
    line = f"1.2.3.4 - - [{TODAY:%d/%b/%Y}:10:00:00 +0000] {request}\n"
    (tmp_path / "logs/access.log").write_text(line)
    (tmp_path / "logs/other-access.log").write_text("")
    found, said = printed(run)
    assert found["source"]["url"] in {"logs/*access*.log*", "/var/log/nginx/access.log*"}
    assert "logs/*access*.log*: access logs of a web server" in said


def test_without_questions_it_writes_builds_and_never_overwrites(run: Run, tmp_path: Path) -> None:
    store(tmp_path / "site.db", "visits", "date TEXT, path TEXT, visits INTEGER", [TODAY.isoformat(), "/", 3])
    done = run("init", "--yes", TZ="Europe/Berlin", **ONE_WINDOW)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "reportgen.toml").read_text()
    assert tomllib.loads(written) == {
        "site": tmp_path.name, "timezone": "Europe/Berlin", "source": {"url": "site.db", "table": "visits"}
    }  # fmt: skip
    assert "written: reportgen.toml" in done.stdout
    assert (tmp_path / "output/current/index.html").is_file()
    again = run("init", "--yes")
    assert again.returncode == 2
    expected = (
        "error: reportgen.toml: exists, and is not overwritten. Edit it, or name another with --config."
    )
    assert expected in again.stderr
    assert (tmp_path / "reportgen.toml").read_text() == written


def test_a_source_that_cannot_be_read_writes_nothing(run: Run, tmp_path: Path) -> None:
    store(tmp_path / "site.db", "metrics", "date TEXT, path TEXT, visits TEXT", ["never", "/", "many"])
    (tmp_path / "ok.csv").write_text("date,path,visits\nnever,/,many\n")
    done = run("init", "--yes", "--config", "own.toml")
    assert done.returncode == 1
    assert "error " in done.stdout
    assert "own.toml: not written. These settings were tried:" in done.stderr
    assert '[source]   # date in "date", path in "path", visits in "visits"\nurl = ' in done.stderr
    assert not (tmp_path / "own.toml").exists()


def test_a_url_without_a_password_is_written(run: Run, tmp_path: Path, pg: str) -> None:
    store(
        tmp_path / "site.db", "metrics", "date TEXT, path TEXT, visits INTEGER", [TODAY.isoformat(), "/", 3]
    )
    assert printed(run, DATABASE_URL="site.db")[0]["source"] == {"url": "site.db"}
    with psycopg.connect(pg) as server:
        server.execute("CREATE TABLE metrics (date date, path text, visits int)")
    secret = f"{pg}{'&' if '?' in pg else '?'}password=unused"
    done = run("init", "--yes", DATABASE_URL=secret, **ONE_WINDOW)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "reportgen.toml").read_text()
    assert "unused" not in text + done.stdout + done.stderr
    said = "the URL has a password, so the file does not hold it. Each command needs it in the environment"
    assert f"# {said} variable DATABASE_URL.\n" in text
    assert f"note: {said} variable DATABASE_URL. docs/deploy-systemd.md shows" in done.stderr


def test_a_source_that_cannot_be_read_is_the_error(run: Run, tmp_path: Path, pg: str) -> None:
    with psycopg.connect(pg) as server:
        server.execute("CREATE TABLE hits (at timestamptz, path text, visits int)")
        server.execute("DROP ROLE IF EXISTS init_reader")
        server.execute("CREATE ROLE init_reader LOGIN")
        server.execute("GRANT SELECT (at, path) ON hits TO init_reader")
    info = psycopg.conninfo.conninfo_to_dict(pg)
    reader = f"postgresql://init_reader@/{info['dbname']}?host={info['host']}&port={info.get('port', 5432)}"
    (tmp_path / "bare").mkdir()
    try:
        for url, code, last in (
            (reader, 1, "hits: permission denied. GRANT SELECT ON hits TO init_reader"),
            ("postgresql://x@127.0.0.1:1/y", 1, "Check host and port in its URL, and that the server runs"),
            ("bare", 2, "DATABASE_URL: bare is a directory. Name files in it: bare/access.log*"),
            ("list.xlsx", 2, "DATABASE_URL: names a spreadsheet, which cannot be read. Export it as CSV"),
        ):
            done = run("init", "--yes", DATABASE_URL=url)
            first, *_, end = done.stderr.splitlines()
            assert first.startswith("DATABASE_URL is set, so only its source is looked at.")
            assert (done.returncode, end.startswith("error: ")) == (code, True), end
            assert last in end
    finally:
        with psycopg.connect(pg) as server:
            server.execute("DROP OWNED BY init_reader; DROP ROLE init_reader")


def test_files_that_are_not_databases_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "metrics.db").write_text("nothing of the kind")
    (tmp_path / "torn.db").write_bytes(b"SQLite format 3\0" + b"x" * 2000)
    (tmp_path / "error.log").write_text("2026/11/26 10:00:00 [error] 7#7: *1 open() failed\n")
    (tmp_path / "site.csv").write_text(f"date,path,visits\n{TODAY},/,3\n")
    said = printed(run)[1]
    assert "not used: metrics.db: neither a SQLite nor a DuckDB database\n" in said
    assert "not used: sqlite:///torn.db: file is not a database" in said
    done = run("init", "--yes", DATABASE_URL="error.log")
    assert "It may be another file, such as an error log: name the access log" in done.stdout
    assert [line[:1] for line in done.stderr.splitlines() if line[:1].isdigit()] == ["1"]


def test_nothing_found_says_where_it_looked(run: Run, pg: str) -> None:
    done = run("init", "--yes", DATABASE_URL=pg)
    assert done.returncode == 2
    assert "DATABASE_URL leads to no such table. Write reportgen.toml by hand" in done.stderr
    assert pg not in done.stderr + done.stdout


def test_without_a_terminal_it_needs_yes(run: Run) -> None:
    done = run("init")
    assert (done.returncode, done.stderr) == (
        2, "error: init asks questions, and nobody can answer here. Add --yes.\n"
    )  # fmt: skip


def test_it_asks_which_source_which_name_and_which_zone(tmp_path: Path) -> None:
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    store(tmp_path / "site.db", "metrics", "date TEXT, path TEXT, visits INTEGER", [yesterday, "/", 3])
    (tmp_path / "other.csv").write_text(f"date,path,visits\n{yesterday},/,1\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "reportgen", "init"],
        cwd=tmp_path, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment(**ONE_WINDOW),
    )  # fmt: skip
    os.write(ours, b"7\n2\nMy shop\nparis\nEurope/Paris\n")
    said, _ = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, said
    assert "write a number from 1 to" in said
    assert 'timezone "paris" is not a known time zone. Did you mean "Europe/Paris"?' in said
    written = tomllib.loads((tmp_path / "reportgen.toml").read_text())
    assert written == {"site": "My shop", "timezone": "Europe/Paris", "source": {"url": "other.csv"}}


@pytest.mark.parametrize("text", ['a "b" c', "it's", "both ' and \"", "line\nbreak", "é\x7f\\"])
def test_any_text_is_valid_toml(text: str) -> None:
    found = FoundSource({"url": text, "columns": {"date": text}}, "", "", 0)
    read = tomllib.loads(settings_text(found, text, "UTC"))
    assert read == {"site": text, "timezone": "UTC", "source": {"url": text, "columns": {"date": text}}}


def test_the_zone_is_that_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Tokyo")
    assert system_zone({}, tmp_path) == "Asia/Tokyo"
    assert system_zone({"TZ": ":Europe/Rome"}, tmp_path) == "Europe/Rome"
    assert system_zone({"TZ": "no zone"}, tmp_path / "none") == "UTC"
