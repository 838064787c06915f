"""Spark: a cluster that we drive (standalone, YARN, Kubernetes) or a Spark Connect server, through Ibis.

``ibis+pyspark://host:7077`` is a standalone master; without a host, the parameters ``spark.master`` or
``spark.remote`` (Spark Connect) or Spark's own configuration say where Spark is. ``parquet`` names a folder
of Parquet files, partitioned or not, that is then the table; all other parameters are Spark's settings.
"""

import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from reportgen.config.settings import SourceSettings
from reportgen.core.errors import ConfigError, SourceUnavailable, mask_logins
from reportgen.sources.base import Finding
from reportgen.sources.ibis.source import IbisSource
from reportgen.sources.ibis.sql import all_of

MASTER_PORT = 7077
QUIET = {
    "spark.app.name": "reportgen",
    "spark.log.level": "OFF",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
"""Settings that a URL may override. The driver's web page is on every interface unless it is off."""
STRICT = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.variable.substitute": "false",
    "spark.sql.parser.escapedStringLiterals": "false",
}
"""What the statements rely on: sums that fail rather than wrap around, and texts that mean what they say."""
FileState = tuple[str, Any, int]


class SparkSource(IbisSource):
    """A table of Spark's catalog, a folder of Parquet files, or a query."""

    def __init__(self, settings: SourceSettings, timezone: str) -> None:
        super().__init__(settings, timezone)
        self._options = _parameters(self._url)
        self._folder = self._options.pop("parquet", None)
        self._session: Any = None
        self._ours = False
        self._files: set[FileState] = set()
        self._group = f"reportgen-{uuid4().hex}"
        self._secrets += tuple(re.findall("=([^;]+)", self._options.get("spark.remote", "")))
        if self._folder:
            self.name += f" {mask_logins(self._folder)}"
        if self._folder and settings.schema_:
            raise ConfigError("source.schema: a folder of Parquet files has no schema; leave it out")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, after a look whether the files that were read stayed as they were."""
        try:
            if kind is None and self._folder:
                with self._translate_errors(), self._deadline(self._settings.statement_timeout_s):
                    gone = self._files - self._listed()
                if gone:
                    raise SourceUnavailable(
                        f"{self.name}: files were changed or removed while they were read, one of them "
                        f"{min(gone)[0]}; try again"
                    )
        finally:
            super().__exit__(kind, error, trace)

    def inspect(self) -> Iterator[Finding]:
        """Say what Spark promises of files and of tables."""
        for finding in super().inspect():
            if finding.subject == "state" and self._folder:
                told = "files that are there when a build begins; it fails if one of them changes meanwhile"
                yield Finding("ok", "state", told)
            else:
                yield finding

    def _connect(self) -> Any:
        import ibis

        self._session = self._started()
        if "spark.remote" not in self._options:  # so that _cancel ends our jobs, and no others
            self._session.sparkContext.setJobGroup(self._group, "reportgen", interruptOnCancel=True)
        backend = ibis.pyspark.connect(self._session)  # which sets the session's zone to UTC
        for key, value in STRICT.items():
            self._session.conf.set(key, value)
        self._backend = backend
        if self._folder:
            self._files = self._listed()
            view = self._settings.table.replace("`", "``")
            self._session.read.parquet(self._folder).createOrReplaceTempView(f"`{view}`")
        return backend

    def _schema(self, relation: Any, _: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the types of a relation's columns. Ibis drops the zone of Spark's instants."""
        from ibis.expr.datatypes import Timestamp

        query = all_of(relation, self._backend.dialect)
        fields = self._backend.raw_sql(query).schema.fields
        instants = {field.name for field in fields if field.dataType.typeName() == "timestamp"}
        schema = self._backend.sql(query).schema()
        return {
            name: Timestamp(timezone="UTC") if name in instants else kind for name, kind in schema.items()
        }

    def _started(self) -> Any:
        """Return a session of our own, with its own settings and views, in this process's Spark."""
        from pyspark.sql import SparkSession

        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # it repeats what we say
        builder = SparkSession.builder.config(map=QUIET | self._options)
        if "spark.remote" in self._options:
            self._ours = True
            return builder.create()
        if SparkSession.getActiveSession() is None:
            if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
                raise ConfigError(
                    "source.url: Spark needs Java 17 or later here: install it, or use spark.remote"
                )
            self._look_for_master()
            self._ours = True
        return builder.getOrCreate().newSession()

    def _look_for_master(self) -> None:
        """Fail at once where nobody listens: Spark itself would ask for a minute."""
        master = self._options.get("spark.master", "")
        if master.startswith("spark://"):
            host, _, port = master.removeprefix("spark://").split(",")[0].rpartition(":")
            socket.create_connection((host, int(port)), self._settings.connect_timeout_s).close()

    def _listed(self) -> set[FileState]:
        """Return name, time and size of each Parquet file, without reading any."""
        files = (
            self._session.read.format("binaryFile")
            .option("pathGlobFilter", "*.parquet")
            .option("recursiveFileLookup", "true")
            .load(self._folder)
            .select("path", "modificationTime", "length")
        )
        return {tuple(row) for row in files.toLocalIterator()}

    def _fetched(self, result: Any) -> Iterator[Sequence[Any]]:
        """Yield rows partition by partition, so that the driver holds one at a time."""
        yield from result.toLocalIterator()

    def _cancel(self) -> None:
        if "spark.remote" in self._options:
            self._session.interruptAll()
        elif self._session is not None:
            self._session.sparkContext.cancelJobGroup(self._group)

    def _close(self) -> None:
        session, self._session, self._backend = self._session, None, None
        if session is None:
            return
        if self._ours:
            session.stop()
        else:
            session.sparkContext.setLocalProperty("spark.jobGroup.id", None)


def _parameters(url: str) -> dict[str, str]:
    """Return Spark's settings of a URL, with its master, and ``parquet``.

    Raises:
        ConfigError: a parameter that is neither.

    """
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
