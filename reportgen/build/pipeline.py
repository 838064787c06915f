"""One build, top to bottom: gather, compare, compute, draw, render, prove, publish here and in a bucket."""

import hashlib
import os
from datetime import date, datetime
from pathlib import Path

from reportgen import __version__
from reportgen.charts import vega_bundle
from reportgen.config.settings import Config
from reportgen.core.errors import RenderError
from reportgen.core.processes import processors, run_in_child
from reportgen.core.timing import Stopwatch, peak_memory_bytes
from reportgen.metrics.dataset import Dataset, read_dataset
from reportgen.pages.exports import paths_csv
from reportgen.pages.templates import templates_digest
from reportgen.publish.history import BuildResult
from reportgen.publish.release import OutputLock, Release, current_release, is_whole, publish


def build(
    config: Config,
    lock: OutputLock,
    *,
    now: datetime,
    as_of: date | None = None,
    if_changed: bool = False,
    allow_empty: bool = False,
    watch: Stopwatch | None = None,
    warm: Path | None = None,
) -> BuildResult:
    """Build all pages and publish them as one release under the locked output, and in the bucket, if any.

    ``now`` (aware) is the build time; with ``as_of`` the report is as it would have been at the end
    of that day; with ``if_changed`` nothing is drawn or published where the current release already
    shows the same, unless the bucket lags behind it; with ``allow_empty`` a report without visits may
    follow one with some. ``warm`` is the directory that keeps the charts' script for many reports: this
    process makes others, too, so it draws where it is, and keeps what that takes.

    Raises:
        ConfigError: the sample site would take the place of a report.
        SourceError: the data could not be read, or are gone.
        RenderError: a chart or page could not be drawn.
        ProofError: the finished release is wrong in itself.
        PublishError: the release could not be written, or not into the bucket.

    """
    watch = watch or Stopwatch()
    with watch.stage("query"):
        dataset = read_dataset(config, now, as_of, paths_csv)
        shown = fingerprint(config, dataset)
    last = current_release(lock.root)
    if if_changed and last and last.manifest.get("content") == shown and is_whole(last):
        into_bucket(config, lock, last, watch, allow_newer=True)
        return _result(last, now, watch, peak_memory_bytes(), changed=False)
    from reportgen.build.verify import check_not_emptied, check_not_replaced, prove
    from reportgen.core.compression import packed  # what only a new release needs

    check_not_replaced(config, dataset, last)
    if not allow_empty:
        check_not_emptied(dataset, last, past=as_of is not None)
    live = interactive(warm or lock.root / "state", watch)
    vega = next(iter(live), None)
    files, held = drawn(config, dataset, now, as_of, vega, watch, warm=warm is not None)
    files |= live
    with watch.stage("pack"):
        files |= packed(files)
    with watch.stage("proof"):
        prove(files, windows=config.windows, max_page_mb=config.output.max_page_mb, own=config.templates_dir)
    with watch.stage("publish"):
        peak_bytes = max(held, peak_memory_bytes())
        about = _about(dataset, watch, shown, peak_bytes)
        release = publish(lock, files, about, built_at=now, keep=config.output.keep)
    # After the switch here: a bucket that is down holds nobody up, and what it lacks is on the disk.
    into_bucket(config, lock, release, watch)
    return _result(release, now, watch, peak_bytes, changed=True)


def drawn(
    config: Config,
    dataset: Dataset,
    now: datetime,
    as_of: date | None,
    vega: str | None,
    watch: Stopwatch,
    *,
    warm: bool = False,
) -> tuple[dict[str, bytes], int]:
    """Return every file of the release but the script ``vega``, and the most memory held, in bytes.

    Pandas and Altair work aside; V8 starts here meanwhile where there is a processor for it, and draws when
    they are gone. Where this process is ``warm`` all work here, and stay: that is cheap for many reports.

    Raises:
        RenderError: a chart or page could not be drawn.

    """
    from reportgen.charts import svg

    def work() -> tuple[svg.PageDraft, dict[str, float]]:
        own = Stopwatch()
        with own.stage("load"):
            os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads, which nothing here would use
            from reportgen.pages import report  # the heavy wing, only where there is something to draw
        return report.draft(config, dataset, now, as_of, vega, own), own.seconds

    watch.begin("charts")
    alone = processors() == 1
    (draft, seconds), held = (
        (work(), 0) if warm else run_in_child(work, (lambda: None) if alone else svg.start_v8)
    )
    for name, took in seconds.items():
        watch.add(name, took)
    with watch.stage("svg"):
        return {**svg.insert_svgs(draft), **dataset.files}, held


def _result(
    release: Release, now: datetime, watch: Stopwatch, peak_bytes: int, *, changed: bool
) -> BuildResult:
    """Return the result of this run, which may have found nothing to publish."""
    kept = ("as_of", "built_at", "source", "rows", "notes", "version")
    return BuildResult(
        "published" if changed else "unchanged",
        now,
        release=release.id,
        peak_memory_bytes=peak_bytes,
        timings_s=dict(watch.seconds),
        details={"path": str(release.path), **{name: release.manifest[name] for name in kept}},
    )


def interactive(folder: Path, watch: Stopwatch) -> dict[str, bytes]:
    """Return the script that brings charts to life, in each form, or nothing: then they stay as drawn."""
    try:
        return vega_bundle.load(folder)
    except RenderError as exc:
        watch.warn(f"{exc}. Charts are drawn, but not interactive")
        return {}


def into_bucket(
    config: Config, lock: OutputLock, release: Release, watch: Stopwatch, *, allow_newer: bool = False
) -> None:
    """Make a release of the locked output current in the bucket, if one is set.

    With ``allow_newer``, a newer release in the bucket stays, and that is not an error: for a release that an
    earlier build made.

    Raises:
        OutputBusy: another machine publishes there.
        PublishError: the release cannot be written there.

    """
    if config.output.bucket:
        from reportgen.publish.bucket.upload import upload_release  # what only a bucket needs

        upload_release(config, lock.root, release, watch, allow_newer=allow_newer)


def _about(dataset: Dataset, watch: Stopwatch, shown: str, peak_bytes: int) -> dict[str, object]:
    """Return what the manifest says of the build."""
    return {
        "as_of": dataset.read.last.isoformat(),
        "version": __version__,
        "content": shown,
        "source": dataset.source,
        "rows": dataset.daily.rows,
        "notes": [{"kind": kind, "rows": rows} for kind, rows in sorted(dataset.notes.items())],
        "timings_s": dict(watch.seconds),
        "peak_memory_bytes": peak_bytes,
    }


def fingerprint(config: Config, dataset: Dataset) -> str:
    """Return a digest of all that a release shows except when it was built."""
    shown = config.model_dump(exclude={"source", "output", "server"})
    read = (dataset.windows, dataset.daily, dataset.cells, dataset.notes, dataset.site, dataset.notice)
    listed = [(found.listed, found.changed_paths, found.path_count) for found in dataset.paths]
    digest = hashlib.sha256(repr((__version__, vega_bundle.name(), shown, read, listed)).encode())
    digest.update(templates_digest(config.templates_dir).encode())
    for found in dataset.paths:
        digest.update(hashlib.sha256(found.csv).digest())
    return digest.hexdigest()
