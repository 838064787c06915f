"""The sentences "What changed": few, each checked against the tables, none about small changes."""

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.core.text import CLOSE, ENGLISH, OPEN, LocaleFormatter, bare
from reportgen.core.windows import make_window
from reportgen.metrics.highlights import comparison_note, sentences
from tests.support.examples import drawn
from tests.support.figures import RECORDED, read_figures

TODAY = date(2026, 11, 23)
NOW = "Tue 17 \u2013 Sun 22 Nov 2026"
BEFORE = "Tue 10 \u2013 Sun 15 Nov 2026"
Row = tuple[int, str, int]
"""Days ago, path, visits."""


def said(rows: Iterable[Row], name: str = "7d", *, over: bool = False) -> list[str]:
    """Return what a build would say of these rows, as text; ``over``: today is complete."""
    return list(map(bare, marked(rows, name, over=over)))


def marked(
    rows: Iterable[Row], name: str = "7d", *, over: bool = False, formatter: LocaleFormatter = ENGLISH
) -> list[str]:
    """Return the same with the marks around paths. Each date of the week and the one before has a row."""
    window = make_window(name, TODAY, today_complete=over)
    return sentences(read_figures([*RECORDED, *rows], [window]).metrics[0], formatter)


def noted(
    days: Iterable[int],
    name: str = "7d",
    *,
    over: bool = False,
    today: date = TODAY,
    formatter: LocaleFormatter = ENGLISH,
    **options: Any,
) -> str:
    """Return why not all days are compared if only these days ago have rows."""
    window = make_window(name, today, today_complete=over, **options)
    (metrics,) = read_figures([(day, "/", 9) for day in days], [window]).metrics
    return comparison_note(metrics, formatter)


def evenly(path: str, now: int, before: int) -> list[Row]:
    """Return rows with ``now`` visits on each of the last complete days, and ``before`` a week earlier."""
    return [(days, path, now if days < 7 else before) for days in (*range(1, 7), *range(8, 14))]


def beginning(start: str, found: list[str]) -> list[str]:
    """Return the sentences that begin with these words."""
    return [sentence for sentence in found if sentence.startswith(start)]


def by_path(found: list[str]) -> list[str]:
    """Return the sentences that say which paths explain the change."""
    return [sentence for sentence in found if "all other paths" in sentence]


def contributions(sentence: str, change: int) -> list[tuple[str, int]]:
    """Return each path with its change, read from such a sentence; the last are all other paths."""
    text, _, together = sentence.rstrip(".").partition("; together ")
    parts = re.findall(r"([^,;]+?) (brought |lost |gained |)([\d,]*\d)(?: of them)?(?:, |; |$)", text)
    if together:
        assert int(together.replace(",", "").replace("\u2212", "-")) == change
        signs = [-1 if verb == "lost " else 1 for _, verb, _ in parts]
    else:
        assert parts[0][1] == ("brought " if change > 0 else "lost ")
        signs = [1 if change > 0 else -1] * len(parts)
    return [(path, sign * int(by.replace(",", ""))) for sign, (path, _, by) in zip(signs, parts, strict=True)]


@pytest.mark.parametrize(
    ("now", "before", "sentence"),
    [
        (1000, 2500, f"Down 60% on the week before: 1,500 fewer visits (1,000 on {NOW}, 2,500 on {BEFORE})."),
        (3, 2, f"Up 50% on the week before: 1 more visit (3 on {NOW}, 2 on {BEFORE})."),
        (2, 1, f"Up 100% on the week before: 1 more visit (2 on {NOW}, 1 on {BEFORE})."),
        (1, 2, f"Down 50% on the week before: 1 fewer visit (1 on {NOW}, 2 on {BEFORE})."),
        (0, 2, f"Down 100% on the week before: 2 fewer visits (0 on {NOW}, 2 on {BEFORE})."),
        (9999, 10000, f"1 fewer visit than the week before (9,999 on {NOW}, 10,000 on {BEFORE})."),
        (1, 1, f"1 visit on {NOW}, as many as on {BEFORE}."),
        (5, 0, f"5 visits on {NOW}; none on {BEFORE}."),
        (1, 0, f"1 visit on {NOW}; none on {BEFORE}."),
        (0, 0, f"No visits on {NOW}; none on {BEFORE}."),  # but 100 today
    ],
)
def test_the_first_sentence_states_the_total_and_its_change_on_complete_days(
    now: int, before: int, sentence: str
) -> None:
    """Today (100 visits) and the same date of the window before (50) are left out."""
    assert said([(0, "/t", 100), (7, "/t", 50), (2, "/", now), (9, "/", before)])[0] == sentence


