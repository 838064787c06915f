"""Check a whole release of generated rows against figures computed in plain Python."""

import csv
import io
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta
from functools import cache
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from reportgen.build.pipeline import fingerprint
from reportgen.build.verify import check_sums
from reportgen.config.settings import Config
from reportgen.core.errors import SourceError
from reportgen.core.text import CLOSE, OPEN, isolated, visible
from reportgen.metrics import highlights
from reportgen.metrics.dataset import read_dataset
from reportgen.pages import report
from reportgen.pages.context import MAX_LINK, MAX_PATH, PATH_SAFE, Page
from reportgen.pages.exports import paths_csv
from tests.fuzz.cases import Case, RefusedError, Truth, cases, figures, length, truth
from tests.fuzz.harnesses import scratch
from tests.support.proof import SCHEMA, assert_valid_page

OWN = "https?://example.com([/?#]|$)"
"""Matches a URL on the site's host."""

ELEMENTS = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "link",
        "style",
        "script",
        "body",
        "a",
        "header",
        "h1",
        "div",
        "p",
        "strong",
        "em",
        "nav",
        "ul",
        "li",
        "time",
        "main",
        "section",
        "h2",
        "dl",
        "dt",
        "dd",
        "span",
        "svg",
        "path",
        "g",
        "rect",
        "text",
        "tspan",
        "line",
        "bdi",
        "table",
        "caption",
        "thead",
        "tr",
        "th",
        "tbody",
        "td",
        "button",
        "label",
        "input",
        "output",
        "footer",
        "defs",
        "clippath",
        "details",
        "summary",
    ]
)
VOID = frozenset(["meta", "link", "input"])
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def store(file: Path, case: Case) -> None:
    """Write the case's rows into a new SQLite database."""
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as table:
        table.execute("PRAGMA synchronous = OFF")
        table.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        table.executemany("INSERT INTO metrics VALUES (?, CAST(? AS TEXT), ?)", case.rows)
        table.commit()


def config_of(case: Case, url: str) -> Config:
    """Return the settings of a case."""
    return Config.model_validate(case.settings | {"source": {"url": url}})


def undrawn(config: Config, case: Case) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """Return every file of a release except drawings, and the sentences of each window."""
    dataset = read_dataset(config, case.now, case.as_of, paths_csv)
    assert fingerprint(config, dataset) == fingerprint(config, dataset)
    check_sums(dataset)
    site = report.site_header(config, dataset, case.now, case.as_of)
    figures = report.compute_figures(dataset)
    content = [
        Page(
            metrics, [], highlights.sentences(metrics, site.formatter), report.series(metrics, figures.cells)
        )
        for metrics in figures.metrics
    ]
    said = {page.metrics.window.name: list(page.changes) for page in content}
    draft = report.render(site, content, dataset, templates_dir=None, vega=None)
    return {**draft.files, **dataset.files("paths")}, said


def check_case(case: Case) -> None:
    """Build a case without drawings and check every file against the truth."""
    file = scratch() / "rows.db"
    store(file, case)
    config = config_of(case, f"sqlite:///{file}")
    try:
        true = truth(case)
    except RefusedError as refused:
        with pytest.raises(SourceError, match=str(refused)):
            undrawn(config, case)
        return
    files, said = undrawn(config, case)
    check_files(files, case, true)
    for window, sentences in said.items():
        check_sentences(sentences, case, true, window)


def check_files(files: Mapping[str, bytes], case: Case, true: Truth) -> None:
    """Check the files of a release against the truth."""
    reports = {}
    for window in case.windows:
        expected = figures(case, true, window)
        everything = expected.pop("all paths")
        report = json.loads(files[f"{window}/report.json"])
        reports[window] = report
        SCHEMA.validate(report)
        left_out = {"built_at", "changes", "comparisons"}
        (compared,) = report.get("comparisons", [report["complete"] | {"complete_days": None}])
        assert {name: compared[name] for name in report["complete"]} == report["complete"]
        partial = compared["complete_days"] is not None
        assert partial == (report["complete"]["days"] != length(window) - (case.as_of is None))
        report = {name: value for name, value in report.items() if name not in left_out}
        assert all(note.pop("example") for note in report["notes"])
        assert report == expected
        assert sum(d["visits"] for d in report["daily"]) == report["total"]
        assert report["total"] == sum(p["visits"] for p in report["paths"]) + report["other"]
        assert read_csv(files[f"{window}/daily.csv"]) == csv_cells(
            [{name: day[name] for name in DAILY} for day in expected["daily"]], " ".join(DAILY)
        )
        rows = read_csv(files[f"{window}/paths.csv"])
        assert rows == csv_cells(everything, "path visits share previous change")
        page = parsed(files[f"{window}/index.html"])
        check_page(page, case, expected)
    assert parsed(files["index.html"]).paths == parsed(files[f"{case.windows[0]}/index.html"]).paths
    parsed(files["404.html"], bare=True)


