"""What browsers get from `reportgen serve`, over real sockets."""

import asyncio
import gzip
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from statistics import median
from urllib.parse import urljoin

import brotli
import pytest

from reportgen.core.errors import ConfigError
from reportgen.serve.release_cache import Resource, Variant, best_variant
from reportgen.serve.server import WebServer, check_exposure, listen
from tests.support.services import POLICY, Service, ask, publish_files, serving, site_files

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex",
}
SITE = site_files("one")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a server of a small release, which builds nothing."""
    folder = tmp_path_factory.mktemp("site")
    publish_files(folder / "output", SITE)
    (folder / "output" / "state" / "secret").write_text("secret")
    with serving(folder, "--no-schedule") as running:
        yield running


@pytest.mark.parametrize(
    ("address", "name", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/7d/", "7d/index.html", "text/html; charset=utf-8"),
        ("/7d/?utm_source=x", "7d/index.html", "text/html; charset=utf-8"),
        ("/%37d/report.json", "7d/report.json", "application/json"),
        ("/7d/daily.csv", "7d/daily.csv", "text/csv; charset=utf-8"),
        ("/7d/visits.svg", "7d/visits.svg", "image/svg+xml"),
        ("/assets/app.0a1b.js", "assets/app.0a1b.js", "text/javascript; charset=utf-8"),
        ("/robots.txt", "robots.txt", "text/plain; charset=utf-8"),
        ("/7d/report.json.gz", "7d/report.json.gz", "application/octet-stream"),
    ],
)
def test_each_file_of_the_release_has_a_path(service: Service, address: str, name: str, kind: str) -> None:
    answer = service.ask(address)
    assert (answer.status, answer.body) == (200, SITE[name])
    assert answer.headers["content-type"] == kind
    assert answer.headers["content-length"] == str(len(SITE[name]))
    assert answer.headers.items() >= SECURITY.items()
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    "address",
    [
        "/nothing", "/7d/nothing", "/assets/", "/assets", "/7d//", "//", "//evil.test/", "/state/secret",
        "/../state/secret", "/7d/../../../state/secret", "/..%2f..%2fstate/secret", "/%2e%2e/state/secret",
        "/current/index.html", "/releases/", "/7d/index.html/", "/%00", "/%ff%fe", "/7d%5cindex.html",
        "/etc/passwd", "/..\\state",
    ],
)  # fmt: skip
def test_only_the_release_is_served(service: Service, address: str) -> None:
    """Neither a list of a directory nor a file outside: other paths get the release's 404 page."""
    answer = service.ask(address)
    assert (answer.status, answer.body) == (404, SITE["404.html"])
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("address", "cache", "policy"),
    [
        ("/7d/", "private, no-cache", POLICY),
        ("/nothing", "private, no-cache", POLICY),
        ("/7d/report.json", "private, no-cache", "default-src 'none'; base-uri 'none'; form-action 'none'"),
        ("/7d/visits.svg", "private, no-cache", "default-src 'none'; base-uri 'none'; form-action 'none'"),
        (
            "/assets/app.0a1b.js",
            "private, max-age=31536000, immutable",
            "default-src 'none'; base-uri 'none'; form-action 'none'",
        ),
        ("/status.json", "no-store", "default-src 'none'; base-uri 'none'; form-action 'none'"),
    ],
)
def test_cache_control_and_security_headers_of_each_file(
    service: Service, address: str, cache: str, policy: str
) -> None:
    answer = service.ask(address)
    assert answer.headers["cache-control"] == cache
    assert answer.headers["content-security-policy"] == f"{policy}; frame-ancestors 'none'"


def test_a_path_without_its_final_slash_is_redirected(service: Service) -> None:
    """Otherwise the relative links of its page would be wrong."""
    answer = service.ask("/7d")
    assert (answer.status, answer.body) == (308, b"")
    at = urljoin("http://host/7d", answer.headers["location"])
    assert at == "http://host/7d/"
    assert urljoin(at, "../30d/") == "http://host/30d/"


