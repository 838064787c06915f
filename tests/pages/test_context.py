"""The variables of a page: cut paths, sentences in parts, figures."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.core.text import (
    ENGLISH,
    LONGEST_NAME,
    LocaleFormatter,
    bare,
    columns,
    isolated,
    visible,
    window_title,
)
from reportgen.core.windows import Span, make_window
from reportgen.metrics.dataset import note_sentences
from reportgen.metrics.figures import WindowMetrics
from reportgen.pages.context import (
    MAX_PATH,
    Page,
    SiteHeader,
    cut_path,
    figures,
    page_variables,
    sentence_parts,
)
from tests.support.figures import RECORDED, read_figures

TODAY = date(2026, 11, 23)


def metrics_of(rows: list[tuple[int, str, int]], name: str = "7d", *, over: bool = False) -> WindowMetrics:
    return read_figures(rows, [make_window(name, TODAY, today_complete=over)]).metrics[0]


# Paths.


@given(st.text(st.characters(), max_size=200))
def test_a_cut_path_is_whole_for_search_and_copy(path: str) -> None:
    """Head, middle and tail are the whole path; what is shown fits."""
    found = cut_path(path)
    assert (found.whole == visible(path)) == (len(visible(path)) <= MAX_PATH)
    assert columns(found.head) + columns(found.tail) + bool(found.middle) <= LONGEST_NAME


@pytest.mark.parametrize("letters", [LONGEST_NAME, LONGEST_NAME + 1, MAX_PATH])
def test_a_path_of_up_to_200_letters_is_whole_in_the_page(letters: int) -> None:
    path = "/" + "abcdefg" * letters
    found = cut_path(path[:letters])
    assert found.whole == path[:letters]
    assert bool(found.middle) == (letters > LONGEST_NAME)


@pytest.mark.parametrize("letters", [MAX_PATH + 1, 1_000_000])
def test_of_a_longer_one_the_page_says_how_many_characters_are_left_out(letters: int) -> None:
    path = "/" + "a" * (letters - 2) + "z"
    found = cut_path(path)
    assert (found.head[:2], found.tail[-1]) == ("/a", "z")
    assert found.middle == f"\u2026 {letters - len(found.head) - len(found.tail)} characters \u2026"
    assert len(found.whole) < 100


def test_characters_shown_by_their_names_count_with_the_length_of_the_name() -> None:
    found = cut_path("/" + "\u202e" * 20)
    assert found.middle
    assert found.whole == "/" + "<U+202E>" * 20


# Sentences.


@given(st.lists(st.tuples(st.text(st.characters(exclude_characters="\x02\x03")), st.text(st.characters()))))
def test_a_sentence_is_split_into_words_and_paths(pieces: list[tuple[str, str]]) -> None:
    sentence = "".join(words + isolated(path) for words, path in pieces)
    parts = sentence_parts(sentence)
    assert "".join(text for text, _ in parts) == bare(sentence)
    assert [text for text, is_path in parts if is_path] == [bare(isolated(path)) for _, path in pieces]
    assert all(text for text, _ in parts)


def test_a_sentence_without_paths_is_one_part() -> None:
    assert sentence_parts("None before.") == [("None before.", False)]
    assert sentence_parts("") == []


# Windows and notes.


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("today", "Today"),
        ("1d", "1 day"),
        ("7d", "7 days"),
        ("366d", "366 days"),
        ("1100d", "1,100 days"),
        ("week", "This week"),
        ("last-month", "Last month"),
    ],
)
def test_a_window_has_a_name_for_readers(name: str, title: str) -> None:
    assert window_title(name, ENGLISH) == title


def test_rows_left_out_are_listed_by_kind_with_their_number() -> None:
    notes = {"null_path": 1, "negative_visits": 2000, "future_date": 0}
    assert note_sentences(notes, ENGLISH) == ["2,000 rows with negative visits", "1 row without a path"]
    assert note_sentences(notes, LocaleFormatter.of("de"))[0] == "2.000 rows with negative visits"


# Figures.


def test_figures_of_a_running_window_have_a_faint_bar_for_today() -> None:
    found = list(figures(metrics_of([(days, "/", 10 + days) for days in range(14)]), ENGLISH))
    assert [figure.name for figure in found] == [
        "Visits", "Change", "Daily average", "Best day", "Paths visited",
    ]  # fmt: skip
    names = [[name for name, _ in figure.spark.layers] if figure.spark else None for figure in found]
    assert names == [["bar", "faint"], ["ghost", "line"], ["mute", "rule"], ["mute", "bar"], None]
    assert [figure.spark.width for figure in found if figure.spark] == [7, 5, 6, 6]


def test_figures_of_a_window_that_is_over_have_no_faint_bar() -> None:
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
        (5, 0, "new", ""),
        (0, 0, "\u2013", ""),
    ],
)
def test_a_change_has_a_direction_and_a_dash_if_there_are_no_visits_at_all(
    now: int, before: int, value: str, direction: str
) -> None:
    rows = [*RECORDED, (0, "/", 1), (1, "/", now), (8, "/", before)]
    (found,) = (each for each in figures(metrics_of(rows), ENGLISH) if each.name.startswith("Change"))
    assert (found.value, found.direction) == (value, direction)


def test_figures_of_today_highlight_the_day_that_they_name() -> None:
    """A week and a day: today is the last bar, yesterday the one before, the same weekday the first."""
    found = list(figures(metrics_of([(days, "/", 1 + days) for days in range(9)], "today"), ENGLISH))
    assert [figure.value for figure in found] == ["1", "2", "8", "1"]
    highlighted = [dict(figure.spark.layers)["bar"] for figure in found if figure.spark]
    assert [path.split("v")[0] for path in highlighted] == ["M.5 20m7 0", "M.5 20m6 0", "M.5 20"]


@pytest.mark.parametrize(("gone", "known"), [
    (set(), ["full day", "full day"]),
    ({1}, ["no rows", "full day"]),
    ({7}, ["full day", "no rows"]),
])  # fmt: skip
def test_a_day_without_rows_is_not_called_a_full_day(gone: set[int], known: list[str]) -> None:
    rows = [(days, "/", 0) for days in range(9) if days not in gone]
    found = list(figures(metrics_of(rows, "today"), ENGLISH))[1:3]
    assert [(figure.name, figure.detail) for figure in found] == [
        ("Yesterday", f"{known[0]}, Sun 22 Nov 2026"),
        ("Same day last week", f"{known[1]}, Mon 16 Nov 2026"),
    ]


@pytest.mark.parametrize(("gone", "detail"), [
    (set(), "17 \u2013 22 Nov against 10 \u2013 15 Nov"),
    ({0, 7}, "17 \u2013 22 Nov against 10 \u2013 15 Nov"),
    ({3}, "5 days of 17 \u2013 22 Nov against 10 \u2013 15 Nov"),
    ({3, 9, 11}, "3 days of 17 \u2013 22 Nov against 10 \u2013 15 Nov"),
    ({6, 8}, "18 \u2013 21 Nov against 11 \u2013 14 Nov"),
])  # fmt: skip
def test_a_change_names_the_first_and_the_last_date_of_those_that_are_compared(
    gone: set[int], detail: str
) -> None:
    rows = [(days, "/", 10) for days in range(14) if days not in gone]
    (found,) = (each for each in figures(metrics_of(rows), ENGLISH) if each.name.startswith("Change"))
    assert found.detail == detail


@pytest.mark.parametrize(("total", "mean"), [
    (6 * 999 + 5, "999.8"),
    (6 * 1000, "1,000"),
    (6 * 1234 + 2, "1,234"),
    (6 * 1234 + 3, "1,235"),
    (2**63 - 1, "1,537,228,672,809,129,301"),
])  # fmt: skip
def test_a_daily_average_is_whole_and_exact_from_1000_on(total: int, mean: str) -> None:
    (found,) = (
        each for each in figures(metrics_of([*RECORDED, (1, "/", total)]), ENGLISH) if "average" in each.name
    )
    assert found.value == mean


@pytest.mark.parametrize(
    ("gone", "detail"),
    [
        (set(), "of 6 complete days"),
        ({0, 9}, "of 6 complete days"),
        ({2, 5}, "of 6 complete days, 2 without rows"),
        ({5, *range(6, 14)}, "of 4 complete days"),
    ],
)
def test_a_daily_average_says_how_many_of_its_days_have_no_rows(gone: set[int], detail: str) -> None:
    rows = [(days, "/", 10) for days in range(14) if days not in gone]
    (found,) = (each for each in figures(metrics_of(rows), ENGLISH) if "average" in each.name)
    assert found.detail == detail


def test_if_only_today_has_rows_there_are_no_figures_of_other_days() -> None:
    for name in ("today", "7d"):
        names = [figure.name for figure in figures(metrics_of([(0, "/", 9)], name), ENGLISH)]
        assert names == ["Visits", "Paths visited"]


def test_without_visits_there_is_no_best_day_and_no_small_chart() -> None:
    found = list(figures(metrics_of(RECORDED), ENGLISH))
    assert "Best day" not in [figure.name for figure in found]
    assert [figure.spark for figure in found] == [None] * 4


# The page.


def page(rows: list[tuple[int, str, int]], name: str = "7d", site: str = "example.com") -> dict[str, Any]:
    """Return the variables of a page's template, without charts."""
    whole = SiteHeader(
        name=site, url=None, intro="", timezone="UTC", formatter=ENGLISH, notice=None, windows=[name],
        default_window=name, built_at=datetime(2026, 11, 23, tzinfo=UTC), due=None, as_of=TODAY,
        read=Span(TODAY, TODAY), notes={}, examples={}, version="1",
    )  # fmt: skip
    return page_variables(whole, Page(metrics_of(rows, name), [], [], {}), root="", here="")


