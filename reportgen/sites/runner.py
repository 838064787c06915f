"""A round over many sites: each is built apart, wherever the executor runs it, and then the page over all.

A site that fails, hangs or crashes is one line of the result. While one hangs, those that become due join the
round, and the page over all is renewed.
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
from reportgen.build.job import BuildOptions, BuildResult
from reportgen.build.pipeline import into_bucket
from reportgen.build.status import SITES_FAILED
from reportgen.charts import vega_bundle
from reportgen.config.sites import NAMED_AT_MOST, Site, Sites
from reportgen.core.errors import ClusterError, ConfigError, OutputBusy, RenderError, ReportgenError, mask
from reportgen.core.processes import processors
from reportgen.core.timing import Pace, Stopwatch
from reportgen.publish.history import Failure, Success, record_failure, record_success
from reportgen.publish.release import Release, lock_output, publish
from reportgen.sites.queue import JobQueue
from reportgen.sites.sync import from_bucket
from reportgen.sites.workers import Processes

INDEX_EVERY_S = 30.0
"""How often the page over all sites is renewed while sites are built; beside 10,000 it is a build itself."""

WAIT_S = 5.0
"""How often a round looks up while no site is done."""

SHOWN = 200
"""So many letters of each site's message are told of a round."""

SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
CONNECT_S = 10


@dataclass(frozen=True)
class SitesRun:
    """What a round came to: the last result of each site, and the release of the page over all.

    Where there is none, ``error`` is the name of the error's class, ``message`` what it says, and ``retry``
    whether the same may work soon.
    """

    results: Sequence[BuildResult]
    index: Release | None
    error: str = ""
    message: str = ""
    retry: bool = False

    @property
    def index_failed(self) -> bool:
        """Whether the page over all was not published, and not because another machine does that."""
        return self.index is None and self.error != OutputBusy.__name__

    def of(self, state: str) -> list[str]:
        """Return the names of the sites whose build ended in ``state``."""
        return [result.name for result in self.results if result.state == state]


def build_sites(
    sites: Sites,
    chosen: Sequence[Site],
    options: BuildOptions,
    executor: Executor,
    tell: Callable[[BuildResult], None],
    *,
    whole: bool = True,
    joins: Callable[[], Sequence[Site]] = tuple,
) -> SitesRun:
    """Build the ``chosen`` sites, then the page over all; ``tell`` hears of each site as it is done.

    A ``whole`` round, with all sites that were due, goes on record. ``joins`` tells which are due by now.
    """
    begun, start = datetime.now(UTC), time.monotonic()
    from_bucket(sites)
    last = {result.name: result for result in _built(sites, chosen, options, executor, tell, joins)}
    results = [last[site.name] for site in sites.all if site.name in last]
    try:
        ended = SitesRun(results, publish_index(sites, datetime.now(UTC)))
    except Exception as exc:  # noqa: BLE001 - the sites are published
        message = mask(str(exc), sites.secrets)
        retry = isinstance(exc, ReportgenError) and exc.retry
        ended = SitesRun(results, None, type(exc).__name__, message, retry)
    if whole and options.as_of is None:
        _record(sites, ended, begun, time.monotonic() - start)
    return ended


def publish_index(sites: Sites, now: datetime) -> Release:
    """Publish the page over all sites, as they stand at ``now``; links in it lead to each site's own release.

    In a bucket it stands at the prefix that is set, and each site has put itself below it.

    Raises:
        RenderError: a template is wrong.
        ProofError: the finished page is wrong.
        PublishError: it could not be written, or not into the bucket.
        OutputBusy: another machine publishes into the bucket.

    """
    from reportgen.build.verify import prove
    from reportgen.sites.overview import index_files  # with templates, which only who publishes needs

    common = sites.common
    with lock_output(sites.root) as lock:
        files = index_files(sites, now)
        most = common.output.max_page_mb
        prove(
            files,
            windows=(),
            max_page_mb=most,
            own=common.templates_dir,
            beside=[f"{site.prefix}/index.html" for site in sites.all],
        )
        about = {"version": __version__, "sites": len(sites.all)}
        release = publish(lock, files, about, built_at=now, keep=common.output.keep, links=sites.links)
        into_bucket(common, lock, release, Stopwatch())
        return release


@contextmanager
def opened(address: str | None, processes: int | None) -> Iterator[Executor]:
    """Yield what runs builds: so many processes here (default: one a processor), or a cluster's workers.

    Raises:
        ConfigError: there is no such executor, or it is not installed.
        ClusterError: the cluster cannot be reached.

    """
    if address is None:
        executor = Processes(processes or processors())
        try:
            yield executor
        finally:  # by an error, or Ctrl-C: what is left is not waited for
            executor.shutdown(wait=False, cancel_futures=True)
        return
    scheme, _, rest = address.partition("://")
    if scheme not in SCHEMES or not rest:
        raise ConfigError(f'--executor: "{address}" is none; write dask://scheduler:8786, or dask+tls://…')
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
        yield client.get_executor(pure=False)  # the same order is another build tomorrow


def _built(
    sites: Sites,
    chosen: Sequence[Site],
    options: BuildOptions,
    executor: Executor,
    tell: Callable[[BuildResult], None],
    joins: Callable[[], Sequence[Site]],
) -> Iterator[BuildResult]:
    """Yield each site's result as soon as it is there, and of those that become due meanwhile."""
    kept = (sites.root / "state").absolute()
    _prepare(kept)
    orders = JobQueue(executor, options, kept, joins)
    orders.give(chosen)
    pace = Pace(INDEX_EVERY_S)
    while orders.open or orders.join():
        for result in orders.ended(WAIT_S):
            tell(result)
            yield result
        orders.join()
        if orders.open and pace.is_due():
            with pace.timed(), suppress(Exception):  # it is told at the end
                publish_index(sites, datetime.now(UTC))


def _prepare(kept: Path) -> None:
    """Make the charts' script once, before many processes would: a build that finds none says so."""
    with suppress(RenderError, OSError):
        kept.mkdir(parents=True, exist_ok=True)
        vega_bundle.load(kept)


def _record(sites: Sites, ended: SitesRun, begun: datetime, seconds: float) -> None:
    """Put a whole round on record, as one build of the page over all."""
    failed = ended.of("failed")
    if failed or ended.index_failed:
        retry = ended.retry or any(result.retry for result in ended.results)
        error = SITES_FAILED if ended.index else ended.error
        record_failure(sites.root, Failure(datetime.now(UTC), error, in_words(ended), retry))
    if failed or ended.index is None:  # or another machine publishes that page
        return
    cpu_s = round(sum(result.cpu_seconds for result in ended.results), 3)
    peak = max((result.report["peak_memory_bytes"] for result in ended.results if result.report), default=0)
    changed = bool(ended.of("published"))
    record_success(sites.root, Success(begun, ended.index.id, changed, round(seconds, 3), cpu_s, peak))


def in_words(ended: SitesRun) -> str:
    """Say how many sites failed, which, and why."""
    failed = [result for result in ended.results if result.state == "failed"]
    told = [f"{result.name}: {result.message.partition(chr(10))[0][:SHOWN]}" for result in failed]
    named = "; ".join(told[:NAMED_AT_MOST]) + ("; …" if len(told) > NAMED_AT_MOST else "")
    words = [f"{len(failed)} of {len(ended.results)} sites failed: {named}"] if failed else []
    if ended.index is None:
        words.append(f"the page over all sites was not published: {ended.error}: {ended.message}")
    return "; ".join(words)
