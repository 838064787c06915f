"""Hostile clients: whatever they send, only the release is served, and other readers are not affected."""

import base64
import random
import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from itertools import count, product
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from statistics import median, quantiles

import pytest

from reportgen.serve import auth
from reportgen.serve.auth import LoginThrottle, client_address
from tests.support.services import Service, ask, eventually, publish_files, serving, site_files

MARK = "marker-3f1c8e"
"""The content of files that must not be served."""

PASSWORD = "geheim7f3a"
BIG, MIDDLE, LARGE = b"/assets/big.0a1b.js", b"/assets/middle.0a1b.js", b"/assets/large.0a1b.js"
SITE = site_files("one") | {
    BIG[1:].decode(): random.Random(5).randbytes(3_000_000),
    MIDDLE[1:].decode(): random.Random(6).randbytes(30_000),
    LARGE[1:].decode(): random.Random(7).randbytes(903_000),
}
GET = b"GET /7d/ HTTP/1.1\r\nHost: a\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OLD = "20200101T000000Z-0000000000"

SHORT_DEADLINES = Path(__file__).parents[1] / "support" / "short_deadlines.py"


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
    """Give a server with deadlines of one second."""
    folder = prepared(tmp_path_factory.mktemp("strict"))
    with serving(folder, "--no-schedule", command=("-P", str(SHORT_DEADLINES), "1")) as running:
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


def read_to_end(wire: socket.socket) -> bytes:
    """Return all that is received until the connection closes."""
    got = b""
    with suppress(ConnectionResetError):
        while more := wire.recv(65_536):
            got += more
    return got


def received_bytes(service: Service, sent: bytes) -> bytes:
    """Send bytes over a new connection; return all that is received until it closes."""
    with closing(connected(service)) as wire:
        with suppress(ConnectionError):
            wire.sendall(sent)
        return read_to_end(wire)


def request(target: bytes, *lines: bytes) -> bytes:
    """Return the last request of a connection."""
    return b"\r\n".join([b"GET %b HTTP/1.1" % target, b"Host: a", *lines, b"Connection: close", b"", b""])


