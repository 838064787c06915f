"""HTTP/1.1 with limits, for clients that send nothing, send too much, or do not read.

httptools parses the requests. A handler answers them in their order, at once and from memory: a response is
usually written in the call that received its request.
"""

import asyncio
import logging
import resource
from collections import deque
from email.utils import formatdate
from math import inf
from urllib.parse import unquote

import httptools

from reportgen.core.logs import event
from reportgen.serve.messages import (
    Handler,
    Headers,
    Request,
    Response,
    announces_body,
    encode_head,
    plain_response,
)

HEAD_S = 10.0
"""Maximum seconds until the head of a request is complete."""

MAX_HEAD_BYTES = 32 * 1024
"""Maximum number of bytes that a client may send before all its requests are answered."""

MAX_HEADERS = 100
"""Maximum number of headers of a request. In memory each takes many times its bytes."""

MAX_PENDING = 16
"""Maximum number of requests of a connection that wait behind the one that is being answered."""

IDLE_S = 5.0
"""Maximum seconds that a connection waits for its next request."""

WRITE_S = 30.0
"""Maximum seconds that a piece of a response waits for its client to read: 1 KB a second is enough."""

PIECE_BYTES = 32 * 1024
"""Bytes of a body written at once. A client that does not read occupies this memory at most."""

CHECK_EVERY_S = 0.5
"""Seconds between two checks of all deadlines, and between two updates of the ``date`` header."""

BACKLOG = 128
"""Maximum number of connections waiting to be accepted."""

ACCEPTS_PER_TURN = 16
"""Maximum number of connections accepted in one turn of the event loop."""

# asyncio needs four turns of its loop to accept a connection past the maximum, to set it up, and to close it.
# Each of these turns accepts further connections.
SPARE_FILES = 4 * ACCEPTS_PER_TURN + 64
"""Number of file descriptors reserved for other uses than connections."""

LOGGER = logging.getLogger(__name__)
BAD_REQUEST = plain_response(400, "Invalid HTTP request received.")
TOO_LARGE_HEAD = plain_response(431)
SERVER_ERROR = plain_response(500, "Internal Server Error")


