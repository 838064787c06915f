"""The time that the middleware adds to a request, in microseconds: python counter/bench.py."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from reportgen_counter import ASGIMiddleware, Counter, WSGIMiddleware
from reportgen_counter.counter import _flush_all
from reportgen_counter.django import Middleware

REQUESTS = 50_000
PATHS, BROWSERS = 1000, 100
AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.0.0 Safari/537.36"
HEADERS = {
    "host": "example.com", "accept": "text/html,application/xhtml+xml", "accept-encoding": "gzip, br",
    "accept-language": "de,en;q=0.5", "cookie": "session=0123456789abcdef", "sec-fetch-dest": "document",
    "sec-fetch-mode": "navigate", "sec-fetch-site": "none", "upgrade-insecure-requests": "1",
}  # fmt: skip


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})


async def no_message(*_: Any) -> None:
    pass


def run(coroutine: Any) -> None:
    """Run a coroutine that waits for nothing."""
    with suppress(StopIteration):
        coroutine.send(None)


def wsgi_app(environ: Any, start_response: Any) -> None:
    start_response("200 OK", [("Content-Type", "text/html")], None)


def django_view(request: Any) -> HttpResponse:
    return RESPONSE


def microseconds(answer: Callable[[str, str], Callable[[], object]]) -> list[float]:
    """Return the times of requests whose answers ``answer`` prepares for a path and a user agent."""
    times = []
    for number in range(REQUESTS):
        call = answer(f"/articles/{number % PATHS}", AGENT.format(number % BROWSERS))
        start = perf_counter_ns()
        call()
        times.append((perf_counter_ns() - start) / 1000)
    return times


def asgi(app: Any) -> Callable[[str, str], Callable[[], object]]:
    def answer(path: str, agent: str) -> Callable[[], object]:
        headers = [(n.encode(), v.encode()) for n, v in (HEADERS | {"user-agent": agent}).items()]
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
        return lambda: run(app(scope, no_message, no_message))

    return answer


def meta(agent: str) -> dict[str, str]:
    return {f"HTTP_{n.upper().replace('-', '_')}": v for n, v in (HEADERS | {"user-agent": agent}).items()}


def wsgi(app: Any) -> Callable[[str, str], Callable[[], object]]:
    def answer(path: str, agent: str) -> Callable[[], object]:
        environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": path} | meta(agent)
        return lambda: app(environ, lambda *_: None)

    return answer


def django(app: Any) -> Callable[[str, str], Callable[[], object]]:
    def answer(path: str, agent: str) -> Callable[[], object]:
        request = HttpRequest()
        request.method, request.path, request.META = "GET", path, meta(agent)
        return lambda: app(request)

    return answer


with TemporaryDirectory() as folder:
    url = f"sqlite:///{Path(folder, 'bench.db')}"
    settings.configure(REPORTGEN_COUNTER={"url": url})
    RESPONSE = HttpResponse("")
    counter = Counter(url)
    for name, alone, counted in (
        ("ASGI", asgi(asgi_app), asgi(ASGIMiddleware(asgi_app, counter))),
        ("WSGI", wsgi(wsgi_app), wsgi(WSGIMiddleware(wsgi_app, counter))),
        ("Django", django(django_view), django(Middleware(django_view))),
    ):
        without, with_it = (quantiles(microseconds(answer), n=100) for answer in (alone, counted))
        median, high = (with_it[at] - without[at] for at in (49, 98))
        print(f"{name:6}  median {median:5.1f} µs   99 % {high:5.1f} µs")
    _flush_all()