def statuses(got: bytes) -> list[int]:
    """Return the statuses of all responses."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", got)]


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
    wrong = []
    for target in TARGETS:
        got = received_bytes(service, request(target.encode()))
        is_missing = statuses(got) == [404] and got.partition(b"\r\n\r\n")[2] == SITE["404.html"]
        is_refused = got == b"HTTP/1.1 400 Bad Request\r\n\r\n" or (not got and len(target) > 15_000)
        if not (is_missing or is_refused) or MARK.encode() in got:
            wrong.append((target[:80], got[:80]))
    assert wrong == []


@pytest.mark.parametrize(
    ("target", "statuses_"),
    [
        (b"http://evil.test/7d/", [404]), (b"http://evil.test/../state/secret", [404]), (b"7d/", [404]),
        (b"//evil.test/7d/", [404]), (b"/\\evil.test/", [404]), (b"../secret", [404]), (b"*", [404]),
        (b"/7d#x", [404]), (b"/7d?\x0c", [400]), (b"/7d?%0d%0aSet-Cookie:%20a", [308]), (b"?", [404]),
        (b"/7d?x=" + b"y" * 10_000, [308]), (b"/7d?" + b"x=y&" * 101, [400]), (b"/%b" % (b"a" * 40_000), []),
    ],
)  # fmt: skip
def test_no_other_form_of_target_reaches_one_either(
    service: Service, target: bytes, statuses_: list[int]
) -> None:
    """No redirect leaves this site, and no header is added."""
    got = received_bytes(service, request(target))
    assert statuses(got) == statuses_
    head = got.partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie:" not in head.replace(b"%20", b" ").split(b"\r\n")
    assert MARK.encode() not in got
    location = re.search(rb"\r\nlocation: (.*?)\r\n", head)
    assert (location is not None) == (statuses_ == [308])
    assert location is None or location[1].startswith(b"/7d/")


# Requests that could be taken for two, or for none.

BODY = b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n"
REFUSED: dict[str, bytes] = {
    "CL and TE": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE and CL": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two CLs that differ": b"Content-Length: 0\r\nContent-Length: 6\r\n\r\nhello!",
    "two CLs alike": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of CLs": b"Content-Length: 5, 5\r\n\r\nhello",
    "CL with a sign": b"Content-Length: +0\r\n\r\n",
    "negative CL": b"Content-Length: -5\r\n\r\nhello",
    "CL in hexadecimal": b"Content-Length: 0x0\r\n\r\n",
    "CL in other digits": "Content-Length: \u00b2\r\n\r\n".encode("latin-1"),
    "endless CL": b"Content-Length: 99999999999999999999999999\r\n\r\n",
    "CL beyond 32 bits": b"Content-Length: 4294967296\r\n\r\n",
    "unknown TE": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "TE not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "two TEs": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "TE with space before colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "TE with a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded line": b"X: a\r\n b\r\n\r\n",
    "folded TE": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "folded first line": b" X: a\r\n\r\n",
    "bare CR": b"X: a\rY: b\r\n\r\n",
    "NUL": b"X: a\0b\r\n\r\n",
    "no colon": b"X\r\n\r\n",
    "no name": b": x\r\n\r\n",
    "odd name": b"X[]: x\r\n\r\n",
    "body": b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "bad chunk size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n%b\r\n0\r\n\r\n" % BODY,
    "chunk size with a sign": b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n",
    "chunk extension": b"Transfer-Encoding: chunked\r\n\r\n0;a=b\r\n\r\n",
    "endless chunk": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    "trailer": b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n\r\n",
    "expectation": b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED)
def test_nothing_after_an_ambiguous_head_is_taken_for_a_request(service: Service, head: bytes) -> None:
    """The request is refused, and the connection ends: nothing is smuggled past a proxy."""
    got = received_bytes(service, GET + head + LAST)
    assert [each for each in statuses(got) if each >= 200] == [400]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"Content-Length: 0\r\n\r\n", [200, 200]),
        (b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n", [200, 200]),
        (b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", [200, 200]),
        (b"Connection: close\r\n\r\n", [200]), (b"\r\ngarbage\r\n\r\n", [200, 400]),
    ],
)  # fmt: skip
def test_what_follows_an_unambiguous_head_is_the_next_request(
    service: Service, head: bytes, expected: list[int]
) -> None:
    assert statuses(received_bytes(service, GET + head + LAST)) == expected


@pytest.mark.parametrize("target", [b"/7d/", b"/nothing", b"/7d", b"/healthz", BIG])
def test_a_response_to_head_has_no_body(service: Service, target: bytes) -> None:
    """A body would be taken for the start of the next response. Python's client would not notice."""
    got = received_bytes(service, b"HEAD %b HTTP/1.1\r\nHost: a\r\n\r\n" % target * 2 + LAST)
    assert re.fullmatch(rb"(HTTP/1\.1 \d+ (?:[^\r\n]+\r\n)+\r\n){3}ok\n", got)


