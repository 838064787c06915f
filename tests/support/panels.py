"""Panels of every kind, and pages that show them, without files and queries."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from reportgen.build.pipeline import draw_files
from reportgen.charts.own_spec import draw_specs
from reportgen.config.panels import Panel
from reportgen.config.settings import Config
from reportgen.core.processes import Stopwatch
from reportgen.core.text import ENGLISH
from reportgen.core.windows import Span
from reportgen.metrics.dataset import read_dataset
from reportgen.metrics.panels import WindowPanel
from reportgen.pages.exports import paths_csv
from reportgen.sources.panel_queries import PanelRows

NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
TODAY = date(2026, 11, 23)
WEEK = Span(TODAY - timedelta(6), TODAY)
HEAT = {
    "mark": "rect",
    "encoding": {
        "x": {"field": "hour", "type": "ordinal"},
        "y": {"field": "day", "type": "ordinal", "sort": None},
        "color": {"field": "visits", "type": "quantitative"},
        "tooltip": [{"field": "day"}, {"field": "visits"}],
    },
}
DEVICES = list(enumerate(["Phone", "Desktop"]))
CUT = {"cut": True, "not_finite": 2}
SPLIT = [
    ((TODAY - timedelta(days)).isoformat(), 10 + n * 7 % 23 + days * n % 5, name)
    for days in range(7)
    for n, name in enumerate(["Search", "Direct", "Feeds", "Mail"])
]


def panel(
    name: str, columns: str = "", *rows: tuple[Any, ...], text: str = "", result: Any = None, **options: Any
) -> WindowPanel:
    """Return a panel of the week with a result of these columns, separated by blanks."""
    states = {
        key: options.pop(key) for key in ("problem", "spec", "drawings", "read_at", "span") if key in options
    }
    found = PanelRows(columns.split(), rows, **(result or {})) if columns else None
    made = Panel(
        name, options.pop("title", name.capitalize()), text, "SELECT :first" if columns else None, **options
    )
    given: dict[str, Any] = {"span": WEEK, "rows": found, "read_at": NOW} | states
    return WindowPanel(made, **given)


def of_every_kind() -> list[WindowPanel]:
    """Return one panel of each kind, and of each state, as the page of a week shows it."""
    hours = [
        (day, hour, (at + 2) * hour % 17)
        for at, day in enumerate(["Mon", "Tue", "Wed"])
        for hour in range(24)
    ]
    heat = panel("heat", "day hour visits", *hours, spec=HEAT, title="When they come")
    drawings = draw_specs({"heat": (HEAT, heat.rows)}, ENGLISH, 60)["heat"]
    assert isinstance(drawings, dict), drawings
    before = {
        "span": Span(WEEK.first - timedelta(2), WEEK.last - timedelta(2)),
        "read_at": NOW - timedelta(2),
    }
    hosts = [("github.com", 1204), ("news.example", 310), ("<b>\x00=1+1", 12), (None, 3)]
    places = [
        (place, 10 + at * n, kind) for at, place in enumerate(("Norway", "Peru")) for n, kind in DEVICES
    ]
    euro = dict.fromkeys(("value", "previous"), "€ #,##0.00")
    mail = [(day, value) for day, value, name in SPLIT if name == "Mail"]
    plans = [("Basic", 980.5, 1100), ("Team", 2400, 1800), ("Trial", None, 0)]
    steps = [("Visit", 1000, 1.0), ("Cart", 220, 0.22), ("Paid", 31, 0.031)]
    return [
        panel("prose", text="Words, a *few*, and [a link](https://example.com/) or [none](#nowhere)."),
        panel(
            "referrers",
            "label value",
            *hosts,
            title="Where readers come from",
            text="From *Referer*.",
            headings={"label": "Host", "value": "Visits"},
        ),
        panel("plans", "label value previous", *plans, formats=euro, title="Revenue by plan"),
        panel("countries", "label value series", *places),
        panel("line", "date value", *mail, formats={"value": "0.0"}),
        panel("area", "date value", (SPLIT[0][0], 7), (SPLIT[8][0], None), ("2020-01-01", 1), chart="area"),
        panel("stacked", "date value series", *SPLIT, chart="stacked"),
        panel("figure", "value previous", (4210, 3900), title="Orders"),
        panel("funnel", "step users share", *steps, formats={"share": "0.0 %"}, result=CUT),
        replace(heat, drawings=drawings),
        panel("old", "label value", ("a", 3), ("b", 1), problem="timeout", **before),
        panel("missing", problem="no such table"),
        panel("top", "label value", ("first", 3), position="top", title="On top"),
        panel("empty", "label value"),
    ]


def files_with(
    panels: Sequence[WindowPanel], config: Config | None = None, warnings: Any = None
) -> dict[str, bytes]:
    """Return the files of a release of a week of the sample that shows these panels."""
    config = config or Config(windows=["7d"], default_window="7d")
    dataset = replace(read_dataset(config, NOW, None, paths_csv), panels=[panels])
    watch = Stopwatch(warn=(warnings if warnings is not None else []).append)
    return draw_files(config, dataset, NOW, None, "assets/vega.js", watch, warm=True)[0]
