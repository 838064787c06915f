"""Promises that must hold for any input from visitors and operators: one function for each kind of input.

A harness takes bytes from a fuzzer, and raises if a promise is broken. The bytes are text in UTF-8, whose
fields are separated by lines of ``%%``. The test suite runs the harnesses over ``tests/fuzz/regressions/``;
``tests/fuzz/run.py`` runs them over inputs that increase coverage.
"""

import base64
import json
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr, ValidationError
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerRequest, parse_request_start_line

from reportgen.config.panels import read_panels
from reportgen.config.settings import Config, SourceSettings, load_config, url_secrets
from reportgen.core.cron import next_due
from reportgen.core.errors import ConfigError, PanelError, SourceError, mask_logins, scrub
from reportgen.core.text import LocaleFormatter
from reportgen.core.windows import Span, look_back, make_window
from reportgen.metrics.dataset import make_windows, read_windows
from reportgen.metrics.panels import interpret
from reportgen.pages.context import PATH_SAFE
from reportgen.pages.environment import intro_html
from reportgen.pages.exports import paths_csv
from reportgen.serve.app import CurrentRelease, Handler, application
from reportgen.serve.release_cache import ReleaseCache, Resource, Variant
from reportgen.sources.panel_queries import panel_values, read_panel
from reportgen.sources.registry import open_source
from reportgen.sources.statements import read_daily

PLANT = "Xyzzy1Plugh2"
"""A password, or a part of one, that no output may contain."""

TODAY = date(2026, 11, 23)
MOMENTS = (
    datetime(2026, 11, 23, 16, tzinfo=UTC),
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC),  # an hour that Berlin does not have
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # one that it has twice
    datetime(2011, 12, 30, 9, 59, tzinfo=UTC),  # a date that Apia does not have
)
SLOW_S = 20.0
"""Seconds after which a harness is considered to hang; a statement may take one second."""

Harness = Callable[[bytes], None]


def fields(data: bytes, count: int) -> list[str]:
    """Return ``count`` texts: bytes that are not UTF-8 become lone surrogates, as in the environment."""
    parts = data.decode("utf-8", "surrogateescape").split("\n%%\n", count - 1)
    return [part.removesuffix("\n") for part in parts] + [""] * (count - len(parts))


def shown(text: str) -> None:
    """Check that a text for operators or readers does not contain the planted password."""
    assert PLANT not in text, f"shows the password: {text}"
    assert text.strip(), "an empty message"


@cache
def scratch() -> Path:
    """Return an empty directory of this process."""
    return Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


@contextmanager
def soon() -> Iterator[None]:
    """Fail if the block takes far longer than its timeout."""
    begun = time.monotonic()
    yield
    took = time.monotonic() - begun
    assert took < SLOW_S, f"took {took:.0f} s"


def source_url(data: bytes) -> None:
    """Any URL around a password: scheme, user, both sides of the password, the rest, a parameter's name."""
    scheme, user, before, after, rest, key = fields(data, 6)
    login = f"{before}{PLANT}{after}"
    if set(scheme) & set("/:?"):  # then what follows is a file's name, and no login
        _one_url(scheme + rest)
        return
    urls = [f"{scheme}://{user}:{login}@{rest}"]
    if re.search("pass|secret|token|key", key, re.IGNORECASE) and not set(key) & set("&#="):
        urls.append(f"{scheme}://{user}@{rest.partition('#')[0]}{'&' if '?' in rest else '?'}{key}={login}")
    for url in urls:
        _one_url(url)


def _one_url(url: str) -> None:
    try:
        config = load_config(_file("empty.toml", ""), {"DATABASE_URL": url})
    except ConfigError as exc:
        shown(str(exc))
        return
    shown(repr(config))
    secrets = config.secrets
    shown("log: " + mask_logins(scrub(f"connecting to {url} failed", secrets)))
    assert secrets == url_secrets(url)
    try:
        source = open_source(config.source, "UTC", Span(TODAY, TODAY))
        shown(source.name)
        if source.name.startswith("postgresql"):
            _refused_by_libpq(url, source)
        else:
            with source:
                pass
    except (ConfigError, SourceError) as exc:
        shown(mask_logins(str(exc)))  # as the command line prints it


