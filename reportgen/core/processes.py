"""Run work in a forked child; helpers for all processes that build."""

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
"""Option of ``prctl(2)``: the signal that a process gets when its parent ends."""

RESULT_FD = 3
"""File descriptor to which the child writes its result."""

FD_LIMIT = 65_536
"""Number of file descriptors to close where the open ones cannot be listed."""


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_child(
    work: Callable[[], Result], meanwhile: Callable[[], None] = lambda: None
) -> tuple[Result, int]:
    """Return what ``work`` returns in a forked child, and the memory of both processes together, in bytes.

    The child gives its memory back to the system when it ends, which halves the peak of a build.
    ``meanwhile`` is called in this process while the child works. An exception of ``work`` is raised here,
    with its traceback as a note. The child inherits the memory of this process but closes its files, so it
    holds no lock.

    Raises:
        RenderKilled: the child was killed.

    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    with warnings.catch_warnings():
        # Python 3.12 warns if there are other threads. Here they wait for the build, or draw the spinner of a
        # terminal: the child needs no lock that they could hold.
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
        raise RenderKilled(f"the process that draws the report {_signal_in_words(os.WTERMSIG(status))}")
    if answer is None:
        code = os.waitstatus_to_exitcode(status)
        raise RuntimeError(f"the process that draws the report ended with {code}")
    result, error, childs = answer
    if error is not None:
        raise error
    return result, held + childs


def _answer(stream: BinaryIO) -> tuple[Any, Exception | None, int] | None:
    """Return the result, the error and the bytes held that the child wrote, or ``None`` if it wrote none."""
    try:
        answer: tuple[Any, Exception | None, int] = pickle.load(stream)  # noqa: S301 - our own child wrote it
    except (EOFError, pickle.UnpicklingError):
        return None
    return answer


def _work(work: Callable[[], object], writing: int, parent: int) -> NoReturn:
    """Run ``work`` in the child, write its result to the pipe ``writing``, and end the child."""
    status = 1
    try:
        end_with(parent)
        os.dup2(writing, RESULT_FD)
        _close_files(above=RESULT_FD)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # the spinner replaced them
        gc.disable()  # the child ends before a collection pays
        answer: tuple[object, Exception | None, int]
        try:
            answer = (work(), None, held_bytes())
        except Exception as exc:  # noqa: BLE001 - it is raised again in the parent
            answer = (None, _portable(exc), 0)
        with os.fdopen(RESULT_FD, "wb") as stream:
            pickle.dump(answer, stream)
        status = 0
    finally:
        os._exit(status)


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends: one that hangs must not outlive its build."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)


def _close_files(*, above: int) -> None:
    """Close every file descriptor above a number. Their limit may be a billion, so open ones are listed."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]  # noqa: PTH208 - names, not paths
    except OSError:
        os.closerange(above + 1, FD_LIMIT)
        return
    for number in numbers:
        if number > above:
            with suppress(OSError):  # the one that listed the directory
                os.close(number)


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled, with its traceback as a note."""
    portable: Exception
    try:
        portable = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - foreign classes may fail in any way
        portable = RuntimeError(f"{type(error).__name__}: {error}")
    portable.add_note(f"in the process that draws:\n{''.join(traceback.format_exception(error))}")
    return portable


def _signal_in_words(number: int) -> str:
    return "was killed (out of memory?)" if number == signal.SIGKILL else f"was ended by signal {number}"


def build_environment() -> dict[str, str]:
    """Return the environment of a process that builds: without the password of the pages."""
    return {name: value for name, value in os.environ.items() if name != "REPORTGEN_PASSWORD"}


def exit_in_words(status: int) -> str:
    """Return a sentence about how a process that built ended; ``status`` is as in ``Popen.returncode``."""
    if status >= 0:
        return f"the build ended with exit status {status}"
    if -status == signal.SIGKILL:
        return "the build was killed (out of memory?)"
    with suppress(ValueError):
        return f"the build was ended by {signal.Signals(-status).name}"
    return f"the build was ended by signal {-status}"


def kill_first(pid: int) -> None:
    """Let the kernel kill process ``pid``, a build, before the server when memory runs out."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")
