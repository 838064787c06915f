"""Publishing: bytes in, one atomic switch out. Knows files, nothing of what is in them.

A release is staged under ``state/staging/``, written through to the disk, moved to
``releases/<id>`` and becomes current by replacing one symbolic link. Until that moment readers see
the last release, whole; from then on this one, whole. Old releases go after the switch, never before.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from reportgen.errors import OutputBusy, PublishError

MANIFEST = "manifest.json"


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
        """Where half-made releases stand."""
        return self.root / "state" / "staging"

    @property
    def releases(self) -> Path:
        """Where whole releases stand."""
        return self.root / "releases"

    @classmethod
    def over(cls, root: Path) -> Self:
        """Prepare the directories below ``root``."""
        lock = cls(root)
        lock.staging.mkdir(parents=True, exist_ok=True)
        lock.releases.mkdir(exist_ok=True)
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
    with _border(root):
        lock = OutputLock.over(root)
        handle = _take(root, wait=wait, on_wait=on_wait)
    try:
        with _border(root):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()}\n".encode(), 0)
            # Whatever is staged now was left by a build that died: this process holds the lock.
            for left in lock.staging.iterdir():
                _remove(left)
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
) -> Release:
    """Make ``files`` (relative path to bytes) the current release.

    ``about`` is written into the manifest, beside the build's id, ``built_at`` and each file's sha256
    and size. Files that the last release holds unchanged are hard links to it. ``keep`` releases stay.

    Raises:
        PublishError: it could not be written; the release before is still current.

    """
    listed = {name: _fingerprint(content) for name, content in sorted(files.items())}
    release_id = f"{built_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + f"Z-{_digest(listed)}"
    stamp = f"{built_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    manifest = {"id": release_id, "built_at": stamp, **about, "files": listed}
    target = lock.releases / release_id
    with _border(lock.root):
        made = _read_manifest(target)  # the same content at the same instant is the same release
        try:
            if made is None:
                staged = lock.staging / release_id
                _stage(staged, files, listed, current_release(lock.root))
                _write(staged / MANIFEST, _json(manifest))
                _sync_tree(staged)
                staged.rename(target)
                _sync(lock.releases)
            _switch(lock.root, release_id)
        except BaseException:
            shutil.rmtree(lock.staging / release_id, ignore_errors=True)
            if made is None and not _is_current(lock.root, target):
                shutil.rmtree(target, ignore_errors=True)
            raise
    with suppress(OSError):  # litter is no reason to call a published release a failure
        _prune(lock.releases, keep, release_id)
    return Release(release_id, target, made or manifest)


def current_release(root: Path) -> Release | None:
    """Return the published release, or ``None`` where there is none yet."""
    try:
        path = (root / "current").resolve(strict=True)
    except OSError:
        return None
    manifest = _read_manifest(path)
    return Release(path.name, path, manifest) if manifest else None


def is_whole(release: Release) -> bool:
    """Tell whether every file of the manifest is there in its size."""
    try:
        return all(
            (release.path / name).stat().st_size == listed["size_bytes"]
            for name, listed in release.manifest["files"].items()
        )
    except (OSError, LookupError, TypeError):
        return False


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
            _write(file, content)


def _link(old: Path, new: Path, content: bytes) -> bool:
    """Link ``new`` to ``old`` if that truly holds ``content``; a manifest alone is not proof."""
    with suppress(OSError):
        if old.read_bytes() == content:
            os.link(old, new)
            return True
    return False


def _write(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top):
        _sync(Path(directory))


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _switch(root: Path, release_id: str) -> None:
    fresh = root / "state" / "current.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / release_id)
    try:
        fresh.replace(root / "current")
    except OSError:
        fresh.unlink()
        raise
    _sync(root)


def _is_current(root: Path, target: Path) -> bool:
    with suppress(OSError):
        return (root / "current").samefile(target)
    return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _prune(releases: Path, keep: int, current: str) -> None:
    """Remove the oldest releases beyond ``keep``; ids sort by time."""
    old = sorted((path.name for path in releases.iterdir() if path.name != current), reverse=True)
    for name in old[keep - 1 :]:
        _remove(releases / name)


ADVICE = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EDQUOT: "The disk quota is used up: free some space",
    errno.EACCES: "Let this user write there, or name another directory with --output",
    errno.EPERM: "Let this user write there, or name another directory with --output",
    errno.EROFS: "The file system is read-only: name another directory with --output",
    errno.ENOTDIR: "A part of this path is a file: name a directory with --output",
    errno.EEXIST: "Something else has this name: move it away, or name another directory with --output",
    errno.EISDIR: "current must be a link that reportgen made: move the directory of that name away",
}


@contextmanager
def _border(root: Path) -> Iterator[None]:
    """Turn the file system's errors into ours."""
    try:
        yield
    except OSError as exc:
        place = exc.filename2 or exc.filename or root
        advice = ADVICE.get(exc.errno or 0, "Check the output directory")
        raise PublishError(f"{place}: cannot be written: {exc.strerror}. {advice}") from exc
