"""A real S3 server for tests (SeaweedFS), and a proxy that records, changes and interrupts requests to it."""

import ctypes
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import unquote

import pytest

from tests.support.planted import SECRET

KEY, SECRET_KEY = "AKIATEST", f"{SECRET}-of-the-bucket"
ACTIONS = ["Admin", "Read", "Write", "List", "Tagging"]
NAME, OPEN = "reports", "open"
"""Two buckets. The second accepts requests without a signature, so a proxy can change them."""


def free_port() -> int:
    """Return a free port below the range from which the system chooses ports.

    Parallel test processes search in ranges of their own: the server takes a port some time after the search.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    for port in range(20_000 + 3000 * worker + os.getpid() % 2000, 32_000):
        with socket.socket() as probe, socket.socket() as shifted, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            shifted.bind(("127.0.0.1", port + 10_000))  # SeaweedFS takes this one for gRPC
            return port
    raise RuntimeError("no free port")


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """Run SeaweedFS with its data in ``folder`` until the block ends; yield the address of its S3 gateway."""
    identity = {
        "name": "test",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET_KEY}],
        "actions": ACTIONS,
    }
    anonymous = {"name": "anonymous", "actions": [f"{action}:{OPEN}" for action in ("Read", "Write", "List")]}
    (folder / "identities.toml").write_text(json.dumps({"identities": [identity, anonymous]}))
    ports: dict[str, int] = {}
    with ExitStack() as stack:  # each port is held until all are found
        for name in ("master.port", "volume.port", "filer.port", "s3.port"):
            ports[name] = free_port()
            stack.enter_context(socket.socket()).bind(("127.0.0.1", ports[name]))
    command = [
        str(Path(sys.executable).parent / "weed"), "-logtostderr=true", "server", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-dir={folder}", "-s3", f"-s3.config={folder}/identities.toml",
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.volumeSizeLimitMB=64",
        "-volume.max=20", "-filer.saveToFilerLimit=4000000",
        f"-filer.localSocket={folder}/f.sock", f"-s3.localSocket={folder}/s.sock",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=_end_with_parent) as server,  # noqa: PLW1509
    ):
        try:
            _await_answer(ports["s3.port"], server, folder / "log")
            yield f"http://127.0.0.1:{ports['s3.port']}"
        finally:
            server.kill()
            for port in ports.values():  # SeaweedFS leaves them
                for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + 10_000}.sock"):
                    left.unlink(missing_ok=True)


def _end_with_parent() -> None:
    """Let the kernel kill the server when its parent dies: prctl(PR_SET_PDEATHSIG, SIGKILL)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _await_answer(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Write an object to each bucket, which creates it, until that succeeds."""
    import obstore
    from obstore.store import S3Store

    end = time.monotonic() + 60
    for name in (NAME, OPEN):
        store = S3Store(
            name, endpoint=f"http://127.0.0.1:{port}", access_key_id=KEY, secret_access_key=SECRET_KEY,
            client_options={"allow_http": True}, retry_config={"max_retries": 0},
        )  # fmt: skip
        made = False
        while not made:
            with suppress(obstore.exceptions.BaseError):
                made = bool(obstore.put(store, "made", b""))
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)


@dataclass(frozen=True)
class Request:
    """A request that the proxy received."""

    method: str
    path: str
    headers: Mapping[str, str]
    size_bytes: int

    @property
    def key(self) -> str:
        """The object's key in the bucket."""
        return unquote(self.path.partition("?")[0]).lstrip("/").partition("/")[2]


@dataclass
class Proxy:
    """Passes on requests to the store, with faults that a test asks for.

    ``intercept`` is called before a request is passed on, with the number of requests so far and the request.
    If it returns a status, that is the response; if it returns 0, the connection ends without a response.
    ``lose`` says whether the response to a request is lost. ``alter`` returns the body to pass on. ``drop``
    has the names of headers that are not passed on. With ``opaque``, the tags of objects are not checksums.
    With ``unpack``, responses are sent without gzip; ``unpacked`` has the keys of those.
    """

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    intercept: Callable[[int, Request], int | None] = lambda *_: None
    lose: Callable[[Request], bool] = lambda _: False
    alter: Callable[[Request, bytes], bytes] = lambda _, body: body
    drop: tuple[str, ...] = ()
    opaque: bool = False
    unpack: bool = False
    unpacked: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)

    def keys_of(self, method: str) -> list[str]:
        """Return the keys of the requests with this method since the last reset."""
        return [request.key for request in self.requests if request.method == method]

    def reset(self) -> None:
        """Forget the requests, and pass on all others unchanged."""
        with self.lock:
            self.requests.clear()
        self.intercept, self.lose, self.drop = (lambda *_: None), (lambda _: False), ()
        self.opaque = self.unpack = False
        self.alter = lambda _, body: body


