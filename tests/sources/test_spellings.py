"""The same rows in every supported spelling, from every file format, give the same report."""

import csv
import gzip
import io
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.config.settings import config_from_options, load_config
from reportgen.core.errors import ConfigError, SourceError
from reportgen.metrics.dataset import Dataset, read_dataset
from reportgen.pages.exports import paths_csv
from reportgen.sources.spellings import DateReader, number_of, number_reader
from tests.support.engines import TODAY

Rows = Sequence[tuple[date, str, int]]
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
FIRST = TODAY - timedelta(days=13)
ROWS: Rows = [
    (FIRST + timedelta(days=n), path, (n + 1) * visits)
    for n in range(14)
    for path, visits in (("/", 1210), ("/a,b", 45), ('/"quoted" é', 1), ("/日本", 0))
]
LOG = "%d/%b/%Y:%H:%M:%S %z"
WEST = ZoneInfo("Etc/GMT+9")
BERLIN = ZoneInfo("Europe/Berlin")


def instant(day: date, hours: float = 23.75) -> datetime:
    """Return a moment on ``day`` in Berlin, most of them on another date in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=BERLIN) + timedelta(hours=hours)


DATES: dict[str, tuple[Callable[[date], str], dict[str, str]]] = {
    "iso": (date.isoformat, {}),
    "unpadded": (lambda day: f"{day.year}-{day.month}-{day.day}", {}),
    "slashes": (lambda day: f"{day:%Y/%m/%d}", {}),
    "compact": (lambda day: f"{day:%Y%m%d}", {}),
    "blanks": (lambda day: f"  {day} ", {}),
    "no-break space": (lambda day: f"\u00a0{day}", {}),
    "time": (lambda day: f"{day}T23:59:59.123", {}),
    "time of day": (lambda day: f"{day} 11:30 PM", {}),
    "Z": (lambda day: f"{instant(day, 0.5).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", {}),
    "UTC": (lambda day: f"{instant(day, 0.5).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", {}),
    "Go": (lambda day: f"{instant(day).astimezone(UTC):%Y-%m-%d %H:%M:%S}.25 +0000 UTC", {}),
    "offset": (lambda day: instant(day).astimezone(ZoneInfo("Asia/Kathmandu")).isoformat(), {}),
    "offset in hours": (lambda day: f"{instant(day).astimezone(WEST):%Y-%m-%d %H:%M:%S}-09", {}),
    "seconds": (lambda day: str(int(instant(day).timestamp())), {}),
    "milliseconds": (lambda day: str(int(instant(day).timestamp()) * 1000), {}),
    "US": (lambda day: f"{day:%m/%d/%Y}", {"date_format": "%m/%d/%Y"}),
    "European": (lambda day: f"{day:%d.%m.%Y} 10:15", {"date_format": "%d.%m.%Y %H:%M"}),
    "month": (lambda day: f"{day:%b} {day.day}, {day.year}", {"date_format": "%b %d, %Y"}),
    "hours": (lambda day: f"{day:%Y%m%d}23", {"date_format": "%Y%m%d%H"}),
    "local": (lambda day: f"{instant(day).astimezone(UTC):%Y-%m-%dT%H:%M:%S}", {"timestamp_zone": "UTC"}),
    "local date": (lambda day: f"{day:%Y/%m/%d}", {"timestamp_zone": "UTC"}),
    "local US": (
        lambda day: f"{instant(day).astimezone(WEST):%m/%d/%Y %I:%M %p}",
        {"timestamp_zone": "Etc/GMT+9", "date_format": "%m/%d/%Y %I:%M %p"},
    ),
    "local US date": (
        lambda day: f"{day:%m/%d/%Y}", {"timestamp_zone": "Etc/GMT+9", "date_format": "%m/%d/%Y"}
    ),
    "log": (lambda day: f"{instant(day).astimezone(UTC):{LOG}}", {"date_format": LOG}),
}  # fmt: skip
NUMBERS: dict[str, tuple[Callable[[int], str], dict[str, str]]] = {
    "plain": (str, {}),
    "blanks": (lambda number: f" {number}\t", {}),
    "fraction": (lambda number: f"{number}.0", {}),
    "commas": (lambda number: f"{number:,}", {}),
    "commas and fraction": (lambda number: f"{number:,}.00", {}),
    "spaces": (lambda number: f"{number:,}".replace(",", " "), {}),
    "no-break spaces": (lambda number: f"{number:,}".replace(",", "\u202f"), {}),
    "points": (lambda number: f"{number:,}".replace(",", "."), {"thousands": "."}),
    "points and comma": (lambda number: f"{number:,}".replace(",", ".") + ",00", {"thousands": "."}),
    "apostrophes": (lambda number: f"{number:,}".replace(",", "'"), {"thousands": "'"}),
}
ENCODINGS: dict[str, tuple[str, dict[str, str]]] = {
    "UTF-8": ("utf-8", {}),
    "BOM": ("utf-8-sig", {}),
    "UTF-16": ("utf-16", {}),
    "UTF-16 by name": ("utf-16-le", {"encoding": "utf-16-le"}),
    "UTF-16 without mark": ("utf-16-be", {}),
    "Shift JIS": ("shift_jisx0213", {"encoding": "shift_jisx0213"}),
}


def written(
    rows: Rows, date_name: str, number_name: str
) -> tuple[list[tuple[str, str, str]], dict[str, Any]]:
    """Return the rows as text in two spellings, and the settings with which they are read."""
    (day, by_date), (number, by_number) = DATES[date_name], NUMBERS[number_name]
    return [(day(when), path, number(visits)) for when, path, visits in rows], {**by_date, **by_number}


def in_sqlite(rows: Sequence[Sequence[object]], folder: Path) -> str:
    file = folder / "m.db"
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE metrics (date, path TEXT, visits)")
        connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", rows)
    return f"sqlite:///{file}"


def in_parquet(rows: Sequence[Sequence[object]], folder: Path, date_type: str = "VARCHAR") -> str:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE m (date {date_type}, path VARCHAR, visits VARCHAR)")
        connection.executemany("INSERT INTO m VALUES (?, ?, ?)", [list(row) for row in rows])
        connection.execute(f"COPY m TO '{folder}/m.parquet'")
    return f"{folder}/m.parquet"


def csv_bytes(
    rows: Sequence[Sequence[str]], separator: str, encoding: str, header: str = "date path visits"
) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator)
    writer.writerows([header.split(), *rows] if header else rows)
    return text.getvalue().encode(encoding)


def read(url: str, timezone: str = "Europe/Berlin", **source: Any) -> Dataset:
    config = load_config(
        None, {}, {"windows": ["7d"], "timezone": timezone, "source": {"url": url, **source}}
    )
    return read_dataset(config, NOW, TODAY, paths_csv)


def figures(data: Dataset) -> tuple[Any, ...]:
    return data.daily.visits, data.daily.rows, data.paths[0].listed, data.cells, dict(data.notes)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    found = figures(
        read(in_sqlite([(str(day), *rest) for day, *rest in ROWS], tmp_path_factory.mktemp("plain")))
    )
    assert found[0] == {
        day: sum(row[2] for row in ROWS if row[0] == day) for day in sorted({row[0] for row in ROWS})
    }
    assert found[4] == {}
    return found


@pytest.mark.parametrize("name", DATES)
def test_dates_give_the_same_report_in_every_spelling(
    name: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    rows, setting = written(ROWS, name, "plain")
    file = tmp_path / "m.csv"
    file.write_bytes(csv_bytes(rows, ",", "utf-8"))
    for url in (str(file), in_sqlite(rows, tmp_path), in_parquet(rows, tmp_path)):
        assert figures(read(url, **setting)) == expected, url


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_give_the_same_report_in_every_spelling(
    name: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    rows, setting = written(ROWS, "iso", name)
    file = tmp_path / "m.csv"
    file.write_bytes(csv_bytes(rows, ",", "utf-8"))
    for url in (str(file), in_sqlite(rows, tmp_path), in_parquet(rows, tmp_path)):
        assert figures(read(url, **setting)) == expected, url


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv_gives_the_same_report_with_every_separator_and_encoding(
    separator: str, encoding: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    codec, setting = ENCODINGS[encoding]
    rows, _ = written(ROWS, "iso", "plain")
    content = csv_bytes(rows, separator, codec)
    for number, end in enumerate((".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")):
        file = tmp_path / f"{number}{end}"
        file.write_bytes(gzip.compress(content) if end.endswith(".gz") else content)
        assert figures(read(str(file), **setting)) == expected, end


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("seconds", lambda day: int(instant(day).timestamp())),
        ("milliseconds", lambda day: int(instant(day).timestamp() * 1000)),
        ("days", lambda day: int(f"{day:%Y%m%d}")),
        ("Julian days", lambda day: day.toordinal() + 1721424.75),
    ],
)
def test_dates_that_are_numbers_are_read_by_their_magnitude(
    kind: str, value: Callable[[date], float], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    rows = [(value(day), path, visits) for day, path, visits in ROWS]
    date_type = "DOUBLE" if kind == "Julian days" else "BIGINT"
    for url in (in_sqlite(rows, tmp_path), in_parquet(rows, tmp_path, date_type)):
        assert figures(read(url)) == expected, url


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-5, 40), st.sampled_from(["/", "/a;b", "/é,", "/日"]), st.integers(0, 10**7)),
        min_size=1, max_size=30,
    ),
    st.sampled_from(sorted(DATES)), st.sampled_from(sorted(NUMBERS)),
    st.sampled_from([",", ";", "\t", "|"]), st.sampled_from(sorted(ENCODINGS)),
)  # fmt: skip
def test_any_rows_give_the_same_report_in_any_combination(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, str, int]], date_name: str,
    number_name: str, separator: str, encoding: str,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("any")
    rows = [(TODAY - timedelta(days=back), path, visits) for back, path, visits in drawn]
    plain = figures(read(in_sqlite([(str(day), *rest) for day, *rest in rows], folder)))
    texts, setting = written(rows, date_name, number_name)
    codec, by_encoding = ENCODINGS[encoding]
    (folder / "m.csv").write_bytes(csv_bytes(texts, separator, codec))
    assert figures(read(str(folder / "m.csv"), **setting, **by_encoding)) == plain
    assert figures(read(in_sqlite(texts, folder), **setting)) == plain
    assert figures(read(in_parquet(texts, folder), **setting)) == plain


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_scrambled_lines_are_counted_or_the_build_fails(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Figures and counted rows are together the rows that are stored."""
    chance = random.Random(seed)
    rows, _ = written(ROWS, "iso", chance.choice(["plain", "commas"]))
    lines = [
        ",".join(f'"{cell}"' if "," in cell else cell for cell in row) for row in rows if '"' not in row[1]
    ]
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(lines))
        lines[at] = chance.choice(list(scrambled(lines[at], chance)))
    file = tmp_path_factory.mktemp("scrambled") / "m.csv"
    file.write_text("date,path,visits\n" + "".join(f"{line}\n" for line in lines))
    try:
        data = read(str(file))
    except SourceError as exc:
        assert "line " in str(exc)  # noqa: PT017 - a build may fail or not
        return
    days = [
        DateReader("Europe/Berlin", None).day_of(line.partition(",")[0]) for line in lines if is_row(line)
    ]
    older = sum(day is not None and day < str(FIRST) for day in days)
    assert data.daily.rows + sum(data.notes.values()) + older == len(days)
    assert data.examples.keys() == data.notes.keys()


