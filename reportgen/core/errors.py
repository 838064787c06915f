"""Every error that reportgen raises on purpose, with its exit code, and whether a retry may help.

A message says what failed, on what, and what to do. It never holds a password: messages of libraries pass
through :func:`scrub` where they are translated into ours.
"""

import re
from collections.abc import Iterable
from typing import ClassVar, Self
from urllib.parse import quote, quote_plus


class ReportgenError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False
    """Whether the same build may succeed soon."""


class ConfigError(ReportgenError):
    """A setting or an option cannot work. The message holds all problems, one a line."""

    exit_code: ClassVar[int] = 2


class SourceError(ReportgenError):
    """The source cannot be read as configured."""


class SourceUnavailable(SourceError):  # noqa: N818 - the name says the state, and is part of the interface
    """The source cannot be read at the moment; the same build may work later."""

    retry: ClassVar[bool] = True


class SourceEmptied(SourceUnavailable):
    """The source has no visits where the last release had some."""


class RenderError(ReportgenError):
    """A chart or a page could not be drawn."""


class RenderKilled(RenderError):  # noqa: N818 - as above
    """The child process that draws was killed, for example by the kernel when memory ran out."""

    retry: ClassVar[bool] = True


class PanelError(ReportgenError):
    """A panel cannot be shown: its file, its query, the result or its drawing is wrong.

    ``line`` is the line of the query, if that is known.
    """

    line: int | None = None


class ProofError(ReportgenError):
    """The finished release has faults. The message holds one a line."""


class TimedOut(ReportgenError):  # noqa: N818 - as above
    """The build was not finished within ``build_timeout_s``."""

    retry: ClassVar[bool] = True

    @classmethod
    def after(cls, timeout_s: float) -> Self:
        """Return the error of a build that was ended after ``timeout_s`` seconds."""
        return cls(
            f"not finished after {timeout_s:g} s, and ended. Look for what is slow, or raise build_timeout_s"
        )


class ClusterError(ReportgenError):
    """The cluster that builds sites cannot be reached."""

    retry: ClassVar[bool] = True


class PublishError(ReportgenError):
    """The release could not be written. The last release stays published."""


class OutputBusy(PublishError):  # noqa: N818 - as above
    """Another build holds the lock of the output directory, or another machine publishes into the bucket."""

    exit_code: ClassVar[int] = 3


class BucketUnavailable(PublishError):  # noqa: N818 - as above
    """The bucket does not answer at the moment. Its content stays; the next build uploads what is missing."""

    retry: ClassVar[bool] = True


def mask_logins(text: str) -> str:
    """Return ``text`` with the user and password of every URL in it replaced by ``***``.

    A login that is literally ``user@`` is not masked: the examples in our messages have it.
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
    for form in sorted(forms, key=len, reverse=True):  # the longest first: one may contain another
        text = text.replace(form, "***")
    return text
