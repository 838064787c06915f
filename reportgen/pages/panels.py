"""The sections of panels on a window's page: chart, figure or table, state and notes; and their files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeGuard
from zoneinfo import ZoneInfo

from reportgen.charts import own_spec
from reportgen.charts.panel_charts import MAX_BARS, bars_chart, dates_chart, series_names, value_text
from reportgen.charts.spec import Chart
from reportgen.charts.svg import ChartFile, PageDraft
from reportgen.core.errors import PanelError
from reportgen.core.text import LocaleFormatter, visible
from reportgen.core.windows import Span, Window
from reportgen.core.words import in_sentence
from reportgen.metrics.panels import (
    MAX_COLUMNS,
    BarRow,
    Bars,
    Dates,
    Number,
    OneFigure,
    Result,
    Table,
    WindowPanel,
    as_text,
    change_of,
    interpret,
)
from reportgen.pages.context import CutPath, Page, SiteHeader, chart_variables, cut_path, drawing_key
from reportgen.pages.environment import prose_html
from reportgen.pages.exports import SCHEMA_VERSION, csv_bytes, safe_cell, utc
from reportgen.sources.panel_queries import OF_WINDOW, PanelRows, Value, named_values

NARROWEST = 36
"""Maximum number of letters beside each other for a table to fit on a phone; a wider one scrolls."""

NONE = "\N{EN DASH}"


class Cell(NamedTuple):
    """A cell of a table; ``value`` sorts those of numbers, ``bar`` is the length of a bar in percent."""

    text: CutPath
    value: str = ""
    bar: str = ""


class Column(NamedTuple):
    """A column of a table, with one cell for each row."""

    name: str
    cells: Sequence[Cell]
    numeric: bool


@dataclass(frozen=True)
class ShownPanel:
    """A panel of a window with what its rows mean, if it has some, and its chart, if it has one.

    ``window`` is as it was when the rows were read.
    """

    source: WindowPanel
    window: Window
    result: Result | None
    chart: Chart | None

    @property
    def name(self) -> str:
        """The name of its files."""
        return self.source.panel.name


def shown_panel(source: WindowPanel, window: Window, site: SiteHeader) -> ShownPanel:
    """Return a panel of a window's page, with the specification of its chart.

    Raises:
        RenderError: a chart could not be specified.

    """
    panel, result = source.panel, None
    if source.problem and source.read_at:  # it shows the dates of then
        today = source.read_at.astimezone(ZoneInfo(site.timezone)).date()
        window = replace(window, span=source.span, today=today, today_complete=False)
    if source.drawings is not None:
        chart = _own_chart(source, site.formatter)
        return ShownPanel(source, window, _table(source), chart)
    if source.rows is not None:
        try:
            result = interpret(panel, source.rows, window)
        except PanelError:  # the file has changed since these rows were read
            result = _table(source)
    if isinstance(result, Dates):
        return ShownPanel(source, window, result, dates_chart(panel, result, site.formatter))
    if isinstance(result, Bars) and result.rows:
        return ShownPanel(source, window, result, bars_chart(panel, result, site.formatter))
    return ShownPanel(source, window, result, None)


def _table(source: WindowPanel) -> Table | None:
    return Table(source.rows.columns, source.rows.rows) if source.rows else None


def _own_chart(source: WindowPanel, formatter: LocaleFormatter) -> Chart:
    """Return the chart of a specification of the panel's own, which is drawn already."""
    panel, spec, rows = source.panel, source.spec or {}, source.rows or PanelRows((), ())
    described = str(spec["description"]) if "description" in spec else ""
    names = ", ".join(visible(in_sentence(panel.heading(name))) for name in rows.columns[:MAX_COLUMNS])
    text = described or f"A chart of {formatter.count(len(rows.rows), 'row')}: {names}. The table has them."
    specs = own_spec.complete_specs(spec, formatter)
    data = own_spec.data_of(rows)
    return Chart(f"panel-{panel.name}", visible(panel.title), visible(text), data, None, specs)


