"""The objects of a release in a bucket, and ``current.json``, the index of what was written.

A file with a gzip form is stored as gzip under its plain name. A bucket sends the same bytes to every
client, and all HTTP clients in use understand gzip. The index holds the entity tag that the store gave to
each object. If the tag has changed since, somebody else has overwritten the object.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from reportgen.core.compression import SUFFIXES
from reportgen.core.errors import PublishError
from reportgen.publish.headers import cache_control, media_type
from reportgen.publish.release import MANIFEST, MAX_CLOCK_SKEW, RELEASE_ID, Release, read_published

CURRENT = "current.json"
GZIP, BROTLI = SUFFIXES["gzip"], SUFFIXES["br"]


@dataclass(frozen=True)
class BucketObject:
    """An object to write: the name of its file in the release, its stored bytes, and its HTTP headers."""

    name: str
    body: bytes
    headers: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of headers and bytes, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.headers, sort_keys=True).encode() + self.body).hexdigest()

    @property
    def plain(self) -> bytes:
        """The bytes without gzip. Google's store sends these to clients that do not ask for gzip."""
        return gzip.decompress(self.body) if "Content-Encoding" in self.headers else self.body

    @cached_property
    def md5(self) -> str:
        """The MD5 of the bytes in hexadecimal, which most stores use as the entity tag."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class IndexEntry:
    """An object that was written: its digest, its size in bytes, and its entity tag in the store."""

    digest: str
    size_bytes: int
    tag: str


@dataclass(frozen=True)
class Lease:
    """The right of one machine, ``by``, to replace the objects that readers see, and since when it has it."""

    release: str
    by: str
    since: datetime


@dataclass(frozen=True)
class BucketIndex:
    """The content of ``current.json``: the id of the current release, its objects by key, and the lease."""

    release: str | None = None
    objects: Mapping[str, IndexEntry] = field(default_factory=dict)
    lease: Lease | None = None


def dump_index(index: BucketIndex) -> bytes:
    """Return an index as ``current.json``. Two indexes with a lease never have the same bytes."""
    lease = index.lease
    stored = {"release": lease.release, "by": lease.by, "since": lease.since.isoformat()} if lease else None
    document = {
        "schema_version": 1,
        "release": index.release,
        "claim": stored,
        "objects": {key: vars(entry) for key, entry in sorted(index.objects.items())},
    }
    return (json.dumps(document, ensure_ascii=False, indent=0) + "\n").encode()


def parse_index(content: bytes) -> BucketIndex:
    """Return the index in the bytes of ``current.json``, or an empty one if they are damaged."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        document = json.loads(content)
        objects = {str(key): _parse_entry(entry) for key, entry in document["objects"].items()}
        stored, release = document["claim"], document["release"]
        lease = Lease(stored["release"], stored["by"], _parse_time(stored["since"])) if stored else None
        if release is not None:
            build_time(release)
        return BucketIndex(release, objects, lease)
    return BucketIndex()


def build_time(release_id: str) -> datetime:
    """Return the build time in a release's id, in UTC.

    Raises:
        ValueError: this is not the id of a release.

    """
    if not RELEASE_ID.fullmatch(release_id):
        raise ValueError(f"{release_id}: not the id of a release")
    return datetime.strptime(release_id.partition("-")[0], "%Y%m%dT%H%M%S.%f%z")


def is_newer(release_id: str, than: str, now: datetime) -> bool:
    """Return whether a release was built after another. One from the future was not: a clock was wrong."""
    return build_time(than) < build_time(release_id) <= now + MAX_CLOCK_SKEW


def is_same_or_newer(release_id: str, other: str, now: datetime) -> bool:
    """Return whether a release is the other one or was built after it."""
    return release_id == other or is_newer(release_id, other, now)


def objects_of(release: Release) -> Iterator[BucketObject]:
    """Yield each object that a release has below ``releases/<id>/``.

    Raises:
        PublishError: a file cannot be read, or has changed since it was published.

    """
    files = release.manifest["files"]
    for name in files:
        if name.endswith(GZIP) and name.removesuffix(GZIP) in files:
            continue  # stored under the name of the file that it is a form of
        packed = name + GZIP in files
        body = _read(release, name + GZIP if packed else name)
        yield BucketObject(name, body, object_headers(name, packed=packed))
    body = _read(release, MANIFEST)
    yield BucketObject(MANIFEST, body, object_headers(MANIFEST, packed=False))


def is_served(name: str) -> bool:
    """Return whether readers get a file, so that it is also written at the prefix. Brotli forms are not."""
    return not name.endswith(BROTLI)


def object_headers(name: str, *, packed: bool) -> dict[str, str]:
    """Return the HTTP headers that the store sends with a file; ``packed``: it is stored as gzip."""
    headers = {"Content-Type": media_type(name), "Cache-Control": cache_control(name, shared=True)}
    return headers | ({"Content-Encoding": "gzip"} if packed else {})


INDEX_HEADERS = object_headers(CURRENT, packed=False)
"""The headers of ``current.json`` itself."""


def _read(release: Release, name: str) -> bytes:
    """Return the content of a file. The manifest is not checked: it does not list itself."""
    path = release.path / name
    try:
        return path.read_bytes() if name == MANIFEST else read_published(release, name)
    except OSError as exc:
        raise PublishError(f"{path}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise PublishError(f"{path}: is not what was published; the next build replaces it") from exc


def _parse_entry(entry: Mapping[str, Any]) -> IndexEntry:
    return IndexEntry(str(entry["digest"]), int(entry["size_bytes"]), str(entry["tag"]))


def _parse_time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