TAG = re.compile(rb"[0-9a-f]{32}(?=&#34;|&quot;|\")")


def _turned(text: bytes) -> bytes:
    return TAG.sub(lambda found: found[0][::-1], text)


class Handler(BaseHTTPRequestHandler):
    """Passes on the requests of one connection as its ``proxy`` says."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy
    store: tuple[str, int]

    def handle(self) -> None:
        """Serve a client until it closes the connection."""
        with suppress(OSError):
            super().handle()

    def log_message(self, *_: object) -> None:
        """Write no log."""

    def pass_on(self) -> None:
        """Pass on a request to the store, and its response to the client."""
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, len(body))
        with proxy.lock:
            proxy.requests.append(request)
            answer = proxy.intercept(len(proxy.requests), request)
        if answer is not None:
            self.refuse(answer)
            return
        if proxy.opaque and "if-match" in headers:
            headers["if-match"] = _turned(headers["if-match"].encode()).decode()
        upstream = HTTPConnection(*self.store, timeout=30)
        kept = {name: value for name, value in headers.items() if name not in proxy.drop}
        upstream.request(self.command, self.path, proxy.alter(request, body), kept)
        response = upstream.getresponse()
        content = response.read()
        upstream.close()
        if proxy.lose(request):
            self.refuse(0)
            return
        left_out = {"content-length", "transfer-encoding", "connection"}
        if proxy.unpack and self.command == "GET" and response.getheader("content-encoding") == "gzip":
            proxy.unpacked.add(request.key)
            content = gzip.decompress(content)
            left_out.add("content-encoding")
        self.respond(response, content, left_out)

    def respond(self, response: HTTPResponse, content: bytes, left_out: Collection[str]) -> None:
        """Send a response to the client, without some of its headers."""
        turned = _turned if self.proxy.opaque else bytes
        content = turned(content) if "xml" in (response.getheader("content-type") or "") else content
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in left_out:
                self.send_header(name, turned(value.encode()).decode() if name.lower() == "etag" else value)
        length = response.getheader("content-length") if self.command == "HEAD" else str(len(content))
        self.send_header("content-length", length or "0")
        self.end_headers()
        self.wfile.write(content)

    def refuse(self, status: int) -> None:
        """Send a response with this status and no body; if it is 0, end the connection."""
        if status:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()
        else:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - as the library calls them


@contextmanager
def proxied(store: str) -> Iterator[Proxy]:
    """Run a proxy before the store at this address until the block ends."""
    proxy = Proxy()
    host, port = store.removeprefix("http://").split(":")
    handler = type("Passing", (Handler,), {"proxy": proxy, "store": (host, int(port))})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.address = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()


def variables(endpoint: str) -> dict[str, str]:
    """Return the environment variables for a store at this address."""
    return {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
    }


def use_store(endpoint: str, patch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the environment variables for a store in this process, and return them."""
    environment = variables(endpoint)
    for name, value in environment.items():
        patch.setenv(name, value)
    return environment


FORKS = """
import os, sys
from pathlib import Path
from reportgen.publish.bucket.client import open_bucket
from reportgen.publish.bucket.upload import put_release
from reportgen.publish.release import current_release
url, root = sys.argv[1:]
while sys.stdin.readline():
    child = os.fork()
    if child == 0:
        sys.stdin.readline()
        release = current_release(Path(root))
        put_release(open_bucket(url), release, keep=3)
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Publishes the current release once for each line of its input, each time in a child process."""


@contextmanager
def publisher(url: str, root: Path, environment: Mapping[str, str]) -> Iterator[Callable[[Proxy, int], int]]:
    """Yield a function that publishes the current release of ``root`` into the bucket, in a child process.

    The child is killed before its request with the given number (0: never) reaches the store. The function
    returns the child's status: 0, or the signal.
    """
    with subprocess.Popen(
        [sys.executable, "-u", "-c", FORKS, url, str(root)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
    ) as forker:  # fmt: skip
        assert forker.stdin
        assert forker.stdout
        asking, telling = forker.stdin, forker.stdout

        def published(proxy: Proxy, fatal: int) -> int:
            proxy.reset()
            asking.write("fork\n")
            asking.flush()
            child = int(telling.readline())

            def kill(number: int, _: Request) -> int | None:
                if number < fatal or not fatal:
                    return None
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                return 0

            proxy.intercept = kill
            asking.write("go\n")
            asking.flush()
            return int(telling.readline())

        yield published
        forker.stdin.close()
