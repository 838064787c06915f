"""CSV files as other programs export them: their encoding, separator and header, and what is not a row.

:func:`find_form` looks at the beginning of a file. DuckDB reads a regular file itself. :class:`CsvWriter`
writes any other file anew as regular CSV. It leaves out lines of totals and other tables in the file, and
counts them. A line that cannot be read is an error that names the line: to leave it out could hide visits.
"""

import csv
import gzip
import io
import re
import time
import zlib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import SourceError, SourceUnavailable
from reportgen.sources.base import columns_advice, open_bytes
from reportgen.sources.spellings import DateReader, number_of, number_reader, row_example

HEAD_BYTES = 256 * 1024
"""Number of bytes at the beginning of a file in which its form is looked for."""
MAX_PREAMBLE = 100
"""Maximum number of lines before the header."""
MAX_FIELD = 10_000_000
"""Maximum number of characters of one field."""
SEPARATORS = ",;\t|"
EMPTY_TEXT = "\x1f"
"""What stands for an empty text in quotes, because Python's reader takes it for a field without a value."""
TOTALS = re.compile(r"\s*(?:(?:grand|sub)[ -]?)?totals?\b", re.IGNORECASE)
HEADER_HINT = (
    "; a CSV file needs a header row, or columns by position: columns = { date = 1, path = 2, visits = 3 }"
)


@dataclass(frozen=True)
class CsvForm:
    """How one CSV file is written. Its rows begin after ``skipped_lines`` lines, and have these columns.

    ``line_ends`` is the number of different ends (LF, CR LF, CR) of its first lines. If it ``is_padded``, a
    blank follows each separator, and is not a part of the field.
    """

    file: str
    encoding: str
    line_ends: int
    separator: str
    names: Sequence[str]
    skipped_lines: int
    is_padded: bool = False

    @property
    def is_regular(self) -> bool:
        """Whether DuckDB can read the file. With several line ends, it may skip all rows as one line."""
        return self.encoding == "utf-8-sig" and self.line_ends == 1 and not self.is_padded


def find_form(file: str, settings: SourceSettings) -> CsvForm:
    """Return the form of a file: the row with the configured names is its header.

    Raises:
        SourceError: the file is empty, has another encoding, or has no such row.

    """
    encoding = _encoding_of(file, settings.encoding)
    with _translate_errors(file, encoding), _open_text(file, encoding) as stream:
        lines = list(islice(io.StringIO(stream.read(HEAD_BYTES), newline=""), MAX_PREAMBLE))
    ends = {line[len(line.rstrip("\r\n")) :] for line in lines[:-1]}
    new_form = partial(CsvForm, file, encoding, max(len(ends), 1))
    separators, start = SEPARATORS, 0
    if lines and (match := re.fullmatch(r'"?sep=(.)"?\s*', lines[0], re.IGNORECASE)):
        separators, start = match[1], 1
    rows = [
        (number, separator, [cell.strip() for cell in _cells(line, separator)])
        for number, line in enumerate(lines)
        for separator in separators
        if number >= start and line.strip()
    ]
    if not rows:
        raise SourceError(f"{file}: is empty. A CSV file needs a header row")
    if settings.columns.positions and settings.query is None:
        return _form_without_header(file, new_form, rows, settings)
    wanted = {name.casefold() for name in _column_names(settings)}
    if settings.query is None:
        for number, separator, cells in rows:
            if wanted <= {cell.casefold() for cell in cells}:
                is_padded = all(cell.startswith(" ") for cell in lines[number].split(separator)[1:])
                return new_form(separator, _unique(cells), number + 1, is_padded)
    number, separator, cells = _widest(rows)
    if settings.query is None:
        known = {cell.casefold() for cell in cells}
        missing = next((name for name in _column_names(settings) if name.casefold() not in known), "date")
        raise SourceError(
            f'{file}: there is no column "{missing}"; it has: {row_example(cells)}. '
            f"{columns_advice(settings, cells, HEADER_HINT)}"
        )
    return new_form(separator, _unique(cells), number + 1)


def first_rows(form: CsvForm, count: int) -> list[list[str]]:
    """Return up to ``count`` rows of a file that have as many fields as its header.

    Raises:
        SourceError: a line cannot be read.

    """
    with _open_text(form.file, form.encoding) as stream:
        rows = (cells for cells in _Lines(stream).rows(form) if len(cells) == len(form.names))
        return [[cell.strip(EMPTY_TEXT) for cell in cells] for cells in islice(rows, count)]


