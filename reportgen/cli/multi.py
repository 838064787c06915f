"""The commands for many sites: one line for each site, and one exit code for all."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import typer

from reportgen.build.pipeline import BuildOptions, day_of
from reportgen.build.status import STALE, panel_warning, status_of_all, wants_a_build
from reportgen.cli.output import export_pages, print_findings, print_json
from reportgen.config.sites import Sites
from reportgen.core.processes import processors
from reportgen.core.windows import today_in
from reportgen.publish.history import BuildResult, record
from reportgen.sites.runner import SitesRun, build_index, build_sites, from_bucket, open_cluster, open_pool


def build_all(
    sites: Sites,
    names: Sequence[str],
    options: Mapping[str, Any],
    *,
    due: bool,
    processes: int | None,
    executor: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Build the named sites, or all, or those of them that are due; return the exit code.

    ``options`` are those of one build, ``as_of`` as it was written. The sites are built on the cluster at the
    address ``executor``, or in ``processes`` on this machine, by default one for each processor.

    Raises:
        ConfigError: there is no such site, date or executor.
        ClusterError: the cluster cannot be reached.

    """
    chosen = sites.named(names)
    if (text := options["as_of"]) is not None:
        days = [day_of(text, site.config) for site in chosen]  # each has its own time zone
        options = {**options, "as_of": days[0]}
    if due:
        chosen = [site for site in chosen if wants_a_build(site.config, datetime.now(UTC))]
    count = max(1, min(processes or processors(), len(chosen)))
    with open_cluster(executor) if executor is not None else open_pool(count) as submit:
        show = partial(_print_site, quiet=quiet or as_json)
        ended = build_sites(sites, chosen, BuildOptions(**options), submit, show, whole=not names)
    if as_json:
        print_json(summary(ended, only_failed=quiet))
    elif not quiet and ended.index.succeeded:
        _print_index(sites)
    if not ended.index.succeeded:
        error, message = ended.index.error, ended.index.message
        typer.echo(f"error: the page over all sites: {error}: {message}", err=True)
    return ended.result.exit_code


def export_all(sites: Sites, target: Path, *, quiet: bool) -> None:
    """Write what all sites have published as plain files into the directory ``target``."""
    outputs = {"": sites.root, **{site.prefix: site.config.output.dir for site in sites.all}}
    export_pages(outputs, target, sites.common.base_path, quiet=quiet)


def _print_site(result: BuildResult, *, quiet: bool) -> None:
    """Print one line for a site that was built; ``quiet`` leaves out successes."""
    if not result.succeeded:
        if result.traceback:
            typer.echo(result.traceback, err=True)
        for line in result.message.splitlines() or [""]:
            typer.echo(f"error: {result.site}: {line}", err=True)
    elif not quiet:
        for each in result.details.get("panels", ()):
            typer.echo(f"warning: {result.site}: {panel_warning(each)}", err=True)
        rows = result.details.get("rows", 0)
        typer.echo(f"{result.site}: {result.state}, {rows:,} rows, {result.seconds:.2f} s")


def build_page(sites: Sites, *, as_json: bool, quiet: bool) -> int:
    """Publish only the page over all sites, record that, and return the exit code."""
    from_bucket(sites)
    result = build_index(sites)
    record(sites.root, result)
    if as_json:
        print_json(result.document())
    elif not result.succeeded:
        typer.echo(f"error: the page over all sites: {result.error}: {result.message}", err=True)
    elif not quiet:
        _print_index(sites)
    return result.exit_code


def _print_index(sites: Sites) -> None:
    typer.echo(f"{len(sites.all)} sites on one page: {sites.root / 'current'}")


def summary(ended: SitesRun, *, only_failed: bool = False) -> dict[str, Any]:
    """Return a run as ``--json`` prints it."""
    result = ended.result
    return {
        "status": result.state if result.succeeded else "failed",
        "release": ended.index.release or None,
        "error": result.error if result.state == "failed" else None,
        "message": result.message,
        "exit_code": result.exit_code,
        "retry": result.retry,
        "sites": [_of_site(each) for each in ended.results if not only_failed or not each.succeeded],
    }


def _of_site(result: BuildResult) -> dict[str, Any]:
    document = result.document()
    document.pop("exit_code", None)
    measured = {"seconds": result.seconds, "cpu_seconds": result.cpu_seconds}
    return {"name": result.site} | document | measured | {"status": result.state}


def check_all(sites: Sites, names: Sequence[str], *, as_json: bool) -> int:
    """Check the named sites, or all sites and the output of the page over them; return the exit code.

    Raises:
        ConfigError: there is no such site.

    """
    from reportgen.build.preflight import check_output, check_settings

    now = datetime.now(UTC)
    found = {"": list(check_output(sites.common))} if not names else {}
    found |= {
        site.name: list(check_settings(site.config, today_in(site.config.zone, now)))
        for site in sites.named(names)
    }
    return int(print_findings(found, as_json=as_json))


def print_paths_of_sites(sites: Sites, names: Sequence[str], *, as_json: bool) -> None:
    """Print what the path rules of the named sites, or of all, do.

    Raises:
        ConfigError: there is no such site.

    """
    from reportgen.build.path_effects import path_effects

    now = datetime.now(UTC)
    found = {
        site.name: path_effects(site.config, today_in(site.config.zone, now)) for site in sites.named(names)
    }
    if as_json:
        print_json([{"site": name} | effects.document() for name, effects in found.items()])
        return
    for name, effects in found.items():
        typer.echo("\n".join(f"{name}: {line}" for line in effects.lines()))


def print_status_of_sites(sites: Sites, names: Sequence[str], *, as_json: bool) -> int:
    """Print the status of the named sites, or of all; return the exit code.

    Raises:
        ConfigError: there is no such site.

    """
    document = status_of_all(sites, sites.named(names), datetime.now(UTC))
    if as_json:
        print_json(document)
    for one in document["sites"] if not as_json else ():
        success, failure = one["last_success"], one["last_failure"]
        parts = [f"last success {success['at']}" if success else "never built"]
        if one["consecutive_failures"]:
            parts.append(f"failed since: {failure['message']}")
        if one["next_due"]:
            parts.append(f"next due {one['next_due']}")
        typer.echo(f"{one['name']}: {'STALE' if one['stale'] else 'fresh'}, {', '.join(parts)}")
    return STALE if document["stale"] else 0
