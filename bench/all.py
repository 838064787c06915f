"""The whole benchmark, or parts of it: ``python bench/all.py [PART …] [--runs N] [--short]``.

Each part writes ``bench/results/PART.json`` and can be run alone. ``bench/table.py`` then writes all results
as tables into ``docs/performance.md`` and ``bench/README.md``. With ``--short`` each part measures one run
and prints its tables; no file is written.
"""

import argparse
import importlib
import os
import subprocess
import sys
import time

import table
from common import ROOT, Options, save

PARTS = {"build": 0.5, "ideas": 1.5, "rivals": 7, "logs": 7, "growth": 8, "serve": 3, "page": 5}
"""Part → minutes for five runs on two cores, including the installation of the other programs."""


def main() -> int:
    """Run the parts that are named, one after the other; after a failure the next one still runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--runs", type=int)
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: not a part of the benchmark. Parts: {', '.join(PARTS)}")
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
    """Run one part; write or print its result. Return whether it succeeded."""
    about = "" if options.short else f": about {PARTS[part] * options.runs / 5:.1f} minutes"
    print(f"{part}{about}", file=sys.stderr, flush=True)
    start = time.monotonic()
    try:
        figures, about_versions = importlib.import_module(part).run(options)
    except Exception as exc:  # noqa: BLE001 - the other parts still run
        print(f"{part}: failed: {type(exc).__name__}: {exc}", file=sys.stderr)
        return False
    seconds = time.monotonic() - start
    print(f"{part}: took {seconds:.0f} s", file=sys.stderr, flush=True)
    if options.short:
        tables = dict.fromkeys(render(figures) for name, render in table.TABLES.values() if name == part)
        print("\n\n".join(filter(None, tables)), flush=True)
    else:
        save(part, figures, about_versions, options, seconds)
    return True


if __name__ == "__main__":
    sys.exit(main())
