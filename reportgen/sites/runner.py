"""Build many sites: each in a process of a pool or of a cluster, and then the page over all of them.

A site that fails, hangs or crashes is one line of the result. All processes share the output directory.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context, resource_tracker
from queue import Empty, SimpleQueue
from typing import Any

from pebble import ProcessExpired, ProcessPool

from reportgen import __version__
from reportgen.build.pipeline import BuildJob, BuildOptions, build_site, into_bucket
from reportgen.build.status import SITES_FAILED
from reportgen.charts import vega_bundle
from reportgen.config.settings import Config
from reportgen.config.sites import NAMED_AT_MOST, Site, Sites
from reportgen.core.errors import (
    BucketUnavailable,
    ClusterError,
    ConfigError,
    OutputBusy,
    PublishError,
    RenderError,
    ReportgenError,
    TimedOut,
    mask,
)
from reportgen.core.processes import Stopwatch, begin_pool_process, exit_in_words, without_sigint
from reportgen.publish.history import BuildResult, State, record
from reportgen.publish.release import Release, current_release, lock_output, publish

RENEW_AFTER = 500
"""Number of sites that a process builds before it is replaced."""

NO_RESULT_S = 60.0
"""Seconds without any result, beyond the time limits of the sites, after which the rest is given up."""

MESSAGE_LETTERS = 200
"""Maximum letters of each site's message in the message of a run."""

SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
"""Dask's name of the protocol, by the scheme of ``--executor``."""

CONNECT_S = 10
"""Maximum seconds until the scheduler of a cluster responds."""

MAX_DOWNLOADS = 4
"""Maximum number of sites whose releases are downloaded at the same time."""

Submit = Callable[[BuildJob], "Future[BuildResult]"]
"""Lets a process of a pool or of a cluster build a site."""


@dataclass(frozen=True)
class SitesRun:
    """A run over many sites: the result of each, and of the page over all; its start and wall time."""

    results: Sequence[BuildResult]
    index: BuildResult
    begun: datetime
    seconds: float

    @property
    def result(self) -> BuildResult:
        """The run as one result.

        It failed if a site or the page over all failed. It was busy if another process builds one of them.
        """
        states = {self.index.state, *(result.state for result in self.results)}
        if "failed" in states or "busy" in states:
            state: State = "failed" if "failed" in states else "busy"
            error = SITES_FAILED if state == "failed" else OutputBusy.__name__
            if self.index.state == "failed":
                error = self.index.error
            retry = self.index.retry or any(result.retry for result in self.results)
            return BuildResult(state, datetime.now(UTC), error=error, message=self._message(), retry=retry)
        return BuildResult(
            "published" if any(result.changed for result in self.results) else "unchanged",
            self.begun,
            seconds=round(self.seconds, 3),
            cpu_seconds=round(sum(result.cpu_seconds for result in self.results), 3),
            release=self.index.release,
            peak_memory_bytes=max((result.peak_memory_bytes for result in self.results), default=0),
        )

    def _message(self) -> str:
        """Return how many sites failed, which, and why."""
        failed = [result for result in self.results if result.state == "failed"]
        each = [f"{one.site}: {one.message.partition(chr(10))[0][:MESSAGE_LETTERS]}" for one in failed]
        named = "; ".join(each[:NAMED_AT_MOST]) + ("; …" if len(each) > NAMED_AT_MOST else "")
        words = [f"{len(failed)} of {len(self.results)} sites failed: {named}"] if failed else []
        if not self.index.succeeded:
            error, message = self.index.error, self.index.message
            words.append(f"the page over all sites was not published: {error}: {message}")
        return "; ".join(words)


def build_sites(
    sites: Sites,
    chosen: Sequence[Site],
    options: BuildOptions,
    submit: Submit,
    on_result: Callable[[BuildResult], None],
    *,
    whole: bool = True,
) -> SitesRun:
    """Build the ``chosen`` sites, then the page over all; ``on_result`` is called with each site's result.

    A ``whole`` run, with all sites that were due, is recorded.
    """
    begun, start = datetime.now(UTC), time.monotonic()
    from_bucket(sites)
    results = {}
    for result in _results(chosen, options, submit):
        on_result(result)
        results[result.site] = result
    in_order, index = [results[site.name] for site in chosen], build_index(sites)
    ended = SitesRun(in_order, index, begun, time.monotonic() - start)
    if whole and options.as_of is None:
        record(sites.root, ended.result)
    return ended