def test_where_days_between_are_left_out_the_sentence_says_how_many_its_numbers_have() -> None:
    window = make_window("7d", TODAY, today_complete=False)
    rows = [(days, "/", 20 if days < 7 else 10) for days in range(14)]

    def total(gone: set[int]) -> str:
        (metrics,) = read_figures([row for row in rows if row[0] not in gone], [window]).metrics
        return sentences(metrics, ENGLISH)[0]

    assert total({3, 11}) == (
        f"Up 100% on the week before: 40 more visits (80 on 4 days of {NOW}, 40 on 4 days of {BEFORE})."
    )
    assert total({6, 12}).endswith(
        "(80 on Thu 19 \u2013 Sun 22 Nov 2026, 40 on Thu 12 \u2013 Sun 15 Nov 2026)."
    )


def test_one_day_is_compared_with_another_without_a_percentage() -> None:
    assert said([(0, "/", 9), (1, "/", 4)], "today", over=True) == [
        "5 more visits than the day before (9 on Mon 23 Nov 2026, 4 on Sun 22 Nov 2026).",
        "/ brought 5 of them; all other paths 0.",
    ]
    assert "%" not in " ".join(said([(0, "/", 600), (1, "/", 4), (1, "/a", 50)], "1d", over=True))


def test_nothing_is_said_of_a_today_that_still_runs() -> None:
    assert said([(0, "/", 600), (1, "/", 4), (7, "/", 9)], "today") == []


@pytest.mark.parametrize("rows", [[], [(2, "/", 0), (9, "/", 0)], [(14, "/", 9)], [(7, "/", 9)]])
def test_nothing_is_said_of_a_window_without_visits_against_none(rows: list[Row]) -> None:
    """The page already says that it is empty; visits outside the comparison do not count."""
    assert marked(rows) == []


# Days that are not compared.


def test_where_nothing_is_compared_only_the_best_day_has_a_sentence() -> None:
    """It does not call all visits new: earlier ones were not recorded."""
    window = make_window("30d", TODAY, today_complete=False)
    rows = [(days, "/", 90 if days == 3 else 10) for days in range(20)]
    (metrics,) = read_figures(rows, [window]).metrics
    best = "The best day was Fri 20 Nov 2026 with 90 visits, against a median of 10."
    assert sentences(metrics, ENGLISH) == [best]
    (metrics,) = read_figures(rows[:1], [window]).metrics
    assert sentences(metrics, ENGLISH) == []


@pytest.mark.parametrize(
    ("name", "days", "note"),
    [
        ("today", 1, "Recorded since Mon 23 Nov: comparisons begin on 24 Nov."),
        ("today", 2, ""),
        ("yesterday", 2, "Recorded since Sun 22 Nov: comparisons begin on 24 Nov."),
        ("yesterday", 3, ""),
        ("7d", 1, "Recorded since Mon 23 Nov: comparisons begin with the visits of 30 Nov."),
        ("7d", 4, "Recorded since Fri 20 Nov: comparisons begin with the visits of 27 Nov."),
        ("7d", 8, "Recorded since Mon 16 Nov: comparisons begin tomorrow, with today's visits."),
        ("7d", 9, "1 of 6 complete days compared: recorded since Sun 15 Nov."),
        ("7d", 13, "5 of 6 complete days compared: recorded since Wed 11 Nov."),
        ("7d", 14, ""),
        ("30d", 20, "Recorded since Wed 4 Nov: comparisons begin with the visits of 4 Dec."),
        ("60d", 1, "Recorded since Mon 23 Nov: comparisons begin with the visits of 22 Jan 2027."),
        ("month", 1, "Recorded since Mon 23 Nov: comparisons begin with the visits of 23 Dec."),
        ("month", 30, "Recorded since Sun 25 Oct: comparisons begin with the visits of 25 Nov."),
        ("month", 40, "8 of 22 complete days compared: recorded since Thu 15 Oct."),
        ("last-month", 1, "Recorded since Mon 23 Nov 2026."),
        ("last-week", 8, "Recorded since Mon 16 Nov: comparisons begin on 30 Nov."),
        ("year", 1, "Recorded since Mon 23 Nov: comparisons begin with the visits of 23 Nov 2027."),
        ("last-year", 1, "Recorded since Mon 23 Nov 2026."),
    ],
)
def test_in_the_first_days_a_note_says_since_when_and_when_comparisons_begin(
    name: str, days: int, note: str
) -> None:
    assert noted(range(days), name) == note


