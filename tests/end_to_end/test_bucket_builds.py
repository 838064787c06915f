"""Commands with a bucket: what builds and services restore, upload, refuse and report."""

import gzip
import json
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from reportgen.publish.bucket.client import open_bucket
from reportgen.publish.bucket.layout import CURRENT, current_id
from reportgen.publish.bucket.upload import put_release
from reportgen.publish.history import read_runs
from reportgen.publish.release import Release, current_release
from tests.support import manysites
from tests.support.services import Service, eventually, reportgen, serving
from tests.support.stores import NAME, Proxy, Request, use_store, variables

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an output with a report of the table."""
    folder = tmp_path_factory.mktemp("report")
    assert built(folder, DATABASE_URL=f"sqlite:///{table(folder / 'visits.db')}")["status"] == "published"
    return folder / "output"


@pytest.fixture
def known(proxy: Proxy, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a machine with a source and an empty prefix of the bucket."""
    return variables(proxy.address) | {
        "REPORTGEN_OUTPUT__BUCKET": f"s3://{NAME}/{uuid4().hex}",
        "DATABASE_URL": f"sqlite:///{table(tmp_path / 'visits.db')}",
    }


def table(file: Path, rows: int = 5) -> Path:
    """Write a table with this number of rows, one for each day until today."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS metrics (date TEXT, path TEXT, visits INTEGER)")
        connection.execute("DELETE FROM metrics")
        days = [(datetime.now(UTC).date() - timedelta(days)).isoformat() for days in range(rows)]
        connection.executemany("INSERT INTO metrics VALUES (?, '/', 7)", [(day,) for day in days])
        connection.commit()
    return file


def built(folder: Path, *options: str, **environment: str) -> dict[str, Any]:
    """Build in ``folder``; return the JSON of the command, with its exit code."""
    done = reportgen(folder, "build", "--json", *options, **environment)
    return json.loads(done.stdout) | {"exit": done.returncode}


def published(output: Path, known: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Release:
    """Upload the current release of an output to the bucket as another machine."""
    use_store(known["AWS_ENDPOINT_URL"], monkeypatch)
    release = current_release(output)
    assert release
    put_release(open_bucket(known["REPORTGEN_OUTPUT__BUCKET"]), release, keep=10)
    return release


def machine(tmp_path: Path) -> Path:
    """Return the empty directory of a new machine."""
    folder = tmp_path / uuid4().hex
    folder.mkdir()
    return folder


def files(root: Path) -> dict[str, bytes]:
    """Return the files of the current release of an output."""
    top = root / "current"
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def test_a_new_machine_restores_the_report_and_finds_nothing_new(
    tmp_path: Path, report: Path, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release, new = published(report, known, monkeypatch), machine(tmp_path)
    result = built(new, "--if-changed", **known)
    assert (result["status"], result["release"]) == ("unchanged", release.id)
    assert list(result["timings_s"]) == ["restore", "query", "upload"]
    found, expected = files(new / "output"), files(report)
    manifest, whole = (json.loads(each.pop("manifest.json")) for each in (found, expected))
    assert found == expected
    assert whole["source"].startswith("sqlite://")
    assert manifest == whole | {"source": "sqlite"}  # a bucket does not say where the table is


def test_a_new_machine_whose_table_is_empty_publishes_nothing(
    tmp_path: Path, report: Path, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the bucket has the last release, with its visits."""
    published(report, known, monkeypatch)
    table(tmp_path / "visits.db", rows=0)
    refused = built(machine(tmp_path), **known)
    assert (refused["exit"], refused["error"], refused["retry"]) == (1, "SourceEmptied", True)


def test_the_next_check_uploads_without_drawing_what_a_failed_upload_left_out(
    tmp_path: Path, known: dict[str, str], proxy: Proxy
) -> None:
    """The report is published in the output, and the failure is recorded."""
    folder = machine(tmp_path)
    proxy.intercept = lambda _, request: 403 if request.method == "PUT" else None
    failed = built(folder, **known)
    assert (failed["exit"], failed["error"], failed["retry"]) == (1, "PublishError", False)
    assert "7d/index.html" in files(folder / "output")
    failure = read_runs(folder / "output").last_failure
    assert failure
    assert "their rights" in failure.message
    proxy.reset()
    uploaded = built(folder, "--if-changed", **known)
    assert (uploaded["status"], list(uploaded["timings_s"])) == ("unchanged", ["query", "upload"])
    assert len(proxy.keys_of("PUT")) > 20
    proxy.reset()
    assert built(folder, "--if-changed", **known)["status"] == "unchanged"
    assert proxy.keys_of("PUT") == []


