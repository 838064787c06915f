"""Unusual rows, and what a report of them must say, computed in plain Python."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from reportgen.sources.spellings import DateReader
from tests.support import hostile

Stored = tuple[str | None, str | bytes | None, int | float | str | None]
"""Date, path and visits, as an SQLite table holds them; a path in bytes is not UTF-8."""

MAX = 2**63 - 1
STORED = {hostile.read(path): path for path in hostile.NOT_UTF8.values()}
"""Paths that are not UTF-8, by their names in a report: they sort by their bytes."""

ZONES = (
    "UTC", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu", "Europe/Dublin", "Pacific/Kiritimati",
    "Europe/Berlin", "Africa/Casablanca", "Australia/Lord_Howe", "Pacific/Pago_Pago",
)  # fmt: skip
EDGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC),  # Dublin, Berlin
    datetime(2026, 11, 1, 4, 30, tzinfo=UTC), datetime(2026, 3, 8, 5, 30, tzinfo=UTC),  # St. John's
    datetime(2011, 12, 30, 10, tzinfo=UTC),  # Apia goes from the 29th to the 31st
    datetime(2024, 2, 29, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, 10, tzinfo=UTC),
    datetime(2026, 11, 23, 18, 15, tzinfo=UTC), datetime(2026, 11, 23, 11, tzinfo=UTC),
)  # fmt: skip
DAYS = (date(1000, 1, 1), date(1004, 2, 29), date(1900, 3, 1), date(2024, 2, 29), date(2026, 11, 23),
        date(2400, 2, 29), date(9999, 12, 30))  # fmt: skip
NO_DATES = (
    None, "", "2026-02-30", "2026-13-01", "2026-1-5", "0000-00-00", "20261123", "yesterday", "2026-11-23x",
    "2025-02-29", "9999-99-99", "0001-01-01", "9999-12-31", "9999-12-31T23:59:59", "2026-11-23\x00",
    "\U0010ffff", "-0001-01-01", " 2026-11-23",
)  # fmt: skip
VISITS = (None, 0, -1, -(2**63), "x", "", "12", "-5", 3.0, 3.5, -0.5, 10**6, 2**31, 2**32, 2**53 + 1, 2**62)


@dataclass(frozen=True)
class Case:
    """Rows, and the settings and the time of a build that reads them."""

    rows: tuple[Stored, ...]
    windows: tuple[str, ...]
    timezone: str
    now: datetime
    as_of: date | None
    top_paths: int
    site_url: str | None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings without source and output."""
        return {
            "site": "example.com", "site_url": self.site_url, "windows": self.windows,
            "timezone": self.timezone, "default_window": self.windows[0],
            "top_paths": self.top_paths,
        }  # fmt: skip

    @property
    def today(self) -> date:
        """Return the last date."""
        if self.as_of:
            return self.as_of
        offset = ZoneInfo(self.timezone).utcoffset(self.now.astimezone(ZoneInfo(self.timezone)))
        assert offset is not None
        return (self.now + offset).date()


