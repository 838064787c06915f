"""Write ``bench/results/*.json`` as tables into the documents, between the markers of each table.

``docs/performance.md`` holds what users of reportgen need, ``bench/README.md`` the rest.
"""

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from common import RESULTS, ROOT, middle, ratio

PAGES = (ROOT / "docs" / "performance.md", ROOT / "bench" / "README.md")
WIDTH = 118
"""Maximum number of characters in a line of a document."""

Figures = Mapping[str, Any]


def main() -> None:
    """Replace the tables of every part that has a result, in both documents."""
    for page in PAGES:
        text = page.read_text()
        for name, (part, render) in TABLES.items():
            file = RESULTS / f"{part}.json"
            if file.is_file():
                result = json.loads(file.read_text())
                text = replace_table(text, name, f"{render(result['figures'])}\n\n{measured_on(result)}")
        page.write_text(text)


def replace_table(text: str, name: str, body: str) -> str:
    """Return the document with ``body`` between the markers of one table; unchanged if it has no markers."""
    begin, end = re.escape(f"<!-- bench:{name} -->"), re.escape(f"<!-- /bench:{name} -->")
    old = f"({begin}\n).*?({end})"
    return re.sub(old, lambda found: f"{found[1]}{body}\n{found[2]}", text, flags=re.DOTALL)


def paragraph(text: str) -> str:
    """Return the text in lines that a document may have."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def measured_on(result: Figures) -> str:
    """Return the command, time, commit, machine and versions of a part's result, as a paragraph."""
    machine, versions = result["machine"], result["versions"]
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return paragraph(
        f"`python bench/all.py {result['part']} --runs {result['runs']}` on {result['measured_at']}, commit "
        f"{result['commit']}, {result['seconds']} s. {machine['cpu']}; {machine['memory']}; "
        f"{machine['system']}; load {machine['load']} at the end. {named}. "
        f"Medians of {result['runs']} interleaved runs after a warm-up run; minimum to maximum in brackets."
    )


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return a median as text, with the minimum and maximum in brackets where they differ."""
    least, most = f"{min(values):,.{digits}f}", f"{max(values):,.{digits}f}"
    if least == most:
        return least
    return f"{middle(values):,.{digits}f} ({least}–{most})"  # noqa: RUF001 - an en dash


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown; all columns but the first are aligned right."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def left_out(figures: Figures) -> str:
    """Return a sentence on what was not measured and why; empty if all was measured."""
    reasons = [f"{name}: {' '.join(why.split())[:160]}" for name, why in figures.get("left out", {}).items()]
    return "\n\n" + paragraph("Left out: " + "; ".join(reasons) + ".") if reasons else ""


def build_table(figures: Figures) -> str:
    """Return the table of time and memory of a build."""
    rows = [
        [name, spread(f["wall_s"]), spread(f["cpu_s"]), spread(f["peak_mb"], 0)]
        for name, f in figures.items()
        if "wall_s" in f
    ]
    return table(["sample", "wall s", "CPU s", "peak MB"], rows)


def stages_table(figures: Figures) -> str:
    """Return the table of milliseconds in each stage of a build."""
    cold, unchanged = figures["cold build, stages"], figures["unchanged build, stages"]
    rows = [[stage, *(f"{1000 * middle(each[stage]):,.0f}" for each in (cold, unchanged))] for stage in cold]
    return table(["ms in stage", "cold", "unchanged"], rows)


def ideas_table(figures: Figures) -> str:
    """Return the table of a build without each optimisation, with ratios to the build as it is."""
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
    """Return a table of the other programs for each number of rows, with ratios to reportgen."""
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


def logs_table(figures: Figures) -> str:
    """Return the table of reports from logs and of an import, with ratios to the first build."""
    builds = [f["wall_s"] for name, f in figures.items() if name.endswith(": reportgen build")]
    lines = [
        [
            name, spread(f["wall_s"]), f"{ratio(f['wall_s'], builds[0]):.1f}" if builds else "",
            spread(f["cpu_s"]), spread(f["peak_mb"], 0),
            *(spread(f[unit], 0) if unit in f else "" for unit in ("lines_s", "lines_cpu_s")),
        ]
        for name, f in figures.items()
        if name != "left out"
    ]  # fmt: skip
    head = ["log", "wall s", "times the first", "CPU s", "peak MB", "lines/s", "lines per CPU s"]
    return table(head, lines) + left_out(figures)


def growth_table(figures: Figures) -> str:
    """Return the table of builds, their SQL alone and memory, by engine and number of rows."""
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
    return table(head, sorted(lines, key=lambda line: engines(figures).index(line[0])))


def plans_text(figures: Figures) -> str:
    """Return how PostgreSQL reads its largest table, for each statement; empty without plans."""
    accesses = [access for plan in figures.get("plans", []) if (access := table_accesses(plan))]
    return "```text\n" + "\n\n".join(accesses) + "\n```" if accesses else ""


def engines(figures: Figures) -> list[str]:
    """Return the names of the engines in the order of measuring."""
    found = next(iter(figures["sizes"].values()))["engines"]
    return list(dict.fromkeys(name.partition(": ")[0] for name in found))


LINE = 118
"""Maximum number of characters of a plan's line: one line names 150 paths."""


def table_accesses(plan: Sequence[str]) -> str:
    """Return the lines of a plan that read the table: method, condition, rows read in vain."""
    wanted = (
        "Scan using", "Scan on metrics", "Seq Scan", "Index Cond", "Index Only", "Rows Removed by Filter",
    )  # fmt: skip
    lines = [line.strip().removeprefix("->").strip() for line in plan if any(word in line for word in wanted)]
    return "\n".join(f"{line[:LINE]}…" if len(line) > LINE else line for line in lines)


def serve_table(figures: Figures) -> str:
    """Return the table of servers by kind of request, with ratios to nginx."""
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


SLOW_LINE = "10 Mbit/s, 40 ms"


def page_table(figures: Figures, only: str | None = None) -> str:
    """Return the tables of pages in a browser: one for each condition, or for ``only`` one of them."""
    columns = {
        "first contentful paint ms": "fcp_ms", "largest ms": "lcp_ms", "chart drawn ms": "chart_ms",
        "blocked ms": "tbt_ms", "shift": "cls", "interactive after hover ms": "hover_ms",
        "KB": "kb", "requests": "requests",
    }  # fmt: skip
    conditions = dict.fromkeys(name.partition(": ")[2] for name in figures if name != "left out")
    if only in conditions:
        conditions = {only: None}
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


TABLES: dict[str, tuple[str, Callable[[Figures], str]]] = {
    "build": ("build", build_table),
    "stages": ("build", stages_table),
    "ideas": ("ideas", ideas_table),
    "rivals": ("rivals", rivals_table),
    "logs": ("logs", logs_table),
    "growth": ("growth", growth_table),
    "plans": ("growth", plans_text),
    "serve": ("serve", serve_table),
    "page": ("page", partial(page_table, only=SLOW_LINE)),
    "page-conditions": ("page", page_table),
}
"""Name of a table, as in its markers → the part of the benchmark, and the function that makes the table."""

if __name__ == "__main__":
    main()
