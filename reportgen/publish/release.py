"""Publish files as a release in the output directory, and read releases.

A release is written below ``state/staging/``, synced to the disk, moved to ``releases/<id>``, and becomes
current when one symbolic link is replaced. Readers see the complete last release before that step, and the
complete new one after it. Old releases are deleted after the switch.

Old releases are moved to ``state/staging/`` before they are deleted. So ``releases/`` only ever contains
complete directories, and what a killed build has left is all in one place.

A file, or a name in a directory, is certain to be on the disk only after it is synced (fsync). Before that, a
power cut may keep one and lose the other.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reportgen.core.errors import OutputBusy, PublishError

MANIFEST = "manifest.json"
RELEASE_ID = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}")
"""Pattern of a release's id. Directories with other names are neither counted nor deleted."""

MAX_CLOCK_SKEW = timedelta(minutes=1)
"""Maximum difference between the clocks of machines. Later dates mean a wrong clock."""

ADVICE = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EDQUOT: "The disk quota is used up: free some space",
    errno.EIO: "The disk fails: read the system's log, and name another disk with --output",
    errno.EACCES: "Let this user write there, or name another directory with --output",
    errno.EPERM: "Let this user write there, or name another directory with --output",
    errno.EROFS: "The file system is read-only: name another directory with --output",
    errno.ENOTDIR: "A part of this path is a file: name a directory with --output",
    errno.EEXIST: "Something else has this name: move it away, or name another directory with --output",
    errno.EISDIR: "current must be a link that reportgen created: move the directory of that name away",
    errno.EXDEV: "state and releases must be on one file system: neither may be a link or a mount",
}
"""What to do, by the number of the system's error."""


@dataclass(frozen=True)
class Release:
    """A published release: its id, its directory, and its parsed manifest."""

    id: str
    path: Path
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class OutputLock:
    """Shows that this process has the lock of the output ``root``. Only :func:`lock_output` creates one."""

    root: Path

    @property
    def staging(self) -> Path:
        """The directory of releases that are being written or deleted."""
        return self.root / "state" / "staging"

    @property
    def releases(self) -> Path:
        """The directory of complete releases."""
        return self.root / "releases"


@contextmanager
def lock_output(
    root: Path, *, wait: bool = True, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[OutputLock]:
    """Lock the output directory for one build; create it if it is missing.

    The kernel releases the lock when the process ends. ``on_wait`` is called with the holder of the lock,
    such as "process 4711", before this waits for it.

    Raises:
        OutputBusy: another process has the lock, and ``wait`` is false.
        PublishError: the directory cannot be created or written.

    """
    lock = OutputLock(root)
    with ExitStack() as stack:
        with translate_disk_errors(root):
            for directory in (lock.staging, lock.releases, root):
                make_directory(directory)
            file = stack.enter_context((root / "state" / "lock").open("ab+", buffering=0))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read(100).decode(errors="replace").strip() or "another process"
                if not wait:
                    raise OutputBusy(
                        f"{root}: another build is running ({holder}); try again when it is done"
                    ) from None
                on_wait(holder)
                fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(f"process {os.getpid()}\n".encode())
            # This process has the lock, so a killed build has left what is staged now.
            _delete_contents(lock.staging)
        yield lock


def publish(
    lock: OutputLock,
    files: Mapping[str, bytes],
    about: Mapping[str, Any],
    *,
    built_at: datetime,
    keep: int,
    links: Mapping[str, str] | None = None,
) -> Release:
    """Publish ``files`` (content by relative path) as the current release, and return it.

    ``about`` is added to the manifest, which also has the release's id, ``built_at``, and the SHA-256 and
    size of each file. Files that the last release has unchanged are hard links to it. ``keep`` releases stay.
    ``links`` are the targets of symbolic links in the release, by name: pages that other outputs publish.

    Raises:
        PublishError: the release cannot be written. The last release stays current, unless only the final
            sync of the new link failed.

    """
    entries = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
        for name, content in sorted(files.items())
    }
    digest = hashlib.sha256(_json(entries)).hexdigest()[:8]
    release_id = f"{built_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"Z-{digest}"
    stamp = f"{built_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest = {"id": release_id, "built_at": stamp, **about, "files": entries}
    target = lock.releases / release_id
    with translate_disk_errors(lock.root):
        existing = _read_manifest(target)  # the same files at the same time are the same release
        try:
            if existing is None:
                staged = lock.staging / release_id
                _stage(staged, files, entries, current_release(lock.root))
                for name, link_target in (links or {}).items():
                    (staged / name).symlink_to(link_target)
                _write_file(staged / MANIFEST, _json(manifest))
                _sync_tree(staged)
                staged.rename(target)
                sync_directory(lock.releases)
            _switch(lock, release_id)
        except BaseException:
            with suppress(OSError):  # the next build deletes what cannot be deleted now
                link = lock.root / "current"  # it may lead to the new release if only the last sync failed
                if existing is None and not (link.is_symlink() and link.readlink().name == release_id):
                    _move_to_staging(lock, [release_id])
                _delete_contents(lock.staging)
            raise
    with suppress(OSError):  # the release is published, and the next build deletes what is left
        _prune(lock, keep, release_id)
    return Release(release_id, target, existing or manifest)


