"""Run one build at a time in a child process, within its time limit.

The child is ``python -m reportgen build``. If it crashes, hangs or is killed, the process that serves readers
goes on. The child's exit status, its one line of JSON and the record of builds are the whole interface.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from reportgen.core.errors import OutputBusy, TimedOut, mask
from reportgen.core.processes import Commands, Ended, exit_in_words
from reportgen.publish.history import BuildResult, Runs, read_runs, record

REPORT_S = 30.0
"""Seconds beyond a build's own time limit before its process is ended, so that its own error comes first."""


class Worker:
    """Runs the builds of one output directory, each in a process of its own."""

    def __init__(
        self,
        root: Path,
        arguments: Sequence[str],
        *,
        commands: Commands,
        timeout_s: float,
        clock: Callable[[], datetime],
        secrets: Sequence[str] = (),
    ) -> None:
        """``arguments`` are the options of ``reportgen build``; ``clock`` returns the time (aware).

        ``commands`` runs the children, and ends them when the service stops. A child is ended after
        ``timeout_s`` seconds. ``secrets`` are masked in the record.
        """
        self._root, self._commands, self._clock, self._secrets = root, commands, clock, secrets
        options = ["--json", "--no-wait", "--if-changed"]
        self._command = [sys.executable, "-P", "-m", "reportgen", "build", *options, *arguments]
        self.timeout_s = timeout_s
        self._unwritten = (Runs(), Runs())
        """The record as it was on the disk, and as it would be if it could have been written."""

    @property
    def runs(self) -> Runs:
        """The record of builds, or what this process knows if it could not be written."""
        stored, (then, known) = read_runs(self._root), self._unwritten
        return known if stored == then else stored

    def run(self) -> BuildResult:
        """Build once, unless nothing has changed, and return how that ended."""
        before, start = read_runs(self._root), time.monotonic()
        try:
            result = self._result(self._commands.run(self._command, self.timeout_s))
        except OSError as exc:
            result = self._failed("NotStarted", f"the build could not be started: {exc.strerror}", retry=True)
        result = replace(result, seconds=round(time.monotonic() - start, 3))
        if result.state == "failed":
            self._record_failure(result, before)
        elif result.succeeded:  # the child has recorded it
            self._unwritten = (Runs(), Runs())
        return result

    def _result(self, ended: Ended) -> BuildResult:
        if ended.stopped and ended.status:
            return BuildResult("stopped", self._clock(), message="the service is stopping")
        if ended.late:
            return self._failed(TimedOut.__name__, str(TimedOut.after(self.timeout_s)), retry=True)
        if (document := _document(ended.out)) and ended.status >= 0:
            return BuildResult.of_document(document, self._clock())
        if ended.status == OutputBusy.exit_code:
            return BuildResult("busy", self._clock())
        last = mask((ended.err.strip().splitlines() or [""])[-1], self._secrets)
        message = exit_in_words(ended.status) + (f": {last}" if last else "")
        return self._failed("Ended", message, retry=ended.status < 0)

    def _failed(self, error: str, message: str, *, retry: bool) -> BuildResult:
        return BuildResult("failed", self._clock(), error=error, message=message, retry=retry)

    def _record_failure(self, result: BuildResult, before: Runs) -> None:
        """Record a failure unless the child has, and remember it if the record cannot be written."""
        if read_runs(self._root).last_failure != before.last_failure:
            return
        known = self.runs
        runs, stored = record(self._root, result), read_runs(self._root)
        if runs != stored:
            self._unwritten = (stored, replace(runs, failures=known.failures + 1))


def _document(out: str) -> dict[str, Any] | None:
    """Return the child's line of JSON, if it has written one."""
    with suppress(ValueError, IndexError):
        document = json.loads(out.strip().splitlines()[-1])
        if isinstance(document, dict):
            return document
    return None
