"""When builds start, and how faults of the schedule itself are found."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Lock
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reportgen.config.settings import Config
from reportgen.core.processes import Commands
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import current_release
from reportgen.serve.scheduler import BUSY_PAUSE_S, LATE_CHECKS, Schedule, ScheduledSite, ScheduleTrigger
from reportgen.serve.worker import Worker
from tests.support.services import eventually, publish_files, site_files

NOON = datetime(2099, 11, 23, 12, tzinfo=UTC)
"""So far away that nothing is due by APScheduler's own clock while a test sets the time."""

BERLIN = ZoneInfo("Europe/Berlin")
DONE = BuildResult("unchanged", NOON)
BROKEN = BuildResult("failed", NOON, error="SourceError", message="no table")
DOWN = BuildResult("failed", NOON, error="SourceUnavailable", message="it is down", retry=True)
BUSY = BuildResult("busy", NOON)


class Clocks:
    """The time of day, which can be set, and elapsed time, which cannot."""

    def __init__(self) -> None:
        self.day, self.since_s = NOON, 1000.0

    def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.day += timedelta(seconds=seconds)
        self.since_s += seconds


class ScriptedWorker(Worker):
    """A worker without processes: each build has the outcome that the test sets; the last one repeats."""

    def __init__(
        self, root: Path, *outcomes: BuildResult, clock: Callable[[], datetime], takes_s: float = 0
    ) -> None:
        super().__init__(root, [], commands=Commands(), timeout_s=600, clock=clock)
        self.outcomes, self.takes_s, self.root, self.now = list(outcomes), takes_s, root, clock
        self.builds, self.running, self.most, self.counting = 0, 0, 0, Lock()

    def run(self) -> BuildResult:
        """Return the next outcome, and record it as a build does."""
        with self.counting:
            self.builds += 1
            self.running += 1
            self.most = max(self.most, self.running)
        begun = self.now()
        time.sleep(self.takes_s)
        with self.counting:
            self.running -= 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        result = replace(outcome, at=begun + timedelta(microseconds=self.builds))
        record(self.root, result)
        return result


Make = Callable[..., tuple[Schedule, ScheduledSite, ScriptedWorker]]


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def make(tmp_path: Path, clocks: Clocks) -> Iterator[Make]:
    """Give a function that makes the schedule of one site. All schedules are stopped at the end.

    ``real`` makes it with the real time. ``success_s`` is the age of the last success in seconds.
    """
    made: list[Schedule] = []

    def schedule(
        text: str, *outcomes: BuildResult, real: bool = False, success_s: float | None = None, **options: Any
    ) -> tuple[Schedule, ScheduledSite, ScriptedWorker]:
        clock = (lambda: datetime.now(UTC)) if real else lambda: clocks.day
        own = {} if real else {"clock": clock, "monotonic": lambda: clocks.since_s}
        root = tmp_path / str(len(made))
        config = Config.model_validate({"schedule": text, "timezone": "UTC", "output": {"dir": root}})
        worker = ScriptedWorker(root, *outcomes, clock=clock, takes_s=options.pop("takes_s", 0))
        site = ScheduledSite(config, worker)
        if success_s is not None:
            succeeded(site, clock() - timedelta(seconds=success_s))
        made.append(Schedule([site], **own, **options))
        return made[-1], site, worker

    yield schedule
    for each in made:
        each.stop()


def succeeded(site: ScheduledSite, at: datetime) -> None:
    """Let a site have a release, and on record a success."""
    root = site.config.output.dir
    if current_release(root) is None:
        publish_files(root, site_files("one"))
    record(root, BuildResult("published", at, release="r"))


@pytest.fixture
def retries(caplog: pytest.LogCaptureFixture) -> Callable[[], list[float]]:
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


def test_a_failure_that_may_pass_is_retried_with_growing_pauses_but_not_after_the_regular_build(
    make: Make, retries: Callable[[], list[float]]
) -> None:
    for text, expected in (("6h", [15, 30, 60, 120, 240, 480, 600, 600]), ("1m", [15, 30])):
        schedule, site, _ = make(text, DOWN)
        before = len(retries())
        schedule.start()
        for _ in range(8):
            schedule._run(site)
        assert retries()[before:] == expected


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (BROKEN, []),
        (DONE, []),
        (BuildResult("published", NOON), []),
        (BuildResult("stopped", NOON), []),
        (BUSY, [BUSY_PAUSE_S]),
    ],
)
def test_other_outcomes_are_not_retried_but_a_build_of_another_process_is_followed_by_one(
    make: Make, retries: Callable[[], list[float]], outcome: BuildResult, expected: list[float]
) -> None:
    schedule, site, _ = make("15m", outcome)
    schedule.start()
    schedule._run(site)
    assert retries() == expected


