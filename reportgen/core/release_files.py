"""The files of a release: which must be there, which never change, and their compressed forms.

Paths are relative to the release and use ``/``. Compressed forms are served as the build made them.
"""

import gzip
from collections.abc import Mapping, Sequence

ASSETS = "assets/"
"""The folder of the scripts. Each name in it contains a hash of the file's content."""

IN_A_RELEASE = ("index.html", "404.html", "robots.txt")
IN_A_WINDOW = ("index.html", "daily.csv", "{paths}.csv", "report.json")

SUFFIXES = {"br": ".br", "gzip": ".gz"}
"""Content codings (RFC 9110, 8.4.1), best first, with the suffix of the file that holds one."""

TEXTS = (".html", ".js", ".svg", ".json", ".csv", ".txt")
MIN_BYTES = 512
"""Minimum size of a file that is compressed: a smaller one fits in one packet anyway."""

QUICK = 5
"""Brotli's quality, 0 to 11: 5 takes 10 ms for a release; 11 takes 650 ms and saves another eighth."""

BEST = 11
"""Brotli's best quality, for scripts, which are compressed once per version."""


def required_files(windows: Sequence[str], paths: str = "paths") -> list[str]:
    """Return the files that every release of these windows has; ``paths`` is the name of the CSV of paths.

    Charts, scripts and compressed forms are not among them: a report without visits has no charts, for
    example. The check of links finds those that a page needs.
    """
    names = [name.format(paths=paths) for name in IN_A_WINDOW]
    return [*IN_A_RELEASE, *(f"{window}/{name}" for window in windows for name in names)]


def is_asset(name: str) -> bool:
    """Return whether a file never changes under its name."""
    return name.startswith(ASSETS)


def is_page(name: str) -> bool:
    """Return whether a file is an HTML page."""
    return name.endswith(".html")


def replaced_in_turn(name: str) -> int:
    """Return when a file replaces the one that readers see: scripts (0), then data (1), then pages (2)."""
    return 0 if is_asset(name) else 2 if is_page(name) else 1


def packed(files: Mapping[str, bytes], quality: int = QUICK) -> dict[str, bytes]:
    """Return the compressed forms of text files that are smaller, keyed by name and suffix.

    Files that ``files`` holds in a compressed form already are left out. Equal bytes give equal bytes.
    """
    import brotli  # the server imports this module for the suffixes alone

    compressed: dict[str, bytes] = {}
    for name, content in files.items():
        ready = any(name + suffix in files for suffix in SUFFIXES.values())
        if ready or not name.endswith(TEXTS) or len(content) < MIN_BYTES:
            continue
        forms = {".br": brotli.compress(content, quality=quality), ".gz": gzip.compress(content, 6, mtime=0)}
        compressed |= {name + suffix: form for suffix, form in forms.items() if len(form) < len(content)}
    return compressed