class CsvWriter:
    """Writes files as CSV in UTF-8, and counts the lines that it leaves out by kind, with one of each."""

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._settings = settings
        self._dates = DateReader(timezone, settings.date_format, settings.timestamp_zone)
        self._number = number_reader(settings.thousands)
        self._end = time.monotonic() + settings.statement_timeout_s

    def write(self, form: CsvForm, target: Path) -> CsvForm:
        """Write the rows of a file into ``target``, and return its form.

        Raises:
            SourceError: a line cannot be read.

        """
        table = _Table(form, self._settings)
        with (
            _open_text(form.file, form.encoding) as stream,
            target.open("w", encoding="utf-8", newline="") as written,
        ):
            written.write("\n")  # by the first line DuckDB tells how lines end
            for cells in self._rows(table, _Lines(stream)):
                written.write(",".join(_quoted(cells[index]) for index in table.kept) + "\n")
        names = [form.names[index] for index in table.kept]
        return CsvForm(str(target), "utf-8-sig", 1, ",", names, 1)

    def _rows(self, table: "_Table", lines: "_Lines") -> Iterator[list[str]]:
        has_rows = after_gap = in_other_table = False
        for cells in lines.rows(table.form):
            if time.monotonic() > self._end:
                raise SourceUnavailable(
                    f"{table.form.file}: reading the file took longer than statement_timeout_s "
                    f"({self._settings.statement_timeout_s} s): raise it in [source]"
                )
            is_comment = cells[:1] != [] and cells[0].startswith("#") and len(cells) < len(table.form.names)
            if is_comment or not any(map(str.strip, cells)):
                after_gap = has_rows
                continue
            if table.is_header(cells):
                after_gap = in_other_table = False
            elif self._is_total(table, cells):
                self._leave_out("totals_row", cells)
            elif in_other_table or (after_gap and self._begins_other_table(table, cells)):
                in_other_table = True
                self._leave_out("second_table", cells)
            else:
                has_rows, after_gap = True, False
                yield table.checked(cells, lines)

    def _is_total(self, table: "_Table", cells: Sequence[str]) -> bool:
        """Whether a row has no date, but the word total, or nothing but a number."""
        if table.date is None or table.path is None:
            return False
        day, path = (cells[index].strip() if index < len(cells) else "" for index in (table.date, table.path))
        if self._dates.day_of(day):
            return False
        return any(TOTALS.match(cell) for cell in (day, path)) or (
            not day and not path and any(map(self._is_number, cells))
        )

    def _begins_other_table(self, table: "_Table", cells: Sequence[str]) -> bool:
        """Whether a row is the header of another table, or a text: it has neither a date nor a number.

        A row with as many fields as the table is a bad row if a digit is in it, or if a query reads the file.
        """
        if len(cells) == len(table.form.names) and (table.date is None or re.search(r"\d", "".join(cells))):
            return False
        return not any(self._dates.day_of(cell) or self._is_number(cell) for cell in cells)

    def _is_number(self, cell: str) -> bool:
        return number_of(cell, self._number, self._settings.thousands) is not None

    def _leave_out(self, kind: str, cells: Sequence[str]) -> None:
        self.left_out[kind] += 1
        self.examples.setdefault(kind, row_example([cell.strip(EMPTY_TEXT) for cell in cells]))


class _Table:
    """The columns of a file: ``kept`` are written, ``date`` and ``path`` known unless a query names them."""

    def __init__(self, form: CsvForm, settings: SourceSettings) -> None:
        self.form = form
        self._folded = [name.casefold() for name in form.names]
        self.date: int | None = None
        self.path: int | None = None
        self.kept: Sequence[int] = range(len(form.names))
        if settings.query is None:
            self.kept = [self._folded.index(name.casefold()) for name in _column_names(settings)]
            self.date, self.path = self.kept[:2]

    def is_header(self, cells: Sequence[str]) -> bool:
        """Whether a row repeats the header, as in files that were joined."""
        return [cell.strip().casefold() for cell in cells[: len(self._folded)]] == self._folded

    def checked(self, cells: list[str], lines: "_Lines") -> list[str]:
        """Return a row of the table without separators at its end."""
        width = len(self._folded)
        if len(cells) < width or any(map(str.strip, cells[width:])):
            more = len(cells) > width
            raise lines.error(
                f"has {len(cells)} {'field' if len(cells) == 1 else 'fields'}, and the header has {width}",
                f'Put a field with "{self.form.separator}" in double quotes' if more else "Complete the line",
            )
        return cells[:width]


