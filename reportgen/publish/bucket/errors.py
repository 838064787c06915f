"""What goes wrong with a bucket, in words that say what to do: obstore's errors become ours here."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from reportgen.config.problems import SECRET_WORD
from reportgen.config.types import BUCKETS
from reportgen.core.errors import BucketUnavailable, PublishError, scrub

CLOUDS = ("AWS_", "AZURE_", "GOOGLE_")
"""How the names of the providers' variables begin."""

SHORTEST_SECRET = 8
"""What is shorter is no credential of a cloud, but a number or a ``true``."""

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


@contextmanager
def translate_errors(url: str) -> Iterator[None]:
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


def cloud_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the credentials of object stores that an environment holds."""
    return tuple(
        value
        for name, value in environ.items()
        if len(value) >= SHORTEST_SECRET and name.startswith(CLOUDS) and SECRET_WORD.search(name)
    )


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
