"""How builds end, their record, and what `reportgen status` and /status.json make of it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from reportgen import __version__
from reportgen.build.pipeline import BuildOptions, run_build
from reportgen.build.status import due as due_of
from reportgen.build.status import (
    is_due,
    is_stale,
    site_status,
    status_lines,
    wants_a_build,
    without_details,
)
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, OutputBusy, SourceUnavailable
from reportgen.publish.history import BuildResult, Runs, State, read_runs, record
from reportgen.publish.release import lock_output
from tests.support.commands import ONE_WINDOW, Run
from tests.support.services import publish_files, serving, site_files, write_table

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SUCCESS = BuildResult("published", NOON, seconds=1.5, cpu_seconds=1.2, release="r1", peak_memory_bytes=10**8)
FAILURE = BuildResult("failed", NOON, error="SourceUnavailable", message="db: cannot connect", retry=True)
LATER = replace(FAILURE, at=NOON + timedelta(minutes=1))

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
    assert record(tmp_path, FAILURE) == Runs(None, FAILURE, 1) == read_runs(tmp_path)
    assert record(tmp_path, LATER) == Runs(None, LATER, 2) == read_runs(tmp_path)
    assert record(tmp_path, SUCCESS) == Runs(SUCCESS, LATER, 0) == read_runs(tmp_path)
    assert record(tmp_path, FAILURE) == Runs(SUCCESS, FAILURE, 1) == read_runs(tmp_path)


def test_times_are_kept_in_utc(tmp_path: Path) -> None:
    record(tmp_path, replace(SUCCESS, at=NOON.astimezone(timezone(timedelta(hours=14)))))
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
    record(tmp_path, FAILURE)
    assert read_runs(tmp_path) == Runs(None, FAILURE, 1)


def test_where_nothing_can_be_written_the_caller_remembers(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert record(tmp_path / "file", FAILURE) == Runs(None, FAILURE, 1)


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    """Scheduled and manual builds end when they end."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: record(tmp_path, replace(FAILURE, at=NOON + timedelta(n))), range(80)))
    assert read_runs(tmp_path).failures == 80


@pytest.mark.parametrize("state", ["busy", "stopped"])
def test_a_build_that_did_not_run_is_not_recorded(tmp_path: Path, state: State) -> None:
    assert record(tmp_path, BuildResult(state, NOON)) == Runs() == read_runs(tmp_path)


@pytest.mark.parametrize(
    ("error", "state", "code", "message", "retry"),
    [
        (SourceUnavailable("postgresql://a:b@h/ fails"), "failed", 1, "postgresql://***@h/ fails", True),
        (ConfigError("table: no such table"), "failed", 2, "table: no such table", False),
        (OutputBusy("output: another build runs"), "busy", 3, "output: another build runs", False),
        (ZeroDivisionError("geheim"), "failed", 1, "unexpected ZeroDivisionError: ***. REPORTGEN", False),
    ],
)  # fmt: skip
def test_an_error_becomes_a_result_without_secrets(
    error: Exception, state: State, code: int, message: str, retry: bool
) -> None:
    result = BuildResult.of_error(error, ["geheim"])
    assert (result.state, result.exit_code, result.retry) == (state, code, retry)
    assert result.error == type(error).__name__
    assert result.message.startswith(message)


@pytest.mark.parametrize("result", [SUCCESS, FAILURE, replace(FAILURE, state="busy", error="OutputBusy")])
def test_a_parent_reads_the_result_that_its_child_printed(result: BuildResult) -> None:
    read = BuildResult.of_document(json.loads(json.dumps(result.document())), result.at)
    kept = ("state", "at", "release", "peak_memory_bytes", "error", "message", "retry", "exit_code")
    assert [getattr(read, name) for name in kept] == [getattr(result, name) for name in kept]


def test_the_text_of_an_unexpected_error_is_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold anything, and the record is served as /status.json."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("geheim")

    monkeypatch.setattr("reportgen.build.pipeline.build", broken)
    with pytest.raises(ZeroDivisionError):
        run_build(config(tmp_path), BuildOptions())
    failure = read_runs(tmp_path).last_failure
    assert failure
    assert (failure.error, failure.message) == ("ZeroDivisionError", "unexpected error; see the log")


def test_a_build_that_finds_another_one_is_not_recorded(tmp_path: Path) -> None:
    with lock_output(tmp_path), pytest.raises(OutputBusy):
        run_build(config(tmp_path), BuildOptions(wait=False))
    assert read_runs(tmp_path) == Runs()


