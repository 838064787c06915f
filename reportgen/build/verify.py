"""Checks of a release before it is published, whichever templates and data it was made from.

:func:`prove` checks the finished files, as readers and programs get them. :func:`check_not_emptied` compares
the rows that were read with the last release.
"""

import base64
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote
from xml.parsers import expat

from reportgen.build.figures_check import wrong_figures
from reportgen.build.html_check import Document, Element, parse_page
from reportgen.config.settings import Config
from reportgen.config.types import SCHEME
from reportgen.core.compression import SUFFIXES
from reportgen.core.errors import ConfigError, ProofError, SourceEmptied
from reportgen.core.release_files import is_page, required_files
from reportgen.core.windows import Span
from reportgen.metrics.dataset import Dataset
from reportgen.metrics.paths import MAX_LISTED
from reportgen.publish.release import MANIFEST, Release

MEGABYTE = 1_000_000
MAX_FAULTS = 8
"""Maximum number of faults in a message; the others are counted."""

CHARSET = re.compile(r"<meta[^>]*charset=[\"']?utf-8\b", re.IGNORECASE)
CHARSET_WITHIN = 1024
"""Characters of a page in which browsers look for its encoding."""

INTRO = '<div class="intro">'
OF_INTRO = ": correct this link in the setting intro"

Files = Mapping[str, bytes]


class Fault(NamedTuple):
    """A fault of a file. ``near`` is the tag in question, as in the page.

    ``advised`` is true if ``what`` says what to do.
    """

    file: str
    what: str
    line: int | None = None
    near: str = ""
    advised: bool = False


def prove(
    files: Files,
    *,
    windows: Sequence[str],
    max_page_mb: int,
    own: Path | None = None,
    beside: Collection[str] = (),
) -> None:
    """Check every file of a release of ``windows``, keyed by its path in the release.

    ``own`` is the directory of the user's templates: the message names the template of a fault if it can.
    Links may also lead to the files ``beside`` the release.

    Raises:
        ProofError: the files have faults; the message says which, and what to do.

    """
    faults = [
        *_incomplete(files, windows),
        *(Fault(*wrong) for wrong in wrong_figures(files, windows, MAX_LISTED)),
        *_wrong_pages(files, max_page_mb, beside),
        *_wrong_drawings(files),
        *_wrong_forms(files),
    ]
    if faults:
        raise ProofError("\n".join(_fault_lines(faults, own)))


def check_not_replaced(config: Config, dataset: Dataset, last: Release | None) -> None:
    """Check that the sample site does not replace a report because a setting was lost.

    Raises:
        ConfigError: no source is set, and the last release was made from one.

    """
    sample = dataset.notice is not None and "url" not in config.source.model_fields_set
    source = last.manifest.get("source") if last else None
    if sample and source not in {None, dataset.source}:
        raise ConfigError(
            f"source.url: is not set, and the last release is of {source}. It stays. "
            "Set DATABASE_URL (or source.url), or ask for the sample site with --source sample"
        )


def check_not_emptied(dataset: Dataset, last: Release | None, *, past: bool) -> None:
    """Check that the source has not lost all visits that the last release shows.

    The complete days of the longest window are compared with the same dates of the last release. If they
    share no date, any visits of the last release count, but the report of a ``past`` day is then not an
    error. A site whose last visits are older than the window is not an error either. The last release may
    be of another source: a wrong setting loses visits as an emptied table does. Sample data do not count.

    Raises:
        SourceEmptied: those days have no visits, and the last release has some.

    """
    complete = max(dataset.windows, key=lambda window: window.days).complete
    if last is None or complete is None or dataset.daily.sum_over(complete):
        return
    before = _visits_of(last, complete, past=past)
    if not before:
        return
    made_of = f", made of {other}" if (other := last.manifest.get("source")) != dataset.source else ""
    left_out = sum(dataset.notes.values())
    raise SourceEmptied(
        f"{dataset.source}: no visits on the complete days from {complete.first} to {complete.last}"
        f"{f' ({left_out:,} rows were left out as bad)' if left_out else ''}, while the last release"
        f" ({last.id}{made_of}) has {before:,}. It stays. Where rows were lost or this is the"
        " wrong source, correct that, and the next build publishes. Where there really were no visits,"
        " publish that once: reportgen build --allow-empty"
    )


