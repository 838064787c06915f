"""The HTTP headers of a release's files, the same for the web server and for a bucket."""

from pathlib import PurePosixPath

from reportgen.core.release_files import is_asset

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
"""Media types, by the ending of a file's name."""


def media_type(name: str) -> str:
    """Return the value of ``Content-Type`` for a file."""
    return TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")


def cache_control(name: str, *, shared: bool) -> str:
    """Return the value of ``Cache-Control`` for a file (RFC 9111, 5.2.2).

    A cache keeps an asset for a year, since its content never changes. It keeps any other file, too, but asks
    each time whether that is still current. With ``shared`` a CDN may be that cache, as in front of a bucket;
    otherwise only the reader's browser, since the web server may ask for a password.
    """
    if is_asset(name):
        return f"{'public' if shared else 'private'}, max-age=31536000, immutable"
    return "no-cache" if shared else "private, no-cache"
