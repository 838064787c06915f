"""Each recipe of docs/sources.md builds the right report from a small file as that tool writes it."""

import gzip
import json
import re
import sqlite3
import tomllib
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from reportgen.build.pipeline import build
from reportgen.build.preflight import check_settings
from reportgen.config.settings import load_config
from reportgen.publish.release import lock_output
from tests.support.documents import ROOT, read_blocks

RECIPES = {
    block.heading.removeprefix("How do I read ").removesuffix("?"): block.text
    for block in read_blocks("docs/sources.md", "toml")
}
"""The settings in each section "How do I read …?"."""
NOW, LAST = datetime(2026, 11, 27, 12, tzinfo=UTC), date(2026, 11, 26)


def write(name: str, text: str, encoding: str = "utf-8") -> None:
    """Write a file below the working directory; gzip it if it is named so."""
    Path(name).parent.mkdir(exist_ok=True)
    data = text.encode(encoding)
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def goatcounter_export() -> None:
    """Write the columns of GoatCounter's exportcsv.go; its versions write true or 1."""
    write(
        "goatcounter-export-example-20261127T000000Z-0.csv.gz",
        "2Path,Title,Event,UserAgent,Browser,System,Session,Bot,Referrer,Referrer scheme,Screen size,"
        "Location,FirstVisit,Date\n"
        '/,"A ""quoted"", title",false,,Firefox,Linux,s1,0,,,"1280,768,1",DE,true,2026-11-26T10:15:00Z\n'
        '/,"Two\nlines",0,,Firefox,Linux,s2,0,,,,DE,1,2026-11-25T23:15:00Z\n'
        "/,,false,,Firefox,Linux,s2,0,,,,DE,false,2026-11-26T10:15:00Z\n"
        "/,,false,,Firefox,Linux,s3,150,,,,DE,true,2026-11-26T10:15:00Z\n"
        "click-x,,true,,Firefox,Linux,s4,0,,,,DE,true,2026-11-26T10:15:00Z\n"
        "/a,,false,,Firefox,Linux,s5,0,,,,DE,true,2026-11-20T12:00:00Z\n"
        "/a,,false,,Firefox,Linux,s5,0,,,,DE,true,2026-11-26T23:15:00Z\n",
    )


def goatcounter_database() -> None:
    """Write the tables of GoatCounter's db/schema.gotxt, with the columns that matter."""
    Path("goatcounter-data").mkdir()
    with closing(sqlite3.connect("goatcounter-data/db.sqlite3")) as connection, connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.executescript(
            "CREATE TABLE paths (path_id integer primary key, site_id integer not null,"
            " path varchar not null, title varchar not null default '', event integer default 0);"
            "CREATE TABLE hit_counts (site_id integer not null, path_id integer not null,"
            " hour timestamp not null check(hour = strftime('%Y-%m-%d %H:%M:%S', hour)),"
            " total integer not null, UNIQUE (site_id, path_id, hour) ON CONFLICT REPLACE);"
            'CREATE INDEX "hit_counts#hour" ON hit_counts(hour);'
            "INSERT INTO paths VALUES (1, 1, '/', 'T', 0), (2, 1, '/a', '', 0), (3, 1, 'click', '', 1),"
            " (4, 2, '/other', '', 0);"
            "INSERT INTO hit_counts VALUES (1, 1, '2026-11-25 23:00:00', 1),"
            " (1, 1, '2026-11-26 10:00:00', 1), (1, 2, '2026-11-20 12:00:00', 1),"
            " (1, 2, '2026-11-26 23:00:00', 7),"
            " (1, 3, '2026-11-26 10:00:00', 9), (2, 4, '2026-11-26 10:00:00', 9)"
        )


def ga4() -> None:
    write(
        "free-form.csv",
        "# ----------------------------------------\n# Free form 1\n# Account: Example\n"
        "# ----------------------------------------\n#\n# All Users\n# Start date: 20261101\n"
        "# End date: 20261126\n\nDate,Page path and screen class,Views,Totals\n,,2012,Grand total\n"
        '20261126,/,"1,210",\n20261126,"/a,b",2,\n20261119,/,800,\n',
    )


def matomo() -> None:
    """Write what Matomo's core/DataTable/Renderer/Csv.php writes for several days."""
    write(
        "matomo.csv",
        "date,label,nb_visits,nb_hits,sum_time_spent,avg_time_on_page,bounce_rate,metadata_url\n"
        "2026-11-25,/index,2,3,60,00:00:30,50%,https://example.com/\n"
        '2026-11-25,"/über, uns",1,1,5,00:00:05,0%,"https://example.com/über, uns"\n'
        "2026-11-26,/index,4,5,60,00:00:15,25%,https://example.com/\n",
        "utf-16",
    )


