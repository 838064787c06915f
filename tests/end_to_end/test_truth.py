"""Every published number equals the result of plain SQL over the table, for every engine.

The truth is asked of PostgreSQL in SQL written here; nothing of the package takes part in it.
"""

import csv
import gzip
import io
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache, partial
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg.rows import dict_row

from reportgen.build.pipeline import build
from reportgen.config.settings import load_config
from reportgen.publish.release import lock_output
from tests.support.commands import Run
from tests.support.engines import METRICS_TABLE, with_database

Files = dict[str, Any]
"""The content of a window's files: report.json without ``site``, ``built_at``, ``changes``; CSV as rows."""
Rows = list[tuple[str, str, int]]
Truth = Callable[..., Files]
Sites = Callable[[str, date], Path]

NOON = datetime(2023, 12, 20, 12, tzinfo=UTC)
LATER = datetime(2026, 8, 22, 4, tzinfo=UTC)
LAST, PROBED, SPIKE = date(2026, 8, 21), date(2023, 12, 20), date(2023, 8, 2)
WIKI_LAST = date(2026, 5, 25)
ENGINES = ("postgresql", "sqlite", "csv", "csv.gz", "parquet", "duckdb")
BUILDS = [
    *(("postgresql", day) for day in (LAST, PROBED, SPIKE)),
    *((name, PROBED) for name in ("sqlite", "parquet")),
    *(pytest.param(name, PROBED, marks=pytest.mark.slow) for name in ("csv", "csv.gz", "duckdb")),
]
"""Engine and ``--as-of``. DuckDB reads the last three as it reads Parquet: one is enough for a quick run."""
DAYS = {"today": 1, "7d": 7, "30d": 30, "90d": 90, "366d": 366}
WINDOWS = ("today", "7d", "30d")
WIKI_WINDOWS = ("today", "7d", "30d", "366d")
SCHEMA = json.loads((resources.files("reportgen") / "report.schema.json").read_bytes())

MARKED = """
WITH recorded AS (SELECT DISTINCT date FROM {metrics}), marked AS (
    SELECT date, path, visits, date BETWEEN %(first)s AND %(last)s AS here,
           date BETWEEN %(first)s AND %(over)s AND date - %(days)s IN (SELECT date FROM recorded) AS over,
           date BETWEEN %(first)s - %(days)s AND %(over)s - %(days)s
               AND date + %(days)s IN (SELECT date FROM recorded) AS before
    FROM {metrics})"""
TOTALS = """
SELECT *, complete::float8 / nullif(previous, 0) - 1 AS change
FROM (SELECT count(DISTINCT date) FILTER (WHERE over) AS compared, min(date) AS since,
             sum(visits * here::int)::bigint AS total, sum(visits * over::int)::bigint AS complete,
             sum(visits * before::int)::bigint AS previous, count(*) FILTER (WHERE date > %(last)s) AS after,
             count(DISTINCT path) FILTER (WHERE here AND visits > 0) AS path_count
      FROM marked) AS sums"""
DAILY = """
SELECT to_char(day, 'YYYY-MM-DD') AS date,
       (SELECT coalesce(sum(visits), 0)::bigint FROM {metrics} WHERE date = day) AS visits,
       (SELECT coalesce(sum(visits), 0)::bigint FROM {metrics} WHERE date = day - %(days)s) AS previous,
       EXISTS (SELECT FROM {metrics} WHERE date = day) AS recorded,
       EXISTS (SELECT FROM {metrics} WHERE date = day - %(days)s) AS previous_recorded
FROM (SELECT %(last)s - n AS day FROM generate_series(0, %(days)s - 1) AS n) AS days ORDER BY day"""
# Code points sort as the bytes of UTF-8 do, whatever the database's collation.
PATHS = """
SELECT path, visits::bigint, visits::float8 / (sum(visits) OVER ())::float8 AS share, previous::bigint,
       complete::float8 / nullif(previous, 0)::float8 - 1 AS change
FROM (SELECT path, sum(visits * here::int) AS visits, sum(visits * over::int) AS complete,
             sum(visits * before::int) AS previous
      FROM marked WHERE here OR before GROUP BY path) AS sums
WHERE visits > 0 ORDER BY visits DESC, convert_to(path, 'UTF8')"""
# What a scanner for SQL injection left on one day.
PROBES = "SELECT path FROM metrics GROUP BY path HAVING '2023-12-18' = ALL (array_agg(date))"


