"""How numbers, dates and paths are written, in the locale of the reader."""

import math
import re
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reportgen.config.settings import Config
from reportgen.core.text import (
    CLOSE,
    ENGLISH,
    LONGEST_NAME,
    OPEN,
    LocaleFormatter,
    bare,
    columns,
    cut,
    isolated,
    shorten,
    visible,
)
from reportgen.core.windows import Span

LOCALES = ("en", "en-US", "de", "fr", "pt-BR", "ja", "ar", "tr", "hi")
TUESDAY, MONDAY = date(2026, 11, 17), date(2026, 11, 23)
SPANS = {
    "month": Span(TUESDAY, MONDAY),
    "months": Span(date(2026, 10, 25), date(2026, 11, 3)),
    "years": Span(date(2026, 12, 31), date(2027, 1, 1)),
}

BIDI = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
"""Classes of characters that turn the text around them."""

THIN, NBSP, NARROW, DASH, MINUS = "\u2009", "\xa0", "\u202f", "\u2013", "\u2212"
RTL, END, MARK = "\u2067", "\u2069", "\u200e"


# Numbers, in plain English.


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1234567, "1,234,567"), (-1234, f"{MINUS}1,234"), (2**63, f"{2**63:,}")],
)
def test_whole_numbers_have_thousands_separators_and_a_real_minus(value: int, text: str) -> None:
    assert ENGLISH.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(5, "+5"), (1234, "+1,234"), (0, "0"), (-3, f"{MINUS}3"), (-1234, f"{MINUS}1,234")]
)
def test_contributions_carry_their_sign(value: int, text: str) -> None:
    assert ENGLISH.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (3.0, "3"), (156.33, "156.3"), (1234.56, "1,234.6"), (-2.5, f"{MINUS}2.5")],
)
def test_averages_have_at_most_one_decimal(value: float, text: str) -> None:
    assert ENGLISH.decimal(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "new"),
        (math.nan, "new"),
        (0.0, "0%"),
        (0.0004, "0%"),
        (-0.0004, "0%"),
        (0.0006, "+0.1%"),
        (-0.001, f"{MINUS}0.1%"),
        (0.05, "+5.0%"),
        (0.02, "+2.0%"),
        (-0.03, f"{MINUS}3.0%"),
        (0.094, "+9.4%"),
        (0.0994, "+9.9%"),
        (0.0999, "+10%"),
        (-0.0999, f"{MINUS}10%"),
        (0.1, "+10%"),
        (0.1145, "+11%"),
        (-0.11451, f"{MINUS}11%"),
        (0.1151, "+12%"),
        (0.496, "+50%"),
        (12.3, "+1,230%"),
        (-1.0, f"{MINUS}100%"),
    ],
)
def test_changes_are_rounded_once_to_a_decimal_below_10_percent_and_whole_above(
    value: float | None, text: str
) -> None:
    assert ENGLISH.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0%"), (0.0004, "< 0.1%"), (0.0006, "0.1%"), (0.3241, "32.4%"), (1.0, "100.0%")],
)
def test_a_small_share_is_never_shown_as_none(value: float, text: str) -> None:
    assert ENGLISH.share(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0 visits"), (1, "1 visit"), (1000, "1,000 visits")])
def test_only_one_is_singular(value: int, text: str) -> None:
    assert ENGLISH.count(value, "visit") == text


# Dates, in plain English.


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (MONDAY, MONDAY, "Mon 23 Nov 2026"),
        (TUESDAY, MONDAY, f"Tue 17 {DASH} Mon 23 Nov 2026"),
        (date(2026, 10, 25), date(2026, 11, 3), f"Sun 25 Oct {DASH} Tue 3 Nov 2026"),
        (date(2026, 12, 31), date(2027, 1, 1), f"Thu 31 Dec 2026 {DASH} Fri 1 Jan 2027"),
        (date(2025, 11, 23), MONDAY, f"Sun 23 Nov 2025 {DASH} Mon 23 Nov 2026"),
    ],
)
def test_a_span_says_once_what_its_ends_share(first: date, last: date, text: str) -> None:
    assert ENGLISH.span(Span(first, last)) == text


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (MONDAY, MONDAY, "23 Nov"),
        (TUESDAY, MONDAY, f"17 {DASH} 23 Nov"),
        (date(2026, 10, 25), date(2026, 11, 3), f"25 Oct {DASH} 3 Nov"),
        (date(2025, 11, 17), date(2025, 11, 23), f"17 {DASH} 23 Nov 2025"),
        (date(2025, 12, 31), date(2026, 1, 1), f"31 Dec 2025 {DASH} 1 Jan 2026"),
        (date(2025, 11, 17), date(2025, 11, 17), "17 Nov 2025"),
    ],
)
def test_a_short_span_has_a_year_only_if_it_is_another_one(first: date, last: date, text: str) -> None:
    assert ENGLISH.short_span(Span(first, last), 2026) == text
    german = LocaleFormatter.of("de").short_span(Span(first, last), 2026)
    assert german.endswith(("2025", "2026") if text[-1].isdigit() else "Nov.")


