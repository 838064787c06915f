"""Compressed forms of a release's files, made once.

Readers get a compressed form as it is.
"""

import gzip
from collections.abc import Mapping

SUFFIXES = {"br": ".br", "gzip": ".gz"}
"""Content codings (RFC 9110, 8.4.1), best first, with the suffix of the file that holds one."""

TEXTS = (".html", ".js", ".svg", ".json", ".csv", ".txt")
LEAST_BYTES = 512
"""What fits in one packet anyway is not worth a second file."""

QUICK = 5
"""Of brotli's 0 to 11: 5 takes 10 ms for a release, 11 takes 650 ms and saves another eighth."""

BEST = 11


def packed(files: Mapping[str, bytes], quality: int = QUICK) -> dict[str, bytes]:
    """Return the compressed forms of text files, keyed by name and suffix; none that saves nothing.

    Files that are there in a compressed form already are left as they are. The same bytes give the same
    bytes.
    """
    import brotli  # the server wants the suffixes, and compresses nothing

    made: dict[str, bytes] = {}
    for name, content in files.items():
        ready = any(name + suffix in files for suffix in SUFFIXES.values())
        if ready or not name.endswith(TEXTS) or len(content) < LEAST_BYTES:
            continue
        forms = {".br": brotli.compress(content, quality=quality), ".gz": gzip.compress(content, 6, mtime=0)}
        made |= {name + suffix: form for suffix, form in forms.items() if len(form) < len(content)}
    return made
