"""Spark: builds on a real cluster, the work of executors and driver, and files that change."""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.core.windows import look_back, make_window
from reportgen.sources.base import Source
from reportgen.sources.statements import read_daily
from tests.support.commands import Run
from tests.support.engines import SPAN, TODAY, Engine, day, needs_ibis, run_and_record, week
from tests.support.spark import SETTINGS

DAYS, PATHS = 100, 50
ROWS_A_DAY = 4 * PATHS


@pytest.fixture(scope="module")
def partitioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of Parquet files in folders by date, with several rows for each date and path."""
    folder = tmp_path_factory.mktemp("lake") / "metrics"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT DATE '{TODAY}' - CAST(d AS int) AS date, '/' || p AS path,"
            f" 1 + (d * p + k) % 9 AS visits FROM range({DAYS}) d(d), range({PATHS}) p(p), range(4) k(k))"
            f" TO '{folder}' (FORMAT parquet, PARTITION_BY (date))"
        )
    return folder


@pytest.fixture
def engine(spark: str, tmp_path: Path) -> Engine:
    return Engine("ibis-spark", tmp_path, spark)


def plan(source: Source, statement: str) -> str:
    """Return Spark's plan of a statement that :func:`run_and_record` returned."""
    (row,) = source._backend.raw_sql(f"EXPLAIN FORMATTED {statement}").collect()  # type: ignore[attr-defined]
    return str(row[0])


def test_the_cluster_aggregates_and_reads_only_the_partitions_asked_for(
    engine: Engine, partitioned: Path
) -> None:
    """Each statement prunes partitions by its dates, and no rows are shuffled before they are aggregated."""
    with engine.open(f"{engine.server}?parquet={partitioned}") as source:
        plans = [plan(source, sql) for sql, _ in run_and_record(source, week(), SPAN)]
    for text in plans:
        assert re.search(r"PartitionFilters: \[.*date#\d+", text), text
        tree = text.partition("\n\n")[0].splitlines()
        order = [line.split("- ")[-1].split(" (")[0] for line in tree if "- " in line]
        below = order[len(order) - 1 - order[::-1].index("Exchange") :]
        # From the bottom: scan, classify, sum in part on each executor, and only then exchange the sums.
        assert below[0] == "Exchange", text
        assert below[1] == "HashAggregate", text
        assert below[-1].startswith("Scan parquet"), text
    ranges = [text for text in plans if f">= {SPAN.first}" in text and f"< {TODAY + timedelta(1)}" in text]
    assert len(ranges) == 3  # by day, cells, and the window, which here is as long


