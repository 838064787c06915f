"""One panel read once, as ``reportgen panel`` and ``reportgen check`` show it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from typing import Any

from reportgen.build.panels import Queries, reason
from reportgen.charts.own_spec import draw_specs
from reportgen.config.panels import Panel
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, PanelError, mask
from reportgen.core.text import LocaleFormatter, columns, shorten, visible
from reportgen.core.windows import Window
from reportgen.metrics.dataset import make_windows
from reportgen.metrics.panels import Dates
from reportgen.sources.base import Source
from reportgen.sources.panel_queries import PanelRows, Value
from reportgen.sources.registry import open_source

FIRST_ROWS = 20
"""Number of rows that ``reportgen panel`` prints."""
WIDEST_CELL = 40
"""Maximum columns of a cell there."""


@dataclass(frozen=True)
class PanelTrial:
    """A panel as one window shows it: the rows of its query, and the ``kind`` that their columns make."""

    panel: Panel
    window: Window
    kind: str
    rows: PanelRows | None = None
    left_out: int = 0

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        span, rows = self.window.span, self.rows or PanelRows((), ())
        about = {"panel": self.panel.name, "title": self.panel.title, "window": self.window.name}
        dates = {"start": span.first.isoformat(), "end": span.last.isoformat(), "kind": self.kind}
        return about | dates | vars(rows)

    def summary(self) -> str:
        """Return one line about the result: "bars, 20 rows: /a, 12; /b, 7; /c, 5"."""
        if self.rows is None:
            return self.kind
        first = "; ".join(", ".join(map(_cell, row)) for row in self.rows.rows[:3])
        return shorten(f"{self.kind}, {_count(self.rows)}: {first or 'none'}", 200)

    def lines(self) -> Iterator[str]:
        """Yield the title, the kind and the first rows for a terminal."""
        span, panel = self.window.span, self.panel
        yield f"{visible(panel.title)} ({self.window.name}: {span.first} to {span.last})"
        if self.rows is None:
            yield f"{self.kind}, without a query"
            return
        yield f"{self.kind}, {_count(self.rows)}"
        yield ""
        yield from _table(self.rows.columns, self.rows.rows[:FIRST_ROWS])
        if (more := len(self.rows.rows) - FIRST_ROWS) > 0:
            yield f"… and {more:,} more"
        if self.rows.cut:
            yield "note: the query has more rows than are read"
        if self.rows.not_finite:
            yield f"note: {self.rows.not_finite:,} values are shown as unknown: NaN or infinite"
        if self.left_out:
            yield f"note: {self.left_out:,} rows are of other dates than the window's, or have none"


def try_panel(
    config: Config, panel: Panel, today: date, window: str | None = None, source: Source | None = None
) -> PanelTrial:
    """Read a panel once, in a window of this name, from the open ``source`` of the report or its own one.

    Raises:
        ConfigError: there is no such window.
        PanelError: the file, the query or its result is wrong.
        SourceError: the source cannot be read.

    """
    shown = panel.windows or config.windows
    name = window or (config.default_window if config.default_window in shown else shown[0])
    found = [each for each in make_windows(config, today, today_complete=False) if each.name == name]
    if not found:
        listed = ", ".join(config.windows)
        raise ConfigError(f'--window "{name}" is not one of windows ({listed}). Write one of them.')
    if panel.problem:
        raise PanelError(panel.problem)
    with ExitStack() as opened:
        if source is None and panel.sql and not panel.source:
            own = open_source(config.source, config.timezone, found[0].span, config.path_rules)
            source = opened.enter_context(own)
        queries = Queries(config, source, found[0], float("inf"))
        opened.callback(queries.close)
        try:
            rows, result = queries.result(panel, found[0])
            if panel.spec is not None:
                formatter = LocaleFormatter.of(config.locale, config.nouns)
                drawn = draw_specs({panel.name: (panel.spec, rows)}, formatter, config.panel_timeout_s)
                if isinstance(error := drawn[panel.name], PanelError):
                    raise error
        except PanelError as exc:
            raise PanelError(mask(reason(panel, exc), config.secrets)) from None
    kind = "vega-lite" if panel.spec is not None else result.kind if result else "prose"
    return PanelTrial(panel, found[0], kind, rows, result.left_out if isinstance(result, Dates) else 0)


def _table(names: Sequence[str], rows: Sequence[Sequence[Value]]) -> Iterator[str]:
    """Yield rows below the names of their columns; numbers are aligned to the right."""
    head = [shorten(visible(name), WIDEST_CELL) for name in names]
    cells = [head, *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(columns, column)) for column in zip(*cells, strict=True)]
    numeric = [
        all(isinstance(value, int | float | None) for value in values) for values in zip(*rows, strict=True)
    ]
    for row in cells:
        gaps = [" " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)]
        padded = zip(row, gaps, numeric or [False] * len(row), strict=True)
        yield "  ".join(gap + cell if right else cell + gap for cell, gap, right in padded).rstrip()


def _cell(value: Value) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
    return "-" if value is None else shorten(visible(str(value)), WIDEST_CELL)


def _count(rows: PanelRows) -> str:
    return f"{len(rows.rows):,} {'row' if len(rows.rows) == 1 else 'rows'}"