def test_a_date_below_an_axis_has_its_weekday_where_there_is_room() -> None:
    assert ENGLISH.tick(TUESDAY, weekday=True) == "Tue 17 Nov"
    assert ENGLISH.tick(TUESDAY, weekday=False) == "17 Nov"


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=-9))])
def test_a_moment_is_written_as_it_stands_whatever_its_zone(zone: timezone | None) -> None:
    """The site's zone is put into a time before it is written, once, elsewhere."""
    moment = datetime(2026, 11, 23, 7, 5, 59, tzinfo=zone)
    assert ENGLISH.clock(moment) == "07:05"
    assert ENGLISH.moment(moment) == "Mon 23 Nov 2026, 07:05"
    assert ENGLISH.clock(moment.replace(hour=0)) == "00:05"


# The same elsewhere.

NUMBERS = {
    # 12,345,678; -1,234; +1,234; 1,234.6; +58%; -9.9%; 32.4%; < 0.1%
    "en": ("12,345,678", f"{MINUS}1,234", "+1,234", "1,234.6", "+58%", f"{MINUS}9.9%", "32.4%", "< 0.1%"),
    "en-US": ("12,345,678", f"{MINUS}1,234", "+1,234", "1,234.6", "+58%", f"{MINUS}9.9%", "32.4%", "< 0.1%"),
    "de": (
        "12.345.678", f"{MINUS}1.234", "+1.234", "1.234,6",
        f"+58{NBSP}%", f"{MINUS}9,9{NBSP}%", f"32,4{NBSP}%", f"< 0,1{NBSP}%",
    ),
    "fr": (
        f"12{NARROW}345{NARROW}678", f"{MINUS}1{NARROW}234", f"+1{NARROW}234", f"1{NARROW}234,6",
        f"+58{NBSP}%", f"{MINUS}9,9{NBSP}%", f"32,4{NBSP}%", f"< 0,1{NBSP}%",
    ),
    "pt-BR": ("12.345.678", f"{MINUS}1.234", "+1.234", "1.234,6", "+58%", f"{MINUS}9,9%", "32,4%", "< 0,1%"),
    "ja": ("12,345,678", f"{MINUS}1,234", "+1,234", "1,234.6", "+58%", f"{MINUS}9.9%", "32.4%", "< 0.1%"),
    "ar": (
        "12,345,678", f"{MARK}{MINUS}1,234", f"{MARK}+1,234", "1,234.6", f"{MARK}+58{MARK}%{MARK}",
        f"{MARK}{MINUS}9.9{MARK}%{MARK}", f"32.4{MARK}%{MARK}", f"< 0.1{MARK}%{MARK}",
    ),
    "tr": ("12.345.678", f"{MINUS}1.234", "+1.234", "1.234,6", "+%58", f"{MINUS}%9,9", "%32,4", "< %0,1"),
    "hi": ("1,23,45,678", f"{MINUS}1,234", "+1,234", "1,234.6", "+58%", f"{MINUS}9.9%", "32.4%", "< 0.1%"),
}  # fmt: skip
"""The separators, signs and places of the percent sign that Unicode's CLDR gives."""


@pytest.mark.parametrize("name", LOCALES)
def test_numbers_follow_the_locale(name: str) -> None:
    here = LocaleFormatter.of(name)
    assert NUMBERS[name] == (
        here.number(12345678), here.number(-1234), here.signed(1234), here.decimal(1234.56),
        here.percent(0.58), here.percent(-0.0994), here.share(0.3241), here.share(0.0004),
    )  # fmt: skip
    assert (here.number(0), here.signed(0), here.decimal(0)) == ("0", "0", "0")
    assert here.percent(None) == "new"


