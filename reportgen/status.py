"""How the report stands: the document of ``/status.json`` and ``reportgen status``."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from reportgen import __version__
from reportgen.config import Config
from reportgen.publish import current_release
from reportgen.runs import Runs
from reportgen.timetable import Due, next_due

FROM_MANIFEST = ("built_at", "as_of", "version", "source", "rows", "notes", "timings_s", "peak_memory_bytes")


def due(config: Config, runs: Runs) -> Due | None:
    """Return when the next build is due, counted from the last success; ``None`` before the first.

    A build that found nothing new counts: the report was checked.
    """
    if runs.last_success is None:
        return None
    return next_due(config.schedule, config.zone, runs.last_success.at)


def is_stale(expected: Due | None, now: datetime) -> bool:
    """Tell whether a build is overdue by more than one interval, at least 15 minutes."""
    return expected is None or now > expected.at + timedelta(seconds=expected.grace_s)


def status(config: Config, root: Path, runs: Runs, now: datetime) -> dict[str, Any]:
    """Return all that is known, ready for JSON. Times are UTC; ``next_due`` lies in the past when late."""
    expected, release = due(config, runs), current_release(root)
    return {
        "schema_version": 1,
        "version": __version__,
        "now": _stamp(now),
        "schedule": config.schedule,
        "timezone": config.timezone,
        "next_due": _stamp(expected.at) if expected else None,
        "overdue_after": _stamp(expected.at + timedelta(seconds=expected.grace_s)) if expected else None,
        "stale": is_stale(expected, now),
        "consecutive_failures": runs.failures,
        "last_success": _plain(runs.last_success),
        "last_failure": _plain(runs.last_failure),
        "release": {"id": release.id} | {name: release.manifest.get(name) for name in FROM_MANIFEST}
        if release
        else None,
    }


def _plain(run: Any) -> dict[str, Any] | None:
    return asdict(run) | {"at": _stamp(run.at)} if run else None


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
