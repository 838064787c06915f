"""``reportgen serve`` for one site: the schedule, the worker, the website and the server together."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reportgen import __version__
from reportgen.build.status import site_status, without_details
from reportgen.config.settings import Config
from reportgen.core import logs
from reportgen.core.logs import event
from reportgen.core.processes import Commands
from reportgen.publish.history import read_runs
from reportgen.serve.app import CurrentRelease, application
from reportgen.serve.scheduler import Schedule, ScheduledSite
from reportgen.serve.server import address_of, check_exposure, listen, run_server
from reportgen.serve.worker import Worker


def serve_site(
    config: Config, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool
) -> int:
    """Serve and build one site until a signal arrives; return the exit status.

    Args:
        config: the settings of the site.
        arguments: the options of ``reportgen build`` for the builds.
        environ: the environment, with ``REPORTGEN_PASSWORD`` and ``REPORTGEN_LOG``.
        scheduled: whether to build by schedule.

    Raises:
        ConfigError: the address cannot be listened on, or must not be without a password.

    """
    password = environ.get("REPORTGEN_PASSWORD")
    logs.set_up(logs.form_of(environ.get("REPORTGEN_LOG")), [*config.secrets, password or ""])
    server = config.server
    check_exposure(server.host, password, public=server.public)
    listening = listen(server.host, server.port)
    current = CurrentRelease(config.output.dir)
    current.refresh()
    commands = Commands()
    worker = Worker(
        config.output.dir, arguments,
        commands=commands, timeout_s=config.build_timeout_s, clock=_now, secrets=config.secrets,
    )  # fmt: skip
    site = ScheduledSite(config, worker, at_once=current.cache is None)
    schedule = Schedule([site] if scheduled else [], stop_builds=commands.stop)

    def document() -> dict[str, Any]:
        full = site_status(config, worker.runs, _now())
        return full if password or not server.public else without_details(full)

    def start() -> None:
        event("listening", address=address_of(listening), version=__version__, password=bool(password))
        schedule.start()

    app = application(current, document, password=password, client_header=server.client_header)
    return run_server(
        app, current.follow, listening, start=start, schedule=schedule, access_log=server.access_log
    )


def serve_published(config: Config, listening: socket.socket) -> int:
    """Serve the current release on a socket, as ``reportgen demo`` does, and build nothing."""
    logs.set_up("logfmt", [])
    current = CurrentRelease(config.output.dir)
    current.refresh()
    app = application(current, lambda: site_status(config, read_runs(config.output.dir), _now()))
    return run_server(app, current.follow, listening)


def _now() -> datetime:
    return datetime.now(UTC)
