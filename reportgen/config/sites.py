"""Many sites from one file: ``[[sites]]``, each with its own settings over those at the top.

:func:`load_settings` gives the one :class:`~reportgen.config.settings.Config` of a file without them, and
:class:`Sites` otherwise, or one ``ConfigError`` that names every problem of every site.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from reportgen.config.loading import merge_layers, read_file
from reportgen.config.problems import explain
from reportgen.config.settings import ENV_PREFIX, Config, variables, wrong_variables
from reportgen.core.errors import ConfigError

SLUG = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
RESERVED = {
    "current", "releases", "state", "assets", "healthz", "status.json", "sites.json", "index.html",
    "404.html", "robots.txt", "manifest.json", "current.json",
}  # fmt: skip
"""What stands beside the sites, below the output directory or in an address."""

OF_THE_INDEX = {"site", "site_url", "intro"}
"""Settings at the top that are about the page over all sites, and no default for each of them."""

OWN = {"name", "prefix"}
OF_THE_WHOLE = {"server", "jitter_s", "base_path"}
"""Settings that a site cannot have for itself: one service serves them all, each below its prefix."""

NAMED_AT_MOST = 8


@dataclass(frozen=True)
class Site:
    """One of many: its ``name``, the directory and address that it has for itself, and all its settings."""

    name: str
    prefix: str
    config: Config


@dataclass(frozen=True)
class Sites:
    """All sites of a file. ``common`` is what its top says: of the page over them, and of the service."""

    common: Config
    all: Sequence[Site]

    @property
    def root(self) -> Path:
        """The output directory of the page over all sites; each site's is a directory in it."""
        return self.common.output.dir

    @property
    def links(self) -> dict[str, str]:
        """Links in a release of the page over all: to what is current of each site, by its prefix."""
        return {site.prefix: f"../../{site.prefix}/current" for site in self.all}

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret value of every site."""
        configs = [self.common, *(site.config for site in self.all)]
        return tuple({word for config in configs for word in config.secrets})

    def named(self, names: Sequence[str]) -> Sequence[Site]:
        """Return the sites of these names, or all where none is named.

        Raises:
            ConfigError: there is no such site.

        """
        known = [site.name for site in self.all]
        if unknown := [name for name in names if name not in known]:
            few = ", ".join(known[:NAMED_AT_MOST]) + (", …" if len(known) > NAMED_AT_MOST else "")
            raise ConfigError(f'--site: there is no site "{unknown[0]}"; there are: {few}')
        return [site for site in self.all if not names or site.name in names]


@dataclass(frozen=True)
class _Top:
    """What all sites have in common, before it is checked, and where it was written."""

    path: Path
    text: str
    settings: Mapping[str, Any]
    environ: Mapping[str, str]
    config: Config | ValidationError

    @property
    def dir(self) -> Path:
        """The output directory; the default's where it is wrong itself."""
        return self.config.output.dir if isinstance(self.config, Config) else Path("output")


def load_settings(
    file: Path | None, environ: Mapping[str, str], options: Mapping[str, Any]
) -> Config | Sites:
    """Read, merge and check the settings of one site, or of many where the file has ``[[sites]]``.

    ``options`` are as in :func:`reportgen.config.settings.load_config`.

    Raises:
        ConfigError: with every problem found, one a line.

    """
    path, text, stored = read_file(file)
    tables = stored.pop("sites", None)
    merged, problems = merge_layers([stored, *variables(environ), options], environ)
    if tables is not None and not environ.get("DATABASE_URL"):
        problems = [line for line in problems if not line.startswith("DATABASE_URL")]  # each site has its own
    problems = [*wrong_variables(environ), *problems]
    top = _Top(path, text, merged, environ, _checked(merged))
    if isinstance(top.config, ValidationError):
        problems += explain(top.config, Config, path, text, environ, ENV_PREFIX)
    if tables is None:
        return _sound(top.config, problems)
    if "source" in options:
        problems.append("--source: would make all sites show the same; name each site's in the file")
    sites, wrong = _sites(tables, top)
    return Sites(_sound(top.config, [*problems, *wrong]), sites)


def _sites(tables: Any, top: _Top) -> tuple[Sequence[Site], Sequence[str]]:
    """Return all sites that are sound, and every problem of the others."""
    if not isinstance(tables, list) or not tables or not all(isinstance(table, Mapping) for table in tables):
        return [], ["sites: write [[sites]] and a site's settings below it, once for each site"]
    sites, problems = [], []
    for number, table in enumerate(tables):
        config, wrong = _config(table, number, top)
        problems += wrong
        if config and not wrong:
            sites.append(Site(table["name"], table.get("prefix", table["name"]), config))
    twice = _twice("name", [table.get("name") for table in tables])
    problems += twice or _twice("prefix", [site.prefix for site in sites])
    shared = top.config.output.bucket if isinstance(top.config, Config) else None
    buckets = [shared, *(site.config.output.bucket for site in sites)]
    problems += _twice("output.bucket", buckets) or _nested(buckets)
    return sites, problems


def _twice(key: str, values: Sequence[Any]) -> list[str]:
    counted = Counter(value for value in values if isinstance(value, str))
    twice = [value for value, count in counted.items() if count > 1]
    return [f'sites: the {key} "{value}" is given twice; each site needs its own' for value in twice]


