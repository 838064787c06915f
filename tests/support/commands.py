"""Run ``reportgen`` commands in processes that are forked from one that has loaded the program.

A new interpreter takes half a second of CPU time to load the program, and a second more for a build.
Hundreds of tests need only what a command does: its exit status, its output and its files. Each command still
gets a process of its own, with its own working directory, environment and streams; only loading is done once.

As a program, this module is that process: it waits for requests on the socket whose number is its argument.
"""

import atexit
import importlib
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn

MAX_REQUEST_BYTES = 1 << 18
READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ")
"""First letters of variables that are read once, when an interpreter starts."""

ONE_WINDOW = {"REPORTGEN_WINDOWS": "today", "REPORTGEN_DEFAULT_WINDOW": "today"}
"""Variables of a build whose pages the test does not read: it draws one chart instead of five."""

NOBODY = 65534
"""The user nobody and its group."""

FORKER = threading.Lock()
"""Held by the thread whose command runs in the process that has loaded the program."""

Run = Callable[..., "subprocess.CompletedProcess[str]"]
"""The fixture ``run``: called with a command's arguments, and with variables of its environment by name."""


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings of the program, with ``variables``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("REPORTGEN_") and name != "DATABASE_URL"
    }
    return kept | variables


def run_command(
    folder: Path, arguments: Sequence[object], variables: Mapping[str, str], timeout_s: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run ``reportgen`` in ``folder`` and return its exit status (negative: the signal) and its output.

    Raises:
        subprocess.TimeoutExpired: the command ran longer than ``timeout_s`` and was killed.

    """
    command = [sys.executable, "-m", "reportgen", *map(str, arguments)]
    if FORKER.acquire(blocking=False):  # it runs one command at a time: other threads start an interpreter
        try:
            forker, read_at_start = _forker()
            if _read_at_start(variables) == read_at_start:
                return _run_forked(forker, folder, command[3:], variables, timeout_s)
        finally:
            FORKER.release()
    return subprocess.run(
        command, cwd=folder, env=dict(variables), capture_output=True, text=True, timeout=timeout_s,
        check=False,
    )  # fmt: skip


def run_as_nobody(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run ``reportgen`` as user nobody, which only root can. That user need not have the right to read it."""
    with FORKER:
        return _run_forked(_forker()[0], folder, list(map(str, arguments)), environment(), 120, NOBODY)


def _run_forked(
    forker: socket.socket,
    folder: Path,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    timeout_s: float,
    uid: int | None = None,
) -> "subprocess.CompletedProcess[str]":
    command = ["reportgen", *arguments]
    request = {
        "folder": str(folder), "arguments": arguments, "environment": dict(variables), "uid": uid
    }  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        socket.send_fds(forker, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
        forker.settimeout(None)
        pid = int(forker.recv(64))
        forker.settimeout(timeout_s)
        try:
            status = int(forker.recv(64))
        except BaseException as exc:
            os.kill(pid, signal.SIGKILL)
            forker.settimeout(None)
            forker.recv(64)
            if isinstance(exc, TimeoutError):
                raise subprocess.TimeoutExpired(command, timeout_s, _text(out), _text(err)) from None
            raise
        return subprocess.CompletedProcess(command, status, _text(out), _text(err))


def _read_at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(READ_AT_START)}


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return io.TextIOWrapper(io.BytesIO(file.read())).read()


def _coverage_settings() -> list[str]:
    """Return the coverage settings' file in a list, or an empty list where coverage is not measured."""
    module = sys.modules.get("coverage")
    measured = module.Coverage.current() if module else None
    return [measured.config.config_file] if measured else []


@cache
def _forker() -> tuple[socket.socket, dict[str, str]]:
    """Start the process that has loaded the program. It ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    variables = environment()
    with theirs:
        forker = subprocess.Popen(
            [sys.executable, "-P", __file__, str(theirs.fileno()), *_coverage_settings()],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env=variables | {"OPENBLAS_NUM_THREADS": "1"}, start_new_session=True,
        )  # fmt: skip

    def end() -> None:
        ours.close()
        forker.wait()

    atexit.register(end)
    return ours, _read_at_start(variables)


def _main() -> None:
    """Load the program, then run one command after the other, each in a copy of this process."""
    exit_without_saving = os._exit
    if sys.argv[2:]:
        import coverage

        coverage.Coverage(config_file=sys.argv[2]).start()
    for name in (
        "duckdb", "psycopg", "sqlite3", "rich.progress", "typer.rich_utils", "reportgen.build.verify",
        "reportgen.build.pipeline", "reportgen.build.preflight", "reportgen.build.status",
        "reportgen.cli.main", "reportgen.core.release_files", "reportgen.pages.report",
        "reportgen.sites.runner", "reportgen.sources.duckdb", "reportgen.sources.log_import",
        "reportgen.sources.logs", "reportgen.sources.postgres", "reportgen.sources.sample",
        "reportgen.sources.sqlite",
    ):  # fmt: skip
        importlib.import_module(name)
    requests = socket.socket(fileno=int(sys.argv[1]))
    while True:
        encoded, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 2)
        if not encoded:
            exit_without_saving(0)
        child = os.fork()
        if child == 0:
            requests.close()
            _be_the_command(json.loads(encoded), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(child).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _be_the_command(request: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path.insert(0, request["folder"])
    sys.argv = ["reportgen", *request["arguments"]]
    if request["uid"] is None:
        runpy.run_module("reportgen", run_name="__main__", alter_sys=True)
    from reportgen.cli.main import command

    for name in ("ctypes.util", "encodings.ascii", "encodings.idna"):
        importlib.import_module(name)
    os.setgroups([])
    os.setgid(request["uid"])
    os.setuid(request["uid"])
    command()
    raise AssertionError("a command ends its process")


if __name__ == "__main__":
    _main()
