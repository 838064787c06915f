"""How a release is stored in a bucket: its objects, their headers, and ``current.json``.

A file with a gzip form is stored as gzip under its plain name. A bucket sends the same bytes to every
client, and all HTTP clients in use understand gzip.
"""

import gzip
import json
import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from reportgen.core.release_files import SUFFIXES
from reportgen.publish.bucket.client import Version
from reportgen.publish.headers import cache_control, media_type
from reportgen.publish.release import MANIFEST, Release, build_time, read_all_published

CURRENT, RELEASES = "current.json", "releases"
GZIP, BROTLI = SUFFIXES["gzip"], SUFFIXES["br"]


@dataclass(frozen=True)
class BucketObject:
    """An object to write: the name of its file in the release, its stored bytes, and its HTTP headers."""

    name: str
    body: bytes
    headers: Mapping[str, str]


def objects_of(release: Release) -> list[BucketObject]:
    """Return each object that a release has below ``releases/<id>/``.

    Raises:
        PublishError: a file cannot be read, or has changed since it was published.

    """
    packed = stored_names(release.manifest["files"])
    stored = {name: name + GZIP if is_packed else name for name, is_packed in packed.items()}
    bodies = read_all_published(release, stored.values())
    found = [
        BucketObject(name, bodies[stored[name]], object_headers(name, packed=is_packed))
        for name, is_packed in packed.items()
    ]
    return [*found, BucketObject(MANIFEST, bodies[MANIFEST], object_headers(MANIFEST))]


def stored_names(files: Collection[str]) -> dict[str, bool]:
    """Return the files of a release that are stored, each with whether it is stored as gzip."""
    forms = {name for name in files if name.endswith(GZIP) and name.removesuffix(GZIP) in files}
    return {name: name + GZIP in forms for name in files if name not in forms}


def object_headers(name: str, *, packed: bool = False) -> dict[str, str]:
    """Return the HTTP headers that the store sends with a file; ``packed``: it is stored as gzip."""
    headers = {"Content-Type": media_type(name), "Cache-Control": cache_control(name, shared=True)}
    return headers | ({"Content-Encoding": "gzip"} if packed else {})


def unpacked(body: bytes) -> bytes:
    """Return bytes without gzip. Google's store unpacks gzip for clients that do not accept it."""
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error):
        return body


def current_id(found: tuple[bytes, Version] | None) -> str | None:
    """Return the id of the release in ``current.json``, or ``None`` if it is absent or damaged."""
    with suppress(ValueError, LookupError, TypeError):
        release_id = str(json.loads(found[0])["release"]) if found else ""
        build_time(release_id)
        return release_id
    return None
