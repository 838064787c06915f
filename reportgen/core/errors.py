"""Every error that reportgen raises on purpose.

::

    ReportgenError            exit 1
    ├── ConfigError           exit 2   settings or options that cannot work; a retry will not help
    ├── SourceError           exit 1   the data cannot be read as configured
    │   └── SourceUnavailable          … right now: down, busy, slow; worth a retry
    │       └── SourceEmptied          … has nothing where the last release had visits
    ├── RenderError           exit 1   a chart or a page could not be drawn
    │   └── RenderKilled               … because the process that does was ended; worth a retry
    ├── ProofError            exit 1   the finished release is wrong in itself, and was not published
    ├── ClusterError          exit 1   the cluster that builds many sites cannot be reached; worth a retry
    └── PublishError          exit 1   the release could not be written; the last one is untouched
        ├── OutputBusy        exit 3   another build holds the output, or was first in the bucket
        └── BucketUnavailable exit 1   … in the bucket, right now; worth a retry

A message says what failed, on what, and what to do. It never holds a password: foreign messages
pass through :func:`scrub` at the border where they become ours.
"""

import re
from collections.abc import Iterable
from typing import ClassVar
from urllib.parse import quote, quote_plus


class ReportgenError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False
    """Whether the same build may work soon."""


class ConfigError(ReportgenError):
    """The configuration or an option cannot work. Holds all problems found, one a line."""

    exit_code: ClassVar[int] = 2


class SourceError(ReportgenError):
    """The source cannot be read as configured."""


class SourceUnavailable(SourceError):  # noqa: N818 - the name says the state, and is part of the interface
    """The source cannot be read right now; the same build may work later."""

    retry: ClassVar[bool] = True


class SourceEmptied(SourceUnavailable):
    """The source has no visits where the last release had some; rows that come back end it."""


class RenderError(ReportgenError):
    """A chart or a page could not be drawn."""


class RenderKilled(RenderError):  # noqa: N818 - as above
    """The process that draws was ended from outside, as the kernel does where memory runs out."""

    retry: ClassVar[bool] = True


class ProofError(ReportgenError):
    """The finished release is not what it must be. Holds the faults found, one a line."""


class ClusterError(ReportgenError):
    """The cluster that builds sites cannot be reached."""

    retry: ClassVar[bool] = True


class PublishError(ReportgenError):
    """The release could not be written. What was published before stays published."""


class OutputBusy(PublishError):  # noqa: N818 - as above
    """Another build holds the output directory, or was first in the bucket."""

    exit_code: ClassVar[int] = 3


class BucketUnavailable(PublishError):  # noqa: N818 - as above
    """The bucket does not answer right now; what it holds stays, and the next build sends what it lacks."""

    retry: ClassVar[bool] = True


def mask_logins(text: str) -> str:
    """Return ``text`` with the user and password of every URL in it replaced by ``***``.

    The login ``user@`` stays: it holds no password, and the examples in our messages have it.
    """
    return re.sub(r"://(?!user@)[^\s/@]*@", "://***@", text)


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` as it may be shown: without ``secrets``, and without the login of any URL."""
    return mask_logins(scrub(text, secrets))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return ``text`` with every secret, plain or percent-encoded, replaced by ``***``."""
    forms = set()
    for secret in filter(None, secrets):
        stored = secret.encode("utf-8", "surrogateescape")  # an environment may hold any bytes
        forms |= {secret, quote(stored, safe=""), quote(stored), quote_plus(stored)}
    for form in sorted(forms, key=len, reverse=True):  # one may be a part of another
        text = text.replace(form, "***")
    return text
