"""CSV as other programs export it: what stands around the rows, and what an error says."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from reportgen.core.errors import SourceError
from tests.sources.test_spellings import TODAY, read

DAY = TODAY.isoformat()
ROWS = f"{DAY},/,1\n{DAY},/a,2\n"
OTHER = "\n\nDay Index,Users,Sessions\n20261101,5,7\n20261102,6,8\n"


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (f"date,path,visits\n{ROWS}", {}),
        (f"\ufeffDATE, Path ,VISITS\r\n{ROWS}", {}),
        (f"# Report\n# all, pages, of 2026\n\nMy site\ndate,path,visits\n{ROWS}", {}),
        (f"Report,,\nFrom,{DAY},\n,,\ndate,path,visits\n{ROWS}", {}),
        (f"sep=,\ndate,path,visits\n{ROWS}", {}),
        (f"sep=;\ndate,path,visits\ndate;path;visits\n{ROWS}".replace(",", ";"), {}),
        (f"date,path,visits,\n{ROWS}", {}),
        (f"date,path,visits\n{DAY},/,1,,\n{DAY},/a,2,\n", {}),
        (f"date,path,visits\n{DAY},/,1\n\n,,\n{DAY},/a,2\n\n", {}),
        (f"date,path,visits\n{DAY},/,1\ndate,path,visits\n{DAY},/a,2\n", {}),
        (f"\ufeffdate,path,visits\n{DAY},/,1\n\ufeffdate,path,visits\n{DAY},/a,2\n", {}),
        (f"date,path,visits\n{DAY},/,1\n\ufeff{DAY},/a,2\n", {}),
        (f",date,path,visits\n0,{DAY},/,1\n1,{DAY},/a,2\n", {}),
        (f'"date","path","visits"\n"{DAY}","/","1"\n"{DAY}","/a","2"\n', {}),
        (f"date,path,visits\n,,99\n{ROWS}", {"totals_row": 1}),
        (f"date,path,visits\n,,99,Grand total\n{ROWS}", {"totals_row": 1}),
        (f"date,path,visits\n{ROWS}Total,,3\nGrand total: 3\n", {"totals_row": 2}),
        (f"date,path,visits\n{ROWS}{OTHER}", {"second_table": 3}),
        (f"date,path,visits\n{ROWS},,3{OTHER}# end\n", {"totals_row": 1, "second_table": 3}),
        (f"date,path,visits\n{DAY},/,1{OTHER}\ndate,path,visits\n{DAY},/a,2\n", {"second_table": 3}),
        (f"date,path,visits\n{ROWS}\nMade by a program, for you\n", {"second_table": 1}),
        (f"date,path,visits\n{ROWS}{DAY},/b,\n,/c,1\n{DAY},,1\nnone,/d,1\n",
         {"null_visits": 1, "null_date": 1, "null_path": 1, "invalid_date": 1}),
        (f"date,path,visits\n{DAY},/,1\n\n11/26/2026,/a,1.210\n{DAY},/a,2\n", {"invalid_date": 1}),
        (f"date,path,visits\n\nunknown,/,-\n{ROWS}", {"invalid_date": 1}),
        (f"date,path,visits\n# all\n{ROWS}\nday,users,sessions\n{DAY},5,7\n", {"second_table": 2}),
    ],
)  # fmt: skip
def test_what_is_not_a_row_is_left_out_and_counted(text: str, notes: dict[str, int], tmp_path: Path) -> None:
    (file := tmp_path / "m.csv").write_bytes(text.encode())
    data = read(str(file))
    assert (data.daily.rows, dict(data.daily.visits), data.notes) == (2, {TODAY: 3}, notes)
    assert data.examples.keys() == notes.keys()


def test_what_is_not_a_row_of_a_packed_file_is_left_out_too(tmp_path: Path) -> None:
    text = f"\ufeff# Report\n\nMy site\ndate,path,visits\n,,99\n{ROWS},,3{OTHER}# end\n"
    (file := tmp_path / "m.txt.gz").write_bytes(gzip.compress(text.encode()))
    data = read(str(file))
    assert (data.daily.visits, data.notes) == ({TODAY: 3}, {"totals_row": 2, "second_table": 3})


def test_a_file_without_a_header_has_columns_by_position(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    columns: dict[str, Any]
    for text, columns in (
        (ROWS, {"date": 1, "path": 2, "visits": 3}),
        (f"\ufeff{ROWS}", {"date": "1", "path": "2", "visits": "3"}),
        (f"date,path,visits\n{ROWS}", {"date": 1, "path": 2, "visits": 3}),
        (f"# all\n\n1;/;x;{DAY}\n2;/a;x;{DAY}\n;;;\n", {"date": 4, "path": 2, "visits": 1}),
        (f"{ROWS}Total,,3\n", {"date": 1, "path": 2, "visits": 3}),
        (f"{DAY};/;1.210\n11/26/2026;/;-\n{ROWS.replace(',', ';')}", {"date": 1, "path": 2, "visits": 3}),
    ):
        file.write_text(text)
        data = read(str(file), columns=columns)
        assert data.daily.visits == {TODAY: 3}
    assert data.notes == {"invalid_visits": 1, "invalid_date": 1}
    file.write_text(ROWS)
    with pytest.raises(SourceError, match=r"no line has a number in column 4"):
        read(str(file), columns={"date": 1, "path": 2, "visits": 4})


@pytest.mark.parametrize("ends", [("\r\n", "\n"), ("\n", "\r\n"), ("\r", "\n"), ("\r", "\r\n")])
def test_lines_of_one_file_may_end_differently(ends: tuple[str, str], tmp_path: Path) -> None:
    first, second = ends
    rows = f"{ROWS}{DAY},/b,4\n".replace("\n", second)
    for head in (
        f"My site{first}date,path,visits{second}",
        f"date,path,visits{first}",
        f"# a{first}# b{second}",
    ):
        text = head if "date" in head else f"{head}date,path,visits{first}"
        (tmp_path / "m.csv").write_bytes((text + rows).encode())
        assert read(str(tmp_path / "m.csv")).daily.visits == {TODAY: 7}


def test_a_query_reads_a_file_with_a_preamble_and_its_own_names(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"# Report\n\nDay;Page;Hits\n{DAY};/;1\n{DAY};/a;2\n")
    query = "SELECT Day AS date, Page AS path, Hits AS visits FROM metrics"
    assert read(str(tmp_path / "m.csv"), query=query).daily.visits == {TODAY: 3}


def test_files_of_different_forms_are_read_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"date,path,visits\n{ROWS}")
    (tmp_path / "b.csv").write_bytes(f"x;visits;date;path\n1;4;{DAY};/\n".encode("utf-16"))
    (tmp_path / "c.csv").write_text(f"path,date,visits\n/,{DAY},8\n,,15\n")
    data = read(f"{tmp_path}/*.csv")
    assert (data.daily.visits, data.notes) == ({TODAY: 15}, {"totals_row": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"date,path,visits\n{ROWS}{DAY},/{'x' * 3_000_000},3\n", "Maximum line size of 2000000 bytes"),
        (f"date,path,visits\n{ROWS}{DAY},/a,b,3\n{ROWS}",
         f'line 4 has 4 fields, and the header has 3: "{DAY},/a,b,3". Put a field with "," in double quotes'),
        (f"date;path;visits\n{DAY};/a\n",
         f'line 2 has 2 fields, and the header has 3: "{DAY};/a". Complete the line'),
        (f'date,path,visits\n{ROWS}{DAY},"/a,3\n{ROWS}',
         f'line 4 cannot be read as CSV (unexpected end of data): "{DAY},"/a,3"'),
        (f'date,path,visits\n{DAY},"/a"b,3\n', "m.csv: line 2 cannot be read as CSV"),
        (f"date,path,visits\n{ROWS}{DAY},/é,3\n".encode("latin-1"),
         'the byte 0xE9 is not UTF-8. Set source.encoding, such as "latin-1"'),
        ("", "m.csv: is empty"), ("\n\n", "m.csv: is empty"),
        (ROWS, f'there is no column "date"; it has: {DAY}, /, 1. Set columns'),
        ("date,url,visits\n",
         'no column "path"; it has: date, url, visits. Set columns in [source]: columns = { path = "url" }'),
        ("# GA\n\nDate,Page path and screen class,Views\n",
         '[source]: columns = { date = "Date", path = "Page path and screen class", visits = "Views" }'),
        ("added_iso,hostname,path,is_unique\n",
         """'SELECT "added_iso" AS "date", "path" AS "path", 1 AS "visits" FROM "metrics"'"""),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_rule(content: str | bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SourceError) as caught:
        read(str(tmp_path / "m.csv"))
    assert str(tmp_path / "m.csv") in str(caught.value)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_names_that_are_not_needed_are_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"date,path,visits\n{ROWS}")
    with pytest.raises(SourceError, match=r"it has: date, path, visits\. Leave source.columns out"):
        read(str(tmp_path / "m.csv"), columns={"visits": "hits"})


def test_a_file_of_nothing_but_a_total_has_no_rows(tmp_path: Path) -> None:
    for line in (",,3", "Total,,3"):
        (tmp_path / "m.csv").write_text(f"date,path,visits\n{line}\n")
        data = read(str(tmp_path / "m.csv"))
        assert (data.daily.rows, data.notes) == (0, {"totals_row": 1})


def test_a_blank_after_each_separator_is_not_a_part_of_the_field(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f'"date", "path", "visits"\n"{DAY}", "/a, b", "1,210"\n{DAY}, /, 5\n')
    data = read(str(tmp_path / "m.csv"))
    assert {row.path: row.visits for row in data.paths[0].listed} == {"/a, b": 1210, "/": 5}


def test_utf_16_is_read_by_its_mark_whatever_the_setting_says(tmp_path: Path) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "m.csv").write_bytes(f"date,path,visits\n{ROWS}".encode("utf-16"))
        assert read(str(tmp_path / "m.csv"), encoding=encoding).daily.rows == 2
    (tmp_path / "m.csv").write_text(f"date,path,visits\n{ROWS}")
    with pytest.raises(SourceError, match=r"m\.csv: the file is not UTF-16\. Set source\.encoding"):
        read(str(tmp_path / "m.csv"), encoding="utf-16")


def test_latin_1_is_read_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(f"date,path,visits\n{DAY},/caf\u00e9,3\n".encode("latin-1"))
    data = read(str(tmp_path / "m.csv"), encoding="latin-1")
    assert [row.path for row in data.paths[0].listed] == ["/caf\u00e9"]


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "m.csv").write_bytes(f"date,path,visits\n{ROWS}".encode("utf-16"))
    assert read(str(tmp_path / "m.csv")).daily.rows == 2
    assert [file.name for file in tmp_path.iterdir()] == ["m.csv"]


def test_a_query_of_files_that_names_another_table_is_told_the_name(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"date,path,visits\n{ROWS}")
    with pytest.raises(SourceError, match=r'hits does not exist.* query: it names the files "metrics"'):
        read(str(tmp_path / "m.csv"), query="SELECT * FROM hits")
