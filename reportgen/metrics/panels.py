"""What panels show: each in each window, with the rows of its query."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reportgen.config.panels import Panel
from reportgen.core.windows import Span
from reportgen.sources.panel_queries import PanelRows


@dataclass(frozen=True)
class WindowPanel:
    """One panel as a window's page shows it.

    ``rows`` are ``None`` for a panel without a query, and for one that could never be read. ``span`` has the
    dates of the rows, and ``read_at`` (UTC) is when they were read: both are older than the page if the
    panel could not be renewed. ``problem`` says why; it is empty if the panel was renewed. ``spec`` is the
    Vega-Lite specification that was drawn, and ``drawings`` are its SVGs by size.
    """

    panel: Panel
    span: Span
    rows: PanelRows | None = None
    read_at: datetime | None = None
    spec: Mapping[str, Any] | None = None
    drawings: Mapping[str, str] | None = None
    problem: str = ""
