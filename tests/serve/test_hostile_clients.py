"""Hostile clients: whatever they send, only the release is served, and other readers are not affected."""

import base64
import os
import random
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count, product
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from statistics import median, quantiles
from threading import Event, Thread

import pytest

from reportgen.serve import auth
from reportgen.serve.auth import LoginThrottle, client_address
from tests.serve.test_http_protocol import resident_mb
from tests.support.services import Service, ask, eventually, publish_files, serving, site_files

MARK = "marker-3f1c8e"
"""The content of files that must not be served."""

PASSWORD = "geheim7f3a"
BIG, MIDDLE = "/assets/big.0a1b.js", "/assets/middle.0a1b.js"
SITE = site_files("one") | {
    BIG[1:]: random.Random(5).randbytes(3_000_000), MIDDLE[1:]: random.Random(6).randbytes(60_000)
}  # fmt: skip
GET = b"GET /7d/ HTTP/1.1\r\nHost: a\r\n"
END = b"Connection: close\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OLD = "20200101T000000Z-0000000000"

LIMITS = """
import socket, sys
from reportgen.cli import main as cli
from reportgen.serve import http_protocol as protocol
from reportgen.serve import single as service
protocol.HEAD_S, protocol.WRITE_S = 1.0, 1.0
listen = service.listen
def small(*address):
    listening = listen(*address)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    return listening
service.listen = small
cli.main()
"""
"""`reportgen` with deadlines of a second, and with small send buffers."""


def prepared(folder: Path) -> Path:
    """Publish a release, and write further files around it and into it that must not be served."""
    output = folder / "output"
    release = publish_files(output, SITE)
    (output / "releases" / OLD).mkdir()
    for path in (
        output / "state/secret", output / "secret", output / "releases/secret", folder / "secret",
        output / "releases" / OLD / "index.html", release.path / "secret", release.path / "7d/secret",
    ):  # fmt: skip
        path.write_text(MARK)
    (release.path / "link").symlink_to(folder)
    (release.path / "7d/link.html").symlink_to(folder / "secret")
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a server with its default limits, which builds nothing."""
    with serving(prepared(tmp_path_factory.mktemp("hostile")), "--no-schedule") as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a server with short deadlines."""
    folder = prepared(tmp_path_factory.mktemp("strict"))
    with serving(folder, "--no-schedule", command=("-c", LIMITS)) as running:
        yield running


@pytest.fixture(autouse=True)
def unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: the pages are right, and the log has neither an error nor a traceback."""
    names = {"service", "strict", "protected"} & set(request.fixturenames)
    running: list[Service] = [request.getfixturevalue(name) for name in sorted(names)]
    before = [len(each.lines) for each in running]
    yield
    for each, start in zip(running, before, strict=True):
        known = {"authorization": basic(PASSWORD), "x_client": "192.0.2.1"} if "protected" in names else {}
        answer = each.ask("/7d/", **known)
        assert (answer.status, answer.body) == (200, SITE["7d/index.html"])
        logged = each.lines[start:]
        assert [line for line in logged if '"level": "error"' in line or "raceback" in line] == []


def basic(password: str, user: str = "reader") -> str:
    """Return the header that a browser sends for a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def connected(service: Service, received: int = 0) -> socket.socket:
    """Return a connection; ``received`` is the size in bytes of its receive buffer."""
    wire = socket.socket()
    if received:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    wire.settimeout(10)
    wire.connect(("127.0.0.1", service.port))
    return wire


def received_bytes(service: Service, sent: bytes) -> bytes:
    """Send bytes over a new connection; return all that is received until it closes."""
    with closing(connected(service)) as wire:
        wire.sendall(sent)
        got = b""
        with suppress(ConnectionResetError):
            while more := wire.recv(65_536):
                got += more
        return got


