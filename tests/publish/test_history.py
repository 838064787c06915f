"""The record of runs, and what `reportgen status` and /status.json make of it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from reportgen import __version__
from reportgen.build.status import due as due_of
from reportgen.build.status import in_words, is_due, is_stale, status, wants_a_build
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, OutputBusy, SourceUnavailable
from reportgen.publish.history import (
    Failure,
    Runs,
    Success,
    read_runs,
    record_failure,
    record_success,
    recorded,
)
from tests.support.commands import Run
from tests.support.services import publish_files, serving, site_files, write_table

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SUCCESS = Success(NOON, "r1", changed=True, seconds=1.5, cpu_seconds=1.2, peak_memory_bytes=10**8)
FAILURE = Failure(NOON, "SourceUnavailable", "db: cannot connect", retry=True)

ZONELESS = {
    "last_success": {
        "at": "2026-11-23T12:00:00", "release": "r", "changed": True, "seconds": 1, "cpu_seconds": 1,
        "peak_memory_bytes": 1,
    },
    "last_failure": None,
    "failures": 0,
}  # fmt: skip


def config(root: Path, **settings: object) -> Config:
    return Config.model_validate({"output": {"dir": str(root)}, **settings})


def test_failures_count_until_a_success(tmp_path: Path) -> None:
    """Each writer returns what a reader then reads."""
    assert read_runs(tmp_path) == Runs()
    assert record_failure(tmp_path, FAILURE) == Runs(None, FAILURE, 1) == read_runs(tmp_path)
    assert record_failure(tmp_path, FAILURE) == Runs(None, FAILURE, 2) == read_runs(tmp_path)
    assert record_success(tmp_path, SUCCESS) == Runs(SUCCESS, FAILURE, 0) == read_runs(tmp_path)
    assert record_failure(tmp_path, FAILURE) == Runs(SUCCESS, FAILURE, 1) == read_runs(tmp_path)


def test_times_are_kept_in_utc(tmp_path: Path) -> None:
    record_success(tmp_path, replace(SUCCESS, at=NOON.astimezone(timezone(timedelta(hours=14)))))
    stored = json.loads((tmp_path / "state" / "runs.json").read_text())
    assert stored["last_success"]["at"] == "2026-11-23T12:00:00+00:00"


@pytest.mark.parametrize(
    "stored",
    [
        b"", b"{", b"[]", b"null", b"7", b"\xff", b"{}", b'{"last_success": 1}',
        b'{"last_success": null, "last_failure": null, "failures": "many"}',
        b'{"last_success": {"at": "yesterday"}, "last_failure": null, "failures": 0}',
        b'{"last_success": {"at": 3}, "last_failure": null, "failures": 0}',
        b'{"last_success": {"at": "2026-11-23T12:00:00+00:00"}, "last_failure": null, "failures": 0}',
        json.dumps(ZONELESS).encode(),
    ],
)  # fmt: skip
def test_a_damaged_record_counts_as_none_and_is_replaced(tmp_path: Path, stored: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "runs.json").write_bytes(stored)
    assert read_runs(tmp_path) == Runs()
    record_failure(tmp_path, FAILURE)
    assert read_runs(tmp_path) == Runs(None, FAILURE, 1)


def test_where_nothing_can_be_written_the_caller_remembers(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert record_failure(tmp_path / "file", FAILURE) == Runs(None, FAILURE, 1)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Scheduled and manual builds end when they end."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: record_failure(tmp_path, FAILURE), range(80)))
    assert read_runs(tmp_path).failures == 80


def test_a_build_notes_its_own_success(tmp_path: Path) -> None:
    with recorded(tmp_path) as record:
        record(NOON, "r1", {"query": 0.1}, 10**8, changed=False)
    runs = read_runs(tmp_path)
    assert runs.last_success
    assert (runs.last_success.at, runs.last_success.release, runs.last_success.changed) == (NOON, "r1", False)
    assert 0 <= runs.last_success.seconds < 5
    assert runs.last_success.cpu_seconds > 0
    assert runs.last_success.timings_s == {"query": 0.1}
    assert runs.last_success.peak_memory_bytes == 10**8


@pytest.mark.parametrize(
    ("error", "message", "retry"),
    [
        (SourceUnavailable("postgresql://app:geheim@h/db is down"), "postgresql://***@h/db is down", True),
        (ConfigError("table: no such table"), "table: no such table", False),
        (ZeroDivisionError("geheim"), "unexpected error; see the log", False),
    ],
)
def test_a_build_notes_what_went_wrong_and_whether_a_retry_may_help(
    tmp_path: Path, error: Exception, message: str, retry: bool
) -> None:
    """No secret, and nothing of a bug's own words, which may hold one."""
    with pytest.raises(type(error)), recorded(tmp_path):
        raise error
    failure = read_runs(tmp_path).last_failure
    assert failure
    assert (failure.error, failure.message, failure.retry) == (type(error).__name__, message, retry)


