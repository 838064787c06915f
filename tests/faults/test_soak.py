"""A short soak; ``make soak`` is the long one."""

from pathlib import Path

import pytest

from tests.faults.soak import soak

pytestmark = pytest.mark.slow


def test_nothing_grows_while_builds_go_on(tmp_path: Path) -> None:
    figures = soak(tmp_path, builds=12, changed_every=2, keep=2)
    assert (figures["failed"], figures["wrong"], figures["grown"]) == ([], [], {})
    assert figures["last_quarter"]["releases"] == 2  # type: ignore[index]
    assert int(str(figures["answers"])) > 50