@pytest.mark.parametrize(
    ("line", "host", "expected"),
    [
        (b"GET /7d/ HTTP/1.1", b"", 400), (b"GET /7d/ HTTP/1.1", b"Host: a\r\nHost: b\r\n", 400),
        (b"GET /7d/ HTTP/1.1", b"Host: a\r\nhOST: a\r\n", 400), (b"GET /7d/ HTTP/1.1", b"Host:\r\n", 200),
        (b"GET /7d/ HTTP/1.1", b"Host: evil.test\r\n", 200), (b"GET /7d/ HTTP/1.1", b"Host: a, b\r\n", 400),
        (b"GET /7d/ HTTP/1.1", b"Host: http://[::/../\r\n", 400),
        (b"GET /7d HTTP/1.1", b"Host: c.test\r\n", 308),
        (b"GET /7d/ HTTP/1.0", b"", 200), (b"GET /7d/ HTTP/1.0", b"Host: a\r\nHost: b\r\n", 400),
        (b"GET http://b.test/7d/ HTTP/1.1", b"", 400), (b"GET /7d/", b"", 400),
        (b"GET /7d/ HTTP/0.9", b"", 400),
        (b"GET /7d/ HTTP/2.0", b"Host: a\r\n", 400), (b"GET /7d/ HTTP/1.1x", b"Host: a\r\n", 400),
        (b"GET /7d/ http/1.1", b"Host: a\r\n", 400), (b"GET /7d/ ICY/1.1", b"Host: a\r\n", 400),
        (b"GET  /7d/ HTTP/1.1", b"Host: a\r\n", 400), (b"GET\t/7d/ HTTP/1.1", b"Host: a\r\n", 400),
        (b"G ET /7d/ HTTP/1.1", b"Host: a\r\n", 400), (b"GET\0 /7d/ HTTP/1.1", b"Host: a\r\n", 400),
        (b"PRI * HTTP/2.0", b"\r\nSM\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", 400),
        (b"SSH-2.0-OpenSSH_9.6", b"", 400), (b"\x00" * 50, b"", 400), (b"\r\n", b"", 400),
    ],
)  # fmt: skip
def test_a_request_has_one_host_and_a_supported_version(
    service: Service, line: bytes, host: bytes, expected: int
) -> None:
    """The host is used for nothing else: no response contains it. What is refused is logged."""
    before = len(service.events("request_refused"))
    got = received_bytes(service, line + b"\r\n" + host + b"Connection: close\r\n\r\n")
    assert statuses(got) == [expected]
    assert b".test" not in got
    if expected == 400:
        eventually(lambda: len(service.events("request_refused")) > before, 5)


@pytest.mark.parametrize(
    "method", ["OPTIONS", "TRACE", "POST", "PUT", "PROPFIND", "CONNECT", "get", "A" * 9000]
)
def test_only_get_and_head_are_allowed(service: Service, method: str) -> None:
    for target in ("/7d/", "/nothing", "/healthz", "/status.json"):
        got = received_bytes(
            service, f"{method} {target} HTTP/1.1\r\nHost: a\r\nX-Traced: 1\r\n\r\n".encode() + LAST
        )
        assert statuses(got) == [405, 200]
        assert b"\r\nAllow: GET, HEAD\r\n" in got
        assert b"X-Traced" not in got


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Range: bytes=0-1", 200), ("Range: bytes=" + ",".join(f"{n}-{n}" for n in range(1500)), 200),
        ('If-None-Match: "unterminated', 200), ("If-None-Match: " + ",".join(['"x"'] * 3000), 200),
        ("If-None-Match:  * ", 304), ("If-None-Match: *, *", 200), ('If-None-Match: "\xff"', 200),
        ("If-None-Match: " + ",".join([*(f'"{n}"' for n in range(2000)), "{tag}"]), 304),
        ("If-None-Match: {tag}{tag}", 200), ("If-None-Match: w/{tag}", 200),
        ("Accept-Encoding: br;q=" + "9" * 5000, 200), ("Accept-Encoding: " + "gzip," * 3000, 200),
        ("Accept-Encoding: ;;;=,=;q", 200), ("Accept-Encoding: br;q=1e999, gzip;q=-inf", 200),
        ("If-Modified-Since: yesterday", 200), ("If-Match: *", 200), ("Accept: nothing/at-all", 200),
        ("Cookie: " + "a=b;" * 3000, 200), ("X-Original-URL: /../state/secret", 200),
        ('Forwarded: for="_x";host=evil.test', 200), ("Content-Type: multipart/form-data; boundary=x", 400),
    ],
)  # fmt: skip
def test_unusual_headers_change_nothing(service: Service, header: str, status: int) -> None:
    """A range gets the whole file; a condition in any form is met or not."""
    line = header.replace("{tag}", service.ask("/7d/").headers["etag"]).encode("latin-1")
    got = received_bytes(service, request(b"/7d/", line))
    assert (statuses(got), MARK.encode() in got) == ([status], False)
    if status == 200 and not header.startswith("Accept-Encoding"):
        assert got.partition(b"\r\n\r\n")[2] == SITE["7d/index.html"]


