"""``reportgen serve`` for many sites: a schedule and a release for each site, one server.

The page over all sites is at ``/``, each site below its prefix. A site's release is read into memory at the
first request for it, which takes some milliseconds. If the releases take too much memory, the ones that were
requested longest ago are dropped.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from reportgen.build.status import site_status, status_of_all
from reportgen.config.sites import Site, Sites
from reportgen.publish.history import read_runs
from reportgen.serve.app import REFRESH_EVERY_S, CurrentRelease, MountedSite
from reportgen.serve.release_cache import Assets
from reportgen.serve.scheduler import ScheduledSite
from reportgen.serve.single import Service, now

MAX_BYTES = 64_000_000
"""Maximum size of the sites' releases in memory, without assets."""

STATUS_EVERY_S = 5.0
"""Minimum age of the status of all sites before it is computed again."""


class SiteCaches:
    """The page over all sites, and the releases of the sites that are in memory.

    Only the thread of the event loop changes which sites are in memory. Another thread reads new releases.
    """

    def __init__(self, sites: Sites, *, max_bytes: int = MAX_BYTES) -> None:
        self._sites, self._max_bytes = sites, max_bytes
        self.assets = Assets()
        self.index = CurrentRelease(sites.root, self.assets)
        self._loaded: dict[CurrentRelease, None] = {}
        """The sites in memory, the one requested longest ago first."""
        self._status_due = 0.0
        self.status: dict[str, Any] = {}

    def mount(self, site: Site, visible: Callable[[dict[str, Any]], dict[str, Any]]) -> MountedSite:
        """Return what serves a site. ``visible`` removes from its status what readers must not see."""
        current = CurrentRelease(site.config.output.dir, self.assets)

        def document() -> dict[str, Any]:
            return visible(site_status(site.config, read_runs(site.config.output.dir), now()))

        return MountedSite(current, document, partial(self._fetch, current))

    @property
    def size_bytes(self) -> int:
        """The size of the releases in memory."""
        return sum(current.cache.size_bytes for current in self._loaded if current.cache)

    def _fetch(self, current: CurrentRelease) -> None:
        """Read a site's release if it is not in memory, and note that it was requested last."""
        self._loaded.pop(current, None)
        self._loaded[current] = None
        if current.cache is None:
            current.refresh()
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._loaded) > 1 and self.size_bytes > self._max_bytes:
            oldest = next(iter(self._loaded))
            del self._loaded[oldest]
            oldest.drop()

    def refresh_index(self) -> None:
        """Serve the newest page over all sites, and compute the status of all sites if it is time to."""
        self.index.refresh()
        if time.monotonic() >= self._status_due:
            self.status = status_of_all(self._sites, self._sites.all, now())
            self._status_due = time.monotonic() + STATUS_EVERY_S

    async def refresh_sites(self) -> None:
        """Serve the newest releases of the sites in memory. Another thread reads them."""
        for current in list(self._loaded):
            await asyncio.to_thread(current.refresh)
            if current not in self._loaded:  # a request for another site has dropped it meanwhile
                current.drop()
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

    ``arguments`` are the options of the builds. ``scheduled`` says whether to build by schedule, at most
    ``processes`` sites at once.

    Raises:
        ConfigError: the address cannot be listened on, or must not be without a password.

    """
    service = Service(sites.common, arguments, environ, sites.secrets, processes=processes)
    caches = SiteCaches(sites)
    caches.refresh_index()

    def build_of(site: Site) -> ScheduledSite:
        worker = service.worker(site.config, "--only", "site", "--site", site.name)
        return ScheduledSite(site.config, worker, site.name)

    # A new machine: the page, and the releases of all sites, come from the bucket.
    restore = scheduled and caches.index.cache is None and bool(sites.common.output.bucket)
    return service.run(
        caches.index, lambda: caches.status, caches.follow,
        [build_of(site) for site in sites.all] if scheduled else [],
        page=service.worker(sites.common, "--only", "page"), page_at_once=restore,
        sites={site.prefix: caches.mount(site, service.visible) for site in sites.all},
    )  # fmt: skip
