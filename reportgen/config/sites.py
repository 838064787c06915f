"""Many sites from one file: ``[[sites]]``, whose settings override those at the top of the file.

:func:`load_settings` returns one :class:`~reportgen.config.settings.Config` if the file has no ``[[sites]]``,
and :class:`Sites` otherwise. It raises one ``ConfigError`` that names every problem of every site.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reportgen.config.problems import Keys, Problem, problem_lines, quoted
from reportgen.config.settings import (
    Config,
    Layer,
    MergedSettings,
    checked_config,
    merge_settings,
    option_layer,
    origin,
    paths_beside,
    read_file,
    read_variables,
)
from reportgen.core.errors import ConfigError

SLUG = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
RESERVED = {
    "current", "releases", "state", "assets", "healthz", "status.json", "sites.json", "index.html",
    "404.html", "robots.txt", "manifest.json", "current.json",
}  # fmt: skip
"""Names that a site's prefix cannot have: the output directory or the addresses of all sites have them."""

INDEX_ONLY = {"site", "site_url", "intro"}
"""Settings at the top of the file that are only of the page over all sites. Sites do not inherit them."""

SITE_ONLY = {"name", "prefix"}
"""Settings that only a site has."""

TOP_ONLY = {"server", "jitter_s", "base_path"}
"""Settings that a site cannot have: one service serves all sites, each below its prefix."""

NAMED_AT_MOST = 8
"""Maximum number of names of sites that a message lists."""


@dataclass(frozen=True)
class Site:
    """One of many sites: its name, the prefix of its directory and its address, and all its settings."""

    name: str
    prefix: str
    config: Config


@dataclass(frozen=True)
class Sites:
    """All sites of a file.

    ``common`` holds the settings at the top of the file: those of the page over all sites and of the service.
    """

    common: Config
    all: Sequence[Site]

    @property
    def root(self) -> Path:
        """The output directory of the page over all sites. That of each site lies in it."""
        return self.common.output.dir

    @property
    def links(self) -> dict[str, str]:
        """The links in a release of the page over all sites, by prefix: each to a site's current release."""
        return {site.prefix: f"../../{site.prefix}/current" for site in self.all}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value of every site."""
        configs = [self.common, *(site.config for site in self.all)]
        return tuple({word for config in configs for word in config.secrets})

    def named(self, names: Sequence[str]) -> Sequence[Site]:
        """Return the sites of these names, or all sites if ``names`` is empty.

        Raises:
            ConfigError: a name is not that of a site.

        """
        known = [site.name for site in self.all]
        if unknown := [name for name in names if name not in known]:
            few = ", ".join(known[:NAMED_AT_MOST]) + (", …" if len(known) > NAMED_AT_MOST else "")
            raise ConfigError(f"--site {quoted(unknown[0])} is not the name of a site. The sites are: {few}.")
        return [site for site in self.all if not names or site.name in names]


def load_settings(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any]
) -> Config | Sites:
    """Read, merge and check the settings of one site, or of many sites if the file has ``[[sites]]``.

    ``options`` are as in :func:`reportgen.config.settings.load_config`.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    stored = read_file(file)
    tables = stored.settings.get("sites")
    shared = {key: value for key, value in stored.settings.items() if key != "sites"}
    layers = [replace(stored, settings=shared), *read_variables(environ), option_layer(options)]
    top = merge_settings(layers, environ, paths_beside(file))
    if tables is None:
        return checked_config(top, environ)
    lines = list(problem_lines(top.problems, partial(origin, layers)))
    if "source" in options:
        lines.append("--source would make all sites show the same. Set the source of each site in the file.")
    sites, more = _sites(tables, top, environ, file)
    if lines + more or top.config is None:
        raise ConfigError("\n".join(lines + more))
    return Sites(top.config, sites)


def _sites(
    tables: Any, top: MergedSettings, environ: Mapping[str, str], file: Path | None
) -> tuple[list[Site], list[str]]:
    """Return all valid sites, and a line for every problem of the others."""
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        place = top.layers[0].place_of(("sites",))
        return [], [
            f"{place}: sites is not a list of sections. Write [[sites]] above the settings of each site."
        ]
    sites, problems = [], []
    for number, table in enumerate(tables):
        config, wrong = _config(table, number, top, environ, file)
        problems += wrong
        if config and not wrong:
            sites.append(Site(table["name"], table.get("prefix", table["name"]), config))
    twice = _twice("name", [table.get("name") for table in tables])
    problems += twice or _twice("prefix", [site.prefix for site in sites])
    shared = top.config.output.bucket if top.config else None
    buckets = [shared, *(site.config.output.bucket for site in sites)]
    problems += _twice("output.bucket", buckets) or _nested(buckets)
    return sites, problems


