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
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder in memory if there is one, so that hundreds of publications do not wait for a disk."""
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
def test_a_fault_at_any_system_call_leaves_one_whole_release(
    memory_folder: Path, fault: str, calls: int, ends: set[str]
) -> None:
    """The next build needs no repair. Faults: killed, an error of the disk (once, or lasting), a power cut.

    After the switch, only the calls that protect it from a power cut can fail: *refused, though current*.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.calls", fault, str(memory_folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert set(found["ends"]) == ends
    assert sum(found["ends"].values()) > calls
    assert found["ends"].get("refused, though current", 0) <= 6


def test_readers_do_not_notice_killed_builds(tmp_path: Path) -> None:
    readers, wrong, ends = kill_builds(tmp_path, 3)
    assert (readers.faults[:9], wrong) == ([], [])
    assert ends["killed"] + ends["staged"] >= 2, ends
    assert len(readers.answers) >= 3
    assert min(readers.answers.values()) > 0


def test_a_killed_service_can_be_replaced_by_another(tmp_path: Path) -> None:
    wrong, under_way = kill_services(tmp_path, 1)
    assert (wrong, under_way) == ([], 1)


def test_two_builds_and_a_service_can_start_at_the_same_time(tmp_path: Path) -> None:
    wrong, ends = start_at_once(tmp_path, 2)
    assert wrong == []
    assert sum(ends.values()) == 4