def ask(
    connection: psycopg.Connection[dict[str, Any]],
    window: str,
    last: date,
    *,
    running: bool = False,
    metrics: str = "metrics",
    top: int = 100,
) -> Files:
    """Return the expected files of ``window`` from SQL; its date ``last`` may be ``running``."""
    days = DAYS[window]
    first, over = last - timedelta(days=days - 1), last - timedelta(days=int(running))
    bound = {"first": first, "last": last, "over": over, "days": days}
    (sums,), daily, paths = (
        connection.execute(question.format(metrics=metrics).encode(), bound).fetchall()
        for question in (MARKED + TOTALS, DAILY, MARKED + PATHS)
    )
    report = {
        "schema_version": 1, "window": window, "start": str(first), "end": str(last), "days": days,
        "timezone": "UTC", "as_of": str(last), "sample": False,
        "total": sums["total"],
        "complete": {
            "days": sums["compared"], "total": sums["complete"], "previous_total": sums["previous"],
            "change": sums["change"],
        },
        "daily": [
            {name: cell for name, cell in row.items() if not (name == "previous_recorded" and cell)}
            for row in daily
        ],
        "paths": paths[:top],
        "path_count": sums["path_count"], "other": sum(row["visits"] for row in paths[top:]),
        "notes": [{"kind": "future_date", "rows": sums["after"]}] if running else [],
    }  # fmt: skip
    if sums["since"] > last - timedelta(days=7):
        report["recorded_since"] = str(sums["since"])
    for row in daily:
        del row["previous_recorded"]
    return {"report.json": report, "daily.csv": csv_cells(daily), "paths.csv": csv_cells(paths[:100_000])}


