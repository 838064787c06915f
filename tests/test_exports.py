"""Cells that a spreadsheet would run are defused in CSV, and only there."""

import csv
import io

import pandas as pd
import pytest

from reportgen.exports import paths_csv
from reportgen.metrics import shares


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_path_that_would_run_as_a_formula_gets_a_leading_quote(start: str) -> None:
    path = f'{start}HYPERLINK("http://127.0.0.1")'
    columns = {"visits": [1, 1], "complete": [1, 1], "previous": [0, 0], "before": [0, 0]}
    paths = pd.DataFrame({"path": [path, "/a"], **columns})
    rows = list(csv.reader(io.StringIO(paths_csv(shares(paths, 2)).decode(), newline="")))
    assert [row[0] for row in rows] == ["path", f"'{path}", "/a"]
