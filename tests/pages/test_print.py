"""A page on paper: A4, whole charts, all rows, table heads on every sheet."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from tests.support.releases import REPORTS, Sites
from tests.support.visits import DESKTOP, PHONE, Open, Visit

pypdf = pytest.importorskip("pypdf", reason="pypdf, which reads what was printed, is not installed")

A4 = pytest.approx((595.3, 841.9), abs=1)
MARGIN = 32
"""12 mm in points, a little less."""


class Sheets:
    """A printed page without spaces: its text in order, each sheet's size, lines, and words with places."""

    def __init__(self, reader: Visit, file: Path) -> None:
        reader.page.pdf(path=file, prefer_css_page_size=True)
        self.flow = ""
        self.sizes: list[tuple[float, float]] = []
        self.texts: list[str] = []
        self.places: list[list[tuple[str, float, float]]] = []
        for sheet in pypdf.PdfReader(file).pages:
            self.sizes.append((float(sheet.mediabox.width), float(sheet.mediabox.height)))
            self.places.append([])
            self.flow += packed(sheet.extract_text(visitor_text=self._place))
            self.texts.append(packed(sheet.extract_text(extraction_mode="layout")))

    def _place(self, text: str, matrix: Any, text_matrix: Any, *_: object) -> None:
        if text.strip():
            across = matrix[0] * text_matrix[4] + matrix[2] * text_matrix[5] + matrix[4]
            up = matrix[1] * text_matrix[4] + matrix[3] * text_matrix[5] + matrix[5]
            self.places[-1].append((text.strip(), across, up))

    @property
    def text(self) -> str:
        """The text of all sheets."""
        return "".join(self.texts)

    def outside(self) -> list[tuple[str, float, float]]:
        """Return the words that begin in the margins."""
        width, height = self.sizes[0]
        return [
            (word, across, up)
            for places in self.places
            for word, across, up in places
            if not (MARGIN <= across <= width - MARGIN and MARGIN <= up <= height - MARGIN)
        ]

    def holding(self, words: list[str]) -> list[int]:
        """Return the sheets that hold all of the words."""
        return [at for at, text in enumerate(self.texts) if all(packed(word) in text for word in words)]


def packed(text: str) -> str:
    """Return a text without spaces and ligatures, which fonts and PDFs add and lose."""
    return re.sub(r"\s+", "", unicodedata.normalize("NFKC", text))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "state"),
    [*((page, "drawn") for page in REPORTS), *((REPORTS[1], state) for state in ("alive", "phone", "dark"))],
)
def test_a_page_prints_whole_on_a4(sites: Sites, visit: Open, tmp_path: Path, page: str, state: str) -> None:
    """Every heading, figure, sentence and row, each chart on one sheet; no tabs, buttons or downloads."""
    reader = visit(
        sites("usual").http(page),
        size=PHONE if state == "phone" else DESKTOP,
        color_scheme="dark" if state == "dark" else "light",
    )
    if state in {"alive", "phone"}:
        reader.activate_charts()
    printed = Sheets(reader, tmp_path / "page.pdf")
    assert printed.sizes == [A4] * len(printed.sizes)
    assert len(printed.sizes) <= 4
    wanted = reader.texts("h1, h2:not(.unseen), dt, .changes li, .notes li")
    wanted = [text for text in wanted if text != "Downloads"]
    assert [text for text in wanted if packed(text) not in printed.flow] == []
    unwanted = ["Downloads", "as CSV", "Skip to", "Filter", "of 18 paths", "Days as", "?", "A visit is"]
    assert [text for text in unwanted if packed(text) in printed.flow] == []
    rows = reader.page.locator("table tbody tr:not(:has(.cut))").evaluate_all(
        "(all) => all.map((row) => [...row.cells].map((cell) => cell.textContent).join(''))"
    )
    assert len(rows) > 14
    assert [row for row in rows if packed(row) not in printed.text] == []
    for path in reader.page.locator(".path[title]").all():  # on two lines
        head, tail = (
            packed(text) for text in str(path.text_content()).split(path.locator(".cut").inner_text())
        )
        assert f"{head}...{tail}" in printed.flow

    # Every text of a chart is on the sheet of its title, and nothing is outside the margins.
    for chart in reader.charts():
        title = str(chart.locator("xpath=preceding-sibling::div/h2").text_content())
        labels = chart.locator("xpath=descendant::*[local-name()='svg']").first
        words = labels.locator("tspan, text:not(:has(tspan))").all_text_contents()
        assert len(words) > 10
        assert len(printed.holding([title, *words])) == 1
    assert printed.outside() == []


