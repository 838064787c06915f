"""What is checked before a release is published: each rule, broken once, and what the operator reads."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import html5lib
import pytest

from reportgen.build import pipeline
from reportgen.build.pipeline import build
from reportgen.build.verify import check_files, check_sums
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, ProofError, SourceEmptied, SourceUnavailable
from reportgen.core.release_files import required_files
from reportgen.metrics.dataset import MAX_LISTED, Dataset, read_dataset
from reportgen.pages.exports import paths_csv
from reportgen.publish.history import BuildResult, read_runs
from reportgen.publish.release import current_release, lock_output
from tests.support.commands import Run
from tests.support.proof import assert_sound, assert_valid_page
from tests.support.releases import CASES, NOW, TODAY, USUAL, WINDOWS, released
from tests.support.releases import store as store_rows
from tests.support.services import eventually, reportgen, serving

Files = dict[str, bytes]
Break = Callable[[Files], None]

REFUSED = "the release is wrong and was not published; the last one stays"
DEFECT = "If no setting explains this, it is a defect of reportgen: please report it"


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


def faults(files: Mapping[str, bytes], *, max_page_mb: int = 5) -> list[str]:
    """Return one line for each fault that is found in the files."""
    try:
        check_files(files, windows=WINDOWS, max_page_mb=max_page_mb)
    except ProofError as exc:
        first, *lines = str(exc).splitlines()
        assert first == REFUSED
        assert (lines[-1] == DEFECT) != all(
            line.endswith(f"output.max_page_mb ({max_page_mb})") for line in lines
        )
        return [line for line in lines if line != DEFECT]
    return []


def edited(whole: Mapping[str, bytes], name: str, old: str, new: str) -> Files:
    """Return the files with a text in one of them replaced."""
    text = whole[name].decode()
    assert old in text
    return {**whole, name: text.replace(old, new, 1).encode()}


def test_a_real_release_passes(whole: Mapping[str, bytes]) -> None:
    assert faults(whole) == []
    assert_sound(whole, WINDOWS)


@pytest.mark.parametrize("name", required_files(WINDOWS))
def test_each_page_and_file_must_be_there_and_hold_something(whole: Mapping[str, bytes], name: str) -> None:
    assert f"{name}: is not there" in faults({file: whole[file] for file in whole if file != name})
    assert f"{name}: is empty" in faults({**whole, name: b""})


@pytest.mark.parametrize("kind", ["script", "bundle", "drawing"])
def test_what_a_page_names_must_be_there(whole: Mapping[str, bytes], kind: str) -> None:
    """Scripts that it loads, the one that it may load, and drawings to download."""
    start = {"script": "assets/report.", "bundle": "assets/vega.", "drawing": "30d/visits-by-path.svg"}[kind]
    (name,) = (name for name in whole if name.startswith(start) and name.endswith((".js", ".svg")))
    lines = faults({file: whole[file] for file in whole if file != name})
    assert lines
    assert all("which is not in the release" in line and name.rpartition("/")[2] in line for line in lines)


def test_data_and_drawings_must_be_readable(whole: Mapping[str, bytes]) -> None:
    (line,) = faults(edited(whole, "7d/report.json", "{", "{,"))
    assert line.startswith("7d/report.json: is not valid JSON: ")
    (line,) = faults(edited(whole, "7d/visits-by-path.svg", "</svg>", "</svg"))
    assert line.startswith("7d/visits-by-path.svg: is not valid SVG: ")
    (line,) = faults({**whole, "7d/index.html": whole["7d/index.html"].replace("·".encode(), b"\xb7")})
    assert line.startswith("7d/index.html: is not UTF-8: ")


# Figures.


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Give what a build reads of the usual site."""
    store_rows(tmp_path / "metrics.db", USUAL)
    config = Config.model_validate({"source": {"url": f"sqlite:///{tmp_path / 'metrics.db'}"}})
    return read_dataset(config, NOW, None, paths_csv)


def test_days_paths_and_cells_have_equal_sums(dataset: Dataset) -> None:
    check_sums(dataset)
    *paths, last = dataset.paths
    total = last.csv_visits
    shortened = replace(last, path_count=10**6, csv_paths=MAX_LISTED, csv_visits=total - 1)
    check_sums(replace(dataset, paths=[*paths, shortened]))
    cell = dataset.cells[-1]
    for broken, says in (
        (replace(last, csv_visits=total + 1), f"30d: the days have {total} visits, the paths {total + 1}"),
        (replace(last, csv_visits=total - 1), f"30d: the days have {total} visits, the paths {total - 1}"),
        (
            replace(shortened, csv_visits=total + 1),
            f"30d: the days have {total} visits, the paths {total + 1}",
        ),
        (replace(last, csv_paths=3), f"30d: 3 paths were read, of {last.path_count}"),
        (None, "30d: a path has "),
    ):
        cells = dataset.cells if broken else [*dataset.cells[:-1], cell._replace(visits=cell.visits + 1)]
        with pytest.raises(ProofError) as caught:
            check_sums(replace(dataset, paths=[*paths, broken or last], cells=cells))
        first, line, advice = str(caught.value).splitlines()
        assert first == "the figures do not add up; the last release stays"
        assert line.startswith(says)
        assert advice.startswith("Build again. ")