def plausible() -> None:
    """Write the columns of Plausible's lib/plausible/exports.ex."""
    write(
        "plausible/imported_pages_20261106_20261126.csv",
        '"date","hostname","page","visits","visitors","pageviews","total_scroll_depth",'
        '"total_scroll_depth_visits","total_time_on_page","total_time_on_page_visits"\n'
        '"2026-11-20","example.com","/",5,4,9,0,0,60,2\n'
        '"2026-11-26","example.com","/blog/hello,world",5,4,11,\\N,\\N,60,2\n'
        '"2026-11-19","example.com","/",5,4,100,0,0,60,2\n',
    )
    write(
        "plausible/imported_visitors_20261106_20261126.csv",
        '"date","visitors","pageviews","bounces","visits","visit_duration"\n"2026-11-26",1,2,3,4,5\n',
    )


def simple_analytics() -> None:
    write(
        "simple-analytics.csv",
        "added_iso,hostname,path,is_unique,is_robot,duration_seconds\n"
        "2026-11-25T23:10:11.023Z,example.com,/,true,false,30\n"
        '2026-11-26T08:10:11.123Z,example.com,"/hello, world",false,false,\n'
        "2026-11-26T08:10:11.123Z,example.com,/,true,true,\n"
        "2026-11-26T23:10:11.123Z,example.com,/,true,false,1\n",
    )


def wide() -> None:
    write(
        "wide.csv",
        '"Date","Cat","Dog (animal)"\n2026-11-26,100,50\n2026-11-25,"1,000",\n2026-11-19,7,7\n',
    )


def built(heading: str, environ: Mapping[str, str] | None = None) -> list[dict[str, int]]:
    """Build with a section's settings; return the visits of each path in 7 days, and rows left out."""
    Path("reportgen.toml").write_text(RECIPES[heading])
    config = load_config(None, environ or {}, {"windows": ["7d"]})
    with lock_output(config.output.dir) as lock:
        release = build(config, lock, now=NOW, as_of=LAST, warm=True)
    report = json.loads((release.path / "7d" / "report.json").read_bytes())
    return [
        {path["path"]: path["visits"] for path in report["paths"]},
        {note["kind"]: note["rows"] for note in report["notes"]},
    ]


FILES: dict[str, tuple[Callable[[], None], dict[str, int], dict[str, int]]] = {
    "GoatCounter's CSV export": (goatcounter_export, {"/": 2, "/a": 1}, {}),
    "GoatCounter's database": (goatcounter_database, {"/": 2, "/a": 1}, {}),
    "a Google Analytics 4 export": (ga4, {"/": 1210, "/a,b": 2}, {"totals_row": 1}),
    "Matomo's page URLs": (matomo, {"/index": 8, "/über, uns": 1}, {}),
    "Plausible's export": (plausible, {"/": 9, "/blog/hello,world": 11}, {}),
    "Simple Analytics' export": (simple_analytics, {"/": 1, "/hello, world": 1}, {}),
    "a table with one column for each path": (wide, {"Cat": 1100, "Dog (animal)": 50}, {}),
}
"""What writes the file, the visits of each path in the 7 days to :data:`LAST`, and the rows left out."""