def statuses(got: bytes) -> list[int]:
    """Return the statuses of all responses."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", got)]


def is_closed_within(wire: socket.socket, within_s: float = 8) -> bool:
    """Return whether the server closes the connection in time. What it sends before is dropped."""
    end = time.monotonic() + within_s
    wire.settimeout(within_s)
    try:
        while wire.recv(65_536):
            wire.settimeout(max(0.01, end - time.monotonic()))
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# Paths of files that are not in the release.

CLIMBS = [
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "%2E%2E%2F", ".%2e/", "%2e./", "%252e%252e%252f", "%252e%252e/",
    "%25252e%25252e%25252f", "..\\", "..%5c", "%2e%2e%5c", "..%255c", "..;/", "..;x=1/", "..%3b/", "..%00/",
    "%00../", "..%0a/", "..%0d%0a/", "..%09/", "..%20/", "..//", "./../", "....//", "..././", "%c0%ae%c0%ae/",
    "%c0%ae%c0%ae%c0%af", "..%c0%af", "..%c1%9c", "%e0%80%ae%e0%80%ae%e0%80%af", "..%e0%80%af",
    "%f0%80%80%ae%f0%80%80%ae/", "%uff0e%uff0e%u2215", "%ef%bc%8e%ef%bc%8e%ef%bc%8f", "%e2%80%a5/",
    "..%e2%88%95", "..%ef%bc%bc", "%ff%fe../", "..\\/", "..%5c/",
]  # fmt: skip
"""Valid and invalid ways to write "the parent directory"."""

GOALS = ["secret", "state/secret", f"releases/{OLD}/index.html", "etc/passwd", "proc/self/environ", ""]
PLACES = [
    "//etc/passwd", "/%2fetc/passwd", "/%2f%2fetc%2fpasswd", "/%5c%5cetc%5cpasswd", "/etc/passwd%00.html",
    "/file:///etc/passwd", "/C:/Windows/win.ini", "/C:%5CWindows%5Cwin.ini", "/\\\\host\\share", "/~root/",
    "/secret", "/7d/secret", "/link", "/link/secret", "/7d/link.html", "/7d/secret%00", "/state", "/state/",
    "/state/secret", "/state/lock", "/state/runs.json", "/current", "/current/", "/current/index.html",
    f"/releases/{OLD}/index.html", "/releases", "/releases/", "/.", "/..", "/./", "/../", "/7d/.", "/7d/..",
    "/7d/./", "/7d/index.html/", "/7d/index.html%00", "/7d/index.html.", "/7d/index.html%20", "/7D/", "/7d;/",
    "/7d;a=b/", "/7d%2findex.html/", "/%37%64%5c", "/7d//", "///", "//", "/%", "/%2", "/%zz", "/%00",
    "/%ff", "/%c3%28", "/%ed%a0%80", "/.git/config", "/.env", "/reportgen.toml", "/output/secret", "/:", "/*",
    "/7d/%2e", "/7d/%2e%2e", "/%e2%80%aed7/", "/\x7f", "/'", '/"', "/<script>", "/{{7*7}}", "/$(id)", "/|id",
    "/" + "a/" * 5000, "/" + "../" * 5000 + "etc/passwd", "/" + "%2e%2e%2f" * 3000 + "etc/passwd",
    "/" + "a" * 20_000,
]  # fmt: skip
TARGETS = PLACES + [
    f"{start}{climb * depth}{goal}"
    for start, climb, depth, goal in product(("/", "/7d/"), CLIMBS, (1, 2, 6), GOALS)
]


def test_no_path_reaches_a_file_outside_the_release(service: Service) -> None:
    """Neither files around it, nor an older release, nor files that are not in the manifest."""
    assert len(set(TARGETS)) >= 1000
    missing = SITE["404.html"]
    wrong = []
    for target in TARGETS:
        got = received_bytes(
            service, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target.encode()
        )
        body = got.partition(b"\r\n\r\n")[2]
        is_missing = statuses(got) == [404] and body == missing
        if not is_missing and (statuses(got) != [400] or body != b"Invalid HTTP request received."):
            wrong.append((target[:80], got[:80]))
        if MARK.encode() in got or b"root:" in got:
            wrong.append((target[:80], got[-80:]))
    assert wrong == []


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://evil.test/7d/", 200), (b"http://evil.test/../state/secret", 404),
        (b"http://evil.test", 400),
        (b"HTTP://a/7d", 308), (b"http://user:pw@evil.test/7d/", 200), (b"file:///etc/passwd", 400),
        (b"//evil.test/7d/", 404), (b"/\\evil.test/", 404), (b"7d/", 400), (b"../secret", 400), (b"*", 404),
        (b"/7d#x", 308), (b"/7d?\x0c", 400), (b"/7d?\xff", 400), (b"/7d?%0d%0aSet-Cookie:%20a", 308),
        (b"http://[::1", 400), (b"?", 400), (b"/7d?x=" + b"y" * 20_000, 308), (b"/%s" % (b"a" * 40_000), 431),
    ],
)  # fmt: skip
def test_no_other_form_of_target_reaches_one_either(service: Service, target: bytes, status: int) -> None:
    """The host in the target is ignored: no redirect leaves this site, and no header is added."""
    got = received_bytes(service, b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % target)
    assert statuses(got) == [status]
    head = got.partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie:" not in head.replace(b"%20", b" ").split(b"\r\n")
    assert MARK.encode() not in got
    location = re.search(rb"\r\nlocation: (.*?)\r\n", head)
    assert (location is not None) == (status == 308)
    assert location is None or location[1].startswith(b"/7d/")


# Requests that could be taken for two, or for none.

BODY = b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED: list[tuple[str, bytes, list[int]]] = [
    ("CL and TE", b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    ("TE and CL", b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", [400]),
    ("two CLs that differ", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", [400]),
    ("two CLs alike", b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", [400]),
    ("a list of CLs", b"Content-Length: 5, 5\r\n\r\nhello", [400]),
    ("CL with a sign", b"Content-Length: +5\r\n\r\nhello", [400]),
    ("negative CL", b"Content-Length: -5\r\n\r\nhello", [400]),
    ("CL in hexadecimal", b"Content-Length: 0x5\r\n\r\nhello", [400]),
    ("endless CL", b"Content-Length: 99999999999999999999999999\r\n\r\n", [400]),
    ("CL beyond 32 bits", b"Content-Length: 4294967296\r\n\r\n", [200]),
    ("unknown TE", b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [400]),
    ("TE not last", b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", [400]),
    ("two TEs", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", [400]),
    ("TE after a tab", b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", [200]),
    ("TE with space before colon", b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", [400]),
    ("TE with a vertical tab", b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400]),
    ("folded line", b"X: a\r\n b\r\n\r\n", [400]),
    ("folded TE", b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", [400]),
    ("folded first line", b" X: a\r\n\r\n", [400]),
    ("bare LF", b"X: a\nY: b\r\n\r\n", [400]),
    ("bare CR", b"X: a\rY: b\r\n\r\n", [400]),
    ("NUL", b"X: a\0b\r\n\r\n", [400]),
    ("no colon", b"X\r\n\r\n", [400]),
    ("no name", b": x\r\n\r\n", [400]),
    ("odd name", b"X[]: x\r\n\r\n", [400]),
    ("body", b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY), [200]),
    ("chunks", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), [200]),
    ("bad chunks", b"Transfer-Encoding: chunked\r\n\r\nzz\r\n%b\r\n0\r\n\r\n" % BODY, [400]),
    ("endless chunk", b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", [400]),
    (
        "h2c",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        [200],
    ),
    ("websocket", b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", [200]),
    ("expectation", b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", [200]),
    ("another expectation", b"Expect: miracles\r\nContent-Length: 5\r\n\r\nhello", [200]),
]


@pytest.mark.parametrize(("head", "expected"), [case[1:] for case in SMUGGLED], ids=[c[0] for c in SMUGGLED])
def test_nothing_after_an_ambiguous_head_is_taken_for_a_request(
    service: Service, head: bytes, expected: list[int]
) -> None:
    """The request is refused, or it is the last of its connection: nothing is smuggled past a proxy."""
    got = received_bytes(service, GET + head + LAST)
    assert (statuses(got), MARK.encode() in got) == (expected, False)


@pytest.mark.parametrize(
    "head",
    [b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", b"Content-Length: 5\r\n\r\n",
     b"Transfer-Encoding: chunked\r\n\r\n", b"Connection: close\r\n\r\n"],
)  # fmt: skip
@pytest.mark.parametrize("behind", [b"", b"hello", b"zz\r\n"])
def test_nothing_that_arrives_later_is_taken_for_a_request_either(
    strict: Service, head: bytes, behind: bytes
) -> None:
    """Bytes that arrive while the response to the ambiguous head is being sent do not change it."""
    with closing(connected(strict, received=4096)) as wire:
        wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n" % BIG.encode() + head)
        got = wire.recv(100)
        wire.sendall(behind + LAST)
        with suppress(ConnectionResetError):
            while more := wire.recv(65_536):
                got += more
    assert statuses(got) == [200]
    assert b"connection: close\r\n" in got
    assert got.partition(b"\r\n\r\n")[2] == SITE[BIG[1:]]


def test_http_1_0_gets_one_response_per_connection(service: Service) -> None:
    """Even with keep-alive: proxies of that version do not all support it."""
    got = received_bytes(service, b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + LAST)
    assert (statuses(got), got.count(b"connection: close\r\n")) == ([200], 1)


@pytest.mark.parametrize("target", ["/7d/", "/nothing", "/7d", "/healthz", BIG])
def test_a_response_to_head_has_no_body(service: Service, target: str) -> None:
    """A body would be taken for the start of the next response. Python's client would not notice."""
    got = received_bytes(service, b"HEAD %b HTTP/1.1\r\nHost: a\r\n\r\n" % target.encode() * 2 + LAST)
    assert re.fullmatch(rb"(HTTP/1\.1 \d+ (?:[^\r\n]+\r\n)+\r\n){3}ok\n", got)