def test_a_sentence_that_ends_with_a_short_month_has_one_full_stop() -> None:
    german = LocaleFormatter.of("de")
    assert noted(range(20), "30d", formatter=german).endswith(" with the visits of 4. Dez.")
    assert noted(range(9), formatter=german).endswith("recorded since So., 15. Nov.")


def test_the_first_comparison_is_the_one_of_the_first_recorded_date() -> None:
    today = date(2026, 12, 17)
    assert (
        noted([0], "30d", today=today)
        == "Recorded since Thu 17 Dec: comparisons begin with the visits of 16 Jan 2027."
    )
    assert noted(range(14), "30d", today=date(2026, 1, 5)) == (
        "Recorded since Tue 23 Dec 2025: comparisons begin with the visits of 22 Jan."
    )


@pytest.mark.parametrize(
    ("name", "begun"),
    [
        ("7d", date(2026, 11, 20)),
        ("30d", date(2026, 12, 17)),
        ("week", date(2026, 11, 29)),
        ("month", date(2026, 12, 31)),
        ("yesterday", date(2026, 11, 20)),
        ("last-week", date(2026, 11, 20)),
    ],
)
def test_the_named_visits_are_compared_on_the_page_of_the_next_day_and_not_before(
    name: str, begun: date
) -> None:
    """Of the pages of each day, the last one without a comparison names what the next one compares."""
    before = ""
    for days in range(1, 80):
        today = begun + timedelta(days)
        rows = [(ago, "/", 9) for ago in range(days + 1)]
        (metrics,) = read_figures(rows, [make_window(name, today, today_complete=False)]).metrics
        if metrics.comparison.span:
            break
        before = comparison_note(metrics, ENGLISH) or before
    compared = ENGLISH.tick(metrics.window.span.last - timedelta(1), weekday=False)
    ends = ["tomorrow, with today's visits", f"with the visits of {compared}"]
    if metrics.window.span.last < today:
        ends = [f"comparisons begin on {ENGLISH.tick(today, weekday=False)}"]
    assert before.removesuffix(".").removesuffix(" 2027").endswith(tuple(ends))


def test_a_running_today_has_no_note_of_a_second_comparison_that_its_page_never_shows() -> None:
    both = {"compare": ("previous", "year")}
    assert noted(range(5), "today", **both) == ""
    assert noted(range(1), "today", **both) == "Recorded since Mon 23 Nov: comparisons begin on 24 Nov."
    assert noted(range(5), "today", over=True, **both) == (
        "Comparisons with the year before begin on 18 Nov 2027."
    )


@pytest.mark.parametrize(
    ("missing", "note"),
    [
        (set(), ""),
        ({0, 7}, ""),
        ({3}, "5 of 6 complete days compared: 1 without rows."),
        ({3, 10}, "5 of 6 complete days compared: 1 without rows."),
        ({3, 9, 12}, "3 of 6 complete days compared: 3 without rows."),
        (
            {3, 13},
            "4 of 6 complete days compared: recorded since Wed 11 Nov, 1 without rows.",
        ),
        (
            {1, 2, 3, 11, 12, 13},
            "Nothing is compared: where a complete day has rows, the day to compare it with has none.",
        ),
    ],
)
def test_dates_without_rows_are_not_compared_and_counted(missing: set[int], note: str) -> None:
    assert noted(set(range(14)) - missing) == note


def test_a_gap_is_not_taken_for_the_beginning_if_there_are_older_rows() -> None:
    older = {40}
    assert noted(older | set(range(13))) == "5 of 6 complete days compared: 1 without rows."
    assert noted(older | {0, 1, 2}) == (
        "Nothing is compared: there are no rows of 10 \N{EN DASH} 15 Nov to compare with."
    )
    assert noted({400, *range(27)}, "30d") == (
        "Nothing is compared: there are no rows of 25 Sep \N{EN DASH} 23 Oct to compare with."
    )
    assert noted({5, 1}, "yesterday") == "Nothing is compared: there are no rows of 21 Nov to compare with."
    assert noted({700, *range(40)}, compare=("previous", "year")) == (
        "Nothing is compared with the year before:"
        " there are no rows of 18 \N{EN DASH} 23 Nov 2025 to compare with."
    )
    assert noted(older | {9}) == ""  # the page says that it has no visits


