"""Build many sites: each in a process that the executor chooses, and then the page over all of them.

A site that fails, hangs or crashes is one line of the result. While one hangs, sites that become due join the
run, and the page over all sites is published again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reportgen import __version__
from reportgen.build.job import BuildOptions
from reportgen.build.pipeline import into_bucket
from reportgen.build.status import SITES_FAILED
from reportgen.charts import vega_bundle
from reportgen.config.sites import NAMED_AT_MOST, Site, Sites
from reportgen.core.errors import ClusterError, ConfigError, RenderError
from reportgen.core.processes import processors
from reportgen.core.timing import Stopwatch, Throttle
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import Release, lock_output, publish
from reportgen.sites.queue import JobQueue
from reportgen.sites.sync import from_bucket
from reportgen.sites.workers import Processes

INDEX_EVERY_S = 30.0
"""Minimum seconds between two publications of the page over all sites while sites are built."""

WAIT_S = 5.0
"""Seconds to wait for the next result before the queue is checked again."""

MESSAGE_LETTERS = 200
"""Maximum letters of each site's message in the message of a run."""

SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
CONNECT_S = 10


@dataclass(frozen=True)
class SitesRun:
    """How a run over many sites ended: the last result of each site, and of the page over all sites."""

    results: Sequence[BuildResult]
    index: BuildResult

    def named(self, state: str) -> list[str]:
        """Return the names of the sites whose build ended in ``state``."""
        return [result.site for result in self.results if result.state == state]

    @property
    def retry(self) -> bool:
        """Whether the same run may succeed soon."""
        return self.index.retry or any(result.retry for result in self.results)

    @property
    def message(self) -> str:
        """How many sites failed, which, and why."""
        failed = [result for result in self.results if result.state == "failed"]
        each = [f"{one.site}: {one.message.partition(chr(10))[0][:MESSAGE_LETTERS]}" for one in failed]
        named = "; ".join(each[:NAMED_AT_MOST]) + ("; …" if len(each) > NAMED_AT_MOST else "")
        words = [f"{len(failed)} of {len(self.results)} sites failed: {named}"] if failed else []
        if not self.index.succeeded:
            error, message = self.index.error, self.index.message
            words.append(f"the page over all sites was not published: {error}: {message}")
        return "; ".join(words)

    def as_one(self, begun: datetime, seconds: float) -> BuildResult:
        """Return the run as one result: of the page over all sites, which counts as failed with any site."""
        if self.named("failed") or self.index.state == "failed":
            error = SITES_FAILED if self.index.succeeded else self.index.error
            return BuildResult(
                "failed", datetime.now(UTC), error=error, message=self.message, retry=self.retry
            )
        return BuildResult(
            "busy" if self.index.state == "busy" else "published" if self.named("published") else "unchanged",
            begun,
            seconds=round(seconds, 3),
            cpu_seconds=round(sum(result.cpu_seconds for result in self.results), 3),
            release=self.index.release,
            peak_memory_bytes=max((result.peak_memory_bytes for result in self.results), default=0),
        )


def build_sites(
    sites: Sites,
    chosen: Sequence[Site],
    options: BuildOptions,
    executor: Executor,
    on_result: Callable[[BuildResult], None],
    *,
    whole: bool = True,
    due: Callable[[], Sequence[Site]] = tuple,
) -> SitesRun:
    """Build the ``chosen`` sites, then the page over all; ``on_result`` is called with each site's result.

    A ``whole`` run, with all sites that were due, is recorded. ``due`` returns the sites that are due by now.
    """
    begun, start = datetime.now(UTC), time.monotonic()
    from_bucket(sites)
    last = {}
    for result in _results(sites, chosen, options, executor, due):
        on_result(result)
        last[result.site] = result
    results = [last[site.name] for site in sites.all if site.name in last]
    now = datetime.now(UTC)
    try:
        index = BuildResult("published", now, release=publish_index(sites, now).id)
    except Exception as exc:  # noqa: BLE001 - the sites are published
        index = BuildResult.of_error(exc, sites.secrets)
    ended = SitesRun(results, index)
    if whole and options.as_of is None:
        record(sites.root, ended.as_one(begun, time.monotonic() - start))
    return ended


def publish_index(sites: Sites, now: datetime) -> Release:
    """Publish the page over all sites as of ``now``, with symbolic links to each site's current release.

    In a bucket the page is stored at the configured prefix, and each site below it.

    Raises:
        RenderError: a template is wrong.
        ProofError: the finished page has faults.
        PublishError: the page could not be written, here or into the bucket.
        OutputBusy: another machine publishes into the bucket.

    """
    from reportgen.build.verify import check_files
    from reportgen.sites.overview import index_files  # needs Jinja2

    common = sites.common
    with lock_output(sites.root) as lock:
        files = index_files(sites, now)
        most = common.output.max_page_mb
        check_files(
            files,
            windows=(),
            max_page_mb=most,
            own=common.templates_dir,
            beside=[f"{site.prefix}/index.html" for site in sites.all],
        )
        about = {"version": __version__, "sites": len(sites.all)}
        release = publish(lock, files, about, built_at=now, keep=common.output.keep, links=sites.links)
        into_bucket(common, release, Stopwatch())
        return release


@contextmanager
def open_executor(address: str | None, processes: int | None) -> Iterator[Executor]:
    """Yield the executor of the builds: processes here (default: one a processor), or a cluster's workers.

    Raises:
        ConfigError: the address is not valid, or Dask is not installed.
        ClusterError: the cluster cannot be reached.

    """
    if address is None:
        executor = Processes(processes or processors())
        try:
            yield executor
        finally:  # after an error or Ctrl-C, do not wait for the jobs that are left
            executor.shutdown(wait=False, cancel_futures=True)
        return
    scheme, _, rest = address.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ConfigError(
            f'--executor "{address}": not a valid address. Write dask://HOST:PORT or dask+tls://HOST:PORT'
        )
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "--executor needs the extra dask, which is not installed: see docs/install.md"
        ) from None
    try:
        client: Any = Client(f"{SCHEMES[scheme]}://{rest}", timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call,unused-ignore]
    except (OSError, ValueError) as exc:
        raise ClusterError(f"--executor: no Dask scheduler answers at {rest}: {exc}") from exc
    with client:
        yield client.get_executor(pure=False)  # the same job gives another result tomorrow


def _results(
    sites: Sites,
    chosen: Sequence[Site],
    options: BuildOptions,
    executor: Executor,
    due: Callable[[], Sequence[Site]],
) -> Iterator[BuildResult]:
    """Yield the result of each chosen site as soon as it is known, and of those that become due meanwhile."""
    kept = (sites.root / "state").absolute()
    _prepare(kept)
    jobs = JobQueue(executor, options, kept, due)
    jobs.submit(chosen)
    throttle = Throttle(INDEX_EVERY_S)
    while jobs.pending or jobs.submit_due():
        yield from jobs.ended(WAIT_S)
        jobs.submit_due()
        if jobs.pending and throttle.is_due():
            with throttle.timed(), suppress(Exception):  # the last publication reports the error
                publish_index(sites, datetime.now(UTC))


def _prepare(kept: Path) -> None:
    """Make the charts' script once, before many processes try. A build that lacks it reports that."""
    with suppress(RenderError, OSError):
        kept.mkdir(parents=True, exist_ok=True)
        vega_bundle.load(kept)
