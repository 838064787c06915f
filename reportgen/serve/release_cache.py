"""A release in memory: every address with its ready response. Knows HTTP's headers, not its server.

A release is read once, when it becomes current; a request that began on one is answered from that one,
whatever becomes current meanwhile.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape

from reportgen.core.compression import SUFFIXES
from reportgen.core.release_files import is_asset, is_page
from reportgen.publish.headers import cache_control, media_type
from reportgen.publish.release import MANIFEST, Release, read_published
from reportgen.serve.messages import encode_headers

STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'"
"""The policy of whatever is no page: a drawing or a data file opened by itself runs nothing."""

SECURITY = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-robots-tag": "noindex",
}
POLICY = re.compile(rb'http-equiv="Content-Security-Policy" content="([^"]*)"')


@dataclass(frozen=True)
class Variant:
    """One coding of a resource: its bytes, its entity tag, and all header lines of a 200 and of a 304."""

    body: bytes
    etag: str
    headers: bytes
    not_modified: bytes


@dataclass(frozen=True)
class Resource:
    """What stands at one address, by content coding; ``identity`` is always there."""

    variants: Mapping[str, Variant]


@dataclass(frozen=True)
class ReleaseCache:
    """All resources of one release by path; ``redirects`` adds missing final slashes."""

    id: str
    resources: Mapping[str, Resource]
    redirects: Mapping[str, str] = field(default_factory=dict)
    not_found: Resource | None = None
    size_bytes: int = 0


def load_release(release: Release, pool: dict[str, bytes] | None = None) -> ReleaseCache:
    """Read a release whole. Assets, which many have in common, are kept once in a ``pool``, by their hash.

    Raises:
        OSError: a file of its manifest cannot be read.
        ValueError: a file is not what the manifest says.

    """
    files = {name: _read(release, name, pool) for name in release.manifest["files"]}
    files[MANIFEST] = (release.path / MANIFEST).read_bytes()
    packed = {name for name in files if name.endswith(tuple(SUFFIXES.values())) and name[:-3] in files}
    # A compressed form is a file of the release as well, for whoever mirrors it.
    resources = {
        f"/{name}": _resource(name, files if name not in packed else {name: files[name]}) for name in files
    }
    redirects = {}
    for address in [address for address in resources if address.endswith("/index.html")]:
        folder = address.removesuffix("index.html")
        resources[folder] = resources[address]
        if folder != "/":
            redirects[folder.rstrip("/")] = folder
    own = sum(len(content) for name, content in files.items() if pool is None or not is_asset(name))
    return ReleaseCache(release.id, resources, redirects, resources.get("/404.html"), own)


def _read(release: Release, name: str, pool: dict[str, bytes] | None) -> bytes:
    """Return the content of a file: the object in the ``pool`` if this is an asset that is already there."""
    content = read_published(release, name)
    if pool is None or not is_asset(name):
        return content
    return pool.setdefault(release.manifest["files"][name]["sha256"], content)


def text_page(title: str, words: str, *, refresh_s: int | None = None) -> bytes:
    """Return a page for when there is no release to take one from. ``words`` are ours, not a stranger's."""
    again = f'<meta http-equiv="refresh" content="{refresh_s}">' if refresh_s else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">{again}'
        f"<title>{title}</title></head><body><main><h1>{title}</h1><p>{words}</p></main></body></html>\n"
    ).encode()


def _resource(name: str, files: Mapping[str, bytes]) -> Resource:
    body = files[name]
    packed = {coding: files[name + end] for coding, end in SUFFIXES.items() if name + end in files}
    common = dict(_headers(name, body, varies=bool(packed)))
    bodies = {"identity": body, **packed}
    return Resource({coding: _variant(coding, content, common) for coding, content in bodies.items()})


def _headers(name: str, body: bytes, *, varies: bool) -> Iterator[tuple[str, str]]:
    yield "content-type", media_type(name)
    yield "cache-control", cache_control(name, shared=False)
    if varies:
        yield "vary", "accept-encoding"
    found = POLICY.search(body) if is_page(name) else None
    policy = unescape(found[1].decode()) if found else STRICT
    yield "content-security-policy", f"{policy}; frame-ancestors 'none'"
    if is_page(name):
        yield "server-timing", "reportgen"  # tells the page's script that /status.json is here
    yield from SECURITY.items()


def _variant(coding: str, body: bytes, common: Mapping[str, str]) -> Variant:
    etag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    own = {"etag": etag} | ({"content-encoding": coding} if coding != "identity" else {})
    unchanging = {name: value for name, value in common.items() if name != "content-type"}
    return Variant(
        body,
        etag,
        encode_headers({**common, **own, "content-length": str(len(body))}),
        encode_headers({**unchanging, "etag": etag}),
    )


def best_variant(resource: Resource, accepted: str) -> Variant:
    """Return the best variant that an ``Accept-Encoding`` header allows (RFC 9110, 12.5.3)."""
    if not accepted or len(resource.variants) == 1:
        return resource.variants["identity"]
    weights = _weights(accepted)
    best, best_weight = "identity", -1.0
    for coding in (*SUFFIXES, "identity"):
        least = 0.0001 if coding == "identity" else 0.0  # identity is allowed unless it is ruled out
        weight = weights.get(coding, weights.get("*", least))
        if coding in resource.variants and weight > max(best_weight, 0.0):
            best, best_weight = coding, weight
    return resource.variants[best]


def _weights(accepted: str) -> dict[str, float]:
    weights = {}
    for part in accepted.lower().split(","):
        coding, _, parameters = part.partition(";")
        name, _, value = parameters.strip().partition("=")
        try:
            weights[coding.strip()] = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights


def etag_matches(etag: str, condition: str) -> bool:
    """Tell whether an ``If-None-Match`` header names this tag (weak comparison, RFC 9110, 13.1.2)."""
    if condition.strip() == "*":
        return True
    return etag in (part.strip().removeprefix("W/") for part in condition.split(","))


def encode_json(document: object) -> bytes:
    """Return a document as a response's bytes."""
    return (json.dumps(document, ensure_ascii=False) + "\n").encode()
