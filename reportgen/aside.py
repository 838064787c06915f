"""Work done aside: in a copy of this process that ends with it, and gives back the memory that it took."""

import gc
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import NoReturn, TypeVar

from reportgen.errors import RenderKilled
from reportgen.stopwatch import held_bytes

Result = TypeVar("Result")


def processors() -> int:
    """Return on how many processors this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def aside(work: Callable[[], Result], meanwhile: Callable[[], None]) -> tuple[Result, int]:
    """Return what ``work`` returns in a copy of this process, and the most bytes that both held together.

    ``meanwhile`` is called here, at the same time. What ``work`` raises is raised here, with its traceback
    as a note. The copy has this process's memory but none of its open files, so it holds no lock.

    Raises:
        RenderKilled: the copy was ended from outside.

    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        # From 3.12 on, where there are threads. The only one here is the deadline's, which holds nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _work(work, writing)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as stream:
            meanwhile()
            answer = stream.read()
            held = held_bytes()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if not answer or status:
        raise RenderKilled(f"the process that draws the report {_in_words(status)}")
    result, error, childs = pickle.loads(answer)  # noqa: S301 - our own copy wrote it
    if error is not None:
        raise error
    return result, held + childs


def _work(work: Callable[[], object], writing: int) -> NoReturn:
    """Be the copy: work, write what came of it, and end, whatever happens."""
    status = 1
    try:
        os.dup2(writing, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        gc.disable()  # it ends before there is anything to gain
        answer: tuple[object, Exception | None, int]
        try:
            answer = (work(), None, held_bytes())
        except Exception as exc:  # noqa: BLE001 - it is raised again where it can be told
            exc.add_note(f"in the process that draws:\n{traceback.format_exc()}")
            answer = (None, exc, 0)
        with os.fdopen(3, "wb") as stream:
            stream.write(pickle.dumps(answer))
        status = 0
    finally:
        os._exit(status)


def _in_words(status: int) -> str:
    number = os.waitstatus_to_exitcode(status)
    if number == -signal.SIGKILL:
        return "was killed (out of memory?)"
    return f"ended with {f'signal {-number}' if number < 0 else f'exit status {number}'}"
