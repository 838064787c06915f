"""Files of panels: what is read, and that anything wrong is one message with its line."""

import json
import os
from pathlib import Path

import pytest

from reportgen.config.panels import Panel, read_panels
from reportgen.config.settings import Config

WHOLE = """---
title: Where readers come from
chart: bars            # bars, line, stacked, area, none
windows: [7d, 30d]
position: top
source: plans
format: {value: "€ #,##0.00", rate: 0.0 %}
names: {Label: Host}
---
From the *Referer* header.

```sql
SELECT host AS label, sum(visits) AS value
FROM referrers
```

The rest.

```python
code stays
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "panels").mkdir()
    return tmp_path / "panels"


def read(folder: Path, text: str | bytes | None = None, name: str = "a.md") -> Panel:
    """Return the panel of a file with this text."""
    if text is not None:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (panel,) = read_panels(Config(panels_dir=folder, sources={"plans": {"url": "x"}}))  # type: ignore[dict-item]
    return panel


def problem(folder: Path, text: str | bytes, name: str = "a.md") -> str:
    """Return what is wrong, without the directory."""
    return read(folder, text, name).problem.removeprefix(f"{folder}/")


def test_a_file_is_read_in_yaml_or_toml(folder: Path) -> None:
    toml = """+++
title = "Where readers come from"
chart = "bars"
windows = ["7d", "30d"]
position = "top"
source = "plans"
format = { value = "€ #,##0.00", rate = "0.0 %" }
names = { Label = "Host" }
+++
"""
    expected = Panel(
        "a", "Where readers come from", "From the *Referer* header.\n\n\n"
        "The rest.\n\n```python\ncode stays\n```",
        "SELECT host AS label, sum(visits) AS value\nFROM referrers\n", None, "bars",
        ("7d", "30d"), "top", "plans",
        {"value": "€ #,##0.00", "rate": "0.0 %"}, {"label": "Host"}, "", f"{folder}/a.md", 13,
    )  # fmt: skip
    assert read(folder, WHOLE) == expected
    assert read(folder, WHOLE.replace("\n", "\r\n").encode("utf-8-sig")) == expected
    assert read(folder, toml + WHOLE.partition("\n---\n")[2]) == expected


def test_a_file_without_settings_is_prose(folder: Path) -> None:
    assert read(folder, "Only *prose*.\n", "20-slow-pages_of.week.md") == Panel(
        "20-slow-pages_of.week",
        "Slow pages of.week",
        "Only *prose*.",
        file=f"{folder}/20-slow-pages_of.week.md",
    )


def test_a_specification_is_read(folder: Path) -> None:
    spec = {"mark": "bar", "data": {"name": "rows"}}
    found = read(folder, f"```sql\nSELECT 1\n```\n~~~ vega-lite\n{json.dumps(spec)}\n~~~\n")
    assert (found.spec, found.sql, found.text, found.problem) == (spec, "SELECT 1\n", "", "")


def test_files_are_read_in_the_order_of_their_names(folder: Path) -> None:
    for name in ("b.md", "10-z.md", "A.md", ".hidden.md", "a.txt", "9.md"):
        (folder / name).write_text("x")
    names = [panel.name for panel in read_panels(Config(panels_dir=folder))]
    assert names == ["10-z", "9", "A", "b"]
    assert read_panels(Config()) == ()


SETTINGS = {
    "titel: x": '2: titel is not a key of a panel. Did you mean "title"?',
    "zzz: x": "2: zzz is not a key of a panel. The keys of a panel are: title, chart, windows, position,"
    " source, format, names.",
    "title: x\nchart: pie": '3: chart "pie" is not "bars" or "line" or "stacked" or "area" or "none".'
    " Write one of them.",
    'title: "\\ud800"': '2: title "\\ud800" is not a UTF-8 text. Write it as UTF-8.',
    "title: [a]": '2: title ["a"] is not a text. Write it in quotes.',
    "title:": '2: title "" is empty. Write a text.',
    "title: x\nwindows:\n  - 7d\n  - 8d": '3: windows "8d" is not one of windows in the settings. They are:'
    " today, 7d, 30d.",
    "windows: {a: b}": '2: windows is not a list. Write one such as ["today", "7d"].',
    "windows: []": "2: windows [] is empty. Write at least one entry.",
    "position: left": '2: position "left" is not "top" or "bottom". Write one of them.',
    "source: plan": '2: source "plan" is not one of [sources] in the settings. Did you mean "plans"?',
    "names: Host": '2: names "Host" is not a section. Write words for each column:'
    " {label: Host, value: Visits}.",
    "names:\n  label: ''": '3: names.label "" is empty. Write a text.',
    "format: x": '2: format "x" is not a section. Write a pattern for each column: {revenue: "#,##0.00"}.',
    "format:\n  a: '0'\n  b: 'abc'": '4: format.b "abc" is not a number pattern. Write one such as "#,##0.00"'
    ' or "0.0 %".',
    "title: a\ntitle: b": '3: "title" is set twice. Leave one of them out.',
    "format: {a: '0', a: '1'}": '2: "a" is set twice. Leave one of them out.',
    "title: Views: all": "2: not valid YAML: mapping values are not allowed here",
    "title: x\n\tchart: y": "3: not valid YAML: found character '\\t' that cannot start any token",
    "title: 'x": "3: not valid YAML: found unexpected end of stream",
    "title: x\n...\ntitle: y": "4: not valid YAML: expected '<document start>',"
    " but found '<block mapping start>'",
    "a: &a [x]\nb: [*a, *a]": "3: *a is not possible here. Write the value itself.",
    "title: !!python/object/apply:os.system [id]": '2: title ["id"] is not a text. Write it in quotes.',
    "- a": "2: the settings have no names. Write each as name and value: title: Plans",
    "? [a]\n: b": "2: a name of a setting is not a text. Write a name, such as title.",
    "title: " + "[" * 2000 + "]" * 2000: "1: the settings are nested too deeply. Write fewer brackets.",
    "title: \x00": "1: not valid YAML: unacceptable character #x0000: special characters are not allowed",
    "title: " + "x" * 6000: "1: the settings have more than 5,000 characters. Write less.",
}


@pytest.mark.parametrize("text", SETTINGS)
def test_wrong_settings_in_yaml_are_named_with_their_line(folder: Path, text: str) -> None:
    found = problem(folder, f"---\n{text}\n---\nText.\n\n```sql\nSELECT 1\n```\n")
    assert found.partition(' in "')[0] == f"a.md:{SETTINGS[text]}"


def test_wrong_settings_in_toml_are_named_with_their_line(folder: Path) -> None:
    assert problem(folder, '+++\ntitle = "x"\nchart = \n+++\n') == "a.md:3: not valid TOML: Invalid value"
    assert (
        problem(folder, '+++\ntitle = "x"\ntitle = "x"\n+++\n')
        == "a.md:3: not valid TOML: Cannot overwrite a value"
    )
    assert problem(folder, "+++\n\ntitle = 5\n+++\n") == "a.md:3: title 5 is not a text. Write it in quotes."
    assert "nested too deeply" in problem(folder, f"+++\na = {'[' * 2000}\n+++\n")


def test_the_title_of_a_wrong_file_is_that_of_its_settings(folder: Path) -> None:
    assert read(folder, "---\ntitle: Plans\nchart: pie\n---\nText").title == "Plans"
    assert (
        read(folder, "---\ntitle: Plans\n---\n```sql\nSELECT 1\n```\n```sql\nSELECT 2\n```").title == "Plans"
    )
    assert read(folder, "---\ntitle: Plans: all\n---\n", "a.md").title == "A"


BODIES = {
    "---\ntitle: x\n": "1: the settings do not end. Write a line --- below them.",
    "a\n```sql\nSELECT 1\n```\n\n```SQL\nSELECT 2\n```\n": "6: a second sql block. Write one in each panel.",
    "```sql\nSELECT 1\n": "1: the sql block does not end. Write a line ``` below it.",
    "\n```sql\n\n```\n": "2: the sql block is empty. Write into it, or leave it out.",
    "```vega-lite\n{\n  'a': 1}\n```": "3: not valid JSON: Expecting property name enclosed in double quotes",
    '```vega-lite\n{"a": "\\ud800"}\n```':
        "2: not valid JSON: half of a character (a lone surrogate). Write both halves.",
    '```vega-lite\n{"a": 1e999}\n```': "2: not valid JSON: Out of range float values are not JSON compliant",
    "```vega-lite\n[]\n```": "2: not a Vega-Lite specification. Write { before it, and } after it.",
    '```vega-lite\n{"a": NaN}\n```': "2: not valid JSON: NaN is not a number of JSON",
    "```vega-lite\n" + "[" * 100_000 + "\n```": "2: not valid JSON: too many brackets inside each other",
    '```vega-lite\n{"layer": [{"data": {"name": "rows"}}]}\n```':
        ' the vega-lite block reads "rows", and there is no sql block. Write one.',
    "---\n\nchart: bars\n---\n```sql\nSELECT 1\n```\n```vega-lite\n{}\n```":
        "3: chart is set, and the file has a vega-lite block. Leave one of them out.",
    "---\nchart: bars\n---\nx":
        "2: chart is set, and the file has no sql block. Write one, or leave chart out.",
}  # fmt: skip


@pytest.mark.parametrize("text", BODIES)
def test_wrong_blocks_are_named_with_their_line(folder: Path, text: str) -> None:
    assert problem(folder, text) == f"a.md:{BODIES[text]}"


def test_files_that_cannot_be_read_are_problems(folder: Path) -> None:
    assert problem(folder, b"---\ntitle: x\n---\n\xff\n") == "a.md:4: not a UTF-8 text. Save it as UTF-8."
    assert problem(folder, "x" * 300_000) == "a.md: is larger than 200 kB. Write less into one panel."
    (folder / "a.md").unlink()
    (folder / "a.md").mkdir()
    assert read(folder).problem.endswith("a.md: is not a file. Move it away, or write the panel into it.")
    (folder / "a.md").rmdir()
    os.mkfifo(folder / "a.md")
    assert read(folder).problem.endswith("a.md: is not a file. Move it away, or write the panel into it.")
    (folder / "a.md").unlink()
    (folder / "a.md").symlink_to("a.md")
    assert read(folder).problem.endswith("a.md: is not a file. Move it away, or write the panel into it.")


def test_a_directory_that_cannot_be_read_is_one_problem(folder: Path) -> None:
    config = Config(panels_dir=folder)
    folder.rmdir()
    (panel,) = read_panels(config)
    assert panel.problem == f"{folder}: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "name", ["ü.md", "a b.md", 'a"b.md', "-a.md", "x" * 120 + ".md", "a\nb.md", "\udcff.md"]
)
def test_names_that_no_address_can_have_are_problems(folder: Path, name: str) -> None:
    found = read(folder, "x", name)
    assert f"{found}".encode()
    assert "is not a usable name. Write at most 100 letters and digits of ASCII" in found.problem
    assert found.name.startswith("panel-")
    assert found.name.isascii()
