"""Which user agents are programs, and of which kind.

Three rules, in this order: the list of the package crawler-user-agents; words that programs have in their
names; and that a browser names its engine, or is a text browser. The last two find programs that are newer
than the list.
"""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from typing import NamedTuple

KINDS = {
    "search-engine": "search_engine", "ai-crawler": "ai_crawler", "feed-reader": "feed_reader",
    "social-preview": "preview", "monitoring": "monitor", "http-library": "library",
    "browser-automation": "library",
}  # fmt: skip
"""The kind of a program for each tag of the list; all other tags are of the kind ``other``."""

FOR_A_PERSON = re.compile(
    r"\b(?:ChatGPT-User|Claude-User|Perplexity-User|MistralAI-User|DuckAssistBot|Gemini-Deep-Research|"
    r"Google-NotebookLM|meta-externalfetcher|Amzn-User|Manus-User|[A-Z]\w*-User)(?=[/;\s)]|$)"
)
"""Programs that fetch a page because a person asked an AI for it."""

WORDS: dict[str, "re.Pattern[str]"] = {
    kind: re.compile(pattern, re.IGNORECASE)
    for kind, pattern in {
    "feed_reader": r"feed(?!ly app)|\brss\b|podcast|reader/",
    "preview": r"preview|thumbnail|screenshot|favicon",
    "monitor": r"monitor|uptime|health-?check|synthetic|lighthouse|page ?speed|observatory|\bcheck(?:er)?\b",
    "library": r"libwww(?!-FM|/\d\S* modified)|lwp(?!r)|wget|curl|python|\bjava/|okhttp|http-?client|go-http"
               r"|axios|node-fetch|guzzle|headless|phantom(?!/(?:ios|android))|electron/(?=.*\b(?:cursor|cypress)/)",
    "other": r"(?<!cu)bots?(?![a-z])|crawl|spider|scrap|slurp|archiv|fetch|scanner|validat|index(?:er|ing)"
             r"|extractor|finder/|analyz|detector|research|https?://|@[\w-]+\.[a-z]|\[at\]|proxy"
             r"|google-|googleweblight|mediapartners",
}.items()
}  # fmt: skip
"""For each kind a pattern of words in the names of programs, in any case."""

TEXT_BROWSER = re.compile(r"(?:Lynx|E?Links|w3m|NetSurf|Dillo|edbrowse|retawq|Emacs)\b", re.IGNORECASE)
ENGINE = re.compile(
    r"AppleWebKit|Gecko/|Trident/|MSIE |Presto/|KHTML[/,)]|Opera[ /]|Goanna/|Servo/|Ladybird|Konqueror|iCab"
    r"|UCWEB|UP\.Browser|NetFront|Profile/MIDP|BlackBerry|Nokia|Netscape|Amiga|IBrowse|OmniWeb"
    r"|NetPositive|UCBrowser|NCSA_Mosaic|Nintendo"
)
"""How browsers of all times name their engine or device."""
UNKNOWN_COMPATIBLE = re.compile(
    r"compatible;(?! ?(?:MSIE|Konqueror|U;|IBrowse|iCab|OmniWeb|NetPositive|ABrowse|Windows|Linux|X11|Android"
    r"|Macintosh|iPhone|Amiga))"
)
IN_APP = re.compile(r"; wv\)|\bFBAV/|\bInstagram \d")
"""Marks of the browser inside another app: a person reads there, whatever the app is called."""


class Program(NamedTuple):
    """What made a request: the kind of program, and its name."""

    kind: str
    name: str


@lru_cache(10_000)
def program_of(user_agent: str) -> Program | None:
    """Return the program that calls itself ``user_agent``, or ``None`` if it is a browser."""
    text = user_agent.strip()
    if text in {"", "-"}:
        return Program("other", "without a user agent")
    if IN_APP.search(text):
        return None
    for kind, start in _marks(text):
        return Program(kind, _name_at(text, start))
    if TEXT_BROWSER.match(text) or (ENGINE.search(text) and not UNKNOWN_COMPATIBLE.search(text)):
        return None
    return Program("other", _name_at(text, 0))


def _marks(text: str) -> Iterator[tuple[str, int]]:
    """Yield the kind and the place of each mark of a program in a user agent."""
    if found := FOR_A_PERSON.search(text):
        yield "ai_for_a_person", found.start()
    for some, patterns in _listed():
        if some.search(text):
            for pattern, kind in patterns:
                if found := _compiled(pattern).search(text):
                    yield kind, found.start()
    for kind, words in WORDS.items():
        if found := words.search(text):
            yield kind, found.start()


@cache
def _listed() -> list[tuple["re.Pattern[str]", list[tuple[str, str]]]]:
    """Return the patterns of the list with their kinds, by 25, and one pattern that finds any of these."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA  # takes 10 ms to load

    listed = [
        (each["pattern"], next((KINDS[tag] for tag in each.get("tags", ()) if tag in KINDS), "other"))
        for each in CRAWLER_USER_AGENTS_DATA
    ]
    some = [listed[at : at + 25] for at in range(0, len(listed), 25)]
    return [(re.compile("|".join(pattern for pattern, _ in each)), each) for each in some]


_compiled = cache(re.compile)


def _name_at(text: str, start: int) -> str:
    """Return the word of a user agent at or after ``start``: at most 40 characters."""
    words = (found[0] for found in re.finditer(r"[\w.-]*[A-Za-z][\w.-]*", text) if found.end() > start)
    return next((word[:40] for word in words if word not in {"http", "https"}), "unknown")
