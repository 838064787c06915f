"""Measures servers of one release: requests a second, latency, bytes and resident memory.

Each server runs on the first core while wrk asks from the second for the 7-day page over 16 connections;
in "while a build runs", builds share the second core with wrk. Run it with ``python bench/all.py serve``.
"""

import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from common import (
    OURS,
    REPORTGEN,
    AbsentError,
    Options,
    build_command,
    cost_of,
    interleaved,
    printed,
    tool,
    versions,
)

PAGE = "/7d/"
ASKED = {
    "brotli": {"Accept-Encoding": "br, gzip"},
    "gzip": {"Accept-Encoding": "gzip"},
    "plain": {},
    "304": {"Accept-Encoding": "gzip", "If-None-Match": ""},
    "gzip, while a build runs": {"Accept-Encoding": "gzip"},
}
"""Kind of request → its headers; the ETag is inserted later."""

NGINX = """
worker_processes 1; daemon off; master_process off; pid {folder}/pid; error_log /dev/null;
events {{ worker_connections 512; }}
http {{
  types {{ text/html html; }} access_log off; sendfile on; tcp_nopush on; gzip_static on;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure every server with every kind of request, in turn."""
    wrk, _ = tool("wrk"), tool("taskset")
    if (os.cpu_count() or 1) < 2:  # noqa: PLR2004 - one for the server, one for who asks
        raise AbsentError("one core cannot serve and ask")
    seconds = 1 if options.short else 3
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        cost_of(build_command(folder / "output", "--source", "sample"))
        found = servers(folder)
        kinds = ("gzip",) if options.short else ASKED
        cases: dict[str, Callable[[], Mapping[str, float]]] = {
            f"{server}: {kind}": partial(measured, command, kind, folder, [wrk, f"-d{seconds}s"])
            for kind in kinds
            for server, command in found.items()
        }
        figures, absent = interleaved(cases, options)
    about = versions("tornado") | {
        "wrk": printed(wrk, "-v"),
        "nginx": printed("nginx", "-v"),
    }
    return dict(figures) | {"left out": absent}, about


def servers(folder: Path) -> dict[str, list[str]]:
    """Return the command of each server, which takes ``{port}``."""
    given = ["--no-schedule", "--port", "{port}", "--output", str(folder / "output")]
    found = {"reportgen serve": [*REPORTGEN, "serve", *given]}
    with suppress(AbsentError):
        found["nginx"] = [tool("nginx"), "-c", str(folder / "nginx.conf")]
    return found


def measured(command: list[str], kind: str, folder: Path, wrk: list[str]) -> dict[str, float]:
    """Return requests a second, latency in ms, bytes and processor time of one answer, and resident MB."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    root = (folder / "output" / "current").resolve()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, root=root))
    with running([word.format(port=port) for word in command], port, folder / "output") as pid:
        headers = dict(ASKED[kind])
        if "If-None-Match" in headers:
            headers["If-None-Match"] = answered(port, headers)[2]
        status, size, _ = answered(port, headers)
        if status != (304 if kind == "304" else 200):
            raise AbsentError(f"{kind} was answered with {status}")
        with building(folder, wanted="build" in kind):
            before_s = processor_s(pid)
            asked = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
            text = subprocess.run(  # noqa: S603 - our own command
                ["taskset", "-c", "1", *wrk, "-t1", "-c16", "--latency", *asked, f"http://127.0.0.1:{port}{PAGE}"],  # noqa: S607
                check=True, capture_output=True, text=True,
            ).stdout  # fmt: skip
            memory_mb, spent_s = resident_mb(pid), processor_s(pid) - before_s
    rate, count = re.search(r"Requests/sec: +([\d.]+)", text), re.search(r"(\d+) requests in", text)
    if rate is None or count is None or "Non-2xx" in text or "Socket errors" in text:
        raise AbsentError(text)
    half, most = latency_ms(text, 50), latency_ms(text, 99)
    return {
        "rate": float(rate[1]), "p50_ms": half, "p99_ms": most, "bytes": size, "resident_mb": memory_mb,
        "processor_us": 1e6 * spent_s / int(count[1]),
    }  # fmt: skip


def latency_ms(text: str, percent: int) -> float:
    """Return one percentile of the latency, in ms, from the output of wrk."""
    found = re.search(rf"{percent}% +([\d.]+)(us|ms|s)\b", text)
    if found is None:
        raise AbsentError(text)
    return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]]


def answered(port: int, headers: Mapping[str, str]) -> tuple[int, int, str]:
    """Send one request; return the status, the number of bytes of the body, and the ETag."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", PAGE, headers=dict(headers))
    answer = connection.getresponse()
    size = len(answer.read())
    connection.close()
    return answer.status, size, answer.getheader("ETag", "")


@contextmanager
def building(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Build on the second core, again and again, until the block ends."""
    if not wanted:
        yield
        return
    # Into another output: a switch of releases would be measured too.
    command = build_command(folder / "other", "--source", "sample")
    loop = ["taskset", "-c", "1", "sh", "-c", 'while "$@"; do :; done', "sh", *command]
    with subprocess.Popen(loop, env=OURS, start_new_session=True) as process:  # noqa: S603 - our own command
        try:
            yield
        finally:
            os.killpg(process.pid, 9)


@contextmanager
def running(command: list[str], port: int, output: Path) -> Iterator[int]:
    """Run a server on the first core until the block ends; yield its process id."""
    with subprocess.Popen(  # noqa: S603 - our own command
        ["taskset", "-c", "0", *command],  # noqa: S607 - found in PATH
        env=OURS, cwd=output, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            wait_for(port)
            yield process.pid
        finally:
            process.terminate()


def wait_for(port: int) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with suppress(OSError):
            answered(port, {})
            return
        time.sleep(0.05)
    raise AbsentError("a server did not answer within 30 s")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, in MB."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 10**6 + sum(resident_mb(int(child)) for child in children)


def processor_s(pid: int) -> float:
    """Return the CPU seconds of a process and its threads; other load on the machine changes them little."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
