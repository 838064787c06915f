"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
SiteOption = Annotated[
    list[str] | None, typer.Option("--site", metavar="NAME", help="Of many sites, this one; repeatable.")
]
ProcessesOption = Annotated[
    int | None, typer.Option(min=1, max=1024, help="For many sites; default: one a processor.")
]
ExecutorOption = Annotated[
    str | None, typer.Option(metavar="URL", help="For many sites: a Dask cluster, dask://scheduler:8786.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]