def _twice(key: str, values: Sequence[Any]) -> list[str]:
    """Return a line for each value of ``key`` that several sites have."""
    counted = Counter(value for value in values if isinstance(value, str))
    twice = [value for value, count in counted.items() if count > 1]
    return [f"sites: {key} {quoted(value)} is set twice. Each site needs its own." for value in twice]


def _nested(buckets: Sequence[str | None]) -> list[str]:
    """Return a line for each bucket inside a site's bucket, because that site would delete its objects.

    The first of ``buckets`` is that of the page over all sites. Buckets of sites may be inside it.
    """
    every = sorted(bucket for bucket in buckets if bucket)
    return [
        f'sites: output.bucket "{bucket}" lies in "{outer}", the bucket of a site. Choose another.'
        for bucket in every
        for outer in buckets[1:]
        if outer and bucket.startswith(f"{outer}/")
    ]


def _config(
    table: Mapping[str, Any],
    number: int,
    top: MergedSettings,
    environ: Mapping[str, str],
    file: Path | None,
) -> tuple[Config | None, list[str]]:
    """Return the settings of the site in the ``number``-th table, and a line for each problem of them."""
    name, common = table.get("name"), top.config or Config()
    prefix = table.get("prefix", name)

    def place_of(keys: Keys) -> str:
        return top.layers[0].place_of(("sites", number, *keys))

    output: dict[str, Any] = {"dir": common.output.dir / str(prefix)}
    if common.output.bucket:
        output["bucket"] = f"{common.output.bucket}/{prefix}"
    valid = isinstance(prefix, str) and SLUG.fullmatch(prefix)
    placed = {
        "site": str(name),
        "base_path": f"{common.base_path}{prefix}/" if valid else "/",
        "output": output,
    }
    inherited = [
        replace(layer, settings={key: layer.settings[key] for key in layer.settings if key not in INDEX_ONLY})
        for layer in top.layers
    ]
    own = {key: table[key] for key in table if key not in SITE_ONLY | TOP_ONLY}
    site = Layer(own, place_of)
    beside = paths_beside(file, f"{prefix}.") if valid else {}
    merged = merge_settings([*inherited, Layer(placed, place_of), site], environ, beside)
    invalid = [problem for problem in merged.problems if problem not in top.problems]
    misplaced = list(_misplaced(table))
    if not {"url", "url_env"} & (merged.settings.get("source") or {}).keys():
        message = 'is not set. Set it, or source.url_env. For the sample data, write "sample".'
        misplaced.append(Problem(("source", "url"), message))
    if not misplaced and not invalid:
        return merged.config, []
    key_prefix = f"sites.{name}." if isinstance(name, str) and SLUG.fullmatch(name) else f"sites[{number}]."
    texts = {"prefix": key_prefix, "default_place": place_of(())}
    lines = problem_lines(misplaced, place_of, **texts)
    return merged.config, [*lines, *problem_lines(invalid, partial(origin, merged.layers), **texts)]


def _misplaced(table: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the settings that only a site has, and with those that no site can have."""
    if "name" not in table:
        yield Problem(("name",), "is not set. Each site needs one.")
    for key in sorted(SITE_ONLY & table.keys()):
        if not isinstance(table[key], str) or not SLUG.fullmatch(table[key]):
            message = (
                'is not a valid name. Write at most 64 small letters and digits, and ".", "_" or "-" between.'
            )
            yield Problem((key,), message, quoted(table[key]))
    if table.get("prefix", table.get("name")) in RESERVED:
        key = "prefix" if "prefix" in table else "name"
        yield Problem((key,), "is a name that the output directory of all sites uses. Choose another.")
    for key in sorted(TOP_ONLY & table.keys()):
        yield Problem((key,), "is the same for all sites. Set it at the top of the file.")
    if isinstance(table.get("output"), Mapping) and "dir" in table["output"]:
        message = "is the same for all sites, each in its prefix. Set it in [output], above the sites."
        yield Problem(("output", "dir"), message)
