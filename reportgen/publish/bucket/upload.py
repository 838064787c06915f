"""Upload a release to a bucket and make it current there.

A bucket has no link that one step could replace. So it takes many writes to make a release current, in this
order:

1. All files are written below ``releases/<id>/``, where readers do not look, and then checked.
2. One conditional write of ``current.json`` takes the lease. A machine that fails here has changed nothing
   that readers see.
3. Files at the prefix are replaced: first scripts, whose names are new, then data, then pages.
4. One conditional write of ``current.json`` names the current release. Old releases are deleted after that.

Readers see the old report until step 3. A build that dies in step 3 leaves pages of two releases, each of
them complete; the next build finds the lease and replaces all files that differ.
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

MAX_REQUESTS = 8
"""Maximum number of requests at the same time."""

MAX_SWITCH_S = 60
"""How long after taking the lease a build may begin to write pages, in seconds."""

LEASE_LIFETIME = timedelta(seconds=240)
"""How long another machine's lease counts: more than :data:`MAX_SWITCH_S` plus the longest request."""

RELEASES = "releases"

Input = TypeVar("Input")
Output = TypeVar("Output")


def upload_release(
    config: Config, root: Path, release: Release, watch: Stopwatch, *, allow_newer: bool = False
) -> None:
    """Make a release of the output ``root`` current in the bucket of the settings, if there is one.

    One request if it is current already. With ``allow_newer``, a newer release in the bucket stays, and that
    is not an error.

    Raises:
        OutputBusy: another machine is publishing there, or has published a newer release, which stays.
        BucketUnavailable: the store does not respond now.
        PublishError: the store refuses a request, or a file here is not what was published.

    """
    if config.output.bucket is None:
        return
    with watch.stage("upload"):
        # A digest: current.json may be public.
        by = hashlib.sha256(f"{socket.gethostname()}:{root.resolve()}".encode()).hexdigest()[:16]
        keep = config.output.keep
        put_release(open_bucket(config.output.bucket), release, by=by, keep=keep, allow_newer=allow_newer)


