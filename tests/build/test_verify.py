"""A release is published only if it holds together: each rule, broken once, and what the operator reads."""

import gzip
import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.build.figures_check import wrong_figures
from reportgen.build.html_check import parse_page
from reportgen.build.pipeline import build
from reportgen.build.verify import prove
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, ProofError, SourceEmptied, SourceUnavailable
from reportgen.core.release_files import required_files
from reportgen.publish.history import BuildResult, read_runs
from reportgen.publish.release import current_release, lock_output
from tests.support.commands import Run
from tests.support.releases import CASES, NOW, TODAY, WINDOWS, released
from tests.support.releases import store as store_rows
from tests.support.services import eventually, reportgen, serving

Files = dict[str, bytes]
Break = Callable[[Files], None]
ADVICE = ("output.max_page_mb (1)", "output.max_page_mb (5)", ": correct this link in the setting intro")
"""How faults end that say themselves what to do."""

REFUSED = "the release is wrong and was not published; the last one stays"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Give every file of a real release, but its manifest."""
    return contents(released(tmp_path_factory.mktemp("proof"), *CASES["usual"][:1], **CASES["usual"][1]))


def contents(release: Path) -> Files:
    """Return a release's files by their names."""
    found = {
        str(file.relative_to(release)): file.read_bytes() for file in release.rglob("*") if file.is_file()
    }
    return {name: content for name, content in found.items() if name != "manifest.json"}


def faults(files: Mapping[str, bytes], *, max_page_mb: int = 5, own: Path | None = None) -> list[str]:
    """Return one line for each fault that the proof finds in the files."""
    try:
        prove(files, windows=WINDOWS, max_page_mb=max_page_mb, own=own)
    except ProofError as exc:
        first, *lines = str(exc).splitlines()
        assert first == REFUSED
        advice = lines.pop() if own or not lines[-1].endswith(ADVICE) else ""
        advised = own is None and all(line.endswith(ADVICE) for line in lines)
        assert ("report it" in advice) != advised
        return lines
    return []


def edited(name: str, old: str, new: str, count: int = 1) -> Break:
    """Return a function that replaces a text which stands in a file, and drops its compressed forms."""

    def edit(files: Files) -> None:
        text = files[name].decode()
        assert old in text
        put(files, name, text.replace(old, new, count).encode())

    return edit


def reported(window: str, change: Callable[[dict[str, Any]], None]) -> Break:
    """Return a function that changes a window's report."""

    def edit(files: Files) -> None:
        report = json.loads(files[f"{window}/report.json"])
        change(report)
        put(files, f"{window}/report.json", json.dumps(report).encode())

    return edit


def put(files: Files, name: str, content: bytes) -> None:
    """Set a file's content, without compressed forms."""
    files[name] = content
    for suffix in (".br", ".gz"):
        files.pop(name + suffix, None)


def without(name: str) -> Break:
    """Return a function that takes a file away, with its compressed forms."""

    def edit(files: Files) -> None:
        for suffix in ("", ".br", ".gz"):
            files.pop(name + suffix, None)

    return edit


def longest_day(report: dict[str, Any]) -> dict[str, Any]:
    """Return the last day of a report, which all windows show."""
    day: dict[str, Any] = report["daily"][-1]
    return day


def more_visits(report: dict[str, Any]) -> None:
    """Add a visit to the last day, so that the report still adds up."""
    longest_day(report)["visits"] += 1
    report["total"] += 1
    report["other"] += 1


def test_a_real_release_passes(whole: Mapping[str, bytes]) -> None:
    assert faults(whole) == []


@pytest.mark.parametrize("name", required_files(WINDOWS))
def test_each_page_and_file_must_be_there_and_hold_something(whole: Mapping[str, bytes], name: str) -> None:
    files = dict(whole)
    without(name)(files)
    assert f"{name}: is not there" in faults(files)
    put(files, name, b"")
    assert f"{name}: is empty" in faults(files)


@pytest.mark.parametrize("kind", ["script", "bundle", "drawing"])
def test_what_a_page_names_must_be_there(whole: Mapping[str, bytes], kind: str) -> None:
    """Scripts that it loads, the one that it may load, and drawings to download."""
    start = {"script": "assets/report.", "bundle": "assets/vega.", "drawing": "30d/visits-by-path.svg"}[kind]
    files = dict(whole)
    (name,) = (name for name in files if name.startswith(start) and name.endswith((".js", ".svg")))
    without(name)(files)
    lines = faults(files)
    assert lines
    assert all("which is not in the release" in line and name.rpartition("/")[2] in line for line in lines)