def csv_cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return rows as CSV, names first."""
    forms = {"None": "", "True": "true", "False": "false"}
    return [list(rows[0]), *([forms.get(str(cell), str(cell)) for cell in row.values()] for row in rows)]


def assert_true(site: Path, window: str, true: Files) -> None:
    """Compare a published window with the result of SQL."""
    files = read(site, window)
    assert files["report.json"] == true["report.json"]
    assert json.dumps(files["report.json"]) == json.dumps(true["report.json"])  # 1 is not 1.0; order counts
    assert files["daily.csv"] == true["daily.csv"]
    assert files["paths.csv"] == true["paths.csv"]


def read(site: Path, window: str) -> Files:
    """Return a published window; check that its JSON is valid by its schema and adds up."""
    report = json.loads((site / window / "report.json").read_bytes())
    Draft202012Validator(SCHEMA).validate(report)
    for both in report.pop("comparisons", []):
        assert {name: both[name] for name in report["complete"]} == report["complete"]
    for note in report["notes"]:
        assert note["kind"] == "future_date"
        assert note.pop("example").partition(",")[0] > report["end"]
    listed = sum(row["visits"] for row in report["paths"])
    assert sum(day["visits"] for day in report["daily"]) == report["total"] == listed + report["other"]
    figures = {name: value for name, value in report.items() if name not in {"site", "built_at", "changes"}}
    return {"report.json": figures} | {
        name: read_csv(site / window / name) for name in ("daily.csv", "paths.csv")
    }


def read_csv(file: Path) -> list[list[str]]:
    """Read RFC 4180: every line, the last one too, ends with CR LF."""
    text = file.read_bytes().decode()
    assert text.endswith("\r\n")
    assert text.count("\n") == text.count("\r\n")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def publish(root: Path, as_of: date | None, *, now: datetime = LATER, **options: Any) -> Path:
    """Build once with these settings, without a settings file; return the published release."""
    config = load_config(Path(os.devnull), {}, options | {"output": {"dir": root}})
    with lock_output(root) as lock:
        build(config, lock, now=now, as_of=as_of, warm=lock.root)
    return root / "current"


@pytest.fixture(scope="module")
def database(pg_server: str, jarvis: Rows) -> Iterator[str]:
    """Give the URL of a PostgreSQL database with the blog's rows in ``metrics``."""
    name = f"truth_{os.getpid()}"
    url = with_database(pg_server, name)
    with psycopg.connect(pg_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        with psycopg.connect(url) as connection:
            connection.execute(METRICS_TABLE)
            with connection.cursor().copy("COPY metrics FROM STDIN") as copy:
                for row in jarvis:
                    copy.write_row(row)
        yield url
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def truth(database: str) -> Iterator[Truth]:
    """Give :func:`ask`, which asks every question once."""
    with psycopg.connect(database, autocommit=True, row_factory=dict_row) as connection:
        yield cache(partial(ask, connection))


@pytest.fixture(scope="module")
def probes(database: str) -> set[str]:
    with psycopg.connect(database) as connection:
        return {path for (path,) in connection.execute(PROBES)}


@pytest.fixture(scope="module")
def urls(database: str, jarvis: Rows, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Give each engine's URL of the same rows."""
    folder = tmp_path_factory.mktemp("sources")
    with (folder / "m.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("date", "path", "visits"), *jarvis])
    (folder / "m.csv.gz").write_bytes(gzip.compress((folder / "m.csv").read_bytes()))
    lite = sqlite3.connect(folder / "m.sqlite")
    with lite:
        lite.execute(METRICS_TABLE)
        lite.executemany("INSERT INTO metrics VALUES (?, ?, ?)", jarvis)
    lite.close()
    with duckdb.connect(folder / "m.duckdb") as duck:
        duck.execute(METRICS_TABLE)
        duck.execute(f"COPY metrics FROM '{folder}/m.csv' (HEADER, DELIMITER ',', QUOTE '\"', ESCAPE '\"')")
        duck.execute(f"COPY metrics TO '{folder}/m.parquet'")
    forms = {"sqlite": "sqlite:///{}", "duckdb": "duckdb:///{}"}
    files = {name: forms.get(name, "{}").format(folder / f"m.{name}") for name in ENGINES[1:]}
    return {"postgresql": database} | files


@pytest.fixture(scope="module")
def sites(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Sites:
    """Give a function from an engine and ``--as-of`` to the published release, built once."""
    folder = tmp_path_factory.mktemp("sites")
    return cache(lambda engine, day: publish(folder / f"{engine}-{day}", day, source={"url": urls[engine]}))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("engine", "as_of"), BUILDS, ids=str)
def test_every_number_of_every_file_equals_the_result_of_sql(
    engine: str, as_of: date, window: str, sites: Sites, truth: Truth
) -> None:
    """A past day is over, and rows after it are neither counted nor noted."""
    assert_true(sites(engine, as_of), window, truth(window, as_of))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["postgresql", "duckdb"])
def test_longer_windows_and_a_shorter_list_equal_it_too(
    engine: str, urls: dict[str, str], truth: Truth, tmp_path: Path
) -> None:
    """``other`` has the visits beyond a list of five paths; ``paths.csv`` has all paths."""
    site = publish(tmp_path, LAST, source={"url": urls[engine]}, windows=tuple(DAYS), top_paths=5)
    for window in DAYS:
        assert_true(site, window, truth(window, LAST, top=5))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["postgresql", "sqlite", "parquet"])
def test_a_running_day_counts_in_totals_but_not_in_comparisons(
    engine: str, urls: dict[str, str], truth: Truth, tmp_path: Path
) -> None:
    """Rows dated after today are left out, and their number is noted."""
    site = publish(tmp_path, None, now=NOON, source={"url": urls[engine]})
    for window in WINDOWS:
        assert_true(site, window, truth(window, PROBED, running=True))


@pytest.mark.slow
def test_the_command_line_publishes_the_same_numbers(
    database: str, truth: Truth, run: Run, tmp_path: Path
) -> None:
    done = run("build", "--as-of", PROBED, "--json", DATABASE_URL=database)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert (document["status"], document["as_of"], document["notes"]) == ("published", "2023-12-20", [])
    read_dates = "date BETWEEN '2023-10-22' AND '2023-12-20'"
    with psycopg.connect(database) as connection:
        rows = connection.execute(f"SELECT count(*) FROM metrics WHERE {read_dates}".encode()).fetchone()
    assert (document["rows"],) == rows
    for window in WINDOWS:
        assert_true(tmp_path / "output" / "current", window, truth(window, PROBED))


def test_only_the_dates_without_any_row_are_unrecorded(sites: Sites) -> None:
    daily = read(sites("postgresql", PROBED), "30d")["report.json"]["daily"]
    unrecorded = [(day["date"], day["visits"]) for day in daily if not day["recorded"]]
    assert unrecorded == [("2023-12-16", 0), ("2023-12-17", 0)]


def test_a_spike_is_on_its_date(sites: Sites) -> None:
    lasts = [read(sites("postgresql", SPIKE), window)["report.json"]["daily"][-1] for window in WINDOWS]
    assert [(day["date"], day["visits"]) for day in lasts] == [("2023-08-02", 8112)] * 3


def test_hostile_paths_are_published_as_stored(sites: Sites, probes: set[str]) -> None:
    """Quotes, commas, bars and trailing spaces are data: JSON and CSV have them byte for byte."""
    assert len(probes) == 18
    for window in ("7d", "30d"):
        files = read(sites("postgresql", PROBED), window)
        assert {row["path"] for row in files["report.json"]["paths"]} >= probes
        assert {row[0] for row in files["paths.csv"]} >= probes


class Markup(HTMLParser):
    """A parsed page: elements with their attributes' names, texts, attributes' values."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: Counter[tuple[str, ...]] = Counter()
        self.texts = [""]
        self.values: dict[str, set[str | None]] = {}
        self.scripts: set[str | None] = set()
        self.feed(page.read_bytes().decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the element, and the type or source of a script."""
        self.elements[tag, *(name for name, _ in attrs)] += 1
        self.scripts |= {dict(attrs).get("type") or dict(attrs).get("src")} if tag == "script" else set()
        self.texts.append("")
        for name, value in attrs:
            self.values.setdefault(name, set()).add(value)

    def handle_endtag(self, tag: str) -> None:
        """Begin another text."""
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        """Add to the text."""
        self.texts[-1] += data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("as_of", "windows"), [(PROBED, ["7d", "30d"]), (date(2023, 12, 18), ["today"])], ids=str
)
def test_hostile_paths_are_only_text_on_a_page(
    as_of: date, windows: list[str], database: str, probes: set[str], tmp_path: Path
) -> None:
    """The markup is that of the same rows with harmless paths: no additional element or attribute."""
    harmless = """SELECT date, translate(path, '"''<>&', 'abcde') AS path, visits FROM metrics"""
    source, address = {"url": database}, "https://jarv.is"
    sites = [
        publish(tmp_path / "hostile", as_of, source=source, site_url=address),
        publish(tmp_path / "harmless", as_of, source=source | {"query": harmless}, site_url=address),
    ]
    for window in windows:
        page, model = (Markup(site / window / "index.html") for site in sites)
        assert page.elements == model.elements
        (own,) = sites[0].glob("assets/report.*.js")
        assert page.scripts == {"application/json", f"../assets/{own.name}"}
        # A path too long for the table is whole in its cell's title.
        assert {*page.texts, *page.values["title"]} >= probes
        links = {f"{address}{path}" for path in probes}
        assert {unquote(link or "") for link in page.values["href"]} >= links