def test_a_head_has_a_hundred_headers_and_16_kb_at_most(service: Service) -> None:
    lines = [b"x%d: y" % n for n in range(100)]
    assert statuses(received_bytes(service, request(b"/7d/", *lines[:98]))) == [200]
    assert statuses(received_bytes(service, request(b"/7d/", b"x: " + b"y" * 16_000))) == [200]
    for sent in (request(b"/7d/", *lines[:99]), request(b"/7d/", b"x: " + b"y" * 17_000), b"y" * 17_000):
        assert received_bytes(service, sent) == b""


@pytest.mark.slow
def test_heads_with_many_or_long_names_take_little_memory(service: Service) -> None:
    """In memory each header takes many times its bytes: a few clients could take all memory."""
    lines = [b"x%d: y" % n for n in range(1500)]
    memory = service.resident_mb
    for n in range(1000):
        received_bytes(
            service, request(BIG, *lines) if n % 2 else request(b"/7d/", b"n%d" % n * 3000 + b": a")
        )
    assert service.resident_mb - memory < 40  # Tornado keeps a thousand names


@pytest.mark.parametrize("leaves", [False, True])
def test_a_client_that_reads_slowly_or_leaves_causes_no_error(strict: Service, *, leaves: bool) -> None:
    """Wherever the responses pause and continue, and if the client has gone by then."""
    for seed in range(12):
        chance = random.Random(seed)
        with closing(connected(strict, received=4096)) as wire, suppress(ConnectionResetError):
            wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % MIDDLE * 8 + LAST)
            while (more := wire.recv(chance.choice((1000, 4000)))) and not (
                leaves and chance.random() < 0.02
            ):
                del more


def test_garbage_after_a_request_does_not_damage_its_response(service: Service) -> None:
    """Nothing is written into a response that is being sent."""
    with closing(connected(service, received=4096)) as wire:
        wire.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % BIG)
        got = wire.recv(1000)
        wire.sendall(b"garbage\r\n\r\n" * 100)
        got += read_to_end(wire)
    assert got.partition(b"\r\n\r\n")[2].startswith(SITE[BIG[1:].decode()])


# Clients that send slowly, or do not read.


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
    with ExitStack() as stack:
        for number in range(200):
            wire = stack.enter_context(closing(connected(service)))
            wire.sendall(GET + b"X-Slow: " if number % 2 else b"")
        times = read_times_ms(service)
        assert service.open_files > 200
    assert median(times) < 100
    assert quantiles(times, n=20)[-1] < max(100, 3 * quiet)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "dribble"),
    [
        (b"", b""), (b"GET / HT", b""), (GET, b""), (GET + b"X: ", b"z"), (b"\r\n", b"\n"),
        (GET + b"\r\n" + GET + b"X: ", b"z"), (GET + b"\r\n", b""),
        (b"POST" + GET[3:] + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b"\x81\x00"),
    ],
    ids=["silent", "half a line", "half a head", "head", "empty lines", "second head", "idle", "chunks",
         "websocket"],
)  # fmt: skip
def test_a_head_that_does_not_arrive_in_time_closes_the_connection(
    strict: Service, first: bytes, dribble: bytes
) -> None:
    """The deadline is one second here. A byte now and then does not extend it."""
    begun = time.monotonic()
    with closing(connected(strict)) as wire:
        wire.sendall(first)
        wire.settimeout(0.2)
        with suppress(ConnectionError):
            while time.monotonic() < begun + 8:
                wire.sendall(dribble)
                with suppress(TimeoutError):
                    while wire.recv(65_536):
                        pass
                    break
    assert time.monotonic() < begun + 5


