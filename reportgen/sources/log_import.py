"""Add the visits in access logs to a table, and count each line exactly once.

For each log the table ``reportgen_import`` holds a digest of its beginning, and the number of bytes that were
counted. Both are written in the transaction that adds the visits. A file is known by its beginning, so that
it may be renamed or packed; lines that were added are counted from the stored position on.
"""

import hashlib
import os
import shutil
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import psycopg
from pydantic import SecretStr

from reportgen.config.settings import Config, SourceSettings
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable, mask_logins
from reportgen.sources.base import REASONS, Finding, LeftOut, file_from_url, open_bytes, quoted_identifier
from reportgen.sources.errors import to_source_error
from reportgen.sources.logs import Example, LogSource, log_format_of, matching_logs, why_no_file
from reportgen.sources.postgres import message_of, open_connection, public_name, understood_url

PREFIX_BYTES = 4096
"""Maximum number of bytes at the beginning of a log by which it is known."""
COPY_BYTES = 1 << 20
MAX_PATH_BYTES = 1000
"""Maximum length of a stored path: PostgreSQL cannot index more than 2,700 bytes."""
JUDGED_LINES = 100
"""Minimum number of new lines of which at most a tenth may be unreadable; of fewer, all may be."""
MAX_EXAMPLES = 5
AGAIN = "import it again"
CREATE = "Run reportgen import --create once, which creates what is missing"
DIRECTORY = "Create the directory, and let this user write in it"
WAIT_S = 60
"""Maximum time to wait for another import that writes the same tables."""


class Position(NamedTuple):
    """How far a log was counted; it is known by the digest of its first ``prefix_bytes`` bytes."""

    prefix_bytes: int
    prefix_sha256: str
    bytes_counted: int


