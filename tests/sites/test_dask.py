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

from reportgen.publish.bucket.client import open_bucket
from reportgen.publish.bucket.layout import CURRENT, current_id
from reportgen.publish.history import read_runs
from reportgen.publish.release import current_release, is_whole
from tests.support.manysites import SMALL, begun, ended, reportgen, silent, table, written
from tests.support.services import environment, eventually
from tests.support.stores import NAME, use_store

pytestmark = pytest.mark.slow

NAMES = tuple(f"s{n}" for n in range(6))


@dataclass(frozen=True)
class Cluster:
    """A scheduler's address, and its workers by name."""

    address: str
    workers: dict[str, "subprocess.Popen[str]"]


@contextmanager
def started(folder: Path, name: str, *arguments: str, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a part of Dask in a directory of its own, logging into a file, until the block ends."""
    (folder / name).mkdir()
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder / name, stdout=log, stderr=log, text=True,
            env=environment(DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="5s", **variables),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def running(tmp_path: Path, nanny: str = "--no-nanny", **variables: str) -> Iterator[Cluster]:
    """Run a scheduler and two workers of one thread each, as an operator starts them."""
    folder = tmp_path / "dask"
    folder.mkdir()
    with ExitStack() as stack:
        scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        stack.enter_context(started(folder, "scheduler", *scheduler, **variables))
        log = folder / "scheduler.log"
        eventually(lambda: re.search(r"Scheduler at: +tcp://\S+", log.read_text()), 30, log.read_text)
        found = re.search(r"Scheduler at: +tcp://(\S+)", log.read_text())
        assert found
        command = (
            "distributed.cli.dask_worker", f"tcp://{found[1]}", "--nthreads", "1", nanny,
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
        os.kill(victim.pid, signal.SIGKILL)
        done = ended(process)
    assert done.states == {"hangs": "failed"} | dict.fromkeys(NAMES, "published")
    assert done.document["sites"][0]["error"] == "TimedOut"
    assert sound(tmp_path, *NAMES, "") == [*NAMES, ""]


def _waits(worker: "subprocess.Popen[str]", folder: Path) -> bool:
    """Return whether a worker builds the site that hangs: it holds that site's lock."""
    return (folder / "output" / "hangs" / "state" / "lock").read_text().split()[-1] == str(worker.pid)


def test_workers_publish_into_the_bucket(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each site below its prefix, by the workers; the page over all by who asked them."""
    with running(tmp_path, **use_store(store, monkeypatch)) as cluster:
        url = f"s3://{NAME}/dask"
        top = f'[output]\nbucket = "{url}"\n'
        written(tmp_path, {name: table(tmp_path, name) for name in NAMES[:3]}, SMALL + top)
        done = reportgen(tmp_path, "build", "--json", "--executor", cluster.address)
        assert done.states == dict.fromkeys(NAMES[:3], "published"), done.err
        assert in_bucket(url, *NAMES[:3], "") == here(tmp_path, *NAMES[:3], "")


def in_bucket(url: str, *names: str) -> list[str | None]:
    """Return which release of each site is current in the bucket."""
    return [current_id(open_bucket(f"{url}/{name}".rstrip("/")).read(CURRENT)) for name in names]


def here(folder: Path, *names: str) -> list[str]:
    """Return which release of each site is current where builds are asked for; there must be one."""
    found = [current_release(folder / "output" / name) for name in names]
    return [release.id for release in found if release]


SEPARATE_DIRECTORIES = '[output]\ndir = "/proc/self/cwd/output"\n'
"""A path that leads each process to its own working directory, as on machines that share no directory."""


def test_workers_that_share_no_directory_are_reported(tmp_path: Path) -> None:
    """A page over all that leaves out what they built would be worse than an error."""
    with running(tmp_path) as cluster:
        written(tmp_path, {"a": table(tmp_path, "a")}, SMALL + SEPARATE_DIRECTORIES)
        done = reportgen(tmp_path, "build", "--json", "--executor", cluster.address)
    assert (done.code, done.states) == (1, {"a": "failed"})
    assert "Let all workers share this directory" in done.document["sites"][0]["message"]
    assert read_runs(tmp_path / "output" / "a").failures == 1


def test_a_site_that_no_worker_survives_is_reported(tmp_path: Path) -> None:
    """Here a worker may be lost once; Dask's default is three times. Nannies start new workers."""
    limits = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with silent() as database, running(tmp_path, "--nanny", **limits) as cluster:
        written(tmp_path, {"eats": database.source, "s0": table(tmp_path, "s0")})
        process = begun(tmp_path, "build", "--json", "--executor", cluster.address)
        database.await_caller()
        holder = (tmp_path / "output" / "eats" / "state" / "lock").read_text().split()[-1]
        os.kill(int(holder), signal.SIGKILL)
        done = ended(process)
    assert done.states == {"eats": "failed", "s0": "published"}
    failed = done.document["sites"][0]
    assert (failed["error"], failed["retry"]) == ("KilledWorker", True)
    assert read_runs(tmp_path / "output" / "eats").failures == 1


def test_a_cluster_that_cannot_be_reached_is_reported(tmp_path: Path) -> None:
    written(tmp_path, {"a": table(tmp_path, "a")}, SMALL)
    done = reportgen(tmp_path, "build", "--json", "--executor", "dask://127.0.0.1:9")
    assert (done.code, done.document["error"], done.document["retry"]) == (1, "ClusterError", True)
    assert "no Dask scheduler answers at 127.0.0.1:9" in done.document["message"]


def test_without_dask_it_names_the_missing_extra(tmp_path: Path) -> None:
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
    assert done.code == 2
    assert "--executor needs the extra dask, which is not installed: see docs/install.md" in done.err
