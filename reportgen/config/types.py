"""What the value of a setting may be. Each check says what to write instead."""

import difflib
import re
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints

from reportgen.core.cron import due_after
from reportgen.core.windows import window_days

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

BUCKETS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
"""The schemes of buckets, and where the credentials of each stand."""

BUCKET_FORM = 'write "s3://bucket/prefix", "gs://bucket/prefix" or "az://container/prefix"'
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
"""What begins like this leads to another place."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # KeyError: not found; the others: what is no name at all
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        hint = f'did you mean "{near[0]}"?' if near else 'write a name such as "UTC" or "Europe/Berlin"'
        raise ValueError(f"unknown zone; {hint}") from None
    return name


def _window(name: str) -> str:
    window_days(name)
    return name


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a window is named twice")
    return names


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _schedule(text: str) -> str:
    try:
        due_after(text, ZoneInfo("UTC"), datetime(2000, 1, 1, tzinfo=UTC))
    except ValueError as exc:
        forms = 'a cron expression of five fields ("*/15 * * * *") or an interval ("15m", "6h")'
        raise ValueError(f"write {forms}; {exc}") from None
    return text


def _locale(text: str) -> str:
    from babel import Locale, UnknownLocaleError  # only where one is set: it costs start-up time

    try:
        return str(Locale.parse(text.replace("_", "-"), sep="-")).replace("_", "-")
    except (UnknownLocaleError, ValueError):
        raise ValueError('no such locale; write one such as "en", "en-GB", "de" or "pt-BR"') from None


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError('write the whole address, such as "https://example.com"')
    return text.rstrip("/")


def _base_path(text: str) -> str:
    if not re.fullmatch(r"/([\w.~-]+/)*", text, re.ASCII):
        raise ValueError('write the path at which the report is served, such as "/" or "/stats/"')
    return text


def _variable(name: str) -> str:
    if not name.isidentifier():
        raise ValueError("write the name of an environment variable, such as BLOG_DATABASE_URL")
    return name


def markdown() -> "MarkdownIt":
    """Return what reads an intro: Markdown (CommonMark) without raw HTML, images and headings.

    An image would call another host, and a heading would break the order of the page's own.
    """
    from markdown_it import MarkdownIt  # only where there is one: it costs start-up time

    return MarkdownIt("commonmark", {"html": False}).disable(["image", "heading", "lheading"])


def _intro(text: str) -> str:
    """Refuse links that each page would take to another place, as they stand in several directories."""
    if "[" not in text:  # there is no link, or one between < and >, which is whole
        return text
    inside = (child for token in markdown().parse(text) for child in token.children or ())
    for href in (str(child.attrs["href"]) for child in inside if child.type == "link_open"):
        if href[:1] not in {"", "/", "#", "?"} and not SCHEME.match(href):
            raise ValueError(
                f'the link "{href[:80]}" leads elsewhere from each page: write a whole address, such as'
                ' "https://example.com/about", or one from the root, such as "/about"'
            )
    return text


def _bucket(text: str) -> str:
    try:
        parts = urlsplit(text)
        login, host, rest = parts.username is not None, parts.hostname, parts.query + parts.fragment
    except ValueError:
        raise ValueError(BUCKET_FORM) from None
    if parts.scheme not in BUCKETS or not host or host != parts.netloc.rpartition("@")[2]:
        raise ValueError(BUCKET_FORM)
    if login or "@" in text or rest or "?" in text or "#" in text:
        raise ValueError(
            "must hold no login and no query: leave bucket and prefix, and put the credentials into the"
            f" environment ({BUCKETS[parts.scheme]})"
        )
    folders = parts.path.strip("/").split("/")
    if any(name in {".", ".."} for name in folders) or ("" in folders and folders != [""]) or "%" in text:
        raise ValueError(f"{BUCKET_FORM}, its folders without . and .., // and %")
    if find_spec("obstore") is None:
        raise ValueError("needs the extra s3, which is not installed: see docs/install.md")
    return parts.scheme + text[len(parts.scheme) :].rstrip("/")


def _existing(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError("there is no such directory")
    return value


def _directory(value: object) -> Path:
    if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
        raise ValueError("write the path of a directory")
    return Path(value)


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
ZoneName = Annotated[str, AfterValidator(_zone)]
WindowName = Annotated[str, AfterValidator(_window)]
WindowNames = Annotated[
    tuple[WindowName, ...],
    BeforeValidator(_comma_list),
    AfterValidator(_each_once),
    Field(min_length=1, max_length=12),
]
Schedule = Annotated[str, AfterValidator(_schedule)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
BasePath = Annotated[str, AfterValidator(_base_path)]
VariableName = Annotated[str, AfterValidator(_variable)]
LocaleName = Annotated[str, AfterValidator(_locale)]
Intro = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000), AfterValidator(_intro)]
BucketAddress = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_bucket)]
Directory = Annotated[Path, PlainValidator(_directory)]
ExistingDirectory = Annotated[Directory, AfterValidator(_existing)]
