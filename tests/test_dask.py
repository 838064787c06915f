"""Sites on a cluster: a real Dask scheduler and two worker processes, one of them killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reportgen.bucket import open_bucket
from reportgen.ledger import CURRENT, parsed
from reportgen.publish import current_release, is_whole
from tests.manysites import SMALL, begun, builders, ended, reportgen, silent, table, written
from tests.services import environment, eventually
from tests.stores import NAME, seaweed, variables

NAMES = tuple(f"s{n}" for n in range(6))


@dataclass(frozen=True)
class Cluster:
    """A scheduler's address, and its workers by name."""

    address: str
    workers: dict[str, "subprocess.Popen[str]"]


@contextmanager
def started(folder: Path, name: str, *arguments: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a part of Dask, logging into a file, until the block ends."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, stdout=log, stderr=log, text=True,
            env=environment(DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="5s", **variables),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def running(tmp_path: Path, **variables: str) -> Iterator[Cluster]:
    """Run a scheduler and two workers of one thread each, as an operator starts them."""
    folder = tmp_path / "dask"
    folder.mkdir()
    with ExitStack() as stack:
        scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        stack.enter_context(started(folder, "scheduler", *scheduler))
        log = folder / "scheduler.log"
        eventually(lambda: re.search(r"Scheduler at: +tcp://\S+", log.read_text()), 30, log.read_text)
        found = re.search(r"Scheduler at: +tcp://(\S+)", log.read_text())
        assert found
        command = (
            "distributed.cli.dask_worker", f"tcp://{found[1]}", "--nthreads", "1", "--no-nanny",
            "--no-dashboard",
        )  # fmt: skip
        workers = {
            name: stack.enter_context(started(folder, name, *command, "--name", name, **variables))
            for name in ("one", "two")
        }
        for name in workers:
            eventually(lambda name=name: "Registered to" in (folder / f"{name}.log").read_text(), 30)
        yield Cluster(f"dask://{found[1]}", workers)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Give a cluster that knows of nothing but this machine."""
    with running(tmp_path) as found:
        yield found


def sound(folder: Path, *names: str) -> list[str]:
    """Return which sites have a whole release."""
    found = {name: current_release(folder / "output" / name) for name in names}
    return [name for name, release in found.items() if release and is_whole(release)]


def test_sites_are_built_on_two_workers_one_of_which_is_killed(tmp_path: Path, cluster: Cluster) -> None:
    """Every site ends built or reported: those of the dead worker are built on the other."""
    with silent() as database:
        sites = {"hangs": f"build_timeout_s = 8\n{database.source}"}
        written(tmp_path, sites | {name: table(tmp_path, name) for name in NAMES})
        process = begun(tmp_path, "build", "--json", "--executor", cluster.address)
        database.await_caller()
        (victim,) = [worker for worker in cluster.workers.values() if _waits(worker, tmp_path)]
        left = builders(victim.pid)
        os.kill(victim.pid, signal.SIGKILL)
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in left), 10)
        done = ended(process)
    assert done.states == {"hangs": "failed"} | dict.fromkeys(NAMES, "published")
    assert done.document["sites"][0]["error"] == "TimedOut"
    assert sound(tmp_path, *NAMES, "") == [*NAMES, ""]


def _waits(worker: "subprocess.Popen[str]", folder: Path) -> bool:
    """Tell whether a worker has the site that hangs: its builder has taken that site's lock."""
    holder = (folder / "output" / "hangs" / "state" / "lock").read_text().split()[-1]
    return int(holder) in builders(worker.pid)


def test_workers_publish_into_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each site below its prefix, by the workers; the page over all by who asked them."""
    stored = tmp_path / "stored"
    stored.mkdir()
    with seaweed(stored) as address, running(tmp_path, **variables(address)) as cluster:
        url = f"s3://{NAME}/dask"
        top = f'[output]\nbucket = "{url}"\n'
        written(tmp_path, {name: table(tmp_path, name) for name in NAMES[:3]}, SMALL + top)
        for name, value in variables(address).items():
            monkeypatch.setenv(name, value)
        done = reportgen(tmp_path, "build", "--json", "--executor", cluster.address, **variables(address))
        assert done.states == dict.fromkeys(NAMES[:3], "published"), done.err
        kept = {name: open_bucket(f"{url}/{name}".rstrip("/")).read(CURRENT) for name in (*NAMES[:3], "")}
    current = {name: current_release(tmp_path / "output" / name) for name in kept}
    assert {name: found and parsed(found[0]).release for name, found in kept.items()} == {
        name: release and release.id for name, release in current.items()
    }
    assert None not in kept.values()


def test_a_build_that_is_killed_takes_no_worker_with_it(tmp_path: Path, cluster: Cluster) -> None:
    """Each thread of a worker builds in a process of its own."""
    with silent() as database:
        written(tmp_path, {"eats": database.source} | {name: table(tmp_path, name) for name in NAMES[:2]})
        process = begun(tmp_path, "build", "--json", "--executor", cluster.address)
        database.await_caller()
        (builder,) = [
            pid
            for each in cluster.workers.values()
            for pid in builders(each.pid)
            if str(pid) in (tmp_path / "output" / "eats" / "state" / "lock").read_text()
        ]
        os.kill(builder, signal.SIGKILL)
        done = ended(process)
    assert done.states == {"eats": "failed", "s0": "published", "s1": "published"}
    assert done.document["sites"][0]["message"] == "the build was killed (out of memory?)"
    assert [worker.poll() for worker in cluster.workers.values()] == [None, None]


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path) -> None:
    written(tmp_path, {"a": table(tmp_path, "a")}, SMALL)
    done = reportgen(tmp_path, "build", "--json", "--executor", "dask://127.0.0.1:9")
    assert (done.code, done.document["error"], done.document["retry"]) == (1, "ClusterError", True)
    assert "no Dask scheduler answers at 127.0.0.1:9" in done.document["message"]


def test_without_dask_it_says_what_to_install(tmp_path: Path) -> None:
    """A package that is broken, or not there, is the same to us."""
    written(tmp_path, {"a": table(tmp_path, "a")})
    (tmp_path / "distributed.py").write_text("raise ImportError\n")
    done = reportgen(
        tmp_path,
        "build",
        "--executor",
        "dask://x:1",
        PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
    )
    assert (done.code, 'pip install "reportgen[dask]"' in done.err) == (2, True)
