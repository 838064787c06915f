"""Shows the stages of a build and their times: live on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from reportgen.build import Stopwatch


@contextmanager
def progress(*, quiet: bool) -> Iterator[Any]:
    """Show stages and their times: live on a terminal, plain lines elsewhere.

    Yields a function that makes the build's stopwatch, so that the first stage shown is the loading
    of the libraries.
    """
    start = time.perf_counter()
    terminal = not quiet and sys.stderr.isatty()
    with _spinner() if terminal else nullcontext() as spinner:

        def begin(name: str) -> None:
            if spinner is not None:
                spinner.update(name)

        def tell(name: str, seconds: float) -> None:
            line = f"{name:<8} {seconds:6.2f} s"
            if spinner is not None:
                spinner.console.print(line, highlight=False)
            elif not quiet:
                typer.echo(line, err=True)

        def warn(message: str) -> None:
            if not quiet:
                typer.echo(f"warning: {message}", err=True)

        def stopwatch() -> "Stopwatch":
            from reportgen.build import Stopwatch

            watch = Stopwatch(begin, tell, warn)
            watch.add("load", time.perf_counter() - start)
            return watch

        begin("load")
        yield stopwatch


@contextmanager
def _spinner() -> Iterator[Any]:
    from rich.console import Console

    with Console(stderr=True).status("load") as status:
        yield status
