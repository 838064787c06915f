"""``reportgen serve`` for many sites: a schedule and a release for each site, one server.

The page over all sites is at ``/``, each site below its prefix. A site's release is read into memory at the
first request for it, which takes some milliseconds. If the releases take too much memory, the ones that were
requested longest ago are dropped.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from reportgen import __version__
from reportgen.build.status import site_status, status_of_all, without_details
from reportgen.config.settings import Config
from reportgen.config.sites import Site, Sites
from reportgen.core import logs
from reportgen.core.logs import event
from reportgen.core.processes import Commands
from reportgen.publish.history import read_runs
from reportgen.serve.app import REFRESH_EVERY_S, CurrentRelease, MountedSite, application
from reportgen.serve.release_cache import Assets
from reportgen.serve.scheduler import Schedule, ScheduledSite
from reportgen.serve.server import address_of, check_exposure, listen, run_server
from reportgen.serve.worker import Worker

MAX_BYTES = 64_000_000
"""Maximum size of the sites' releases in memory, without assets."""

STATUS_EVERY_S = 5.0
"""Minimum age of the status of all sites before it is computed again."""

STATUS_SHARE = 20
"""Maximum share of wall time that computing it takes, as 1/N."""


class SiteCaches:
    """The page over all sites, and the releases of the sites that are in memory.

    Only the thread of the event loop changes which sites are in memory, and their size. Another thread reads
    new releases.
    """

    def __init__(self, sites: Sites, *, max_bytes: int = MAX_BYTES) -> None:
        self._sites, self._max_bytes = sites, max_bytes
        self.assets = Assets()
        self.index = CurrentRelease(sites.root, self.assets)
        self._sizes: OrderedDict[CurrentRelease, int] = OrderedDict()
        """The size in bytes of each release in memory, the one requested longest ago first."""
        self.size_bytes = 0
        """The sum of these sizes."""
        self._status_due = 0.0
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
        begun = time.monotonic()
        if begun >= self._status_due:
            self.status = status_of_all(self._sites, self._sites.all, _now())
            ended = time.monotonic()
            self._status_due = ended + max(STATUS_EVERY_S, STATUS_SHARE * (ended - begun))

    async def refresh_sites(self) -> None:
        """Serve the newest releases of the sites in memory. Another thread reads them."""
        for current in list(self._sizes):
            await asyncio.to_thread(current.refresh)
            if current not in self._sizes:  # a request for another site has dropped it meanwhile
                current.drop()
            elif current.cache:
                self._add(current, current.cache.size_bytes)
        self._drop_oldest()

    async def follow(self) -> None:
        """Refresh every half second, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            await asyncio.to_thread(self.refresh_index)
            await self.refresh_sites()


def serve_sites(
    sites: Sites, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool, processes: int
) -> int:
    """Serve and build many sites until a signal arrives; return the exit status.

    Args:
        sites: the settings of all sites.
        arguments: the options of ``reportgen build`` for the builds.
        environ: the environment, with ``REPORTGEN_PASSWORD`` and ``REPORTGEN_LOG``.
        scheduled: whether to build by schedule.
        processes: the number of sites that are built at once.

    Raises:
        ConfigError: the address cannot be listened on, or must not be without a password.

    """
    password, server = environ.get("REPORTGEN_PASSWORD"), sites.common.server
    logs.set_up(logs.form_of(environ.get("REPORTGEN_LOG")), [*sites.secrets, password or ""])
    check_exposure(server.host, password, public=server.public)
    listening = listen(server.host, server.port)
    caches = SiteCaches(sites)
    caches.refresh_index()
    schedule = _schedule(sites, sites.all if scheduled else [], arguments, processes)

    def visible(document: dict[str, Any]) -> dict[str, Any]:
        return document if password or not server.public else without_details(document)

    def start() -> None:
        event(
            "listening", address=address_of(listening), version=__version__, password=bool(password),
            sites=len(sites.all),
        )  # fmt: skip
        # A new machine: the page, and the releases of all sites, come from the bucket.
        new = scheduled and caches.index.cache is None
        schedule.start(page_at_once=new and bool(sites.common.output.bucket))

    app = application(
        caches.index, lambda: visible(caches.status), password=password, client_header=server.client_header,
        sites={site.prefix: caches.mount(site, visible) for site in sites.all},
    )  # fmt: skip
    return run_server(
        app, caches.follow, listening, start=start, schedule=schedule, access_log=server.access_log
    )


def _schedule(sites: Sites, built: Sequence[Site], arguments: Sequence[str], processes: int) -> Schedule:
    """Return the schedule of the sites that are ``built``, each with its own, and of the page over all."""
    commands = Commands()

    def worker(config: Config, *options: str) -> Worker:
        return Worker(
            config.output.dir, [*arguments, *options],
            commands=commands, timeout_s=config.build_timeout_s, clock=_now, secrets=sites.secrets,
        )  # fmt: skip

    scheduled = [
        ScheduledSite(site.config, worker(site.config, "--only", "site", "--site", site.name), site.name)
        for site in built
    ]
    page = worker(sites.common, "--only", "page")
    return Schedule(scheduled, page=page, processes=processes, stop_builds=commands.stop)


def _now() -> datetime:
    return datetime.now(UTC)
