"""The requests to an object store that publishing needs, and obstore's errors as :class:`PublishError`.

obstore supports S3, Google Cloud Storage and Azure Blob Storage. It reads endpoint and
credentials from the environment variables of the providers' own tools. It retries requests after temporary
errors, with growing pauses.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import from_url

from reportgen.config.problems import cloud_secrets
from reportgen.config.types import BUCKETS
from reportgen.core.errors import BucketUnavailable, ConfigError, OutputBusy, PublishError, scrub

RETRIES = 8
"""Maximum number of retries of a request."""

MAX_REQUESTS = 8
"""Maximum number of requests at the same time."""

ENDPOINTS = (
    "AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT",
    "GOOGLE_BASE_URL",
)  # fmt: skip
"""The environment variables that name the address of a store."""

ADVICE = {
    r"/latest/api/token|/computeMetadata/|/metadata/identity/": "There are no credentials: set {names}",
    r"NoSuchBucket|status code: 404": "There is no such bucket: create it, or correct output.bucket",
    r"AuthorizationHeaderMalformed|PermanentRedirect": "The bucket is in another region: set AWS_REGION",
    r"RequestTimeTooSkewed": "The clock of this machine is wrong: set it",
    r"status code: 501": "The store lacks what publishing needs (docs/object-storage.md)",
    r": Missing \w+|must be specified": "Set what it needs in the environment: {names}",
    r"status code: 401": "Check the credentials in the environment: {names}",
    r"status code: 403": "Check the credentials in the environment and their rights (docs/object-storage.md)",
}
"""What to do, by a pattern in the message of obstore or of the store. The first that matches counts.

