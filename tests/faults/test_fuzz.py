"""Faults that a fuzzer found stay repaired: every kept input runs through the harness that it broke."""

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
    """The file's name says what was wrong; seeds are inputs to start with."""
    HARNESSES[file.parent.name](file.read_bytes())


def test_every_harness_has_inputs_to_start_with() -> None:
    assert {file.values[0].parent.name for file in KEPT} == set(HARNESSES)
