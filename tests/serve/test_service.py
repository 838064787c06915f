"""`reportgen serve` as a process: it starts, builds, serves new releases, and stops."""

import json
import os
import signal
import socket
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reportgen import __version__
from reportgen.core.errors import TimedOut
from reportgen.publish.history import BuildResult, read_runs, record
from reportgen.publish.release import current_release, lock_output
from tests.support.services import (
    ask,
    children,
    eventually,
    publish_files,
    reportgen,
    serving,
    site_files,
    write_table,
)

HEAVY = ("pandas", "numpy", "altair", "jinja2", "vl_convert")
DYING = """
from reportgen.cli import main as cli
from reportgen.serve import scheduler as schedule
counted = []
whole = schedule.ScheduleTrigger.get_next_fire_time
def broken(self, previous, now):
    counted.append(now)
    if len(counted) > 2:
        raise ValueError("broken")
    return whole(self, previous, now)
schedule.ScheduleTrigger.get_next_fire_time = broken
cli.main()
"""


def built(root: Path, ago_s: float, word: str = "one", **about: object) -> None:
    """Publish a small release, and record it as a build of ``ago_s`` seconds ago."""
    release = publish_files(root, site_files(word), ago_s=ago_s, **about)
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    record(root, BuildResult("published", at, release=release.id, peak_memory_bytes=10**8))


@pytest.mark.slow
def test_a_waiting_page_is_served_before_the_first_report(tmp_path: Path) -> None:
    """It reloads by itself, and tells programs by ``Retry-After`` when to try again."""
    with serving(tmp_path, "--source", "sample", "--output", "output") as service:
        for address in ("/", "/7d/", "/anything"):
            waiting = service.ask(address)
            assert (waiting.status, waiting.headers["retry-after"]) == (503, "5")
            assert waiting.headers["content-type"] == "text/html; charset=utf-8"
            assert b"The first build makes it." in waiting.body
            assert b'http-equiv="refresh" content="5"' in waiting.body
        assert service.ask("/", "HEAD").status == 503
        assert service.ask("/healthz").status == 200
        service.await_event("release_served")
        report = service.ask("/")
        assert (report.status, b"Sample data" in report.body) == (200, True)
        published = service.await_event("build_published")
        status = service.status()
        assert status["release"]["id"] == status["last_success"]["release"] == published["release"]
        assert (status["release"]["rows"], status["version"]) == (published["rows"], __version__)
        stages = ["charts", "load", "pack", "pages", "proof", "query", "svg"]
        assert sorted(status["release"]["timings_s"]) == stages
        assert service.ask("/healthz/fresh").status == 200


@pytest.mark.parametrize(
    ("ago_s", "version", "begins"),
    [(60, __version__, False), (6 * 3600 + 60, __version__, True), (60, "0.0.1", True)],
)
def test_at_its_start_it_serves_the_last_release_and_builds_if_due(
    tmp_path: Path, ago_s: int, version: str, begins: bool
) -> None:
    """Due by the schedule, or because another version built the release."""
    built(tmp_path / "output", ago_s, version=version)
    url = write_table(tmp_path / "metrics.csv")
    with serving(tmp_path, "--source", url, REPORTGEN_SCHEDULE="6h") as service:
        assert service.ask("/7d/").body == site_files("one")["7d/index.html"]
        service.await_event("schedule_started")
        time.sleep(0.3)
        assert bool(service.events("build_started")) == begins


def test_it_warns_if_the_source_of_the_last_release_is_not_set(tmp_path: Path) -> None:
    built(tmp_path / "output", 60, source="postgresql://db/site")
    with serving(tmp_path, REPORTGEN_SCHEDULE="6h") as service:
        lost = service.await_event("source_lost")
        assert "the last release is of postgresql://db/site. It stays. Set DATABASE_URL" in lost["message"]


