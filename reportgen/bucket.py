"""An object store, as little of it as publishing needs: read, write, write if unchanged, copy, list, delete.

obstore speaks to S3 and what speaks its protocol, to Google Cloud Storage and to Azure. It is imported where
a bucket is opened, and nowhere else. Where the store is and who we are, it learns from the environment, by
the names that the providers' own tools know. It repeats requests that fail for a passing reason, with
growing pauses.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from reportgen.diagnosis import SECRET_WORD
from reportgen.errors import BucketUnavailable, ConfigError, OutputBusy, PublishError, scrub
from reportgen.values import BUCKETS

CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
REQUEST_S = 60
"""The longest that one try of a request may take."""

RETRY_S = 30
"""For how long after its first try a request is tried again."""

RETRIES = 8
SHORTEST_SECRET = 8
"""What is shorter is no credential of a cloud, but a number or a ``true``."""

TRIAL = ".reportgen-check"

Version = Mapping[str, str]
"""How a store tells one state of an object from the next: an entity tag, in Google's also a generation."""


@dataclass(frozen=True)
class Stored:
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

        with _border(self.url):
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

        with _border(self.url):
            # In one request: parts would give it a tag that is no checksum, and leave litter when we die.
            done = obstore.put(self._store, key, body, attributes=dict(headers), use_multipart=False)
            return _tag(done["e_tag"])

    def swap(self, key: str, body: bytes, headers: Mapping[str, str], seen: Version | None) -> Version:
        """Write an object if it is still as it was ``seen``, or absent where it was; return its new version.

        Where the answer to a write that took place was lost, this finds out: no two bodies may be alike.

        Raises:
            OutputBusy: somebody else has written it meanwhile; theirs stays.

        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = dict(seen) if seen else "create"
        try:
            with _border(self.url):
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

    def listed(self, folder: str) -> dict[str, Stored]:
        """Return all objects below a folder, by key."""
        import obstore

        with _border(self.url):
            found = obstore.list(self._store, folder).collect()
        return _by_key(found)

    def folder(self, name: str) -> dict[str, Stored]:
        """Return the objects in a folder itself (``""`` is the prefix), by key, not those further down."""
        import obstore

        with _border(self.url):
            found = obstore.list_with_delimiter(self._store, name or None)
        return _by_key(found["objects"])

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are gone already are no error."""
        import obstore

        if gone := list(keys):
            with _border(self.url), suppress(FileNotFoundError):
                obstore.delete(self._store, gone)


def open_bucket(url: str) -> Bucket:
    """Return the bucket of a checked address.

    Raises:
        ConfigError: an endpoint in the environment is no address.
        PublishError: what else the environment says of it cannot work.

    """
    with _border(url):
        from obstore.store import from_url

        store = from_url(
            url,
            # gzip as it is stored: Google would unpack it on the way.
            client_options={
                "timeout": timedelta(seconds=REQUEST_S),
                "allow_http": _without_tls(os.environ),
                "default_headers": {"accept-encoding": "gzip"},
            },
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
        )
    return Bucket(url, store)


def trial(bucket: Bucket) -> Iterator[str]:
    """Write a small object, under conditions that hold and do not, and delete it; yield what went wrong.

    Raises:
        PublishError: it cannot be written or deleted.

    """
    key, headers = f"{TRIAL}-{uuid4().hex[:8]}", {"Content-Type": "text/plain"}
    try:
        first = bucket.swap(key, b"1", headers, None)
        second = bucket.swap(key, b"2", headers, first)
        for stale in (None, first):
            try:
                bucket.swap(key, b"3", headers, stale)
            except OutputBusy:
                continue
            yield "it takes no notice of If-Match or If-None-Match, so that two machines could mix reports"
            break
        del second
    finally:
        bucket.delete([key])


