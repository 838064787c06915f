"""Where templates stand, and a digest that changes with them. The files are in ``templates/``."""

import hashlib
from pathlib import Path

TEMPLATES = (
    "base.html", "report.html", "404.html", "style.css", "report.js", "robots.txt", "overview.html",
    "overview.css",
)  # fmt: skip
"""The files that a directory of the user's own may override, one by one."""


def packaged_templates() -> Path:
    """Return where our templates stand: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    packed = package / "templates"
    return packed if packed.is_dir() else package.parent / "templates"


def templates_digest(own: Path | None) -> str:
    """Return a digest of all templates: a page changes with them, too."""
    digest = hashlib.sha256()
    for folder in filter(None, (packaged_templates(), own)):
        for file in sorted(file for file in folder.rglob("*") if file.is_file()):
            digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest()
