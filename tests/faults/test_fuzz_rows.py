"""Unusual rows through every engine and the whole pipeline, compared with plain Python.

``FUZZ=long`` (``make fuzz``) draws many more, and others each time.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import duckdb
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from reportgen.build.pipeline import build
from reportgen.core.errors import SourceError
from reportgen.core.windows import today_in
from reportgen.publish.release import current_release, lock_output
from reportgen.sources.spellings import DateReader
from tests.fuzz.cases import MAX, Case, RefusedError, Stored, cases, truth
from tests.fuzz.pipeline import check_case, check_files, config_of, store, undrawn
from tests.support.engines import with_database

pytestmark = pytest.mark.slow

LONG = os.environ.get("FUZZ") == "long"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ENGINES = ("postgresql", "duckdb", "parquet", "csv")
TYPED = "CREATE TABLE metrics (date date, path text, visits bigint)"

Write = Callable[[str, Case, Path], str]


BAD: tuple[Stored, ...] = (
    ("2026-11-22", "/", -1), ("2026-11-21", "/", -(2**63)), ("2026-11-22", None, 1),
    ("2026-11-20", "/", None),
    ("2026-11-22", "/", "x"), ("2026-11-22", "/", 0.5), ("2026-11-31", "/", 1), (None, None, None),
    ("2026-11-24", "/", 1), ("2026-11-24x", "/", 1), ("2026-11-22T00:00:00", "/", 4), ("2026-11-19", "/", -1),
)  # fmt: skip
"""One row of each kind that is left out, and one that is not: three dates have nothing but bad rows."""

LIKENESS = tuple(
    ("2026-11-22", path, 7)
    for path in ("Other", "/\u00e9", "/e\u0301", "/E", "/e", "/B", "/a", "=1", "'=1", "", " ", '/"<')
)
"""Paths that look like each other, or like the words of the page."""


def drawn(few: int, many: int) -> settings:
    """Return the settings of Hypothesis: few examples, always the same, or many."""
    return settings(
        max_examples=many if LONG else few, derandomize=not LONG, deadline=None, database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate, Phase.shrink] if LONG else [Phase.explicit, Phase.generate],
    )  # fmt: skip


def case(*rows: Stored, as_of: date | None = None, windows: tuple[str, ...] = ("7d", "today")) -> Case:
    """Return rows as they are."""
    return Case(rows, windows, "UTC", NOON, as_of, 100, "https://example.com")


@drawn(30, 1500)
@given(cases())
@example(case())
@example(case(*BAD))
@example(case(*LIKENESS))
@example(case(("2026-11-22", "/", -1), ("2026-11-22", "/", -(2**63)), ("2026-11-22", "/", 3)))
@example(case(("2026-11-22", "/a", 1), ("2026-11-22", b"/\xed\xa0\x80", 1)))
@example(case(("2026-11-22", "/", MAX)))
@example(case(("2026-11-22", "/", MAX), ("2026-11-21", "/", 1)))
@example(case(("2026-11-22", "/", MAX), ("2026-11-21", "/a", 1)))
@example(case(("2026-11-22", "/", MAX - 1), ("2026-11-15", "/a", 1), windows=("30d", "7d")))
@example(case(("9999-12-31", "/", 1), ("0001-01-01", "/", 1), ("9999-99-99", "/", 1), (None, "/", 1)))
@example(case(("1000-01-01", "/", 9), ("0999-12-31", "/", 7), as_of=date(1000, 1, 1), windows=("366d",)))
@example(case(("2024-02-29", "/", 9), ("2023-02-28", "/", 7), as_of=date(2024, 2, 29), windows=("366d",)))
@example(case(("9999-12-30", "/", 9), ("9999-12-29", "/", 7), as_of=date(9999, 12, 30)))
def test_a_release_says_what_its_rows_say(drawn_case: Case) -> None:
    """All files except drawings: figures, tables, CSV, links, sentences and rows left out."""
    check_case(drawn_case)


@drawn(4, 60)
@given(cases())
def test_a_release_with_drawings_says_it_too(
    tmp_path_factory: pytest.TempPathFactory, drawn_case: Case
) -> None:
    """Every drawing is XML without a script, and the files are those of the truth."""
    folder = tmp_path_factory.mktemp("build")
    store(folder / "m.db", drawn_case)
    config = config_of(drawn_case, f"sqlite:///{folder / 'm.db'}")
    with lock_output(folder / "output") as lock:
        try:
            true = truth(drawn_case)
        except RefusedError as refused:
            with pytest.raises(SourceError, match=str(refused)):
                build(config, lock, now=drawn_case.now, as_of=drawn_case.as_of)
            return
        build(config, lock, now=drawn_case.now, as_of=drawn_case.as_of)
    release = current_release(folder / "output")
    assert release is not None
    names = [name for name in release.manifest["files"] if not name.endswith((".br", ".gz"))]
    check_files({name: (release.path / name).read_bytes() for name in names}, drawn_case, true)
    assert (release.manifest["rows"], release.manifest["as_of"]) == (true.rows, str(drawn_case.today))
    for name in names:
        if name.endswith(".svg"):
            elements = list(ET.fromstring((release.path / name).read_bytes()).iter())
            assert [
                each.tag for each in elements if each.tag.lower().endswith(("script", "foreignobject"))
            ] == []


@pytest.fixture(scope="module")
def server(pg_server: str) -> Iterator[str]:
    """Give the URL of a PostgreSQL database with an empty table."""
    name = f"fuzz_{os.getpid()}"
    with psycopg.connect(pg_server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'".encode())
        with psycopg.connect(with_database(pg_server, name), autocommit=True) as connection:
            connection.execute(TYPED)
        yield with_database(pg_server, name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def typed(given_case: Case) -> Case:
    """Return the rows that a typed column can hold: dates, whole numbers, texts without NUL."""

    def fits(row: Stored) -> bool:
        day, path, visits = row
        holds = not isinstance(path, bytes) and "\0" not in (path or "")
        return (
            holds
            and (day is None or (len(day) == 10 and DateReader("UTC", None).day_of(day) == day))
            and (visits is None or (isinstance(visits, int) and visits <= MAX))
        )

    return replace(given_case, rows=tuple(filter(fits, given_case.rows)))


def written(engine: str, rows: tuple[Stored, ...], folder: Path, server: str) -> str:
    """Write rows where an engine reads them; return the source's URL."""
    if engine == "postgresql":
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("TRUNCATE metrics")
            with connection.cursor() as cursor:
                cursor.executemany("INSERT INTO metrics VALUES (%s, %s, %s)", rows)
        return server
    file = folder / f"m.{engine}"
    file.unlink(missing_ok=True)
    if engine == "csv":
        cells = [[cell if cell is None else str(cell) for cell in row] for row in rows]
        quoted = [
            '"' + (cell or "").replace('"', '""') + '"' if cell is not None else ""
            for row in cells
            for cell in row
        ]
        lines = [",".join(quoted[at : at + 3]) for at in range(0, len(quoted), 3)]
        file.write_text("\r\n".join(["date,path,visits", *lines, ""]), encoding="utf-8", newline="")
        return str(file)
    with duckdb.connect(str(file) if engine == "duckdb" else ":memory:") as duck:
        duck.execute(TYPED)
        if rows:
            duck.executemany("INSERT INTO metrics VALUES (?, ?, ?)", rows)
        if engine == "parquet":
            duck.execute(f"COPY metrics TO '{file}'")
    return f"duckdb:///{file}" if engine == "duckdb" else str(file)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_says_the_same(
    engine: str, server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The rows that an engine can store give the report of the same truth."""
    folder = tmp_path_factory.mktemp(engine)

    @drawn(6, 150)
    @given(cases().map(typed))
    def check(drawn_case: Case) -> None:
        config = config_of(drawn_case, written(engine, drawn_case.rows, folder, server))
        try:
            true = truth(drawn_case)
        except RefusedError as refused:
            with pytest.raises(SourceError, match=str(refused)):
                undrawn(config, drawn_case)
            return
        check_files(undrawn(config, drawn_case)[0], drawn_case, true)

    check()


@pytest.mark.parametrize(
    ("zone", "now", "today"),
    [
        ("Pacific/Apia", "2011-12-30T09:59:59", "2011-12-29"),
        ("Pacific/Apia", "2011-12-30T10:00:00", "2011-12-31"),
        ("America/St_Johns", "2026-03-08T03:29:59", "2026-03-07"),
        ("America/St_Johns", "2026-03-08T03:30:00", "2026-03-08"),
        ("America/St_Johns", "2026-11-02T03:29:59", "2026-11-01"),
        ("Asia/Kathmandu", "2026-11-23T18:14:59", "2026-11-23"),
        ("Asia/Kathmandu", "2026-11-23T18:15:00", "2026-11-24"),
        ("Europe/Dublin", "2026-03-28T23:59:59", "2026-03-28"),
        ("Europe/Dublin", "2026-10-24T22:59:59", "2026-10-24"),
        ("Europe/Dublin", "2026-10-24T23:00:00", "2026-10-25"),
        ("Europe/Dublin", "2026-10-25T23:59:59", "2026-10-25"),
        ("Pacific/Kiritimati", "2026-12-31T10:00:00", "2027-01-01"),
        ("Pacific/Pago_Pago", "2026-01-01T10:59:59", "2025-12-31"),
        ("UTC", "2024-02-28T23:59:59", "2024-02-28"),
        ("UTC", "2024-02-29T00:00:00", "2024-02-29"),
    ],
)
def test_today_is_the_date_in_the_time_zone(zone: str, now: str, today: str) -> None:
    """Written down by hand, not computed: nights when clocks change, a date that was left out."""
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert str(today_in(ZoneInfo(zone), moment)) == today
    changed = replace(case(), timezone=zone, now=moment)
    assert str(changed.today) == today
