"""The counter and the reader of logs count the same visits."""

import gzip
import re
from collections import Counter as Counts
from datetime import date
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from reportgen.config.settings import config_from_options
from reportgen.config.types import ASSETS
from reportgen.core.path_rules import glob_pattern
from reportgen.core.windows import Span
from reportgen.sources.registry import open_source
from reportgen_counter import visits
from reportgen_counter.visits import Response, paths_pattern, stored_path, visited_path

ROOT = Path(__file__).parents[2]
LOG = Path(__file__).parent / "logs" / "semicomplete-combined.log.gz"
LINE = re.compile(r'.* \[.*\] "(\S+) ([^ "?]*)(?:\?\S*)? \S+" (\d+) \S+ ".*?" "(.*?)"$')


def test_both_have_the_same_rules() -> None:
    """The counter has a copy, because it does not depend on reportgen."""
    rules = ROOT / "reportgen" / "sources" / "user_agents.py"
    copy = ROOT / "counter" / "src" / "reportgen_counter" / "user_agents.py"
    assert rules.read_text() == copy.read_text(), f"copy {rules} to {copy}"
    assert set(ASSETS) == visits.ASSETS


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("/admin/**", "/admin/users/7", True),
        ("/admin/**", "/administration", False),
        ("/users/*", "/users/maria", True),
        ("/users/*", "/users/maria/orders", False),
        ("**/*.php", "/a/b/c.php", True),
        ("/?", "/a", True),
        ("/a.c", "/abc", False),
        ("/caf\u00e9/*", "/caf%C3%A9/menu", True),
        ("/caf%C3%A9/*", "/caf%C3%A9/menu", True),
    ],
)
def test_both_exclude_the_same_paths(glob: str, path: str, matches: bool) -> None:
    assert bool(paths_pattern([glob]).fullmatch(path)) is matches
    if glob.isascii():
        assert bool(re.fullmatch(glob_pattern(glob), path)) is matches


def test_both_count_the_same_visits_of_a_real_log() -> None:
    counted: Counts[str] = Counts()
    for line in gzip.open(LOG, "rt"):  # noqa: SIM115
        if found := LINE.match(line):
            method, path, status, agent = found.groups()
            response = Response(method, unquote_to_bytes(path), int(status), "text/html", agent, "", "")
            if visited := visited_path(response):
                counted[visited] += 1
    config = config_from_options({"source": {"url": str(LOG)}})
    span = Span(date(2015, 1, 1), date(2015, 12, 31))
    with open_source(config.source, "UTC", span) as source:
        logged: Counts[str] = Counts()
        for path, number in source.rows("SELECT path, visits FROM visits", {}):
            logged[stored_path(unquote_to_bytes(path))] += number
    assert counted == logged
    assert counted.total() > 1000