def from_bucket(sites: Sites) -> None:
    """Download all current releases if there is no page over all sites here, as on a new machine.

    The sites come first, so that the page shows those that this run does not build. What cannot be downloaded
    is left to the builds, which report it.
    """
    if current_release(sites.root):
        return
    answers = True

    def download(config: Config, links: Mapping[str, str] | None = None) -> None:
        nonlocal answers
        if not answers or config.output.bucket is None:
            return
        from reportgen.publish.bucket.download import restore_release  # only a bucket needs it

        try:
            with lock_output(config.output.dir, wait=False) as lock:
                restore_release(config, lock, links=links)
        except BucketUnavailable:  # every other site would wait for it as well
            answers = False
        except ReportgenError:
            pass

    with ThreadPoolExecutor(MAX_DOWNLOADS) as pool:
        list(pool.map(download, [site.config for site in sites.all]))
    download(sites.common, sites.links)


def build_index(sites: Sites) -> BuildResult:
    """Publish the page over all sites as of now, and return how that ended. No error is raised."""
    now = datetime.now(UTC)
    try:
        return BuildResult("published", now, release=publish_index(sites, now).id)
    except Exception as exc:  # noqa: BLE001 - the sites are published
        return BuildResult.of_error(exc, sites.secrets)


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
def open_pool(processes: int) -> Iterator[Submit]:
    """Yield the function that submits a site to a pool of warm processes on this machine.

    A process that does not finish a site within its time limit is ended, and replaced.
    """
    pool: Any = ProcessPool(processes, RENEW_AFTER, begin_pool_process, [os.getpid()], get_context("spawn"))
    resource_tracker.ensure_running()  # its start unblocks SIGINT

    def submit(job: BuildJob) -> "Future[BuildResult]":
        with without_sigint():  # the first call starts the processes, and the thread that replaces them
            future: Future[BuildResult] = pool.schedule(
                build_site, [replace(job, limited=False)], timeout=job.config.build_timeout_s
            )
            return future

    try:
        yield submit
    finally:
        pool.stop()
        pool.join()  # it removes the pool's semaphores


@contextmanager
def open_cluster(address: str) -> Iterator[Submit]:
    """Yield the function that submits a site to the workers of a Dask cluster.

    Raises:
        ConfigError: the address is not valid, or Dask is not installed.
        ClusterError: the cluster cannot be reached.

    """
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
        executor = client.get_executor(pure=False)  # the same job gives another result tomorrow
        yield lambda job: executor.submit(build_site, job)


def _results(chosen: Sequence[Site], options: BuildOptions, submit: Submit) -> Iterator[BuildResult]:
    """Yield the result of each chosen site as soon as it is known."""
    with suppress(RenderError):  # make the charts' script once; a build that lacks it reports that
        vega_bundle.load()
    done: SimpleQueue[Future[BuildResult]] = SimpleQueue()
    left = {submit(_job(site, options)): site for site in chosen}
    for future in left:
        future.add_done_callback(done.put)
    # For a cluster, whose workers may all be gone. The pool ends each build itself.
    limit_s = NO_RESULT_S + 2 * max((site.config.build_timeout_s for site in chosen), default=0)
    while left:
        try:
            futures = [done.get(timeout=limit_s)]
        except Empty:  # the rest is given up
            futures = list(left)
        for future in futures:
            yield site_result(future, left.pop(future))


def _job(site: Site, options: BuildOptions) -> BuildJob:
    """Return the job of a site, with absolute directories: the worker may have another working directory."""
    config = site.config
    changed: dict[str, object] = {
        "output": config.output.model_copy(update={"dir": config.output.dir.absolute()}),
        "templates_dir": config.templates_dir and config.templates_dir.absolute(),
    }
    return BuildJob(site.name, config.model_copy(update=changed), options)


def site_result(future: "Future[BuildResult]", site: Site) -> BuildResult:
    """Return the result of a site that a process has built and recorded.

    If the process was lost, no worker took the site, or its release is not here, record that it failed.
    """
    root, error, timeout_s = site.config.output.dir, "NotStarted", site.config.build_timeout_s
    if not future.done():
        message = "no worker accepted the job, or answered, in time"
    else:
        try:
            result = future.result()
            if not result.succeeded or (root / "releases" / result.release).is_dir():
                return result
            error = PublishError.__name__
            message = f"{root}: the worker's release is not here. Let all workers share this directory"
        except CancelledError:
            message = "the executor cancelled the job"
        except TimeoutError:
            error, message = TimedOut.__name__, str(TimedOut.after(timeout_s))
        except ProcessExpired as exc:
            error, message = "Ended", exit_in_words(exc.exitcode)
        except Exception as exc:  # noqa: BLE001 - of the pool or the cluster, and of any kind
            error, message = type(exc).__name__, mask(str(exc), site.config.secrets)
            message = f"the worker was lost, or could not build: {message or error}"
    now = datetime.now(UTC)
    failed = BuildResult("failed", now, error=error, message=message, retry=True, site=site.name)
    record(root, failed)
    return failed