FIGURES: dict[str, tuple[Break, str]] = {
    "no JSON": (edited("7d/report.json", "{", "{,"), "report.json: is not valid JSON: "),
    "another type": (
        reported("7d", lambda report: report.update(total=str(report["total"]))),
        "report.json: does not fit its schema: $.total: ",
    ),
    "a key too many": (
        reported("7d", lambda report: report.update(secret=1)), "report.json: does not fit its schema: $: ",
    ),
    "a day too few": (
        reported("7d", lambda report: report["daily"].pop(0)), "report.json: does not list each date from ",
    ),
    "another window": (
        reported("7d", lambda report: report.update(window="30d")), "report.json: is of 30d, 7 days from ",
    ),
    "a date that is not valid": (
        reported("7d", lambda report: report.update(end="2026-02-30")),
        "report.json: has a text that is not",
    ),
    "days do not sum to the total": (
        reported("7d", lambda report: longest_day(report).update(visits=0)), "report.json: does not add up",
    ),
    "paths do not sum to the total": (
        reported("7d", lambda report: report.update(other=report["other"] + 1)),
        "report.json: does not add up",
    ),
    "complete days": (
        reported("7d", lambda report: report["complete"].update(total=1)),
        "report.json: does not add up: 1 visits on complete days",
    ),
    "windows disagree": (reported("7d", more_visits), "report.json: says "),
    "windows disagree on what is recorded": (
        reported("7d", lambda report: longest_day(report).update(recorded=False)), "report.json: says ",
    ),
    "daily.csv": (edited("7d/daily.csv", ",true\r", ",false\r"), "daily.csv: does not say what daily says"),
    "a row of daily.csv is lost": (
        lambda files: put(files, "7d/daily.csv", files["7d/daily.csv"].rpartition(b"2026")[0]),
        "daily.csv: does not say what daily says",
    ),
    "the header": (edited("7d/daily.csv", "visits", "Visits"), "daily.csv: is not the expected CSV: its "),
    "cells": (edited("7d/paths.csv", ",", ",,"), "paths.csv: is not the expected CSV"),
    "quotes": (edited("7d/paths.csv", "\r\n", '\r\n"x"y'), "paths.csv: is not the expected CSV"),
    "no UTF-8 in the CSV": (
        lambda files: put(files, "7d/paths.csv", files["7d/paths.csv"] + b"\xff"),
        "paths.csv: is not the expected CSV",
    ),
    "another path in paths.csv": (
        edited("7d/paths.csv", "/post/", "/note/"), "paths.csv: does not begin with what paths says",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FIGURES)
def test_figures_add_up_and_every_file_says_the_same(whole: Mapping[str, bytes], case: str) -> None:
    files = dict(whole)
    change, says = FIGURES[case]
    change(files)
    assert any(line.startswith(f"7d/{says}") for line in faults(files)), faults(files)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("/more,1,0.1,0,\r\n", "lists 19 paths, of 18 in report.json"),
        ("", "lists 17 paths, of 18 in report.json"),
        ("/b,4,0.1,0,\r\n", "its paths have"),
    ],
)
def test_paths_that_only_the_csv_lists_count_too(whole: Mapping[str, bytes], row: str, says: str) -> None:
    files, name = dict(whole), "7d/paths.csv"
    count = json.loads(files["7d/report.json"])["path_count"]
    shorten = reported(
        "7d",
        lambda report: report.update(
            other=report["other"] + sum(path["visits"] for path in report["paths"][10:]),
            paths=report["paths"][:10],
        ),
    )
    shorten(files)
    assert faults(files) == []
    lines = files[name].decode().splitlines(keepends=True)
    kept = lines if "/more" in row else lines[:-1]
    put(files, name, "".join([*kept, row]).encode())
    (line,) = faults(files)
    assert line.startswith(f"{name}: ")
    assert says.replace("19", str(count + 1)).replace("17", str(count - 1)).replace("18", str(count)) in line


