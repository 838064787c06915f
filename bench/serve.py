"""Measure servers of one release side by side: requests a second, slowest hundredth, resident memory.

``python bench/serve.py OUTPUT [--rounds N]`` with wrk and nginx installed, and reportgen, uvloop and granian
in the environment of this Python; what is absent is left out. Each round runs every server once, on the
first core, while wrk asks from the second for the same page, compressed with gzip, over 16 connections.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from reportgen.website import Published, application

PAGE = "/7d/"
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


def served() -> object:
    """Return the application as ``reportgen serve`` has it, without what builds."""
    published = Published(Path(os.environ["BENCH_OUTPUT"]))
    published.look()
    return application(published, dict)


if "BENCH_OUTPUT" in os.environ:
    app = served()


def main() -> None:
    """Run all servers in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    output = options.output.resolve()
    found: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name, command in commands(output, Path(folder)):
                found.setdefault(name, []).append(measured(command, output))
    load = " ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"medians of {options.rounds} rounds; load of the machine at the end: {load}\n")
    print("| server | requests/s | p99 ms | resident MB |\n|---|--:|--:|--:|")
    for name, rounds in found.items():
        rate, slowest_ms, memory_mb = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"| {name} | {rate:,.0f} | {slowest_ms:.1f} | {memory_mb:.0f} |")


def commands(output: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each server that is here, with a command that takes ``{port}``."""
    here, python = f"{Path(__file__).stem}:app", sys.executable
    if find_spec("typer"):
        given = ["--no-schedule", "--port", "{port}", "--output", str(output)]
        yield "`reportgen serve`: uvicorn, httptools", [python, "-m", "reportgen", "serve", *given]
    quiet = ["--port", "{port}", "--no-access-log", "--log-level", "warning"]
    uvicorn = [python, "-m", "uvicorn", "--http", "httptools", "--lifespan", "off", *quiet]
    yield "its application alone: uvicorn, httptools", [*uvicorn, "--loop", "asyncio", here]
    if find_spec("uvloop"):
        yield "the same, with uvloop", [*uvicorn, "--loop", "uvloop", here]
    if find_spec("granian"):
        one = ["--interface", "asginl", "--workers", "1", "--runtime-threads", "1"]
        yield "the same, on granian", [python, "-m", "granian", *one, *quiet, here]
    if nginx := shutil.which("nginx") or shutil.which("/usr/sbin/nginx"):
        yield "nginx, files on disk", [nginx, "-c", str(folder / "nginx.conf"), "{port}"]


def measured(command: list[str], output: Path) -> tuple[float, float, float]:
    """Return requests a second, the 99th hundredth of latency in ms, and resident MB under load."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    if command[1] == "-c":
        folder = Path(command[2]).parent
        text = NGINX.format(folder=folder, port=port, root=(output / "current").resolve())
        (folder / "nginx.conf").write_text(text)
        command = command[:-1]
    with running([word.format(port=port) for word in command], port, output) as pid:
        wrk = subprocess.run(  # noqa: S603 - our own command
            ["taskset", "-c", "1", "wrk", "-t1", "-c16", "-d4s", "--latency", "-H", "Accept-Encoding: gzip",  # noqa: S607
             f"http://127.0.0.1:{port}{PAGE}"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        memory_mb = resident_mb(pid)
    if "Non-2xx" in wrk:
        raise SystemExit(wrk)
    rate = re.search(r"Requests/sec: +([\d.]+)", wrk)
    slowest = re.search(r"99% +([\d.]+)(us|ms|s)", wrk)
    if rate is None or slowest is None:
        raise SystemExit(wrk)
    return float(rate[1]), float(slowest[1]) * {"us": 0.001, "ms": 1, "s": 1000}[slowest[2]], memory_mb


@contextmanager
def running(command: list[str], port: int, output: Path) -> Iterator[int]:
    """Run a server on the first core until the block ends."""
    place = {"PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    with subprocess.Popen(  # noqa: S603 - our own command
        ["taskset", "-c", "0", *command],  # noqa: S607 - where the system has it
        env=os.environ | place | {"BENCH_OUTPUT": str(output)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            end = time.monotonic() + 15
            while time.monotonic() < end:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            time.sleep(0.5)
            yield process.pid
        finally:
            process.terminate()


def resident_mb(pid: int) -> float:
    """Return the memory of a process and of those it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 10**6 + sum(resident_mb(int(child)) for child in children)


if __name__ == "__main__":
    main()
