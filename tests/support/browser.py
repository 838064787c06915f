"""Finds Chromium for the tests, or lets Playwright install its own.

As a script: exits 0 where there is one afterwards, and says what is missing where there is none.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Programs, the best first: the shell opens a page in a fifth of the CPU time of a whole browser."""

MISSING = (
    "no Chromium: install one (Debian: apt-get install chromium), or name it in TEST_CHROMIUM; "
    "the tests that need it skip"
)


def find() -> str | None:
    """Return the path of a Chromium: TEST_CHROMIUM, the system's, or Playwright's own."""
    named = [os.environ.get("TEST_CHROMIUM"), *map(shutil.which, NAMES)]
    with sync_playwright() as playwright:
        named.append(playwright.chromium.executable_path)
    return next((path for path in named if path and Path(path).is_file()), None)


def main() -> int:
    """Find one, or install one."""
    if find():
        return 0
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], timeout=300, check=False)
    if find():
        return 0
    sys.stderr.write(f"{MISSING}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
