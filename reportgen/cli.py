"""The commands. The only room that prints errors and exits.

What a command needs of the heavy wing (pandas, Altair, drivers) it imports when it runs.
"""

import os
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from reportgen import __version__
from reportgen.config import Config, load_config
from reportgen.console import open_standard_streams, print_built, print_json, reporting, summary
from reportgen.errors import ConfigError, mask_logins
from reportgen.progress import progress
from reportgen.publish import lock_output
from reportgen.runs import give_up_after, read_runs, recorded
from reportgen.windows import EARLIEST, today_in

if TYPE_CHECKING:
    from reportgen.build import Built

STALE = 4
"""The exit code of a report that is overdue."""

app = typer.Typer(
    name="reportgen",
    help="Static reports from a table metrics(date, path, visits).",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings; default: reportgen.toml here, if any."),
]
SourceOption = Annotated[
    str | None,
    typer.Option("--source", metavar="URL", help="postgresql://…, sqlite:///…, duckdb:///…, a file, sample."),
]
OutputOption = Annotated[
    str | None, typer.Option("--output", metavar="DIR", help="Where releases go; default: output.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]


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
        typer.Option(metavar="DATE", help="Build the report as at the end of this day (2026-11-23)."),
    ] = None,
    source: SourceOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Publish only if the report would say something else.")
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Publish no visits where the last release had some.")
    ] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Exit with 3 if another build is running, instead of waiting.")
    ] = False,
    as_json: JsonOption = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Build the report once and publish it."""
    with reporting(as_json=as_json) as secrets:
        settings = _settings(config, source, output)
        secrets.extend(settings.secrets)
        built = _build(
            settings, as_of=as_of, if_changed=if_changed, allow_empty=allow_empty, wait=not no_wait,
            quiet=quiet or as_json,
        )  # fmt: skip
        if as_json:
            print_json(summary(built))
        elif not quiet:
            print_built(built, settings.output.dir)
            if "url" not in settings.source.model_fields_set:
                typer.echo("note: no source is set, so this is the sample site; set DATABASE_URL", err=True)


@app.command()
def check(
    *,
    source: SourceOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check settings, source, table, rights, zone and output, and say what to do."""
    with reporting(as_json=as_json) as secrets:
        settings = _settings(config, source, output)
        secrets.extend(settings.secrets)
        from reportgen.check import check as findings_of

        findings = list(findings_of(settings, today_in(settings.zone, datetime.now(UTC))))
        if as_json:
            print_json([vars(finding) | {"message": mask_logins(finding.message)} for finding in findings])
        else:
            for finding in findings:
                typer.echo(f"{finding.level:<8} {finding.subject:<7} {mask_logins(finding.message)}")
        if any(finding.level == "error" for finding in findings):
            raise typer.Exit(1)


@app.command()
def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: server.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = None,
    schedule: Annotated[
        bool, typer.Option(" /--no-schedule", help="Serve only; whoever else builds, builds.")
    ] = True,
    source: SourceOption = None,
    output: OutputOption = None,
    config: ConfigOption = None,
) -> None:
    """Build by schedule, and serve what is published."""
    with reporting(as_json=False) as secrets:
        given = {"host": host, "port": port}
        server = {name: value for name, value in given.items() if value is not None}
        settings = _settings(config, source, output, server=server)
        secrets.extend(settings.secrets)
        from reportgen.service import serve as run

        # The output as it is resolved now: whatever becomes of the file, builds go where this serves from.
        options = {"--config": config, "--source": source, "--output": settings.output.dir}
        arguments = [
            text for name, value in options.items() if value is not None for text in (name, str(value))
        ]
        raise typer.Exit(run(settings, arguments, os.environ, scheduled=schedule))


