"""The smallest machine: memory of the idle service, and of a build beside it under a real limit."""

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

SQL = "SELECT date, sum(visits) AS value FROM metrics WHERE date BETWEEN :first AND :last GROUP BY 1"
SPEC = {"mark": "bar", "encoding": {"x": {"field": "date"}, "y": {"field": "value", "type": "quantitative"}}}
BUILDS = 8


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and its descendants."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(map(resident_bytes, children(pid)))


def test_an_idle_service_takes_little_memory(tmp_path: Path) -> None:
    """After builds and requests: the memory of a build is freed with its process."""
    with serving(tmp_path, "--source", "sample", REPORTGEN_SCHEDULE="6h") as service:
        service.await_event("release_served")
        service.await_event("build_published")
        for _ in range(50):
            assert service.ask("/7d/").status == 200
        assert children(service.process.pid) == []
        assert resident_bytes(service.process.pid) < 80 * 10**6


def test_an_idle_service_takes_little_cpu_time(tmp_path: Path) -> None:
    """It checks for releases and faults all the time, on a sixteenth of a processor."""
    publish_files(tmp_path / "output", site_files("one"))
    with serving(tmp_path, "--no-schedule") as service:
        time.sleep(0.5)
        before = cpu_s(service.process.pid)
        time.sleep(3)
        assert cpu_s(service.process.pid) - before <= 0.06


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_pages(service: Service, ended: Event, statuses: list[int]) -> None:
    """Read pages until ``ended`` is set, as a reader does."""
    while not ended.wait(0.05):
        statuses += [service.ask(address, accept_encoding="br").status for address in ("/", "/30d/")]


def drop_cached_libraries() -> None:
    """Drop cached libraries, so that their memory counts for the process that loads them next."""
    for file in Path(sysconfig.get_path("platlib")).rglob("*.so*"):
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def test_service_and_builds_fit_into_the_smallest_machine(tmp_path: Path) -> None:
    """Eight builds of the sample beside the service, while pages are read: nothing is killed or swapped.

    And a build that finds no change takes less than a third of the CPU time of one that does.
    """
    with limited(LIMIT_BYTES) as group:
        drop_cached_libraries()
        options = ("--source", "sample")
        with serving(tmp_path, *options, first=group.join, REPORTGEN_SCHEDULE="6h") as service:
            service.await_event("release_served", within_s=60)
            statuses: list[int] = []
            ended = Event()
            reader = Thread(target=read_pages, args=(service, ended, statuses))
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


@pytest.mark.parametrize("panels", [0, 10])
def test_a_build_fits_into_160_mib(tmp_path: Path, panels: int) -> None:
    """The process with pandas has ended before V8 draws: one process with both would be killed here.

    Half of the panels have specifications of their own, which one more process draws.
    """
    (tmp_path / "reportgen.toml").touch()
    for number in range(panels):
        (tmp_path / "panels").mkdir(exist_ok=True)
        drawn = f"```vega-lite\n{json.dumps(SPEC)}\n```\n" if number % 2 else ""
        text = f"---\ntitle: Panel {number}\n---\n```sql\n{SQL}\n```\n{drawn}"
        (tmp_path / "panels" / f"{number}.md").write_text(text, encoding="utf-8")
    with limited(BUILD_BYTES) as group:
        drop_cached_libraries()
        done = reportgen(tmp_path, "build", "--source", "sample", "--json", first=group.join)
        assert (done.returncode, group.kills) == (0, 0), done.stderr
        assert 10**8 < json.loads(done.stdout)["peak_memory_bytes"] < 220 * 10**6