@pytest.mark.parametrize(
    ("line", "host", "expected"),
    [
        (b"GET /7d/ HTTP/1.1", b"", 400), (b"GET /7d/ HTTP/1.1", b"Host: a\r\nHost: b\r\n", 400),
        (b"GET /7d/ HTTP/1.1", b"Host: a\r\nhOST: a\r\n", 400), (b"GET /7d/ HTTP/1.1", b"Host:\r\n", 200),
        (b"GET /7d/ HTTP/1.1", b"Host: evil.test\r\n", 200), (b"GET /7d/ HTTP/1.1", b"Host: a, b\r\n", 200),
        (b"GET /7d/ HTTP/1.1", b"Host: http://[::/../\r\n", 200), (b"GET /7d HTTP/1.1",
        b"Host: c.test\r\n", 308),
        (b"GET /7d/ HTTP/1.1", b"Host: " + b"x" * 20_000 + b"\r\n", 200), (b"GET /7d/ HTTP/1.0", b"", 200),
        (b"GET /7d/ HTTP/1.0", b"Host: a\r\nHost: b\r\n", 400), (b"GET /7d/ HTTP/1.0", b"Host: a\r\n", 200),
        (b"GET http://b.test/7d/ HTTP/1.1", b"", 400), (b"GET /7d/", b"", 400), (b"GET /7d/ HTTP/0.9",
        b"", 400),
        (b"GET /7d/ HTTP/9.9", b"Host: a\r\n", 400), (b"GET /7d/ HTTP/1.2", b"Host: a\r\n", 400),
        (b"GET /7d/ HTTP/2.0", b"Host: a\r\n", 400), (b"GET /7d/ HTTP/1.1x", b"Host: a\r\n", 400),
        (b"GET /7d/ http/1.1", b"Host: a\r\n", 400), (b"GET /7d/ ICY/1.1", b"Host: a\r\n", 400),
        (b"GET  /7d/ HTTP/1.1", b"Host: a\r\n", 200), (b"GET /7d/  HTTP/1.1", b"Host: a\r\n", 200),
        (b"GET /7d/ x HTTP/1.1", b"Host: a\r\n", 400), (b"GET\t/7d/ HTTP/1.1", b"Host: a\r\n", 400),
        (b"PRI * HTTP/2.0", b"\r\nSM\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", 400),
        (b"SSH-2.0-OpenSSH_9.6", b"", 400), (b"\x00" * 50, b"", 400), (b"HELO a", b"", 400),
    ],
)  # fmt: skip
def test_a_request_has_one_host_and_a_supported_version(
    service: Service, line: bytes, host: bytes, expected: int
) -> None:
    """The host is used for nothing else: no response contains it."""
    got = received_bytes(service, line + b"\r\n" + host + b"Connection: close\r\n\r\n")
    assert statuses(got) == [expected]
    assert b".test" not in got


