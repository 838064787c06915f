"""What stands in a bucket: the objects of a release, and ``current.json``, which tells what was put where.

A file with a compressed form is stored as gzip, under its own name: a bucket answers everybody with the same
bytes, and gzip is what every HTTP client takes. The ledger holds the store's own tag of each object that it
lists, so that an object is known to be the one that was put, and not only to have its name.
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
    """One object to be: the file ``name`` of a release, as it is stored, with its headers."""

    name: str
    body: bytes
    headers: Mapping[str, str]

    @cached_property
    def digest(self) -> str:
        """Tell this object from every other, headers included."""
        return hashlib.sha256(json.dumps(self.headers, sort_keys=True).encode() + self.body).hexdigest()

    @property
    def plain(self) -> bytes:
        """The body as some stores give it to who does not ask for gzip: Google's, for one."""
        return gzip.decompress(self.body) if "Content-Encoding" in self.headers else self.body

    @cached_property
    def md5(self) -> str:
        """The tag that most stores give to such a body."""
        return hashlib.md5(self.body, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class IndexEntry:
    """An object that was put: its item's digest, its size, and the tag that the store gave it."""

    digest: str
    size_bytes: int
    tag: str


@dataclass(frozen=True)
class Lease:
    """Who is putting the pages of which release into their places, and since when."""

    release: str
    by: str
    since: datetime


@dataclass(frozen=True)
class BucketIndex:
    """What ``current.json`` tells: the current release, its objects, and who is about to replace them."""

    release: str | None = None
    objects: Mapping[str, IndexEntry] = field(default_factory=dict)
    lease: Lease | None = None


def dump_index(index: BucketIndex) -> bytes:
    """Return a ledger as ``current.json``; one with a claim is like no other."""
    lease = index.lease
    document = {
        "schema_version": 1,
        "release": index.release,
        "claim": {"release": lease.release, "by": lease.by, "since": lease.since.isoformat()}
        if lease
        else None,
        "objects": {key: vars(put) for key, put in sorted(index.objects.items())},
    }
    return (json.dumps(document, ensure_ascii=False, indent=0) + "\n").encode()


def parse_index(content: bytes) -> BucketIndex:
    """Return the ledger that ``current.json`` holds; a damaged one knows of nothing."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        document = json.loads(content)
        objects = {str(key): _put(told) for key, told in document["objects"].items()}
        told, release = document["claim"], document["release"]
        lease = Lease(told["release"], told["by"], _moment(told["since"])) if told else None
        if release is not None:
            build_time(release)
        return BucketIndex(release, objects, lease)
    return BucketIndex()


def build_time(release_id: str) -> datetime:
    """Return when a release was made, by its id.

    Raises:
        ValueError: this is no id of a release.

    """
    if not RELEASE_ID.fullmatch(release_id):
        raise ValueError(f"{release_id}: no id of a release")
    return datetime.strptime(release_id.partition("-")[0], "%Y%m%dT%H%M%S.%f%z")


def is_newer(release_id: str, than: str, now: datetime) -> bool:
    """Tell whether a release was made after another, and not by a clock that was wrong."""
    return build_time(than) < build_time(release_id) <= now + MAX_CLOCK_SKEW


def is_same_or_newer(release_id: str, other: str, now: datetime) -> bool:
    """Tell whether a release is the other one, or newer."""
    return release_id == other or is_newer(release_id, other, now)


def objects_of(release: Release) -> Iterator[BucketObject]:
    """Yield each object of a release, as it stands below ``releases/<id>/``.

    Raises:
        PublishError: a file is not what its manifest says.

    """
    files = release.manifest["files"]
    for name in files:
        if name.endswith(GZIP) and name.removesuffix(GZIP) in files:
            continue  # it is stored in the place of what it stands for
        packed = name + GZIP in files
        body = _read(release, name + GZIP if packed else name)
        yield BucketObject(name, body, object_headers(name, packed=packed))
    body = _read(release, MANIFEST)
    yield BucketObject(MANIFEST, body, object_headers(MANIFEST, packed=False))


def is_served(name: str) -> bool:
    """Tell whether a file stands at the prefix as well; other compressed forms than gzip do not."""
    return not name.endswith(BROTLI)


def object_headers(name: str, *, packed: bool) -> dict[str, str]:
    """Return what a store is to say of a file."""
    headers = {"Content-Type": media_type(name), "Cache-Control": cache_control(name, shared=True)}
    return headers | ({"Content-Encoding": "gzip"} if packed else {})


INDEX_HEADERS = object_headers(CURRENT, packed=False)
"""The headers of ``current.json`` itself."""


def _read(release: Release, name: str) -> bytes:
    """Return the content of a file of a release. Its manifest is not checked, which lists all but itself."""
    try:
        return (release.path / name).read_bytes() if name == MANIFEST else read_published(release, name)
    except OSError as exc:
        raise PublishError(f"{release.path / name}: cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise PublishError(
            f"{release.path / name}: is not what was published; the next build replaces it"
        ) from exc


def _put(told: Mapping[str, Any]) -> IndexEntry:
    return IndexEntry(str(told["digest"]), int(told["size_bytes"]), str(told["tag"]))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
