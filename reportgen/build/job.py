"""One build as every caller runs it: under the lock of its output, within its time limit, and recorded.

:func:`main` is a process that builds one site after another: it loads the drawing libraries and V8 once. It
reads jobs from standard input and writes their results to standard output, both pickled. It ends with the
process that started it, or when it has had no job for a while.
"""

import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NoReturn

from reportgen.build.pipeline import build
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, ReportgenError, TimedOut, mask
from reportgen.core.processes import end_with
from reportgen.core.timing import Stopwatch, cpu_seconds, within
from reportgen.core.windows import EARLIEST, today_in
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import OutputLock, current_release, lock_output

IDLE_S = 300
"""Seconds without a job after which the process of :func:`main` ends."""


@dataclass(frozen=True)
class BuildOptions:
    """The options of ``reportgen build``."""

    as_of: date | None = None
    if_changed: bool = False
    allow_empty: bool = False
    wait: bool = True
    follow: bool = False
    """Whether other machines build the same site, so that its bucket may hold a newer release."""


@dataclass(frozen=True)
class BuildJob:
    """One site to build, as plain values for another process or machine.

    ``kept`` is the directory that keeps the charts' script for all sites.
    """

    name: str
    config: Config
    kept: Path
    options: BuildOptions = BuildOptions()


def run_build(
    config: Config,
    options: BuildOptions,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    watching: AbstractContextManager[Stopwatch] | None = None,
) -> BuildResult:
    """Build one site and record how it ended.

    ``on_wait`` is called with the name of the lock's holder before this waits for it; ``watching`` gives the
    stopwatch of the build.

    Raises:
        ReportgenError: what :func:`reportgen.build.pipeline.build` raises, ``OutputBusy`` without ``wait``,
            or ``TimedOut``; after that the process must end.

    """
    result, error = _attempt(config, options, on_wait, watching, None)
    if error:
        raise error
    return result


def build_site(job: BuildJob) -> BuildResult:
    """Build one of many sites, record how it ended and return that. No error is raised."""
    result, error = _attempt(job.config, job.options, lambda _: None, None, job.kept)
    if error and os.environ.get("REPORTGEN_DEBUG") == "1":
        sys.stderr.write(mask("".join(traceback.format_exception(error)), job.config.secrets))
    return replace(result, site=job.name)


def _attempt(
    config: Config,
    options: BuildOptions,
    on_wait: Callable[[str], None],
    watching: AbstractContextManager[Stopwatch] | None,
    warm: Path | None,
) -> tuple[BuildResult, Exception | None]:
    """Return how a build ended, and the exception if it failed. ``warm`` is as in ``pipeline.build``."""
    root, start, used_s = config.output.dir, time.monotonic(), cpu_seconds() if warm else 0.0

    def measured(result: BuildResult) -> BuildResult:
        seconds, cpu_s = time.monotonic() - start, cpu_seconds() - used_s
        return replace(result, seconds=round(seconds, 3), cpu_seconds=round(cpu_s, 3))

    def work(start_time: Callable[[], None]) -> BuildResult:
        with (
            lock_output(root, wait=options.wait, on_wait=on_wait) as lock,
            watching or nullcontext(Stopwatch()) as watch,
        ):
            start_time()
            now = datetime.now(UTC)
            known = _last_release_is_known(config, lock, watch, follow=options.follow, warm=warm is not None)
            built = build(
                config, lock, now=now, as_of=options.as_of, if_changed=options.if_changed and known,
                allow_empty=options.allow_empty, watch=watch, warm=warm,
            )  # fmt: skip
            result = measured(built)
            if options.as_of is None:  # the report of a past day does not make today's report up to date
                record(root, result)
            return result

    try:
        return within(config.build_timeout_s, work), None
    except Exception as exc:  # noqa: BLE001 - the caller raises it, or builds the next site
        result = measured(BuildResult.of_error(exc, config.secrets))
        # The text of an unexpected error may hold anything, and the record is served as /status.json.
        ours = isinstance(exc, ReportgenError)
        record(root, result if ours else replace(result, message="unexpected error; see the log"))
        return result, exc


def _last_release_is_known(
    config: Config, lock: OutputLock, watch: Stopwatch, *, follow: bool, warm: bool
) -> bool:
    """Download the last release if only the bucket may hold it; return whether it is here for certain."""
    if config.output.bucket is None or (current_release(lock.root) is not None and not follow):
        return True
    from reportgen.publish.bucket.download import restore  # only a bucket needs it

    return restore(config, lock, watch, warm=warm)


def day_of(text: str, config: Config) -> date:
    """Return the date that ``--as-of`` names.

    Raises:
        ConfigError: the text is not a date, or the date is in the future or too long ago.

    """
    try:
        day = date.fromisoformat(text if len(text) == len("2026-11-23") else "")
    except ValueError:
        raise ConfigError(f'--as-of: "{text}" is not a date. Write it as 2026-11-23') from None
    today = today_in(config.zone, datetime.now(UTC))
    if day > today:
        raise ConfigError(f"--as-of: {day} is in the future. Today is {today} in {config.timezone}")
    if day < EARLIEST:
        raise ConfigError(f"--as-of: {day} is too long ago. The first possible date is {EARLIEST}")
    return day


def main() -> NoReturn:
    """Build the jobs that arrive on standard input, until it is closed or idle."""
    end_with(int(sys.argv[1]))
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends Ctrl-C to all processes: the parent decides
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand between the results
    while select.select([0], [], [], IDLE_S)[0]:
        try:
            job = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent wrote it
        except EOFError:
            break
        result = build_site(job)
        pickle.dump(result, answers)
        answers.flush()
        if result.error == TimedOut.__name__:  # a thread of it is stuck, and holds the lock of the output
            break
    os._exit(0)
