"""A release is published completely or not at all."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from reportgen.core.errors import OutputBusy, PublishError
from reportgen.publish.release import (
    OutputLock,
    Release,
    build_time,
    current_release,
    is_whole,
    lock_output,
    publish,
    read_published,
)

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SITE = {"index.html": b"<p>1", "7d/index.html": b"<p>7", "assets/style.0a1b.css": b"p {}"}

HOLDER = """
import sys, time
from pathlib import Path
from reportgen.publish.release import lock_output
with lock_output(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def put(
    root: Path, files: Mapping[str, bytes], second: float = 0, keep: int = 10, **about: object
) -> Release:
    """Publish ``files`` as a build ``second`` seconds after noon would."""
    with lock_output(root) as lock:
        return publish(lock, files, about, built_at=NOON + timedelta(seconds=second), keep=keep)


def contents(release: Release) -> dict[str, bytes]:
    """Return the content of the release's files."""
    return {name: (release.path / name).read_bytes() for name in SITE}


def listing(top: Path) -> list[str]:
    """Return every file and directory below ``top``."""
    return sorted(path.relative_to(top).as_posix() for path in top.rglob("*"))


def releases(root: Path) -> list[str]:
    """Return the ids on disk, oldest first."""
    return sorted(path.name for path in (root / "releases").iterdir())


def test_a_release_has_its_files_and_a_manifest_that_lists_them(tmp_path: Path) -> None:
    root = tmp_path / "new" / "output"
    release = put(root, SITE, as_of="2026-11-23")
    assert sorted(path.name for path in root.iterdir()) == ["current", "releases", "state"]
    assert release.path == root / "releases" / release.id
    assert listing(release.path) == sorted([*SITE, "7d", "assets", "manifest.json"])
    assert contents(release) == SITE
    written = json.loads((release.path / "manifest.json").read_bytes())
    assert written == release.manifest
    assert (written["id"], written["as_of"]) == (release.id, "2026-11-23")
    assert written["files"] == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in SITE.items()
    }


@pytest.mark.parametrize("damage", ["changed", "gone", "not listed", "bad entry"])
def test_a_file_is_read_only_if_it_is_what_the_manifest_says(tmp_path: Path, damage: str) -> None:
    release = put(tmp_path, SITE)
    assert read_published(release, "7d/index.html") == b"<p>7"
    assert is_whole(release)
    entries = dict(release.manifest["files"])
    if damage == "changed":
        (release.path / "7d" / "index.html").write_bytes(b"<p>8")
    elif damage == "gone":
        (release.path / "7d" / "index.html").unlink()
    elif damage == "not listed":
        del entries["7d/index.html"]
    else:
        entries["7d/index.html"] = {"size_bytes": 4}
    release = Release(release.id, release.path, {"files": entries})
    with pytest.raises(OSError if damage == "gone" else ValueError, match=re.escape("7d/index.html")):
        read_published(release, "7d/index.html")
    assert is_whole(release) is (damage == "not listed")


def test_an_id_is_the_utc_build_time_and_a_short_content_hash(tmp_path: Path) -> None:
    """So ids sort by time."""
    with lock_output(tmp_path) as lock:
        release = publish(lock, SITE, {}, built_at=NOON.astimezone(timezone(timedelta(hours=14))), keep=10)
    assert re.fullmatch(r"20261123T120000\.000Z-[0-9a-f]{8}", release.id)
    assert release.manifest["built_at"] == "2026-11-23T12:00:00Z"
    assert build_time("20261123T120000.250Z-0a1b2c3d") == NOON + timedelta(seconds=0.25)
    ids = [put(tmp_path, {"a": b""}, second).id for second in (0.001, 0.999, 1, 61, 86_400, 86_400 * 40)]
    assert sorted(ids) == ids


def test_current_is_a_relative_link_so_that_the_output_can_be_moved(tmp_path: Path) -> None:
    release = put(tmp_path / "here", SITE)
    assert (tmp_path / "here" / "current").readlink() == Path("releases") / release.id
    (tmp_path / "here").rename(tmp_path / "there")
    assert (tmp_path / "there" / "current" / "index.html").read_bytes() == b"<p>1"


def test_unchanged_files_are_hard_links_unless_they_were_damaged(tmp_path: Path) -> None:
    one = put(tmp_path, SITE)
    two = put(tmp_path, SITE | {"index.html": b"<p>2"}, 1)
    linked = {name: (one.path / name).samefile(two.path / name) for name in (*SITE, "manifest.json")}
    assert linked == {name: name not in {"index.html", "manifest.json"} for name in linked}
    assert contents(one) == SITE
    (two.path / "assets" / "style.0a1b.css").write_bytes(b"p {]")
    (two.path / "7d" / "index.html").unlink()
    assert contents(put(tmp_path, SITE, 2)) == SITE


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"files": null}'])
def test_a_damaged_manifest_of_the_last_release_does_not_stop_the_next(tmp_path: Path, damage: str) -> None:
    (put(tmp_path, SITE).path / "manifest.json").write_text(damage)
    assert contents(put(tmp_path, SITE, 1)) == SITE


