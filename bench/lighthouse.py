"""Measures the sample's pages as served: size, and Lighthouse on a desktop and on an emulated phone.

``python bench/lighthouse.py [--json]``. Needs Node.js (``npx`` fetches Lighthouse from npm) and Chromium
(in PATH, or named in CHROME_PATH).
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brotli

LIGHTHOUSE = "lighthouse@12.8.2"
PAGES = ("today", "7d", "30d")
DEVICES = {"desktop": ["--preset=desktop"], "phone": []}
CATEGORIES = {
    "performance": "performance",
    "accessibility": "accessibility",
    "best practices": "best-practices",
}
TIMES = {
    "first contentful paint": "first-contentful-paint",
    "largest contentful paint": "largest-contentful-paint",
    "total blocking time": "total-blocking-time",
    "layout shift": "cumulative-layout-shift",
}
CHROME_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
)


def main() -> None:
    """Build and serve the sample, measure each page, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reportgen-page-") as folder, served(Path(folder)) as address:
        figures: dict[str, dict[str, Any]] = {}
        for page in PAGES:
            html = (Path(folder) / "current" / page / "index.html").read_bytes()
            figures[page] = {"KB": len(html) / 1000, "KB as brotli": len(brotli.compress(html)) / 1000}
            for device, flags in DEVICES.items():
                figures[page] |= classified(f"{address}/{page}/", device, flags)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
        return
    print(f"{LIGHTHOUSE}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores")
    print(f"| | {' | '.join(PAGES)} |\n|---|{'--:|' * len(PAGES)}")
    for name in figures[PAGES[0]]:
        print(f"| {name} | {' | '.join(f'{figures[page][name]:.4g}' for page in PAGES)} |")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the sample in a child process until the block ends; yield its address."""
    command = [sys.executable, "-m", "reportgen", "demo", "--port", "0", "--json", "--output", str(folder)]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, stdout=subprocess.PIPE, text=True
    ) as server:
        if server.stdout is None:
            raise RuntimeError("the server has no output")
        try:
            yield str(json.loads(server.stdout.readline())["address"])
        finally:
            server.terminate()


def classified(url: str, device: str, flags: list[str]) -> dict[str, float]:
    """Return Lighthouse's scores (of 100) and times (ms) of one page on one device."""
    chrome = os.environ.get("CHROME_PATH") or shutil.which("chromium") or shutil.which("google-chrome") or ""
    command = ["npx", "--yes", LIGHTHOUSE, url, *flags, "--quiet", "--output=json"]
    command.append(f"--chrome-flags={CHROME_FLAGS}")
    done = subprocess.run(  # noqa: S603
        command, env=os.environ | {"CHROME_PATH": chrome}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    scores = {name: 100 * report["categories"][key]["score"] for name, key in CATEGORIES.items()}
    times = {name: report["audits"][key]["numericValue"] for name, key in TIMES.items()}
    return {f"{device}: {name}": value for name, value in (scores | times).items()}


if __name__ == "__main__":
    main()
