"""Checks before a release is published: of the rows that were read, and of the finished files."""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.parsers import expat

from reportgen.config.types import SCHEME
from reportgen.core.errors import ProofError, SourceEmptied
from reportgen.core.release_files import is_page, required_files
from reportgen.core.windows import Span
from reportgen.metrics.dataset import MAX_LISTED, Dataset
from reportgen.publish.release import MANIFEST, Release, source_kind

MEGABYTE = 1_000_000
MAX_FAULTS = 8
"""Maximum number of faults in a message; the others are counted."""

LINKS = frozenset(("href", "src", "poster", "xlink:href", "data-vega"))
"""The attributes that hold the address of a file."""

Files = Mapping[str, bytes]


def check_files(
    files: Files,
    *,
    windows: Sequence[str],
    max_page_mb: int,
    own: Path | None = None,
    beside: Collection[str] = (),
    paths: str = "paths",
) -> None:
    """Check every file of a release of ``windows``, keyed by its path in the release.

    ``own`` is the directory of the user's templates, and ``paths`` the name of the CSV file of paths. Links
    may also lead to the files ``beside`` the release.

    Raises:
        ProofError: the files have faults; the message says which, and what to do.

    """
    faults = [
        *(f"{name}: is not there" for name in required_files(windows, paths) if name not in files),
        *(f"{name}: is empty" for name, content in files.items() if not content),
        *_wrong_data(files),
        *_wrong_pages(files, max_page_mb, beside),
    ]
    if not faults:
        return
    lines = ["the release is wrong and was not published; the last one stays", *faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        lines.append(f"and {len(faults) - MAX_FAULTS} more")
    if own:
        lines.append(
            f"Correct the templates in {own}. If it fails without templates_dir as well, please report it"
        )
    elif not all("output.max_page_mb" in fault for fault in faults):
        lines.append("If no setting explains this, it is a defect of reportgen: please report it")
    raise ProofError("\n".join(lines))


def check_sums(dataset: Dataset) -> None:
    """Check that days, paths, and the days of each path, which separate queries returned, have equal sums.

    Raises:
        ProofError: they differ, because the source changed while it was read, or by a defect.

    """
    lines = []
    for window, found in zip(dataset.windows, dataset.paths, strict=True):
        total, visits = dataset.daily.sum_over(window.span), found.csv_visits
        whole = found.csv_paths == found.path_count
        if found.csv_paths != min(found.path_count, MAX_LISTED):
            lines.append(f"{window.name}: {found.csv_paths} paths were read, of {found.path_count}")
        elif visits > total or (whole and visits != total):
            lines.append(f"{window.name}: the days have {total} visits, the paths {visits}")
    longest, found = max(zip(dataset.windows, dataset.paths, strict=True), key=lambda pair: pair[0].days)
    if longest.days > 1:
        visits_of: Counter[str] = Counter()
        for cell in dataset.cells:
            if longest.span.first <= cell.date <= longest.span.last:
                visits_of[cell.path] += cell.visits
        lines += [
            f"{longest.name}: a path has {row.visits} visits, its days {visits_of[row.path]}"
            for row in found.listed
            if visits_of[row.path] != row.visits
        ][:1]
    if lines:
        advice = "Build again. If it fails once more, it is a defect of reportgen: please report it"
        raise ProofError("\n".join(["the figures do not add up; the last release stays", *lines, advice]))


def check_not_emptied(dataset: Dataset, last: Release | None, *, past: bool) -> None:
    """Check that the source has not lost all visits that the last release shows.

    The complete days of the longest of the windows that end last are compared with the same dates of the last
    release. If they share no date, any visits of the last release count, unless the report is of a ``past``
    day, or the last release begins after them: then it is not an error. A site whose last visits are older
    than the window is not an error either. The last release may be of another source: a wrong setting loses
    visits as an emptied table does. Sample data do not count.

    Raises:
        SourceEmptied: those days have no visits, and the last release has some.

    """
    spans = [window.complete for window in dataset.windows if window.complete]
    complete = max(spans, key=lambda span: (span.last, span.days), default=None)
    if last is None or complete is None or dataset.daily.sum_over(complete):
        return
    before = _visits_of(last, complete, past=past)
    if not before:
        return
    other, same = last.manifest.get("source"), {dataset.source, source_kind(dataset.source)}
    made_of = f", made of {other}" if other not in same else ""
    left_out = sum(dataset.notes.values())
    excluded = max(visits for _, visits in (found.excluded for found in dataset.paths))
    raise SourceEmptied(
        f"{dataset.source}: no visits on the complete days from {complete.first} to {complete.last}"
        f"{f' ({left_out:,} rows were left out as bad)' if left_out else ''}"
        f"{f' ({excluded:,} visits were left out by paths.exclude)' if excluded else ''}"
        f", while the last release ({last.id}{made_of}) has {before:,}. It stays. Where rows were lost or"
        " this is the wrong source, correct that, and the next build publishes. Where there really were no"
        " visits, publish that once: reportgen build --allow-empty"
    )


def _visits_of(release: Release, span: Span, *, past: bool) -> int:
    """Return the visits of a release on the dates of ``span``, or 0 if they cannot be read."""
    first, last = span.first.isoformat(), span.last.isoformat()
    try:
        reports = [json.loads(file.read_bytes()) for file in release.path.glob("*/report.json")]
        longest = max(reports, key=lambda report: (report["end"], report["days"]))
        days = [] if longest["sample"] else longest["daily"]
        shared = [day for day in days if first <= day["date"] <= last]
        only_shared = shared or past or longest["start"] > last
        return sum(int(day["visits"]) for day in (shared if only_shared else days))
    except (OSError, ValueError, LookupError, TypeError):
        return 0


def _wrong_data(files: Files) -> Iterator[str]:
    """Yield the JSON files and the drawings that cannot be parsed."""
    for name, content in files.items():
        try:
            if name.endswith(".json"):
                json.loads(content)
            elif name.endswith(".svg"):
                expat.ParserCreate().Parse(content, True)  # noqa: FBT003 - the name of the argument is not public
        except (ValueError, expat.ExpatError) as exc:
            yield f"{name}: is not valid {Path(name).suffix[1:].upper()}: {exc}"


class _Page(HTMLParser):
    """The ids of a page, and its links: each with its line."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str | None] = set()
        self.links: list[tuple[int, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the id and the links of a tag."""
        for name, value in attrs:
            if name == "id":
                self.ids.add(value)
            elif name in LINKS:
                self.links.append((self.getpos()[0], (value or "").strip()))


def _wrong_pages(files: Files, max_page_mb: int, beside: Collection[str]) -> Iterator[str]:
    pages: dict[str, _Page] = {}
    for name in filter(is_page, files):
        size_mb = len(files[name]) / MEGABYTE
        if size_mb > max_page_mb:
            yield (
                f"{name}: has {size_mb:.1f} MB: lower top_paths, or raise output.max_page_mb ({max_page_mb})"
            )
        try:
            pages[name] = _Page(files[name].decode())
        except UnicodeDecodeError as exc:
            yield f"{name}: is not UTF-8: {exc.reason} at byte {exc.start}"
    there = {*files, *beside, MANIFEST}
    for name, page in pages.items():
        for line, href in page.links:
            place = f'{name}, line {line}: links to "{href}"'
            target = _target(name, href, there)
            file = next((file for file in (target, f"{target}/index.html") if file in there), None)
            fragment = unquote(href.partition("#")[2])
            anywhere = fragment.lower() in {"", "top"} or fragment.startswith(":~:")
            if target and not file:
                yield f"{place}, which is not in the release: write a whole address"
            elif file in pages and not anywhere and fragment not in pages[file].ids:
                yield f'{place}, but {file} has no id "{fragment}": correct it, in intro or in a template'


def _target(page: str, href: str, there: Collection[str]) -> str | None:
    """Return the path in the release to which a link leads, or ``None`` if it leads out of the release.

    A path that begins with ``/`` is checked only on ``404.html``, whose links start at the host's root, and
    only if the release has the first directory of the path.
    """
    path = unquote(re.split("[?#]", href, maxsplit=1)[0])
    if SCHEME.match(href):
        return None
    if not path:
        return page
    if path.startswith("/"):
        path = path.lstrip("/")
        first = path.partition("/")[0] + "/"
        if page != "404.html" or not any(name.startswith(first) for name in there):
            return None
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    return None if target.startswith("..") else "index.html" if target == "." else target
