"""What a client can use without a password: little memory, few files, for a short time."""

import asyncio
import gc
import re
import resource
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from reportgen.serve import http_protocol
from reportgen.serve.messages import Handler, Request, Response, encode_headers

SERVER = """
import resource, sys, time
from reportgen.serve import http_protocol as protocol
from reportgen.serve import server as serve
from reportgen.serve.app import CurrentRelease, application
files, serve.raise_file_limit = int(sys.argv[1]), lambda: None
if files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
protocol.HEAD_S = float(sys.argv[2])
if made_s := float(sys.argv[3]):
    made = protocol.GuardedProtocol.__init__
    protocol.GuardedProtocol.__init__ = lambda *a, **k: (time.sleep(made_s), made(*a, **k))[1]
from pathlib import Path
listening = serve.listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
release = CurrentRelease(Path("nowhere"))
sys.exit(serve.run_server(application(release, dict), release, listening))
"""


@contextmanager
def running(
    tmp_path: Path, *, files: int = 0, head_s: float = 10, made_s: float = 0
) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Run a server process; give its port and the process, and check that it stops."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(files), str(head_s), str(made_s)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout
            yield int(server.stdout.readline()), server
            begun = time.monotonic()
            server.terminate()
            assert server.wait(timeout=10) == 0
            assert time.monotonic() - begun < 5
        finally:
            server.kill()