class _Lines:
    """The lines of a file, and the one at which the current row began."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._number = 0
        self._first = 0
        self._text = ""
        self._in_quotes = ""
        self._form: CsvForm

    def rows(self, form: CsvForm) -> Iterator[list[str]]:
        """Yield the cells of each row after the header."""
        self._form = form
        separator = re.escape(form.separator)
        self._empty_text = re.compile(f'("(?:[^"]|"")+")|(?:(?<={separator})|^)""(?={separator}|[\r\n]*$)')
        csv.field_size_limit(MAX_FIELD)
        with _translate_errors(form.file, form.encoding, self):
            for _ in islice(self, form.skipped_lines):
                self._first = 0
            self._first = 0
            for cells in csv.reader(
                self, delimiter=form.separator, strict=True, skipinitialspace=form.is_padded
            ):
                yield cells
                self._first = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._stream).removeprefix("\ufeff")  # the mark of a file that was joined to another
        self._number += 1
        if not self._first:
            self._first, self._text, self._in_quotes = self._number, line.rstrip("\r\n"), ""
        marked = line
        if '""' in line:
            marked = self._empty_text.sub(lambda found: found[1] or EMPTY_TEXT, self._in_quotes + line)
            marked = marked.removeprefix(self._in_quotes)
        if line.count('"') % 2:
            self._in_quotes = "" if self._in_quotes else '"'
        return marked

    @property
    def next_number(self) -> int:
        """The number of the line after those that were read."""
        return self._number + 1

    def error(self, what: str, advice: str) -> SourceError:
        """Return the error of the current row."""
        return SourceError(
            f'{self._form.file}: line {self._first} {what}: "{row_example([self._text])}". {advice}'
        )


def _form_without_header(
    file: str,
    new_form: Callable[[str, Sequence[str], int], CsvForm],
    rows: Sequence[tuple[int, str, list[str]]],
    settings: SourceSettings,
) -> CsvForm:
    """Return the form of a file whose columns are named by positions.

    The first number of visits shows the separator. The rows begin at the first digit in the column of dates
    or visits: a row before that number may be a bad one.
    """
    day, path, visits = settings.columns.positions or (0, 1, 2)
    pattern = number_reader(settings.thousands)
    wide = [row for row in rows if len(row[2]) > max(day, path, visits)]
    for _, separator, found in wide:
        if number_of(found[visits], pattern, settings.thousands) is None:
            continue
        for number, its_separator, cells in wide:
            if its_separator == separator and re.search(r"\d", cells[day] + cells[visits]):
                return new_form(separator, [str(at) for at in range(1, len(found) + 1)], number)
    raise SourceError(
        f"{file}: no line has a number in column {visits + 1}, which [source] columns names for visits. "
        f"A line: {row_example(_widest(rows)[2])}"
    )


def _column_names(settings: SourceSettings) -> tuple[str, str, str]:
    return settings.columns.date, settings.columns.path, settings.columns.visits


def _widest(rows: Sequence[tuple[int, str, list[str]]]) -> tuple[int, str, list[str]]:
    """Return the first of the rows with the most cells that is not a comment."""
    likely = [row for row in rows if not row[2][0].startswith("#")] or rows
    return max(likely, key=lambda row: len(row[2]))


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names without empty ones at the end, each once, as DuckDB names columns."""
    width = max((at for at, name in enumerate(names, start=1) if name), default=len(names))
    found: list[str] = []
    for number, name in enumerate(names[:width]):
        unique, again = name or f"column{number}", 0
        while unique.casefold() in map(str.casefold, found):
            again += 1
            unique = f"{name}_{again}"
        found.append(unique)
    return found


def _quoted(cell: str) -> str:
    """Return a cell as DuckDB reads it: an empty one has no value."""
    return '"' + cell.replace('"', '""') + '"' if cell.strip(EMPTY_TEXT) else cell and '""'


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])


def _encoding_of(file: str, configured: str | None) -> str:
    """Return the encoding: as configured, or UTF-8; but UTF-16 if the first two bytes say so."""
    with _translate_errors(file, ""), open_bytes(file) as stream:
        begin = stream.read(2)
    if configured in {None, "utf-8", "utf-16", "utf-16-le", "utf-16-be"}:
        if begin in {BOM_UTF16_LE, BOM_UTF16_BE}:
            return "utf-16"
        if b"\0" in begin:
            return "utf-16-le" if begin.endswith(b"\0") else "utf-16-be"
    return "utf-8-sig" if configured in {None, "utf-8"} else str(configured)


@contextmanager
def _open_text(file: str, encoding: str) -> Iterator[IO[str]]:
    with open_bytes(file) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
        yield text


@contextmanager
def _translate_errors(file: str, encoding: str, lines: _Lines | None = None) -> Iterator[None]:
    """Raise what Python's readers raise as a SourceError that names file and line."""
    try:
        yield
    except UnicodeError as exc:
        name = encoding.removesuffix("-sig").upper()
        place = f"{file}: near line {lines.next_number}" if lines else file
        what = (
            f"the byte 0x{exc.object[exc.start]:02X}" if isinstance(exc, UnicodeDecodeError) else "the file"
        )
        raise SourceError(
            f"{place}: {what} is not {name}. Set source.encoding, such as "
            '"latin-1", "cp1252" or "utf-16". '
            f"Check that the file is what its name says ({Path(file).suffix})"
        ) from None
    except csv.Error as exc:
        if lines is None:
            raise SourceError(f"{file}: {exc}") from None
        raise lines.error(
            f"cannot be read as CSV ({exc})", "Close each quote, and write a quote twice"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        ends = "".join(Path(file).suffixes[-2:])
        raise SourceError(f"{file}: {exc}. Check that the file is what its name says ({ends})") from None
