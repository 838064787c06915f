"""An object store, as little of it as publishing needs: read, write, write if unchanged, copy, list, delete.

obstore speaks to S3 and what speaks its protocol, to Google Cloud Storage and to Azure. It is imported where
a bucket is opened, and nowhere else. Where the store is and who we are, it learns from the environment, by
the names that the providers' own tools know. It repeats requests that fail for a passing reason, with
growing pauses.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from reportgen.core.errors import ConfigError, OutputBusy, PublishError
from reportgen.publish.bucket.errors import translate_errors

REQUEST_S = 60
"""The longest that one try of a request may take."""

RETRY_S = 30
"""For how long after its first try a request is tried again."""

RETRIES = 8
CHECK_KEY = ".reportgen-check"

ADDRESSES = (
    "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT", "AZURE_ENDPOINT", "AZURE_IDENTITY_ENDPOINT", "AZURE_MSI_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL",
)  # fmt: skip
"""The variables that hold an address, as obstore reads them."""

Version = Mapping[str, str]
"""How a store tells one state of an object from the next: an entity tag, in Google's also a generation."""


@dataclass(frozen=True)
class ListedObject:
    """An object as the store lists it: its size in bytes, and its entity tag without quotes."""

    size_bytes: int
    tag: str


@dataclass(frozen=True)
class Bucket:
    """An open bucket; keys are relative to the prefix of its ``url``."""

    url: str
    _store: Any = field(repr=False)

    def read(self, key: str) -> tuple[bytes, Version] | None:
        """Return an object's bytes and version, or ``None`` where there is none."""
        import obstore

        with translate_errors(self.url):
            try:
                found = obstore.get(self._store, key)
                return bytes(found.bytes()), _version(found.meta)
            except FileNotFoundError as exc:
                if "NoSuchBucket" in str(exc):
                    raise
                return None

    def write(self, key: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Write an object, whatever was there; return its tag."""
        import obstore

        with translate_errors(self.url):
            # In one request: parts would give it a tag that is no checksum, and leave litter when we die.
            done = obstore.put(self._store, key, body, attributes=dict(headers), use_multipart=False)
            return _tag(done["e_tag"])

    def write_if_unchanged(
        self, key: str, body: bytes, headers: Mapping[str, str], seen: Version | None
    ) -> Version:
        """Write an object if it is still as it was ``seen``, or absent where it was; return its new version.

        Where the answer to a write that took place was lost, this finds out: no two bodies may be alike.

        Raises:
            OutputBusy: somebody else has written it meanwhile; theirs stays.

        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = dict(seen) if seen else "create"
        try:
            with translate_errors(self.url):
                try:
                    done = obstore.put(
                        self._store, key, body, attributes=dict(headers), mode=mode, use_multipart=False
                    )
                    return _version(done)
                except (AlreadyExistsError, PreconditionError) as exc:
                    raise OutputBusy(
                        f"{self.url}: another build has published there meanwhile, and its release stays;"
                        " let only one machine publish to a bucket"
                    ) from exc
        except PublishError:
            found = None
            with suppress(PublishError):
                found = self.read(key)
            if found and found[0] == body:
                return found[1]
            raise

    def copy(self, key: str, target: str) -> bool:
        """Let the store copy an object, with its headers; tell whether it has."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            obstore.copy(self._store, key, target)
        except (BaseError, OSError):
            return False
        return True

    def list_below(self, folder: str) -> dict[str, ListedObject]:
        """Return all objects below a folder, by key."""
        import obstore

        with translate_errors(self.url):
            found = obstore.list(self._store, folder).collect()
        return _by_key(found)

    def list_folder(self, name: str) -> dict[str, ListedObject]:
        """Return the objects in a folder itself (``""`` is the prefix), by key, not those further down."""
        import obstore

        with translate_errors(self.url):
            found = obstore.list_with_delimiter(self._store, name or None)
        return _by_key(found["objects"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        import obstore

        gone = list(keys)
        with translate_errors(self.url):
            try:
                obstore.delete(self._store, gone)
            except FileNotFoundError:  # a store that deletes one after the other has ended there
                for key in gone:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._store, key)


def open_bucket(url: str) -> Bucket:
    """Return the bucket of a checked address.

    Raises:
        ConfigError: an endpoint in the environment is no address.
        PublishError: what else the environment says of it cannot work.

    """
    with translate_errors(url):
        from obstore.store import from_url

        store = from_url(
            url,
            # Without "Accept-Encoding: gzip": lists and logins would come compressed, and are not unpacked.
            client_options={
                "timeout": timedelta(seconds=REQUEST_S),
                "allow_http": _without_tls(os.environ),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
    return Bucket(url, store)


def find_ignored_conditions(bucket: Bucket) -> Iterator[str]:
    """Write a small object, under conditions that hold and do not, and delete it; yield what went wrong.

    Raises:
        PublishError: it cannot be written or deleted.

    """
    key, headers = f"{CHECK_KEY}-{uuid4().hex[:8]}", {"Content-Type": "text/plain"}
    try:
        first = bucket.write_if_unchanged(key, b"1", headers, None)
        bucket.write_if_unchanged(key, b"2", headers, first)
        unheeded = [
            name
            for name, seen in (("If-None-Match", None), ("If-Match", first))
            if _ignores_condition(bucket, key, seen)
        ]
    except PublishError:
        with suppress(PublishError):
            bucket.delete([key])
        raise
    bucket.delete([key])
    if unheeded:
        yield f"it takes no notice of {' and '.join(unheeded)}, so two machines could mix their reports"


def _ignores_condition(bucket: Bucket, key: str, stale: Version | None) -> bool:
    """Tell whether a store writes an object though it is not as it was seen."""
    try:
        bucket.write_if_unchanged(key, uuid4().bytes, {}, stale)
    except OutputBusy:
        return False
    return True


def _without_tls(environ: Mapping[str, str]) -> bool:
    """Tell whether an endpoint was named without TLS: one on this machine, or in a network of one's own.

    Raises:
        ConfigError: one is no address.

    """
    named = {name: environ[name] for name in ADDRESSES if environ.get(name)}
    for name, value in named.items():
        if not value.startswith(("http://", "https://")):
            raise ConfigError(f"{name}: write the whole address, such as https://fly.storage.tigris.dev")
    emulated = environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() == "true"
    return emulated or any(value.startswith("http://") for value in named.values())


def _by_key(items: Iterable[Mapping[str, Any]]) -> dict[str, ListedObject]:
    """Return listed objects by key, without those that stand for a folder."""
    return {item["path"]: ListedObject(item["size"], _tag(item["e_tag"])) for item in items if item["path"]}


def _tag(text: str | None) -> str:
    return (text or "").removeprefix("W/").strip('"')


def _version(told: Mapping[str, Any]) -> Version:
    return {name: told[name] for name in ("e_tag", "version") if told.get(name) is not None}
