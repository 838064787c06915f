"""The same rows in every supported spelling, from every file format, give the same report.

``FUZZ=long`` (``make fuzz``) draws many more rows, and others each time.
"""

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
from hypothesis import given
from hypothesis import strategies as st

from reportgen.config.settings import config_from_options, load_config
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.metrics.dataset import Dataset, read_dataset, read_days
from reportgen.pages.exports import paths_csv
from reportgen.sources.base import CSV_ENDS
from reportgen.sources.registry import open_source
from reportgen.sources.spellings import DateReader, number_of, number_reader
from tests.support.engines import SPAN, TODAY, insert_in_duckdb
from tests.support.examples import drawn

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


def in_duckdb(rows: Sequence[Sequence[object]], folder: Path, date_type: str = "VARCHAR") -> str:
    file = folder / "m.duckdb"
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute(f"CREATE TABLE metrics (date {date_type}, path VARCHAR, visits VARCHAR)")
        insert_in_duckdb(connection, "metrics", rows)
    return f"duckdb:///{file}"


def in_parquet(rows: Sequence[Sequence[object]], folder: Path, date_type: str = "VARCHAR") -> str:
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE m (date {date_type}, path VARCHAR, visits VARCHAR)")
        insert_in_duckdb(connection, "m", rows)
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
    file = tmp_path / "m.csv"
    file.write_bytes(csv_bytes(rows, separator, codec))
    assert figures(read(str(file), **setting)) == expected


