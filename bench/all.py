"""The whole benchmark, or parts of it: ``python bench/all.py [PART …] [--runs N] [--short]``.

Each part writes ``bench/results/PART.json`` and can be run again alone; ``bench/table.py`` then renders all
of them into ``docs/performance.md``. With ``--short`` little is measured, only printed, and nothing written.
"""

import argparse
import importlib
import os
import subprocess
import sys
import time

import table
from common import ROOT, Options, save

PARTS = {"build": 0.5, "ideas": 1.5, "rivals": 7, "growth": 8, "serve": 3, "page": 5}
"""Part → minutes that it takes at five runs on two cores, the rivals' installation included."""


def main() -> int:
    """Run the parts that are asked for, in turn; one that fails does not keep others from running."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    options = Options(given.runs or (1 if given.short else 5), given.short)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "compileall", "-q", str(ROOT / "reportgen"), str(ROOT / "bench")], check=True
    )
    failed = 0
    for part in given.parts or (part for part in PARTS if part != "ideas" or not options.short):
        failed += not measured(part, options)
    if not given.short:
        table.main()
    return failed


def measured(part: str, options: Options) -> bool:
    """Run one part; keep or print its result."""
    about = "" if options.short else f": about {PARTS[part] * options.runs / 5:.1f} minutes"
    print(f"{part}{about}", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        figures, about_versions = importlib.import_module(part).run(options)
    except Exception as exc:  # noqa: BLE001 - one part that breaks must not cost the others
        print(f"{part}: failed: {type(exc).__name__}: {exc}", file=sys.stderr)
        return False
    seconds = time.monotonic() - start
    print(f"{part}: took {seconds:.0f} s", file=sys.stderr, flush=True)
    if options.short:
        print(table.RENDERERS[part](figures), flush=True)
    else:
        save(part, figures, about_versions, options, seconds)
    return True


if __name__ == "__main__":
    sys.exit(main())
