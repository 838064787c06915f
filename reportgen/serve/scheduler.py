"""The schedule: APScheduler starts the worker at the times of a cron expression or interval, and for retries.

A build is retried with growing pauses if its failure may pass (a source that is not available, a build that
was killed or timed out). A build that failed for a wrong setting is not retried.
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
"""Seconds before the retry after the first failure. Each further failure doubles the pause."""

MAX_PAUSE_S = 600
"""Maximum seconds before a retry."""

BUSY_PAUSE_S = 30
"""Seconds before a retry if another process is building."""

JUMP_S = 5.0
"""Minimum seconds by which the time of day and the elapsed time must differ if the clock was set."""

MISSED_INTERVALS = 3
SLACK_S = 60
"""Number of intervals and further seconds without a build after which the process counts as faulty."""


DueAfter = Callable[[datetime], datetime]
"""Returns the first time strictly after an aware datetime at which a build is due."""


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]
    """An APScheduler trigger with the due times of :mod:`reportgen.core.cron`, right when clocks change."""

    def __init__(
        self, schedule: str, zone: ZoneInfo, jitter_s: int = 0, due_after: DueAfter | None = None
    ) -> None:
        self.schedule, self.zone, self.jitter_s, self._due_after = schedule, zone, jitter_s, due_after

    def due_after(self, moment: datetime) -> datetime:
        """Return the first time strictly after ``moment`` at which a build is due."""
        return self._due_after(moment) if self._due_after else due_after(self.schedule, self.zone, moment)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next due time. ``previous_fire_time`` is ignored: it includes jitter."""
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
        """``due_after`` returns when a build is due, if ``schedule`` alone does not define it."""
        self._worker, self._schedule, self._zone, self._clock = worker, schedule, zone, clock
        self._first_pause_s, self._monotonic = first_pause_s, monotonic
        self._trigger = ScheduleTrigger(schedule, zone, jitter_s, due_after)
        self._clock_offset_s = self._clock().timestamp() - monotonic()
        self._build_expected_by = 0.0
        self._expect_a_build()
        self._first: bool | None = None
        """``if_changed`` of the first build; ``None`` if no build starts at once."""
        self._stopped = threading.Event()
        # A late build still runs, however late it is, and only once.
        self._scheduler = BackgroundScheduler(
            timezone=zone,
            executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def start(self, *, at_once: bool, if_changed: bool = True) -> None:
        """Start the schedule.

        Args:
            at_once: start a first build now, whatever the record of runs says.
            if_changed: whether that build publishes only if something changed. Pass ``False`` if there is
                no release that can be served.

        """
        self._first = if_changed if at_once else None
        first = {"next_run_time": self._clock() if at_once else self._due_after_last_success()}
        self._scheduler.add_job(self._regular_build, self._trigger, id="regular", **first)
        self._scheduler.start()
        event("schedule_started", schedule=self._schedule, timezone=self._zone.key, next=self._next_run())

    def stop(self) -> None:
        """Stop the schedule, and stop a build that is running."""
        self._stopped.set()
        self._worker.stop()
        if self._scheduler.running:
            # A job that is being submitted fails if the scheduler is shut down meanwhile.
            self._scheduler.pause()
            with self._scheduler._jobstores_lock:  # noqa: SLF001 - held while jobs are submitted
                pass
            self._scheduler.shutdown(wait=False)

    def check(self) -> str | None:
        """Adapt to a clock that was set. Return a fault that only a restart removes, or ``None``."""
        if self._stopped.is_set():
            return None
        self._adapt_to_clock()
        thread: Any = self._scheduler._thread  # noqa: SLF001 - APScheduler has no public name for it
        if not (self._scheduler.running and thread and thread.is_alive()):
            return "the scheduler's thread has died"
        if self._monotonic() > self._build_expected_by:
            return f"no build could be started for {MISSED_INTERVALS} intervals"
        return None

    def _regular_build(self) -> None:
        if self._first is not None:
            if_changed, self._first = self._first, None
            self._build(if_changed=if_changed)
            return
        now = self._clock()
        success = self._worker.runs.success_by(now)
        # An interval counts from the start of a build, a little after its due time. So only a success within
        # the last half of an interval makes this build unnecessary.
        slack = timedelta(seconds=(interval_s(self._schedule) or 0) / 2)
        if success and self._trigger.due_after(success.at) > now + slack:
            self._expect_a_build()
            event(
                "build_skipped", reason="the report was checked since it was due", at=success.at.isoformat()
            )
            with suppress(JobLookupError):
                self._scheduler.modify_job("regular", next_run_time=self._due_after_last_success())
            return
        self._build()

    def _build(self, *, if_changed: bool = True) -> None:
        event("build_started")
        self._expect_a_build(self._worker.timeout_s)
        result = self._worker.run(if_changed=if_changed)
        # Another process that always builds is not a fault of this one: status shows the age of the report.
        self._expect_a_build()
        self._log(result)
        pause_s = self._pause_s(result)
        if pause_s is not None and not self._stopped.is_set():
            retry_at = self._clock() + timedelta(seconds=pause_s)
            if retry_at < self._trigger.due_after(self._clock()):
                self._scheduler.add_job(
                    self._retry, "date", run_date=retry_at, kwargs={"if_changed": if_changed},
                    id="retry", replace_existing=True,
                )  # fmt: skip
                event("build_again", at=retry_at.isoformat(timespec="seconds"))

    def _due_after_last_success(self) -> datetime:
        """Return when the next regular build is due, as the page and ``status`` compute it."""
        now = self._clock()
        success = self._worker.runs.success_by(now)
        due = self._trigger.get_next_fire_time(None, success.at if success else now)
        return due if due > now else self._trigger.get_next_fire_time(None, now)

    def _retry(self, *, if_changed: bool) -> None:
        """Build after a failure, or if another process was building, unless its build has done the work."""
        if self._worker.runs.failures or not if_changed:
            self._build(if_changed=if_changed)
        else:
            self._regular_build()

    def _expect_a_build(self, running_s: float = 0.0) -> None:
        """Set the time by which a build must start, on the monotonic clock."""
        now = last = self._clock()
        for _ in range(MISSED_INTERVALS):
            last = self._trigger.due_after(last)
        wait_s = last.timestamp() - now.timestamp() + self._trigger.jitter_s + running_s + SLACK_S
        self._build_expected_by = self._monotonic() + wait_s

    def _pause_s(self, result: BuildResult) -> float | None:
        """Return the seconds before a retry, or ``None`` for no retry."""
        if result.state == "busy":
            return BUSY_PAUSE_S
        if result.state != "failed" or not result.retry:
            return None
        failures = max(1, self._worker.runs.failures)
        return float(min(self._first_pause_s * 2 ** min(failures - 1, 20), MAX_PAUSE_S))

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

    def _adapt_to_clock(self) -> None:
        """If the clock was set back, set the due times of jobs back, too; if forward, start what is due."""
        offset_s = self._clock().timestamp() - self._monotonic()
        jump_s, self._clock_offset_s = offset_s - self._clock_offset_s, offset_s
        if abs(jump_s) < JUMP_S:
            return
        due = {"regular": self._trigger.get_next_fire_time(None, self._clock())}
        for job in self._scheduler.get_jobs():
            shifted = job.next_run_time + timedelta(seconds=jump_s)
            with suppress(JobLookupError):  # the job has just run
                job.modify(next_run_time=min(job.next_run_time, due.get(job.id, shifted)))
        self._scheduler.wakeup()
        event("clock_jumped", level=logging.WARNING, seconds=round(jump_s, 1), next=self._next_run())

    def _next_run(self) -> str | None:
        job = self._scheduler.get_job("regular")
        return job.next_run_time.isoformat(timespec="seconds") if job and job.next_run_time else None
