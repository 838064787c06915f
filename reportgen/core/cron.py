"""When builds are due, by a cron expression or an interval. Calendar arithmetic, without a clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MIN_GRACE_S = 900
MANUAL = "manual"
"""The schedule of a report that something else builds, at times of its own: no build is ever due."""

CRON_FIELDS = 5


@dataclass(frozen=True)
class Due:
    """The time of the next build, and the seconds by which it may be late before its page says so."""

    at: datetime
    grace_s: int

    @property
    def overdue_after(self) -> datetime:
        """The time after which the page says that the build is overdue."""
        return self.at + timedelta(seconds=self.grace_s)


def next_due(schedule: str, zone: ZoneInfo, built_at: datetime, jitter_s: int = 0) -> Due | None:
    """Return when the build after one at ``built_at`` (aware) is due, or ``None`` if ``schedule`` is manual.

    The page says that it is overdue after one more interval, at least 15 minutes, and ``jitter_s`` seconds.

    Raises:
        ValueError: as :func:`due_after`.

    """
    if schedule == MANUAL:
        return None
    due = due_after(schedule, zone, built_at)
    after = due_after(schedule, zone, due)
    # In UTC: Python subtracts the local times of two datetimes that have the same zone.
    interval_s = round((after.astimezone(UTC) - due.astimezone(UTC)).total_seconds())
    return Due(due, max(interval_s, MIN_GRACE_S) + jitter_s)


def due_after(schedule: str, zone: ZoneInfo, moment: datetime) -> datetime:
    """Return the first time strictly after ``moment`` (aware) on which a build is due, in ``zone``.

    An interval counts from ``moment``. A cron expression is read in ``zone``, and in nights when clocks
    change as Debian's cron reads it: one that names its hour runs once, the others run by elapsed time.

    Raises:
        ValueError: the schedule is neither of the two, or no date matches it.

    """
    if seconds := interval_s(schedule):
        return (moment.astimezone(UTC) + timedelta(seconds=seconds)).astimezone(zone)
    if len(schedule.split()) != CRON_FIELDS:
        raise ValueError("a cron expression has five fields: minute, hour, day, month, weekday")
    try:
        # When an hour comes twice, cronsim returns the first one, which may be before ``moment``.
        return next(due for due in CronSim(schedule, moment.astimezone(zone)) if due.astimezone(UTC) > moment)
    except CronSimError as exc:
        reason = str(exc).lower().replace("bad ", "it is wrong in ")
        raise ValueError(reason) from None
    except StopIteration:
        raise ValueError("no date has the day it names") from None


def interval_s(schedule: str) -> int | None:
    """Return the seconds of an interval such as ``15m`` or ``6h``, or ``None`` for any other text."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", schedule)
    return int(match[1]) * UNITS[match[2]] if match else None
