"""Peak memory, as each platform reports it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from reportgen.core import timing


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
