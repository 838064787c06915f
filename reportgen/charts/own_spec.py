"""Vega-Lite specifications of users: what they may hold, the report's theme for them, and their drawings.

A specification can make Vega compute for ever or take all memory. So they are drawn by a process of their
own, with limits, which reads and writes JSON: ``python -m reportgen.charts.own_spec PARENT``.
"""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from reportgen.charts import theme
from reportgen.core.errors import PanelError, RenderError
from reportgen.core.processes import cpu_seconds, data_bytes, end_with, exit_in_words, kill_first
from reportgen.core.text import LocaleFormatter, visible
from reportgen.sources.panel_queries import PanelRows

COMMAND = (sys.executable, "-P", "-m", "reportgen.charts.own_spec")

CPU_S = 5
"""Seconds of processor time that the drawings of one panel may take."""

MEMORY_BYTES = 256_000_000
"""Memory that they may take, beside that of the engine."""

MAX_SVG_BYTES = 500_000
"""Maximum size of one drawing."""

MAX_DEPTH = 50
"""Maximum number of objects and lists inside each other."""

REFUSED = {
    "url": "nothing is loaded from elsewhere",
    "href": "marks cannot be links",
    "usermeta": "the report sets how a chart is shown",
}
"""Keys that no specification may have, with the reason."""

COMPOSED = {"column", "concat", "facet", "hconcat", "repeat", "row", "vconcat"}
"""Keys, of a specification or its encoding, that make several views, which have sizes of their own."""

IN_EVERY_OBJECT = {
    "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__", "__proto__",
    "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString",
    "toString", "valueOf",
}  # fmt: skip
"""Names that each object of JavaScript has: with such a value, Vega finds groups that it never made."""

FORBIDDEN_TAGS = re.compile(r"<(?:script|foreignObject|image|use|a)\b")
OUTSIDE = re.compile(r' [\w:-]+="[^"]*url\((?!#)[^"]*"|(?: (?:class|style|on\w+|(?:xlink:)?href)="[^"]*")')
"""Matches attributes that a drawing loses: they could name other files, or clash with the page's style."""


def check_spec(spec: Mapping[str, Any]) -> None:
    """Check that a specification loads nothing, and has its data from the panel's query or in itself.

    Raises:
        PanelError: it does not; the message names the place.

    """
    for place, reason in _faults(spec, "$", 0):
        raise PanelError(f"vega-lite: {place}: {reason}")


