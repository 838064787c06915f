"""The website: the current release to readers, health to the platform, as an ASGI application.

:class:`Published` follows the link ``current`` and holds its release in memory; :func:`application`
answers requests from it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reportgen.access import Doorkeeper, client_of
from reportgen.log import event
from reportgen.publish import current_release
from reportgen.resources import (
    SECURITY,
    STRICT,
    Headers,
    Resource,
    Shelf,
    chosen,
    encoded,
    json_body,
    load,
    matches,
    text_page,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOK_EVERY_S = 0.5
TRIES = 10
"""How many releases one look may see vanish while it reads them, before it waits for the next look."""

RETRY_AFTER_S = 5
PIECE_BYTES = 32 * 1024
"""How much of a body is handed on at once: so much memory a client takes that does not read."""

OPEN = ("/healthz", "/healthz/fresh")
"""Addresses that need no password: the platform's checks have none."""


class Published:
    """The release that readers get now, renewed as soon as another becomes current."""

    def __init__(self, root: Path, pool: dict[str, bytes] | None = None) -> None:
        """``pool`` keeps what the releases of many sites have in common."""
        self._root, self._pool = root, pool
        self._seen: str | None = None
        self._unreadable: str | None = None
        self.shelf: Shelf | None = None

    def look(self) -> None:
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
                self.shelf, self._seen, self._unreadable = load(release, self._pool), target, None
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
        self.shelf = self._seen = None

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
            await asyncio.to_thread(self.look)


@dataclass(frozen=True)
class Place:
    """One of many sites: what it publishes, how it stands, and ``fetch``, which has it in memory."""

    published: Published
    status: Callable[[], dict[str, Any]]
    fetch: Callable[[], None]


def application(
    published: Published,
    status: Callable[[], dict[str, Any]],
    *,
    password: str | None = None,
    client_header: str | None = None,
    places: Mapping[str, Place] | None = None,
) -> App:
    """Return the ASGI application.

    ``status`` gives the document of ``/status.json``. ``client_header`` is the header in which a proxy in
    front names the client's address; without it the connection's own counts. ``places`` are sites that stand
    below a prefix of their own.
    """
    keeper = Doorkeeper(password, time.monotonic) if password else None
    named = client_header.lower().encode() if client_header else None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        del receive  # no request that is answered here has a body worth reading
        head = scope["method"] == "HEAD"
        path: str = scope["path"]
        wanted = _joined(scope["headers"])
        if not _sound(scope):
            await _answer(send, 400, b"Only HTTP/1.1 with one Host, or HTTP/1.0.\n", head=head)
            return
        if keeper and path not in OPEN:
            peer = (scope["client"] or ("",))[0]
            client = client_of(wanted.get(named, b"").decode("latin-1") if named else "", peer)
            if refusal := _refusal(keeper, client, wanted.get(b"authorization", b"").decode("latin-1")):
                await _answer(send, *refusal, head=head)
                return
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405, b"Only GET and HEAD.\n", {"allow": "GET, HEAD"}, head=head)
        elif path == "/healthz":
            await _answer(send, 200, b"ok\n", head=head)
        elif path == "/healthz/fresh":
            stale = status()["stale"] or published.shelf is None
            await _answer(send, 503 if stale else 200, b"stale\n" if stale else b"fresh\n", head=head)
        else:
            query = (b"?" * bool(scope["query_string"]) + scope["query_string"]).decode("latin-1")
            prefix = path[1:].partition("/")[0]
            if place := (places or {}).get(prefix):
                place.fetch()
                base = f"/{prefix}"
                inside = path.removeprefix(base)
                await _serve(send, place.published.shelf, inside, wanted, query, place.status, head, base)
            else:
                await _serve(send, published.shelf, path, wanted, query, status, head)

    return app


def _sound(scope: Scope) -> bool:
    """Tell whether version and ``Host`` are as RFC 9112 (3.2) wants them: proxies in front go by both."""
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    version: str = scope["http_version"]
    return hosts == 1 if version == "1.1" else version == "1.0" and hosts <= 1