def cloud_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the credentials of object stores that an environment holds."""
    return tuple(
        value
        for name, value in environ.items()
        if len(value) >= SHORTEST_SECRET and name.startswith(CLOUDS) and SECRET_WORD.search(name)
    )


def _without_tls(environ: Mapping[str, str]) -> bool:
    """Tell whether an endpoint was named without TLS: one on this machine, or in a network of one's own.

    Raises:
        ConfigError: one is no address.

    """
    named = {name: value for name, value in environ.items() if name.startswith(CLOUDS) and "ENDPOINT" in name}
    for name, value in named.items():
        if value and not value.startswith(("http://", "https://")):
            raise ConfigError(f"{name}: write the whole address, such as https://fly.storage.tigris.dev")
    emulated = environ.get("AZURE_STORAGE_USE_EMULATOR", "").lower() == "true"
    return emulated or any(value.startswith("http://") for value in named.values())


def _by_key(items: Iterable[Mapping[str, Any]]) -> dict[str, Stored]:
    """Return listed objects by key, without those that stand for a folder."""
    return {item["path"]: Stored(item["size"], _tag(item["e_tag"])) for item in items if item["path"]}


def _tag(text: str | None) -> str:
    return (text or "").removeprefix("W/").strip('"')


def _version(told: Mapping[str, Any]) -> Version:
    return {name: told[name] for name in ("e_tag", "version") if told.get(name) is not None}


@contextmanager
def _border(url: str) -> Iterator[None]:
    """Turn obstore's errors into ours."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as exc:
        raise _ours(url, str(exc)) from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # of Rust: no Exception, and it has no other name
            raise
        raise _ours(url, f"obstore failed: {exc}") from exc


ADVICE = {
    r"/latest/api/token|/computeMetadata/|/metadata/identity/": "There are no credentials: set {names}",
    r"NoSuchBucket|status code: 404": "There is no such bucket: make it, or mend output.bucket",
    r"AuthorizationHeaderMalformed|PermanentRedirect": "The bucket is in another region: set AWS_REGION",
    r"RequestTimeTooSkewed": "The clock of this machine is wrong: set it",
    r"status code: 501": "The store lacks what publishing needs (docs/object-storage.md)",
    r": Missing \w+|must be specified": "Set what it needs in the environment: {names}",
    r"status code: 401": "Check the credentials in the environment: {names}",
    r"status code: 403": "Check the credentials in the environment and their rights (docs/object-storage.md)",
}
"""What to do, by what obstore or the store says: the first that fits.

Who has no credentials is asked for those of the machine, by an address that few machines have.
"""

PASSING = re.compile(r"status code: (5\d\d|408|429)|HTTP error")
"""What may be gone when the same is tried again later."""


def _ours(url: str, told: str) -> PublishError:
    """Return our error for what obstore told: what failed, on what, and what to do."""
    words = f"{url}: {scrub(_in_short(told), cloud_secrets(os.environ))}"
    advice = next((way for sign, way in ADVICE.items() if re.search(sign, told)), "")
    advice = advice.format(names=BUCKETS[url.partition(":")[0]])
    if not advice and PASSING.search(told):
        return BucketUnavailable(f"{words}. It is tried again; see the provider's status if it goes on")
    return PublishError(f"{words}. {advice or 'See docs/object-storage.md'}")


def _in_short(told: str) -> str:
    """Return the one sentence in obstore's many, without queries, which may hold signatures."""
    first = told.partition("\n")[0].partition("<?xml")[0]
    request = re.search(r"Error performing ([A-Z]+ \S+) in .*? - (.*)", first)
    said = f"{request[1]}: {request[2]}" if request else first
    said = said.replace("Server returned non-2xx status code: ", "")
    code = re.search(r"<Code>([^<]*)</Code>\s*<Message>([^<]*)</Message>", told)
    said = re.sub(r"\?[^\s:]*", "", said).strip(" .:")
    return f"{said}: {code[1]}: {code[2].rstrip('. ')}" if code else said
