"""Pages: each window's, those for addresses that are not there, and the script beside them.

Styles and drawings stand inside each page, so that one request, or one saved file, shows it all. The script
is one small file beside the pages, and everything reads without it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reportgen.bundle import hashed
from reportgen.ink import Draft, Sheet
from reportgen.rendering import border, environment
from reportgen.spelling import visible
from reportgen.views import Page, Site, drawing_key, page_view


def render(
    site: Site, pages: Sequence[Page], *, own: Path | None = None, vega: str | None = None, base: str = "/"
) -> Draft:
    """Render every page, script and text file of a release, with holes for its drawings.

    ``own`` is a directory whose templates override ours; ``vega`` the path in the release of the
    bundle that makes charts interactive; ``base`` the path at which the release is served.

    Raises:
        RenderError: a template is wrong.

    """
    with border():
        made = environment(own, site.spelling, site.intro, site=site)
        script = made.get_template("report.js").render().encode()
        files = {hashed("assets/report.js", script): script}
        made.globals.update(script=next(iter(files)), vega=vega)
        files["404.html"] = made.get_template("404.html").render(root=base).encode()
        files["robots.txt"] = made.get_template("robots.txt").render().encode()
        template = made.get_template("report.html")
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
