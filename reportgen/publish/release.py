"""Publishing: bytes in, one atomic switch out. Knows files, nothing of what is in them.

A release is staged under ``state/staging/``, written through to the disk, moved to
``releases/<id>`` and becomes current by replacing one symbolic link. Until that moment readers see
the last release, whole; from then on this one, whole. Old releases go after the switch, never before.

Whatever is removed goes by way of ``state/staging/``: a name below ``releases/`` is a whole release or
none, and what a build that died has left there is in one place, for the next to clear.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from reportgen.core.errors import OutputBusy
from reportgen.publish.filesystem import clear, make_directory, sync, sync_tree, translate_errors, write

MANIFEST = "manifest.json"
RELEASE_ID = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{8}")
"""The ids of releases. What has another name is not ours to count, or to remove."""

MAX_CLOCK_SKEW = timedelta(minutes=1)
"""What is dated further in the future is from before a clock was put right: it tells nothing."""


@dataclass(frozen=True)
class Release:
    """A published release: its ``id``, its directory, and what its manifest says."""

    id: str
    path: Path
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class OutputLock:
    """Proof that this process alone builds into ``root``; only :func:`lock_output` makes one."""

    root: Path

    @property
    def staging(self) -> Path:
        """Where half-made releases stand, and old ones go."""
        return self.root / "state" / "staging"

    @property
    def releases(self) -> Path:
        """Where whole releases stand."""
        return self.root / "releases"

    @classmethod
    def over(cls, root: Path) -> Self:
        """Prepare the directories below ``root``."""
        lock = cls(root)
        make_directory(lock.staging)
        make_directory(lock.releases)
        make_directory(root)
        return lock


@contextmanager
def lock_output(
    root: Path, *, wait: bool = True, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[OutputLock]:
    """Hold the output directory for one build, creating it if need be.

    The kernel frees the lock when the process ends, however it ends. ``on_wait`` is told who holds
    it before this waits.

    Raises:
        OutputBusy: another build holds it and ``wait`` is false.
        PublishError: the directory cannot be made or written.

    """
    with translate_errors(root):
        lock = OutputLock.over(root)
        handle = _take(root, wait=wait, on_wait=on_wait)
    try:
        with translate_errors(root):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}\n".encode(), 0)
            # Whatever is staged now was left by a build that died: this process holds the lock.
            clear(lock.staging)
        yield lock
    finally:
        os.close(handle)


def publish(
    lock: OutputLock,
    files: Mapping[str, bytes],
    about: Mapping[str, Any],
    *,
    built_at: datetime,
    keep: int,
    links: Mapping[str, str] | None = None,
) -> Release:
    """Make ``files`` (relative path to bytes) the current release.

    ``about`` is written into the manifest, beside the build's id, ``built_at`` and each file's sha256
    and size. Files that the last release holds unchanged are hard links to it. ``keep`` releases stay.
    ``links`` are symbolic ones in the release, by name: they lead to what is published elsewhere.

    Raises:
        PublishError: it could not be written. The release before is still current, unless the very last
            step failed, to see to it that the switch outlasts a power cut.

    """
    listed = {name: _fingerprint(content) for name, content in sorted(files.items())}
    release_id = f"{built_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"Z-{_digest(listed)}"
    stamp = f"{built_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest = {"id": release_id, "built_at": stamp, **about, "files": listed}
    target = lock.releases / release_id
    with translate_errors(lock.root):
        made = _read_manifest(target)  # the same content at the same instant is the same release
        try:
            if made is None:
                staged = lock.staging / release_id
                _stage(staged, files, listed, current_release(lock.root))
                for name, place in (links or {}).items():
                    (staged / name).symlink_to(place)
                write(staged / MANIFEST, _json(manifest))
                sync_tree(staged)
                staged.rename(target)
                sync(lock.releases)
            _switch(lock, release_id)
        except BaseException:
            with suppress(OSError):  # what cannot be removed now, the next build removes
                if made is None and not _may_be_current(lock.root, release_id):
                    _withdraw(lock, [release_id])
                clear(lock.staging)
            raise
    with suppress(OSError):  # litter is no reason to call a published release a failure
        _prune(lock, keep, release_id)
    return Release(release_id, target, made or manifest)


def current_release(root: Path) -> Release | None:
    """Return the published release, or ``None`` where there is none yet.

    A link that leads anywhere but to a release below ``root`` is none that :func:`publish` made.
    """
    try:
        path = Path(os.path.realpath(root / "current", strict=True))
        if path.parent != Path(os.path.realpath(root / "releases", strict=True)):
            return None
    except OSError:
        return None
    manifest = _read_manifest(path)
    return Release(path.name, path, manifest) if manifest else None


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


def is_whole(release: Release) -> bool:
    """Return whether every file of the manifest is there and holds what was published."""
    try:
        for name in release.manifest["files"]:
            read_published(release, name)
    except (OSError, ValueError):
        return False
    return True


def _read_manifest(release: Path) -> dict[str, Any] | None:
    """Return a release's manifest, or ``None`` where it is absent or damaged."""
    try:
        manifest = json.loads((release / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict) else None


def _take(root: Path, *, wait: bool, on_wait: Callable[[str], None]) -> int:
    """Return the open, locked lock file; one that was deleted meanwhile locks nobody out."""
    file = root / "state" / "lock"
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _flock(handle, root, wait=wait, on_wait=on_wait)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), file.stat()):
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int, root: Path, *, wait: bool, on_wait: Callable[[str], None]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 100, 0).decode(errors="replace").strip() or "another process"
        if not wait:
            raise OutputBusy(
                f"{root}: another build is running ({holder}); try again when it is done"
            ) from None
        on_wait(holder)
        fcntl.flock(handle, fcntl.LOCK_EX)


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}


