"""ASGI and WSGI middleware, which pass responses to a counter."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from reportgen_counter.counter import Counter
from reportgen_counter.visits import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
WSGIApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class ASGIMiddleware:
    """Counts the visits of an ASGI application such as FastAPI or Starlette."""

    def __init__(self, app: ASGIApp, counter: Counter) -> None:
        self._app = app
        self._counter = counter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request through the application."""

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counter.count_response(_asgi_response, scope, message)
            elif message["type"].startswith("lifespan.shutdown."):
                self._counter.flush()  # may block: all requests have been answered
            await send(message)

        await self._app(scope, receive, send_counted)


class WSGIMiddleware:
    """Counts the visits of a WSGI application such as Flask."""

    def __init__(self, app: WSGIApp, counter: Counter) -> None:
        self._app = app
        self._counter = counter

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request through the application."""

        def start_counted(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            if exc_info is None:  # otherwise an error page replaces a response that has been counted
                self._counter.count_response(_wsgi_response, environ, status, headers)
            return start_response(status, headers, exc_info)

        return self._app(environ, start_counted)


def _asgi_response(scope: Scope, start: Message) -> Response:
    headers: dict[bytes, bytes] = dict(scope["headers"])
    types = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return Response(
        scope["method"], scope["path"], start["status"], next(types, b"").decode("latin-1"),
        headers.get(b"user-agent", b"").decode("latin-1"),
        headers.get(b"sec-fetch-dest", b"").decode("latin-1"),
        (headers.get(b"sec-purpose", b"") + headers.get(b"purpose", b"")).decode("latin-1"),
    )  # fmt: skip


def _wsgi_response(environ: dict[str, Any], status: str, headers: list[tuple[str, str]]) -> Response:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    content_type = next((value for name, value in headers if name.lower() == "content-type"), "")
    return Response(
        environ["REQUEST_METHOD"], path.encode("latin-1", "replace"), int(status[:3]), content_type,
        *environ_headers(environ),
    )  # fmt: skip


def environ_headers(environ: dict[str, Any]) -> tuple[str, str, str]:
    """Return the last three fields of a :class:`Response`."""
    return (
        environ.get("HTTP_USER_AGENT", ""),
        environ.get("HTTP_SEC_FETCH_DEST", ""),
        environ.get("HTTP_SEC_PURPOSE", "") + environ.get("HTTP_PURPOSE", ""),
    )
