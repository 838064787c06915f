"""HTTP/1.1 with limits: no client takes much by sending nothing or too much, or by not reading.

uvicorn's protocol has neither a deadline nor a size for the head of a request, nor a deadline for who reads
a response, since a proxy usually has.
"""

import asyncio
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
HEAD_BYTES = 32 * 1024
MOST_WAITING = 16
"""How many requests may stand behind the one that is answered: each takes kilobytes until its turn."""

WRITE_S = 30.0
"""How long a piece of a response may wait for its reader: with pieces of 32 KB, 1 KB a second is enough."""

BACKLOG = 128
"""How many connections may wait to be accepted."""

AT_ONCE = 16
"""How many connections are accepted in one turn of the loop."""

SPARE_FILES = 4 * AT_ONCE + 64
"""File descriptors that connections leave for everything else.

A connection too many is accepted in one turn of asyncio's loop, made in the next, told to close in the
third, and closed in the fourth; each of these turns accepts others.
"""

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class GuardedProtocol(HttpToolsProtocol):
    """Ends connections whose client is late, sends too much or does not read, and those that are too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; where descriptors run out, end the connection at once."""
        super().connection_made(transport)
        # Whatever the kernel does not take at once counts as not read, so that its deadline begins.
        transport.set_write_buffer_limits(high=0)
        self._stalled: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._await_head()
        if len(self.connections) > most_connections():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._rest()
        self._unstall()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete; empty lines between two requests are part of it."""
        if not self._answering:
            self._await_head()
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._end(TOO_LARGE)
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a head: the first one was awaited from the connection on."""
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End a head. A request with a body, or for another protocol, is the last of its connection.

        Nothing here reads a body: what follows such a head would be skipped, for as long as it comes, and
        could pass for another request.
        """
        self._in_head = False
        self._rest()
        if len(self.pipeline) >= MOST_WAITING:
            self.transport.abort()
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        if self.parser.should_upgrade() or any(map(_announces_body, self.headers)):
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, also where that shows only after its head."""
        if self._answering and (self.pipeline or self.cycle.response_started):
            self._end()
            return
        self._rest()
        super().send_400_response(msg)

    def pause_writing(self) -> None:
        """Begin to wait for a client that reads slower than it is written to."""
        super().pause_writing()
        self._stalled = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        self._unstall()
        super().resume_writing()

    @property
    def _answering(self) -> bool:
        """Whether a response is on its way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _await_head(self) -> None:
        if not self._in_head:
            self._in_head, self._head_bytes = True, 0
            self._deadline = self.loop.call_later(HEAD_S, self._end)

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _unstall(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _end(self, last_words: bytes = b"") -> None:
        """Close the connection: after the response that is on its way, or after ``last_words``."""
        self._rest()
        if self._answering:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self.transport.write(last_words)
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: that another protocol is asked for is no trouble of the operator's."""


def _announces_body(header: tuple[bytes, bytes]) -> bool:
    name, value = header
    return name == b"transfer-encoding" or (name == b"content-length" and bool(value.strip(b"0 \t")))


def most_connections() -> int:
    """Return how many connections the limit of file descriptors leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - SPARE_FILES) if soft != resource.RLIM_INFINITY else 65_536


def raise_limit() -> None:
    """Let this process have as many file descriptors as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
