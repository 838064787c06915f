"""Checks of the figures in a release's files: the sums are right, and all files agree."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from reportgen.core.windows import window_days
from reportgen.pages.exports import FORMULA_STARTS

SCHEMA = Path(__file__).parents[1] / "report.schema.json"
SHOWN = 200
"""Maximum number of characters of a value in a message."""

Files = Mapping[str, bytes]
Report = Mapping[str, Any]
Wrong = tuple[str, str]
"""The name of a file, and its fault."""


def wrong_figures(files: Files, windows: Sequence[str], most_listed: int) -> Iterator[Wrong]:
    """Yield what is wrong with ``report.json``, ``daily.csv`` and ``paths.csv`` of each of ``windows``.

    ``most_listed`` is how many paths ``paths.csv`` lists at most. Files that are absent are passed over.
    """
    reports: dict[str, Report] = {}
    for window in windows:
        name = f"{window}/report.json"
        if name not in files:
            continue
        report, flaw = _read(files[name])
        if report is None:
            yield name, flaw
            continue
        reports[window] = report
        yield from ((name, what) for what in [*_wrong_dates(window, report), *_wrong_sums(report)])
        yield from _wrong_csv(f"{window}/daily.csv", files, partial(_wrong_days, report))
        yield from _wrong_csv(f"{window}/paths.csv", files, partial(_wrong_paths, report, most_listed))
    yield from _disagreeing(reports)


def _wrong_csv(name: str, files: Files, check: Callable[[bytes], Iterator[str]]) -> Iterator[Wrong]:
    try:
        for what in check(files[name]) if name in files else ():
            yield name, what
    except ValueError as exc:
        yield name, f"is not the expected CSV: {exc}"


@cache
def _schema() -> Any:
    """Return the validator of reports, made once for all windows."""
    from jsonschema import Draft202012Validator  # only a new release needs it: the import takes time

    return Draft202012Validator(json.loads(SCHEMA.read_bytes()))


def _read(content: bytes) -> tuple[Report | None, str]:
    """Return a report that fits its schema, or what is wrong with it."""
    from jsonschema.exceptions import best_match

    try:
        report = json.loads(content)
    except ValueError as exc:
        return None, f"is not valid JSON: {exc}"
    error = best_match(_schema().iter_errors(report))
    if error is None:
        return report, ""
    return None, f"does not fit its schema: {error.json_path}: {error.message[:SHOWN]}"


def _wrong_dates(window: str, report: Report) -> Iterator[str]:
    """Yield where a report's dates are not those of its window."""
    try:
        first, last = date.fromisoformat(report["start"]), date.fromisoformat(report["end"])
    except ValueError as exc:
        yield f"has a text that is not a date: {exc}"
        return
    days = (last - first).days + 1
    if report["window"] != window or not report["days"] == days == window_days(window):
        yield f"is of {report['window']}, {report['days']} days from {first} to {last}"
    dates = [(first + timedelta(n)).isoformat() for n in range(days)]
    if [day["date"] for day in report["daily"]] != dates:
        yield f"does not list each date from {first} to {last} once, in order"


def _wrong_sums(report: Report) -> Iterator[str]:
    """Yield the sums of a report that are wrong."""
    daily = sum(day["visits"] for day in report["daily"])
    paths = sum(path["visits"] for path in report["paths"]) + report["other"]
    if not daily == report["total"] == paths:
        yield (
            f"does not add up: its total is {report['total']}, its days have {daily},"
            f" its paths and all others {paths}"
        )
    complete = report["complete"]
    over = sum(day["visits"] for day in report["daily"][: complete["days"]])
    if complete["total"] != over:
        yield f"does not add up: {complete['total']} visits on complete days, whose visits are {over}"


def _wrong_days(report: Report, content: bytes) -> Iterator[str]:
    said = [
        [day["date"], str(day["visits"]), str(day["previous"]), str(day["recorded"]).lower()]
        for day in report["daily"]
    ]
    if list(_rows(content, ["date", "visits", "previous", "recorded"])) != said:
        yield "does not say what daily says in report.json"


def _wrong_paths(report: Report, most_listed: int, content: bytes) -> Iterator[str]:
    keys = ["visits", "share", "previous", "change"]
    said = [[_cell(path["path"]), *(_number(path[key]) for key in keys)] for path in report["paths"]]
    rows = _rows(content, ["path", *keys])
    first = list(islice(rows, len(said)))
    if first != said:
        yield "does not begin with what paths says in report.json"
        return
    count, visits = len(first), sum(int(row[1]) for row in first)
    for row in rows:
        count, visits = count + 1, visits + int(row[1])
    all_of_them, total = report["path_count"], report["total"]
    if count != min(all_of_them, most_listed):
        yield f"lists {count} paths, of {all_of_them} in report.json"
    elif visits > total or (count == all_of_them and visits != total):
        yield f"does not add up: its paths have {visits} visits, the total is {total}"


def _rows(content: bytes, header: list[str]) -> Iterator[list[str]]:
    """Yield the rows of a CSV file below its header.

    Raises:
        ValueError: the content is not CSV, or has another header.

    """
    csv.field_size_limit(sys.maxsize)  # a path may be of any length
    try:
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
        rows = csv.reader(text, strict=True)
        if next(rows, None) != header:
            raise ValueError(f"its header is not {','.join(header)}")
        for row in rows:
            if len(row) != len(header):
                raise ValueError(f"line {rows.line_num} has {len(row)} cells")
            yield row
    except csv.Error as exc:
        raise ValueError(str(exc)) from None


def _cell(path: str) -> str:
    """Return the cell that must hold a path. Not by the function that writes cells: this checks it."""
    return f"'{path}" if path.startswith(FORMULA_STARTS) else path


def _number(value: float | None) -> str:
    return "" if value is None else str(value)


def _disagreeing(reports: Mapping[str, Report]) -> Iterator[Wrong]:
    """Yield the windows that show a date differently from the longest window, which has all dates."""
    if not reports:
        return
    longest = max(reports, key=lambda window: len(reports[window]["daily"]))
    for window, report in reports.items():
        daily = report["daily"]
        for one, other in zip(daily, reports[longest]["daily"][-len(daily) :], strict=True):
            if any(one[key] != other[key] for key in ("date", "visits", "recorded")):
                said = f"says {one['visits']} visits on {one['date']}"
                meant = f"{longest}/report.json says {other['visits']} on {other['date']}"
                yield f"{window}/report.json", f"{said}, where {meant}"
                break
