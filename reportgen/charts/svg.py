"""Draw Vega-Lite specifications as SVG, and insert the drawings into pages and files.

Pages are rendered with placeholders for drawings. So the child process that holds pandas and Altair can end
before V8 draws: the two are never in memory at the same time. See :mod:`reportgen.core.processes`.
"""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from textwrap import wrap

import vl_convert

from reportgen.charts import theme
from reportgen.core.errors import RenderError
from reportgen.core.text import columns

MARGIN_PX, HEADING_PX = 24, 64
"""Margin around a drawing in a file of its own, and height above it for title and caption."""

DEFAULT_ATTRIBUTES = (
    r' (?:(?:fill-)?opacity="1"|role="graphics-[a-z]+"|aria-(?:roledescription|hidden)="[^"]*")'
)

INVISIBLE = (
    r'<path class="(?:fore|back)ground" d="(?:M0,0h0v0h0Z)?"[^<>]*/>|<path d="[^"]*" stroke-width="[^"]*"/>'
)
SAME_STYLE = r'<path d="[^"]*"([^<>]*)/>(?:<path d="[^"]*"\1/>)+'

NOTE_PX = 20
"""Height of a line of a note below a drawing in a file."""

LETTERS = 110
"""Maximum width of such a line, in columns."""

FONTS = "FONTCONFIG_FILE"
"""Environment variable that names the configuration of fontconfig."""

WITHOUT_MARKS = re.compile(r'<g class="mark-\w+ role-mark [^>]*(?:/>|></g>)')
"""Matches a layer of a drawing that has no bar, line or point."""

PLACEHOLDER = re.compile(rb"<!--drawing ([\w/.-]+)-->")
"""Matches what :func:`placeholder` returns. Data cannot contain it: autoescaping replaces every ``<``."""


NOT_DRAWN = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="340" height="24" viewBox="0 0 340 24">'
    '<text y="17" font-size="14" fill="var(--quiet)">This chart could not be drawn.</text></svg>'
)
"""Stands in place of an optional drawing."""


@dataclass(frozen=True)
class ChartFile:
    """A drawing to be written as an SVG file: its path in the release, the drawing's key, and its texts.

    ``about`` is the line below the title: site, dates, zone. ``alt`` describes what the drawing shows;
    ``notes`` are lines below it.
    """

    file: str
    drawing: str
    title: str
    alt: str
    about: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class PageDraft:
    """A release without its drawings: files with placeholders, and each drawing's specification by key.

    ``drawn`` are drawings that exist already. Those of ``optional`` need not succeed; ``warnings`` say which
    others did not.
    """

    files: Mapping[str, bytes]
    specs: Mapping[str, str]
    chart_files: list[ChartFile]
    drawn: Mapping[str, str] = field(default_factory=dict)
    optional: Collection[str] = ()
    warnings: Sequence[str] = ()


def placeholder(key: str) -> str:
    """Return the comment that stands in a page for the drawing ``key``."""
    return f"<!--drawing {key}-->"


def insert_svgs(draft: PageDraft, warn: Callable[[str], None] = lambda _: None) -> dict[str, bytes]:
    """Return every file of the release by its path, with the drawings inserted.

    If an optional one cannot be drawn, words say so in its place, and ``warn`` is called with the reason.

    Raises:
        RenderError: another specification cannot be drawn.

    """
    svgs = dict(draft.drawn)
    for warning in draft.warnings:
        warn(warning)
    for key, spec in draft.specs.items():
        try:
            svgs[key] = svg_of(spec)
        except RenderError as exc:
            if key not in draft.optional:
                raise
            warn(f"{key}: {exc}")
            svgs[key] = NOT_DRAWN
    drawn = {key.encode(): svg.encode() for key, svg in svgs.items()}

    def with_svgs(page: bytes) -> bytes:
        # A comment in a user's template that only looks like a placeholder stays as it is.
        return PLACEHOLDER.sub(lambda found: drawn.get(found[1], found[0]), page)

    files = {
        name: with_svgs(content) if name.endswith(".html") else content
        for name, content in draft.files.items()
    }
    return files | {chart.file: svg_file(svgs[chart.drawing], chart) for chart in draft.chart_files}


