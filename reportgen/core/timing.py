"""The time and memory that a build takes, and its time limit."""

import ctypes
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reportgen.core.errors import TimedOut

T = TypeVar("T")

M_ARENA_MAX = -8
"""Option of ``mallopt(3)``: the number of arenas from which threads allocate memory."""


@dataclass
class Stopwatch:
    """The stages of a build and their seconds of wall time.

    ``begin`` is called with the name of each stage that begins, ``on_end`` with name and seconds of each
    that ended, ``warn`` with the message of a failure that does not stop the build.
    """

    begin: Callable[[str], None] = lambda _: None
    on_end: Callable[[str, float], None] = lambda *_: None
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
        """Record a stage that ended."""
        self.seconds[name] = round(seconds, 4)
        self.on_end(name, self.seconds[name])


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process, in bytes.

    Linux's ``getrusage`` includes the memory of the parent before ``exec``, so ``/proc`` comes first.
    """
    return _proc_bytes("status", "VmHWM:") or _maxrss_bytes()


def _maxrss_bytes() -> int:
    """Return the peak resident memory by ``getrusage``, which counts KiB, but bytes on macOS."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def held_bytes() -> int:
    """Return the memory of this process now, in bytes: shared pages count by their share (PSS) on Linux."""
    return _proc_bytes("smaps_rollup", "Pss:") or peak_memory_bytes()


def _proc_bytes(file: str, name: str) -> int:
    """Return the value of one line of a file in ``/proc/self``, in bytes, or 0 if it is missing."""
    try:
        lines = Path("/proc/self", file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


def cpu_seconds() -> float:
    """Return the processor time of this process and of the children that it waited for, in seconds."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def within(timeout_s: float, work: Callable[[Callable[[], None]], T]) -> T:
    """Run ``work`` in a thread and return its result: no call of a library can outlast the limit.

    ``work`` gets a function whose call starts the time. Before that call it may wait without a limit.

    Raises:
        TimedOut: ``work`` is not done in time. Its thread goes on: the caller must end the process.

    """
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)  # the thread's own arena would cost 4 % of a build's memory
    started, outcome = threading.Event(), Future[T]()

    def run() -> None:
        try:
            outcome.set_result(work(started.set))
        except BaseException as exc:  # noqa: BLE001 - it is raised again in the caller's thread
            outcome.set_exception(exc)
        finally:
            started.set()

    threading.Thread(target=run, name="build", daemon=True).start()
    started.wait()
    try:
        return outcome.result(timeout_s)
    except TimeoutError:
        if outcome.done():  # at the last moment, or by an error of that class
            return outcome.result()
        raise TimedOut.after(timeout_s) from None