def test_a_longer_month_says_that_the_earlier_one_is_shorter() -> None:
    days = range(70)
    assert noted(days, "month", today=date(2026, 3, 31)) == (
        "28 of 30 complete days compared: the earlier period is shorter."
    )
    assert noted(range(800), "month", today=date(2024, 3, 1), over=True, compare=("year",)) == ""
    assert noted(range(800), "last-month", today=date(2024, 3, 1), compare=("year",)) == (
        "28 of 29 complete days compared: the earlier period is shorter."
    )


# Paths that explain it.


def test_a_change_that_no_path_explains_names_the_smallest_change_of_a_named_path() -> None:
    """5 % of the window's visits, today's included."""
    grown = [(day, f"/{n}", 20 + (day == 1)) for n in range(50) for day in (1, 8)]
    assert said(grown)[:2] == [
        f"Up 5.0% on the week before: 50 more visits (1,050 on {NOW}, 1,000 on {BEFORE}).",
        "No path changed by 53 visits or more, which is 5\u00a0% of the window's visits.",
    ]
    assert "No path changed by 57 visits or more, " in said([*grown, (0, "/", 90)])[1]
    few = [(1, "/", 3), (8, "/", 2)]
    assert said(few)[1:] == ["No path changed by 5 visits or more."]


def test_where_a_part_is_compared_a_path_is_named_at_5_percent_of_the_compared_visits() -> None:
    """One day is compared. 20 visits are 5 % of its visits, but not of the window's."""
    window = make_window("7d", TODAY, today_complete=False)
    others = [(days, "/", 380) for days in range(9)]

    def told(more: int) -> str:
        rows = [*others, (1, "/a", 10 + more), (8, "/a", 10)]
        (metrics,) = read_figures(rows, [window]).metrics
        return bare(sentences(metrics, ENGLISH)[1])

    assert told(21) == "/a brought 21 of them; all other paths 0."
    assert told(20) == (
        "No path changed by 21 visits or more, which is 5\u00a0% of the visits that are compared."
    )


def test_where_the_total_stays_there_is_nothing_to_explain() -> None:
    rows = [(day, path, 9) for n in range(50) for day, path, _ in evenly(f"/{n}", 9, 9)]
    moved = [(day, path, 9 + (day == 8) * (1 if int(path[1:]) % 2 else -1)) for day, path, _ in rows]
    assert said(moved) == said(rows) == [f"2,700 visits on {NOW}, as many as on {BEFORE}."]


def test_paths_that_explain_the_change_are_named_with_what_they_contribute() -> None:
    """The largest contributions first, three at most; with all other paths they are the change."""
    rows = [*evenly("/a", 10, 30), *evenly("/b", 50, 20), *evenly("/c", 29, 20), *evenly("/d", 28, 20)]
    assert said(rows)[1] == (
        "/b gained 180, /a lost 120, /c gained 54; all other paths gained 48; together +162."
    )
    grown = [*evenly("/a", 50, 20), *evenly("/b", 29, 20), *evenly("/c", 21, 20)]
    assert said(grown)[1] == "/a brought 180 of them, /b 54; all other paths 6."
    swapped = [((days + 7) % 14, path, visits) for days, path, visits in grown]
    assert said(swapped)[1] == "/a lost 180 of them, /b 54; all other paths 6."


def test_contributions_are_named_even_if_they_cancel_out() -> None:
    rows = [*evenly("/a", 10, 20), *evenly("/b", 20, 10)]
    assert said(rows)[1] == "/b gained 60, /a lost 60; all other paths 0; together 0."


tables = st.lists(
    st.tuples(st.integers(0, 13), st.sampled_from(["/", "/a", "/b", "/c", "/d", "/e"]), st.integers(0, 2000)),
    max_size=30,
)


@drawn(30)
@given(tables, st.booleans())
def test_contributions_and_all_other_paths_sum_to_the_change(rows: list[Row], over: bool) -> None:
    """The numbers are read back from the sentence and checked against the table, added by hand."""
    total = sum(visits for days, _, visits in rows if days < 7)
    moved = dict.fromkeys((path for _, path, _ in rows), 0)
    for days, path, visits in rows:
        moved[path] += (visits if days < 7 else -visits) if over or days % 7 else 0
    loud = [by for by in moved.values() if abs(by) >= 5 and 20 * abs(by) >= total]
    spoken = by_path(said(rows, over=over))
    assert len(spoken) == bool(loud)
    quiet = beginning("No path changed by ", said(rows, over=over))
    assert len(quiet) == (not loud and sum(moved.values()) != 0)
    for sentence in spoken:
        *named, (rest_name, rest) = contributions(sentence, sum(moved.values()))
        assert rest_name == "all other paths"
        assert sum(by for _, by in named) + rest == sum(moved.values())
        assert named == [(path, moved[path]) for path, _ in named]
        assert [abs(by) for _, by in named] == sorted(map(abs, loud), reverse=True)[:3]