@dataclass
class ImportResult:
    """What an import of logs counted."""

    files: int = 0
    visits: int = 0
    left_out: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Requests by reason, kind and name."""
    examples: list[Example] = field(default_factory=list)
    """At most :data:`MAX_EXAMPLES` requests left out, each for another reason."""

    @property
    def lines(self) -> int:
        """Number of lines that were counted."""
        return self.visits + self.left_out.total()

    @property
    def counts(self) -> dict[str, int]:
        """The counts of files with new lines, of these lines, and of visits."""
        return {"files": self.files, "lines": self.lines, "visits": self.visits}

    @property
    def requests_left_out(self) -> list[LeftOut]:
        """The requests that are not visits, in the order of the reasons, those with the most first."""
        rows = [LeftOut(*key, requests) for key, requests in self.left_out.items()]
        return sorted(rows, key=lambda row: (REASONS.index(row.reason), -row.requests, row.kind, row.name))


def import_logs(
    config: Config,
    patterns: Sequence[str],
    into: SecretStr | None,
    *,
    create: bool = False,
    dry_run: bool = False,
) -> ImportResult:
    """Add the visits of all lines that are not counted yet to the table of ``config.source``, in ``into``.

    With ``create``, missing tables are created. With ``dry_run`` nothing is written.

    Raises:
        ConfigError: no log is named, or no database of PostgreSQL or SQLite.
        SourceError: a log cannot be read, or the table cannot be written. The files before it are counted.

    """
    if not patterns:
        raise ConfigError("import: name a log, such as '/var/log/nginx/access.log*', or set import.logs")
    if into is None:
        raise ConfigError("import: name the database with --into URL, or set REPORTGEN_IMPORT__INTO")
    files = [file for pattern in patterns for file in _files_of(pattern)]
    result = ImportResult()
    with ExitStack() as opened:
        table = opened.enter_context(
            open_table(config.source, into.get_secret_value(), create=create, dry_run=dry_run)
        )
        lines = opened.enter_context(TemporaryFile())  # has no name: also a killed process leaves nothing
        file = ", ".join(patterns)
        with table.transaction():
            pass  # the tables are there, also if there are no lines
        try:
            for file in sorted(dict.fromkeys(files), key=lambda name: (os.stat(name).st_mtime_ns, name)):  # noqa: PTH116
                _import_file(config, file, table, lines, result)
        except (OSError, EOFError, zlib.error) as exc:
            raise SourceUnavailable(f"{file}: {exc}. Nothing of this log was counted; {AGAIN}") from None
    return result


def check_logs(config: Config) -> Finding:
    """Return how many logs match, and their formats."""
    files = [file for pattern in config.import_.logs for file in _files_of(pattern)]
    forms = {form.name for file in files if (form := log_format_of(file, config.source.log))}
    listed = ", ".join(sorted(forms)) or "no lines yet"
    return Finding("ok", "import", f"logs: {len(files)} {'file' if len(files) == 1 else 'files'}: {listed}")


def check_table(config: Config) -> Finding:
    """Write to each table of an import, roll that back, and return where it was."""
    into = config.import_.into
    assert into is not None  # noqa: S101 - ImportSettings asks for it
    with (
        open_table(
            config.source, into.get_secret_value(), create=config.import_.create, dry_run=True
        ) as table,
        table.transaction(rehearse=True),
    ):
        day, position = date(2000, 1, 1), Position(0, "", 0)
        table.add([(day, "/", 0)], {(day, "error"): 0})
        table.save(position, position)
    said, source_url = f"into: {table.name} can be written", config.source.url.get_secret_value()
    if _last_part(source_url) != _last_part(into.get_secret_value()):
        said += (
            f". Let source.url name this database, too: {mask_logins(source_url)} does not show its visits"
        )
        return Finding("warning", "import", said)
    return Finding("ok", "import", said)


def _last_part(url: str) -> str:
    """Return the name of the database or file in a URL."""
    return url.partition("?")[0].rpartition("/")[2]


def _import_file(config: Config, file: str, table: "Table", lines: IO[bytes], result: ImportResult) -> None:
    """Count the new lines of one log in one transaction; ``lines`` is a temporary file for them."""
    form = log_format_of(file, config.source.log)
    if form is None:
        return
    with open_bytes(file) as stream, table.transaction():
        head = stream.read(PREFIX_BYTES)
        known = _position_of(head, table.positions())
        start = known.bytes_counted if known else 0
        stream.seek(start)
        size = _copy_lines(stream, lines, whole=not file.lower().endswith(".gz"))
        stream.seek(0)
        if stream.read(len(head)) != head:  # logrotate's copytruncate: other lines may follow than those
            raise SourceUnavailable(
                f"{file}: was cut while it was read. Nothing of this log was counted; {AGAIN}"
            )
        if not size:
            return
        url = SecretStr(f"log:/proc/self/fd/{lines.fileno()}")
        settings = config.source.model_copy(update={"url": url, "query": None})
        name = f"{file}: after byte {start:,}" if start else file
        log_source = LogSource(
            settings, config.timezone, date.min, form=form, name=name, judged_lines=JUDGED_LINES
        )
        with log_source as log:
            visits = list(log.rows("SELECT day, path, visits FROM visits", {}))
            left_out = list(log.rows("SELECT day, reason, kind, name, requests FROM left_out", {}))
            for example in log.examples_left_out() if len(result.examples) < MAX_EXAMPLES else ():
                reasons = {each.reason for each in result.examples}
                if example.reason not in reasons and len(reasons) < MAX_EXAMPLES:
                    result.examples.append(example)
        result.files += 1
        result.visits += sum(count for _, _, count in visits)
        for _, reason, kind, program, requests in left_out:
            result.left_out[reason, kind, program] += int(requests)
        last = max((day for day, *_ in (*visits, *left_out) if day), default=datetime.now(config.zone).date())
        by_reason: Counter[tuple[date, str]] = Counter()
        for day, reason, _, _, requests in left_out:
            by_reason[day or last, reason] += int(requests)
        table.add(visits, by_reason)
        prefix = head[: min(len(head), start + size)]
        table.save(known, Position(len(prefix), _digest(prefix), start + size))


def _position_of(head: bytes, positions: Sequence[Position]) -> Position | None:
    """Return the stored position of the log that begins with ``head``: of several the one known by most."""
    for known in sorted(positions, reverse=True):
        if known.prefix_bytes <= len(head) and _digest(head[: known.prefix_bytes]) == known.prefix_sha256:
            return known
    return None


def _stored_path(path: str) -> str:
    """Return a path that PostgreSQL can hold: without NUL, and cut."""
    cut = path.replace("\0", "\ufffd").encode(errors="replace")[:MAX_PATH_BYTES]
    return cut.decode(errors="ignore")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _copy_lines(stream: IO[bytes], copy: IO[bytes], *, whole: bool) -> int:
    """Let ``copy`` hold what follows in ``stream``, and return its size.

    With ``whole`` a line without an end, which the server is still writing, is left for the next time.
    """
    copy.seek(0)
    copy.truncate()
    shutil.copyfileobj(stream, copy, COPY_BYTES)
    size = end = copy.tell()
    while whole and end > 0:
        begin = max(0, end - COPY_BYTES)
        copy.seek(begin)
        found = copy.read(end - begin).rfind(b"\n")
        if found >= 0:
            size = begin + found + 1
            break
        size = end = begin
    copy.truncate(size)
    return size


def _files_of(pattern: str) -> list[str]:
    found = matching_logs(pattern)
    if not found:
        raise SourceUnavailable(f"{pattern}: {why_no_file(pattern)}")
    return found


@contextmanager
def open_table(settings: SourceSettings, into: str, *, create: bool, dry_run: bool) -> Iterator["Table"]:
    """Connect to the database of the URL ``into``; ``create`` creates the file and the tables if missing."""
    scheme = into.partition("://")[0].lower()
    is_sqlite = scheme == "sqlite"
    try:
        if is_sqlite:
            file = file_from_url(into, "sqlite")
            url = name = f"sqlite:///{file}"
            if not file.exists():
                if not create:
                    raise SourceUnavailable(f"{name}: no such file. {CREATE}")
                if not os.access(file.absolute().parent, os.W_OK | os.X_OK):
                    raise SourceUnavailable(f"{name}: cannot be created. {DIRECTORY}")
        elif scheme.partition("+")[0] in {"postgresql", "postgres", "ecto"}:
            url, schema, _ = understood_url(into)
            name = public_name(url)
            settings = settings.model_copy(update={"schema_": settings.schema_ or schema})
        else:
            form = "is not a database to write: write postgresql://user@host/database or sqlite:///file.db"
            raise ConfigError(f"import.into: {mask_logins(into)} {form}")  # noqa: TRY301
        connection: Any
        if is_sqlite:
            opened = ":memory:" if dry_run and not file.exists() else file
            connection = sqlite3.connect(opened, timeout=WAIT_S, isolation_level=None)
        else:
            connection = open_connection(url, settings.connect_timeout_s)
        with closing(connection):
            yield Table(connection, settings, name, is_sqlite=is_sqlite, create=create, dry_run=dry_run)
    except ConfigError as exc:
        raise ConfigError(str(exc).replace("source.url:", "import.into:", 1)) from None
    except (sqlite3.Error, psycopg.Error) as exc:
        raise _write_error(exc, name, message_of(exc, url), settings) from None


def _write_error(exc: Exception, name: str, message: str, settings: SourceSettings) -> SourceError:
    """Return the error of a table that cannot be written, with what to do."""
    kind, text = type(exc).__name__, message.lower()
    columns = settings.columns
    if "no such table" in text or kind == "UndefinedTable":
        return SourceError(f"{name}: {message}. {CREATE}")
    if "on conflict" in text:
        unique = f'CREATE UNIQUE INDEX ON "{settings.table}" ("{columns.date}", "{columns.path}")'
        return SourceError(f"{name}: the table has no unique key of date and path: {unique};")
    if "no column named" in text or kind == "UndefinedColumn":
        return SourceError(
            f"{name}: {message}. Set table and columns in [source] to those of the table; left_out needs the "
            "columns date, reason and requests"
        )
    if "is a view" in text:
        return SourceError(f"{name}: {message}. Set source.table to the table behind it")
    if "not null constraint" in text or kind == "NotNullViolation":
        return SourceError(f"{name}: {message}. Give the other columns of the table a default")
    if "unable to open" in text:
        return SourceError(f"{name}: {message}. {DIRECTORY}")
    if "readonly" in text:
        return SourceError(f"{name}: {message}. Let this user write to the file and to its directory")
    if "permission denied for schema" in text:
        schema = quoted_identifier(settings.schema_ or "public")
        return SourceError(
            f"{name}: {message}. To create tables, the role needs GRANT USAGE, CREATE ON SCHEMA {schema}; or"
            " let another role run reportgen import --create once"
        )
    if kind == "InsufficientPrivilege":
        tables = f'"{settings.table}", left_out, reportgen_import'
        return SourceError(
            f"{name}: {message}. The role that imports needs GRANT SELECT, INSERT, UPDATE, DELETE ON {tables}"
        )
    return to_source_error(exc, name, message, WAIT_S, f"Nothing of this log was counted; {AGAIN}")


class Table:
    """The tables that an import writes: visits, requests left out, and how far each log was counted."""

    def __init__(
        self,
        connection: Any,
        settings: SourceSettings,
        name: str,
        *,
        is_sqlite: bool,
        create: bool,
        dry_run: bool,
    ) -> None:
        """``name`` is the database's URL without secrets."""
        schema = settings.schema_ or ("main" if is_sqlite else "public")
        self.name = name
        self._connection = connection
        self._is_sqlite = is_sqlite
        self._creates, self._dry_run = create, dry_run
        self._visits, self._left_out, self._positions = (
            f"{quoted_identifier(schema)}.{quoted_identifier(name)}"
            for name in (settings.table, "left_out", "reportgen_import")
        )
        columns = settings.columns
        self._columns = [quoted_identifier(name) for name in (columns.date, columns.path, columns.visits)]

    def _create(self) -> None:
        """Create the tables that are missing."""
        day, path, visits = self._columns
        date_type = "text" if self._is_sqlite else "date"
        number, text = "bigint NOT NULL DEFAULT 0", "text NOT NULL"
        tables = {
            self._visits: (f"{day} {date_type} NOT NULL, {path} {text}, {visits} {number}", f"{day}, {path}"),
            self._left_out: (f"date {date_type} NOT NULL, reason {text}, requests {number}", "date, reason"),
            self._positions: (
                f"target {text}, prefix_sha256 {text}, prefix_bytes {number}, bytes_counted {number}",
                "target, prefix_sha256",
            ),
        }
        if not self._is_sqlite:  # two sessions that create a table at the same moment fail
            self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('reportgen import'))")
        for table, (columns, key) in tables.items():
            # CREATE TABLE IF NOT EXISTS needs the right to create, even if the table exists.
            exists = "SELECT to_regclass(%s) IS NOT NULL"
            if self._is_sqlite or not self._connection.execute(exists, [table]).fetchone()[0]:
                created = f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY ({key}))"
                self._connection.execute(created)

    @contextmanager
    def transaction(self, *, rehearse: bool = False) -> Iterator[None]:
        """Begin a transaction in which no other import counts, and roll it back if it is a dry run.

        With ``rehearse`` a dry run writes, too.
        """
        self._writes = rehearse or not self._dry_run
        writes = self._creates or self._writes
        if self._is_sqlite:
            self._connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            if self._creates:
                self._create()
            if not self._is_sqlite and self._writes:
                self._connection.execute(f"LOCK TABLE {self._positions} IN EXCLUSIVE MODE")
            yield
            if not self._dry_run:
                self._connection.commit()
        finally:
            self._connection.rollback()

    def positions(self) -> list[Position]:
        """Return how far each log was counted."""
        cursor = self._connection.cursor()
        selected = (
            f"SELECT prefix_bytes, prefix_sha256, bytes_counted FROM {self._positions} WHERE target = ?"
        )
        cursor.execute(self._sql(selected), [self._visits])
        return [Position(*row) for row in cursor.fetchall()]

    def add(self, visits: Sequence[Sequence[Any]], left_out: Mapping[tuple[date, str], int]) -> None:
        """Add visits by date and path, and requests by date and reason."""
        rows = [(self._day(day), _stored_path(path), count) for day, path, count in visits]
        self._upsert(self._visits, self._columns, sorted(rows))
        others = [(self._day(day), reason, count) for (day, reason), count in left_out.items()]
        self._upsert(self._left_out, ["date", "reason", "requests"], sorted(others))

    def save(self, old: Position | None, new: Position) -> None:
        """Replace the position of a log."""
        if old:
            deleted = f"DELETE FROM {self._positions} WHERE target = ? AND prefix_sha256 = ?"
            self._execute(deleted, [(self._visits, old.prefix_sha256)])
        columns = "target, prefix_bytes, prefix_sha256, bytes_counted"
        inserted = f"INSERT INTO {self._positions} ({columns}) VALUES (?, ?, ?, ?)"
        self._execute(inserted, [(self._visits, *new)])

    def _day(self, day: date) -> Any:
        return day.isoformat() if self._is_sqlite else day

    def _upsert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        first, second, count = columns
        self._execute(
            f"INSERT INTO {table} AS stored ({first}, {second}, {count}) VALUES (?, ?, ?)"
            f" ON CONFLICT ({first}, {second}) DO UPDATE SET {count} = stored.{count} + excluded.{count}",
            rows,
        )

    def _execute(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if self._writes:
            self._connection.cursor().executemany(self._sql(statement), rows)

    def _sql(self, statement: str) -> str:
        """Return a statement with the placeholders of the driver."""
        return statement if self._is_sqlite else statement.replace("%", "%%").replace("?", "%s")