@pytest.mark.parametrize(("days", "stacked"), [(1, False), (31, False), (32, True), (366, True)])
def test_long_tables_are_one_below_the_other(days: int, stacked: bool) -> None:
    assert page([(0, "/", 1)], f"{days}d")["stacked"] == stacked


@pytest.mark.parametrize(("site", "stem"), [
    ("example.com", "example.com-7d-2026-11-23"),
    ("My Site & Co.", "my-site-co-7d-2026-11-23"),
    ("../../etc/passwd", "etc-passwd-7d-2026-11-23"),
    ("Caf\u00e9 \u6771\u4eac", "caf\u00e9-\u6771\u4eac-7d-2026-11-23"),
    ('\u202e!"<>', "report-7d-2026-11-23"),
])  # fmt: skip
def test_files_are_saved_by_the_name_of_site_window_and_date(site: str, stem: str) -> None:
    """Without characters that have a meaning in a file system or an HTML attribute."""
    assert page([(0, "/", 1)], site=site)["stem"] == stem


def test_dates_without_rows_are_listed_on_both_sides_of_the_comparison() -> None:
    found = page([(days, "/", 1) for days in range(14) if days not in {2, 3, 9, 12}])
    assert found["unrecorded"] == ["Fri 20 \u2013 Sat 21 Nov 2026"]
    assert found["unrecorded_before"] == ["Wed 11 Nov 2026", "Sat 14 Nov 2026"]


def test_a_path_names_the_numbers_behind_its_change() -> None:
    (found,) = page([(0, "/", 5), (1, "/", 1000), (8, "/", 40)])["paths"]
    assert found["basis"] == "1,000 against 40 on 1 of 6 complete days"
