"""One build as everybody runs it: under the lock of its output, with a deadline, and put on record.

:func:`main` is a process that makes many, one after another. What makes a cold build slow
is loaded once: the drawing libraries and V8. It takes orders from standard input and writes what each came to
to standard output, pickled, and ends with who started it, or when nothing was asked of it for a while.
"""

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NoReturn

from reportgen.build.pipeline import Built, build, summary
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, OutputBusy, ReportgenError, mask
from reportgen.core.processes import end_with
from reportgen.core.timing import Stopwatch
from reportgen.core.windows import EARLIEST, today_in
from reportgen.publish.history import cpu_seconds, give_up_after, recorded
from reportgen.publish.release import OutputLock, current_release, lock_output

IDLE_S = 300
"""For so long a process without work keeps its memory."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build: as the options of ``reportgen build`` say."""

    as_of: date | None = None
    if_changed: bool = False
    allow_empty: bool = False
    wait: bool = True
    follow: bool = False
    """Whether other machines build the same site: its bucket may hold a newer release than its output."""


@dataclass(frozen=True)
class BuildJob:
    """One site to build, and how: plain values, for another process or another machine.

    ``kept`` is the directory that keeps the charts' script for all sites.
    """

    name: str
    config: Config
    kept: Path
    options: BuildOptions = BuildOptions()


@dataclass(frozen=True)
class BuildResult:
    """What an order came to. ``state``: published, unchanged, busy or failed.

    ``begun`` is by the clock of where it was built; there is none where it was not.
    """

    name: str
    state: str
    seconds: float
    cpu_seconds: float = 0.0
    message: str = ""
    error: str = ""
    retry: bool = False
    report: Mapping[str, Any] | None = None
    begun: datetime | None = None

    @property
    def is_good(self) -> bool:
        """Whether the report is as it should be now: published, or found unchanged."""
        return self.state in {"published", "unchanged"}


def run(
    config: Config,
    options: BuildOptions,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    watching: AbstractContextManager[Stopwatch] | None = None,
    warm: Path | None = None,
) -> Built:
    """Wait for the output, then build: the time of the build is when its turn has come.

    ``warm`` is as in :func:`reportgen.build.pipeline.build`.

    Raises:
        ReportgenError: what :func:`reportgen.build.pipeline.build` raises, or ``OutputBusy`` without
            ``wait``.

    """
    root = config.output.dir
    with (
        recorded(root, used_before_s=cpu_seconds() if warm else 0.0) as record,
        lock_output(root, wait=options.wait, on_wait=on_wait) as lock,
        watching or nullcontext(Stopwatch()) as watch,
    ):
        now = datetime.now(UTC)
        call_off = give_up_after(config.build_timeout_s, root)
        try:
            knows = _knows_the_last(config, lock, watch, follow=options.follow, warm=warm is not None)
            built = build(
                config, lock, now=now, as_of=options.as_of, if_changed=options.if_changed and knows,
                allow_empty=options.allow_empty, watch=watch, warm=warm,
            )  # fmt: skip
        finally:
            call_off()
        if options.as_of is None:  # the report of a past day is no news of this one
            peak_bytes = built.peak_memory_bytes
            record(now, built.release.id, dict(watch.seconds), peak_bytes, changed=built.changed)
        return built


def _knows_the_last(config: Config, lock: OutputLock, watch: Stopwatch, *, follow: bool, warm: bool) -> bool:
    """Have the report's last release here, if it may be in a bucket only; tell whether that is sure."""
    if config.output.bucket is None or (current_release(lock.root) is not None and not follow):
        return True
    from reportgen.publish.bucket.download import restore  # what only a bucket needs

    return restore(config, lock, watch, warm=warm)


def day_of(text: str, config: Config) -> date:
    """Return the day that ``--as-of`` names.

    Raises:
        ConfigError: it is none, or is not over in the report's zone.

    """
    try:
        day = date.fromisoformat(text if len(text) == len("2026-11-23") else "")
    except ValueError:
        raise ConfigError(f'--as-of: "{text}" is no date; write it as 2026-11-23') from None
    today = today_in(config.zone, datetime.now(UTC))
    if day > today:
        raise ConfigError(f"--as-of: {day} is in the future; today is {today} in {config.timezone}")
    if day < EARLIEST:
        raise ConfigError(f"--as-of: {day} is too long ago; the first date is {EARLIEST}")
    return day


def made(job: BuildJob) -> BuildResult:
    """Build what is ordered, and say what it came to: no error leaves, whatever it is."""
    begun, start, used_s = datetime.now(UTC), time.monotonic(), cpu_seconds()

    def result(state: str, **more: Any) -> BuildResult:
        seconds, cpu_s = time.monotonic() - start, cpu_seconds() - used_s
        return BuildResult(job.name, state, round(seconds, 3), round(cpu_s, 3), begun=begun, **more)

    try:
        built = run(job.config, job.options, warm=job.kept)
    except OutputBusy as exc:
        return result("busy", message=str(exc), error=type(exc).__name__)
    except Exception as exc:  # noqa: BLE001 - another site is built next
        ours = isinstance(exc, ReportgenError)
        if os.environ.get("REPORTGEN_DEBUG") == "1":
            sys.stderr.write(mask("".join(traceback.format_exception(exc)), job.config.secrets))
        message = mask(str(exc), job.config.secrets)
        message = message if ours else f"unexpected {type(exc).__name__}: {message}; please report it"
        retry = isinstance(exc, ReportgenError) and exc.retry
        return result("failed", message=message, error=type(exc).__name__, retry=retry)
    report = summary(built)
    return result(str(report["status"]), report=report)


def main() -> NoReturn:
    """Take orders until there are no more."""
    end_with(int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; who started this decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints is no answer
    while select.select([0], [], [], IDLE_S)[0]:
        try:
            job = pickle.load(sys.stdin.buffer)  # noqa: S301 - from who started us
        except EOFError:
            break
        pickle.dump(made(job), answers)
        answers.flush()
    os._exit(0)
