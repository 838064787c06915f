"""One build in a child process, whatever becomes of it: real processes, real signals."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from reportgen.core.errors import TimedOut
from reportgen.core.processes import GRACE_S, Commands
from reportgen.publish.history import BuildResult, Runs, read_runs, record
from reportgen.publish.release import current_release, lock_output
from reportgen.serve.worker import Worker
from tests.support.services import eventually, write_table

FAILED = '{"status": "failed", "error": "SourceError", "message": "no table", "exit_code": 1, "retry": false}'
HANG = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HANG}"
FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], {options})
open("grandchild.new", "w").write(str(child.pid))
import os; os.rename("grandchild.new", "grandchild")
{then}
"""


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Worker]:
    """Give a function that makes a worker whose child runs some Python instead of a build."""
    monkeypatch.chdir(tmp_path)

    def made(code: str, timeout_s: int = 20, clock: Callable[[], datetime] = now) -> Worker:
        made = Worker(tmp_path / "output", [], commands=Commands(), timeout_s=timeout_s, clock=clock)
        made._command = [sys.executable, "-c", code]
        return made

    return made


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_build_that_ends_well_returns_its_result(tmp_path: Path) -> None:
    """The real one: published, then unchanged; the child itself writes the record."""
    url = write_table(tmp_path / "metrics.csv")
    options = ["--source", url, "--output", str(tmp_path / "output")]
    worker = Worker(tmp_path / "output", options, commands=Commands(), timeout_s=60, clock=now)
    first = worker.run()
    release = current_release(tmp_path / "output")
    assert release
    assert (first.state, first.release, first.details["rows"]) == ("published", release.id, 5)
    assert worker.run().state == "unchanged"
    success = worker.runs.last_success
    assert success
    assert (success.release, success.changed) == (release.id, False)


def test_a_build_that_waits_for_nobody_says_who_is_in_its_way(tmp_path: Path) -> None:
    options = ["--source", "sample", "--output", str(tmp_path / "output")]
    with lock_output(tmp_path / "output"):
        worker = Worker(tmp_path / "output", options, commands=Commands(), timeout_s=60, clock=now)
        result = worker.run()
    assert result.state == "busy"
    assert f"process {os.getpid()}" in result.message
    assert read_runs(tmp_path / "output") == Runs()


def test_a_failure_that_the_child_reports_is_passed_on(make: Callable[..., Worker]) -> None:
    """And put on record, unless the child has done so."""
    worker = make(f"print('''{FAILED}'''); raise SystemExit(1)")
    result = worker.run()
    assert (result.state, result.error, result.message, result.retry) == (
        "failed", "SourceError", "no table", False,
    )  # fmt: skip
    assert worker.runs.failures == 1
    assert worker.runs.last_failure
    assert worker.runs.last_failure.message == "no table"


def test_a_failure_on_record_is_not_noted_twice(make: Callable[..., Worker], tmp_path: Path) -> None:
    options = ["--source", str(tmp_path / "absent.csv"), "--output", str(tmp_path / "output")]
    worker = Worker(tmp_path / "output", options, commands=Commands(), timeout_s=60, clock=now)
    assert worker.run().error == "SourceUnavailable"
    assert worker.runs.failures == 1


@pytest.mark.parametrize(
    ("code", "message", "retry"),
    [
        ("import os; os.kill(os.getpid(), 9)", "the build was killed (out of memory?)", True),
        ("import os; os.kill(os.getpid(), 11)", "the build was ended by SIGSEGV", True),
        ("import os; os.kill(os.getpid(), 15)", "the build was ended by SIGTERM", True),
        ("import os; os.kill(os.getpid(), 35)", "the build was ended by signal 35", True),
        ("import os; print({}, flush=1); os.kill(os.getpid(), 15)", "the build was ended by SIGTERM", True),
        ("raise SystemExit(7)", "the build ended with exit status 7", False),
        ("print('not json')", "the build ended with exit status 0", False),
        ("raise ValueError('no luck')", "the build ended with exit status 1: ValueError: no luck", False),
    ],
)  # fmt: skip
def test_how_a_child_ended_is_said_in_words(
    make: Callable[..., Worker], code: str, message: str, retry: bool
) -> None:
    """A killed build may succeed on retry; one that exits by itself fails again."""
    worker = make(code)
    result = worker.run()
    assert (result.state, result.error, result.message, result.retry) == (
        "failed", "Ended", message, retry,
    )  # fmt: skip
    failure = worker.runs.last_failure
    assert failure
    assert (failure.message, failure.retry, worker.runs.failures) == (message, retry, 1)


def test_a_child_that_cannot_be_started_is_a_failure_worth_a_retry(make: Callable[..., Worker]) -> None:
    """Such as where there is no memory or process left."""
    worker = make("")
    worker._command = ["/nowhere/python"]
    result = worker.run()
    assert (result.state, result.retry) == ("failed", True)
    assert result.message == "the build could not be started: No such file or directory"
    assert worker.runs.failures == 1


@pytest.mark.slow
@pytest.mark.parametrize("code", [HANG, STUBBORN])
def test_a_build_has_a_deadline(make: Callable[..., Worker], code: str) -> None:
    """SIGTERM first; SIGKILL for who does not listen."""
    start = time.monotonic()
    result = make(code, timeout_s=1).run()
    took = time.monotonic() - start
    assert result.message == str(TimedOut.after(1))
    assert (result.state, result.error, result.retry) == ("failed", "TimedOut", True)
    assert 1 <= took < 1 + (GRACE_S if code == STUBBORN else 0) + 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "then", "timeout_s"),
    [
        ("", HANG, 2),
        ("stdout=-3, stderr=-3", HANG, 2),
        ("", "os.kill(os.getpid(), 9)", 20),
        ("stdout=-3, stderr=-3", "os.kill(os.getpid(), 9)", 20),
    ],
)
def test_what_a_child_started_ends_with_it(
    make: Callable[..., Worker], tmp_path: Path, options: str, then: str, timeout_s: int
) -> None:
    """Whether it was late or killed, and whether its children hold its pipes or not."""
    start = time.monotonic()
    result = make(FAMILY.format(options=options, then=then), timeout_s=timeout_s).run()
    grandchild = int((tmp_path / "grandchild").read_text())
    assert result.error == ("TimedOut" if then == HANG else "Ended")
    assert time.monotonic() - start < 6
    eventually(lambda: not alive(grandchild), 1)