def test_without_a_schedule_it_serves_what_is_built_by_hand_and_builds_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, "--source", "sample", REPORTGEN_SCHEDULE="manual") as service:
        assert service.await_event("no_schedule")["message"] == (
            "schedule is manual: builds only when reportgen build is run by hand"
        )
        time.sleep(0.3)
        assert not service.events("build_started")
        assert service.ask("/healthz/fresh").status == 503
        built(tmp_path / "output", 400 * 86_400)
        service.await_event("release_served")
        assert service.ask("/healthz/fresh").status == 200


def test_an_idle_service_needs_at_most_60_mb_of_memory(tmp_path: Path) -> None:
    built(tmp_path / "output", 60)
    with serving(tmp_path, "--source", "sample", REPORTGEN_SCHEDULE="6h") as service:
        service.await_event("schedule_started")
        assert service.ask("/7d/").status == 200
        assert service.resident_mb * 1024**2 < 60_000_000


@pytest.mark.slow
def test_a_release_that_is_damaged_at_the_start_is_built_again(tmp_path: Path) -> None:
    """Even if its data has not changed."""
    url, schedule = write_table(tmp_path / "metrics.csv"), {"REPORTGEN_SCHEDULE": "6h"}
    assert reportgen(tmp_path, "build", "--source", url, "--quiet", **schedule).returncode == 0
    (tmp_path / "output" / "current" / "7d" / "index.html").write_bytes(b"")
    with serving(tmp_path, "--source", url, **schedule) as service:
        assert service.ask("/7d/").status == 503
        service.await_event("build_published")
        service.await_event("release_served")
        assert service.ask("/7d/").status == 200


@pytest.mark.slow
def test_scheduled_builds_publish_only_if_data_changed(tmp_path: Path) -> None:
    """A check that finds no change counts as a success, in the status and for the page's notice."""
    url = write_table(tmp_path / "metrics.csv", 5)
    with serving(tmp_path, "--source", url, REPORTGEN_SCHEDULE="2s") as service:
        first = service.await_event("build_published")["release"]
        service.await_event("build_unchanged")
        status = service.status()
        assert (status["last_success"]["release"], status["last_success"]["changed"]) == (first, False)
        assert status["last_success"]["at"] > status["release"]["built_at"]
        assert len(list((tmp_path / "output" / "releases").iterdir())) == 1
        write_table(tmp_path / "metrics.csv", 6)
        second = service.await_event("build_published", 2)["release"]
        eventually(lambda: json.loads(service.ask("/manifest.json").body)["id"] == second, 2)


@pytest.mark.slow
def test_a_build_that_finds_no_change_loads_no_drawing_libraries(tmp_path: Path) -> None:
    url = write_table(tmp_path / "metrics.csv")
    run = ("build", "--source", url, "--if-changed", "--json")
    for state, heavy in (("published", list(HEAVY)), ("unchanged", [])):
        done = reportgen(tmp_path, *run, PYTHONPROFILEIMPORTTIME="1")
        assert json.loads(done.stdout)["status"] == state
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert [name for name in HEAVY if name in loaded] == heavy


@pytest.mark.slow
def test_a_manual_build_changes_the_page(tmp_path: Path) -> None:
    url, schedule = write_table(tmp_path / "metrics.csv"), {"REPORTGEN_SCHEDULE": "6h"}
    with serving(tmp_path, "--source", url, **schedule) as service:
        first = service.await_event("release_served")["release"]
        service.await_event("build_published")
        assert json.loads(service.ask("/manifest.json").body)["id"] == first
        done = reportgen(tmp_path, "build", "--source", url, "--json", **schedule)
        rebuilt = json.loads(done.stdout)["release"]
        time.sleep(1)
        assert json.loads(service.ask("/manifest.json").body)["id"] == rebuilt != first
        assert service.status()["last_success"]["release"] == rebuilt


