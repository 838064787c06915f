"""HTTP/1.1 with limits: no client takes memory or file descriptors by sending nothing, or too much.

uvicorn's protocol has neither a deadline nor a size for the head of a request, since a proxy usually has.
"""

import asyncio
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 10.0
HEAD_BYTES = 32 * 1024
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
    """Ends connections whose request's head is late or too long, and those that are too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head; where descriptors run out, end the connection at once."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._in_head = True
        self._deadline: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._give_up)
        if len(self.connections) > most_connections():
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes before the head is complete."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.transport.write(TOO_LARGE)
                self._give_up()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin a head: the first one was awaited from the connection on."""
        if not self._in_head:
            self._in_head, self._head_bytes = True, 0
            self._deadline = self.loop.call_later(HEAD_S, self._give_up)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End a head."""
        self._in_head = False
        self._rest()
        super().on_headers_complete()

    def _rest(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._rest()
        if not self.transport.is_closing():
            self.transport.close()


def most_connections() -> int:
    """Return how many connections the limit of file descriptors leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, soft - SPARE_FILES) if soft != resource.RLIM_INFINITY else 65_536


def raise_limit() -> None:
    """Let this process have as many file descriptors as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
