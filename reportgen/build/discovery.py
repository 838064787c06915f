"""Find what ``reportgen init`` can make a report of: databases, files and logs, and the tables in them.

:mod:`reportgen.build.visit_tables` says which of the tables hold visits.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from glob import glob
from itertools import groupby
from pathlib import Path
from typing import Any

from reportgen.build.visit_tables import LOG_RANK, Column, FoundSource, Table, readings_of, roles_of
from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, PanelError, ReportgenError, SourceError
from reportgen.core.windows import Span
from reportgen.sources.base import CSV_ENDS, FILE_ENDS, Source, matching_files, name_list, quoted_identifier
from reportgen.sources.csv_files import find_form, first_rows
from reportgen.sources.panel_queries import read_panel
from reportgen.sources.registry import engine_of_file, names_log, open_source

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
TIMEOUT_S = 10
SAMPLE_ROWS = 1000
"""Maximum number of rows of a table that are looked at."""
TABLES = {
    "sqlite": "SELECT '', m.name, p.name, p.type FROM sqlite_master m, pragma_table_info(m.name) p"
    " WHERE m.type IN ('table', 'view') AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, p.cid",
    "postgresql": "SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, NULL), concat_ws('; ',"
    " CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN"
    " format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user) END,"
    " CASE WHEN NOT has_column_privilege(c.oid, a.attnum, 'SELECT') THEN"
    " format('GRANT SELECT ON %s TO %I', c.oid::regclass, current_user) END)"
    " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    " AND NOT c.relispartition AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'"
    " ORDER BY n.nspname, c.relname, a.attnum",
    "": "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns"
    " WHERE table_schema NOT IN ('information_schema', 'pg_catalog')"
    " ORDER BY table_schema, table_name, ordinal_position",
}
"""The statement that lists the columns of all tables: of two engines, and of the others."""


@dataclass
class Discovery:
    """All that was found, the best first, and what could not be used, each with the reason."""

    found: list[FoundSource] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


def find_sources(environ: Mapping[str, str]) -> Discovery:
    """Look into DATABASE_URL if it is set, as a build does; else into files here, and logs of web servers.

    Raises:
        ReportgenError: the source in DATABASE_URL cannot be read.

    """
    result = Discovery()
    if url := environ.get("DATABASE_URL"):
        try:
            _look_into(url, {}, result)
        except ConfigError as exc:
            raise ConfigError(f"DATABASE_URL: {str(exc).removeprefix('source.url: ')}") from None
        result.found.sort(key=lambda each: each.rank)
        return result
    places = [f"{folder}{pattern}" for folder in FOLDERS for pattern in FILES]
    files = sorted({file for place in places for file in glob(place) if Path(file).is_file()})  # noqa: PTH207
    for file in files[:MAX_FILES]:
        try:
            if engine_of_file(file) is None and not file.lower().endswith(FILE_ENDS):
                raise SourceError(f"{file}: neither a SQLite nor a DuckDB database")
            _look_into(file, {"url": file}, result)
        except (ReportgenError, OSError) as exc:
            result.unusable.append(str(exc))
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
    """Add the tables of a database, or a file or logs, that look like visits."""
    if "://" not in url and names_log(url):
        result.found.append(FoundSource(settings, url, "access logs of a web server", LOG_RANK))
        return
    name, tables = _tables(url)
    denied = [f"{table.name}: permission denied. {table.grant}" for table in tables if table.grant]
    found = [each for table in tables for each in readings_of(table) if not table.grant]
    if denied and not found:
        raise SourceError(f"{name}: {'. '.join(denied)}")
    result.unusable += denied
    for each in found:
        place = " of ".join(filter(None, (each.what, name)))
        result.found.append(replace(each, settings={**settings, **each.settings}, what=place))
    if not found:
        parts = [table.name for table in tables if table.name]
        kind = "tables" if parts else "columns"
        parts = parts or [column.name for table in tables for column in table.columns]
        has = f"; its {kind} are: {name_list(parts)}. docs/sources.md has settings for other tools"
        result.unusable.append(f"{name}: no table with a date and a path{has if parts else ''}")


def _tables(url: str) -> tuple[str, list[Table]]:
    """Return the name of a database or file, and its tables; a file is one table without a name."""
    given, today = SourceSettings.model_validate({"url": url}), date.today()  # noqa: DTZ011 - no row is read
    is_file = engine_of_file(url) is None
    if is_file and url.lower().endswith(CSV_ENDS) and (files := matching_files(url)):
        form = find_form(files[0], given.model_copy(update={"query": "any"}))
        return url, [Table("", "", [Column(name, "") for name in form.names], first_rows(form, SAMPLE_ROWS))]
    source = open_source(given, "UTC", Span(today, today))
    source.reads_visits = False
    with source:
        if is_file and url.lower().endswith(FILE_ENDS):
            found = read_panel(source, f"SELECT * FROM metrics LIMIT {SAMPLE_ROWS}", {}, TIMEOUT_S)
            return source.name, [Table("", "", [Column(name, "") for name in found.columns], found.rows)]
        statement = TABLES.get(source.name.partition(":")[0], TABLES[""])
        try:
            rows = read_panel(source, statement, {}, TIMEOUT_S).rows
        except PanelError as exc:
            raise SourceError(f"{source.name}: {exc}") from None
        groups = groupby(rows, key=lambda row: (str(row[0]), str(row[1])))
        tables = [
            Table(*names, [Column(str(row[2]), str(row[3]).lower(), *map(str, row[4:])) for row in group])
            for names, group in groups
        ]
        return source.name, [_with_rows(source, table) for table in tables]


def _with_rows(source: Source, table: Table) -> Table:
    """Return the columns of a table that may be read, with its first rows, if it has a date and a path."""
    roles, readable = roles_of(table.columns), [each for each in table.columns if not each.grant]
    if not all(roles[:2]):
        return table
    if roles_of(readable) != roles:
        return table._replace(grant=next(each.grant for each in table.columns if each.grant))
    table = table._replace(columns=readable)
    columns = ", ".join(quoted_identifier(each.name) for each in readable)
    place = ".".join(map(quoted_identifier, filter(None, (table.schema, table.name))))
    with suppress(PanelError):  # without rows, the types decide
        sql = f"SELECT {columns} FROM {place} LIMIT {SAMPLE_ROWS}"
        return table._replace(rows=read_panel(source, sql, {}, TIMEOUT_S).rows)
    return table