def current_release(root: Path) -> Release | None:
    """Return the current release of an output, or ``None`` if there is none.

    There is none either if the link ``current`` leads to another place than a directory in ``releases/``:
    :func:`publish` has not created that link.
    """
    try:
        path = Path(os.path.realpath(root / "current", strict=True))
        if path.parent != Path(os.path.realpath(root / "releases", strict=True)):
            return None
    except OSError:
        return None
    manifest = _read_manifest(path)
    return Release(path.name, path, manifest) if manifest else None


def build_time(release_id: str) -> datetime:
    """Return the build time in a release's id, in UTC.

    Raises:
        ValueError: this is not the id of a release.

    """
    if not RELEASE_ID.fullmatch(release_id):
        raise ValueError(f"{release_id}: not the id of a release")
    return datetime.strptime(release_id.partition("-")[0], "%Y%m%dT%H%M%S.%f%z")


def is_newer(release_id: str, than: str, now: datetime) -> bool:
    """Return whether a release was built after another. One from the future was not: a clock was wrong."""
    return build_time(than) < build_time(release_id) <= now + MAX_CLOCK_SKEW


def matches_entry(content: bytes, entry: object) -> bool:
    """Return whether a file's content is the one that its entry in a manifest describes."""
    return isinstance(entry, Mapping) and hashlib.sha256(content).hexdigest() == entry.get("sha256")


def read_published(release: Release, name: str) -> bytes:
    """Return the content of a file of a release.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not in the manifest, or has changed since it was published.

    """
    content = (release.path / name).read_bytes()
    if not matches_entry(content, release.manifest["files"].get(name)):
        raise ValueError(f"{name}: is not what was published")
    return content


def read_all_published(release: Release, names: Iterable[str]) -> dict[str, bytes]:
    """Return the content of these files of a release, and of its public manifest, by name.

    Raises:
        PublishError: a file cannot be read, or has changed since it was published.

    """
    try:
        found = {name: read_published(release, name) for name in names}
        return found | {MANIFEST: _json(public_manifest(release.manifest))}
    except (OSError, ValueError) as exc:
        raise PublishError(f"{release.path}: {exc}; the next build replaces it") from exc


