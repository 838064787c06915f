"""``reportgen check``: whether these settings can give a report, one line for each thing a build needs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from reportgen.build.path_effects import read_path_effects
from reportgen.build.status import lost_source
from reportgen.config.chart_notes import read_chart_notes
from reportgen.config.settings import Config
from reportgen.core.errors import ConfigError, OutputBusy, PublishError, ReportgenError
from reportgen.core.path_rules import SCANNERS, PathRules
from reportgen.core.text import ENGLISH, LONGEST_NAME, shorten, visible
from reportgen.core.windows import EARLIEST, Span, look_back, make_window
from reportgen.metrics.dataset import make_windows, read_days, read_examples
from reportgen.metrics.left_out import excluded_sentence, left_out_sentence, left_out_summary
from reportgen.pages.templates import TEMPLATES
from reportgen.publish.release import current_release, lock_output
from reportgen.sources.base import Finding, Source
from reportgen.sources.registry import open_source
from reportgen.sources.statements import (
    MAX_INT64,
    DailyReading,
    read_bad_row,
    read_imported_left_out,
    read_newest_before,
    read_paths,
    setting_advice,
)

TOP_PATHS = 3
"""Number of paths that are shown."""
READ_PATHS = 100
"""Number of paths that are looked at for forms of one path."""


def check_settings(config: Config, today: date) -> Iterator[Finding]:
    """Yield a finding for each thing a build needs: source, table, index, rights, zone, output."""
    yield Finding("ok", "config", f"windows {', '.join(config.windows)}; default {config.default_window}")
    if config.templates_dir:
        yield _templates(config.templates_dir)
    yield from _notes(config)
    yield Finding("ok", "zone", f"{config.timezone}, where today is {today.isoformat()}")
    yield from check_source(config, today)
    if config.import_.logs:
        from reportgen.sources.log_import import check_logs, check_table  # they load DuckDB and psycopg

        for check in (check_logs, check_table):
            try:
                yield check(config)
            except ReportgenError as exc:
                yield Finding("error", "import", str(exc))
    yield from check_output(config)


def check_source(config: Config, today: date) -> Iterator[Finding]:
    """Yield what a build would read: source, table, index, rights, rows and paths."""
    try:
        yield from _source(config, today)
    except ReportgenError as exc:
        missing = re.search("no such (file|table)|relation .* does not exist", str(exc))
        first = ". If nothing was imported yet, run: reportgen import --create"
        yield Finding("error", "source", f"{exc}{first if config.import_.logs and missing else ''}")


def check_output(config: Config) -> Iterator[Finding]:
    """Yield whether releases can be published: into the output directory, and the bucket if one is set."""
    yield _output(config.output.dir)
    if config.output.bucket:
        yield from _bucket(config.output.bucket)


def _source(config: Config, today: date) -> Iterator[Finding]:
    if lost := lost_source(config, current_release(config.output.dir)):
        raise ConfigError(lost)
    windows = make_windows(config, today, today_complete=False)
    span, longest = look_back(windows), max(windows, key=lambda window: window.days).span
    with open_source(config.source, config.timezone, span, config.path_rules) as source:
        if "url" in config.source.model_fields_set:
            yield Finding("ok", "source", source.name)
        else:
            yield Finding(
                "warning", "source", "no source is set, so this is the sample site. Set DATABASE_URL"
            )
        yield Finding("ok", "table", source.contents)
        yield from source.inspect()
        daily, notes = read_days(source, span, include_future=True, thorough=True)
        dates = f"{span.first.isoformat()} to {span.last.isoformat()}, the dates a build reads"
        if daily.rows:
            first, last = min(daily.good_rows), max(daily.good_rows)
            yield Finding("ok", "rows", f"{daily.rows:,} rows from {first} to {last}, of {dates}")
            yield from _sample(source, daily, today)
            if config.path_rules:
                yield from _rules(source, config.path_rules, span)
        else:
            yield Finding(
                "warning", "rows", f"none on {dates}: the report will say that nothing was recorded"
            )
        examples = read_examples(source, span, notes)
        for kind, rows in notes.items():
            such = f", such as: {examples[kind]}" if kind in examples else ""
            row = read_bad_row(source, span, kind) if kind in {"invalid_date", "invalid_visits"} else None
            advice = row and setting_advice(source, kind, row)
            said = f"{rows:,} will be left out: {kind.replace('_', ' ')}{such}"
            yield Finding("warning", "rows", f"{said}. {advice}" if advice else said)
        left_out = source.read_left_out(longest)
        if config.import_.logs and (imported := read_imported_left_out(source, [longest])):
            left_out = imported[0]
        if requests := left_out_sentence(left_out_summary(left_out), ENGLISH):
            yield Finding("ok", "left out", f"from {longest.first} to {longest.last}: {requests}")
        yield from (Finding("warning", "left out", warning) for warning in source.warnings)
        if config.panels_dir:
            yield from _panels(config, source, today)
    if not daily.rows:
        yield from _older(config, span, notes)


def _panels(config: Config, source: Source, today: date) -> Iterator[Finding]:
    """Yield the first rows of each panel, or why a build cannot renew it."""
    from reportgen.build.panel_trial import try_panel  # only panels need them
    from reportgen.config.panels import read_panels

    for panel in read_panels(config):
        try:
            found = try_panel(config, panel, today, source=source).summary()
            yield Finding("ok", "panel", f"{panel.name}: {found}")
        except ReportgenError as exc:
            yield Finding("error", "panel", f"{exc}")


def _sample(source: Source, daily: DailyReading, today: date) -> Iterator[Finding]:
    """Yield what shows a person whether this is the right table: its newest rows and its top paths."""
    newest = max(daily.good_rows)
    week = make_window("7d", newest, today_complete=True)
    rows_of_week = sum(rows for day, rows in daily.good_rows.items() if day >= week.span.first)
    said = f"{newest}; from {week.span.first} on: {rows_of_week:,} rows, {daily.sum_over(week.span):,} visits"
    if newest > today - timedelta(days=7):
        yield Finding("ok", "newest", said)
    else:
        yield Finding("warning", "newest", f"{said}. Check that the table is still written")
    paths = read_paths(source, week, (), READ_PATHS, MAX_INT64)
    rows = list(paths.rows)
    top = ", ".join(
        f"{shorten(visible(row.path), LONGEST_NAME)} ({row.visits:,})" for row in rows[:TOP_PATHS]
    )
    said = f"{paths.path_count:,} from {week.span.first} to {newest}; most visits: {top or 'none'}"
    yield Finding("ok", "paths", said)
    if hint := _hint([row.path for row in rows]):
        yield Finding("ok", "paths", f"hint: {hint}: see [paths] in docs/paths.md")


def _hint(paths: Sequence[str]) -> str:
    """Return what a rule could merge or leave out among the paths with most visits; empty if nothing."""
    known, scanned = set(paths), PathRules(exclude=SCANNERS[1:])  # a site's own pages may end in .php
    for path in paths:
        shown = shorten(visible(path), LONGEST_NAME)
        if path and f"{path}/" in known:
            return f"{shown} and {shown}/ are counted apart"
        if re.search(r"[?&](fbclid|gclid|utm_[a-z]+)=", path):
            return f"{shown} is counted apart from the path without its query"
        if scanned.path_of(path) is None:
            return f"{shown} looks like a request of a scanner"
    return ""


def _rules(source: Source, rules: PathRules, span: Span) -> Iterator[Finding]:
    """Yield what path rules leave out, and which of them have no effect."""
    found, dates = read_path_effects(source, rules, span), f"{span.first} to {span.last}"
    excluding = [effect for effect in found.effects if effect.rule.startswith("exclude ")]
    counts = sum(effect.paths for effect in excluding), sum(effect.visits for effect in excluding)
    if excluded := excluded_sentence(counts, ENGLISH):
        yield Finding("ok", "left out", f"by your rules: {excluded} on {dates}")
    globs: dict[str, Sequence[str]] = {f"exclude {glob}": (glob,) for glob in rules.exclude}
    globs |= {f"rename {old} to {new}": (old,) for old, new in rules.renames}
    globs |= {f"section {name}": match for name, match in rules.sections}
    for rule in found.idle():
        if rule in globs:  # the other rules are also set in advance
            bare = next((glob for glob in globs[rule] if glob[0] not in "/*"), None)
            advice = f'Write "/{bare}": paths begin with "/"' if bare else "Correct it, or leave it out"
            yield Finding("warning", "paths", f"{visible(rule)}: without effect on {dates}. {advice}")
    every = [(name, glob) for name, match in rules.sections for glob in match]
    for at, (name, glob) in enumerate(every):
        if first := next((other for other, same in every[:at] if same == glob), None):
            said = (
                f"section {visible(name)}: paths of {visible(glob)} are in section {visible(first)} already"
            )
            yield Finding("warning", "paths", f"{said}. Leave one of the two globs out")


def _older(config: Config, span: Span, notes: Mapping[str, int]) -> Iterator[Finding]:
    """Yield why a source has no rows on the dates that a build reads."""
    # Opened again, because a build does not keep the older rows of a file.
    with open_source(config.source, config.timezone, Span(EARLIEST, span.last)) as source:
        source.read_all_spellings(thorough=True)
        newest = read_newest_before(source, span)
    if newest:
        said = f"{newest}, before all dates that a build reads. Name a newer table or file in [source], or"
        said += f" build a past report: reportgen build --as-of {newest}"
    elif notes["future_date"]:
        said = f"all dates are after today, {span.last}. Check the clock of what writes them, timezone and"
        said += " source.date_format"
    elif not notes:
        said = "no row with a date was found. Check [source] url, table and query"
    else:
        return  # the notes say what is wrong with the rows
    yield Finding("warning", "newest", said)


def _templates(folder: Path) -> Finding:
    found = {path.name for path in folder.iterdir()}
    overriding = ", ".join(name for name in TEMPLATES if name in found) or "nothing"
    idle = ", ".join(sorted(found - set(TEMPLATES)))
    said = f"{folder} overrides {overriding}"
    if not idle:
        return Finding("ok", "pages", said)
    return Finding("warning", "pages", f"{said}; not used unless a template names it: {idle}")


def _notes(config: Config) -> Iterator[Finding]:
    try:
        notes = read_chart_notes(config.notes_file)
    except ConfigError as exc:
        yield from (Finding("error", "notes", line) for line in str(exc).splitlines())
        return
    if notes:
        yield Finding("ok", "notes", f"{config.notes_file}: {len(notes):,}, the last of {notes[-1].date}")


def _output(root: Path) -> Finding:
    try:
        with lock_output(root, wait=False):
            pass
    except OutputBusy:
        return Finding("ok", "output", f"{root}: a build is running there now")
    except PublishError as exc:
        return Finding("error", "output", str(exc))
    release = current_release(root)
    return Finding(
        "ok", "output", f"{root}: {f'published: {release.id}' if release else 'nothing published yet'}"
    )


def _bucket(url: str) -> Iterator[Finding]:
    from reportgen.publish.bucket.client import find_ignored_conditions, open_bucket
    from reportgen.publish.bucket.layout import CURRENT, current_id

    try:
        bucket = open_bucket(url)
        release = current_id(bucket.read(CURRENT))
        bucket.list_folder("")
        ignored = find_ignored_conditions(bucket)
    except ReportgenError as exc:
        yield Finding("error", "bucket", str(exc))
        return
    if ignored:
        said = f"it ignores {' and '.join(ignored)}, so two machines could mix their reports"
        yield Finding("warning", "bucket", f"{url}: {said}")
        return
    said = f"published: {release}" if release else "nothing published yet"
    yield Finding("ok", "bucket", f"{url}: may be read, listed, written and deleted; {said}")
