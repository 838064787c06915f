"""Whole sites, byte by byte: the diff of a commit shows how it changes the pages.

``tests/golden/sites/<case>/`` goes in, ``tests/golden/snapshots/<case>/`` comes out, at a fixed time.
A snapshot that is missing is written, and the test fails in CI. To renew one, delete it and run the test.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import load_config
from reportgen.publish.release import lock_output
from tests.support.proof import assert_sound

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.name for path in (GOLDEN / "sites").iterdir())
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
VARYING = {"manifest.json"}
"""Files with times and memory of the build."""

PACKED = {".br", ".gz"}
"""Compressed forms, which depend on versions of libraries."""


def built(case: str, output: Path) -> dict[str, bytes]:
    """Return the files of a built case by name, without scripts, manifest and compressed forms."""
    site = GOLDEN / "sites" / case
    config = load_config(site / "reportgen.toml", {}, {"source": {"url": str(site / "metrics.csv")}})
    with lock_output(output) as lock:
        release = build(config, lock, now=NOW, warm=True).path
    files = [path for path in release.rglob("*") if path.is_file() and path.parent.name != "assets"]
    return {
        path.relative_to(release).as_posix(): path.read_bytes()
        for path in files
        if path.name not in VARYING and path.suffix not in PACKED
    }


@pytest.mark.parametrize("case", CASES)
def test_a_site_is_built_as_it_was_before(case: str, tmp_path: Path) -> None:
    expected, actual = GOLDEN / "snapshots" / case, built(case, tmp_path)
    if not expected.is_dir():
        for name, content in actual.items():
            (expected / name).parent.mkdir(parents=True, exist_ok=True)
            (expected / name).write_bytes(content)
        if os.environ.get("CI"):
            shutil.rmtree(expected)
            pytest.fail(f"there is no snapshot of {case}: run this test once and commit what it writes")
    kept = {path.relative_to(expected).as_posix() for path in expected.rglob("*") if path.is_file()}
    assert kept == actual.keys()
    changed = [name for name, content in actual.items() if (expected / name).read_bytes() != content]
    assert changed == []
    assert_sound(actual, sorted({name.split("/")[0] for name in actual if name.endswith("/report.json")}))