def _digest(listed: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json(listed)).hexdigest()[:8]


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, sort_keys=False) + "\n").encode()


def _stage(staged: Path, files: Mapping[str, bytes], listed: Mapping[str, Any], last: Release | None) -> None:
    before = last.manifest["files"] if last else {}
    staged.mkdir()
    for name, content in files.items():
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ValueError(f"{name}: not a path inside a release")
        file = staged / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if last is None or before.get(name) != listed[name] or not _link(last.path / name, file, content):
            write(file, content)


def _link(old: Path, new: Path, content: bytes) -> bool:
    """Link ``new`` to ``old`` if that truly holds ``content``; a manifest alone is not proof."""
    with suppress(OSError):
        if not old.is_symlink() and old.read_bytes() == content:
            os.link(old, new)
            return True
    return False


def _switch(lock: OutputLock, release_id: str) -> None:
    fresh = lock.staging / "current"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / release_id)
    fresh.replace(lock.root / "current")
    sync(lock.root)


def _may_be_current(root: Path, release_id: str) -> bool:
    """Tell whether readers may be led to a release; it is so wherever that cannot be known."""
    try:
        return (root / "current").readlink().name == release_id
    except OSError as exc:
        return exc.errno not in {errno.ENOENT, errno.EINVAL}  # no such link; something else of that name


def _prune(lock: OutputLock, keep: int, current: str) -> None:
    """Remove the oldest releases beyond ``keep``; ids sort by time, and the current one always stays."""
    ours = (
        path for path in lock.releases.iterdir() if RELEASE_ID.fullmatch(path.name) and not path.is_symlink()
    )
    old = sorted((path.name for path in ours if path.name != current and path.is_dir()), reverse=True)
    _withdraw(lock, old[keep - 1 :])
    clear(lock.staging)


def _withdraw(lock: OutputLock, ids: Iterable[str]) -> None:
    """Take releases from where whole ones stand, each in one step; they are gone before they are deleted."""
    for release_id in ids:
        with suppress(OSError):  # one that stays is no reason for others to stay
            (lock.releases / release_id).rename(lock.staging / release_id)
    sync(lock.releases)
