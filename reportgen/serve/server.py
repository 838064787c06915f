"""The server process: it listens, serves new releases as they are published, and stops on a signal."""

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
from reportgen.serve.app import log_requests
from reportgen.serve.http_protocol import (
    ACCEPTS_PER_TURN,
    BACKLOG,
    PIECE_BYTES,
    Connections,
    raise_file_limit,
)
from reportgen.serve.messages import Handler

DRAIN_S = 3
"""Maximum seconds that responses may still take after a signal."""

CHECK_EVERY_S = 1.0
"""Seconds between two checks for faults that need a restart."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        ConfigError: the address cannot be listened on.

    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        dual = family == socket.AF_INET6 and address[0] == "::"  # accepts IPv4, too
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG, dualstack_ipv6=dual)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}. "
            "Set another port with --port (server.port), or stop the program that uses this one"
        ) from exc
    # Connections inherit this. asyncio sets it only on sockets that were made with a protocol number, unlike
    # this one. Without it, a body waits 40 ms for the acknowledgement of its headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Otherwise the kernel buffers megabytes, and accepts more only after sending a third of them. A slow
    # client needs longer than its deadline for that. So the kernel may buffer one piece only.
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PIECE_BYTES)
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def check_exposure(host: str, password: str | None, *, public: bool) -> None:
    """Check that pages reach other machines only with a password, or if the settings make them public.

    Raises:
        ConfigError: they would reach them without either, or the password is empty.

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


class ServedReleases(Protocol):
    """The releases that are served."""

    async def follow(self) -> None:
        """Serve new releases as they are published, until cancelled."""
        ...


def run_server(
    handler: Handler,
    published: ServedReleases,
    listening: socket.socket,
    *,
    start: Callable[[], None] = lambda: None,
    stop: Callable[[], None] = lambda: None,
    find_fault: Callable[[], str | None] = lambda: None,
    access_log: bool = False,
) -> int:
    """Serve until a signal arrives; return the exit status, 1 after a fault.

    Args:
        handler: answers requests.
        published: the releases, refreshed while the server runs.
        listening: what :func:`listen` returned.
        start: is called when the signal handlers are set.
        stop: is called after a signal, in a thread.
        find_fault: returns a fault that only a restart of the process removes, or ``None``.
        access_log: whether to log each request.

    """
    raise_file_limit()
    connections = Connections(log_requests(handler) if access_log else handler)
    return asyncio.run(_run(connections, published, listening, start, stop, find_fault))


async def _run(
    connections: Connections,
    published: ServedReleases,
    listening: socket.socket,
    start: Callable[[], None],
    stop: Callable[[], None],
    find_fault: Callable[[], str | None],
) -> int:
    loop, signalled = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled.set)
    start()
    work = connections.watch(), published.follow(), _watch_for_fault(find_fault)
    waiting, *working = [asyncio.create_task(each) for each in (signalled.wait(), *work)]
    server = await loop.create_server(connections.new_protocol, sock=listening, backlog=ACCEPTS_PER_TURN)
    # asyncio has one number for connections accepted per turn and for those that wait in the kernel. Few are
    # to be accepted per turn, many may wait.
    listening.listen(BACKLOG)
    done, _ = await asyncio.wait({waiting, *working}, return_when=asyncio.FIRST_COMPLETED)
    failed = waiting not in done
    for task in done - {waiting}:
        event("broken", level=logging.ERROR, message=str(task.exception() or task.result()))
    event("stopping", level=logging.ERROR if failed else logging.INFO, reason=None if failed else "signal")
    server.close()
    await asyncio.gather(asyncio.to_thread(stop), connections.drain(DRAIN_S), return_exceptions=True)
    for task in (waiting, *working):
        task.cancel()
    return int(failed)


async def _watch_for_fault(find_fault: Callable[[], str | None]) -> str:
    """Return the first fault that is found."""
    while not (fault := find_fault()):  # noqa: ASYNC110 - a thread that dies sets no event
        await asyncio.sleep(CHECK_EVERY_S)
    return fault