@pytest.mark.parametrize(
    ("schedule", "after_s", "stale"),
    [
        ("15m", 30 * 60, False), ("15m", 30 * 60 + 1, True),
        ("1m", 16 * 60, False), ("1m", 16 * 60 + 1, True),
        ("6h", 12 * 3600, False), ("6h", 12 * 3600 + 1, True),
        ("0 * * * *", 2 * 3600, False), ("0 * * * *", 2 * 3600 + 1, True),
        ("manual", 10**8, False),
    ],
)  # fmt: skip
def test_a_report_is_stale_when_a_build_is_late_by_an_interval(
    tmp_path: Path, schedule: str, after_s: int, stale: bool
) -> None:
    """By one interval, and by 15 minutes at least."""
    due = due_of(config(tmp_path, schedule=schedule), Runs(SUCCESS))
    assert is_stale(due, NOON + timedelta(seconds=after_s)) == stale


@pytest.mark.parametrize("schedule", ["15m", "manual"])
def test_what_was_never_built_is_stale(tmp_path: Path, schedule: str) -> None:
    assert site_status(config(tmp_path, schedule=schedule), Runs(None, FAILURE, 1), NOON)["stale"]


def test_without_a_schedule_nothing_is_ever_due_or_overdue(tmp_path: Path) -> None:
    settings, later = config(tmp_path, schedule="manual"), NOON + timedelta(days=400)
    document = site_status(settings, Runs(SUCCESS, FAILURE, 1), later)
    assert (document["schedule"], document["stale"]) == ("manual", False)
    assert document["next_due"] is document["overdue_after"] is None
    assert list(status_lines(document))[-2:] == [
        "next due      when a build is run by hand (schedule manual)", "state         fresh"
    ]  # fmt: skip


def test_the_document_tells_all_that_is_known(tmp_path: Path) -> None:
    release = publish_files(
        tmp_path, site_files("one"), source="sample", timings_s={"query": 0.1}, peak_memory_bytes=10**8
    )
    document = site_status(config(tmp_path), Runs(SUCCESS, FAILURE, 0), NOON + timedelta(minutes=5))
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
        "panels": [],
    }  # fmt: skip


def test_panels_that_were_not_renewed_are_kept_and_shown_without_reasons_to_the_public(
    tmp_path: Path,
) -> None:
    panels = [{"panel": "a", "windows": ["7d"], "as_of": "2026-11-22T10:00:00Z", "message": "a.md:3: wrong"}]
    runs = record(tmp_path, replace(SUCCESS, details={"panels": panels, "rows": 3}))
    assert read_runs(tmp_path) == runs
    document = site_status(config(tmp_path), runs, NOON)
    assert document["panels"] == panels
    assert "panels" not in document["last_success"]
    assert "panel         a (7d) is shown as of 2026-11-22T10:00:00Z: a.md:3: wrong" in status_lines(document)
    assert without_details(document)["panels"] == [panels[0] | {"message": None}]


NEVER = ["published     nothing yet", "last success  none", "state         STALE: no build has succeeded yet"]
DUE = "next due      2026-11-23T12:15:00Z (schedule */15 * * * *, UTC)"
UNCHANGED = [
    "published     nothing yet",
    "last success  2026-11-23T12:00:00Z: nothing new, 1.5 s, 1.2 s of CPU",
    "last failure  2026-11-23T12:00:00Z, and a success since: db: cannot connect",
    DUE,
    "state         fresh",
]
LATE = [
    "published     nothing yet",
    "last success  2026-11-23T12:00:00Z: published, 1.5 s, 1.2 s of CPU",
    "last failure  2026-11-23T12:00:00Z, 3 since the last success: db: cannot connect",
    DUE,
    "state         STALE: a build is overdue",
]


@pytest.mark.parametrize(
    ("runs", "minutes", "lines"),
    [
        (Runs(), 0, NEVER),
        (Runs(replace(SUCCESS, state="unchanged"), FAILURE, 0), 0, UNCHANGED),
        (Runs(SUCCESS, FAILURE, 3), 60, LATE),
    ],
)
def test_people_read_it_in_lines(tmp_path: Path, runs: Runs, minutes: int, lines: list[str]) -> None:
    document = site_status(config(tmp_path), runs, NOON + timedelta(minutes=minutes))
    assert list(status_lines(document)) == lines


