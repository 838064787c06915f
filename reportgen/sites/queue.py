"""The submitted jobs that are not finished. They are given up if no worker answers."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from reportgen.build.job import BuildJob, BuildOptions
from reportgen.build.status import JOIN_S
from reportgen.config.sites import Site
from reportgen.core.errors import mask
from reportgen.core.timing import Throttle
from reportgen.publish.history import BuildResult, read_runs
from reportgen.sites.sync import MAX_FETCHES, collected
from reportgen.sites.workers import build_in_worker

NO_RESULT_S = 60.0
"""Seconds without any result, beyond the time limits of the sites, after which the rest is given up."""

AGAIN_AFTER_S = 60.0
"""Seconds after which a site that was built may be built again in the same run."""

JOIN_EVERY_S = 5.0
"""Seconds between two looks at which sites have become due meanwhile."""


class JobQueue:
    """The jobs of one run over many sites; ``pending`` holds those that are not done, with their site."""

    def __init__(
        self,
        executor: Executor,
        options: BuildOptions,
        kept: Path,
        due: Callable[[], Sequence[Site]] = tuple,
    ) -> None:
        """``kept`` keeps the charts' script for all sites; ``due`` returns the sites that are due by now."""
        self._executor, self._options, self._kept, self._due = executor, options, kept, due
        self._ended: SimpleQueue[Future[BuildResult]] = SimpleQueue()
        self._progress_at, self._limit_s = time.monotonic(), 0.0
        self._join_until, self._throttle = self._progress_at + JOIN_S, Throttle(JOIN_EVERY_S)
        self._last_result: dict[str, tuple[float, bool]] = {}
        self.pending: dict[Future[BuildResult], Site] = {}

    def submit(self, sites: Sequence[Site]) -> None:
        """Submit builds. Sites whose last build failed come last: they may take long to fail again."""
        if not self.pending:
            self._progress_at = time.monotonic()
        failures = {site.name: read_runs(site.config.output.dir).failures > 0 for site in sites}
        for site in sorted(sites, key=lambda site: failures[site.name]):
            future = self._executor.submit(build_in_worker, _job(site, self._options, self._kept))
            self.pending[future] = site
            future.add_done_callback(self._ended.put)
            self._limit_s = max(self._limit_s, NO_RESULT_S + 2 * site.config.build_timeout_s)

    def submit_due(self) -> bool:
        """Submit sites that have become due, so that none waits for one that hangs. Return whether any is."""
        now = time.monotonic()
        if now > self._join_until or (self.pending and not self._throttle.is_due()):
            return False
        busy = {site.name for site in self.pending.values()}
        with self._throttle.timed():
            sites = [site for site in self._due() if site.name not in busy and self._may_repeat(site, now)]
        self.submit(sites)
        return bool(sites)

    def ended(self, within_s: float) -> Iterator[BuildResult]:
        """Yield the results of the sites that are done within some seconds, or of all if no worker answers.

        Their releases are fetched together.
        """
        done = self._done(within_s)
        now = time.monotonic()
        self._progress_at = now if done else self._progress_at
        futures = list(self.pending) if now - self._progress_at > self._limit_s else done
        sites = {future: self.pending.pop(future) for future in futures if future in self.pending}
        if not sites:
            return
        with ThreadPoolExecutor(MAX_FETCHES, thread_name_prefix="collect") as pool:
            for result in pool.map(self._collected, sites, sites.values()):
                self._last_result[result.site] = (now, result.succeeded)
                yield result

    def _done(self, within_s: float) -> list[Future[BuildResult]]:
        """Wait some seconds for the first job that is done, and return all that are done by then."""
        done: list[Future[BuildResult]] = []
        with suppress(Empty):
            done.append(self._ended.get(timeout=within_s))
            while True:
                done.append(self._ended.get_nowait())
        return done

    def _collected(self, future: Future[BuildResult], site: Site) -> BuildResult:
        result = collected(site, _result(future, site, self._limit_s), past=self._options.as_of is not None)
        future.cancel()
        return result

    def _may_repeat(self, site: Site, now: float) -> bool:
        """Return whether a site was not built in this run, or succeeded long enough ago."""
        at, succeeded = self._last_result.get(site.name, (-AGAIN_AFTER_S, True))
        return succeeded and now - at > AGAIN_AFTER_S


def _job(site: Site, options: BuildOptions, kept: Path) -> BuildJob:
    """Return the job of a site, with absolute directories: the worker may have another working directory."""
    config = site.config
    changed: dict[str, object] = {
        "output": config.output.model_copy(update={"dir": config.output.dir.absolute()}),
        "templates_dir": config.templates_dir and config.templates_dir.absolute(),
    }
    return BuildJob(site.name, config.model_copy(update=changed), kept, options)


def _result(future: "Future[BuildResult]", site: Site, waited_s: float) -> BuildResult:
    """Return the result of a site, or a failed one if the executor itself failed."""
    if not future.done():
        error, message = "NotStarted", f"no worker accepted the job, or answered, within {waited_s:.0f} s"
    elif future.cancelled():
        error, message = "NotStarted", "the executor cancelled the job"
    elif (exc := future.exception()) is None:
        return future.result()
    else:
        error, message = type(exc).__name__, mask(str(exc), site.config.secrets)
        message = f"the worker was lost, or could not build: {message or error}"
    return BuildResult("failed", datetime.now(UTC), error=error, message=message, retry=True, site=site.name)
