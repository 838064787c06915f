"""Kill, fail or cut the power at every file-system call of a publication.

Wrappers of functions in ``os`` count the calls of one publication. For each call, a child process is forked
that meets a fault there. Then the output is checked, and the next release is published.
``python -m tests.support.calls killed FOLDER`` prints one line of JSON: the faults tried, how the children
ended, and what was wrong.
"""

import errno
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from reportgen.core.errors import PublishError
from reportgen.publish.release import RELEASE_ID, Release, current_release, lock_output, publish

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEEP = 2

CHANGING = (
    "mkdir",
    "rename",
    "replace",
    "link",
    "symlink",
    "unlink",
    "rmdir",
    "fsync",
    "ftruncate",
    "pwrite",
)
LOOKING = ("stat", "lstat", "readlink", "listdir", "scandir", "pread")

Reached = Callable[[str, bool], None]
Log = list[tuple[Any, ...]]


def put(root: Path, number: int, keep: int = KEEP) -> Release:
    """Publish the small release of this number: one file is always the same, two differ."""
    files = {
        "same.css": b"p {}",
        "index.html": f"<p>{number}".encode() * 9,
        "7d/index.html": f"<b>{number}".encode() * 9,
    }
    with lock_output(root) as lock:
        return publish(lock, files, {}, built_at=NOON + timedelta(seconds=number), keep=keep)


def flaw_of(files: Mapping[str, bytes | None]) -> str | None:
    """Return what is wrong with a release, given as the content of its files, or ``None``."""
    try:
        listed = json.loads(files.get("manifest.json") or b"")["files"]
    except (ValueError, KeyError):
        return "no manifest"
    wrong = [
        name
        for name, about in listed.items()
        if hashlib.sha256(files.get(name) or b"").hexdigest() != about["sha256"]
    ]
    return f"not what was published: {wrong}" if wrong or len(listed) != len(files) - 1 else None


def contents(top: Path) -> dict[str, bytes | None]:
    """Return the content of all files below a directory."""
    return {file.relative_to(top).as_posix(): file.read_bytes() for file in top.rglob("*") if file.is_file()}


# The wrappers.


