"""Reads the Dockerfile and runs its steps without Docker.

A stage is an overlay file system: the files of this machine below, what the steps write above, in memory.
Commands run with it as their root directory, so paths, users and rights are those of an image. Three things
differ: the base is this machine, with a Python as ``/usr/local``, not ``python:…-slim``; layers are not kept;
the network is that of the machine. The Python is of the image's version where the machine has one, else that
of the tests.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
WANTED = re.compile(r"(UV|PIP)_.*|SSL_CERT_(FILE|DIR)|XDG_CACHE_HOME|(https?|no)_proxy", re.IGNORECASE)
"""Variables of this machine that a package index may need."""


@dataclass(frozen=True)
class Step:
    """One instruction: its name, its options (such as ``from``: ``builder``), the rest of its text."""

    name: str
    options: Mapping[str, str]
    text: str

    @property
    def listed(self) -> bool:
        """Whether it is in exec form: a JSON list, which runs without a shell."""
        return self.text.startswith("[")

    @property
    def words(self) -> list[str]:
        """The words of the text: items of the list, or words as a shell splits them."""
        return [str(word) for word in json.loads(self.text)] if self.listed else shlex.split(self.text)


@dataclass(frozen=True)
class Stage:
    """A stage of the build: its base image, its name, its steps."""

    base: str
    name: str
    steps: list[Step]

    def last(self, name: str) -> Step:
        """Return the last step of that name: the one that counts."""
        return [step for step in self.steps if step.name == name][-1]

    @property
    def environment(self) -> dict[str, str]:
        """The variables that its ``ENV`` steps set."""
        words = [word for step in self.steps if step.name == "ENV" for word in step.words]
        return dict(word.split("=", 1) for word in words)


def read_dockerfile(text: str) -> list[Stage]:
    """Return the stages of a Dockerfile."""
    stages: list[Stage] = []
    for line in _joined(text):
        name, _, rest = line.partition(" ")
        options: dict[str, str] = {}
        while found := re.match(r"\s*--([a-z-]+)=(\S+)\s+", rest):
            options[found[1]] = found[2]
            rest = rest[found.end() :]
        if name == "FROM":
            base, _, alias = rest.strip().partition(" AS ")
            stages.append(Stage(base, alias, []))
        else:
            stages[-1].steps.append(Step(name, options, rest.strip()))
    return stages


def _joined(text: str) -> Iterator[str]:
    """Yield each instruction as one line, without comments."""
    begun = ""
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            begun += line.removesuffix("\\").strip() + " "
            if not line.endswith("\\"):
                yield begun.strip()
                begun = ""


def context_files() -> list[str]:
    """Return the files of the build context: the last matching rule of ``.dockerignore`` decides."""
    rules = []
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!"))
            pattern = pattern.replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
            rules.append((re.compile(f"{pattern}(?:/.*)?"), line.startswith("!")))

    def seen(path: str) -> bool:
        fitting = [kept for rule, kept in rules if rule.fullmatch(path)]
        return not fitting or fitting[-1]

    files = []
    for folder, below, names in os.walk(ROOT):
        if folder == str(ROOT):
            below[:] = [name for name in below if name not in {".git", ".venv", ".uv", "output"}]
        files += [(Path(folder) / name).relative_to(ROOT).as_posix() for name in names]
    return sorted(filter(seen, files))


class MountNamespace:
    """A mount namespace with a file system in memory that holds the stages; ``close`` removes it."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is an empty directory of this machine."""
        self._folder = folder
        script = f"mount -t tmpfs -o mode=755 tmpfs {folder} && echo ready && exec sleep infinity"
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._keeper.stdout
        assert self._keeper.stderr
        if self._keeper.stdout.readline() != "ready\n":
            raise OSError(self._keeper.stderr.read().strip())

    def close(self) -> None:
        """End the mount namespace and free its memory."""
        self._keeper.kill()
        self._keeper.communicate()

    def command(self, *words: object) -> list[str]:
        """Return the command that runs ``words`` in this mount namespace."""
        return ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "--", *map(str, words)]

    def do(self, *words: object) -> str:
        """Run a command in this mount namespace; return its standard output.

        Raises:
            OSError: it failed.

        """
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        if done.returncode:
            shown = shlex.join(map(str, words))
            raise OSError(f"{shown}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def seen(self, path: Path) -> Path:
        """Return the path by which this process reads ``path`` of the namespace."""
        return Path(f"/proc/{self._keeper.pid}/root{path}")

    def base(self, name: str, python: Path) -> Path:
        """Create a stage with the files of a base image and a Python; return its root directory."""
        root = self._folder / name / "root"
        self._overlay(Path("/"), self._folder / name, root)
        if python not in {Path("/usr"), Path("/usr/local")}:
            self._overlay(python, self._folder / name / "python", root / "usr/local")
        script = """
            rm -rf "$1/app" "$1/src" "$1/usr/local/bin/reportgen"
            rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED # pip refuses to install with it
            find "$1/usr/lib" "$1/usr/local/lib" -path '*/python3*' -name __pycache__ -prune -exec rm -r {} +
            mount --rbind /dev "$1/dev" && mount --rbind /sys "$1/sys" && mount -t proc proc "$1/proc"
            mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
            for file in resolv.conf hosts; do cat "/etc/$file" > "/tmp/$$"; rm -f "$1/etc/$file"
              mv "/tmp/$$" "$1/etc/$file"; chmod 644 "$1/etc/$file"; done
            chroot "$1" ldconfig
            test -e "$1/usr/local/bin/python" || ln -s "$(command -v python3)" "$1/usr/local/bin/python"
        """
        self.do("sh", "-ec", script, "sh", root)
        return root

    def written(self, root: Path) -> int:
        """Return the size of all files that are not of the base: the layers of a stage, in bytes."""
        above = self.seen(root.parent)
        found = [*(above / "upper").rglob("*"), *(above / "python/upper").rglob("*")]
        return sum(file.lstat().st_size for file in found if file.is_file() and not file.is_symlink())

    def _overlay(self, below: Path, above: Path, root: Path) -> None:
        upper, work = above / "upper", above / "work"
        self.do("mkdir", "-p", upper, work, root)
        layers = f"lowerdir={below},upperdir={upper},workdir={work}"
        self.do("mount", "-t", "overlay", "overlay", "-o", layers, root)


def python_directory(base: str) -> Path:
    """Return ``sys.base_prefix`` of the Python with the version of a base image, or of the tests'."""
    version = base.removeprefix("python:").removesuffix("-slim")
    words = [f"python{version}", "-c", "import sys; print(sys.base_prefix)"]
    pyenv = os.environ | {"PYENV_VERSION": version}  # it runs only the version that is chosen
    try:
        done = subprocess.run(words, env=pyenv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return Path(sys.base_prefix)
    return Path(done.stdout.strip())


@contextmanager
def mount_namespace(folder: Path) -> Iterator[MountNamespace]:
    """Yield a mount namespace and close it after the block."""
    namespace = MountNamespace(folder)
    try:
        yield namespace
    finally:
        namespace.close()


def obstacle(folder: Path) -> str | None:
    """Return why steps cannot run on this machine, or None if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a stage needs its own root directory, which only root on Linux can create"
    missing = [name for name in ("unshare", "nsenter", "setpriv", "chroot") if not shutil.which(name)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    try:
        with mount_namespace(folder) as namespace:
            namespace.base("probe", Path(sys.base_prefix))
    except OSError as exc:
        return f"a stage cannot be created on this machine: {exc}"
    return None


def as_user(user: str) -> list[str]:
    """Return the words before a command that run it as ``user``, written as in ``USER``: uid or uid:gid.

    All but root have no capability and cannot get one: ``--cap-drop=ALL --security-opt=no-new-privileges``.
    """
    uid, _, gid = user.partition(":")
    dropped = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if uid != "0" else []
    return ["setpriv", f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups", *dropped, "--"]


def in_root(root: Path, environment: Mapping[str, str], folder: str, *words: str) -> list[str]:
    """Return the command that runs ``words`` in a root directory, with only this environment."""
    pairs = [f"{name}={value}" for name, value in environment.items()]
    return ["chroot", str(root), "env", "-i", "-C", folder, *pairs, *words]


def build(namespace: MountNamespace, stages: Sequence[Stage]) -> Path:
    """Run all steps; return the root directory of the last stage."""
    roots: dict[str, Path] = {}
    for number, stage in enumerate(stages):
        name = stage.name or str(number)
        root = roots[name] = namespace.base(name, python_directory(stage.base))
        here = {name: value for name, value in os.environ.items() if WANTED.fullmatch(name)}
        environment = {"PATH": PATH, "HOME": "/root"} | here
        folder = "/"
        for step in stage.steps:
            match step.name:
                case "ENV":
                    environment |= dict(word.split("=", 1) for word in step.words)
                case "WORKDIR":
                    folder = step.text
                    namespace.do("mkdir", "-p", f"{root}{folder}")
                case "RUN":
                    namespace.do(*in_root(root, environment, folder, "/bin/sh", "-c", step.text))
                case "COPY" if "from" in step.options:
                    path, target = step.words
                    origin = namespace.seen(roots[step.options["from"]]) / path.lstrip("/")
                    shutil.copytree(origin, namespace.seen(root) / target.lstrip("/"), symlinks=True)
                case "COPY":
                    _copy(step, namespace.seen(root), folder)
                case "USER" | "VOLUME" | "EXPOSE" | "HEALTHCHECK" | "ENTRYPOINT" | "CMD":
                    pass  # they describe how the image runs
                case _:
                    raise NotImplementedError(step.name)
    return root


def _copy(step: Step, root: Path, folder: str) -> None:
    """Copy from the build context as Docker does: of a directory, its content."""
    *patterns, target = step.words
    place = root / (target if target.startswith("/") else f"{folder}/{target}").lstrip("/")
    for path in context_files():
        for pattern in patterns:
            if path.startswith(f"{pattern}/"):
                copied = place / path.removeprefix(f"{pattern}/")
            elif fnmatch(path, pattern):
                copied = place / Path(path).name if target.endswith("/") else place
            else:
                continue
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, copied)
            os.chown(copied, 0, 0)
            if mode := step.options.get("chmod"):
                copied.chmod(int(mode, 8))
