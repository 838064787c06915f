"""Write the data files of a window: ``report.json``, ``daily.csv`` and ``paths.csv``.

Fields and their order are a public interface; ``reportgen/report.schema.json`` describes the JSON.
CSV is RFC 4180 in UTF-8. A cell that a spreadsheet would run as a formula gets a leading ``'``.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from reportgen.metrics.left_out import left_out_summary
from reportgen.sources.statements import PathTotals

if TYPE_CHECKING:  # reading the source writes CSV, and must not load pandas
    from reportgen.config.chart_notes import ChartNote
    from reportgen.metrics.figures import WindowMetrics

SCHEMA_VERSION = 1
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def report_json(
    metrics: "WindowMetrics",
    changes: Sequence[str],
    notes: Sequence[Mapping[str, object]],
    about: Mapping[str, Any],
    annotations: "Sequence[ChartNote]" = (),
) -> bytes:
    """Return ``report.json`` of one window.

    ``about`` holds the fields that are the same in all windows: ``site``, ``timezone``, ``built_at``,
    ``as_of``, ``sample``.
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
    if metrics.since:
        report["recorded_since"] = metrics.since.isoformat()
    if metrics.left_out:
        report["left_out"] = left_out_summary(metrics.left_out)
    if annotations:
        report["annotations"] = [
            {"number": number, **note.model_dump(mode="json", exclude_none=True)}
            for number, note in enumerate(annotations, start=1)
        ]
    return (json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def daily_csv(metrics: "WindowMetrics") -> bytes:
    """Return one row a date, ascending: date, visits, previous, recorded."""
    rows = (
        (day.date.isoformat(), day.visits, day.previous, str(day.recorded).lower()) for day in metrics.days
    )
    return _csv(("date", "visits", "previous", "recorded"), rows)


def paths_csv(paths: Iterable[PathTotals], total: int) -> bytes:
    """Return one row a path, most visits first: path, visits, share, previous, change.

    ``share`` is of ``total``, the visits of the window; ``change`` is empty without previous visits.
    """
    rows = ((_safe(row.path), row.visits, row.share(total), row.previous, row.change) for row in paths)
    return _csv(("path", "visits", "share", "previous", "change"), rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    content = io.BytesIO()
    text = io.TextIOWrapper(content, encoding="utf-8", newline="")  # bytes take a quarter of a text's memory
    csv.writer(text).writerows(chain([header], rows))
    text.flush()
    return content.getvalue()


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
