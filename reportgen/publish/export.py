"""Export releases as plain files, for a host that serves a directory: no links and no compressed forms.

Such a directory has no link to switch. So each file is replaced by one rename: scripts first, then data, then
pages, and files that no page needs any more are deleted last. Whenever this ends, each file is whole, and the
next export completes it. ``export.json`` lists the files that are ours: all others stay as they are.
"""

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from reportgen.core.errors import ConfigError, PublishError
from reportgen.core.release_files import SUFFIXES, replaced_in_turn
from reportgen.publish.headers import cache_control
from reportgen.publish.release import (
    Release,
    current_release,
    lock_output,
    make_directory,
    read_all_published,
    translate_disk_errors,
)

RECORD = "export.json"
OWN = (".nojekyll", "_headers")
"""The files of an export that no release has."""
FRESH = ".reportgen-new"
"""The file that is being written, before it gets its name."""


def export_current(outputs: Mapping[str, Path], target: Path, base_path: str) -> int:
    """Write the current release of each output into ``target``, below its prefix; return the number of files.

    The first output has the prefix "" and its lock is held meanwhile: no other build may delete the release.
    An output without a release is left out. ``base_path`` is where the host serves the directory.

    Raises:
        ConfigError: the directory is a part of the output, or the output a part of it.
        PublishError: the directory cannot be written, or holds files of others with names of ours.

    """
    root = outputs[""]
    check_target(target, root)
    with lock_output(root):
        found = {prefix: current_release(output) for prefix, output in outputs.items()}
        releases = {prefix: release for prefix, release in found.items() if release}
        return _export(releases, target, base_path)


def check_target(target: Path, root: Path) -> None:
    """Check that neither of the directories is in the other, and that the first page may be written.

    Raises:
        ConfigError: one is in the other.
        PublishError: there is a first page that no export wrote.

    """
    inner, outer = target.resolve(), root.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise ConfigError(
            f"--export {target}: this or the output {root} is in the other. Name another directory"
        )
    _check_ours(target, {"index.html", *OWN}, _recorded(target))


def _check_ours(target: Path, names: Collection[str], ours: Collection[str]) -> None:
    """Raise PublishError if one of the files exists, and is not among ``ours``."""
    if foreign := sorted(name for name in {*names} - {*ours} if os.path.lexists(target / name)):
        raise PublishError(
            f"{target}: has {foreign[0]}, which no export wrote. Name an empty directory, or move it away"
        )


def _export(releases: Mapping[str, Release], target: Path, base_path: str) -> int:
    contents = (b"\n", _headers(base_path, many=len(releases) > 1))
    found: list[tuple[str, Mapping[str, bytes]]] = [("", dict(zip(OWN, contents, strict=True)))]
    for prefix, release in releases.items():
        names = [name for name in release.manifest["files"] if not name.endswith(tuple(SUFFIXES.values()))]
        found.append((prefix, read_all_published(release, names)))
    ordered = sorted(
        (replaced_in_turn(name), f"{prefix}/{name}".removeprefix("/"), content)
        for prefix, files in found
        for name, content in files.items()
    )
    wanted = {name: content for _, name, content in ordered}
    with translate_disk_errors(target):
        make_directory(target)
        ours = _recorded(target)
        _check_ours(target, wanted, ours)
        _record(target, ours | wanted.keys())
        for name, content in wanted.items():
            _replace(target, name, content)
        for name in ours - wanted.keys():
            _delete(target, name)
        _record(target, wanted.keys())
    return len(wanted)


def _headers(base_path: str, *, many: bool) -> bytes:
    """Return the rules of ``_headers``, which Netlify and Cloudflare Pages read."""
    value = cache_control("assets/any", shared=True)
    folders = [f"{base_path}assets/*", *([f"{base_path}:site/assets/*"] if many else [])]
    rules = [f"{folder}\n  Cache-Control: {value}\n" for folder in folders]
    return "".join([*rules, f"{base_path}*\n  X-Content-Type-Options: nosniff\n"]).encode()


def _recorded(target: Path) -> set[str]:
    """Return the names of the files that exports wrote; none if there was no export."""
    with suppress(FileNotFoundError, ValueError, LookupError, TypeError):
        return set(map(str, json.loads((target / RECORD).read_bytes())["files"]))
    return set()


def _record(target: Path, names: Collection[str]) -> None:
    document = {"schema_version": 1, "files": sorted(names)}
    _replace(target, RECORD, (json.dumps(document, indent=1) + "\n").encode())


def _replace(target: Path, name: str, content: bytes) -> None:
    """Give a file this content by one rename, unless it has it."""
    file = target / name
    with suppress(OSError):
        if not file.is_symlink() and file.read_bytes() == content:
            return
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = target / FRESH
    with fresh.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(file)


def _delete(target: Path, name: str) -> None:
    """Delete a file that an earlier export wrote, and the directories that it leaves empty."""
    file = target / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        return
    with suppress(OSError):
        file.unlink()
        for folder in file.parents:
            if folder == target:
                break
            folder.rmdir()
