"""When builds start, and how faults of the schedule itself are found."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reportgen.publish.history import BuildResult, Runs
from reportgen.serve.scheduler import BUSY_PAUSE_S, Schedule, ScheduleTrigger
from reportgen.serve.worker import Worker
from tests.support.services import eventually

NOON = datetime(2099, 11, 23, 12, tzinfo=UTC)
"""So far away that nothing is due by APScheduler's own clock while a test sets the time."""

BERLIN = ZoneInfo("Europe/Berlin")
DONE = BuildResult("unchanged", NOON, seconds=0.1)
BROKEN = BuildResult("failed", NOON, error="SourceError", message="no table")
DOWN = BuildResult("failed", NOON, error="SourceUnavailable", message="it is down", retry=True)
BUSY = BuildResult("busy", NOON, message="a build is running")


class ScriptedWorker(Worker):
    """A worker without processes: each build has the outcome that the test sets."""

    def __init__(self, *outcomes: BuildResult, takes_s: float = 0) -> None:
        super().__init__(Path("nowhere"), [], timeout_s=600, clock=lambda: NOON)
        self.outcomes, self.takes_s = list(outcomes), takes_s
        self.on_record = Runs()
        self.began: list[tuple[float, bool]] = []
        self.during: Callable[[], None] = lambda: None
        self.running, self.most, self.counting = 0, 0, Lock()

    @property
    def runs(self) -> Runs:
        """The record that the test set."""
        return self.on_record

    def succeeded(self, at: datetime) -> None:
        """Record a success."""
        self.on_record = Runs(BuildResult("published", at, release="r"))

    def run(self, *, if_changed: bool = True) -> BuildResult:
        """Return the next result; the last one repeats."""
        with self.counting:
            self.began.append((time.monotonic(), if_changed))
            self.running += 1
            self.most = max(self.most, self.running)
        self.during()
        time.sleep(self.takes_s)
        with self.counting:
            self.running -= 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome.state == "failed":
            failure = outcome
            self.on_record = replace(
                self.on_record, last_failure=failure, failures=self.on_record.failures + 1
            )
        return outcome


class Clocks:
    """The time of day, which can be set, and elapsed time, which cannot."""

    def __init__(self) -> None:
        self.day, self.since_s = NOON, 1000.0

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.day += timedelta(seconds=seconds)
        self.since_s += seconds


Make = Callable[..., Schedule]


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def make_schedule(clocks: Clocks) -> Iterator[Make]:
    """Give a function that makes a schedule with these ``clocks``. All schedules are stopped at the end."""
    made: list[Schedule] = []

    def schedule(worker: Worker, text: str = "15m", *, real: bool = False, **options: Any) -> Schedule:
        own = {} if real else {"clock": lambda: clocks.day, "monotonic": lambda: clocks.since_s}
        made.append(Schedule(worker, text, ZoneInfo("UTC"), **own, **options))
        return made[-1]

    yield schedule
    for each in made:
        each.stop()


@pytest.fixture
def retry_times(caplog: pytest.LogCaptureFixture) -> Callable[[], list[float]]:
    """Give a function that returns the times of the retries that were logged, in seconds after noon."""
    caplog.set_level(logging.INFO, "reportgen")

    def times() -> list[float]:
        events = [vars(record)["fields"] for record in caplog.records if record.message == "build_again"]
        return [(datetime.fromisoformat(event["at"]) - NOON).total_seconds() for event in events]

    return times


def test_builds_start_at_the_due_time() -> None:
    """Also in the night when clocks go forward."""
    trigger = ScheduleTrigger("30 2 * * *", BERLIN)
    night = datetime(2027, 3, 28, 0, tzinfo=BERLIN)
    assert trigger.get_next_fire_time(None, night) == datetime(2027, 3, 28, 3, tzinfo=BERLIN)


def test_jitter_is_a_delay_and_never_skips_a_time() -> None:
    trigger = ScheduleTrigger("0 * * * *", BERLIN, jitter_s=60)
    times = {trigger.get_next_fire_time(None, NOON) for _ in range(50)}
    due = NOON + timedelta(hours=1)
    assert len(times) > 10
    assert all(due <= moment <= due + timedelta(seconds=60) for moment in times)


