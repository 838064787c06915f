"""``docs/templates.md`` names what templates get, all of it and nothing else."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Template
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE

from reportgen.charts.sparklines import Spark
from reportgen.config.settings import Config
from reportgen.config.sites import Sites, load_settings
from reportgen.core.processes import Stopwatch
from reportgen.core.text import ENGLISH
from reportgen.core.windows import Window
from reportgen.metrics.dataset import read_dataset
from reportgen.metrics.figures import WindowMetrics
from reportgen.pages.context import CutPath, Figure, SiteHeader
from reportgen.pages.environment import environment
from reportgen.pages.exports import paths_csv
from reportgen.pages.report import draft
from reportgen.pages.templates import TEMPLATES
from reportgen.sites.overview import OverviewHeader, Row, index_files
from tests.support.manysites import SMALL, written

DOCUMENT = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)

Variables = dict[str, dict[str, Any]]
"""Template → what it was rendered with."""


def section(heading: str) -> set[str]:
    """Return the names in the table below a heading, up to the next heading."""
    _, found, rest = DOCUMENT.partition(f"## {heading}\n")
    assert found, heading
    return set(
        re.findall(r"^\| `([\w.]+)` \|", re.split(r"^##", rest, flags=re.MULTILINE)[0], flags=re.MULTILINE)
    )


def attributes(name: str) -> set[str]:
    """Return the attributes that the document names of a variable."""
    return set(re.findall(rf"^\| `{name}\.(\w+)` \|", DOCUMENT, flags=re.MULTILINE))


def public(kind: type) -> set[str]:
    """Return the fields and properties of a class."""
    stored = {field.name for field in fields(kind)} if is_dataclass(kind) else set()
    return stored | {name for name, value in vars(kind).items() if isinstance(value, property)}


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Give what each template is rendered with while the test runs."""
    found: Variables = {}
    new_context = Template.new_context

    def record(template: Template, *arguments: Any, **options: Any) -> Any:
        context = new_context(template, *arguments, **options)
        # A template that extends another, or imports its own, has the context of the page.
        found.setdefault(str(template.name), {}).update(context.get_all())
        return context

    monkeypatch.setattr(Template, "new_context", record)
    return found


def names(variables: Mapping[str, Any]) -> set[str]:
    return set(variables) - set(DEFAULT_NAMESPACE)


@pytest.fixture
def of_report(passed: Variables) -> Variables:
    """Give what the templates of a report are rendered with: the sample's page of 7 days."""
    config = Config(windows=("7d",))
    dataset = read_dataset(config, NOW, date(2026, 11, 22), paths_csv)
    draft(config, dataset, NOW, None, "assets/vega.js", Stopwatch())
    return dict(passed)


@pytest.fixture
def of_overview(passed: Variables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Variables:
    """Give what the templates of the page over many sites are rendered with."""
    monkeypatch.chdir(tmp_path)
    written(tmp_path, {"one": ""}, top=SMALL)
    loaded = load_settings(None, {}, {})
    assert isinstance(loaded, Sites)
    index_files(loaded, NOW)
    return dict(passed)


EVERY = section("Every file")
PAGE = section("report.html, 404.html and robots.txt of a report")


def test_the_document_names_every_file() -> None:
    table = DOCUMENT.partition("| file | becomes |")[2].partition("\n\n")[0]
    named = [
        name for row in table.splitlines() for name in re.findall(r"`([\w.]+)`", row.partition(" | ")[0])
    ]
    assert sorted(named) == sorted(TEMPLATES)


def test_the_templates_of_a_report_get_what_the_document_says(of_report: Variables) -> None:
    assert names(of_report["report.html"]) == EVERY | PAGE | section("report.html")
    assert names(of_report["404.html"]) == EVERY | PAGE | section("404.html")
    assert names(of_report["robots.txt"]) == EVERY | PAGE
    assert names(of_report["report.js"]) == EVERY
    assert names(of_report["style.css"]) == EVERY - {"style", "policy"} | section(
        "style.css and overview.css"
    )


def test_the_templates_of_the_overview_get_what_the_document_says(of_overview: Variables) -> None:
    assert names(of_overview["overview.html"]) == EVERY | section("overview.html")
    assert names(of_overview["404.html"]) == EVERY | section("404.html")
    assert names(of_overview["robots.txt"]) == EVERY
    for sheet in ("style.css", "overview.css"):
        expected = EVERY - {"style", "policy"} | section("style.css and overview.css")
        assert names(of_overview[sheet]) == expected


def test_filters_are_those_of_the_document() -> None:
    filters = set(environment(None, ENGLISH, "").filters) - set(DEFAULT_FILTERS)
    assert filters == section("Filters")


@pytest.mark.parametrize(
    ("name", "kind"), [("site", SiteHeader), ("figure", Figure), ("spark", Spark), ("row", Row)]
)
def test_the_document_names_every_attribute_of_an_object(name: str, kind: type) -> None:
    assert attributes(name) == public(kind)


@pytest.mark.parametrize(("name", "kind"), [("window", Window), ("metrics", WindowMetrics)])
def test_attributes_of_figures_that_the_document_names_exist(name: str, kind: type) -> None:
    """There are more, which may change."""
    assert attributes(name)
    assert attributes(name) <= public(kind)


def test_the_overview_has_the_attributes_of_site_that_are_marked() -> None:
    marked = set(re.findall(r"^\| `site\.(\w+)` \|.*\| yes \|$", DOCUMENT, flags=re.MULTILINE))
    assert marked == public(OverviewHeader)


def test_the_document_names_every_column_of_the_tables_and_charts(of_report: Variables) -> None:
    variables = of_report["report.html"]
    for name, rows in (("chart", "charts"), ("day", "days"), ("path", "paths")):
        assert attributes(name) == set(variables[rows][0])
    assert set(re.findall(r"`path\.text\.(\w+)`", DOCUMENT)) == public(CutPath)