@pytest.mark.slow
def test_who_escapes_with_the_pipes_is_not_waited_for(make: Callable[..., Worker], tmp_path: Path) -> None:
    code = FAMILY.format(options="start_new_session=True", then="raise SystemExit(7)")
    start = time.monotonic()
    assert make(code).run().state == "failed"
    assert time.monotonic() - start < 6
    os.kill(int((tmp_path / "grandchild").read_text()), signal.SIGKILL)


def test_the_child_is_the_first_to_go_where_memory_runs_out(make: Callable[..., Worker]) -> None:
    code = """
import json, time
end = time.monotonic() + 5
while (score := open("/proc/self/oom_score_adj").read().strip()) != "1000" and time.monotonic() < end:
    time.sleep(0.01)
print(json.dumps({"status": "published", "score": score}))
"""
    result = make(code).run()
    assert result.details["score"] == "1000"
    assert Path("/proc/self/oom_score_adj").read_text().strip() != "1000"


@pytest.mark.slow
def test_a_stop_ends_all_builds_at_once(make: Callable[..., Worker], tmp_path: Path) -> None:
    """Also those that ignore SIGTERM: together they take as long as one."""
    commands, results = Commands(), list[BuildResult]()
    workers = [make(STUBBORN) for _ in range(4)]
    for worker in workers:
        worker._commands = commands
    threads = [Thread(target=lambda worker=worker: results.append(worker.run())) for worker in workers]
    for thread in threads:
        thread.start()
    time.sleep(1)
    start = time.monotonic()
    commands.stop()
    for thread in threads:
        thread.join(8)
    assert [result.state for result in results] == ["stopped"] * 4
    assert time.monotonic() - start < GRACE_S + 2


def test_only_the_process_group_of_the_child_gets_signals(
    make: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id of the group is the child's until its exit status is read, and another's perhaps after that."""
    signalled, killpg = [], os.killpg

    def checked(group: int, number: int) -> None:
        signalled.append(Path(f"/proc/{group}").exists())
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", checked)
    make("raise SystemExit(7)").run()
    assert signalled == [True, True]


def test_a_child_that_could_not_be_started_is_not_waited_for(make: Callable[..., Worker]) -> None:
    worker = make("")
    worker._command = ["/nowhere/python"]
    worker.run()
    start = time.monotonic()
    worker._commands.stop()
    assert time.monotonic() - start < GRACE_S / 2


def test_after_a_stop_nothing_begins_and_nothing_is_on_record(
    make: Callable[..., Worker], tmp_path: Path
) -> None:
    worker = make("open('begun', 'w')")
    worker._commands.stop()
    stopped = worker.run()
    assert (stopped.state, stopped.message) == ("stopped", "the service is stopping")
    assert not (tmp_path / "begun").exists()
    assert read_runs(tmp_path / "output") == Runs()


@pytest.mark.parametrize("delay_s", [0, 0.001, 0.003, 0.01, 0.05, 0.2])
def test_a_stop_at_any_moment_ends_the_child(make: Callable[..., Worker], delay_s: float) -> None:
    """Before it is started, while it starts, and after."""
    worker = make(HANG)
    results: list[BuildResult] = []
    thread = Thread(target=lambda: results.append(worker.run()))
    thread.start()
    time.sleep(delay_s)
    start = time.monotonic()
    worker._commands.stop()
    thread.join(5)
    assert [result.state for result in results] == ["stopped"]
    assert time.monotonic() - start < 1.5


def test_where_the_record_cannot_be_written_the_worker_remembers_and_counts(
    make: Callable[..., Worker], tmp_path: Path
) -> None:
    """Until something is on record again."""
    output = tmp_path / "output"
    output.write_bytes(b"")
    worker = make("raise SystemExit(7)")
    for count in (1, 2, 3):
        worker.run()
        failure = worker.runs.last_failure
        assert failure
        assert (worker.runs.failures, failure.message) == (count, "the build ended with exit status 7")
    output.unlink()
    record(output, BuildResult("published", now(), release="r"))
    assert (worker.runs.failures, worker.runs.last_failure) == (0, None)


def test_a_clock_put_back_hides_no_failure(make: Callable[..., Worker], tmp_path: Path) -> None:
    """A failure on record that lies in the future is an old one."""
    record(tmp_path / "output", BuildResult("failed", now() + timedelta(hours=1), error="Old", message="old"))
    worker = make("raise SystemExit(7)")
    worker.run()
    assert worker.runs.last_failure
    assert (worker.runs.last_failure.error, worker.runs.failures) == ("Ended", 2)


def test_a_report_is_the_last_line_of_the_child(make: Callable[..., Worker]) -> None:
    """Whatever a library prints before, in whatever bytes."""
    code = f"""
import sys
sys.stdout.buffer.write(b"\\xff noise\\n{{}}\\n")
sys.stderr.buffer.write(b"x" * 1_000_000)
print({json.dumps({"status": "published", "rows": 7})!r})
"""
    assert make(code).run().details == {"status": "published", "rows": 7}
