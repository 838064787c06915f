"""Work done aside: in a copy of this process that ends with it, and gives back the memory that it took."""

import gc
import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

from reportgen.core.errors import RenderKilled
from reportgen.core.timing import held_bytes

Result = TypeVar("Result")

PR_SET_PDEATHSIG = 1
"""Of ``prctl(2)``: which signal a process gets when its parent ends."""


def processors() -> int:
    """Return on how many processors this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_child(
    work: Callable[[], Result], meanwhile: Callable[[], None] = lambda: None
) -> tuple[Result, int]:
    """Return what ``work`` returns in a copy of this process, and the most bytes that both held together.

    ``meanwhile`` is called here, at the same time. What ``work`` raises is raised here, with its traceback
    as a note. The copy has this process's memory but none of its open files, so it holds no lock.

    Raises:
        RenderKilled: the copy was ended from outside.

    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    with warnings.catch_warnings():
        # From 3.12 on, where there are threads: the deadline's, which holds nothing, and on a terminal the
        # spinner's, whose lock the copy does not want.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _work(work, writing, parent)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as stream:
            meanwhile()
            answer = _answer(stream)
            held = held_bytes()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise RenderKilled(f"the process that draws the report {_in_words(os.WTERMSIG(status))}")
    if answer is None:
        code = os.waitstatus_to_exitcode(status)
        raise RuntimeError(f"the process that draws the report ended with {code}")
    result, error, childs = answer
    if error is not None:
        raise error
    return result, held + childs


def _answer(stream: BinaryIO) -> tuple[Any, Exception | None, int] | None:
    """Return what the copy wrote: result, error, bytes held; ``None`` where it ended before it was done."""
    try:
        answer: tuple[Any, Exception | None, int] = pickle.load(stream)  # noqa: S301 - our own copy wrote it
    except (EOFError, pickle.UnpicklingError):
        return None
    return answer


def _work(work: Callable[[], object], writing: int, parent: int) -> NoReturn:
    """Be the copy: work, write what came of it, and end, whatever happens."""
    status = 1
    try:
        end_with(parent)
        os.dup2(writing, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # not the spinner's
        gc.disable()  # it ends before there is anything to gain
        answer: tuple[object, Exception | None, int]
        try:
            answer = (work(), None, held_bytes())
        except Exception as exc:  # noqa: BLE001 - it is raised again where it can be told
            answer = (None, _portable(exc), 0)
        with os.fdopen(3, "wb") as stream:
            pickle.dump(answer, stream)
        status = 0
    finally:
        os._exit(status)


def end_with(parent: int) -> None:
    """Let the kernel end this process with its parent: a drawing that hangs must not outlive its build."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """Return an error as it can be handed to another process, with its traceback as a note."""
    handed: Exception
    try:
        handed = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - foreign classes may fail in any way
        handed = RuntimeError(f"{type(error).__name__}: {error}")
    handed.add_note(f"in the process that draws:\n{''.join(traceback.format_exception(error))}")
    return handed


def _in_words(number: int) -> str:
    return "was killed (out of memory?)" if number == signal.SIGKILL else f"was ended by signal {number}"


def environment_of_a_build() -> dict[str, str]:
    """Return what a build is to know: not the password of the pages."""
    return {name: value for name, value in os.environ.items() if name != "REPORTGEN_PASSWORD"}


def in_words(status: int) -> str:
    """Say how a child ended."""
    if status >= 0:
        return f"the build ended with exit status {status}"
    if -status == signal.SIGKILL:
        return "the build was killed (out of memory?)"
    with suppress(ValueError):
        return f"the build was ended by {signal.Signals(-status).name}"
    return f"the build was ended by signal {-status}"


def first_to_go(pid: int) -> None:
    """Where memory runs out, let the kernel end the build, not the server."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")
