"""Requests and responses as plain values: what the protocol reads and writes, and the website answers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]
STATUS = {each.value: b"HTTP/1.1 %d %b\r\n" % (each.value, each.phrase.encode()) for each in HTTPStatus}
BREAKS = re.compile(r"[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request.

    Names of headers are lower case, ``path`` is decoded, ``query`` is not and has no question mark,
    ``client`` is the other end's address.
    """

    method: str
    path: str
    query: bytes
    version: str
    headers: Headers
    client: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response: ``header_lines`` are its headers as :func:`encoded` writes them."""

    status: int
    header_lines: bytes
    body: bytes = b""


Handler = Callable[[Request], Response]
"""What answers a request, at once: the whole server waits for it."""


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Return headers as they are sent, each with its end of line.

    Raises:
        ValueError: what stands in one would end its line.

    """
    for name, value in headers.items():
        if BREAKS.search(value):
            raise ValueError(f"{name}: {value!r} is more than one line")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def headers_by_name(headers: Headers) -> dict[bytes, bytes]:
    """Return headers by name; several lines of one are one list (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b"%b, %b" % (found[name], value) if name in found else value
    return found


def encode_head(response: Response, date: bytes, *, last: bool) -> bytes:
    """Return all that is sent before the body; ``date`` is a whole line."""
    end = b"connection: close\r\n\r\n" if last else b"\r\n"
    return STATUS[response.status] + date + response.header_lines + end


def plain_response(status: int, words: str = "") -> Response:
    """Return the answer to what is no request, or to one that broke the server."""
    length, kind = {"content-length": str(len(words))}, {"content-type": "text/plain; charset=utf-8"}
    return Response(status, encode_headers(length | kind if words else length), words.encode())


def announces_body(headers: Headers) -> bool:
    """Tell whether more belongs to a request than its head."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t"))
        for name, value in headers
    )
