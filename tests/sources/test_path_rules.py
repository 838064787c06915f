"""Path rules: what they make of a path, and that SQLite, DuckDB and PostgreSQL agree on it."""

import re
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.core.errors import ConfigError
from reportgen.core.path_rules import EXCLUDED, SCANNERS, PathRules, head_pattern, overlap
from reportgen.core.windows import compared_dates
from reportgen.sources.base import Source
from reportgen.sources.statements import read_cells, read_daily, read_paths
from tests.support.engines import SPAN, Engine, Row, day, make_engine, week

PIECES = (
    "/", "/a", "/a/", "?", "#", "&", "=", "page", "page=2", "q=x", "utm_source=y", "index.html", "index.php",
    "%C3%A9", "%c3%a9", "%C3", "%A9", "%2F", "%E2%82%AC", "%ED%A0%80", "%F0%9F%98%80", "%00", "%", "é", "É",
    "A", "B", "ß", "İ", "\n", "\r\n", "\t", "\u2028", "\\", "\\1", "'", '"', "$1", "{", "}", ":x", ";",
    "/old", "/old/", "/new", "/wp-login.php", "/.env", ".php", "/blog/x", "/b.g", "*", "**", "[", "(", "|",
    "^", "$", "😀", "\u0301", "--", "/*", "\x01", "\x7f", "\u202e", "\ud7ff", "\U0010ffff",
)  # fmt: skip
PATHS = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=8).map("".join)
GLOBS = (
    "/blog/**", "**/*.php", "**/*x", "**/b*/x", "**/.env/**", "/b.g", "/b_g/**", "/**%/x", "/*/index.html",
    "/a", "/é/**", "/(a|b)/**", "/$x\\1{2}", "/old*/x",
)  # fmt: skip
RULES = st.builds(
    PathRules,
    query=st.sampled_from([None, (), ("page",), ("page", "it's", "{q}")]),
    decode=st.booleans(),
    lower=st.booleans(),
    index=st.sampled_from([(), ("index.html",), ("index.html", "index.php", "a.b")]),
    slash=st.booleans(),
    renames=st.sampled_from([(), (("/old/**", "/new/**"), ("/a", "/it's {\\1}")), (("/b*/x", "/é"),)]),
    exclude=st.sampled_from([(), ("/wp-*", "**/*.env"), SCANNERS]),
    sections=st.lists(st.sampled_from(GLOBS), max_size=3, unique=True).map(
        lambda globs: tuple((glob, (glob,)) for glob in globs)
    ),
)
PAIRS = compared_dates(week(), week().earlier[0], SPAN.dates())
ENGINES = ("postgres", "sqlite", "duckdb")
MERGING = PathRules(
    query=(),
    slash=True,
    index=("index.html",),
    decode=True,
    renames=(("/old/**", "/new/**"),),
    exclude=("**/*.php",),
    sections=(("New", ("/new/**",)), ("All", ("/n*",)), ("A", ("/a",))),
)


@pytest.mark.parametrize(
    ("rules", "path", "becomes"),
    [
        (PathRules(), "/A/?x=1#y", "/A/?x=1#y"),
        (PathRules(query=()), "/a?x=1&y", "/a"),
        (PathRules(query=()), "/#/a?x=1#b", "/#/a#b"),
        (PathRules(query=("page",)), "/a?x=1&page=2&pages=3&page", "/a?page=2&page"),
        (PathRules(query=("page",)), "/a?x=1#top", "/a#top"),
        (PathRules(decode=True), "/caf%C3%A9%20%2F%E2%82%AC", "/café%20%2F€"),
        (PathRules(decode=True), "/%C3%C3%A9%ED%A0%80%FF", "/%C3é%ED%A0%80%FF"),
        (PathRules(lower=True), "/É/A%C3%A9?Q=B", "/É/a%c3%a9?Q=B"),
        (PathRules(index=("index.html",)), "/a/index.html?x", "/a/?x"),
        (PathRules(index=("index.html",)), "/a/my-index.html", "/a/my-index.html"),
        (PathRules(slash=True), "/a//", "/a"),
        (PathRules(slash=True), "//", "/"),
        (PathRules(slash=True, index=("i.php",)), "/a/i.php/i.php/", "/a"),
        (PathRules(renames=(("/old/**", "/new/**"),)), "/old", "/new"),
        (PathRules(renames=(("/old/**", "/new/**"),)), "/old/a/b?x", "/new/a/b?x"),
        (PathRules(renames=(("/old/**", "/new/**"),)), "/older", "/older"),
        (PathRules(renames=(("/p/*", "/p"),)), "/p/1", "/p"),
        (PathRules(renames=(("/p/*", "/p"),)), "/p/1/2", "/p/1/2"),
        (PathRules(exclude=("/wp-*",)), "/wp-login.php?x=/", None),
        (PathRules(exclude=("/wp-*",)), "/wp-x/y", "/wp-x/y"),
        (PathRules(exclude=SCANNERS), "/blog/.git/config", None),
        (PathRules(exclude=SCANNERS), "/wp-to-hugo/", "/wp-to-hugo/"),
    ],
)
def test_each_rule_does_what_the_document_says(rules: PathRules, path: str, becomes: str | None) -> None:
    assert rules.path_of(path) == becomes


