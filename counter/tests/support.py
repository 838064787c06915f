"""Helpers of the counter's tests: tables, browsers, servers as processes."""

import asyncio
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
REQUESTS, SECONDS = (50_000, 60) if os.environ.get("COUNTER") == "long" else (10_000, 10)
"""Requests to workers that are replaced, and seconds of the writers and of an outage, in slow tests."""


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine; in a thread, as a browser's tests leave a loop in the main one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file}"


def table(url: str) -> dict[str, int]:
    """Return the visits of each path in the table ``metrics``; nothing if it is missing."""
    sql = "SELECT path, sum(visits) FROM metrics GROUP BY path"
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'metrics'").fetchall():
                return {}
            return dict(connection.execute(sql).fetchall())
    import psycopg

    with psycopg.connect(url) as session:
        if session.execute("SELECT to_regclass('metrics')").fetchone() == (None,):
            return {}
        return {path: int(visits) for path, visits in session.execute(sql.encode()).fetchall()}


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@dataclass
class Server:
    """A running server."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def get(self, path: str, **headers: str) -> int:
        """Send a request as a browser does, or with other headers, and return the status of the response."""
        sent = {"Host": "localhost", "Connection": "close", "User_Agent": BROWSER, **headers}
        lines = [f"GET {path} HTTP/1.1", *(f"{n.replace('_', '-')}: {value}" for n, value in sent.items())]
        # Much faster than http.client, and the thousands of requests share two processors with the server.
        with socket.create_connection(("127.0.0.1", self.port), 60) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            with connection.makefile("rb") as response:
                return int(response.read().split(b" ", 2)[1])

    def stop(self) -> int:
        """Send SIGTERM, and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def server(folder: Path, arguments: list[str], url: str, **variables: str) -> Iterator[Server]:
    """Run ``python -m`` with the arguments, in ``folder``, until the block ends."""
    log = folder / "server.log"
    environment = {
        **os.environ, "METRICS_URL": url, "PYTHONPATH": f"{folder}:{ROOT / 'examples'}",
        "PYTHONUNBUFFERED": "1", **variables,
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder, env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        address = re.compile(r"(?:http|at:|on)\S* ?\S*127\.0\.0\.1:(\d+)")
        wait_for(lambda: process.poll() is not None or address.search(log.read_text()), 60)
        found = address.search(log.read_text())
        assert found, log.read_text()
        yield Server(process, int(found[1]), log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
