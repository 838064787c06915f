"""Faults of the output directory: a message says what to do, and the last release stays."""

import importlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from reportgen.core.errors import PublishError
from reportgen.core.processes import run_in_child
from reportgen.publish.release import RELEASE_ID, current_release, is_whole, lock_output, publish
from reportgen.serve.app import CurrentRelease
from tests.support import disks
from tests.support.calls import KEEP, NOON, base, damaged, leftovers, put
from tests.support.commands import NOBODY
from tests.support.services import Service, eventually, publish_files, serving, site_files, write_table

LARGE = {f"{n}.html": os.urandom(9000 * n + 1) for n in range(6)} | {"7d/index.html": b"<p>"}


def put_large(root: Path) -> None:
    """Publish a release with files of several memory pages."""
    with lock_output(root) as lock:
        publish(lock, LARGE, {}, built_at=NOON + timedelta(seconds=60), keep=KEEP)


def refused(root: Path, action: Callable[[Path], object], *says: str) -> None:
    """Check that an action fails with a message that says what to do, and that the releases stay."""
    before = current_release(root)
    ids = {path.name for path in (root / "releases").glob("*")} if before else set()
    with pytest.raises(PublishError) as caught:
        action(root)
    assert [text for text in says if text not in str(caught.value)] == [], caught.value
    if before:
        assert current_release(root) == before
        assert is_whole(before)
        assert {path.name for path in (root / "releases").iterdir()} == ids


@pytest.mark.slow
@pytest.mark.parametrize("scarce", ["space", "files"])
def test_a_disk_that_is_full_at_any_write(tmp_path: Path, scarce: str) -> None:
    """With no free memory page, then one, then two, until the release fits; the same with free files."""
    options, left = ("size=2m", disks.free_pages) if scarce == "space" else ("nr_inodes=60", disks.free_files)
    failed = 0
    for free in range(500):
        with disks.disk(tmp_path / "disk", options) as place:
            root = place / "output"
            base(root)
            fillers = place / "fillers"
            fillers.mkdir()
            if scarce == "space":
                (fillers / "one").write_bytes(b"x" * max(0, left(place) - free) * disks.PAGE)
            else:
                for number in range(left(place) - free):
                    (fillers / str(number)).touch()
            assert left(place) == free
            try:
                put_large(root)
                fits = True
            except PublishError:
                fits = False
                failed += 1
                refused(root, put_large, "No space left", "The disk is full: free some space")
                assert leftovers(root) == []
                shutil.rmtree(fillers)
                put_large(root)
            assert damaged(root) == []
            assert leftovers(root) == []
        if fits:
            break
    assert failed > 5


def as_nobody(root: Path, number: int) -> tuple[str, bool]:
    """Publish as another user, because root may write everywhere; return the release or what went wrong."""

    def work() -> tuple[str, bool]:
        for name in ("encodings.ascii", "encodings.idna"):  # that user may not be able to read them
            importlib.import_module(name)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            return put(root, number).id, True
        except PublishError as exc:
            return str(exc), False

    return run_in_child(work)[0]


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that other users can reach."""
    with tempfile.TemporaryDirectory(prefix="reportgen-disk-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("closed", ["releases", "state/staging", "state/lock", "."])
def test_a_part_of_the_output_that_this_user_may_not_write(shared: Path, closed: str) -> None:
    """As a build by root leaves it. The message names the place. With the owner restored, builds work."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    root = shared / "output"
    root.mkdir()
    root.chmod(0o777)

    first, published = as_nobody(root, 0)
    assert published, first
    owner = (root / closed).stat()
    mode = owner.st_mode & 0o7777
    os.chown(root / closed, 0, 0)
    (root / closed).chmod(0o755)
    says, published = as_nobody(root, 1)
    assert not published
    for text in ("Permission denied", str(root / closed), "Let this user write there", "--output"):
        assert text in says
    release = current_release(root)
    assert release is not None
    assert (release.id, is_whole(release)) == (first, True)
    os.chown(root / closed, owner.st_uid, owner.st_gid)
    (root / closed).chmod(mode)
    assert as_nobody(root, 2)[1]
    assert leftovers(root) == []


@pytest.mark.parametrize("name", ["state", "releases", "state/staging"])
@pytest.mark.parametrize("what", ["file", "dangling link"])
def test_a_file_or_a_dangling_link_in_the_place_of_a_directory(tmp_path: Path, name: str, what: str) -> None:
    root = tmp_path / "output"
    place = root / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine") if what == "file" else place.symlink_to("nowhere")
    advice = "is a file" if (name, what) == ("state", "file") else "move it away"
    refused(root, lambda root: put(root, 1), str(place), advice, "--output")
    assert place.is_symlink() or place.read_bytes() == b"mine"
    place.unlink()
    put(root, 2)
    assert leftovers(root) == []


