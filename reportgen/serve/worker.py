"""One build in a child process: a deadline, an outcome in words, and never two at once.

The child is ``python -m reportgen build``. Whatever happens to it, a crash, a hang, an end by the kernel,
the process that serves readers is another one. Its exit status, its one line of JSON and the record of
runs are the whole interface.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reportgen.core.errors import mask
from reportgen.core.processes import environment_of_a_build, first_to_go, in_words
from reportgen.publish.history import Failure, Runs, read_runs, record_failure

GRACE_S = 2.0
"""How long a child may take to end after SIGTERM, before SIGKILL."""

LOOK_EVERY_S = 1.0
"""How often a child is looked at that may have ended while another process holds its pipes."""

BUSY = 3
"""The exit status of a build that found another one running."""

STOPPING = "the service is stopping"


@dataclass(frozen=True)
class Outcome:
    """What one run came to. ``state``: published, unchanged, busy, failed or stopped."""

    state: str
    seconds: float
    message: str = ""
    error: str = ""
    retry: bool = False
    report: Mapping[str, Any] | None = None


class Worker:
    """Runs builds of one output directory, one at a time, each in a process of its own."""

    def __init__(
        self,
        root: Path,
        arguments: Sequence[str],
        *,
        timeout_s: int,
        clock: Callable[[], datetime],
        secrets: Sequence[str] = (),
    ) -> None:
        """``arguments`` are the options of ``reportgen build``; ``clock`` gives the time (aware).

        ``secrets`` never get on record.
        """
        self._secrets = secrets
        self._root = root
        self._command = [sys.executable, "-P", "-m", "reportgen", "build", "--json", "--no-wait", *arguments]
        self.timeout_s = timeout_s
        self._clock = clock
        self._busy = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()
        self._remembered = (Runs(), Runs())

    @property
    def runs(self) -> Runs:
        """The record of runs, or what this process remembers where it could not be written."""
        stored, (then, known) = read_runs(self._root), self._remembered
        return known if stored == then else stored

    def run(self, *, if_changed: bool = True) -> Outcome:
        """Build once and say what it came to; a second caller is told that one is running."""
        if not self._busy.acquire(blocking=False):
            return Outcome("busy", 0.0, "a build is running")
        try:
            return self._run(["--if-changed"] if if_changed else [])
        finally:
            self._child = None
            self._busy.release()

    def stop(self) -> None:
        """End a build that is running, and start no other."""
        self._stopping.set()
        if child := self._child:
            _end(child)

    def _run(self, options: Sequence[str]) -> Outcome:
        begun, start = self._clock(), time.monotonic()
        if self._stopping.is_set():
            return Outcome("stopped", 0.0, STOPPING)
        try:
            child = subprocess.Popen(  # noqa: S603 - our own command
                [*self._command, *options],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", errors="replace", start_new_session=True,
                env=environment_of_a_build(),
            )  # fmt: skip
        except OSError as exc:
            message = f"the build could not be started: {exc.strerror}"
            return self._failed(begun, Outcome("failed", 0.0, message, "NotStarted", retry=True))
        with child:
            self._child = child
            first_to_go(child.pid)
            if self._stopping.is_set():
                _end(child)
            out, err, late = _watched(child, self.timeout_s)
        seconds = round(time.monotonic() - start, 3)
        if self._stopping.is_set() and child.returncode:
            return Outcome("stopped", seconds, STOPPING)
        if late:
            message = f"not done after {self.timeout_s} s, and ended (build_timeout_s sets the limit)"
            return self._failed(begun, Outcome("failed", seconds, message, "TimedOut", retry=True))
        return self._judged(begun, child.returncode, out, err, seconds)

    def _judged(self, begun: datetime, status: int, out: str, err: str, seconds: float) -> Outcome:
        report = _report(out)
        if status == 0 and report:
            self._remembered = (Runs(), Runs())
            return Outcome(str(report.get("status", "published")), seconds, report=report)
        if status == BUSY:
            return Outcome("busy", seconds, str(report.get("message", "")) if report else "")
        if status > 0 and report:
            error, message = str(report.get("error", "")), str(report.get("message", ""))
            outcome = Outcome("failed", seconds, message, error, retry=bool(report.get("retry")))
        else:
            last = mask((err.strip().splitlines() or [""])[-1], self._secrets)
            words = in_words(status) + (f": {last}" if last else "")
            outcome = Outcome("failed", seconds, words, "Ended", retry=status < 0)
        return self._failed(begun, outcome)

    def _failed(self, begun: datetime, outcome: Outcome) -> Outcome:
        """Put a failure on record, unless the child has done so itself."""
        now, stored = self._clock(), read_runs(self._root)
        # One in the future is from before the clock was put back.
        if not (stored.last_failure and begun <= stored.last_failure.at <= now):
            failures = self.runs.failures + 1
            runs = record_failure(self._root, Failure(now, outcome.error, outcome.message, outcome.retry))
            if read_runs(self._root) == stored:  # it could not be written
                self._remembered = (stored, replace(runs, failures=failures))
        return outcome


def _report(out: str) -> dict[str, Any] | None:
    """Return the child's one line of JSON, if it came to write it."""
    with suppress(ValueError, IndexError):
        document = json.loads(out.strip().splitlines()[-1])
        if isinstance(document, dict):
            return document
    return None


def _watched(child: "subprocess.Popen[str]", timeout_s: float) -> tuple[str, str, bool]:
    """Wait for a child and end whatever it leaves; return its output, and whether it was late."""
    deadline, ended = time.monotonic() + timeout_s, False
    while not ended and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=min(LOOK_EVERY_S, max(0.0, deadline - time.monotonic())))
        ended = child.poll() is not None
    _end(child)
    # What it started may hold its pipes, and is ended, too; who escaped us is not waited for.
    with suppress(subprocess.TimeoutExpired):
        return *child.communicate(timeout=GRACE_S), not ended
    return "", "", not ended


def _end(child: "subprocess.Popen[str]") -> None:
    """End a child and all it started: SIGTERM, then SIGKILL."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
