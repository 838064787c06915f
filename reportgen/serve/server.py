"""The server process: it listens, serves new releases as they are published, and stops on a signal.

Tornado reads the requests, and refuses those that are not valid HTTP.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import unquote

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPServerRequest,
    ParseBodyConfig,
    ParseUrlEncodedConfig,
    ResponseStartLine,
    set_parse_body_config,
)
from tornado.iostream import IOStream, StreamClosedError

from reportgen.core.errors import ConfigError
from reportgen.core.logs import event
from reportgen.serve.app import Handler, Response
from reportgen.serve.scheduler import Schedule

HEAD_S = 10.0
"""Maximum seconds until the head of the first request, or of the next one, is complete."""

WRITE_S = 30.0
"""Maximum seconds that a piece of a response waits for its client to read: 1 KB a second is enough."""

PIECE_BYTES = 32 * 1024
"""Bytes of a body written at once. A client that does not read occupies this memory at most."""

MAX_HEAD_BYTES = 16 * 1024
"""Maximum size of the head of a request. Tornado keeps the last thousand names of headers."""

MAX_FIELDS = 100
"""Maximum number of headers of a request, and of fields in its query: each takes many times its bytes."""

BACKLOG = 128
"""Maximum number of connections waiting to be accepted."""

SPARE_FILES = 64
"""Number of file descriptors reserved for other uses than connections and builds."""

FILES_A_BUILD = 4
"""Number of file descriptors that a build which is started or runs takes."""

DRAIN_S = 3
"""Maximum seconds that responses may still take after a signal."""

CHECK_EVERY_S = 1.0
"""Seconds between two checks for faults that need a restart."""

LOGGER = logging.getLogger(__name__)


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
    listening.setblocking(False)  # noqa: FBT003 - the standard library's
    # Connections inherit this. Otherwise the kernel buffers megabytes, and accepts more only after sending a
    # third of them. A slow client needs longer than its deadline for that.
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


class WebServer(HTTPServer):
    """Tornado's server of one handler, with limits on connections, requests and clients that do not read.

    It never runs out of file descriptors: it closes connections beyond a part of their limit.
    """

    def initialize(  # type: ignore[override]
        self, handler: Handler, *, access_log: bool = False, processes: int = 1
    ) -> None:
        """Tornado's constructor."""
        super().initialize(
            self._respond,
            idle_connection_timeout=HEAD_S, body_timeout=HEAD_S, max_header_size=MAX_HEAD_BYTES,
            max_body_size=0, chunk_size=MAX_HEAD_BYTES,
        )  # fmt: skip
        self._handler, self._access_log = handler, access_log
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft = soft if soft != resource.RLIM_INFINITY else 65_536
        self._free_connections = max(1, soft - SPARE_FILES - FILES_A_BUILD * processes)
        self._sending: set[asyncio.Task[None]] = set()
        self._draining = False

    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        """Serve a new connection; close it if there are too many."""
        if not self._free_connections:
            stream.close()
            return
        self._free_connections -= 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Count a connection that was closed."""
        super().on_close(server_conn)
        self._free_connections += 1

    async def drain(self) -> None:
        """Accept nothing more, let the responses end that are being sent, and close all connections."""
        self.stop()
        self._draining = True
        if self._sending:
            await asyncio.wait(self._sending, timeout=DRAIN_S)
        await self.close_all_connections()

    def _respond(self, request: HTTPServerRequest) -> None:
        """Send the response to a request."""
        connection = cast("HTTP1Connection", request.connection)
        too_many = sum(1 for _ in request.headers.get_all()) > MAX_FIELDS
        if self._draining or too_many or connection.stream.closed():
            for name in list(request.headers):  # else many of them fill the memory until they are collected
                del request.headers[name]
            # Without ``detach``, Tornado would go on with requests that it has read from this connection.
            connection.detach().close()
            return
        status, fields, body = self._answer(request)
        headers = HTTPHeaders(fields)
        headers["date"] = formatdate(usegmt=True)
        body = body if request.method != "HEAD" else b""
        start = ResponseStartLine("HTTP/1.1", status, HTTPStatus(status).phrase)
        written = connection.write_headers(start, headers, body[:PIECE_BYTES])
        if len(body) <= PIECE_BYTES and written.done():  # the kernel has all of it
            connection.finish()
            return
        task = asyncio.create_task(_send_rest(connection, body, written))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _answer(self, request: HTTPServerRequest) -> Response:
        """Return the handler's response, 500 if it raises. Log no query: it may hold a secret."""
        begun = time.perf_counter()
        try:
            response = self._handler(request)
        except Exception:
            LOGGER.exception("the handler of a request raised an exception")
            response = Response(HTTPStatus.INTERNAL_SERVER_ERROR, {"content-length": "0"})
        if self._access_log:
            event(
                "request", method=request.method, path=unquote(request.path), client=request.remote_ip,
                ms=round(1000 * (time.perf_counter() - begun), 2), status=response.status,
            )  # fmt: skip
        return response


