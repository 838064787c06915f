"""Time limits, memory, and work in a forked child: what it returns, what it raises, how it may end."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest

from reportgen.core import processes
from reportgen.core.errors import RenderError, RenderKilled, TimedOut
from reportgen.core.processes import run_in_child, within
from tests.support.manysites import begun, ended
from tests.support.services import children as children_of
from tests.support.services import eventually


def nothing() -> None:
    """Do nothing meanwhile."""


def test_the_result_of_the_child_is_returned(tmp_path: Path) -> None:
    """Of any size: more than a pipe holds before the parent reads."""
    (pid, text), held = run_in_child(lambda: (os.getpid(), "ä" * 10**6), lambda: time.sleep(0.1))
    assert (pid != os.getpid(), text) == (True, "ä" * 10**6)
    assert held > 10**7


def test_both_work_at_the_same_time(tmp_path: Path) -> None:
    def wait_for(name: str, other: str) -> bool:
        (tmp_path / name).touch()
        deadline = time.monotonic() + 20
        while not (tmp_path / other).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        return (tmp_path / other).exists()

    met = []
    (there, _) = run_in_child(lambda: wait_for("one", "two"), lambda: met.append(wait_for("two", "one")))
    assert (there, met) == (True, [True])


def test_an_exception_of_the_child_is_raised_with_its_traceback() -> None:
    def work() -> NoReturn:
        raise RenderError("report.html, line 3 cannot be rendered: …")

    with pytest.raises(RenderError, match="line 3") as caught:
        run_in_child(work, nothing)
    assert "test_processes.py" in caught.value.__notes__[0]


def test_a_result_that_cannot_be_pickled_is_an_error() -> None:
    """It is a defect: a retry would end the same way."""
    with pytest.raises(RuntimeError, match="ended with exit status 1"):
        run_in_child(threading.Lock, nothing)


class TwoThingsError(Exception):
    """Cannot be unpickled, like many an exception of a library."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def test_an_exception_that_cannot_be_pickled_is_raised_by_its_name() -> None:
    def work() -> NoReturn:
        raise TwoThingsError("this", "that")

    with pytest.raises(RuntimeError, match="TwoThingsError: this and that") as caught:
        run_in_child(work, nothing)
    assert "test_processes.py" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [(signal.SIGKILL, r"was killed \(out of memory\?\)"), (signal.SIGSEGV, "ended by SIGSEGV")],
)
def test_a_child_that_is_killed_is_an_error_that_a_retry_may_pass(number: int, words: str) -> None:
    with pytest.raises(RenderKilled, match=words) as caught:
        run_in_child(lambda: os.kill(os.getpid(), number), nothing)
    assert caught.value.retry


def test_an_error_in_the_parent_ends_the_child() -> None:
    """An error or Ctrl-C meanwhile leaves no process behind."""
    before, seen = set(children()), set[int]()

    def meanwhile() -> NoReturn:
        seen.update(children())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_child(lambda: time.sleep(60), meanwhile)
    assert (len(seen - before), set(children()) - before) == (1, set())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_ends_when_its_parent_is_killed(number: int, tmp_path: Path) -> None:
    """A drawing that hangs does not outlive its build."""
    code = """
import os, sys, time
from pathlib import Path
from reportgen.core.processes import run_in_child
def work():
    Path(sys.argv[1]).write_text(str(os.getpid()))
    while True: pass
run_in_child(work, lambda: None)
"""
    file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", code, str(file)]) as process:
        eventually(lambda: file.exists() and file.read_text())
        process.send_signal(number)
        process.wait(10)
    copy = Path(f"/proc/{file.read_text()}")
    eventually(lambda: not copy.exists() or " Z " in (copy / "stat").read_text())


def test_ctrl_c_during_a_build_prints_nothing(tmp_path: Path) -> None:
    """A terminal sends the signal to all processes of the command."""
    process = begun(tmp_path, "build", "--quiet", "--source", "sample", start_new_session=True)
    eventually(lambda: children_of(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process, 10)
    assert (done.code, done.out, done.err) == (130, "", "")


def test_the_child_holds_no_file_of_the_parent(tmp_path: Path) -> None:
    """In particular not the lock of the output, which it would keep if it outlived the parent."""
    with (tmp_path / "lock").open("w"):
        files, _ = run_in_child(open_files, nothing)
    assert [file for file in files if str(tmp_path) in file] == []


def open_files() -> list[str]:
    """Return the files that this process has open."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            found.append(str(each.readlink()))
    return found


def children() -> list[int]:
    """Return the processes that this one has started."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("linux", 1024)])
def test_peak_memory_without_proc_is_in_bytes(
    monkeypatch: pytest.MonkeyPatch, platform: str, unit: int
) -> None:
    """``ru_maxrss`` counts bytes on macOS and KiB elsewhere."""

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(processes.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=100_000))
    assert processes.peak_memory_bytes() == 100_000 * unit
    assert processes.held_bytes() == 100_000 * unit


def test_work_in_time_returns_its_result_and_its_error() -> None:
    assert within(5, lambda start: [start(), "done"][1]) == "done"

    def fails(_: Callable[[], None]) -> None:
        raise TimeoutError("of a library, before the time has started")

    with pytest.raises(TimeoutError, match="of a library"):
        within(5, fails)


def test_work_that_takes_too_long_is_not_awaited() -> None:
    def hangs(start: Callable[[], None]) -> None:
        start()
        time.sleep(5)

    begun = time.monotonic()
    with pytest.raises(TimedOut, match=r"not finished after 0.2 s"):
        within(0.2, hangs)
    assert time.monotonic() - begun < 4


def test_the_time_before_the_start_does_not_count() -> None:
    """A build may wait for another one as long as that takes."""

    def waits(start: Callable[[], None]) -> str:
        time.sleep(0.5)
        start()
        return "done"

    assert within(0.2, waits) == "done"
