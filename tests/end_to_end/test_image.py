"""The image: the instructions of the Dockerfile, and a service in the image that they make."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import tomllib
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

from tests.support import image
from tests.support.image import ROOT, MountNamespace, as_user, in_root
from tests.support.stores import NAME, variables

pytestmark = pytest.mark.slow

BUILDER, FINAL = STAGES = image.read_dockerfile((ROOT / "Dockerfile").read_text())
USER = FINAL.last("USER").text
UID = int(USER.partition(":")[0])
OUTPUT = FINAL.environment["REPORTGEN_OUTPUT__DIR"]
PASSWORD = "open sesame"
BASE_BYTES = 126_250_000
"""python:3.13-slim, amd64, 2026-09: repos/python/local/3.13-slim.md, github.com/docker-library/repo-info."""
LIMIT_BYTES = 500_000_000
NOT_COMPILED = {
    "test", "tests", "ensurepip", "idlelib", "pydoc_data", "site-packages", "tkinter", "turtledemo",
}  # fmt: skip
DISTRIBUTION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"]


def test_both_stages_begin_with_the_same_slim_python() -> None:
    """The environment is copied from one to the other, and links to its Python."""
    assert BUILDER.base == FINAL.base
    assert re.fullmatch(r"python:3\.\d+-slim", FINAL.base)


def test_uv_is_the_version_of_the_makefile() -> None:
    found = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found
    assert f"uv=={found[1]}" in BUILDER.steps[2].words


def test_the_final_stage_installs_nothing() -> None:
    """No package manager runs there, so no compiler is installed."""
    commands = " ".join(step.text for step in FINAL.steps if step.name == "RUN")
    assert not re.search(r"\b(apt|apt-get|pip|uv|gcc|curl|wget)\b", commands)


def test_the_service_starts_without_a_shell_so_that_it_gets_signals() -> None:
    assert FINAL.last("ENTRYPOINT").listed
    assert FINAL.last("CMD").listed
    assert FINAL.last("HEALTHCHECK").text.startswith("CMD [")


def test_the_user_is_a_number_that_is_not_root() -> None:
    """Platforms that refuse to run images as root need a numeric user."""
    assert UID > 0
    assert f"useradd --uid {UID} --gid {USER.partition(':')[2]} " in FINAL.steps[0].text


def test_the_build_context_holds_only_what_the_dockerfile_copies() -> None:
    seen = image.context_files()
    assert {path.partition("/")[0] for path in seen} - {"reportgen.toml"} == {
        "Dockerfile", "LICENSE", "README.md", "counter", "deploy", "hatch_build.py", "pyproject.toml",
        "reportgen", "templates", "uv.lock",
    }  # fmt: skip
    assert [path for path in seen if "__pycache__" in path or path.endswith((".js", ".br", ".gz"))] == [
        path for path in seen if path.endswith(("report.js", ".csv.gz"))
    ]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_locked_dependency_has_a_wheel_for_its_python(machine: str) -> None:
    """The image has no compiler."""
    found = re.search(r"3\.(\d+)", FINAL.base)
    assert found
    version = (3, int(found[1]))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 4, -1)]
    platforms += [f"manylinux2014_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]
    interpreter = f"cp{version[0]}{version[1]}"
    tags = set(cpython_tags(version, platforms=platforms))
    tags |= set(compatible_tags(version, interpreter, platforms))
    assert locked(version, machine) > {"pandas", "duckdb", "vl-convert-python", "psycopg-binary"}
    assert [name for name in locked(version, machine) if not _has_wheel(name, tags)] == []


LOCK = {package["name"]: package for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}


def locked(version: tuple[int, int], machine: str) -> set[str]:
    """Return the names of all packages that the service needs on Linux."""
    number = f"{version[0]}.{version[1]}"
    here = {
        "python_version": number, "python_full_version": f"{number}.0", "sys_platform": "linux",
        "platform_system": "Linux", "os_name": "posix", "platform_machine": machine,
        "platform_python_implementation": "CPython", "implementation_name": "cpython",
    }  # fmt: skip
    found: set[str] = set()
    waiting: list[tuple[str, tuple[str, ...]]] = [(DISTRIBUTION, ())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        found.add(name)
        package = LOCK[name]
        needed = list(package.get("dependencies", ()))
        for extra in extras:
            needed += package.get("optional-dependencies", {}).get(extra, ())
        for need in needed:
            if "marker" not in need or Marker(need["marker"]).evaluate(here):
                each = (need["name"], tuple(need.get("extra", ())))
                if each not in seen:
                    seen.add(each)
                    waiting.append(each)
    return found - {DISTRIBUTION}


def _has_wheel(name: str, tags: set[Tag]) -> bool:
    names = [wheel["url"].rpartition("/")[2] for wheel in LOCK[name].get("wheels", ())]
    return any(tags & parse_wheel_filename(wheel)[3] for wheel in names)


class Image:
    """The final stage with a volume for the output; everything else is read-only."""

    def __init__(self, namespace: MountNamespace, root: Path, log: Path) -> None:
        """Set the file ``log`` to which the service writes its standard output and error."""
        self._namespace, self._root, self._log = namespace, root, log
        self.password: str | None = PASSWORD
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])

    @property
    def environment(self) -> dict[str, str]:
        """The image's variables, a free port, and the password."""
        given = {"PATH": image.PATH, **FINAL.environment, "REPORTGEN_SERVER__PORT": str(self.port)}
        return given | ({"REPORTGEN_PASSWORD": self.password} if self.password else {})

    @property
    def size(self) -> int:
        """The size of the layers above the base image, in bytes."""
        return self._namespace.written(self._root)

    def do(self, *words: str) -> str:
        """Run a command as root in the image, without a service; return its standard output."""
        return self._namespace.do(*in_root(self._root, self.environment, "/", *words))

    def fresh_volume(self) -> None:
        """Mount an empty volume as Fly.io does: owned by the image's user."""
        place = f"{self._root}{OUTPUT}"
        mounted = ["mount", "-t", "tmpfs", "-o", f"mode=755,uid={UID},gid={UID}", "tmpfs", place]
        script = 'if mountpoint -q "$1"; then umount "$1"; fi; shift; "$@"'
        self._namespace.do("sh", "-ec", script, "sh", place, *mounted)

    def read_only(self) -> None:
        """Mount everything except the volume read-only."""
        for place in ("", "/usr/local", "/tmp"):
            path = f"{self._root}{place}"
            if place != "/usr/local" or self._namespace.do(
                "sh", "-c", f"! mountpoint -q {path} || echo mounted"
            ):
                self._namespace.do("mount", "-o", "remount,ro,bind", path)

    @contextmanager
    def started(self) -> Iterator["Running"]:
        """Run entry point and command as the image's user, as process 1 of a new PID namespace."""
        self.fresh_volume()
        words = [*FINAL.last("ENTRYPOINT").words, *FINAL.last("CMD").words]
        inner = in_root(self._root, self.environment, FINAL.last("WORKDIR").text, *as_user(USER), *words)
        unshare = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={self._root}/proc"]
        with self._log.open("wb") as log, subprocess.Popen(
            self._namespace.command(*unshare, *inner), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ) as process:  # fmt: skip
            running = Running(self, process)
            try:
                yield running
            finally:
                running.kill()

    @property
    def log(self) -> str:
        """What the service has written to its standard output and error."""
        return self._log.read_text()


