"""Publishing into a bucket: a release that is published here is put there, and becomes current there.

A bucket has no link to replace, so the switch is made of many writes. Their order keeps the promise:

1. All files go below ``releases/<id>/``, beside what readers see, and are proven to be there.
2. One conditional write of ``current.json`` claims the switch; who loses it has touched nothing.
3. Files at the prefix are replaced: scripts first, whose names are new, then data, then pages, all at once.
4. One conditional write of ``current.json`` makes the release current. Old ones go after that.

Until 3 readers see the old site. A build that dies in 3 leaves some pages of either release, each whole in
itself; the next build finds the claim, and ends what was begun.
"""

import hashlib
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

from reportgen.config.settings import Config
from reportgen.core.errors import BucketUnavailable, OutputBusy, PublishError
from reportgen.core.release_files import is_asset, is_page
from reportgen.core.timing import Stopwatch
from reportgen.publish.bucket.client import Bucket, ListedObject, open_bucket
from reportgen.publish.bucket.index import (
    CURRENT,
    INDEX_HEADERS,
    BucketIndex,
    BucketObject,
    IndexEntry,
    Lease,
    dump_index,
    is_newer,
    is_served,
    objects_of,
    parse_index,
)
from reportgen.publish.release import RELEASE_ID, Release

AT_ONCE = 8
"""Requests under way together."""

MAX_SWITCH_S = 60
"""For how long after its claim a build may begin to write pages: then others may take over."""

LEASE_LIFETIME = timedelta(seconds=240)
"""How long a lease of another machine counts: longer than :data:`MAX_SWITCH_S` and one request together."""

RELEASES = "releases"

Given = TypeVar("Given")
Made = TypeVar("Made")


def upload_release(
    config: Config, root: Path, release: Release, watch: Stopwatch, *, allow_newer: bool = False
) -> None:
    """See to it that the bucket of the settings, if there is one, holds a release of the output ``root``.

    Where it does, that costs one request. With ``allow_newer``, a newer release there stays and is not an
    error.

    Raises:
        OutputBusy: another machine publishes there, or has published a newer release; that one stays.
        BucketUnavailable: it does not answer right now.
        PublishError: it cannot be written as configured.

    """
    if config.output.bucket is None:
        return
    with watch.stage("upload"):
        # A digest: current.json may be public.
        by = hashlib.sha256(f"{socket.gethostname()}:{root.resolve()}".encode()).hexdigest()[:16]
        put_release(
            open_bucket(config.output.bucket),
            release,
            by=by,
            keep=config.output.keep,
            allow_newer=allow_newer,
        )