Without credentials in the environment, obstore requests them from the cloud's metadata service, which most
machines do not have: an error there means that credentials are missing.
"""

TEMPORARY = re.compile(r"status code: (5\d\d|408|429)|HTTP error")
"""Errors that a later attempt may not meet."""

Version = Mapping[str, str]
"""Identifies one state of an object: its entity tag, and in Google's store also its generation."""

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True)
class Bucket:
    """An open bucket; keys are relative to the prefix of its ``url``."""

    url: str
    _store: Any = field(repr=False)

    def read(self, key: str) -> tuple[bytes, Version] | None:
        """Return an object's bytes and version, or ``None`` if there is no such object."""
        with translate_bucket_errors(self.url):
            try:
                found = obstore.get(self._store, key)
                version = {"e_tag": found.meta["e_tag"], "version": found.meta["version"]}
                return bytes(found.bytes()), {name: text for name, text in version.items() if text}
            except FileNotFoundError as exc:
                if "NoSuchBucket" in str(exc):
                    raise
                return None

    def write(self, key: str, body: bytes, headers: Mapping[str, str], mode: Any = "overwrite") -> None:
        """Write an object, replacing any other. ``mode`` is obstore's."""
        with translate_bucket_errors(self.url):
            # In one request: the tag of parts is not a checksum, and those of a killed build stay.
            obstore.put(self._store, key, body, attributes=dict(headers), mode=mode, use_multipart=False)

    def write_if_unchanged(
        self, key: str, body: bytes, headers: Mapping[str, str], seen: Version | None
    ) -> None:
        """Write an object if its version is still ``seen``, or if it is still absent.

        If the response to a successful write is lost, the object is read and compared with ``body``. So
        no two machines may write the same body.

        Raises:
            OutputBusy: another process has written it since; that version stays.

        """
        try:
            self.write(key, body, headers, mode=dict(seen) if seen else "create")
        except PublishError:
            found = None
            with suppress(PublishError):
                found = self.read(key)
            if found is None or found[0] != body:
                raise

    def list_below(self, folder: str) -> dict[str, tuple[int, str]]:
        """Return the size in bytes and the entity tag of each object below a folder, by key."""
        with translate_bucket_errors(self.url):
            return _by_key(obstore.list(self._store, folder).collect())

    def list_folder(self, name: str) -> dict[str, tuple[int, str]]:
        """Return the same of the objects directly in a folder (``""`` is the prefix)."""
        with translate_bucket_errors(self.url):
            return _by_key(obstore.list_with_delimiter(self._store, name or None)["objects"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. Some stores delete one by one, and stop at an object that does not exist."""
        with translate_bucket_errors(self.url), suppress(FileNotFoundError):
            obstore.delete(self._store, list(keys))


def open_bucket(url: str) -> Bucket:
    """Return the bucket of an address that the settings have checked.

    Raises:
        ConfigError: an endpoint in the environment is not a valid address.
        PublishError: other environment variables for the store are missing or wrong.

    """
    for name in ENDPOINTS:  # at such an address, obstore fails with a stack trace
        if not os.environ.get(name, "http://").startswith(("http://", "https://")):
            raise ConfigError(f"{name}: write the whole address, such as https://fly.storage.tigris.dev")
    with translate_bucket_errors(url):
        store = from_url(
            url,
            # No "Accept-Encoding: gzip" here: obstore does not unpack lists and responses to logins.
            client_options={"timeout": timedelta(seconds=60), "allow_http": True},
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=30)},
        )
    return Bucket(url, store)


def find_ignored_conditions(bucket: Bucket) -> list[str]:
    """Return the conditions of conditional writes that the store ignores, as names of headers.

    Writes a small object several times, and deletes it.

    Raises:
        PublishError: the object cannot be written or deleted.

    """
    key, ignored = f".reportgen-check-{uuid4().hex[:8]}", []
    try:
        bucket.write(key, b"1", {})
        first = bucket.read(key)
        bucket.write(key, b"2", {})
        for name, stale in (("If-None-Match", None), ("If-Match", first and first[1])):
            with suppress(OutputBusy):
                bucket.write_if_unchanged(key, uuid4().bytes, {}, stale)
                ignored.append(name)
    finally:
        bucket.delete([key])
    return ignored


def in_parallel(work: Callable[[Input], Output], inputs: Iterable[Input]) -> list[Output]:
    """Return ``work`` of each input, in order, computed in threads. Raises the first error."""
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        return list(pool.map(work, inputs))


@contextmanager
def translate_bucket_errors(url: str) -> Iterator[None]:
    """Raise obstore's errors in this block as :class:`PublishError`, which names the bucket's ``url``."""
    try:
        yield
    except (AlreadyExistsError, PreconditionError) as exc:
        raise OutputBusy(
            f"{url}: another build has published there meanwhile. Let only one machine publish to a bucket"
        ) from exc
    except (BaseError, OSError, ValueError) as exc:
        raise _publish_error(url, str(exc)) from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # Rust's panic: not an Exception, and has no public name
            raise
        raise _publish_error(url, f"obstore failed: {exc}") from exc


def _publish_error(url: str, message: str) -> PublishError:
    """Return the error for a message of obstore: what failed, where, and what to do."""
    words = f"{url}: {scrub(_shorten(message), cloud_secrets(os.environ))}"
    advice = next((text for pattern, text in ADVICE.items() if re.search(pattern, message)), "")
    advice = advice.format(names=BUCKETS[url.partition(":")[0]])
    if not advice and TEMPORARY.search(message):
        return BucketUnavailable(
            f"{words}. Try again later; if it goes on, see the status page of the provider"
        )
    return PublishError(f"{words}. {advice or 'See docs/object-storage.md'}")


def _shorten(message: str) -> str:
    """Return request, status and code from a message, without queries, which may contain signatures."""
    first = message.partition("\n")[0].partition("<?xml")[0]
    request = re.search(r"Error performing ([A-Z]+ \S+) in .*? - (.*)", first)
    text = f"{request[1]}: {request[2]}" if request else first
    text = text.replace("Server returned non-2xx status code: ", "")
    code = re.search(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>", message)
    text = re.sub(r"\?[^\s:]*", "", text).strip(" .:")
    return f"{text}: {code[1]}: {code[2].rstrip('. ')}" if code else text


def _by_key(items: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, str]]:
    """Return size and tag of listed objects by key, without those that represent a folder."""
    return {item["path"]: (item["size"], (item["e_tag"] or "").strip('"')) for item in items if item["path"]}
