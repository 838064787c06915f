"""Pages: templates and what they need. The only room that touches HTML.

Autoescaping is on, and a variable that a template asks for and nobody gave fails the build. Styles
and drawings stand inside each page, so that one request, or one saved file, shows it all. The script
is one small file beside the pages, and everything reads without it.
"""

import base64
import hashlib
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
)
from markupsafe import Markup

from reportgen import theme
from reportgen.bundle import hashed
from reportgen.errors import RenderError
from reportgen.ink import Draft, Sheet
from reportgen.sparklines import HEIGHT
from reportgen.spelling import visible
from reportgen.templates import packaged_templates
from reportgen.values import markdown
from reportgen.views import Page, Site, drawing_key, page_view, window_title


def render(site: Site, pages: Sequence[Page], *, own: Path | None = None, vega: str | None = None) -> Draft:
    """Render every page, script and text file of a release, with holes for its drawings.

    ``own`` is a directory whose templates override ours; ``vega`` the path in the release of the
    bundle that makes charts interactive.

    Raises:
        RenderError: a template is wrong.

    """
    with _border():
        environment = _environment(site, own)
        script = environment.get_template("report.js").render().encode()
        files = {hashed("assets/report.js", script): script}
        environment.globals.update(script=next(iter(files)), vega=vega)
        files["404.html"] = environment.get_template("404.html").render(root="/").encode()
        files["robots.txt"] = environment.get_template("robots.txt").render().encode()
        template = environment.get_template("report.html")
        for page in pages:
            name = page.metrics.window.name
            view = page_view(site, page, root="../", here="")
            files[f"{name}/index.html"] = template.render(view).encode()
            if name == site.default_window:
                view = page_view(site, page, root="", here=f"{name}/")
                files["index.html"] = template.render(view).encode()
    specs = {
        drawing_key(page.metrics.window.name, chart, size): chart.whole(size)
        for page in pages
        for chart in page.charts
        for size in chart.specs
    }
    return Draft(files, specs, [sheet for page in pages for sheet in _sheets(site, page)])


def _sheets(site: Site, page: Page) -> Iterator[Sheet]:
    """Yield each chart as a file of its own."""
    window, spelling = page.metrics.window, site.spelling
    dates = f"{spelling.span(window.span)} \N{MIDDLE DOT} {spelling.count(window.days, 'day')}"
    about = f"{visible(site.name)} \N{MIDDLE DOT} {dates} \N{MIDDLE DOT} {site.timezone}"
    for chart in page.charts:
        key = drawing_key(window.name, chart, "wide")
        yield Sheet(f"{window.name}/{chart.name}.svg", key, chart.title, chart.alt, about)


def intro_html(text: str) -> Markup:
    """Return the intro's HTML."""
    if not text:
        return Markup()
    return Markup(markdown().render(text))  # noqa: S704 - raw HTML is off, and links that run a script are refused


def _environment(site: Site, own: Path | None) -> Environment:
    ours = _Folder(packaged_templates())
    # "reportgen/report.html" names ours even where a file of the user's own overrides it.
    loaders = [*([_Folder(own)] if own else []), ours, PrefixLoader({"reportgen": ours})]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    spelling = site.spelling
    environment.filters.update(
        number=spelling.number, day=spelling.day, span=spelling.span, percent=spelling.percent,
        share=spelling.share, clock=spelling.clock, moment=spelling.moment,
        # Of Vega, which escapes all text in a drawing, and of views, which escapes what ends a script.
        made_here=Markup, window_title=lambda name: window_title(name, spelling),
    )  # fmt: skip
    environment.globals.update(site=site, intro=intro_html(site.intro), spark_height=HEIGHT)
    style = environment.get_template("style.css").render(
        light=Markup(theme.css_variables("light")),  # noqa: S704 - our own constants
        dark=Markup(theme.css_variables("dark")),  # noqa: S704
        font=Markup(theme.FONT),  # noqa: S704
    )
    environment.globals.update(style=Markup(style), policy=_policy(style))  # noqa: S704 - the site's own
    return environment


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
def _border() -> Iterator[None]:
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
