"""The files for programs: ``report.json``, ``daily.csv`` and ``paths.csv``.

Fields and order are the public interface; ``report.schema.json`` beside this module describes the JSON.
CSV is RFC 4180 in UTF-8. A cell that a spreadsheet would run as a formula gets a leading ``'``.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from reportgen.metrics import WindowMetrics

SCHEMA_VERSION = 1
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def report_json(
    metrics: WindowMetrics, changes: Sequence[str], notes: Mapping[str, int], about: Mapping[str, Any]
) -> bytes:
    """Return ``report.json`` of one window.

    ``about`` holds what is the same in all windows: ``site``, ``timezone``, ``built_at``, ``as_of``,
    ``sample``.
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
        "daily": list(_daily(metrics)),
        "paths": [
            {"path": path, "visits": visits, "share": share, "previous": previous, "change": change}
            for path, visits, share, previous, change in _paths(metrics.paths)
        ],
        "path_count": metrics.path_count,
        "other": metrics.other,
        "changes": list(changes),
        "notes": [{"kind": kind, "rows": rows} for kind, rows in sorted(notes.items())],
    }
    return (json.dumps(report, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def daily_csv(metrics: WindowMetrics) -> bytes:
    """Return one row a date, ascending: date, visits, previous, recorded."""
    rows = (
        (day["date"], day["visits"], day["previous"], str(day["recorded"]).lower()) for day in _daily(metrics)
    )
    return _csv(("date", "visits", "previous", "recorded"), rows)


def paths_csv(paths: pd.DataFrame) -> bytes:
    """Return one row a path, most visits first: path, visits, share, previous, change.

    ``paths`` is what :func:`reportgen.metrics.shares` returns. ``change`` is empty where a path had
    no previous visit.
    """
    rows = ((_safe(path), visits, share, previous, change) for path, visits, share, previous, change in _paths(paths))
    return _csv(("path", "visits", "share", "previous", "change"), rows)


def _daily(metrics: WindowMetrics) -> Iterable[dict[str, Any]]:
    for row in metrics.daily.itertuples():
        yield {
            "date": row.Index.date().isoformat(),
            "visits": int(row.visits),
            "previous": int(row.previous),
            "recorded": bool(row.recorded),
        }


def _paths(paths: pd.DataFrame) -> Iterable[tuple[str, int, float, int, float | None]]:
    for path, visits, share, previous, change in zip(
        *(paths[name].tolist() for name in ("path", "visits", "share", "previous", "change")), strict=True
    ):
        yield path, visits, share, previous, None if math.isnan(change) else change


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
