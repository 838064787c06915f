"""The state of a report: the document of ``/status.json`` and of ``reportgen status``."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from reportgen import __version__
from reportgen.config.settings import Config
from reportgen.config.sites import Site, Sites
from reportgen.core.cron import MANUAL, Due, interval_s, next_due
from reportgen.publish.history import BuildResult, Runs, read_runs
from reportgen.publish.release import MAX_CLOCK_SKEW, Release, current_release

STALE = 4
"""Exit code when a build is overdue."""

FROM_MANIFEST = ("built_at", "as_of", "version", "source", "rows", "notes", "timings_s", "peak_memory_bytes")

SITES_FAILED = "SitesFailed"
"""The recorded error of a run in which sites failed and the page over all sites was published."""

SLACK_S = 60
"""Maximum seconds by which a site may be built before it is due."""


def due(config: Config, runs: Runs) -> Due | None:
    """Return when the next build is due, counted from the last success.

    It is ``None`` before the first success, and if the schedule is manual. A build that found nothing new
    counts as a success.
    """
    if runs.last_success is None:
        return None
    return next_due(config.schedule, config.zone, runs.last_success.at, config.jitter_s)


def is_due(config: Config, now: datetime) -> bool:
    """Return whether a build is due now: by the schedule, or because another version made the last one."""
    runs, release = read_runs(config.output.dir), current_release(config.output.dir)
    expected = due(config, runs)
    if expected is None or runs.success_by(now) is None or release is None:
        return True
    return release.manifest.get("version") != __version__ or now >= expected.at


def wants_a_build(config: Config, now: datetime) -> bool:
    """Return whether a build that starts at ``now`` has something to do: it is due, or the last one failed.

    With a manual schedule it never has. An interval counts from a build that began a little after it was
    started, hence the small tolerance.
    """
    if config.schedule == MANUAL:
        return False
    slack = timedelta(seconds=min(SLACK_S, (interval_s(config.schedule) or 0) / 2))
    return bool(read_runs(config.output.dir).failures) or is_due(config, now + slack)


def lost_source(config: Config, last: Release | None) -> str:
    """Return an error if no source is set and the last release was made from one; empty if all is well.

    A setting was lost, and the sample site must not replace a report.
    """
    source = last.manifest.get("source") if last else None
    if "url" in config.source.model_fields_set or source in {None, "sample"}:
        return ""
    return (
        f"source.url: is not set, and the last release is of {source}. It stays. "
        "Set DATABASE_URL (or source.url), or ask for the sample site with --source sample"
    )


def is_stale(expected: Due | None, now: datetime) -> bool:
    """Return whether a build is overdue by more than one interval and more than 15 minutes."""
    return expected is not None and now > expected.overdue_after


def site_status(config: Config, runs: Runs, now: datetime) -> dict[str, Any]:
    """Return the state of one site, ready for JSON. Times are in UTC; ``next_due`` is in the past if late."""
    expected, release = due(config, runs), current_release(config.output.dir)
    return {
        "schema_version": 1,
        "version": __version__,
        "now": _stamp(now),
        "schedule": config.schedule,
        "timezone": config.timezone,
        "next_due": _stamp(expected.at) if expected else None,
        "overdue_after": _stamp(expected.overdue_after) if expected else None,
        "stale": is_stale(expected, now) or runs.success_by(now + MAX_CLOCK_SKEW) is None,
        "consecutive_failures": runs.failures,
        "last_success": _plain(runs.last_success),
        "last_failure": _plain(runs.last_failure),
        "panels": runs.last_success.details.get("panels", []) if runs.last_success else [],
        "release": {"id": release.id} | {name: release.manifest.get(name) for name in FROM_MANIFEST}
        if release
        else None,
    }


def status_of_all(sites: Sites, chosen: Sequence[Site], now: datetime) -> dict[str, Any]:
    """Return the state of many sites together, and of each of the ``chosen``.

    Together they are stale if any of the chosen or the page over all sites is.
    """
    runs, index = read_runs(sites.root), current_release(sites.root)
    each = [
        {"name": site.name, "prefix": site.prefix}
        | site_status(site.config, read_runs(site.config.output.dir), now)
        for site in chosen
    ]
    return {
        "schema_version": 1,
        "version": __version__,
        "now": _stamp(now),
        "next_due": min((one["next_due"] for one in each if one["next_due"]), default=None),
        "stale": any(one["stale"] for one in each) or _is_index_stale(sites, runs, now),
        "consecutive_failures": runs.failures,
        "last_success": _plain(runs.last_success),
        "last_failure": _plain(runs.last_failure),
        "release": {"id": index.id} | {name: index.manifest.get(name) for name in ("built_at", "version")}
        if index
        else None,
        "sites": each,
    }


def _is_index_stale(sites: Sites, runs: Runs, now: datetime) -> bool:
    """Return whether the page over all sites has failed for longer than the figures of a site may be old."""
    if not runs.failures or runs.last_failure is None or runs.last_failure.error == SITES_FAILED:
        return False
    return runs.last_success is None or any(is_stale(due(site.config, runs), now) for site in sites.all)


def without_details(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document for a public server: without names of hosts and messages for the operator."""
    failure, release = document["last_failure"], document["release"]
    panels = document.get("panels")
    sites = {"sites": [without_details(one) for one in document["sites"]]} if "sites" in document else {}
    return (
        document
        | sites
        | {
            "last_failure": failure and failure | {"message": None},
            "release": release and release | {"source": None},
            **({"panels": [each | {"message": None} for each in panels]} if panels else {}),
        }
    )


def panel_warning(panel: Mapping[str, Any]) -> str:
    """Return a sentence about a panel that was not renewed."""
    since = f"shown as of {panel['as_of']}" if panel["as_of"] else "not available yet"
    return f"panel {panel['panel']} ({', '.join(panel['windows'])}) is {since}: {panel['message']}"


def _plain(result: BuildResult | None) -> dict[str, Any] | None:
    plain = result and {name: value for name, value in result.recorded().items() if name != "panels"}
    return plain | {"at": _stamp(result.at)} if result and plain else None


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def status_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the document of :func:`site_status` as lines of text."""
    release, success, failure = (document[name] for name in ("release", "last_success", "last_failure"))
    if release:
        # A release of the page over many sites, which may be here from before, has neither rows nor a date.
        rows = "" if release["rows"] is None else f", {release['rows']:,} rows"
        as_of = "" if release["as_of"] is None else f", data as of {release['as_of']}"
        yield f"published     {release['id']}{rows}{as_of}"
    else:
        yield "published     nothing yet"
    if success:
        found = "published" if success["changed"] else "nothing new"
        took = f"{success['seconds']:.1f} s, {success['cpu_seconds']:.1f} s of CPU"
        yield f"last success  {success['at']}: {found}, {took}"
    else:
        yield "last success  none"
    if failure:
        count = document["consecutive_failures"]
        since = f", {count} since the last success" if count else ", and a success since"
        yield f"last failure  {failure['at']}{since}: {failure['message']}"
    for each in document["panels"]:
        yield f"panel         {panel_warning(each).removeprefix('panel ')}"
    if document["next_due"]:
        schedule = f"{document['schedule']}, {document['timezone']}"
        yield f"next due      {document['next_due']} (schedule {schedule})"
    elif document["schedule"] == MANUAL:
        yield "next due      when a build is run by hand (schedule manual)"
    late = "a build is overdue" if success else "no build has succeeded yet"
    yield f"state         {f'STALE: {late}' if document['stale'] else 'fresh'}"
