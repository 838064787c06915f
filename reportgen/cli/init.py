"""``reportgen init``: from what is on this machine to settings, and to a first report."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import typer

from reportgen.build.discovery import LOGS, find_sources
from reportgen.build.preflight import check_source
from reportgen.build.visit_tables import FoundSource
from reportgen.cli.output import print_findings
from reportgen.config.problems import url_secrets
from reportgen.config.settings import DEFAULT_FILE, Config, config_from_options
from reportgen.core.errors import ConfigError, mask_logins
from reportgen.core.text import visible
from reportgen.core.windows import today_in

SHOWN = 9
"""Maximum number of sources that are offered."""
NOWHERE = (
    "DATABASE_URL is not set, no database, CSV or Parquet file here has a date and a path, and there is no "
    f"log such as {LOGS[0]}"
)
ONLY_URL = "DATABASE_URL is set, so only its source is looked at. Unset it to look for files and logs"
KEPT_OUT = (
    "the URL has a password, so the file does not hold it. Each command needs it in the environment variable "
    "DATABASE_URL."
)
HEAD = "# Written by reportgen init. docs/reference.md has all settings."


def write_settings(file: Path | None, *, yes: bool, only_print: bool) -> Config | None:
    """Find a source, try it, and write settings that read it; return them, or ``None`` if they are printed.

    With ``yes`` nothing is asked: the best source is taken.

    Raises:
        ConfigError: the file exists, or there is nothing that looks like visits.

    """
    target = file or DEFAULT_FILE
    if target.exists() and not only_print:
        raise ConfigError(
            f"{target}: exists, and is not overwritten. Edit it, or name another with --config."
        )
    if not (yes or only_print or sys.stdin.isatty()):
        raise ConfigError("init asks questions, and nobody can answer here. Add --yes.")
    zone, site = system_zone(os.environ), " ".join(Path.cwd().name.split()) or "Visits"
    chosen = _chosen(site, zone, yes=yes or only_print)
    if not (yes or only_print):
        site = _asked("Name of the site", "site", site)
        zone = _asked("Time zone of the dates", "timezone", zone)
    text = settings_text(chosen, site, zone)
    source = {"url": os.environ.get("DATABASE_URL", ""), **chosen.settings}
    config = config_from_options({"site": site, "timezone": zone, "source": source})
    if only_print:
        typer.echo(text, nl=False)
        return None
    findings = list(check_source(config, today_in(config.zone, datetime.now(UTC))))
    if print_findings({"": findings}, as_json=False):
        typer.echo(f"{target}: not written. These settings were tried:\n\n{text}", err=True, nl=False)
        raise typer.Exit(1)
    with target.open("x", encoding="utf-8") as stream:
        stream.write(text)
    typer.echo(f"written: {target}")
    if "url" not in chosen.settings:
        typer.echo(f"note: {KEPT_OUT} docs/deploy-systemd.md shows where to keep it", err=True)
    return config


def _asked(question: str, key: str, default: str) -> str:
    """Return the answer to a question, which is a valid value of the setting ``key``."""
    while True:
        answer = str(typer.prompt(question, default=default))
        try:
            config_from_options({key: answer})
        except ConfigError as exc:
            typer.echo(str(exc), err=True)
        else:
            return answer


def _chosen(site: str, zone: str, *, yes: bool) -> FoundSource:
    """Return the source that the user chooses, or the best."""
    if os.environ.get("DATABASE_URL"):
        typer.echo(ONLY_URL, err=True)
    result = find_sources(os.environ)
    for line in result.unusable:
        typer.echo(visible(f"not used: {mask_logins(line)}"), err=True)
    if not result.found:
        raise ConfigError(
            "nothing that looks like visits was found: "
            + ("DATABASE_URL leads to no such table" if os.environ.get("DATABASE_URL") else NOWHERE)
            + ". Write reportgen.toml by hand: docs/sources.md. reportgen demo shows a sample site."
        )
    found = list(map(_with_url, result.found[:SHOWN]))
    for number, each in enumerate(found, start=1):
        typer.echo(visible(f"{number}  {mask_logins(each.what)}: {each.why}"), err=True)
    best = found[0]
    if yes and best.rivals:
        typer.echo(settings_text(best, site, zone), err=True, nl=False)
        raise ConfigError(
            f"{mask_logins(best.what)}: more than one reading fits, and none of them is certain. Run "
            "reportgen init without --yes and choose, or write reportgen.toml: above is the first of them."
        )
    if yes or len(found) == 1:
        if best.doubt:
            typer.echo(
                f"note: {best.doubt}. Look at the figures, and edit [source] if they are wrong", err=True
            )
        return best
    numbers = [str(number) for number in range(1, len(found) + 1)]
    while (answer := str(typer.prompt("Which one", default="1"))) not in numbers:
        typer.echo(f"write a number from 1 to {len(found)}", err=True)
    return found[int(answer) - 1]


def _with_url(source: FoundSource) -> FoundSource:
    """Return a source with the URL in DATABASE_URL, if it was found there and has no password."""
    url = os.environ.get("DATABASE_URL", "")
    return source if url_secrets(url) else replace(source, settings={"url": url, **source.settings})


def settings_text(source: FoundSource, site: str, zone: str) -> str:
    """Return the settings file."""
    lines = [
        HEAD,
        f"site = {_toml(site)}",
        '# site_url = "https://example.com"   # paths become links',
        f"timezone = {_toml(zone)}   # the zone of the dates; it decides which date is today",
        "",
        f"[source]   # {visible(source.why)}",  # a column's name may hold a line break
    ]
    if "url" not in source.settings:
        lines.append(f"# {KEPT_OUT}")
    lines += [f"{key} = {_toml(value)}" for key, value in source.settings.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """Return a text, or a mapping of texts, as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    text = str(value)
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def system_zone(environ: Mapping[str, str], etc: Path = Path("/etc")) -> str:
    """Return the name of this machine's time zone, or UTC if it has none."""
    names: Sequence[str] = (
        environ.get("TZ", "").removeprefix(":"),
        str((etc / "localtime").resolve()).partition("/zoneinfo/")[2],
    )
    for name in names:
        with suppress(Exception):  # neither of them need be the name of a zone
            return ZoneInfo(name).key.removeprefix("Etc/")
    return "UTC"