texts = st.one_of(
    st.sampled_from([*hostile.TEXTS.values(), "/", "/a", "/a/", "/b"]),
    st.sampled_from(list(hostile.NOT_UTF8.values())),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12).map("/".__add__),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=40),
    st.text("<>&\"'`{}%=+-@\\/#?;,\r\n\t\0\u2028\u202e\u0301 ", max_size=20),
    st.tuples(st.text("/ab\u0301\U0001f600", min_size=1, max_size=3), st.integers(1, 900)).map(
        lambda t: t[0] * t[1]
    ),
)
counts = st.one_of(st.integers(0, 40), st.integers(0, 2000), st.sampled_from(VISITS))
huge = st.one_of(counts, st.integers(MAX - 3, MAX), st.integers(2**60, 2**62))
names = st.integers(1, 1100).map("{}d".format)
windows = st.lists(
    st.one_of(st.sampled_from(["today", "1d", "2d", "7d", "30d", "366d"]), names),
    min_size=1, max_size=3, unique=True,
).map(tuple)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return a case; most rows have dates near the windows."""
    named = draw(windows)
    past = draw(st.booleans())
    as_of = draw(st.one_of(st.sampled_from(DAYS), st.dates(DAYS[0], DAYS[-1]))) if past else None
    now = draw(st.sampled_from(EDGES)) + timedelta(
        seconds=draw(st.sampled_from([-1, 0, 1, -3600, 1800, 40_000]))
    )
    case = Case((), named, draw(st.sampled_from(ZONES)), now, as_of, draw(st.sampled_from([100, 1, 2, 5])),
                draw(st.sampled_from([None, "https://example.com"])))  # fmt: skip
    longest = max(1 if name == "today" else int(name[:-1]) for name in named)
    edges = {0, 1, 7, longest - 1, longest, 2 * longest - 1, 2 * longest}
    back = st.one_of(st.integers(-2, 9), st.integers(0, 2 * longest + 1), st.sampled_from(sorted(edges)))
    shapes = st.sampled_from(["{}", "{}", "{}", "{}", "{}T23:59:59", "{} 00:00"])
    days = st.one_of(
        st.tuples(back, shapes).map(lambda t: t[1].format(moved(case.today, t[0]).isoformat())),
        st.sampled_from(NO_DATES),
    )
    paths = draw(st.lists(texts, min_size=1, max_size=12))
    path = st.one_of(st.sampled_from(paths), st.none()) if draw(st.booleans()) else st.sampled_from(paths)
    number = draw(st.sampled_from([counts, counts, counts, huge]))
    rows: list[Stored] = draw(
        st.lists(st.tuples(days, path, number), max_size=draw(st.sampled_from([3, 30])))
    )
    rows += many(
        draw(st.integers(0, 2**32)), draw(st.sampled_from([0, 5, 40, 300])), case.today, longest, paths
    )
    return Case(tuple(rows), named, case.timezone, now, as_of, case.top_paths, case.site_url)


def many(seed: int, count: int, today: date, longest: int, paths: list[str | bytes]) -> Iterator[Stored]:
    """Yield good rows by chance, on few days or all, most on few paths: more than a strategy would draw."""
    chance = random.Random(seed)
    reach = chance.choice([2, 9, 2 * longest])
    top = chance.choice([1, 30, 10_000])
    for _ in range(count):
        path = paths[min(int(chance.expovariate(0.4)), len(paths) - 1)]
        yield moved(today, chance.randrange(reach)).isoformat(), path, chance.randint(0, top)


def moved(day: date, back: int) -> date:
    """Return the date some days before, inside the calendar."""
    return date.fromordinal(min(max(day.toordinal() - back, 1), date.max.toordinal()))


class RefusedError(Exception):
    """The build fails, with these words in its message."""


@dataclass(frozen=True)
class Truth:
    """What a report must say: by day and path, which dates have rows, rows left out by kind, rows counted."""

    visits: dict[date, Counter[str]]
    recorded: set[date]
    since: date | None
    notes: Counter[str]
    rows: int

    def by_path(self, dates: Iterable[date]) -> Counter[str]:
        """Return the visits of each path on these dates."""
        total: Counter[str] = Counter()
        for day in dates:
            total.update(self.visits.get(day, {}))
        return total

    def pairs(self, case: Case, window: str) -> list[tuple[date, date]]:
        """Return the dates that are compared, each with its earlier date."""
        days = length(window)
        over = [case.today - timedelta(n) for n in range(case.as_of is None, days)][::-1]
        pairs = ((day, day - timedelta(days)) for day in over)
        return [pair for pair in pairs if self.recorded.issuperset(pair)]


def truth(case: Case) -> Truth:  # noqa: C901 - one branch for each rule
    """Return the truth: sort each row by the documented rules.

    Raises:
        RefusedError: what is read does not add up in 64 bits, or no row has a date, or a number.

    """
    longest = max(map(length, case.windows))
    first = min(moved(case.today, 7), moved(case.today, 2 * longest - 1))
    visits: dict[date, Counter[str]] = defaultdict(Counter)
    recorded, notes, total, rows, dated, older = set(), Counter[str](), 0, 0, False, False
    spelled = DateReader(case.timezone, None)
    for stored, path, count in case.rows:
        if stored is None:
            notes["null_date"] += 1
            continue
        found = spelled.day_of(stored.partition("\0")[0])  # where SQLite's functions see the end of a text
        day = date.fromisoformat(found) if found else None
        dated = dated or day is not None
        if day and day > case.today:
            if case.as_of is None:
                notes["future_date"] += 1
            continue
        if day and day < first:
            older = True
            continue
        if day:
            recorded.add(day)
        number = whole(count)
        kind = (
            "invalid_date" if day is None else "null_path" if path is None
            else "null_visits" if count is None else "invalid_visits" if number is None
            else "negative_visits" if number < 0 else ""
        )  # fmt: skip
        if kind or day is None or path is None or number is None:
            notes[kind] += 1
            continue
        visits[day][hostile.read(path)] += number
        total, rows = total + number, rows + 1
    if notes["invalid_date"] and not dated:
        raise RefusedError("no row has a date")
    if not rows and notes.keys() - {"null_date", "invalid_date", "future_date"} == {"invalid_visits"}:
        raise RefusedError("has a whole number")
    if total > MAX:
        raise RefusedError("64 bits")
    since = min(recorded, default=first)
    return Truth(visits, recorded, None if older or since == first else since, notes, rows)


def length(window: str) -> int:
    """Return a window's days."""
    return 1 if window == "today" else int(window.removesuffix("d"))


