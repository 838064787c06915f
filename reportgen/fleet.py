"""A round over many sites: each is built apart, wherever the executor runs it, and then the page over all.

A site that fails, hangs or crashes is one line of the result. Sites that failed the last time come last, so
that one which hangs again keeps nobody waiting; the page over all is renewed while the others are built.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from reportgen import __version__, bundle
from reportgen.apart import Processes, build_apart
from reportgen.aside import processors
from reportgen.build import into_bucket
from reportgen.builder import Order, Result, Ways
from reportgen.errors import ClusterError, ConfigError, RenderError, mask_logins, scrub
from reportgen.publish import Release, lock_output, publish
from reportgen.runs import Failure, Success, read_runs, record_failure, record_success
from reportgen.sites import NAMED_AT_MOST, Site, Sites
from reportgen.stopwatch import Stopwatch

INDEX_EVERY_S = 30.0
"""How often the page over all sites is renewed while sites are built."""

INDEX_SHARE = 20
"""So many times longer than it takes, where that is more: beside 10,000 sites it is a build itself."""

PATIENCE_S = 60.0
"""How much longer than any site's deadlines nothing may happen before the rest is given up."""

SHOWN = 200
"""So many letters of each site's message are told of a round."""

SCHEMES = {"dask": "tcp", "dask+tls": "tls"}
CONNECT_S = 10


@dataclass(frozen=True)
class Round:
    """What a round came to: a result for each site, and the release of the page over all, or why not."""

    results: Sequence[Result]
    index: Release | None
    message: str = ""

    def of(self, state: str) -> list[str]:
        """Return the names of the sites whose build ended in ``state``."""
        return [result.name for result in self.results if result.state == state]


def build_round(
    sites: Sites,
    chosen: Sequence[Site],
    ways: Ways,
    executor: Executor,
    tell: Callable[[Result], None],
    *,
    whole: bool = True,
) -> Round:
    """Build the ``chosen`` sites, then the page over all; ``tell`` hears of each site as it is done.

    A ``whole`` round, with all sites that were due, goes on record.
    """
    begun, start = datetime.now(UTC), time.monotonic()
    results = list(_built(sites, chosen, ways, executor, tell))
    place = {site.name: at for at, site in enumerate(sites.all)}
    results.sort(key=lambda result: place[result.name])
    try:
        index, message = publish_index(sites, datetime.now(UTC)), ""
    except Exception as exc:  # noqa: BLE001 - the sites are published
        index, message = None, f"{type(exc).__name__}: {mask_logins(scrub(str(exc), sites.secrets))}"
    ended = Round(results, index, message)
    if whole and ways.as_of is None:
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
    from reportgen.overview import index_files  # with templates, which only who publishes needs
    from reportgen.proof import prove

    common = sites.common
    prefixes = sorted(site.prefix for site in sites.all)
    with lock_output(sites.root) as lock:
        files = index_files(sites, now)
        most = common.output.max_page_mb
        prove(
            files,
            windows=(),
            max_page_mb=most,
            own=common.templates_dir,
            beside=[f"{prefix}/index.html" for prefix in prefixes],
        )
        links = {prefix: f"../../{prefix}/current" for prefix in prefixes}
        about = {"version": __version__, "sites": len(sites.all)}
        release = publish(lock, files, about, built_at=now, keep=common.output.keep, links=links)
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
        raise ConfigError('--executor: Dask is not installed: pip install "reportgen[dask]"') from None
    try:
        client: Any = Client(f"{SCHEMES[scheme]}://{rest}", timeout=CONNECT_S, set_as_default=False)  # type: ignore[no-untyped-call,unused-ignore]
    except (OSError, ValueError) as exc:
        raise ClusterError(f"--executor: no Dask scheduler answers at {rest}: {exc}") from exc
    with client:
        yield client.get_executor(pure=False)  # the same order is another build tomorrow