def _nested(buckets: Sequence[str | None]) -> list[str]:
    """Return which site's bucket holds another: each might take the other's objects for its own.

    The first is of the page over all, and may hold those of sites.
    """
    whole, *own = [bucket and bucket.rstrip("/") + "/" for bucket in buckets]
    outer = {bucket for bucket in own if bucket}
    return [
        f'sites: the output.bucket "{bucket[:-1]}" lies in "{above[0]}", which is a site\'s; choose another'
        for bucket in sorted(outer | ({whole} if whole else set()))
        if (above := [up for up in _above(bucket) if f"{up}/" in outer])
    ]


def _above(bucket: str) -> Iterator[str]:
    """Yield the addresses that a bucket's lies below."""
    scheme, _, rest = bucket.rstrip("/").partition("://")
    for parent in PurePosixPath(rest).parents[:-1]:
        yield f"{scheme}://{parent}"


def _config(table: Mapping[str, Any], number: int, top: _Top) -> tuple[Config | None, list[str]]:
    """Return the settings of the site in the ``number``-th table, and all that is wrong with them."""
    name, own = table.get("name"), {key: table[key] for key in table if key not in OWN | OF_THE_WHOLE}
    wrong = list(_out_of_place(table))
    defaults = {key: value for key, value in top.settings.items() if key not in OF_THE_INDEX}
    if isinstance(source := defaults.get("source"), Mapping):  # a variable that it names was looked up
        defaults["source"] = {key: value for key, value in source.items() if key != "url_env"}
    merged, problems = merge_layers([defaults, own], top.environ)
    if not problems and "url" not in (merged.get("source") or {}):
        problems = ['source.url: is not set; name it, or url_env, or write "sample"']
    prefix = table.get("prefix", name)
    merged["output"] = placed(merged.get("output", {}), own.get("output", {}), top.dir, str(prefix))
    sound = isinstance(prefix, str) and SLUG.fullmatch(prefix)
    base = top.settings.get("base_path")
    above = base.rstrip("/") if isinstance(base, str) else ""
    merged |= {"site": own.get("site", name), "base_path": f"{above}/{prefix}/" if sound else "/"}
    config = _checked(merged)
    if isinstance(config, Config) and not wrong and not problems:
        return config, []
    region, line = _region(top.text, number)  # looked for in the text only where there is something to tell
    where = f"{top.path}:{line}: " if line else ""
    whose = f"sites.{name}." if isinstance(name, str) and SLUG.fullmatch(name) else f"sites[{number}]."
    found = [f"{where}{whose}{problem}" for problem in (*wrong, *problems)]
    if isinstance(config, ValidationError):
        known = top.config if isinstance(top.config, ValidationError) else None
        told = explain(config, Config, top.path, region, {}, ENV_PREFIX, whose=whose, known=known)
        found += [each if each.startswith(f"{top.path}:") else where + each for each in told]
        return None, found
    return config, found


def placed(output: Any, own: Any, root: Path, prefix: str) -> Any:
    """Return a site's ``[output]``: its directory and its bucket are its ``prefix`` in those of all.

    A bucket that is the site's ``own`` is as it says.
    """
    if not isinstance(output, Mapping) or not isinstance(own, Mapping):
        return output  # it is told that this is no section
    bucket = output.get("bucket")
    below = (
        {"bucket": f"{bucket.rstrip('/')}/{prefix}"}
        if isinstance(bucket, str) and "bucket" not in own
        else {}
    )
    return {**output, **below, "dir": root / prefix}


def _out_of_place(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the settings that only a site has, and with those that none can have."""
    if "name" not in table:
        yield "name: is not set; each site needs one"
    for key in sorted(OWN & table.keys()):
        if not isinstance(table[key], str) or not SLUG.fullmatch(table[key]):
            yield f"{key}: write small letters, digits, and . _ - between them (at most 64)"
    if table.get("prefix", table.get("name")) in RESERVED:
        yield "prefix: this name is taken below the output directory; choose another"
    for key in sorted(OF_THE_WHOLE & table.keys()):
        yield f"{key}: is one for all sites; set it at the top of the file"
    if isinstance(table.get("output"), Mapping) and "dir" in table["output"]:
        yield "output.dir: is one for all sites, each in its prefix; set it in [output], above the sites"


def _region(text: str, number: int) -> tuple[str, int | None]:
    """Return the ``number``-th site's lines as a file of its own, all others empty, and where they begin."""
    kept: list[str] = []
    seen, inside, begin = -1, False, None
    for at, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line):
            parts = re.sub(r"[\"'\s]", "", header[1]).split(".")
            seen += parts == ["sites"]
            inside = parts[0] == "sites" and seen == number
            begin = at if inside and begin is None else begin
            line = f"[{'.'.join(parts[1:])}]" if parts[1:] else ""  # noqa: PLW2901 - as a file of its own has it
        kept.append(line if inside else "")
    return "\n".join(kept), begin


def _checked(settings: Mapping[str, Any]) -> Config | ValidationError:
    try:
        return Config(**settings)
    except ValidationError as exc:
        return exc


def _sound(config: Config | ValidationError, problems: Sequence[str]) -> Config:
    """Return the settings, or raise all problems as one error."""
    if problems or isinstance(config, ValidationError):
        raise ConfigError("\n".join(problems))
    return config
