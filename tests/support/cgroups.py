"""A real limit on memory: a control group of the kernel's, version 1 or 2, for processes of a test."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest


@dataclass(frozen=True)
class Group:
    """A control group with a limit on memory."""

    path: Path
    version: int

    @property
    def kills(self) -> int:
        """How many of its processes the kernel has ended for want of memory."""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        found = re.search(r"^oom_kill (\d+)$", (self.path / file).read_text(), re.MULTILINE)
        assert found
        return int(found[1])

    @property
    def swapped_bytes(self) -> int:
        """How much of its memory is on a disk."""
        if self.version == 2:
            file = self.path / "memory.swap.current"
            return int(file.read_text()) if file.exists() else 0
        found = re.search(r"^swap (\d+)$", (self.path / "memory.stat").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0  # the kernel counts no swap where there is none

    @property
    def peak_bytes(self) -> int | None:
        """The most memory it has held, with cached files, where the kernel tells."""
        file = self.path / ("memory.peak" if self.version == 2 else "memory.max_usage_in_bytes")
        return int(file.read_text()) if file.exists() else None

    def join(self) -> None:
        """Put this process into it."""
        (self.path / "cgroup.procs").write_text("0")


@contextmanager
def limited(limit_bytes: int) -> Iterator[Group]:
    """Make a group whose processes hold so much memory at most; skip the test where that cannot be."""
    group = _made()
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
        group.path.rmdir()


def _made() -> Group:
    reasons = []
    for parent, version in _parents():
        path = parent / f"reportgen-{uuid4().hex[:8]}"
        try:
            path.mkdir()
            if (path / ("memory.max" if version == 2 else "memory.limit_in_bytes")).exists():
                return Group(path, version)
            path.rmdir()
            reasons.append(f"{parent}: no limit on memory can be set there")
        except OSError as exc:
            reasons.append(f"{parent}: {exc.strerror}")
    pytest.skip(f"no control group can be made here: {'; '.join(reasons) or 'none is mounted'}")


def _parents() -> Iterator[tuple[Path, int]]:
    """Yield where a group may be made: below this process's own, and at the top."""
    own = {names: path for _, names, path in (line.split(":", 2) for line in _lines("/proc/self/cgroup"))}
    for line in _lines("/proc/mounts"):
        _, place, kind, options, *_ = line.split()
        if kind == "cgroup" and "memory" in options.split(","):
            yield from _below(Path(place), own.get("memory"), 1)
        elif kind == "cgroup2":
            yield from _below(Path(place), own.get(""), 2)


def _below(top: Path, own: str | None, version: int) -> Iterator[tuple[Path, int]]:
    if own and own != "/" and (top / own.lstrip("/")).is_dir():
        yield top / own.lstrip("/"), version
    yield top, version


def _lines(file: str) -> list[str]:
    with suppress(OSError):
        return Path(file).read_text().splitlines()
    return []