@pytest.mark.parametrize("end", CSV_ENDS)
def test_csv_gives_the_same_report_with_every_ending(
    end: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    rows, _ = written(ROWS, "iso", "plain")
    for encoding in ("utf-8", "utf-16"):
        file, content = tmp_path / f"{encoding}{end}", csv_bytes(rows, ";", encoding)
        file.write_bytes(gzip.compress(content) if end.endswith(".gz") else content)
        assert figures(read(str(file))) == expected


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


@pytest.mark.slow
@drawn(15)
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
    assert figures(read(in_duckdb(texts, folder), **setting)) == plain


@drawn(12)
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
    outside = sum(day is not None and not str(FIRST) <= day <= str(TODAY) for day in days)
    assert data.daily.rows + data.notes.total() + outside == len(days)
    assert data.examples.keys() == data.notes.keys()


@pytest.mark.slow
@drawn(15)
@given(st.integers(0, 2**32))
def test_scrambled_cells_are_counted_alike_by_every_engine(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Figures and counted rows are together the rows that are stored, or every build fails."""
    chance, folder = random.Random(seed), tmp_path_factory.mktemp("cells")
    date_name, number_name = chance.choice(sorted(DATES)), chance.choice(sorted(NUMBERS))
    setting = DATES[date_name][1] | NUMBERS[number_name][1]
    moved = [
        (day - timedelta(days=chance.choice([-1, 0, 9])), *rest) for day, *rest in chance.sample(ROWS, 12)
    ]
    rows: list[tuple[str | None, str | None, str | None]] = []
    for day, path, visits in written(moved, date_name, number_name)[0]:
        cells = cell_of(day, chance), cell_of(visits, chance)
        # A CSV file's row with nothing but a number is a row of totals.
        rows.append(
            (cells[0], chance.choice([path, "", None]) if (cells[0] or "").strip() else path, cells[1])
        )
    lines = [
        ",".join("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in row) for row in rows
    ]
    text = "\r\n".join(["date,path,visits", *lines, ""])
    (folder / "m.csv").write_bytes(text.encode())
    (folder / "16.csv").write_bytes(text.encode("utf-16"))
    found: list[Any] = []
    for url in (str(folder / "m.csv"), str(folder / "16.csv"), in_sqlite(rows, folder),
                in_parquet(rows, folder), in_duckdb(rows, folder)):  # fmt: skip
        try:
            data = read(url, **setting)
        except SourceError as exc:
            reasons = "no row has a date", "has a whole number"
            found.append(next(reason for reason in reasons if reason in str(exc)))
            continue
        reader = DateReader("Europe/Berlin", setting.get("date_format"))
        days = [reader.day_of(day) for day, _, _ in rows]
        outside = sum(day is not None and not str(FIRST) <= day <= str(TODAY) for day in days)
        assert data.daily.rows + data.notes.total() + outside == len(rows), url
        assert data.examples.keys() == data.notes.keys()
        found.append(figures(data))
    assert found == [found[0]] * len(found)


def cell_of(text: str, chance: random.Random) -> str | None:
    """Return the text of a date or number, most times with an error, or nothing."""
    at = chance.randrange(len(text) + 1)
    sign, begin = chance.choice("0123456789-/:., TZ+ax\u00a0'"), text[:at]
    wrong = (begin + sign + text[at:], begin + text[at + 1 :], begin + sign + text[at + 1 :], begin, None)
    return chance.choice([text, text, text, *wrong])


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


TEXTS = {
    "2026-02-30": None, "2026-13-01": None, "11/06/2026": None, "06.11.2026": None, "2026110612": None,
    "2026-11-06x": None, "2026-11-06 25:00": None, "2026-11-06T23:30:00 PST": None, "": None,
    "yesterday": None, "0000-01-01": None, "26-11-06": None, "2026-11/06": None, "2026-11-20 99": None,
    "2026-11-20T1:2": None, "infinity": None,
    "2026-11-16T23:30:00z": "2026-11-17", "2026-11-16T23:30+00:00": "2026-11-17",
    "2026/11/16 2:05": "2026-11-16", "2026-11-16 23": "2026-11-16", "2026-11-16 23:59:59.9999": "2026-11-16",
    "2026-11-16t23:30:00,5 GMT": "2026-11-17", "2026-11-16 00:30:00+0200": "2026-11-15",
}  # fmt: skip


def test_every_engine_reads_the_same_dates(tmp_path: Path) -> None:
    reader = DateReader("Europe/Berlin", None)
    assert {text: reader.day_of(text) for text in TEXTS} == TEXTS
    assert (reader.day_of("2024-02-29"), reader.day_of("2023-02-29")) == ("2024-02-29", None)
    rows = [(text, f"/{number}", "1") for number, text in enumerate(TEXTS)]
    days = {f"/{number}": day for number, day in enumerate(TEXTS.values()) if day}
    for url in (in_sqlite(rows, tmp_path), in_parquet(rows, tmp_path)):
        data = read(url)
        assert data.daily.rows == len(days)
        assert data.notes == {"invalid_date": len(TEXTS) - len(days)}
        assert data.daily.visits == Counter(map(date.fromisoformat, days.values()))


@pytest.mark.parametrize(
    ("value", "date_format", "day"),
    [
        (11202026, "%m%d%Y", date(2026, 11, 20)), (2026112012, "%Y%m%d%H", date(2026, 11, 20)),
        (20112026, None, None), (2026112012, None, None), ("infinity", "%m/%d/%y", None),
        ("11/20/6", "%m/%d/%y", None), ("11/20/26", "%m/%d/%y", date(2026, 11, 20)),
        ("1112026", "%d%m%Y", None), ("11/20/26 1:00 +6000", "%m/%d/%y %H:%M %z", None),
    ],
)  # fmt: skip
def test_every_engine_reads_the_same_dates_with_a_format(
    value: int | str, date_format: str | None, day: date | None, tmp_path: Path
) -> None:
    rows = [(value, "/", "1")]
    kind = "BIGINT" if isinstance(value, int) else "VARCHAR"
    for url in (in_sqlite(rows, tmp_path), in_parquet(rows, tmp_path, kind)):
        if day:
            assert read(url, date_format=date_format).daily.visits == {day: 1}
        else:
            with pytest.raises(SourceError, match="no row has a date"):
                read(url, date_format=date_format)


@pytest.mark.parametrize(
    ("thousands", "texts"),
    [
        (None, {"1.210": None, "1,210": 1210, "1.000": None, "5,0": None, "1,21": None, "1,2100": None,
                "1 210,00": None, "1e3": None, "": None, "-1,210": -1210, "+7": 7, "12,10": None,
                "1,210 000": None, "0.5": None, "12345.000": 12345}),
        (".", {"1.210": 1210, "1,210": None, "1.000": 1000, "5,0": 5, "1 210,00": 1210, "12345.000": None,
               "+7": 7}),
    ],
)  # fmt: skip
def test_a_number_with_two_meanings_is_not_read(
    thousands: str | None, texts: dict[str, int | None], tmp_path: Path
) -> None:
    pattern = number_reader(thousands)
    assert {text: number_of(text, pattern, thousands) for text in texts} == texts
    rows = [(str(TODAY), f"/{text}", text) for text in texts]
    good = {f"/{text}": number for text, number in texts.items() if number is not None and number >= 0}
    for url in (in_parquet(rows, tmp_path), in_sqlite(rows, tmp_path)):
        data = read(url, thousands=thousands)
        assert {row.path: row.visits for row in data.paths[0].listed} == good
        assert data.notes["invalid_visits"] == list(texts.values()).count(None)
        assert data.notes.total() == len(texts) - len(good)
        assert data.examples["invalid_visits"].startswith(f"{TODAY}, /")


@pytest.mark.parametrize("kind", ["DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMPTZ"])
def test_each_type_of_date_is_shown_in_an_example(kind: str, tmp_path: Path) -> None:
    rows = [(str(TODAY), "/", "1"), (str(TODAY), None, "1"), (None, "/", "1")]
    for url in (in_parquet(rows, tmp_path, kind), in_duckdb(rows, tmp_path, kind)):
        data = read(url)
        assert data.notes == {"null_path": 1, "null_date": 1}
        assert data.examples["null_path"].startswith(str(TODAY))
        assert data.examples["null_date"] == "(nothing), /, 1"


def test_an_old_row_whose_time_is_wrong_is_counted_by_sqlite_too(tmp_path: Path) -> None:
    wrong = [(f"2020-01-02{text}", "/", "1") for text in ("T", " T10:00", "TT10:00", "T24:00", " 10")]
    data = read(in_sqlite([(str(TODAY), "/", "1"), ("20200102", "/", "1"), *wrong], tmp_path))
    assert (data.daily.rows, data.notes) == (1, {"invalid_date": 4})
    rows = [(f"{TODAY}{text}", "/", "1") for text in ("", " ", "T", "T10:00", "TT10:00")]
    data = read(in_sqlite(rows, tmp_path))
    assert (data.daily.rows, data.notes) == (3, {"invalid_date": 2})


def test_a_source_without_a_readable_number_is_an_error_that_offers_a_setting(tmp_path: Path) -> None:
    rows = [(str(TODAY), "/", "1.210"), (str(TODAY), "/a", "2.420")]
    for url in (in_parquet(rows, tmp_path), in_sqlite(rows, tmp_path)):
        with pytest.raises(SourceError) as caught:
            read(url)
        assert f'"visits". A row: {TODAY}, /, 1.210. Set source.thousands to "."' in str(caught.value)
        assert read(url, thousands=".").daily.visits == {TODAY: 3630}


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
    """In a large table a build finds them if a date has no rows, and check finds them always."""
    iso = [(str(day), path, visits) for day, path, visits in ROWS]
    middle = [("11/22/2026", "/a", "1"), (None, "/a", "1")]
    both = {"null_date": 1, "invalid_date": 1}
    assert read(in_sqlite([*iso, *middle, *iso], tmp_path)).notes == both
    assert read(in_sqlite([*iso[:-4] * 200, *middle, *iso[:-4] * 200], tmp_path)).notes == both
    url = in_sqlite([*iso * 200, *middle, *iso * 200], tmp_path)
    assert read(url).notes == {"null_date": 1}
    with open_source(config_from_options({"source": {"url": url}}).source, "UTC", SPAN) as source:
        assert read_days(source, SPAN, include_future=True, thorough=True)[1] == both
    with closing(sqlite3.connect(tmp_path / "m.db")) as connection, connection:
        connection.execute("CREATE INDEX i ON metrics (date)")
    assert read(url).notes == both
    assert read(url, query="SELECT date, path, visits FROM metrics").notes == both


def test_csv_is_read_alike_by_duckdb_and_by_python(tmp_path: Path) -> None:
    """A quoted empty text is not a missing value, and line breaks in quotes are kept."""
    day = str(TODAY)
    rows = [
        f'{day},"a\r\nb","2"',
        f'{day},"",3',
        f"{day},,4",
        f'{day},"x\n"",""y",""',
        f"{day},/a,",
        '"",/a,5',
    ]
    for end in ("\n", "\r\n"):
        (tmp_path / "m.csv").write_bytes(end.join(["date,path,visits", *rows[:5]]).encode())
        (tmp_path / "16.csv").write_bytes(end.join(["date,path,visits", *rows[:5]]).encode("utf-16"))
        (tmp_path / "last.csv").write_bytes(end.join(["date,path,visits", *rows]).encode())
        data = [read(str(tmp_path / name)) for name in ("m.csv", "16.csv", "last.csv")]
        assert {row.path: row.visits for row in data[0].paths[0].listed} == {"a\r\nb": 2, "": 3}
        assert data[0].notes == {"null_path": 1, "invalid_visits": 1, "null_visits": 1}
        assert figures(data[0]) == figures(data[1])
        assert data[2].notes == data[0].notes + Counter(["invalid_date"])


def test_a_csv_file_that_takes_too_long_is_an_error_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_bytes(("date,path,visits\n" + f"{TODAY},/,1\n" * 600_000).encode("utf-16"))
    with pytest.raises(SourceUnavailable, match=r"m\.csv: reading .* statement_timeout_s \(1 s\)"):
        read(str(file), statement_timeout_s=1)


@pytest.mark.parametrize(
    ("key", "value"),
    [("date_format", "%d/%m"), ("date_format", "dd/mm/yyyy"), ("date_format", "%Y-%j"), ("thousands", ";"),
     ("encoding", "utf-9"), ("encoding", "base64")],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"source\.{key}"):
        config_from_options({"source": {"url": "a.csv", key: value}})


def test_a_build_says_that_it_could_not_look_at_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A date has no rows, and a date in the middle is spelled otherwise."""
    monkeypatch.setattr("reportgen.sources.sqlite.PROBE_S", 0)
    days = [TODAY.isoformat()] * 30_000 + [(TODAY - timedelta(days=1)).strftime("%d.%m.%Y")]
    with closing(sqlite3.connect(tmp_path / "m.db")) as database:
        database.execute("CREATE TABLE metrics (date, path, visits)")
        database.executemany(
            "INSERT INTO metrics VALUES (?, '/', 1)", [[day] for day in days + days[:30_000]]
        )
        database.commit()
    url = f"sqlite:///{tmp_path / 'm.db'}"
    (warning,) = read(url).warnings
    assert "not every row could be looked at in 0 s" in warning
    monkeypatch.undo()
    data = read(url)
    assert (data.warnings, data.notes) == ([], {"invalid_date": 1})