def draw_panels(
    site: SiteHeader, content: Sequence[Page], top_paths: int
) -> tuple[PageDraft, dict[str, dict[str, Any]]]:
    """Return the files and charts of all panels, and the variables ``panels_top`` and ``panels`` by window.

    Tables have at most ``top_paths`` rows. A panel that cannot be shown is not available.
    """
    files: dict[str, bytes] = {}
    specs: dict[str, str] = {}
    drawn: dict[str, str] = {}
    chart_files, variables, warnings = [], {}, []
    for page in content:
        window = page.metrics.window
        made: dict[str, list[dict[str, Any]]] = {"top": [], "bottom": []}
        for source in page.panels:
            try:
                shown = shown_panel(source, window, site)
                section = _variables(shown, site, top_paths)
            except Exception as exc:  # noqa: BLE001 - no panel fails a build
                warnings.append(f"{window.name}: panel {source.panel.name} cannot be shown: {exc}")
                source = replace(source, rows=None, drawings=None, problem=str(exc) or "unknown")  # noqa: PLW2901
                shown = ShownPanel(source, window, None, None)
                section = _variables(shown, site, top_paths)
            made[source.panel.position].append(section)
            files |= _data_files(shown, site.timezone)
            if not (chart := shown.chart):
                continue
            keys = {size: drawing_key(window.name, chart, size) for size in chart.specs}
            if source.drawings is None:
                specs |= {key: chart.spec_json(size) for size, key in keys.items()}
            else:
                drawn |= {key: source.drawings[size] for size, key in keys.items()}
            about = [visible(site.name), site.formatter.span(_dates(shown) or source.span), site.timezone]
            file = f"{window.name}/panels/{shown.name}.svg"
            words = (chart.title, chart.alt, " \N{MIDDLE DOT} ".join(about))
            chart_files.append(ChartFile(file, keys["wide"], *words))
        variables[window.name] = {"panels_top": made["top"], "panels": made["bottom"]}
    return PageDraft(files, specs, chart_files, drawn, tuple(specs), warnings), variables


def _variables(shown: ShownPanel, site: SiteHeader, top_paths: int) -> dict[str, Any]:
    source, formatter = shown.source, site.formatter
    panel, result = source.panel, shown.result
    plain = result is None or isinstance(result, OneFigure)
    columns = [] if plain else list(_columns(shown, formatter, top_paths))[:MAX_COLUMNS]
    chart = shown.chart and chart_variables(shown.chart, shown.window.name, site.timezone)
    if chart and not isinstance(result, Dates):
        chart["alt"] = shown.chart and shown.chart.alt
    zone, span = ZoneInfo(site.timezone), _dates(shown)
    return {
        "name": panel.name,
        "title": visible(panel.title),
        "text": prose_html(panel.text),
        "chart": chart,
        "figure": _figure(result, shown, formatter) if isinstance(result, OneFigure) else None,
        "span": span,
        "so_far": span == shown.window.span and shown.window.running,
        "columns": columns,
        "rows": list(zip(*(column.cells for column in columns), strict=True)),
        "newest_first": isinstance(result, Dates),
        "layout": _layout(result, columns),
        "scrolls": _letters(columns) > NARROWEST,
        "as_of": source.read_at.astimezone(zone)
        if source.problem and source.has_data and source.read_at
        else None,
        "missing": bool(source.problem and not source.has_data),
        "notes": list(_notes(shown, top_paths, formatter)),
        "files": [
            *(["csv"] if source.rows is not None else []),
            *(["json"] if source.has_data else []),
            *(["svg"] if chart else []),
        ],
    }


