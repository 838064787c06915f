"""What was made elsewhere is collected here, where builds are asked for and the page over all is made.

A worker's record comes back with its result, and its release from the bucket. Where all share a directory, as
the processes of one machine do, both are here already. A new machine collects what the last one published.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from reportgen.build.job import BuildResult
from reportgen.config.settings import Config
from reportgen.config.sites import Site, Sites
from reportgen.core.errors import BucketUnavailable, OutputBusy, PublishError, ReportgenError, mask
from reportgen.publish.bucket.index import is_same_or_newer
from reportgen.publish.history import Failure, Success, read_runs, record_failure, record_success
from reportgen.publish.release import current_release, lock_output

AT_ONCE = 4
"""Sites that are fetched together, each by some requests together."""

ROUNDED = timedelta(seconds=1)
"""More than what rounding takes from the seconds of a result."""


def collected(site: Site, result: BuildResult, *, past: bool) -> BuildResult:
    """Return what a site came to, once its release and its record are here.

    A build of a ``past`` day is no success to put on record. A site whose release does not come here has
    failed: the page over all would not show it.
    """
    if result.is_good and result.report:
        try:
            _bring(site.config, str(result.report["release"]))
        except ReportgenError as exc:
            state = "busy" if isinstance(exc, OutputBusy) else "failed"
            message = mask(str(exc), site.config.secrets)
            error = type(exc).__name__
            result = replace(result, state=state, report=None, error=error, message=message, retry=exc.retry)
    if result.begun and not (past and result.is_good):
        _note(site.config, result, result.begun)
    return result


def from_bucket(sites: Sites) -> None:
    """Have all that is current in the bucket, where there is no page over all here, as on a new machine.

    Sites come first, so that one which is not built in this round is not shown as if it had never been. What
    cannot be had is left to builds; they say so.
    """
    if current_release(sites.root):
        return
    answers = True

    def bring(config: Config, links: Mapping[str, str] | None = None) -> None:
        nonlocal answers
        if answers and config.output.bucket:
            try:
                _adopt(config, links)
            except BucketUnavailable:  # it would keep each of them waiting
                answers = False
            except ReportgenError:
                pass

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(bring, [site.config for site in sites.all]))
    bring(sites.common, sites.links)


def _adopt(config: Config, links: Mapping[str, str] | None = None) -> None:
    from reportgen.publish.bucket.download import restore_release  # what only a bucket needs

    with lock_output(config.output.dir, wait=False) as lock:
        restore_release(config, lock, links=links)


def _bring(config: Config, release_id: str) -> None:
    """Have a release here that is not older than the one that a worker published."""
    if _is_here(config, release_id):
        return
    if config.output.bucket is None:
        raise PublishError(
            f"{config.output.dir}: the worker's release is not here: let the workers share this directory,"
            " under the same path, or set output.bucket"
        )
    _adopt(config)
    if not _is_here(config, release_id):
        raise BucketUnavailable(f"{config.output.bucket}: the worker's release is not there; build again")


def _is_here(config: Config, release_id: str) -> bool:
    """Tell whether the current release is that one, or newer."""
    release = current_release(config.output.dir)
    return release is not None and is_same_or_newer(release.id, release_id, datetime.now(UTC))


def _note(config: Config, result: BuildResult, begun: datetime) -> None:
    """Put what a site came to on record, unless it is."""
    root = config.output.dir
    runs, until = read_runs(root), begun + timedelta(seconds=result.seconds) + ROUNDED

    def is_there(run: Success | Failure | None) -> bool:
        return run is not None and begun <= run.at <= until

    if result.is_good and result.report and not is_there(runs.last_success):
        record_success(root, _success(result, result.report, begun))
    if result.state == "failed" and not is_there(runs.last_failure):
        record_failure(root, Failure(datetime.now(UTC), result.error, result.message, result.retry))


def _success(result: BuildResult, report: Any, begun: datetime) -> Success:
    return Success(
        begun, report["release"], result.state == "published", result.seconds, result.cpu_seconds,
        report["peak_memory_bytes"], report["timings_s"],
    )  # fmt: skip
