"""A real memory limit for processes of a test: a control group of Linux, version 1 or 2."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest


@dataclass(frozen=True)
class Group:
    """A control group with a memory limit."""

    path: Path
    version: int

    @property
    def kills(self) -> int:
        """The number of its processes that the kernel killed because memory ran out."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        found = re.search(r"^oom_kill (\d+)$", (self.path / file).read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    @property
    def swapped_bytes(self) -> int:
        """The number of bytes of its memory that are swapped to a disk."""
        if self.version == 2:
            file = self.path / "memory.swap.current"
            return int(file.read_text()) if file.exists() else 0
        found = re.search(r"^swap (\d+)$", (self.path / "memory.stat").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0  # without swap, the kernel does not report it

    @property
    def peak_bytes(self) -> int | None:
        """The maximum memory it has used in bytes, with cached files; ``None`` if it is not known."""
        file = self.path / ("memory.peak" if self.version == 2 else "memory.max_usage_in_bytes")
        return int(file.read_text()) if file.exists() else None

    def join(self) -> None:
        """Move this process into the group."""
        (self.path / "cgroup.procs").write_text("0")


@contextmanager
def limited(limit_bytes: int) -> Iterator[Group]:
    """Make a group with a memory limit; skip the test if that is not possible here."""
    group = _make_group()
    try:
        if group.version == 2:
            (group.path / "memory.max").write_text(str(limit_bytes))
            with suppress(OSError):
                (group.path / "memory.swap.max").write_text("0")
        else:
            (group.path / "memory.limit_in_bytes").write_text(str(limit_bytes))
            (group.path / "memory.swappiness").write_text("0")
        yield group
    finally:
        _remove(group.path)


def _remove(path: Path) -> None:
    """Remove a group. A process that has ended leaves it a little later; one that still runs is an error."""
    until = time.monotonic() + 5
    while True:
        try:
            return path.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


def _make_group() -> Group:
    reasons = []
    for parent, version in _parents():
        path = parent / f"reportgen-{uuid4().hex[:8]}"
        try:
            path.mkdir()
            if (path / ("memory.max" if version == 2 else "memory.limit_in_bytes")).exists():
                return Group(path, version)
            path.rmdir()
            reasons.append(f"{parent}: a memory limit cannot be set there")
        except OSError as exc:
            reasons.append(f"{parent}: {exc.strerror}")
    pytest.skip(f"a control group cannot be made here: {'; '.join(reasons) or 'none is mounted'}")


def _parents() -> Iterator[tuple[Path, int]]:
    """Yield the directories in which a group may be made, each with its version."""
    own = {names: path for _, names, path in (line.split(":", 2) for line in _lines("/proc/self/cgroup"))}
    for line in _lines("/proc/mounts"):
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            yield from _candidates(Path(place), own.get("memory"), 1)
        elif kind == "cgroup2":
            yield from _candidates(Path(place), own.get(""), 2)


def _candidates(top: Path, own: str | None, version: int) -> Iterator[tuple[Path, int]]:
    if own and own != "/" and (top / own.lstrip("/")).is_dir():
        yield top / own.lstrip("/"), version
    yield top, version


def _lines(file: str) -> list[str]:
    with suppress(OSError):
        return Path(file).read_text().splitlines()
    return []