async def _send_rest(connection: HTTP1Connection, body: bytes, written: asyncio.Future[None]) -> None:
    """Send a body in pieces, after the first. A client that has not read a piece in time is disconnected."""
    try:
        for begin in range(PIECE_BYTES, len(body), PIECE_BYTES):
            async with asyncio.timeout(WRITE_S):
                await written
            written = connection.write(body[begin : begin + PIECE_BYTES])
        connection.finish()
        async with asyncio.timeout(WRITE_S):
            await written
    except StreamClosedError:
        pass  # the client has left
    except TimeoutError:
        connection.close()


def run_server(
    handler: Handler,
    follow: Callable[[], Coroutine[Any, Any, None]],
    listening: socket.socket,
    *,
    start: Callable[[], None] = lambda: None,
    schedule: Schedule | None = None,
    access_log: bool = False,
    processes: int = 1,
) -> int:
    """Serve until a signal arrives; return the exit status, 1 after a fault. Then the process must end.

    Args:
        handler: answers requests.
        follow: serves new releases as they are published, until cancelled.
        listening: what :func:`listen` returned.
        start: is called when the signal handlers are set.
        schedule: builds meanwhile. It is stopped after a signal; a fault of it ends the server.
        access_log: whether to log each request.
        processes: the maximum number of builds at once.

    """

    async def run() -> int:
        loop, signalled = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signalled.set)
        start()
        tasks = [asyncio.create_task(each) for each in (signalled.wait(), follow(), _watch(schedule))]
        server = WebServer(handler, access_log=access_log, processes=processes)
        server.add_socket(listening)
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        failed = tasks[0] not in done
        for task in done - {tasks[0]}:
            event("broken", level=logging.ERROR, message=str(task.exception() or task.result()))
        event(
            "stopping", level=logging.ERROR if failed else logging.INFO, reason=None if failed else "signal"
        )
        stopping = [server.drain()] + ([asyncio.to_thread(schedule.stop)] if schedule else [])
        await asyncio.gather(*stopping, return_exceptions=True)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return int(failed)

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    notices = logging.getLogger("tornado.general")
    notices.setLevel(logging.INFO)
    notices.addFilter(_filter_notice)
    set_parse_body_config(ParseBodyConfig(urlencoded=ParseUrlEncodedConfig(max_arguments=MAX_FIELDS)))
    # Not ``asyncio.run``, which waits for threads: one may read from a disk that does not answer.
    return asyncio.new_event_loop().run_until_complete(run())


def _filter_notice(record: logging.LogRecord) -> bool:
    """Log an invalid request as an event, and drop Tornado's other notices about single clients."""
    if record.msg.startswith("Malformed HTTP message") and isinstance(record.args, tuple):
        event("request_refused", level=logging.WARNING, client=str(record.args[0]))
    return record.levelno >= logging.ERROR


async def _watch(schedule: Schedule | None) -> str:
    """Return the first fault of the schedule."""
    while not (fault := schedule and schedule.check()):  # noqa: ASYNC110 - a thread that dies sets no event
        await asyncio.sleep(CHECK_EVERY_S)
    return fault
