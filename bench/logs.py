"""Measures a report from an access log, beside GoAccess, and how it grows with the log; and an import.

The log is the real one of the tests, repeated over the 30 days before ``LAST``, with other addresses.
"""

import gzip
import re
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from functools import partial
from pathlib import Path

from common import (
    ENVIRONMENT,
    LAST,
    REPORTGEN,
    ROOT,
    Options,
    build_command,
    costs,
    interleaved,
    printed,
    tool,
    versions,
)

REAL = ROOT / "tests" / "sources" / "logs" / "semicomplete-combined.log.gz"
DAYS = 30
SIZES = {"1 million lines": 1_000_000, "10 million lines": 10_000_000}
SHORT_SIZES = {"10,000 lines": 10_000, "100,000 lines": 100_000}


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure the builds, GoAccess and the import in turn."""
    sizes = SHORT_SIZES if options.short else SIZES
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder:
        logs = {}
        for name, lines in sizes.items():
            options.say(f"write {name}")
            logs[name] = Path(folder) / f"{lines}.log"
            write_log(logs[name], lines)
        small, large = sizes
        cases: dict[str, Callable[[], Mapping[str, float]]] = {
            f"{small}: reportgen build": partial(ours, logs[small]),
            f"{small}: GoAccess": partial(goaccess, logs[small]),
            f"{large}: reportgen build": partial(ours, logs[large]),
            f"{small}: reportgen import, one core": partial(imported, logs[small], sizes[small]),
        }
        figures, absent = interleaved(cases, options)
    found = versions("duckdb", "crawler-user-agents")
    found["GoAccess"] = printed("goaccess", "--version").removeprefix("GoAccess - ").rstrip(".")
    return {**figures, "left out": absent}, found


def write_log(file: Path, lines: int) -> None:
    """Write a log with ``lines`` lines."""
    real = gzip.decompress(REAL.read_bytes()).decode(errors="replace").splitlines()
    parts = [(found[1], found[2]) for line in real if (found := re.match(r"\S+( .*?\[)[^]]*(].*)", line))]
    first = datetime.combine(LAST - timedelta(DAYS - 1), time(), UTC)
    stamps = [f"{first + timedelta(minutes=minute):%d/%b/%Y:%H:%M:}" for minute in range(DAYS * 1440)]
    with file.open("w") as log:
        for number in range(lines):
            minute, second = divmod(number * DAYS * 86400 // lines, 60)
            before, after = parts[number % len(parts)]
            address = f"198.{18 + number % 2}.{number // 7 % 256}.{number // 3 % 256}"
            log.write(f"{address}{before}{stamps[minute]}{second:02} +0000{after}\n")


def ours(log: Path) -> Mapping[str, float]:
    """Build with reportgen."""
    output = log.with_suffix(".output")
    return costs(build_command(output, "--source", str(log), "--as-of", LAST.isoformat()), tree=True)


def goaccess(log: Path) -> Mapping[str, float]:
    """Write the page of GoAccess."""
    command = [tool("goaccess"), str(log), "-o", str(log.with_suffix(".html"))]
    return costs([*command, "--log-format=COMBINED", "--no-progress"], env=ENVIRONMENT, tree=True)


def imported(log: Path, lines: int) -> Mapping[str, float]:
    """Import into a new SQLite file, on one core."""
    database = log.with_suffix(".db")
    database.unlink(missing_ok=True)
    command = [tool("taskset"), "-c", "0", *REPORTGEN, "import", str(log), "--create"]
    took = costs([*command, "--into", f"sqlite:///{database}"], tree=True)
    return {**took, "lines_s": lines / took["wall_s"], "lines_cpu_s": lines / took["cpu_s"]}
