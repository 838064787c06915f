"""Access logs of a web server: DuckDB reads the lines and counts requests by date, path and user agent.

Only the distinct user agents come to Python, which tells programs from browsers. A request is a visit if
none of :data:`reportgen.sources.base.REASONS` applies. The address of the reader is never read from a line.
"""

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import date
from io import TextIOWrapper
from itertools import groupby, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, NamedTuple

from reportgen.config.settings import LogSettings, SourceSettings
from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.core.path_rules import glob_pattern
from reportgen.core.windows import Span
from reportgen.sources.base import (
    REASONS,
    ROWS_PER_FETCH,
    Dialect,
    Finding,
    LeftOut,
    literal,
    matching_files,
    open_bytes,
)
from reportgen.sources.duckdb import DuckdbConnectionSource, file_states, open_confined
from reportgen.sources.log_formats import (
    KNOWN_FORMATS,
    Field,
    FormatError,
    LogFormat,
    find_format,
    parse_format,
)
from reportgen.sources.spellings import row_example
from reportgen.sources.user_agents import program_of

REASON = "CASE WHEN kind IS NULL OR reason IN ('other_host', 'unreadable') THEN reason ELSE 'bot' END"
"""The SQL of the reason after the programs are known."""

HEAD_LINES = 100
"""Number of lines at the beginning of a file by which its format is found."""
EXAMPLE_LINES = 1000
"""Number of lines among which examples of requests left out are looked for."""
EXAMPLE_LENGTH = 8192
"""Maximum length of a line that is an example."""
UNREADABLE = re.compile("[\r\x01\ufffd]")
"""What DuckDB does not read in a line: a line break or column of its own, and bytes that are not UTF-8."""
GROUP = "on Debian, add the user to the group adm"
MAX_LINE_BYTES = 2_097_152
"""Maximum length of a line; a longer one is unreadable."""
MAX_AGENT = 500
"""Number of characters of a user agent that are looked at: some patterns take long on very long ones."""
MAX_UNREADABLE = 10
"""Maximum share of unreadable lines in percent: with more, the lines probably have another format."""
MEMORY_LIMIT = "160MB"
"""DuckDB's memory. What does not fit is written into a temporary directory."""
REQUEST_FIELDS: tuple[Field, ...] = ("method", "target", "status", "agent", "host", "purpose")
LISTED = "(SELECT unnest($numbers) AS number, unnest($lines) AS line)"
"""The SQL of lines that Python read, with their numbers."""
READER = re.compile(
    r"^[^\[{]+ (?=\[)|\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b"
    r"|(?<![\w:])(?:(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|[0-9A-Fa-f:]*::[0-9A-Fa-f:]*)"
    r"|\b(?:Mozilla|Opera|Dalvik)/[^\"]*|(?<=[?=])[^\s\"?=;,]+|[\w.+-]+(?:@|%40)[\w.-]+"
    r'|(?<="user_id":")[^"]+|(?<="ClientUsername":")[^"]+|\b(?:Basic|Bearer) [^\s"]+'
    r"|(?<=%3[Dd])[^\s\"&]+"
)
"""What no message shows of a line: the text before the time, which has the address and the name of a user;
other addresses; a browser's user agent; the values of a query or a cookie; mail addresses; the names of users
in JSON; passwords."""


class Example(NamedTuple):
    """A request that is not a visit."""

    file: str
    line: int
    reason: str
    path: str


