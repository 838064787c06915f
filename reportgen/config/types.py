"""The types of settings. A check that fails says what is wrong and what to write.

The message of each ``ValueError`` is the rest of a sentence that begins with the setting and its value.
"""

import codecs
import difflib
import re
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, StringConstraints

from reportgen.config.problems import quoted
from reportgen.core.cron import MANUAL, due_after
from reportgen.core.path_rules import matches_all
from reportgen.core.windows import WEEKDAYS, check_window_name
from reportgen.core.words import in_sentence

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

ASSETS = (
    "css", "js", "mjs", "map", "wasm", "json", "webmanifest", "xml", "txt",
    "png", "jpg", "jpeg", "gif", "webp", "avif", "svg", "ico", "bmp", "woff", "woff2", "ttf", "otf", "eot",
    "mp3", "mp4", "webm", "ogg", "m4a", "wav",
)  # fmt: skip
"""How the paths of files end that a page loads, or that only programs read."""

BUCKETS = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
}
"""The variables that hold the credentials, by the scheme of a bucket's address."""

BUCKET_FORM = 'Write "s3://bucket/prefix", "gs://bucket/prefix" or "az://container/prefix"'
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
"""The beginning of an address that names its scheme, its host, or both."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # KeyError: not found; the others: not a possible name
        # Only close names: the zone nearest to "CEST" or "UTC+8" has other hours.
        zones = {zone.casefold(): zone for zone in available_timezones() if not re.search(r"\d", zone)}
        cities = {zone.rpartition("/")[2]: zone for zone in sorted(zones, key=len, reverse=True)}
        wanted = name.casefold().replace(" ", "_")
        near = difflib.get_close_matches(wanted, [*zones, *cities], n=1, cutoff=0.9)
        names = 'Use an IANA name such as "UTC" or "Europe/Berlin".'
        hint = f'Did you mean "{zones[cities.get(near[0], near[0])]}"?' if near else names
        raise ValueError(f"is not a known time zone. {hint}") from None
    return name


def _windows(names: tuple[str, ...]) -> tuple[str, ...]:
    wrong, forms = [], ""
    for name in names:
        try:
            check_window_name(name)
        except ValueError as exc:
            wrong.append(quoted(name))
            forms = str(exc).partition(": ")[2]
    if wrong:
        kind = "valid windows" if len(wrong) > 1 else "a valid window"
        raise ValueError(f"has {' and '.join(wrong)}, not {kind}: {forms}.")
    return names


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"has {max(names, key=names.count)} twice. Leave one of them out.")
    return names


def _comparison(kind: str) -> str:
    if kind not in {"previous", "year"}:
        raise ValueError('is not a valid comparison: write "previous", "year", or both.')
    return kind


def _weekday(name: str) -> str:
    if name.lower() not in WEEKDAYS:
        raise ValueError('is not a weekday. Write one such as "monday" or "sunday".')
    return name.lower()


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _schedule(text: str) -> str:
    if text == MANUAL:
        return text
    try:
        due_after(text, ZoneInfo("UTC"), datetime(2000, 1, 1, tzinfo=UTC))
    except ValueError as exc:
        forms = 'a cron expression of five fields ("*/15 * * * *"), an interval ("15m", "6h") or "manual"'
        raise ValueError(f"is not a valid schedule: {exc}. Write {forms}.") from None
    return text


def _locale(text: str) -> str:
    from babel import Locale, UnknownLocaleError  # imported here because it costs start-up time

    try:
        return str(Locale.parse(text.replace("_", "-"), sep="-")).replace("_", "-")
    except (UnknownLocaleError, ValueError):
        message = 'is not a known locale. Write one such as "en", "en-GB", "de" or "pt-BR".'
        raise ValueError(message) from None


def _link(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or text.split() != [text]:
        raise ValueError('is not a web address. Write the whole address, such as "https://example.com".')
    return parts.scheme + text[len(parts.scheme) :]  # in small letters


def _web_address(text: str) -> str:
    return _link(text).rstrip("/")


def _base_path(text: str) -> str:
    if not re.fullmatch(r"/([\w.~-]+/)*", text, re.ASCII):
        raise ValueError('is not a path. Write the path of the report on its host, such as "/" or "/stats/".')
    return text


def _variable(name: str) -> str:
    if not name.isidentifier():
        raise ValueError("is not the name of an environment variable. Write one such as BLOG_DATABASE_URL.")
    return name


def _header(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise ValueError('is not the name of a header. Write one such as "X-Real-IP".')
    return name


@cache
def markdown() -> "MarkdownIt":
    """Return the parser of intros: Markdown (CommonMark) without raw HTML, images and headings.

    An image would send a request to another host. A heading would disturb the order of the page's headings.
    """
    from markdown_it import MarkdownIt  # imported here because it costs start-up time

    return MarkdownIt("commonmark", {"html": False}).disable(["image", "heading", "lheading"])


def _intro(text: str) -> str:
    """Check that no link is relative: its target would differ between pages in different directories."""
    if "[" not in text:  # then a link can only stand between < and >, and has a scheme
        return text
    inside = (child for token in markdown().parse(text) for child in token.children or ())
    for href in (str(child.attrs["href"]) for child in inside if child.type == "link_open"):
        if href[:1] not in {"", "/", "#", "?"} and not SCHEME.match(href):
            raise ValueError(
                f'has the relative link "{href[:80]}". Write a whole address, such as'
                ' "https://example.com/about", or one from the root, such as "/about".'
            )
    return text


def _bucket(text: str) -> str:
    try:
        parts = urlsplit(text)
        login, host, rest = parts.username is not None, parts.hostname, parts.query + parts.fragment
    except ValueError:
        raise ValueError(f"is not the address of a bucket. {BUCKET_FORM}.") from None
    if parts.scheme not in BUCKETS or not host or host != parts.netloc.rpartition("@")[2]:
        raise ValueError(f"is not the address of a bucket. {BUCKET_FORM}.")
    if login or "@" in text or rest or "?" in text or "#" in text:
        raise ValueError(
            "must not have a login or a query. Write only bucket and prefix, and set the credentials in the"
            f" environment ({BUCKETS[parts.scheme]})."
        )
    folders = parts.path.strip("/").split("/")
    if any(name in {".", ".."} for name in folders) or ("" in folders and folders != [""]) or "%" in text:
        raise ValueError(f'is not the address of a bucket. {BUCKET_FORM}, without ".", "..", "//" and "%".')
    if find_spec("obstore") is None:
        raise ValueError("needs the extra s3, which is not installed. See docs/install.md.")
    return parts.scheme + text[len(parts.scheme) :].rstrip("/")


def _date_format(text: str) -> str:
    written = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)
    codes = set(re.findall("%(.)", text.replace("%%", "")))
    try:
        read = datetime.strptime(written.strftime(text), text).date() == written.date()  # noqa: DTZ007
    except ValueError:
        read = False
    if not read or not codes <= set("YymdBbAaHIMSfpz"):
        raise ValueError(
            "is not a format with year, month and day. Write one of the codes of strptime, such as"
            ' "%d/%m/%Y" or "%b %d, %Y %H:%M".'
        )
    return text


def _encoding(name: str) -> str:
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except LookupError:
        message = 'is not a known encoding. Write one such as "utf-8", "latin-1" or "cp1252".'
        raise ValueError(message) from None


def _thousands(text: str) -> str:
    if text not in {".", ",", "'", "\N{RIGHT SINGLE QUOTATION MARK}"}:
        raise ValueError('is not a separator of thousands. Write ".", "," or "\'"; blanks need no setting.')
    return text


def one_of(*words: str) -> AfterValidator:
    """Return the check that a text is one of ``words``."""

    def check(text: str) -> str:
        if text not in words:
            listed = " or ".join(map(quoted, words))
            raise ValueError(f"is not {listed}. Write one of them.")
        return text

    return AfterValidator(check)


def _path_text(text: str) -> str:
    if "?" in text:
        raise ValueError('has a "?". Leave the query out: rules see the path before it.')
    return _printable(text)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has a character that cannot be seen. Write only characters that can.")
    return text


def _query_rule(value: object) -> str | tuple[str, ...]:
    """Return the setting ``paths.query``; the union of types would report a problem for each type."""
    if value in ("keep", "drop"):
        return str(value)
    names = _comma_list(value) if isinstance(value, str) and "," in value else value
    if isinstance(names, list | tuple) and all(isinstance(name, str) and name.strip() for name in names):
        return tuple(_path_text(name.strip()) for name in names)
    raise ValueError('is not valid. Write "keep", "drop", or a list of names such as ["page"].')


def _glob(glob: str) -> str:
    if matches_all(glob):
        raise ValueError('matches every path. Write a glob for some of them, such as "/blog/**".')
    return _path_text(glob)


def _excluding(glob: str) -> str:
    if glob.isalpha() and glob != "scanners":
        raise ValueError('is not a known list. Write "scanners", or a glob such as "/wp-*".')
    return glob


def _file_name(name: str) -> str:
    if "/" in name:
        raise ValueError('has a "/". Write only the name of a file, such as "index.html".')
    return _path_text(name)


def _section_name(name: str) -> str:
    if name == "Other":
        raise ValueError("is the name of all paths in no section. Write another one.")
    return _printable(name)


def _new_path(text: str) -> str:
    if not text.startswith("/") or "*" in text.removesuffix("/**"):
        raise ValueError('is not a path. Write one such as "/new/page", or "/new/**" for all below it.')
    return _path_text(text)


def _globs(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _column(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _existing(value: Path) -> Path:
    if not value.is_dir():
        raise ValueError("is not an existing directory. Create it, or write the path of another one.")
    return value


def _directory(value: object) -> Path:
    if not _is_path(value):
        raise ValueError('is not the path of a directory. Write one such as "output".')
    return Path(str(value))


def _file(value: object) -> Path:
    if not _is_path(value):
        raise ValueError('is not the path of a file. Write one such as "notes.toml".')
    return Path(str(value))


def _is_path(value: object) -> bool:
    usable = isinstance(value, str | Path) and str(value) != ""
    return usable and not re.search("[\0\ud800-\udfff]", str(value))


Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
TextList = Annotated[tuple[Text, ...], BeforeValidator(_comma_list)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Column = Annotated[Text, BeforeValidator(_column)]
DateFormat = Annotated[str, AfterValidator(_date_format)]
Encoding = Annotated[str, AfterValidator(_encoding)]
Thousands = Annotated[str, AfterValidator(_thousands)]
ZoneName = Annotated[str, AfterValidator(_zone)]
WindowNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_comma_list),
    AfterValidator(_windows),
    AfterValidator(_each_once),
    Field(min_length=1, max_length=12),
]
Comparisons = Annotated[
    tuple[Annotated[str, AfterValidator(_comparison)], ...],
    BeforeValidator(_comma_list),
    AfterValidator(_each_once),
    Field(min_length=1),
]
Weekday = Annotated[str, AfterValidator(_weekday)]
Schedule = Annotated[str, AfterValidator(_schedule)]
SlashRule = Annotated[str, one_of("keep", "merge")]
CaseRule = Annotated[str, one_of("keep", "lower")]
QueryRule = Annotated[Literal["keep", "drop"] | tuple[str, ...], BeforeValidator(_query_rule)]
FileNames = Annotated[tuple[Annotated[Text, AfterValidator(_file_name)], ...], BeforeValidator(_comma_list)]
Glob = Annotated[Text, AfterValidator(_glob)]
Excluding = Annotated[Glob, AfterValidator(_excluding)]
GlobList = Annotated[tuple[Excluding, ...], BeforeValidator(_comma_list)]
Globs = Annotated[tuple[Glob, ...], BeforeValidator(_globs), Field(min_length=1)]
NewPath = Annotated[Text, AfterValidator(_new_path)]
SectionName = Annotated[Text, StringConstraints(max_length=60), AfterValidator(_section_name)]
Word = Annotated[
    Text, StringConstraints(max_length=40), AfterValidator(_printable), AfterValidator(in_sentence)
]
Link = Annotated[str, AfterValidator(_link)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
BasePath = Annotated[str, AfterValidator(_base_path)]
HeaderName = Annotated[str, AfterValidator(_header)]
VariableName = Annotated[str, AfterValidator(_variable)]
LocaleName = Annotated[str, AfterValidator(_locale)]
Intro = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000), AfterValidator(_intro)]
BucketAddress = Annotated[str, StringConstraints(strip_whitespace=True), AfterValidator(_bucket)]
Directory = Annotated[Path, PlainValidator(_directory)]
FilePath = Annotated[Path, PlainValidator(_file)]
ExistingDirectory = Annotated[Directory, AfterValidator(_existing)]
