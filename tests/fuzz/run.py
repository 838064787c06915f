"""Drive one harness by coverage, with atheris: ``python -m tests.fuzz.run NAME --seconds 60``.

Inputs that increased coverage are kept in ``.fuzz/NAME/corpus``. Inputs that broke a promise are kept in
``.fuzz/NAME/finds``: the shortest for each place in the code. After the repair, move them to
``tests/fuzz/regressions/NAME/``.
"""

import argparse
import hashlib
import logging
import sys
import time
import traceback
from pathlib import Path

import atheris

HERE = Path(__file__).parent
PACKAGES = [
    "reportgen",
    "tests.fuzz",
    "markdown_it",
    "cronsim",
    "tomllib",
    "urllib",
    "babel",
]

with atheris.instrument_imports(include=PACKAGES):
    from tests.fuzz import pipeline  # noqa: F401 - imported here, so that what it imports is led by coverage
    from tests.fuzz.harnesses import HARNESSES


def main() -> None:
    """Fuzz for some seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=HARNESSES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"))
    given = parser.parse_args()
    corpus, finds = given.folder / given.name / "corpus", given.folder / given.name / "finds"
    for folder in (corpus, finds):
        folder.mkdir(parents=True, exist_ok=True)
    seeds = [HERE / "seeds" / given.name, HERE / "regressions" / given.name]
    words = HERE / "words.txt"
    harness = HARNESSES[given.name]
    logging.disable()
    shortest: dict[str, int] = {}

    def watched(data: bytes) -> None:
        try:
            harness(data)
        except Exception as exc:  # noqa: BLE001 - whatever comes is a find
            _keep(finds, shortest, exc, data)

    longest = 8000 if given.name == "rows" else 1500
    options = [
        f"-max_total_time={given.seconds}", "-timeout=60", "-rss_limit_mb=4000", f"-max_len={longest}",
        f"-dict={words}", f"-artifact_prefix={finds}/", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup(
        [sys.argv[0], *options, str(corpus), *(str(seed) for seed in seeds if seed.is_dir())], watched
    )
    print(f"{given.name}: from {time.strftime('%H:%M:%S')}", flush=True)
    atheris.Fuzz()


def _keep(finds: Path, shortest: dict[str, int], exc: Exception, data: bytes) -> None:
    """Write an input that breaks a promise to a file, unless a shorter one breaks it at the same place."""
    frames = [
        f
        for f in traceback.extract_tb(exc.__traceback__)
        if "reportgen" in f.filename or "fuzz" in f.filename
    ]
    place = f"{type(exc).__name__} {'; '.join(f'{Path(f.filename).name}:{f.lineno}' for f in frames[-3:])}"
    if len(data) >= shortest.get(place, sys.maxsize):
        return
    if place not in shortest:
        print(f"FIND {place}: {exc!s:.300}", flush=True)
    shortest[place] = len(data)
    (finds / hashlib.sha256(place.encode()).hexdigest()[:12]).write_bytes(data)


if __name__ == "__main__":
    main()
