"""The documents: the site that `make docs` makes of them."""

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import html5lib
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the documents, with the environment that `make docs` installs."""
    subprocess.run(["make", ".docs/venv/.installed"], cwd=ROOT, check=True)
    folder = tmp_path / "copy"
    for name in ("docs", "counter", "bench", "deploy", "examples", "templates"):
        shutil.copytree(ROOT / name, folder / name)
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy2(file, folder)
    for name in (".docs", ".uv"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def make_docs(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["make", "docs"], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_each_link_on_the_site_leads_to_a_file_and_nothing_is_loaded_from_other_hosts(copy: Path) -> None:
    done = make_docs(copy)
    assert (done.returncode, done.stderr) == (0, "")
    site = copy / "dist" / "docs"
    pages = {
        page: html5lib.parse(page.read_text(), namespaceHTMLElements=False) for page in site.rglob("*.html")
    }
    names = {
        page: {element.get("id") for element in tree.iter() if element.get("id")}
        for page, tree in pages.items()
    }
    wrong = []
    for page, tree in pages.items():
        for element in tree.iter():
            for key in ("src", "srcset", "href"):
                target = element.get(key)
                if target is None or (element.tag == "a" and target.startswith("https://")):
                    continue
                file, _, fragment = unquote(target).partition("#")
                found = (page.parent / file.partition("?")[0]).resolve() if file else page
                if not found.is_file() or (fragment and fragment not in names.get(found, ())):
                    wrong.append(f"{page.relative_to(site)}: {target}")
    assert wrong == []
    assert len(pages) > 25
    assert not re.search(r"url\(\W*(https?:)?//", "".join(css.read_text() for css in site.rglob("*.css")))


@pytest.mark.slow
def test_a_document_in_no_group_and_a_broken_link_fail_the_site(copy: Path) -> None:
    (copy / "docs" / "forgotten.md").write_text("# Forgotten\n")
    with (copy / "docs" / "install.md").open("a") as file:
        file.write("\n[a](missing.md) [b](paths.md#no-such-heading) [c](../no-such-file) [d](#nowhere)\n")
    done = make_docs(copy)
    assert done.returncode == 2
    assert "forgotten.md: WARNING: document isn't included in any toctree" in done.stderr
    for target in ("missing.md", "no-such-heading", "../no-such-file", "nowhere"):
        assert f"'{target}'" in done.stderr
