"""The compressed forms of a release's files: made once in the build, and served as they are."""

import gzip
from collections.abc import Mapping

SUFFIXES = {"br": ".br", "gzip": ".gz"}
"""Content codings (RFC 9110, 8.4.1), best first, with the suffix of the file that holds one."""

TEXTS = (".html", ".js", ".svg", ".json", ".csv", ".txt")
MIN_BYTES = 512
"""Minimum size of a file that is compressed: a smaller one fits in one packet anyway."""

QUICK = 5
"""Brotli's quality, 0 to 11: 5 takes 10 ms for a release; 11 takes 650 ms and saves another eighth."""

BEST = 11


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
