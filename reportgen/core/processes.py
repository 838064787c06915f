"""Processes: the time and memory that they take, their time limits, and child processes.

There are three kinds of child processes: a command in a session of its own (:class:`Commands`), a copy of
this process that draws (:func:`run_in_child`), and a process of a pool that builds one site after another
(:func:`begin_pool_process`).
"""

import ctypes
import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeVar

from reportgen.core.errors import RenderKilled, TimedOut

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Result = TypeVar("Result")

M_ARENA_MAX = -8
"""Option of ``mallopt(3)``: the number of arenas from which threads allocate memory."""

PR_SET_PDEATHSIG = 1
"""Option of ``prctl(2)``: the signal that a process gets when its parent ends."""

FD_LIMIT = 65_536
"""File descriptors below this number are closed in a copy. Not the system's limit, which may be a billion."""

GRACE_S = 2.0
"""Seconds that a command may take to end after SIGTERM, before SIGKILL."""

CHECK_EVERY_S = 0.02
"""Seconds between two checks whether a command has ended."""


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


def data_bytes() -> int:
    """Return what ``RLIMIT_DATA`` of ``setrlimit(2)`` limits, in bytes, or 0 if it is not known."""
    return _proc_bytes("status", "VmData:")


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


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def within(timeout_s: float, work: Callable[[Callable[[], None]], Result]) -> Result:
    """Run ``work`` in a thread and return its result: no call of a library can outlast the limit.

    ``work`` gets a function whose call starts the time. Before that call it may wait without a limit.

    Raises:
        TimedOut: ``work`` is not done in time. Its thread goes on: the caller must end the process.

    """
    with suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)  # the thread's own arena would cost 4 % of a build's memory
    started, outcome = threading.Event(), Future[Result]()

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


def exit_in_words(status: int, what: str = "the build") -> str:
    """Return a sentence about how a process ended; ``status`` is as in ``Popen.returncode``."""
    if status >= 0:
        return f"{what} ended with exit status {status}"
    if -status == signal.SIGKILL:
        return f"{what} was killed (out of memory?)"
    with suppress(ValueError):
        return f"{what} was ended by {signal.Signals(-status).name}"
    return f"{what} was ended by signal {-status}"


def kill_first(pid: int) -> None:
    """Let the kernel kill process ``pid``, a build, before the server when memory runs out."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000", encoding="ascii")


def end_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends: one that hangs must not outlive its build."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before the call
        os._exit(1)


@contextmanager
def without_sigint() -> Iterator[None]:
    """Let processes and threads that are started here not react to Ctrl-C: this process ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_pool_process(parent: int) -> None:
    """Prepare this process, which a pool has started, to build one site after another."""
    end_with(parent)
    kill_first(os.getpid())
    os.dup2(2, 1)  # libraries may print there; the parent prints results there


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status as in ``Popen.returncode``, its output, and what ended it."""

    status: int
    out: str
    err: str
    late: bool
    stopped: bool


class Commands:
    """Runs commands for a service, each in a session of its own, and ends all of them when it stops."""

    def __init__(self) -> None:
        self._running: set[object] = set()
        self._stopping = threading.Event()

    def run(self, command: Sequence[str], timeout_s: float) -> Ended:
        """Run a command, end it and all that it started after some seconds, and return how it ended.

        The command does not get the password of the pages.

        Raises:
            OSError: it cannot be started.

        """
        running = object()
        self._running.add(running)  # before the check, so that ``stop`` waits for it
        try:
            if self._stopping.is_set():
                return Ended(-signal.SIGTERM, "", "", late=False, stopped=True)
            return self._run(command, timeout_s)
        finally:
            self._running.discard(running)

    def _run(self, command: Sequence[str], timeout_s: float) -> Ended:
        environment = {name: value for name, value in os.environ.items() if name != "REPORTGEN_PASSWORD"}
        # Not pipes: a process that left the group could hold them open.
        with _memory_file() as out, _memory_file() as err:
            child = subprocess.Popen(  # noqa: S603 - our own command
                command,
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True, env=environment,
            )  # fmt: skip
            kill_first(child.pid)
            deadline = time.monotonic() + timeout_s
            while not (ended := _has_ended(child)) and time.monotonic() < deadline:
                if self._stopping.wait(CHECK_EVERY_S):
                    break
            _end(child)
            stopped = self._stopping.is_set()
            return Ended(child.returncode, _text(out), _text(err), late=not ended, stopped=stopped)

    def stop(self) -> None:
        """End all commands that run, and start no other."""
        self._stopping.set()
        deadline = time.monotonic() + 1.5 * GRACE_S
        while self._running and time.monotonic() < deadline:  # the threads that run them end them
            time.sleep(CHECK_EVERY_S)


def _memory_file() -> IO[bytes]:
    """Return a file without a name, in memory on Linux: the disk may be full or read-only."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("output"), "w+b")
    return tempfile.TemporaryFile()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _has_ended(child: "subprocess.Popen[bytes]") -> bool:
    """Return whether a command has ended. Its id stays its own, so that :func:`_end` hits no other group."""
    if hasattr(os, "waitid"):  # not on macOS before Python 3.13
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    return child.poll() is not None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a command and all that it started: SIGTERM, then SIGKILL."""
    _signal_group(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while not _has_ended(child) and time.monotonic() < deadline:
        time.sleep(CHECK_EVERY_S)
    _signal_group(child, signal.SIGKILL)
    child.wait()


def _signal_group(child: "subprocess.Popen[bytes]", number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


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
    import multiprocessing  # only a build that draws needs it

    fork = multiprocessing.get_context("fork")
    receiving, sending = fork.Pipe(duplex=False)
    child = fork.Process(target=_work, args=(work, sending, os.getpid()))
    with warnings.catch_warnings(), without_sigint():
        # Python 3.12 warns if there are other threads. Here they wait for the build, or draw the spinner of a
        # terminal: the child needs no lock that they could hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sending.close()
    answer = None
    try:
        with receiving:
            meanwhile()
            with suppress(EOFError, OSError):  # the child ended before, or while it sent
                answer = receiving.recv()
            held = held_bytes()
    except BaseException:
        child.kill()
        raise
    finally:
        child.join()
    if answer is None:
        kind = RenderKilled if child.exitcode and child.exitcode < 0 else RuntimeError
        raise kind(exit_in_words(child.exitcode or 0, "the process that draws the report"))
    result, error, childs = answer
    if error is not None:
        raise error
    return result, held + childs


def _work(work: Callable[[], object], sending: "Connection", parent: int) -> None:
    """Run ``work`` in the child and send the result, the error and the memory in bytes to the parent."""
    end_with(parent)
    os.closerange(3, sending.fileno())
    os.closerange(sending.fileno() + 1, FD_LIMIT)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # the spinner replaced them
    gc.disable()  # the child ends before a collection pays
    answer: tuple[object, Exception | None, int]
    try:
        answer = (work(), None, held_bytes())
    except Exception as exc:  # noqa: BLE001 - it is raised again in the parent
        answer = (None, _portable(exc), 0)
    sending.send(answer)


def _portable(error: Exception) -> Exception:
    """Return an error that can be pickled, with its traceback as a note."""
    portable: Exception
    try:
        portable = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - foreign classes may fail in any way
        portable = RuntimeError(f"{type(error).__name__}: {error}")
    portable.add_note(f"in the process that draws:\n{''.join(traceback.format_exception(error))}")
    return portable
