"""Frames in, charts out: one function a chart.

Altair builds the Vega-Lite specification, vl-convert draws it. Each chart is drawn wide and narrow,
because an SVG scaled down to a phone shrinks its text with it; the page shows the one that fits.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from reportgen import theme
from reportgen.errors import RenderError
from reportgen.metrics import OTHER, PathRow, WindowMetrics, path_rows
from reportgen.windows import Span


@dataclass(frozen=True)
class Size:
    """One width a chart is drawn for: ``width_px`` of the whole drawing, text, room for words."""

    name: str
    width_px: int
    height_px: int
    font_px: float
    label_chars: int
    legend_columns: int
    ticks: int


SIZES = (
    Size("wide", 960, 300, 14.5, 30, 3, 11),
    Size("narrow", 340, 240, 11.5, 40, 1, 5),
)


@dataclass(frozen=True)
class Chart:
    """A chart ready for the page.

    ``alt`` says in words and numbers what it shows. ``specs`` and ``svgs`` are keyed by
    :attr:`Size.name`.
    """

    name: str
    title: str
    alt: str
    specs: Mapping[str, dict[str, Any]]
    svgs: Mapping[str, str]


def visits_by_path(metrics: WindowMetrics, stack: pd.DataFrame, slots: Mapping[str, int]) -> Chart:
    """Draw visits per day, stacked by path, largest at the bottom.

    ``stack`` is what :func:`reportgen.metrics.stack` returns: dates x series, ints. ``slots`` names
    the colour of each path.
    """
    specs = {size.name: _stacked(metrics, stack, slots, size) for size in SIZES}
    parts = [
        f"{'all other paths' if path is OTHER else theme.visible(path)} {theme.number(sum(visits))}"
        for path, visits in _series(stack)
        if sum(visits)
    ]
    highest = max(metrics.day_rows(), key=lambda day: day.visits)
    text = (
        f"{theme.count(metrics.total, 'visit')} on {_dates(metrics.window.span)}; "
        f"most on {theme.day(highest.date)}: {theme.number(highest.visits)}. By path: {', '.join(parts)}"
    )
    return _chart("visits-by-path", "Visits per day by path", f"{text}.", specs)


def top_paths(metrics: WindowMetrics, most: int = 20) -> Chart:
    """Draw the first paths of one day as horizontal bars."""
    paths = list(path_rows(metrics.paths.head(most)))
    specs = {size.name: _bars(paths, size) for size in SIZES}
    parts = [f"{theme.visible(row.path)} {theme.number(row.visits)}" for row in paths]
    text = f"{theme.count(metrics.total, 'visit')} on {_dates(metrics.window.span)}"
    return _chart("top-paths", "Visits by path", f"{text}. {', '.join(parts)}.", specs)


def svg_of(spec: Mapping[str, Any]) -> str:
    """Draw a Vega-Lite specification. Nothing it names is fetched.

    Raises:
        RenderError: the specification cannot be drawn.

    """
    with _border("drawn"):
        return vl_convert.vegalite_to_svg(json.dumps(spec), allowed_base_urls=[])


def _chart(name: str, title: str, text: str, specs: Mapping[str, dict[str, Any]]) -> Chart:
    return Chart(name, title, text, specs, {size: svg_of(spec) for size, spec in specs.items()})


def _stacked(
    metrics: WindowMetrics, stack: pd.DataFrame, slots: Mapping[str, int], size: Size
) -> dict[str, Any]:
    series = _series(stack)
    labels = _labels([path for path, _ in series], size.label_chars)
    colours = [theme.series_colour(None if path is OTHER else slots[path]) for path, _ in series]
    dates, today = metrics.window.span.dates(), metrics.window.span.last
    rows = [
        {
            "date": day.isoformat(),
            "day": theme.day(day),
            "series": labels[at],
            "path": "Other" if path is OTHER else theme.visible(path),
            "order": at,
            "visits": count,
            "running": day == today and not metrics.window.today_complete,
        }
        for at, (path, visits) in enumerate(series)
        for day, count in zip(dates, visits, strict=True)
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=alt.X("date:O", axis=_date_axis(dates, size)))
    bars = base.mark_bar(stroke="var(--paper)", strokeWidth=0.75).encode(
        y=alt.Y("visits:Q", stack="zero", axis=alt.Axis(format=",d", tickMinStep=1)),
        color=alt.Color(
            "series:N",
            scale=alt.Scale(domain=labels, range=colours),
            legend=alt.Legend(orient="top" if size.name == "wide" else "bottom", columns=size.legend_columns),
        ),
        order=alt.Order("order:Q"),
        opacity=alt.condition("datum.running", alt.value(0.55), alt.value(1)),
        tooltip=["day:N", "path:N", "visits:Q"],
    )
    layers: list[alt.Chart] = [bars]
    if not metrics.window.today_complete:
        layers.append(_so_far(today, metrics.day_rows()[-1].visits))
    return _spec(alt.layer(*layers).properties(height=size.height_px), size)


def _so_far(today: date, visits: int) -> alt.Chart:
    row = {"date": today.isoformat(), "visits": visits, "label": "so far"}
    words = alt.Chart(alt.InlineData(values=[row]))
    words = words.mark_text(dy=-4, baseline="bottom", align="right", dx=14)
    encoded: alt.Chart = words.encode(x="date:O", y="visits:Q", text="label:N")
    return encoded


def _bars(paths: Sequence[PathRow], size: Size) -> dict[str, Any]:
    labels = _labels([row.path for row in paths], min(size.label_chars, 24) if size.name == "narrow" else 40)
    # Readers' fonts differ from the one that vl-convert measures with. Labels set from the left edge, in
    # room kept for letters of 0.58 em, stay inside the drawing and clear of the bars in all usual ones.
    room = round(max(map(theme.columns, labels)) * size.font_px * 0.58) + 12
    rows = [
        {
            "label": label,
            "path": theme.visible(row.path),
            "visits": row.visits,
            "text": theme.number(row.visits),
        }
        for label, row in zip(labels, paths, strict=True)
    ]
    axis = alt.Axis(
        domain=False,
        labelLimit=0,
        labelColor="var(--ink)",
        labelAlign="left",
        labelPadding=room,
        minExtent=room,
    )
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("label:N", sort=None, axis=axis),
        x=alt.X("visits:Q", axis=None),
        tooltip=["path:N", "visits:Q"],
    )
    bars = base.mark_bar(color="var(--series-1)")
    words = base.mark_text(align="left", dx=5).encode(text="text:N")
    return _spec((bars + words).properties(height={"step": size.font_px * 1.8}), size)


def _spec(chart: alt.LayerChart | alt.FacetChart, size: Size) -> dict[str, Any]:
    """Return the specification with the house theme, fitted to the size's whole width."""
    # Fitting counts labels and legend in, so every drawing has exactly the width it is made for.
    fitted = chart.properties(
        width=size.width_px, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    )
    with _border("specified"):
        spec: dict[str, Any] = fitted.to_dict()
    spec["config"] = theme.vega_config(size.font_px)
    return spec


