"""HTTP/1.1 with limits: no client takes much by sending nothing or too much, or by not reading.

Requests are read by httptools and answered in their turn by a function, which waits for nobody: what it
returns is ready in memory, and most of it goes out in the call that brought the request in.
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
HEAD_BYTES, MOST_HEADERS = 32 * 1024, 100
"""How much may come until all is answered; how many headers in a head: in memory each is a lot larger."""

MOST_WAITING = 16
"""How many requests may stand behind the one that is answered."""

IDLE_S = 5.0
"""How long a connection may wait for its next request."""

WRITE_S = 30.0
"""How long a piece of a response may wait for its reader: with pieces of 32 KB, 1 KB a second is enough."""

PIECE_BYTES = 32 * 1024
"""How much of a body is handed on at once: so much memory a client takes that does not read."""

LOOK_EVERY_S = 0.5
"""How often deadlines are looked at, and the date that responses tell."""

BACKLOG = 128
"""How many connections may wait to be accepted."""

ACCEPTS_PER_TURN = 16
"""How many connections are accepted in one turn of the loop."""

SPARE_FILES = 4 * ACCEPTS_PER_TURN + 64
"""File descriptors that connections leave for everything else.

A connection too many is accepted in one turn of asyncio's loop, made in the next, told to close in the
third, and closed in the fourth; each of these turns accepts others.
"""

LOGGER = logging.getLogger(__name__)
NO_REQUEST = plain_response(400, "Invalid HTTP request received.")
TOO_LARGE = plain_response(431)
BROKEN = plain_response(500, "Internal Server Error")


class Connections:
    """All open connections: how requests are answered, the date that answers tell, and the deadlines."""

    def __init__(self, answer: Handler) -> None:
        self.answer = answer
        self.open: set[GuardedProtocol] = set()
        self.date = b""
        """The header line; nothing is answered before :meth:`keep` has begun."""

    def made(self) -> "GuardedProtocol":
        """Return the protocol of a connection that is being accepted."""
        return GuardedProtocol(self)

    async def keep(self) -> None:
        """Tell the time, and end who is late, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
            for each in list(self.open):
                each.look(loop.time())
            await asyncio.sleep(LOOK_EVERY_S)

    async def drain(self, within_s: float) -> None:
        """End all connections: idle ones at once, others after their answers or, by force, in time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        while self.open and loop.time() < end:
            for each in list(self.open):  # each time: some were just accepted
                each.end()
            await asyncio.sleep(0.05)
        for each in list(self.open):
            each.transport.abort()


class GuardedProtocol(asyncio.Protocol):
    """One connection. It ends where its client is late, sends too much or does not read, or is one too many.

    ``_waiting`` holds the requests that are not answered whole yet, ``_left`` what is not written yet of the
    answer to the first of them.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._headers: Headers = []
        self._waiting: deque[Request] = deque()
        self._left: memoryview | None = None
        self._in_head = self._in_body = self._last = self._paused = False
        self._head_bytes = 0
        self._head_due = self._write_due = inf

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; where descriptors run out, end the connection at once."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self._client = str(peer[0]) if peer else ""
        # Whatever the kernel does not take at once counts as not read, so that its deadline begins.
        transport.set_write_buffer_limits(high=0)
        self._await_head()
        self._connections.open.add(self)
        if len(self._connections.open) > max_connections():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what is not answered."""
        del exc
        self._connections.open.discard(self)
        self._waiting.clear()
        self._left = None
        del self._parser  # the two hold each other

    def data_received(self, data: bytes) -> None:
        """Read on, and answer what is complete; empty lines between two requests are part of a head.

        Nothing here reads a body: what follows such a head would be skipped, for as long as it comes, and
        could pass for another request.
        """
        if self._last:
            return
        if not self._waiting:
            self._await_head()
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self.end(TOO_LARGE)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # to another protocol: the request for it is answered as any other, and is the last one
        except httptools.HttpParserError:
            self._refuse()
        if self._left is None:
            self._answer()

    def eof_received(self) -> bool:
        """Tell whether to keep the connection, though nothing more will come: until all is answered."""
        self.end()
        return bool(self._waiting)

    def on_message_begin(self) -> None:
        """Begin a head: the first one was awaited from the connection on."""
        self._await_head()
        self._url, self._headers = b"", []

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. What follows a body is none: no proxy in front has looked at it."""
        if self._last:
            return
        if len(self._headers) == MOST_HEADERS:
            self.end(TOO_LARGE)
        else:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """End a head. A request with a body, or for another protocol, is the last of its connection.

        Raises:
            ValueError: the target is none that could be answered; httptools makes it an error of the request.

        """
        self._in_head, self._head_due = False, inf
        if self._last:
            return
        if len(self._waiting) > MOST_WAITING:
            self._last = True
            self.transport.abort()
            return
        target, version = httptools.parse_url(self._url), self._parser.get_http_version()
        if target.path is None:
            raise ValueError("a target without a path")
        path, method = target.path.decode("ascii"), self._parser.get_method().decode("ascii")
        path = unquote(path) if "%" in path else path
        self._waiting.append(Request(method, path, target.query or b"", version, self._headers, self._client))
        self._in_body = True
        self._last = (
            version == "1.0"
            or not self._parser.should_keep_alive()
            or self._parser.should_upgrade()
            or announces_body(self._headers)
        )

    def on_message_complete(self) -> None:
        """End a request."""
        self._in_body = False

    def pause_writing(self) -> None:
        """Begin to wait for a client that reads slower than it is written to."""
        self._paused, self._write_due = True, self._loop.time() + WRITE_S

    def resume_writing(self) -> None:
        """Go on, the client has read: in a turn of its own, as asyncio is not ready here for an end."""
        self._paused, self._write_due = False, inf
        self._loop.call_soon(self._answer)

    def look(self, now: float) -> None:
        """End the connection where its client is late."""
        if now > self._write_due:
            self.transport.abort()
        elif now > self._head_due:
            self.end()

    def end(self, words: Response | None = None) -> None:
        """Close the connection: after the answers that are due, or else after ``words``."""
        self._last, self._head_due = True, inf
        if not self._waiting and not self.transport.is_closing():
            if words:
                self.transport.write(encode_head(words, self._connections.date, last=True) + words.body)
            self.transport.close()

    def _await_head(self) -> None:
        if not self._in_head:
            self._in_head = True
            self._head_due = self._loop.time() + HEAD_S

    def _refuse(self) -> None:
        """Refuse what is no request, also where only its body shows that; answer what came before it."""
        if self._in_body:
            self._waiting.pop()
        elif self._last:
            return  # it came after the last request
        event("request_refused", level=logging.WARNING, client=self._client)
        self._last = False
        if self._left is None:
            self._answer()
        self.end(NO_REQUEST)

    def _answer(self) -> None:
        """Write what is due, a piece at a time: the next once this is taken, and others had their turn."""
        while self._waiting and not self._paused and not self.transport.is_closing():
            head = b""
            if self._left is None:
                response = self._response(self._waiting[0])
                last = self._last and len(self._waiting) == 1
                head = encode_head(response, self._connections.date, last=last)
                self._left = memoryview(response.body)
            self.transport.write(head + self._left[:PIECE_BYTES])
            self._left = self._left[PIECE_BYTES:]
            if self._left:
                if not self._paused:
                    self._loop.call_soon(self._answer)
                return
            self._left = None
            self._waiting.popleft()
            if not self._waiting:
                self._rest()

    def _response(self, request: Request) -> Response:
        """Return the answer to a request, also where it finds a fault of ours."""
        try:
            response = self._connections.answer(request)
        except Exception:
            LOGGER.exception("a request could not be answered")
            response = BROKEN
        return response if request.method != "HEAD" else Response(response.status, response.header_lines)

    def _rest(self) -> None:
        """Wait for the next request, or close where there is none."""
        self._head_bytes = 0
        if self._last:
            self.transport.close()
        elif not self._in_head:
            self._head_due = self._loop.time() + IDLE_S


def max_connections() -> int:
    """Return how many connections the limit of file descriptors leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - SPARE_FILES) if soft != resource.RLIM_INFINITY else 65_536


def raise_limit() -> None:
    """Let this process have as many file descriptors as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