class Stream:
    """A file that is written in two halves."""

    def __init__(self, file: Any, reached: Reached, log: Log) -> None:
        reached("create", True)
        self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._file, self._reached, self._log = os.fspath(file), reached, log
        log.append(("create", self._file))

    def write(self, content: bytes) -> None:
        """Write both halves, and report each to ``reached``."""
        middle = len(content) // 2
        for half in (content[:middle], content[middle:]):
            self._reached("write", True)
            os.write(self._handle, half)
            self._log.append(("write", self._file, half))

    def flush(self) -> None:
        """Do nothing: no data are buffered."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._handle

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        os.close(self._handle)


def interpose(reached: Reached, log: Log) -> Callable[[], None]:  # noqa: C901 - one small wrapper a kind of call
    """Call ``reached`` before each call, and add it to ``log`` after it. Return a function that ends this."""
    real_open, real_io, real_readlink = os.open, io.open, os.readlink
    real = {name: getattr(os, name) for name in (*CHANGING, *LOOKING)}

    def path_of(target: Any, dir_fd: int | None) -> str:
        if isinstance(target, int):
            return real_readlink(f"/proc/self/fd/{target}")
        above = real_readlink(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else ""
        return os.path.join(above, os.fspath(target))  # noqa: PTH118 - the very text that was passed

    def wrap(name: str) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            reached(name, name in CHANGING)
            paths = arguments[:2] if name in {"rename", "replace", "link", "symlink"} else arguments[:1]
            logged = (
                [path_of(path, options.get("dir_fd")) for path in paths if path is not None]
                if name in CHANGING
                else []
            )
            done = real[name](*arguments, **options)
            if name in CHANGING:
                log.append((name, *logged))
            return done

        return wrapper

    def opened(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        reached("open", bool(flags & os.O_CREAT))
        return real_open(path, flags, *rest, **options)

    def io_opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if "x" in mode:
            return Stream(file, reached, log)
        reached("open", False)
        return real_io(file, mode, *rest, **options)

    for name in real:
        setattr(os, name, wrap(name))
    os.open, io.open = opened, io_opened  # type: ignore[assignment]

    def end() -> None:
        for name, function in real.items():
            setattr(os, name, function)
        os.open, io.open = real_open, real_io

    return end


# One fault in each child process.


@dataclass(frozen=True)
class Fault:
    """A fault of a child process: at one call, or at all from that call on (``lasting``).

    It counts calls that change something, and with ``looking`` also those that only read.
    """

    cause: Callable[[], None]
    looking: bool = True
    lasting: bool = False


def fail(number: int) -> Callable[[], None]:
    """Return a function that raises an error of the file system."""

    def failing() -> None:
        raise OSError(number, os.strerror(number))

    return failing


FAULTS = {
    "killed": Fault(lambda: os.kill(os.getpid(), signal.SIGKILL), looking=False),
    "failing once": Fault(fail(errno.EIO)),
    "failing from then on": Fault(fail(errno.EIO), lasting=True),
    "full": Fault(fail(errno.ENOSPC), looking=False),
    "full from then on": Fault(fail(errno.ENOSPC), looking=False, lasting=True),
}


def publish_in_child(publication: Callable[[], object], fault: Fault, at: int) -> str:
    """Publish in a child process that meets its fault at the call number ``at``; return how it ended."""
    pid = os.fork()
    if pid:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return {0: "published", 1: "refused", 2: "spared", -signal.SIGKILL: "killed"}.get(status, "crashed")
    count, ended = 0, 9

    def reached(_: str, changing: bool) -> None:
        nonlocal count
        count += changing or fault.looking
        if (changing or fault.looking) and (count > at if fault.lasting else count == at + 1):
            fault.cause()

    try:
        interpose(reached, [])
        publication()
        ended = 0 if count > at else 2  # there were fewer calls, and no fault
    except PublishError as exc:
        ended = 1 if "free some space" in str(exc) or "The disk fails" in str(exc) else 9
    finally:
        os._exit(ended)


def leftovers(root: Path) -> list[str]:
    """Return the files that should not be there after a successful publication."""
    found = [f"{path.name} in the output" for path in root.iterdir()]
    found += [f"{path.name} in state" for path in (root / "state").iterdir()]
    usual = {f"{name} in the output" for name in ("current", "releases", "state")}
    found = [name for name in found if name not in {*usual, "lock in state", "staging in state"}]
    return found + [f"{path.name} in staging" for path in (root / "state" / "staging").iterdir()]


def damaged(root: Path) -> list[str]:
    """Return the releases that are not complete."""
    ours = [path for path in (root / "releases").glob("*") if RELEASE_ID.fullmatch(path.name)]
    flaws = {path.name: flaw_of(contents(path)) for path in ours}
    return [f"releases/{name}: {flaw}" for name, flaw in flaws.items() if flaw]


def faults_after(root: Path, ended: str, old: str | None, keep: int) -> Iterator[str]:
    """Yield what is wrong with the output after a child ended, and with the next publication."""
    now = current_release(root)
    if now is None and old:
        yield "no current release"
    if now and now.id != old and not now.id.startswith("20261123T120009"):
        yield f"current is {now.id}"
    if now and ended == "published" and now.id == old:
        yield "published, and the last release is still current"
    yield from damaged(root) if (root / "releases").is_dir() else []
    number = 10
    try:
        after = put(root, number, keep)
    except PublishError as exc:
        yield f"the next fails: {exc}"
        return
    if current_release(root) != Release(after.id, Path(os.path.realpath(after.path)), after.manifest):
        yield "the next is not current"
    yield from damaged(root)
    yield from leftovers(root)
    ours = [path.name for path in (root / "releases").iterdir() if RELEASE_ID.fullmatch(path.name)]
    if len(ours) > keep or (old and len(ours) != keep):
        yield f"{len(ours)} releases stay"
    if old and not (root / "releases" / "mine" / "index.html").is_file():
        yield "what was not ours is gone"


def base(root: Path) -> None:
    """Publish :data:`KEEP` releases, and add a directory of the operator beside them."""
    for number in range(KEEP):
        put(root, number)
    (root / "releases" / "mine").mkdir()
    (root / "releases" / "mine" / "index.html").write_bytes(b"by hand")


def try_every_call(name: str, folder: Path) -> dict[str, Any]:
    """Cause a fault at every call, in an output with releases and in one that does not exist yet."""
    fault, ends, wrong = FAULTS[name], Counter[str](), list[str]()
    base(folder / "base")
    for start in ("base", None):
        for at in range(10_000):
            root = folder / f"{start}-{at}" / "output"
            if start:
                root.parent.mkdir()
                shutil.copytree(folder / start, root, symlinks=True)
            old = current_release(root)
            end = publish_in_child(lambda root=root: put(root, 9), fault, at)  # type: ignore[misc]
            if end == "crashed":
                wrong.append(f"call {at}: not an error of ours")
            now = current_release(root)
            if end == "refused" and now and now != old:
                ends["refused, though current"] += 1
            found = faults_after(root, end, old.id if old else None, KEEP)
            wrong += [f"call {at}, {end}: {text}" for text in found]
            shutil.rmtree(root.parent)
            if end == "spared":
                break
            ends[end] += 1
    return {"ends": ends, "wrong": wrong}


# Power cuts: any part of what was not synced may be on the disk.


@dataclass(eq=False)
class Node:
    """A file, a link or a directory: its present state, and the state that survives a power cut.

    ``pending`` are the changes of a directory's names that are not synced, oldest first.
    """

    kind: str
    content: bytes = b""
    kept: bytes = b""
    names: dict[str, "Node"] = field(default_factory=dict)
    kept_names: dict[str, "Node"] = field(default_factory=dict)
    pending: list[tuple[str, "Node | None"]] = field(default_factory=list)

    def put(self, name: str, node: "Node | None") -> None:
        """Change a name of this directory, without syncing."""
        self.pending.append((name, node))
        self.names.pop(name, None)
        if node:
            self.names[name] = node

    def sync(self) -> None:
        """Make the present state the one that survives a power cut."""
        self.kept, self.kept_names, self.pending = self.content, dict(self.names), []


def scanned(path: Path) -> Node:
    """Return a directory tree of the real disk, all of it synced."""
    if path.is_symlink():
        node = Node("link", str(path.readlink()).encode())
    elif path.is_dir():
        node = Node("directory", names={entry.name: scanned(entry) for entry in path.iterdir()})
    else:
        node = Node("file", path.read_bytes())
    node.sync()
    return node


class Disk:
    """A simulated disk below ``top``, to which logged calls are applied."""

    def __init__(self, top: Path) -> None:
        self._top, self.node = top, scanned(top)

    def _at(self, path: str) -> tuple[Node, str]:
        *above, name = Path(path).relative_to(self._top).parts or ("",)
        node = self.node
        for part in above:
            node = node.names[part]
        return node, name

    def apply(self, call: tuple[Any, ...]) -> None:
        """Apply a logged call."""
        name, *paths = call
        if not str(paths[-1] if name in {"link", "symlink", "rename", "replace"} else paths[0]).startswith(
            str(self._top)
        ):
            return
        if name == "symlink":
            folder, own = self._at(paths[1])
            folder.put(own, Node("link", paths[0].encode(), paths[0].encode()))
            return
        folder, own = self._at(paths[0])
        node = folder.names.get(own, self.node) if own else self.node
        if name in {"mkdir", "create"}:
            folder.put(own, Node("directory" if name == "mkdir" else "file"))
        elif name == "write":
            node.content += paths[1]
        elif name == "fsync":
            node.sync()
        elif name in {"unlink", "rmdir"}:
            folder.put(own, None)
        elif name in {"link", "rename", "replace"}:
            other, new = self._at(paths[1])
            other.put(new, node)
            if name != "link":
                folder.put(own, None)

    def after_a_cut(self, lucky: Callable[[], bool]) -> dict[str, bytes]:
        """Return all files and links after a power cut. What is not synced survives if ``lucky()``."""
        found: dict[str, bytes] = {}
        self._gather(self.node, "", lucky, found)
        return found

    def _gather(self, node: Node, path: str, lucky: Callable[[], bool], found: dict[str, bytes]) -> None:
        if node.kind != "directory":
            found[path] = node.kept if node.content == node.kept or not lucky() else node.content
            return
        names = dict(node.kept_names)
        late = set[str]()
        for name, other in node.pending:  # changes of one name reach the disk in their order
            if name in late or not lucky():
                late.add(name)
            elif other:
                names[name] = other
            else:
                names.pop(name, None)
        for name, other in names.items():
            self._gather(other, f"{path}/{name}", lucky, found)


def power_cuts(folder: Path) -> dict[str, Any]:
    """Cut the power after every call of a publication, several times, and check what is on the disk."""
    cuts, calls, wrong = 0, 0, list[str]()
    chance = random.Random(20261123)
    kinds: list[Callable[[], bool]] = [lambda: False, lambda: True]
    kinds += [lambda: chance.random() < 0.5] * 20 + [lambda: chance.random() < 0.9] * 10
    for keep, start in ((1, True), (2, True), (2, False)):
        top = folder / f"{keep}-{start}"
        root = top / "new" / "output"
        top.mkdir()
        if start:
            root.parent.mkdir()
            base(root)
        disk, log = Disk(top), Log()
        end = interpose(lambda *_: None, log)
        try:
            new = put(root, 9, keep)
        finally:
            end()
        for number, call in enumerate(log):
            disk.apply(call)
            for lucky in kinds:
                cuts += 1
                flaws = flaws_after(disk.after_a_cut(lucky), may_be_absent=not start)
                wrong += [f"after call {number} ({call[0]} {call[1]}): {flaw}" for flaw in flaws]
        calls += len(log)
        found = disk.after_a_cut(lambda: False)
        if found.get("/new/output/current") != f"releases/{new.id}".encode():
            wrong.append(f"published, and not current after a cut (keep {keep})")
    return {"ends": {"cut": cuts, "calls": calls}, "wrong": wrong}


def flaws_after(found: Mapping[str, bytes], *, may_be_absent: bool) -> Iterator[str]:
    """Yield what is wrong with the current release and with every other release."""
    link = found.get("/new/output/current")
    if link is None and not may_be_absent:
        yield "no current"
    top = "/new/output/releases/"
    names = {path.removeprefix(top).split("/")[0] for path in found if path.startswith(top)}
    ids = {name for name in names if RELEASE_ID.fullmatch(name)} | ({link.decode()[9:]} if link else set())
    for name in sorted(ids):
        inside = f"{top}{name}/"
        flaw = flaw_of({path.removeprefix(inside): held for path, held in found.items() if inside in path})
        if flaw:
            yield f"{name}: {flaw}"


def main(arguments: Sequence[str]) -> None:
    """Cause the named fault in a new folder, and print the result."""
    name, folder = arguments
    done = power_cuts(Path(folder)) if name == "power" else try_every_call(name, Path(folder))
    sys.stdout.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