def is_row(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    return bool(line.strip(", ")) and not (line.startswith("#") and line.count(",") < 2)


def scrambled(line: str, chance: random.Random) -> Iterator[str]:
    """Yield the line with an error of each kind."""
    at = chance.randrange(len(line) + 1)
    yield line[:at]
    yield line[:at] + chance.choice([",", '"', "x", " ", "#", "\t", ";", "-"]) + line[at:]
    yield line[:at] + line[at + 1 :]
    yield line.replace("2026-", chance.choice(["11/06/", "26-", "2026-13-", ""]), 1)
    yield "Total" + line[10:]
    yield "total,,99"
    yield ",,99"
    yield ",".join(reversed(line.split(",")))
    yield line + "," * chance.randint(1, 3)
    yield ",,,"
    yield ""
    yield "Some text"
    yield "Name,Users,Sessions"


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-02-30", None), ("2026-13-01", None), ("11/06/2026", None), ("06.11.2026", None),
        ("2026110612", None),
        ("2026-11-06x", None), ("2026-11-06 25:00", None), ("2026-11-06T23:30:00 PST", None), ("", None),
        ("yesterday", None), ("0000-01-01", None), ("26-11-06", None), ("2026-11/06", None),
        ("2026-11-06T23:30:00z", "2026-11-07"), ("2026-11-06T23:30+00:00", "2026-11-07"),
        ("2026/11/6 2:05", "2026-11-06"), ("2024-02-29", "2024-02-29"), ("2023-02-29", None),
        ("2026-11-06t23:30:00,5 GMT", "2026-11-07"), ("2026-11-06 00:30:00+0200", "2026-11-05"),
    ],
)  # fmt: skip
def test_python_and_duckdb_read_the_same_dates(text: str, day: str | None, tmp_path: Path) -> None:
    rows = [(text, "/", 1), ("2026-11-01", "/", 1)]
    assert DateReader("Europe/Berlin", None).day_of(text) == day
    file = in_parquet(rows, tmp_path)
    with_query = read(file, query=f"SELECT date, path, visits FROM metrics WHERE date = '{text}' OR true")
    assert with_query.notes["invalid_date"] == (day is None)