def test_a_damaged_release_in_the_bucket_does_not_stop_a_build(
    tmp_path: Path, report: Path, known: dict[str, str], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, folder = published(report, known, monkeypatch), machine(tmp_path)
    proxy.intercept = lambda _, request: 404 if f"{release.id}/7d/index.html" in request.key else None
    done = reportgen(folder, "build", **known)
    assert done.returncode == 0
    assert "index.html: is not there. Nothing was restored from the bucket" in done.stderr
    assert [path.name for path in (folder / "output" / "releases").iterdir()] != [release.id]


def test_a_build_is_busy_if_another_machine_publishes_meanwhile(
    tmp_path: Path, report: Path, known: dict[str, str], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is not a failure of this build, and not retried at once. The next build publishes."""
    release, folder = published(report, known, monkeypatch), machine(tmp_path)
    bucket = open_bucket(known["REPORTGEN_OUTPUT__BUCKET"])

    def replaced(_: int, request: Request) -> int | None:
        return 412 if request.method == "PUT" and request.key.endswith(CURRENT) else None

    proxy.intercept = replaced
    result = built(folder, **known)
    assert (result["exit"], result["error"]) == (3, "OutputBusy")
    assert "another build has published there meanwhile" in result["message"]
    assert current_id(bucket.read(CURRENT)) == release.id
    proxy.reset()
    assert built(folder, "--if-changed", **known)["status"] == "unchanged"
    assert current_id(bucket.read(CURRENT)) not in {release.id, None}


def test_a_service_on_a_new_machine_serves_the_report_of_the_bucket_while_its_database_is_down(
    tmp_path: Path, report: Path, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = published(report, known, monkeypatch).id
    down = known | {"DATABASE_URL": "postgresql://app@127.0.0.1:1/stats"}
    with serving(machine(tmp_path), **down) as service:
        eventually(lambda: service.ask("/").status == 200, 20, lambda: "\n".join(service.lines))
        assert service.ask("/7d/").body == (report / "current" / "7d" / "index.html").read_bytes()
        assert service.await_event("release_served")["release"] == release
        assert service.await_event("build_failed")["error"] == "SourceUnavailable"
        assert not _has_obstore(service)


def _has_obstore(service: Service) -> bool:
    """Return whether the process of the service has loaded obstore."""
    return "_obstore" in Path(f"/proc/{service.process.pid}/maps").read_text()


def test_the_service_publishes_into_the_bucket(tmp_path: Path, known: dict[str, str]) -> None:
    with serving(machine(tmp_path), **known) as service:
        release = service.await_event("build_published", within_s=60)["release"]
    assert built(machine(tmp_path), "--if-changed", **known)["release"] == release


@pytest.mark.parametrize(
    ("damage", "level", "said"),
    [
        ({}, "ok", "may be read, listed, written and deleted; nothing published yet"),
        ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "error", "Check the credentials"),
        ({"REPORTGEN_OUTPUT__BUCKET": "s3://absent"}, "error", "There is no such bucket"),
        ({"AWS_ENDPOINT_URL": "127.0.0.1"}, "error", "AWS_ENDPOINT_URL: write the whole address"),
    ],
)
def test_check_reads_and_writes_in_the_bucket(
    tmp_path: Path, known: dict[str, str], damage: dict[str, str], level: str, said: str
) -> None:
    done = reportgen(machine(tmp_path), "check", "--json", **known | damage)
    (finding,) = [found for found in json.loads(done.stdout) if found["subject"] == "bucket"]
    assert (finding["level"], said in finding["message"]) == (level, True), finding
    assert done.returncode == (level == "error")


def test_check_says_which_rights_are_missing(tmp_path: Path, known: dict[str, str], proxy: Proxy) -> None:
    proxy.intercept = lambda _, request: 403 if request.method in {"DELETE", "POST"} else None
    done = reportgen(machine(tmp_path), "check", **known)
    assert re.search(r"error    bucket.*rights \(docs/object-storage.md\)", done.stdout, re.DOTALL)


def test_each_of_many_sites_has_its_own_prefix(
    known: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each site and the page over all have their own current release."""
    del known["DATABASE_URL"]
    folder = machine(tmp_path)
    sites = ("blog", "shop", "wiki")  # one process builds all; after the first it has obstore's threads
    manysites.written(folder, {name: manysites.table(folder, name) for name in sites})
    done = reportgen(folder, "build", "--json", "--processes", "1", **known)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout  # obstore panics in a forked process
    use_store(known["AWS_ENDPOINT_URL"], monkeypatch)
    for prefix, page in {"": b"blog/", "/blog": b"/blog/1", "/shop": b"/shop/1", "/wiki": b"/wiki/1"}.items():
        below = open_bucket(known["REPORTGEN_OUTPUT__BUCKET"] + prefix)
        release, index = current_release(folder / "output" / prefix.strip("/")), below.read("index.html")
        assert release
        assert index
        assert current_id(below.read(CURRENT)) == release.id
        assert page in gzip.decompress(index[0])


def test_a_new_machine_restores_the_page_over_all_before_its_sites_are_built(
    known: dict[str, str], tmp_path: Path
) -> None:
    """Also while a database does not respond. ``check`` tests the bucket for that page, too."""
    del known["DATABASE_URL"]
    old, new = machine(tmp_path), machine(tmp_path)
    manysites.written(old, {"blog": manysites.table(old, "blog")})
    assert reportgen(old, "build", "--quiet", **known).returncode == 0
    found = json.loads(reportgen(old, "check", "--json", **known).stdout)
    assert [(one["level"], one["subject"]) for one in found if "site" not in one] == [
        ("ok", "output"),
        ("ok", "bucket"),
    ]
    with manysites.silent() as database:
        manysites.written(new, {"blog": database.source})
        process = manysites.begun(new, "build", **known)
        database.await_caller()
        try:
            assert files(new / "output")["sites.json"] == files(old / "output")["sites.json"]
        finally:
            process.terminate()
            process.communicate()


def test_a_new_machine_that_builds_one_site_shows_the_others_as_they_were(
    known: dict[str, str], tmp_path: Path
) -> None:
    del known["DATABASE_URL"]
    old, new = machine(tmp_path), machine(tmp_path)
    sites = {name: manysites.table(old, name) for name in ("blog", "shop")}
    for folder in (old, new):
        manysites.written(folder, sites)
    assert reportgen(old, "build", "--quiet", **known).returncode == 0
    assert reportgen(new, "build", "--quiet", "--site", "shop", **known).returncode == 0
    before, after = (json.loads(files(folder / "output")["sites.json"])["sites"] for folder in (old, new))
    assert (before[0], before[0]["total"] is not None) == (after[0], True)
