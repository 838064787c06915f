"""What a fuzzer found once stays mended: every kept input goes through the harness that it broke."""

from pathlib import Path

import pytest

from tests.fuzz.harnesses import HARNESSES

FUZZ = Path(__file__).parents[1] / "fuzz"
FOLDERS = [FUZZ / "regressions", FUZZ / "seeds"]
KEPT = [
    pytest.param(file, id=f"{file.parent.name}-{file.stem}")
    for folder in FOLDERS
    for file in sorted(folder.glob("*/*"))
]


@pytest.mark.parametrize("file", KEPT)
def test_a_kept_input_breaks_no_promise(file: Path) -> None:
    """The find's name says what was wrong; a seed is where a fuzzer begins."""
    HARNESSES[file.parent.name](file.read_bytes())


def test_every_harness_has_somewhere_to_begin() -> None:
    assert {file.values[0].parent.name for file in KEPT} == set(HARNESSES)
