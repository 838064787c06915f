"""``reportgen serve`` for many sites: one schedule, one server, and a release for each site.

The page over all sites is at ``/``, each site below its prefix. A site's release is read into memory at the
first request for it, which takes some milliseconds. If the releases take too much memory, the ones that were
requested longest ago are dropped.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from reportgen import __version__
from reportgen.build.status import JOIN_S, site_status, status_of_all, wants_a_build, without_details
from reportgen.config.sites import Site, Sites
from reportgen.core import logs
from reportgen.core.cron import due_after
from reportgen.core.logs import event
from reportgen.core.timing import Throttle
from reportgen.publish.history import read_runs
from reportgen.serve.app import REFRESH_EVERY_S, CurrentRelease, MountedSite, application
from reportgen.serve.release_cache import AssetPool
from reportgen.serve.scheduler import DueAfter, Schedule
from reportgen.serve.server import address_of, check_exposure, listen, run_server
from reportgen.serve.worker import Worker

MAX_BYTES = 64_000_000
"""Maximum size of the sites' releases in memory, without assets."""

STATUS_EVERY_S = 5.0
"""Minimum age of the status of all sites before it is computed again."""


class SiteCaches:
    """The page over all sites, and the releases of the sites that are in memory.

    Only the thread of the event loop changes which releases are in memory, and their size. Another thread
    reads new releases.
    """

    def __init__(self, sites: Sites, *, max_bytes: int = MAX_BYTES) -> None:
        self._sites, self._max_bytes = sites, max_bytes
        self.assets = AssetPool()
        self.index = CurrentRelease(sites.root, self.assets)
        self._sizes: OrderedDict[CurrentRelease, int] = OrderedDict()
        """The size in bytes of each release in memory, the one requested longest ago first."""
        self.size_bytes = 0
        """The sum of these sizes."""
        self._throttle = Throttle(STATUS_EVERY_S, at_once=True)
        self.status: dict[str, Any] = {}

    def mount(self, site: Site, visible: Callable[[dict[str, Any]], dict[str, Any]]) -> MountedSite:
        """Return what serves a site. ``visible`` removes from its status what readers must not see."""
        current = CurrentRelease(site.config.output.dir, self.assets)

        def document() -> dict[str, Any]:
            return visible(site_status(site.config, read_runs(site.config.output.dir), _now()))

        return MountedSite(current, document, partial(self._fetch, current))

    def _fetch(self, current: CurrentRelease) -> None:
        """Read a site's release if it is not in memory, and note that it was requested last."""
        if current.cache is None:
            current.refresh()
        if current.cache is not None:
            self._add(current, current.cache.size_bytes)
            self._sizes.move_to_end(current)
            self._drop_oldest()

    def _add(self, current: CurrentRelease, size_bytes: int) -> None:
        self.size_bytes += size_bytes - self._sizes.get(current, 0)
        self._sizes[current] = size_bytes

    def _drop_oldest(self) -> None:
        while len(self._sizes) > 1 and self.size_bytes > self._max_bytes:
            oldest, size_bytes = self._sizes.popitem(last=False)
            self.size_bytes -= size_bytes
            oldest.drop()

    def refresh_index(self) -> None:
        """Serve the newest page over all sites, and compute the status of all sites if it is time to."""
        self.index.refresh()
        if self._throttle.is_due():
            with self._throttle.timed():
                self.status = status_of_all(self._sites, self._sites.all, _now())

    async def refresh_sites(self) -> None:
        """Serve the newest releases of the sites in memory. Another thread reads them."""
        before = [(current, current.cache) for current in self._sizes]
        new = await asyncio.to_thread(lambda: [current.read_new() for current, _ in before])
        for (current, old_cache), release in zip(before, new, strict=True):
            # A request may have dropped or replaced the release of a site while the other thread was reading.
            if release and current.cache is old_cache:
                current.serve(release)
                self._add(current, release.cache.size_bytes)
        self._drop_oldest()

    async def follow(self) -> None:
        """Refresh every half second, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            await asyncio.to_thread(self.refresh_index)
            await self.refresh_sites()


def serve_sites(
    sites: Sites, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool
) -> int:
    """Serve and build many sites until a signal arrives; return the exit status.

    Args:
        sites: the settings of all sites.
        arguments: the options of ``reportgen build`` for the builds.
        environ: the environment, with ``REPORTGEN_PASSWORD`` and ``REPORTGEN_LOG``.
        scheduled: whether to build by schedule.

    Raises:
        ConfigError: the address cannot be listened on, or must not be without a password.

    """
    password, server = environ.get("REPORTGEN_PASSWORD"), sites.common.server
    logs.set_up(logs.form_of(environ.get("REPORTGEN_LOG")), [*sites.secrets, password or ""])
    check_exposure(server.host, password, public=server.public)
    listening = listen(server.host, server.port)
    caches = SiteCaches(sites)
    caches.refresh_index()
    schedule = _schedule(sites, arguments) if scheduled else None

    def visible(document: dict[str, Any]) -> dict[str, Any]:
        return document if password or not server.public else without_details(document)

    def start() -> None:
        event(
            "listening", address=address_of(listening), version=__version__, password=bool(password),
            sites=len(sites.all),
        )  # fmt: skip
        if schedule:
            missing = caches.index.cache is None
            at_once = missing or any(wants_a_build(site.config, _now()) for site in sites.all)
            schedule.start(at_once=at_once)

    app = application(
        caches.index, lambda: visible(caches.status), password=password, client_header=server.client_header,
        sites={site.prefix: caches.mount(site, visible) for site in sites.all},
    )  # fmt: skip
    if schedule is None:
        return run_server(app, caches.follow, listening, start=start, access_log=server.access_log)
    return run_server(
        app, caches.follow, listening,
        start=start, stop=schedule.stop, find_fault=schedule.check, access_log=server.access_log,
    )  # fmt: skip


def _schedule(sites: Sites, arguments: Sequence[str]) -> Schedule:
    """Return the schedule that starts a build of all sites that are due, when the first of them is."""
    common = sites.common
    # Each site has a timeout of its own. This one ends the whole run if that hangs.
    timeout_s = 2 * sum(site.config.build_timeout_s for site in sites.all) + JOIN_S + 600
    options = [*arguments, "--due", "--quiet"]
    worker = Worker(sites.root, options, timeout_s=timeout_s, clock=_now, secrets=sites.secrets)
    due = first_due(sites)
    return Schedule(worker, common.schedule, common.zone, jitter_s=common.jitter_s, due_after=due)


def first_due(sites: Sites) -> DueAfter:
    """Return the function that finds when the next build of any site is due, each in its own time zone."""
    schedules = {(site.config.schedule, site.config.timezone): site.config.zone for site in sites.all}

    def after(moment: datetime) -> datetime:
        return min(due_after(schedule, zone, moment) for (schedule, _), zone in schedules.items())

    return after


def _now() -> datetime:
    return datetime.now(UTC)
