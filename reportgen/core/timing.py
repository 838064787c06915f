"""Measures a build: its stages, its memory; and paces what is done again and again by what it takes."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stopwatch:
    """Stages and how long they took.

    ``begin`` is called with each stage's name, ``tell`` with name and seconds when it has ended,
    ``warn`` with what did not work though the report did.
    """

    begin: Callable[[str], None] = lambda _: None
    tell: Callable[[str, float], None] = lambda *_: None
    warn: Callable[[str], None] = lambda _: None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage."""
        self.begin(name)
        start = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Note a stage that ended."""
        self.seconds[name] = round(seconds, 4)
        self.tell(name, self.seconds[name])


class Pace:
    """When to do something again: every so many seconds, and more seldom where it takes long itself."""

    SHARE = 20
    """It takes at most so small a part of the time."""

    def __init__(self, every_s: float, *, at_once: bool = False) -> None:
        self._every_s = every_s
        self._next = time.monotonic() + (0.0 if at_once else every_s)

    def is_due(self) -> bool:
        """Tell whether its time has come."""
        return time.monotonic() >= self._next

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Do it in here."""
        begun = time.monotonic()
        yield
        ended = time.monotonic()
        self._next = ended + max(self._every_s, self.SHARE * (ended - begun))


def peak_memory_bytes() -> int:
    """Return the most memory that this process has held so far.

    Not by ``getrusage``, where Linux tells more: that counts what the process that started this one held.
    """
    return _told("status", "VmHWM:") or _maxrss_bytes()


def _maxrss_bytes() -> int:
    """Return the peak resident memory by ``getrusage``, which counts KiB, but bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def held_bytes() -> int:
    """Return the memory that this process holds now, shared pages by its share (PSS), where Linux tells."""
    return _told("smaps_rollup", "Pss:") or peak_memory_bytes()


def _told(file: str, name: str) -> int:
    """Return the bytes of one line of a file in ``/proc/self``; 0 where there is none. It counts in KiB."""
    try:
        lines = Path("/proc/self", file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)
