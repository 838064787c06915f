"""Faults around the service: the last good report stays, the status is right, and the service recovers."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reportgen.core.errors import TimedOut
from tests.support.postgres import Database, temporary_database
from tests.support.services import Service, eventually, serving, write_table

pytestmark = pytest.mark.slow

BUILD_TIMEOUT_S = 8
"""Time limit of a build: enough for a build on a busy machine, and short enough to wait for."""

CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *now) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int done = real(id, now), file;
  char seconds[32] = "";
  if (id == CLOCK_REALTIME && (file = open(getenv("CLOCK_SET_BY"), O_RDONLY)) >= 0) {
    if (read(file, seconds, sizeof seconds - 1) > 0) now->tv_sec += atol(seconds);
    close(file);
  }
  return done;
}
"""
"""A clock that a file sets, for a process and its children."""


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    """Give a PostgreSQL server for this module."""
    with temporary_database() as server:
        yield server


@pytest.fixture(scope="module")
def service(db: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a service that reads from it every second."""
    folder = tmp_path_factory.mktemp("faults")
    limits = {
        "REPORTGEN_BUILD_TIMEOUT_S": f"{BUILD_TIMEOUT_S}", "REPORTGEN_SOURCE__CONNECT_TIMEOUT_S": "2",
        "REPORTGEN_WINDOWS": "7d",
    }  # fmt: skip
    db.stop()
    with serving(folder, DATABASE_URL=db.url, REPORTGEN_SCHEDULE="1s", **limits) as running:
        yield running


def test_a_database_that_is_down_at_the_start_is_waited_for(service: Service, db: Database) -> None:
    """The first page says that a report is coming; the status says why there is none yet."""
    failed = service.await_event("build_failed")
    assert "cannot connect" in failed["message"]
    assert service.ask("/").status == 503
    assert service.ask("/healthz").status == 200
    assert service.ask("/healthz/fresh").status == 503
    assert service.status()["consecutive_failures"] >= 1
    db.start()
    service.await_event("release_served", within_s=60)
    service.await_event("build_published")
    assert service.ask("/").status == 200
    assert service.status()["consecutive_failures"] == 0


@contextmanager
def stopped(db: Database) -> Iterator[None]:
    db.stop()
    yield
    db.start()


@contextmanager
def frozen(db: Database) -> Iterator[None]:
    db.signal(signal.SIGSTOP)
    yield
    db.signal(signal.SIGCONT)


@contextmanager
def terminated_during_a_query(db: Database) -> Iterator[None]:
    with db.locked():
        eventually(db.readers)
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reportgen'"
        )
        yield


@contextmanager
def frozen_during_a_query(db: Database) -> Iterator[None]:
    with db.locked():
        eventually(db.readers)
        frozen = db.readers()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        yield
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def proxy_fault(mode: str, db: Database) -> Iterator[None]:
    db.proxy.mode = mode
    yield
    db.proxy.mode = "pass"
    db.proxy.cut()


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (stopped, "SourceUnavailable", "cannot connect"),
        (frozen, "SourceUnavailable", "timeout"),
        (terminated_during_a_query, "SourceUnavailable", "terminating connection"),
        (frozen_during_a_query, "TimedOut", str(TimedOut.after(BUILD_TIMEOUT_S))),
        (lambda db: proxy_fault("cut", db), "SourceUnavailable", "cannot connect"),
        (lambda db: proxy_fault("cut in the middle", db), "SourceUnavailable", "closed the connection"),
        (lambda db: proxy_fault("silent", db), "SourceUnavailable", "timeout"),
    ],
    ids=["stopped", "frozen", "gone-in-query", "frozen-in-query", "cut", "cut-in-query", "silent"],
)
def test_while_the_database_fails_the_last_report_is_served(
    service: Service, db: Database, fault: Callable[[Database], object], error: str, words: str
) -> None:
    page = service.ask("/7d/")
    failures = len(service.events("build_failed"))
    assert (page.status, service.status()["consecutive_failures"]) == (200, 0)
    with fault(db):  # type: ignore[attr-defined]
        failed = service.await_event("build_failed", failures + 1)
        assert (failed["error"], words in failed["message"]) == (error, True), failed["message"]
        status = service.status()
        assert status["consecutive_failures"] >= 1
        assert status["last_failure"]["error"] == error
        assert service.ask("/7d/").body == page.body
        assert service.ask("/healthz").status == 200
    unchanged = len(service.events("build_unchanged"))
    service.await_event("build_unchanged", unchanged + 1)
    assert service.status()["consecutive_failures"] == 0
    assert service.ask("/7d/").body == page.body


def test_after_these_faults_new_data_is_shown_and_no_password_was_logged(
    service: Service, db: Database
) -> None:
    db.execute("UPDATE metrics SET visits = 4711")
    served = len(service.events("release_served"))
    service.await_event("release_served", served + 1)
    assert b"4,711" in service.ask("/7d/").body
    assert "geheim" not in "".join(service.lines) + service.ask("/status.json").body.decode()


def test_an_output_that_disappears_is_made_again(tmp_path: Path) -> None:
    """Readers do not notice. While it cannot be made, the status shows the failure even so."""
    url = write_table(tmp_path / "metrics.csv")
    with serving(tmp_path, "--source", url, REPORTGEN_SCHEDULE="1s", REPORTGEN_WINDOWS="7d") as service:
        service.await_event("release_served")
        page = service.ask("/7d/").body
        shutil.rmtree(tmp_path / "output")
        (tmp_path / "output").write_bytes(b"")
        service.await_event("build_failed", 2)
        assert service.ask("/7d/").body == page
        status = service.status()
        assert status["consecutive_failures"] >= 2
        assert "output" in status["last_failure"]["message"]
        (tmp_path / "output").unlink()
        service.await_event("release_served", 2)
        status = service.status()
        assert (status["consecutive_failures"], status["stale"]) == (0, False)


def test_a_clock_that_is_set_stops_nothing(tmp_path: Path) -> None:
    """An hour back, and forward again: builds go on, the status is fresh, and the process keeps running."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: a clock that can be set is made with one")
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"], cwd=tmp_path, check=True
    )
    setting = tmp_path / "seconds"
    setting.write_text("0")
    clock = {"LD_PRELOAD": str(tmp_path / "clock.so"), "CLOCK_SET_BY": str(setting)}
    url = write_table(tmp_path / "metrics.csv")
    with serving(
        tmp_path, "--source", url, REPORTGEN_SCHEDULE="3s", REPORTGEN_WINDOWS="7d", **clock
    ) as service:
        service.await_event("build_published")
        for number, (seconds, jump) in enumerate((("-3600", -3600), ("0", 3600)), 1):
            setting.write_text(seconds)
            jumped = service.await_event("clock_jumped", number, within_s=3)
            assert abs(jumped["seconds"] - jump) < 2
            done = len(service.events("build_unchanged"))
            start = time.monotonic()
            service.await_event("build_unchanged", done + 1, within_s=8)
            assert time.monotonic() - start < 8
            status = service.status()
            assert (status["stale"], status["consecutive_failures"]) == (False, 0)
            assert status["last_success"]["at"] <= status["now"]
            assert service.process.poll() is None