@pytest.mark.parametrize(
    ("text", "plain", "points"),
    [
        ("1.210", None, 1210), ("1,210", 1210, None), ("1.000", None, 1000), ("5,0", None, 5),
        ("1,21", None, None),
        ("1,2100", None, None), ("1 210,00", None, 1210), ("1e3", None, None), ("", None, None),
        ("-1,210", -1210, None),
        ("+7", 7, 7), ("12,10", None, None), ("1,210 000", None, None), ("0.5", None, None),
        ("12345.000", 12345, None),
    ],
)  # fmt: skip
def test_a_number_with_two_meanings_is_not_read(
    text: str, plain: int | None, points: int | None, tmp_path: Path
) -> None:
    for thousands, number in ((None, plain), (".", points)):
        assert number_of(text, number_reader(thousands), thousands) == number
        rows = [(str(TODAY), "/", text)]
        for url in (in_parquet(rows, tmp_path), in_sqlite(rows, tmp_path)):
            data = read(url, **({"thousands": thousands} if thousands else {}))
            kind = "invalid_visits" if number is None else "negative_visits" if number < 0 else ""
            assert (data.daily.visits[TODAY], data.notes) == (
                0 if kind else number,
                Counter([kind] if kind else []),
            )
            assert list(data.examples.values()) == ([f"{TODAY}, /, {text or '(empty)'}"] if kind else [])


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["11/06/2026"], '"%m/%d/%Y" or "%d/%m/%Y"'), (["11/06/2026", "11/26/2026"], '"%m/%d/%Y"'),
        (["26/11/2026 10:15"], '"%d/%m/%Y %H:%M"'), (["26.11.2026"], '"%d.%m.%Y"'),
        (["Nov 6, 2026"], '"%b %d, %Y"'), (["2026110612"], '"%Y%m%d%H"'), (["6 weeks ago"], ""),
    ],
)  # fmt: skip
def test_a_source_without_a_readable_date_is_an_error_that_offers_formats(
    texts: Sequence[str], formats: str, tmp_path: Path
) -> None:
    rows = [(text, "/a", "3") for text in texts]
    file = tmp_path / "m.csv"
    file.write_bytes(csv_bytes(rows, ";", "utf-8"))
    for url in (str(file), in_sqlite(rows, tmp_path), in_parquet(rows, tmp_path)):
        with pytest.raises(SourceError) as caught:
            read(url)
        assert (
            f'no row has a date that can be read in "date". A row: {texts[0]}, /a, 3. Set source.date_format'
            in str(caught.value)
        )
        assert formats in str(caught.value)


def test_sqlite_finds_other_spellings_between_iso_dates(tmp_path: Path) -> None:
    """With rows of every date before and after them, check finds them, and a build where a date has none."""
    iso = [(str(day), path, visits) for day, path, visits in ROWS]
    middle = [("11/22/2026", "/a", "1"), (None, "/a", "1")]
    for rows, found in (([*iso, *middle, *iso], {"null_date": 1}),
                        ([*iso[:-4], *middle, *iso[:-4]], {"null_date": 1, "invalid_date": 1})):  # fmt: skip
        assert read(in_sqlite(rows, tmp_path)).notes == found


@pytest.mark.parametrize(
    ("key", "value"),
    [("date_format", "%d/%m"), ("date_format", "dd/mm/yyyy"), ("date_format", "%Y-%j"), ("thousands", ";"),
     ("encoding", "utf-9"), ("encoding", "base64")],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"source\.{key}"):
        config_from_options({"source": {"url": "a.csv", key: value}})
