"""Kill builds and services, and start several at once, while readers read.

``python -m tests.faults.chaos 200 50`` kills a build at 200 moments spread over its duration, then 50 times
starts two builds and a service at the same time. It prints what it found. ``tests/faults/test_chaos.py`` runs
a short form.
"""

import hashlib
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reportgen.publish.release import current_release, is_whole
from tests.support.calls import damaged
from tests.support.services import ask, children, environment, eventually, serving, write_table

READERS = 4
PATIENCE_S = 120.0
KEEP = 10

PAGES = (
    "index.html",
    "today/index.html",
    "7d/index.html",
    "30d/index.html",
    "7d/report.json",
    "7d/daily.csv",
)
"""What readers fetch, besides what is named by its hash."""


class Manifests:
    """All manifests that were ever in an output: a release may be removed before its pages are compared."""

    def __init__(self, output: Path) -> None:
        self._output, self._guard = output, threading.Lock()
        self._files: dict[str, dict[str, str]] = {}
        self.update()

    def update(self) -> None:
        """Add the manifests that are there now."""
        with self._guard:
            for file in sorted((self._output / "releases").glob("*/manifest.json")):
                if file.parent.name not in self._files:
                    with suppress(OSError):
                        listed = json.loads(file.read_bytes())["files"]
                        self._files[file.parent.name] = {name: a["sha256"] for name, a in listed.items()}

    def releases_of(self, name: str, content: bytes) -> list[str]:
        """Return the ids of the releases in which the file of that name has that content, oldest first."""
        digest = hashlib.sha256(content).hexdigest()
        for _ in range(2):
            found = [release for release, files in sorted(self._files.items()) if files.get(name) == digest]
            if found:
                break
            self.update()
        return found

    def files_to_read(self, release: str) -> list[str]:
        """Return the files of a release that readers request."""
        return [name for name in self._files[release] if name in PAGES or name.startswith("assets/report.")]


@dataclass
class Readers:
    """Readers who request all pages again and again, and the faults that they found."""

    port: int
    manifests: Manifests
    over: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)

    def read(self) -> None:
        """Read until ``over`` is set. Each response must be of one release, and never of an older one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        last, files_to_read = "", list(PAGES)
        while not self.over.is_set():
            for name in files_to_read:
                try:
                    answer = ask(connection, f"/{name}")
                except (OSError, http.client.HTTPException) as exc:
                    self.faults.append(f"{name}: {type(exc).__name__} {exc}")
                    connection.close()
                    continue
                found = self.manifests.releases_of(name, answer.body) if answer.status == 200 else []
                later = [release for release in found if release >= last]
                if not later:
                    self.faults.append(f"{name}: {answer.status}, of {found or 'no release'} after {last}")
                    continue
                last = later[0]
                self.answers[last] += 1
            files_to_read = self.manifests.files_to_read(last) if last else files_to_read
            self.over.wait(0.02)  # leaves CPU time to the build
        connection.close()


@contextmanager
def reading(port: int, output: Path) -> Iterator[Readers]:
    """Let readers read until the block ends."""
    readers = Readers(port, Manifests(output))
    threads = [threading.Thread(target=readers.read, daemon=True) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        yield readers
    finally:
        readers.over.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def start(folder: Path, url: str, *options: str) -> "subprocess.Popen[str]":
    """Start a build."""
    return subprocess.Popen(
        [sys.executable, "-m", "reportgen", "build", "--source", url, "--quiet", *options],
        cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_build(build: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a build; return its exit status and its standard error."""
    try:
        said = build.communicate(timeout=PATIENCE_S)[1]
    finally:
        build.kill()
    return build.returncode, said


def leftovers(output: Path) -> list[str]:
    """Return what must not be in an output while no build runs."""
    found = [path.name for path in (output / "state" / "staging").iterdir()]
    found += [path.name for path in output.iterdir() if path.name not in {"current", "releases", "state"}]
    known = {"lock", "staging", "runs.json", "runs.json.lock"}
    # A record that was cut short is written again, under this name, by the next build.
    found += [path.name for path in (output / "state").iterdir() if path.name not in known]
    found += damaged(output)
    release = current_release(output)
    if release is None or not is_whole(release):
        found.append("the current release is not whole")
    if len(list((output / "releases").iterdir())) > KEEP:
        found.append("more releases than were to stay")
    return found


def is_staging(output: Path) -> bool:
    """Return whether anything is in the staging directory."""
    with suppress(OSError):
        return any((output / "state" / "staging").iterdir())
    return False


