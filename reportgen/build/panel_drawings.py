"""Draw the panels' own Vega-Lite specifications, and replace what cannot be drawn or is too large."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace

from reportgen.build.panels import PanelReader, reason
from reportgen.charts.own_spec import draw_specs
from reportgen.config.settings import Config
from reportgen.core.errors import PanelError
from reportgen.core.text import LocaleFormatter
from reportgen.core.windows import Window
from reportgen.metrics.dataset import Dataset
from reportgen.metrics.panels import WindowPanel, interpret, page_bytes

LEAST_S = 5.0
"""Seconds that the drawings may take, also if the queries have taken the time of the panels."""

Key = tuple[str, str]
"""The names of a window and of a panel."""


def with_drawings(config: Config, dataset: Dataset, reader: PanelReader) -> Dataset:
    """Return the dataset with the drawings of its panels, as far as they fit into the page.

    A panel that cannot be drawn, or that is too large, is as in the last release, or not there.
    """
    formatter = LocaleFormatter.of(config.locale, config.nouns)
    windows = {window.name: window for window in dataset.windows}
    pairs = zip(dataset.windows, dataset.panels, strict=True)
    panels: dict[Key, WindowPanel] = {
        (window.name, each.panel.name): each for window, shown in pairs for each in shown
    }

    def draw(keys: Iterable[Key]) -> dict[Key, PanelError]:
        """Draw these panels, and return the errors of those that are too large or cannot be drawn."""
        ids = {"-".join(key): key for key in keys if panels[key].spec is not None}
        specs = {each: (panels[key].spec or {}, panels[key].rows) for each, key in ids.items()}
        errors = {}
        left_s = max(LEAST_S, reader.end - time.monotonic())
        try:
            drawn = draw_specs(specs, formatter, left_s) if specs else {}
        except Exception as exc:  # noqa: BLE001 - no panel fails a build
            drawn = dict.fromkeys(specs, PanelError(f"vega-lite: not drawn: {exc}"))
        for each, found in drawn.items():
            if isinstance(found, PanelError):
                errors[ids[each]] = found
            else:
                panels[ids[each]] = replace(panels[ids[each]], drawings=found)
        return errors | _too_large(config, windows, panels, errors)

    failed = draw(list(panels))
    for key, error in failed.items():
        panel = panels[key].panel
        panels[key] = reader.last_state(panel, windows[key[0]], reason(panel, error))
    for key in draw(failed):  # what the last release shows has a specification, too
        panels[key] = WindowPanel(panels[key].panel, panels[key].span, problem=panels[key].problem)
    kept = [
        [panels[window.name, each.panel.name] for each in shown]
        for window, shown in zip(dataset.windows, dataset.panels, strict=True)
    ]
    return replace(dataset, panels=kept)


def _too_large(
    config: Config,
    windows: Mapping[str, Window],
    panels: Mapping[Key, WindowPanel],
    errors: Mapping[Key, PanelError],
) -> dict[Key, PanelError]:
    """Return an error for each panel that takes more than its share, where all take half of a page."""
    too_large = {}
    for name, window in windows.items():
        here = {key: panel for key, panel in panels.items() if key[0] == name and key not in errors}
        most = config.output.max_page_mb * 1_000_000 / 2
        sizes = {key: _size(panel, window, config.top_paths) for key, panel in here.items()}
        if sum(sizes.values()) > most:
            for key, size in sizes.items():
                if size > most / len(sizes):
                    too_large[key] = PanelError(
                        f"too large for the page of {name}: {size / 1e6:.1f} MB. Let the query return fewer"
                        " rows, or raise output.max_page_mb"
                    )
    return too_large


def _size(panel: WindowPanel, window: Window, top_paths: int) -> int:
    result = None
    with suppress(PanelError):  # then it is shown as a table
        if panel.rows and panel.drawings is None:
            result = interpret(panel.panel, panel.rows, replace(window, span=panel.span))
    return page_bytes(panel, result, top_paths)
