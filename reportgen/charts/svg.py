"""Vega-Lite specifications become SVG, and take their places in pages and files.

Pages are rendered with holes where drawings go, so that the process that holds pandas and Altair may be gone
by the time V8 draws: the two need never be in memory together. See :mod:`reportgen.core.processes`.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import vl_convert

from reportgen.charts import theme
from reportgen.core.errors import RenderError

MARGIN_PX, HEADING_PX = 24, 64
"""Around a drawing that is a file of its own, and above it for its words."""

DEFAULTS = r' (?:(?:fill-)?opacity="1"|role="graphics-[a-z]+"|aria-(?:roledescription|hidden)="[^"]*")'

INVISIBLE = r'<path class="(?:fore|back)ground" d="(?:M0,0h0v0h0Z)?"[^<>]*/>'
ALIKE = r'<path d="[^"]*"([^<>]*)/>(?:<path d="[^"]*"\1/>)+'

FONTS = "FONTCONFIG_FILE"
"""The variable that says which fonts there are."""

HOLE = re.compile(rb"<!--drawing ([\w/.-]+)-->")
"""Cannot come from data: autoescaping leaves no ``<`` of theirs in a page."""


@dataclass(frozen=True)
class Sheet:
    """A drawing that is a file of its own: its path in the release, the drawing's key, and its words.

    ``about`` is written below the title: site, dates, zone. ``alt`` says what the drawing shows.
    """

    file: str
    drawing: str
    title: str
    alt: str
    about: str


@dataclass(frozen=True)
class PageDraft:
    """A release without its drawings: files with holes, and by key the specification for each hole."""

    files: Mapping[str, bytes]
    specs: Mapping[str, str]
    sheets: Sequence[Sheet]


def placeholder(key: str) -> str:
    """Return what keeps a drawing's place in a page."""
    return f"<!--drawing {key}-->"


def insert_svgs(draft: PageDraft) -> dict[str, bytes]:
    """Return every file of the release, with its drawings.

    Raises:
        RenderError: a specification cannot be drawn.

    """
    svgs = {key: svg_of(spec) for key, spec in draft.specs.items()}
    drawn = {key.encode(): svg.encode() for key, svg in svgs.items()}

    def inked(page: bytes) -> bytes:
        # A comment of the user's own that looks like a hole stays what it is.
        return HOLE.sub(lambda found: drawn.get(found[1], found[0]), page)

    files = {
        name: inked(content) if name.endswith(".html") else content for name, content in draft.files.items()
    }
    return files | {sheet.file: standalone(svgs[sheet.drawing], sheet) for sheet in draft.sheets}


@cache
def warm_up() -> None:
    """Start V8, load Vega and the font that text is measured with: most of the time of a first drawing.

    The font is the one that vl-convert brings, so that a drawing is the same on every machine. One of the
    machine's own would be mapped into memory anew for each letter, which takes longer than all the rest.
    """
    before = os.environ.get(FONTS)
    os.environ[FONTS] = str(Path(__file__).with_name("fonts.conf"))
    try:
        _vega('{"mark": "bar", "data": {"values": [{"a": 1}]}, "encoding": {"x": {"field": "a"}}}')
    finally:  # it is not for browsers and others that this process may start
        if before is None:
            del os.environ[FONTS]
        else:
            os.environ[FONTS] = before


def svg_of(spec: str) -> str:
    """Draw a Vega-Lite specification (JSON). Nothing it names is fetched.

    Raises:
        RenderError: the specification cannot be drawn.

    """
    warm_up()
    return _lean(_vega(spec))


def _vega(spec: str) -> str:
    with translate_errors("drawn"):
        svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return svg


def standalone(svg: str, sheet: Sheet) -> bytes:
    """Return a drawing as a file of its own: light colours written in, on paper, with its words."""
    head, _, body = svg.partition(">")
    width, height = (float(re.findall(rf' {name}="([\d.]+)"', head)[0]) for name in ("width", "height"))
    width, height = width + 2 * MARGIN_PX, height + 2 * MARGIN_PX + HEADING_PX
    box = f"{-MARGIN_PX} {-MARGIN_PX - HEADING_PX} {width:g} {height:g}"
    for name, value in (("width", f"{width:g}"), ("height", f"{height:g}"), ("viewBox", box)):
        head = re.sub(rf' {name}="[^"]*"', f' {name}="{value}"', head, count=1)
    title, text, line = (escape(words, quote=False) for words in (sheet.title, sheet.alt, sheet.about))
    words = (
        f"<title>{title}</title><desc>{text}</desc>"
        f'<rect x="{-MARGIN_PX}" y="{-MARGIN_PX - HEADING_PX}" width="100%" height="100%"'
        ' fill="var(--paper)"/>'
        f'<text y="{20 - HEADING_PX}" font-size="20" font-weight="600" fill="var(--ink)">{title}</text>'
        f'<text y="{44 - HEADING_PX}" font-size="14" fill="var(--quiet)">{line}</text>'
    )
    return theme.light(f'{head} role="img">{words}{body}\n').encode()


def _lean(svg: str) -> str:
    """Say the same with less: a page that is read on a phone is parsed there.

    The font stands once instead of at every text, coordinates end at a hundredth of a pixel, marks that
    look alike are one path, and roles go: the figure around a drawing is the image, with its text.
    """
    font = f' font-family="{theme.FONT.replace(chr(34), "&quot;")}"'

    def shorter(tag: re.Match[str]) -> str:
        lean = re.sub(r"(\.\d\d)\d+", r"\1", tag[0]).replace(font, "")
        return re.sub(DEFAULTS, "", lean)

    # In tags only: what Vega writes between them, or from the data, holds neither sign.
    svg = re.sub(r"<[^<>]*>", shorter, svg).replace("<svg ", f"<svg{font} ", 1)
    return re.sub(ALIKE, _joined, re.sub(INVISIBLE, "", svg))


def _joined(alike: re.Match[str]) -> str:
    shapes = "".join(re.findall(r' d="([^"]*)"', alike[0]))
    return f'<path d="{shapes}"{alike[1]}/>'


@contextmanager
def translate_errors(what: str) -> Iterator[None]:
    """Turn the errors of vl-convert, and of Altair before it, into ours."""
    try:
        yield
    except (ValueError, TypeError) as exc:
        raise RenderError(f"a chart could not be {what}: {exc}") from exc