def test_a_list_of_paths_that_ends_at_its_limit_is_whole(whole: Mapping[str, bytes]) -> None:
    files = dict(whole)
    count = json.loads(files["7d/report.json"])["path_count"]
    reported("7d", lambda report: report.update(path_count=10**6))(files)
    assert list(wrong_figures(files, WINDOWS, count)) == []
    assert list(wrong_figures(files, WINDOWS, count + 1)) != []


def test_cells_that_a_spreadsheet_would_run_are_the_same_paths(tmp_path: Path) -> None:
    rows = [(days, path, 3) for path in ("=1+1", "@x", "\tt", "'q", '"', "a,b", "\r") for days in range(40)]
    release = released(tmp_path, rows, windows=["7d"], default_window="7d")
    prove(contents(release), windows=["7d"], max_page_mb=5)


MARK = '<main id="content"'
PAGES: dict[str, tuple[str, str, str]] = {
    "never closed": (MARK, f"<div class='x'>{MARK}", "<div class='x'> "),
    "closes nothing": (MARK, f"</div>{MARK}", "</div> closes nothing"),
    "crossed": (MARK, f"<b><i>x</b></i>{MARK}", "<i> is not closed before </b> in line "),
    "a bare <": (MARK, f"a <= b{MARK}", "is not a complete tag"),
    "a quote that does not end": ("</main>", '<a title="x>y</a></main>', "is not a complete tag"),
    "a slash closes nothing": (MARK, f"<p/>{MARK}", "<p/> is not closed by its slash"),
    "an attribute twice": (MARK, f'<p lang="en" LANG="de">x</p>{MARK}', "has an attribute twice"),
    "attributes": (MARK, f'<p a="1"b="2">x</p>{MARK}', "has attributes that are wrong"),
    "a block in a paragraph": (MARK, f"<p>x<ul><li>y</ul></p>{MARK}", "</p> closes nothing"),
    "no doctype": ("<!doctype html>", "", "stands where <!doctype html> must be"),
    "an id twice": (MARK, f'<p id="paths">x</p>{MARK}', 'has the id of another element: "paths"'),
    "a second h1": (MARK, f"<h1>x</h1>{MARK}", "<h1> is a second h1"),
    "no charset": ('<meta charset="utf-8">', "", 'has no <meta charset="utf-8">'),
    "no policy": ('http-equiv="Content-Security-Policy"', "", "has no <meta http-equiv="),
    "another style": ("</style>", "a{}</style>", "<style> is a style that the page's policy forbids"),
    "a second style": ("</head>", "<style>a{}</style></head>", "<style> is a style that the page's policy"),
    "data that is not JSON": ('-live">{', '-live">{,', "does not hold valid JSON"),
    "a link to nothing": (MARK, f'<a href="../14d/">x</a>{MARK}', 'links to "../14d/", which is not in'),
    "an encoded link": (MARK, f'<a href="d%61ily.cs">x</a>{MARK}', "which is not in the release"),
    "a fragment": (MARK, f'<a href="#nowhere">x</a>{MARK}', '7d/index.html has no id "nowhere"'),
    "a fragment of another page": (
        MARK, f'<a href="../30d/#nowhere">x</a>{MARK}', 'but 30d/index.html has no id "nowhere"',
    ),
}  # fmt: skip
"""What is replaced by what, and what is reported."""


@pytest.mark.parametrize("case", PAGES)
def test_pages_are_valid_whole_and_lead_nowhere_wrong(whole: Mapping[str, bytes], case: str) -> None:
    files = dict(whole)
    old, new, says = PAGES[case]
    edited("7d/index.html", old, new)(files)
    lines = faults(files)
    assert any(line.startswith("7d/index.html") and says in line for line in lines), lines


def test_a_fault_names_line_and_tag(whole: Mapping[str, bytes]) -> None:
    files = dict(whole)
    edited("7d/index.html", MARK, f"\n<div\n class='x'>{MARK}")(files)
    before, _, after = files["7d/index.html"].decode().partition("<div\n class='x'>")
    line, end = before.count("\n") + 1, (before + after[: after.index("</body>")]).count("\n") + 2
    assert faults(files) == [
        f"7d/index.html, line {line}: <div class='x'> is not closed before </body> in line {end}"
    ]


def test_a_page_without_a_heading_or_in_another_encoding_is_refused(whole: Mapping[str, bytes]) -> None:
    files = dict(whole)
    put(files, "7d/index.html", files["7d/index.html"].replace(b"h1>", b"h2>"))
    assert faults(files) == ["7d/index.html: has no h1"]
    put(files, "7d/index.html", whole["7d/index.html"].replace("·".encode(), b"\xb7"))
    assert faults(files)[0].startswith("7d/index.html: is not UTF-8: ")