def _dates(shown: ShownPanel) -> Span | None:
    """Return the dates of a panel's rows, if it has some, and they depend on the window."""
    if not shown.source.has_data:
        return None
    named = named_values(shown.source.panel.sql or "") & OF_WINDOW
    complete = named & {"last_complete", "end_complete"} and not named & {"last", "end"}
    if complete and not isinstance(shown.result, Dates):
        return shown.window.complete
    return shown.window.span if named or isinstance(shown.result, Dates) else None


def _figure(result: OneFigure, shown: ShownPanel, formatter: LocaleFormatter) -> dict[str, str]:
    """Return the texts of a single figure, and the direction of its change."""
    formats = shown.source.panel.formats
    now, before = result.value, result.previous
    change = change_of(now, before)
    moved = 0 if now is None or before is None else now - before
    details = [formatter.percent(change)] if change is not None else []
    if before is not None:
        details.append(
            f"against {value_text(formatter, formats.get('previous', formats.get('value')))(before)}"
        )
    return {
        "value": value_text(formatter, formats.get("value"))(now),
        "detail": " ".join(details),
        "direction": "up" if moved > 0 else "down" if moved < 0 else "",
    }


def _columns(shown: ShownPanel, formatter: LocaleFormatter, most: int) -> Iterator[Column]:
    """Yield the columns of a table of ``most`` rows: those of the query, with share and change.

    By date, there is a column for each series.
    """
    result, rows = shown.result, shown.source.rows
    panel, formats = shown.source.panel, shown.source.panel.formats
    if isinstance(result, Dates):
        days = [
            Cell(cut_path(formatter.day(day)), str(day.toordinal())) for day in result.dates[: -most - 1 : -1]
        ]
        yield Column(visible(panel.heading("date")), days, numeric=False)
        for name, by_date in zip(series_names(panel, result.series), result.series.values(), strict=True):
            yield _column(name, by_date[: -most - 1 : -1], formatter, formats.get("value"))
        return
    for at, name in enumerate(rows.columns if rows else ()):
        key, values = name.lower(), [row[at] for row in rows.rows[:most]] if rows else []
        yield _column(panel.heading(name), values, formatter, formats.get(key))
        if isinstance(result, Bars) and key == "value" and result.total:
            yield _shares(result.rows[:most], result.total, formatter)
        if isinstance(result, Bars) and key == "previous":
            yield _changes(result.rows[:most], formatter)


def _column(name: str, values: Sequence[Value], formatter: LocaleFormatter, pattern: str | None) -> Column:
    """Return a column of a query. One of numbers is aligned and sorted as numbers are."""
    numbers = [value for value in values if _is_number(value)]
    numeric = len(numbers) == len(values) and any(number is not None for number in numbers)
    if numeric:
        show = value_text(formatter, pattern)
        cells = [Cell(cut_path(show(value)), "" if value is None else str(value)) for value in numbers]
    else:
        cells = [Cell(cut_path(NONE if value is None else as_text(value))) for value in values]
    return Column(visible(name), cells, numeric=numeric)


def _is_number(value: Value) -> TypeGuard[Number | None]:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _shares(rows: Sequence[BarRow], total: float, formatter: LocaleFormatter) -> Column:
    most = max(row.value or 0 for row in rows)
    cells = [
        Cell(
            cut_path(formatter.share((row.value or 0) / total)),
            str(row.value),
            f"{100 * (row.value or 0) / most:.4g}",
        )
        if row.value is not None
        else Cell(cut_path(NONE))
        for row in rows
    ]
    return Column("Share", cells, numeric=True)


def _changes(rows: Sequence[BarRow], formatter: LocaleFormatter) -> Column:
    cells = []
    for row in rows:
        change = change_of(row.value, row.previous)
        new = change is None and row.previous == 0 and (row.value or 0) > 0
        text = formatter.percent(change) if change is not None or new else NONE
        cells.append(Cell(cut_path(text), "Infinity" if new else "" if change is None else f"{change:.4f}"))
    return Column("Change", cells, numeric=True)


