"""The process that stays: it listens, follows what is published, and ends well on a signal. On uvicorn."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Protocol

import uvicorn

from reportgen.errors import ConfigError
from reportgen.log import event
from reportgen.protocol import AT_ONCE, BACKLOG, GuardedProtocol, raise_limit
from reportgen.website import App, logged

DRAIN_S = 3
WATCH_EVERY_S = 1.0
"""How long responses in flight may take once a signal has come; how often trouble is looked for."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: nothing can listen there.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = family == socket.AF_INET6 and address[0] == "::"  # for IPv4, too
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=both)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}. "
            "Name another port with --port (server.port), or stop what holds it"
        ) from exc
    # Connections inherit it. asyncio would set it, but not on sockets that name no protocol, as this one;
    # without it a body waits 40 ms for the receipt of its headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the address of what :func:`listen` returned, as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def check_exposure(host: str, password: str | None, *, public: bool) -> None:
    """Refuse to show the pages beyond this machine by mistake.

    Raises:
        ConfigError: with what to set.

    """
    if password == "":
        raise ConfigError("REPORTGEN_PASSWORD: is empty; set a password, or unset it")
    if password or public or _is_loopback(host):
        return
    raise ConfigError(
        f'server.host: "{host}" can be reached from other machines, and there is no password. '
        "Set REPORTGEN_PASSWORD, or server.public = true if everybody may read"
    )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)


class _Server(uvicorn.Server):
    """uvicorn, but for its ideas of signals (it would end this process by the one it caught) and queues."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept few connections at once, yet let many wait: asyncio has one number for both."""
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(BACKLOG)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Followed(Protocol):
    """What is published, for as long as the process lives."""

    async def follow(self) -> None:
        """Look for another release again and again."""
        ...


def run(
    app: App,
    published: Followed,
    listening: socket.socket,
    *,
    start: Callable[[], None] = lambda: None,
    stop: Callable[[], None] = lambda: None,
    trouble: Callable[[], str | None] = lambda: None,
    access_log: bool = False,
) -> int:
    """Serve until a signal comes, and return the exit status.

    ``start`` is called once a signal would be heeded, ``stop`` when one has come; ``trouble`` says what is
    broken beyond repair in this process.
    """
    raise_limit()
    config = uvicorn.Config(
        logged(app) if access_log else app,
        http=GuardedProtocol, backlog=AT_ONCE, ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=DRAIN_S,
    )  # fmt: skip
    return asyncio.run(_run(_Server(config), published, listening, start, stop, trouble))


async def _run(
    server: _Server,
    published: Followed,
    listening: socket.socket,
    start: Callable[[], None],
    stop: Callable[[], None],
    trouble: Callable[[], str | None],
) -> int:
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    start()
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    following = asyncio.create_task(published.follow())
    watching = asyncio.create_task(_watch(trouble))
    asking = asyncio.create_task(asked.wait())
    tasks = {serving, following, watching, asking}
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    failed = asking not in done
    for task in done - {asking}:
        event("broken", level=logging.ERROR, message=str(task.exception() or task.result()))
    event("stopping", level=logging.ERROR if failed else logging.INFO, reason=None if failed else "signal")
    server.should_exit = True
    await asyncio.gather(asyncio.to_thread(stop), serving, return_exceptions=True)
    for task in (following, watching, asking):
        task.cancel()
    return int(failed)


async def _watch(trouble: Callable[[], str | None]) -> str:
    """Say what is broken, once something is: a process that cannot do its work had better be restarted."""
    while not (found := trouble()):  # noqa: ASYNC110 - a dead thread sets no event
        await asyncio.sleep(WATCH_EVERY_S)
    return found
