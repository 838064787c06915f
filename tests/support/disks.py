"""Small file systems in memory for tests, with a maximum size and number of files."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = os.sysconf("SC_PAGESIZE")


def mount(*arguments: str) -> None:
    """Call ``mount``, or skip the test if that is not possible."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no program called mount")
    if done.returncode:
        why = done.stderr.partition("\n")[0]
        pytest.skip(f"mounting is not permitted here: {why}")


@contextmanager
def disk(place: Path, options: str) -> Iterator[Path]:
    """Mount a file system at ``place`` until the block ends."""
    place.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"{options},mode=755", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def free_pages(place: Path) -> int:
    """Return the number of free memory pages on the disk at ``place``."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize // PAGE


def free_files(place: Path) -> int:
    """Return the number of files that can still be created there."""
    return os.statvfs(place).f_ffree
