"""Write files so that they survive a power cut, and say in errors what to do.

A file, or a name in a directory, is certain to be on the disk only after it is synced (fsync). Before that, a
power cut may keep one and lose the other.
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


def write_file(file: Path, content: bytes) -> None:
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


def sync_tree(top: Path) -> None:
    """Sync the names in a directory and in all directories below it to the disk."""
    for directory, _, _ in os.walk(top, onerror=_raise):
        sync_directory(Path(directory))


def delete_contents(directory: Path) -> None:
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