def whole(count: float | str | None) -> int | None:
    """Return a count as a whole number, if it is one."""
    try:
        number = float(count) if isinstance(count, str) else count
    except ValueError:
        return None
    return int(number) if number is not None and number == math.floor(number) else None


def figures(case: Case, true: Truth, window: str) -> dict[str, Any]:
    """Return what ``report.json`` of a window must say, but for its sentences and when it was built."""
    days, last = length(window), case.today
    dates, pairs = [last - timedelta(n) for n in range(days)][::-1], true.pairs(case, window)
    paths, complete = true.by_path(dates), true.by_path(day for day, _ in pairs)
    before = true.by_path(earlier for _, earlier in pairs)
    total, listed = sum(paths.values()), [path for path in paths if paths[path]]
    listed.sort(key=lambda path: (-paths[path], STORED.get(path, path.encode())))
    top = [
        {
            "path": path, "visits": paths[path], "share": paths[path] / total, "previous": before[path],
            "change": change(complete[path], before[path]),
        }
        for path in listed
    ]  # fmt: skip
    return {
        "schema_version": 1, "site": "example.com", "window": window, "start": str(dates[0]),
        "end": str(last), "days": days, "timezone": case.timezone, "as_of": str(last), "sample": False,
        "total": total,
        "complete": {
            "days": len(pairs), "total": sum(complete.values()), "previous_total": sum(before.values()),
            "change": change(sum(complete.values()), sum(before.values())),
        },
        "daily": [
            {
                "date": str(day), "visits": sum(true.visits.get(day, {}).values()),
                "previous": sum(true.visits.get(day - timedelta(days), {}).values()),
                "recorded": day in true.recorded,
                **({} if day - timedelta(days) in true.recorded else {"previous_recorded": False}),
            }
            for day in dates
        ],
        "paths": top[: case.top_paths], "path_count": len(listed),
        "other": sum(row["visits"] for row in top[case.top_paths :]),
        "notes": [{"kind": kind, "rows": rows} for kind, rows in sorted(true.notes.items())],
        **({"recorded_since": str(true.since)} if true.since else {}),
        "all paths": top,
    }  # fmt: skip


def change(now: int, before: int) -> float | None:
    """Return the relative change."""
    return now / before - 1 if before else None
