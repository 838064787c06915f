"""A release in memory: the response of each path, ready to be sent.

A release is read whole when it becomes current. Responses never mix the files of two releases.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import NamedTuple
from weakref import WeakValueDictionary

from reportgen.core.release_files import SUFFIXES, is_asset, is_page
from reportgen.publish.headers import cache_control, media_type
from reportgen.publish.release import MANIFEST, Release, read_published

STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'"
"""The content security policy of charts and data files, which run nothing when they are opened."""

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex",
}
POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')


class Variant(NamedTuple):
    """One content coding of a resource: its bytes, and the headers of its response."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Resource:
    """The variants of one file by content coding; ``identity`` is always one of them."""

    variants: Mapping[str, Variant]


@dataclass(frozen=True)
class ReleaseCache:
    """All resources of one release, by path.

    ``size_bytes`` is the size of the files, without assets that releases share.
    """

    id: str
    resources: Mapping[str, Resource]
    size_bytes: int = 0


Assets = WeakValueDictionary[tuple[str | bytes, ...], Resource]
"""The assets that loaded releases share, by name and content, until the last of these releases is dropped."""


def load_release(release: Release, assets: Assets | None = None) -> ReleaseCache:
    """Read a release whole, and share its ``assets`` with other releases.

    Raises:
        OSError: a file of its manifest cannot be read.
        ValueError: a file differs from its checksum in the manifest.

    """
    files = {name: read_published(release, name) for name in release.manifest["files"]}
    files[MANIFEST] = (release.path / MANIFEST).read_bytes()
    compressed = {name for name in files if name.endswith(tuple(SUFFIXES.values())) and name[:-3] in files}
    resources, size_bytes = {}, 0
    for name, content in files.items():
        # A compressed file is also served by its own name, to programs that copy the release.
        resource = _resource(name, files if name not in compressed else {name: content})
        if assets is not None and is_asset(name):
            key = (name, *(variant.body for variant in resource.variants.values()))
            resource = assets.setdefault(key, resource)
        else:
            size_bytes += len(content)
        resources[f"/{name}"] = resource
    for path in [path for path in resources if path.endswith("/index.html")]:
        resources[path.removesuffix("index.html")] = resources[path]
    return ReleaseCache(release.id, resources, size_bytes)


def _resource(name: str, files: Mapping[str, bytes]) -> Resource:
    bodies = {coding: files[name + end] for coding, end in SUFFIXES.items() if name + end in files}
    found = POLICY.search(files[name]) if is_page(name) else None
    policy = unescape(found[1].decode()) if found else STRICT
    common = {
        "content-type": media_type(name),
        "cache-control": cache_control(name, shared=False),
        "content-security-policy": f"{policy}; frame-ancestors 'none'",
        **SECURITY,
    }
    if bodies:
        common["vary"] = "accept-encoding"
    if is_page(name):
        common["server-timing"] = "reportgen"  # shows the page's script that /status.json exists
    variants = {}
    for coding, body in {"identity": files[name], **bodies}.items():
        own = {"etag": f'"{hashlib.sha256(body).hexdigest()[:20]}"', "content-length": str(len(body))}
        if coding != "identity":
            own["content-encoding"] = coding
        variants[coding] = Variant(body, common | own)
    return Resource(variants)


def best_variant(resource: Resource, accepted: str) -> Variant:
    """Return the smallest variant that an ``Accept-Encoding`` header allows (RFC 9110, 12.5.3).

    All weights above 0 count the same, because browsers send none.
    """
    listed = [part.partition(";q=") for part in "".join(accepted.lower().split()).split(",")]
    allowed = {coding: not weight or bool(weight.strip("0.")) for coding, _, weight in listed}
    for coding in SUFFIXES:
        if coding in resource.variants and allowed.get(coding, allowed.get("*")):
            return resource.variants[coding]
    return resource.variants["identity"]


def etag_matches(etag: str, condition: str) -> bool:
    """Return whether an ``If-None-Match`` header names this tag (weak comparison, RFC 9110, 13.1.2)."""
    if condition.strip() == "*":
        return True
    return etag in (part.strip().removeprefix("W/") for part in condition.split(","))
