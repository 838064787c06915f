"""Measures a table of single hits in PostgreSQL: ``python bench/hits.py [--hits N] [--runs N]``.

Runs the statements of a build on a query that counts each hit (flat) and on one that groups hits by date
and path, and prints a table: rows read, as EXPLAIN ANALYZE counts them, and seconds.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
from common import LAST, Options, interleaved, machine, postgres
from statements import Statements, record
from table import paragraph, spread, table

QUERIES = {
    "flat: `created_at AS date, path, 1 AS visits`": "SELECT created_at AS date, path, 1 AS visits FROM hits",
    "`GROUP BY` date and path": (
        "SELECT created_at::date AS date, path, count(*) AS visits FROM hits GROUP BY 1, 2"
    ),
}
HITS = f"""
CREATE TABLE hits (id bigserial PRIMARY KEY, path text NOT NULL, created_at timestamptz NOT NULL);
SELECT setseed(0.5);
INSERT INTO hits (path, created_at) SELECT '/page/' || floor(1000 * random() ^ 3),
    timestamptz '{LAST} 24:00Z' - interval '365 days' * n / {{hits}} FROM generate_series(1, {{hits}}) n;
CREATE INDEX ON hits (created_at);
"""


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hits", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with postgres() as url, psycopg.connect(url, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(HITS.format(hits=given.hits).encode())
        connection.execute("VACUUM ANALYZE hits")
        recorded = {name: record(url, query=query) for name, query in QUERIES.items()}
        cases: dict[str, Callable[[], Mapping[str, float]]] = {
            name: lambda found=found: timed(connection, found) for name, found in recorded.items()
        }
        figures, _ = interleaved(cases, Options(given.runs, short=False))
        read = {name: sum(rows_read(connection, found)) for name, found in recorded.items()}
        version = connection.info.server_version // 10_000
    rows = [[name, f"{round(read[name], -3):,}", spread(figures[name]["sql_s"])] for name in QUERIES]
    print(table(["query of single hits", "rows read", "SQL of a build, s"], rows))
    about = machine()
    print()
    print(
        paragraph(
            f"`python bench/hits.py --hits {given.hits} --runs {given.runs}`: {given.hits:,} hits of 365 "
            f"days, windows of 1, 7 and 30 days, {len(next(iter(recorded.values())))} statements. "
            f"{about['cpu']}; {about['system']}; load {about['load']}. PostgreSQL {version}. "
            "Medians; minimum to maximum in brackets."
        )
    )


def timed(connection: "psycopg.Connection[Any]", statements: Statements) -> dict[str, float]:
    """Run the statements; return their seconds."""
    start = time.perf_counter()
    for sql, values in statements:
        connection.execute(sql.encode(), values).fetchall()
    return {"sql_s": time.perf_counter() - start}


def rows_read(connection: "psycopg.Connection[Any]", statements: Statements) -> Iterator[int]:
    """Yield the number of rows of the table that each statement reads."""
    for sql, values in statements:
        explained = f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}"
        [[[plan]]] = connection.execute(explained.encode(), values).fetchall()
        yield round(_rows(plan["Plan"]))


def _rows(node: Mapping[str, Any]) -> float:
    """Return the rows that the scans of a plan read, those that a filter removed included."""
    own = 0.0
    if "Relation Name" in node:
        removed = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
        own = node["Actual Loops"] * (node["Actual Rows"] + sum(node.get(each, 0) for each in removed))
    return own + sum(_rows(child) for child in node.get("Plans", ()))


if __name__ == "__main__":
    main()
