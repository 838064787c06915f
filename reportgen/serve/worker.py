"""Run one build at a time in a child process, within its time limit.

The child is ``python -m reportgen build``. If it crashes, hangs or is killed, the process that serves readers
goes on. The child's exit status, its one line of JSON and the record of builds are the whole interface.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reportgen.core.errors import OutputBusy, TimedOut, mask
from reportgen.core.processes import build_environment, exit_in_words, kill_first
from reportgen.publish.history import BuildResult, Runs, read_runs, record

GRACE_S = 2.0
"""Seconds that a child may take to end after SIGTERM, before SIGKILL."""

CHECK_EVERY_S = 1.0
"""Seconds between two checks whether a child has ended while another process holds its pipes open."""

STOPPING = "the service is stopping"


class Worker:
    """Runs the builds of one output directory, one at a time, each in a process of its own."""

    def __init__(
        self,
        root: Path,
        arguments: Sequence[str],
        *,
        timeout_s: int,
        clock: Callable[[], datetime],
        secrets: Sequence[str] = (),
    ) -> None:
        """``arguments`` are the options of ``reportgen build``; ``clock`` returns the time (aware).

        ``secrets`` are masked in the record.
        """
        self._secrets = secrets
        self._root = root
        self._command = [sys.executable, "-P", "-m", "reportgen", "build", "--json", "--no-wait", *arguments]
        self.timeout_s = timeout_s
        self._clock = clock
        self._busy = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._stopping = threading.Event()
        self._unwritten = (Runs(), Runs())
        """The record as it was on the disk, and as it would be if it could have been written."""

    @property
    def runs(self) -> Runs:
        """The record of builds, or what this process knows if it could not be written."""
        stored, (then, known) = read_runs(self._root), self._unwritten
        return known if stored == then else stored

    def run(self, *, if_changed: bool = True) -> BuildResult:
        """Build once and return how that ended; a second call meanwhile returns ``busy``."""
        if not self._busy.acquire(blocking=False):
            return BuildResult("busy", self._clock(), message="a build is running")
        begun, start = self._clock(), time.monotonic()
        try:
            result = self._run(["--if-changed"] if if_changed else [])
        finally:
            self._child = None
            self._busy.release()
        result = replace(result, seconds=round(time.monotonic() - start, 3))
        if result.state == "failed":
            self._record_failure(result, begun)
        elif result.succeeded:  # the child has recorded it
            self._unwritten = (Runs(), Runs())
        return result

    def stop(self) -> None:
        """End a build that is running, and start no other."""
        self._stopping.set()
        if child := self._child:
            _end(child)

    def _run(self, options: Sequence[str]) -> BuildResult:
        if self._stopping.is_set():
            return BuildResult("stopped", self._clock(), message=STOPPING)
        try:
            child = subprocess.Popen(  # noqa: S603 - our own command
                [*self._command, *options],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, encoding="utf-8", errors="replace", start_new_session=True,
                env=build_environment(),
            )  # fmt: skip
        except OSError as exc:
            message = f"the build could not be started: {exc.strerror}"
            return self._failed("NotStarted", message, retry=True)
        with child:
            self._child = child
            kill_first(child.pid)
            if self._stopping.is_set():
                _end(child)
            out, err, late = _wait(child, self.timeout_s)
        if self._stopping.is_set() and child.returncode:
            return BuildResult("stopped", self._clock(), message=STOPPING)
        if late:
            return self._failed(TimedOut.__name__, str(TimedOut.after(self.timeout_s)), retry=True)
        if (document := _document(out)) and child.returncode >= 0:
            return BuildResult.of_document(document, self._clock())
        if child.returncode == OutputBusy.exit_code:
            return BuildResult("busy", self._clock())
        last = mask((err.strip().splitlines() or [""])[-1], self._secrets)
        message = exit_in_words(child.returncode) + (f": {last}" if last else "")
        return self._failed("Ended", message, retry=child.returncode < 0)

    def _failed(self, error: str, message: str, *, retry: bool) -> BuildResult:
        return BuildResult("failed", self._clock(), error=error, message=message, retry=retry)

    def _record_failure(self, result: BuildResult, begun: datetime) -> None:
        """Record a failure unless the child has, and remember it if the record cannot be written."""
        before = self.runs
        runs, stored = record(self._root, result, since=begun), read_runs(self._root)
        if runs != stored:
            self._unwritten = (stored, replace(runs, failures=before.failures + 1))


def _document(out: str) -> dict[str, Any] | None:
    """Return the child's line of JSON, if it has written one."""
    with suppress(ValueError, IndexError):
        document = json.loads(out.strip().splitlines()[-1])
        if isinstance(document, dict):
            return document
    return None


def _wait(child: "subprocess.Popen[str]", timeout_s: float) -> tuple[str, str, bool]:
    """Wait for a child and end the processes that it leaves; return its output, and whether it was late."""
    deadline, ended = time.monotonic() + timeout_s, False
    while not ended and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=min(CHECK_EVERY_S, max(0.0, deadline - time.monotonic())))
        ended = child.poll() is not None
    _end(child)
    # A process that it started may hold its pipes. One that left the process group is not awaited.
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