@pytest.mark.parametrize(
    "method",
    ["OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE", "PROPFIND", "MKCOL", "LOCK", "PURGE", "SEARCH",
     "CONNECT", "SOURCE", "QUERY"],
)  # fmt: skip
def test_only_get_and_head_are_allowed(service: Service, method: str) -> None:
    for target in ("/7d/", "/nothing", "/healthz", "/status.json"):
        got = received_bytes(
            service, f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
        )
        assert statuses(got) == [405]
        assert b"\r\nallow: GET, HEAD\r\n" in got
    assert b"X-Traced" not in received_bytes(service, f"{method} / HTTP/1.0\r\nX-Traced: 1\r\n\r\n".encode())


@pytest.mark.parametrize("method", ["get", "Get", "GETT", "BREW", "", "G ET", "GET\0", "\xff", "A" * 10_000])
def test_an_invalid_method_is_a_bad_request(service: Service, method: str) -> None:
    sent = f"{method} /7d/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert statuses(received_bytes(service, sent.encode("latin-1"))) == [400]


@pytest.mark.parametrize(
    "range_header",
    ["bytes=0-1", "bytes=-1", "bytes=5-", "bytes=9999999-", "bytes=1-0", "bytes=0-0,2-2,-1", "bytes=a-b",
     "bytes=" + ",".join(f"{n}-{n}" for n in range(2500)), "lines=1-2", "bytes", "=", "bytes=0-1\t",
     "bytes=-99999999999999999999999"],
)  # fmt: skip
def test_a_range_request_gets_the_whole_file(service: Service, range_header: str) -> None:
    answer = service.ask("/7d/", range=range_header, if_range='"x"')
    assert (answer.status, answer.body) == (200, SITE["7d/index.html"])
    assert not {"content-range", "accept-ranges"} & set(answer.headers)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ('"unterminated', 200), ('W/"', 200), ("W/", 200), ('"' * 5000, 200), (",".join(['"x"'] * 7000), 200),
        ("," * 20_000, 200), ("*", 304), (" * ", 304), ("*, *", 200), ("\xff\xfe", 200), ('"\xff"', 200),
        (",".join([*(f'"{n}"' for n in range(3000)), "{tag}"]), 304), ("{tag}" * 2, 200), ("w/{tag}", 200),
    ],
)  # fmt: skip
def test_a_condition_in_any_form_is_met_or_not(service: Service, condition: str, status: int) -> None:
    tag = service.ask("/7d/").headers["etag"]
    given = condition.replace("{tag}", tag).encode("latin-1")
    got = received_bytes(service, GET + b"Connection: close\r\nIf-None-Match: " + given + b"\r\n\r\n")
    assert statuses(got) == [status]


