"""What ``reportgen serve`` puts together: schedule, worker, website, server."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reportgen import __version__
from reportgen.build.status import is_due, status, without_details
from reportgen.config.settings import Config
from reportgen.core import logs
from reportgen.core.logs import event
from reportgen.publish.history import read_runs
from reportgen.serve.app import CurrentRelease, application
from reportgen.serve.scheduler import Schedule
from reportgen.serve.server import address_of, check_exposure, listen, run
from reportgen.serve.worker import Worker


def serve(config: Config, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool) -> int:
    """Serve and build until a signal comes; return the exit status.

    ``arguments`` are the options that a build gets, ``environ`` holds ``REPORTGEN_PASSWORD`` and
    ``REPORTGEN_LOG``.

    Raises:
        ConfigError: it cannot, or must not, listen there.

    """
    password = environ.get("REPORTGEN_PASSWORD")
    logs.set_up(logs.form_of(environ.get("REPORTGEN_LOG")), [*config.secrets, password or ""])
    server = config.server
    check_exposure(server.host, password, public=server.public)
    listening = listen(server.host, server.port)
    worker = Worker(
        config.output.dir, arguments, timeout_s=config.build_timeout_s, clock=_now, secrets=config.secrets
    )
    schedule = Schedule(worker, config.schedule, config.zone, jitter_s=config.jitter_s) if scheduled else None
    published = CurrentRelease(config.output.dir)
    published.refresh()

    def document() -> dict[str, Any]:
        found = status(config, worker.runs, _now())
        return found if password or not server.public else without_details(found)

    def start() -> None:
        event("listening", address=address_of(listening), version=__version__, password=bool(password))
        if schedule:
            unread = published.cache is None
            schedule.start(at_once=unread or is_due(config, _now()), if_changed=not unread)

    app = application(published, document, password=password, client_header=server.client_header)
    if schedule is None:
        return run(app, published, listening, start=start, access_log=server.access_log)
    return run(
        app, published, listening,
        start=start, stop=schedule.stop, trouble=schedule.check, access_log=server.access_log,
    )  # fmt: skip


def serve_published(config: Config, listening: socket.socket) -> int:
    """Serve what is published, and build nothing: the demo."""
    logs.set_up("logfmt", [])
    published = CurrentRelease(config.output.dir)
    published.refresh()
    app = application(published, lambda: status(config, read_runs(config.output.dir), _now()))
    return run(app, published, listening)


def _now() -> datetime:
    return datetime.now(UTC)
