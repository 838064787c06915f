"""JobQueue that an executor works on: given, waited for, and given up where nobody answers."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue

from reportgen.build.job import BuildJob, BuildOptions, BuildResult
from reportgen.build.status import JOIN_S
from reportgen.config.sites import Site
from reportgen.core.errors import mask
from reportgen.core.timing import Pace
from reportgen.publish.history import Failure, read_runs, record_failure
from reportgen.sites.sync import AT_ONCE, collected
from reportgen.sites.workers import build_apart

PATIENCE_S = 60.0
"""How much longer than any site's deadlines nothing may happen before the rest is given up."""

AGAIN_AFTER_S = 60.0
"""A site that was built in a round may join it again after this, and not sooner."""

JOIN_EVERY_S = 5.0
"""How often it is asked who joins, while sites are built."""


class JobQueue:
    """What an executor was given, and has not answered yet."""

    def __init__(
        self,
        executor: Executor,
        options: BuildOptions,
        kept: Path,
        joins: Callable[[], Sequence[Site]] = tuple,
    ) -> None:
        """``kept`` keeps the charts' script for all sites; ``joins`` tells which of them are due by now."""
        self._executor, self._options, self._kept, self._joins = executor, options, kept, joins
        self._ended: SimpleQueue[Future[BuildResult]] = SimpleQueue()
        self._moved, self._most_s = time.monotonic(), 0.0
        self._join_until, self._pace = self._moved + JOIN_S, Pace(JOIN_EVERY_S)
        self._seen: dict[str, tuple[float, bool]] = {}
        self.open: dict[Future[BuildResult], Site] = {}

    def give(self, sites: Sequence[Site]) -> None:
        """Order builds, last those of sites that failed the last time: they may take long to fail again."""
        if not self.open:
            self._moved = time.monotonic()
        failures = {site.name: read_runs(site.config.output.dir).failures > 0 for site in sites}
        for site in sorted(sites, key=lambda site: failures[site.name]):
            future = self._executor.submit(build_apart, _job(site, self._options, self._kept))
            self.open[future] = site
            future.add_done_callback(self._ended.put)
            self._most_s = max(self._most_s, PATIENCE_S + 2 * site.config.build_timeout_s)

    def join(self) -> bool:
        """Order sites that have become due, so that none of them waits for one that hangs; tell of any."""
        now = time.monotonic()
        if now > self._join_until or (self.open and not self._pace.is_due()):
            return False
        busy = {site.name for site in self.open.values()}
        with self._pace.timed():
            sites = [site for site in self._joins() if site.name not in busy and self._may_join(site, now)]
        self.give(sites)
        return bool(sites)

    def ended(self, within_s: float) -> Iterator[BuildResult]:
        """Yield the results of the next sites that are done within a time, or of all where nothing moves.

        Those that are done by then are collected together.
        """
        done = self._done(within_s)
        now = time.monotonic()
        self._moved = now if done else self._moved
        futures = list(self.open) if now - self._moved > self._most_s else done
        sites = {future: self.open.pop(future) for future in futures if future in self.open}
        if not sites:
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="collect") as pool:
            for result in pool.map(self._collected, sites, sites.values()):
                self._seen[result.name] = (now, result.is_good)
                yield result

    def _done(self, within_s: float) -> list[Future[BuildResult]]:
        """Return what is done, once anything is, within a time."""
        done: list[Future[BuildResult]] = []
        with suppress(Empty):
            done.append(self._ended.get(timeout=within_s))
            while True:
                done.append(self._ended.get_nowait())
        return done

    def _collected(self, future: Future[BuildResult], site: Site) -> BuildResult:
        result = collected(site, _result(future, site, self._most_s), past=self._options.as_of is not None)
        future.cancel()
        return result

    def _may_join(self, site: Site, now: float) -> bool:
        """Tell whether a site was not built in this round yet, or well and a while ago."""
        at, well = self._seen.get(site.name, (-AGAIN_AFTER_S, True))
        return well and now - at > AGAIN_AFTER_S


def _job(site: Site, options: BuildOptions, kept: Path) -> BuildJob:
    """Return a site's order, with directories that mean the same wherever it is built."""
    config = site.config
    changed: dict[str, object] = {
        "output": config.output.model_copy(update={"dir": config.output.dir.absolute()}),
        "templates_dir": config.templates_dir and config.templates_dir.absolute(),
    }
    return BuildJob(site.name, config.model_copy(update=changed), kept, options)


def _result(future: "Future[BuildResult]", site: Site, waited_s: float) -> BuildResult:
    """Return what a site came to. What the executor itself failed in is put on record here."""
    if not future.done():
        error, message = "NotStarted", f"no worker took it, or answered, within {waited_s:.0f} s"
    elif future.cancelled():
        error, message = "NotStarted", "the executor gave it up"
    elif (exc := future.exception()) is None:
        return future.result()
    else:
        error, message = type(exc).__name__, mask(str(exc), site.config.secrets)
        message = f"the worker was lost, or could not build: {message or error}"
    record_failure(site.config.output.dir, Failure(datetime.now(UTC), error, message, retry=True))
    return BuildResult(site.name, "failed", 0.0, message=message, error=error, retry=True)
