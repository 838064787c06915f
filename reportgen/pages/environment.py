"""Templates, style sheet and policy: the only room that touches HTML.

Autoescaping is on, and a variable that a template asks for and nobody gave fails the build. Styles stand
inside each page, and the page's policy names them by their hash.
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
from reportgen.config.types import markdown
from reportgen.core.errors import RenderError
from reportgen.core.formatting import LocaleFormatter, window_title
from reportgen.pages.templates import packaged_templates


def intro_html(text: str) -> Markup:
    """Return the intro's HTML."""
    if not text:
        return Markup()
    return Markup(markdown().render(text))  # noqa: S704 - raw HTML is off, and links that run a script are refused


class Compiled(BytecodeCache):
    """Templates that this process has compiled, for its next report, by place and text."""

    def __init__(self) -> None:
        self._codes: dict[str, tuple[str, Any]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the code of a template, if its text is still the same."""
        checksum, code = self._codes.get(bucket.key, ("", None))
        if checksum == bucket.checksum:
            bucket.code = code

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code of a template."""
        self._codes[bucket.key] = (bucket.checksum, bucket.code)


@cache
def compiled(_tag: str) -> Compiled:
    """Return what is compiled for a locale: Jinja writes what a filter makes of a constant into the code."""
    return Compiled()


def environment(
    own: Path | None,
    formatter: LocaleFormatter,
    intro: str,
    *,
    sheets: Sequence[str] = ("style.css",),
    **shared: Any,
) -> Environment:
    """Return what renders templates: those of the directory ``own`` before ours.

    Each page holds the style ``sheets``, and every template knows what is ``shared``.
    """
    ours = _Folder(packaged_templates())
    # "reportgen/report.html" names ours even where a file of the user's own overrides it.
    loaders = [*([_Folder(own)] if own else []), ours, PrefixLoader({"reportgen": ours})]
    made = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        bytecode_cache=compiled(formatter.tag),
    )
    made.filters.update(
        number=formatter.number, day=formatter.day, span=formatter.span, percent=formatter.percent,
        share=formatter.share, clock=formatter.clock, moment=formatter.moment,
        # Of Vega, which escapes all text in a drawing, and of views, which escapes what ends a script.
        made_here=Markup, window_title=lambda name: window_title(name, formatter),
    )  # fmt: skip
    made.globals.update(shared, intro=intro_html(intro), spark_height=HEIGHT)
    colours = {
        "light": Markup(theme.css_variables("light")),  # noqa: S704 - our own constants
        "dark": Markup(theme.css_variables("dark")),  # noqa: S704
        "font": Markup(theme.FONT),  # noqa: S704
    }
    style = "".join(made.get_template(sheet).render(colours) for sheet in sheets)
    made.globals.update(style=Markup(style), policy=_policy(style))  # noqa: S704 - the site's own
    return made


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


class _Folder(FileSystemLoader):
    """Templates of a folder; one that is no text is told by its name."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Any]:
        """Return a template's text, as Jinja2 asks for it."""
        try:
            return super().get_source(environment, template)
        except UnicodeDecodeError as exc:
            raise RenderError(f"{template} cannot be rendered: it is no UTF-8 text") from exc


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn whatever goes wrong in a template into our error, with the template's name and line."""
    try:
        yield
    except RenderError:
        raise
    except Exception as exc:
        # Jinja2 writes the templates' own files and lines into the traceback.
        frames = traceback.extract_tb(exc.__traceback__)
        places = [frame for frame in frames if not frame.filename.endswith(".py")]
        if not places:
            raise
        where = f"{Path(places[-1].filename).name}, line {places[-1].lineno}"
        what = "there is no such template: " if isinstance(exc, TemplateNotFound) else ""
        raise RenderError(f"{where} cannot be rendered: {what}{exc}") from exc