@pytest.mark.parametrize(
    "href",
    [
        "https://example.com/x", "//example.com/x", "mailto:a@example.com", "/blog/", "/7d/x",
        "../../about.html",
        "", "#", "#top", "#paths", "?from=report", "./", "../", "..", "../30d", "../30d/?x#paths",
        "index.html#paths", "paths.csv#row=3", "../manifest.json", "daily%2Ecsv", " daily.csv ",
        "#:~:text=visits", "&#x2e;&#x2e;/30d/", "HTTPS://EXAMPLE.COM",
    ],
)  # fmt: skip
def test_links_that_lead_somewhere_or_out_of_the_release_are_fine(
    whole: Mapping[str, bytes], href: str
) -> None:
    files = dict(whole)
    edited("7d/index.html", MARK, f'<a href="{href}">x</a>{MARK}')(files)
    assert faults(files) == []


def test_the_page_for_lost_readers_links_from_the_root(whole: Mapping[str, bytes]) -> None:
    """What begins with a directory of the release is in it; the rest is another part of the host."""
    files = dict(whole)
    edited("404.html", "</main>", '<a href="/">1</a><a href="/blog/">2</a><a href="/7d/">3</a></main>')(files)
    assert faults(files) == []
    edited("404.html", "</main>", '<a href="/7d/month.html">4</a></main>')(files)
    (line,) = faults(files)
    assert 'links to "/7d/month.html"' in line


def test_a_policy_stands_before_the_style_that_it_allows(whole: Mapping[str, bytes]) -> None:
    files = dict(whole)
    head, meta, rest = files["7d/index.html"].decode().partition('<meta http-equiv="Content-Security')
    end, _, tail = rest.partition(">")
    put(files, "7d/index.html", (head + tail.replace("</head>", f"{meta}{end}></head>", 1)).encode())
    (line,) = faults(files)
    assert line.endswith("comes after the style that it allows")


def test_a_page_over_its_limit_is_refused(whole: Mapping[str, bytes]) -> None:
    """In bytes as they are stored, not as they are sent."""
    files = dict(whole)
    room = 1_000_000 - len(files["7d/index.html"])
    edited("7d/index.html", "</body>", "x" * room + "</body>")(files)
    assert faults(files, max_page_mb=1) == []
    edited("7d/index.html", "</body>", "x</body>")(files)
    assert faults(files, max_page_mb=1) == [
        "7d/index.html: has 1.0 MB: lower top_paths, or raise output.max_page_mb (1)"
    ]
    assert faults(files) == []


def test_an_anchor_of_the_intro_must_be_on_the_page(whole: Mapping[str, bytes]) -> None:
    """The release has an intro; the elements behind it are not part of it."""
    files = dict(whole)
    edited("7d/index.html", 'href="https://a.test"', 'href="#nowhere"')(files)
    (line,) = faults(files)
    assert line.endswith('7d/index.html has no id "nowhere": correct this link in the setting intro')
    edited("7d/index.html", 'href="#nowhere"', 'href="#paths"')(files)
    assert faults(files) == []
    edited("7d/index.html", MARK, f'<a href="#nowhere">x</a>{MARK}')(files)
    assert faults(files)[0].endswith('has no id "nowhere"')


def test_a_drawing_is_well_formed(whole: Mapping[str, bytes]) -> None:
    files = dict(whole)
    edited("7d/visits-by-path.svg", "</svg>", "</svg")(files)
    (line,) = faults(files)
    assert line.startswith("7d/visits-by-path.svg, line ")


@pytest.mark.parametrize(
    "content", [b"x", brotli.compress(b"other"), gzip.compress(b"other", mtime=0), b"\x1f\x8b\x08"]
)
@pytest.mark.parametrize("suffix", [".br", ".gz"])
def test_compressed_forms_hold_what_they_stand_for(
    whole: Mapping[str, bytes], suffix: str, content: bytes
) -> None:
    name = "7d/index.html"
    assert faults(dict(whole) | {name + suffix: content}) == [f"{name}{suffix}: is not {name}, compressed"]
    cut = whole[name + suffix][:-9]
    assert faults(dict(whole) | {name + suffix: cut}) == [f"{name}{suffix}: is not {name}, compressed"]


