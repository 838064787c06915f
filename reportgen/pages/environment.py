"""Set up Jinja2: templates, filters, the style sheet and the Content-Security-Policy.

Autoescaping is on, and a build fails on a variable that is not defined. The style sheet is inside each page,
and the page's policy allows it by its hash.
"""

import base64
import hashlib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import (
    BytecodeCache,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
)
from jinja2.bccache import Bucket
from markupsafe import Markup

from reportgen.charts import theme
from reportgen.charts.sparklines import HEIGHT
from reportgen.config.types import SCHEME, markdown
from reportgen.core.errors import RenderError
from reportgen.core.text import LocaleFormatter, window_title
from reportgen.core.words import heading
from reportgen.pages.templates import packaged_templates


def intro_html(text: str) -> Markup:
    """Return the Markdown of the setting ``intro`` as HTML."""
    if not text:
        return Markup()
    return Markup(markdown().render(text))  # noqa: S704 - raw HTML is off, and links that run a script are refused


def prose_html(text: str) -> Markup:
    """Return the Markdown of a panel as HTML. Links that the release may lack are text."""
    parser = markdown()
    tokens = parser.parse(text)
    for child in (child for token in tokens for child in token.children or ()):
        href = str(child.attrs.get("href", "/"))
        if href[:1] != "/" and not SCHEME.match(href):
            del child.attrs["href"]
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 - as above


class CompiledTemplates(BytecodeCache):
    """Cache of the templates that this process has compiled, for its next build, by file and content."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Set the code of a template, if its text is still the same."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


@cache
def compiled_templates(_locale_tag: str) -> CompiledTemplates:
    """Return the cache of a locale: compiled code contains constants that filters have formatted."""
    return CompiledTemplates()


def environment(
    templates_dir: Path | None,
    formatter: LocaleFormatter,
    intro: str,
    *,
    style_sheets: Sequence[str] = ("style.css",),
    **shared: Any,
) -> Environment:
    """Return the Jinja2 environment: templates of ``templates_dir`` override ours.

    Each page contains the ``style_sheets``; ``shared`` are further global variables.
    """
    ours = _TemplateFolder(packaged_templates())
    # "reportgen/report.html" names ours even if a file of the user overrides it.
    loaders = [
        *([_TemplateFolder(templates_dir)] if templates_dir else []),
        ours,
        PrefixLoader({"reportgen": ours}),
    ]
    jinja = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=compiled_templates(formatter.tag),
    )
    jinja.filters.update(
        number=formatter.number, day=formatter.day, span=formatter.span, percent=formatter.percent,
        share=formatter.share, clock=formatter.clock, moment=formatter.moment,
        # For SVG of Vega, which escapes text, and JSON of context.py, which escapes what could end a script.
        made_here=Markup, heading=heading, window_title=lambda name: window_title(name, formatter),
    )  # fmt: skip
    jinja.globals.update(shared, intro=intro_html(intro), spark_height=HEIGHT, words=formatter.words)
    colours = {
        "light": Markup(theme.css_variables("light")),  # noqa: S704 - our own constants
        "dark": Markup(theme.css_variables("dark")),  # noqa: S704
        "font": Markup(theme.FONT),  # noqa: S704
    }
    style = "".join(jinja.get_template(sheet).render(colours) for sheet in style_sheets)
    jinja.globals.update(style=Markup(style), policy=_policy(style))  # noqa: S704 - from the site's own templates
    return jinja


def _policy(style: str) -> str:
    """Return the Content-Security-Policy of every page."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules: dict[str, Any] = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",  # the icon
        "connect-src": "'self'",  # /status.json
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class _TemplateFolder(FileSystemLoader):
    """Templates of a folder; one that is not UTF-8 raises ``RenderError`` with its name."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:
        """Return a template's text, as Jinja2 asks for it."""
        try:
            return super().get_source(environment, template)
        except UnicodeDecodeError as exc:
            raise RenderError(f"{template} cannot be rendered: it is not UTF-8 text") from exc


@contextmanager
def translate_template_errors() -> Iterator[None]:
    """Raise any error in a template as ``RenderError``, with the template's name and line."""
    try:
        yield
    except RenderError:
        raise
    except Exception as exc:
        # Jinja2 puts the files and lines of templates into the traceback.
        frames = traceback.extract_tb(exc.__traceback__)
        places = [frame for frame in frames if not frame.filename.endswith(".py")]
        if not places:
            raise
        where = f"{Path(places[-1].filename).name}, line {places[-1].lineno}"
        what = "there is no such template: " if isinstance(exc, TemplateNotFound) else ""
        raise RenderError(f"{where} cannot be rendered: {what}{exc}") from exc
