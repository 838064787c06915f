"""Soak: `reportgen serve` builds every second, for thousands of builds, while somebody reads.

``python -m tests.faults.soak [--builds N]``. What must not grow is looked at after each build: memory, file
descriptors and threads of the service, the disk, the releases. ``make soak`` runs it long, the suite short.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from threading import Event, Thread

from tests.support.services import Service, children, serving

PAGES = ("/", "/today/", "/7d/", "/30d/", "/7d/report.json", "/healthz", "/status.json", "/nothing")
GROWTH = {"resident_mb": 4.0, "files": 2, "threads": 1, "disk_mb": 0.5, "entries": 4, "releases": 0}
"""What the last quarter may hold more than the second one: the first is for warming up."""


class Reader(Thread):
    """Requests pages in a loop and notes wrong responses."""

    def __init__(self, service: Service) -> None:
        super().__init__(daemon=True)
        self.service, self.ended, self.answers, self.wrong = service, Event(), 0, list[str]()

    def run(self) -> None:
        """Read until ``ended`` is set."""
        while not self.ended.wait(0.02):
            path = PAGES[self.answers % len(PAGES)]
            try:
                answer = self.service.ask(path)
            except OSError as exc:
                self.wrong.append(f"{path}: {exc!r}")
                continue
            self.answers += 1
            if answer.status != (404 if path == "/nothing" else 200):
                self.wrong.append(f"{path}: {answer.status}")


def soak(folder: Path, builds: int, changed_every: int, keep: int = 5) -> dict[str, object]:
    """Run ``builds`` builds, some with a changed table; return figures and faults."""
    table = folder / "visits.csv"
    write_visits(table, 0)
    samples: list[dict[str, float]] = []
    with serving(
        folder, "--source", table, REPORTGEN_SCHEDULE="1s", REPORTGEN_OUTPUT__KEEP=str(keep)
    ) as service:
        service.await_event("release_served", within_s=60)
        reader = Reader(service)
        reader.start()
        begun, done, read = time.monotonic(), 0, 0
        while done < builds:
            fresh = service.lines[read:]
            read += len(fresh)
            found = done + sum(map(is_build_end, fresh))
            if found == done:
                time.sleep(0.02)
                continue
            if found // changed_every > done // changed_every:
                write_visits(table, found)
            done = found
            samples.append(measure(service))
        reader.ended.set()
        reader.join(20)
        seconds = time.monotonic() - begun
        # A file that is replaced while it is read is not taken for a snapshot: that build is tried again.
        refused, failed = [], []
        for each in service.events("build_failed"):
            (refused if "was changed while it was read" in each["message"] else failed).append(each)
        failed += [*service.events("broken"), *service.events("release_unreadable")]
        published = len(service.events("build_published"))
        assert service.stop() == 0
    quarter = max(1, len(samples) // 4)
    early, late = medians(samples[quarter : 2 * quarter]), medians(samples[-quarter:])
    grown = {
        name: late[name] - early[name] for name, most in GROWTH.items() if late[name] - early[name] > most
    }
    return {
        "builds": done, "published": published, "seconds": round(seconds), "answers": reader.answers,
        "refused": len(refused),
        "failed": failed, "wrong": reader.wrong[:10],
        "second_quarter": early, "last_quarter": late, "grown": grown,
    }  # fmt: skip


def is_build_end(line: str) -> bool:
    """Return whether a line of the log says that a build has ended."""
    return any(f'"event": "build_{state}"' in line for state in ("published", "unchanged", "failed"))


def measure(service: Service) -> dict[str, float]:
    """Return memory, files, threads, child processes and disk space of the service."""
    pid = service.process.pid
    state = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    sizes = []
    for entry in service.output.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            found = entry.lstat()
            sizes.append((found.st_ino, found.st_blocks * 512))
    releases = [each for each in (service.output / "releases").iterdir() if each.name[0].isdecimal()]
    return {
        "resident_mb": int(state["VmRSS"].split()[0]) / 1024,
        "files": len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208 - only their number counts
        "threads": int(state["Threads"]),
        "children": len(children(pid)),
        "disk_mb": sum(dict(sizes).values()) / 2**20,
        "entries": len(sizes),
        "releases": len(releases),
    }


def medians(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: round(median(sample[name] for sample in samples), 1) for name in samples[0]}


def write_visits(table: Path, number: int) -> None:
    """Replace the table in one step, so that a build never reads half of it."""
    today = datetime.now(UTC).date()
    lines = [
        f"{today - timedelta(days)},/page/{n},{(days * n + number) % 97 + 1}"
        for days in range(62)
        for n in range(12)
    ]
    fresh = table.with_suffix(".new")
    fresh.write_text("\n".join(["date,path,visits", *lines, ""]))
    fresh.rename(table)


def main() -> int:
    """Run it and print its figures; return 1 if anything grew or failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--builds", type=int, default=2000)
    parser.add_argument("--changed-every", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reportgen-soak-") as folder:
        figures = soak(Path(folder), options.builds, options.changed_every)
    print(json.dumps(figures, indent=1))  # noqa: T201 - it is a script
    return int(bool(figures["failed"] or figures["wrong"] or figures["grown"]))


if __name__ == "__main__":
    sys.exit(main())
