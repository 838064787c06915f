"""The record of runs, ``state/runs.json``: what the last builds came to, for whoever asks later.

A build writes its own success or failure, whoever started it; who watches over a build that could not
(killed, or hung) writes for it. Every writer replaces the file as a whole. A record that is absent or
damaged counts as empty: it is a memory, not a condition of anything.
"""

import fcntl
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reportgen.core.errors import OutputBusy, ReportgenError, mask_logins

FILE = "runs.json"


@dataclass(frozen=True)
class Success:
    """A build that ended well: ``changed`` is false where the release before already said it all."""

    at: datetime
    release: str
    changed: bool
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    timings_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """A build that did not: ``error`` is the name of its class, ``retry`` whether the same may work soon."""

    at: datetime
    error: str
    message: str
    retry: bool


@dataclass(frozen=True)
class Runs:
    """What is on record. ``failures`` counts those since the last success."""

    last_success: Success | None = None
    last_failure: Failure | None = None
    failures: int = 0

    def success_by(self, now: datetime) -> Success | None:
        """Return the last success; one after ``now`` is from before the clock was put back: unknown."""
        success = self.last_success
        return success if success and success.at <= now else None


def read_runs(root: Path) -> Runs:
    """Return the record of the output directory ``root``."""
    try:
        stored = json.loads((root / "state" / FILE).read_bytes())
        return Runs(
            _loaded(Success, stored["last_success"]),
            _loaded(Failure, stored["last_failure"]),
            int(stored["failures"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return Runs()


def record_success(root: Path, success: Success) -> Runs:
    """Note a success; failures count from zero again. Return the record as it is now."""
    return _update(root, lambda runs: replace(runs, last_success=success, failures=0))


def record_failure(root: Path, failure: Failure) -> Runs:
    """Note a failure. Return the record as it is now."""
    return _update(root, lambda runs: replace(runs, last_failure=failure, failures=runs.failures + 1))


@contextmanager
def recorded(root: Path, *, used_before_s: float = 0.0) -> Iterator[Callable[..., None]]:
    """Put what comes of one build in this process on record.

    Yields a function to call when it ended well; an error that leaves the block is noted and goes on. That
    another build is running is no failure of this one. ``used_before_s`` is what builds before it took of
    the processor, in a process that makes many.
    """
    start = time.monotonic()

    def succeeded(
        at: datetime, release: str, timings_s: Mapping[str, float], peak_bytes: int, *, changed: bool
    ) -> None:
        cpu_s = cpu_seconds() - used_before_s
        seconds = round(time.monotonic() - start, 3)
        record_success(root, Success(at, release, changed, seconds, round(cpu_s, 3), peak_bytes, timings_s))

    try:
        yield succeeded
    except OutputBusy:
        raise
    except Exception as exc:
        message = str(exc) if isinstance(exc, ReportgenError) else "unexpected error; see the log"
        retry = isinstance(exc, ReportgenError) and exc.retry
        now = datetime.now(UTC)
        record_failure(root, Failure(now, type(exc).__name__, mask_logins(message), retry))
        raise


def cpu_seconds() -> float:
    """Return what this process, and the children that it waited for, took of the processors."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def give_up_after(timeout_s: float, root: Path) -> Callable[[], None]:
    """End this process when a build is not done by then, whatever it hangs in, and put that on record.

    The lock of the output goes with the process, so that the next build can begin. Returns what calls it off.
    """

    def give_up() -> None:
        message = f"not done after {timeout_s:g} s, and ended (build_timeout_s sets the limit)"
        record_failure(root, Failure(datetime.now(UTC), "TimedOut", message, retry=True))
        sys.stderr.write(f"error: the build is {message}\n")
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(timeout_s, give_up)
    timer.daemon = True
    timer.start()
    return timer.cancel


def _update(root: Path, change: Callable[[Runs], Runs]) -> Runs:
    """Replace the record; where nothing can be written, only the caller remembers."""
    runs = change(read_runs(root))
    with suppress(OSError):
        (root / "state").mkdir(parents=True, exist_ok=True)
        handle = os.open(root / "state" / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            runs = change(read_runs(root))
            _write(root, runs)
        finally:
            os.close(handle)
    return runs


def _loaded(kind: Any, stored: Mapping[str, Any] | None) -> Any:
    if stored is None:
        return None
    at = datetime.fromisoformat(stored["at"])
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return kind(**{**stored, "at": at})


def _write(root: Path, runs: Runs) -> None:
    fresh = root / "state" / f"{FILE}.new"
    fresh.write_text(json.dumps(asdict(runs), default=_iso, indent=1) + "\n", encoding="utf-8")
    fresh.replace(root / "state" / FILE)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
