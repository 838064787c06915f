"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

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
        help="Where to read: postgresql://…, sqlite:///…, duckdb:///…, a file, or sample.",
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
