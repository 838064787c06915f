"""Restore the current release of a bucket into an output directory, as on a new machine.

With the last release, a build can notice that the source has lost all visits, and readers have a report until
that build ends.
"""

import gzip
from collections.abc import Mapping
from typing import Any

from reportgen.config.settings import Config
from reportgen.core.errors import PublishError
from reportgen.core.processes import run_in_child
from reportgen.publish.bucket.client import Bucket, in_parallel, open_bucket
from reportgen.publish.bucket.layout import CURRENT, GZIP, RELEASES, current_id, stored_names, unpacked
from reportgen.publish.release import (
    MANIFEST,
    OutputLock,
    build_time,
    current_release,
    matches_entry,
    parse_manifest,
    publish,
)


def restore_release(
    config: Config, lock: OutputLock, *, warm: bool = True, links: Mapping[str, str] | None = None
) -> None:
    """Make the bucket's current release current in the output, unless the output has one.

    The settings must name a bucket. ``links`` are those of :func:`reportgen.publish.release.publish`; a
    bucket does not hold them. With ``warm``, this process itself sends the requests, and must not fork later;
    otherwise a child process sends them.

    Raises:
        PublishError: the release cannot be read, is not what was published, or cannot be written here.

    """
    if current_release(lock.root):
        return

    def download() -> tuple[dict[str, Any], dict[str, bytes]] | None:
        return download_release(open_bucket(str(config.output.bucket)))

    # obstore starts threads. A child forked from a process with them would wait for them for ever.
    if (found := download() if warm else run_in_child(download)[0]) is not None:
        manifest, files = found
        about = {key: value for key, value in manifest.items() if key not in {"id", "built_at", "files"}}
        built_at = build_time(manifest["id"])
        publish(lock, files, about, built_at=built_at, keep=config.output.keep, links=links)


def download_release(bucket: Bucket) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """Return the manifest and all files of the bucket's current release, or ``None`` if there is none.

    Raises:
        PublishError: the release cannot be read, or is not what was published.

    """
    release_id = current_id(bucket.read(CURRENT))
    if release_id is None:
        return None
    folder = f"{RELEASES}/{release_id}"
    manifest = parse_manifest(_read(bucket, f"{folder}/{MANIFEST}"))
    if manifest is None or manifest.get("id") != release_id:
        raise PublishError(f"{bucket.url}/{folder}/{MANIFEST}: is not a manifest of that release")
    return manifest, _read_files(bucket, folder, manifest["files"])


def _read_files(bucket: Bucket, folder: str, entries: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files of these entries of a manifest."""
    names, files = stored_names(entries), dict[str, bytes]()
    bodies = in_parallel(lambda name: _read(bucket, f"{folder}/{name}"), names)
    for (name, packed), body in zip(names.items(), bodies, strict=True):
        files[name] = unpacked(body) if packed else body
        if packed:
            files[name + GZIP] = body if body != files[name] else gzip.compress(body, 6, mtime=0)
    for name, entry in entries.items():
        if name not in files or not matches_entry(files[name], entry):
            raise PublishError(f"{bucket.url}/{folder}/{name}: is not what was published")
    return {name: files[name] for name in entries}


def _read(bucket: Bucket, key: str) -> bytes:
    found = bucket.read(key)
    if found is None:
        raise PublishError(f"{bucket.url}/{key}: is not there")
    return found[0]
