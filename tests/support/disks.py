"""Small disks for the tests: file systems in memory, of a size and a number of files that are ours to set."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PAGE = os.sysconf("SC_PAGESIZE")


def mount(*arguments: str) -> None:
    """Mount, or skip the test and say why."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no program called mount")
    if done.returncode:
        why = done.stderr.partition("\n")[0]
        pytest.skip(f"mounting is not permitted here: {why}")


@contextmanager
def disk(place: Path, options: str) -> Iterator[Path]:
    """Have a file system of its own at ``place`` until the block ends."""
    place.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"{options},mode=755", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def free_pages(place: Path) -> int:
    """Return how many pages are free on the disk at ``place``."""
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize // PAGE


def free_files(place: Path) -> int:
    """Return how many files can still be made there."""
    return os.statvfs(place).f_ffree