DATES = {
    "en-US": (
        "Tue, Nov 17, 2026", "Tue, Nov 17", "Nov 17", f"Tue, Nov 17{THIN}{DASH}{THIN}Mon, Nov 23, 2026",
    ),
    "de": (
        "Di., 17. Nov. 2026", "Di., 17. Nov.", "17. Nov.", f"Di., 17.{THIN}{DASH}{THIN}Mo., 23. Nov. 2026",
    ),
    "fr": ("mar. 17 nov. 2026", "mar. 17 nov.", "17 nov.", f"mar. 17{THIN}{DASH}{THIN}lun. 23 nov. 2026"),
    "pt-BR": (
        "ter., 17 de nov. de 2026", "ter., 17 de nov.", "17 de nov.",
        f"ter., 17 de nov.{THIN}{DASH}{THIN}seg., 23 de nov. de 2026",
    ),
    "ja": (
        "2026年11月17日(火)", "11月17日(火)", "11月17日", "2026年11月17日(火)\uff5e23日(月)",
    ),
    "ar": (
        f"{RTL}الثلاثاء، 17 نوفمبر 2026{END}", f"{RTL}الثلاثاء، 17 نوفمبر{END}", f"{RTL}17 نوفمبر{END}",
        f"{RTL}الثلاثاء، 17 {DASH} الاثنين، 23 نوفمبر، 2026{END}",
    ),
    "tr": (
        "17 Kas 2026 Sal", "17 Kas Sal", "17 Kas", f"17 Kas 2026 Sal{THIN}{DASH}{THIN}23 Kas 2026 Pzt",
    ),
    "hi": ("मंगल, 17 नव॰ 2026", "मंगल, 17 नव॰", "17 नव॰", f"मंगल, 17 नव॰ {DASH} सोम, 23 नव॰ 2026"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATES)
def test_dates_follow_the_locale(name: str) -> None:
    """Words that run from right to left are isolated: the page around them may not."""
    here = LocaleFormatter.of(name)
    assert DATES[name] == (
        here.day(TUESDAY), here.tick(TUESDAY, weekday=True), here.tick(TUESDAY, weekday=False),
        here.span(SPANS["month"]),
    )  # fmt: skip
    assert here.span(Span(TUESDAY, TUESDAY)) == here.day(TUESDAY)


@pytest.mark.parametrize("name", LOCALES)
@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
def test_a_span_names_both_ends_in_every_locale(name: str, span: Span) -> None:
    """Both days; and both years, in their order, where they differ."""
    here = LocaleFormatter.of(name)
    text = here.span(span)
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    assert {span.first.day, span.last.day, span.last.year} <= set(numbers)
    years = [number for number in numbers if number > 31]
    assert years in ([span.last.year], [span.first.year, span.last.year])
    assert text.startswith(RTL) == text.endswith(END) == (here.direction == "rtl")


@pytest.mark.parametrize(
    ("name", "clock", "moment"),
    [
        ("en-US", "09:05", "Mon, Nov 23, 2026, 09:05"),
        ("de", "09:05", "Mo., 23. Nov. 2026, 09:05"),
        ("ja", "9:05", "2026年11月23日(月), 9:05"),
    ],
)
def test_the_time_of_day_has_24_hours_in_every_locale(name: str, clock: str, moment: str) -> None:
    here, time = LocaleFormatter.of(name), datetime(2026, 11, 23, 9, 5, tzinfo=UTC)
    assert (here.clock(time), here.moment(time)) == (clock, moment)
    assert here.clock(time.replace(hour=21)) == "21:05"


@pytest.mark.parametrize(
    ("name", "decimal", "thousands", "grouping"),
    [
        ("en", ".", ",", [3, 3]),
        ("de", ",", ".", [3, 3]),
        ("fr", ",", NARROW, [3, 3]),
        ("hi", ".", ",", [3, 2]),
        ("ar", ".", ",", [3, 3]),
    ],
)
def test_axes_get_the_separators_of_the_text(
    name: str, decimal: str, thousands: str, grouping: list[int]
) -> None:
    """Groups enough for any number of visits; no currency."""
    found = LocaleFormatter.of(name).vega_locale()
    assert (found["decimal"], found["thousands"]) == (decimal, thousands)
    assert found["grouping"][:2] == grouping
    assert len(set(found["grouping"][1:])) == 1
    assert sum(found["grouping"]) >= 15
    assert found["currency"] == ["", ""]


@pytest.mark.parametrize("name", LOCALES)
def test_a_locale_has_its_tag_and_direction(name: str) -> None:
    here = LocaleFormatter.of(name)
    assert (here.tag, here.direction) == (name, "rtl" if name == "ar" else "ltr")


@pytest.mark.parametrize("name", ["en-US", "pt-BR", "zh-Hant-TW", "en-GB"])
def test_every_locale_that_may_be_set_can_be_written_in(name: str) -> None:
    assert LocaleFormatter.of(Config.model_validate({"locale": name}).locale).tag == name


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(LOCALES))
def test_no_number_loses_a_digit_in_any_locale(value: int, name: str) -> None:
    here = LocaleFormatter.of(name)
    for text in (here.number(value), here.signed(value)):
        assert int(re.sub(r"\D", "", text)) == abs(value)
        assert ("\u2212" in text) == (value < 0)
        assert "-" not in text