@pytest.mark.parametrize(
    ("text", "success_s", "builds"),
    [
        ("0 * * * *", 3600, 1),  # the build before
        ("0 * * * *", 1, 1),  # one that read its data before the time
        ("0 * * * *", -0.5, 0),  # one that was quicker, by hand
        ("15m", 900, 1),
        ("15m", 898, 1),  # a child begins a little after its time
        ("15m", 60, 0),  # by hand, a minute ago
        ("15m", -3600, 1),  # before the clock was put back
    ],
)
def test_a_build_is_skipped_after_a_recent_success(
    make: Make, clocks: Clocks, text: str, success_s: float, builds: int
) -> None:
    schedule, site, worker = make(text, DONE, success_s=success_s)
    schedule.start()
    site.at_once = False
    clocks.passes(1)
    schedule._run(site)
    assert worker.builds == builds


def test_a_retry_is_skipped_after_a_success_of_another_process(make: Make, clocks: Clocks) -> None:
    schedule, site, worker = make("15m", DOWN, DONE)
    schedule.start()
    schedule._run(site)
    clocks.passes(15)
    succeeded(site, NOON + timedelta(seconds=10))
    schedule._run(site)
    assert worker.builds == 1


def test_a_retry_runs_by_itself(make: Make) -> None:
    schedule, _, worker = make("6h", DOWN, DOWN, DONE, real=True, first_pause_s=0.1)
    schedule.start()
    eventually(lambda: worker.builds == 3, 5)
    time.sleep(0.3)
    assert worker.builds == 3


def test_the_first_build_starts_at_once_if_it_is_due_or_nothing_can_be_served(make: Make) -> None:
    """Whatever the record says: after an upgrade the last success may be a minute old."""
    patient, _, waiting = make("6h", DONE, real=True, success_s=5)
    patient.start()
    for at_once, success_s in ((True, 5.0), (False, None), (False, 7 * 3600.0)):
        schedule, site, worker = make("6h", DONE, real=True, success_s=success_s)
        site.at_once = at_once
        schedule.start()
        eventually(lambda worker=worker: worker.builds, 5)
    assert waiting.builds == 0


@pytest.mark.slow
def test_builds_of_a_site_run_one_at_a_time(make: Make) -> None:
    """A build longer than the interval delays the next one, and none pile up."""
    schedule, _, worker = make("1s", DONE, real=True, takes_s=1.3)
    schedule.start()
    time.sleep(4.5)
    assert worker.most == 1
    assert 2 <= worker.builds <= 3


def test_a_late_build_runs_once(make: Make) -> None:
    """However late it is."""
    schedule, site, worker = make("6h", DONE, real=True, success_s=5)
    schedule.start()
    site.at_once = True
    (job,) = schedule._scheduler.get_jobs()
    job.modify(next_run_time=datetime.now(UTC) - timedelta(hours=20))
    eventually(lambda: worker.builds, 5)
    time.sleep(0.3)
    assert worker.builds == 1


class Crowd:
    """Sites whose builds count how many of them run at once; some hang until released."""

    def __init__(self, folder: Path, count: int, hanging: int) -> None:
        self.release, self.lock, self.running, self.most = Event(), Lock(), 0, 0
        self.built: list[str] = []
        self.sites = [self._site(folder, f"s{n}", hangs=n < hanging) for n in range(count)]

    def _site(self, folder: Path, name: str, *, hangs: bool) -> ScheduledSite:
        config = Config.model_validate({"schedule": "6h", "output": {"dir": folder / name}})
        worker = ScriptedWorker(folder / name, DONE, clock=lambda: datetime.now(UTC))

        def run() -> BuildResult:
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            if hangs:
                self.release.wait(20)
            time.sleep(0.01)
            with self.lock:
                self.running -= 1
                self.built.append(name)
            return DONE

        worker.run = run  # type: ignore[method-assign]
        return ScheduledSite(config, worker, name)


@pytest.mark.parametrize("hanging", [0, 1])
def test_twenty_sites_are_built_on_two_places_one_of_which_may_hang(tmp_path: Path, hanging: int) -> None:
    """A site that hangs holds one place, and no other site's build; none is a fault of the schedule."""
    crowd = Crowd(tmp_path, 20, hanging)
    schedule = Schedule(crowd.sites, processes=2)
    schedule.start()
    try:
        eventually(lambda: len(crowd.built) == 20 - hanging, 15)
        assert crowd.most == 2
        assert schedule.check() is None
        crowd.release.set()
        eventually(lambda: len(crowd.built) == 20, 5)
    finally:
        schedule.stop()


