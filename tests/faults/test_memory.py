"""The smallest machine: what the service holds while it waits, and a build beside it under a real limit."""

import json
import os
import sysconfig
import time
from pathlib import Path
from statistics import median
from threading import Event, Thread

import pytest

from tests.support.cgroups import limited
from tests.support.services import Service, children, publish_files, reportgen, serving, site_files

pytestmark = pytest.mark.slow

LIMIT_BYTES = 232 * 1024**2
"""What a machine of 256 MB leaves to its programs."""

BUILD_BYTES = 160 * 1024**2
BUILDS = 20


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and all that it has started."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident_bytes, children(pid)))


def test_a_service_that_waits_is_small(tmp_path: Path) -> None:
    """After builds and requests: the memory of a build ended with its process."""
    with serving(tmp_path, "--source", "sample", REPORTGEN_SCHEDULE="6h") as service:
        service.await_event("release_served")
        service.await_event("build_published")
        for _ in range(50):
            assert service.ask("/7d/").status == 200
        assert children(service.process.pid) == []
        assert resident_bytes(service.process.pid) < 80 * 10**6


def test_a_service_that_waits_takes_next_to_no_time(tmp_path: Path) -> None:
    """It looks for releases and trouble, all the time, on a sixteenth of a processor."""
    publish_files(tmp_path / "output", site_files("one"))
    with serving(tmp_path, "--no-schedule") as service:
        time.sleep(0.5)
        before = cpu_s(service.process.pid)
        time.sleep(3)
        assert cpu_s(service.process.pid) - before <= 0.06


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_on(service: Service, ended: Event, statuses: list[int]) -> None:
    """Read pages until told to stop, as a reader does."""
    while not ended.wait(0.05):
        statuses += [service.ask(address, accept_encoding="br").status for address in ("/", "/30d/")]


def forget_programs() -> None:
    """Drop the cached files of our libraries, so that who loads them next is charged for them."""
    for file in Path(sysconfig.get_path("platlib")).rglob("*.so*"):
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def test_service_and_builds_fit_into_the_smallest_machine(tmp_path: Path) -> None:
    """Twenty builds of the sample beside the service, while somebody reads: nothing is killed or swapped.

    And a run that finds nothing new takes a fraction of the time of one that does.
    """
    with limited(LIMIT_BYTES) as group:
        forget_programs()
        options = ("--source", "sample")
        with serving(tmp_path, *options, first=group.join, REPORTGEN_SCHEDULE="6h") as service:
            service.await_event("release_served", within_s=60)
            statuses: list[int] = []
            ended = Event()
            reader = Thread(target=read_on, args=(service, ended, statuses))
            reader.start()
            seconds: dict[bool, list[float]] = {True: [], False: []}
            for number in range(BUILDS + 3):
                wish = ["--if-changed"] if number >= BUILDS else []
                done = reportgen(
                    tmp_path, "build", *options, "--quiet", *wish,
                    first=group.join, REPORTGEN_SCHEDULE="6h",
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                success = service.runs.last_success
                assert success
                seconds[success.changed].append(success.cpu_seconds)
            ended.set()
            reader.join()
            assert (group.kills, group.swapped_bytes) == (0, 0)
            assert (set(statuses), len(statuses) > 2 * BUILDS) == ({200}, True)
            assert [len(each) for each in seconds.values()] == [BUILDS, 3]
            assert median(seconds[False]) < median(seconds[True]) / 3
            print(f"peak {group.peak_bytes} bytes; CPU seconds {seconds}")  # noqa: T201 - pytest -s shows it


def test_a_build_fits_into_160_mib(tmp_path: Path) -> None:
    """What loads pandas is gone before V8 draws: with both in one process, the kernel ends it here."""
    with limited(BUILD_BYTES) as group:
        forget_programs()
        done = reportgen(tmp_path, "build", "--source", "sample", "--json", first=group.join)
        assert (done.returncode, group.kills) == (0, 0), done.stderr
        assert 10**8 < json.loads(done.stdout)["peak_memory_bytes"] < 220 * 10**6