def test_a_failure_that_may_pass_is_retried_with_growing_pauses(
    make_schedule: Make, retry_times: Callable[[], list[float]]
) -> None:
    schedule = make_schedule(ScriptedWorker(DOWN), "6h")
    for _ in range(8):
        schedule._build()
    assert retry_times() == [15, 30, 60, 120, 240, 480, 600, 600]


def test_no_retry_is_later_than_the_regular_build(
    make_schedule: Make, retry_times: Callable[[], list[float]]
) -> None:
    schedule = make_schedule(ScriptedWorker(DOWN), "1m")
    for _ in range(5):
        schedule._build()
    assert retry_times() == [15, 30]


@pytest.mark.parametrize(
    "outcome", [BROKEN, DONE, BuildResult("published", NOON), BuildResult("stopped", NOON)]
)
def test_other_outcomes_are_not_retried(
    make_schedule: Make, retry_times: Callable[[], list[float]], outcome: BuildResult
) -> None:
    make_schedule(ScriptedWorker(outcome))._build()
    assert retry_times() == []


def test_a_build_of_another_process_causes_a_retry(
    make_schedule: Make, retry_times: Callable[[], list[float]]
) -> None:
    make_schedule(ScriptedWorker(BUSY))._build()
    assert retry_times() == [BUSY_PAUSE_S]


@pytest.mark.parametrize(
    ("text", "success_s", "builds"),
    [
        ("0 * * * *", -3600, 1),  # the build before
        ("0 * * * *", -1, 1),  # one that read its data before the time
        ("0 * * * *", 0.5, 0),  # one that was quicker, by hand
        ("15m", -900, 1),
        ("15m", -898, 1),  # a child begins a little after its time
        ("15m", -60, 0),  # by hand, a minute ago
        ("15m", 3600, 1),  # before the clock was put back
    ],
)
def test_a_build_is_skipped_after_a_recent_success(
    make_schedule: Make, clocks: Clocks, text: str, success_s: float, builds: int
) -> None:
    worker = ScriptedWorker(DONE)
    worker.succeeded(NOON + timedelta(seconds=success_s))
    schedule = make_schedule(worker, text)
    clocks.passes(1)
    schedule._regular_build()
    assert len(worker.began) == builds


def test_a_retry_is_skipped_after_a_success_of_another_process(make_schedule: Make, clocks: Clocks) -> None:
    worker = ScriptedWorker(DOWN, DONE)
    schedule = make_schedule(worker)
    schedule._build()
    clocks.passes(15)
    worker.succeeded(NOON + timedelta(seconds=10))
    schedule._retry(if_changed=True)
    assert len(worker.began) == 1


def test_a_retry_has_the_options_of_the_first_try(make_schedule: Make) -> None:
    worker = ScriptedWorker(DOWN, DONE)
    schedule = make_schedule(worker, "6h", real=True, first_pause_s=0.1)
    schedule.start(at_once=True, if_changed=False)
    eventually(lambda: len(worker.began) == 2, 5)
    assert [if_changed for _, if_changed in worker.began] == [False, False]


def test_the_first_build_can_start_at_once_whatever_the_record_says(make_schedule: Make) -> None:
    """After an upgrade the last success may be a minute old, and its page of the old version."""
    worker = ScriptedWorker(DONE)
    worker.succeeded(datetime.now(UTC) - timedelta(seconds=5))
    make_schedule(worker, "6h", real=True).start(at_once=True)
    eventually(lambda: worker.began, 5)
    patient = ScriptedWorker(DONE)
    make_schedule(patient, "6h", real=True).start(at_once=False)
    time.sleep(0.3)
    assert patient.began == []


@pytest.mark.slow
def test_builds_run_one_at_a_time(make_schedule: Make) -> None:
    """A build longer than the interval delays the next one, and none pile up."""
    worker = ScriptedWorker(DONE, takes_s=1.3)
    make_schedule(worker, "1s", real=True).start(at_once=True)
    time.sleep(4.5)
    assert worker.most == 1
    assert 2 <= len(worker.began) <= 3


