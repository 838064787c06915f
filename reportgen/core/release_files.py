"""The names of a release's files: which must be there, which are pages, and which never change.

Paths are relative to the release and use ``/``.
"""

from collections.abc import Sequence

ASSETS = "assets/"
"""The folder of the scripts. Each name in it contains a hash of the file's content."""

IN_A_RELEASE = ("index.html", "404.html", "robots.txt")
IN_A_WINDOW = ("index.html", "daily.csv", "paths.csv", "report.json")


def required_files(windows: Sequence[str]) -> list[str]:
    """Return the files that every release of these windows has.

    Charts, scripts and compressed forms are not among them: a report without visits has no charts, for
    example. The check of links finds those that a page needs.
    """
    return [*IN_A_RELEASE, *(f"{window}/{name}" for window in windows for name in IN_A_WINDOW)]


def is_asset(name: str) -> bool:
    """Return whether a file never changes under its name."""
    return name.startswith(ASSETS)


def is_page(name: str) -> bool:
    """Return whether a file is an HTML page."""
    return name.endswith(".html")
