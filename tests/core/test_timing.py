"""Peak memory, as each platform reports it, and the time limit of a build."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from reportgen.core import timing
from reportgen.core.errors import TimedOut
from reportgen.core.timing import within


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_peak_memory_without_proc_is_in_bytes(
    monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    """``ru_maxrss`` counts bytes on macOS and KiB elsewhere."""

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(timing.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=100_000))
    assert timing.peak_memory_bytes() == 100_000 * unit
    assert timing.held_bytes() == 100_000 * unit


def test_work_in_time_returns_its_result_and_its_error() -> None:
    assert within(5, lambda start: [start(), "done"][1]) == "done"

    def fails(_: Callable[[], None]) -> None:
        raise TimeoutError("of a library, before the time has started")

    with pytest.raises(TimeoutError, match="of a library"):
        within(5, fails)


def test_work_that_takes_too_long_is_not_awaited() -> None:
    def hangs(start: Callable[[], None]) -> None:
        start()
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(TimedOut, match=r"not finished after 0.2 s"):
        within(0.2, hangs)
    assert time.monotonic() - begun < 4


def test_the_time_before_the_start_does_not_count() -> None:
    """A build may wait for another one as long as that takes."""

    def waits(start: Callable[[], None]) -> str:
        time.sleep(0.5)
        start()
        return "done"

    assert within(0.2, waits) == "done"
