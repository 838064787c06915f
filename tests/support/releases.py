"""Whole releases to be read in a browser: built from rows of a real table, and served."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from reportgen.build.pipeline import build
from reportgen.config.settings import Config
from reportgen.publish.release import lock_output
from tests.support import hostile

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
WINDOWS = ("today", "7d", "30d")
REPORTS = tuple(f"{window}/index.html" for window in WINDOWS)
PAGES = ("index.html", *REPORTS, "404.html")
DIFFERENT = (*REPORTS, "404.html")
"""All pages but index.html, which is the page of the default window."""

Row = tuple[int, str | bytes | None, int | None]
"""Days ago, path, visits."""

LONG = "/archive/" + "-".join(str(year) for year in range(1990, 2026))
UNRECORDED = {3, 4, 11}

USUAL: list[Row] = [
    *((days, "/", 60 + 7 * days % 31) for days in range(70) if days not in UNRECORDED),
    *(
        (days, f"/post/{n}", 40 - 2 * n + days * n % 7)
        for n in range(1, 15)
        for days in range(70)
        if days not in UNRECORDED and (days + n) % 5
    ),
    *((days, "/about", 12) for days in (0, 1, 2, 5)),
    *((days, LONG, 4) for days in (0, 2, 6, 9)),
    (0, "/only/today", 3),
    *[(2, "/", -1), (2, None, 3), (-1, "/", 3)],
]
"""A small site: paths that come and go, dates without rows, and three invalid rows."""

MANY: list[Row] = [
    (days, f"/p/{n:05}", 1 + 4000 // (n + 1) + days % 3)
    for n in range(10_000)
    for days in range(n % 29, 60, 29)
]
LONG_PATHS: list[Row] = [
    (days, f"/{n}/" + text * (2000 // len(text)), 9 - n)
    for n, text in enumerate(("w", "word ", "a-b/", "\u6f22", "\u05e9", "%D7%A9"))
    for days in range(8)
]


def hostile_rows(*, backwards: bool = False) -> list[Row]:
    """Return each hostile path on every date of two months, most visits first, or the last path first.

    The first three have many more in the last week, so that sentences name them.
    """
    paths = hostile.STORED[::-1] if backwards else hostile.STORED
    return [
        (days, path, 400 - n + (3000 if n < 3 and days < 7 else 0))
        for n, path in enumerate(paths)
        for days in range(60)
    ]


CASES: dict[str, tuple[list[Row] | None, dict[str, Any]]] = {
    "sample": (None, {}),
    "usual": (
        USUAL,
        {"site_url": "https://example.com", "intro": "Read **this**, [or not](https://a.test)."},
    ),
    "empty": ([], {}),
    "one visit": ([(0, "/", 1)], {}),
    "today without visits": ([row for row in USUAL if row[0] > 0], {}),
    "10,000 paths": (MANY, {"site_url": "https://example.com"}),
    "2,000 letters a path": (LONG_PATHS, {}),
    "64 bits": ([(days, "/", 2**56) for days in range(60)], {}),
    "hostile": (hostile_rows(), {"site": '"></title><script>window.__pwned=1</script>'}),
    "hostile, with links": (hostile_rows(backwards=True), {"site_url": "https://example.com"}),
    "de": (USUAL, {"locale": "de", "site_url": "https://example.com"}),
    "ar": (USUAL, {"locale": "ar", "site_url": "https://example.com"}),
    "notes": (USUAL, {"notes_file": Path(__file__).with_name("notes.toml"), "site_url": "https://a.test"}),
    "as of a past day": (USUAL, {"as_of": TODAY - timedelta(days=2)}),
}
"""By name: the rows (none: the sample's) and the settings."""


class Quiet(SimpleHTTPRequestHandler):
    """A static web server without a log."""

    def log_message(self, *_: object) -> None:
        """Write no log."""


@dataclass(frozen=True)
class Published:
    """A release, and the URL of its server."""

    release: Path
    host: str

    def http(self, page: str) -> str:
        """Return a page's address on the server."""
        return f"{self.host}/{page}"

    def file(self, page: str) -> str:
        """Return a page's address as a file."""
        return (self.release / page).as_uri()


Sites = Callable[[str], Published]
"""The fixture ``sites``: called with the name of a case in ``CASES``."""


def store(file: Path, rows: Iterable[Row]) -> None:
    """Write rows into a table of a new database."""
    with closing(sqlite3.connect(file)) as table:
        table.execute("CREATE TABLE metrics (date TEXT, path TEXT, visits INTEGER)")
        stored = (((TODAY - timedelta(days)).isoformat(), path, visits) for days, path, visits in rows)
        table.executemany("INSERT INTO metrics VALUES (?, CAST(? AS TEXT), ?)", stored)
        table.commit()


def released(folder: Path, rows: Iterable[Row] | None, *, as_of: date | None = None, **settings: Any) -> Path:
    """Build a release of the rows in ``folder``, or of the sample."""
    if rows is not None:
        store(folder / "metrics.db", rows)
        url = f"sqlite:///{folder / 'metrics.db'}"
        settings = {"site": "example.com", "source": {"url": url}, "timezone": "Europe/Berlin"} | settings
    with lock_output(folder / "output") as lock:
        return build(Config.model_validate(settings), lock, now=NOW, as_of=as_of, warm=lock.root).path


@contextmanager
def served(release: Path, handler: type[SimpleHTTPRequestHandler] = Quiet) -> Iterator[Published]:
    """Serve a release on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(release)))
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield Published(release, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()
