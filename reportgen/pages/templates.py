"""Find the templates, and compute a digest of them. The files are in ``templates/``."""

import hashlib
from pathlib import Path

TEMPLATES = (
    "base.html", "report.html", "404.html", "style.css", "report.js", "robots.txt", "overview.html",
    "overview.css", "panel.html", "panel.css",
)  # fmt: skip
"""The files that a user's ``templates_dir`` may override, one by one."""


def packaged_templates() -> Path:
    """Return the folder of our templates: in the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"


def templates_digest(templates_dir: Path | None) -> str:
    """Return a digest of our templates and the user's, from their names and contents."""
    digest = hashlib.sha256()
    for folder in filter(None, (packaged_templates(), templates_dir)):
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
