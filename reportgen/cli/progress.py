"""Shows the stages of a build and their times: a spinner on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import typer

from reportgen.core.timing import Stopwatch


@contextmanager
def progress(*, quiet: bool) -> Iterator[Stopwatch]:
    """Yield a stopwatch that prints each stage and its time on standard error, unless ``quiet``."""
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
