"""Small servers to compare ``reportgen serve`` with: ``python least.py constant|uvicorn PORT``.

``constant`` is asyncio and httptools with one constant response, without limits, headers or dates: the least
that such a server costs. ``uvicorn`` serves the application's responses through ASGI, without limits. Either
runs on uvloop if it is installed and ``UVLOOP`` is set.
"""

import asyncio
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import httptools

from reportgen.serve.app import CurrentRelease, application
from reportgen.serve.messages import Request, encode_head
from reportgen.serve.release_cache import best_variant

PUBLISHED = CurrentRelease(Path(os.environ["BENCH_OUTPUT"]))
PUBLISHED.refresh()
ANSWER = application(PUBLISHED, dict)


class Constant(asyncio.Protocol):
    """Answers every request with the same bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read requests from a connection."""
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Pass the bytes to the parser."""
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Send the response."""
        self.transport.write(constant())


@cache
def constant() -> bytes:
    """Return the 7-day page with gzip, and its head."""
    assert PUBLISHED.cache  # noqa: S101 - the release exists
    request = Request("GET", "/7d/", b"", "1.1", [(b"host", b"a"), (b"accept-encoding", b"gzip")], "")
    response = ANSWER(request)
    assert response.body == best_variant(PUBLISHED.cache.resources["/7d/"], "gzip").body  # noqa: S101
    return encode_head(response, b"", last=False) + response.body


@cache
def lines(head: bytes) -> list[list[bytes]]:
    """Return headers in the form of ASGI."""
    return [line.split(b": ", 1) for line in head.split(b"\r\n") if line]


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Send the application's response through ASGI."""
    del receive
    client = (scope["client"] or ("",))[0]
    response = ANSWER(
        Request(
            scope["method"], scope["path"], scope["query_string"], scope["http_version"],
            scope["headers"], client,
        )
    )  # fmt: skip
    await send(
        {"type": "http.response.start", "status": response.status, "headers": lines(response.header_lines)}
    )
    await send({"type": "http.response.body", "body": response.body})


async def serve_constant(port: int) -> None:
    """Serve the constant response until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """Serve until a signal ends the process."""
    kind, port = sys.argv[1], int(sys.argv[2])
    loop = "uvloop" if "UVLOOP" in os.environ else "asyncio"
    if kind == "uvicorn":
        import uvicorn

        quiet: dict[str, Any] = {"access_log": False, "log_level": "warning", "lifespan": "off"}
        uvicorn.run(app, port=port, http="httptools", loop=loop, **quiet)
    elif loop == "uvloop":
        import uvloop

        uvloop.run(serve_constant(port))
    else:
        asyncio.run(serve_constant(port))


if __name__ == "__main__":
    main()