def test_that_another_build_runs_is_no_failure(tmp_path: Path) -> None:
    with pytest.raises(OutputBusy), recorded(tmp_path):
        raise OutputBusy("busy")
    assert read_runs(tmp_path) == Runs()


@pytest.mark.parametrize(
    ("schedule", "after_s", "stale"),
    [
        ("15m", 30 * 60, False), ("15m", 30 * 60 + 1, True),
        ("1m", 16 * 60, False), ("1m", 16 * 60 + 1, True),
        ("6h", 12 * 3600, False), ("6h", 12 * 3600 + 1, True),
        ("0 * * * *", 2 * 3600, False), ("0 * * * *", 2 * 3600 + 1, True),
    ],
)  # fmt: skip
def test_a_report_is_stale_when_a_build_is_late_by_an_interval(
    tmp_path: Path, schedule: str, after_s: int, stale: bool
) -> None:
    """By one interval, and by 15 minutes at least."""
    due = due_of(config(tmp_path, schedule=schedule), Runs(SUCCESS))
    assert is_stale(due, NOON + timedelta(seconds=after_s)) == stale


def test_what_was_never_built_is_stale(tmp_path: Path) -> None:
    assert is_stale(due_of(config(tmp_path), Runs(None, FAILURE, 1)), NOON)


