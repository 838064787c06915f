"""The words for what a report counts, and by what: visits by path, if the settings name no others."""

import re
from dataclasses import dataclass


def in_sentence(word: str) -> str:
    """Return a word as it is written inside a sentence; capitals of a name such as "API calls" stay."""
    return word[:1].lower() + word[1:] if word[1:2].islower() else word


def heading(word: str) -> str:
    """Return a word as it is written at the beginning of a sentence; "iPhone orders" stays as it is."""
    return word[:1].upper() + word[1:] if word.partition(" ")[0].islower() else word


def file_stem(word: str, default: str) -> str:
    """Return a word as a part of a file's name, in ASCII; ``default`` if none of its letters is."""
    return re.sub("[^a-z0-9]+", "-", word.lower()).strip("-") or default


@dataclass(frozen=True)
class Words:
    """One and several of what is counted, and of that by which it is counted, as inside a sentence."""

    visit: str = "visit"
    visits: str = "visits"
    path: str = "path"
    paths: str = "paths"

    @property
    def are_usual(self) -> bool:
        """Whether the report counts visits by path."""
        return self == USUAL

    @property
    def visits_stem(self) -> str:
        """The word for visits in names of files."""
        return file_stem(self.visits, "visits")

    @property
    def path_stem(self) -> str:
        """The word for a path in names of files."""
        return file_stem(self.path, "path")

    @property
    def paths_stem(self) -> str:
        """The word for paths in names of files."""
        return file_stem(self.paths, "paths")


USUAL = Words()