def _refused_by_libpq(url: str, source: Any) -> None:
    """Let libpq parse the URL, without a connection."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError as exc:
        shown(mask_logins(source.message_of(exc)))
    except (UnicodeError, ValueError) as exc:
        shown(mask_logins(source.message_of(exc)))


def _file(name: str, text: str) -> Path:
    file = scratch() / name
    file.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    return file


def configuration(data: bytes) -> None:
    """Any file and any variables: TOML, then lines ``NAME=value``. ``{URL}`` is one with a password."""
    toml, lines = fields(data, 2)
    url = f"postgresql://reader:{PLANT}@db.example.com/site"
    toml, lines = toml.replace("{URL}", url), lines.replace("{URL}", url).replace("\0", "")
    environ = {
        name: value for name, mark, value in (line.partition("=") for line in lines.splitlines()) if mark
    }
    try:
        config = load_config(_file("reportgen.toml", toml), environ)
    except ConfigError as exc:
        for line in str(exc).split("\n"):
            shown(mask_logins(line))
        return
    usable(config)


def usable(config: Config) -> None:
    """Check that a build can use any settings that are valid."""
    shown(repr(config.source.url))
    formatter = LocaleFormatter.of(config.locale)
    for moment in MOMENTS:
        due = next_due(config.schedule, config.zone, moment, config.jitter_s)
        assert due.at > moment
        assert due.grace_s > 0
        assert formatter.moment(moment.astimezone(config.zone))
    for value in (0, 1, -1, 1234, 2**63 - 1, -(2**63)):
        assert formatter.number(value)
        assert formatter.signed(value)
    for share in (0.0, 0.00001, 0.5, 1.0, 1e18, -1.0, None):
        assert formatter.percent(share)
        assert share is None or formatter.share(share)
    assert formatter.span(Span(date(2024, 2, 29), date(2026, 1, 1)))
    assert formatter.vega_locale()
    json.dumps(formatter.vega_locale()).encode()
    windows = make_windows(config, TODAY, today_complete=False)
    assert all(1 <= window.days <= 1100 for window in windows)
    assert look_back(windows).last == TODAY
    for text in (config.site or "", config.intro, config.site_url or "", config.timezone, config.schedule):
        text.encode()  # a page can hold it


def settings(data: bytes) -> None:
    """Any text for settings with a syntax of their own: schedule, locale, zone, address and more."""
    names = ("schedule", "locale", "timezone", "site_url", "windows", "site", "intro")
    given = {name: text for name, text in zip(names, fields(data, len(names)), strict=True) if text}
    for name, text in given.items():
        environ = {f"REPORTGEN_{name.upper()}": text}
        if name == "windows":
            environ["REPORTGEN_DEFAULT_WINDOW"] = text.partition(",")[0].strip()
        try:
            config = load_config(_file("empty.toml", ""), environ)
        except ConfigError as exc:
            shown(str(exc))
            continue
        usable(config)
        if config.site_url:
            _leads_to_the_site(config.site_url)


def _leads_to_the_site(address: str) -> None:
    from urllib.parse import quote, urlsplit

    parts = urlsplit(address + quote("/a b?c", safe=PATH_SAFE))
    assert parts.scheme in {"http", "https"}, address
    assert parts.hostname


class _Links(HTMLParser):
    ALLOWED = frozenset(["p", "em", "strong", "a", "code", "pre", "ul", "ol", "li", "blockquote", "hr", "br"])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Allow only elements that Markdown makes."""
        assert tag in self.ALLOWED, f"an element {tag}"
        for name, value in attrs:
            assert name in {"href", "title", "class", "start"}, f"an attribute {name}"
            if name == "href":
                # Browsers ignore blanks around a URL, and line breaks and tabs inside it.
                plain = re.sub("[\t\n\r]", "", (value or "").strip("".join(map(chr, range(0x21)))))
                scheme = re.match("([a-z][a-z0-9+.-]*):", plain, re.IGNORECASE)
                bad = scheme and scheme[1].lower() in {"javascript", "vbscript", "data", "file", "blob"}
                assert not bad or plain.lower().startswith("data:image/"), f"a link to {value}"

    def handle_comment(self, data: str) -> None:
        """Allow no comment."""
        raise AssertionError(f"a comment {data}")

    def handle_decl(self, decl: str) -> None:
        """Allow no declaration."""
        raise AssertionError(f"a declaration {decl}")

    unknown_decl = handle_pi = handle_decl