class LogSource(DuckdbConnectionSource):
    """The visits in the access logs that a path or glob pattern names, from the date ``first`` on."""

    advice = "Check that the file is a whole access log"

    older_rows = "SELECT 1 FROM counted WHERE reason = 'earlier' LIMIT 1"

    def __init__(
        self,
        settings: SourceSettings,
        timezone: str,
        first: date,
        *,
        form: LogFormat | None = None,
        name: str | None = None,
        judged_lines: int = 1,
    ) -> None:
        """``form`` is the format of all files if it is known.

        Of fewer lines than ``judged_lines``, all may be unreadable.
        """
        self._pattern = settings.url.get_secret_value().removeprefix("log:")
        super().__init__(settings, name or self._pattern)
        self._timezone = timezone
        self._first = first
        self._files = matching_logs(self._pattern)
        self._format, self._judged_lines = form, judged_lines
        self._formats: list[tuple[LogFormat, list[str]]] = []

    @property
    def state(self) -> str | None:
        """The names of the files, with the size and the time of the last change of each."""
        return repr((self._files, file_states(self._files)))

    def connect(self, opened: ExitStack) -> None:
        """Read all files, and count their requests."""
        if not self._files:
            raise SourceUnavailable(f"{self.name}: {why_no_file(self._pattern)}")
        self._file_states = file_states(self._files)
        found = [
            (form, file)
            for file in self._files
            if (form := self._format or log_format_of(file, self.settings.log))
        ]
        if not found:
            raise SourceUnavailable(f"{self.name}: the log has no lines yet")
        found.sort(key=lambda each: each[0].name)
        self._formats = [
            (form, [file for _, file in group]) for form, group in groupby(found, key=lambda each: each[0])
        ]
        folder = opened.enter_context(TemporaryDirectory(prefix="reportgen-log-"))
        self._connection = open_confined(
            opened, self._files, self._timezone, temp_directory=folder, memory_limit=MEMORY_LIMIT
        )
        # Without statement_timeout_s: the time grows with the logs, and build_timeout_s holds anyway.
        self._count_requests()
        self._name_programs()
        self._check_readable()

    def check_unchanged(self) -> None:
        """Check that no file was renamed or cut, as rotation does. Lines may have been added."""
        files = matching_logs(self._pattern)
        if files != self._files or any(
            now[0] != then[0] or now[1] < then[1]
            for now, then in zip(file_states(files), self._file_states, strict=True)
        ):
            raise SourceUnavailable(f"{self.name}: the logs were rotated while they were read; try again")

    @property
    def dialect(self) -> Dialect:
        """DuckDB's SQL over the table of visits."""
        return Dialect(
            relation="visits",
            stored_date="day",
            day="day",
            path="path",
            visits="visits",
            stored_visits="visits",
            code_point_order="",
            placeholder="${}".format,
            date_value=lambda day: day,
            stored_date_value=lambda day: day,
        )

    @property
    def panel_views(self) -> Mapping[str, str]:
        """The visits as the table of other sources, and the requests that are not visits."""
        return {
            self.settings.table: "SELECT day AS date, path, visits FROM memory.main.visits",
            "left_out": "SELECT day AS date, * EXCLUDE (day) FROM memory.main.left_out",
        }

    @property
    def contents(self) -> str:
        """How many requests were read, for ``reportgen check``."""
        files = len(self._files)
        requests = next(self.rows("SELECT sum(requests) FROM counted", {}))[0]
        return f"{requests:,} requests in {files} {'file' if files == 1 else 'files'}"

    def read_left_out(self, span: Span) -> list[LeftOut]:
        """Return the requests between two dates that are not visits, and all unreadable lines."""
        order = ", ".join(map(literal, REASONS))
        rows = self.rows(
            "SELECT reason, kind, name, sum(requests) FROM left_out"
            " WHERE day BETWEEN $first AND $last OR day IS NULL GROUP BY reason, kind, name"
            f" ORDER BY list_position([{order}], reason), sum(requests) DESC, kind, name",
            {"first": span.first, "last": span.last},
        )
        return [LeftOut(reason, kind, name, int(requests)) for reason, kind, name, requests in rows]

    def examples_left_out(self) -> list[Example]:
        """Return for each reason the first request left out, of those at the beginning of the first file."""
        form, files = self._formats[0]
        lines = next(_short_lines(files[0]), {})
        found = self.rows(
            f"SELECT min(number) AS number, {REASON} AS reason, coalesce(arg_min(path, number), '')"
            f" FROM ({self._with_reason(_requests(form, LISTED))}) LEFT JOIN programs USING (agent)"
            " WHERE coalesce(reason, kind) IS NOT NULL GROUP BY ALL ORDER BY number",
            {"numbers": list(lines), "lines": list(lines.values())},
        )
        # An excluded path may name a person.
        return [
            Example(self.name, number, reason, "" if reason == "excluded" else path)
            for number, reason, path in found
        ]

    def inspect(self) -> Iterator[Finding]:
        """Yield the format of the files, and what it lacks."""
        for form, files in self._formats:
            names = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else files[0]
            yield Finding("ok", "format", f"{form.name}: {names}")
            if "agent" not in form.fields:
                yield Finding(
                    "warning", "format", f"{form.name} has no user agent: visits of bots are counted. "
                    "Let the server write the combined format"
                )  # fmt: skip
        yield Finding("ok", "rights", "files are only read")

    def _count_requests(self) -> None:
        """Make the table ``counted``: the number of requests by date, user agent, reason and path.

        ``reason`` is NULL if only the user agent can tell whether it is a visit; only then the path is kept.
        """
        requests = " UNION ALL BY NAME ".join(
            _requests(form, _lines_of(files)) for form, files in self._formats
        )
        self._connection.execute(
            f"""CREATE TABLE counted AS
            SELECT CASE WHEN reason IN ('unreadable', 'earlier') THEN NULL ELSE day END AS day,
                   CASE WHEN reason IN ('unreadable', 'earlier') THEN NULL ELSE agent END AS agent,
                   reason, CASE WHEN reason IS NULL THEN {self._shown_path()} END AS path,
                   count(*) AS requests
            FROM ({self._with_reason(requests)}) GROUP BY ALL"""
        )
        unread = "SELECT NULL, NULL, 'unreadable', NULL, count(*) FROM reject_errors HAVING count(*) > 0"
        self._connection.execute(f"INSERT INTO counted {unread}")

    def _with_reason(self, requests: str) -> str:
        """Return the SQL of requests with their day, their path and why they are not visits."""
        reason = f"""CASE WHEN t IS NULL OR status = '' THEN 'unreadable'
            WHEN CAST(t AS DATE) < DATE '{self._first.isoformat()}' THEN 'earlier'
            {self._host_reason()}
            WHEN status >= '400' THEN 'error'
            WHEN method <> 'GET' THEN 'method'
            WHEN status >= '300' AND status <> '304' THEN 'redirect'
            WHEN status NOT IN ('200', '201', '202', '203', '304') THEN 'other_status'
            WHEN purpose ILIKE '%prefetch%' OR purpose ILIKE '%preview%' THEN 'prefetch'
            WHEN regexp_full_match(path, {literal(self._asset_pattern())}, 'i') THEN 'asset'
            {self._path_reason()} END"""
        return f"""SELECT *, CAST(t AS DATE) AS day, {reason} AS reason FROM (
            SELECT *, split_part(local_target, '?', 1) AS path FROM ({requests}))"""

    def _host_reason(self) -> str:
        hosts = "|".join(map(glob_pattern, self.settings.log.hosts)).lower()
        host = "lower(regexp_replace(host, ':[0-9]+$', ''))"
        return f"WHEN NOT regexp_full_match({host}, {literal(hosts)}) THEN 'other_host'" if hosts else ""

    def _asset_pattern(self) -> str:
        return r".*\.(?:" + "|".join(re.escape(end.lstrip(".")) for end in self.settings.log.assets) + ")"

    def _path_reason(self) -> str:
        include, exclude = (
            "|".join(map(glob_pattern, globs))
            for globs in (self.settings.log.include, self.settings.log.exclude)
        )
        left_out = [f"NOT regexp_full_match(path, {literal(include)})"] if include else []
        left_out += [f"regexp_full_match(path, {literal(exclude)})"] if exclude else []
        return f"WHEN {' OR '.join(left_out)} THEN 'excluded'" if left_out else ""

    def _shown_path(self) -> str:
        """Return the SQL of the path with those names of the query that ``source.log.query`` keeps."""
        names = [literal(name) for name in self.settings.log.query]
        if not names:
            return "path"
        parts = "string_split(substr(local_target, length(path) + 2), '&')"
        kept = f"[part for part in {parts} if split_part(part, '=', 1) IN ({', '.join(names)})]"
        return f"path || CASE WHEN len({kept}) > 0 THEN '?' || array_to_string({kept}, '&') ELSE '' END"

    def _name_programs(self) -> None:
        """Make the tables ``visits`` and ``left_out`` from ``counted``."""
        execute = self._connection.execute
        execute("CREATE TABLE programs (agent VARCHAR, kind VARCHAR, name VARCHAR)")
        agents = self._connection.cursor()
        agents.execute("SELECT DISTINCT agent FROM counted WHERE agent IS NOT NULL")
        while some := agents.fetchmany(ROWS_PER_FETCH):
            found = [(agent, *program) for (agent,) in some if (program := program_of(agent))]
            if found:
                columns = [list(column) for column in zip(*found, strict=True)]
                execute("INSERT INTO programs SELECT unnest(?), unnest(?), unnest(?)", columns)
        execute(
            "CREATE TABLE visits AS SELECT day, path, CAST(sum(requests) AS BIGINT) AS visits"
            " FROM counted ANTI JOIN programs USING (agent) WHERE reason IS NULL GROUP BY day, path"
        )
        # A day whose requests were all left out was recorded, too.
        execute(
            "INSERT INTO visits SELECT DISTINCT day, '/', 0 FROM counted"
            " WHERE day IS NOT NULL AND day NOT IN (SELECT day FROM visits)"
        )
        execute(
            f"CREATE TABLE left_out AS SELECT day, {REASON} AS reason,"
            " coalesce(kind, '') AS kind, coalesce(name, '') AS name, sum(requests) AS requests"
            " FROM counted LEFT JOIN programs USING (agent)"
            " WHERE coalesce(reason, kind) IS NOT NULL AND reason IS DISTINCT FROM 'earlier' GROUP BY ALL"
        )

    def _check_readable(self) -> None:
        """Fail if too many lines are unreadable: the figures would be wrong."""
        counts = "coalesce(sum(requests) FILTER (reason = 'unreadable'), 0), sum(requests)"
        unread, lines = self._connection.execute(f"SELECT {counts} FROM counted").fetchone() or (0, 0)
        if 100 * unread <= MAX_UNREADABLE * lines or lines < self._judged_lines:
            # Only the beginning of each file is searched. An import has examples of its own.
            if unread and self._judged_lines == 1 and (shown := next(self._unreadable_lines(pieces=1), None)):
                self.warnings.append(f"{unread:,} unreadable {'line' if unread == 1 else 'lines'}: {shown}")
            return
        examples, percent = list(islice(self._unreadable_lines(), 3)), 100 * unread // lines
        shown = "; ".join(examples) or f"they have more than {EXAMPLE_LENGTH:,} characters"
        raise SourceError(
            f"{self.name}: {unread:,} of {lines:,} lines are unreadable ({percent} %, and at most"
            f" {MAX_UNREADABLE} % may be): {shown}. {'Correct' if self.settings.log.format else 'Set'}"
            " source.log.format to the format of these lines, or name only files of one server"
        )

    def _unreadable_lines(self, pieces: int | None = None) -> Iterator[str]:
        """Yield each unreadable line without its reader, with its number and, of several, its file.

        Of each file only the first ``pieces`` of :data:`EXAMPLE_LINES` lines are read, if that is given.
        """
        for form, files in self._formats:
            readable = f"SELECT number FROM ({_requests(form, LISTED)}) WHERE t IS NOT NULL AND status <> ''"
            for file in files:
                for lines in islice(_short_lines(file), pieces):
                    values = {"numbers": list(lines), "lines": list(lines.values())}
                    read = {number for (number,) in self.rows(readable, values)}
                    for number, line in lines.items():
                        if number not in read or UNREADABLE.search(line):
                            place = f"{file}:{number}" if len(self._files) > 1 else f"line {number}"
                            time = ", whose time cannot be read" if form.reads(line) else ""
                            yield f'{place}: "{row_example([_without_reader(line)])}"{time}'


