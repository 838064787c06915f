"""After a build on another machine, store its record here and download its release from the bucket.

If all workers share a directory, as the processes of one machine do, both are here already. A new machine
downloads what the last machine published.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from reportgen.config.settings import Config
from reportgen.config.sites import Site, Sites
from reportgen.core.errors import BucketUnavailable, PublishError, ReportgenError
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import current_release, is_same_or_newer, lock_output

MAX_FETCHES = 4
"""Maximum number of sites whose releases are fetched at the same time."""


def collected(site: Site, result: BuildResult, *, past: bool) -> BuildResult:
    """Return the result of a site once its release and its record are here.

    The success of a build of a ``past`` day is not recorded. A site whose release does not arrive has failed:
    the page over all sites would not show it.
    """
    if result.succeeded:
        try:
            _fetch(site.config, result.release)
        except ReportgenError as exc:
            failed = BuildResult.of_error(exc, site.config.secrets)
            result = replace(failed, site=site.name, seconds=result.seconds, cpu_seconds=result.cpu_seconds)
    if not (past and result.succeeded):
        record(site.config.output.dir, result)
    return result


def from_bucket(sites: Sites) -> None:
    """Fetch every current release from the bucket if there is no page over all sites here: a new machine.

    The sites come first, so that the page shows those that this run does not build. What cannot be fetched is
    left to the builds, which report it.
    """
    if current_release(sites.root):
        return
    answers = True

    def fetch(config: Config, links: Mapping[str, str] | None = None) -> None:
        nonlocal answers
        if answers and config.output.bucket:
            try:
                _adopt(config, links)
            except BucketUnavailable:  # every other site would wait for it as well
                answers = False
            except ReportgenError:
                pass

    with ThreadPoolExecutor(MAX_FETCHES) as pool:
        list(pool.map(fetch, [site.config for site in sites.all]))
    fetch(sites.common, sites.links)


def _adopt(config: Config, links: Mapping[str, str] | None = None) -> None:
    from reportgen.publish.bucket.download import restore_release  # only a bucket needs it

    with lock_output(config.output.dir, wait=False) as lock:
        restore_release(config, lock, links=links)


def _fetch(config: Config, release_id: str) -> None:
    """Fetch the release that a worker published, or a newer one, unless it is here."""
    if _is_here(config, release_id):
        return
    if config.output.bucket is None:
        raise PublishError(
            f"{config.output.dir}: the worker's release is not here. Let the workers share this directory"
            " under the same path, or set output.bucket"
        )
    _adopt(config)
    if not _is_here(config, release_id):
        raise BucketUnavailable(
            f"{config.output.bucket}: the worker's release is not in the bucket. Build again"
        )


def _is_here(config: Config, release_id: str) -> bool:
    """Return whether the current release is that one, or newer."""
    release = current_release(config.output.dir)
    return release is not None and is_same_or_newer(release.id, release_id, datetime.now(UTC))
