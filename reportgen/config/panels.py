"""Panels: Markdown files, each with a question of the site's own, as text, a query and a chart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ChartKind = Literal["bars", "line", "stacked", "area", "none"]


@dataclass(frozen=True)
class Panel:
    """One file ``NAME.md`` of ``panels_dir``.

    ``text`` is its prose as Markdown, ``sql`` its query, ``spec`` its own Vega-Lite specification. ``chart``
    is ``None`` if the columns of the result decide. ``windows`` are the names of the windows that show it,
    or ``None`` for all. ``source`` names one of ``[sources]``, or is ``None`` for that of the report.
    ``formats`` has CLDR number patterns by column. ``problem`` says why the file cannot be used; it is empty
    if it can.
    """

    name: str
    title: str
    text: str = ""
    sql: str | None = None
    spec: Mapping[str, Any] | None = None
    chart: ChartKind | None = None
    windows: tuple[str, ...] | None = None
    position: Literal["top", "bottom"] = "bottom"
    source: str | None = None
    formats: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