def test_the_page_over_many_sites_may_be_the_last_release_of_an_output(tmp_path: Path) -> None:
    """Its manifest has neither rows nor a date. A file with ``[[sites]]`` became one site since."""
    release = publish_files(tmp_path, {"index.html": b"-"}, rows=None, as_of=None)
    lines = list(status_lines(site_status(config(tmp_path), Runs(), NOON)))
    assert lines[0] == f"published     {release.id}"


def test_status_exits_with_4_when_stale_and_0_when_fresh(run: Run, tmp_path: Path) -> None:
    """A monitor needs no more than that; what it prints, /status.json says as well."""
    never = run("status")
    assert (never.returncode, never.stderr) == (4, "")
    publish_files(tmp_path / "output", site_files("one"))
    record(tmp_path / "output", replace(SUCCESS, at=datetime.now(UTC)))
    fresh = run("status", "--json")
    assert (fresh.returncode, fresh.stderr) == (0, "")
    assert run("status").stdout.splitlines()[-1] == "state         fresh"
    with serving(tmp_path, "--no-schedule") as service:
        assert service.ask("/healthz/fresh").status == 200
        assert service.status() | {"now": ""} == json.loads(fresh.stdout) | {"now": ""}
    record(tmp_path / "output", replace(SUCCESS, at=datetime.now(UTC) - timedelta(minutes=31)))
    assert run("status").returncode == 4


def the_page_and_the_status_agree(folder: Path, document: dict[str, str]) -> None:
    """When the next build is due, and how late it may be before a banner says so."""
    page = (folder / "output" / "current" / "index.html").read_text()
    found = re.search(r'data-due="([^"]+)" data-grace="(\d+)"', page)
    assert found
    due = datetime.fromisoformat(found[1])
    assert due == datetime.fromisoformat(document["next_due"])
    assert due + timedelta(seconds=int(found[2])) == datetime.fromisoformat(document["overdue_after"])


@pytest.mark.slow
def test_builds_of_the_command_line_are_on_record(run: Run, tmp_path: Path) -> None:
    """Success, failure and the time of a check that found nothing new; not the report of a past day."""
    url = write_table(tmp_path / "metrics.csv")
    assert run("build", "--source", url, "--quiet", **ONE_WINDOW).returncode == 0
    first = read_runs(tmp_path / "output")
    assert first.last_success
    assert first.last_success.changed
    assert 0 < first.last_success.seconds < 60
    assert first.last_success.cpu_seconds > 0
    assert first.last_success.timings_s["query"] > 0
    assert first.last_success.peak_memory_bytes > 10**7
    the_page_and_the_status_agree(tmp_path, json.loads(run("status", "--json").stdout))
    assert run("build", "--source", url, "--if-changed", "--quiet", **ONE_WINDOW).returncode == 0
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
    assert run("build", "--source", url, "--as-of", "2026-11-01", "--quiet", **ONE_WINDOW).returncode == 0
    assert read_runs(tmp_path / "output") == third


@pytest.mark.parametrize(
    ("minutes", "version", "due"),
    [(1, __version__, False), (14, __version__, False), (15, __version__, True), (1, "0.0.1", True),
     (-60, __version__, True)],
)  # fmt: skip
def test_at_its_start_a_service_knows_whether_a_build_is_due(
    tmp_path: Path, minutes: int, version: str, due: bool
) -> None:
    """By the schedule, after an upgrade, and where the clock was put back since the last build."""
    settings = config(tmp_path, schedule="15m")
    assert is_due(settings, NOON)
    publish_files(tmp_path, site_files("one"), version=version)
    assert is_due(settings, NOON)
    record(tmp_path, SUCCESS)
    assert is_due(settings, NOON + timedelta(minutes=minutes)) == due


@pytest.mark.parametrize(
    ("schedule", "minutes", "wanted"),
    [("6h", 345, False), ("6h", 359.5, True), ("15m", 13, False), ("15m", 14.5, True), ("1m", 0.4, False)],
)
def test_a_site_takes_part_in_a_run_shortly_before_its_time_and_no_sooner(
    tmp_path: Path, schedule: str, minutes: float, wanted: bool
) -> None:
    """Its last build began shortly after it was due. A run for another site does not build it early."""
    publish_files(tmp_path, site_files("one"), version=__version__)
    record(tmp_path, SUCCESS)
    found = wants_a_build(config(tmp_path, schedule=schedule), NOON + timedelta(minutes=minutes))
    assert found == wanted


def test_no_writer_leaves_anything_but_the_record(tmp_path: Path) -> None:
    record(tmp_path, SUCCESS)
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["runs.json", "runs.json.lock"]
