"""Build one site: the steps of a build; around them its lock, its time limit and the record of its result."""

import hashlib
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from reportgen import __version__
from reportgen.build.status import lost_source, panel_warning
from reportgen.charts import vega_bundle
from reportgen.config.chart_notes import read_chart_notes
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, RenderError, ReportgenError, mask
from reportgen.core.processes import (
    Stopwatch,
    cpu_seconds,
    peak_memory_bytes,
    processors,
    run_in_child,
    within,
)
from reportgen.core.windows import EARLIEST, Span, today_in
from reportgen.metrics.dataset import Dataset, note_list, read_dataset
from reportgen.metrics.left_out import left_out_summary
from reportgen.pages.exports import paths_csv
from reportgen.pages.templates import templates_digest
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import OutputLock, Release, current_release, is_whole, lock_output, publish
from reportgen.sources.registry import open_source

if TYPE_CHECKING:  # only panels need it
    from reportgen.build.panels import PanelReader


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


NOT_SHOWN = {
    "notes_file", "panels_dir", "panel_timeout_s", "source", "sources", "import_", "output", "server",
}  # fmt: skip
"""Settings on which no page depends: of those files and sources, the content is compared."""

ONE_AT_A_TIME = threading.Lock()
"""Held while this process builds a site of many. A worker of a cluster may have several threads."""


def build(
    config: Config,
    lock: OutputLock,
    *,
    now: datetime,
    as_of: date | None = None,
    if_changed: bool = False,
    allow_empty: bool = False,
    watch: Stopwatch | None = None,
    warm: bool = False,
) -> BuildResult:
    """Build all pages and publish them as one release, in the locked output and in the bucket if one is set.

    ``now`` (aware) is the build time. With ``as_of`` the report is as it would have been at the end of that
    day. With ``if_changed`` nothing is drawn if the current release shows the same; the bucket is completed.
    With ``allow_empty`` a report without visits may replace one with some. A ``warm`` process builds many
    sites: it draws in the process itself.

    Raises:
        ConfigError: the sample site would replace a report.
        SourceError: the data could not be read, or have lost all visits.
        RenderError: a chart or a page could not be drawn.
        ProofError: the finished release has faults.
        PublishError: the release could not be written, here or into the bucket.

    """
    watch = watch or Stopwatch()
    imported: dict[str, Any] = {}
    failed: list[dict[str, Any]] = []
    if config.import_.logs and as_of is None:
        from reportgen.sources.log_import import import_logs

        with watch.stage("import"):
            done = import_logs(config, config.import_.logs, config.import_.into, create=config.import_.create)
            imported = {"imported": done.counts}
    last = current_release(lock.root)
    if lost := lost_source(config, last):
        raise ConfigError(lost)

    def is_current(key: str, value: str | None) -> bool:
        return (
            if_changed and last is not None and last.manifest.get(key) == value is not None and is_whole(last)
        )

    with watch.stage("query"):
        state = source_state(config, now, as_of)
        unchanged = is_current("source_state", state)
        if not unchanged:
            dataset, panels = _read(config, last, now, as_of, watch)
            if failed := _warn_of_panels(dataset, watch):
                state = None  # so that the next build tries again
            shown = fingerprint(config, dataset)
            unchanged = is_current("content", shown)
    if last and unchanged:
        into_bucket(config, last, watch, allow_newer=True)
        return _result(last, now, watch, peak_memory_bytes(), imported, failed, changed=False)
    from reportgen.build.verify import check_files, check_not_emptied, check_sums
    from reportgen.core.release_files import packed  # only a new release needs it

    if not allow_empty:
        check_not_emptied(dataset, last, past=as_of is not None)
    check_sums(dataset)
    if panels:
        from reportgen.build.panel_drawings import with_drawings  # only panels need it

        with watch.stage("panels"):
            dataset = with_drawings(config, dataset, panels)
        if more := _warn_of_panels(dataset, watch, failed):
            state, shown, failed = None, fingerprint(config, dataset), more
    live = interactive(watch)
    vega = next(iter(live), None)
    files, held = draw_files(config, dataset, now, as_of, vega, watch, warm=warm)
    files |= live
    with watch.stage("pack"):
        files |= packed(files)
    with watch.stage("proof"):
        most = config.output.max_page_mb
        check_files(
            files,
            windows=config.windows,
            max_page_mb=most,
            own=config.templates_dir,
            paths=config.nouns.paths_stem,
        )
    with watch.stage("publish"):
        peak_bytes = max(held, peak_memory_bytes())
        about = _about(dataset, watch, shown, state, peak_bytes) | _about_panels(failed)
        release = publish(lock, files, about, built_at=now, keep=config.output.keep)
    # After the switch here: a bucket that is down does not delay it, and the next build completes the bucket.
    into_bucket(config, release, watch)
    return _result(release, now, watch, peak_bytes, imported, failed, changed=True)


