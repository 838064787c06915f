"""Run one build: take the lock of its output, keep to its time limit, and record its result."""

import os
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial

from reportgen.build.pipeline import build
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, ReportgenError, mask
from reportgen.core.timing import Stopwatch, cpu_seconds, within
from reportgen.core.windows import EARLIEST, today_in
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import OutputLock, current_release, lock_output


@dataclass(frozen=True)
class BuildOptions:
    """The options of ``reportgen build``."""

    as_of: date | None = None
    if_changed: bool = False
    allow_empty: bool = False
    wait: bool = True


@dataclass(frozen=True)
class BuildJob:
    """One site to build, as plain values for another process or machine.

    ``limited`` says that the build itself keeps to its time limit, because nothing ends the process that
    builds.
    """

    name: str
    config: Config
    options: BuildOptions = BuildOptions()
    limited: bool = True


ONE_AT_A_TIME = threading.Lock()
"""Held while this process builds a site of many. A worker of a cluster may have several threads."""


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
    result, error = _attempt(config, options, on_wait=on_wait, watching=watching)
    if error:
        raise error
    return result


def build_site(job: BuildJob) -> BuildResult:
    """Build one of many sites in this process, record how it ended and return that. No error is raised.

    The libraries that draw stay loaded for the next site.
    """
    with ONE_AT_A_TIME:
        result, error = _attempt(job.config, job.options, warm=True, limited=job.limited)
    if error and os.environ.get("REPORTGEN_DEBUG") == "1":
        text = mask("".join(traceback.format_exception(error)), job.config.secrets)
        result = replace(result, traceback=text)
    return replace(result, site=job.name)


def _attempt(
    config: Config,
    options: BuildOptions,
    *,
    on_wait: Callable[[str], None] = lambda _: None,
    watching: AbstractContextManager[Stopwatch] | None = None,
    warm: bool = False,
    limited: bool = True,
) -> tuple[BuildResult, Exception | None]:
    """Return how a build ended, and the exception if it failed.

    ``warm`` is as in :func:`reportgen.build.pipeline.build`. The time limit of a ``warm`` process, of which a
    pool or a cluster expects a result, includes the wait for the lock.
    """
    root, start, used_s = config.output.dir, time.monotonic(), cpu_seconds() if warm else 0.0

    def measured(result: BuildResult) -> BuildResult:
        seconds, cpu_s = time.monotonic() - start, cpu_seconds() - used_s
        return replace(result, seconds=round(seconds, 3), cpu_seconds=round(cpu_s, 3))

    def work(watch: Stopwatch, start_time: Callable[[], None]) -> BuildResult:
        if warm:
            start_time()
        with lock_output(root, wait=options.wait, on_wait=on_wait) as lock:
            start_time()
            now = datetime.now(UTC)
            known = _last_release_is_known(config, lock, watch, warm=warm)
            built = build(
                config, lock, now=now, as_of=options.as_of, if_changed=options.if_changed and known,
                allow_empty=options.allow_empty, watch=watch, warm=warm,
            )  # fmt: skip
            result = measured(built)
            if options.as_of is None:  # the report of a past day does not make today's report up to date
                record(root, result)
            return result

    try:
        # The display of the progress belongs to this thread, so that Ctrl-C and the time limit end it, too.
        with watching or nullcontext(Stopwatch()) as watch:
            if not limited:
                return work(watch, lambda: None), None
            return within(config.build_timeout_s, partial(work, watch)), None
    except Exception as exc:  # noqa: BLE001 - the caller raises it, or builds the next site
        result = measured(BuildResult.of_error(exc, config.secrets))
        # The text of an unexpected error may hold anything, and the record is served as /status.json.
        ours = isinstance(exc, ReportgenError)
        record(root, result if ours else replace(result, message="unexpected error; see the log"))
        return result, exc


def _last_release_is_known(config: Config, lock: OutputLock, watch: Stopwatch, *, warm: bool) -> bool:
    """Download the last release if only the bucket may hold it; return whether it is here for certain."""
    if config.output.bucket is None or current_release(lock.root) is not None:
        return True
    from reportgen.publish.bucket.download import restore_release  # only a bucket needs it

    try:
        with watch.stage("restore"):
            restore_release(config, lock, warm=warm)
    except ReportgenError as exc:  # a build does not need the last release
        watch.warn(f"{exc}. Nothing was restored from the bucket")
        return False
    return True


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