def _visits_of(release: Release, span: Span, *, past: bool) -> int:
    """Return the visits of a release on the dates of ``span``, or 0 if they cannot be read."""
    first, last = span.first.isoformat(), span.last.isoformat()
    try:
        reports = [json.loads(file.read_bytes()) for file in release.path.glob("*/report.json")]
        longest = max(reports, key=lambda report: report["days"])
        days = [] if longest["sample"] else longest["daily"]
        shared = [day for day in days if first <= day["date"] <= last]
        return sum(int(day["visits"]) for day in (shared if shared or past else days))
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _fault_lines(faults: Sequence[Fault], own: Path | None) -> Iterator[str]:
    """Yield the lines of the message: one for each fault, and what to do."""
    yield "the release is wrong and was not published; the last one stays"
    for fault in faults[:MAX_FAULTS]:
        place = fault.file if fault.line is None else f"{fault.file}, line {fault.line}"
        near = f" {' '.join(fault.near.split())}" if fault.near else ""
        yield f"{place}:{near} {fault.what}{_origin(own, fault.near) if own else ''}"
    if len(faults) > MAX_FAULTS:
        yield f"and {len(faults) - MAX_FAULTS} more"
    if own:
        yield f"Correct the templates in {own}. If it fails without templates_dir as well, please report it"
    elif not all(fault.advised for fault in faults):
        yield "If no setting explains this, it is a defect of reportgen: please report it"


def _origin(own: Path, near: str) -> str:
    """Return the file and line of the user's template that holds a tag word for word, if one does."""
    words = near.partition("\n")[0].rstrip("…")
    for file in sorted(own.rglob("*.html")) if words else ():
        text = file.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if words in line:
                return f" (from {file.name}, line {number})"
    return ""


def _incomplete(files: Files, windows: Sequence[str]) -> Iterator[Fault]:
    yield from (Fault(name, "is not there") for name in required_files(windows) if name not in files)
    yield from (Fault(name, "is empty") for name, content in files.items() if not content)


def _wrong_pages(files: Files, max_page_mb: int, beside: Collection[str]) -> Iterator[Fault]:
    pages: dict[str, Document] = {}
    for name, content in files.items():
        if not is_page(name) or not content:
            continue
        if len(content) > max_page_mb * MEGABYTE:
            size = f"{len(content) / MEGABYTE:.1f} MB"
            what = f"has {size}: lower top_paths, or raise output.max_page_mb ({max_page_mb})"
            yield Fault(name, what, advised=True)
        try:
            pages[name] = parse_page(content.decode())
        except UnicodeDecodeError as exc:
            yield Fault(name, f"is not UTF-8: {exc.reason} at byte {exc.start}")
    there, ids = {*files, *beside}, {name: page.ids for name, page in pages.items()}
    for name, page in pages.items():
        found = [*page.flaws, *_wrong_heads(page), *_wrong_data(page), *_wrong_links(name, page, there, ids)]
        for at, what in found:
            yield Fault(name, what, page.line(at), page.tag(at), what.endswith(OF_INTRO))
        yield from (Fault(name, what) for what in _lacking(page, bare=name == "404.html"))


def _lacking(page: Document, *, bare: bool) -> Iterator[str]:
    """Yield what a page lacks. The page for unknown addresses may be ``bare``."""
    if not bare and not CHARSET.search(page.text, 0, CHARSET_WITHIN):
        yield f'has no <meta charset="utf-8"> in its first {CHARSET_WITHIN} characters'
    if not bare and not page.headings:
        yield "has no h1"
    if not page.policies and (page.styles or not bare):
        yield 'has no <meta http-equiv="Content-Security-Policy" content="{{ policy }}">'


