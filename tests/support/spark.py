"""A Spark cluster: a master and two workers, each in its own process, with the least memory that works."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NO_JAVA = "there is no java: Spark needs 17 or later; on Debian: apt install openjdk-17-jre-headless"
JAVA = "-XX:TieredStopAtLevel=1"
"""Use only the faster of Java's two compilers, because these processes run for a short time."""
SETTINGS = {
    "spark.driver.extraJavaOptions": JAVA,
    "spark.executor.extraJavaOptions": JAVA,
    "spark.cores.max": "2",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "512m",
    "spark.executor.cores": "1",
    "spark.executor.memory": "512m",
    "spark.log.level": "OFF",
    "spark.sql.shuffle.partitions": "4",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
START_TIMEOUT_S = 60
"""Seconds to wait until a process of the cluster has started."""


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Run a standalone master with two workers of two executors each during the block; return its address."""
    with ExitStack() as stack:
        log = stack.enter_context(_daemon(folder / "master", "master.Master", "--port", "0"))
        address = _wait_for_log(log, r"Starting Spark master at spark://(\S+)")
        for number in (1, 2):
            work = folder / f"worker{number}"
            options = (
                "--cores",
                "2",
                "--memory",
                "1200m",
                "--work-dir",
                str(work),
                f"spark://{address}",
            )
            log = stack.enter_context(_daemon(work, "worker.Worker", *options))
            _wait_for_log(log, "(Successfully registered)")
        yield address


@contextmanager
def _daemon(folder: Path, name: str, *options: str) -> Iterator[Path]:
    import pyspark

    home = Path(pyspark.__file__).parent
    folder.mkdir(parents=True)
    log = folder / "log"
    environment = os.environ | {
        "SPARK_HOME": str(home),
        "SPARK_DAEMON_JAVA_OPTS": JAVA,
        "SPARK_DAEMON_MEMORY": "256m",
        "SPARK_LOCAL_DIRS": str(folder),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    common = ("--host", "127.0.0.1", "--webui-port", "0")
    command = [str(home / "bin" / "spark-class"), f"org.apache.spark.deploy.{name}", *common, *options]
    with (
        log.open("w") as stream,
        subprocess.Popen(command, env=environment, stderr=stream, stdout=stream) as daemon,
    ):
        try:
            yield log
        finally:
            daemon.terminate()


def _wait_for_log(log: Path, pattern: str) -> str:
    """Return the first group of ``pattern`` as soon as the log holds it."""
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"no {pattern!r} in {log}:\n{log.read_text()[-2000:]}")