def test_an_explanation_that_is_open_is_printed_without_its_button(
    sites: Sites, visit: Open, tmp_path: Path
) -> None:
    reader = visit(sites("usual").http("today/index.html"), java_script_enabled=False)
    reader.page.locator(".help summary").last.click()
    printed = Sheets(reader, tmp_path / "page.pdf")
    assert packed("A path is the address of a page without the name of the site.") in printed.flow
    assert [text for text in ("?", "A visit is") if packed(text) in printed.flow] == []


@pytest.mark.slow
def test_no_sheet_ends_with_a_heading_or_begins_with_the_footer(
    sites: Sites, visit: Open, tmp_path: Path
) -> None:
    """Wherever sheets end: each intro makes the page a line longer."""
    reader = visit(sites("usual").http("7d/index.html"))
    heads = ["RankPathVisitsShareChange", "DateVisits7daysbeforeChange"]
    headings = [packed(text) for text in reader.texts("h2:not(.unseen)")]
    for lines in range(0, 48, 2):
        reader.page.locator(".intro").evaluate("(one, lines) => (one.style.height = `${lines}lh`)", lines)
        texts = Sheets(reader, tmp_path / f"{lines}.pdf").texts
        assert [text[-60:] for text in texts if text.endswith((*headings, *heads))] == []
        assert [text[:60] for text in texts if text.startswith("Built")] == []


def test_notes_on_the_charts_are_printed_with_their_numbers(
    sites: Sites, visit: Open, tmp_path: Path
) -> None:
    printed = Sheets(visit(sites("notes").http("7d/index.html")), tmp_path / "page.pdf")
    for line in ("4. Thu 19 Nov 2026:", "5. Fri 20 Nov 2026: <U+202E>", "8. Mon 23 Nov 2026: v2.3 deployed"):
        assert packed(line) in printed.flow


@pytest.mark.slow
def test_a_tooltip_that_is_on_show_is_not_printed(sites: Sites, visit: Open, tmp_path: Path) -> None:
    """Its position is fixed, so that it would be printed on every sheet."""
    reader = visit(sites("usual").http("7d/index.html"))
    reader.activate_charts()
    without = Sheets(reader, tmp_path / "without.pdf")
    reader.charts()[1].hover(position={"x": 150, "y": 150})  # where a sheet is wide enough
    reader.page.locator("#tooltip.visible").wait_for()
    assert Sheets(reader, tmp_path / "with.pdf").texts == without.texts


@pytest.mark.slow
@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_the_head_of_a_long_table_is_on_every_sheet(
    sites: Sites, visit: Open, tmp_path: Path, scripts: bool
) -> None:
    """A hundred paths need parts of up to three sheets."""
    reader = visit(sites("10,000 paths").http("30d/index.html"), java_script_enabled=scripts)
    printed = Sheets(reader, tmp_path / "page.pdf")
    sheets = [at for at, text in enumerate(printed.texts) if len(re.findall(r"/p/\d{5}\d", text)) > 5]
    assert len(sheets) >= 2
    assert printed.holding(["RankPathVisitsShareChange"]) == sheets


def test_readers_of_dark_pages_print_dark_text_on_white(sites: Sites, visit: Open) -> None:
    reader = visit(sites("usual").http("7d/index.html"), color_scheme="dark")
    reader.page.emulate_media(media="print", color_scheme="dark")
    body = reader.page.locator("body")
    ink, paper = (
        body.evaluate(f"(one) => getComputedStyle(one).{colour}") for colour in ("color", "backgroundColor")
    )
    assert paper == "rgb(255, 255, 255)"
    assert sum(map(int, re.findall(r"\d+", ink))) < 200
