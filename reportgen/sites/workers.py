"""Build one site in a warm process: it has loaded the drawing libraries and V8, and builds site after site.

:func:`build_in_worker` is what any ``concurrent.futures.Executor`` runs, in threads of this machine or on a
cluster, with plain values as argument and result. A site that hangs, crashes or takes all memory ends its one
process and is named in the result; the next site gets a new process.
"""

import os
import pickle
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from reportgen.build.job import BuildJob
from reportgen.core.errors import mask_logins
from reportgen.core.processes import build_environment, exit_in_words, kill_first
from reportgen.publish.history import BuildResult, record

GRACE_S = 5.0
"""Seconds beyond a build's time limit before its process is killed, so that its own error arrives first."""

RENEW_AFTER = 500
"""Number of sites that a process builds before it is replaced."""

PROGRAM = "from reportgen.build.worker_process import main; main()"
"""Not ``-m``: the classes that it pickles must belong to the module, not to ``__main__``."""

SLOW_S = 15.0
"""Seconds after which a build no longer counts against the maximum number of processes, as it may hang."""

MAX_SLOW = 4
"""Maximum number of slow builds beside those that count."""

IDLE: "list[WorkerProcess]" = []
"""Processes without a job. The last one used is taken first, so that the others reach their idle limit."""

STARTER = ThreadPoolExecutor(1, thread_name_prefix="starter")
"""Starts all processes. Linux kills a child when the thread that started it ends; this thread never ends."""


def build_in_worker(job: BuildJob) -> BuildResult:
    """Build a site in a process of its own and return how that ended, even if the process died."""
    begun, start, exit_reason = datetime.now(UTC), time.monotonic(), ""
    try:
        while not exit_reason:
            worker = _idle_worker() or STARTER.submit(WorkerProcess).result()
            result, exit_reason = worker.build(job)
            if result:
                IDLE.append(worker)
                return result
    except OSError as exc:
        exit_reason = f"the build could not be started: {exc.strerror}"
    message = mask_logins(exit_reason)
    lost = BuildResult("failed", datetime.now(UTC), error="Ended", message=message, retry=True)
    recorded = record(job.config.output.dir, lost, since=begun).last_failure or lost
    return replace(recorded, site=job.name, seconds=round(time.monotonic() - start, 3))


class Processes(Executor):
    """Runs :func:`build_in_worker` in a fixed number of processes, and in a few more while builds are slow.

    A build counts for :data:`SLOW_S` seconds, so that one that hangs does not delay the other sites.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count + MAX_SLOW, thread_name_prefix="site")
        self._slots = threading.Semaphore(count)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` when a process is free."""
        return self._pool.submit(self._in_slot, fn, *args, **kwargs)

    def _in_slot(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._slots.acquire()
        slot = [self._slots]

        def release() -> None:
            with suppress(IndexError):  # released when the build became slow
                slot.pop().release()

        slow = threading.Timer(SLOW_S, release)
        slow.daemon = True
        slow.start()
        try:
            return fn(*args, **kwargs)
        finally:
            slow.cancel()
            release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as any executor
        """Accept no more jobs, and end all idle processes."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
        IDLE.clear()


def _idle_worker() -> "WorkerProcess | None":
    """Return an idle process that can take a job, if there is one, and drop those that have ended."""
    with suppress(IndexError):
        while not (worker := IDLE.pop()).is_ready():
            pass
        return worker
    return None


class WorkerProcess:
    """A process that builds one site at a time. It ends when the last reference to it goes."""

    def __init__(self) -> None:
        self._jobs_left = RENEW_AFTER
        # The thread pool of numpy would only cost memory.
        environment = build_environment() | {"OPENBLAS_NUM_THREADS": "1"}
        self._child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", "-c", PROGRAM, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        kill_first(self._child.pid)

    def __del__(self) -> None:
        """End the process with its last reference."""
        if child := getattr(self, "_child", None):
            self._end(child)

    def is_ready(self) -> bool:
        """Return whether it can take another job: it may have ended when it was idle."""
        return self._jobs_left > 0 and self._child.poll() is None

    def build(self, job: BuildJob) -> tuple[BuildResult | None, str]:
        """Return the job's result, or the exit reason if the process died.

        Return neither if it had already ended.
        """
        self._jobs_left -= 1
        child, limit_s = self._child, job.config.build_timeout_s + GRACE_S
        if job.options.wait:  # for another build that holds the lock, and has a time limit as well
            limit_s += job.config.build_timeout_s
        with suppress(BrokenPipeError):
            pickle.dump(job, child.stdin)  # type: ignore[arg-type]
            child.stdin.flush()  # type: ignore[union-attr]
        stream: Any = child.stdout
        if not _is_readable(stream, limit_s):
            self._end(child)
            return None, f"not finished after {limit_s:g} s, and ended"
        with suppress(EOFError, pickle.UnpicklingError):
            result: BuildResult = pickle.load(stream)  # noqa: S301 - our own process
            return result, ""
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
        self._end(child)
        return None, exit_in_words(child.returncode) if child.returncode else ""

    @staticmethod
    def _end(child: "subprocess.Popen[bytes]") -> None:
        """Kill the process: what it published is whole, and the next build removes the rest."""
        child.kill()
        child.wait()
        for stream in filter(None, (child.stdin, child.stdout)):
            with suppress(OSError):
                stream.close()


def _is_readable(stream: Any, within_s: float) -> bool:
    """Return whether a stream can be read within some seconds. ``select`` stops at file descriptor 1023."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(within_s))
