"""The commands. Only this package prints errors and exits.

A command imports pandas, Altair and database drivers when it runs: they take most of the start-up time.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from reportgen import __version__
from reportgen.cli.output import (
    export_pages,
    open_standard_streams,
    print_findings,
    print_import,
    print_json,
    print_result,
    progress,
    reporting,
)
from reportgen.config.settings import Config, config_from_options
from reportgen.config.sites import Sites, load_settings
from reportgen.core.errors import ConfigError, mask_logins
from reportgen.core.processes import processors
from reportgen.core.windows import today_in
from reportgen.publish.history import BuildResult, read_runs

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings file. Default: reportgen.toml in the working directory."
    ),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="URL",
        help="Where to read: postgresql://…, sqlite:///…, duckdb:///…, a file, access logs, or sample.",
    ),
]
OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="DIR", help="Directory of the releases. Default: output.")
]
SiteOption = Annotated[
    list[str] | None, typer.Option("--site", metavar="NAME", help="Only this one of many sites. Repeatable.")
]
ProcessesOption = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Number of sites built at once. Default: one per processor."),
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Dask cluster that builds many sites: dask://scheduler:8786."),
]
OnlyOption = Annotated[
    Literal["site", "page"] | None,
    typer.Option(
        help="With many sites: build the one --site without the page over all sites, or only that page."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]

SAMPLE_NOTE = "note: no source is set, so this is the sample site; set DATABASE_URL"
DEMO_PANELS = Path(__file__).parents[1] / "sample/panels"
"""The panels of the sample site: two of examples/panels."""

app = typer.Typer(
    name="reportgen",
    help="Build static reports from a table metrics(date, path, visits).",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    *,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"reportgen {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(ConfigError.exit_code)


@app.command()
def build(  # noqa: PLR0913 - a command's options are its arguments
    *,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Build the report as it was at the end of this day (2026-11-23)."),
    ] = None,
    source: SourceOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    if_changed: Annotated[
        bool,
        typer.Option("--if-changed", help="Publish only if the report differs from the current release."),
    ] = False,
    allow_empty: Annotated[
        bool,
        typer.Option(
            "--allow-empty", help="Publish a report without visits even if the last release had some."
        ),
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="If another build is running, exit with 3 instead of waiting.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also write the pages as plain files, for a host of static files."),
    ] = None,
    site: SiteOption = None,
    due: Annotated[bool, typer.Option("--due", help="Build only the sites whose schedule is due.")] = False,
    only: OnlyOption = None,
    processes: ProcessesOption = None,
    executor: ExecutorOption = None,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
) -> None:
    """Build the report once and publish it. With many sites: build each of them, and the page over all."""
    with reporting(as_json=as_json) as secrets:
        settings = _settings(config, source, output)
        secrets.extend(settings.secrets)
        options = {"if_changed": if_changed, "allow_empty": allow_empty, "wait": not no_wait}
        _check_export(export, settings)
        if isinstance(settings, Sites) and only:
            given = {"due": due, "executor": executor, "processes": processes, "export": export}
            _check_only(only, **given, **({"site": site, "as-of": as_of} if only == "page" else {}))
        if isinstance(settings, Sites) and only == "site":
            settings = _one_site("--only site", settings, site)
        elif isinstance(settings, Sites):
            from reportgen.cli import multi

            if only == "page":
                raise typer.Exit(multi.build_page(settings, as_json=as_json, quiet=quiet))
            exit_code = multi.build_all(
                settings, site or [], {**options, "as_of": as_of},
                due=due, processes=processes, executor=executor, as_json=as_json, quiet=quiet,
            )  # fmt: skip
            if export:
                multi.export_all(settings, export, quiet=quiet or as_json)
            raise typer.Exit(exit_code)
        else:
            _check_one_site(site=site, due=due, only=only, processes=processes, executor=executor)
        built = _build(settings, as_of=as_of, quiet=quiet or as_json, **options)
        if export:
            export_pages({"": settings.output.dir}, export, settings.base_path, quiet=quiet or as_json)
        if as_json:
            print_json(built.document())
        elif not quiet:
            print_result(built, settings.output.dir)
            if "url" not in settings.source.model_fields_set:
                typer.echo(SAMPLE_NOTE, err=True)


@app.command()
def check(
    *,
    source: SourceOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the settings, source, table, rights, time zone and output, and say what to do."""
    with reporting(as_json=as_json) as secrets:
        settings = _settings(config, source, output)
        secrets.extend(settings.secrets)
        if isinstance(settings, Sites):
            from reportgen.cli import multi

            raise typer.Exit(multi.check_all(settings, site or [], as_json=as_json))
        _check_one_site(site=site)
        from reportgen.build.preflight import check_settings

        findings = list(check_settings(settings, today_in(settings.zone, datetime.now(UTC))))
        if print_findings({"": findings}, as_json=as_json):
            raise typer.Exit(1)


