"""`reportgen serve` as a process: start it, send requests over real sockets, stop it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from reportgen import __version__
from reportgen.core.release_files import packed
from reportgen.publish.history import Runs, read_runs
from reportgen.publish.release import Release, lock_output, publish
from tests.support.commands import environment, run_command
from tests.support.planted import clean

POLICY = "default-src 'none'; style-src 'sha256-abc='"
WORDS = " ".join(f"word{n}" for n in range(400))


@dataclass(frozen=True)
class Answer:
    """A response of a server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Service:
    """A running `reportgen serve`, and the lines that it has logged."""

    process: "subprocess.Popen[str]"
    folder: Path
    lines: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        """The output directory."""
        return self.folder / "output"

    @property
    def port(self) -> int:
        """The port on which it listens."""
        found = re.search(r":(\d+)$", self.events("listening")[0]["address"])
        assert found
        return int(found[1])

    @property
    def runs(self) -> Runs:
        """The record of its builds."""
        return read_runs(self.output)

    @property
    def resident_mb(self) -> float:
        """Its resident memory, in MiB."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found
        return int(found[1]) / 1024

    @property
    def open_files(self) -> int:
        """The number of its open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208

    @property
    def processor_s(self) -> float:
        """The processor time that it has used, in seconds."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of that name that were logged so far."""
        logged = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [event for event in logged if event["event"] == name]

    def await_event(self, name: str, count: int = 1, within_s: float = 20) -> dict[str, Any]:
        """Wait for the ``count``-th event of that name, and return it."""
        eventually(lambda: len(self.events(name)) >= count, within_s, lambda: "\n".join(self.lines))
        return self.events(name)[count - 1]

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection to the service."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Return its answer, asked over a connection of its own."""
        connection = self.connect()
        try:
            return ask(connection, path, method, **headers)
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """Return its ``/status.json``."""
        document: dict[str, Any] = json.loads(self.ask("/status.json").body)
        return document

    def stop(self, number: int = signal.SIGTERM, within_s: float = 5) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(within_s)


def ask(connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask over an open connection; ``if_none_match="…"`` is a header."""
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, body)


def eventually(
    true: Callable[[], object], within_s: float = 20, explained: Callable[[], str] = lambda: ""
) -> None:
    """Wait until ``true()`` holds; fail after ``within_s`` seconds."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, f"not within {within_s} s\n{explained()}"
        time.sleep(0.02)


@contextmanager
def serving(
    folder: Path,
    *options: object,
    command: tuple[str, ...] = ("-m", "reportgen"),
    first: Callable[[], None] = lambda: None,
    **variables: str,
) -> Iterator[Service]:
    """Run `reportgen serve` in ``folder`` on a free port until the block ends.

    ``first`` is called in the new process before anything else.
    """

    def begin() -> None:
        # A background job's children ignore SIGINT; a person's terminal does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        first()

    process = subprocess.Popen(
        [sys.executable, *command, "serve", "--port", "0", *map(str, options)],
        cwd=folder, env=environment(**({"REPORTGEN_LOG": "json"} | variables)),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=begin,  # noqa: PLW1509 - it takes no lock that a thread may hold
    )  # fmt: skip
    service = Service(process, folder)
    assert process.stderr
    stream = process.stderr
    reader = Thread(target=lambda: service.lines.extend(iter(stream.readline, "")), daemon=True)
    reader.start()
    try:
        eventually(
            lambda: any("listening" in line for line in service.lines) or process.poll() is not None,
            explained=lambda: "\n".join(service.lines),
        )
        yield service
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(6)
        finally:
            process.kill()
            process.wait()
            reader.join(5)
            stream.close()
        clean("".join(service.lines))


def children(pid: int) -> list[int]:
    """Return the ids of the child processes of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def reportgen(
    folder: Path, *arguments: object, first: Callable[[], None] | None = None, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a command of reportgen in ``folder``."""
    if first is None:
        done = run_command(folder, arguments, environment(**variables), timeout_s=60)
    else:
        done = subprocess.run(
            [sys.executable, "-m", "reportgen", *map(str, arguments)],
            cwd=folder, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False,
            preexec_fn=first,
        )  # fmt: skip
    clean(done.stdout + done.stderr)
    return done


def page(word: str) -> bytes:
    """Return a page as a build would write it."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{POLICY.replace(chr(39), "&#39;")}">'
    return f'<!doctype html>{meta}<p>{word}</p><a href="../30d/">30 days</a><p>{WORDS}</p>'.encode()


def site_files(word: str) -> dict[str, bytes]:
    """Return the files of a small release, with their compressed forms."""
    files = {
        "index.html": page(f"index {word}"),
        "7d/index.html": page(f"7d {word}"),
        "404.html": page("There is no such page"),
        "7d/report.json": json.dumps({"word": word, "words": WORDS}).encode(),
        "7d/daily.csv": b"date,visits\r\n2026-11-23,1\r\n",
        "7d/visits.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "assets/app.0a1b.js": b"// " + WORDS.encode(),
        "robots.txt": b"User-agent: *\nDisallow: /\n",
    }
    return files | packed(files)


def publish_files(
    root: Path, files: Mapping[str, bytes], *, ago_s: float = 0, keep: int = 10, **about: Any
) -> Release:
    """Publish ``files`` below ``root``, as a build of ``ago_s`` seconds ago would."""
    built_at = datetime.now(UTC) - timedelta(seconds=ago_s)
    known = {"version": __version__, "as_of": built_at.date().isoformat(), "rows": 1} | about
    with lock_output(root) as lock:
        return publish(lock, files, known, built_at=built_at, keep=keep)


def write_table(file: Path, rows: int = 5) -> str:
    """Write a new CSV file with one row a day until today; return its path."""
    days = (datetime.now(UTC).date() - timedelta(days) for days in range(rows))
    lines = [f"{day},/page/{n},{n + 1}" for n, day in enumerate(days)]
    file.write_text("\n".join(["date,path,visits", *lines, ""]))
    return str(file)