def _faults(value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        yield place, f"is inside more than {MAX_DEPTH} objects and lists"
    elif isinstance(value, str):
        if ("://" in value or value.startswith("//") or "url(" in value) and place != "$.$schema":
            yield place, f"names an address. {REFUSED['url'].capitalize()}"
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _faults(item, f"{place}[{at}]", depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _entry_faults(key, item, f"{place}.{key}", depth)


def _entry_faults(key: str, value: Any, place: str, depth: int) -> Iterator[tuple[str, str]]:
    if key in REFUSED:
        yield place, f"is not possible: {REFUSED[key]}"
    elif key == "mark" and "image" in (value, value.get("type") if isinstance(value, dict) else None):
        yield place, f"is not possible: {REFUSED['url']}"
    elif key == "bind" and value not in ("legend", "scales"):
        yield place, 'is not possible: a chart has no input fields. Write "legend" or "scales"'
    elif key == "data" and value is not None:
        yield from _data_faults(value, place)
    else:
        yield from _faults(value, place, depth + 1)


def _data_faults(data: Any, place: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an entry ``data``. Inline values may be anything."""
    keys = set(data) - {"format"} if isinstance(data, dict) else set()
    if "url" in keys:
        yield f"{place}.url", f"is not possible: {REFUSED['url']}"
    elif keys not in ({"values"}, {"name"}) or data.get("name", "rows") != "rows":
        yield place, 'is not possible. Write {"name": "rows"} for the rows of the query, or {"values": […]}'


def complete_specs(spec: Mapping[str, Any], formatter: LocaleFormatter) -> dict[str, dict[str, Any]]:
    """Return a specification for each size, in the report's theme as far as it says nothing else."""
    return {
        size: _complete(spec, width_px, height_px, font_px, formatter)
        for size, (width_px, height_px, font_px, _) in theme.SIZES.items()
    }


def _complete(
    spec: Mapping[str, Any], width_px: int, height_px: int, font_px: float, formatter: LocaleFormatter
) -> dict[str, Any]:
    found = {"data": {"name": "rows"}, **spec}
    if not COMPOSED & {*spec, *spec.get("encoding", ())}:
        found.setdefault("height", height_px)
        if not isinstance(spec.get("width"), dict):  # {"step": 20} is the width of one bar
            found |= {"width": width_px, "autosize": {"type": "fit-x", "contains": "padding"}}
    ours = theme.own_config(font_px, width_px) | {"locale": {"number": formatter.vega_locale()}}
    own = spec.get("config")
    return found | {"config": _merged(ours, own) if isinstance(own, dict) else ours}


def _merged(ours: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(ours[key], value)
        if isinstance(value, dict) and isinstance(ours.get(key), dict)
        else value
        for key, value in own.items()
    }
    return {**ours, **both}


def data_of(rows: PanelRows | None) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of a query as Vega-Lite's data. A NUL in a text would end vl-convert.

    A text that is a name in every object gets an invisible letter: Vega would draw nothing.
    """
    columns, found = (rows.columns, rows.rows) if rows else ((), ())
    shown = (
        [_drawable(value) if isinstance(value, str) and value else value for value in row] for row in found
    )
    return {"rows": [dict(zip(columns, row, strict=True)) for row in shown]}


def _drawable(text: str) -> str:
    return visible(text) + "\N{WORD JOINER}" * (text in IN_EVERY_OBJECT)


def draw_specs(
    specs: Mapping[str, tuple[Mapping[str, Any], PanelRows | None]],
    formatter: LocaleFormatter,
    timeout_s: float,
) -> dict[str, dict[str, str] | PanelError]:
    """Return the drawings by size of each panel, or the error of one that cannot be drawn.

    ``specs`` has the specification and the rows of each panel. One process draws all; if it ends early, that
    is the fault of the first panel without an answer, and another draws the others.
    """
    waiting: dict[str, Any] = {
        name: {
            size: complete | {"datasets": data_of(rows)}
            for size, complete in complete_specs(spec, formatter).items()
        }
        for name, (spec, rows) in specs.items()
    }
    found: dict[str, dict[str, str] | PanelError] = {}
    deadline = time.monotonic() + timeout_s
    while waiting:
        left_s = deadline - time.monotonic()
        lines, reason = _run(waiting, left_s) if left_s > 0 else ([], "")
        for line in lines:
            name, drawings, problem = json.loads(line)
            del waiting[name]
            found[name] = PanelError(problem) if problem else drawings
        if not reason:  # all are drawn, or no time is left
            late = f"vega-lite: not drawn within {timeout_s:g} s"
            return found | {name: PanelError(late) for name in waiting}
        if guilty := next(iter(waiting), None):
            del waiting[guilty]
            found[guilty] = PanelError(f"vega-lite: {reason}")
    return found


def _run(specs: Mapping[str, Any], timeout_s: float) -> tuple[list[str], str]:
    """Return the answers of a process that draws, and why it ended early, unless the time is over."""
    late = False
    with subprocess.Popen(  # noqa: S603 - our own module
        (*COMMAND, str(os.getpid())),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as child:  # fmt: skip
        kill_first(child.pid)
        try:
            out, _ = child.communicate(json.dumps(specs), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            late = True
            child.kill()
            out, _ = child.communicate()
    lines = [line for line in out.split("\n") if line.endswith("]")]
    if late or len(lines) == len(specs):
        return lines, ""
    what = exit_in_words(child.returncode, "the process that draws it")
    return lines, f"{what}. It may take more than {CPU_S} s or {MEMORY_BYTES // 10**6} MB: make it smaller"


def harmless(svg: str, prefix: str) -> str:
    """Return a drawing without names and styles that could clash with those of a page, or leave it.

    Raises:
        PanelError: it has elements that no chart needs, or is too large.

    """
    if found := FORBIDDEN_TAGS.search(svg):
        raise PanelError(f"vega-lite: the drawing has {found[0]}, which is not possible in a page")
    svg = re.sub("<[^<>]*>", lambda tag: _own_names(OUTSIDE.sub("", tag[0]), prefix), svg)
    if re.match('<svg[^>]* (?:width|height)="0"', svg):
        raise PanelError("vega-lite: the drawing is empty. Set its width and height")
    try:
        theme.with_light_colours(svg)
    except KeyError as exc:
        raise PanelError(f"vega-lite: var(--{exc.args[0]}) is not a colour of the report") from None
    if len(svg) > MAX_SVG_BYTES:
        raise PanelError(
            f"vega-lite: the drawing has {len(svg) / 1e6:.1f} MB, of {MAX_SVG_BYTES / 1e6:g} MB that are"
            " possible. Draw fewer marks"
        )
    return svg


def _own_names(tag: str, prefix: str) -> str:
    """Return a tag whose ids no other drawing of the page has."""
    return re.sub(r'( id="|url\(#)', rf"\g<1>{prefix}-", tag)


def main() -> None:
    """Draw the specifications of stdin: write a line ``[panel, drawings, problem]`` for each."""
    end_with(int(sys.argv[1]))
    from reportgen.charts import svg  # V8

    specs = json.load(sys.stdin)
    svg.start_v8()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if used := data_bytes():
        resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY_BYTES,) * 2)
    for name, by_size in specs.items():
        seconds = int(cpu_seconds()) + 1 + CPU_S
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
        answer: tuple[str, dict[str, str], str]
        try:
            drawn = {
                size: harmless(svg.svg_of(json.dumps(spec)), f"{name}-{size}")
                for size, spec in by_size.items()
            }
            answer = (name, drawn, "")
        except (PanelError, RenderError) as exc:
            answer = (name, {}, _first_line(str(exc)))
        print(json.dumps(answer), flush=True)  # noqa: T201 - the parent reads it


def _first_line(message: str) -> str:
    """Return an error of Vega without its stack."""
    lines = [line for line in message.splitlines() if not line.lstrip().startswith("at ")]
    reason = re.sub(r"\{.*\}", "{…}", lines[-1].strip())[:300]  # it may repeat the whole specification
    return message if message.startswith("vega-lite: ") else f"vega-lite: {reason}"


if __name__ == "__main__":
    main()