@pytest.mark.parametrize(
    ("total", "least"), [(20, 5), (99, 5), (100, 5), (101, 6), (120, 6), (200, 10), (201, 11), (2000, 100)]
)
def test_a_path_is_named_at_5_percent_of_the_total_and_5_visits_and_not_below(total: int, least: int) -> None:
    for moved, named in ((least - 1, False), (least, True)):
        grown = [(8, "/a", 1), (1, "/a", 1 + moved), (1, "/", total - moved - 1), (8, "/", total - moved - 1)]
        assert ["/a " in sentence for sentence in by_path(said(grown))] == [True] * named
        new = [(1, "/a", moved), (1, "/", total - moved), (8, "/", total - moved)]
        assert len(beginning("New: /a ", said(new))) == named
        gone = [(8, "/a", moved), (1, "/", total), (8, "/", total)]
        assert len(beginning("Gone: /a ", said(gone))) == named


def test_visits_of_today_count_for_the_total_from_which_a_named_path_is_computed() -> None:
    rows = [(8, "/a", 1), (1, "/a", 6), (1, "/", 94), (8, "/", 94)]
    assert len(by_path(said(rows))) == 1
    assert len(by_path(said([*rows, (0, "/", 20)]))) == 0


def test_new_is_what_had_no_visit_in_the_whole_previous_window() -> None:
    rows = [(1, "/a", 50), (2, "/b", 1), (2, "/b", 40), (8, "/c", 0), (3, "/c", 30), (14, "/b", 9)]
    assert beginning("New", said(rows)) == ["New: /a (50 visits), /b (41 visits), /c (30 visits)."]
    assert beginning("New", said([*rows, (7, "/a", 1)])) == ["New: /b (41 visits), /c (30 visits)."]


def test_gone_is_what_has_no_visit_in_the_whole_window_today_included() -> None:
    rows = [(8, "/a", 50), (9, "/b", 40), (7, "/b", 5), (1, "/c", 10), (8, "/c", 10), (1, "/b", 0)]
    assert beginning("Gone", said(rows)) == ["Gone: /a (50 visits before), /b (40 visits before)."]
    assert beginning("Gone", said([*rows, (0, "/a", 1)])) == ["Gone: /b (40 visits before)."]


@pytest.mark.parametrize(("paths", "end"), [(3, "."), (4, " and 1 more path."), (5, " and 2 more paths.")])
def test_three_paths_are_named_and_the_others_counted(paths: int, end: str) -> None:
    new = "New: /0 (30 visits), /1 (29 visits), /2 (28 visits)"
    assert beginning("New", said([(1, f"/{n}", 30 - n) for n in range(paths)])) == [new + end]
    gone = "Gone: /0 (30 visits before), /1 (29 visits before), /2 (28 visits before)"
    assert beginning("Gone", said([(8, f"/{n}", 30 - n) for n in range(paths)])) == [gone + end]


@pytest.mark.parametrize(
    ("visits", "expected"),
    [
        ([10, 10, 10, 10, 10, 20], None),
        ([10, 10, 10, 10, 10, 21], "Sun 22 Nov 2026 with 21 visits, against a median of 10."),
        ([4, 5, 12, 4, 5, 4], "Thu 19 Nov 2026 with 12 visits, against a median of 4.5."),
        ([0, 0, 0, 0, 4, 0], None),
        ([0, 0, 0, 0, 5, 0], "Sat 21 Nov 2026 with 5 visits, against a median of 0."),
        ([2, 2, 2, 2, 2, 5], "Sun 22 Nov 2026 with 5 visits, against a median of 2."),
        ([0, 0, 0, 0, 0, 0], None),
        ([9, 0, 0, 0, 0, 9], "Sun 22 Nov 2026 with 9 visits, against a median of 0."),
    ],
)
def test_the_best_day_has_a_sentence_only_above_twice_the_median(
    visits: list[int], expected: str | None
) -> None:
    """And with at least 5 visits. The median is of the complete days, without today."""
    rows = [(days, "/", number) for days, number in zip(range(6, 0, -1), visits, strict=True)]
    found = beginning("The best day", said([*rows, (0, "/", 1000)]))
    assert found == ([f"The best day was {expected}"] if expected else [])