def test_many_faults_are_counted(whole: Mapping[str, bytes]) -> None:
    files = dict(whole)
    edited("7d/index.html", MARK, "</b>" * 20 + MARK)(files)
    assert faults(files)[8:] == ["and 12 more"]


# HTML.

SOUND = [
    "<p>one<p>two",
    "<ul><li>one<li>two</ul>",
    "<dl><dt>a<dd>b<dt>c<dd>d</dl>",
    "<table><caption>x<tr><th>a<td>b<tr><td>c</table>",
    "<table><thead><tr><th>a<tbody><tr><td>b<tr><td>c<tfoot><tr><td>d</table>",
    "<table><tr><td><table><tr><td>x</table><td>y</table>",
    "<select><optgroup label=a><option>b<option>c<optgroup label=d><option>e</select>",
    "<DIV CLASS=x>a</div>",
    "<br><br/><hr /><img alt='>' src=data:,>",
    '<svg viewBox="0 0 1 1"><linearGradient id="g"/><path d="M0 0"/><title>&lt;</title></svg>',
    "<!-- <div> --><p>x</p><!---->",
    '<script>if (a < b) "</div>"</script><textarea><b></textarea>',
    "<p>a > b &amp; c & d</p>",
    "<p>a < b, x <3 y, <\n",
    "<svg><desc><![CDATA[ <b> a < b ]]></desc></svg>",
    '<a title="x>y" hidden data-a=1 b=\'"\'>z</a>',
]


@pytest.mark.parametrize("body", SOUND)
def test_valid_html_has_no_flaw(body: str) -> None:
    page = parse_page(f"<!doctype html>\n<html lang=en><head><title>a < b</title><body>{body}")
    assert [(page.tag(at), text) for at, text in page.flaws] == []


@pytest.mark.parametrize("mark", ["<!--", "<svg><![CDATA["])
def test_what_never_ends_is_one_flaw(mark: str) -> None:
    """And is looked for once: to the end of the page from each of them would take minutes."""
    started = time.monotonic()
    page = parse_page("<!doctype html><p>x" + mark * 100_000)
    assert [text.partition(":")[0] for _, text in page.flaws] == ["has no end"]
    assert time.monotonic() - started < 5


def test_a_section_outside_of_a_drawing_is_none() -> None:
    assert parse_page("<!doctype html><p><![CDATA[x]]></p>").flaws != []


def test_a_doctype_that_never_ends_is_read_in_no_time() -> None:
    started = time.monotonic()
    assert len(parse_page("<!doctype " * 100_000).flaws) == 100_000
    assert time.monotonic() - started < 5


ELEMENTS = st.sampled_from(["div", "section", "ul", "span", "b", "svg", "x-y", "Article"])
WORDS = st.text(st.characters(blacklist_characters="<", blacklist_categories=["Cs"]), max_size=5)
TREES = st.recursive(
    WORDS, lambda inner: st.tuples(ELEMENTS, st.lists(inner, max_size=3)).map(lambda made: html_of(*made))
)


def html_of(name: str, inner: list[str]) -> str:
    return f"<{name} title='<>'>{''.join(inner)}</{name.upper()}>"


@given(TREES)
def test_nested_elements_pass_and_one_end_tag_less_does_not(body: str) -> None:
    assert parse_page(f"<!doctype html>{body}").flaws == []
    head, mark, tail = body.rpartition("</")
    if mark:
        assert parse_page(f"<!doctype html>{head}{tail.partition('>')[2]}").flaws != []


@given(st.text("<>/!-='\" abpliscrtyle\n&;", max_size=60))
def test_whatever_a_page_holds_reading_it_ends(text: str) -> None:
    page = parse_page(text)
    assert all(0 <= at < len(text) for at, _ in page.flaws)


# Whole builds.


