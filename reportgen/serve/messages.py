"""Requests and responses as plain values, and how their headers are written."""

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

    The names of ``headers`` are in lower case. ``path`` is percent-decoded; ``query`` is not, and has no
    question mark. ``client`` is the address at the other end of the connection.
    """

    method: str
    path: str
    query: bytes
    version: str
    headers: Headers
    client: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response: ``header_lines`` are its headers as :func:`encode_headers` writes them."""

    status: int
    header_lines: bytes
    body: bytes = b""


Handler = Callable[[Request], Response]
"""Returns the response to a request. It must not wait: the whole server waits for it."""


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """Return headers as bytes, each with its end of line.

    Raises:
        ValueError: a value holds a line break or NUL.

    """
    for name, value in headers.items():
        if BREAKS.search(value):
            raise ValueError(f"{name}: {value!r} holds a line break or NUL")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


def headers_by_name(headers: Headers) -> dict[bytes, bytes]:
    """Return the values of headers by name; values of one name are joined by commas (RFC 9110, 5.3)."""
    values: dict[bytes, bytes] = {}
    for name, value in headers:
        values[name] = b"%b, %b" % (values[name], value) if name in values else value
    return values


def encode_head(response: Response, date: bytes, *, last: bool) -> bytes:
    """Return the status line and the headers of a response; ``date`` is a header line."""
    end = b"connection: close\r\n\r\n" if last else b"\r\n"
    return STATUS[response.status] + date + response.header_lines + end


def plain_response(status: int, text: str = "") -> Response:
    """Return a response in plain ASCII text, for requests that do not reach the website."""
    length, kind = {"content-length": str(len(text))}, {"content-type": "text/plain; charset=utf-8"}
    return Response(status, encode_headers(length | kind if text else length), text.encode())


def announces_body(headers: Headers) -> bool:
    """Return whether the headers announce a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0 \t"))
        for name, value in headers
    )
