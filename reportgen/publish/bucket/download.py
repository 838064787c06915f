"""Restore the current release of a bucket into an output directory, as on a new machine.

A build does not need the last release, so a failed restoration is only a warning. With the last release, a
build can notice that the source has lost all visits, and readers have a report until that build ends.
"""

import gzip
import json
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from reportgen.config.settings import Config
from reportgen.core.errors import PublishError, ReportgenError
from reportgen.core.processes import run_in_child
from reportgen.core.timing import Stopwatch
from reportgen.publish.bucket.client import Bucket, open_bucket
from reportgen.publish.bucket.index import CURRENT, GZIP, build_time, is_same_or_newer, parse_index
from reportgen.publish.release import MANIFEST, OutputLock, Release, current_release, matches_entry, publish

MAX_REQUESTS = 8
"""Maximum number of requests at the same time."""


def restore(config: Config, lock: OutputLock, watch: Stopwatch, *, warm: bool = False) -> bool:
    """Call :func:`restore_release` and make its errors a warning; return whether there was none."""
    with watch.stage("restore"):
        try:
            restore_release(config, lock, warm=warm)
        except ReportgenError as exc:
            watch.warn(f"{exc}. Nothing was restored from the bucket")
            return False
    return True


def restore_release(
    config: Config, lock: OutputLock, *, warm: bool = True, links: Mapping[str, str] | None = None
) -> None:
    """Make the bucket's current release current in the output, unless the one there is the same or newer.

    The settings must name a bucket. ``links`` are those of :func:`reportgen.publish.release.publish`; a
    bucket does not hold them. With ``warm``, this process itself asks the bucket, and must not fork later;
    otherwise a child process does.

    Raises:
        PublishError: the release cannot be read, is not what was published, or cannot be written here.

    """
    url, last = str(config.output.bucket), current_release(lock.root)

    def download() -> tuple[dict[str, Any], dict[str, bytes]] | None:
        return download_release(open_bucket(url), last)

    # obstore starts threads. A child forked from a process with them would wait for them for ever.
    if (found := download() if warm else run_in_child(download)[0]) is not None:
        manifest, files = found
        about = {key: value for key, value in manifest.items() if key not in {"id", "built_at", "files"}}
        built_at = build_time(manifest["id"])
        publish(lock, files, about, built_at=built_at, keep=config.output.keep, links=links)


def download_release(
    bucket: Bucket, last: Release | None = None
) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """Return the manifest and all files of the bucket's current release.

    Return ``None`` if there is none, or if ``last`` is the same or newer. Files that ``last`` has are not
    downloaded again.

    Raises:
        PublishError: the release cannot be read, or is not what was published.

    """
    found = bucket.read(CURRENT)
    release_id = parse_index(found[0]).release if found else None
    if release_id is None or (last and is_same_or_newer(last.id, release_id, datetime.now(UTC))):
        return None
    folder = f"releases/{release_id}"
    manifest = _parse_manifest(bucket.url, release_id, _read(bucket, f"{folder}/{MANIFEST}"))
    entries = manifest["files"]
    files = _reusable_files(last, entries)
    stored = [name for name in entries if not (name.endswith(GZIP) and name.removesuffix(GZIP) in entries)]
    missing = [name for name in stored if not {name, name + GZIP} & entries.keys() <= files.keys()]
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        bodies = list(pool.map(lambda name: _read(bucket, f"{folder}/{name}"), missing))
    for name, body in zip(missing, bodies, strict=True):
        files |= _both_forms(name, body) if name + GZIP in entries else {name: body}
    for name, entry in entries.items():
        if name not in files or not matches_entry(files[name], entry):
            raise PublishError(f"{bucket.url}/{folder}/{name}: is not what was published")
    return manifest, {name: files[name] for name in entries}


def _reusable_files(last: Release | None, entries: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the files that the release ``last`` has with the same entry in its manifest."""
    found: dict[str, bytes] = {}
    for name, entry in entries.items():
        if last and last.manifest["files"].get(name) == entry:
            with suppress(OSError):
                found[name] = (last.path / name).read_bytes()
    return {name: body for name, body in found.items() if matches_entry(body, entries[name])}


def _both_forms(name: str, body: bytes) -> dict[str, bytes]:
    """Return a file and its gzip form, from either of them: some stores unpack gzip when they send it."""
    try:
        return {name: gzip.decompress(body), name + GZIP: body}
    except (OSError, EOFError, zlib.error):
        return {name: body, name + GZIP: gzip.compress(body, 6, mtime=0)}


def _read(bucket: Bucket, key: str) -> bytes:
    found = bucket.read(key)
    if found is None:
        raise PublishError(f"{bucket.url}/{key}: is not there")
    return found[0]


def _parse_manifest(url: str, release_id: str, content: bytes) -> dict[str, Any]:
    """Return a manifest, or raise :class:`PublishError` if it is another release's or lists unsafe paths."""
    try:
        manifest = json.loads(content)
        is_valid = manifest["id"] == release_id and all(
            isinstance(entry, Mapping) and _is_safe_path(name) for name, entry in manifest["files"].items()
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        is_valid = False
    if not is_valid:
        raise PublishError(f"{url}/releases/{release_id}/{MANIFEST}: is not a manifest of that release")
    return dict(manifest)


def _is_safe_path(name: str) -> bool:
    """Return whether a file of this name can be written inside a release."""
    path = PurePosixPath(name)
    return bool(path.parts) and not (
        "\0" in name or path.is_absolute() or ".." in path.parts or name == MANIFEST
    )