@app.command()
def status(*, output: OutputOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the last build, the last failure and when the next is due; exit with 4 when it is overdue."""
    with reporting(as_json=as_json):
        settings = _settings(config, None, output)
        from reportgen.status import in_words
        from reportgen.status import status as status_of

        document = status_of(settings, read_runs(settings.output.dir), datetime.now(UTC))
        if as_json:
            print_json(document)
        else:
            for line in in_words(document):
                typer.echo(line)
        if document["stale"]:
            raise typer.Exit(STALE)


@app.command()
def demo(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    output: OutputOption = "output",
    serve: Annotated[bool, typer.Option(help="Serve the pages, or only build them.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Build the sample site and serve it."""
    with reporting(as_json=as_json):
        given = {"url": "sample"}, {"dir": output}, {"host": host, "port": port}
        settings = Config.model_validate(dict(zip(("source", "output", "server"), given, strict=True)))
        listening = None
        if serve:
            from reportgen.serve import address_of, check_exposure, listen

            check_exposure(host, None, public=False)
            listening = listen(host, port)
        built = _build(settings, quiet=as_json)
        address = address_of(listening) if listening else None
        if as_json:
            print_json(summary(built) | {"address": address})
        else:
            print_built(built, settings.output.dir)
        if listening:
            if not as_json:
                typer.echo(f"The sample site is on {address} (Ctrl-C ends it)")
            from reportgen.service import show

            raise typer.Exit(show(settings, listening))


def main() -> NoReturn:
    """Run the command line and raise ``SystemExit`` with the code that docs/reference.md gives."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except typer.TyperException as exc:  # a wrong option or argument
        typer.echo(f"error: {mask_logins(_usage(exc)).rstrip('.')}. See reportgen --help", err=True)
        sys.exit(ConfigError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)


def command() -> NoReturn:
    """Be the command, and end at once: to take V8 and pandas apart takes a tenth of a build, for nothing."""
    open_standard_streams()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it, and starts us, hides how our builds end
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
    except OSError:  # nobody reads any more
        status = status or 1
    os._exit(status)


def _usage(exc: typer.TyperException) -> str:
    tell = getattr(exc, "format_message", None)
    return tell() if tell else str(exc)


def _settings(
    config: Path | None, source: str | None, output: str | None, server: Mapping[str, Any] | None = None
) -> Config:
    options: dict[str, Any] = {"server": server} if server else {}
    if source is not None:
        options["source"] = {"url": source}
    if output is not None:
        options["output"] = {"dir": output}
    return load_config(config, os.environ, options)


def _build(
    settings: Config,
    *,
    as_of: str | None = None,
    if_changed: bool = False,
    allow_empty: bool = False,
    wait: bool = True,
    quiet: bool = False,
) -> "Built":
    """Wait for the output, then build: the time of the build is when its turn has come."""
    day = _day(as_of, settings) if as_of is not None else None
    told = (
        (lambda _: None) if quiet else lambda who: typer.echo(f"waiting for another build ({who})", err=True)
    )
    with (
        recorded(settings.output.dir) as record,
        lock_output(settings.output.dir, wait=wait, on_wait=told) as lock,
        progress(quiet=quiet) as watch,
    ):
        from reportgen.build import build as run

        now = datetime.now(UTC)
        give_up_after(settings.build_timeout_s, settings.output.dir)
        built = run(
            settings, lock, now=now, as_of=day, if_changed=if_changed, allow_empty=allow_empty, watch=watch
        )
        if day is None:  # the report of a past day is no news of this one
            peak_bytes = built.peak_memory_bytes
            record(now, built.release.id, dict(watch.seconds), peak_bytes, changed=built.changed)
        return built


def _day(text: str, settings: Config) -> date:
    try:
        day = date.fromisoformat(text if len(text) == len("2026-11-23") else "")
    except ValueError:
        raise ConfigError(f'--as-of: "{text}" is no date; write it as 2026-11-23') from None
    today = today_in(settings.zone, datetime.now(UTC))
    if day > today:
        raise ConfigError(f"--as-of: {day} is in the future; today is {today} in {settings.timezone}")
    if day < EARLIEST:
        raise ConfigError(f"--as-of: {day} is too long ago; the first date is {EARLIEST}")
    return day
