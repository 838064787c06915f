"""Least rights: as user nobody, with only output/ writable, builds and the service work."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.services import serving, write_table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
CONFINED = """
set -e
output=$1 python=$2 closed=$3 aside=$4; shift 4
mount --bind "$output" "$output"
if [ "$closed" ]; then
  mount --bind "$python" "$aside"
  mount -t tmpfs -o mode=755 tmpfs "$closed"
  mkdir -p "$python"
  mount --bind "$aside" "$python"
fi
cut -d' ' -f2 /proc/self/mounts | while read -r place; do
  case $place in
    /proc*|/sys*|/dev*|"$output") ;;
    *) mount -o remount,ro,bind "$place" ;;
  esac
done
cd .
exec "$@"
"""
"""Make every file system read-only except the output, in a mount namespace of its own.

If Python is in a directory that others cannot read, such as root's home, only Python is visible there.
"""


def confined(folder: Path, words: Sequence[str], user: int = NOBODY, **variables: str) -> list[str]:
    """Return the command that runs ``words`` with these rights, without a home or a temporary directory."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    given |= {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"} | variables
    python = Path(sys.base_prefix).resolve()
    closed = next((str(each) for each in reversed(python.parents) if not each.stat().st_mode & 0o001), "")
    paths = [str(path) for path in (folder / "output", python, closed, folder / "aside")]
    namespace = ["unshare", "--mount", "--propagation", "private", "sh", "-c", CONFINED, "sh", *paths]
    drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
    pairs = [f"{name}={value}" for name, value in given.items()]
    return [*namespace, *drop, "--bounding-set=-all", "env", "-i", *pairs, *words]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a working directory that everybody can read, with a table, and an output that user nobody owns."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can take rights away so")
    if missing := [name for name in ("unshare", "setpriv") if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="reportgen-nobody-") as made:
        directory = Path(made)
        directory.chmod(0o755)
        write_table(directory / "metrics.csv")
        for name in ("output", "aside"):
            (directory / name).mkdir()
        os.chown(directory / "output", NOBODY, NOBODY)
        run = [sys.executable, "-c", "import reportgen.cli.main"]
        tried = subprocess.run(
            confined(directory, run), cwd=directory, capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"nobody cannot run it here: {(tried.stderr.strip().splitlines() or [''])[-1]}")
        yield directory


def files_outside_output(folder: Path) -> set[str]:
    """Return all paths except those in the output."""
    return {str(path) for path in folder.rglob("*") if folder / "output" not in path.parents}


def test_only_the_output_can_be_written(folder: Path) -> None:
    """This checks the test's own restrictions, also for root."""
    for target in ("beside", "/tmp/beside"):
        done = subprocess.run(
            confined(folder, ["touch", target], 0), cwd=folder, capture_output=True, text=True, check=False
        )
        assert (done.returncode, "Read-only file system" in done.stderr) == (1, True)
    subprocess.run(confined(folder, ["touch", "output/inside"]), cwd=folder, check=True)
    (folder / "output/inside").unlink()


def test_user_nobody_builds_a_report(folder: Path) -> None:
    before = files_outside_output(folder)
    words = [sys.executable, "-m", "reportgen", "build", "--source", "metrics.csv", "--json"]
    done = subprocess.run(
        confined(folder, words), cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert json.loads(done.stdout)["status"] == "published"
    assert (folder / "output/current/7d/index.html").stat().st_uid == NOBODY
    assert files_outside_output(folder) == before


def test_user_nobody_serves_and_builds_by_schedule(folder: Path) -> None:
    before = files_outside_output(folder)
    words = confined(
        folder, [sys.executable, "-m", "reportgen"], REPORTGEN_LOG="json", REPORTGEN_SCHEDULE="1s",
        REPORTGEN_SOURCE__URL="metrics.csv",
    )  # fmt: skip
    into = f"import os, sys; os.execvp({words[0]!r}, {words!r} + sys.argv[1:])"
    with serving(folder, command=("-c", into)) as service:
        service.await_event("release_served", within_s=60)
        assert service.ask("/7d/").status == 200
        write_table(folder / "metrics.csv", rows=6)
        served = len(service.events("release_served"))
        service.await_event("release_served", served + 1, within_s=60)
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
        assert "CapEff:\t0000000000000000" in status
        assert service.stop(within_s=20) == 0
        assert service.events("build_failed") == []
    assert files_outside_output(folder) == before
