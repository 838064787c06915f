"""When builds are due: a cron expression or an interval, as a pure calendar without a clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LEAST_GRACE_S = 900
CRON_FIELDS = 5


@dataclass(frozen=True)
class Due:
    """The build that follows another: when, and for how long it may be late before readers are told."""

    at: datetime
    grace_s: int

    @property
    def overdue_after(self) -> datetime:
        """From when on readers are told that it is late."""
        return self.at + timedelta(seconds=self.grace_s)


def next_due(schedule: str, zone: ZoneInfo, built_at: datetime, jitter_s: int = 0) -> Due:
    """Return when the build after one at ``built_at`` (aware) is due.

    It is late by more than one interval, or 15 minutes if that is longer, and by what chance may add
    (``jitter_s``), before its page says so.

    Raises:
        ValueError: as :func:`due_after`.

    """
    due = due_after(schedule, zone, built_at)
    after = due_after(schedule, zone, due)
    # In UTC: between times of one zone Python subtracts what clocks show.
    interval_s = round((after.astimezone(UTC) - due.astimezone(UTC)).total_seconds())
    return Due(due, max(interval_s, LEAST_GRACE_S) + jitter_s)


def due_after(schedule: str, zone: ZoneInfo, moment: datetime) -> datetime:
    """Return the first time strictly after ``moment`` (aware) on which a build is due, in ``zone``.

    An interval counts from ``moment``. A cron expression is read in ``zone``, as Debian's cron reads it
    in nights when clocks change: one that names its hour runs once, the others keep to real time.

    Raises:
        ValueError: the schedule is neither, or no date has the day it names.

    """
    if seconds := interval_s(schedule):
        return (moment.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(zone)
    if len(schedule.split()) != CRON_FIELDS:
        raise ValueError("a cron expression has five fields: minute, hour, day, month, weekday")
    try:
        # Of two equal hours, one that names its hour knows only the first: it may lie before ``moment``.
        return next(due for due in CronSim(schedule, moment.astimezone(zone)) if due.astimezone(UTC) > moment)
    except CronSimError as exc:
        reason = str(exc).lower().replace("bad ", "it is wrong in ")
        raise ValueError(reason) from None
    except StopIteration:
        raise ValueError("no date has the day it names") from None


def interval_s(schedule: str) -> int | None:
    """Return the seconds of an interval such as ``15m`` or ``6h``; ``None`` for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", schedule)
    return int(match[1]) * UNITS[match[2]] if match else None