def _wrong_heads(page: Document) -> Iterator[Element]:
    yield from (Element(at, "is a second h1") for at in page.headings[1:])
    for style in page.styles:
        digest = base64.b64encode(hashlib.sha256(style.text.encode()).digest()).decode()
        for policy in page.policies:
            if f"'sha256-{digest}'" not in policy.text:
                yield Element(style.at, "is a style that the page's policy forbids: put it into style.css")
            elif policy.at > style.at:
                yield Element(policy.at, "comes after the style that it allows")


def _wrong_data(page: Document) -> Iterator[Element]:
    for at, text in page.data:
        try:
            json.loads(text)
        except ValueError as exc:
            yield Element(at, f"does not hold valid JSON: {exc}")


def _wrong_links(
    name: str, page: Document, files: set[str], ids: Mapping[str, set[str]]
) -> Iterator[Element]:
    for at, href in page.links:
        target = _target(name, href.strip(), files)
        if target is None:
            continue
        found = next((file for file in (target, f"{target}/index.html".lstrip("/")) if file in files), None)
        fragment = unquote(href.strip().partition("#")[2])
        if found is None and target != MANIFEST:
            yield Element(at, f'links to "{href}", which is not in the release: write a whole address')
        elif found and found in ids and not _is_place(fragment, ids[found]):
            yield Element(at, f'links to "{href}", but {found} has no id "{fragment}"{_of_intro(page, at)}')


def _of_intro(page: Document, at: int) -> str:
    """Return the advice for a link inside the intro; empty otherwise. The intro contains no ``div``."""
    begin = page.text.rfind(INTRO, 0, at)
    return OF_INTRO if begin >= 0 and "</div>" not in page.text[begin:at] else ""


def _target(page: str, href: str, files: set[str]) -> str | None:
    """Return the path in the release to which a link leads, or ``None`` if it leads out of the release.

    A path that begins with ``/`` is checked only on ``404.html``, whose links start at the host's root, and
    only if the release has the first directory of the path.
    """
    if SCHEME.match(href):
        return None
    path = re.split("[?#]", href, maxsplit=1)[0]
    if not path:
        return page
    here = page.split("/")[:-1]
    if path.startswith("/"):
        first = path.split("/")[1]
        if page != "404.html" or not any(name.startswith(f"{first}/") for name in files):
            return None
        here = []
    for part in map(unquote, path.split("/")):
        if part == ".." and not here:
            return None
        if part == "..":
            here.pop()
        elif part not in {"", "."}:
            here.append(part)
    return "/".join(here)


def _is_place(fragment: str, ids: set[str]) -> bool:
    return fragment in ids or fragment.lower() in {"", "top"} or fragment.startswith(":~:")


def _wrong_drawings(files: Files) -> Iterator[Fault]:
    for name, content in files.items():
        if name.endswith(".svg"):
            try:
                expat.ParserCreate().Parse(content, True)  # noqa: FBT003 - the name of the argument is not public
            except expat.ExpatError as exc:
                yield Fault(name, f"is not valid SVG: {expat.ErrorString(exc.code)}", exc.lineno)


def _wrong_forms(files: Files) -> Iterator[Fault]:
    """Yield compressed files that do not hold their original."""
    import brotli

    for suffix, unpacked in ((SUFFIXES["br"], brotli.decompress), (SUFFIXES["gzip"], gzip.decompress)):
        for name, content in files.items():
            if not name.endswith(suffix):
                continue
            try:
                same = unpacked(content) == files.get(name.removesuffix(suffix))
            except (brotli.error, OSError, EOFError, zlib.error):
                same = False
            if not same:
                yield Fault(name, f"is not {name.removesuffix(suffix)}, compressed")