@pytest.mark.parametrize(
    "header",
    ["Accept-Encoding: br;q=" + "9" * 5000, "Accept-Encoding: " + "gzip," * 4000, "Accept-Encoding: ;;;=,=;q",
     "Accept-Encoding: br;q=1e999, gzip;q=-inf", "If-Modified-Since: yesterday", "If-Match: *",
     "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "Accept: nothing/at-all",
     "Cookie: " + "a=b;" * 5000,
     "X-Forwarded-For: " + "1.2.3.4, " * 2000, "X-Original-URL: /../state/secret", "X-Rewrite-URL: /secret",
     "Connection: " + "close, " * 3000 + "close", 'Forwarded: for="_x";host=evil.test'],
)  # fmt: skip
def test_unusual_headers_change_nothing(service: Service, header: str) -> None:
    got = received_bytes(service, GET + header.encode() + b"\r\nConnection: close\r\n\r\n")
    assert (statuses(got), MARK.encode() in got) == ([200], False)


def test_too_many_or_too_long_headers_are_refused(service: Service) -> None:
    for head in (b"".join(b"x%d: y\r\n" % n for n in range(10_000)), b"x: " + b"y" * 100_000, b"y" * 100_000):
        assert statuses(received_bytes(service, GET + head + b"\r\n\r\n"))[:1] in (
            [431],
            [],
        )  # or reset before it is read
        assert statuses(received_bytes(service, LAST)) == [200]


def test_a_request_has_a_hundred_headers_at_most(service: Service) -> None:
    """In memory each takes many times its bytes: a few clients could take all memory."""
    lines = [b"x%d: y\r\n" % n for n in range(99)]
    assert statuses(received_bytes(service, b"".join([GET, *lines[:98], END]))) == [200]
    assert statuses(received_bytes(service, b"".join([GET, *lines, END]))) == [431]
    assert statuses(received_bytes(service, b"".join([GET, b"\r\n", GET, *lines, END]))) == [200]


def test_a_connection_may_send_many_large_requests_in_turn(service: Service) -> None:
    with closing(service.connect()) as connection:
        connection.connect()
        held = connection.sock
        assert {ask(connection, "/7d/", x="x" * 5000).status for _ in range(20)} == {200}
        assert connection.sock is held


def test_pending_requests_share_the_limit_of_one_head(strict: Service) -> None:
    """Requests sent before the response to the first one share its limit in bytes: the third is too much."""
    with closing(connected(strict, received=4096)) as wire:
        wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % BIG.encode())
        got = wire.recv(100)
        for _ in range(4):
            wire.sendall(GET + b"X: " + b"x" * 12_000 + b"\r\n\r\n")
            time.sleep(0.1)
        while more := wire.recv(65_536):
            got += more
    assert statuses(got) == [200, 200, 200]


@pytest.mark.parametrize("last", [False, True])
def test_a_client_that_reads_slowly_or_leaves_causes_no_error(strict: Service, last: bool) -> None:
    """Wherever the responses pause and continue, and if the client has gone by then."""
    for seed in range(12):
        chance = random.Random(seed)
        with closing(connected(strict, received=4096)) as wire, suppress(ConnectionResetError):
            wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % MIDDLE.encode() * 8 + LAST)
            while (more := wire.recv(chance.choice((1000, 4000)))) and (last or chance.random() > 0.02):
                del more


def test_garbage_after_a_request_does_not_damage_its_response(service: Service) -> None:
    """Nothing is written into a response that is being sent."""
    with closing(connected(service, received=4096)) as wire:
        wire.sendall(b"GET /assets/big.0a1b.js HTTP/1.1\r\nHost: a\r\n\r\n")
        got = wire.recv(1000)
        wire.sendall(b"garbage\r\n\r\n" * 100)
        while more := wire.recv(65_536):
            got += more
    assert got.partition(b"\r\n\r\n")[2] == SITE["assets/big.0a1b.js"]


def test_garbage_in_one_piece_with_a_request_is_refused_after_its_response(service: Service) -> None:
    assert statuses(received_bytes(service, GET + b"\r\n" + b"garbage\r\n\r\n")) == [200, 400]
    assert statuses(received_bytes(service, LAST + b"garbage\r\n\r\n")) == [200]


