"""When builds start: APScheduler calls the worker at the times of the timetable, and again after faults.

A fault that may pass (:class:`~reportgen.core.errors.SourceUnavailable`, a build that was killed or hung) is
tried again with growing pauses before the next regular build; a wrong setting is not.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from reportgen.core.cron import due_after, interval_s
from reportgen.core.logs import event
from reportgen.publish.history import BuildResult
from reportgen.serve.worker import Worker

FIRST_PAUSE_S = 15
LONGEST_PAUSE_S = 600
"""After the first failure a retry waits 15 s, then twice as long each time, up to 10 minutes."""

BUSY_PAUSE_S = 30
JUMP_S = 5.0
"""By how much a clock that was set differs from one that ran on."""

MISSED_INTERVALS = 3
SLACK_S = 60
"""So many intervals without any build begun, and a little more, mean that something here is broken."""


DueAfter = Callable[[datetime], datetime]
"""Returns the first time strictly after a moment (aware) on which a build is due."""


class Timetable(BaseTrigger):  # type: ignore[misc]
    """APScheduler's view of our own timetable, which knows the nights when clocks change."""

    def __init__(
        self, schedule: str, zone: ZoneInfo, jitter_s: int = 0, due_after: DueAfter | None = None
    ) -> None:
        self.schedule, self.zone, self.jitter_s, self._own = schedule, zone, jitter_s, due_after

    def due_after(self, moment: datetime) -> datetime:
        """Return the first time strictly after ``moment`` on which a build is due."""
        return self._own(moment) if self._own else due_after(self.schedule, self.zone, moment)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next time; ``previous_fire_time`` may be moved by jitter and counts for nothing."""
        del previous_fire_time
        due = self.due_after(now)
        return self._apply_jitter(due, self.jitter_s, now) if self.jitter_s else due


class Schedule:
    """Starts builds for as long as the process lives."""

    def __init__(
        self,
        worker: Worker,
        schedule: str,
        zone: ZoneInfo,
        *,
        jitter_s: int = 0,
        due_after: DueAfter | None = None,
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``due_after`` tells when a build is due, where that is not by one ``schedule`` alone."""
        self._worker, self._schedule, self._zone, self._clock = worker, schedule, zone, clock
        self._first_pause_s, self._monotonic = first_pause_s, monotonic
        self._trigger = Timetable(schedule, zone, jitter_s, due_after)
        self._ahead_s = self._clock().timestamp() - monotonic()
        self._patient_until = 0.0
        self._wait_for_a_build()
        self._first: bool | None = None
        self._ended = threading.Event()
        # A build that is late is still wanted, once, however late it is.
        self._scheduler = BackgroundScheduler(
            timezone=zone,
            executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def start(self, *, at_once: bool, if_changed: bool = True) -> None:
        """Begin; with ``at_once`` the first build starts now, whatever the record says of the last.

        Without ``if_changed`` that build publishes in any case: what is published cannot be read.
        """
        self._first = if_changed if at_once else None
        first = {"next_run_time": self._clock() if at_once else self._after_last_success()}
        self._scheduler.add_job(self._regular, self._trigger, id="regular", **first)
        self._scheduler.start()
        event("schedule_started", schedule=self._schedule, timezone=self._zone.key, next=self._next())

    def stop(self) -> None:
        """Start no more builds, and end one that is running."""
        self._ended.set()
        self._worker.stop()
        if self._scheduler.running:
            # A job that is being handed out would miss itself in a scheduler that is down.
            self._scheduler.pause()
            with self._scheduler._jobstores_lock:  # noqa: SLF001 - held while jobs are handed out
                pass
            self._scheduler.shutdown(wait=False)

    def check(self) -> str | None:
        """Mend what a jump of the clock did, and say what is broken, if anything.

        A process that cannot build had better be restarted.
        """
        if self._ended.is_set():
            return None
        self._follow_the_clock()
        thread: Any = self._scheduler._thread  # noqa: SLF001 - APScheduler tells in no other way
        if not (self._scheduler.running and thread and thread.is_alive()):
            return "the scheduler's thread has died"
        if self._monotonic() > self._patient_until:
            return f"no build could be started for {MISSED_INTERVALS} intervals"
        return None

    def _regular(self) -> None:
        if self._first is not None:
            if_changed, self._first = self._first, None
            self._build(if_changed=if_changed)
            return
        now = self._clock()
        success = self._worker.runs.success_by(now)
        # An interval counts from a build that began a little after its time; half of one is no repetition.
        slack = timedelta(seconds=(interval_s(self._schedule) or 0) / 2)
        if success and self._trigger.due_after(success.at) > now + slack:
            self._wait_for_a_build()
            event(
                "build_skipped", reason="the report was checked since it was due", at=success.at.isoformat()
            )
            with suppress(JobLookupError):
                self._scheduler.modify_job("regular", next_run_time=self._after_last_success())
            return
        self._build()

    def _build(self, *, if_changed: bool = True) -> None:
        event("build_started")
        self._wait_for_a_build(self._worker.timeout_s)
        result = self._worker.run(if_changed=if_changed)
        # That somebody else builds is no reason to restart this process: status tells how old a report is.
        self._wait_for_a_build()
        self._log(result)
        pause_s = self._pause_s(result)
        if pause_s is not None and not self._ended.is_set():
            again = self._clock() + timedelta(seconds=pause_s)
            if again < self._trigger.due_after(self._clock()):
                self._scheduler.add_job(
                    self._again, "date", run_date=again, kwargs={"if_changed": if_changed},
                    id="again", replace_existing=True,
                )  # fmt: skip
                event("build_again", at=again.isoformat(timespec="seconds"))

    def _after_last_success(self) -> datetime:
        """Return when the next regular build is due: as the page and ``status`` count it."""
        now = self._clock()
        success = self._worker.runs.success_by(now)
        due = self._trigger.get_next_fire_time(None, success.at if success else now)
        return due if due > now else self._trigger.get_next_fire_time(None, now)

    def _again(self, *, if_changed: bool) -> None:
        """Build after a failure, or after somebody else's build if that began too early."""
        if self._worker.runs.failures or not if_changed:
            self._build(if_changed=if_changed)
        else:
            self._regular()

    def _wait_for_a_build(self, running_s: float = 0.0) -> None:
        """Be patient for as long as the next builds may take to begin, by a clock that nobody sets."""
        now = last = self._clock()
        for _ in range(MISSED_INTERVALS):
            last = self._trigger.due_after(last)
        wait_s = last.timestamp() - now.timestamp() + self._trigger.jitter_s + running_s + SLACK_S
        self._patient_until = self._monotonic() + wait_s

    def _pause_s(self, result: BuildResult) -> float | None:
        """Return after how many seconds to try again before the regular time, if at all."""
        if result.state == "busy":
            return BUSY_PAUSE_S
        if result.state != "failed" or not result.retry:
            return None
        failures = max(1, self._worker.runs.failures)
        return float(min(self._first_pause_s * 2 ** min(failures - 1, 20), LONGEST_PAUSE_S))

    def _log(self, result: BuildResult) -> None:
        event(
            f"build_{result.state}",
            level=logging.ERROR if result.state == "failed" else logging.INFO,
            seconds=result.seconds,
            error=result.error or None,
            message=result.message or None,
            release=result.release or None,
            rows=result.details.get("rows"),
            peak_memory_bytes=result.peak_memory_bytes or None,
        )

    def _follow_the_clock(self) -> None:
        """Where the clock was set back, let no build wait until it has caught up; forward, wake up."""
        ahead_s = self._clock().timestamp() - self._monotonic()
        jump_s, self._ahead_s = ahead_s - self._ahead_s, ahead_s
        if abs(jump_s) < JUMP_S:
            return
        due = {"regular": self._trigger.get_next_fire_time(None, self._clock())}
        for job in self._scheduler.get_jobs():
            moved = job.next_run_time + timedelta(seconds=jump_s)
            with suppress(JobLookupError):  # it has just run
                job.modify(next_run_time=min(job.next_run_time, due.get(job.id, moved)))
        self._scheduler.wakeup()
        event("clock_jumped", level=logging.WARNING, seconds=round(jump_s, 1), next=self._next())

    def _next(self) -> str | None:
        job = self._scheduler.get_job("regular")
        return job.next_run_time.isoformat(timespec="seconds") if job and job.next_run_time else None
