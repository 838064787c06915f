"""Plain files for a host of static files: complete, and replaced so that no reader sees half a file."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reportgen.core.errors import ConfigError, PublishError
from reportgen.publish.export import RECORD, check_target, export_current
from reportgen.publish.release import lock_output, publish

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
OLD = {
    "index.html": b"<p>old", "7d/index.html": b"<p>7", "7d/daily.csv": b"1", "assets/report.0a.js": b"a()",
    "90d/index.html": b"<p>90", "assets/report.0a.js.br": b"packed", "7d/daily.csv.gz": b"packed",
}  # fmt: skip
NEW = {"index.html": b"<p>new", "7d/index.html": b"<p>7", "7d/daily.csv": b"2", "assets/report.1b.js": b"b()"}
SOURCE = "postgresql://db.internal:5433/mysite"
OURS = {".nojekyll", "_headers", "manifest.json", RECORD}


def put(root: Path, files: Mapping[str, bytes], second: int = 0) -> Path:
    with lock_output(root) as lock:
        publish(lock, files, {"source": SOURCE}, built_at=NOON + timedelta(seconds=second), keep=10)
    return root


def files_of(target: Path) -> dict[str, bytes]:
    found = [path for path in target.rglob("*") if path.is_file()]
    assert not any(path.is_symlink() for path in target.rglob("*"))
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in found}


def plain(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith((".br", ".gz"))}


def test_it_holds_the_plain_files_of_the_release(tmp_path: Path) -> None:
    root, target = put(tmp_path / "output", OLD), tmp_path / "a/public"
    assert export_current({"": root}, target, "/") == len(plain(OLD)) + 3
    found = files_of(target)
    assert found.keys() == plain(OLD).keys() | OURS
    assert {name: found[name] for name in plain(OLD)} == plain(OLD)
    here = json.loads((root / "current/manifest.json").read_bytes())
    assert json.loads(found["manifest.json"]) == here | {"source": "postgresql"}
    assert here["source"] == SOURCE
    assert not any(b"db.internal" in content for content in found.values())
    assert set(json.loads(found[RECORD])["files"]) == found.keys() - {RECORD}


def test_the_next_one_replaces_it_and_leaves_the_files_of_others(tmp_path: Path) -> None:
    root, target = put(tmp_path / "output", OLD), tmp_path / "public"
    target.mkdir()
    for name in ("CNAME", ".git"):
        (target / name).write_text("example.com")
    export_current({"": root}, target, "/")
    (target / "90d/own.txt").write_text("mine")
    untouched = (target / "7d/index.html").stat().st_mtime_ns
    export_current({"": put(root, NEW, 1)}, target, "/")
    found = files_of(target)
    assert found.keys() == NEW.keys() | OURS | {"CNAME", ".git", "90d/own.txt"}
    assert {name: found[name] for name in NEW} == NEW
    assert (target / "7d/index.html").stat().st_mtime_ns == untouched
    assert not [path for path in (target / "90d").iterdir() if path.name != "own.txt"]


def test_a_file_of_another_is_never_replaced(tmp_path: Path) -> None:
    root, target = put(tmp_path / "output", OLD), tmp_path / "public"
    target.mkdir()
    (target / "index.html").write_text("my home page")
    with pytest.raises(PublishError, match=r"public: has index.html, which no export wrote. Name an"):
        export_current({"": root}, target, "/")
    assert files_of(target) == {"index.html": b"my home page"}
    with pytest.raises(PublishError, match=r"has index\.html"):  # before a build
        check_target(target, root)


@pytest.mark.parametrize("place", ["output", "output/current", "output/public", "."])
def test_neither_directory_may_be_in_the_other(tmp_path: Path, place: str) -> None:
    root = put(tmp_path / "output", OLD)
    with pytest.raises(ConfigError, match=r"this or the output .* is in the other. Name another directory"):
        export_current({"": root}, tmp_path / place, "/")


def test_many_sites_are_folders_of_it(tmp_path: Path) -> None:
    outputs = {"": put(tmp_path / "output", {"index.html": b"all"}), "blog": put(tmp_path / "blog", OLD)}
    outputs["new"] = tmp_path / "never built"
    target = tmp_path / "public"
    export_current(outputs, target, "/stats/")
    found = files_of(target)
    names = {f"blog/{name}" for name in plain(OLD)} | {"blog/manifest.json", "index.html"}
    assert found.keys() == names | OURS
    assert (
        b"/stats/assets/*\n  Cache-Control: public, max-age=31536000, immutable\n/stats/:site/assets/*\n"
        in (found["_headers"])
    )


def test_a_record_cannot_delete_outside(tmp_path: Path) -> None:
    root, target = put(tmp_path / "output", OLD), tmp_path / "public"
    export_current({"": root}, target, "/")
    outside = tmp_path / "mine.txt"
    outside.write_text("mine")
    record = json.loads((target / RECORD).read_bytes())
    record["files"] += ["../mine.txt", str(outside)]
    (target / RECORD).write_text(json.dumps(record))
    export_current({"": put(root, NEW, 1)}, target, "/")
    assert outside.read_text() == "mine"


EXPORTER = """
import sys
from pathlib import Path
from reportgen.publish.export import export_current
print("begins", flush=True)
export_current({"": Path(sys.argv[1])}, Path(sys.argv[2]), "/")
"""


@pytest.mark.slow
def test_killed_at_any_instant_each_file_is_whole_and_the_next_one_completes_it(tmp_path: Path) -> None:
    releases = [{f"7d/{n:03}.csv": bytes([65 + round_]) * 20_000 for n in range(60)} for round_ in range(2)]
    for number, files in enumerate(releases):
        files["index.html"] = b"<p>%d" % number
        files[f"assets/a.{number}.js"] = b"%d" % number
    root, target = tmp_path / "output", tmp_path / "public"
    export_current({"": put(root, releases[0])}, target, "/")
    killed_within = 0
    for attempt in range(40):
        release = releases[(attempt + 1) % 2]
        put(root, release, attempt + 1)
        process = subprocess.Popen(
            [sys.executable, "-c", EXPORTER, str(root), str(target)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(0.002 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        found = files_of(target)
        for name, content in found.items():
            if name in release:
                assert content in (releases[0].get(name), releases[1].get(name)), name
        new = sum(found.get(name) == content for name, content in release.items())
        killed_within += 1 < new < len(release)
        if found["index.html"] == release["index.html"]:  # pages are last: all that one needs is there
            assert new == len(release)
        export_current({"": root}, target, "/")
        assert {name: files_of(target)[name] for name in release} == release
    assert killed_within > 3
    assert files_of(target).keys() == releases[0].keys() | OURS
