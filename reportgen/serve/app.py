"""The website as a function from request to response: the current release, its status, and health checks.

:class:`CurrentRelease` holds the release to which the link ``current`` points. :func:`application` returns
the function that answers requests from it.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from reportgen.core.logs import event
from reportgen.publish.release import current_release
from reportgen.serve.auth import LoginThrottle, client_address
from reportgen.serve.release_cache import (
    SECURITY,
    STRICT,
    Assets,
    ReleaseCache,
    Resource,
    best_variant,
    etag_matches,
    load_release,
)

REFRESH_EVERY_S = 0.5
"""Seconds between two checks for a new release."""

MAX_READS = 10
"""Maximum number of releases that one refresh may find replaced while it reads them."""

RETRY_AFTER_S = 5
"""Seconds after which a reader without a report should try again."""

PUBLIC_PATHS = ("/healthz", "/healthz/fresh")
"""Paths that need no password: a platform's health checks have none."""

OF_A_BODY = {"content-type", "content-length", "content-encoding"}
"""Headers that a response without a body does not have."""


class Response(NamedTuple):
    """A response to a request."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


Handler = Callable[[HTTPServerRequest], Response]
"""Returns the response to a request. The whole server waits for it, so it answers from memory.

With many sites, the first request for a site reads its release from the disk."""


class CurrentRelease:
    """The release that readers get now, held in memory as ``cache``; ``None`` before the first."""

    def __init__(self, root: Path, assets: Assets | None = None) -> None:
        """Serve the output directory ``root``; ``assets`` are shared with the releases of other sites."""
        self._root, self._assets = root, assets
        self._served: str | None = None
        self._unreadable: str | None = None
        self.cache: ReleaseCache | None = None

    def refresh(self) -> None:
        """Serve another release if one was published since; keep the last if the new one is not readable.

        A release may be replaced and removed while it is read. Then the next one is read at once.
        """
        for _ in range(MAX_READS):
            target = self._target()
            if target in {None, self._served}:
                return  # nothing is published yet, or the directory is gone
            try:
                release = current_release(self._root)
                if release is None:
                    raise ValueError("it is not a release of this output")  # noqa: TRY301 - logged below
                cache = load_release(release, self._assets)
            except (OSError, ValueError, LookupError, TypeError) as exc:
                if self._target() != target:
                    continue
                if target != self._unreadable:  # log it once, not at each refresh
                    event("release_unreadable", level=logging.ERROR, current=target, error=str(exc))
                self._unreadable = target
                return
            self._served, self.cache, self._unreadable = target, cache, None
            event("release_served", release=cache.id)
            return

    def drop(self) -> None:
        """Release the memory; the next refresh reads the release again."""
        self.cache = self._served = None

    def _target(self) -> str | None:
        """Return the target of the link ``current``."""
        try:
            return str((self._root / "current").readlink())
        except OSError:
            return None

    async def follow(self) -> None:
        """Refresh every half second, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_EVERY_S)
            await asyncio.to_thread(self.refresh)


@dataclass(frozen=True)
class MountedSite:
    """One of many sites, served below a prefix. ``fetch`` reads its release into memory if need be."""

    current: CurrentRelease
    status: Callable[[], dict[str, Any]]
    fetch: Callable[[], None]


def application(
    current: CurrentRelease,
    status: Callable[[], dict[str, Any]],
    *,
    password: str | None = None,
    client_header: str | None = None,
    sites: Mapping[str, MountedSite] | None = None,
) -> Handler:
    """Return the function that answers requests.

    Args:
        current: the release at ``/``.
        status: returns the document of ``/status.json``.
        password: what readers need; ``None`` serves everybody.
        client_header: the header in which a proxy gives the client's address. Without it, the address of
            the connection counts.
        sites: further sites, by prefix.

    """
    throttle = LoginThrottle(password, time.monotonic) if password else None

    def answer(request: HTTPServerRequest) -> Response:
        path = unquote(request.path)
        if throttle and path not in PUBLIC_PATHS:
            forwarded = request.headers.get(client_header, "") if client_header else ""
            client = client_address(forwarded, request.remote_ip or "")
            if refusal := _refusal(throttle, client, request.headers.get("Authorization", "")):
                return refusal
        if request.method not in {"GET", "HEAD"}:
            return _text_response(405, b"Only GET and HEAD.\n", {"allow": "GET, HEAD"})
        if path == "/healthz":
            return _text_response(200, b"ok\n")
        if path == "/healthz/fresh":
            stale = status()["stale"] or current.cache is None
            return _text_response(503, b"stale\n") if stale else _text_response(200, b"fresh\n")
        prefix = path[1:].partition("/")[0]
        if site := (sites or {}).get(prefix):
            site.fetch()
            return _release_response(site.current.cache, request, site.status, f"/{prefix}")
        return _release_response(current.cache, request, status)

    return answer


