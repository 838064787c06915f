"""What a visit is, as seen by a WSGI, an ASGI and a Django application."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote_to_bytes

import pytest

from counter.tests.support import BROWSER, ROOT, run, sqlite_url, table
from reportgen_counter import ASGIMiddleware, Counter, WSGIMiddleware
from reportgen_counter.visits import Response

Request = dict[str, Any]
Ask = Callable[[Counter, Request], None]


def through_wsgi(counter: Counter, request: Request) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        types = [("content-Type", request["type"])] if request["type"] else []
        start_response(f"{request['status']} Fine", types)
        return [b"body"]

    path = unquote_to_bytes(request["path"]).decode("latin-1")
    environ = {"REQUEST_METHOD": request["method"], "SCRIPT_NAME": "", "PATH_INFO": path}
    environ |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request["headers"].items()}
    assert WSGIMiddleware(app, counter)(environ, lambda *_: None) == [b"body"]


def through_asgi(counter: Counter, request: Request) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        types = [(b"Content-Type", request["type"].encode())] if request["type"] else []
        await send({"type": "http.response.start", "status": request["status"], "headers": types})
        await send({"type": "http.response.body", "body": b"body"})

    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in request["headers"].items()]
    path = unquote_to_bytes(request["path"]).decode(errors="replace")
    scope = {"type": "http", "method": request["method"], "path": path, "headers": headers}
    run(ASGIMiddleware(app, counter)(scope, None, send))  # type: ignore[arg-type]
    assert sent == ["http.response.start", "http.response.body"]


def django_parts(counter: Counter, request: Request) -> tuple[Any, Any, Any]:
    from django.conf import settings
    from django.http import HttpResponse
    from django.test import RequestFactory

    from reportgen_counter import django

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], REPORTGEN_COUNTER={"url": "one of a test"})

    def middleware(get_response: Any) -> Any:
        with patch.object(django, "_counter", lambda **_: counter):
            return django.Middleware(get_response)

    made = RequestFactory(headers=request["headers"]).generic(request["method"], request["path"])
    response = HttpResponse("body", status=request["status"], content_type=request["type"] or None)
    if not request["type"]:
        del response["Content-Type"]
    return middleware, made, response


def through_django(counter: Counter, request: Request) -> None:
    middleware, made, response = django_parts(counter, request)
    assert middleware(lambda _: response)(made) is response


def through_async_django(counter: Counter, request: Request) -> None:
    middleware, made, response = django_parts(counter, request)

    async def answer(_: Any) -> Any:
        return response

    assert run(middleware(answer)(made)) is response


ALL: list[Ask] = [through_wsgi, through_asgi, through_django, through_async_django]
PAGE = {"method": "GET", "path": "/page", "status": 200, "type": "text/html; charset=utf-8"}
FETCH = "Sec-Fetch-Dest"


@pytest.fixture
def counter(tmp_path: Path) -> Counter:
    return Counter(sqlite_url(tmp_path / "m.db"), flush_s=3600)


@pytest.mark.parametrize("ask", ALL)
def test_pages_that_a_person_opens_are_visits(ask: Ask, counter: Counter, tmp_path: Path) -> None:
    browser = {"User-Agent": BROWSER}
    visits = [
        PAGE | {"headers": browser},
        PAGE | {"headers": browser | {FETCH: "document"}},
        PAGE | {"headers": browser, "status": 203},
        PAGE | {"headers": browser, "type": "application/xhtml+xml"},
        PAGE | {"headers": browser, "type": "", "status": 304},
        PAGE | {"headers": {"User-Agent": "ELinks/0.16 (textmode; Linux)"}},
    ]
    others: list[Request] = [
        PAGE | {"headers": browser, **other}
        for other in (
            {"method": "POST"}, {"method": "HEAD"}, {"status": 404}, {"status": 301}, {"status": 204},
            {"status": 206}, {"status": 500}, {"type": "application/json"}, {"type": ""},
            {"path": "/style.CSS"}, {"path": "/robots.txt", "status": 304, "type": ""},
        )
    ]  # fmt: skip
    others += [
        PAGE | {"headers": headers}
        for headers in (
            {}, {"User-Agent": "-"}, {"User-Agent": "curl/8.5.0"},
            {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
            {"User-Agent": "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2)"},
            browser | {FETCH: "iframe"}, browser | {FETCH: "empty"},
            browser | {"Sec-Purpose": "prefetch;prerender"}, browser | {"Purpose": "Prefetch"},
        )
    ]  # fmt: skip
    for request in (*visits, *others):
        ask(counter, request)
    assert counter.waiting == len(visits)
    assert counter.flush()
    assert table(sqlite_url(tmp_path / "m.db")) == {"/page": len(visits)}


@pytest.mark.parametrize("ask", ALL)
def test_a_path_is_stored_as_browsers_send_it_and_without_its_query(
    ask: Ask, counter: Counter, tmp_path: Path
) -> None:
    sent = {
        "/": "/", "/caf%C3%A9": "/caf%C3%A9", "/caf%c3%a9": "/caf%C3%A9",
        "/a%20b": "/a%20b", "/%7Ea/~a": "/~a/~a", "/a;b=1,2@c": "/a;b=1,2@c", "/%00": "/%00",
        "/" + "x" * 5000: "/" + "x" * 999,
    }  # fmt: skip
    for path in sent:
        ask(counter, PAGE | {"headers": {"User-Agent": BROWSER}, "path": path})
    assert counter.flush()
    assert set(table(sqlite_url(tmp_path / "m.db"))) == set(sent.values())


def test_excluded_paths_are_not_counted(tmp_path: Path) -> None:
    counter = Counter(sqlite_url(tmp_path / "m.db"), flush_s=3600, exclude=["/admin/**", "/u/*"])
    for path in ("/", "/admin/x/y", "/u/maria", "/u/maria/orders"):
        count(counter, path=path)
    assert counter.flush()
    assert table(sqlite_url(tmp_path / "m.db")) == {"/": 1, "/u/maria/orders": 1}


def test_any_path_can_be_stored_in_postgresql(pg: str) -> None:
    """Also bytes that are not text, and texts that PostgreSQL or its index cannot hold."""
    counter = Counter(pg, flush_s=3600)
    paths = ["/\0", "/\ud800", "/é" * 5000, b"/\xff\xfe", os.urandom(5000)]
    for path in paths:
        count(counter, path=path)
    assert counter.waiting == len(paths)
    assert counter.flush()
    assert sum(table(pg).values()) == len(paths)


def count(counter: Counter, **changes: Any) -> None:
    response = Response("GET", "/", 200, "text/html", BROWSER, "", "")
    counter.count_response(lambda: response._replace(**changes))


@pytest.mark.parametrize("wrong", [{"headers": None}, {"status": "two hundred"}])
def test_a_response_that_cannot_be_counted_is_logged_once_and_is_sent(
    counter: Counter, caplog: pytest.LogCaptureFixture, wrong: Request
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response(*({"status": "200 OK", "headers": []} | wrong).values())
        return [b"body"]

    for _ in range(3):
        assert WSGIMiddleware(app, counter)({"REQUEST_METHOD": "GET"}, lambda *_: None) == [b"body"]
    count(counter)
    assert counter.waiting == 1
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "a response could not be counted"
    ]


def test_a_long_user_agent_costs_milliseconds(counter: Counter) -> None:
    from time import process_time

    start = process_time()
    for number in range(10):
        count(counter, user_agent=f"{number}" + "-" * 60_000)
    assert process_time() - start < 1


@pytest.mark.slow
def test_the_middleware_takes_at_most_20_microseconds_at_the_median() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "counter" / "bench.py"], capture_output=True, text=True, check=True
    )
    medians = [float(number) for number in re.findall(r"median +([\d.]+) µs", done.stdout)]
    assert len(medians) == 3
    assert max(medians) <= 20, done.stdout


def test_an_error_page_that_replaces_a_response_is_not_counted_again(counter: Counter) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        start_response("200 OK", [("Content-Type", "text/html")], (ValueError, ValueError(), None))
        return []

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_USER_AGENT": BROWSER}
    WSGIMiddleware(app, counter)(environ, lambda *_: None)
    assert counter.waiting == 1


def test_an_error_of_the_application_passes(counter: Counter) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise LookupError

    with pytest.raises(LookupError):
        WSGIMiddleware(app, counter)({"REQUEST_METHOD": "GET"}, lambda *_: None)
    assert counter.waiting == 0


def test_django_without_the_setting_counts_nothing_and_says_what_is_wrong_in_it() -> None:
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
    from django.test import override_settings

    from reportgen_counter.django import Middleware

    if not settings.configured:
        settings.configure()
    with override_settings(REPORTGEN_COUNTER=None), pytest.raises(MiddlewareNotUsed):
        Middleware(lambda _: None)
    for wrong in ({"URL": "sqlite:///metrics.db"}, {"timezone": "UTC"}):
        keys = pytest.raises(ImproperlyConfigured, match="Its keys are: url, timezone, flush_s, exclude")
        with override_settings(REPORTGEN_COUNTER=wrong), keys:
            Middleware(lambda _: None)