@pytest.mark.parametrize("address", ["/7d/", "/nothing", "/7d", "/healthz", "/status.json"])
@pytest.mark.parametrize("accepted", ["identity", "br"])
def test_head_has_the_headers_of_get(service: Service, address: str, accepted: str) -> None:
    head, get = (service.ask(address, method, accept_encoding=accepted) for method in ("HEAD", "GET"))
    assert (head.status, head.body) == (get.status, b"")
    assert head.headers | {"date": ""} == get.headers | {"date": ""}
    assert int(get.headers["content-length"]) == len(get.body)


def test_compressed_forms_are_those_of_the_release_and_have_the_right_headers(service: Service) -> None:
    """Each form has its own entity tag, so that caches do not mix them up."""
    tags = set()
    for accepted, coding, unpack in (
        ("br, gzip", "br", brotli.decompress),
        ("gzip", "gzip", gzip.decompress),
        ("identity", None, bytes),
    ):
        answer = service.ask("/7d/", accept_encoding=accepted)
        assert answer.headers.get("content-encoding") == coding
        assert answer.headers["vary"] == "accept-encoding"
        assert unpack(answer.body) == SITE["7d/index.html"]
        tags.add(answer.headers["etag"])
    assert len(tags) == 3


def test_a_file_without_compressed_forms_has_no_vary_header(service: Service) -> None:
    answer = service.ask("/7d/daily.csv", accept_encoding="br")
    assert (answer.body, "vary" in answer.headers) == (SITE["7d/daily.csv"], False)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", "identity"),
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP", "gzip"),
        ("deflate", "identity"),
        ("*", "br"),
        ("br;q=0, *", "gzip"),
        ("br;q=0,gzip;q=0", "identity"),
        ("br;q=0.1", "br"),
        ("br;q=0.5, gzip;q=0.8", "br"),
        ("br;q=0.000, gzip;q=0.001", "gzip"),
        ("identity;q=0, gzip", "gzip"),
        ("identity;q=0", "identity"),
        ("*;q=0", "identity"),
        ("br ; q=1.0 , gzip", "br"),
        (",,", "identity"),
    ],
)
def test_the_best_form_that_the_reader_accepts_is_sent(accepted: str, coding: str) -> None:
    """Brotli before gzip before plain. A weight of 0 refuses one; if all are refused, plain is sent."""
    forms = {name: Variant(name.encode(), {}) for name in ("identity", "br", "gzip")}
    assert best_variant(Resource(forms), accepted).body == coding.encode()


@pytest.mark.parametrize("given", ['"{}"', 'W/"{}"', '"other", "{}"', 'W/"a",W/"{}" , "b"', "*"])
def test_a_reader_with_the_current_version_gets_304(service: Service, given: str) -> None:
    """Weak comparison, any of several tags; the response has the headers that a cache needs."""
    full = service.ask("/7d/", accept_encoding="br")
    condition = given.format(full.headers["etag"].strip('"'))
    answer = service.ask("/7d/", accept_encoding="br", if_none_match=condition)
    assert (answer.status, answer.body) == (304, b"")
    for name in ("etag", "cache-control", "vary", "content-security-policy"):
        assert answer.headers[name] == full.headers[name]
    assert "content-length" not in answer.headers


def test_a_reader_with_another_version_gets_the_page(service: Service) -> None:
    """Also with the tag of another form. A missing page is 404 whatever the condition."""
    packed = service.ask("/7d/", accept_encoding="br").headers["etag"]
    for condition in ('"other"', "", '""', 'W/"x", "y"', "**", packed):
        assert service.ask("/7d/", accept_encoding="gzip", if_none_match=condition).status == 200
    assert service.ask("/nothing", if_none_match=service.ask("/nothing").headers["etag"]).status == 404


