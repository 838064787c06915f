"""The process that stays: it listens, follows what is published, and ends well on a signal."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from ipaddress import ip_address
from typing import Protocol

from reportgen.core.errors import ConfigError
from reportgen.core.logs import event
from reportgen.serve.app import logged
from reportgen.serve.http_protocol import ACCEPTS_PER_TURN, BACKLOG, PIECE_BYTES, Connections, raise_limit
from reportgen.serve.messages import Handler

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
    # The kernel may take megabytes ahead, and then nothing until a third of them is read: longer than a slow
    # reader's deadline. So it takes a piece.
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE_BYTES)
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


class Followed(Protocol):
    """What is published, for as long as the process lives."""

    async def follow(self) -> None:
        """Look for another release again and again."""
        ...


def run(
    answer: Handler,
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
    connections = Connections(logged(answer) if access_log else answer)
    return asyncio.run(_run(connections, published, listening, start, stop, trouble))


async def _run(
    connections: Connections,
    published: Followed,
    listening: socket.socket,
    start: Callable[[], None],
    stop: Callable[[], None],
    trouble: Callable[[], str | None],
) -> int:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    start()
    work = connections.keep(), published.follow(), _watch(trouble)
    asking, *working = [asyncio.create_task(each) for each in (asked.wait(), *work)]
    server = await loop.create_server(connections.made, sock=listening, backlog=ACCEPTS_PER_TURN)
    listening.listen(BACKLOG)  # accept few at once, yet let many wait: asyncio has one number for both
    done, _ = await asyncio.wait({asking, *working}, return_when=asyncio.FIRST_COMPLETED)
    failed = asking not in done
    for task in done - {asking}:
        event("broken", level=logging.ERROR, message=str(task.exception() or task.result()))
    event("stopping", level=logging.ERROR if failed else logging.INFO, reason=None if failed else "signal")
    server.close()
    await asyncio.gather(asyncio.to_thread(stop), connections.drain(DRAIN_S), return_exceptions=True)
    for task in (asking, *working):
        task.cancel()
    return int(failed)


async def _watch(trouble: Callable[[], str | None]) -> str:
    """Say what is broken, once something is: a process that cannot do its work had better be restarted."""
    while not (found := trouble()):  # noqa: ASYNC110 - a dead thread sets no event
        await asyncio.sleep(WATCH_EVERY_S)
    return found