def events(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yield the events of one kind from Spark's event log."""
    (log,) = folder.iterdir()
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["Event"] == kind:
            yield event


def url_of(server: str, folder: Path, **logging: str) -> str:
    """Return the URL of the folder on the cluster, with an event log."""
    options = SETTINGS | {f"spark.eventLog.{name}": value for name, value in logging.items()}
    return f"{server}?parquet={folder}&" + "&".join(f"{name}={value}" for name, value in options.items())


def test_a_build_on_the_cluster_equals_a_build_of_the_same_files_by_duckdb(
    spark: str, run: Run, partitioned: Path, tmp_path: Path
) -> None:
    """The tasks run on both executors, and only sums reach the driver."""
    log = tmp_path / "events"
    log.mkdir()
    url = url_of(spark, partitioned, enabled="true", compress="false", dir=str(log))
    url += "&spark.eventLog.rolling.enabled=false"
    common = ("--as-of", TODAY.isoformat(), "--json")
    settings = {
        "REPORTGEN_WINDOWS": "7d",
        "REPORTGEN_SOURCE__CONNECT_TIMEOUT_S": "60",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    there = run("build", "--source", url, "--output", "there", *common, **settings)
    here = run("build", "--source", f"{partitioned}/**/*.parquet", "--output", "here", *common, **settings)
    assert (there.returncode, here.returncode) == (0, 0), there.stdout
    for name in ("7d/report.json", "7d/paths.csv", "7d/daily.csv"):
        found = [(tmp_path / place / "current" / name).read_text() for place in ("there", "here")]
        built_at = re.compile(r'"built_at": *"[^"]*"')
        assert built_at.sub("", found[0]) == built_at.sub("", found[1])

    ended = list(events(log, "SparkListenerTaskEnd"))
    assert {event["Task Info"]["Executor ID"] for event in ended} == {"0", "1"}
    read = [event["Task Metrics"]["Input Metrics"]["Records Read"] for event in ended]
    window = make_window("7d", TODAY, today_complete=True)
    days = look_back([window]).days + 2 * window.days + window.days  # sums by day, paths, cells
    files = 2 * DAYS  # their list, at the beginning and at the end
    assert sum(read) == days * ROWS_A_DAY + files
    sent = [event["Task Metrics"]["Result Size"] for event in ended]
    assert max(sent) < 32_000


def test_new_files_are_not_read_and_removed_files_fail_the_build(engine: Engine) -> None:
    """The list of files at the start is the snapshot; a file that is changed or removed fails the build."""
    url = engine.load([(day(0), "/a", 1), (day(1), "/a", 2)])
    folder = engine.folder / "metrics"
    (first,) = folder.glob(f"date={TODAY}/*.parquet")
    with engine.open(url) as source:
        shutil.copy(first, first.with_name("later.parquet"))
        assert read_daily(source, SPAN).rows == 2

    def read_while_it_changes() -> None:
        with engine.open(url) as source:
            assert read_daily(source, SPAN).rows == 3
            os.utime(first, (1, 1))

    with pytest.raises(SourceUnavailable, match="changed or removed while they were read"):
        read_while_it_changes()

    def read_what_is_gone() -> None:
        with engine.open(url) as source:
            first.unlink()
            read_daily(source, SPAN)

    with pytest.raises(SourceUnavailable, match="FILE_NOT_EXIST"):
        read_what_is_gone()


def test_a_statement_that_takes_too_long_is_cancelled_on_the_cluster(engine: Engine) -> None:
    url = engine.load([(day(0), "/a", 1)])
    query = "SELECT m.* FROM metrics m JOIN range(0, 100000000000, 1, 2) r ON hash(r.id) <> 7"
    began = time.monotonic()
    with (
        pytest.raises(SourceUnavailable, match="statement_timeout_s"),
        engine.open(url, query=query, statement_timeout_s=3) as source,
    ):
        read_daily(source, SPAN)
    assert time.monotonic() - began < 30
    with engine.open(url) as source:  # the cluster is free again
        assert read_daily(source, SPAN).rows == 1


def test_other_sessions_of_the_process_are_not_changed(engine: Engine) -> None:
    """A source has its own settings and views, and stops no session that it did not start."""
    from pyspark.sql import SparkSession

    url = engine.load([(day(0), "/a", 1)])
    theirs = SparkSession.getActiveSession()
    theirs.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    with engine.open(url) as source:
        read_daily(source, SPAN)
        assert theirs.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
        assert not theirs.catalog.tableExists("metrics")
    assert [tuple(row) for row in theirs.sql("SELECT 1").collect()] == [(1,)]


def test_an_unreachable_master_fails_at_once(run: Run, spark: str) -> None:
    """Spark itself would retry for a minute; it is not started at all."""
    began = time.monotonic()
    done = run("build", "--source", "ibis+pyspark://127.0.0.1:9?parquet=/nowhere")
    assert done.returncode == 1
    assert "ibis+pyspark://127.0.0.1:9 /nowhere: " in done.stderr
    assert "refused" in done.stderr
    assert "Try again" in done.stderr
    assert time.monotonic() - began < 30


def test_a_cluster_without_free_resources_times_out(run: Run, spark: str, partitioned: Path) -> None:
    began = time.monotonic()
    limits = {"REPORTGEN_SOURCE__STATEMENT_TIMEOUT_S": "8", "REPORTGEN_SOURCE__CONNECT_TIMEOUT_S": "8"}
    url = f"{spark}?parquet={partitioned}&spark.executor.memory=100g&spark.driver.host=127.0.0.1"
    done = run("build", "--source", url, SPARK_LOCAL_IP="127.0.0.1", **limits)
    assert done.returncode == 1
    assert "statement_timeout_s" in done.stderr
    assert time.monotonic() - began < 60


def test_a_missing_folder_is_named(spark: str, engine: Engine) -> None:
    with (
        pytest.raises(SourceError, match=r"PATH_NOT_FOUND.*Set schema and table"),
        engine.open(f"{spark}?parquet=/no"),
    ):
        pass


@pytest.mark.parametrize(
    ("url", "settings", "words"),
    [
        ("ibis+pyspark://h/data", {}, "name a folder as"),
        ("ibis+pyspark://h?master=x", {}, '"master" is neither "parquet" nor a setting of Spark'),
        ("ibis+pyspark://h:x", {}, "source.url: "),
        ("ibis+pyspark://h?parquet=/x", {"schema": "s"}, "has no schema"),
    ],
)
def test_an_invalid_spark_url_is_refused(url: str, settings: dict[str, str], words: str) -> None:
    needs_ibis()
    with pytest.raises(ConfigError) as caught:
        Engine("ibis-spark", Path()).open(url, **settings)
    assert words in str(caught.value)
