"""The panels of one build: their files and queries, and what the last release showed of those that fail."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel

from reportgen.charts.own_spec import check_spec
from reportgen.config.panels import Panel, read_panels
from reportgen.config.problems import did_you_mean
from reportgen.config.settings import Config
from reportgen.core.errors import PanelError, ReportgenError, mask
from reportgen.core.windows import Span, Window
from reportgen.metrics.dataset import Dataset
from reportgen.metrics.panels import Result, WindowPanel, interpret
from reportgen.publish.release import Release, read_published
from reportgen.sources.base import Source
from reportgen.sources.panel_queries import (
    OF_WINDOW,
    PanelRows,
    Value,
    named_values,
    panel_values,
    read_panel,
)
from reportgen.sources.registry import open_source


class StoredPanel(BaseModel):
    """``<window>/panels/<name>.json`` of a release."""

    schema_version: Literal[1]
    title: str
    text: str = ""
    position: Literal["top", "bottom"] = "bottom"
    formats: dict[str, str] = {}
    headings: dict[str, str] = {}
    start: date
    end: date
    kind: str
    read_at: AwareDatetime
    columns: list[str]
    rows: list[list[Value]]
    cut: bool = False
    not_finite: int = 0
    vega_lite: dict[str, Any] | None = None


class PanelReader:
    """Reads the panels of all windows in one build, and never fails.

    ``last`` is the release that is current, ``now`` the time of the build.
    """

    def __init__(self, config: Config, last: Release | None, now: datetime) -> None:
        self.panels = read_panels(config)
        self._config, self._last, self._now = config, last, now.astimezone(UTC)
        # The report itself needs the rest of the time.
        self.end = time.monotonic() + config.build_timeout_s / 2

    def __call__(self, source: Source, windows: Sequence[Window]) -> list[list[WindowPanel]]:
        """Return the panels of each window, in their order, read from the open source and the named ones."""
        queries = Queries(self._config, source, windows[0], self.end)
        # Panel by panel: what one does to the connection reaches only those after it.
        found = [
            (window, self._shown(panel, window, queries))
            for panel in self.panels
            for window in windows
            if window.name in self._windows_of(panel, windows)
        ]
        for name, exc in queries.close().items():
            found = [
                (window, self.last_state(each.panel, window, reason(each.panel, exc)))
                if each.panel.source == name and not each.problem
                else (window, each)
                for window, each in found
            ]
        return [[each for at, each in found if at is window] for window in windows]

    def _windows_of(self, panel: Panel, windows: Sequence[Window]) -> Sequence[str]:
        """Return the windows that show a panel; those of the last release if its file cannot be used."""
        names = [window.name for window in windows]
        if panel.problem:
            before = [name for name in names if _read_stored(self._last, name, panel.name)]
            return before or names
        return names if panel.windows is None else panel.windows

    def _shown(self, panel: Panel, window: Window, queries: "Queries") -> WindowPanel:
        """Return what a window shows of a panel."""
        if panel.problem:
            return self.last_state(panel, window, panel.problem)
        try:
            rows, _ = queries.result(panel, window)
        except Exception as exc:  # noqa: BLE001 - no panel fails a build
            return self.last_state(panel, window, reason(panel, exc))
        return WindowPanel(panel, window.span, rows, self._now, panel.spec)

    def last_state(self, panel: Panel, window: Window, problem: str) -> WindowPanel:
        """Return a panel that failed as the last release shows it."""
        problem = mask(problem, self._config.secrets)
        stored = _read_stored(self._last, window.name, panel.name)
        if stored is None:
            return WindowPanel(panel, window.span, problem=problem)
        kind: Any = stored.kind
        panel = replace(panel, chart=kind)
        if panel.problem:  # the file does not say how to show its rows
            of_file = {
                key: getattr(stored, key) for key in ("title", "text", "position", "formats", "headings")
            }
            panel = replace(panel, **of_file)
        rows = PanelRows(stored.columns, stored.rows, stored.cut, stored.not_finite)
        span = Span(stored.start, stored.end)
        try:
            interpret(panel, rows, replace(window, span=span))
        except Exception:  # noqa: BLE001 - the release is of another version
            return WindowPanel(panel, window.span, problem=problem)
        shown = rows if stored.columns else None  # only a specification
        return WindowPanel(panel, span, shown, stored.read_at, stored.vega_lite, problem=problem)


class Queries:
    """Runs the queries of a build; one that does not differ by window only once."""

    def __init__(self, config: Config, source: Source | None, window: Window, end: float) -> None:
        self._config, self._window, self._end = config, window, end
        self._sources: dict[str | None, Source | Exception] = {None: source} if source else {}
        self._found: dict[str, PanelRows] = {}
        self._late: dict[str, Exception] = {}

    def result(self, panel: Panel, window: Window) -> tuple[PanelRows | None, Result | None]:
        """Return the rows of a panel, and what their columns make of them; nothing without a query.

        Raises:
            PanelError: the specification, the query or its result is wrong, or there is no time left.

        """
        if panel.spec is not None:
            check_spec(panel.spec)
        if panel.sql is None:
            return None, None
        rows = self._rows(panel, panel.sql, window)
        known = [name.lower() for name in rows.columns]
        for setting, given in (("format", panel.formats), ("names", panel.headings)):
            if unknown := next((name for name in given if name not in known), None):
                advice = did_you_mean(unknown, known) or f"They are: {', '.join(rows.columns)}."
                raise PanelError(f'{setting} "{unknown}" is not a column of the query. {advice}')
        return rows, interpret(panel, rows, window)

    def _rows(self, panel: Panel, sql: str, window: Window) -> PanelRows:
        """Return the rows of a panel's query.

        Raises:
            PanelError: the query failed, or there is no time left.

        """
        if panel.name in self._late:  # it would be late again
            raise self._late[panel.name]
        if panel.name in self._found:
            return self._found[panel.name]
        source, start = self._source(panel.source), time.monotonic()
        limit_s = min(self._config.panel_timeout_s, self._end - start)
        if limit_s <= 0:
            raise PanelError("not read: half of build_timeout_s had passed before it.")
        try:
            values = panel_values(window, self._config.timezone, source.settings.timestamp_zone)
            found = read_panel(source, sql, values, limit_s)
        except Exception as exc:
            if time.monotonic() - start >= limit_s:
                self._late[panel.name] = exc
            raise
        if not named_values(sql) & OF_WINDOW:
            self._found[panel.name] = found
        return found

    def _source(self, name: str | None) -> Source:
        """Return the open source of a name; it is opened once, and fails once."""
        if name not in self._sources:
            try:
                self._sources[name] = named_source(self._config, str(name), self._window).__enter__()
            except Exception as exc:  # noqa: BLE001 - drivers raise errors of many classes
                self._sources[name] = exc
        source = self._sources[name]
        if isinstance(source, Exception):
            raise source
        return source

    def close(self) -> Mapping[str | None, Exception]:
        """Close the named sources, and return the errors of those whose files changed meanwhile."""
        failed: dict[str | None, Exception] = {}
        for name, source in self._sources.items():
            if name is not None and isinstance(source, Source):
                try:
                    source.__exit__(None, None, None)
                except Exception as exc:  # noqa: BLE001 - drivers raise errors of many classes
                    failed[name] = exc
        return failed


def named_source(config: Config, name: str, window: Window) -> Source:
    """Return a source of ``[sources]``, not yet entered, whose table of visits is not looked for."""
    source = open_source(config.sources[name], config.timezone, window.span)
    source.reads_visits = False
    return source


def panels_state(config: Config, span: Span) -> str | None:
    """Return what changes with the files of panels and of the sources that they name, if that is known."""
    panels = read_panels(config)
    try:
        named = {panel.source for panel in panels if panel.source}
        states = [open_source(config.sources[name], config.timezone, span).state for name in sorted(named)]
    except ReportgenError:
        return None
    return None if None in states else repr((panels, states))


def reason(panel: Panel, exc: Exception) -> str:
    """Return why a panel failed, with its place in the file."""
    line = getattr(exc, "line", None)
    place = f"{panel.file}:{panel.sql_line + line - 1}" if line else panel.file
    unexpected = "" if isinstance(exc, ReportgenError) else f"unexpected {type(exc).__name__}: "
    return f"{place}: {unexpected}{exc}"


def _read_stored(last: Release | None, window: str, panel: str) -> StoredPanel | None:
    """Return what a release holds of a panel, or ``None`` if it holds nothing that can be shown."""
    if last is None:
        return None
    try:
        stored = StoredPanel.model_validate(json.loads(read_published(last, f"{window}/panels/{panel}.json")))
    except (OSError, ValueError, RecursionError):
        return None
    whole = all(len(row) == len(stored.columns) for row in stored.rows) and stored.start <= stored.end
    return stored if whole else None


def shown_panels(dataset: Dataset) -> list[list[object]]:
    """Return what the pages show of panels: not when one was renewed, and not why another one failed."""
    return [
        [
            (
                each.read_at if each.problem else "renewed",
                replace(each.panel, problem="", file="", sql_line=0),
                *(each.span, each.rows, each.spec),
            )
            for each in panels
        ]
        for panels in dataset.panels
    ]


def not_renewed(dataset: Dataset) -> list[dict[str, Any]]:
    """Return the panels that failed: since when they are as they are, in which windows, and why."""
    found: dict[str, dict[str, Any]] = {}
    for window, panels in zip(dataset.windows, dataset.panels, strict=True):
        for each in panels:
            if each.problem:
                new: dict[str, Any] = {
                    "panel": each.panel.name,
                    "windows": [],
                    "as_of": None,
                    "message": each.problem,
                }
                entry = found.setdefault(each.panel.name, new)
                entry["windows"].append(window.name)
                if each.read_at:
                    stamps = (entry["as_of"], f"{each.read_at:%Y-%m-%dT%H:%M:%SZ}")
                    entry["as_of"] = min(filter(None, stamps))
    return list(found.values())
