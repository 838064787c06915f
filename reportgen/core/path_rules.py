"""Rules that merge, leave out and group paths: the settings ``[paths]`` and ``[[sections]]``.

SQLite calls these functions; :mod:`reportgen.sources.path_sql` writes the same rules as SQL. The steps have a
fixed order: query, decode, case, index, slash, rename, exclude. They do not change their own result.

In a path, a query begins with ``?`` and ends before ``#`` or at the end. The steps after ``decode``, and all
globs, see only the *head*: the part before the first ``?``. It may hold ``#``, which begins the routes of
some sites.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

SCANNERS = (
    "**/*.php", "**/*.asp", "**/*.aspx", "**/*.jsp", "**/*.cgi", "**/*.sql", "**/*.bak",
    "**/.env*", "**/.git/**", "**/.svn/**", "**/.aws/**", "**/.ssh/**", "**/.vscode/**", "**/.ht*",
    "**/.DS_Store", "**/wp-admin/**", "**/wp-content/**", "**/wp-includes/**", "**/wp-json/**",
    "**/wlwmanifest.xml", "/cgi-bin/**", "/phpmyadmin/**", "/vendor/phpunit/**", "/_ignition/**",
    "/telescope/**", "/actuator/**", "/druid/**", "/solr/**", "/geoserver/**", "/manager/html",
    "/server-status", "/owa/**", "/ecp/**", "/autodiscover/**", "/boaform/**", "/HNAP1/**", "/sdk",
    "/remote/login",
)  # fmt: skip
"""What programs ask for that look for weak servers: ``"scanners"`` in ``paths.exclude``."""

QUERY = r"\?[^#]*"
_REST = "%[89ABab][0-9A-Fa-f]"
UTF8 = "|".join((
    f"%[Cc][2-9A-Fa-f]{_REST}", f"%[Dd][0-9A-Fa-f]{_REST}",
    f"%[Ee]0%[ABab][0-9A-Fa-f]{_REST}", f"%[Ee][1-9A-CEFa-cef]{_REST * 2}",
    f"%[Ee][Dd]%[89][0-9A-Fa-f]{_REST}", f"%[Ff]0%[9ABab][0-9A-Fa-f]{_REST * 2}",
    f"%[Ff][1-3]{_REST * 3}", f"%[Ff]4%8[0-9A-Fa-f]{_REST * 2}",
))  # fmt: skip
"""The pattern of one percent-encoded character beyond ASCII, in valid UTF-8 (RFC 3629)."""
UPPER, LOWER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz"
EXCLUDED = -1
"""The number of the section of paths that are left out."""
STARS = ("*", "**")

Step = Callable[[str], str]


@dataclass(frozen=True)
class PathRules:
    """The rules of one report; without any, each path stays as it is.

    ``query`` holds the names of a query that are kept, or is ``None`` for all. ``renames`` has pairs of
    globs, ``sections`` pairs of a name and its globs.
    """

    query: tuple[str, ...] | None = None
    decode: bool = False
    lower: bool = False
    index: tuple[str, ...] = ()
    slash: bool = False
    renames: tuple[tuple[str, str], ...] = ()
    exclude: tuple[str, ...] = ()
    sections: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any rule."""
        return self != NO_RULES

    @property
    def merge(self) -> bool:
        """Whether a path may become another one."""
        return bool(self._steps)

    @property
    def by_date(self) -> bool:
        """Whether visits by date depend on the rules."""
        return bool(self.exclude or self.sections)

    def path_of(self, path: str) -> str | None:
        """Return the path that a stored path becomes, or ``None`` if it is left out."""
        for _, change in self._steps:
            path = change(path)
        return None if self._excluded and self._excluded(path.partition("?")[0]) else path

    def section_of(self, path: str) -> int:
        """Return the number of a stored path's section, from 1 on; 0 for none, or :data:`EXCLUDED`."""
        found = self.path_of(path)
        if found is None:
            return EXCLUDED
        head = found.partition("?")[0]
        return next((number for number, matches in enumerate(self._sections, 1) if matches(head)), 0)

    def trace(self, path: str) -> Iterator[tuple[str, str, str | None]]:
        """Yield each rule that touches a stored path: its name, the path before, and what it becomes.

        A path that is left out becomes ``None``.
        """
        for name, change in self._steps:
            before, path = path, change(path)
            if path != before:
                yield name, before, path
        head = path.partition("?")[0]
        excluding = next((glob for glob in self.exclude if _matching((glob,))(head)), None)
        if excluding is not None:
            yield f"exclude {excluding}", path, None
        elif number := self.section_of(path):
            yield f"section {self.sections[number - 1][0]}", path, path

    @cached_property
    def names(self) -> list[str]:
        """The name of every rule, as :meth:`trace` yields it."""
        steps, excluding = (name for name, _ in self._steps), (f"exclude {glob}" for glob in self.exclude)
        return [*steps, *excluding, *(f"section {name}" for name, _ in self.sections)]

    def normal(self, glob: str) -> str:
        """Return what the steps before ``rename`` make of a path, or of a glob of paths."""
        folder = glob.removesuffix("/**")
        return f"{replace(self, renames=(), exclude=()).path_of(folder)}{glob[len(folder) :]}"

    @cached_property
    def _steps(self) -> list[tuple[str, Step]]:
        steps: list[tuple[str, Step]] = []
        if self.query is not None:
            steps.append(("query", lambda path: re.sub(QUERY, self._kept, path) if "?" in path else path))
        if self.decode:
            encoded = re.compile(UTF8)
            steps.append(("decode", lambda path: encoded.sub(_decoded, path) if "%" in path else path))
        if self.lower:
            table = str.maketrans(UPPER, LOWER)  # slower, and leaves É alone
            lower: Step = lambda head: head.lower() if head.isascii() else head.translate(table)  # noqa: E731
            steps.append(("case", _of_head(lower)))
        if self.index:
            names = tuple(f"/{name}" for name in self.index)
            steps.append(("index", _of_head(lambda head: self._without_index(head, names))))
        if self.slash:
            steps.append(("slash", _of_head(lambda head: head.rstrip("/") or head[:1])))
        steps += [(f"rename {old} to {new}", _of_head(_renaming(old, new))) for old, new in self.renames]
        return steps

    @cached_property
    def _excluded(self) -> Callable[[str], object] | None:
        return _matching(self.exclude) if self.exclude else None

    @cached_property
    def _sections(self) -> list[Callable[[str], object]]:
        return [_matching(globs) for _, globs in self.sections]

    def _kept(self, query: re.Match[str]) -> str:
        kept = [part for part in query[0][1:].split("&") if part.partition("=")[0] in (self.query or ())]
        return f"?{'&'.join(kept)}" if kept else ""

    def _without_index(self, head: str, names: tuple[str, ...]) -> str:
        """Return the head without index files at its end, also between slashes that the next step merges."""
        folder, found = head, False
        while (bare := folder.rstrip("/") if self.slash else folder).endswith(names):
            folder, found = bare.rpartition("/")[0], True
        return f"{folder}/" if found else head


