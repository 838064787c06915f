"""When builds start: APScheduler calls the worker at the times of the timetable, and again after faults.

A fault that may pass (:class:`~reportgen.errors.SourceUnavailable`, a build that was killed or hung) is
tried again with growing pauses before the next regular build; a wrong setting is not.
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from reportgen.log import event
from reportgen.timetable import due_after, interval_s
from reportgen.worker import Outcome, Worker

FIRST_PAUSE_S = 15
LONGEST_PAUSE_S = 600
"""After the first failure a retry waits 15 s, then twice as long each time, up to 10 minutes."""

BUSY_PAUSE_S = 30
CHECK_EVERY_S = 20
MISSED_INTERVALS = 3
"""So many intervals without any build begun mean that something here is broken."""


class Timetable(BaseTrigger):  # type: ignore[misc]
    """APScheduler's view of our own timetable, which knows the nights when clocks change."""

    def __init__(self, schedule: str, zone: ZoneInfo, jitter_s: int = 0) -> None:
        self.schedule, self.zone, self.jitter_s = schedule, zone, jitter_s

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next time; ``previous_fire_time`` may be moved by jitter and counts for nothing."""
        del previous_fire_time
        due = due_after(self.schedule, self.zone, now)
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
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._worker, self._schedule, self._zone, self._clock = worker, schedule, zone, clock
        self._first_pause_s = first_pause_s
        self._trigger = Timetable(schedule, zone, jitter_s)
        self._begun = clock()
        self._ended = threading.Event()
        # A build that is late is still wanted, once, however late it is.
        self._scheduler = BackgroundScheduler(
            timezone=zone,
            executors={"default": ThreadPoolExecutor(2)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def start(self, *, at_once: bool) -> None:
        """Begin; with ``at_once`` the first build starts now."""
        first = {"next_run_time": self._clock()} if at_once else {}
        self._scheduler.add_job(self._regular, self._trigger, id="regular", **first)
        self._scheduler.add_job(self._look, "interval", seconds=CHECK_EVERY_S, id="look")
        self._scheduler.start()
        event("schedule_started", schedule=self._schedule, timezone=self._zone.key, next=self._next())

    def stop(self) -> None:
        """Start no more builds, and end one that is running."""
        self._ended.set()
        self._worker.stop()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def trouble(self) -> str | None:
        """Say what is broken here, if anything: a process that cannot build had better be restarted."""
        thread: Any = self._scheduler._thread  # noqa: SLF001 - APScheduler tells in no other way
        if not self._ended.is_set() and not (self._scheduler.running and thread and thread.is_alive()):
            return "the scheduler's thread has died"
        last = self._begun
        for _ in range(MISSED_INTERVALS):
            last = due_after(self._schedule, self._zone, last)
        if self._clock() > last + timedelta(seconds=CHECK_EVERY_S * 3):
            return f"no build could be started for {MISSED_INTERVALS} intervals"
        return None

    def _regular(self) -> None:
        success = self._worker.runs.last_success
        # An interval counts from a build that began a little after its time; half of one is no repetition.
        slack = timedelta(seconds=(interval_s(self._schedule) or 0) / 2)
        if success and due_after(self._schedule, self._zone, success.at) > self._clock() + slack:
            self._begun = self._clock()
            event(
                "build_skipped", reason="the report was checked since it was due", at=success.at.isoformat()
            )
            return
        self._build()

    def _build(self) -> None:
        self._begun = self._clock()
        event("build_started")
        outcome = self._worker.run()
        self._tell(outcome)
        pause_s = self._pause_s(outcome)
        if pause_s is not None and not self._ended.is_set():
            again = self._clock() + timedelta(seconds=pause_s)
            if again < due_after(self._schedule, self._zone, self._clock()):
                self._scheduler.add_job(
                    self._build, "date", run_date=again, id="again", replace_existing=True
                )
                event("build_again", at=again.isoformat(timespec="seconds"))

    def _pause_s(self, outcome: Outcome) -> float | None:
        """Return after how many seconds to try again before the regular time, if at all."""
        if outcome.state == "busy":
            return BUSY_PAUSE_S
        if outcome.state != "failed" or not outcome.retry:
            return None
        failures = max(1, self._worker.runs.failures)
        return float(min(self._first_pause_s * 2 ** min(failures - 1, 20), LONGEST_PAUSE_S))

    def _tell(self, outcome: Outcome) -> None:
        report = outcome.report or {}
        event(
            f"build_{outcome.state}",
            level=logging.ERROR if outcome.state == "failed" else logging.INFO,
            seconds=outcome.seconds,
            error=outcome.error or None,
            message=outcome.message or None,
            release=report.get("release"),
            rows=report.get("rows"),
            peak_memory_bytes=report.get("peak_memory_bytes"),
        )

    def _look(self) -> None:
        """Mend what a jump of the clock did: the regular build must never lie beyond its next time."""
        job = self._scheduler.get_job("regular")
        due = self._trigger.get_next_fire_time(None, self._clock())
        if job and job.next_run_time and job.next_run_time > due + timedelta(seconds=CHECK_EVERY_S):
            job.modify(next_run_time=due)
            event("schedule_mended", next=due.isoformat())
        self._scheduler.wakeup()

    def _next(self) -> str | None:
        job = self._scheduler.get_job("regular")
        return job.next_run_time.isoformat(timespec="seconds") if job and job.next_run_time else None