def test_a_client_that_closes_its_side_still_gets_the_whole_response(service: Service) -> None:
    """As with `nc -N`: it closes its side of the connection, and reads."""
    with closing(connected(service, received=4096)) as wire:
        wire.sendall(b"GET /assets/big.0a1b.js HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.shutdown(socket.SHUT_WR)
        got = b""
        while more := wire.recv(65_536):
            got += more
    assert got.partition(b"\r\n\r\n")[2] == SITE["assets/big.0a1b.js"]


# Clients that send slowly, or do not read.


@contextmanager
def slow_connections(service: Service, number: int) -> Iterator[None]:
    """Hold ``number`` connections whose heads never end and get one more byte now and then."""
    done, ready = Event(), Event()

    def dribble() -> None:
        with ExitStack() as stack:
            wires = [stack.enter_context(connected(service)) for _ in range(number)]
            for wire in wires:
                wire.sendall(b"GET /7d/ HTTP/1.1\r\nHost: a\r\nX-Slow: ")
            ready.set()
            while not done.wait(0.3):
                for wire in wires:
                    with suppress(OSError):
                        wire.sendall(b"z")

    thread = Thread(target=dribble)
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        done.set()
        thread.join()


def read_times_ms(service: Service, number: int = 60) -> list[float]:
    """Return how long readers wait for a page, half of them on a connection of their own."""
    times = []
    with closing(service.connect()) as kept:
        for n in range(number):
            begun = time.perf_counter()
            answer = ask(kept, "/7d/") if n % 2 else service.ask("/7d/")
            times.append(1000 * (time.perf_counter() - begun))
            assert answer.body == SITE["7d/index.html"]
    return times


@pytest.mark.slow
def test_200_slow_connections_do_not_delay_readers(service: Service) -> None:
    """A page takes less than 100 ms, or on a slow machine less than three times as long as before."""
    quiet = quantiles(read_times_ms(service), n=20)[-1]
    with slow_connections(service, 200):
        times = read_times_ms(service)
    assert median(times) < 100
    assert quantiles(times, n=20)[-1] < max(100, 3 * quiet)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "dribble"),
    [
        (b"GET /7d/ HTTP/1.1\r\nHost: a\r\nX: ", b"z"),
        (b"POST /7d/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"z"),
        (b"GET /7d/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nz\r\n"),
        (b"", b"\r\n"),
        (b"GET /7d/ HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n"),
        (b"GET /7d/ HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"\x81\x00"),
    ],
    ids=["head", "body", "chunks", "empty lines", "empty lines after a request", "websocket"],
)
def test_a_byte_now_and_then_does_not_extend_a_deadline(
    strict: Service, first: bytes, dribble: bytes
) -> None:
    """The deadline is one second here."""
    end = time.monotonic() + 8
    with closing(connected(strict)) as wire:
        wire.sendall(first)
        wire.settimeout(0.2)
        with suppress(ConnectionError):
            while time.monotonic() < end:
                wire.sendall(dribble)
                with suppress(TimeoutError):
                    while data := wire.recv(65_536):
                        del data
                    return
        assert time.monotonic() < end


def open_files(service: Service) -> int:
    """Return the number of open files of a server."""
    return len(os.listdir(f"/proc/{service.process.pid}/fd"))  # noqa: PTH208


@pytest.mark.slow
@pytest.mark.parametrize("asking", [b"", b"Connection: close\r\n"], ids=["keep-alive", "close"])
@pytest.mark.parametrize("target", [BIG, MIDDLE])
def test_a_client_that_never_reads_takes_little_memory_and_is_disconnected(
    strict: Service, target: str, asking: bytes
) -> None:
    """60 clients request a file and read nothing: no copies are made, no connection stays."""
    assert strict.ask(target).status == 200
    memory, opened = resident_mb(strict.process.pid), open_files(strict)
    taken = []

    def gone() -> bool:
        taken.append(resident_mb(strict.process.pid) - memory)
        return open_files(strict) <= opened + 1

    with ExitStack() as stack:
        for _ in range(60):
            wire = stack.enter_context(closing(connected(strict, received=4096)))
            wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target.encode(), asking))
        eventually(lambda: open_files(strict) >= opened + 50, 5)
        eventually(gone, 20)
    assert max(taken) < 20


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_the_whole_file(strict: Service) -> None:
    """In total it takes longer than the deadline, but never for one piece."""
    with closing(connected(strict, received=65_536)) as wire:
        wire.sendall(b"GET /assets/big.0a1b.js HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        begun, got = time.monotonic(), b""
        while more := wire.recv(60_000):
            got += more
            time.sleep(0.05)
    assert time.monotonic() - begun > 2
    assert got.partition(b"\r\n\r\n")[2] == SITE["assets/big.0a1b.js"]


@pytest.mark.slow
def test_thousands_of_pipelined_requests_take_little_memory(strict: Service) -> None:
    memory = resident_mb(strict.process.pid)
    with ExitStack() as stack:
        wires = []
        for _ in range(20):
            wire = stack.enter_context(closing(connected(strict, received=4096)))
            wires.append(wire)
            wire.sendall(b"GET /assets/big.0a1b.js HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.recv(100).startswith(b"HTTP/1.1 200")
            with suppress(OSError):
                wire.sendall(b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 9000)
        assert all(is_closed_within(wire) for wire in wires)
        assert resident_mb(strict.process.pid) - memory < 15


@pytest.mark.parametrize(("number", "whole"), [(16, True), (17, False)])
def test_sixteen_requests_may_be_pending(strict: Service, number: int, whole: bool) -> None:
    """Behind one that is being answered. One more closes the connection."""
    with closing(connected(strict, received=4096)) as wire:
        wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % BIG.encode())
        got = wire.recv(100)
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * (number - 1) + LAST)
        with suppress(ConnectionResetError):
            while more := wire.recv(65_536):
                got += more
    assert (len(statuses(got)) == number + 1) == whole
    assert whole or len(got) < len(SITE[BIG[1:]])