@settings(max_examples=500, deadline=None)
@given(PATHS, RULES)
def test_rules_do_not_change_their_result(path: str, rules: PathRules) -> None:
    once = rules.path_of(path)
    if once is not None:
        assert rules.path_of(once) == once
        assert rules.section_of(once) == rules.section_of(path)
    touched = [name for name, _, _ in rules.trace(path)]
    assert set(touched) <= set(rules.names)
    assert (once is None) == any(name.startswith("exclude ") for name in touched)


@settings(max_examples=500, deadline=None)
@given(PATHS, st.sampled_from(GLOBS), st.sampled_from(GLOBS))
def test_two_globs_that_match_the_same_path_overlap(path: str, one: str, other: str) -> None:
    both = all(re.fullmatch(head_pattern(glob), path, re.DOTALL) for glob in (one, other))
    assert overlap(one, other) or not both


def usable(path: str) -> str:
    """Return a path that PostgreSQL can store."""
    return path.replace("\0", "").encode(errors="replace").decode()


def ruled(source: Source, paths: list[str]) -> list[tuple[str | None, int]]:
    """Return what the engine makes of paths that are bound as values."""
    values = {f"path_{at}": path for at, path in enumerate(paths)}
    place = source.dialect.placeholder
    rows = " UNION ALL ".join(
        f"SELECT {at} AS place, CAST({place(name, values[name])} AS text) AS form"
        for at, name in enumerate(values)
    )
    sql = f"WITH stored AS ({rows}) SELECT path, section FROM {source.by_rules('stored')} ORDER BY place"
    return [(path, section) for path, section in source.rows(sql, values)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_engines_agree_on_hostile_paths(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = make_engine(name, request, tmp_path)
    with engine.open(engine.load([])) as source:

        @settings(max_examples=100, deadline=None)
        @given(st.lists(PATHS.map(usable), min_size=1, max_size=20), RULES)
        def agree(paths: list[str], rules: PathRules) -> None:
            source.rules = rules
            assert ruled(source, paths) == [(rules.path_of(path), rules.section_of(path)) for path in paths]

        agree()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    return make_engine(request.param, request, tmp_path)


def test_a_build_reads_merged_paths_with_their_forms_and_sections(engine: Engine) -> None:
    rows: list[Row] = [
        (day(1), "/a", 5), (day(1), "/a/", 7), (day(2), "/a/?x", 1), (day(8), "/a/index.html", 3),
        (day(1), "/old/x", 2), (day(2), "/new/x", 2), (day(1), "/é", 4), (day(3), "/x.php", 9),
        (day(3), "/y.php", 1), (day(12), "/z.php", 1), (day(4), "/caf%C3%A9", 6),
    ]  # fmt: skip
    with engine.open(engine.load(rows)) as source:
        source.rules = MERGING
        found = read_paths(source, week(), PAIRS, 100, 5)
        listed = [tuple(row) for row in found.rows]
        daily = read_daily(source, SPAN)
        cells = read_cells(source, SPAN, ["/a", "/new/x"])
    assert listed == [
        ("/a", 13, 13, 3, 3), ("/café", 6, 6, 0, 0), ("/new/x", 4, 4, 0, 0), ("/é", 4, 4, 0, 0)
    ]  # fmt: skip
    assert found.forms == {
        "/a": ["/a/", "/a", "/a/?x"], "/café": ["/caf%C3%A9"], "/new/x": ["/new/x", "/old/x"], "/é": ["/é"],
    }  # fmt: skip
    assert (found.path_count, found.excluded) == (4, (2, 10))
    assert daily.visits == {day(12): 0, day(8): 3, day(4): 6, day(3): 0, day(2): 3, day(1): 18}
    assert daily.rows == len(rows)
    assert daily.sections == {
        "New": {day(2): 2, day(1): 2}, "All": {}, "A": {day(8): 3, day(2): 1, day(1): 12}
    }  # fmt: skip
    assert [tuple(cell) for cell in cells] == [
        (day(8), "/a", 3), (day(2), "/a", 1), (day(2), "/new/x", 2), (day(1), "/a", 12), (day(1), "/new/x", 2)
    ]  # fmt: skip


def test_forms_are_at_most_20_of_a_path_and_none_was_visited_before_only(engine: Engine) -> None:
    rows: list[Row] = [(day(1), f"/a?{number:02}", 100 - number) for number in range(30)]
    with engine.open(engine.load([*rows, (day(9), "/a?old", 500)])) as source:
        source.rules = PathRules(query=())
        found = read_paths(source, week(), PAIRS, 100, 5)
        (row,) = found.rows
    assert found.forms == {"/a": [f"/a?{number:02}" for number in range(20)]}
    assert row.before == 500


def test_all_paths_may_be_left_out(engine: Engine) -> None:
    with engine.open(engine.load([(day(1), "/x.php", 5), (day(9), "/y.php", 5)])) as source:
        source.rules = MERGING
        found = read_paths(source, week(), PAIRS, 100, 5)
        assert (list(found.rows), found.path_count, found.excluded) == ([], 0, (1, 5))
        assert sum(read_daily(source, SPAN).visits.values()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ENGINES)
def test_sums_by_rules_equal_plain_counting(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = make_engine(name, request, tmp_path)
    number = iter(range(10_000))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 13), PATHS.map(usable), st.integers(0, 9)), max_size=30), RULES)
    def agree(rows: list[tuple[int, str, int]], rules: PathRules) -> None:
        table = f"metrics_{next(number)}"
        url = engine.load([(day(age), path, visits) for age, path, visits in rows], table=table)
        with engine.open(url, table=table) as source:
            source.rules = rules
            found = read_paths(source, week(), PAIRS, 1000, 2**62)
            merged = {row.path: row.visits for row in found.rows if row.visits}
            daily = read_daily(source, SPAN)
            cells = read_cells(source, week().span, sorted(merged))
        expected: Counter[str] = Counter()
        sections: Counter[str] = Counter({name: 0 for name, _ in rules.sections})
        for age, path, visits in rows:
            if (shown := rules.path_of(path)) is not None and age < 7:
                expected[shown] += visits
            if (section := rules.section_of(path)) > 0:
                sections[rules.sections[section - 1][0]] += visits
        excluded = [
            (path, visits) for age, path, visits in rows if age < 7 and rules.section_of(path) == EXCLUDED
        ]
        assert merged == +expected
        assert sum(cell.visits for cell in cells) == expected.total()
        assert all(
            cell.visits == sum(n for age, path, n in rows if (day(age), rules.path_of(path)) == cell[:2])
            for cell in cells
        )
        assert found.excluded == (
            len({path for path, visits in excluded if visits}), sum(visits for _, visits in excluded)
        )  # fmt: skip
        assert {name: sum(by_day.values()) for name, by_day in daily.sections.items()} == sections
        assert daily.sum_over(week().span) == sum(expected.values())

    agree()


