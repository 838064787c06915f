"""Render ``bench/results/*.json`` into ``docs/performance.md``, between the markers of each part."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from common import RESULTS, ROOT, middle, ratio

PAGE = ROOT / "docs" / "performance.md"
Figures = Mapping[str, Any]


def main() -> None:
    """Put every part that has a result where its markers are."""
    text = PAGE.read_text()
    for part, render in RENDERERS.items():
        file = RESULTS / f"{part}.json"
        begin, end = f"<!-- bench:{part} -->", f"<!-- /bench:{part} -->"
        if not file.is_file() or begin not in text:
            continue
        result = json.loads(file.read_text())
        body = f"{begin}\n{render(result['figures'])}\n\n{measured_on(result)}\n{end}"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, body=body: body, text, flags=re.DOTALL
        )
    PAGE.write_text(text)


def measured_on(result: Figures) -> str:
    """Say how, when and on what a part was measured."""
    machine, versions = result["machine"], result["versions"]
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"`python bench/all.py {result['part']} --runs {result['runs']}` on {result['measured_at']}, commit "
        f"{result['commit']}, {result['seconds']} s. {machine['cpu']}; {machine['memory']}; "
        f"{machine['system']}; "
        f"load {machine['load']} at the end. {told}. Medians of {result['runs']} runs in turn, after one to "
        "warm up; least to most in brackets."
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Write a median with its spread."""
    least, most = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    if least == most:
        return least
    return f"{middle(values):,.{digits}f} ({least}–{most})"  # noqa: RUF001 - an en dash


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown, all columns but the first to the right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def left_out(figures: Figures) -> str:
    """Say what was not measured, and why."""
    told = [f"{name}: {' '.join(why.split())[:160]}" for name, why in figures.get("left out", {}).items()]
    return "\n\nLeft out: " + "; ".join(told) + "." if told else ""


def build_table(figures: Figures) -> str:
    """Render what a build takes, and its stages."""
    rows = [
        [name, spread(f["wall_s"]), spread(f["cpu_s"]), spread(f["peak_mb"], 0)]
        for name, f in figures.items()
        if "wall_s" in f
    ]
    whole = table(["sample", "wall s", "CPU s", "peak MB"], rows)
    cold, unchanged = figures["cold build, stages"], figures["unchanged build, stages"]
    stages = [
        [stage, *(f"{1000 * middle(each[stage]):,.0f}" for each in (cold, unchanged))] for stage in cold
    ]
    return whole + "\n\n" + table(["ms in stage", "cold", "unchanged"], stages)


def ideas_table(figures: Figures) -> str:
    """Render what a build takes without each idea, and how many times that of the build as it is."""
    own = figures["as it is"]
    rows = [
        [
            name, spread(f["wall_s"]), f"{ratio(f['wall_s'], own['wall_s']):.2f}", spread(f["cpu_s"]),
            f"{ratio(f['cpu_s'], own['cpu_s']):.2f}", spread(f["peak_mb"], 0),
        ]
        for name, f in figures.items()
    ]  # fmt: skip
    return table(["a cold build of the sample", "wall s", "times", "CPU s", "times", "peak MB"], rows)


def rivals_table(figures: Figures) -> str:
    """Render what the rivals take, as ratios to ours."""
    parts = []
    for rows, found in figures.items():
        if rows == "left out":
            continue
        own = found.get("reportgen", {}).get("wall_s")
        lines = [
            [
                name, spread(f["wall_s"]), f"{ratio(f['wall_s'], own):.1f}" if own else "",
                spread(f["cpu_s"]), spread(f["peak_mb"], 0),
            ]
            for name, f in found.items()
        ]  # fmt: skip
        parts.append(table([rows, "wall s", "times reportgen", "CPU s", "peak MB"], lines))
    return "\n\n".join(parts) + left_out(figures)