def test_releases_on_another_file_system_than_the_staging(tmp_path: Path) -> None:
    """A rename cannot move a release there. The message says which directories must be on one file system."""
    with disks.disk(tmp_path / "disk", "size=2m") as other:
        root = tmp_path / "output"
        root.mkdir()
        (root / "releases").symlink_to(other)
        refused(root, lambda root: put(root, 1), "state and releases must be on one file system")
        assert (list(other.iterdir()), leftovers(root)) == ([], [])


def test_an_output_on_another_file_system_than_the_temporary_directory(tmp_path: Path) -> None:
    with disks.disk(tmp_path / "disk", "size=2m") as other:
        assert other.stat().st_dev != Path(tempfile.gettempdir()).stat().st_dev
        base(other / "output")
        put(other / "output", 9)
        assert leftovers(other / "output") == []


# The link ``current``.


def test_a_link_out_of_the_releases_is_neither_read_nor_served_and_the_next_build_replaces_it(
    tmp_path: Path,
) -> None:
    """Also if it leads to a complete release of another output."""
    other = put(tmp_path / "other", 1)
    root = tmp_path / "output"
    put(root, 2)
    for target in (other.path, other.path / "7d", root / "releases", root / "state", "current", "/"):
        (root / "current").unlink()
        (root / "current").symlink_to(target)
        assert current_release(root) is None
        website = CurrentRelease(root)
        website.refresh()
        assert website.cache is None
        release = put(root, 3)
        website.refresh()
        assert website.cache is not None
        assert website.cache.id == release.id
        (root / "current").unlink()
        (root / "current").symlink_to(f"releases/{release.id}")
    assert is_whole(other)


def test_a_dangling_link_is_replaced_by_the_next_build(tmp_path: Path) -> None:
    """Until then a service that has read the last release serves it, and logs the fault once."""
    publish_files(tmp_path / "output", site_files("one"), ago_s=9)
    with serving(tmp_path, "--no-schedule") as service:
        page = service.ask("/7d/").body
        link = tmp_path / "output" / "state" / "link"
        link.symlink_to("releases/20200101T000000.000Z-00000000")
        link.replace(tmp_path / "output" / "current")
        service.await_event("release_unreadable")
        assert service.ask("/7d/").body == page
        publish_files(tmp_path / "output", site_files("two"))
        service.await_event("release_served", 2)
        assert service.ask("/7d/").body == site_files("two")["7d/index.html"]
        assert len(service.events("release_unreadable")) == 1


def test_a_release_that_is_deleted_while_it_is_read_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another release has become current, and only that one is kept: it is read at once."""
    root = tmp_path / "output"
    publish_files(root, site_files("one"), ago_s=60, keep=1)
    events: list[str] = []
    monkeypatch.setattr("reportgen.serve.app.event", lambda name, **_: events.append(name))
    number, real = 0, Path.read_bytes

    def read(path: Path) -> bytes:
        nonlocal number
        if path.name == "index.html" and number < 3 and "releases" in path.parts:
            number += 1
            monkeypatch.setattr(Path, "read_bytes", real)
            publish_files(root, site_files(f"after {number}"), ago_s=50 - number, keep=1)
            monkeypatch.setattr(Path, "read_bytes", read)
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    website = CurrentRelease(root)
    website.refresh()
    assert (number, events) == (3, ["release_served"])
    assert website.cache is not None
    assert website.cache.resources["/7d/"].variants["identity"].body == site_files("after 3")["7d/index.html"]


# Old releases.


def test_only_directories_with_the_id_of_a_release_are_counted_and_deleted(tmp_path: Path) -> None:
    """All else in that directory is the operator's: a backup, a file, a link."""
    root = tmp_path / "output"
    whole = put(root, 0, keep=10)
    foreign = [root / "releases" / name for name in ("0-backup", "backup", "z.tar", "20261123T115900.000Z")]
    for place in foreign:
        place.mkdir()
        (place / "index.html").write_bytes(b"by hand")
    (root / "releases" / "notes").write_bytes(b"by hand")
    (root / "releases" / "20261123T000000.000Z-0a1b2c3d").symlink_to(whole.path)
    (root / "releases" / "20261123T000000.000Z-00000000").write_bytes(b"by hand")
    ids = [put(root, number, keep=3).id for number in range(1, 6)]
    names = {path.name for path in (root / "releases").iterdir()}
    ours = {path.name for path in (root / "releases").iterdir() if path.is_dir() and not path.is_symlink()}
    assert {name for name in ours if RELEASE_ID.fullmatch(name)} == set(ids[-3:])
    assert names - set(ids) == {
        *(place.name for place in foreign),
        "notes",
        "20261123T000000.000Z-0a1b2c3d",
        "20261123T000000.000Z-00000000",
    }