class Connections:
    """All open connections, with the handler of their requests, the date, and the check of deadlines."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.open: set[GuardedProtocol] = set()
        self.date = b""
        """The ``date`` header line. :meth:`watch` sets it, before the first request is answered."""

    def new_protocol(self) -> "GuardedProtocol":
        """Return the protocol object of a new connection."""
        return GuardedProtocol(self)

    async def watch(self) -> None:
        """Update the date and close connections past their deadline, every half second, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
            for each in list(self.open):
                each.check_deadlines(loop.time())
            await asyncio.sleep(CHECK_EVERY_S)

    async def drain(self, within_s: float) -> None:
        """Close all connections: idle ones now, others after their responses, the rest after ``within_s``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while self.open and loop.time() < end:
            for each in list(self.open):  # new ones, too, which were accepted meanwhile
                each.close()
            await asyncio.sleep(0.05)
        for each in list(self.open):
            each.transport.abort()


class GuardedProtocol(asyncio.Protocol):
    """One connection. It closes if its client misses a deadline, sends too much or does not read.

    ``_pending`` holds the requests whose responses are not written completely, ``_unsent`` the part of the
    first response that is not written yet, ``None`` before it is begun. ``_closing`` is set when no further
    request is read.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._headers: Headers = []
        self._pending: deque[Request] = deque()
        self._unsent: memoryview | None = None
        self._in_head = self._in_body = self._closing = self._paused = False
        self._head_bytes = 0
        self._head_due = self._write_due = inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; close the connection if there are too many."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if peer else ""
        # Bytes that the kernel does not accept at once count as not read by the client: the deadline begins.
        transport.set_write_buffer_limits(high=0)
        self._await_head()
        self._connections.open.add(self)
        if len(self._connections.open) > max_connections():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop all pending requests."""
        del exc
        self._connections.open.discard(self)
        self._pending.clear()
        self._unsent = None
        del self._parser  # it refers to this object: without the cycle, memory is freed at once

    def data_received(self, data: bytes) -> None:
        """Parse the data, and answer the requests that are complete. Empty lines before a head belong to it.

        Bodies are never read. A request that announces one is the last of its connection, so that nothing
        in a body can be taken for another request.
        """
        if self._closing:
            return
        if not self._pending:
            self._await_head()
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self.close(TOO_LARGE_HEAD)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a request for another protocol is answered as any other, and is the last of its connection
        except httptools.HttpParserError:
            self._refuse()
        if self._unsent is None:
            self._answer()

    def eof_received(self) -> bool:
        """Return whether to keep the connection open for writing: as long as requests are pending."""
        self.close()
        return bool(self._pending)

    def on_message_begin(self) -> None:
        """Begin the head of a request. The deadline of the first head began with the connection."""
        self._await_head()
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Add a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header. A header after a body (a trailer) is ignored: proxies do not check trailers."""
        if self._closing:
            return
        if len(self._headers) == MAX_HEADERS:
            self.close(TOO_LARGE_HEAD)
        else:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Add the request. One with a body, or for another protocol, is the last of its connection.

        Raises:
            ValueError: the target has no path. httptools turns this into an error of the request.

        """
        self._in_head, self._head_due = False, inf
        if self._closing:
            return
        if len(self._pending) > MAX_PENDING:
            self._closing = True
            self.transport.abort()
            return
        target, version = httptools.parse_url(self._url), self._parser.get_http_version()
        if target.path is None:
            raise ValueError("the request target has no path")
        path, method = target.path.decode("ascii"), self._parser.get_method().decode("ascii")
        path = unquote(path) if "%" in path else path
        self._pending.append(Request(method, path, target.query or b"", version, self._headers, self._client))
        self._in_body = True
        self._closing = (
            version == "1.0"
            or not self._parser.should_keep_alive()
            or self._parser.should_upgrade()
            or announces_body(self._headers)
        )

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._in_body = False

    def pause_writing(self) -> None:
        """Begin to wait for a client that reads more slowly than the server writes."""
        self._paused, self._write_due = True, self._loop.time() + WRITE_S

    def resume_writing(self) -> None:
        """Continue to write, in another turn of the loop: asyncio forbids to close a transport here."""
        self._paused, self._write_due = False, inf
        self._loop.call_soon(self._answer)

    def check_deadlines(self, now: float) -> None:
        """Close the connection if its client missed a deadline."""
        if now > self._write_due:
            self.transport.abort()
        elif now > self._head_due:
            self.close()

    def close(self, refusal: Response | None = None) -> None:
        """Close the connection after the pending responses. If there are none, send ``refusal`` first."""
        self._closing, self._head_due = True, inf
        if not self._pending and not self.transport.is_closing():
            if refusal:
                head = encode_head(refusal, self._connections.date, last=True)
                self.transport.write(head + refusal.body)
            self.transport.close()

    def _await_head(self) -> None:
        if not self._in_head:
            self._in_head = True
            self._head_due = self._loop.time() + HEAD_S

    def _refuse(self) -> None:
        """Refuse data that is not a valid request, after the responses to the requests before it."""
        if self._in_body:
            self._pending.pop()
        elif self._closing:
            return  # the invalid data came after the last request
        event("request_refused", level=logging.WARNING, client=self._client)
        self._closing = False
        if self._unsent is None:
            self._answer()
        self.close(BAD_REQUEST)

    def _answer(self) -> None:
        """Write the pending responses in pieces, and let other connections write between two pieces."""
        while self._pending and not self._paused and not self.transport.is_closing():
            head = b""
            if self._unsent is None:
                response = self._response(self._pending[0])
                last = self._closing and len(self._pending) == 1
                head = encode_head(response, self._connections.date, last=last)
                self._unsent = memoryview(response.body)
            self.transport.write(head + self._unsent[:PIECE_BYTES])
            self._unsent = self._unsent[PIECE_BYTES:]
            if self._unsent:
                if not self._paused:
                    self._loop.call_soon(self._answer)
                return
            self._unsent = None
            self._pending.popleft()
            if not self._pending:
                self._await_next_request()

    def _response(self, request: Request) -> Response:
        """Return the response to a request: 500 if the handler raises."""
        try:
            response = self._connections.handler(request)
        except Exception:
            LOGGER.exception("the handler of a request raised an exception")
            response = SERVER_ERROR
        return response if request.method != "HEAD" else Response(response.status, response.header_lines)

    def _await_next_request(self) -> None:
        """Wait for the next request, or close the connection if this was the last."""
        self._head_bytes = 0
        if self._closing:
            self.transport.close()
        elif not self._in_head:
            self._head_due = self._loop.time() + IDLE_S


def max_connections() -> int:
    """Return the maximum number of connections, by the limit of file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - SPARE_FILES) if soft != resource.RLIM_INFINITY else 65_536


def raise_file_limit() -> None:
    """Raise the limit of file descriptors of this process to the maximum that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