@pytest.mark.parametrize("name", ["ibis-duckdb"])
def test_ibis_refuses_rules(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    engine = make_engine(name, request, tmp_path)
    source = engine.open(engine.load([(day(1), "/", 1)]))
    source.rules = MERGING
    with pytest.raises(ConfigError, match="not possible through Ibis"), source:
        pass


def test_paths_of_logs_are_merged_too(tmp_path: Path) -> None:
    moment = f"{day(1):%d}/Nov/2026:10:00:00 +0000"
    log = tmp_path / "access.log"
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    line = f'1.2.3.4 - - [{{}}] "GET {{}} HTTP/1.1" 200 9 "-" "{agent}"\n'
    log.write_text("".join(line.format(moment, path) for path in ("/a", "/a/", "/a/", "/x.php")))
    with Engine("log", tmp_path).open(str(log)) as source:
        source.rules = MERGING
        found = read_paths(source, week(), PAIRS, 100, 5)
        assert [(row.path, row.visits) for row in found.rows] == [("/a", 3)]
        assert (found.forms, found.excluded) == ({"/a": ["/a/", "/a"]}, (1, 1))


def test_sqlite_paths_that_are_not_utf8_stay_as_stored(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "m.db") as connection:
        connection.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        insert = f"INSERT INTO metrics VALUES ('{day(1)}', CAST(? AS TEXT), 1)"
        connection.executemany(insert, [(b"/caf\xe9/",), (b"/caf\xe9",), (b"/caf%C3\xa9",)])
    connection.close()
    with Engine("sqlite", tmp_path).open(f"sqlite:///{tmp_path}/m.db") as source:
        source.rules = MERGING
        found = read_paths(source, week(), PAIRS, 100, 5)
        paths = [(row.path, row.visits) for row in found.rows]
        cells = read_cells(source, SPAN, [paths[0][0]])
        source.rules = PathRules(exclude=("**/*.php",))
        unmerged = [row.path for row in read_paths(source, week(), PAIRS, 100, 5).rows]
        unmerged_cells = read_cells(source, SPAN, unmerged)
    assert paths == [("/caf\\xe9", 2), ("/caf%C3\\xa9", 1)]
    assert [cell.visits for cell in cells] == [2]
    assert [(cell.path, cell.visits) for cell in unmerged_cells] == [(path, 1) for path in sorted(unmerged)]
    assert len(unmerged) == 3


@pytest.mark.parametrize("path", ["/" * 100_000 + "x", "/index.html" * 10_000, "%C3" * 30_000, "?&" * 50_000])
def test_very_long_paths_take_no_long_time(engine: Engine, path: str) -> None:
    rules = replace(MERGING, query=("page",), exclude=SCANNERS)
    with engine.open(engine.load([]), statement_timeout_s=20) as source:
        source.rules = rules
        assert ruled(source, [path]) == [(rules.path_of(path), rules.section_of(path))]
