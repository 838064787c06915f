"""The page over all sites: the figures of each site's current release, and their age.

It runs no query and draws no chart: the figures come from each site's ``report.json``, its failures from its
record of builds, and sparklines are SVG paths. A site whose build failed keeps its last figures, marked.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from reportgen import __version__
from reportgen.build.status import is_stale
from reportgen.charts import sparklines
from reportgen.charts.sparklines import Spark
from reportgen.config.sites import Site, Sites
from reportgen.core.cron import next_due
from reportgen.core.release_files import packed
from reportgen.core.text import LocaleFormatter, visible
from reportgen.core.windows import Span, Window, bars_of, today_in
from reportgen.core.words import Words
from reportgen.pages.environment import environment, translate_template_errors
from reportgen.publish.history import read_runs
from reportgen.publish.release import current_release

TITLE = "Sites"
UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


@dataclass(frozen=True)
class OverviewHeader:
    """The header of the page in the templates' common parts. It has no windows and no notice."""

    name: str
    formatter: LocaleFormatter
    version: str
    windows: Sequence[str] = ()
    notice: None = None


@dataclass(frozen=True)
class Row:
    """One site in the table. If it was never built, only the first three values are known."""

    name: str
    prefix: str
    failed_at: datetime | None
    shown: bool = False
    window: str = ""
    span: Span | None = None
    total: int = 0
    compared: bool = False
    change: float | None = None
    basis: str = ""
    spark: Spark | None = None
    built_at: datetime | None = None
    age: str = ""
    overdue: bool = False
    sample: bool = False


def index_files(sites: Sites, now: datetime) -> dict[str, bytes]:
    """Return the files of the page over all sites as of ``now`` (aware).

    Raises:
        RenderError: a template is wrong.

    """
    common = sites.common
    used = {site.config.nouns for site in sites.all}
    words = used.pop() if len(used) == 1 else Words(visits="total")
    formatter = LocaleFormatter.of(common.locale, words)
    header = OverviewHeader(visible(common.site or TITLE), formatter, __version__)
    rows = [row_of(site, formatter, now) for site in sites.all]
    with translate_template_errors():
        jinja = environment(
            common.templates_dir,
            formatter,
            common.intro,
            style_sheets=("style.css", "overview.css"),
            site=header,
        )
        page = jinja.get_template("overview.html").render(
            sites=rows,
            count=formatter.count(len(rows), "site"),
            failed=sum(row.failed_at is not None or row.overdue for row in rows),
            built_at=now.astimezone(common.zone),
            timezone=common.timezone,
        )
        files = {
            "index.html": page.encode(),
            "404.html": jinja.get_template("404.html").render(root=common.base_path).encode(),
            "robots.txt": jinja.get_template("robots.txt").render().encode(),
            "sites.json": _data_files(header.name, rows),
        }
    return files | packed(files)


def row_of(site: Site, formatter: LocaleFormatter, now: datetime) -> Row:
    """Return the row of a site."""
    config, runs = site.config, read_runs(site.config.output.dir)
    name = visible(config.site or site.name)
    failed = runs.last_failure.at.astimezone(config.zone) if runs.failures and runs.last_failure else None
    try:
        return _built(site, name, formatter, now, failed)
    except (OSError, ValueError, LookupError, TypeError):  # no release, or one that is damaged
        return Row(name, site.prefix, failed)


def _built(site: Site, name: str, formatter: LocaleFormatter, now: datetime, failed: datetime | None) -> Row:
    config, runs = site.config, read_runs(site.config.output.dir)
    release = current_release(config.output.dir)
    if release is None:
        raise LookupError("no release")
    report: dict[str, Any] = json.loads((release.path / config.default_window / "report.json").read_bytes())
    both = report["complete"]
    built_at = datetime.fromisoformat(report["built_at"])
    checked = runs.last_success.at if runs.last_success else built_at
    expected = next_due(config.schedule, config.zone, checked, config.jitter_s)
    span = Span(date.fromisoformat(report["start"]), date.fromisoformat(report["end"]))
    window = Window(report["window"], span, (), span.last, today_complete=True, week_start=config.week_start)
    visits = (day["visits"] for day in report["daily"])
    drawn = [sum(islice(visits, bar.days)) for bar in bars_of(window)]
    today = today_in(ZoneInfo(report["timezone"]), built_at).isoformat()
    return Row(
        name,
        site.prefix,
        failed,
        shown=True,
        window=report["window"],
        span=span,
        total=report["total"],
        compared=bool(both["days"] and (both["total"] or both["previous_total"])),
        change=both["change"],
        basis=f"{formatter.number(both['total'])} against {formatter.number(both['previous_total'])} "
        "on complete days",
        spark=sparklines.bars(drawn, running=len(drawn) - 1 if today <= report["end"] else None),
        built_at=max(built_at, checked).astimezone(config.zone),
        age=age_of(max(built_at, checked), now),
        overdue=is_stale(expected, now),
        sample=report["sample"],
    )


def age_of(moment: datetime, now: datetime) -> str:
    """Return the age of ``moment`` in words: "3 hours"."""
    seconds = max(0, round((now - moment).total_seconds()))
    unit, size = next((each for each in UNITS if seconds >= each[1]), UNITS[-1])
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _data_files(name: str, rows: Sequence[Row]) -> bytes:
    """Return the page's table as JSON. ``null`` stands for an unknown value."""
    document = {"schema_version": 1, "name": name, "sites": [_plain(row) for row in rows]}
    return (json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()


def _plain(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "prefix": row.prefix,
        "window": row.window or None,
        "start": row.span and row.span.first.isoformat(),
        "end": row.span and row.span.last.isoformat(),
        "total": row.total if row.shown else None,
        "change": row.change,
        "figures_of": row.built_at and row.built_at.isoformat(timespec="seconds"),
        "failed_at": row.failed_at and row.failed_at.isoformat(timespec="seconds"),
        "overdue": row.overdue,
    }
