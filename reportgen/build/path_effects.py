"""``reportgen paths``: what each path rule does to the stored paths."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from reportgen.config.settings import Config
from reportgen.core.path_rules import SCANNERS, PathRules
from reportgen.core.text import LONGEST_NAME, shorten, visible
from reportgen.core.windows import Span, look_back
from reportgen.metrics.dataset import make_windows
from reportgen.sources.base import Source
from reportgen.sources.registry import open_source
from reportgen.sources.statements import read_stored_paths

NO_RULE = "no rule"
"""The name of the effect that counts the paths that no rule touches."""


@dataclass
class PathEffect:
    """What one rule touches: stored paths, their visits, and the most visited of them as an example."""

    rule: str
    paths: int = 0
    visits: int = 0
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class PathEffects:
    """The effect of each rule over the dates of ``span``, most visits first."""

    span: Span
    effects: list[PathEffect]

    def document(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        span = {"first": self.span.first.isoformat(), "last": self.span.last.isoformat()}
        return span | {"rules": [vars(effect) for effect in self.effects]}

    def idle(self) -> list[str]:
        """Return the rules that touch nothing, but for those of the preset."""
        idle = [each.rule for each in self.effects if not each.paths and each.rule != NO_RULE]
        return [rule for rule in idle if rule.removeprefix("exclude ") not in SCANNERS]

    def lines(self) -> Iterator[str]:
        """Yield what the command prints for people."""
        touching = [effect for effect in self.effects if effect.paths]
        cells = [("rule", "paths", "visits", "example")]
        cells += [(each.rule, f"{each.paths:,}", f"{each.visits:,}", _example(each)) for each in touching]
        widths = [max(len(row[at]) for row in cells) for at in range(3)]
        for rule, paths, visits, example in cells:
            yield f"{rule:<{widths[0]}}  {paths:>{widths[1]}}  {visits:>{widths[2]}}  {example}"
        if idle := self.idle():
            yield f"without effect: {', '.join(idle)}"
        yield f"dates read: {self.span.first} to {self.span.last}"


def path_effects(config: Config, today: date) -> PathEffects:
    """Return what the path rules do to the paths that a build reads.

    Raises:
        SourceError: the data could not be read.

    """
    span = look_back(make_windows(config, today, today_complete=False))
    with open_source(config.source, config.timezone, span, config.path_rules) as source:
        source.read_all_spellings(thorough=True)
        return read_path_effects(source, config.path_rules, span)


def read_path_effects(source: Source, rules: PathRules, span: Span) -> PathEffects:
    """Return what the path rules do to the paths of an open source."""
    effects: Mapping[str, PathEffect] = {name: PathEffect(name) for name in (*rules.names, NO_RULE)}
    for path, visits in read_stored_paths(source, span):
        for name, before, after in list(rules.trace(path)) or [(NO_RULE, path, path)]:
            effect = effects[name]
            if effect.before is None:
                effect.before, effect.after = before, after
            effect.paths += 1
            effect.visits += visits
    return PathEffects(span, sorted(effects.values(), key=lambda each: (-each.visits, -each.paths)))


def _example(effect: PathEffect) -> str:
    before = shorten(visible(effect.before or ""), LONGEST_NAME)
    if effect.after is None or effect.after == effect.before:
        return before
    return f"{before} \N{RIGHTWARDS ARROW} {shorten(visible(effect.after), LONGEST_NAME)}"