def _built(
    sites: Sites, chosen: Sequence[Site], ways: Ways, executor: Executor, tell: Callable[[Result], None]
) -> Iterator[Result]:
    """Yield each site's result as soon as it is there."""
    failures = {site.name: read_runs(site.config.output.dir).failures for site in chosen}
    kept = (sites.root / "state").absolute()
    _prepare(kept)
    futures: dict[Future[Result], Site] = {
        executor.submit(build_apart, _order(site, ways, kept)): site
        for site in sorted(chosen, key=lambda site: failures[site.name] > 0)
    }
    ended: SimpleQueue[Future[Result]] = SimpleQueue()
    for future in futures:
        future.add_done_callback(ended.put)
    most_s = PATIENCE_S + 2 * max((site.config.build_timeout_s for site in chosen), default=0)
    moved = time.monotonic()
    renewed, pause_s = moved, INDEX_EVERY_S
    while futures:
        try:
            done = [ended.get(timeout=INDEX_EVERY_S)]
        except Empty:
            done = []
        now = time.monotonic()
        moved = now if done else moved
        for future in list(futures) if now - moved > most_s else done:
            result = _result(future, futures.pop(future), most_s)
            future.cancel()
            tell(result)
            yield result
        if futures and now - renewed > pause_s:
            with suppress(Exception):  # it is told at the end
                publish_index(sites, datetime.now(UTC))
            renewed = time.monotonic()
            pause_s = max(INDEX_EVERY_S, INDEX_SHARE * (renewed - now))


def _order(site: Site, ways: Ways, kept: Path) -> Order:
    """Return a site's order, with directories that mean the same wherever it is built."""
    config = site.config
    changed: dict[str, object] = {
        "output": config.output.model_copy(update={"dir": config.output.dir.absolute()}),
        "templates_dir": config.templates_dir and config.templates_dir.absolute(),
    }
    return Order(site.name, config.model_copy(update=changed), kept, ways)


def _result(future: "Future[Result]", site: Site, waited_s: float) -> Result:
    """Return what a site came to. What the executor itself failed in is put on record here."""
    if not future.done():
        error, message = "NotStarted", f"no worker took it, or answered, within {waited_s:.0f} s"
    elif future.cancelled():
        error, message = "NotStarted", "the executor gave it up"
    elif (exc := future.exception()) is None:
        return future.result()
    else:
        error, message = type(exc).__name__, mask_logins(scrub(f"{exc}", site.config.secrets))
        message = f"the worker was lost, or could not build: {message or error}"
    record_failure(site.config.output.dir, Failure(datetime.now(UTC), error, message, retry=True))
    return Result(site.name, "failed", 0.0, message=message, error=error, retry=True)


def _prepare(kept: Path) -> None:
    """Make the charts' script once, before many processes would: a build that finds none says so."""
    with suppress(RenderError, OSError):
        kept.mkdir(parents=True, exist_ok=True)
        bundle.load(kept)


def _record(sites: Sites, ended: Round, begun: datetime, seconds: float) -> None:
    """Put a whole round on record, as one build of the page over all."""
    failed = [result for result in ended.results if result.state == "failed"]
    if failed or ended.index is None:
        retry = any(result.retry for result in failed)
        record_failure(sites.root, Failure(datetime.now(UTC), "SitesFailed", in_words(ended), retry))
        return
    cpu_s = round(sum(result.cpu_seconds for result in ended.results), 3)
    peak = max((result.report["peak_memory_bytes"] for result in ended.results if result.report), default=0)
    changed = bool(ended.of("published"))
    record_success(sites.root, Success(begun, ended.index.id, changed, round(seconds, 3), cpu_s, peak))


def in_words(ended: Round) -> str:
    """Say how many sites failed, which, and why."""
    failed = [result for result in ended.results if result.state == "failed"]
    told = [f"{result.name}: {result.message.partition(chr(10))[0][:SHOWN]}" for result in failed]
    named = "; ".join(told[:NAMED_AT_MOST]) + ("; …" if len(told) > NAMED_AT_MOST else "")
    words = [f"{len(failed)} of {len(ended.results)} sites failed: {named}"] if failed else []
    words += [f"the page over all sites was not published: {ended.message}"] if ended.message else []
    return "; ".join(words)