@pytest.mark.parametrize(("keep", "kept"), [(1, [5]), (2, [4, 5]), (4, [2, 3, 4, 5]), (10, list(range(6)))])
def test_keep_releases_stay(tmp_path: Path, keep: int, kept: list[int]) -> None:
    ids = [put(tmp_path, {"a": str(n).encode()}, n, keep).id for n in range(6)]
    assert releases(tmp_path) == [ids[n] for n in kept]


def test_the_current_release_is_never_pruned_even_if_the_clock_went_back(tmp_path: Path) -> None:
    late = [put(tmp_path, {"a": str(n).encode()}, n).id for n in (10, 11, 12)]
    early = put(tmp_path, {"a": b"early"}, 0, keep=2)
    assert releases(tmp_path) == [early.id, late[-1]]
    assert (tmp_path / "current" / "a").read_bytes() == b"early"


def test_the_same_content_at_the_same_instant_is_the_same_release(tmp_path: Path) -> None:
    one, two = put(tmp_path, SITE, took=1), put(tmp_path, SITE, took=2)
    assert two.id == one.id
    assert releases(tmp_path) == [one.id]
    assert two.manifest == json.loads((two.path / "manifest.json").read_bytes())
    assert put(tmp_path, {"a": b"2"}).id != one.id
    assert (tmp_path / "current" / "a").read_bytes() == b"2"


def test_an_output_has_a_current_release_only_if_that_is_there(tmp_path: Path) -> None:
    assert current_release(tmp_path) is None
    release = put(tmp_path, SITE)
    assert current_release(tmp_path) == Release(release.id, release.path.resolve(), release.manifest)
    shutil.rmtree(release.path)
    assert current_release(tmp_path) is None


@pytest.mark.parametrize("left", ["directory", "file", "link"])
def test_the_next_build_deletes_what_a_killed_build_has_staged(tmp_path: Path, left: str) -> None:
    staging = tmp_path / "output" / "state" / "staging"
    (staging / "20261123T115900.000Z-0a1b2c3d" / "7d").mkdir(parents=True)
    (tmp_path / "precious").mkdir()
    if left == "file":
        (staging / "half").write_bytes(b"<p")
    elif left == "link":
        (staging / "half").symlink_to(tmp_path / "precious")
    with lock_output(tmp_path / "output") as lock:
        assert listing(lock.staging) == []
    assert (tmp_path / "precious").is_dir()


def block_the_staging(lock: OutputLock) -> None:
    """Put a file where the staging directory was."""
    lock.staging.rmdir()
    lock.staging.write_bytes(b"")


def block_the_link(lock: OutputLock) -> None:
    """Put a directory with the last release's files in the place of the link."""
    (lock.root / "current").unlink()
    shutil.copytree(next(lock.releases.iterdir()), lock.root / "current")


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda _: None, "index.html/below-a-file"),
        (lambda _: None, "manifest.json"),
        (block_the_staging, "new.html"),
        (block_the_link, "new.html"),
    ],
)
def test_a_failed_publication_leaves_the_last_release_and_nothing_else(
    tmp_path: Path, spoil: Callable[[OutputLock], None], name: str
) -> None:
    put(tmp_path, SITE)
    with lock_output(tmp_path) as lock:
        spoil(lock)
        before = listing(tmp_path)
        with pytest.raises(PublishError, match=re.escape(str(tmp_path))):
            publish(lock, SITE | {name: b"new"}, {}, built_at=NOON + timedelta(seconds=1), keep=10)
    assert (tmp_path / "current" / "index.html").read_bytes() == b"<p>1"
    assert listing(tmp_path) == before


def test_an_output_that_cannot_be_created_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    message = re.escape(str(tmp_path / "file")) + ".*--output"
    with pytest.raises(PublishError, match=message), lock_output(tmp_path / "file" / "output"):
        pass


@contextmanager
def held(root: Path) -> Iterator["subprocess.Popen[str]"]:
    """Lock ``root`` in another process until that is killed."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, root], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            yield other
        finally:
            other.kill()


def test_a_second_build_learns_which_process_has_the_lock(tmp_path: Path) -> None:
    with held(tmp_path) as other:
        busy = pytest.raises(OutputBusy, match=rf"{re.escape(str(tmp_path))}.*\b{other.pid}\b")
        with busy, lock_output(tmp_path, wait=False):
            pass


def test_a_waiting_build_goes_on_when_the_holder_is_killed(tmp_path: Path) -> None:
    """After SIGKILL the kernel releases the lock, and the next build clears the staging directory."""
    with held(tmp_path) as other:
        (tmp_path / "state" / "staging" / "half").mkdir()
        holders: list[str] = []

        def kill(holder: str) -> None:
            holders.append(holder)
            os.kill(other.pid, 9)

        with lock_output(tmp_path, on_wait=kill) as lock:
            assert holders == [f"process {other.pid}"]
            assert listing(lock.staging) == []
