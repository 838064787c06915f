"""A process keeps the templates that it has compiled for its next report, by folder, text and locale."""

from pathlib import Path

import jinja2
import pytest

from reportgen.core.text import LocaleFormatter
from reportgen.pages.environment import environment

CONSTANT = "{{ 12345|number }}"
"""Jinja evaluates this when it compiles, with the filters of the first site."""


def page(folder: Path, locale: str = "en", name: str = "own.html") -> str:
    """Return a template rendered as at the start of a build."""
    return environment(folder, LocaleFormatter.of(locale), "", style_sheets=()).get_template(name).render()


def test_a_compiled_template_is_used_for_the_next_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.html").write_text(CONSTANT)
    first = page(tmp_path)
    with monkeypatch.context() as patch:
        patch.delattr(jinja2.Environment, "compile")
        assert page(tmp_path) == first == "12,345"
    (tmp_path / "own.html").write_text("new")
    assert page(tmp_path) == "new"


def test_a_template_of_the_same_name_in_another_directory_is_compiled_separately(tmp_path: Path) -> None:
    for name in ("one", "two", "one"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "own.html").write_text(name)
        assert page(tmp_path / name) == name


def test_sites_of_other_locales_have_compiled_templates_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "own.html").write_text(CONSTANT)
    assert [page(tmp_path, locale) for locale in ("en", "de", "fr", "en")] == [
        "12,345",
        "12.345",
        "12\u202f345",
        "12,345",
    ]
