"""The schedule: APScheduler starts the builds of each site at the times of its cron expression or interval.

A build is retried with growing pauses if its failure may pass (a source that is not available, a build that
was killed or timed out). A build that failed for a wrong setting is not retried. Each site is one job of its
own; a site that hangs delays no other, as long as fewer sites hang than builds may run at once.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from reportgen.build.status import is_due, wants_a_build
from reportgen.config.settings import Config
from reportgen.core.cron import MANUAL, due_after
from reportgen.core.logs import event
from reportgen.publish.history import BuildResult
from reportgen.serve.worker import Worker

FIRST_PAUSE_S = 15
"""Seconds before the retry after the first failure. Each further failure doubles the pause."""

MAX_PAUSE_S = 600
"""Maximum seconds before a retry."""

BUSY_PAUSE_S = 30
"""Seconds before a retry if another process is building."""

PAGE_EVERY = timedelta(seconds=30)
"""Minimum time between two publications of the page over all sites."""

JUMP_S = 5.0
"""Minimum seconds by which the time of day and the elapsed time must differ if the clock was set."""

LATE_CHECKS = 60
"""Number of checks in a row that find a build late after which the process counts as faulty."""


class ScheduleTrigger(BaseTrigger):  # type: ignore[misc]
    """An APScheduler trigger with the due times of :mod:`reportgen.core.cron`, right when clocks change."""

    def __init__(self, schedule: str, zone: ZoneInfo, jitter_s: int = 0) -> None:
        self.schedule, self.zone, self.jitter_s = schedule, zone, jitter_s

    def due_after(self, moment: datetime) -> datetime:
        """Return the first time strictly after ``moment`` at which a build is due."""
        return due_after(self.schedule, self.zone, moment)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next due time. ``previous_fire_time`` is ignored: it includes jitter."""
        del previous_fire_time
        due = self.due_after(now)
        return self._apply_jitter(due, self.jitter_s, now) if self.jitter_s else due


@dataclass
class ScheduledSite:
    """A site that is built on schedule. ``name`` is empty if there is only one.

    ``at_once`` says that its next build is not skipped, whatever the record of builds says: nothing that can
    be served is published.
    """

    config: Config
    worker: Worker
    name: str = ""
    at_once: bool = False

    @property
    def job_id(self) -> str:
        """The id of its job in APScheduler."""
        return f"build {self.name}"

    @property
    def trigger(self) -> ScheduleTrigger:
        """When its builds are due."""
        return ScheduleTrigger(self.config.schedule, self.config.zone, self.config.jitter_s)


