"""What is left out of a log, and by path rules: what a page, ``report.json`` and a build say about them."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from reportgen.sources.base import LeftOut

if TYPE_CHECKING:  # it loads Babel
    from reportgen.core.text import LocaleFormatter

REASON_WORDS = {
    "bot": "bots",
    "error": "errors",
    "method": "methods other than GET",
    "redirect": "redirects",
    "other_status": "answers without a page",
    "prefetch": "prefetches",
    "asset": "assets",
    "other_host": "other hosts",
    "excluded": "excluded {paths}",
    "unreadable": "unreadable lines",
}
"""What a page calls the requests of each of :data:`reportgen.sources.base.REASONS`."""
KIND_WORDS = {
    "search_engine": "search engines",
    "ai_crawler": "AI crawlers",
    "ai_for_a_person": "AI for a person",
    "feed_reader": "feed readers",
    "preview": "previews",
    "monitor": "monitors",
    "library": "libraries",
    "other": "other",
}
"""What a page calls each kind of bot."""
NAMES_OF_A_KIND = 20
"""Maximum number of bots of one kind that are listed by name, those with the most requests."""
NAMED_BOTS = 3
"""Number of bots that the sentence on the page names."""


def left_out_summary(left_out: Sequence[LeftOut]) -> dict[str, Any]:
    """Return what ``report.json`` says: the requests that are not visits, by reason, kind and name."""
    reasons = []
    for reason, found in groupby(left_out, key=lambda each: each.reason):
        rows = list(found)
        entry: dict[str, Any] = {"reason": reason, "requests": sum(row.requests for row in rows)}
        if any(row.kind for row in rows):  # an import keeps no kinds
            kinds = [_kind(kind, [row for row in rows if row.kind == kind]) for kind in KIND_WORDS]
            entry["kinds"] = sorted(
                (kind for kind in kinds if kind["requests"]), key=lambda kind: -int(kind["requests"])
            )
        reasons.append(entry)
    return {"requests": sum(entry["requests"] for entry in reasons), "reasons": reasons}


def _kind(kind: str, rows: Sequence[LeftOut]) -> dict[str, Any]:
    named = [{"name": row.name, "requests": row.requests} for row in rows[:NAMES_OF_A_KIND]]
    return {"kind": kind, "requests": sum(row.requests for row in rows), "names": named}


def left_out_sentence(summary: Mapping[str, Any], formatter: "LocaleFormatter") -> str:
    """Return one phrase: "12,481 requests: bots 11,902 (GPTBot 3,104, …), errors 410"; empty without any."""
    if not summary["requests"]:
        return ""
    parts = []
    for entry in summary["reasons"]:
        words = REASON_WORDS[entry["reason"]].format(paths=formatter.words.paths)
        text = f"{words} {formatter.number(entry['requests'])}"
        bots = [bot for kind in entry.get("kinds", ()) for bot in kind["names"]]
        if bots:
            bots.sort(key=lambda bot: -bot["requests"])
            named = [f"{bot['name']} {formatter.number(bot['requests'])}" for bot in bots[:NAMED_BOTS]]
            text += f" ({', '.join(named + ['…'] * (len(bots) > NAMED_BOTS))})"
        parts.append(text)
    total = summary["requests"]
    return f"{formatter.number(total)} {'request' if total == 1 else 'requests'}: {', '.join(parts)}"


def excluded_sentence(excluded: Sequence[int], formatter: "LocaleFormatter") -> str:
    """Return what the path rules leave out: "2,881 paths, 10,402 visits"; empty without any."""
    paths, visits = excluded
    return f"{formatter.paths(paths)}, {formatter.visits(visits)}" if paths else ""
