"""When builds are due: a cron expression or an interval, as a pure calendar without a clock."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LEAST_GRACE_S = 900
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True)
class Due:
    """The build that follows another: when, and for how long it may be late before readers are told."""

    at: datetime
    grace_s: int


def next_due(schedule: str, zone: ZoneInfo, built_at: datetime) -> Due | None:
    """Return when the next build is due after one at ``built_at`` (aware); ``None`` if never again.

    A build is late by more than one interval, or 15 minutes if that is longer, before its page says so.
    An interval counts from ``built_at``; a cron expression is read in ``zone``.

    Raises:
        ValueError: the schedule is neither.

    """
    if seconds := interval_s(schedule):
        return Due(built_at + timedelta(seconds=seconds), max(seconds, LEAST_GRACE_S))
    trigger = cron_trigger(schedule, zone)
    due = trigger.get_next_fire_time(built_at, built_at + timedelta(microseconds=1))
    if due is None:
        return None
    after = trigger.get_next_fire_time(due, due + timedelta(microseconds=1)) or due
    return Due(due, max(round((after - due).total_seconds()), LEAST_GRACE_S))


def interval_s(schedule: str) -> int | None:
    """Return the seconds of an interval such as ``15m`` or ``6h``; ``None`` for anything else."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", schedule)
    return int(match[1]) * UNITS[match[2]] if match else None


def cron_trigger(schedule: str, zone: ZoneInfo) -> Any:
    """Return APScheduler's trigger of a cron expression, with weekdays as cron counts them.

    APScheduler counts them from Monday = 0; cron from Sunday = 0, and takes 7 for Sunday too.
    """
    from apscheduler.triggers.cron import CronTrigger  # only where one is set: it costs start-up time

    fields = schedule.split()
    if len(fields) == 5:  # noqa: PLR2004 - the five fields of cron
        fields[4] = ",".join(map(_weekdays, fields[4].split(",")))
    return CronTrigger.from_crontab(" ".join(fields), timezone=zone)


def _weekdays(part: str) -> str:
    """Return one part of cron's last field with its weekdays by name, a range as a list."""
    match = re.fullmatch(r"(?:([0-7])(?:-([0-7]))?|\*)(?:/([1-7]))?", part)
    if match is None or part == "*":
        return part
    start, end, step = match.groups()
    first = int(start or 0)
    last = int(end) if end else 6 if step else first
    if last < first:
        raise ValueError(f'the weekdays "{part}" run backwards')
    return ",".join(dict.fromkeys(WEEKDAYS[day % 7] for day in range(first, last + 1, int(step or 1))))
