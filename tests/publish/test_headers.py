"""Each file says what it is and how long a cache may keep it, on our server and in a bucket."""

import pytest

from reportgen.publish.headers import cache_control, media_type

YEAR = "max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("name", "browser", "anybody"),
    [
        ("assets/app.0a1b.js", f"private, {YEAR}", f"public, {YEAR}"),
        ("index.html", "private, no-cache", "no-cache"),
        ("7d/report.json", "private, no-cache", "no-cache"),
    ],
)
def test_assets_are_kept_for_a_year_and_all_else_is_asked_for_again(
    name: str, browser: str, anybody: str
) -> None:
    assert cache_control(name, shared=False) == browser
    assert cache_control(name, shared=True) == anybody


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("7d/index.html", "text/html; charset=utf-8"),
        ("7d/visits.svg", "image/svg+xml"),
        ("7d/daily.csv.br", "application/octet-stream"),
    ],
)
def test_the_ending_of_a_name_is_the_media_type(name: str, kind: str) -> None:
    assert media_type(name) == kind