def log_format_of(file: str, log: LogSettings) -> LogFormat | None:
    """Return the format of a file, by its first lines, or ``None`` if it has no lines.

    Raises:
        ConfigError: the configured format has a mistake.
        SourceError: the file cannot be read, or is not an access log.

    """
    try:
        with _open_log(file) as stream:
            lines = [line for line in islice(stream, HEAD_LINES) if line.strip()]
    except PermissionError:
        raise SourceError(f"{file}: permission denied. Let this user read it: {GROUP}") from None
    except gzip.BadGzipFile:
        raise SourceError(f"{file}: is not packed with gzip. Rename it, or pack it with gzip") from None
    except (OSError, EOFError, zlib.error) as exc:
        raise SourceUnavailable(f"{file}: {exc}. {LogSource.advice}") from None
    if file.lower().endswith((".bz2", ".xz", ".zst")):
        raise SourceError(f"{file}: only gzip can be unpacked. Pack it with gzip, or leave it out")
    if not lines:
        return None
    try:
        form = parse_format(log.format) if log.format else find_format(lines)
    except FormatError as exc:
        raise ConfigError(f'source.log.format "{log.format}" {exc}') from None
    if form is None or not any(map(form.reads, lines)):
        first = f'The first: "{row_example([_without_reader(lines[0])])}"'
        if form and log.format:
            raise SourceError(
                f'{file}: its lines do not have source.log.format "{row_example([log.format])}". {first}. It'
                f" differs at {row_example([form.first_mismatch(lines[0])])}. Correct the format"
            )
        known = ", ".join(each.name for each in KNOWN_FORMATS)
        raise SourceError(
            f"{file}: its lines do not have the format of an access log ({known}). {first}. It may be another"
            " file, such as an error log: name the access log. If it is one, set source.log.format to the"
            " log_format of nginx or the LogFormat of Apache that wrote it"
        )
    if log.hosts and "host" not in form.fields:
        raise SourceError(
            f"{file}: its format ({form.name}) does not hold the host, which source.log.hosts needs. "
            "Let the server write it (nginx: $host, Apache: %v), or leave hosts out"
        )
    return form