TIMES = ("2026-11-19 12:00", "2026-11-25 22:59", "2026-11-25 23:15", "2026-11-26 22:59", "2026-11-26 23:15")
"""In UTC: the last is 27 November in Berlin, the third the first hour of the last day."""
UMAMI = "41e2b680-648e-4b09-bcd7-3e2b10c06264"
TABLES: dict[str, tuple[str, dict[str, int]]] = {
    "the table of Dashbit's recipe": (
        (
            "CREATE TABLE metrics (date date, path varchar(255), counter integer DEFAULT 0,"
            " PRIMARY KEY (date, path));"
            "INSERT INTO metrics VALUES ('2026-11-26', '/', 7), ('2026-11-20', '/a', 2),"
            " ('2026-11-19', '/b', 1)"
        ),
        {"/": 7, "/a": 2},
    ),
    "hits that Django stores": (
        (
            "CREATE TABLE stats_hit (id bigint PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,"
            " path varchar(500) NOT NULL, created_at timestamp with time zone NOT NULL);"
            "CREATE INDEX ON stats_hit (created_at);"
            f"INSERT INTO stats_hit (path, created_at) SELECT '/', t::timestamp AT TIME ZONE 'UTC'"
            f" FROM unnest(ARRAY{list(TIMES)}) t"
        ),
        {"/": 3},
    ),
    "hits that Ecto stores": (
        (
            "CREATE TABLE hits (id bigserial PRIMARY KEY, path varchar(255),"
            " inserted_at timestamp(0) without time zone NOT NULL);"
            "CREATE INDEX hits_inserted_at_index ON hits (inserted_at);"
            f"INSERT INTO hits (path, inserted_at) SELECT '/', t::timestamp FROM unnest(ARRAY{list(TIMES)}) t"
        ),
        {"/": 3},
    ),
    "Umami's database": (
        (
            "CREATE TABLE website_event (event_id uuid PRIMARY KEY, website_id uuid NOT NULL,"
            " session_id uuid NOT NULL, visit_id uuid NOT NULL, created_at timestamptz(6) DEFAULT now(),"
            " url_path varchar(500) NOT NULL, url_query varchar(500), event_type integer NOT NULL DEFAULT 1,"
            " event_name varchar(50));"
            "CREATE INDEX ON website_event (website_id, created_at);"
            "INSERT INTO website_event (event_id, website_id, session_id, visit_id, created_at, url_path,"
            " event_type) SELECT gen_random_uuid(), site, site, site, t::timestamp AT TIME ZONE 'UTC', '/',"
            f" kind FROM unnest(ARRAY{list(TIMES)}) t, generate_series(1, 2) kind,"
            f" unnest(ARRAY['{UMAMI}', '00000000-0000-0000-0000-000000000000']::uuid[]) site"
        ),
        {"/": 3},
    ),
}
"""The tables that each tool makes in PostgreSQL, with rows, and the visits of each path in the 7 days."""


def test_each_recipe_is_run() -> None:
    assert RECIPES.keys() == FILES.keys() | TABLES.keys()


@pytest.mark.parametrize("heading", TABLES)
def test_a_recipe_for_postgresql_gives_the_report_by_an_index(
    heading: str, pg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare, figures = TABLES[heading]
    with psycopg.connect(pg) as connection:
        connection.execute(prepare.encode())
    assert built(heading, {"DATABASE_URL": pg}) == [figures, {}]
    config = load_config(None, {"DATABASE_URL": pg}, tomllib.loads(RECIPES[heading]))
    found = {each.subject: each for each in check_settings(config, LAST)}
    assert found["index"].level == "ok"
    assert found["zone"].level == "ok"


@pytest.mark.parametrize("heading", FILES)
def test_a_recipe_for_a_file_gives_the_report(
    heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_file, *figures = FILES[heading]
    write_file()
    assert built(heading) == figures


def test_the_condition_on_user_agents_leaves_out_as_many_robots_as_the_document_says(pg: str) -> None:
    texts = ROOT / "tests/sources/logs"
    agents = {
        "robots": [agent for each in CRAWLER_USER_AGENTS_DATA for agent in each.get("instances", ())],
        "browsers": (texts / "browsers.txt").read_text().splitlines(),
    }
    (query,) = (block.text for block in read_blocks("docs/sources.md", "sql") if "LIKE" in block.text)
    (pattern,) = re.findall("`(user_agent ~ .*)`", (ROOT / "docs/sources.md").read_text())
    left = {}
    with closing(sqlite3.connect(":memory:")) as lite, psycopg.connect(pg) as server:
        for name, texts_of in agents.items():
            for engine, mark in ((lite.cursor(), "?"), (server.cursor(), "%s")):
                engine.execute("DROP TABLE IF EXISTS hits")
                engine.execute("CREATE TABLE hits (created_at text, path text, user_agent text)")
                insert = f"INSERT INTO hits VALUES ('', '', {mark})"
                engine.executemany(insert, [(agent,) for agent in texts_of])
            (kept,) = lite.execute(f"SELECT count(*) FROM ({query})").fetchone()
            for sql in (f"SELECT count(*) FROM ({query}) AS q", f"SELECT count(*) FROM hits WHERE {pattern}"):
                assert server.execute(sql.encode()).fetchone() == (kept,)
            left[name] = 1 - kept / len(texts_of)
    assert round(100 * left["robots"]) == 93
    assert left["browsers"] < 0.2  # of browsers of all times: nearly all of these are older than 2013