def test_a_few_pipelined_requests_are_all_answered(service: Service) -> None:
    got = received_bytes(service, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 15 + LAST)
    assert statuses(got) == [200] * 16


# Clients without the password.


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a server with a password, behind a proxy that sends the client's address."""
    folder = prepared(tmp_path_factory.mktemp("closed"))
    (folder / "reportgen.toml").write_text('[server]\nclient_header = "X-Client"\n')
    with serving(folder, "--no-schedule", REPORTGEN_PASSWORD=PASSWORD) as running:
        yield running


RIGHT = basic(PASSWORD)
CLIENTS = count(1)


@pytest.mark.parametrize(
    "lines",
    [
        ["Basic"], ["Basic "], ["Basic ===="], ["Basic !!!!"], ["Basic cmVhZGVy"], ["Basic \xff\xfe"],
        ["Basic " + base64.b64encode(b"reader:\xff\xfe").decode()], ["Basic " + "A" * 20_000],
        ["Basic " + base64.b64encode(b"reader:" + PASSWORD.encode() + b"\0").decode()],
        ["Bearer " + PASSWORD],
        ["Digest username=reader"], ["Negotiate AAAA"], [PASSWORD], [RIGHT[6:]], [RIGHT, RIGHT],
        [RIGHT, basic("wrong")], [basic("wrong"), RIGHT], [RIGHT + ", " + RIGHT], [basic(PASSWORD, "admin")],
        [basic(PASSWORD.upper())], [basic("")], ["Basic " + RIGHT], ["\tBasic"], ["BasicX " + RIGHT[6:]],
        [RIGHT.replace(" ", "\xa0")], [RIGHT + "\0"], [","], ["Basic " + RIGHT[6:].replace("=", "")[:-1]],
    ],
)  # fmt: skip
def test_other_credentials_give_no_access(protected: Service, lines: list[str]) -> None:
    """They reveal neither a page nor which pages exist, and cause no server error."""
    for target in (b"/7d/", b"/nothing", b"/status.json"):
        head = b"".join(b"Authorization: %b\r\n" % line.encode("latin-1") for line in lines)
        client = b"X-Client: 10.%d.%d.1\r\n" % divmod(next(CLIENTS), 250)
        got = received_bytes(protected, b"GET %b HTTP/1.1\r\nHost: a\r\n" % target + head + client + END)
        assert statuses(got) == [400 if b"\0" in head else 401]
        assert b"word1" not in got
        assert PASSWORD.encode() not in got


