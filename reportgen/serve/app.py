"""The website: the current release to readers, health to the platform, as a function of requests.

:class:`CurrentRelease` follows the link ``current`` and holds its release in memory; :func:`application`
answers requests from it, at once and without waiting.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportgen.core.logs import event
from reportgen.publish.release import current_release
from reportgen.serve.auth import LoginThrottle, client_address
from reportgen.serve.messages import Handler, Request, Response, encode_headers, headers_by_name
from reportgen.serve.release_cache import (
    SECURITY,
    STRICT,
    ReleaseCache,
    Resource,
    best_variant,
    encode_json,
    etag_matches,
    load_release,
    text_page,
)

LOOK_EVERY_S = 0.5
TRIES = 10
"""How many releases one look may see vanish while it reads them, before it waits for the next look."""

RETRY_AFTER_S = 5
PUBLIC_PATHS = ("/healthz", "/healthz/fresh")
"""Addresses that need no password: the platform's checks have none."""


class CurrentRelease:
    """The release that readers get now, renewed as soon as another becomes current."""

    def __init__(self, root: Path, pool: dict[str, bytes] | None = None) -> None:
        """``pool`` keeps what the releases of many sites have in common."""
        self._root, self._pool = root, pool
        self._seen: str | None = None
        self._unreadable: str | None = None
        self.cache: ReleaseCache | None = None

    def refresh(self) -> None:
        """Load the current release if it is another one; keep the last where it cannot be read.

        A release may be replaced and removed while it is being read: then the next one is read at once.
        """
        for _ in range(TRIES):
            target = self._target()
            if target in {None, self._seen}:
                return  # nothing published yet, or the directory is gone: what is in memory stays
            try:
                release = current_release(self._root)
                if release is None:
                    raise ValueError("it leads to no release of this output")  # noqa: TRY301 - told below
                self.cache, self._seen, self._unreadable = load_release(release, self._pool), target, None
            except (OSError, ValueError, LookupError, TypeError) as exc:
                if self._target() != target:
                    continue
                if target != self._unreadable:  # it is tried again and again, and told once
                    event("release_unreadable", level=logging.ERROR, current=target, error=str(exc))
                self._unreadable = target
            else:
                event("release_served", release=release.id)
            return

    def drop(self) -> None:
        """Give back the memory; the next look loads the release again."""
        self.cache = self._seen = None

    def _target(self) -> str | None:
        """Return where the link ``current`` leads."""
        try:
            return str((self._root / "current").readlink())
        except OSError:
            return None

    async def follow(self) -> None:
        """Look for another release again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self.refresh)


@dataclass(frozen=True)
class SiteApp:
    """One of many sites: what it publishes, how it stands, and ``fetch``, which has it in memory."""

    published: CurrentRelease
    status: Callable[[], dict[str, Any]]
    fetch: Callable[[], None]


def application(
    published: CurrentRelease,
    status: Callable[[], dict[str, Any]],
    *,
    password: str | None = None,
    client_header: str | None = None,
    places: Mapping[str, SiteApp] | None = None,
) -> Handler:
    """Return the function that answers requests.

    ``status`` gives the document of ``/status.json``. ``client_header`` is the header in which a proxy in
    front names the client's address; without it the connection's own counts. ``places`` are sites that stand
    below a prefix of their own.
    """
    keeper = LoginThrottle(password, time.monotonic) if password else None
    named = client_header.lower().encode() if client_header else None

    def answer(request: Request) -> Response:
        wanted, path = headers_by_name(request.headers), request.path
        if not _sound(request):
            return _plain(400, b"Only HTTP/1.1 with one Host, or HTTP/1.0.\n")
        if keeper and path not in PUBLIC_PATHS:
            client = client_address(wanted.get(named, b"").decode("latin-1") if named else "", request.client)
            if refused := _refusal(keeper, client, wanted.get(b"authorization", b"").decode("latin-1")):
                return refused
        if request.method not in {"GET", "HEAD"}:
            return _plain(405, b"Only GET and HEAD.\n", {"allow": "GET, HEAD"})
        if path == "/healthz":
            return _plain(200, b"ok\n")
        if path == "/healthz/fresh":
            stale = status()["stale"] or published.cache is None
            return _plain(503, b"stale\n") if stale else _plain(200, b"fresh\n")
        prefix = path[1:].partition("/")[0]
        if place := (places or {}).get(prefix):
            place.fetch()
            return _answer(place.published.cache, request, wanted, place.status, f"/{prefix}")
        return _answer(published.cache, request, wanted, status)

    return answer


def _sound(request: Request) -> bool:
    """Tell whether version and ``Host`` are as RFC 9112 (3.2) wants them: proxies in front go by both."""
    hosts = sum(name == b"host" for name, _ in request.headers)
    return hosts == 1 if request.version == "1.1" else request.version == "1.0" and hosts <= 1


def _refusal(keeper: LoginThrottle, client: str, authorization: str) -> Response | None:
    """Return the answer to whoever may not read, or ``None``."""
    pause_s = keeper.pause_s(client) if authorization else 0.0
    if pause_s:
        again = {"retry-after": str(int(pause_s) + 1)}
        return _plain(429, b"Too many failed tries. Try again later.\n", again)
    if authorization and keeper.admits(client, authorization):
        return None
    if authorization:
        event("access_refused", level=logging.WARNING, client=client)
    challenge = {"www-authenticate": 'Basic realm="reportgen", charset="UTF-8"'}
    return _plain(401, b"This report asks for a user name and a password.\n", challenge)


def _answer(
    cache: ReleaseCache | None,
    request: Request,
    wanted: dict[bytes, bytes],
    status: Callable[[], dict[str, Any]],
    base: str = "",
) -> Response:
    """Answer with a file of the release that stands below ``base``, or its status, and with nothing else."""
    path, query = request.path.removeprefix(base), "?" * bool(request.query) + request.query.decode("latin-1")
    if path == "/status.json":
        return _plain(200, encode_json(status()), {"content-type": "application/json"})
    if base and not path:
        return _plain(308, b"", {"location": f"{base}/{query}"})
    if cache is None:
        return _not_yet(failed=bool(status()["consecutive_failures"]))
    if resource := cache.resources.get(path):
        return _of_resource(200, resource, wanted)
    if target := cache.redirects.get(path):
        return _plain(308, b"", {"location": base + target + query})
    if cache.not_found:
        return _of_resource(404, cache.not_found, wanted)
    return _plain(404, b"There is no such page.\n")


def _not_yet(*, failed: bool) -> Response:
    """Answer while there is no release."""
    again = {"retry-after": str(RETRY_AFTER_S), "content-type": "text/html; charset=utf-8"}
    return _plain(503, NO_REPORT if failed else FIRST_BUILD, again)


def _of_resource(status: int, resource: Resource, wanted: dict[bytes, bytes]) -> Response:
    variant = best_variant(resource, wanted.get(b"accept-encoding", b"").decode("latin-1"))
    condition = wanted.get(b"if-none-match")
    if status == 200 and condition and etag_matches(variant.etag, condition.decode("latin-1")):  # noqa: PLR2004
        return Response(304, variant.not_modified)
    return Response(status, variant.headers, variant.body)


def _plain(status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Answer with something that is no file of a release, and is kept nowhere."""
    common = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "content-security-policy": f"{STRICT}; frame-ancestors 'none'",
        **SECURITY,
    }
    return Response(status, encode_headers(common | (headers or {})), body)


FIRST_BUILD = text_page(
    "The first report is being built",
    "This page looks again by itself in a few seconds.",
    refresh_s=RETRY_AFTER_S,
)


NO_REPORT = text_page(
    "There is no report yet",
    "The last build failed. Whoever runs this site finds the reason in its log, or with reportgen status.",
    refresh_s=60,
)


def logged(answer: Handler) -> Handler:
    """Log each request, and how long its answer took to find: never its query, which may hold a secret."""

    def noting(request: Request) -> Response:
        begun = time.perf_counter()
        response = answer(request)
        ms = round(1000 * (time.perf_counter() - begun), 2)
        event(
            "request", method=request.method, path=request.path, client=request.client, ms=ms,
            status=response.status,
        )  # fmt: skip
        return response

    return noting
