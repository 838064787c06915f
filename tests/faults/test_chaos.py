"""A crash at any instant: readers get one whole release, and the next build needs no help.

The short form of ``make chaos``: a few instants of whole builds, and every call of a publication.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.chaos import kill_builds, kill_services, start_at_once

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory, where there is one: hundreds of publications wait for no disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("fault", "calls", "ends"),
    [
        ("killed", 80, {"killed"}),
        ("failing once", 150, {"published", "refused", "refused, though current"}),
        ("failing from then on", 150, {"published", "refused", "refused, though current"}),
        ("full", 80, {"published", "refused", "refused, though current"}),
        ("full from then on", 80, {"published", "refused", "refused, though current"}),
        ("power", 100, {"cut", "calls"}),
    ],
)
def test_a_fault_at_any_call_leaves_one_whole_release_and_the_next_build_needs_no_help(
    quick: Path, fault: str, calls: int, ends: set[str]
) -> None:
    """Killed, refused by the disk (once, or from then on), or without power.

    Once the switch is made, only what makes it outlast a power cut can still fail: *refused, though current*.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.calls", fault, str(quick)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert set(found["ends"]) == ends
    assert sum(found["ends"].values()) > calls
    assert found["ends"].get("refused, though current", 0) <= 6


def test_a_build_killed_at_any_instant_is_noticed_by_nobody(tmp_path: Path) -> None:
    readers, wrong, ends = kill_builds(tmp_path, 3)
    assert (readers.faults[:9], wrong) == ([], [])
    assert ends["killed"] + ends["staged"] >= 2, ends
    assert len(readers.answers) >= 3
    assert min(readers.answers.values()) > 0


def test_a_service_that_was_killed_is_replaced_by_another(tmp_path: Path) -> None:
    wrong, under_way = kill_services(tmp_path, 1)
    assert (wrong, under_way) == ([], 1)


def test_two_builds_and_a_service_started_at_once_end_well(tmp_path: Path) -> None:
    wrong, ends = start_at_once(tmp_path, 2)
    assert wrong == []
    assert sum(ends.values()) == 4
