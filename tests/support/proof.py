"""What holds of every release, by other programs than ours: html5lib, jsonschema, the csv module."""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import html5lib
from jsonschema import Draft202012Validator

SCHEMA = Draft202012Validator(
    json.loads((resources.files("reportgen") / "report.schema.json").read_text(encoding="utf-8"))
)
NAMES = ("visits", "share", "previous", "change")


def assert_valid_page(content: bytes, *, bare: bool = False) -> None:
    """Check that a page is valid HTML, and that its policy allows its style.

    The page for unknown addresses may be ``bare``: without a heading and, without styles, without a policy.
    """
    text = content.decode()
    page = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    ids = [element.get("id") for element in page.iter() if element.get("id") is not None]
    assert sorted(ids) == sorted(set(ids))
    assert bare or len(list(page.iter("h1"))) == 1
    assert bare or '<meta charset="utf-8">' in text[:1024]
    head = list(page.find("head").iter())
    policies = [at for at, tag in enumerate(head) if tag.get("http-equiv") == "Content-Security-Policy"]
    styles = [at for at, tag in enumerate(head) if tag.tag == "style"]
    assert bare or policies
    assert len(list(page.iter("style"))) == len(styles) <= 1
    for at in styles:
        digest = base64.b64encode(hashlib.sha256((head[at].text or "").encode()).digest()).decode()
        assert policies[0] < at
        assert f"'sha256-{digest}'" in head[policies[0]].get("content")
    for script in page.iter("script"):
        assert script.get("src") or json.loads(script.text)


def assert_same_figures(files: Mapping[str, bytes], window: str) -> None:
    """Check that ``report.json`` fits its schema and adds up, and that both CSV files say the same."""
    report = json.loads(files[f"{window}/report.json"])
    SCHEMA.validate(report)
    assert len(report["daily"]) == report["days"]
    if "sections" in report:
        names = ("visits", "previous")
        assert [sum(each[name] for each in report["sections"]) for name in names] == [
            report["total"], report["complete"]["previous_total"],
        ]  # fmt: skip
        header, *sections = rows_of(files[f"{window}/sections.csv"])
        assert header == ["section", *NAMES]
        keys = ("name", *NAMES)
        assert sections == [[cell(each[name]) for name in keys] for each in report["sections"]]
    assert sum(day["visits"] for day in report["daily"]) == report["total"]
    assert sum(path["visits"] for path in report["paths"]) + report["other"] == report["total"]
    recorded = [day for day in report["daily"] if day["recorded"] and day.get("previous_recorded", True)]
    compared = recorded[: report["complete"]["days"]]
    assert len(recorded) - len(compared) <= 1  # today, if it is not over
    for name, total in (("visits", "total"), ("previous", "previous_total")):
        assert sum(day[name] for day in compared) == report["complete"][total]
    header, *days = rows_of(files[f"{window}/daily.csv"])
    assert header == ["date", "visits", "previous", "recorded"]
    assert days == [[cell(day[name]) for name in header] for day in report["daily"]]
    header, *paths = rows_of(files[f"{window}/paths.csv"])
    assert header in (["path", *NAMES], ["path", *NAMES, "forms"])
    if "forms" in header:
        assert all(row.pop().split(" ") for row in paths)
    said = [[name_cell(path["path"]), *(cell(path[name]) for name in NAMES)] for path in report["paths"]]
    assert paths[: len(said)] == said
    assert len(paths) == report["path_count"]
    assert sum(int(visits) for _, visits, *_ in paths) == report["total"]


def assert_sound(files: Mapping[str, bytes], windows: Sequence[str]) -> None:
    """Check all pages of a release, and the figures of ``windows``."""
    for name, content in files.items():
        if name.endswith(".html"):
            assert_valid_page(content, bare=name == "404.html")
    reports = {window: json.loads(files[f"{window}/report.json"]) for window in windows}
    longest = max(reports.values(), key=lambda report: int(report["days"]))
    shown = {day["date"]: day for day in longest["daily"]}
    for window, report in reports.items():
        assert_same_figures(files, window)
        for one in report["daily"]:
            other = shown.get(one["date"], one)
            assert [one["visits"], one["recorded"]] == [other["visits"], other["recorded"]]


def rows_of(content: bytes) -> list[list[str]]:
    """Return the rows of a CSV file (RFC 4180)."""
    return list(csv.reader(io.StringIO(content.decode(), newline=""), strict=True))


def cell(value: Any) -> str:
    """Return how CSV writes a value of JSON."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def name_cell(path: str) -> str:
    """Return how CSV writes a path: with a leading quote if a spreadsheet would run it."""
    return f"'{path}" if path[:1] in set("=+-@\t\r") else path
