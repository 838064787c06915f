"""What the commands print: progress, results for people and for scripts, and errors without secrets."""

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reportgen.config.problems import cloud_secrets, url_secrets
from reportgen.core.errors import ReportgenError, mask_logins, scrub
from reportgen.core.processes import Stopwatch
from reportgen.publish.history import BuildResult

if TYPE_CHECKING:
    from reportgen.sources.base import Finding
    from reportgen.sources.log_import import ImportResult


@contextmanager
def reporting(*, as_json: bool) -> Iterator[list[str]]:
    """Print an error that is raised inside as one message without secrets, and exit with its code.

    Yields the list of secrets, to which the command adds those that it learns.
    """
    secrets = [*url_secrets(os.environ.get("DATABASE_URL", "")), *cloud_secrets(os.environ)]
    try:
        yield secrets
    except (typer.Exit, KeyboardInterrupt):
        raise
    except BrokenPipeError:  # what reads the output has ended, such as head
        raise typer.Exit(1) from None
    except Exception as exc:  # noqa: BLE001 - an unexpected error, too, is printed without secrets
        if os.environ.get("REPORTGEN_DEBUG") == "1":
            shown = scrub("".join(traceback.format_exception(exc)), secrets)
            typer.echo(mask_logins(shown).rstrip("\n"), err=True)
        # Our own messages were cleaned where foreign text entered; a secret may be a word of ours.
        failed = BuildResult.of_error(exc, () if isinstance(exc, ReportgenError) else secrets)
        if as_json:
            print_json(failed.document())
        else:
            for line in failed.message.splitlines():
                typer.echo(f"error: {line}", err=True)
        raise typer.Exit(failed.exit_code) from None


@contextmanager
def progress(*, quiet: bool) -> Iterator[Stopwatch]:
    """Yield a stopwatch that prints each stage and its time on standard error, unless ``quiet``.

    On a terminal, a spinner names the current stage.
    """
    terminal = not quiet and sys.stderr.isatty()
    with _spinner() if terminal else nullcontext() as spinner:

        def begin(name: str) -> None:
            if spinner is not None:
                spinner.update(name)

        def print_stage(name: str, seconds: float) -> None:
            line = f"{name:<8} {seconds:6.2f} s"
            if spinner is not None:
                spinner.console.print(line, highlight=False)
            elif not quiet:
                typer.echo(line, err=True)

        def warn(message: str) -> None:
            if not quiet:
                typer.echo(f"warning: {message}", err=True)

        yield Stopwatch(begin, print_stage, warn)


@contextmanager
def _spinner() -> Iterator[Any]:
    """Yield Rich's spinner, whose text is the current stage."""
    from rich.console import Console

    with Console(stderr=True).status("query") as status:
        yield status


def export_pages(outputs: Mapping[str, Path], target: Path, base_path: str, *, quiet: bool) -> None:
    """Write the current releases as plain files, and print their number.

    Raises:
        PublishError: they cannot be written.

    """
    from reportgen.publish.export import export_current

    count = export_current(outputs, target, base_path)
    if not quiet:
        typer.echo(f"exported to {target}: {count:,} files")


def print_result(result: BuildResult, root: Path) -> None:
    """Print the result of a successful build, for people."""
    if imported := result.details.get("imported"):
        typer.echo(f"imported: {_imported(imported)} added")
    if result.changed:
        seconds, rows = sum(result.timings_s.values()), result.details["rows"]
        typer.echo(f"published {result.release} to {root / 'current'}: {rows:,} rows, {seconds:.2f} s")
    else:
        typer.echo(f"unchanged since {result.release}: nothing published")
    if notes := result.details["notes"]:
        from reportgen.core.text import ENGLISH  # needs Babel
        from reportgen.metrics.dataset import note_sentences

        examples = {note["kind"]: note["example"] for note in notes if "example" in note}
        for sentence in note_sentences({note["kind"]: note["rows"] for note in notes}, ENGLISH, examples):
            typer.echo(f"left out: {sentence}")
    if excluded := result.details.get("excluded"):
        from reportgen.core.text import ENGLISH
        from reportgen.metrics.left_out import excluded_sentence

        counts = (excluded["paths"], excluded["visits"])
        # The manifest of an old release names no dates.
        dates = f" from {excluded['first']} to {excluded['last']}" if "first" in excluded else ""
        typer.echo(f"left out by your rules: {excluded_sentence(counts, ENGLISH)}{dates}")
    if summary := result.details.get("left_out"):
        from reportgen.core.text import ENGLISH
        from reportgen.metrics.left_out import left_out_sentence

        typer.echo(f"left out: {left_out_sentence(summary, ENGLISH)}")


def print_import(result: "ImportResult", *, as_json: bool, dry_run: bool) -> None:
    """Print what an import of logs counted."""
    from reportgen.core.text import ENGLISH
    from reportgen.metrics.left_out import REASON_WORDS, left_out_sentence, left_out_summary
    from reportgen.sources.spellings import row_example

    summary = left_out_summary(result.requests_left_out)
    if as_json:
        examples = [example._asdict() for example in result.examples]
        print_json({**result.counts, "left_out": summary, "examples": examples, "dry_run": dry_run})
        return
    would = "would be added" if dry_run else "added"
    typer.echo(f"{_imported(result.counts)} {would}")
    if text := left_out_sentence(summary, ENGLISH):
        typer.echo(f"left out: {text}")
    for file, line, reason, path in result.examples:
        shown_path = f": {row_example([path])}" if path else ""
        words = REASON_WORDS[reason].format(paths=ENGLISH.words.paths)
        typer.echo(f"example: {file}: line {line}, {words}{shown_path}")


def _imported(counts: Mapping[str, int]) -> str:
    """Return what an import counted: "12 new lines in 1 file: 1 visit"."""
    lines, files, visits = (
        f"{counts[name]:,} {word}{'' if counts[name] == 1 else 's'}"
        for name, word in (("lines", "new line"), ("files", "file"), ("visits", "visit"))
    )
    return f"{lines} in {files}: {visits}"


def print_findings(found: Mapping[str, "Sequence[Finding]"], *, as_json: bool) -> bool:
    """Print findings by the name of their site (empty for one site); return whether one is an error."""
    rows = [
        ({"site": site} if site else {}) | vars(finding) | {"message": mask_logins(finding.message)}
        for site, findings in found.items()
        for finding in findings
    ]
    if as_json:
        print_json(rows)
    for row in rows if not as_json else ():
        site = f"{row['site']}: " if "site" in row else ""
        typer.echo(f"{site}{row['level']:<8} {row['subject']:<7} {row['message']}")
    return any(row["level"] == "error" for row in rows)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def open_standard_streams() -> None:
    """Open standard input, output and error if they are closed, so that no other file gets their numbers."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