def test_one_complete_day_is_never_the_best() -> None:
    assert beginning("The best day", said([(1, "/", 50)], "2d")) == []


@drawn(30)
@given(tables.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_the_same_rows_in_any_order_give_the_same_sentences_and_at_most_six(
    orders: tuple[list[Row], list[Row]],
) -> None:
    one, other = (said(rows) for rows in orders)
    assert one == other
    assert len(one) <= 6
    assert bool(one) == any(visits for days, _, visits in orders[0] if days != 7)
    assert [sentence for sentence in one if not sentence.endswith(".") or "\n" in sentence] == []


def test_invisible_characters_of_a_hostile_path_are_named() -> None:
    assert beginning("New", said([(1, "/\u202egnp.exe\n", 9)])) == ["New: /<U+202E>gnp.exe\u240a (9 visits)."]


def test_paths_are_between_marks_so_that_a_page_can_isolate_them() -> None:
    """Every path in every kind of sentence, and nothing else."""
    rows = [*evenly("/up", 90, 10), (1, "/new)", 80), (8, "/gone, (9 visits)", 70)]
    paths = [re.findall(f"{OPEN}(.*?){CLOSE}", sentence) for sentence in marked(rows)]
    assert paths == [[], ["/up", "/new)", "/gone, (9 visits)"], ["/new)"], ["/gone, (9 visits)"]]


def test_a_path_cannot_forge_the_marks() -> None:
    (sentence,) = beginning("New", marked([(1, f"/a{CLOSE} was {OPEN}b", 9)]))
    assert sentence == f"New: {OPEN}/a\u2403 was \u2402b{CLOSE} (9 visits)."


def test_a_long_path_is_cut_to_what_a_sentence_can_hold() -> None:
    (sentence,) = beginning("New", said([(1, "/" + "a" * 5000 + "/end", 9)]))
    assert len(sentence) == len("New:  (9 visits).") + 64
    assert "aaa\u2026aaa" in sentence
    assert "a/end (9 visits)." in sentence


def test_numbers_and_dates_in_sentences_follow_the_locale() -> None:
    rows = [(2, "/", 1000), (9, "/", 2500)]
    assert marked(rows, formatter=LocaleFormatter.of("de"))[0] == (
        "Down 60\xa0% on the week before: 1.500 fewer visits "
        "(1.000 on Di., 17.\u2009\u2013\u2009So., 22. Nov. 2026, "
        "2.500 on Di., 10.\u2009\u2013\u2009So., 15. Nov. 2026)."
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [("yesterday", "the same weekday"), ("week", "the same weekdays"), ("month", "the same dates")],
)
def test_a_year_before_are_the_same_weekdays_or_dates(name: str, words: str) -> None:
    window = make_window(name, date(2026, 11, 26), today_complete=False, compare=("year",))
    (metrics,) = read_figures([(day, "/", day) for day in range(400)], [window]).metrics
    assert f" {words} a year before" in sentences(metrics, ENGLISH)[0]


def test_a_second_comparison_has_a_sentence_after_the_paths_of_the_first() -> None:
    window = make_window("7d", TODAY, today_complete=False, compare=("previous", "year"))
    rows = [(days, "/", 10 if days < 7 else 5) for days in range(372)]
    (metrics,) = read_figures(rows, [window]).metrics
    total, paths, year = map(bare, sentences(metrics, ENGLISH))
    assert total.startswith("Up 100% on the week before: 30 more visits (60 on Tue 17")
    assert paths.startswith("/ brought 30 of them")
    assert year.startswith("Up 100% on the same weekdays a year before: 30 more visits (60 on Tue 17")
    (metrics,) = read_figures(rows[:14], [window]).metrics
    assert len(sentences(metrics, ENGLISH)) == 2
    assert comparison_note(metrics, ENGLISH) == (
        "Comparisons with the year before begin with the visits of 9 Nov 2027."
    )
    (metrics,) = read_figures(rows[:370], [window]).metrics
    assert comparison_note(metrics, ENGLISH) == (
        "5 of 6 complete days compared with the year before: recorded since Wed 19 Nov 2025."
    )