@pytest.mark.slow
def test_a_manual_build_replaces_the_scheduled_one_after_it(tmp_path: Path) -> None:
    """In the second half of an interval: the regular build that follows is skipped."""
    url, schedule = write_table(tmp_path / "metrics.csv"), {"REPORTGEN_SCHEDULE": "12s"}
    check = ("build", "--source", url, "--if-changed", "--json")
    assert reportgen(tmp_path, *check, **schedule).returncode == 0
    success = read_runs(tmp_path / "output").last_success
    assert success
    with serving(tmp_path, "--source", url, **schedule) as service:
        time.sleep(max(0, (success.at + timedelta(seconds=6.3) - datetime.now(UTC)).total_seconds()))
        done = reportgen(tmp_path, *check, **schedule)
        assert json.loads(done.stdout)["status"] == "unchanged"
        service.await_event("build_skipped", within_s=8)
        assert service.events("build_started") == []


@pytest.mark.slow
def test_a_manual_build_waits_for_the_scheduled_one(tmp_path: Path) -> None:
    """They share the lock. With --no-wait the command says that another build is running."""
    with serving(tmp_path, "--source", "sample") as service:
        service.await_event("build_started")
        eventually((tmp_path / "output" / "state" / "lock").exists)
        time.sleep(0.1)
        busy = reportgen(tmp_path, "build", "--source", "sample", "--no-wait")
        assert (busy.returncode, "another build is running" in busy.stderr) == (3, True)
        waited = reportgen(tmp_path, "build", "--source", "sample")
        assert waited.returncode == 0
        assert waited.stderr.startswith("waiting for another build (process ")
        service.await_event("release_served", 2, within_s=3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_service_at_once(tmp_path: Path, number: int) -> None:
    """Idle connections do not delay it; its port is free at once."""
    built(tmp_path / "output", 1)
    with serving(tmp_path, "--source", "sample") as service:
        port = service.port
        with closing(service.connect()) as idle, closing(service.connect()) as new:
            assert ask(idle, "/healthz").status == 200
            new.connect()
            start = time.monotonic()
            assert service.stop(number) == 0
            assert time.monotonic() - start < 1.5
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
    with serving(tmp_path, "--source", "sample", "--port", port) as service:
        assert service.ask("/healthz").status == 200


def test_a_signal_right_after_the_start_is_handled(tmp_path: Path) -> None:
    with serving(tmp_path, "--source", "sample") as service:
        assert service.stop() == 0
    assert children(service.process.pid) == []


def test_a_signal_stops_a_running_build(tmp_path: Path) -> None:
    """The child process has ended, the lock is free, and no failure is recorded."""
    with serving(tmp_path, "--source", "sample") as service:
        service.await_event("build_started")
        eventually((tmp_path / "output" / "state" / "lock").exists)
        (child,) = children(service.process.pid)
        start = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - start < 5
        assert not Path(f"/proc/{child}").exists()
        assert [len(service.events(name)) for name in ("build_stopped", "build_failed")] == [1, 0]
    with lock_output(tmp_path / "output", wait=False):
        assert current_release(tmp_path / "output") is None


def test_a_response_being_sent_is_finished_after_a_signal(tmp_path: Path) -> None:
    """New connections are refused meanwhile."""
    large = {"large.txt": b"1" * 30_000_000}
    publish_files(tmp_path / "output", site_files("one") | large)
    with serving(tmp_path, "--no-schedule") as service, socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(5)
        wire.connect(("127.0.0.1", service.port))
        wire.sendall(b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        got = wire.recv(1000)
        service.process.terminate()
        service.await_event("stopping")
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", service.port))
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        got += b"".join(iter(lambda: wire.recv(1 << 20), b""))
        assert got.partition(b"\r\n\r\n")[2] == large["large.txt"]
        assert service.process.wait(5) == 0


@pytest.mark.slow
def test_a_client_that_never_reads_does_not_delay_the_stop(tmp_path: Path) -> None:
    publish_files(tmp_path / "output", site_files("one") | {"large.txt": b"1" * 30_000_000})
    with serving(tmp_path, "--no-schedule") as service, socket.socket() as wire:
        wire.connect(("127.0.0.1", service.port))
        wire.sendall(b"GET /large.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.recv(1000)
        assert service.stop(within_s=5) == 0


def test_a_disk_that_does_not_answer_does_not_delay_the_stop(tmp_path: Path) -> None:
    """Here a pipe to which nobody writes is in the place of a file."""
    built(tmp_path / "output", 0)
    pipe = tmp_path / "output" / "releases" / "hangs" / "manifest.json"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    held: list[int] = []

    def is_being_read() -> bool:
        with suppress(OSError):  # until it is open for reading
            held.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        return bool(held)

    with serving(tmp_path, "--no-schedule") as service:
        (tmp_path / "fresh").symlink_to("releases/hangs")
        (tmp_path / "fresh").rename(tmp_path / "output" / "current")
        eventually(is_being_read)
        assert service.ask("/7d/").status == 200
        assert service.stop(within_s=5) == 0
    os.close(*held)


def test_a_killed_build_does_not_affect_readers_and_is_retried(tmp_path: Path) -> None:
    """As the kernel kills it if memory is short."""
    built(tmp_path / "output", 7 * 3600)
    with serving(tmp_path, "--source", "sample", REPORTGEN_SCHEDULE="6h") as service:
        service.await_event("build_started")
        eventually(lambda: children(service.process.pid))
        os.kill(children(service.process.pid)[0], signal.SIGKILL)
        failed = service.await_event("build_failed")
        assert (failed["level"], failed["message"]) == ("error", "the build was killed (out of memory?)")
        assert service.ask("/7d/").body == site_files("one")["7d/index.html"]
        status = service.status()
        assert (status["consecutive_failures"], status["last_failure"]["message"]) == (1, failed["message"])
        at = datetime.fromisoformat(service.await_event("build_again")["at"])
        assert 10 < (at - datetime.now(UTC)).total_seconds() <= 16


def test_a_build_that_hangs_is_stopped(tmp_path: Path) -> None:
    """Here the database accepts the connection and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/metrics"
        limits = {"REPORTGEN_BUILD_TIMEOUT_S": "1", "REPORTGEN_SOURCE__CONNECT_TIMEOUT_S": "60"}
        with serving(tmp_path, "--source", url, REPORTGEN_SCHEDULE="6h", **limits) as service:
            failed = service.await_event("build_failed", within_s=10)
            assert failed["message"] == str(TimedOut.after(1))
            assert failed["seconds"] > 1.2  # the build has ended itself: loading the program does not count
            assert service.ask("/").status == 503
            assert service.status()["consecutive_failures"] == 1


def test_a_process_whose_scheduler_died_exits_so_that_it_is_restarted(tmp_path: Path) -> None:
    built(tmp_path / "output", 0)
    with serving(tmp_path, "--source", "sample", command=("-c", DYING), REPORTGEN_SCHEDULE="1s") as service:
        assert service.process.wait(10) == 1
    assert service.events("broken")[0]["message"] == "the scheduler's thread has died"
    assert service.events("stopping")[0]["level"] == "error"


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        ({"REPORTGEN_SCHEDULE": "61 * * * *"}, [], "REPORTGEN_SCHEDULE"),
        ({"REPORTGEN_SCHEDULE": "0 0 31 2 *"}, [], "REPORTGEN_SCHEDULE"),
        ({}, ["--port", "{port}"], "cannot listen on 127.0.0.1:{port}: Address already in use"),
    ],
)
def test_settings_that_cannot_work_are_reported_at_the_start(
    tmp_path: Path, variables: dict[str, str], options: list[str], message: str
) -> None:
    """With exit status 2, before anything is built."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = reportgen(tmp_path, "serve", *(option.format(port=port) for option in options), **variables)
    assert done.returncode == 2
    assert message.format(port=port) in done.stderr
    assert done.stderr.startswith("error: ")
    assert not (tmp_path / "output").exists()
