"""The documents: each block of code is run or parsed, and the site that `make docs` makes of them."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from urllib.parse import unquote

import html5lib
import jinja2
import psycopg
import pytest
import typer
import yaml
from typer.main import get_command

from reportgen.cli.main import app
from reportgen.config.chart_notes import read_chart_notes
from reportgen.config.panels import read_panel_file
from reportgen.config.settings import Config
from reportgen.config.sites import load_settings
from tests.support.documents import DOCUMENTS, ROOT, Block, read_blocks

BLOCKS = {f"{block.file}:{block.line}": block for file in DOCUMENTS for block in read_blocks(file)}
MAKEFILE = (ROOT / "Makefile").read_text()


command_line = cache(partial(get_command, app))


def parse_arguments(arguments: list[str]) -> None:
    """Parse what follows `reportgen` as the program does, without running the command."""
    group = command_line()
    context = group.make_context("reportgen", list(arguments))
    if arguments := [*context._protected_args, *context.args]:
        name, command, rest = group.resolve_command(context, arguments)
        command.make_context(name, rest, parent=context)


def check_commands(block: Block, _: Path) -> None:
    """Find the commands of reportgen with their options, recipes with variables, programs and files."""
    if block.language == "sh":
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    for program, *words in block.commands:
        if program == "reportgen" or program.endswith("bin/reportgen"):
            parse_arguments(words)
        elif program == "make":
            subprocess.run(["make", "-n", *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
            for variable in (word.partition("=")[0] for word in words if "=" in word):
                assert re.search(rf"^{variable} \?=", MAKEFILE, re.MULTILINE), variable
        elif program.startswith(".venv/bin/"):
            assert Path(sys.executable).with_name(Path(program).name).exists(), program
        for word in words:
            path = re.sub(r"\[\w+\]$", "", word).removeprefix("./")
            top = path.partition("/")[0]
            if top not in {"", ".", "output", "dist"} and (ROOT / top).exists():
                assert (ROOT / path).exists(), path


def check_toml(block: Block, folder: Path) -> None:
    """Load notes, or a part of `reportgen.toml`, with the variables and the folder that it names."""
    file = folder / "reportgen.toml"
    file.write_text(block.text)
    (folder / "my-templates").mkdir()
    if tomllib.loads(block.text).keys() == {"note"}:
        assert read_chart_notes(file)
    else:
        names = ["REPORTGEN_IMPORT__INTO", *re.findall(r'url_env = "(\w+)"', block.text)]
        load_settings(file, dict.fromkeys(names, "sqlite:///a.db"), {})


def check_panel(block: Block, folder: Path) -> None:
    file = folder / "panel.md"
    file.write_text(block.text)
    sources = tomllib.loads('sources.shop.url = "sqlite:///shop.db"')
    assert read_panel_file(file, Config.model_validate(sources)).problem == ""


def nothing(block: Block, folder: Path) -> None:
    """Accept any text."""


CHECKS: dict[str, Callable[[Block, Path], object]] = {
    "console": check_commands,
    "html": lambda block, _: jinja2.Environment(autoescape=True).parse(block.text),
    "ini": lambda block, _: configparser.ConfigParser().read_string(f"[variables]\n{block.text}"),
    "json": lambda block, _: json.loads(block.text),
    "markdown": check_panel,
    "nginx": nothing,  # tests/end_to_end/test_nginx.py runs a real nginx with it
    "python": lambda block, _: compile(block.text, block.file, "exec"),
    "sh": check_commands,
    "sql": nothing,  # the test below runs all of a document in their order
    "text": nothing,  # output, files, drawings
    "toml": check_toml,
    "vega-lite": lambda block, _: json.loads(block.text),
    "yaml": lambda block, _: yaml.safe_load(block.text),
}
"""What is done with a block, by its language. A block without one fails."""


@pytest.mark.parametrize("place", BLOCKS)
def test_each_block_does_what_its_language_asks(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = BLOCKS[place]
    CHECKS[block.language](block, tmp_path)


def test_each_command_in_a_sentence_has_its_options() -> None:
    """Or is a name alone, such as `reportgen note`. The changelog may name what is gone."""
    wrong, count = [], 0
    for file in set(DOCUMENTS) - {"CHANGELOG.md"}:
        for words in map(str.split, re.findall(r"`reportgen ([^`]+)`", (ROOT / file).read_text())):
            count += 1
            try:
                parse_arguments(words)
            except typer.TyperException as error:
                wrong += [f"{file}: reportgen {' '.join(words)}: {error}"] if words[1:] else []
    assert wrong == []
    assert count > 30


TABLES = {
    "metrics": "date date, path text, visits integer",
    "left_out": "date date, kind text, requests integer",
    "hits": "created_at timestamptz, path text, user_agent text",
    "referrers": "date date, host text, visits integer",
    "countries": "date date, country text, visits integer",
    "hourly": "date date, hour integer, visits integer",
}
"""The tables that the statements of the documents name."""


@pytest.mark.parametrize("file", sorted({block.file for block in BLOCKS.values() if block.language == "sql"}))
def test_postgresql_runs_the_statements_of_each_document_in_their_order(file: str, pg: str) -> None:
    """In a transaction that is rolled back, with dates for the names that a panel has."""
    statements = [block.text for block in read_blocks(file, "sql")]
    with psycopg.connect(pg) as connection:
        for table, columns in TABLES.items():
            if f"CREATE TABLE {table} " not in "".join(statements):
                connection.execute(f"CREATE TABLE {table} ({columns})".encode())
        for statement in statements:
            dated = re.sub(r"(?<!:):[a-z_]+", "DATE '2026-11-20'", statement)
            connection.execute(dated.encode())
        connection.rollback()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Give a copy of the documents, with the environment that `make docs` installs."""
    subprocess.run(["make", ".docs/venv/.installed"], cwd=ROOT, check=True)
    folder = tmp_path / "copy"
    hidden = {path.name for path in ROOT.glob(".*") if path.is_dir()} - {".github"}
    skipped = hidden | {"dist", "output", "reportgen", "tests"}
    shutil.copytree(ROOT, folder, ignore=lambda inside, _: skipped if Path(inside) == ROOT else ())
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