def put_release(
    bucket: Bucket,
    release: Release,
    *,
    by: str,
    keep: int,
    allow_newer: bool = False,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> bool:
    """Make a release current in a bucket; return ``False`` if nothing had to be done.

    ``by`` identifies this machine and its output. The caller holds the lock of that output, so an earlier
    lease by the same is of a build that died. ``keep`` releases stay. Raises the same errors as
    :func:`upload_release`.
    """
    found = bucket.read(CURRENT)
    before = parse_index(found[0]) if found else BucketIndex()
    if before.release == release.id and before.lease is None:
        return False
    if before.release and is_newer(before.release, release.id, clock()):
        if allow_newer:
            return False
        raise OutputBusy(
            f"{bucket.url}: another machine has published a newer release ({before.release}), which stays."
            " Let only one machine publish to a bucket"
        )
    _check_lease(bucket, before, by, clock())
    objects = list(objects_of(release))
    entries = _upload_objects(bucket, release.id, objects, before)
    switch = _Switch(bucket, time.monotonic() + MAX_SWITCH_S)
    leased = replace(before, lease=Lease(release.id, by, clock()))
    seen = found[1] if found else None
    version = bucket.write_if_unchanged(CURRENT, dump_index(leased), INDEX_HEADERS, seen)
    entries |= switch.replace_all([each for each in objects if is_served(each.name)], before)
    after = BucketIndex(release.id, entries)
    bucket.write_if_unchanged(CURRENT, dump_index(after), INDEX_HEADERS, version)
    with suppress(PublishError):  # the release is published, and the next build deletes what is left
        _delete_old(bucket, before, after, keep, clock())
    return True


def _check_lease(bucket: Bucket, index: BucketIndex, by: str, now: datetime) -> None:
    """Raise :class:`OutputBusy` if another machine has the lease now."""
    lease = index.lease
    if lease and lease.by != by and abs(now - lease.since) < LEASE_LIFETIME:
        raise OutputBusy(
            f"{bucket.url}: another machine publishes there, since {lease.since:%Y-%m-%dT%H:%M:%SZ}. Let only"
            " one machine publish to a bucket. If it has stopped, build again"
            f" {LEASE_LIFETIME.seconds // 60} minutes after that time"
        )


def _upload_objects(
    bucket: Bucket, release_id: str, objects: Iterable[BucketObject], before: BucketIndex
) -> dict[str, IndexEntry]:
    """Write all objects of a release below its id, and check them; return their entries by key.

    Objects that a build that died has written are not sent again. The others are copied from the release
    ``before`` where possible. Those that are wrong after that are sent; if they are still wrong, this raises
    :class:`BucketUnavailable`.
    """
    folder = f"{RELEASES}/{release_id}"
    wanted = {f"{folder}/{each.name}": each for each in objects}
    listed = bucket.list_below(folder)
    for copy_from in (before, BucketIndex(), None):
        right = _map_parallel(partial(_is_stored, bucket, listed), wanted.items())
        missing = [pair for pair, is_right in zip(wanted.items(), right, strict=True) if not is_right]
        if not missing:
            return {
                key: IndexEntry(each.digest, len(each.body), listed[key].tag) for key, each in wanted.items()
            }
        if copy_from is not None:
            _map_parallel(partial(_copy_or_send, bucket, copy_from), missing)
            listed = bucket.list_below(folder)
    raise BucketUnavailable(
        f"{bucket.url}/{missing[0][0]}: the store does not hold what was sent ({len(missing)} such objects),"
        " although it accepted the request. The current release there stays. Try again"
    )


def _is_stored(bucket: Bucket, listed: Mapping[str, ListedObject], pair: tuple[str, BucketObject]) -> bool:
    """Return whether the store holds exactly the bytes of an object under its key."""
    key, wanted = pair
    found = listed.get(key)
    if found is None or found.size_bytes != len(wanted.body):
        return False
    if found.tag == wanted.md5:
        return True
    # The tag is not a checksum at Azure, or if the store encrypts objects: read the object.
    content = bucket.read(key)
    return content is not None and (content[0] == wanted.body or content[0] == wanted.plain)


def _copy_or_send(bucket: Bucket, before: BucketIndex, pair: tuple[str, BucketObject]) -> None:
    """Copy an object within the store from the release ``before`` if it is the same, or else send it."""
    key, wanted = pair
    old = f"{RELEASES}/{before.release}/{wanted.name}"
    entry = before.objects.get(old)
    if entry is None or entry.digest != wanted.digest or not bucket.copy(old, key):
        bucket.write(key, wanted.body, wanted.headers)


@dataclass(frozen=True)
class _Switch:
    """Replaces the files at the prefix, which readers see, until ``deadline`` (of the monotonic clock)."""

    bucket: Bucket
    deadline: float

    def replace_all(self, objects: Iterable[BucketObject], before: BucketIndex) -> dict[str, IndexEntry]:
        """Write each object that differs from the one at the prefix; return the entries of all by key."""
        wanted = {each.name: each for each in objects}
        listed = _list_at_prefix(self.bucket, wanted)
        entries = {
            name: before.objects[name]
            for name, each in wanted.items()
            if _is_unchanged(each, before.objects.get(name), listed.get(name))
        }
        changed = [each for name, each in wanted.items() if name not in entries]
        for group in (
            [each for each in changed if is_asset(each.name)],
            [each for each in changed if not is_asset(each.name) and not is_page(each.name)],
            [each for each in changed if is_page(each.name)],
        ):
            entries |= dict(_map_parallel(self._write, group))
        return entries

    def _write(self, wanted: BucketObject) -> tuple[str, IndexEntry]:
        if time.monotonic() > self.deadline:
            raise BucketUnavailable(
                f"{self.bucket.url}: is so slow that another machine may take over. Until the next build, the"
                " pages there are of two releases"
            )
        tag = self.bucket.write(wanted.name, wanted.body, wanted.headers)
        return wanted.name, IndexEntry(wanted.digest, len(wanted.body), tag)


def _is_unchanged(wanted: BucketObject, entry: IndexEntry | None, found: ListedObject | None) -> bool:
    """Return whether the stored object is the one in the index, and is the wanted one."""
    return (
        entry is not None
        and entry.digest == wanted.digest
        and found == ListedObject(entry.size_bytes, entry.tag)
    )


def _delete_old(bucket: Bucket, before: BucketIndex, after: BucketIndex, keep: int, now: datetime) -> None:
    """Delete the oldest releases beyond ``keep``, and files at the prefix that the current one does not have.

    Files at the prefix are those of the index ``before`` and of all releases: a build that died, or could not
    delete, has left files that are not in the index.
    """
    keys: dict[str, list[str]] = {}
    for key in bucket.list_below(RELEASES):
        keys.setdefault(key.split("/")[1], []).append(key)
    ids = sorted((name for name in keys if RELEASE_ID.fullmatch(name)), reverse=True)
    # Another machine may be uploading those that are newer than the one just published.
    newer = [name for name in ids if is_newer(name, str(after.release), now)]
    old = [name for name in ids if name not in {*newer, after.release}][keep - 1 :]

    def files_of(releases: Iterable[str]) -> set[str]:
        return {_name_in_release(key) for name in releases for key in keys[name]}

    written = {key for key in before.objects if not key.startswith(f"{RELEASES}/")}
    written |= {name for name in files_of(ids) if is_served(name)}
    # A browser that shows an old page may still load its scripts: they stay as long as a release has them.
    needed = {name for name in files_of(keys.keys() - set(old)) if is_asset(name)} | files_of(newer)
    unneeded = written - after.objects.keys() - needed
    bucket.delete(sorted(unneeded & _list_at_prefix(bucket, unneeded).keys()))
    bucket.delete(key for name in old for key in keys[name])


def _list_at_prefix(bucket: Bucket, names: Iterable[str]) -> dict[str, ListedObject]:
    """Return the objects at the prefix, by key, in all folders of the named files."""
    folders = sorted({str(PurePosixPath(name).parent).removeprefix(".") for name in names})
    found = _map_parallel(bucket.list_folder, folders)
    return {key: listed for objects in found for key, listed in objects.items()}


def _name_in_release(key: str) -> str:
    """Return the name of a file in its release, from a key below ``releases/``."""
    return "/".join(key.split("/")[2:])


def _map_parallel(work: Callable[[Input], Output], inputs: Iterable[Input]) -> list[Output]:
    """Return ``work`` of each input, in order, computed in threads. Raises the first error."""
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        return list(pool.map(work, inputs))