def _refusal(throttle: LoginThrottle, client: str, authorization: str) -> Response | None:
    """Return the response to a request without the right password; ``None`` if it has it."""
    if authorization:
        # Check the password first: another client behind this address may have caused the pause.
        if throttle.accepts(authorization):
            return None
        if pause_s := throttle.record_failure(client):
            retry_after = {"retry-after": str(int(pause_s) + 1)}
            return _text_response(429, b"Too many failed tries. Try again later.\n", retry_after)
        event("access_refused", level=logging.WARNING, client=client)
    challenge = {"www-authenticate": 'Basic realm="reportgen", charset="UTF-8"'}
    return _text_response(401, b"This report asks for a password. The user name is reader.\n", challenge)


def _release_response(
    cache: ReleaseCache | None,
    request: HTTPServerRequest,
    status: Callable[[], dict[str, Any]],
    base: str = "",
) -> Response:
    """Return a file of the release at ``base``, its status, a redirect, or 404."""
    path, query = unquote(request.path).removeprefix(base), "?" * bool(request.query) + request.query
    if path == "/status.json":
        document = json.dumps(status(), ensure_ascii=False) + "\n"
        return _text_response(200, document.encode(), {"content-type": "application/json"})
    if base and not path:
        return _text_response(308, b"", {"location": f"{base}/{query}"})
    if cache is None:
        page = NO_REPORT if status()["consecutive_failures"] else FIRST_BUILD
        waiting = {"retry-after": str(RETRY_AFTER_S), "content-type": "text/html; charset=utf-8"}
        return _text_response(503, page, waiting)
    if resource := cache.resources.get(path):
        return _resource_response(200, resource, request.headers)
    if path and f"{path}/" in cache.resources:
        return _text_response(308, b"", {"location": f"{base}{path}/{query}"})
    if missing := cache.resources.get("/404.html"):
        return _resource_response(404, missing, request.headers)
    return _text_response(404, b"There is no such page.\n")


def _resource_response(status: int, resource: Resource, headers: HTTPHeaders) -> Response:
    body, answered = best_variant(resource, headers.get("Accept-Encoding", ""))
    if status == 200 and etag_matches(answered["etag"], headers.get("If-None-Match", "")):  # noqa: PLR2004
        return Response(304, {name: text for name, text in answered.items() if name not in OF_A_BODY})
    return Response(status, answered, body)


def _text_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response that is not a file of a release, and that caches must not keep."""
    common = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "content-security-policy": f"{STRICT}; frame-ancestors 'none'",
        **SECURITY,
    }
    return Response(status, common | dict(headers or {}), body)


def _waiting_page(title: str, text: str, *, refresh_s: int) -> bytes:
    """Return a page that needs no release. ``title`` and ``text`` are HTML, and are not escaped."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">'
        f'<meta http-equiv="refresh" content="{refresh_s}"><title>{title}</title></head>'
        f"<body><main><h1>{title}</h1><p>{text}</p></main></body></html>\n"
    ).encode()


FIRST_BUILD = _waiting_page(
    "There is no report yet",
    "The first build makes it. This page looks again by itself every few seconds.",
    refresh_s=RETRY_AFTER_S,
)
NO_REPORT = _waiting_page(
    "There is no report yet",
    "The last build failed. Its reason is in the log of this site, and reportgen status shows it.",
    refresh_s=60,
)
