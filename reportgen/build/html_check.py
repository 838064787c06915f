"""Parses HTML strictly, in one pass: what a browser would have to correct is a fault.

Valid HTML passes, with the end tags that its standard lets a page leave out. One compiled pattern parses a
tag, and equal tags are parsed once. html.parser takes five times as long for the drawings in a page.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

TAG = re.compile(
    r"""<(?:(?P<doctype>!doctype\b[^<>]*+>)
    |(?P<end>/)?(?P<name>[a-z][^\s/>]*)(?P<rest>(?:[^"'<>]++|"[^"]*"|'[^']*')*+)>)""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
ATTRIBUTE = r"""\s+([^\s"'<>/=]++)(?:\s*+=\s*+("[^"]*"|'[^']*'|[^\s"'=<>`]+))?"""
ATTRIBUTES, ONE = re.compile(rf"(?:{ATTRIBUTE})*\s*(/?)"), re.compile(ATTRIBUTE)

VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")
)
RAW = frozenset(("script", "style", "textarea", "title"))
FOREIGN = frozenset(("svg", "math"))
BLOCKS = frozenset(
    (
        "address", "article", "aside", "blockquote", "details", "dialog", "div", "dl", "fieldset",
        "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hgroup",
        "hr", "main", "menu", "nav", "ol", "p", "pre", "search", "section", "table", "ul",
    )
)  # fmt: skip
GROUPS = frozenset(("thead", "tbody", "tfoot"))
ENDED_BY = {
    "html": frozenset[str](),
    "head": frozenset(("body",)),
    "body": frozenset[str](),
    "p": BLOCKS,
    "li": frozenset(("li",)),
    "dt": frozenset(("dt", "dd")),
    "dd": frozenset(("dt", "dd")),
    "rt": frozenset(("rt", "rp")),
    "rp": frozenset(("rt", "rp")),
    "option": frozenset(("option", "optgroup", "hr")),
    "optgroup": frozenset(("optgroup", "hr")),
    "caption": GROUPS | {"colgroup", "tr"},
    "colgroup": GROUPS | {"tr"},
    "thead": GROUPS,
    "tbody": GROUPS,
    "tfoot": GROUPS,
    "tr": GROUPS | {"tr"},
    "td": GROUPS | {"tr", "td", "th"},
    "th": GROUPS | {"tr", "td", "th"},
}
"""The elements whose end tag may be left out, and the start tags that then end them (HTML, 13.1.2.4)."""

COMMENT, SECTION = ("<!--", "-->"), ("<![CDATA[", "]]>")
"""Beginning and end of a comment and of a CDATA section, which exists inside foreign elements only."""

LINKS = ("href", "src", "poster", "xlink:href", "data-vega")
SHOWN = 80
"""Maximum number of characters of a tag in a message."""


class Element(NamedTuple):
    """A part of a page: the position at which its tag begins, and its text."""

    at: int
    text: str


@dataclass(frozen=True)
class Document:
    """The parts of a page that are checked. ``flaws`` says where it is not valid HTML."""

    text: str
    flaws: list[Element] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    links: list[Element] = field(default_factory=list)
    styles: list[Element] = field(default_factory=list)
    policies: list[Element] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    data: list[Element] = field(default_factory=list)
    """JSON inside the page."""

    def line(self, at: int) -> int:
        """Return the line of a position, counted from 1."""
        return self.text.count("\n", 0, at) + 1

    def tag(self, at: int) -> str:
        """Return the tag at a position, cut to its maximum length."""
        match = TAG.match(self.text, at)
        tag = match[0] if match else self.text[at : at + SHOWN].partition("\n")[0]
        return tag if len(tag) <= SHOWN else tag[:SHOWN] + "…"


def parse_page(text: str) -> Document:
    """Return the parts and the faults of a page."""
    page = Document(text)
    opened: list[Element] = []
    at, begun = 0, False
    while (at := text.find("<", at)) >= 0:
        if text[at + 1 : at + 2].isspace() or text[at + 1 : at + 2].isdecimal():
            at += 1  # browsers show it as text, as in "a < b"
            continue
        if mark := _tagless(text, at, opened):
            end = text.find(mark[1], at + len(mark[0]))
            if end < 0:  # a browser treats the rest of the page as a part of it
                return replace(page, flaws=[*page.flaws, Element(at, f"has no end: {mark[1]} is not there")])
            at = end + len(mark[1])
            continue
        tag = TAG.match(text, at)
        if tag is None:
            page.flaws.append(Element(at, "is not a complete tag; write a < of the text as &lt;"))
            at += 1
            continue
        name, next_at = (tag["name"] or "").lower(), tag.end()
        if not begun and (name or tag["doctype"]):
            begun = True
            if not tag["doctype"]:
                page.flaws.append(Element(at, "stands where <!doctype html> must be"))
        if tag["end"]:
            page.flaws.extend(_closed(page, opened, at, name))
        elif name:
            next_at = _opened(page, opened, at, name, tag)
        at = next_at
    page.flaws.extend(Element(at, "is never closed") for at, name in opened if name not in ENDED_BY)
    return page


def _tagless(text: str, at: int, opened: list[Element]) -> tuple[str, str] | None:
    """Return the beginning and the end of a comment or a section, if one begins at this position."""
    if text.startswith(COMMENT[0], at):
        return COMMENT
    foreign = text.startswith(SECTION[0], at) and any(outer in FOREIGN for _, outer in opened)
    return SECTION if foreign else None


def _closed(page: Document, opened: list[Element], at: int, name: str) -> Iterator[Element]:
    """Close the element that an end tag names, and those inside it whose end tag may be left out."""
    if all(name != inner for _, inner in opened):
        yield Element(at, "closes nothing")
        return
    while opened[-1].text != name:
        inner = opened.pop()
        if inner.text not in ENDED_BY:
            yield Element(inner.at, f"is not closed before </{name}> in line {page.line(at)}")
    opened.pop()


def _opened(page: Document, opened: list[Element], at: int, name: str, tag: re.Match[str]) -> int:
    """Record a start tag, and return the position at which the next tag may begin."""
    while opened and name in ENDED_BY.get(opened[-1].text, ()):
        opened.pop()
    attributes, closed, flaw = _attributes(tag["rest"])
    if flaw:
        page.flaws.append(Element(at, flaw))
    _note(page, at, name, attributes)
    if name in VOID:
        return tag.end()
    if closed:
        if name not in FOREIGN and not any(outer in FOREIGN for _, outer in opened):
            page.flaws.append(Element(at, f"is not closed by its slash: write </{name}>"))
        return tag.end()
    opened.append(Element(at, name))
    if name not in RAW:
        return tag.end()
    end = re.compile(rf"</{name}[\s/>]", re.IGNORECASE).search(page.text, tag.end())
    if end is None:
        return len(page.text)
    content = page.text[tag.end() : end.start()]
    if name == "style":
        page.styles.append(Element(at, content))
    elif name == "script" and attributes.get("type") == "application/json":
        page.data.append(Element(at, content))
    return end.start()


def _note(page: Document, at: int, name: str, attributes: dict[str, str]) -> None:
    """Record the id and the links of a tag."""
    if name == "h1":
        page.headings.append(at)
    if not attributes:
        return
    if (own := attributes.get("id")) is not None:
        if own in page.ids:
            page.flaws.append(Element(at, f'has the id of another element: "{own}"'))
        page.ids.add(own)
    page.links.extend(Element(at, attributes[link]) for link in LINKS if link in attributes)
    if attributes.get("http-equiv", "").lower() == "content-security-policy":
        page.policies.append(Element(at, attributes.get("content", "")))


@lru_cache(maxsize=4096)
def _attributes(rest: str) -> tuple[dict[str, str], bool, str]:
    """Return the attributes of a tag, whether it ends with a slash, and its fault."""
    if not rest:
        return {}, False, ""
    whole = ATTRIBUTES.fullmatch(rest)
    if whole is None:
        return {}, False, "has attributes that are wrong"
    pairs = [
        (name.lower(), html.unescape(value[1:-1] if value[:1] in {'"', "'"} else value))
        for name, value in ONE.findall(rest)
    ]
    attributes = dict(pairs)
    twice = "has an attribute twice" if len(attributes) < len(pairs) else ""
    return attributes, bool(whole[3]), twice