def intro(data: bytes) -> None:
    """Any Markdown: the page gets text, and links that run no script."""
    try:
        text = Config.model_validate({"intro": data.decode("utf-8", "surrogateescape")}).intro
    except ValidationError:
        return
    with soon():
        html = str(intro_html(text))
    html.encode()
    parser = _Links()
    parser.feed(html)
    parser.close()


ROWS = [("2026-11-23", "/", 3), ("2026-11-22", "/a", 5), ("2026-11-20", "/'\"", 7), ("2026-11-02", None, 1)]
TABLE = 'CREATE TABLE metrics ("date" TEXT, path TEXT, visits BIGINT)'


@cache
def databases() -> tuple[Path, Path, dict[str, bytes]]:
    """Make an SQLite and a DuckDB file in a directory of their own; return them and all bytes there."""
    folder = scratch() / "databases"
    folder.mkdir()
    with sqlite3.connect(folder / "m.db") as lite:
        lite.execute(TABLE)
        lite.executemany("INSERT INTO metrics VALUES (?, ?, ?)", ROWS)
    lite.close()
    with duckdb.connect(folder / "m.duckdb") as duck:
        duck.execute(TABLE)
        duck.executemany("INSERT INTO metrics VALUES (?, ?, ?)", ROWS)
    return folder / "m.db", folder / "m.duckdb", _contents(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def sqlite_query(data: bytes) -> None:
    """Any query, table and column names, on SQLite."""
    _query(f"sqlite:///{databases()[0]}", data)


def duckdb_query(data: bytes) -> None:
    """Any query, table and column names, on DuckDB."""
    _query(f"duckdb:///{databases()[1]}", data)


def _query(url: str, data: bytes) -> None:
    """Read with any ``[source]``: a report or a clear error, in time, and nothing is written anywhere."""
    lite, _, before = databases()
    query, table, schema, day, path = fields(data, 5)
    query = query.replace("{DIR}", str(lite.parent))
    columns = {name: value for name, value in (("date", day), ("path", path)) if value}
    given: dict[str, Any] = {"query": query, "table": table, "schema": schema, "columns": columns}
    given = {name: value for name, value in given.items() if value}
    try:
        source_settings = SourceSettings(url=SecretStr(url), statement_timeout_s=1, **given)
    except ValidationError:
        return
    windows = [make_window(name, TODAY, today_complete=False) for name in ("today", "7d")]
    try:
        with soon(), open_source(source_settings, "UTC", look_back(windows)) as source:
            found = read_windows(source, windows, 5, paths_csv)
        for window, listed in zip(windows, found.paths, strict=True):
            assert found.daily.sum_over(window.span) >= sum(row.visits for row in listed.listed)
            listed.csv.decode()
    except (SourceError, ConfigError) as exc:
        shown(str(exc))
        str(exc).encode()  # it can be printed
    finally:
        assert _contents(lite.parent) == before, "something was written"


@cache
def _shelf() -> ReleaseCache:
    """Return a small release in memory."""

    def resource(name: str) -> Resource:
        common, variants = {"content-type": "text/html; charset=utf-8"}, {}
        for coding in ("identity", "br", "gzip"):
            variants[coding] = Variant(f"{coding}{name}".encode(), {**common, "etag": f'"{coding}"'})
        return Resource(variants)

    names = ("/", "/index.html", "/7d/", "/7d/index.html", "/7d/report.json", "/404.html")
    return ReleaseCache("id", {name: resource(name) for name in names})


def _app(password: str | None) -> Handler:
    """Return the web application, before its first request."""
    published = CurrentRelease(scratch())
    published.cache = _shelf()
    return application(
        published, lambda: {"stale": False}, password=password, client_header="X-Forwarded-For"
    )


def request(data: bytes) -> None:
    """Any request that Tornado takes for valid: method, target, then header lines ``name: value``."""
    method, target, lines = fields(data, 3)
    headers = HTTPHeaders({"Host": "example.com"})
    for name, mark, value in (line.partition(":") for line in lines.split("\n")):
        with suppress(HTTPInputError):
            if mark and name.strip().lower() != "host":
                headers.add(name.strip(), value.strip().encode("utf-8", "surrogateescape").decode("latin-1"))
    try:
        sent = target.encode("utf-8", "surrogateescape").decode("latin-1")
        start_line = parse_request_start_line(f"{method} {sent} HTTP/1.1")
        HTTPServerRequest(start_line=start_line, headers=headers)
    except HTTPInputError:
        return
    right = "Basic " + base64.b64encode(f"reader:{PLANT}".encode()).decode()
    known = HTTPHeaders({**headers, "Authorization": right})
    for password, given in ((PLANT, headers), (PLANT, known), (None, headers)):
        asked = HTTPServerRequest(start_line=start_line, headers=given)
        status, answered, body = _app(password)(asked)
        assert status in {200, 304, 308, 401, 404, 405, 429}, status
        lines = [f"{name}: {value}" for name, value in answered.items()]
        assert [line for line in lines if not re.fullmatch(r"[a-z-]+: [^\r\n\0]*", line)] == []
        assert PLANT.encode() not in body
        own = {form.body for each in _shelf().resources.values() for form in each.variants.values()}
        if status == 200 and asked.path not in {"/healthz", "/healthz/fresh", "/status.json"}:
            knew = any(PLANT.encode() in _decoded(value) for value in given.get_list("Authorization"))
            assert knew or not password, "let in without the password"
            assert body in own


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value.partition(" ")[2] + "==")
    except ValueError:
        return b""


