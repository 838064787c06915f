"""The list of a release's files is the one that the documents promise."""

from reportgen.core.release_files import is_asset, is_page, required_files


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
