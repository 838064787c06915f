"""In CSV, cells that a spreadsheet would run as formulas get a leading quote."""

import csv
import io

import pytest

from reportgen.pages.exports import paths_csv
from reportgen.sources.statements import PathTotals


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_path_that_would_run_as_a_formula_gets_a_leading_quote(start: str) -> None:
    path = f'{start}HYPERLINK("http://127.0.0.1")'
    paths = [PathTotals(each, 1, 1, 0, 0) for each in (path, "/a")]
    rows = list(csv.reader(io.StringIO(paths_csv(paths, 2).decode(), newline="")))
    assert [row[0] for row in rows] == ["path", f"'{path}", "/a"]