def test_a_late_build_runs_once(make_schedule: Make) -> None:
    """However late it is."""
    worker = ScriptedWorker(DONE)
    schedule = make_schedule(worker, "6h", real=True)
    schedule.start(at_once=False)
    late = datetime.now(UTC) - timedelta(hours=20)
    schedule._scheduler.get_job("regular").modify(next_run_time=late)
    eventually(lambda: worker.began, 5)
    time.sleep(0.3)
    assert len(worker.began) == 1


def test_a_retry_and_a_regular_build_do_not_run_at_the_same_time(
    tmp_path: Path,
    make_schedule: Make,
    retry_times: Callable[[], list[float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the real worker: the second one gets `busy`, and is retried later."""
    monkeypatch.chdir(tmp_path)
    worker = Worker(tmp_path, [], timeout_s=20, clock=lambda: datetime.now(UTC))
    code = "import time; open('begun', 'a').write('x'); time.sleep(1); print('{\"status\": \"unchanged\"}')"
    worker._command = [sys.executable, "-c", code]
    schedule = make_schedule(worker, "6h", real=True)
    schedule.start(at_once=True)
    eventually((tmp_path / "begun").exists)
    schedule._retry(if_changed=False)
    assert (tmp_path / "begun").read_text() == "x"
    assert len(retry_times()) == 1


def test_a_working_schedule_has_no_fault(make_schedule: Make, clocks: Clocks) -> None:
    schedule = make_schedule(ScriptedWorker(DONE), "15m")
    schedule.start(at_once=False)
    for _ in range(20):
        schedule._regular_build()
        clocks.passes(900)
        assert schedule.check() is None


def test_three_intervals_without_a_build_are_a_fault(make_schedule: Make, clocks: Clocks) -> None:
    schedule = make_schedule(ScriptedWorker(DONE), "15m")
    schedule.start(at_once=False)
    clocks.passes(3 * 900)
    assert schedule.check() is None
    clocks.passes(61)
    assert schedule.check() == "no build could be started for 3 intervals"
    schedule._build()
    assert schedule.check() is None


def test_a_long_build_is_not_a_fault_before_its_timeout(make_schedule: Make, clocks: Clocks) -> None:
    """An interval of a minute, and a database that hangs until the timeout of ten minutes."""
    worker = ScriptedWorker(DOWN)
    schedule = make_schedule(worker, "1m")
    schedule.start(at_once=False)
    found: list[str | None] = []

    def during() -> None:
        clocks.passes(599)
        found.append(schedule.check())

    worker.during = during
    schedule._build()
    assert (found, schedule.check()) == ([None], None)


def test_builds_of_another_process_are_not_a_fault(make_schedule: Make, clocks: Clocks) -> None:
    """A restart would not end them, and readers would lose their pages meanwhile."""
    schedule = make_schedule(ScriptedWorker(BUSY), "15m")
    schedule.start(at_once=False)
    for _ in range(10):
        clocks.passes(900)
        schedule._build()
        assert schedule.check() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_a_fault(make_schedule: Make) -> None:
    """A trigger that raises ends APScheduler's thread."""
    schedule = make_schedule(ScriptedWorker(DONE), "1s", real=True)
    schedule.start(at_once=False)
    assert schedule.check() is None
    schedule._trigger.schedule = "nonsense"
    eventually(lambda: schedule.check() == "the scheduler's thread has died", 5)
    schedule.stop()
    assert schedule.check() is None


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_is_not_a_fault_and_delays_no_build(
    make_schedule: Make, clocks: Clocks, caplog: pytest.LogCaptureFixture, hours: int
) -> None:
    """Set back: the next build and the next retry are set back, too. Set forward: they are due."""
    caplog.set_level(logging.INFO, "reportgen")
    schedule = make_schedule(ScriptedWorker(DOWN), "15m")
    schedule.start(at_once=False)
    schedule._build()
    before = {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}
    clocks.day += timedelta(hours=hours)
    assert schedule.check() is None
    after = {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}
    if hours > 0:
        assert after == before
    else:
        assert after["retry"] == before["retry"] - timedelta(hours=1)
        assert after["regular"] == clocks.day + timedelta(minutes=15)
    jumps = [vars(record)["fields"] for record in caplog.records if record.message == "clock_jumped"]
    assert [jump["seconds"] for jump in jumps] == [3600 * hours]
    clocks.passes(60)
    schedule.check()
    assert [record.message for record in caplog.records].count("clock_jumped") == 1
