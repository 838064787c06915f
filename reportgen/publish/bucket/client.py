"""The requests to an object store that publishing needs: read, write, conditional write, copy, list, delete.

obstore speaks the protocols of S3, Google Cloud Storage and Azure Blob Storage. Only functions import it,
because most builds have no bucket. It reads endpoint and credentials from the environment variables of the
providers' own tools. It retries requests after temporary errors, with growing pauses.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from reportgen.core.errors import ConfigError, OutputBusy, PublishError
from reportgen.publish.bucket.errors import translate_bucket_errors

REQUEST_S = 60
"""Timeout of one attempt at a request, in seconds."""

RETRY_S = 30
"""How long after its first attempt a request is retried, in seconds."""

RETRIES = 8
"""Maximum number of retries of a request."""

CHECK_KEY = ".reportgen-check"

ADDRESSES = (
    "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS",
    "AWS_METADATA_ENDPOINT", "AZURE_ENDPOINT", "AZURE_IDENTITY_ENDPOINT", "AZURE_MSI_ENDPOINT",
    "AZURE_STORAGE_ENDPOINT", "GOOGLE_BASE_URL",
)  # fmt: skip
"""The environment variables from which obstore reads the address of an endpoint."""

Version = Mapping[str, str]
"""Identifies one state of an object: its entity tag, and in Google's store also its generation."""


@dataclass(frozen=True)
class ListedObject:
    """An object in the store's list: its size in bytes, and its entity tag without quotes."""

    size_bytes: int
    tag: str


@dataclass(frozen=True)
class Bucket:
    """An open bucket; keys are relative to the prefix of its ``url``."""

    url: str
    _store: Any = field(repr=False)

    def read(self, key: str) -> tuple[bytes, Version] | None:
        """Return an object's bytes and version, or ``None`` if there is no such object."""
        import obstore

        with translate_bucket_errors(self.url):
            try:
                found = obstore.get(self._store, key)
                return bytes(found.bytes()), _version(found.meta)
            except FileNotFoundError as exc:
                if "NoSuchBucket" in str(exc):
                    raise
                return None

    def write(self, key: str, body: bytes, headers: Mapping[str, str]) -> str:
        """Write an object, replacing any other; return its entity tag."""
        import obstore

        with translate_bucket_errors(self.url):
            # In one request: the tag of parts is not a checksum, and those of a killed build stay.
            done = obstore.put(self._store, key, body, attributes=dict(headers), use_multipart=False)
            return _tag(done["e_tag"])

    def write_if_unchanged(
        self, key: str, body: bytes, headers: Mapping[str, str], seen: Version | None
    ) -> Version:
        """Write an object if its version is still ``seen``, or if it is still absent; return its new version.

        If the response to a successful write is lost, the object is read and compared with ``body``. So
        no two calls may have the same body.

        Raises:
            OutputBusy: another process has written it since; that version stays.

        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = dict(seen) if seen else "create"
        try:
            with translate_bucket_errors(self.url):
                try:
                    done = obstore.put(
                        self._store, key, body, attributes=dict(headers), mode=mode, use_multipart=False
                    )
                    return _version(done)
                except (AlreadyExistsError, PreconditionError) as exc:
                    raise OutputBusy(
                        f"{self.url}: another build has published there meanwhile, and its release stays."
                        " Let only one machine publish to a bucket"
                    ) from exc
        except PublishError:
            found = None
            with suppress(PublishError):
                found = self.read(key)
            if found and found[0] == body:
                return found[1]
            raise

    def copy(self, key: str, target: str) -> bool:
        """Copy an object within the store, with its headers; return whether that succeeded."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            obstore.copy(self._store, key, target)
        except (BaseError, OSError):
            return False
        return True

    def list_below(self, folder: str) -> dict[str, ListedObject]:
        """Return all objects below a folder and its subfolders, by key."""
        import obstore

        with translate_bucket_errors(self.url):
            found = obstore.list(self._store, folder).collect()
        return _by_key(found)

    def list_folder(self, name: str) -> dict[str, ListedObject]:
        """Return the objects directly in a folder (``""`` is the prefix), by key."""
        import obstore

        with translate_bucket_errors(self.url):
            found = obstore.list_with_delimiter(self._store, name or None)
        return _by_key(found["objects"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. It is not an error if some do not exist."""
        import obstore

        gone = list(keys)
        with translate_bucket_errors(self.url):
            try:
                obstore.delete(self._store, gone)
            except FileNotFoundError:  # a store that deletes one by one has stopped at this object
                for key in gone:
                    with suppress(FileNotFoundError):
                        obstore.delete(self._store, key)


def open_bucket(url: str) -> Bucket:
    """Return the bucket of an address that the settings have checked.

    Raises:
        ConfigError: an endpoint in the environment is not a valid address.
        PublishError: other environment variables for the store are missing or wrong.

    """
    with translate_bucket_errors(url):
        from obstore.store import from_url

        store = from_url(
            url,
            # No "Accept-Encoding: gzip" here: obstore does not unpack lists and responses to logins.
            client_options={
                "timeout": timedelta(seconds=REQUEST_S),
                "allow_http": _allows_http(os.environ),
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
    return Bucket(url, store)


def find_ignored_conditions(bucket: Bucket) -> Iterator[str]:
    """Yield a message if the store ignores the conditions of conditional writes.

    Writes a small object several times, and deletes it.

    Raises:
        PublishError: the object cannot be written or deleted.

    """
    key, headers = f"{CHECK_KEY}-{uuid4().hex[:8]}", {"Content-Type": "text/plain"}
    try:
        first = bucket.write_if_unchanged(key, b"1", headers, None)
        bucket.write_if_unchanged(key, b"2", headers, first)
        ignored = [
            name
            for name, seen in (("If-None-Match", None), ("If-Match", first))
            if _ignores_condition(bucket, key, seen)
        ]
    except PublishError:
        with suppress(PublishError):
            bucket.delete([key])
        raise
    bucket.delete([key])
    if ignored:
        yield f"it ignores {' and '.join(ignored)}, so two machines could mix their reports"


def _ignores_condition(bucket: Bucket, key: str, stale: Version | None) -> bool:
    """Return whether the store writes an object although its version is not ``stale``."""
    try:
        bucket.write_if_unchanged(key, uuid4().bytes, {}, stale)
    except OutputBusy:
        return False
    return True


def _allows_http(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names an endpoint without TLS, such as one in a private network.

    Raises:
        ConfigError: an endpoint is not a valid address.

    """
    named = {name: environ[name] for name in ADDRESSES if environ.get(name)}
    for name, value in named.items():
        if not value.startswith(("http://", "https://")):
            raise ConfigError(f"{name}: write the whole address, such as https://fly.storage.tigris.dev")
    emulated = environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() == "true"
    return emulated or any(value.startswith("http://") for value in named.values())


def _by_key(items: Iterable[Mapping[str, Any]]) -> dict[str, ListedObject]:
    """Return listed objects by key, without those that represent a folder."""
    return {item["path"]: ListedObject(item["size"], _tag(item["e_tag"])) for item in items if item["path"]}


def _tag(text: str | None) -> str:
    return (text or "").removeprefix("W/").strip('"')


def _version(response: Mapping[str, Any]) -> Version:
    return {name: response[name] for name in ("e_tag", "version") if response.get(name) is not None}
