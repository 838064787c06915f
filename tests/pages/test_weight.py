"""Sizes of pages as brotli, without the bundle that is fetched on demand."""

from datetime import UTC, datetime
from pathlib import Path

import brotli
import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import Config
from reportgen.publish.release import lock_output
from tests.pages.test_report import built, store

KB = 1000
MANY = [
    (days, f"/p/{n:05}", 1 + 4000 // (n + 1) + days % 3)
    for n in range(10_000)
    for days in range(n % 29, 60, 29)
]
"""Days ago, path, visits: ten thousand paths, most of them seldom visited."""


def weight(file: Path) -> int:
    """Return a file's size in bytes as brotli, as a server would send it."""
    return len(brotli.compress(file.read_bytes()))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the sample's release."""
    with lock_output(tmp_path_factory.mktemp("sample") / "output") as lock:
        return build(Config(), lock, now=datetime(2026, 11, 23, 16, tzinfo=UTC)).path


@pytest.mark.parametrize("page", ["index.html", "today/index.html", "7d/index.html", "30d/index.html"])
def test_a_page_of_the_sample_weighs_at_most_60_kb(sample: Path, page: str) -> None:
    assert 0 < weight(sample / page) <= 60 * KB


def test_the_pages_own_script_is_small(sample: Path) -> None:
    (script,) = sample.glob("assets/report.*.js")
    assert 0 < weight(script) <= 4 * KB


@pytest.mark.slow
def test_a_page_of_ten_thousand_paths_has_at_most_150_kb(tmp_path: Path) -> None:
    """The table lists ``top_paths``; the CSV holds all of them."""
    store(tmp_path, MANY)
    release = built(tmp_path, windows=["30d"], default_window="30d").path
    page = (release / "30d" / "index.html").read_text(encoding="utf-8")
    assert weight(release / "30d" / "index.html") <= 150 * KB
    assert page.count('<td class="n rank">') == 100
    assert "100 of 10,000 paths" in page
    assert len((release / "30d" / "paths.csv").read_bytes().splitlines()) == 10_001