def _date_axis(dates: Sequence[date], size: Size) -> alt.Axis:
    """Label as many dates as fit, counted from the last, which is today."""
    step = max(1, -(-len(dates) // size.ticks))
    shown = dates[::-1][::step][::-1]
    weekdays = len(dates) <= 14 and size.name == "wide"  # noqa: PLR2004 - room for them
    words = {
        day.isoformat(): f"{day:%a} {day.day} {day:%b}" if weekdays else f"{day.day} {day:%b}"
        for day in shown
    }
    return alt.Axis(
        values=list(words),
        labelExpr=f"{json.dumps(words)}[datum.value]",
        labelAngle=0,
        labelOverlap=False,
        labelFlush=False,
    )


def _series(stack: pd.DataFrame) -> list[tuple[str | None, list[int]]]:
    """Return each column of a stack with its visits by date."""
    return list(zip(stack.columns, stack.to_numpy().T.tolist(), strict=True))


def _labels(paths: Sequence[str | None], limit: int) -> list[str]:
    """Return a short, distinct label for each path; the scale tells series apart by it."""
    taken = {"Other"} if OTHER in paths else set()  # even where a path has this very name
    labels: list[str] = []
    for path in paths:
        label = short = "Other" if path is OTHER else theme.shorten(theme.visible(path), limit)
        twin = 2
        while path is not OTHER and label in taken:
            label, twin = f"{short} ({twin})", twin + 1
        taken.add(label)
        labels.append(label)
    return labels


def _dates(span: Span) -> str:
    return f"{theme.span(span)} ({theme.count(span.days, 'date')})"


@contextmanager
def _border(what: str) -> Iterator[None]:
    """Turn Altair's and vl-convert's errors into ours."""
    try:
        yield
    except (ValueError, TypeError) as exc:  # vl-convert raises ValueError, Altair its subclasses
        raise RenderError(f"a chart could not be {what}: {exc}") from exc
