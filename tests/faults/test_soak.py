"""A short soak; ``make soak`` is the long one."""

from pathlib import Path

import pytest

from tests.faults.soak import soak

pytestmark = pytest.mark.slow


def test_memory_files_and_disk_do_not_grow_with_builds(tmp_path: Path) -> None:
    figures = soak(tmp_path, builds=12, changed_every=2, keep=2)
    assert (figures["failed"], figures["wrong"], figures["grown"]) == ([], [], {})
    assert figures["last_quarter"]["releases"] == 2  # type: ignore[index]
    assert int(str(figures["answers"])) > 50
