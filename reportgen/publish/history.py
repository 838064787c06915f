"""How a build ended, and the record of the last builds: ``state/runs.json``.

The process that builds writes its own record. If it is killed or hangs, the process that started it writes
the record instead. Every writer replaces the whole file. A record that is absent or damaged counts as empty:
no build depends on it.
"""

import fcntl
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from reportgen.core import errors
from reportgen.core.errors import OutputBusy, ReportgenError, mask

FILE = "runs.json"
State = Literal["published", "unchanged", "busy", "failed", "stopped"]
SUCCESS = {"published", "unchanged"}


@dataclass(frozen=True)
class BuildResult:
    """How one build ended, as plain values: for its caller, for scripts and for the record.

    ``at`` (aware) is the time of the build if it succeeded, and the time at which it ended otherwise.
    ``release`` is the id of the release that is current after a success, ``details`` what its manifest says.
    ``error`` is the name of the error's class, ``retry`` whether the same build may succeed soon. ``site`` is
    the site's name if there are many. ``traceback`` is set with ``REPORTGEN_DEBUG=1``.
    """

    state: State
    at: datetime
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    release: str = ""
    peak_memory_bytes: int = 0
    timings_s: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    retry: bool = False
    site: str = ""
    traceback: str = ""

    @classmethod
    def of_error(cls, exc: Exception, secrets: Iterable[str] = ()) -> Self:
        """Return the result of a build that ended with ``exc``, without ``secrets``."""
        name, message = type(exc).__name__, mask(str(exc), secrets)
        if not isinstance(exc, ReportgenError):
            message = f"unexpected {name}: {message}. REPORTGEN_DEBUG=1 shows where; please report it"
        state: State = "busy" if isinstance(exc, OutputBusy) else "failed"
        retry = isinstance(exc, ReportgenError) and exc.retry
        return cls(state, datetime.now(UTC), error=name, message=message, retry=retry)

    @classmethod
    def of_document(cls, document: Mapping[str, Any], at: datetime) -> Self:
        """Return the result that a child process printed as :meth:`document`."""
        if document.get("status") in SUCCESS:
            return cls(
                document["status"],
                at,
                release=str(document.get("release") or ""),
                peak_memory_bytes=int(document.get("peak_memory_bytes") or 0),
                timings_s=document.get("timings_s") or {},
                details=document,
            )
        state: State = "busy" if document.get("exit_code") == OutputBusy.exit_code else "failed"
        error, message = str(document.get("error") or ""), str(document.get("message") or "")
        return cls(state, at, error=error, message=message, retry=bool(document.get("retry")))

    @property
    def succeeded(self) -> bool:
        """Whether the report is up to date now: published, or found unchanged."""
        return self.state in SUCCESS

    @property
    def changed(self) -> bool:
        """Whether a release was published."""
        return self.state == "published"

    @property
    def path(self) -> Path:
        """The directory of the release that is current after a success."""
        return Path(self.details["path"])

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends so."""
        if self.succeeded:
            return 0
        kind = vars(errors).get(self.error)
        return int(kind.exit_code) if kind and issubclass(kind, ReportgenError) else 1

    def document(self) -> dict[str, Any]:
        """Return the result as ``reportgen build --json`` prints it."""
        if self.succeeded:
            return {
                "status": self.state,
                "release": self.release,
                **self.details,
                "timings_s": dict(self.timings_s),
                "peak_memory_bytes": self.peak_memory_bytes,
            }
        return {
            "status": "failed",
            "error": self.error,
            "message": self.message,
            "exit_code": self.exit_code,
            "retry": self.retry,
        }

    def recorded(self) -> dict[str, Any]:
        """Return what the record and ``/status.json`` hold of the result."""
        at = self.at.astimezone(UTC).isoformat()
        if self.succeeded:
            return {
                "at": at,
                "release": self.release,
                "changed": self.changed,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "peak_memory_bytes": self.peak_memory_bytes,
                "timings_s": dict(self.timings_s),
                **({"panels": self.details["panels"]} if self.details.get("panels") else {}),
            }
        return {"at": at, "error": self.error, "message": self.message, "retry": self.retry}


@dataclass(frozen=True)
class Runs:
    """The record: the last success, the last failure, and the number of failures since the last success."""

    last_success: BuildResult | None = None
    last_failure: BuildResult | None = None
    failures: int = 0

    def success_by(self, now: datetime) -> BuildResult | None:
        """Return the last success, or ``None`` if it is later than ``now``: the clock was put back since."""
        success = self.last_success
        return success if success and success.at <= now else None


def read_runs(root: Path) -> Runs:
    """Return the record of the output directory ``root``."""
    try:
        stored = json.loads((root / "state" / FILE).read_bytes())
        return Runs(
            _loaded(stored["last_success"], "unchanged"),
            _loaded(stored["last_failure"], "failed"),
            int(stored["failures"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return Runs()


def record(root: Path, result: BuildResult) -> Runs:
    """Write how a build ended into the record of ``root``, and return the record as it is now.

    A build that found the output busy or was stopped leaves no trace. If the file cannot be written, the
    record is returned, but not stored.
    """
    if result.state in {"busy", "stopped"}:
        return read_runs(root)
    folder = root / "state"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            runs = _with_result(read_runs(root), result)
            last = {"last_success": runs.last_success, "last_failure": runs.last_failure}
            stored = {name: found and found.recorded() for name, found in last.items()}
            fresh = folder / f"{FILE}.new"
            fresh.write_text(
                json.dumps(stored | {"failures": runs.failures}, indent=1) + "\n", encoding="utf-8"
            )
            fresh.replace(folder / FILE)
            return runs
    return _with_result(read_runs(root), result)


def _with_result(runs: Runs, result: BuildResult) -> Runs:
    """Return a record with one more result."""
    kept = _loaded(result.recorded(), result.state)
    if result.succeeded:
        return Runs(kept, runs.last_failure, 0)
    return replace(runs, last_failure=kept, failures=runs.failures + 1)


def _loaded(stored: Mapping[str, Any] | None, state: State) -> BuildResult | None:
    """Return a result as it is on record."""
    if stored is None:
        return None
    at = datetime.fromisoformat(stored["at"])
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    if state == "failed":
        return BuildResult(state, at, **{name: stored[name] for name in ("error", "message", "retry")})
    found: State = "published" if stored["changed"] else "unchanged"
    known = {name: stored[name] for name in ("release", "seconds", "cpu_seconds", "peak_memory_bytes")}
    details = {"panels": stored["panels"]} if stored.get("panels") else {}
    return BuildResult(found, at, timings_s=stored.get("timings_s", {}), details=details, **known)
