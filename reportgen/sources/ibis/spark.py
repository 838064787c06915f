"""Spark through Ibis, in the JVM that PySpark starts beside the build.

``ibis+pyspark://host:7077`` names a standalone master. Without a host, the parameter ``spark.master`` or
Spark's own configuration says where Spark is. ``parquet`` names a folder of Parquet files, partitioned or
not, that is read as the table. All other parameters are Spark's settings.
"""

import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, SourceUnavailable, mask_logins
from reportgen.sources.base import Finding
from reportgen.sources.ibis.source import IbisSource

MASTER_PORT = 7077
QUIET = {
    "spark.app.name": "reportgen",
    "spark.log.level": "OFF",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings that a URL may override. If the driver's web page is on, it listens on every interface."""
STRICT = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.variable.substitute": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
}
"""Settings that the statements need: an overflow is an error, a backslash in a text literal is an escape, and
``${…}`` is not replaced."""
FileState = tuple[str, Any, int]
"""Path, time of the last change and size in bytes."""


class SparkSource(IbisSource):
    """A table of Spark's catalog, a folder of Parquet files, or a query."""

    _session: Any

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        super().__init__(settings, timezone)
        self._options = _parameters(self._url)
        self._folder = self._options.pop("parquet", None)
        self._files: set[FileState] = set()
        self._group = f"reportgen-{uuid4().hex}"
        if self._folder:
            self.name += f" {mask_logins(self._folder)}"
        if self._folder and settings.schema_:
            raise ConfigError("source.schema: a folder of Parquet files has no schema; leave it out")

    def check_unchanged(self) -> None:
        """Check that no file of the folder was changed or removed since the start."""
        with self.timeout():
            changed = self._files - self._list_files() if self._folder else set()
        if changed:
            raise SourceUnavailable(
                f"{self.name}: files were changed or removed while they were read, one of them "
                f"{min(changed)[0]}; try again"
            )

    def inspect(self) -> Iterator[Finding]:
        """Yield the findings of the base class, with the consistency of a folder of files."""
        for finding in super().inspect():
            if finding.subject == "state" and self._folder:
                consistency = "the files at the start of a build; the build fails if one of them changes"
                yield Finding("ok", "state", consistency)
            else:
                yield finding

    def open_backend(self, opened: ExitStack) -> Any:
        """Return the backend of Ibis, with a new Spark session of its own settings and views."""
        import ibis

        self._session = self._start_session(opened)
        # So that cancel() ends only this source's jobs.
        self._session.sparkContext.setJobGroup(self._group, "reportgen", interruptOnCancel=True)
        backend = ibis.pyspark.connect(self._session)  # sets the session's zone to UTC
        for key, value in STRICT.items():
            self._session.conf.set(key, value)
        if self._folder:
            self._files = self._list_files()
            view = self.settings.table.replace("`", "``")
            self._session.read.parquet(self._folder).createOrReplaceTempView(f"`{view}`")
        return backend

    def schema_of(self, query: str) -> Mapping[str, Any]:
        """Return Ibis's data type of each column, with the zone of Spark's instants, which Ibis drops."""
        from ibis.expr.datatypes import Timestamp

        fields = self._backend.raw_sql(query).schema.fields
        instants = {field.name for field in fields if field.dataType.typeName() == "timestamp"}
        schema = self._backend.sql(query).schema()
        return {
            name: Timestamp(timezone="UTC") if name in instants else kind for name, kind in schema.items()
        }

    def fetch(self, result: Any) -> Iterator[Sequence[Any]]:
        """Yield the rows partition by partition, so that the driver holds one partition at a time."""
        yield from result.toLocalIterator()

    def cancel(self) -> None:
        """Cancel the jobs of this source."""
        self._session.sparkContext.cancelJobGroup(self._group)

    def _start_session(self, opened: ExitStack) -> Any:
        """Return a new session in the Spark of this process, which is started and ended if there is none."""
        from pyspark.sql import SparkSession

        # It logs each error, which is raised too.
        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)
        is_running = SparkSession.getActiveSession() is not None
        if not is_running:
            if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
                raise ConfigError("source.url: Spark needs Java 17 or later here: install it")
            self._check_master()
        session = SparkSession.builder.config(map=QUIET | self._options).getOrCreate().newSession()
        if is_running:
            opened.callback(session.sparkContext.setLocalProperty, "spark.jobGroup.id", None)
        else:
            opened.callback(session.stop)
        return session

    def _check_master(self) -> None:
        """Connect to the master once, to fail at once if it is down: Spark itself retries for a minute."""
        master = self._options.get("spark.master", "")
        if master.startswith("spark://"):
            host, _, port = master.removeprefix("spark://").split(",")[0].rpartition(":")
            socket.create_connection((host, int(port)), self.settings.connect_timeout_s).close()

    def _list_files(self) -> set[FileState]:
        """Return the state of each Parquet file, without reading the files."""
        files = (
            self._session.read.format("binaryFile")
            .option("pathGlobFilter", "*.parquet")
            .option("recursiveFileLookup", "true")
            .load(self._folder)
            .select("path", "modificationTime", "length")
        )
        return {tuple(row) for row in files.toLocalIterator()}


def _parameters(url: str) -> dict[str, str]:
    """Return the Spark settings of a URL, with ``spark.master`` from its host, and ``parquet``."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise ConfigError(f"source.url: {exc}") from None
    found = dict(parse_qsl(parts.query))
    for key in found:
        if key != "parquet" and not key.startswith("spark."):
            raise ConfigError(f'source.url: "{key}" is neither "parquet" nor a setting of Spark ("spark.…")')
    if parts.path.strip("/"):
        raise ConfigError("source.url: name a folder as ?parquet=/data/metrics, not as the URL's path")
    if parts.hostname:
        found["spark.master"] = f"spark://{parts.hostname}:{port or MASTER_PORT}"
    return found
