"""Notes on charts: numbers that share a mark, labels that do not meet, bands, tooltips and files."""

import re
from datetime import date, timedelta
from itertools import combinations
from typing import Any

import pytest

from reportgen.charts.charts import against_previous
from reportgen.charts.marks import band_rows, mark_rows
from reportgen.charts.spec import SIZES, Chart, text_width_px
from reportgen.charts.svg import ChartFile, svg_file
from reportgen.config.chart_notes import ChartNote, new_note
from reportgen.core.text import ENGLISH
from reportgen.core.windows import Span, make_window
from reportgen.pages.report import make_pages
from tests.charts.test_charts import TODAY, painted, svgs, words
from tests.support.figures import read_figures

ROWS = [(days, "/", 100 + days) for days in range(60)]


def note(days_ago: int, text: str = "x", *, days: int = 1, **more: Any) -> ChartNote:
    """Return a note that begins some days before today."""
    first = TODAY - timedelta(days_ago)
    until = {"until": first + timedelta(days - 1)} if days > 1 else {}
    return new_note({"date": first, "text": text, **until, **more})


def noted(notes: list[ChartNote], name: str = "30d") -> Chart:
    """Return the chart against the days before, with these notes."""
    (metrics,) = read_figures(ROWS, [make_window(name, TODAY, today_complete=True)]).metrics
    return against_previous(metrics, ENGLISH, notes)


def marks(chart: Chart) -> dict[date, str]:
    """Return the label of each mark by its date."""
    return {date.fromisoformat(row["date"]): row["label"] for row in chart.rows.get("marks", ())}


def test_notes_of_one_date_share_a_mark() -> None:
    chart = noted([note(9), note(7), note(7), note(3), note(3), note(3), note(0)])
    assert list(marks(chart).values()) == ["1", "2, 3", "4\u20136", "7"]
    for svg in svgs(chart).values():
        assert {"1", "2, 3", "4\u20136", "7"} <= set(words(svg))
        assert svg.count('stroke="var(--ghost)" stroke-width="0.75"') == 4


@pytest.mark.parametrize("notes", [range(20), range(0, 30, 2), [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5])
def test_labels_do_not_meet_and_have_space_above_the_plot(notes: Any) -> None:
    """Twenty notes in a month, on a phone too."""
    chart = noted([note(days) for days in sorted(notes, reverse=True)])
    for size in SIZES:
        pixels = 0.9 * size.width_px / 30
        boxes = [
            (row["label"], (date.fromisoformat(row["date"]) - TODAY).days * pixels, row[size.name])
            for row in chart.rows["marks"]
        ]
        assert max(y for _, _, y in boxes) == -2
        for (one, x, y), (two, x2, y2) in combinations(boxes, 2):
            apart = (text_width_px(one, size.font_px) + text_width_px(two, size.font_px)) / 2
            assert abs(x - x2) > apart or abs(y - y2) > size.font_px
        svg = svgs(chart)[size.name]
        top = min(row[size.name] for row in chart.rows["marks"]) - size.font_px
        (down,) = re.findall(r'miterlimit="10" transform="translate\([\d.]+,([\d.]+)\)', svg)
        legend_px = size.font_px if size.name == "wide" else 0
        assert float(down) + top >= legend_px


def test_a_note_of_several_dates_has_a_band_inside_the_window() -> None:
    notes = [note(9, days=3), note(4, days=9), note(2)]
    chart = noted(notes, "7d")
    assert marks(chart) == {TODAY - timedelta(6): "1", TODAY - timedelta(4): "2", TODAY - timedelta(2): "3"}
    assert [list(row.values()) for row in noted(notes, "9d").rows["bands"]] == [
        ["2026-11-15", "2026-11-16"], ["2026-11-19", "2026-11-23"],
    ]  # fmt: skip
    for svg in svgs(chart).values():
        assert painted(svg, fill="var(--accent)", opacity="0.12") == 2


def test_bars_of_weeks_are_marked_where_notes_begin() -> None:
    weeks = [Span(TODAY + timedelta(7 * n), TODAY + timedelta(7 * n + 6)) for n in range(-4, 1)]
    notes = [note(60, days=39), note(22), note(21, days=9), note(8), note(0, days=99)]
    rows = mark_rows(notes, weeks)
    assert [(row["date"], row["label"]) for row in rows] == [
        ("2026-10-26", "1, 2"), ("2026-11-02", "3"), ("2026-11-09", "4"), ("2026-11-23", "5"),
    ]  # fmt: skip
    assert band_rows(notes, weeks) == [
        {"date": "2026-10-26", "last": "2026-10-26"},
        {"date": "2026-11-02", "last": "2026-11-09"},
        {"date": "2026-11-23", "last": "2026-11-23"},
    ]


def test_a_chart_without_notes_has_neither_marks_nor_data_for_them() -> None:
    chart = noted([])
    assert not {"marks", "bands"} & chart.rows.keys()
    assert len(chart.tips.lines) == 3


def test_the_tooltip_of_a_date_names_its_notes() -> None:
    tips = noted([note(3, "Fair\x00", days=2), note(2, "On HN")], "7d").tips
    assert tips.lines[-1] == ("", None)
    assert [tip[-1] for tip in tips.values.values()] == [
        "", "", "", "Note 1: Fair\u2400", "Note 1: Fair\u2400; Note 2: On HN", "", "",
    ]  # fmt: skip


def test_both_charts_have_the_marks_of_the_notes_of_their_window() -> None:
    windows = [make_window(name, TODAY, today_complete=False) for name in ("today", "7d", "30d")]
    notes = [note(40, days=11), note(20), note(6), note(0)]
    today, week, month = make_pages(read_figures(ROWS, windows), ENGLISH, notes)
    assert [today.annotations, week.annotations, month.annotations] == [notes[3:], notes[2:], notes[1:]]
    assert [list(marks(chart).values()) for chart in week.charts] == [["1", "2"]] * 2
    assert [list(marks(chart).values()) for chart in month.charts] == [["1", "2", "3"]] * 2


def test_the_file_of_a_chart_lists_its_notes_below_the_drawing() -> None:
    """Long lines are broken, hostile ones are text, and the picture is so much higher."""
    svg = svgs(noted([note(3)]))["wide"]
    plain = svg_file(svg, ChartFile("a.svg", "key", "Title", "alt", "about"))
    lines = ["1. Fri 20 Nov 2026: </text><script>", "2. " + "word " * 40, "3. " + "\u6771\u4eac " * 30]
    listed = svg_file(svg, ChartFile("a.svg", "key", "Title", "alt", "about", lines))
    below = words(listed)[len(words(plain)) :]
    assert " ".join(below).split() == " ".join(lines).split()
    assert (len(below), below[0]) == (5, lines[0])
    assert max(text_width_px(line, 14) for line in below) < 960 * 1.1
    height, before = (int(re.findall(rb' height="(\d+)"', each)[0]) for each in (listed, plain))
    assert height == before + 6 * 20