NO_RULES = PathRules()


def glob_pattern(glob: str) -> str:
    """Return the pattern of a glob: ``*`` is any text without a slash, ``**`` any text, ``?`` a character."""
    parts = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(parts.get(part) or re.escape(part) for part in re.split(r"(\*\*|\*|\?)", glob) if part)


def head_pattern(glob: str) -> str:
    """Return the pattern of a glob for heads. ``/**`` at the end also matches nothing: ``/a/**`` matches /a.

    Its only group is what ``/**`` at the end matches.
    """
    folder = glob.removesuffix("/**")
    return glob_pattern(glob) if folder == glob else f"{glob_pattern(folder)}(/.*)?"


def any_pattern(globs: tuple[str, ...]) -> str:
    """Return the pattern of heads that match one of several globs."""
    parts, left = [], list(globs)
    # One search for each common beginning, not for each glob.
    for start in ("**/*", "**/", ""):
        ends = [glob.removeprefix(start) for glob in left if glob.startswith(start) and "**/**" not in glob]
        left = [glob for glob in left if not glob.startswith(start) or "**/**" in glob]
        if ends:
            parts.append(f"{glob_pattern(start)}(?:{'|'.join(map(head_pattern, ends))})")
    return "|".join([*parts, *map(head_pattern, left)])


def matches_all(glob: str) -> bool:
    """Whether a glob matches every path."""
    return all(re.fullmatch(head_pattern(glob), path, re.DOTALL) for path in ("/", "/a", "/b/c.d", "/e/f/g"))


def overlap(one: str, other: str) -> bool:
    """Whether a path can match both of two globs."""
    return any(
        _meet(re.findall(r"\*\*|\*|[^*]", a), re.findall(r"\*\*|\*|[^*]", b))
        for a in {one, one.removesuffix("/**")}
        for b in {other, other.removesuffix("/**")}
    )


def _meet(a: list[str], b: list[str]) -> bool:
    """Whether a text can match both of two globs, given as characters and stars."""
    seen, todo = set(), [(0, 0)]
    while todo:
        place = i, j = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        x, y = (*a, "")[i], (*b, "")[j]
        if not x and not y:
            return True
        todo += [(i + 1, j)] * (x in STARS) + [(i, j + 1)] * (y in STARS)
        if x in STARS and y not in {"", *STARS} and (x == "**" or y != "/"):
            todo.append((i, j + 1))
        elif y in STARS and x not in {"", *STARS} and (y == "**" or x != "/"):
            todo.append((i + 1, j))
        elif x and x == y:
            todo.append((i + 1, j + 1))
    return False


def _of_head(change: Step) -> Step:
    def changed(path: str) -> str:
        head, mark, rest = path.partition("?")
        return f"{change(head)}{mark}{rest}"

    return changed


def _renaming(old: str, new: str) -> Step:
    pattern, folder = re.compile(head_pattern(old), re.DOTALL), new.removesuffix("/**")

    def renamed(head: str) -> str:
        found = pattern.fullmatch(head)
        if not found:
            return head
        return folder + (found[1] or "") if folder != new else new

    return renamed


@lru_cache(maxsize=200)
def _matching(globs: tuple[str, ...]) -> Callable[[str], object]:
    return re.compile(any_pattern(globs), re.DOTALL).fullmatch


def _decoded(encoded: re.Match[str]) -> str:
    return bytes.fromhex(encoded[0].replace("%", "")).decode()