def growth_table(figures: Figures) -> str:
    """Render build, bare SQL and memory by size and engine, and the plans' accesses to the table."""
    lines = []
    sizes = figures["sizes"]
    first = next(iter(sizes.values()))["engines"]
    for found in sizes.values():
        for name, f in found["engines"].items():
            engine, _, kind = name.partition(": ")
            sql = found["engines"].get(f"{engine}: SQL")
            if kind != "build" or not sql:
                continue
            small = first.get(name)
            more = middle(f["wall_s"]) - middle(small["wall_s"]) if small else 0.0
            lines.append([
                engine, f"{found['rows']:,}", spread(f["wall_s"]), spread(sql["sql_s"]),
                f"{more:+.2f}", f"{more / middle(sql['sql_s']):.2f}", spread(f["peak_mb"], 0),
                f"{ratio(f['peak_mb'], small['peak_mb']):.2f}" if small else "",
            ])  # fmt: skip
    head = [
        "engine",
        "rows",
        "build s",
        "SQL alone s",
        "build over the smallest s",
        "per s of SQL",
        "peak MB",
        "times the smallest",
    ]
    text = table(head, sorted(lines, key=lambda line: engines(figures).index(line[0])))
    accesses = [access for plan in figures.get("plans", []) if (access := accessed(plan))]
    if accesses:
        text += (
            "\n\nHow PostgreSQL reads the largest table, statement by statement:\n\n```\n"
            + "\n\n".join(accesses)
            + "\n```"
        )
    return text


def engines(figures: Figures) -> list[str]:
    """Return the engines in their order."""
    found = next(iter(figures["sizes"].values()))["engines"]
    return list(dict.fromkeys(name.partition(": ")[0] for name in found))


LINE = 140
"""So many letters of a line of a plan are shown: one names 150 paths."""


def accessed(plan: Sequence[str]) -> str:
    """Return the lines of a plan that read the table: how, by which condition, and what for nothing."""
    wanted = (
        "Scan using", "Scan on metrics", "Seq Scan", "Index Cond", "Index Only", "Rows Removed by Filter",
    )  # fmt: skip
    lines = [line.strip().removeprefix("->").strip() for line in plan if any(word in line for word in wanted)]
    return "\n".join(f"{line[:LINE]}…" if len(line) > LINE else line for line in lines)


def serve_table(figures: Figures) -> str:
    """Render the servers by kind of request, ours as a share of nginx."""
    lines = []
    for name, f in figures.items():
        if name == "left out":
            continue
        server, _, kind = name.partition(": ")
        other = figures.get(f"nginx: {kind}")
        lines.append([
            kind, server, spread(f["rate"], 0), f"{ratio(f['rate'], other['rate']):.2f}" if other else "",
            spread(f["processor_us"], 1) if "processor_us" in f else "",
            spread(f["p50_ms"], 2), spread(f["p99_ms"], 1), f"{middle(f['bytes']):,.0f}",
            f"{middle(f['resident_mb']):.0f}",
        ])  # fmt: skip
    head = [
        "asked for", "server", "requests/s", "times nginx", "processor µs each", "p50 ms", "p99 ms", "bytes",
        "resident MB",
    ]  # fmt: skip
    return table(head, lines) + left_out(figures)


def page_table(figures: Figures) -> str:
    """Render the pages, one table a condition."""
    columns = {
        "first contentful paint ms": "fcp_ms", "largest ms": "lcp_ms", "chart drawn ms": "chart_ms",
        "blocked ms": "tbt_ms", "shift": "cls", "alive after hover ms": "hover_ms",
        "KB": "kb", "requests": "requests",
    }  # fmt: skip
    conditions = dict.fromkeys(name.partition(": ")[2] for name in figures if name != "left out")
    parts = []
    for condition in conditions:
        lines = []
        for name, f in figures.items():
            page, _, kind = name.partition(": ")
            if kind != condition or name == "left out":
                continue
            digits = {"cls": 3}
            lines.append(
                [page, *(spread(f[key], digits.get(key, 0)) if key in f else "" for key in columns.values())]
            )
        parts.append(table([condition, *columns], lines))
    return "\n\n".join(parts) + left_out(figures)


RENDERERS: dict[str, Callable[[Figures], str]] = {
    "build": build_table,
    "ideas": ideas_table,
    "rivals": rivals_table,
    "growth": growth_table,
    "serve": serve_table,
    "page": page_table,
}

if __name__ == "__main__":
    main()
