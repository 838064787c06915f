"""What commands print: results, for people and for scripts, and errors without secrets."""

import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from reportgen.config.problems import url_secrets
from reportgen.core.errors import ReportgenError, mask_logins, scrub
from reportgen.publish.bucket.errors import cloud_secrets

if TYPE_CHECKING:
    from reportgen.build.pipeline import Built
    from reportgen.sources.base import Finding


@contextmanager
def reporting(*, as_json: bool) -> Iterator[list[str]]:
    """Print what goes wrong as one message without secrets, and exit with its code.

    Yields the list of secrets, for the command to add what it learns.
    """
    secrets = [*url_secrets(os.environ.get("DATABASE_URL", "")), *cloud_secrets(os.environ)]
    try:
        yield secrets
    except (typer.Exit, KeyboardInterrupt):
        raise
    except Exception as exc:  # noqa: BLE001 - a bug, too, ends without traceback and secret
        code = exc.exit_code if isinstance(exc, ReportgenError) else 1
        if os.environ.get("REPORTGEN_DEBUG") == "1":
            shown = scrub("".join(traceback.format_exception(exc)), secrets)
            typer.echo(mask_logins(shown).rstrip("\n"), err=True)
        # Our own messages were cleaned where foreign text entered; a bug's may hold anything.
        message = str(exc) if isinstance(exc, ReportgenError) else scrub(str(exc), secrets)
        _tell(exc, mask_logins(message), code, as_json=as_json)
        raise typer.Exit(code) from None


def _tell(exc: Exception, message: str, code: int, *, as_json: bool) -> None:
    if not isinstance(exc, ReportgenError):
        message = (
            f"unexpected {type(exc).__name__}: {message}. REPORTGEN_DEBUG=1 shows where; please report it"
        )
    if as_json:
        failed = {"status": "failed", "error": type(exc).__name__, "message": message, "exit_code": code}
        print_json(failed | {"retry": isinstance(exc, ReportgenError) and exc.retry})
    else:
        for line in message.splitlines():
            typer.echo(f"error: {line}", err=True)


def print_built(built: "Built", root: Path) -> None:
    """Print what a build came to, for people."""
    manifest = built.release.manifest
    if built.changed:
        seconds = sum(built.timings_s.values())
        typer.echo(
            f"published {built.release.id} to {root / 'current'}: {manifest['rows']:,} rows, {seconds:.2f} s"
        )
    else:
        typer.echo(f"unchanged since {built.release.id}: nothing published")
    if manifest["notes"]:
        from reportgen.core.formatting import ENGLISH
        from reportgen.metrics.data_quality import note_sentences  # words come with Babel

        for sentence in note_sentences({note["kind"]: note["rows"] for note in manifest["notes"]}, ENGLISH):
            typer.echo(f"left out: {sentence}")


def print_findings(found: Mapping[str, "Sequence[Finding]"], *, as_json: bool) -> bool:
    """Print findings by name of site (empty where there is only one); tell whether one is an error."""
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
    """Open what is closed of standard input, output and error, so that no other file takes its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