def _layout(result: Result | None, columns: Sequence[Column]) -> str:
    """Return the class of a table: ``paths`` gives the first column all space that numbers leave."""
    if isinstance(result, Dates):
        return "days"
    return "paths" if all(column.numeric for column in columns[1:]) else "plain"


def _letters(columns: Sequence[Column]) -> int:
    """Return about how many letters a table has beside each other where it is narrowest."""
    heads = [max(map(len, column.name.split()), default=0) for column in columns]
    cells = [
        max((len(cell.text.head) for cell in column.cells), default=0) if column.numeric else 8
        for column in columns
    ]
    return sum(2 + max(both) for both in zip(heads, cells, strict=True))


def _notes(shown: ShownPanel, top_paths: int, formatter: LocaleFormatter) -> Iterator[str]:
    """Yield a sentence for each thing that a reader does not see."""
    source, result = shown.source, shown.result
    rows = len(result.dates if isinstance(result, Dates) else source.rows.rows if source.rows else ())
    if isinstance(result, Bars) and result.has_previous:
        yield "The thin lines are the previous values."
    if isinstance(result, Bars):
        labels = len({row.label for row in result.rows}) if result.series else len(result.rows)
        if labels > MAX_BARS:
            yield f"The chart has the first {MAX_BARS} of {formatter.count(labels, 'label')}."
    if isinstance(result, Dates) and result.left_out:
        yield f"{formatter.count(result.left_out, 'row')} left out: of other dates, or without a date."
    if rows > top_paths:
        yield f"{formatter.number(top_paths)} of {formatter.count(rows, 'row')}; the files have all."
    if source.rows and len(source.rows.columns) > MAX_COLUMNS:
        yield f"{MAX_COLUMNS} of {formatter.count(len(source.rows.columns), 'column')}; the files have all."
    if source.rows and source.rows.cut:
        yield f"The query has more rows than the {formatter.number(len(source.rows.rows))} that were read."
    if source.rows and source.rows.not_finite:
        yield f"{formatter.count(source.rows.not_finite, 'value')} shown as unknown: NaN or infinite."


def _data_files(shown: ShownPanel, timezone: str) -> dict[str, bytes]:
    """Return the data files of a panel, by their paths in the release."""
    window, kind = shown.window.name, shown.result.kind if shown.result else "table"
    stem = f"{window}/panels/{shown.name}"
    files = {}
    if shown.source.rows is not None:
        files[f"{stem}.csv"] = panel_csv(shown.source.rows)
    if shown.source.has_data:
        files[f"{stem}.json"] = panel_json(shown.source, kind, window, timezone)
    return files


def panel_json(panel: WindowPanel, kind: str, window: str, timezone: str) -> bytes:
    """Return what a panel shows; the next build shows it again if it cannot renew the panel."""
    rows = panel.rows or PanelRows((), ())
    found = {
        "schema_version": SCHEMA_VERSION,
        "panel": panel.panel.name,
        "title": panel.panel.title,
        "text": panel.panel.text,
        "position": panel.panel.position,
        "formats": dict(panel.panel.formats),
        "headings": dict(panel.panel.headings),
        "window": window,
        "start": panel.span.first.isoformat(),
        "end": panel.span.last.isoformat(),
        "timezone": timezone,
        "kind": kind,
        **({"read_at": utc(panel.read_at)} if panel.read_at else {}),
        "renewed": not panel.problem,
        "cut": rows.cut,
        "not_finite": rows.not_finite,
        "columns": list(rows.columns),
        "rows": list(map(list, rows.rows)),
        **({"vega_lite": panel.spec} if panel.spec is not None else {}),
    }
    return (json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n").encode()


def panel_csv(rows: PanelRows) -> bytes:
    """Return the rows of a panel's query, under the names of its columns."""
    cells = (
        [safe_cell(as_text(value)) if isinstance(value, str | bool) else value for value in row]
        for row in rows.rows
    )
    return csv_bytes(list(map(safe_cell, rows.columns)), cells)