def matching_logs(pattern: str) -> list[str]:
    """Return the files that a path or pattern names, without a packed copy beside its log.

    gzip removes the log only when its copy is whole.
    """
    found = matching_files(pattern)
    return [file for file in found if not (file.endswith(".gz") and file.removesuffix(".gz") in found)]


def _short_lines(file: str) -> Iterator[dict[int, str]]:
    """Yield the lines of a log with their numbers, some at a time, without empty and very long ones."""
    with _open_log(file) as stream:
        numbered = enumerate(stream, start=1)
        while some := list(islice(numbered, EXAMPLE_LINES)):
            yield {n: line.rstrip() for n, line in some if line.strip() and len(line) <= EXAMPLE_LENGTH}


def _without_reader(line: str) -> str:
    return READER.sub("…", line.rstrip())


def _lines_of(files: Sequence[str]) -> str:
    """Return the SQL of the lines of files."""
    listed = ", ".join(map(literal, files))
    return (
        f"read_csv([{listed}], columns = {{'line': 'VARCHAR'}}, auto_detect = false, header = false,"
        " delim = '\x01', quote = '', escape = '', comment = '', nullstr = '\x02', strict_mode = false,"
        f" max_line_size = {MAX_LINE_BYTES}, store_rejects = true)"
    )