def test_the_page_over_all_sites_is_published_after_builds_and_at_most_every_30_seconds(
    tmp_path: Path,
) -> None:
    crowd = Crowd(tmp_path, 6, 0)
    page = ScriptedWorker(tmp_path, DOWN, DONE, clock=lambda: datetime.now(UTC))
    schedule = Schedule(crowd.sites, page=page, processes=1)
    schedule.start()
    try:
        eventually(lambda: len(crowd.built) == 6 and page.builds == 1, 5)
        jobs = {job.id: job.next_run_time for job in schedule._scheduler.get_jobs()}
        assert 20 < (jobs["page"] - datetime.now(UTC)).total_seconds() <= 30
        schedule._scheduler.modify_job("page", next_run_time=datetime.now(UTC))
        eventually(lambda: page.builds == 2, 5)
        time.sleep(0.1)
        assert "page" not in {job.id for job in schedule._scheduler.get_jobs()}
    finally:
        schedule.stop()


def test_a_page_over_all_sites_that_fails_is_retried_with_growing_pauses(
    tmp_path: Path, clocks: Clocks
) -> None:
    """Never before the minimum time between two publications."""
    page = ScriptedWorker(tmp_path, DOWN, clock=lambda: clocks.day)
    schedule = Schedule([], page=page, clock=lambda: clocks.day, monotonic=lambda: clocks.since_s)
    schedule.start()
    pauses = []
    for _ in range(8):
        schedule._publish_page()
        (job,) = schedule._scheduler.get_jobs()
        pauses.append((job.next_run_time - clocks.day).total_seconds())
        clocks.day = job.next_run_time
    schedule.stop()
    assert pauses == [30, 30, 60, 120, 240, 480, 600, 600]


def test_a_first_build_that_finds_another_one_is_not_skipped_later(make: Make) -> None:
    """Nothing can be served, whatever the record says."""
    schedule, site, worker = make("6h", BUSY, DONE, success_s=5)
    site.at_once = True
    schedule.start()
    for _ in range(3):
        schedule._run(site)
    assert (worker.builds, site.at_once) == (2, False)


def test_a_build_that_is_not_started_at_its_time_is_a_fault(make: Make, clocks: Clocks) -> None:
    """A minute later, by checks: a process that was suspended may be late once."""
    schedule, *_ = make("15m", DONE, success_s=0)
    schedule.start()
    clocks.passes(890)
    assert schedule.check() is None
    clocks.passes(3600)  # APScheduler sees another clock and starts nothing
    assert [schedule.check() for _ in range(LATE_CHECKS)] == [None] * LATE_CHECKS
    assert schedule.check() == "no build was started at its time"
    schedule.stop()
    assert schedule.check() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_is_a_fault(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger that raises ends APScheduler's thread."""
    schedule, *_ = make("1s", DONE, real=True, success_s=0)
    schedule.start()
    assert schedule.check() is None
    monkeypatch.setattr(ScheduleTrigger, "due_after", lambda *_: 1 / 0)
    eventually(lambda: schedule.check() == "the scheduler's thread has died", 5)
    schedule.stop()
    assert schedule.check() is None


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_is_not_a_fault_and_delays_no_build(
    make: Make, clocks: Clocks, caplog: pytest.LogCaptureFixture, hours: int
) -> None:
    """Set back: the next build or retry is set back, too. Set forward: it is due."""
    caplog.set_level(logging.INFO, "reportgen")
    for outcome, wait_s in ((DOWN, 15), (DONE, 900)):
        schedule, site, _ = make("15m", outcome, success_s=0)
        schedule.start()
        (job,) = schedule._scheduler.get_jobs()
        schedule._build(site)
        before = schedule._scheduler.get_jobs()[0].next_run_time
        assert before == clocks.day + timedelta(seconds=wait_s)
        clocks.day += timedelta(hours=hours)
        assert schedule.check() is None
        assert job.next_run_time == (before if hours > 0 else before - timedelta(hours=1))
        clocks.passes(60)
        schedule.check()
        jumps = [vars(record)["fields"] for record in caplog.records if record.message == "clock_jumped"]
        assert [jump["seconds"] for jump in jumps] == [3600 * hours]
        schedule.stop()
        caplog.clear()