def public_manifest(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a manifest for any reader: only the kind of the source, whose name may have that of a host."""
    source = manifest.get("source")
    return {**manifest, "source": source_kind(source)} if source else manifest


def source_kind(source: str) -> str:
    """Return the scheme of a source's name: ``postgresql``, ``sample``, or ``file`` if it is a path."""
    scheme, mark, _ = source.partition("://")
    return scheme if mark or source == "sample" else "file"


def is_whole(release: Release) -> bool:
    """Return whether every file of the manifest is there and holds what was published."""
    try:
        for name in release.manifest["files"]:
            read_published(release, name)
    except (OSError, ValueError):
        return False
    return True


def parse_manifest(content: bytes) -> dict[str, Any] | None:
    """Return a manifest, or ``None`` if it is damaged."""
    try:
        manifest = json.loads(content)
    except ValueError:
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def _read_manifest(release: Path) -> dict[str, Any] | None:
    """Return a release's manifest, or ``None`` if it is missing or damaged."""
    try:
        return parse_manifest((release / MANIFEST).read_bytes())
    except OSError:
        return None


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=False) + "\n").encode()


def _stage(
    staged: Path, files: Mapping[str, bytes], entries: Mapping[str, Any], last: Release | None
) -> None:
    """Write files below ``staged``, or link them to those of the release ``last`` that are the same."""
    before = last.manifest["files"] if last else {}
    staged.mkdir()
    for name, content in files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"{name}: not a path inside a release")
        file = staged / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if last and before.get(name) == entries[name] and _link_if_equal(last.path / name, file, content):
            continue
        _write_file(file, content)


def _link_if_equal(old: Path, new: Path, content: bytes) -> bool:
    """Link ``new`` to ``old`` if that file has this content; return whether it has."""
    with suppress(OSError):
        if not old.is_symlink() and old.read_bytes() == content:
            os.link(old, new)
            return True
    return False


def _switch(lock: OutputLock, release_id: str) -> None:
    """Replace the link ``current`` in one step, and sync it to the disk."""
    fresh = lock.staging / "current"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / release_id)
    fresh.replace(lock.root / "current")
    sync_directory(lock.root)


def _prune(lock: OutputLock, keep: int, current: str) -> None:
    """Delete the oldest releases beyond ``keep``, by the time in their ids. The current one always stays."""
    releases = (
        path for path in lock.releases.iterdir() if RELEASE_ID.fullmatch(path.name) and not path.is_symlink()
    )
    old = sorted((path.name for path in releases if path.name != current and path.is_dir()), reverse=True)
    _move_to_staging(lock, old[keep - 1 :])
    _delete_contents(lock.staging)


def _move_to_staging(lock: OutputLock, ids: Iterable[str]) -> None:
    """Move releases to the staging directory, each in one step. A release that cannot be moved stays."""
    for release_id in ids:
        with suppress(OSError):
            (lock.releases / release_id).rename(lock.staging / release_id)
    sync_directory(lock.releases)


@contextmanager
def translate_disk_errors(root: Path) -> Iterator[None]:
    """Raise the errors of the file system in this block as :class:`PublishError`."""
    try:
        yield
    except OSError as exc:
        place = exc.filename2 or exc.filename or root
        advice = ADVICE.get(exc.errno or 0, "Check the output directory")
        raise PublishError(f"{place}: cannot be written: {exc.strerror}. {advice}") from exc


def make_directory(directory: Path) -> None:
    """Create a directory and its missing parents, and sync its name to the disk."""
    try:
        directory.mkdir(exist_ok=True)
    except FileNotFoundError:
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
    with suppress(PermissionError):  # this user may be unable to read the parents of the output
        sync_directory(directory.parent)  # also if it existed: its creator may have been killed


def _write_file(file: Path, content: bytes) -> None:
    """Create a file and sync its content to the disk. The caller syncs the directory."""
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_directory(directory: Path) -> None:
    """Sync the names in a directory to the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_tree(top: Path) -> None:
    """Sync the names in a directory and in all directories below it to the disk."""
    for directory, _, _ in os.walk(top, onerror=_raise):
        sync_directory(Path(directory))


def _delete_contents(directory: Path) -> None:
    """Delete all that is in a directory, except what cannot be deleted."""
    for entry in directory.iterdir():
        with suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _raise(error: OSError) -> None:
    """Raise an error that os.walk would ignore: a directory that cannot be read is not synced."""
    raise error
