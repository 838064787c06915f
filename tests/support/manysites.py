"""Many sites in a folder: their file, their tables, and a database that never answers."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.commands import environment, run_command
from tests.support.planted import clean
from tests.support.services import children

SMALL = 'windows = ["7d"]\n'
"""One window: such a site is drawn in a moment."""

FAR = 3600
"""Seconds; a timeout that no test reaches."""


@dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.out)

    @property
    def states(self) -> dict[str, str]:
        """The result of each site, by ``--json``."""
        return {site["name"]: site["status"] for site in self.document["sites"]}


def table(folder: Path, name: str, visits: int = 10, *, days: int = 20) -> str:
    """Write a small table and return its address."""
    today = datetime.now(UTC).date()
    rows = [f"{today - timedelta(n)},/{name}/{n % 3},{visits + n}" for n in range(days)]
    file = folder / f"{name}.csv"
    file.write_text("\n".join(["date,path,visits", *rows, ""]))
    return str(file)


def written(folder: Path, sites: Mapping[str, str], top: str = SMALL) -> None:
    """Write ``reportgen.toml``: by name of site the lines of its table, or only the address of its source."""
    text = top
    for name, said in sites.items():
        lines = said if "=" in said else f'source.url = "{said}"'
        text += f'[[sites]]\nname = "{name}"\n{lines}\n'
    (folder / "reportgen.toml").write_text(text)


def interruptible() -> None:
    """Let the process react to SIGINT: children of a background job ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begun(
    folder: Path, *arguments: object, start_new_session: bool = False, **variables: str
) -> "subprocess.Popen[str]":
    """Start ``reportgen`` in a folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "reportgen", *map(str, arguments)],
        cwd=folder, env=environment(**variables), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=interruptible,  # noqa: PLW1509
        start_new_session=start_new_session,
    )  # fmt: skip


def ended(process: "subprocess.Popen[str]", within_s: float = 90) -> Done:
    """Wait for its end."""
    try:
        out, err = process.communicate(timeout=within_s)
    finally:
        process.kill()
        process.wait()
    clean(out + err)
    return Done(process.returncode, out, err)


def reportgen(folder: Path, *arguments: object, **variables: str) -> Done:
    """Run ``reportgen`` in a folder."""
    done = run_command(folder, arguments, environment(**variables), timeout_s=90)
    clean(done.stdout + done.stderr)
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Silent:
    """A database's port where connections are taken and nothing is ever said."""

    listening: socket.socket

    @property
    def url(self) -> str:
        """The address that a build waits for."""
        return f"postgresql://reader@127.0.0.1:{self.listening.getsockname()[1]}/stats"

    @property
    def source(self) -> str:
        """Lines of a site that waits for it."""
        return (
            f'source.url = "{self.url}"\n'
            f"source.connect_timeout_s = {FAR}\nsource.statement_timeout_s = {FAR}\n"
        )

    def await_caller(self, within_s: float = 60) -> None:
        """Wait until somebody has connected."""
        self.listening.settimeout(within_s)
        self.callers.append(self.listening.accept()[0])

    @property
    def callers(self) -> list[socket.socket]:
        """Connections so far, which stay open."""
        return CALLERS


CALLERS: list[socket.socket] = []


@contextmanager
def silent() -> Iterator[Silent]:
    """Give a database that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        try:
            yield Silent(listening)
        finally:
            while CALLERS:
                CALLERS.pop().close()


def worker_processes(pid: int) -> list[int]:
    """Return the processes of the pool that builds sites for a command."""
    found = []
    for child in children(pid):
        with suppress(OSError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found