TEMPLATES: dict[str, tuple[str, str, list[str]]] = {
    "tags": (
        "report.html",
        """{% extends "reportgen/report.html" %}
{% block title %}x{% endblock %}
{% block description %}">
<div class="mine"><link rel="x{% endblock %}""",
        ['<div class="mine"> is not closed before </head>', "(from report.html, line 4)"],
    ),
    "links": (
        "404.html",
        '<!doctype html>\n<title>Lost</title>\n<p><a href="about.html">About us</a>\n',
        ['404.html, line 3: <a href="about.html"> links to "about.html"', "(from 404.html, line 3)"],
    ),
    "size": (
        "base.html",
        '{% extends "reportgen/base.html" %}{% block description %}{{ "x" * 1000000 }}{% endblock %}',
        ["404.html: has 1.0 MB: lower top_paths, or raise output.max_page_mb (1)"],
    ),
}
"""An own template, and what is reported."""


def test_own_templates_that_break_a_page_are_refused_and_the_last_release_stays(
    run: Run, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    limits = {"REPORTGEN_WINDOWS": "7d", "REPORTGEN_OUTPUT__MAX_PAGE_MB": "1"}
    assert run("build", "--quiet", **limits).returncode == 0
    current = (tmp_path / "output" / "current").readlink()
    for file, text, says in TEMPLATES.values():
        (own / file).write_text(text, "utf-8")
        done = run("build", "--quiet", REPORTGEN_TEMPLATES_DIR="own", **limits)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"error: {REFUSED}\n")
        assert [words for words in says if words not in done.stderr] == []
        assert "error: Correct the templates in own. " in done.stderr
        assert (tmp_path / "output" / "current").readlink() == current
        failure = read_runs(tmp_path / "output").last_failure
        assert failure is not None
        assert (failure.error, failure.retry) == ("ProofError", False)
        assert f"error: {failure.message}\n" == done.stderr.replace("\nerror: ", "\n")
        assert list((tmp_path / "output" / "state" / "staging").iterdir()) == []
        (own / file).unlink()


# A source that has nothing, suddenly.

EARLIER = [(days, "/", 5) for days in range(1, 8)]


def built(
    folder: Path, rows: list[tuple[int, str, int]], *, name: str = "metrics.db", **options: Any
) -> BuildResult:
    """Build a release of a new table with these rows."""
    (folder / name).unlink(missing_ok=True)
    store_rows(folder / name, rows)
    later = len(list(folder.glob("output/releases/*")))
    settings = {"windows": ["7d"], "source": {"url": f"sqlite:///{folder / name}"}} | options.pop(
        "settings", {}
    )
    with lock_output(folder / "output") as lock:
        now = NOW + timedelta(seconds=later)
        return build(Config.model_validate(settings), lock, now=now, warm=lock.root, **options)


def test_a_source_without_visits_is_refused_until_it_is_allowed_once(tmp_path: Path) -> None:
    first = built(tmp_path, EARLIER)
    with pytest.raises(SourceEmptied) as caught:
        built(tmp_path, [])
    assert str(caught.value) == (
        f"sqlite:///{tmp_path / 'metrics.db'}: no visits on the complete days from 2026-11-17 to 2026-11-22,"
        f" while the last release ({first.release}) has 30. It stays. Where rows were lost or"
        " this is the wrong source, correct that, and the next build publishes. Where there really were no"
        " visits, publish that once: reportgen build --allow-empty"
    )
    assert isinstance(caught.value, SourceUnavailable)  # rows may come back: worth a retry
    with pytest.raises(SourceEmptied):  # today alone is no history
        built(tmp_path, [(0, "/", 5)], if_changed=True)
    with pytest.raises(SourceEmptied, match=r" \(7 rows were left out as bad\), while "):
        built(tmp_path, [(days, "/", -1) for days, *_ in EARLIER])
    with pytest.raises(SourceEmptied, match=r"made of sqlite:.*metrics\.db\) has 30"):
        built(tmp_path, [], name="other.db")
    root = tmp_path / "output"
    last = current_release(root)
    assert last is not None
    assert last.id == first.release

    allowed = built(tmp_path, [], allow_empty=True)
    assert allowed.changed
    again = built(tmp_path, [], if_changed=True)  # the new base
    assert (again.changed, again.release) == (False, allowed.release)
    assert built(tmp_path, [(0, "/", 5)]).changed
    assert built(tmp_path, EARLIER, if_changed=True).changed


def test_a_site_that_became_quiet_and_a_past_day_are_no_loss(tmp_path: Path) -> None:
    """What left the window was not lost: only the dates that both reports show are compared."""
    assert built(tmp_path, [(7, "/", 5)], as_of=TODAY - timedelta(days=1)).changed
    assert built(tmp_path, []).changed
    assert built(tmp_path, EARLIER).changed
    assert built(tmp_path, EARLIER, as_of=date(2020, 1, 31)).changed