def _requests(form: LogFormat, lines: str) -> str:
    """Return the SQL of the requests in lines of one format, with the other columns of ``lines``."""
    target = (
        "CASE WHEN target LIKE '/%' THEN target ELSE regexp_replace(target, '^[a-zA-Z]+://[^/?]*', '') END"
    )
    fields = {name: form.field(name) for name in REQUEST_FIELDS}
    if "agent" not in form.fields:
        fields["agent"] = "CAST(NULL AS VARCHAR)"  # an empty one would be a bot's
    fields["agent"] = f"left({fields['agent']}, {MAX_AGENT})"
    listed = ", ".join(f"{sql} AS {name}" for name, sql in fields.items())
    return (
        f"SELECT * EXCLUDE target, {target} AS local_target FROM"
        f" (SELECT * EXCLUDE (line, parsed), {form.time} AS t, {listed}"
        f" FROM (SELECT *, {form.parsed} AS parsed FROM {lines}))"
    )


def _open_log(file: str) -> IO[str]:
    """Return the text of a log, unpacked. A byte that is not UTF-8 is replaced."""
    return TextIOWrapper(open_bytes(file), "utf-8", errors="replace", newline="\n")


def why_no_file(pattern: str) -> str:
    """Return why no file matches, and what to write."""
    if os.path.isdir(pattern):  # noqa: PTH112 - unlike Path's, it raises no error
        return f"is a directory. Write a pattern of its files, such as '{Path(pattern) / 'access.log*'}'"
    folder = Path(re.split(r"[*?\[]", pattern)[0] + "x").parent
    try:
        os.stat(folder / "x")  # noqa: PTH116
        os.listdir(folder)  # noqa: PTH208
    except PermissionError:
        return f"permission denied. Let this user read the directory {folder}: {GROUP}"
    except (OSError, ValueError):
        pass
    place = "" if Path(pattern).is_absolute() else f". The path is relative to {Path.cwd()}"
    return f"{'no file matches' if re.search(r'[*?[]', pattern) else 'no such file'}{place}"