def _read(
    config: Config, last: Release | None, now: datetime, as_of: date | None, watch: Stopwatch
) -> tuple[Dataset, "PanelReader | None"]:
    """Return the dataset, and what has read its panels, if there are some."""
    panels = None
    if config.panels_dir:
        from reportgen.build.panels import PanelReader  # only panels need it

        panels = PanelReader(config, last, now)
    dataset = read_dataset(config, now, as_of, partial(paths_csv, words=config.nouns), panels)
    for warning in dataset.warnings:
        watch.warn(warning)
    return dataset, panels


def _warn_of_panels(
    dataset: Dataset, watch: Stopwatch, known: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return the panels that were not renewed, if they are not the ``known`` ones, and warn of the others."""
    if not dataset.panels:
        return []
    from reportgen.build.panels import not_renewed  # only panels need it

    failed = not_renewed(dataset)
    for each in failed:
        if each not in known:
            watch.warn(panel_warning(each))
    return [] if failed == known else failed


def _about_panels(failed: list[dict[str, Any]]) -> dict[str, Any]:
    return {"panels": failed} if failed else {}


def draw_files(
    config: Config,
    dataset: Dataset,
    now: datetime,
    as_of: date | None,
    vega: str | None,
    watch: Stopwatch,
    *,
    warm: bool = False,
) -> tuple[dict[str, bytes], int]:
    """Return every file of the release but the script ``vega``, and the peak memory in bytes.

    Pandas and Altair run in a child process. With a second processor, V8 starts here at the same time; it
    draws when the child has ended. A ``warm`` process runs all of them itself and keeps them loaded.

    Raises:
        RenderError: a chart or page could not be drawn.

    """
    from reportgen.charts import svg

    def work() -> tuple[svg.PageDraft, dict[str, float]]:
        own = Stopwatch()
        with own.stage("load"):
            os.environ["OPENBLAS_NUM_THREADS"] = "1"  # the thread pool of numpy would only cost memory
            from reportgen.pages import report  # pandas and Altair: only a new release needs them
        return report.draft(config, dataset, now, as_of, vega, own), own.seconds

    watch.begin("charts")
    alone = processors() == 1
    (draft, seconds), held = (
        (work(), 0) if warm else run_in_child(work, (lambda: None) if alone else svg.start_v8)
    )
    for name, took in seconds.items():
        watch.add(name, took)
    with watch.stage("svg"):
        return {**svg.insert_svgs(draft, watch.warn), **dataset.files(config.nouns.paths_stem)}, held


def _result(
    release: Release,
    now: datetime,
    watch: Stopwatch,
    peak_bytes: int,
    imported: Mapping[str, Any],
    failed: list[dict[str, Any]],
    *,
    changed: bool,
) -> BuildResult:
    """Return the result of this run, which may have found nothing to publish."""
    kept = ("as_of", "built_at", "source", "rows", "notes", "excluded", "left_out", "version")
    return BuildResult(
        "published" if changed else "unchanged",
        now,
        release=release.id,
        peak_memory_bytes=peak_bytes,
        timings_s=dict(watch.seconds),
        details={
            "path": str(release.path),
            **{name: release.manifest[name] for name in kept if name in release.manifest},
            **imported,
            **_about_panels(failed),
        },
    )


def interactive(watch: Stopwatch) -> dict[str, bytes]:
    """Return the script that makes charts interactive, in each form, or nothing if it cannot be made."""
    try:
        return vega_bundle.load()
    except RenderError as exc:
        watch.warn(f"{exc}. Charts are drawn, but not interactive")
        return {}


def into_bucket(config: Config, release: Release, watch: Stopwatch, *, allow_newer: bool = False) -> None:
    """Make a release of an output that the caller has locked current in the bucket, if one is set.

    With ``allow_newer``, a newer release in the bucket stays, and that is not an error: for a release that an
    earlier build made.

    Raises:
        OutputBusy: another machine publishes there.
        PublishError: the release cannot be written there.

    """
    if config.output.bucket:
        from reportgen.publish.bucket.client import open_bucket  # only a bucket needs them
        from reportgen.publish.bucket.upload import put_release

        with watch.stage("upload"):
            bucket = open_bucket(config.output.bucket)
            put_release(bucket, release, keep=config.output.keep, allow_newer=allow_newer)


def _about(
    dataset: Dataset, watch: Stopwatch, shown: str, state: str | None, peak_bytes: int
) -> dict[str, object]:
    """Return the manifest's part about the build."""
    pairs = zip(dataset.windows, dataset.paths, strict=True)
    window, found = max(pairs, key=lambda pair: pair[0].days)
    dates = {"first": window.span.first.isoformat(), "last": window.span.last.isoformat()}
    paths, visits = found.excluded
    return {
        "as_of": dataset.read.last.isoformat(),
        "version": __version__,
        "content": shown,
        **({"source_state": state} if state else {}),
        "source": dataset.source,
        "rows": dataset.daily.rows,
        "notes": note_list(dataset.notes, dataset.examples),
        **({"excluded": {"paths": paths, "visits": visits} | dates} if paths else {}),
        **({"left_out": left_out_summary(dataset.longest_left_out)} if dataset.longest_left_out else {}),
        "timings_s": dict(watch.seconds),
        "peak_memory_bytes": peak_bytes,
    }


def source_state(config: Config, now: datetime, as_of: date | None) -> str | None:
    """Return a digest of the files of the source and all else that a release depends on.

    It is ``None`` for a source whose state cannot be known without reading it.
    """
    today = as_of or today_in(config.zone, now)
    state = open_source(config.source, config.timezone, Span(today, today)).state
    notes = read_chart_notes(config.notes_file)
    read: tuple[object, ...] = (state, today, as_of, config.source, notes)
    if config.panels_dir:
        from reportgen.build.panels import panels_state  # only panels need it

        panels = panels_state(config, Span(today, today))
        state, read = (state and panels), (*read, panels, config.sources)
    return None if state is None else _digest(config, read)


def fingerprint(config: Config, dataset: Dataset) -> str:
    """Return a digest of all that a release shows, except the time of the build."""
    read = (dataset.windows, dataset.daily, dataset.since, dataset.cells, dataset.notes, dataset.site)
    listed = [
        (found.listed, found.changed_paths, found.path_count, found.excluded) for found in dataset.paths
    ]
    panels: object = ()
    if dataset.panels:
        from reportgen.build.panels import shown_panels  # only panels need it

        panels = shown_panels(dataset)
    return _digest(
        config,
        (read, dataset.notice, dataset.left_out, listed, dataset.annotations, panels),
        *(found.csv for found in dataset.paths),
    )


def _digest(config: Config, read: object, *files: bytes) -> str:
    """Return a digest of what was read, and of all else that a release shows."""
    shown = config.model_dump(exclude=NOT_SHOWN)
    digest = hashlib.sha256(repr((__version__, vega_bundle.name(), shown, read)).encode())
    digest.update(templates_digest(config.templates_dir).encode())
    for file in files:
        digest.update(hashlib.sha256(file).digest())
    return digest.hexdigest()


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
        ReportgenError: what :func:`build` raises, ``OutputBusy`` without ``wait``,
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

    ``warm`` is as in :func:`build`. The time limit of a ``warm`` process, of which a
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
