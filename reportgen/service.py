"""What ``reportgen serve`` puts together: schedule, worker, website, server."""

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from reportgen import __version__, log
from reportgen.config import Config
from reportgen.log import event
from reportgen.publish import current_release
from reportgen.runs import read_runs
from reportgen.schedule import Schedule
from reportgen.serve import address_of, check_exposure, listen, run
from reportgen.status import due, status
from reportgen.website import Published, application
from reportgen.worker import Worker


def serve(config: Config, arguments: Sequence[str], environ: Mapping[str, str], *, scheduled: bool) -> int:
    """Serve and build until a signal comes; return the exit status.

    ``arguments`` are the options that a build gets, ``environ`` holds ``REPORTGEN_PASSWORD`` and
    ``REPORTGEN_LOG``.

    Raises:
        ConfigError: it cannot, or must not, listen there.

    """
    password = environ.get("REPORTGEN_PASSWORD")
    log.set_up(log.form_of(environ.get("REPORTGEN_LOG")), [*config.secrets, password or ""])
    server = config.server
    check_exposure(server.host, password, public=server.public)
    listening = listen(server.host, server.port)
    worker = Worker(config.output.dir, arguments, timeout_s=config.build_timeout_s, clock=_now)
    schedule = Schedule(worker, config.schedule, config.zone, jitter_s=config.jitter_s) if scheduled else None
    published = Published(config.output.dir)
    published.look()

    def document() -> dict[str, Any]:
        return status(config, worker.runs, _now())

    app = application(published, document, password=password, client_header=server.client_header)
    event("listening", address=address_of(listening), version=__version__, password=bool(password))
    if schedule is None:
        return run(app, published, listening, access_log=server.access_log)
    schedule.start(at_once=is_due(config, _now()))
    return run(
        app, published, listening, stop=schedule.stop, trouble=schedule.trouble, access_log=server.access_log
    )


def show(config: Config, listening: socket.socket) -> int:
    """Serve what is published, and build nothing: the demo."""
    log.set_up("logfmt", [])
    published = Published(config.output.dir)
    published.look()
    app = application(published, lambda: status(config, read_runs(config.output.dir), _now()))
    return run(app, published, listening)


def is_due(config: Config, now: datetime) -> bool:
    """Tell whether a build is due at once: by the schedule, or because another version made the last one."""
    expected, release = due(config, read_runs(config.output.dir)), current_release(config.output.dir)
    if expected is None or release is None or release.manifest.get("version") != __version__:
        return True
    return expected.at <= now


def _now() -> datetime:
    return datetime.now(UTC)
