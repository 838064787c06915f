"""Make a release current in a bucket.

A bucket has no link that one step could replace. So it takes many writes to make a release current, in this
order:

1. All files are written below ``releases/<id>/``, where readers do not look, and then checked.
2. Files at the prefix that differ are replaced: first scripts, whose names are new, then data, then pages.
3. One conditional write of ``current.json`` names the current release. Old releases are deleted after that.

Readers see the old report until step 2. A build that is killed in step 2 leaves pages of two releases, each
of them complete, and the next build replaces all files that differ. Of two machines at the same time, one
fails at step 3. It may have replaced files by then; the next build of the other one replaces them again.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath

from reportgen.core.errors import BucketUnavailable, OutputBusy, PublishError
from reportgen.core.release_files import is_asset, replaced_in_turn
from reportgen.publish.bucket.client import Bucket, in_parallel
from reportgen.publish.bucket.layout import (
    BROTLI,
    CURRENT,
    RELEASES,
    BucketObject,
    current_id,
    object_headers,
    objects_of,
    unpacked,
)
from reportgen.publish.release import RELEASE_ID, Release, is_newer


def put_release(bucket: Bucket, release: Release, *, keep: int, allow_newer: bool = False) -> None:
    """Make a release current in a bucket, and delete all but ``keep`` releases.

    If it is current already, only files at the prefix that differ are replaced. With ``allow_newer``, a newer
    release in the bucket stays, and that is not an error.

    Raises:
        OutputBusy: another machine has published meanwhile, or has published a newer release, which stays.
        BucketUnavailable: the store does not respond now.
        PublishError: the store refuses a request, or a file here is not what was published.

    """
    found = bucket.read(CURRENT)
    before = current_id(found)
    if before and is_newer(before, release.id, datetime.now(UTC)):
        if allow_newer:
            return
        raise OutputBusy(
            f"{bucket.url}: another machine has published a newer release ({before}), which stays."
            " Let only one machine publish to a bucket"
        )
    objects = objects_of(release)
    if before == release.id:
        _replace_at_prefix(bucket, objects)
        return
    _upload(bucket, f"{RELEASES}/{release.id}/", objects)
    if bucket.read(CURRENT) != found:
        raise OutputBusy(f"{bucket.url}: another machine publishes there. Let only one machine do that")
    _replace_at_prefix(bucket, objects)
    content = json.dumps({"schema_version": 1, "release": release.id}).encode() + b"\n"
    bucket.write_if_unchanged(CURRENT, content, object_headers(CURRENT), found and found[1])
    with suppress(PublishError):  # the release is published, and the next build deletes what is left
        _delete_old(bucket, release.id, keep)


def _upload(bucket: Bucket, folder: str, objects: list[BucketObject]) -> None:
    """Write the objects that a killed build has not written below a folder already, and check all."""
    missing = _find_differing(bucket, folder, objects, bucket.list_below(folder))
    in_parallel(lambda each: bucket.write(folder + each.name, each.body, each.headers), missing)
    wrong = _find_differing(bucket, folder, objects, bucket.list_below(folder)) if missing else []
    if wrong:
        raise BucketUnavailable(
            f"{bucket.url}/{folder}{wrong[0].name}: the store does not hold what was sent ({len(wrong)} such"
            " objects), although it accepted the request. The current release there stays. Try again"
        )


def _replace_at_prefix(bucket: Bucket, objects: Iterable[BucketObject]) -> None:
    """Write the objects that differ from those that readers see: scripts, then data, then pages."""
    served = [each for each in objects if not each.name.endswith(BROTLI)]
    listed = _list_at_prefix(bucket, (each.name for each in served))
    changed = _find_differing(bucket, "", served, listed)
    for turn in range(3):
        group = [each for each in changed if replaced_in_turn(each.name) == turn]
        in_parallel(lambda each: bucket.write(each.name, each.body, each.headers), group)


def _find_differing(
    bucket: Bucket, folder: str, objects: list[BucketObject], listed: Mapping[str, tuple[int, str]]
) -> list[BucketObject]:
    """Return the objects that the store does not hold, byte for byte, below a folder."""

    def is_stored(wanted: BucketObject) -> bool:
        size_bytes, tag = listed.get(folder + wanted.name, (-1, ""))
        if size_bytes != len(wanted.body):
            return False
        if tag == hashlib.md5(wanted.body, usedforsecurity=False).hexdigest():
            return True
        # The tag is not a checksum at Azure, or if the store encrypts objects: read the object.
        content = bucket.read(folder + wanted.name)
        return content is not None and unpacked(content[0]) == unpacked(wanted.body)

    return [
        each for each, is_right in zip(objects, in_parallel(is_stored, objects), strict=True) if not is_right
    ]


def _list_at_prefix(bucket: Bucket, names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Return size and tag of the objects at the prefix, by key, in all folders of the named files."""
    folders = sorted({str(PurePosixPath(name).parent).removeprefix(".") for name in names})
    found = in_parallel(bucket.list_folder, folders)
    return {key: listed for objects in found for key, listed in objects.items()}


def _delete_old(bucket: Bucket, current: str, keep: int) -> None:
    """Delete the oldest releases beyond ``keep``, and files at the prefix that readers do not need.

    Releases newer than the ``current`` one stay: another machine may be uploading them.
    """
    names: dict[str, set[str]] = {}
    for key in bucket.list_below(RELEASES):
        release_id, _, name = key.removeprefix(f"{RELEASES}/").partition("/")
        if name and RELEASE_ID.fullmatch(release_id):
            names.setdefault(release_id, set()).add(name)
    old = sorted((each for each in names if each < current), reverse=True)[keep - 1 :]
    # A browser that shows an old page may still load its scripts: they stay as long as a release has them.
    needed = {
        name for each in names.keys() - set(old) for name in names[each] if each >= current or is_asset(name)
    }
    unneeded = {name for each in names.values() for name in each} - needed
    # First those at the prefix: only the releases say which they are.
    bucket.delete(sorted(unneeded & _list_at_prefix(bucket, unneeded).keys()))
    bucket.delete(f"{RELEASES}/{each}/{name}" for each in old for name in names[each])
