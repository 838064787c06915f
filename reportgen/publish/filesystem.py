"""Files that outlast a power cut, and the file system's errors in words that say what to do.

Knows the standard library only. A file, or a name in a directory, is on the disk once it is synced
(fsync), and not before: until then a power cut may keep one and lose the other.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from reportgen.core.errors import PublishError

ADVICE = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EDQUOT: "The disk quota is used up: free some space",
    errno.EIO: "The disk fails: look into the system's log, and name another one with --output",
    errno.EACCES: "Let this user write there, or name another directory with --output",
    errno.EPERM: "Let this user write there, or name another directory with --output",
    errno.EROFS: "The file system is read-only: name another directory with --output",
    errno.ENOTDIR: "A part of this path is a file: name a directory with --output",
    errno.EEXIST: "Something else has this name: move it away, or name another directory with --output",
    errno.EISDIR: "current must be a link that reportgen made: move the directory of that name away",
    errno.EXDEV: "state and releases must be on one file system: let neither be a link or a mount of its own",
}


@contextmanager
def translate_errors(root: Path) -> Iterator[None]:
    """Turn the file system's errors below ``root`` into ours."""
    try:
        yield
    except OSError as exc:
        place = exc.filename2 or exc.filename or root
        advice = ADVICE.get(exc.errno or 0, "Check the output directory")
        raise PublishError(f"{place}: cannot be written: {exc.strerror}. {advice}") from exc


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it, where they are missing; see to it that its name stays."""
    try:
        directory.mkdir(exist_ok=True)
    except FileNotFoundError:
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
    with suppress(PermissionError):  # what stands above the output may be closed to us
        sync(directory.parent)  # though it was there before: who made it may have died before this


def write(file: Path, content: bytes) -> None:
    """Write a new file through to the disk; its name is there once its directory is synced."""
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync(directory: Path) -> None:
    """Write the names in a directory through to the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(top: Path) -> None:
    """Write the names in a directory, and in all below it, through to the disk."""
    for directory, _, _ in os.walk(top, onerror=_fail):
        sync(Path(directory))


def clear(directory: Path) -> None:
    """Remove what is in a directory; what cannot be removed stays, and harms nobody."""
    for entry in directory.iterdir():
        with suppress(OSError):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _fail(error: OSError) -> None:
    """Raise what os.walk would pass over: a directory that was not read was not synced, either."""
    raise error