def test_a_table_that_was_emptied_while_nobody_built_is_a_loss(tmp_path: Path) -> None:
    """The reports share no date; nothing shows whether the site had no visits in between."""
    then = [(days, "/", 5) for days in range(20, 28)]
    assert built(tmp_path, then, as_of=TODAY - timedelta(days=20)).changed
    with pytest.raises(SourceEmptied):
        built(tmp_path, [])


def test_the_sample_takes_no_reports_place_unless_it_is_asked_for(tmp_path: Path) -> None:
    """A lost DATABASE_URL, above all."""
    first = built(tmp_path, EARLIER)
    with lock_output(tmp_path / "output") as lock:
        with pytest.raises(ConfigError, match=r"and the last release is of sqlite.*--source sample"):
            build(Config.model_validate({}), lock, now=NOW + timedelta(seconds=1))
        last = current_release(tmp_path / "output")
        assert last
        assert last.id == first.release
        asked = Config.model_validate({"source": {"url": "sample"}})
        assert build(asked, lock, now=NOW + timedelta(seconds=2)).changed
        assert build(Config.model_validate({}), lock, now=NOW + timedelta(seconds=3)).changed


def test_a_first_build_or_one_after_the_sample_may_be_empty(tmp_path: Path) -> None:
    """What follows is data of one's own, which may begin with nothing."""
    assert built(tmp_path, []).changed
    with lock_output(tmp_path / "output") as lock:
        sample = Config.model_validate({"windows": ["7d"], "source": {"url": "sample"}})
        build(sample, lock, now=NOW + timedelta(seconds=1))
    assert built(tmp_path, []).changed


def test_a_last_release_that_does_not_tell_stops_nothing(tmp_path: Path) -> None:
    release = built(tmp_path, EARLIER).path
    (release / "7d" / "report.json").write_text("[]")
    assert built(tmp_path, []).changed


def test_a_report_of_today_alone_has_no_complete_days_to_compare(tmp_path: Path) -> None:
    assert built(tmp_path, EARLIER).changed
    settings = {"windows": ["today"], "default_window": "today"}
    assert built(tmp_path, [(0, "/", 5)], settings=settings).changed
    assert built(tmp_path, [], settings=settings).changed


@pytest.fixture
def table(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Give a table with visits on each of the last seven days."""
    with closing(sqlite3.connect(tmp_path / "metrics.db", isolation_level=None)) as opened:
        opened.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        fill(opened)
        yield opened


def fill(table: sqlite3.Connection) -> None:
    """Insert five visits a day, from a week ago to tomorrow, whenever the test runs."""
    today = datetime.now(UTC).date()
    rows = [((today - timedelta(days)).isoformat(), "/", 5) for days in range(-1, 8)]
    table.executemany("INSERT INTO metrics VALUES (?, ?, ?)", rows)


def test_a_service_whose_table_is_emptied_keeps_serving_the_last_release(
    tmp_path: Path, table: sqlite3.Connection
) -> None:
    settings = {
        "DATABASE_URL": "sqlite:///metrics.db", "REPORTGEN_WINDOWS": "7d", "REPORTGEN_SCHEDULE": "1s",
    }  # fmt: skip
    with serving(tmp_path, **settings) as service:
        release = service.await_event("build_published")["release"]
        service.await_event("release_served")
        page = service.ask("/7d/").body
        table.execute("DELETE FROM metrics")
        failed = service.await_event("build_failed", within_s=60)
        assert "no visits on the complete days" in failed["message"]
        status = service.status()
        assert (status["last_failure"]["error"], status["last_failure"]["retry"]) == ("SourceEmptied", True)
        assert "reportgen build --allow-empty" in status["last_failure"]["message"]
        assert (status["release"]["id"], service.ask("/7d/").body) == (release, page)

        allowed = reportgen(tmp_path, "build", "--allow-empty", "--quiet", **settings)
        assert (allowed.returncode, allowed.stderr) == (0, "")
        eventually(lambda: b"No visits recorded" in service.ask("/7d/").body)
        service.await_event("build_unchanged", within_s=60)
        assert service.status()["consecutive_failures"] == 0
        fill(table)
        eventually(lambda: b"No visits recorded" not in service.ask("/7d/").body, within_s=60)
