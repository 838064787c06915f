"""Recovery: builds that hang, releases that lost a file, and misleading files in the working directory."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reportgen.build.status import without_details
from reportgen.core.errors import OutputBusy, TimedOut
from reportgen.core.processes import Commands
from reportgen.publish.history import read_runs
from reportgen.publish.release import lock_output
from reportgen.serve.auth import client_address
from reportgen.serve.worker import Worker
from tests.support.commands import Run
from tests.support.manysites import silent

pytestmark = pytest.mark.slow


def test_a_build_that_hangs_ends_itself_and_frees_the_lock(tmp_path: Path, run: Run) -> None:
    """Also without a parent: by hand, or if its service was killed. It is an error like any other."""
    with silent() as database:
        environment = {**os.environ, "DATABASE_URL": database.url, "REPORTGEN_BUILD_TIMEOUT_S": "4"}
        command = [sys.executable, "-m", "reportgen", "build", "--json"]
        hanging = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
        database.await_caller()
        with pytest.raises(OutputBusy), lock_output(tmp_path / "output", wait=False):
            pass
        out, _ = hanging.communicate(timeout=30)
    assert hanging.returncode == 1
    assert json.loads(out) == {
        "status": "failed",
        "error": "TimedOut",
        "message": str(TimedOut.after(4)),
        "exit_code": 1,
        "retry": True,
    }
    failure = read_runs(tmp_path / "output").last_failure
    assert failure is not None
    assert (failure.error, failure.retry) == ("TimedOut", True)
    assert run("build", "--no-wait", "--quiet").returncode == 0


@pytest.mark.parametrize("name", ["30d/index.html", "7d/daily.csv", "assets"])
def test_a_release_that_lost_a_file_is_built_again_without_new_data(
    tmp_path: Path, run: Run, name: str
) -> None:
    assert run("build", "--quiet").returncode == 0
    assert json.loads(run("build", "--if-changed", "--json").stdout)["status"] == "unchanged"
    lost = tmp_path / "output" / "current" / name
    for file in lost.iterdir() if lost.is_dir() else [lost]:
        file.unlink()
    assert json.loads(run("build", "--if-changed", "--json").stdout)["status"] == "published"
    assert (tmp_path / "output" / "current" / name).exists()


def test_a_file_in_the_working_directory_replaces_no_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "calendar.py").write_text("raise RuntimeError('the wrong calendar')\n")
    monkeypatch.chdir(tmp_path)
    worker = Worker(
        tmp_path / "output", ["--quiet"], timeout_s=60, clock=lambda: datetime.now(UTC), commands=Commands()
    )
    assert worker.run().state == "published"


def test_a_build_without_changes_reports_its_own_stages(tmp_path: Path, run: Run) -> None:
    """Not those of the build before, which drew charts."""
    assert "charts" in json.loads(run("build", "--json").stdout)["timings_s"]
    second = json.loads(run("build", "--if-changed", "--json").stdout)
    assert list(second["timings_s"]) == ["query"]
    # Not compared: a process that is started by a large one counts that one's memory as its own past.
    assert second["peak_memory_bytes"] > 0
    success = read_runs(tmp_path / "output").last_success
    assert success is not None
    assert (success.changed, success.timings_s) == (False, second["timings_s"])


@pytest.mark.parametrize(
    ("named", "peer", "client"),
    [
        ("", "192.0.2.7", "192.0.2.7"),
        ("198.51.100.9", "10.0.0.1", "198.51.100.9"),
        ("not an address" * 1000, "10.0.0.1", "10.0.0.1"),
        ("198.51.100.9, 203.0.113.5", "10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "10.0.0.1", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.9", "10.0.0.1", "198.51.100.9"),
        ("", "", ""),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(named: str, peer: str, client: str) -> None:
    assert client_address(named, peer) == client


def test_the_public_status_has_no_details_for_operators() -> None:
    document = {
        "stale": True,
        "last_failure": {"error": "SourceUnavailable", "message": "db.internal: refused"},
        "release": {"id": "r", "source": "postgresql://db.internal/app"},
    }
    shown = without_details(document)
    assert "internal" not in str(shown)
    assert shown["last_failure"]["error"] == "SourceUnavailable"
    assert without_details({"last_failure": None, "release": None})["release"] is None
