"""Spark: a build on a real cluster, what runs there and what reaches the driver, and files that change."""

import json
import re
import shutil
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from reportgen.errors import ConfigError, SourceUnavailable
from reportgen.sources import Source
from reportgen.sources.readings import read_cells, read_daily, read_paths, read_strays
from tests.conftest import Run
from tests.engines import SPAN, TODAY, Engine, day, needs_ibis
from tests.spark import SETTINGS
from tests.test_sources import recorded, week

DAYS, PATHS = 100, 50
ROWS_A_DAY = 4 * PATHS
MASTER = "127.0.0.1:9"


@pytest.fixture(scope="module")
def partitioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of Parquet files in folders by date: several rows for each date and path."""
    folder = tmp_path_factory.mktemp("lake") / "metrics"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT DATE '{TODAY}' - CAST(d AS int) AS date, '/' || p AS path, 1 + (d * p + k) % 9 AS visits"
            f" FROM range({DAYS}) d(d), range({PATHS}) p(p), range(4) k(k))"
            f" TO '{folder}' (FORMAT parquet, PARTITION_BY (date))"
        )
    return folder


@pytest.fixture
def engine(spark: str, tmp_path: Path) -> Engine:
    return Engine("ibis-spark", tmp_path, spark)


def plan(source: Source, statement: str) -> str:
    """Return Spark's plan of a statement that was recorded."""
    (row,) = source._backend.raw_sql(f"EXPLAIN FORMATTED {statement}").collect()  # type: ignore[attr-defined]
    return str(row[0])


def test_the_cluster_aggregates_and_reads_only_the_partitions_asked_for(
    engine: Engine, partitioned: Path
) -> None:
    """Each statement prunes partitions by its dates, and no rows are shuffled before they are aggregated."""
    with engine.open(f"{engine.server}?parquet={partitioned}") as source:
        plans = [
            plan(source, source.spelled(sql, values))  # type: ignore[attr-defined]
            for sql, values in recorded(source, week(), SPAN)
        ]
    for text in plans:
        assert re.search(r"PartitionFilters: \[.*date#\d+", text), text
        assert "PushedFilters: []" in text or "DataFilters" in text or "PartitionFilters" in text
        tree = text.partition("\n\n")[0].splitlines()
        order = [line.split("- ")[-1].split(" (")[0] for line in tree if "- " in line]
        below = order[len(order) - 1 - order[::-1].index("Exchange") :]
        # Read from the bottom: scan, judge, sum in part where the rows lie, and only then send what is left.
        assert below[0] == "Exchange", text
        assert below[1] == "HashAggregate", text
        assert below[-1].startswith("Scan parquet"), text
    ranges = [text for text in plans if f">= {SPAN.first}" in text and f"< {TODAY + timedelta(1)}" in text]
    assert len(ranges) == 3  # by day, cells, and the window, which here is as long


def events(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yield what Spark logged of one kind."""
    (log,) = folder.iterdir()
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == kind:
            yield event


def url_of(server: str, folder: Path, **more: str) -> str:
    options = SETTINGS | {name.replace("_", "."): value for name, value in more.items()}
    return f"{server}?parquet={folder}&" + "&".join(f"{name}={value}" for name, value in options.items())


def test_a_build_on_the_cluster_is_the_build_of_the_same_files_here(
    spark: str, run: Run, partitioned: Path, tmp_path: Path
) -> None:
    """A build of its own process: its tasks run on both executors, and only sums come back."""
    log = tmp_path / "events"
    log.mkdir()
    logged = {"spark_eventLog_enabled": "true", "spark_eventLog_compress": "false"}
    url = url_of(
        spark,
        partitioned,
        **logged,
        **{"spark.eventLog.rolling.enabled": "false"},
        spark_eventLog_dir=str(log),
    )
    common = ("--as-of", TODAY.isoformat(), "--json")
    there = run("build", "--source", url, "--output", "there", *common, SPARK_LOCAL_IP="127.0.0.1")
    here = run("build", "--source", f"{partitioned}/**/*.parquet", "--output", "here", *common)
    assert (there.returncode, here.returncode) == (0, 0), there.stderr
    for name in ("7d/report.json", "30d/report.json", "7d/paths.csv", "30d/daily.csv"):
        found = [(tmp_path / place / "current" / name).read_text() for place in ("there", "here")]
        built_at = re.compile(r'"built_at": *"[^"]*"')
        assert built_at.sub("", found[0]) == built_at.sub("", found[1])

    ended = list(events(log, "SparkListenerTaskEnd"))
    assert {event["Task Info"]["Executor ID"] for event in ended} == {"0", "1"}
    read = [event["Task Metrics"]["Input Metrics"]["Records Read"] for event in ended]
    days = 2 * (60 + 2 + 14 + 60 + 30)  # days of: sums by day; paths of three windows; cells
    assert 0 < sum(read) <= days * ROWS_A_DAY
    sent = [event["Task Metrics"]["Result Size"] for event in ended]
    assert max(sent) < 32_000