def test_figures_that_do_not_add_up_are_not_published(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a source without snapshots changes while it is read."""
    first = built(tmp_path, EARLIER)
    monkeypatch.setattr(pipeline, "read_dataset", lambda *_: replace(dataset, cells=dataset.cells[1:]))
    with pytest.raises(ProofError, match="the figures do not add up"):
        built(tmp_path, EARLIER)
    last = current_release(tmp_path / "output")
    assert last
    assert last.id == first.release


# Pages.

MARK = '<main id="content"'
LINKS: dict[str, str] = {
    "../14d/": 'links to "../14d/", which is not in the release: write a whole address',
    "d%61ily.cs": "which is not in the release",
    "#nowhere": '7d/index.html has no id "nowhere": correct it, in intro or in a template',
    "../30d/#nowhere": 'but 30d/index.html has no id "nowhere"',
}


@pytest.mark.parametrize("href", LINKS)
def test_a_link_without_a_target_is_refused_with_its_line(whole: Mapping[str, bytes], href: str) -> None:
    page = whole["7d/index.html"].decode()
    files = edited(whole, "7d/index.html", MARK, f"\n<a\nhref='{href}'>x</a>{MARK}")
    (line,) = faults(files)
    assert line.startswith(f"7d/index.html, line {page[: page.index(MARK)].count(chr(10)) + 2}: links to ")
    assert LINKS[href] in line


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
    assert faults(edited(whole, "7d/index.html", MARK, f'<a href="{href}">x</a>{MARK}')) == []


def test_what_only_looks_like_a_link_is_none(whole: Mapping[str, bytes]) -> None:
    """In a comment, a script, an attribute or a text, as a path may be."""
    words = (
        '<!-- <a href="1"> --><script>"<a href=2>"</script><p title="a href=3 <a href=4>">&lt;a href=5></p>'
    )
    assert faults(edited(whole, "7d/index.html", MARK, words + MARK)) == []


def test_the_page_for_lost_readers_links_from_the_root(whole: Mapping[str, bytes]) -> None:
    """What begins with a directory of the release is in it; the rest is another part of the host."""
    fine = '<a href="/">1</a><a href="/blog/">2</a><a href="/7d/">3</a>'
    assert faults(edited(whole, "404.html", "</main>", f"{fine}</main>")) == []
    (line,) = faults(edited(whole, "404.html", "</main>", f'{fine}<a href="/7d/month.html">4</a></main>'))
    assert 'links to "/7d/month.html"' in line


def test_a_page_over_its_limit_is_refused(whole: Mapping[str, bytes]) -> None:
    """In bytes as they are stored, not as they are sent."""
    room = "x" * (1_000_000 - len(whole["7d/index.html"]))
    assert faults(edited(whole, "7d/index.html", "</body>", f"{room}</body>"), max_page_mb=1) == []
    files = edited(whole, "7d/index.html", "</body>", f"x{room}</body>")
    assert faults(files, max_page_mb=1) == [
        "7d/index.html: has 1.0 MB: lower top_paths, or raise output.max_page_mb (1)"
    ]
    assert faults(files) == []


def test_many_faults_are_counted(whole: Mapping[str, bytes]) -> None:
    links = "".join(f'<a href="{n}">' for n in range(20))
    assert faults(edited(whole, "7d/index.html", MARK, links + MARK))[8:] == ["and 12 more"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (MARK, f"<div>{MARK}"), (MARK, f"</div>{MARK}"), (MARK, f"<b><i>x</b></i>{MARK}"),
        (MARK, f"<p/>{MARK}"), (MARK, f'<p lang="en" LANG="de">x</p>{MARK}'), ("<!doctype html>", ""),
        (MARK, f'<p id="paths">x</p>{MARK}'), (MARK, f"<h1>x</h1>{MARK}"), ('<meta charset="utf-8">', ""),
        ('http-equiv="Content-Security-Policy"', ""), ("</style>", "a{}</style>"), ('-live">{', '-live">{,'),
    ],
)  # fmt: skip
def test_the_tests_of_pages_find_each_of_these(whole: Mapping[str, bytes], old: str, new: str) -> None:
    """Builds do not look for them: the pages' templates cannot cause them, as these tests show."""
    with pytest.raises((ValueError, AssertionError, html5lib.html5parser.ParseError)):
        assert_valid_page(edited(whole, "7d/index.html", old, new)["7d/index.html"])


# Own templates.

TEMPLATES: dict[str, tuple[str, str, list[str]]] = {
    "links": (
        "404.html",
        '<!doctype html>\n<title>Lost</title>\n<p><a href="about.html">About us</a>\n',
        ['404.html, line 3: links to "about.html", which is not in the release: write a whole address'],
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


OWN = """{% extends "reportgen/report.html" %}
{% block title %}Visits · {{ super() }}{% endblock %}
{% block body %}{{ super() }}<ul><li>{{ site.name }}<li>1 <2 <a href="#paths">x</a></ul>{% endblock %}
"""


def test_own_templates_make_sound_pages_and_may_write_what_browsers_understand(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "report.html").write_text(OWN.replace("1 <2 ", ""))
    assert_sound(contents(released(tmp_path, USUAL, templates_dir=tmp_path / "own")), WINDOWS)
    (tmp_path / "own" / "report.html").write_text(OWN.replace("<ul>", "<p/><ul>"))
    (tmp_path / "metrics.db").unlink()
    assert "1 <2 " in (released(tmp_path, USUAL, templates_dir=tmp_path / "own") / "index.html").read_text()


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
    with pytest.raises(SourceEmptied, match=r"11-22 \(30 visits were left out by paths\.exclude\), while "):
        built(tmp_path, EARLIER, settings={"paths": {"exclude": ["/", "/b"]}})
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


def test_a_window_that_ended_before_the_last_release_began_may_be_empty(tmp_path: Path) -> None:
    assert built(tmp_path, EARLIER).changed
    last_year = {"windows": ["last-year"], "default_window": "last-year"}
    assert built(tmp_path, EARLIER, settings=last_year).changed


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