@app.command()
def paths(
    *,
    source: SourceOption = None,
    config: ConfigOption = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each path rule does: stored paths, visits, and an example, most visits first."""
    with reporting(as_json=as_json) as secrets:
        settings = _settings(config, source, None)
        secrets.extend(settings.secrets)
        if isinstance(settings, Sites):
            from reportgen.cli import multi

            multi.print_paths_of_sites(settings, site or [], as_json=as_json)
            return
        _check_one_site(site=site)
        from reportgen.build.path_effects import path_effects

        found = path_effects(settings, today_in(settings.zone, datetime.now(UTC)))
        if as_json:
            print_json(found.document())
        else:
            typer.echo("\n".join(found.lines()))


@app.command()
def panel(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The panel: a Markdown file.")],
    *,
    window: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The window, such as 30d. Default: the panel's first."),
    ] = None,
    source: SourceOption = None,
    config: ConfigOption = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one panel and show its first rows, or what is wrong with it: for writing one."""
    with reporting(as_json=as_json) as secrets:
        settings = _settings(config, source, None)
        secrets.extend(settings.secrets)
        if isinstance(settings, Sites):
            settings = _one_site("panel", settings, site)
        else:
            _check_one_site(site=site)
        from reportgen.build.panel_trial import try_panel
        from reportgen.config.panels import read_panel_file

        if not file.exists():
            raise ConfigError(f"{file}: no such file. Name an existing one.")
        today = today_in(settings.zone, datetime.now(UTC))
        found = try_panel(settings, read_panel_file(file, settings), today, window)
        if "url" not in settings.source.model_fields_set:
            typer.echo(SAMPLE_NOTE, err=True)
        if as_json:
            print_json(found.document())
        else:
            typer.echo("\n".join(found.lines()))


@app.command()
def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: the setting server.host.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = None,
    schedule: Annotated[
        bool,
        typer.Option(" /--no-schedule", show_default=False, help="Serve the pages, and start no builds."),
    ] = True,
    processes: ProcessesOption = None,
    source: SourceOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Build on schedule, and serve the published pages."""
    with reporting(as_json=False) as secrets:
        given = {"host": host, "port": port}
        server = {name: value for name, value in given.items() if value is not None}
        settings = _settings(config, source, output, server=server)
        secrets.extend(settings.secrets)
        common = settings.common if isinstance(settings, Sites) else settings
        # The output directory as it is now: builds must go to the served directory even if the file changes.
        options = {"--config": config, "--source": source, "--output": common.output.dir}
        arguments = [
            text for name, value in options.items() if value is not None for text in (name, str(value))
        ]
        if isinstance(settings, Sites):
            from reportgen.serve.multi import serve_sites

            count = processes or processors()
            raise typer.Exit(
                serve_sites(settings, arguments, os.environ, scheduled=schedule, processes=count)
            )
        _check_one_site(processes=processes)
        from reportgen.serve.single import serve_site

        raise typer.Exit(serve_site(settings, arguments, os.environ, scheduled=schedule))


@app.command()
def status(
    *,
    output: OutputOption = None,
    config: ConfigOption = None,
    site: SiteOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last build, the last failure and when the next build is due. Exit with 4 if it is overdue."""
    with reporting(as_json=as_json):
        settings = _settings(config, None, output)
        if isinstance(settings, Sites):
            from reportgen.cli import multi

            raise typer.Exit(multi.print_status_of_sites(settings, site or [], as_json=as_json))
        _check_one_site(site=site)
        from reportgen.build.status import STALE, site_status, status_lines

        document = site_status(settings, read_runs(settings.output.dir), datetime.now(UTC))
        if as_json:
            print_json(document)
        else:
            for line in status_lines(document):
                typer.echo(line)
        if document["stale"]:
            raise typer.Exit(STALE)


@app.command(name="import")
def import_command(
    logs: Annotated[
        list[str] | None,
        typer.Argument(metavar="LOG...", help="Access logs; patterns too. Default: the setting import.logs."),
    ] = None,
    *,
    into: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Database of the table: postgresql://… or sqlite:///…."),
    ] = None,
    create: Annotated[bool, typer.Option("--create", help="Create the tables that are missing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and write nothing.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add the visits in access logs to a table. Each line is counted once, also if a log was rotated."""
    with reporting(as_json=as_json) as secrets:
        given = {"logs": logs, "into": into, "create": create or None}
        options = {name: value for name, value in given.items() if value is not None}
        settings = load_settings(config, os.environ, {"import": options} if options else {})
        secrets.extend(settings.secrets)
        if isinstance(settings, Sites):
            raise ConfigError(
                "import: the settings have [[sites]]. Name a file with the settings of one site."
            )
        from reportgen.sources.log_import import import_logs

        wanted = settings.import_
        result = import_logs(settings, wanted.logs, wanted.into, create=wanted.create, dry_run=dry_run)
        print_import(result, as_json=as_json, dry_run=dry_run)


@app.command()
def note(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What happened, in quotes.")],
    more: Annotated[list[str] | None, typer.Argument(hidden=True, metavar="")] = None,
    *,
    date: Annotated[
        str | None, typer.Option(metavar="DATE", help="When (2026-11-20). Default: today in the site's zone.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="The last date, if it was more than one.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="PATH", help="The path of the site that it is about: /about.")
    ] = None,
    link: Annotated[str | None, typer.Option(metavar="URL", help="Where to read more.")] = None,
    site: Annotated[
        list[str] | None, typer.Option("--site", metavar="NAME", help="Which one of many sites. Only once.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Add a note on the charts to notes.toml."""
    with reporting(as_json=False):
        from reportgen.core.text import visible

        if more:
            whole = visible(" ".join([text, *more]))
            raise ConfigError(f'note: more than one text. Put it in quotes: "{whole}".')
        settings = _settings(config, None, None)
        if isinstance(settings, Sites):
            settings = _one_site("note", settings, site)
        else:
            _check_one_site(site=site)
        from reportgen.config.chart_notes import append_note, new_note
        from reportgen.core.cron import next_due
        from reportgen.metrics.dataset import make_windows

        now = datetime.now(UTC)
        today = today_in(settings.zone, now)
        added = new_note({"date": date or today, "until": until, "path": path, "link": link, "text": text})
        file = settings.notes_file or Path("notes.toml")
        append_note(file, added)
        dates = f"{added.date} to {added.until}" if added.until else f"{added.date}"
        typer.echo(f"{file}: {dates}: {visible(added.text)}")
        windows = make_windows(settings, today, today_complete=False)
        shown = ", ".join(window.name for window in windows if window.span.meets(added.span))
        due = next_due(settings.schedule, settings.zone, now, settings.jitter_s)
        at = f", by the schedule at {due.at:%Y-%m-%d %H:%M} ({due.at.tzname()})" if due else ""
        typer.echo(
            f"From the next build on{at}, it is shown in: {shown}"
            if shown
            else "No window shows this date today"
        )


@app.command()
def init(
    *,
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take what fits best.")] = False,
    only_print: Annotated[
        bool, typer.Option("--print", help="Print the settings, and write and build nothing.")
    ] = False,
) -> None:
    """Find visits on this machine, write settings for them, and build the first report."""
    with reporting(as_json=False) as secrets:
        from reportgen.cli.init import write_settings

        if write_settings(config, yes=yes, only_print=only_print):
            settings = _settings(config, None, None)
            secrets.extend(settings.secrets)
            if isinstance(settings, Config):
                print_result(_build(settings), settings.output.dir)
                typer.echo("reportgen serve shows it on http://127.0.0.1:8080, and builds it by schedule")


@app.command()
def demo(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8080,
    output: OutputOption = "output",
    serve: Annotated[bool, typer.Option(help="Serve the pages, or only build them.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Build the sample site and serve it."""
    with reporting(as_json=as_json):
        panels = {"panels_dir": DEMO_PANELS}
        settings = config_from_options(_options("sample", output, {"host": host, "port": port}) | panels)
        listening = None
        if serve:
            from reportgen.serve.server import address_of, check_exposure, listen

            check_exposure(host, None, public=False)
            listening = listen(host, port)
        built = _build(settings, quiet=as_json)
        address = address_of(listening) if listening else None
        if as_json:
            print_json(built.document() | {"address": address})
        else:
            print_result(built, settings.output.dir)
        if listening:
            if not as_json:
                typer.echo(f"The sample site is on {address} (Ctrl-C ends it)")
            from reportgen.serve.single import serve_published

            raise typer.Exit(serve_published(settings, listening))


def main() -> NoReturn:
    """Run the command line and raise ``SystemExit`` with the exit code that docs/reference.md lists."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.TyperException as exc:  # a wrong option or argument
        typer.echo(f"error: {mask_logins(_usage(exc)).rstrip('.?')}. See reportgen --help", err=True)
        sys.exit(ConfigError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def command() -> NoReturn:
    """Run the command line as a process, and end it without the interpreter's clean-up.

    Freeing V8 and pandas would take a tenth of a build's time.
    """
    open_standard_streams()
    # A parent that ignores SIGCHLD passes this on; then the exit status of a child process would be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 1
    try:
        main()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else int(exc.code is not None)
        if isinstance(exc.code, str):
            typer.echo(exc.code, err=True)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # the reader has closed the pipe
        status = status or 1
    os._exit(status)


def _usage(exc: typer.TyperException) -> str:
    """Return the message of a wrong option or argument."""
    format_message = getattr(exc, "format_message", None)
    return format_message() if format_message else str(exc)


def _settings(
    config: Path | None, source: str | None, output: str | None, server: Mapping[str, Any] | None = None
) -> Config | Sites:
    """Return the settings of the file ``config``, the environment and the given options."""
    return load_settings(config, os.environ, _options(source, output, server))


def _options(
    source: str | None, output: str | None, server: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the options that are given, nested like the settings file."""
    options: dict[str, Any] = {"server": server} if server else {}
    if source is not None:
        options["source"] = {"url": source}
    if output is not None:
        options["output"] = {"dir": output}
    return options


def _check_one_site(**given: object) -> None:
    """Check that options for many sites are not used with settings of a single site."""
    for name, value in given.items():
        if value:
            raise ConfigError(
                f"--{name} is for many sites, and the settings have no [[sites]]. Leave it out."
            )


def _check_export(target: Path | None, settings: Config | Sites) -> None:
    """Check where the pages are to be exported, before they are built."""
    if target:
        from reportgen.publish.export import check_target

        check_target(target, settings.root if isinstance(settings, Sites) else settings.output.dir)


def _check_only(only: str, **given: object) -> None:
    """Check that options without a meaning for one site, or for the page over all, are not used."""
    if names := [f"--{name}" for name, value in given.items() if value]:
        raise ConfigError(f"--only {only} does not use {', '.join(names)}. Leave it out.")


def _one_site(what: str, sites: Sites, names: Sequence[str] | None) -> Config:
    """Return the settings of the one named site, which ``what`` needs."""
    if len(names or []) != 1:
        raise ConfigError(f"{what} needs the name of one site. Add --site NAME, once.")
    return sites.named(names or [])[0].config


def _build(
    settings: Config,
    *,
    as_of: str | None = None,
    quiet: bool = False,
    **options: Any,
) -> BuildResult:
    """Build in this process, and show the progress."""
    from reportgen.build.pipeline import BuildOptions, day_of, run_build

    on_wait = (
        (lambda _: None)
        if quiet
        else lambda holder: typer.echo(f"waiting for another build ({holder})", err=True)
    )
    day = day_of(as_of, settings) if as_of is not None else None
    return run_build(settings, BuildOptions(day, **options), on_wait=on_wait, watching=progress(quiet=quiet))
