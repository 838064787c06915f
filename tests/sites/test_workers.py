"""Warm processes: kept for the next site, renewed, replaced when they are gone, and shared in turns."""

import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event, Lock

import pytest

from reportgen.build.job import BuildJob
from reportgen.config.settings import Config
from reportgen.publish.history import read_runs
from reportgen.sites import workers
from reportgen.sites.workers import IDLE, MAX_SLOW, Processes, build_in_worker
from tests.support.manysites import silent, table
from tests.support.services import children, eventually

pytestmark = pytest.mark.slow

SECRET = "geheim7f3a"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[BuildJob]:
    """Give the job of a small site; its process ends with the test."""
    given = {
        "windows": ["7d"], "source": {"url": table(tmp_path, "blog")}, "output": {"dir": tmp_path / "output"},
    }  # fmt: skip
    IDLE.clear()  # another test may have left a process that is warm
    yield BuildJob("blog", Config.model_validate(given), tmp_path / "kept")
    IDLE.clear()


def idle_pid() -> int:
    """Return the one process that is idle."""
    (kept,) = IDLE
    return int(kept._child.pid)


def test_the_next_site_gets_the_same_process_and_pays_for_itself_alone(job: BuildJob) -> None:
    """What is on record of a build is what that build took, not what its process has taken so far."""
    first = build_in_worker(job)
    one, before = idle_pid(), read_runs(job.config.output.dir).last_success
    second = build_in_worker(job)
    after = read_runs(job.config.output.dir).last_success
    assert (first.state, second.state, idle_pid()) == ("published", "published", one)
    assert before is not None
    assert after is not None
    assert after.cpu_seconds < before.cpu_seconds / 2


def test_a_process_is_renewed_after_many_sites(job: BuildJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "RENEW_AFTER", 1)
    assert build_in_worker(job).state == "published"
    one = idle_pid()
    assert build_in_worker(job).state == "published"
    assert idle_pid() != one
    assert not Path(f"/proc/{one}").exists()


def test_a_process_that_is_gone_is_replaced_and_nothing_is_lost(job: BuildJob) -> None:
    """It may have ended for want of work, or was killed while it had none."""
    assert build_in_worker(job).state == "published"
    os.kill(idle_pid(), signal.SIGKILL)
    eventually(lambda: IDLE[0]._child.poll() is not None)
    assert build_in_worker(job).state == "published"
    assert read_runs(job.config.output.dir).failures == 0


def test_a_process_goes_with_its_executor(job: BuildJob) -> None:
    """Whichever thread asked for it: the next one finds it idle."""
    executor = Processes(1)
    pids = {(executor.submit(build_in_worker, job).result().state, idle_pid()) for _ in range(3)}
    executor.shutdown()
    ((state, pid),) = pids
    assert state == "published"
    eventually(lambda: pid not in children(os.getpid()))


def test_a_process_outlives_the_thread_that_asked_for_it(job: BuildJob) -> None:
    """Threads of a cluster's worker come and go, and a process may be another thread's then."""
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(build_in_worker, job).result().state == "published"
    one = idle_pid()
    time.sleep(0.2)
    assert build_in_worker(job).state == "published"
    assert idle_pid() == one


def test_a_program_that_cannot_be_started_is_reported(job: BuildJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    result = build_in_worker(job)
    assert (result.state, result.retry) == ("failed", True)
    assert result.message == "the build could not be started: No such file or directory"
    assert read_runs(job.config.output.dir).failures == 1


def test_jobs_and_results_are_plain_values(job: BuildJob) -> None:
    """They travel to other machines; a password in them shows in no repr."""
    url = f"postgresql://reader:{SECRET}@127.0.0.1:9/stats"
    source = Config.model_validate({"source": {"url": url, "connect_timeout_s": 1}}).source
    config = job.config.model_copy(update={"source": source})
    secret = BuildJob("blog", config, job.kept)
    again = pickle.loads(pickle.dumps(secret))
    assert again == secret
    assert SECRET not in repr(again)
    result = build_in_worker(secret)
    assert (result.state, result.error) == ("failed", "SourceUnavailable")
    assert SECRET not in repr(pickle.loads(pickle.dumps(result)))


class Busy:
    """Counts who works at the same time; ``release`` lets those go that hang."""

    def __init__(self) -> None:
        self.now, self.most, self.lock, self.release = 0, 0, Lock(), Event()

    def work(self, *, hangs: bool = False) -> None:
        """Work for a moment, or until released."""
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        if hangs:
            self.release.wait(30)
        time.sleep(0.05)
        with self.lock:
            self.now -= 1


@pytest.fixture
def busy() -> Iterator[Busy]:
    """Give what is counted; all are released in the end."""
    counted = Busy()
    yield counted
    counted.release.set()


@pytest.mark.parametrize("count", [1, 2])
def test_number_of_sites_that_are_built_at_once(busy: Busy, count: int) -> None:
    executor = Processes(count)
    wait([executor.submit(busy.work) for _ in range(12)])
    executor.shutdown()
    assert busy.most == count


def test_one_that_hangs_keeps_no_process_from_the_others(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives back its turn once only, when it ends after all."""
    monkeypatch.setattr(workers, "SLOW_S", 0.2)
    executor = Processes(1)
    hanging = executor.submit(busy.work, hangs=True)
    executor.submit(busy.work).result(timeout=10)
    assert not hanging.done()
    busy.release.set()
    hanging.result(timeout=10)
    busy.most = 0
    wait([executor.submit(busy.work) for _ in range(6)])
    executor.shutdown()
    assert busy.most == 1


def test_no_more_than_a_few_hang_besides(busy: Busy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SLOW_S", 0.05)
    executor = Processes(1)
    for _ in range(2 * MAX_SLOW):
        executor.submit(busy.work, hangs=True)
    eventually(lambda: busy.now == 1 + MAX_SLOW)
    time.sleep(0.3)
    assert busy.most == 1 + MAX_SLOW
    busy.release.set()
    executor.shutdown()


def test_a_worker_is_read_above_file_descriptor_1023(job: BuildJob) -> None:
    """``select`` stops there; a service with many readers has more."""
    IDLE.clear()  # a process that another test left would be read at its low number
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"this machine allows only {hard} file descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    files = []
    try:
        while not files or files[-1].fileno() < 1100:
            files.append(open(os.devnull, "rb"))  # noqa: SIM115, PTH123 - kept open on purpose
        assert build_in_worker(job).state == "published"
    finally:
        for file in files:
            file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_worker_ends_after_a_build_that_timed_out(job: BuildJob, tmp_path: Path) -> None:
    """A thread of it is stuck and holds the lock; the next job gets a new process."""
    with silent() as database:
        settings = {
            "source": {"url": database.url},
            "output": {"dir": tmp_path / "stuck"},
            "build_timeout_s": 2,
        }
        result = build_in_worker(BuildJob("stuck", Config.model_validate(settings), job.kept))
    assert (result.error, result.site, result.retry) == ("TimedOut", "stuck", True)
    one = idle_pid()
    assert build_in_worker(job).state == "published"
    assert idle_pid() != one
