"""The words for what is counted, and by what: inside a sentence, in a heading, and in a file's name."""

import pytest

from reportgen.core.words import USUAL, Words, file_stem, heading, in_sentence


@pytest.mark.parametrize(
    ("word", "inside", "at_the_beginning"),
    [
        ("Signups", "signups", "Signups"),
        ("signups", "signups", "Signups"),
        ("API calls", "API calls", "API calls"),
        ("iPhone orders", "iPhone orders", "iPhone orders"),
        ("test runs", "test runs", "Test runs"),
        ("Éditions", "éditions", "Éditions"),
        ("訪問", "訪問", "訪問"),
        ("X", "X", "X"),
    ],
)
def test_only_the_capital_of_a_heading_is_added_or_removed(
    word: str, inside: str, at_the_beginning: str
) -> None:
    assert in_sentence(word) == inside
    assert heading(inside) == at_the_beginning


@pytest.mark.parametrize(
    ("word", "stem"),
    [("orders", "orders"), ("API calls", "api-calls"), ("訪問", "visits"), ("été", "t"), ("../x", "x")],
)
def test_names_of_files_are_ascii(word: str, stem: str) -> None:
    assert file_stem(word, "visits") == stem


def test_the_usual_words_name_the_usual_files() -> None:
    assert (USUAL.visits_stem, USUAL.path_stem, USUAL.paths_stem) == ("visits", "path", "paths")
    assert USUAL.are_usual
    assert not Words(path="plan", paths="plans").are_usual
