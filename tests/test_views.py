"""What a page shows, before any markup: cut paths, sentences in parts, spans of dates, figures."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.metrics import WindowMetrics
from reportgen.notes import note_sentences
from reportgen.spelling import ENGLISH, LONGEST_NAME, Spelling, bare, columns, isolated, visible
from reportgen.views import (
    WHOLE_UP_TO,
    cut_path,
    figures,
    sentence_parts,
    window_title,
)
from reportgen.windows import Span, make_window, runs
from tests.conftest import gathered

TODAY = date(2026, 11, 23)


def metrics_of(rows: list[tuple[int, str, int]], name: str = "7d", *, over: bool = False) -> WindowMetrics:
    return gathered(rows, [make_window(name, TODAY, today_complete=over)]).metrics[0]


# Paths.


@given(st.text(st.characters(), max_size=200))
def test_a_cut_path_is_whole_for_search_and_copy(path: str) -> None:
    """Head, middle and tail are the path as a reader can recognise it; what is shown fits."""
    found = cut_path(path)
    assert found.whole == found.head + found.middle + found.tail == visible(path)
    assert columns(found.head) + columns(found.tail) + bool(found.middle) <= LONGEST_NAME


@pytest.mark.parametrize("letters", [LONGEST_NAME, LONGEST_NAME + 1, WHOLE_UP_TO])
def test_a_path_of_up_to_4000_letters_is_whole_in_the_page(letters: int) -> None:
    path = "/" + "abcdefg" * letters
    found = cut_path(path[:letters])
    assert found.whole == path[:letters]
    assert bool(found.middle) == (letters > LONGEST_NAME)


@pytest.mark.parametrize("letters", [WHOLE_UP_TO + 1, 1_000_000])
def test_of_a_longer_one_the_page_says_how_much_is_left_out(letters: int) -> None:
    path = "/" + "a" * (letters - 2) + "z"
    found = cut_path(path)
    assert (found.head[:2], found.tail[-1]) == ("/a", "z")
    assert found.middle == f"\u2026 {letters - len(found.head) - len(found.tail)} characters \u2026"
    assert len(found.whole) < 100


def test_letters_that_are_spelled_out_count_as_they_are_shown() -> None:
    found = cut_path("/" + "\u202e" * 20)
    assert found.middle
    assert found.whole == "/" + "<U+202E>" * 20


# Sentences.


@given(st.lists(st.tuples(st.text(st.characters(exclude_characters="\x02\x03")), st.text(st.characters()))))
def test_a_sentence_comes_apart_into_words_and_paths(pieces: list[tuple[str, str]]) -> None:
    sentence = "".join(words + isolated(path) for words, path in pieces)
    parts = sentence_parts(sentence)
    assert "".join(text for text, _ in parts) == bare(sentence)
    assert [text for text, is_path in parts if is_path] == [bare(isolated(path)) for _, path in pieces]
    assert all(text for text, _ in parts)


def test_a_sentence_without_paths_is_one_part() -> None:
    assert sentence_parts("None before.") == [("None before.", False)]
    assert sentence_parts("") == []


# Dates and notes.


@given(st.sets(st.integers(0, 40)))
def test_dates_are_joined_into_as_few_spans_as_there_are_gaps(days: set[int]) -> None:
    dates = [TODAY + timedelta(days=day) for day in sorted(days)]
    spans = runs(dates)
    assert [day for span in spans for day in span.dates()] == dates
    assert all((two.first - one.last).days > 1 for one, two in pairwise(spans))


def test_a_single_date_is_a_span_of_one_day() -> None:
    assert runs([TODAY]) == [Span(TODAY, TODAY)]


@pytest.mark.parametrize(
    ("name", "title"), [("today", "Today"), ("1d", "1 day"), ("7d", "7 days"), ("366d", "366 days")]
)
def test_a_window_has_a_name_for_readers(name: str, title: str) -> None:
    assert window_title(name, ENGLISH) == title


def test_rows_left_out_are_told_by_kind_with_their_number() -> None:
    notes = {"null_path": 1, "negative_visits": 2000, "future_date": 0}
    assert note_sentences(notes, ENGLISH) == ["2,000 rows with negative visits", "1 row without a path"]
    assert note_sentences(notes, Spelling.of("de"))[0] == "2.000 rows with negative visits"


# Figures.


def test_figures_of_a_running_window_point_at_today_with_a_faint_bar() -> None:
    found = list(figures(metrics_of([(days, "/", 10 + days) for days in range(14)]), ENGLISH))
    assert [figure.name for figure in found] == [
        "Visits", "Change on complete days", "Daily average", "Best day", "Paths visited",
    ]  # fmt: skip
    names = [[name for name, _ in figure.spark.layers] if figure.spark else None for figure in found]
    assert names == [["bar", "faint"], ["ghost", "line"], ["mute", "rule"], ["mute", "bar"], None]
    assert [figure.spark.width for figure in found if figure.spark] == [7, 6, 6, 6]


def test_figures_of_a_window_that_is_over_hold_nothing_faint() -> None:
    found = next(figures(metrics_of([(days, "/", 10) for days in range(14)], over=True), ENGLISH))
    assert (found.value, found.detail) == ("70", "on Tue 17 \u2013 Mon 23 Nov 2026")
    assert found.spark is not None
    assert [name for name, _ in found.spark.layers] == ["bar"]


@pytest.mark.parametrize(
    ("now", "before", "value", "direction"),
    [
        (6, 4, "+50%", "up"),
        (4, 6, "\u221233%", "down"),
        (5, 5, "0%", ""),
        (5, 0, "new", "up"),
        (0, 0, "\u2013", ""),
    ],
)
def test_a_change_has_its_direction_and_a_dash_stands_for_none_of_nothing(
    now: int, before: int, value: str, direction: str
) -> None:
    rows = [(0, "/", 1), (1, "/", now), (8, "/", before)]
    (found,) = (each for each in figures(metrics_of(rows), ENGLISH) if each.name.startswith("Change"))
    assert (found.value, found.direction) == (value, direction)


def test_figures_of_today_light_the_day_they_name_in_the_same_picture() -> None:
    """A week and a day: today is the last bar, yesterday the one before, the same weekday the first."""
    found = list(figures(metrics_of([(days, "/", 1 + days) for days in range(9)], "today"), ENGLISH))
    assert [figure.value for figure in found] == ["1", "2", "8", "1"]
    lit = [dict(figure.spark.layers)["bar"] for figure in found if figure.spark]
    assert [path.split("v")[0] for path in lit] == ["M.5 20m7 0", "M.5 20m6 0", "M.5 20"]


def test_without_visits_there_is_no_best_day_and_no_picture() -> None:
    found = list(figures(metrics_of([]), ENGLISH))
    assert "Best day" not in [figure.name for figure in found]
    assert [figure.spark for figure in found] == [None] * 4
