"""A report that counts something else than visits by path: its own words are everywhere, ours nowhere."""

import csv
import json
import re
from datetime import date
from html import unescape
from pathlib import Path

import pytest

from tests.support.proof import SCHEMA
from tests.support.releases import MANY, USUAL, WINDOWS, Row, released

WORDS = {"visit": "Signup", "visits": "Signups", "path": "Plan", "paths": "Plans"}
OURS = re.compile("visit|path", re.IGNORECASE)
READ = re.compile(r' (?:aria-label|title|content|download|href|data-noun)="([^"]*)"')
"""Matches what a reader may see of a tag, or keeps as the name of a file."""


def read(page: str) -> str:
    """Return the text of a page and the attributes that a reader meets, with the tooltips of its charts."""
    page = re.sub(r'<link rel="icon"[^>]*>', "", page)
    tips = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    words = [f"{live['lines']} {live['tips']}" for live in map(json.loads, tips)]
    page = re.sub("<(style|script).*?</\\1>", "", page, flags=re.DOTALL)
    return unescape(" ".join([*READ.findall(page), re.sub("<[^>]*>", " ", page), *words]))


def plans(rows: list[Row]) -> list[Row]:
    """Return the rows with names that hold none of our words."""
    return [(days, path, visits) for days, path, visits in rows if path != "/about"]


CASES = {
    "usual": (plans(USUAL), {}),
    "young": ([(days, f"/{n}", 5 + n) for days in range(4) for n in range(3)], {}),
    "many": (MANY[:40_000:7], {"top_paths": 5}),
    "empty": ([(40, "/", 3)], {}),
    "sections": (plans(USUAL), {"sections": [{"name": "Posts", "match": "/post/**"}]}),
    "rules": (plans(USUAL), {"paths": {"exclude": ["/post/*"]}}),
    "both": (plans(USUAL), {"compare": ["previous", "year"]}),
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [case if case == "usual" else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_a_page_has_only_its_own_words(tmp_path: Path, case: str) -> None:
    rows, settings = CASES[case]
    release = released(tmp_path, rows, words=WORDS, **settings)
    for name in WINDOWS:
        page = read((release / name / "index.html").read_text())
        assert not OURS.findall(page), [
            match[0] for match in re.finditer(f".{{40}}({OURS.pattern}).{{40}}", page, re.IGNORECASE)
        ]
        assert "ignups" in page
        files = {file.name for file in (release / name).iterdir()}
        assert "plans.csv" in files
        assert not [file for file in files if OURS.search(file)]
        for file in (release / name).glob("*.svg"):
            assert not OURS.search(re.sub("<[^>]*>", " ", file.read_text())), file
        for file in (release / name).glob("*.csv"):
            assert not OURS.search(file.read_text().partition("\n")[0]), file


def test_sentences_and_columns_have_the_words(tmp_path: Path) -> None:
    release = released(tmp_path, plans(USUAL), words=WORDS)
    page = read((release / "7d/index.html").read_text())
    for words in (
        "Signups per day by plan", "Signups per day against the 7 days before", "Top plans",
        "with at least one signup", "all other plans", "Plans by signups", "1 row without any plan",
        "1 row with negative signups", "Plans as CSV",
    ):  # fmt: skip
        assert words in page, words
    assert re.search(r"\d (more|fewer) signups", page)
    report = json.loads((release / "7d/report.json").read_bytes())
    SCHEMA.validate(report)
    assert report["words"] == {name: word.lower() for name, word in WORDS.items()}
    assert sum(row["visits"] for row in report["paths"]) + report["other"] == report["total"]
    with (release / "7d/plans.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["plan", "signups", "share", "previous", "change"]
    assert len(rows) == report["path_count"]
    assert (release / "7d/daily.csv").read_text().startswith("date,signups,previous,recorded\n")
    assert {file.name for file in (release / "7d").glob("*.svg")} == {
        "signups-by-plan.svg",
        "against-previous.svg",
    }
    assert (release / "today/top-plans.svg").is_file()


def test_a_word_without_a_latin_letter_leaves_the_names_of_files(tmp_path: Path) -> None:
    words = {"visit": "訪問", "visits": "訪問", "path": "頁", "paths": "頁"}
    release = released(tmp_path, [(n, "/", n + 1) for n in range(9)], words=words, as_of=date(2026, 11, 22))
    assert (release / "7d/paths.csv").read_text().startswith("頁,訪問,")
    assert "訪問 per day by 頁" in read((release / "7d/index.html").read_text())
    assert (release / "7d/visits-by-path.svg").is_file()