def test_each_response_has_a_date(service: Service) -> None:
    """Caches compute the age of a response from it (RFC 9110, 6.6.1)."""
    for address, tag in (("/7d/", ""), ("/7d/", "*"), ("/nothing", ""), ("/healthz", "")):
        date = parsedate_to_datetime(service.ask(address, if_none_match=tag).headers["date"])
        assert abs((datetime.now(UTC) - date).total_seconds()) < 3


def test_one_connection_serves_many_requests(service: Service) -> None:
    connection = service.connect()
    connection.connect()
    held = connection.sock
    answers = [ask(connection, address).status for address in ("/", "/7d", "/nothing", "/healthz", "/7d/")]
    assert (answers, connection.sock is held) == ([200, 308, 404, 200, 200], True)
    connection.close()


def test_a_body_does_not_wait_for_the_acknowledgement_of_its_headers(service: Service) -> None:
    """Headers and body are sent separately: the kernel must not delay the body (40 ms, Nagle)."""
    seconds = []
    with closing(service.connect()) as connection:
        for _ in range(21):
            start = time.monotonic()
            assert ask(connection, "/7d/").status == 200
            seconds.append(time.monotonic() - start)
    assert median(seconds) < 0.025


def test_the_kernel_buffers_little_for_a_client_that_does_not_read() -> None:
    """Otherwise the deadline of a piece would hold for megabytes, which readers at 20 KB a second miss."""
    with listen("127.0.0.1", 0) as listening, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(listening.getsockname())
        wire, _ = listening.accept()
        sent = 0
        with wire, suppress(BlockingIOError):
            wire.setblocking(False)
            while sent < 1_000_000:
                sent += wire.send(bytes(10_000))
    assert 30_000 < sent < 80_000


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 15 + b"GET /7d HTTP/1.0\r\n\r\n")
        got = b"".join(iter(lambda: wire.recv(65536), b""))
    assert re.findall(rb"HTTP/1\.1 (\d+) ", got) == [b"200"] * 15 + [b"308"]


def test_an_exception_of_the_handler_gives_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback; the connection stays open."""

    async def exchange() -> bytes:
        server = WebServer(lambda _: {}[""])
        with listen("127.0.0.1", 0) as listening:
            server.add_socket(listening)
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            await server.drain()
        return got

    with ThreadPoolExecutor(1) as thread:  # this thread may have the event loop of a browser test
        got = thread.submit(lambda: asyncio.run(exchange())).result()
    assert re.findall(rb"HTTP/1\.1 (\d+) ", got) == [b"500", b"500"]
    assert [(record.levelname, bool(record.exc_info)) for record in caplog.records] == [("ERROR", True)] * 2


def test_builds_have_file_descriptors_of_their_own() -> None:
    """Connections take those that are left."""
    one, many = (WebServer(lambda _: {}[""], processes=count)._free_connections for count in (1, 31))
    assert one - many == 4 * 30


def test_health_checks(service: Service) -> None:
    """The process is alive. The report is not fresh, because nothing was ever built here."""
    live, fresh = service.ask("/healthz"), service.ask("/healthz/fresh")
    assert (live.status, live.body) == (200, b"ok\n")
    assert (fresh.status, fresh.body) == (503, b"stale\n")
    document = json.loads(service.ask("/status.json").body)
    assert (document["stale"], document["last_success"]) == (True, None)


@pytest.mark.parametrize(
    ("host", "allowed"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False)]
)
def test_it_listens_beyond_this_machine_only_with_a_password_or_a_setting(host: str, allowed: bool) -> None:
    check_exposure(host, "password", public=False)
    check_exposure(host, None, public=True)
    if allowed:
        check_exposure(host, None, public=False)
    else:
        with pytest.raises(ConfigError, match=r"REPORTGEN_PASSWORD.*server\.public = true"):
            check_exposure(host, None, public=False)


def test_an_unknown_host_name_cannot_be_listened_on() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on nowhere\.invalid:80: "):
        listen("nowhere.invalid", 80)