def spelled_rows(data: bytes) -> None:
    """Any rows through a whole release without drawings: see ``tests/fuzz/pipeline.py``."""
    from tests.fuzz import pipeline

    pipeline.fuzzed(data)


def panel(data: bytes) -> None:
    """Any file of a panel, on SQLite and DuckDB: plain rows or one clear line, and nothing is written."""
    folder = scratch() / "panels"
    folder.mkdir(exist_ok=True)
    (folder / "a.md").write_bytes(data.replace(b"{PLANT}", PLANT.encode()))
    config = Config(panels_dir=folder)
    with soon():
        (found,) = read_panels(config)
    assert found.title.encode()
    if found.problem:
        _one_line(found.problem.removeprefix(f"{folder}/"))
        return
    lite, duck, before = databases()
    window = make_window("7d", TODAY, today_complete=False)
    for url in (f"sqlite:///{lite}", f"duckdb:///{duck}"):
        settings = SourceSettings(url=SecretStr(url), statement_timeout_s=1)
        with soon(), open_source(settings, "UTC", window.span) as source:
            try:
                rows = read_panel(source, found.sql or "SELECT 1", panel_values(window, "UTC"), 0.5)
                json.dumps([rows.columns, rows.rows], allow_nan=False).encode()
                assert all(len(row) == len(rows.columns) for row in rows.rows)
                interpret(found, rows, window)
            except PanelError as exc:
                _one_line(str(exc))
            assert read_daily(source, window.span).rows == 3, "the report reads something else"
        assert _contents(lite.parent) == before, "something was written"


def _one_line(text: str) -> None:
    assert text.strip(), "an empty message"
    assert "\n" not in text, f"more than one line: {text}"
    text.encode()  # it can be printed


HARNESSES: dict[str, Harness] = {
    "url": source_url,
    "config": configuration,
    "settings": settings,
    "intro": intro,
    "sqlite": sqlite_query,
    "duckdb": duckdb_query,
    "request": request,
    "rows": spelled_rows,
    "panel": panel,
}