class Running:
    """A service that runs in its PID namespace."""

    def __init__(self, of: Image, process: "subprocess.Popen[bytes]") -> None:
        """Find process 1; ``process`` is ``unshare``, which waits for it."""
        self._of, self._process = of, process
        self.first = self._first()

    def _first(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        for _ in range(200):
            if self._process.poll() is None and (found := children.read_text().split()):
                return int(found[0])
            time.sleep(0.01)
        raise AssertionError(self._of.log)

    def kill(self) -> None:
        """Kill the service if it still runs."""
        if self._process.poll() is None:
            os.kill(self.first, signal.SIGKILL)
            self._process.wait()

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM to the first process; return the exit status and the seconds until the end."""
        begun = time.monotonic()
        os.kill(self.first, signal.SIGTERM)
        return self._process.wait(timeout=20), time.monotonic() - begun

    def get(self, path: str, password: str | None = None) -> tuple[int, str]:
        """Return status and body of a response, or 0 and an empty text without one."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._of.port}{path}")
        if password:
            request.add_header("Authorization", f"Basic {b64encode(f'reader:{password}'.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode()
        except OSError:
            return 0, ""

    def wait_for(self, path: str, timeout_s: float, password: str | None = None) -> None:
        """Wait until a path answers with 200."""
        end = time.monotonic() + timeout_s
        while self.get(path, password)[0] != 200:
            assert self._process.poll() is None, self._of.log
            assert time.monotonic() < end, f"{path}: not within {timeout_s} s\n{self._of.log}"
            time.sleep(0.1)

    def run(self, *words: str, user: str = "0:0", **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run a command beside the service, by default like a login by SSH: as root, with its home, in /."""
        environment = {**self._of.environment, "HOME": "/root", **variables}
        pairs = [f"{name}={value}" for name, value in environment.items()]
        inside = ["nsenter", "--target", str(self.first), "--mount", "--pid", "--root", "--"]
        return subprocess.run(
            [*inside, "env", "-i", "-C", "/", *pairs, *as_user(user), *words],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Yield the image, built by the steps of the Dockerfile."""
    folder = tmp_path_factory.mktemp("image")
    if reason := image.obstacle(folder):
        pytest.skip(reason)
    with image.mount_namespace(folder) as namespace:
        built = Image(namespace, image.build(namespace, STAGES), tmp_path_factory.mktemp("log") / "log")
        built.fresh_volume()
        built.read_only()
        yield built


def test_the_image_takes_at_most_500_mb_unpacked(built_image: Image) -> None:
    """Of its own Python: the wheels of another are larger or smaller."""
    here = built_image.do(
        "python", "-c", "import sys; print('python:%d.%d-slim' % sys.version_info[:2])"
    ).strip()
    if here != FINAL.base:
        pytest.skip(f"the Python of {FINAL.base} is not installed on this machine")
    own = built_image.size
    assert BASE_BYTES + own <= LIMIT_BYTES, f"{own / 1e6:.1f} MB above the base image"


def test_the_tests_of_libraries_do_not_travel(built_image: Image) -> None:
    wanted = ("-name", "test", "-o", "-name", "tests")
    assert built_image.do("find", "/app/.venv", "-type", "d", "(", *wanted, ")") == ""


@pytest.fixture
def running(built_image: Image) -> Iterator[Running]:
    """Yield a started service whose first report is built."""
    with built_image.started() as service:
        service.wait_for("/healthz", 20)
        service.wait_for("/", 60, PASSWORD)
        yield service


def test_the_service_serves_builds_and_stops_on_sigterm(built_image: Image, running: Running) -> None:
    """First report, health check, a build as root by SSH, a build as the image's user, and the end."""
    assert running.get("/")[0] == 401
    assert "jarv.is" in running.get("/", PASSWORD)[1]
    assert running.get("/healthz/fresh") == (200, "fresh\n")

    words = json.loads(FINAL.last("HEALTHCHECK").text.removeprefix("CMD "))
    assert running.run(*words, user=USER).returncode == 0
    assert running.run(*words, user=USER, REPORTGEN_SERVER__PORT="1").returncode != 0

    first = Path(f"/proc/{running.first}")
    status = dict(line.split(":\t", 1) for line in (first / "status").read_text().splitlines())
    assert {status["Uid"], status["Gid"]} == {f"{UID}\t{UID}\t{UID}\t{UID}"}
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Groups"].strip()) == ("1", "")
    assert (first / "cmdline").read_bytes().startswith(b"/app/.venv/bin/python")
    assert b"HOME=/app" in (first / "environ").read_bytes().split(b"\0")

    as_root = running.run("reportgen", "build", "--json")
    assert as_root.returncode == 0, as_root.stderr
    assert json.loads(as_root.stdout)["status"] == "published"
    foreign = running.run("find", OUTPUT, "!", "-uid", str(UID))
    assert (foreign.stdout, foreign.stderr) == ("", "")
    own = running.run("reportgen", "build", "--json", user=USER)
    assert own.returncode == 0, own.stdout

    state = running.run("reportgen", "status", "--json", "--output", "output")  # as seen from /app
    assert state.returncode == 0, state.stdout
    document = json.loads(state.stdout)
    assert document["release"]["id"] == Path(json.loads(own.stdout)["path"]).name
    assert document["consecutive_failures"] == 0

    code, seconds = running.stop()
    assert (code, seconds < 5) == (0, True), built_image.log
    assert all(json.loads(line)["level"] == "info" for line in built_image.log.splitlines())


def test_the_service_stops_during_a_build(built_image: Image) -> None:
    """Process 1 gets only the signals that it handles: the service handles SIGTERM."""
    with built_image.started() as service:
        service.wait_for("/healthz", 20)
        code, seconds = service.stop()
        assert (code, seconds < 5) == (0, True), built_image.log
        assert "build_published" not in built_image.log


def test_the_service_refuses_to_start_without_a_password(built_image: Image) -> None:
    built_image.password = None
    try:
        with built_image.started() as service:
            assert service._process.wait(timeout=20) == 2
    finally:
        built_image.password = PASSWORD
    assert "REPORTGEN_PASSWORD" in built_image.log


def test_the_user_of_the_image_can_write_to_the_output_only(built_image: Image, running: Running) -> None:
    """Everything else is read-only even for root, so the tests above wrote nothing elsewhere."""
    found = running.run("find", "/app", "/usr/local", "-writable", "!", "-type", "l", user=USER)
    assert [path for path in found.stdout.split() if not path.startswith(OUTPUT)] == []
    assert running.run("touch", "/app/x").returncode != 0


def test_sources_and_buckets_work_where_only_the_output_can_be_written_to(
    running: Running, store: str
) -> None:
    """Each loads other libraries. Logs need a directory for temporary files, and the message names it."""
    now = datetime.now(UTC)
    line = f'192.0.2.1 - - [{now:%d/%b/%Y:%T} +0000] "GET / HTTP/1.1" 200 9 "-" "Mozilla/5.0 Firefox/150"'
    script = """
import pathlib, sys
for name, text in zip(("visits.csv", "access.log"), sys.argv[1:]):
    pathlib.Path("/app/output", name).write_text(text + "\\n")
"""
    texts = (f"date,path,visits\n{now:%F},/,7", line)
    assert running.run("python", "-c", script, *texts, user=USER).returncode == 0

    def reportgen(command: str, name: str, **given: str) -> "subprocess.CompletedProcess[str]":
        given |= {"DATABASE_URL": f"{OUTPUT}/{name}", "REPORTGEN_OUTPUT__DIR": f"{OUTPUT}/of-{name}"}
        given |= {"REPORTGEN_OUTPUT__BUCKET": f"s3://{NAME}/{name}"} | variables(store)
        return running.run("reportgen", command, user=USER, **given)

    for command in ("check", "build"):
        done = reportgen(command, "visits.csv")
        assert done.returncode == 0, done.stdout + done.stderr
        done = reportgen(command, "access.log")
        assert done.returncode == 1
        assert "TMPDIR" in done.stdout + done.stderr
        done = reportgen(command, "access.log", TMPDIR=OUTPUT)
        assert done.returncode == 0, done.stdout + done.stderr
    done = running.run(
        "reportgen", "demo", "--no-serve", "--output", f"{OUTPUT}/demo", user=USER
    )  # with panels
    assert done.returncode == 0, done.stdout + done.stderr


def test_bytecode_is_compiled_and_the_bundle_is_there(running: Running) -> None:
    """The service cannot write them: without them each process would compile everything again."""
    script = """
import importlib.util, json, pathlib, sys, sysconfig
import reportgen
from reportgen.charts import vega_bundle as bundle
def uncompiled(folder, left_out):
    found = [path for path in pathlib.Path(folder).rglob("*.py") if not left_out & set(path.parts)]
    return [str(path) for path in found
            if not pathlib.Path(importlib.util.cache_from_source(path)).is_file()]
stdlib = uncompiled(sysconfig.get_path("stdlib"), set(sys.argv[1:]))
packages = uncompiled(sysconfig.get_path("purelib"), set())
forms = [bundle.LICENCES.with_name(bundle.name() + form).is_file() for form in bundle.FORMS]
print(json.dumps([reportgen.__file__, stdlib, packages, forms]))
"""
    done = running.run("/app/.venv/bin/python", "-c", script, *NOT_COMPILED, user=USER)
    assert done.returncode == 0, done.stderr
    place, stdlib, packages, forms = json.loads(done.stdout)
    assert re.fullmatch(r"/app/\.venv/lib/python3\.\d+/site-packages/reportgen/__init__\.py", place)
    assert stdlib == []
    assert packages == []
    assert forms == [True, True, True]


def test_the_image_holds_no_installer_sources_or_tests(running: Running) -> None:
    listed = running.run("sh", "-c", "ls -A / /app; ls /app/.venv/bin; command -v uv || true")
    assert not {"src", "uv", "pip", "pytest", "ruff", "pyproject.toml"} & set(listed.stdout.split())