def ask_over_socket(
    port: int, sent: bytes = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", timeout_s: float = 5
) -> bytes:
    """Send bytes over a new connection; return the response, or what comes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(sent)
        return read_response(connection)


def read_response(connection: socket.socket) -> bytes:
    """Return a response to a health check, the start of another response, or all until the end."""
    found = b""
    while (more := connection.recv(65_536)) and not found.endswith(b"ok\n"):
        found += more
        if b"HTTP/1.1 200" not in found or found.endswith(b"ok\n"):
            break
    return found


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    (line,) = (
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_arrive_in_time_closes_the_connection(tmp_path: Path, sent: bytes) -> None:
    """On a new connection, and on one that was used before."""
    with running(tmp_path, head_s=0.5) as (port, _):
        assert ask_over_socket(port, sent) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_response(connection).startswith(b"HTTP/1.1 200")
            connection.sendall(b"GET / HT")
            assert read_response(connection) == b""


@pytest.mark.slow
def test_an_idle_connection_has_a_longer_deadline_than_a_head(tmp_path: Path) -> None:
    with (
        running(tmp_path, head_s=0.5) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
    ):
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert read_response(connection).startswith(b"HTTP/1.1 200")
            time.sleep(0.8)


@pytest.mark.parametrize("head", [b"GET /" + b"a" * 60_000, b"GET / HTTP/1.1\r\n" + b"x: " + b"a" * 60_000])
def test_a_head_that_is_too_long_is_refused(tmp_path: Path, head: bytes) -> None:
    with running(tmp_path) as (port, _):
        assert ask_over_socket(port, head).startswith(b"HTTP/1.1 431")
        assert ask_over_socket(port).startswith(b"HTTP/1.1 200")


def test_endless_headers_take_little_memory(tmp_path: Path) -> None:
    line = b"x-filler: " + b"a" * 1000 + b"\r\n"
    with running(tmp_path) as (port, server):
        ask_over_socket(port)
        before = resident_mb(server.pid)
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
            with pytest.raises(OSError):  # noqa: PT011, PT012 - reset or broken pipe, as it falls
                for _ in range(100_000):
                    connection.sendall(line)
        assert resident_mb(server.pid) - before < 10


@pytest.mark.slow
def test_silent_connections_do_not_keep_readers_out(tmp_path: Path) -> None:
    """With more connections than file descriptors, some are closed, and the server still stops in time."""
    with running(tmp_path, files=256, head_s=2) as (port, server), ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        deadline = time.monotonic() + 10
        while True:
            try:
                assert ask_over_socket(port, timeout_s=1).startswith(b"HTTP/1.1 200")
                break
            except (OSError, AssertionError):
                assert time.monotonic() < deadline
                time.sleep(0.2)
        server.terminate()
        assert server.stderr
        assert "Too many open files" not in server.stderr.read()


@pytest.mark.slow
def test_a_flood_of_connections_does_not_exhaust_file_descriptors(tmp_path: Path) -> None:
    """Connections arrive faster than a slow machine can close those past the maximum."""
    with running(tmp_path, files=256, made_s=0.001) as (port, server), ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.socket()).connect(("127.0.0.1", port))
        server.terminate()
        assert server.stderr
        assert server.stderr.read() == ""


def exchange(pieces: list[bytes], handler: Handler) -> tuple[bytes, float]:
    """Send pieces to a server in this process; return all that it sends, and the seconds until it closes."""

    async def talk() -> tuple[bytes, float]:
        connections = http_protocol.Connections(handler)
        keeping = asyncio.create_task(connections.watch())
        server = await asyncio.get_running_loop().create_server(connections.new_protocol, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        begun = time.monotonic()
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.01)
        got = await asyncio.wait_for(reader.read(), 10)
        took = time.monotonic() - begun
        writer.close()
        server.close()
        keeping.cancel()
        return got, took

    with ThreadPoolExecutor(1) as thread:  # this thread may have the event loop of a browser test
        return thread.submit(lambda: asyncio.run(talk())).result()


GET, END = b"GET /%b HTTP/1.1\r\nHost: a\r\n", b"Connection: close\r\n\r\n"


def echo(request: Request) -> Response:
    """Respond with the request, or raise."""
    if request.path == "/fault":
        raise LookupError
    body = f"{request.method} {request.path} {request.query!r} {request.version}\n".encode()
    status = 418 if request.path == "/teapot" else 200
    return Response(status, encode_headers({"content-length": str(len(body))}), body)


def test_a_request_may_arrive_in_any_pieces() -> None:
    whole = b"GET /a%20b?c=%20d HTTP/1.1\r\nHost: a\r\n\r\n" + GET % b"teapot" + END
    expected = [(b"200", b"GET /a b b'c=%20d' 1.1"), (b"418", b"GET /teapot b'' 1.1")]
    for pieces in ([whole], [whole[n : n + 1] for n in range(len(whole))], [whole[:60], whole[60:]]):
        got, _ = exchange(pieces, echo)
        assert re.findall(rb"HTTP/1\.1 (\d+) .*?\r\n\r\n(.*?)\n", got, re.DOTALL) == expected
        assert got.count(b"connection: close\r\n") == 1


def test_an_exception_of_the_handler_gives_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback; the connection stays open."""
    got, _ = exchange([GET % b"fault" + b"\r\n", GET % b"" + END], echo)
    assert re.findall(rb"HTTP/1\.1 (\d+) ", got) == [b"500", b"200"]
    (record,) = caplog.records
    assert (record.levelname, bool(record.exc_info)) == ("ERROR", True)


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its deadline does not depend on the deadline of heads."""
    monkeypatch.setattr(http_protocol, "IDLE_S", 1.0)
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.1)
    got, took = exchange([GET % b"" + b"\r\n"], echo)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert 0.9 < took < 4


def test_some_file_descriptors_are_kept_for_other_things() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert http_protocol.max_connections() == soft - http_protocol.SPARE_FILES


def test_a_closed_connection_is_freed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the garbage collector, which may run ten thousand connections later."""
    made, make = [], http_protocol.Connections.new_protocol

    def noting(connections: http_protocol.Connections) -> http_protocol.GuardedProtocol:
        made.append(weakref.ref(new := make(connections)))
        return new

    monkeypatch.setattr(http_protocol.Connections, "new_protocol", noting)
    gc.disable()
    try:
        for sent in (GET % b"" + END, b"garbage\r\n", b"GET / HT\0"):
            exchange([sent], echo)
        assert [each() for each in made] == [None] * 3
    finally:
        gc.enable()