def kill_builds(folder: Path, instants: int) -> tuple[Readers, list[str], Counter[str]]:
    """Kill builds at moments spread over their duration, and when one stages; after each, build again.

    Returns the readers, the faults, and how the killed builds ended.
    """
    url, output = write_table(folder / "metrics.csv"), folder / "output"
    wrong, ends = list[str](), Counter[str]()
    for _ in range(2):  # the second one finds its modules in the memory of the system
        begun = time.monotonic()
        status, said = wait_for_build(start(folder, url))
        assert status == 0, said
    length_s = time.monotonic() - begun
    with (
        serving(folder, "--no-schedule", "--source", url) as service,
        reading(service.port, output) as readers,
    ):
        for number in range(instants + 1):
            build = start(folder, url)
            if number < instants:
                with suppress(subprocess.TimeoutExpired):
                    build.wait(length_s * (number + 0.5) / instants)
            else:
                while build.poll() is None and not is_staging(output):
                    time.sleep(0.0005)
            build.kill()
            status = wait_for_build(build)[0]
            half = is_staging(output)
            ends["staged" if half else "killed" if status == -signal.SIGKILL else "done"] += 1
            readers.manifests.update()
            status, said = wait_for_build(start(folder, url))
            readers.manifests.update()
            if status:
                wrong.append(f"instant {number}: the next build ends with {status}: {said}")
            wrong += [f"instant {number}: {text}" for text in leftovers(output)]
        last = current_release(output)
        eventually(lambda: last is not None and readers.answers[last.id], PATIENCE_S)
    return readers, wrong, ends


def start_at_once(folder: Path, times: int) -> tuple[list[str], Counter[int]]:
    """Start two builds and a service at the same time, in a new output directory.

    Returns the faults, and the exit statuses of the builds.
    """
    wrong, ends = list[str](), Counter[int]()
    for number in range(times):
        path = folder / f"start-{number}"
        path.mkdir()
        url, output = write_table(path / "metrics.csv"), path / "output"
        builds = [start(path, url, "--no-wait"), start(path, url)]
        with serving(path, "--source", url) as service:
            for build, well in zip(builds, ({0, 3}, {0}), strict=True):
                status, said = wait_for_build(build)
                ends[status] += 1
                if status not in well:
                    wrong.append(f"start {number}: a build ends with {status}: {said}")
            service.await_event("release_served", within_s=PATIENCE_S)
            found = Manifests(output).releases_of("7d/index.html", service.ask("/7d/").body)
            if not found:
                wrong.append(f"start {number}: what is served is of no release")
            wrong += [f"start {number}: {event}" for event in service.events("build_failed")]
            eventually(lambda pid=service.process.pid: not children(pid), PATIENCE_S)  # type: ignore[misc]
        wrong += [f"start {number}: {text}" for text in leftovers(output)]
    return wrong, ends


def kill_services(folder: Path, instants: int) -> tuple[list[str], int]:
    """Kill a service during a build, and start another.

    Returns the faults, and how many builds were running.
    """
    url, output = write_table(folder / "metrics.csv"), folder / "output"
    wrong, under_way = list[str](), 0
    assert wait_for_build(start(folder, url))[0] == 0
    for number in range(instants):
        write_table(folder / "metrics.csv", rows=6 + number)
        with serving(folder, "--source", url, REPORTGEN_SCHEDULE="1s") as service:
            eventually(lambda pid=service.process.pid: children(pid), PATIENCE_S)  # type: ignore[misc]
            time.sleep(1.5 * number / instants)
            orphans = children(service.process.pid)
            under_way += bool(orphans)
            service.process.kill()
            service.process.wait(PATIENCE_S)
        with serving(folder, "--no-schedule", "--source", url) as service:
            found = Manifests(output).releases_of("7d/index.html", service.ask("/7d/").body)
            if not found:
                wrong.append(f"instant {number}: a new service serves no release")
        eventually(lambda left=orphans: not any(map(is_running, left)), PATIENCE_S)  # type: ignore[misc]
        if wait_for_build(start(folder, url))[0]:
            wrong.append(f"instant {number}: the next build fails")
        wrong += [f"instant {number}: {text}" for text in leftovers(output)]
    return wrong, under_way


def is_running(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def report(text: str) -> None:
    """Write a line about the progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run the long form; return the exit status."""
    instants, times = map(int, arguments)
    with tempfile.TemporaryDirectory(prefix="reportgen-chaos-") as name:
        begun = time.monotonic()
        for part in ("builds", "services", "starts"):
            (Path(name) / part).mkdir()
        readers, wrong, ends = kill_builds(Path(name) / "builds", instants)
        report(f"{instants} instants: {dict(ends)}; {sum(readers.answers.values()):,} answers to readers")
        unserved, under_way = kill_services(Path(name) / "services", max(1, instants // 10))
        report(f"{max(1, instants // 10)} services killed, {under_way} of them in the middle of a build")
        unstarted, statuses = start_at_once(Path(name) / "starts", times)
        report(f"{times} times two builds and a service at once: exit statuses {dict(statuses)}")
        faults = [*readers.faults, *wrong, *unserved, *unstarted]
        report("\n".join([f"{len(faults)} faults in {time.monotonic() - begun:.0f} s", *faults[:50]]))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
