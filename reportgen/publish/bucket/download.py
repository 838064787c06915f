"""Back from a bucket: its current release into an output that has none, as on a new machine without its disk.

It fails softly: a build does not need the release before. But where there is one, a build can tell that the
source has lost all its visits, and readers have a report until the first build is done.
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

AT_ONCE = 8


def restore(config: Config, lock: OutputLock, watch: Stopwatch, *, warm: bool = False) -> bool:
    """Make the bucket's current release the current one here, unless that here is as new.

    What goes wrong is a warning; return whether nothing did. A process that is ``warm`` forks nothing.
    """
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
    """Make the release that is current in the bucket, which must be set, so here: unless that here is as new.

    ``links`` are those of :func:`reportgen.publish.release.publish`, which no bucket holds.

    Raises:
        PublishError: it cannot be read, or is not what was published; or it cannot be written here.

    """
    url, last = str(config.output.bucket), current_release(lock.root)

    def fetched() -> tuple[dict[str, Any], dict[str, bytes]] | None:
        return download_release(open_bucket(url), last)

    # obstore starts threads: a build that forks later on must not have them, and a copy of a process that has
    # them would wait for them for ever.
    if (found := fetched() if warm else run_in_child(fetched)[0]) is not None:
        manifest, files = found
        about = {key: value for key, value in manifest.items() if key not in {"id", "built_at", "files"}}
        built_at = build_time(manifest["id"])
        publish(lock, files, about, built_at=built_at, keep=config.output.keep, links=links)


def download_release(
    bucket: Bucket, last: Release | None = None
) -> tuple[dict[str, Any], dict[str, bytes]] | None:
    """Return the manifest and the files of the bucket's current release, or ``None`` where there is none.

    Nor is there one where ``last`` is as new; files that it holds are not read again.

    Raises:
        PublishError: it cannot be read, or is not what was published.

    """
    found = bucket.read(CURRENT)
    release_id = parse_index(found[0]).release if found else None
    if release_id is None or (last and is_same_or_newer(last.id, release_id, datetime.now(UTC))):
        return None
    folder = f"releases/{release_id}"
    manifest = _manifest(bucket.url, release_id, _read(bucket, f"{folder}/{MANIFEST}"))
    listed = manifest["files"]
    files = _held(last, listed)
    plain = [name for name in listed if not (name.endswith(GZIP) and name.removesuffix(GZIP) in listed)]
    due = [name for name in plain if not {name, name + GZIP} & listed.keys() <= files.keys()]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        bodies = list(pool.map(lambda name: _read(bucket, f"{folder}/{name}"), due))
    for name, body in zip(due, bodies, strict=True):
        files |= _forms(name, body) if name + GZIP in listed else {name: body}
    for name, about in listed.items():
        if name not in files or not matches_entry(files[name], about):
            raise PublishError(f"{bucket.url}/{folder}/{name}: is not what was published")
    return manifest, {name: files[name] for name in listed}


def _held(last: Release | None, listed: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the listed files that a release here holds, byte for byte."""
    found: dict[str, bytes] = {}
    for name, about in listed.items():
        if last and last.manifest["files"].get(name) == about:
            with suppress(OSError):
                found[name] = (last.path / name).read_bytes()
    return {name: body for name, body in found.items() if matches_entry(body, listed[name])}


def _forms(name: str, body: bytes) -> dict[str, bytes]:
    """Return a file and its compressed form, from that form; or from itself, where something unpacked it."""
    try:
        return {name: gzip.decompress(body), name + GZIP: body}
    except (OSError, EOFError, zlib.error):
        return {name: body, name + GZIP: gzip.compress(body, 6, mtime=0)}


def _read(bucket: Bucket, key: str) -> bytes:
    found = bucket.read(key)
    if found is None:
        raise PublishError(f"{bucket.url}/{key}: is not there")
    return found[0]


def _manifest(url: str, release_id: str, content: bytes) -> dict[str, Any]:
    """Return a manifest, if it is of this release and lists files that may be written."""
    try:
        manifest = json.loads(content)
        sound = manifest["id"] == release_id and all(
            isinstance(about, Mapping) and not _leads_out(name) for name, about in manifest["files"].items()
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise PublishError(f"{url}/releases/{release_id}/{MANIFEST}: is no manifest of that release")
    return dict(manifest)


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts or name == MANIFEST