def put_release(
    bucket: Bucket,
    release: Release,
    *,
    by: str,
    keep: int,
    allow_newer: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> bool:
    """Make ``release`` current in ``bucket``; return whether it was not so already.

    ``by`` names this machine and output, whose lock is held: an earlier claim of the same is a dead one's.
    ``keep`` releases stay. Raises what :func:`upload_release` does.
    """
    found = bucket.read(CURRENT)
    before = parse_index(found[0]) if found else BucketIndex()
    if before.release == release.id and before.lease is None:
        return False
    if before.release and is_newer(before.release, release.id, clock()):
        if allow_newer:
            return False
        raise OutputBusy(
            f"{bucket.url}: another machine has published a newer release ({before.release}), which stays;"
            " let only one machine publish to a bucket"
        )
    _give_way(bucket, before, by, clock())
    objects = list(objects_of(release))
    put = _upload(bucket, release.id, objects, before)
    switch = _Switch(bucket, time.monotonic() + MAX_SWITCH_S)
    lease = replace(before, lease=Lease(release.id, by, clock()))
    version = bucket.write_if_unchanged(
        CURRENT, dump_index(lease), INDEX_HEADERS, found[1] if found else None
    )
    put |= switch.lay_out([item for item in objects if is_served(item.name)], before)
    after = BucketIndex(release.id, put)
    bucket.write_if_unchanged(CURRENT, dump_index(after), INDEX_HEADERS, version)
    with suppress(PublishError):  # litter is no reason to call a published release a failure
        _clear(bucket, before, after, keep, clock())
    return True


def _give_way(bucket: Bucket, before: BucketIndex, by: str, now: datetime) -> None:
    """Stop where another machine is putting pages into their places right now."""
    lease = before.lease
    if lease and lease.by != by and abs(now - lease.since) < LEASE_LIFETIME:
        raise OutputBusy(
            f"{bucket.url}: another machine publishes there, since {lease.since:%Y-%m-%dT%H:%M:%SZ}. Let only"
            " one machine publish to a bucket. If it has stopped, build again"
            f" {LEASE_LIFETIME.seconds // 60} minutes after that time"
        )


def _upload(
    bucket: Bucket, release_id: str, objects: Iterable[BucketObject], before: BucketIndex
) -> dict[str, IndexEntry]:
    """Put all objects of a release below its id, and prove that they are there; return what was put."""
    folder = f"{RELEASES}/{release_id}"
    wanted = {f"{folder}/{item.name}": item for item in objects}
    there = bucket.list_below(folder)  # what a build that died has left is not sent again
    for known in (
        before,
        BucketIndex(),
        None,
    ):  # copied where it can be; then sent in any case; then given up
        proven = _each(partial(_is_there, bucket, there), wanted.items())
        missing = [pair for pair, sound in zip(wanted.items(), proven, strict=True) if not sound]
        if not missing:
            return {
                key: IndexEntry(item.digest, len(item.body), there[key].tag) for key, item in wanted.items()
            }
        if known is not None:
            _each(partial(_send, bucket, known), missing)
            there = bucket.list_below(folder)
    raise BucketUnavailable(
        f"{bucket.url}/{missing[0][0]}: is not what was sent, though the bucket took it ({len(missing)} such"
        " objects). What is current there stays; it is tried again"
    )


def _is_there(bucket: Bucket, there: Mapping[str, ListedObject], pair: tuple[str, BucketObject]) -> bool:
    """Tell whether a listed object is, byte for byte, what it is to be."""
    key, item = pair
    stored = there.get(key)
    if stored is None or stored.size_bytes != len(item.body):
        return False
    if stored.tag == item.md5:
        return True
    found = bucket.read(key)  # where objects are encrypted, and at Azure, the tag is no checksum
    return found is not None and (found[0] == item.body or found[0] == item.plain)


def _send(bucket: Bucket, before: BucketIndex, pair: tuple[str, BucketObject]) -> None:
    """Write an object, or let the store copy it from the release before, where it is the same."""
    key, item = pair
    old = f"{RELEASES}/{before.release}/{item.name}"
    put = before.objects.get(old)
    if put is None or put.digest != item.digest or not bucket.copy(old, key):
        bucket.write(key, item.body, item.headers)


@dataclass(frozen=True)
class _Switch:
    """The files at the prefix, which readers see, replaced in the right order and within ``deadline``."""

    bucket: Bucket
    deadline: float

    def lay_out(self, objects: Iterable[BucketObject], before: BucketIndex) -> dict[str, IndexEntry]:
        """Put each object into its place, where it is not there yet; return what stands there then."""
        served = {item.name: item for item in objects}
        there = _at_prefix(self.bucket, served)
        put = {
            name: before.objects[name]
            for name, item in served.items()
            if _is_unchanged(item, before.objects.get(name), there.get(name))
        }
        due = [item for name, item in served.items() if name not in put]
        for wave in (
            [item for item in due if is_asset(item.name)],
            [item for item in due if not is_asset(item.name) and not is_page(item.name)],
            [item for item in due if is_page(item.name)],
        ):
            put |= dict(_each(self._replace, wave))
        return put

    def _replace(self, item: BucketObject) -> tuple[str, IndexEntry]:
        if time.monotonic() > self.deadline:
            raise BucketUnavailable(
                f"{self.bucket.url}: is so slow that another machine may take over; until the next build, the"
                " pages there are of two releases"
            )
        tag = self.bucket.write(item.name, item.body, item.headers)
        return item.name, IndexEntry(item.digest, len(item.body), tag)


def _is_unchanged(item: BucketObject, put: IndexEntry | None, stored: ListedObject | None) -> bool:
    """Tell whether an object is the one that the ledger lists, and that is the one to be."""
    return put is not None and put.digest == item.digest and stored == ListedObject(put.size_bytes, put.tag)


def _clear(bucket: Bucket, before: BucketIndex, after: BucketIndex, keep: int, now: datetime) -> None:
    """Delete what stood at the prefix and has no successor, and the oldest releases beyond ``keep``.

    The releases tell what may stand there, too: a build that died, or could not delete, has left it.
    """
    below: dict[str, list[str]] = {}
    for key in bucket.list_below(RELEASES):
        below.setdefault(key.split("/")[1], []).append(key)
    ids = sorted((name for name in below if RELEASE_ID.fullmatch(name)), reverse=True)
    # Another machine is at those that are newer than the one just published.
    newer = [name for name in ids if is_newer(name, str(after.release), now)]
    old = [name for name in ids if name not in {*newer, after.release}][keep - 1 :]

    def files_of(releases: Iterable[str]) -> set[str]:
        return {_within(key) for name in releases for key in below[name]}

    stood = {key for key in before.objects if not key.startswith(f"{RELEASES}/")}
    stood |= {name for name in files_of(ids) if is_served(name)}
    # Who still reads an old page may want its scripts: they go with the last release that has them.
    stay = {name for name in files_of(below.keys() - set(old)) if is_asset(name)} | files_of(newer)
    gone = stood - after.objects.keys() - stay
    bucket.delete(sorted(gone & _at_prefix(bucket, gone).keys()))
    bucket.delete(key for name in old for key in below[name])


def _at_prefix(bucket: Bucket, names: Iterable[str]) -> dict[str, ListedObject]:
    """Return what stands at the prefix in the folders of these files."""
    folders = sorted({str(PurePosixPath(name).parent).removeprefix(".") for name in names})
    return {key: stored for found in _each(bucket.list_folder, folders) for key, stored in found.items()}


def _within(key: str) -> str:
    """Return the name of a file in its release, by its key."""
    return "/".join(key.split("/")[2:])


def _each(work: Callable[[Given], Made], given: Iterable[Given]) -> list[Made]:
    """Return what ``work`` makes of each, several at a time; the first error ends it."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(work, given))
