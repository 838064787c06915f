"""Find what ``reportgen init`` can make a report of: databases, files and logs, and the tables in them.

A table qualifies by its columns: a date and a path, and a number of visits unless each row is one hit.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from glob import glob
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ReportgenError
from reportgen.core.windows import Span
from reportgen.sources.base import CSV_ENDS, FILE_ENDS, name_list, quoted_identifier, usual_column
from reportgen.sources.csv_files import find_form
from reportgen.sources.panel_queries import read_panel
from reportgen.sources.registry import engine_of_file, open_source

LOGS = (
    "/var/log/nginx/access.log*", "/var/log/nginx/*access.log*", "/var/log/apache2/access.log*",
    "/var/log/apache2/other_vhosts_access.log*", "/var/log/httpd/access_log*", "/var/log/caddy/*.log*",
    "/var/log/traefik/access.log*",
)  # fmt: skip
"""Where web servers write their logs."""
FOLDERS = ("", "data/", "db/", "exports/", "logs/")
"""Folders of the working directory in which files are looked for."""
FILES = ("*.db", "*.sqlite", "*.sqlite3", "*.duckdb", *(f"*{end}" for end in FILE_ENDS))
MAX_FILES = 50
"""Maximum number of files that are opened."""
USUAL_TABLES = ("metrics", "visits", "pageviews", "page_views", "views", "hits", "requests", "events")
"""Names of tables of visits, the best first."""
DEFAULTS = {"", "main", "metrics", "public"}
"""Names of schemas and tables that settings need not have."""
TIMEOUT_S = 10
LOG_RANK, HITS_RANK = 15, 20
"""Ranks of logs, and of tables whose rows are hits; a smaller one is offered first."""
TABLES = {
    "sqlite": "SELECT '', m.name, p.name, p.type FROM sqlite_master m, pragma_table_info(m.name) p"
    " WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, p.cid",
    "": "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
    " WHERE table_schema NOT IN ('information_schema', 'pg_catalog')"
    " ORDER BY table_schema, table_name, ordinal_position",
}
"""The statement that lists the columns of all tables: of SQLite, and of the other engines."""


class Column(NamedTuple):
    """A column of a table; ``kind`` is its type in lower case, or empty if it is not known."""

    name: str
    kind: str


class Table(NamedTuple):
    """A table: its schema, its name and its columns."""

    schema: str
    name: str
    columns: Sequence[Column]


@dataclass(frozen=True)
class FoundSource:
    """A table, file or log that may hold visits: its settings in ``[source]``, what it is, and why."""

    settings: Mapping[str, Any]
    what: str
    why: str
    rank: int


@dataclass
class Discovery:
    """All that was found, the best first, and what could not be used, each with the reason."""

    found: list[FoundSource] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


def find_sources(environ: Mapping[str, str]) -> Discovery:
    """Look into DATABASE_URL if it is set, as a build does; else into files here, and logs of web servers."""
    result = Discovery()
    if url := environ.get("DATABASE_URL"):
        _look_into(url, {}, result)
        result.found.sort(key=lambda each: each.rank)
        return result
    places = [f"{folder}{pattern}" for folder in FOLDERS for pattern in FILES]
    files = sorted({file for place in places for file in glob(place) if Path(file).is_file()})  # noqa: PTH207
    for file in files[:MAX_FILES]:
        _look_into(file, {"url": file}, result)
    seen: set[str] = set()
    for pattern in (*LOGS, *(f"{folder}*access*.log*" for folder in FOLDERS)):
        names = set(glob(pattern)) - seen  # noqa: PTH207
        seen |= names
        if not any(map(_has_lines, names)):
            if names and not any(os.access(name, os.R_OK) for name in names):
                result.unusable.append(
                    f"{pattern}: may not be read. On Debian, add the user to the group adm"
                )
            continue
        result.found.append(FoundSource({"url": pattern}, pattern, "access logs of a web server", LOG_RANK))
    result.found.sort(key=lambda each: each.rank)
    return result


def _has_lines(name: str) -> bool:
    with suppress(OSError), Path(name).open("rb") as file:
        return bool(file.read(1))
    return False


def _look_into(url: str, settings: Mapping[str, Any], result: Discovery) -> None:
    """Add the tables of a database, or a file, that look like visits."""
    try:
        name, tables = _tables(url)
    except ReportgenError as exc:
        result.unusable.append(str(exc))
        return
    found = [each for table in tables for each in _qualified(table)]
    for made, what, why, rank in found:
        place = " of ".join(filter(None, (what, name)))
        result.found.append(FoundSource({**settings, **made}, place, why, rank))
    if not found:
        names = name_list([table for _, table, _ in tables if table])
        has = f"its tables are: {names}. docs/sources.md has queries for other tools" if names else ""
        result.unusable.append("; ".join(filter(None, (f"{name}: no table with a date and a path", has))))


def _tables(url: str) -> tuple[str, list[Table]]:
    """Return the name of a database or file, and its tables; a file is one table without a name."""
    given, today = SourceSettings.model_validate({"url": url}), date.today()  # noqa: DTZ011 - no row is read
    is_file = engine_of_file(url) is None
    if is_file and url.lower().endswith(CSV_ENDS):
        form = find_form(url, given.model_copy(update={"query": "any"}))
        return url, [Table("", "", [Column(name, "") for name in form.names])]
    source = open_source(given, "UTC", Span(today, today))
    source.reads_visits = False
    with source:
        if is_file and url.lower().endswith(FILE_ENDS):
            columns = read_panel(source, "SELECT * FROM metrics LIMIT 0", {}, TIMEOUT_S).columns
            return source.name, [Table("", "", [Column(name, "") for name in columns])]
        engine = "sqlite" if source.name.startswith("sqlite") else ""
        rows = read_panel(source, TABLES[engine], {}, TIMEOUT_S).rows
    groups = groupby(rows, key=lambda row: (str(row[0]), str(row[1])))
    return source.name, [
        Table(*names, [Column(str(row[2]), str(row[3]).lower()) for row in group]) for names, group in groups
    ]


def _qualified(table: Table) -> Iterator[tuple[dict[str, Any], str, str, int]]:
    """Yield the settings of a table that looks like visits, what it is, why, and its rank."""
    columns = table.columns
    day = _named("date", columns, "") or next(
        (each.name for each in columns if each.kind.startswith(("date", "timestamp"))), None
    )
    path = _named("path", columns, "char|text|string")
    visits = _named("visits", columns, "int|num|dec|float|double|real")
    if not day or not path:
        return
    what = f'table "{table.name}"' if table.name else ""
    settings: dict[str, Any] = {"schema": table.schema, "table": table.name}
    settings = {key: value for key, value in settings.items() if value not in DEFAULTS}
    name = table.name.lower()
    known = USUAL_TABLES.index(name) if name in USUAL_TABLES else len(USUAL_TABLES)
    if visits:
        names = {"date": day, "path": path, "visits": visits}
        if other := {key: name for key, name in names.items() if key != name}:
            settings["columns"] = other
        yield settings, what, f'date in "{day}", path in "{path}", visits in "{visits}"', known
        return
    place = ".".join(map(quoted_identifier, settings.values())) or '"metrics"'
    if len(settings) == 1 and "schema" in settings:
        place += '."metrics"'
    quoted = map(quoted_identifier, (day, path))
    query = "SELECT {} AS date, {} AS path, 1 AS visits FROM {}".format(*quoted, place)
    yield {"query": query}, what, f'each row is one hit, at "{day}" of "{path}"', HITS_RANK + known


def _named(key: str, columns: Sequence[Column], kinds: str) -> str | None:
    """Return the column that has one of the usual names of ``key``, and a type that fits or is not known."""
    return usual_column(key, [each.name for each in columns if not each.kind or re.search(kinds, each.kind)])