def _joined(headers: Headers) -> dict[bytes, bytes]:
    """Return headers by name; several lines of one are one list (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def _refusal(keeper: Doorkeeper, client: str, authorization: str) -> tuple[int, bytes, dict[str, str]] | None:
    """Return the answer to whoever may not read, or ``None``."""
    pause_s = keeper.pause_s(client) if authorization else 0.0
    if pause_s:
        again = str(int(pause_s) + 1)
        return 429, b"Too many failed tries. Try again later.\n", {"retry-after": again}
    if authorization and keeper.admits(client, authorization):
        return None
    if authorization:
        event("access_refused", level=logging.WARNING, client=client)
    challenge = {"www-authenticate": 'Basic realm="reportgen", charset="UTF-8"'}
    return 401, b"This report asks for a user name and a password.\n", challenge


async def _serve(
    send: Send,
    shelf: Shelf | None,
    path: str,
    wanted: dict[bytes, bytes],
    query: str,
    status: Callable[[], dict[str, Any]],
    head: bool,  # noqa: FBT001 - as all of a request is handed on
    base: str = "",
) -> None:
    """Answer with a file of the release that stands below ``base``, or its status, and with nothing else."""
    if path == "/status.json":
        await _answer(send, 200, json_body(status()), {"content-type": "application/json"}, head=head)
    elif base and not path:
        await _answer(send, 308, b"", {"location": f"{base}/{query}"}, head=head)
    elif shelf is None:
        again = {"retry-after": str(RETRY_AFTER_S), "content-type": "text/html; charset=utf-8"}
        page = NO_REPORT if status()["consecutive_failures"] else FIRST_BUILD
        await _answer(send, 503, page, again, head=head)
    elif resource := shelf.resources.get(path):
        await _send_resource(send, 200, resource, wanted, head=head)
    elif target := shelf.moved.get(path):
        await _answer(send, 308, b"", {"location": base + target + query}, head=head)
    elif shelf.not_found:
        await _send_resource(send, 404, shelf.not_found, wanted, head=head)
    else:
        await _answer(send, 404, b"There is no such page.\n", head=head)


async def _send_resource(
    send: Send, status: int, resource: Resource, wanted: dict[bytes, bytes], *, head: bool
) -> None:
    variant = chosen(resource, wanted.get(b"accept-encoding", b"").decode("latin-1"))
    condition = wanted.get(b"if-none-match")
    if status == 200 and condition and matches(variant.etag, condition.decode("latin-1")):  # noqa: PLR2004
        await _respond(send, 304, variant.not_modified, b"")
    else:
        await _respond(send, status, variant.headers, b"" if head else variant.body)


async def _answer(
    send: Send, status: int, body: bytes, headers: dict[str, str] | None = None, *, head: bool
) -> None:
    """Answer with something that is no file of a release, and is kept nowhere."""
    common = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "content-security-policy": f"{STRICT}; frame-ancestors 'none'",
        **SECURITY,
    }
    await _respond(send, status, encoded(common | (headers or {})), b"" if head else body)


async def _respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    last = max(0, len(body) - 1) // PIECE_BYTES * PIECE_BYTES
    for start in range(0, last, PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)  # others are served meanwhile, and a reader who has gone is noticed
    await send({"type": "http.response.body", "body": body[last:]})


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


def logged(app: App) -> App:
    """Log each request: never its query, which may hold a secret."""

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        answered: dict[str, Any] = {}

        async def noted(message: MutableMapping[str, Any]) -> None:
            answered.setdefault("status", message.get("status"))
            await send(message)

        await app(scope, receive, noted)
        if scope["type"] == "http":
            client = (scope["client"] or ("",))[0]
            ms = round(1000 * (time.perf_counter() - begun), 1)
            event("request", method=scope["method"], path=scope["path"], client=client, ms=ms, **answered)

    return noting
