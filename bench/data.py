"""Generated tables of visits: seasons, weekends, few paths with most of the visits (Zipf).

They are made in a child process (this file as a script): Linux counts the memory of the parent at the time
of the fork into the peak memory of a child, so the parent must stay small.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from common import LAST, OURS

TABLE = (
    "CREATE TABLE metrics (date {date} NOT NULL, path text NOT NULL, visits integer NOT NULL DEFAULT 0{key})"
)
KEY = ", PRIMARY KEY (date, path)"

# The upper half of a day's paths are there every day; the others come and go.
ROWS = """
WITH days AS (SELECT range AS d, CAST($first AS DATE) + CAST(range AS INTEGER) AS date FROM range($days)),
numbered AS (
    SELECT d, date, CASE WHEN i < $head THEN i
           ELSE $head + (i - $head + d * ($per_day // 7 + 1)) % greatest($paths - $head, 1) END AS rank
    FROM days, range($per_day) AS places(i)
)
SELECT date,
       printf('/%s/%05d-what-a-page-is-called/',
              ['posts', 'notes', 'projects', 'tags', 'docs'][1 + rank % 5], rank) AS path,
       CAST(greatest(1, round(
           4000.0 / (1 + rank) * (1 + 0.3 * sin(d * 0.0172))
           * (CASE WHEN isodow(date) > 5 THEN 0.7 ELSE 1 END)
           * (0.6 + (hash(d * 1000003 + rank) % 1000) / 1250.0))) AS INTEGER) AS visits
FROM numbered ORDER BY date, path
"""


@dataclass(frozen=True)
class Shape:
    """Size of a table: number of dates, of paths for each date, and of distinct paths."""

    days: int
    per_day: int
    paths: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.days * self.per_day


def write_parquet(shape: Shape, file: Path) -> None:
    """Write the table as a Parquet file, sorted by date."""
    import duckdb

    values = {
        "first": LAST - timedelta(days=shape.days - 1), "days": shape.days, "per_day": shape.per_day,
        "paths": shape.paths, "head": shape.per_day // 2 if shape.paths > shape.per_day else shape.per_day,
    }  # fmt: skip
    file.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.execute(f"CREATE TABLE made AS {ROWS}", values)
        connection.execute(f"COPY made TO '{file}' (FORMAT parquet)")


def to_postgres(parquet: Path, url: str) -> None:
    """Replace the table in PostgreSQL; the key is added last, which is faster."""
    import duckdb
    import psycopg

    csv = parquet.with_suffix(".csv")
    with duckdb.connect() as connection:
        connection.execute(f"COPY (FROM '{parquet}') TO '{csv}' (HEADER false)")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS metrics")
        connection.execute(TABLE.format(date="date", key="").encode())
        copy_csv(connection, csv)
        finish(connection)
    csv.unlink()


def copy_csv(connection: Any, csv: Path) -> None:
    """Load a CSV file into the table."""
    with csv.open("rb") as rows, connection.cursor().copy("COPY metrics FROM STDIN (FORMAT csv)") as copy:
        while block := rows.read(1 << 20):
            copy.write(block)


def finish(connection: Any) -> None:
    """Add the key and the statistics that an older table would have."""
    connection.execute("ALTER TABLE metrics ADD PRIMARY KEY (date, path)")
    connection.execute("VACUUM ANALYZE metrics")
    connection.execute("CHECKPOINT")


def to_sqlite(parquet: Path, url: str) -> None:
    """Write the table into a SQLite file."""
    import duckdb

    file = Path(url.removeprefix("sqlite:///"))
    file.unlink(missing_ok=True)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
    connection.execute(TABLE.format(date="text", key=KEY))
    connection.execute("BEGIN")
    with duckdb.connect() as made:
        made.execute(f"SELECT CAST(date AS VARCHAR), path, visits FROM '{parquet}'")
        while chunk := made.fetchmany(50_000):
            connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", chunk)
    connection.execute("COMMIT")
    connection.execute("ANALYZE")
    connection.close()


def to_duckdb(parquet: Path, url: str) -> None:
    """Write the table into a DuckDB file."""
    import duckdb

    file = Path(url.removeprefix("duckdb:///"))
    file.unlink(missing_ok=True)
    with duckdb.connect(str(file)) as connection:
        connection.execute(TABLE.format(date="date", key="").replace("text", "varchar"))
        connection.execute(f"INSERT INTO metrics FROM '{parquet}'")


def to_parquet(parquet: Path, url: str) -> None:
    """Do nothing: the table is a Parquet file already."""
    if Path(url) != parquet:
        raise ValueError(url)


LOADERS: dict[str, Callable[[Path, str], None]] = {
    "PostgreSQL": to_postgres,
    "SQLite": to_sqlite,
    "DuckDB": to_duckdb,
    "Parquet": to_parquet,
}


def load(shape: Shape, parquet: Path, urls: Mapping[str, str]) -> None:
    """Write a table as a Parquet file, and load it into each engine that has a URL."""
    task = json.dumps({"shape": asdict(shape), "parquet": str(parquet), "urls": dict(urls)})
    subprocess.run([sys.executable, __file__, task], env=OURS, check=True)  # noqa: S603 - our own command


def main() -> None:
    """Make the tables that the argument describes, see :func:`load`."""
    task = json.loads(sys.argv[1])
    parquet = Path(task["parquet"])
    write_parquet(Shape(**task["shape"]), parquet)
    for engine, url in task["urls"].items():
        LOADERS[engine](parquet, url)


if __name__ == "__main__":
    main()