def test_builds_after_the_clock_was_set_back_keep_releases_and_the_current_one(tmp_path: Path) -> None:
    root = tmp_path / "output"
    late = [put(root, number, keep=3).id for number in (1000, 1001, 1002)]
    for number in range(5):
        early = put(root, number, keep=3)
        release = current_release(root)
        assert release is not None
        assert (release.id, is_whole(release)) == (early.id, True)
        assert {path.name for path in (root / "releases").iterdir()} == {early.id, *late[1:]}
    assert leftovers(root) == []


def test_a_release_that_cannot_be_deleted_does_not_stop_a_build(tmp_path: Path) -> None:
    """For example a mount. Other releases are deleted, and each build succeeds."""
    root = tmp_path / "output"
    ids = [put(root, number, keep=10).id for number in range(3)]
    with disks.disk(root / "releases" / ids[1], "size=64k"):
        last = [put(root, number, keep=1).id for number in (10, 11)][-1]
        assert {path.name for path in (root / "releases").iterdir()} == {ids[1], last}
    put(root, 12, keep=1)
    assert len(list((root / "releases").iterdir())) == 1
    assert leftovers(root) == []


@pytest.mark.parametrize("damage", ["same size", "cut", "gone", "manifest", "all"])
def test_a_release_that_was_damaged_is_replaced_by_the_next_build(tmp_path: Path, damage: str) -> None:
    """No file of it is served or linked into the next release, and a check for changes does not keep it."""
    root = tmp_path / "output"
    release = put(root, 1)
    file = release.path / ("manifest.json" if damage == "manifest" else "same.css")
    if damage == "all":
        shutil.rmtree(release.path)
    elif damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"p []" if damage == "same size" else b"p")
    found = current_release(root)
    assert found is None or not is_whole(found)
    website = CurrentRelease(root)
    website.refresh()
    assert website.cache is None
    put(root, 2)
    website.refresh()
    assert website.cache is not None
    assert website.cache.resources["/same.css"].variants["identity"].body == b"p {}"
    assert [flaw for flaw in damaged(root) if release.id not in flaw] == []


# A service.


@pytest.mark.slow
def test_a_service_survives_faults_of_its_disk_and_recovers(tmp_path: Path) -> None:
    """Full, read-only, and a directory in the place of ``current``: readers get the last report."""
    with disks.disk(tmp_path / "disk", "size=12m") as place:
        output, filler = place / "output", place / "filler"

        @contextmanager
        def full() -> Iterator[str]:
            filler.write_bytes(b"x" * disks.free_pages(place) * disks.PAGE)
            yield "free some space"
            filler.unlink()

        @contextmanager
        def read_only() -> Iterator[str]:
            disks.mount("-o", "remount,ro", str(place))
            yield "The file system is read-only"
            disks.mount("-o", "remount,rw", str(place))

        @contextmanager
        def no_link() -> Iterator[str]:
            (output / "current").unlink()
            (output / "current").mkdir()
            yield "move the directory of that name away"
            (output / "current").rmdir()

        url = write_table(tmp_path / "metrics.csv")
        with serving(tmp_path, "--source", url, "--output", output, REPORTGEN_SCHEDULE="1s") as service:
            service.await_event("release_served", within_s=90)
            current = output / "current" / "7d" / "index.html"
            for number, fault in enumerate((full, read_only, no_link)):
                eventually(lambda: service.ask("/7d/").body == current.read_bytes())
                with fault() as says:
                    write_table(tmp_path / "metrics.csv", rows=7 + number)
                    page = failed(service, says)
                done = len(service.events("build_published"))
                service.await_event("build_published", done + 1, within_s=90)
                assert service.status()["consecutive_failures"] == 0
                assert page
        assert damaged(output) == []


def failed(service: Service, says: str) -> bytes:
    """Wait for a build that fails with this message, and check that the page is unchanged."""
    page = service.ask("/7d/")
    assert page.status == 200
    end = time.monotonic() + 90
    while not any(says in event["message"] for event in service.events("build_failed")):
        assert time.monotonic() < end, "\n".join(service.lines)
        time.sleep(0.05)
    assert service.ask("/7d/").body == page.body
    assert service.status()["consecutive_failures"] > 0
    return page.body