def csv_cells(rows: list[dict[str, Any]], names: str) -> list[list[str]]:
    """Return rows as cells of CSV; one that a spreadsheet would run has a leading quote."""
    words = {None: "", True: "true", False: "false"}
    cells = [[words[v] if v is None or isinstance(v, bool) else str(v) for v in row.values()] for row in rows]
    return [names.split(), *([f"'{c[0]}" if c[0].startswith(FORMULAS) else c[0], *c[1:]] for c in cells)]


def read_csv(content: bytes) -> list[list[str]]:
    """Read RFC 4180."""
    text = content.decode()
    assert text.endswith("\r\n")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


class Parsed(HTMLParser):
    """A parsed page: checks that its elements are ours and well nested, and keeps their texts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.paths: list[str] = []
        self.hrefs: list[str | None] = []
        self.numbers: dict[str, list[list[str]]] = {"days": [], "paths": []}
        self.table = ""
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the attributes of an element."""
        given = dict(attrs)
        assert tag in ELEMENTS, tag
        assert len(given) == len(attrs)
        assert [name for name in given if name.startswith("on") or name == "srcdoc"] == []
        if tag == "script":
            assert given.get("type") == "application/json" or re.fullmatch(
                r"(?:\.\./)?assets/report\.[0-9a-f]{10}\.js", given.get("src") or ""
            ), given
        self.table = given.get("class") or "" if tag == "table" else self.table
        if tag == "tr":
            self.numbers.setdefault(self.table, []).append([])
        if tag in {"th", "td"} and self.table in self.numbers and given.get("data-v"):
            self.numbers[self.table][-1].append(given["data-v"] or "")
        if tag == "bdi" and self.table == "paths":
            self.inside = True
            self.paths.append("")
            self.hrefs.append(None)
        if tag == "a" and self.inside:
            self.hrefs[-1] = given["href"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Accept self-closing elements in drawings only."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        """Check that the element opened last is closed."""
        assert self.open.pop() == tag, tag
        self.inside = self.inside and tag != "bdi"
        self.table = "" if tag == "table" else self.table

    def handle_data(self, data: str) -> None:
        """Keep a path."""
        if self.inside:
            self.paths[-1] += data

    def handle_comment(self, data: str) -> None:
        """Fail: pages have no such markup."""
        raise AssertionError(data)


def parsed(content: bytes, *, bare: bool = False) -> Parsed:
    """Parse a page, which is valid and well nested."""
    page = Parsed()
    page.feed(content.decode())
    page.close()
    assert page.open == []
    assert_valid_page(content, bare=bare)
    return page


def check_page(page: Parsed, case: Case, expected: dict[str, Any]) -> None:
    """Check the tables of a page against the figures."""
    paths = [row["path"] for row in expected["paths"]]
    assert len(page.paths) == len(paths)
    for shown, href, path in zip(page.paths, page.hrefs, paths, strict=True):
        if len(visible(path)) <= MAX_PATH:
            assert shown == visible(path)
            if not re.search("[\u2400-\u2421]|<U\\+|^\\(empty\\)$", path):
                assert unspelled(shown) == path
        whole = path if re.match(OWN, path, re.IGNORECASE) else f"{case.site_url}{path}"
        linked = case.site_url is not None and (whole == path or path.startswith("/"))
        fits = linked and len(path) <= MAX_LINK and len(escape(quote(whole, safe=PATH_SAFE))) <= MAX_LINK
        assert (href is not None) == fits
        if href is not None:
            assert re.match(OWN, href, re.IGNORECASE)
            assert href.isascii()
            if "%" not in path:
                assert unquote(href) == whole
    days = [row for row in page.numbers["days"] if row]
    since = expected.get("recorded_since", "")
    daily = expected["daily"][::-1]
    daily = [day for day in daily if day["date"] >= since] or daily
    assert [int(row[1]) for row in days] == [day["visits"] for day in daily]
    for row, day in zip(days, daily, strict=True):
        shown = "previous_recorded" not in day and (
            expected["complete"]["days"] or len(expected["daily"]) == 1
        )
        assert not shown or int(row[2]) == day["previous"]
    visits = [row for row in page.numbers["paths"] if row]
    assert [int(row[0]) for row in visits] == [row["visits"] for row in expected["paths"]]


def unspelled(shown: str) -> str:
    """Return the path behind a shown one."""
    if shown == "(empty)":
        return ""
    plain = re.sub("<U\\+([0-9A-F]{4,6})>", lambda found: chr(int(found[1], 16)), shown)
    return re.sub("[\u2400-\u2420]", lambda found: chr(ord(found[0]) - 0x2400), plain).replace(
        "\u2421", "\x7f"
    )


DAILY = ("date", "visits", "previous", "recorded")
NUMBER = "[+\N{MINUS SIGN}]?[0-9][0-9,]*"
NAMED = f"{OPEN}([^{CLOSE}]*){CLOSE}"


def number(text: str) -> int:
    """Read a number as the page writes it."""
    return int(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


def check_sentences(said: list[str], case: Case, true: Truth, window: str) -> None:
    """Check each sentence against the tables."""
    days, pairs = length(window), true.pairs(case, window)
    dates = [case.today - timedelta(n) for n in range(days)][::-1]
    over = [day for day in dates[: days - (case.as_of is None)] if not true.since or day >= true.since]
    assert len(said) <= (6 if pairs else 1)
    head, others = (said[0], said[1:]) if said and pairs else ("", said)
    now, before = true.by_path(day for day, _ in pairs), true.by_path(earlier for _, earlier in pairs)
    whole, whole_before = true.by_path(dates), true.by_path(day - timedelta(days) for day in dates)
    moved = sum(now.values()) - sum(before.values())
    in_full = len(pairs) == days - (case.as_of is None)
    enough = max(5, -(-sum((whole if in_full else now).values()) // 20))
    shown = {}
    for path in now | before | whole | whole_before:
        shown.setdefault(isolated(path)[1:-1], []).append(path)
    on = re.search(f"\\(({NUMBER}) on .*, ({NUMBER}) on ", head)
    if compared := re.search(f"({NUMBER}) (more|fewer) visits?", head):
        assert on
        assert (number(on[1]), number(on[2])) == (sum(now.values()), sum(before.values()))
        assert number(compared[1]) * (1 if compared[2] == "more" else -1) == moved
    elif head:
        total = re.match(f"({NUMBER}|No) visits? on ", head)
        assert total
        assert total[1] == "No" or number(total[1]) == sum(now.values())
    for sentence in others:
        parts = [(path, number(by)) for path, by in re.findall(f"{NAMED} \\(?({NUMBER})", sentence)]
        if "all other paths" in re.sub(NAMED, "", sentence):
            together = re.search(f"; together ({NUMBER})\\.$", sentence)
            found = re.findall(f"(?:{NAMED}|all other paths) (brought |lost |gained |)({NUMBER})", sentence)
            down = moved < 0 and not together
            *named, (_, rest) = [
                (path, number(by) * (-1 if down or verb == "lost " else 1)) for path, verb, by in found
            ]
            assert sum(by for _, by in named) + rest == (number(together[1]) if together else moved) == moved
            assert 0 < len(named) <= 3
            assert all(abs(by) >= enough for _, by in named)
            assert all(by in {now[path] - before[path] for path in shown[name]} for name, by in named)
        elif sentence.startswith("New: "):
            assert all(
                any(now[p] == by >= enough and not whole_before[p] for p in shown[name]) for name, by in parts
            )
        elif sentence.startswith("Gone: "):
            assert all(
                any(before[p] == by >= enough and not whole[p] for p in shown[name]) for name, by in parts
            )
        elif sentence.startswith("The best day was "):
            daily = [sum(true.visits.get(day, {}).values()) for day in over]
            assert number(re.findall(f"with ({NUMBER}) visit", sentence)[0]) == max(daily)
            assert max(daily) > 2 * sorted(daily)[len(daily) // 2] or len(daily) % 2 == 0
        else:
            assert sentence.startswith("No path changed by ")
            assert all(abs(now[path] - before[path]) < enough for path in now | before)


@cache
def _fuzzed() -> Any:
    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
    @given(cases())
    def one(case: Case) -> None:
        check_case(case)

    return one.hypothesis.fuzz_one_input


def fuzzed(data: bytes) -> None:
    """Check the case that bytes describe."""
    _fuzzed()(data)