@pytest.fixture(scope="module")
def wiki(database: str, wiki_file: Path) -> dict[str, str]:
    """Give the source of 1.5 million rows in PostgreSQL, in a table of its own."""
    with psycopg.connect(database) as connection:
        connection.execute(METRICS_TABLE.replace("metrics", "wiki").encode())
        with (
            gzip.open(wiki_file) as stream,
            connection.cursor().copy("COPY wiki FROM STDIN CSV HEADER") as copy,
        ):
            while chunk := stream.read(1 << 20):
                copy.write(chunk)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE wiki")
    return {"url": database, "table": "wiki"}


@pytest.fixture(scope="module")
def wiki_site(wiki: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(tmp_path_factory.mktemp("wiki"), WIKI_LAST, source=wiki, windows=WIKI_WINDOWS)


@pytest.mark.parametrize("window", WIKI_WINDOWS)
def test_the_numbers_of_a_large_table_equal_the_result_of_sql(
    window: str, wiki_site: Path, truth: Truth
) -> None:
    assert_true(wiki_site, window, truth(window, WIKI_LAST, metrics="wiki"))


def test_a_large_file_read_directly_gives_the_same_bytes(
    wiki_site: Path, wiki_file: Path, tmp_path: Path
) -> None:
    site = publish(tmp_path, WIKI_LAST, source={"url": str(wiki_file)}, windows=WIKI_WINDOWS)
    for file in (f"{window}/{name}.csv" for window in WIKI_WINDOWS for name in ("daily", "paths")):
        assert (site / file).read_bytes() == (wiki_site / file).read_bytes(), file


def test_sums_beyond_32_bits_are_exact(wiki: dict[str, str], wiki_site: Path, tmp_path: Path) -> None:
    """With a thousand times the visits, counts are a thousand times as large; shares and changes stay."""
    counts = {"total", "previous_total", "visits", "previous", "other"}
    query = "SELECT date, path, visits::bigint * 1000 AS visits FROM wiki"
    site = publish(tmp_path, WIKI_LAST, source=wiki | {"query": query}, windows=WIKI_WINDOWS)
    for window in WIKI_WINDOWS:
        thousandfold = json.loads(
            (wiki_site / window / "report.json").read_bytes(),
            object_hook=lambda it: {k: v * 1000 if k in counts else v for k, v in it.items()},
        )
        assert thousandfold["total"] > 2**32
        figures = read(site, window)["report.json"]
        assert figures == {name: thousandfold[name] for name in figures}


def test_a_list_of_paths_ends_at_100_000(wiki: dict[str, str], truth: Truth, tmp_path: Path) -> None:
    """Eleven years of weeks moved to one date: many rows for each path, with a sum of 34 bits."""
    query = f"SELECT date '{WIKI_LAST}' AS date, path, visits FROM wiki"
    site = publish(
        tmp_path, WIKI_LAST, source=wiki | {"query": query}, windows=("today",), default_window="today"
    )
    true = truth("today", WIKI_LAST, metrics=f"({query}) AS moved")
    assert len(true["paths.csv"]) == 1 + 100_000
    assert (true["report.json"]["total"], true["report.json"]["path_count"]) == (10_147_880_281, 123_605)
    assert_true(site, "today", true)