@pytest.mark.slow
def test_an_idle_connection_is_kept_within_its_deadline(strict: Service) -> None:
    with closing(connected(strict)) as wire:
        for _ in range(4):
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.recv(65_536).endswith(b"ok\n")
            time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % BIG, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % MIDDLE * 9,
        request(BIG), b"GET %b?%b HTTP/1.1\r\nHost: a\r\n\r\n" % (BIG, b"a=b&" * 99),
        b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % BIG + b"GET / HTTP/1.1\r\nHost:\r\n\r\n" * 9000,
    ],
    ids=["big", "middle", "close", "query", "pipelined"],
)  # fmt: skip
def test_clients_that_never_read_take_little_memory_and_are_disconnected(
    strict: Service, sent: bytes
) -> None:
    """No copies are made, no connection stays, and what they send further is dropped, not answered."""
    assert most_memory_mb(strict, sent, within_s=20) < 25
    begun_s = strict.processor_s
    time.sleep(1)
    assert strict.processor_s - begun_s < 0.1


@pytest.mark.slow
def test_200_clients_that_never_read_take_15_mb_and_are_gone_after_30_s(service: Service) -> None:
    """The default deadline; 903 KB is the size of a page with thousands of paths."""
    begun = time.monotonic()
    assert most_memory_mb(service, b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % LARGE, within_s=40) < 15
    assert time.monotonic() - begun > 29


def most_memory_mb(service: Service, sent: bytes, within_s: float) -> float:
    """Return the memory that 200 clients take who send requests and read nothing, until all are gone."""
    assert service.ask(BIG.decode()).status == 200
    memory, opened, taken = service.resident_mb, service.open_files, []

    def gone() -> bool:
        taken.append(service.resident_mb - memory)
        return service.open_files <= opened + 1

    with ExitStack() as stack:
        for _ in range(200):
            wire = stack.enter_context(closing(connected(service, received=4096)))
            wire.setblocking(False)
            with suppress(BlockingIOError):
                wire.sendall(sent)
        eventually(lambda: service.open_files >= opened + 100, 5)
        eventually(gone, within_s)
    return max(taken)


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_the_whole_file(strict: Service) -> None:
    """In total it takes longer than the deadline, but never for one piece."""
    with closing(connected(strict, received=65_536)) as wire:
        wire.sendall(request(BIG))
        begun, got = time.monotonic(), b""
        while more := wire.recv(60_000):
            got += more
            time.sleep(0.05)
    assert time.monotonic() - begun > 2
    assert got.partition(b"\r\n\r\n")[2] == SITE[BIG[1:].decode()]


