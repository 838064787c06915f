"""The files of a release: those that the documents promise, compressed once, when they are made."""

import gzip
import random
import subprocess
import sys
import time

import brotli
import pytest

from reportgen.core.release_files import BEST, MIN_BYTES, SUFFIXES, is_asset, is_page, packed, required_files

TEXT = b"<p>one visit, two visits, many visits</p>" * 100


def test_each_text_gets_both_forms_which_hold_the_same() -> None:
    made = packed({"7d/index.html": TEXT})
    assert sorted(made) == ["7d/index.html.br", "7d/index.html.gz"]
    assert brotli.decompress(made["7d/index.html.br"]) == TEXT
    assert gzip.decompress(made["7d/index.html.gz"]) == TEXT
    assert all(len(form) < len(TEXT) / 10 for form in made.values())


@pytest.mark.parametrize("name", ["a.html", "a.js", "a.svg", "a.json", "a.csv", "a.txt"])
def test_all_kinds_of_text_are_worth_it(name: str) -> None:
    assert sorted(packed({name: TEXT})) == [f"{name}.br", f"{name}.gz"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", TEXT),
        ("a.html.br", TEXT),
        ("a.html", b"x" * (MIN_BYTES - 1)),
        ("a.html", b""),
        ("a.json", random.Random(1).randbytes(5000)),
    ],
)
def test_what_gains_nothing_is_left_alone(name: str, content: bytes) -> None:
    """Small, no text, or not to be made smaller."""
    assert packed({name: content}) == {}


def test_what_is_compressed_already_is_not_again() -> None:
    """The charts' script comes with its forms, of the best quality."""
    assert packed({"vega.js": TEXT, "vega.js.br": b"ready"}) == {}


def test_the_same_bytes_give_the_same_bytes() -> None:
    """Whenever they are made: else every build would seem new."""
    first = packed({"a.html": TEXT})
    time.sleep(1.1)  # gzip knows the time by the second
    assert packed({"a.html": TEXT}) == first


def test_the_best_quality_is_smaller() -> None:
    text = b" ".join(str(n * n).encode() for n in range(3000))
    quick, best = (packed({"a.txt": text}, quality)["a.txt.br"] for quality in (5, BEST))
    assert len(best) < len(quick)


def test_the_server_knows_the_suffixes_and_loads_no_compressor() -> None:
    """It stays for weeks, and compresses nothing."""
    code = (
        "import sys; from reportgen.serve.release_cache import SUFFIXES;"
        " print(SUFFIXES, 'brotli' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{SUFFIXES} False\n"


def test_every_window_has_a_page_and_three_files_for_programs() -> None:
    assert required_files(["today", "7d"]) == [
        "index.html", "404.html", "robots.txt",
        "today/index.html", "today/daily.csv", "today/paths.csv", "today/report.json",
        "7d/index.html", "7d/daily.csv", "7d/paths.csv", "7d/report.json",
    ]  # fmt: skip


def test_assets_are_the_files_in_their_folder_in_every_form() -> None:
    names = ["assets/a.0a1b.js", "assets/a.0a1b.js.br", "index.html", "7d/assets/x.js", "assets.html"]
    assert [is_asset(name) for name in names] == [True, True, False, False, False]
    assert [is_page(name) for name in names] == [False, False, True, False, True]