def test_the_document_tells_all_that_is_known(tmp_path: Path) -> None:
    release = publish_files(
        tmp_path, site_files("one"), source="sample", timings_s={"query": 0.1}, peak_memory_bytes=10**8
    )
    document = status(config(tmp_path), Runs(SUCCESS, FAILURE, 0), NOON + timedelta(minutes=5))
    assert document.pop("release") == {
        "id": release.id, "built_at": release.manifest["built_at"], "as_of": release.manifest["as_of"],
        "version": __version__, "source": "sample", "rows": 1, "notes": None, "timings_s": {"query": 0.1},
        "peak_memory_bytes": 10**8,
    }  # fmt: skip
    assert document == {
        "schema_version": 1,
        "version": __version__,
        "now": "2026-11-23T12:05:00Z",
        "schedule": "*/15 * * * *",
        "timezone": "UTC",
        "next_due": "2026-11-23T12:15:00Z",
        "overdue_after": "2026-11-23T12:30:00Z",
        "stale": False,
        "consecutive_failures": 0,
        "last_success": {
            "at": "2026-11-23T12:00:00Z", "release": "r1", "changed": True, "seconds": 1.5,
            "cpu_seconds": 1.2, "peak_memory_bytes": 10**8, "timings_s": {},
        },
        "last_failure": {
            "at": "2026-11-23T12:00:00Z", "error": "SourceUnavailable", "message": "db: cannot connect",
            "retry": True,
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("runs", "minutes", "lines"),
    [
        (
            Runs(),
            0,
            ["published     nothing yet", "last success  none", "state         STALE: a build is overdue"],
        ),
        (
            Runs(replace(SUCCESS, changed=False), FAILURE, 0),
            0,
            [
                "published     nothing yet",
                "last success  2026-11-23T12:00:00Z: nothing new, 1.5 s, 1.2 s of CPU",
                "last failure  2026-11-23T12:00:00Z, and a success since: db: cannot connect",
                "next due      2026-11-23T12:15:00Z (schedule */15 * * * *, UTC)",
                "state         fresh",
            ],
        ),
        (
            Runs(SUCCESS, FAILURE, 3),
            60,
            [
                "published     nothing yet",
                "last success  2026-11-23T12:00:00Z: published, 1.5 s, 1.2 s of CPU",
                "last failure  2026-11-23T12:00:00Z, 3 since the last success: db: cannot connect",
                "next due      2026-11-23T12:15:00Z (schedule */15 * * * *, UTC)",
                "state         STALE: a build is overdue",
            ],
        ),
    ],
)
def test_people_read_it_in_lines(tmp_path: Path, runs: Runs, minutes: int, lines: list[str]) -> None:
    document = status(config(tmp_path), runs, NOON + timedelta(minutes=minutes))
    assert list(in_words(document)) == lines


def test_status_exits_with_4_when_stale_and_0_when_fresh(run: Run, tmp_path: Path) -> None:
    """A monitor needs no more than that; what it prints, /status.json says as well."""
    never = run("status")
    assert (never.returncode, never.stderr) == (4, "")
    publish_files(tmp_path / "output", site_files("one"))
    record_success(tmp_path / "output", replace(SUCCESS, at=datetime.now(UTC)))
    fresh = run("status", "--json")
    assert (fresh.returncode, fresh.stderr) == (0, "")
    assert run("status").stdout.splitlines()[-1] == "state         fresh"
    with serving(tmp_path, "--no-schedule") as service:
        assert service.ask("/healthz/fresh").status == 200
        assert service.status() | {"now": ""} == json.loads(fresh.stdout) | {"now": ""}
    record_success(tmp_path / "output", replace(SUCCESS, at=datetime.now(UTC) - timedelta(minutes=31)))
    assert run("status").returncode == 4


def the_page_and_the_status_agree(folder: Path, document: dict[str, str]) -> None:
    """When the next build is due, and how late it may be before a banner says so."""
    page = (folder / "output" / "current" / "index.html").read_text()
    found = re.search(r'data-due="([^"]+)" data-grace="(\d+)"', page)
    assert found
    due = datetime.fromisoformat(found[1])
    assert due == datetime.fromisoformat(document["next_due"])
    assert due + timedelta(seconds=int(found[2])) == datetime.fromisoformat(document["overdue_after"])


def test_builds_of_the_command_line_are_on_record(run: Run, tmp_path: Path) -> None:
    """Success, failure and the time of a check that found nothing new; not the report of a past day."""
    url = write_table(tmp_path / "metrics.csv")
    assert run("build", "--source", url, "--quiet").returncode == 0
    first = read_runs(tmp_path / "output")
    assert first.last_success
    assert first.last_success.changed
    the_page_and_the_status_agree(tmp_path, json.loads(run("status", "--json").stdout))
    assert run("build", "--source", url, "--if-changed", "--quiet").returncode == 0
    second = read_runs(tmp_path / "output")
    assert second.last_success
    assert not second.last_success.changed
    assert second.last_success.at > first.last_success.at
    assert second.last_success.release == first.last_success.release
    assert run("build", "--source", "absent.csv", "--quiet").returncode == 1
    third = read_runs(tmp_path / "output")
    assert (third.failures, third.last_success) == (1, second.last_success)
    assert third.last_failure
    assert "absent.csv" in third.last_failure.message
    assert run("build", "--source", url, "--as-of", "2026-11-01", "--quiet").returncode == 0
    assert read_runs(tmp_path / "output") == third


@pytest.mark.parametrize(
    ("minutes", "version", "due"),
    [
        (1, __version__, False),
        (14, __version__, False),
        (15, __version__, True),
        (1, "0.0.1", True),
        (-60, __version__, True),
    ],
)
def test_at_its_start_a_service_knows_whether_a_build_is_due(
    tmp_path: Path, minutes: int, version: str, due: bool
) -> None:
    """By the schedule, after an upgrade, and where the clock was put back since the last build."""
    settings = config(tmp_path, schedule="15m")
    assert is_due(settings, NOON)
    publish_files(tmp_path, site_files("one"), version=version)
    assert is_due(settings, NOON)
    record_success(tmp_path, SUCCESS)
    assert is_due(settings, NOON + timedelta(minutes=minutes)) == due


@pytest.mark.parametrize(
    ("schedule", "minutes", "wanted"),
    [("6h", 345, False), ("6h", 359.5, True), ("15m", 13, False), ("15m", 14.5, True), ("1m", 0.4, False)],
)
def test_a_site_takes_part_in_a_round_shortly_before_its_time_and_no_sooner(
    tmp_path: Path, schedule: str, minutes: float, wanted: bool
) -> None:
    """Its last build began a little after its round; another site's round is no reason to build it."""
    publish_files(tmp_path, site_files("one"), version=__version__)
    record_success(tmp_path, SUCCESS)
    found = wants_a_build(config(tmp_path, schedule=schedule), NOON + timedelta(minutes=minutes))
    assert found == wanted


def test_no_writer_leaves_anything_but_the_record(tmp_path: Path) -> None:
    record_success(tmp_path, SUCCESS)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["runs.json", "runs.json.lock"]
