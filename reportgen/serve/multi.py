"""What ``reportgen serve`` puts together for many sites: one schedule, one server, a release for each prefix.

The page over all sites stands at ``/``, each site below its prefix. Releases are read into memory when they
are first asked for, which takes some milliseconds; those that nobody has asked for longest go where there are
too many.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from reportgen import __version__
from reportgen.build.status import JOIN_S, status, status_of_all, wants_a_build, without_details
from reportgen.config.sites import Site, Sites
from reportgen.core import logs
from reportgen.core.cron import due_after
from reportgen.core.logs import event
from reportgen.core.timing import Pace
from reportgen.publish.history import read_runs
from reportgen.serve.app import LOOK_EVERY_S, CurrentRelease, SiteApp, application
from reportgen.serve.scheduler import DueAfter, Schedule
from reportgen.serve.server import address_of, check_exposure, listen, run
from reportgen.serve.worker import Worker

MOST_BYTES = 64_000_000
"""Of releases in memory, besides the assets that all have in common."""

STATUS_EVERY_S = 5.0
"""How stale the status of all sites may be, where it does not take long."""


class SiteCaches:
    """The page over all sites, and the sites' releases that are in memory."""

    def __init__(self, sites: Sites, *, most_bytes: int = MOST_BYTES) -> None:
        self._sites, self._most_bytes = sites, most_bytes
        self._pool: dict[str, bytes] = {}
        self.index = CurrentRelease(sites.root, self._pool)
        self._loaded: OrderedDict[str, CurrentRelease] = OrderedDict()
        self._pace = Pace(STATUS_EVERY_S, at_once=True)
        self.status: dict[str, Any] = {}

    def place(self, site: Site, shown: Callable[[dict[str, Any]], dict[str, Any]]) -> SiteApp:
        """Return where a site is served; its status goes out as ``shown``."""
        published = CurrentRelease(site.config.output.dir, self._pool)

        def document() -> dict[str, Any]:
            return shown(status(site.config, read_runs(site.config.output.dir), _now()))

        return SiteApp(published, document, partial(self._fetch, site.prefix, published))

    def _fetch(self, prefix: str, published: CurrentRelease) -> None:
        """See to it that a site's release is in memory, and that not too many others are."""
        if published.cache is None:
            published.refresh()
        if published.cache is None:
            return
        self._loaded[prefix] = published
        self._loaded.move_to_end(prefix)
        while len(self._loaded) > 1 and self._bytes() > self._most_bytes:
            _, oldest = self._loaded.popitem(last=False)
            oldest.drop()

    def _bytes(self) -> int:
        return sum(each.cache.size_bytes for each in self._loaded.values() if each.cache)

    def refresh(self) -> None:
        """Load what has been published since, where it is in memory, and see how all sites stand."""
        self.index.refresh()
        for published in list(self._loaded.values()):
            if published.cache:
                published.refresh()
        if self._pace.is_due():
            with self._pace.timed():
                self.status = status_of_all(self._sites, self._sites.all, _now())

    async def follow(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self.refresh)


def serve(sites: Sites, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool) -> int:
    """Serve and build many sites until a signal comes; return the exit status.

    ``arguments`` are the options that a round of builds gets, ``environ`` holds ``REPORTGEN_PASSWORD`` and
    ``REPORTGEN_LOG``.

    Raises:
        ConfigError: it cannot, or must not, listen there.

    """
    password, server = environ.get("REPORTGEN_PASSWORD"), sites.common.server
    logs.set_up(logs.form_of(environ.get("REPORTGEN_LOG")), [*sites.secrets, password or ""])
    check_exposure(server.host, password, public=server.public)
    listening = listen(server.host, server.port)
    caches = SiteCaches(sites)
    caches.refresh()
    schedule = _schedule(sites, arguments) if scheduled else None

    def shown(document: dict[str, Any]) -> dict[str, Any]:
        return document if password or not server.public else without_details(document)

    def start() -> None:
        event(
            "listening", address=address_of(listening), version=__version__, password=bool(password),
            sites=len(sites.all),
        )  # fmt: skip
        if schedule:
            unread = caches.index.cache is None
            wanted = unread or any(wants_a_build(site.config, _now()) for site in sites.all)
            schedule.start(at_once=wanted)

    app = application(
        caches.index, lambda: shown(caches.status), password=password, client_header=server.client_header,
        places={site.prefix: caches.place(site, shown) for site in sites.all},
    )  # fmt: skip
    if schedule is None:
        return run(app, caches, listening, start=start, access_log=server.access_log)
    return run(
        app, caches, listening,
        start=start, stop=schedule.stop, trouble=schedule.check, access_log=server.access_log,
    )  # fmt: skip


def _schedule(sites: Sites, arguments: Sequence[str]) -> Schedule:
    """Return what starts a round whenever a site is due: it builds those that are."""
    common = sites.common
    # Each site has a deadline of its own; this is one for the round, should the round itself hang.
    timeout_s = 2 * sum(site.config.build_timeout_s for site in sites.all) + JOIN_S + 600
    options = [*arguments, "--due", "--quiet"]
    worker = Worker(sites.root, options, timeout_s=timeout_s, clock=_now, secrets=sites.secrets)
    due = first_due(sites)
    return Schedule(worker, common.schedule, common.zone, jitter_s=common.jitter_s, due_after=due)


def first_due(sites: Sites) -> DueAfter:
    """Return what tells when the first of all sites is due after a moment, each in its own zone."""
    timetables = {(site.config.schedule, site.config.timezone): site.config.zone for site in sites.all}

    def after(moment: datetime) -> datetime:
        return min(due_after(schedule, zone, moment) for (schedule, _), zone in timetables.items())

    return after


def _now() -> datetime:
    return datetime.now(UTC)