def test_trailers_are_not_headers(protected: Service) -> None:
    """Proxies check and overwrite headers, not trailers (RFC 9110, 6.5.1)."""
    for line in (b"Authorization: " + RIGHT.encode(), b"Host: b", b"X-Client: 10.9.9.9"):
        got = received_bytes(protected, GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n\r\n" % line)
        assert statuses(got) == [401]


@pytest.mark.parametrize(
    "named",
    ["", "x" * 5000, "1.2.3.4, 5.6.7.8", "::1%eth0", "fe80::1%" + "a" * 200, "::ffff:1.2.3.4", "0x7f.1",
    "\xff",
     "1.2.3.4\t", "256.1.1.1", "[::1]", "1.2.3.4:80", "%", "::/0"],
)  # fmt: skip
def test_any_value_of_the_client_header_is_accepted(protected: Service, named: str) -> None:
    """A value that is not an address counts as if it were missing."""
    line = b"X-Client: %b\r\nAuthorization: %b\r\n" % (named.encode("latin-1"), RIGHT.encode())
    got = received_bytes(protected, GET + line + b"Connection: close\r\n\r\n")
    assert statuses(got) == [200]
    assert len(client_address(named, "9.9.9.9")) < 50


def test_all_credentials_take_the_same_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 bytes in constant time, which shows neither the length nor the start of the password."""
    compared = []
    real = auth.hmac.compare_digest

    def noting(given: bytes, expected: bytes) -> bool:
        compared.append((len(given), len(expected)))
        return real(given, expected)

    monkeypatch.setattr(auth.hmac, "compare_digest", noting)
    throttle = LoginThrottle(PASSWORD, lambda: 0.0)
    given = [
        "",
        "Basic",
        "Basic !",
        "Bearer x",
        "Basic é",
        basic(""),
        basic("x" * 1000),
        RIGHT,
        basic(PASSWORD[:-1]),
    ]
    assert [throttle.accepts(each) for each in given] == [each == RIGHT for each in given]
    assert compared == [(32, 32)] * len(given)


# Random data.

SEEDS = [
    GET + b'Accept-Encoding: br, gzip;q=0.5\r\nIf-None-Match: "a", W/"b"\r\n\r\n',
    b"HEAD /assets/app.0a1b.js?x=%41 HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\n\r\n",
    b"POST /7d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /status.json HTTP/1.0\r\nAuthorization: Basic cmVhZGVyOng=\r\n\r\n",
    b"GET http://a/nothing HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\r\n",
]  # fmt: skip
PIECES = [
    b"\r\n", b"\n", b"\0", b" ", b"\t", b":", b"%", b"%2e", b"../", b"\\", b"\xff", b"\xc0\xae", b"//",
    b"?", b"#",
    b"Host: b\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.0", b"HTTP/2.0",
    b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"GET ", b"state/secret", b"*", b'"',
    b";q=", b",",
    b"0\r\n\r\n", b"Expect: 100-continue\r\n", b"Authorization: Basic =\r\n", b"x" * 2000,
]  # fmt: skip


def mutated(chance: random.Random) -> bytes:
    """Return a request with some random faults."""
    request = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(request) + 1)
        to = min(len(request), at + chance.randint(1, 12))
        match chance.randrange(5):
            case 0:
                request[at:to] = b""
            case 1:
                request[at:at] = chance.choice(PIECES)
            case 2:
                request[at:at] = request[at:to]
            case 3:
                request[at:to] = chance.randbytes(to - at)
            case _:
                request[at:to] = chance.choice(PIECES)
    return bytes(request)


def responses(service: Service, requests: list[bytes], quiet_s: float) -> list[bytes]:
    """Send each request over its own connection, all at once; return what each receives."""
    got = [b""] * len(requests)
    with ExitStack() as stack, DefaultSelector() as waiting:
        for number, request in enumerate(requests):
            wire = stack.enter_context(closing(connected(service)))
            with suppress(OSError):
                wire.sendall(request)
            waiting.register(wire, EVENT_READ, number)
        while waiting.get_map() and (ready := waiting.select(timeout=quiet_s)):
            for key, _ in ready:
                data = b""
                with suppress(OSError):
                    data = key.fileobj.recv(65_536)  # type: ignore[union-attr]
                got[key.data] += data
                if not data:
                    waiting.unregister(key.fileobj)
    return got


def fuzzed(service: Service, seed: int, rounds: int) -> tuple[set[int], list[tuple[bytes, bytes]]]:
    """Send ``rounds`` of a hundred requests; return all statuses, and the wrong responses."""
    chance = random.Random(seed)
    seen: set[int] = set()
    wrong = []
    for _ in range(rounds):
        requests = [b"".join(mutated(chance) for _ in range(chance.choice((1, 1, 1, 3)))) for _ in range(100)]
        for request, got in zip(requests, responses(service, [r + LAST for r in requests], 0.7), strict=True):
            seen |= set(statuses(got))
            if MARK.encode() in got or max(statuses(got), default=0) >= 500:
                wrong.append((request, got[:200]))
    return seen, wrong


@pytest.mark.slow
def test_random_faults_in_requests_cause_no_server_error_and_no_leak(service: Service) -> None:
    """1,800 connections with the same random faults each time: no 5xx, no secret, no memory left in use."""
    fuzzed(service, 1, 3)
    memory, opened = resident_mb(service.process.pid), open_files(service)
    seen, wrong = fuzzed(service, 2, 15)
    assert wrong == []
    assert seen >= {200, 400, 404}
    eventually(lambda: open_files(service) <= opened + 2, 20)
    assert resident_mb(service.process.pid) - memory < 5
