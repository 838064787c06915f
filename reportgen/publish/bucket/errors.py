"""obstore's errors as :class:`PublishError`, each with what to do about it."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from reportgen.config.problems import SECRET_WORD
from reportgen.config.types import BUCKETS
from reportgen.core.errors import BucketUnavailable, PublishError, scrub

CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
"""How the names of the providers' environment variables begin."""

MIN_SECRET_LENGTH = 8
"""Minimum length of a credential, in characters: shorter values are numbers or words such as ``true``."""

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

Without credentials in the environment, obstore asks the cloud's metadata service, which most machines do not
have: an error there means that credentials are missing.
"""

TEMPORARY = re.compile(r"status code: (5\d\d|408|429)|HTTP error")
"""Errors that a later attempt may not meet."""


@contextmanager
def translate_bucket_errors(url: str) -> Iterator[None]:
    """Raise obstore's errors in this block as :class:`PublishError`, which names the bucket's ``url``."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError, ValueError) as exc:
        raise _publish_error(url, str(exc)) from exc
    except BaseException as exc:
        if type(exc).__name__ != "PanicException":  # Rust's panic: not an Exception, and has no public name
            raise
        raise _publish_error(url, f"obstore failed: {exc}") from exc


def cloud_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the credentials of object stores in an environment."""
    return tuple(
        value
        for name, value in environ.items()
        if len(value) >= MIN_SECRET_LENGTH and name.startswith(CLOUDS) and SECRET_WORD.search(name)
    )


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