# Paths.


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "(empty)"),
        ("/plain-path_1?q=\u00e9#\U0001f600", "/plain-path_1?q=\u00e9#\U0001f600"),
        ("/a\x00b\tc\nd\x1b", "/a\u2400b\u2409c\u240ad\u241b"),
        (f"/{OPEN}a{CLOSE}", "/\u2402a\u2403"),
        ("/\x7f", "/\u2421"),
        ("/\x85\u2028\u2029", "/<U+0085><U+2028><U+2029>"),
        ("/\u202egnp.exe", "/<U+202E>gnp.exe"),
        ("\u061c\u200e\u200f\u202a\u2066\u2069", "<U+061C><U+200E><U+200F><U+202A><U+2066><U+2069>"),
        ("/\ud800/\udcff", "/<U+D800>/<U+DCFF>"),
        ("/\ufffe\U0010ffff", "/<U+FFFE><U+10FFFF>"),
        ("/a\u200b\ufeff\u00ad\u3164\u00a0", "/a<U+200B><U+FEFF><U+00AD><U+3164><U+00A0>"),
        ("/\U000e0041\ue000", "/<U+E0041><U+E000>"),
        ("/a\u200db", "/a<U+200D>b"),
        ("/\u0645\u06cc\u200c\u062e", "/\u0645\u06cc\u200c\u062e"),
        ("/\U0001f469\u200d\U0001f52c", "/\U0001f469\u200d\U0001f52c"),
    ],
)
def test_what_has_no_glyph_or_turns_text_around_is_spelled(path: str, text: str) -> None:
    assert visible(path) == text


@given(st.text(st.characters()))
def test_any_path_becomes_text_that_utf8_and_xml_can_hold(path: str) -> None:
    shown = visible(path)
    assert shown.encode().decode() == shown
    assert re.fullmatch("[\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+", shown)
    assert {unicodedata.bidirectional(char) for char in shown}.isdisjoint(BIDI)
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("limit", "text"),
    [(10, "abcdefghij"), (9, "abcde\u2026hij"), (5, "abc\u2026j"), (2, "a\u2026"), (1, "\u2026")],
)
def test_a_long_text_is_cut_in_the_middle(limit: int, text: str) -> None:
    assert shorten("abcdefghij", limit) == text


def test_wide_letters_take_the_room_of_two() -> None:
    """A label of ideographs is as long as its drawing, not as its count; accents take no room."""
    assert columns("/日本\u0301") == 5
    assert shorten("/日本語のページ", 10) == "/日本…ジ"
    assert columns(shorten("/" + "語" * 50, 24)) == 22


def test_an_emoji_and_a_letter_with_its_marks_are_not_cut() -> None:
    family = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
    assert shorten(f"/{family}{family}/e\u0301e\u0301", 6) == f"/{family}\u2026e\u0301e\u0301"


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60), st.integers(1, 60))
def test_a_shortened_text_has_exactly_the_length_there_is_room_for(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) == min(len(text), limit)
    head, mark, tail = short.partition("\u2026")
    assert short == text or (mark == "\u2026" and text.startswith(head) and text.endswith(tail))


letters = st.characters() | st.sampled_from("日本語のペー\u0301\u0308\U0001f469\u200d\uff21")


@given(st.text(letters, max_size=60).map(visible), st.integers(1, 60))
def test_a_cut_loses_nothing_and_keeps_to_its_room(text: str, limit: int) -> None:
    """The three parts are the text; it is cut only where it must be, and then gives way to a sign."""
    head, middle, tail = cut(text, limit)
    assert head + middle + tail == text
    assert bool(middle) == (columns(text) > limit)
    assert columns(shorten(text, limit)) <= limit
    if not middle:
        assert (head, tail) == (text, "")


@given(st.text(st.characters()))
def test_a_path_in_a_sentence_stands_between_marks_that_come_off(path: str) -> None:
    """Whatever the path holds, the marks are the only ones in it."""
    sentence = f"New: {isolated(path)} (5 visits)."
    assert (sentence.count(OPEN), sentence.count(CLOSE)) == (1, 1)
    inside = sentence.partition(OPEN)[2].partition(CLOSE)[0]
    assert inside == shorten(visible(path), LONGEST_NAME)
    assert bare(sentence) == f"New: {inside} (5 visits)."
    assert bare(bare(sentence)) == bare(sentence)


def test_a_sentence_without_paths_is_left_as_it_is() -> None:
    assert bare("0 visits on 6 complete days; none before.") == "0 visits on 6 complete days; none before."
