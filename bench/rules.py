"""Measures path rules on 3.65 million rows: ``python bench/rules.py [--days N] [--runs N] [--only ENGINE]``.

Builds with and without ``[paths]`` and ``[[sections]]`` from SQLite, Parquet (DuckDB) and PostgreSQL, in
turn. A fifth of the rows have another form of their path: a query, an index file, no slash, or a scanner's
name. Prints a table for docs/performance.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from common import (
    LAST,
    OURS,
    REPORTGEN,
    ROOT,
    Options,
    cost_of,
    interleaved,
    machine,
    middle,
    postgres,
    ratio,
)
from table import paragraph, spread, table

RULES = """
[paths]
query = "drop"
slash = "merge"
index = ["index.html", "index.php"]
decode = true
exclude = ["scanners", "/wp-*/**"]
[[paths.rename]]
from = "/notes/**"
to = "/articles/**"
[[sections]]
name = "Posts"
match = "/posts/**"
[[sections]]
name = "Docs"
match = ["/docs/**", "/projects/**"]
"""
FORMS = """
import sys, json, duckdb, data; from pathlib import Path
file, urls = Path(sys.argv[1]), json.loads(sys.argv[3])
data.write_parquet(data.Shape(*json.loads(sys.argv[2])), file.with_suffix(".plain.parquet"))
duckdb.sql("SET enable_progress_bar = false")
duckdb.sql(f'''COPY (SELECT date, CASE hash(path, date) % 20 WHEN 0 THEN rtrim(path, '/')
    WHEN 1 THEN path || 'index.html' WHEN 2 THEN path || '?utm_source=' || hash(date, path) % 5
    WHEN 3 THEN '/wp-x' || rtrim(path, '/') || '.php' ELSE path END AS path, visits
    FROM '{file.with_suffix(".plain.parquet")}' ORDER BY date, path) TO '{file}' (FORMAT parquet)''')
for engine, url in urls.items():
    data.LOADERS[engine](file, url)
"""
"""A program that makes the table, and loads it: in a child process, for its memory."""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", choices=["SQLite", "Parquet", "PostgreSQL"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        file = folder / "metrics.parquet"
        urls = {"SQLite": f"sqlite:///{folder}/metrics.db", "Parquet": str(file)}
        if given.only in {None, "PostgreSQL"}:
            urls["PostgreSQL"] = stack.enter_context(postgres())
        urls = {engine: url for engine, url in urls.items() if given.only in {None, engine}}
        shape = (given.days, 9_973, 36_500)
        command = [sys.executable, "-c", FORMS, str(file), json.dumps(shape), json.dumps(urls)]
        subprocess.run(command, env=OURS, cwd=ROOT / "bench", check=True)  # noqa: S603 - our own command
        (folder / "none.toml").write_text("")
        (folder / "rules.toml").write_text(RULES)
        cases = {
            f"{engine} {rules}": partial(a_build, url, folder, rules)
            for engine, url in urls.items()
            for rules in ("none", "rules")
        }
        found, _ = interleaved(cases, Options(given.runs, short=False))
    rows = [
        [
            engine,
            *(
                spread(found[f"{engine} {rules}"][unit])
                for unit in ("cpu_s", "wall_s")
                for rules in ("none", "rules")
            ),
            f"{ratio(found[f'{engine} rules']['wall_s'], found[f'{engine} none']['wall_s']):.2f}",
            *(f"{middle(found[f'{engine} {rules}']['peak_mb']):.0f}" for rules in ("none", "rules")),
        ]
        for engine in urls
    ]
    head = ["engine", "CPU s", "with rules", "build s", "with rules", "times", "peak MB", "with rules"]
    about = machine()
    print(table(head, rows))
    print()
    print(
        paragraph(
            f"`python bench/rules.py --runs {given.runs}`: {given.days * 9_973:,} rows of {given.days} days, "
            f"windows of 1, 7 and 30 days. {about['cpu']}; {about['system']}; load {about['load']}. "
            "Medians; minimum to maximum in brackets."
        )
    )


def a_build(url: str, folder: Path, rules: str) -> dict[str, float]:
    """Build once; return seconds and MB."""
    arguments = ("--config", f"{folder}/{rules}.toml", "--output", f"{folder}/output", "--source", url)
    cost, printed = cost_of(
        [*REPORTGEN, "build", "--json", "--as-of", LAST.isoformat(), *arguments],
        env=OURS | {"REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S": "600"},
    )
    summary = json.loads(printed)
    return {
        "cpu_s": cost.cpu_s, "wall_s": cost.wall_s,
        "peak_mb": summary["peak_memory_bytes"] / 2**20,
    }  # fmt: skip


if __name__ == "__main__":
    main()
