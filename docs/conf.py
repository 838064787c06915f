"""The documents as a site: `make docs` writes it to dist/docs/.

The pages are the Markdown files as they are in the repository; README.md is the first of them. Sphinx reads
from the top of the repository, so each relative link leads to the same file as on a code host.
"""

import re
import shutil

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

GROUPS = {
    "Tasks": (
        "docs/install",
        "docs/getting-data-in",
        "counter/README",
        "docs/sources",
        "docs/logs",
        "docs/paths",
        "docs/panels",
        "docs/sites",
        "docs/templates",
        "docs/deploy-systemd",
        "docs/deploy-fly",
        "docs/deploy-fly-scheduled",
        "docs/object-storage",
        "docs/deploy-pages",
        "docs/reading-the-report",
    ),
    "Reference": ("docs/reference", "docs/engines", "SECURITY", "CHANGELOG"),
    "Reasons": (
        "docs/architecture",
        "docs/reliability",
        "docs/performance",
        "docs/growth",
        "docs/page-quality",
        "bench/README",
        "CONTRIBUTING",
    ),
}
"""Each document, in the order of the navigation. Sphinx warns of a document that is in no group."""

project = "reportgen"
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "counter/README.md", "bench/README.md"]
exclude_patterns = [
    ".*",
    "dist",
    "output",
    "reportgen",
    "tests",
    "bench/rivals",
]  # not to be searched for files
nitpicky = True
myst_heading_anchors = 6
html_theme = "furo"
html_title = "reportgen"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False
html_use_index = False


def adapt_text(_app: Sphinx, name: str, content: list[str]) -> None:
    """Show titles in place of the names of files, and give the first page the navigation."""
    content[0] = re.sub(r"\[[\w/.-]+\.md\](?=\()", "[]", content[0])
    if name == root_doc:
        for caption, names in GROUPS.items():
            listed = "\n".join(f"/{each}" for each in names)
            content[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def drop_links_to_directories(app: Sphinx, document: nodes.document) -> None:
    """Keep only the text of a link to a directory of the repository: the site has no page of it."""
    for link in list(document.findall(pending_xref)):
        target = link["reftarget"]
        if "/" in target and (app.srcdir / app.env.docname).parent.joinpath(target).is_dir():
            link.replace_self(link.children)


def add_index(app: Sphinx, error: Exception | None) -> None:
    """Give the first page the name that web servers and people look for."""
    if error is None:
        shutil.copy(app.outdir / "README.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    """Connect the functions to Sphinx."""
    app.connect("source-read", adapt_text)
    app.connect("doctree-read", drop_links_to_directories)
    app.connect("build-finished", add_index)
