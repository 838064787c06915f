"""``reportgen serve`` for one site, and what it shares with ``serve`` for many: :class:`Service`."""

import logging
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reportgen import __version__
from reportgen.build.status import lost_source, site_status, without_details
from reportgen.config.settings import Config
from reportgen.core import logs
from reportgen.core.logs import event
from reportgen.core.processes import Commands
from reportgen.publish.history import read_runs
from reportgen.publish.release import current_release
from reportgen.serve.app import CurrentRelease, MountedSite, application
from reportgen.serve.scheduler import Schedule, ScheduledSite
from reportgen.serve.server import address_of, check_exposure, listen, run_server
from reportgen.serve.worker import REPORT_S, Worker


class Service:
    """The log, the socket, the builds and the web server of ``reportgen serve``."""

    def __init__(
        self,
        config: Config,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        secrets: Sequence[str],
        *,
        processes: int = 1,
    ) -> None:
        """Set up the log, and listen on the address of ``config``; ``secrets`` are masked in all records.

        Raises:
            ConfigError: the address cannot be listened on, or must not be without a password.

        """
        self._server, self._password = config.server, environ.get("REPORTGEN_PASSWORD")
        self._arguments, self._secrets, self._processes = arguments, secrets, processes
        logs.set_up(logs.form_of(environ.get("REPORTGEN_LOG")), [*secrets, self._password or ""])
        check_exposure(self._server.host, self._password, public=self._server.public)
        self._listening = listen(self._server.host, self._server.port)
        self._commands = Commands()

    def worker(self, config: Config, *options: str) -> Worker:
        """Return the worker of an output directory; ``options`` follow the common arguments."""
        return Worker(
            config.output.dir, [*self._arguments, *options], commands=self._commands,
            timeout_s=config.build_timeout_s + REPORT_S, clock=now, secrets=self._secrets,
        )  # fmt: skip

    def visible(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return a status without what the readers of a public server must not see."""
        return document if self._password or not self._server.public else without_details(document)

    def run(
        self,
        current: CurrentRelease,
        status: Callable[[], dict[str, Any]],
        follow: Callable[[], Coroutine[Any, Any, None]],
        builds: Sequence[ScheduledSite],
        *,
        page: Worker | None = None,
        page_at_once: bool = False,
        sites: Mapping[str, MountedSite] | None = None,
    ) -> int:
        """Serve and build until a signal arrives; return the exit status.

        ``status`` returns the whole document of ``/status.json``. The other arguments are those of
        :class:`Schedule`, :func:`application` and :func:`run_server`.
        """
        server, address = self._server, address_of(self._listening)
        schedule = Schedule(builds, page=page, processes=self._processes, stop_builds=self._commands.stop)

        def start() -> None:
            event(
                "listening", address=address, version=__version__, password=bool(self._password),
                sites=len(sites) if sites else None,
            )  # fmt: skip
            schedule.start(page_at_once=page_at_once)

        app = application(
            current, lambda: self.visible(status()),
            password=self._password, client_header=server.client_header, sites=sites,
        )  # fmt: skip
        return run_server(
            app, follow, self._listening,
            start=start, schedule=schedule, access_log=server.access_log, processes=self._processes,
        )  # fmt: skip


def serve_site(
    config: Config, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool
) -> int:
    """Serve and build one site until a signal arrives; return the exit status.

    ``arguments`` are the options of the builds. ``scheduled`` says whether to build by schedule.

    Raises:
        ConfigError: the address cannot be listened on, or must not be without a password.

    """
    service = Service(config, arguments, environ, config.secrets)
    current = CurrentRelease(config.output.dir)
    current.refresh()
    if scheduled and (lost := lost_source(config, current_release(config.output.dir))):
        event("source_lost", level=logging.WARNING, message=lost)
    worker = service.worker(config)
    site = ScheduledSite(config, worker, at_once=current.cache is None)
    return service.run(
        current, lambda: site_status(config, worker.runs, now()), current.follow, [site] if scheduled else []
    )


def serve_published(config: Config, listening: socket.socket) -> int:
    """Serve the current release on a socket, as ``reportgen demo`` does, and build nothing."""
    logs.set_up("logfmt", [])
    current = CurrentRelease(config.output.dir)
    current.refresh()
    app = application(current, lambda: site_status(config, read_runs(config.output.dir), now()))
    return run_server(app, current.follow, listening)


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)
