"""Which responses are visits, and the path under which a visit is counted."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from reportgen_counter.user_agents import program_of

NOT_MODIFIED = 304
STATUSES = frozenset({200, 201, 202, 203, NOT_MODIFIED})
PREFETCH = re.compile("prefetch|preview", re.IGNORECASE)
PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml"})
ASSETS = frozenset({
    "css", "js", "mjs", "map", "wasm", "json", "webmanifest", "xml", "txt",
    "png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "bmp", "woff", "woff2", "ttf", "otf", "eot",
    "mp3", "mp4", "webm", "ogg", "m4a", "wav",
})  # fmt: skip
"""How the paths of files end that a page loads, or that only programs read."""
MAX_USER_AGENT = 500
"""Maximum number of characters of a user agent that are read: patterns take longer on long texts."""
MAX_PATH = 1000
"""Maximum number of characters of a path: PostgreSQL cannot index texts of more than 2,700 bytes."""
PATH_CHARACTERS = "/:@!$&'()*+,;=~|[]"
"""Characters that browsers send in a path as they are, beside letters, digits, ``-``, ``.`` and ``_``."""


class Response(NamedTuple):
    """A response, with the headers of its request; a header that is missing is ``""``."""

    method: str
    path: str | bytes
    """Decoded, without the query."""
    status: int
    content_type: str
    user_agent: str
    fetch_dest: str
    """Sec-Fetch-Dest."""
    purpose: str
    """Sec-Purpose or Purpose."""


def visited_path(response: Response) -> str | None:
    """Return the path under which a response is counted, or ``None`` if it is not a visit."""
    method, path, status, content_type, user_agent, fetch_dest, purpose = response
    stored = stored_path(path)
    is_visit = (
        method == "GET"
        and status in STATUSES
        and (status == NOT_MODIFIED or content_type.partition(";")[0].strip().lower() in PAGE_TYPES)
        and stored.rpartition(".")[2].lower() not in ASSETS
        and fetch_dest in {"", "document"}
        and not PREFETCH.search(purpose)
        and program_of(user_agent[:MAX_USER_AGENT]) is None
    )
    return stored if is_visit else None


@lru_cache(1000)
def stored_path(path: str | bytes) -> str:
    """Return a decoded path as browsers send it: percent-encoded, so that any database can hold it."""
    data = path if isinstance(path, bytes) else path[:MAX_PATH].encode(errors="replace")
    return quote(data[:MAX_PATH], PATH_CHARACTERS)[:MAX_PATH]


def paths_pattern(globs: Sequence[str]) -> re.Pattern[str]:
    """Return the pattern of the stored paths that one of ``globs`` matches.

    ``*`` is any text without a slash, ``**`` any text, ``?`` a character but a slash.
    """
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = (re.split(r"(\*\*|\*|\?)", stored_glob(glob)) for glob in globs)
    patterns = ("".join(parts.get(piece) or re.escape(piece) for piece in each) for each in pieces)
    return re.compile("|".join(patterns) or "(?!)", re.DOTALL)


def stored_glob(glob: str) -> str:
    """Return a glob whose characters are encoded as those of stored paths are."""
    return quote(glob, PATH_CHARACTERS + "%?")
