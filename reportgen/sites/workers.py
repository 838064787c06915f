"""A site is built apart: in a process that has nothing else to do then, and stays warm for the next site.

:func:`build_apart` is what any ``concurrent.futures.Executor`` runs, in threads here or on a cluster: plain
values in, plain values out. A site that hangs, crashes or eats all memory takes that one process
with it, and is named; whoever waits in the queue gets a new one.
"""

import os
import pickle
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from reportgen.build.job import BuildJob, BuildResult
from reportgen.core.errors import mask_logins
from reportgen.core.processes import first_to_go, in_words
from reportgen.publish.history import Failure, read_runs, record_failure

GRACE_S = 5.0
"""How much longer than its own deadline a build is waited for: what it says of itself tells more."""

RENEW_AFTER = 500
"""So many sites a process builds; a new one costs a fraction of a percent of that."""

PROGRAM = "from reportgen.build.job import main; main()"
"""Not ``-m``: what it pickles must be of the module, not of ``__main__``."""

SLOW_S = 15.0
"""A build that takes longer keeps no process from other sites any more: it may hang."""

MOST_SLOW = 4
"""So many builds may be under way besides those that count."""

IDLE: "list[WorkerProcess]" = []
"""Processes without work. The one that worked last is taken first, so that others may end for want of it."""

STARTER = ThreadPoolExecutor(1, thread_name_prefix="starter")
"""Its thread lives as long as this process: Linux ends a child that is to go with its parent together with
the thread that started it, whoever has it then.
"""


def build_apart(job: BuildJob) -> BuildResult:
    """Build a site in a process of its own, and say what it came to, whatever becomes of that process."""
    begun, start, ended = datetime.now(UTC), time.monotonic(), ""
    try:
        while not ended:
            worker = _idle() or STARTER.submit(WorkerProcess).result()
            result, ended = worker.build(job)
            if result:
                IDLE.append(worker)
                return result
    except OSError as exc:
        ended = f"the build could not be started: {exc.strerror}"
    return _lost(job, begun, round(time.monotonic() - start, 3), ended)


class Processes(Executor):
    """Runs :func:`build_apart` in so many processes of this machine, and a few more while builds are slow.

    A build counts for :data:`SLOW_S`: one that hangs keeps no process from the others.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count + MOST_SLOW, thread_name_prefix="site")
        self._turns = threading.Semaphore(count)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` when its turn has come."""
        return self._pool.submit(self._in_turn, fn, *args, **kwargs)

    def _in_turn(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._turns.acquire()
        turn = [self._turns]

        def give_back() -> None:
            with suppress(IndexError):  # it was given back when the build had become slow
                turn.pop().release()

        slow = threading.Timer(SLOW_S, give_back)
        slow.daemon = True
        slow.start()
        try:
            return fn(*args, **kwargs)
        finally:
            slow.cancel()
            give_back()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - as any executor
        """Take no more orders, and keep no process."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)
        IDLE.clear()


def _idle() -> "WorkerProcess | None":
    """Return a process that can take an order, if there is one; those that cannot any more go."""
    with suppress(IndexError):
        while not (worker := IDLE.pop()).is_ready():
            pass
        return worker
    return None


class WorkerProcess:
    """A process that builds one site at a time. It is gone when nobody has it any more."""

    def __init__(self) -> None:
        self._left = RENEW_AFTER
        self._child = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", "-c", PROGRAM, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(),
        )  # fmt: skip
        first_to_go(self._child.pid)

    def __del__(self) -> None:
        """End the process with its last owner."""
        if child := getattr(self, "_child", None):
            self._end(child)

    def is_ready(self) -> bool:
        """Tell whether it can take another order: it may have ended for want of work."""
        return self._left > 0 and self._child.poll() is None

    def build(self, job: BuildJob) -> tuple[BuildResult | None, str]:
        """Return what an order came to, or how the process ended on it; neither where it had just left."""
        self._left -= 1
        child, most_s = self._child, job.config.build_timeout_s + GRACE_S
        if job.options.wait:  # for a build that holds the output, which has a deadline as well
            most_s += job.config.build_timeout_s
        with suppress(BrokenPipeError):
            pickle.dump(job, child.stdin)  # type: ignore[arg-type]
            child.stdin.flush()  # type: ignore[union-attr]
        answer: Any = child.stdout
        if not select.select([answer], [], [], most_s)[0]:
            self._end(child)
            return None, f"not done after {most_s:g} s, and ended"
        with suppress(EOFError, pickle.UnpicklingError):
            result: BuildResult = pickle.load(answer)  # noqa: S301 - our own process
            return result, ""
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
        self._end(child)
        return None, in_words(child.returncode) if child.returncode else ""

    @staticmethod
    def _end(child: "subprocess.Popen[bytes]") -> None:
        """End the process at once: what it has published is whole, and the rest is nobody's."""
        child.kill()
        child.wait()
        for stream in filter(None, (child.stdin, child.stdout)):
            with suppress(OSError):
                stream.close()


def _lost(job: BuildJob, begun: datetime, seconds: float, ended: str) -> BuildResult:
    """Return the result of a build whose process ended, and put it on record unless it did so itself."""
    root = job.config.output.dir
    failure = read_runs(root).last_failure
    if failure is None or not begun <= failure.at <= datetime.now(UTC):
        failure = Failure(datetime.now(UTC), "Ended", mask_logins(ended), retry=True)
        record_failure(root, failure)
    return BuildResult(
        job.name, "failed", seconds,
        message=failure.message, error=failure.error, retry=failure.retry, begun=begun,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """Return what a build is to know: not the password of the pages."""
    known = {name: value for name, value in os.environ.items() if name != "REPORTGEN_PASSWORD"}
    return known | {"OPENBLAS_NUM_THREADS": "1"}  # numpy's threads, which nothing here would use