@cache
def start_v8() -> None:
    """Start V8, and load Vega and the font that measures text. This is most of the time of a first drawing.

    Only the font inside vl-convert is visible, so that drawings are the same on every machine. Fonts of the
    machine are hidden, because vl-convert maps them into memory again for each letter, which is slow.
    """
    before = os.environ.get(FONTS)
    os.environ[FONTS] = str(Path(__file__).with_name("fonts.conf"))
    try:
        _vega('{"mark": "bar", "data": {"values": [{"a": 1}]}, "encoding": {"x": {"field": "a"}}}')
    finally:  # other programs that this process starts must not see it
        if before is None:
            del os.environ[FONTS]
        else:
            os.environ[FONTS] = before


def svg_of(spec: str) -> str:
    """Return a Vega-Lite specification (JSON) as SVG. No URL in it is fetched.

    Raises:
        RenderError: the specification cannot be drawn, or a layer of it has rows and is empty in the drawing.

    """
    start_v8()
    svg = _vega(spec)
    if '"visits": [{' in spec and (empty := WITHOUT_MARKS.search(svg)):
        raise RenderError(f"a chart has rows, but its drawing lacks them: {empty[0]}")
    return _shrink(svg)


def _vega(spec: str) -> str:
    with translate_chart_errors("drawn"):
        svg: str = vl_convert.vegalite_to_svg(spec, allowed_base_urls=[])
        return svg


def svg_file(svg: str, chart: ChartFile) -> bytes:
    """Return a drawing as an SVG file: with the light colours, a background, a title and a caption."""
    head, _, body = svg.partition(">")
    width, height = (float(re.findall(rf' {name}="([\d.]+)"', head)[0]) for name in ("width", "height"))
    lines = [line for note in chart.notes for line in wrap(note, LETTERS * len(note) // columns(note))]
    below = "".join(
        f'<text y="{height + NOTE_PX * at:g}" font-size="14" fill="var(--ink)">{line}</text>'
        for at, line in enumerate((escape(line, quote=False) for line in lines), start=2)
    )
    width, height = width + 2 * MARGIN_PX, height + 2 * MARGIN_PX + HEADING_PX
    height += NOTE_PX * (len(lines) + 1) if lines else 0
    box = f"{-MARGIN_PX} {-MARGIN_PX - HEADING_PX} {width:g} {height:g}"
    for name, value in (("width", f"{width:g}"), ("height", f"{height:g}"), ("viewBox", box)):
        head = re.sub(rf' {name}="[^"]*"', f' {name}="{value}"', head, count=1)
    title, text, line = (escape(words, quote=False) for words in (chart.title, chart.alt, chart.about))
    words = (
        f"<title>{title}</title><desc>{text}</desc>"
        f'<rect x="{-MARGIN_PX}" y="{-MARGIN_PX - HEADING_PX}" width="100%" height="100%"'
        ' fill="var(--paper)"/>'
        f'<text y="{20 - HEADING_PX}" font-size="20" font-weight="600" fill="var(--ink)">{title}</text>'
        f'<text y="{44 - HEADING_PX}" font-size="14" fill="var(--quiet)">{line}</text>'
    )
    return theme.with_light_colours(
        f'{head} role="img">{words}{body.removesuffix("</svg>")}{below}</svg>\n'
    ).encode()


def _shrink(svg: str) -> str:
    """Return the same drawing as shorter SVG, which a phone parses faster.

    The font is set once instead of on every text, coordinates are cut to hundredths of a pixel,
    neighbouring marks of one style become one path, and roles are removed: for screen readers, the element
    around the drawing is the image.
    """
    font = f' font-family="{theme.FONT.replace(chr(34), "&quot;")}"'

    def shorten_tag(tag: re.Match[str]) -> str:
        shortened = re.sub(r"(\.\d\d)\d+", r"\1", tag[0]).replace(font, "")
        return re.sub(DEFAULT_ATTRIBUTES, "", shortened)

    # Only inside tags: neither Vega's texts nor escaped data contain < or >.
    svg = re.sub(r"<[^<>]*>", shorten_tag, svg).replace("<svg ", f"<svg{font} ", 1)
    return re.sub(SAME_STYLE, _join_paths, re.sub(INVISIBLE, "", svg))


def _join_paths(paths: re.Match[str]) -> str:
    shapes = "".join(re.findall(r' d="([^"]*)"', paths[0]))
    return f'<path d="{shapes}"{paths[1]}/>'


@contextmanager
def translate_chart_errors(action: str) -> Iterator[None]:
    """Raise errors of vl-convert and Altair as ``RenderError``: "a chart could not be <action>"."""
    try:
        yield
    except (ValueError, TypeError) as exc:
        raise RenderError(f"a chart could not be {action}: {exc}") from exc