class Schedule:
    """Starts builds for as long as the process lives."""

    def __init__(
        self,
        sites: Sequence[ScheduledSite],
        *,
        page: Worker | None = None,
        processes: int = 1,
        stop_builds: Callable[[], None] = lambda: None,
        first_pause_s: float = FIRST_PAUSE_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build ``sites``, at most ``processes`` of them at once; ``page`` publishes the page over all.

        ``stop_builds`` is called when the schedule is stopped.
        """
        self._sites, self._page, self._stop_builds = sites, page, stop_builds
        self._first_pause_s, self._clock, self._monotonic = first_pause_s, clock, monotonic
        self._clock_offset_s = clock().timestamp() - monotonic()
        self._page_at: datetime | None = None
        self._late_checks = 0
        self._stopped = threading.Event()
        # A late build still runs, however late it is, and only once.
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(processes), "page": ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def start(self, *, page_at_once: bool = False) -> None:
        """Start the schedule, with a first build of each site that is due."""
        for site in self._sites:
            if site.config.schedule == MANUAL:
                message = "schedule is manual: builds only when reportgen build is run by hand"
                event("no_schedule", site=site.name or None, message=message)
                continue
            site.at_once |= is_due(site.config, self._clock())
            first = self._clock() if site.at_once else self._due_after_last_success(site)
            self._scheduler.add_job(self._run, site.trigger, args=[site], id=site.job_id, next_run_time=first)
            event(
                "schedule_started", site=site.name or None, schedule=site.config.schedule,
                timezone=site.config.timezone, next=first.isoformat(timespec="seconds"),
            )  # fmt: skip
        if page_at_once:
            self._request_page()
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the schedule, and stop builds that are running."""
        self._stopped.set()
        self._stop_builds()
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
        # A job gets its next time as soon as it is submitted, even if it has to wait for other builds.
        late = any(job.next_run_time < self._clock() for job in self._scheduler.get_jobs())
        self._late_checks = self._late_checks + 1 if late else 0
        return "no build was started at its time" if self._late_checks > LATE_CHECKS else None

    def _run(self, site: ScheduledSite) -> None:
        """Build a site, unless another process has done so since it was due."""
        if self._stopped.is_set():
            return
        if site.at_once or wants_a_build(site.config, self._clock()):
            self._build(site)
            return
        success = site.worker.runs.last_success
        event(
            "build_skipped", site=site.name or None, reason="the report was checked since it was due",
            at=success and success.at.isoformat(),
        )  # fmt: skip
        self._set_next_run(site, self._due_after_last_success(site))

    def _build(self, site: ScheduledSite) -> None:
        event("build_started", site=site.name or None)
        result = site.worker.run()
        site.at_once &= result.state == "busy"
        self._log("build", result, site.name)
        if self._stopped.is_set():
            return
        if self._page and result.state != "busy":
            self._request_page()
        pause_s = self._pause_s(result, site.worker.runs.failures)
        if pause_s is not None:
            retry_at = self._clock() + timedelta(seconds=pause_s)
            if retry_at < site.trigger.due_after(self._clock()):
                self._set_next_run(site, retry_at)
                event("build_again", site=site.name or None, at=retry_at.isoformat(timespec="seconds"))

    def _request_page(self, pause_s: float = 0) -> None:
        """Publish the page over all sites after a pause, and as soon as it may be published again."""
        now, last = self._clock(), self._page_at
        due = now + timedelta(seconds=pause_s)
        due = max(due, last + PAGE_EVERY) if last and last <= now else due
        # A second instance, because the one that runs may have read the sites before the last build.
        self._scheduler.add_job(
            self._publish_page, "date", run_date=due, id="page", executor="page", max_instances=2,
            replace_existing=True,
        )  # fmt: skip

    def _publish_page(self) -> None:
        self._page_at = self._clock()
        if self._page is None or self._stopped.is_set():
            return
        result = self._page.run()
        self._log("page", result)
        pause_s = self._pause_s(result, self._page.runs.failures)
        if not self._stopped.is_set() and pause_s is not None:
            self._request_page(pause_s)

    def _due_after_last_success(self, site: ScheduledSite) -> datetime:
        """Return when the next regular build is due, as the page and ``status`` compute it."""
        now = self._clock()
        success = site.worker.runs.success_by(now)
        due = site.trigger.get_next_fire_time(None, success.at if success else now)
        return due if due > now else site.trigger.get_next_fire_time(None, now)

    def _set_next_run(self, site: ScheduledSite, at: datetime) -> None:
        with suppress(JobLookupError):  # the schedule was stopped
            self._scheduler.modify_job(site.job_id, next_run_time=at)

    def _pause_s(self, result: BuildResult, failures: int) -> float | None:
        """Return the seconds before a retry, or ``None`` for no retry."""
        if result.state == "busy":
            return BUSY_PAUSE_S
        if result.state != "failed" or not result.retry:
            return None
        return float(min(self._first_pause_s * 2 ** min(max(1, failures) - 1, 20), MAX_PAUSE_S))

    def _log(self, what: str, result: BuildResult, site: str = "") -> None:
        event(
            f"{what}_{result.state}",
            level=logging.ERROR if result.state == "failed" else logging.INFO,
            site=site or None,
            seconds=result.seconds,
            error=result.error or None,
            message=result.message or None,
            release=result.release or None,
            rows=result.details.get("rows"),
            peak_memory_bytes=result.peak_memory_bytes or None,
        )

    def _adapt_to_clock(self) -> None:
        """If the clock was set back, set the due times of jobs back, too; if forward, start what is due."""
        now = self._clock()
        offset_s = now.timestamp() - self._monotonic()
        jump_s, self._clock_offset_s = offset_s - self._clock_offset_s, offset_s
        if abs(jump_s) < JUMP_S:
            return
        for job in self._scheduler.get_jobs():
            shifted = job.next_run_time + timedelta(seconds=jump_s)
            due = job.trigger.get_next_fire_time(None, now) or shifted
            with suppress(JobLookupError):  # the job has just run
                job.modify(next_run_time=min(job.next_run_time, shifted, due))
        event("clock_jumped", level=logging.WARNING, seconds=round(jump_s, 1))