@pytest.mark.slow
def test_more_connections_than_file_descriptors_are_closed_without_a_line_of_log(tmp_path: Path) -> None:
    """Readers get in again, a new release is read and served, and the server stops in time."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    publish_files(tmp_path / "output", SITE, ago_s=5)
    command = ("-P", str(SHORT_DEADLINES), "3")
    with serving(tmp_path, "--no-schedule", command=command, first=limit) as service, ExitStack() as stack:
        before = len(service.lines)
        for _ in range(1000):
            stack.enter_context(closing(connected(service)))
        publish_files(tmp_path / "output", site_files("two"))
        service.await_event("release_served", 2)

        def served() -> bool:
            with suppress(OSError):
                return service.ask("/7d/").body == site_files("two")["7d/index.html"]
            return False

        eventually(served, 10)
        assert service.stop() == 0
    assert len(service.lines) == before + 2  # the release, and the stop


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
        ["Basic " + base64.b64encode(b"reader:\xff\xfe").decode()], ["Basic " + "A" * 15_000],
        ["Basic " + base64.b64encode(b"reader:" + PASSWORD.encode() + b"\0").decode()],
        ["Bearer " + PASSWORD], ["Digest username=reader"], ["Negotiate AAAA"], [PASSWORD],
        [RIGHT[6:]], [RIGHT, RIGHT],
        [RIGHT, basic("wrong")], [basic("wrong"), RIGHT], [RIGHT + ", " + RIGHT], [basic(PASSWORD, "admin")],
        [basic(PASSWORD.upper())], [basic("")], ["Basic " + RIGHT], ["\tBasic"], ["BasicX " + RIGHT[6:]],
        [RIGHT.replace(" ", "\xa0")], [RIGHT + "\0"], [","], ["Basic " + RIGHT[6:].replace("=", "")[:-1]],
    ],
)  # fmt: skip
def test_other_credentials_give_no_access(protected: Service, lines: list[str]) -> None:
    """They reveal neither a page nor which pages exist, and cause no server error."""
    for target in (b"/7d/", b"/nothing", b"/status.json"):
        given = [b"Authorization: %b" % line.encode("latin-1") for line in lines]
        got = received_bytes(
            protected, request(target, *given, b"X-Client: 10.%d.%d.1" % divmod(next(CLIENTS), 250))
        )
        assert statuses(got) == [400 if "\0" in lines[0] else 401]
        assert b"word1" not in got
        assert PASSWORD.encode() not in got


def test_trailers_are_not_headers(protected: Service) -> None:
    """Proxies check and overwrite headers, not trailers (RFC 9110, 6.5.1)."""
    for line in (b"Authorization: " + RIGHT.encode(), b"Host: b", b"X-Client: 10.9.9.9"):
        got = received_bytes(protected, GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n%b\r\n\r\n" % line)
        assert statuses(got) == [400]


@pytest.mark.parametrize(
    "named",
    ["", "x" * 5000, "1.2.3.4, 5.6.7.8", "::1%eth0", "fe80::1%" + "a" * 200, "::ffff:1.2.3.4", "0x7f.1",
     "\xff", "1.2.3.4\t", "256.1.1.1", "[::1]", "1.2.3.4:80", "%", "::/0"],
)  # fmt: skip
def test_any_value_of_the_client_header_is_accepted(protected: Service, named: str) -> None:
    """A value that is not an address counts as if it were missing."""
    client, known = f"X-Client: {named}".encode("latin-1"), f"Authorization: {RIGHT}".encode()
    assert statuses(received_bytes(protected, request(b"/7d/", client, known))) == [200]
    assert len(client_address(named, "9.9.9.9")) < 50


def test_all_credentials_take_the_same_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 32 bytes in constant time, which shows neither the length nor the start of the password."""
    compared, real = [], auth.hmac.compare_digest
    noting = lambda *both: compared.append([len(each) for each in both]) or real(*both)  # noqa: E731
    monkeypatch.setattr(auth.hmac, "compare_digest", noting)
    throttle = LoginThrottle(PASSWORD, lambda: 0.0)
    given = ["", "Basic", "Basic !", "Bearer x", "Basic é", basic(""), basic("x" * 1000), RIGHT]
    assert [throttle.accepts(each) for each in given] == [each == RIGHT for each in given]
    assert compared == [[32, 32]] * len(given)


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
        piece = chance.choice((b"", chance.choice(PIECES), request[at:to] * 2, chance.randbytes(to - at)))
        request[at : chance.choice((at, to))] = piece
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


@pytest.mark.slow
def test_random_faults_in_requests_cause_no_server_error_and_no_leak(service: Service) -> None:
    """1,800 connections with the same random faults each time: no 5xx, no secret, no memory left in use."""
    chance, seen, memory, opened = random.Random(1), set(), 0.0, 0
    for number in range(18):
        if number == 3:
            memory, opened = service.resident_mb, service.open_files
        requests = [b"".join(mutated(chance) for _ in range(chance.choice((1, 1, 1, 3)))) for _ in range(100)]
        for sent, got in zip(
            requests, responses(service, [each + LAST for each in requests], 0.7), strict=True
        ):
            seen |= set(statuses(got))
            assert (MARK.encode() in got, max(statuses(got), default=0) < 500) == (False, True), sent
    assert seen >= {200, 400, 404}
    eventually(lambda: service.open_files <= opened + 2, 20)
    assert service.resident_mb - memory < 5
