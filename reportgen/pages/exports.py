"""Write the data files of a window: ``report.json``, ``daily.csv`` and ``paths.csv``.

Fields and their order are a public interface; ``reportgen/report.schema.json`` describes the JSON.
CSV is RFC 4180 in UTF-8. A cell that a spreadsheet would run as a formula gets a leading ``'``.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reportgen.core.words import USUAL, Words
from reportgen.metrics.left_out import left_out_summary
from reportgen.sources.statements import PathTotals

if TYPE_CHECKING:  # reading the source writes CSV, and must not load pandas
    from reportgen.config.chart_notes import ChartNote
    from reportgen.metrics.dataset import Forms
    from reportgen.metrics.figures import Comparison, WindowMetrics
    from reportgen.metrics.panels import WindowPanel

SCHEMA_VERSION = 1
PATHS_KEYS = ("path", "visits", "share", "previous", "change")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def report_json(
    metrics: "WindowMetrics",
    changes: Sequence[str],
    notes: Sequence[Mapping[str, object]],
    about: Mapping[str, Any],
    annotations: "Sequence[ChartNote]" = (),
    panels: "Sequence[WindowPanel]" = (),
) -> bytes:
    """Return ``report.json`` of one window.

    ``about`` holds the fields that are the same in all windows: ``site``, ``timezone``, ``built_at``,
    ``as_of``, ``sample``, and ``words``, which is there if they are not the usual ones.
    """
    both = metrics.comparison
    report = {
        "schema_version": SCHEMA_VERSION,
        "site": about["site"],
        "window": metrics.window.name,
        "start": metrics.window.span.first.isoformat(),
        "end": metrics.window.span.last.isoformat(),
        "days": metrics.window.days,
        "timezone": about["timezone"],
        "built_at": about["built_at"],
        "as_of": about["as_of"],
        "sample": about["sample"],
        "total": metrics.total,
        "complete": {
            "days": both.days,
            "total": both.total,
            "previous_total": both.previous_total,
            "change": both.change,
        },
        "daily": [
            {
                "date": day.date.isoformat(),
                "visits": day.visits,
                "previous": day.previous,
                "recorded": day.recorded,
                **({} if day.previous_recorded else {"previous_recorded": False}),
            }
            for day in metrics.days
        ],
        "paths": [
            {
                "path": row.path,
                "visits": row.visits,
                "share": row.share(metrics.total),
                "previous": row.previous,
                "change": row.change,
            }
            for row in metrics.paths
        ],
        "path_count": metrics.path_count,
        "other": metrics.other,
        "changes": list(changes),
        "notes": list(notes),
    }
    usual = re.fullmatch("today|[0-9]+d", metrics.window.name) and both.days == both.complete_days
    if not usual or [each.earlier.kind for each in metrics.comparisons] != ["previous"]:
        report["comparisons"] = [_comparison(each) for each in metrics.comparisons]
    if not about["words"].are_usual:
        report["words"] = asdict(about["words"])
    if metrics.since:
        report["recorded_since"] = metrics.since.isoformat()
    if metrics.sections:
        keys = ("name", *PATHS_KEYS[1:])
        report["sections"] = [
            dict(zip(keys, (row.path, *_cells_of(row, metrics.total)[1:]), strict=True))
            for row in metrics.sections
        ]
    if metrics.excluded[0]:
        report["excluded"] = dict(zip(("paths", "visits"), metrics.excluded, strict=True))
    if metrics.left_out:
        report["left_out"] = left_out_summary(metrics.left_out)
    if annotations:
        report["annotations"] = [
            {"number": number, **note.model_dump(mode="json", exclude_none=True)}
            for number, note in enumerate(annotations, start=1)
        ]
    if any(panel.has_data or panel.problem for panel in panels):
        report["panels"] = [
            {
                "panel": panel.panel.name,
                "title": panel.panel.title,
                "renewed": not panel.problem,
                **({"read_at": utc(panel.read_at)} if panel.read_at and panel.has_data else {}),
                **({"file": f"panels/{panel.panel.name}.json"} if panel.has_data else {}),
            }
            for panel in panels
            if panel.has_data or panel.problem
        ]
    return (json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def utc(moment: datetime) -> str:
    """Return a moment as files write it: 2026-11-23T16:00:00Z."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _comparison(both: "Comparison") -> dict[str, Any]:
    """Return a comparison: its dates, and the earlier visits of each date of the window."""
    spans = {"": both.span, "previous_": both.previous_span}
    dates = {
        f"{name}{end}": getattr(span, field).isoformat()
        for name, span in spans.items()
        if span
        for end, field in (("start", "first"), ("end", "last"))
    }
    return {
        "kind": both.earlier.kind,
        "complete_days": both.complete_days,
        "days": both.days,
        **dates,
        "total": both.total,
        "previous_total": both.previous_total,
        "change": both.change,
        "daily_previous": [row.previous if row.previous_recorded else None for row in both.rows],
    }


def daily_csv(metrics: "WindowMetrics", words: Words = USUAL) -> bytes:
    """Return one row a date, ascending: date, visits, previous, recorded."""
    rows = (
        (day.date.isoformat(), day.visits, day.previous, str(day.recorded).lower()) for day in metrics.days
    )
    return csv_bytes(("date", words.visits, "previous", "recorded"), rows)


def paths_csv(
    paths: Iterable[PathTotals], total: int, forms: "Forms | None" = None, *, words: Words = USUAL
) -> bytes:
    """Return one row a path, most visits first: path, visits, share, previous, change, and perhaps forms.

    ``share`` is of ``total``, the visits of the window; ``change`` is empty without previous visits. Forms
    are separated by blanks; in a form, blanks are percent-encoded.
    """
    if forms is not None:
        rows = ((*_cells_of(row, total), " ".join(map(_form, forms.get(row.path, ())))) for row in paths)
        return csv_bytes((*_header(words.path, words), "forms"), rows)
    return csv_bytes(_header(words.path, words), (_cells_of(row, total) for row in paths))


def sections_csv(metrics: "WindowMetrics", words: Words = USUAL) -> bytes:
    """Return one row a section, in the order of the settings, and last *Other*."""
    rows = (_cells_of(row, metrics.total) for row in metrics.sections)
    return csv_bytes(_header("section", words), rows)


def _header(first: str, words: Words) -> tuple[str, ...]:
    return first, words.visits, *PATHS_KEYS[2:]


def _cells_of(row: PathTotals, total: int) -> tuple[Any, ...]:
    return safe_cell(row.path), row.visits, row.share(total), row.previous, row.change


def _form(form: str) -> str:
    return safe_cell("".join(quote(char) if char.isspace() else char for char in form))


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows below a header as CSV."""
    content = io.BytesIO()
    text = io.TextIOWrapper(content, encoding="utf-8", newline="")  # bytes take a quarter of a text's memory
    csv.writer(text).writerows(chain([header], rows))
    text.flush()
    return content.getvalue()


def safe_cell(cell: str) -> str:
    """Return a text that no spreadsheet runs as a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
