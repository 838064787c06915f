"""A release is published completely or not at all."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from reportgen.core.errors import OutputBusy, PublishError
from reportgen.publish.release import (
    OutputLock,
    Release,
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

ASKER = """
import os, select, sys
current, failed = sys.argv[1] + "/current", 0
print("asking", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(1000):
        try:
            os.readlink(current)
        except OSError:
            failed += 1
print(failed, "failed")
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


def test_a_release_has_its_files_and_a_manifest(tmp_path: Path) -> None:
    root = tmp_path / "new" / "output"
    release = put(root, SITE)
    assert sorted(path.name for path in root.iterdir()) == ["current", "releases", "state"]
    assert release.path == root / "releases" / release.id
    assert listing(release.path) == sorted([*SITE, "7d", "assets", "manifest.json"])
    assert contents(release) == SITE


def test_the_manifest_lists_every_file_but_itself(tmp_path: Path) -> None:
    release = put(tmp_path, SITE, as_of="2026-11-23")
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
    east = NOON.astimezone(timezone(timedelta(hours=14)))
    with lock_output(tmp_path) as lock:
        release = publish(lock, SITE, {}, built_at=east, keep=10)
    assert re.fullmatch(r"20261123T120000\.000Z-[0-9a-f]{8}", release.id)
    assert release.manifest["built_at"] == "2026-11-23T12:00:00Z"


def test_ids_sort_by_time(tmp_path: Path) -> None:
    seconds = [0, 0.001, 0.999, 1, 61, 86_400, 86_400 * 40]
    ids = [put(tmp_path, {"a": str(second).encode()}, second).id for second in seconds]
    assert sorted(ids) == ids


def test_current_is_a_relative_link_so_that_the_output_can_be_moved(tmp_path: Path) -> None:
    release = put(tmp_path / "here", SITE)
    assert (tmp_path / "here" / "current").readlink() == Path("releases") / release.id
    (tmp_path / "here").rename(tmp_path / "there")
    assert (tmp_path / "there" / "current" / "index.html").read_bytes() == b"<p>1"


def watch(root: Path, over: threading.Event, faults: list[str], seen: set[str]) -> None:
    """Read the current release again and again, as a server does, and note files that are not complete."""
    while not over.is_set():
        try:
            release = root / (root / "current").readlink()
            files = json.loads((release / "manifest.json").read_bytes())["files"]
            for name, about in files.items():
                if hashlib.sha256((release / name).read_bytes()).hexdigest() != about["sha256"]:
                    faults.append(f"{release.name}/{name} is not what the manifest says")
            seen.add(release.name)
        except (OSError, ValueError) as exc:
            faults.append(repr(exc))


@pytest.mark.slow
def test_readers_never_see_a_missing_or_mixed_file_while_releases_change(tmp_path: Path) -> None:
    """A thread reads complete releases, while another process reads the link without a pause."""
    put(tmp_path, {"index.html": b"0", "same.css": b"p {}"})
    over, faults, seen = threading.Event(), list[str](), set[str]()
    reader = threading.Thread(target=watch, args=(tmp_path, over, faults, seen), daemon=True)
    with subprocess.Popen(
        [sys.executable, "-c", ASKER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        assert asker.stdout is not None
        assert asker.stdout.readline() == "asking\n"
        reader.start()
        for n in range(1, 91):
            files = {f"{page}/index.html": f"{n} {page}".encode() for page in range(8)}
            put(tmp_path, files | {"index.html": str(n).encode(), "same.css": b"p {}"}, n, keep=20)
        over.set()
        reader.join()
        assert asker.communicate("enough")[0] == "0 failed\n"
    assert faults == []
    assert len(seen) > 1


def test_everything_is_on_the_disk_before_the_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, directories, and the release's new name; then the link; then old releases are deleted."""
    put(tmp_path, SITE, keep=1)
    done: list[tuple[str, str]] = []

    def record(name: str) -> None:
        real = getattr(os, name)

        def recorded(target: object, *rest: object, **options: object) -> object:
            path = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else target
            done.append((name, str(path).removeprefix(f"{tmp_path.resolve()}/")))
            return real(target, *rest, **options)

        monkeypatch.setattr(os, name, recorded)

    for name in ("fsync", "rename", "replace", "rmdir"):
        record(name)
    changed = {name: content + b"!" for name, content in SITE.items()}
    release = put(tmp_path, changed, 1, keep=1)

    staged = f"state/staging/{release.id}"
    renamed = done.index(("rename", f"{tmp_path}/{staged}".removeprefix(f"{tmp_path.resolve()}/")))
    switched = next(at for at, (name, _) in enumerate(done) if name == "replace")
    synced = {path for name, path in done[:renamed] if name == "fsync" and path.startswith(staged)}
    assert synced == {staged, *(f"{staged}/{name}" for name in ("7d", "assets", "manifest.json", *SITE))}
    assert ("fsync", "releases") in done[renamed:switched]
    assert ("fsync", str(tmp_path.resolve())) in done[switched:]
    assert [at for at, (name, _) in enumerate(done) if name == "rmdir" and at < switched] == []
    assert releases(tmp_path) == [release.id]


def test_unchanged_files_are_hard_links_and_changed_ones_are_not(tmp_path: Path) -> None:
    one = put(tmp_path, SITE)
    two = put(tmp_path, SITE | {"index.html": b"<p>2"}, 1)
    linked = {
        name: (one.path / name).stat().st_ino == (two.path / name).stat().st_ino
        for name in (*SITE, "manifest.json")
    }
    changed = {"index.html", "manifest.json"}
    assert linked == {name: name not in changed for name in (*SITE, "manifest.json")}
    assert contents(one) == SITE


def test_a_damaged_file_is_not_linked_into_the_next_release(tmp_path: Path) -> None:
    one = put(tmp_path, SITE)
    (one.path / "index.html").write_bytes(b"<p>9")
    (one.path / "7d" / "index.html").unlink()
    assert contents(put(tmp_path, SITE, 1)) == SITE


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


def test_other_content_at_the_same_instant_is_another_release(tmp_path: Path) -> None:
    assert put(tmp_path, {"a": b"1"}).id != put(tmp_path, {"a": b"2"}).id
    assert (tmp_path / "current" / "a").read_bytes() == b"2"


def test_an_output_has_a_current_release_only_if_that_is_there(tmp_path: Path) -> None:
    assert current_release(tmp_path) is None
    release = put(tmp_path, SITE)
    assert current_release(tmp_path) == Release(release.id, release.path.resolve(), release.manifest)
    shutil.rmtree(release.path)
    assert current_release(tmp_path) is None


@pytest.mark.parametrize("left", ["directory", "file", "link"])
def test_the_next_build_deletes_what_a_build_that_died_has_staged(tmp_path: Path, left: str) -> None:
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


def test_a_deleted_lock_file_never_lets_two_builds_run(tmp_path: Path) -> None:
    """A build that waits for a lock file that is deleted takes the new one, as all others do."""
    with held(tmp_path) as first:
        waiting = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        with waiting:
            assert waiting.stdout
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(timeout=1)
            (tmp_path / "state" / "lock").unlink()
            first.kill()
            assert waiting.stdout.readline() == "held\n"
            with pytest.raises(OutputBusy), lock_output(tmp_path, wait=False):
                pass
            waiting.kill()
