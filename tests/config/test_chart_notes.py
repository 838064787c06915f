"""``notes.toml``: what is read, each problem with its line, and notes that a command appends."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from reportgen.config.chart_notes import append_note, new_note, read_chart_notes
from reportgen.config.settings import load_config
from reportgen.config.sites import Sites, load_settings
from reportgen.core.errors import ConfigError

DEPLOYED = new_note({"date": date(2026, 11, 27), "text": "v2.3 deployed"})
APPENDED = '[[note]]\ndate = 2026-11-27\ntext = "v2.3 deployed"\n'


def stored(tmp_path: Path, text: str) -> Path:
    """Write a file of notes."""
    file = tmp_path / "notes.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_notes_are_read_by_date_and_a_text_is_one_line(tmp_path: Path) -> None:
    file = stored(
        tmp_path,
        '[[note]]\ndate = 2026-11-22\nuntil = "2026-11-24"\ntext = """Fair\n  in Ulm"""\n'
        '[[note]]\ndate = 2026-11-20\npath = "/a"\nlink = "HTTPS://a.test/x/"\ntext = "On HN"\n',
    )
    one, two = read_chart_notes(file)
    assert (one.date, one.until, one.path, one.link, one.text) == (
        date(2026, 11, 20), None, "/a", "https://a.test/x/", "On HN",
    )  # fmt: skip
    assert (two.date, two.until, two.path, two.link, two.text) == (
        date(2026, 11, 22), date(2026, 11, 24), None, None, "Fair in Ulm",
    )  # fmt: skip


def test_without_a_file_there_are_no_notes(tmp_path: Path) -> None:
    assert read_chart_notes(tmp_path / "notes.toml") == read_chart_notes(None) == ()


def test_every_problem_of_every_note_is_named_with_its_line(tmp_path: Path) -> None:
    file = stored(
        tmp_path,
        '# mine\nzone = "UTC"\n[[note]]\ndate = "20 Nov"\ntxt = "a"\n\n[[note]]\ndate = 2026-11-20\n'
        'until = 2026-11-19\nlink = "javascript:alert(1)"\ntext = " "\n[[note]]\ndate = 2026-11-20T10:00:00\n'
        f'path = 1\ntext = "{501 * "a"}"\n',
    )
    with pytest.raises(ConfigError) as found:
        read_chart_notes(file)
    lines = [line.removeprefix(f"{file}:") for line in str(found.value).splitlines()]
    expected = [
        "2: zone is not a key of this file. Write it below ",
        '4: note.date "20 Nov" is not a date. Write one s',
        "3: note.text is not set. Write it.",
        "5: note.txt is not a key of a note. Did you mea",
        '9: note.until "2026-11-19" is before 2026-11-20,',
        '10: note.link "javascript:alert(1)" is not a web',
        '11: note.text "" is empty. Write a text.',
        '13: note.date "2026-11-20 10:00:00" is not a dat',
        "14: note.path 1 is not a text. Write it in quote",
        '15: note.text "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
    ]
    assert [line[: len(start)] for line, start in zip(lines, expected, strict=True)] == expected


@pytest.mark.parametrize(("text", "problem"), [
    ("[[note]]\ndate = 2026-11-31\n", ":2: not valid TOML: Invalid date or datetime"),
    ("[note]\ntext = 1\n", ":1: note is not a list of sections. Write [[note]] above each note."),
    ("[[notes]]\ntext = 1\n", ":1: notes is not a key of this file. Write [[note]], not [[notes]]."),
    ("note = [1]\n", ":1: note is not a list of sections. Write [[note]] above each note."),
])  # fmt: skip
def test_a_file_without_notes_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    file = stored(tmp_path, text)
    with pytest.raises(ConfigError) as found:
        read_chart_notes(file)
    assert str(found.value) == f"{file}{problem}"


def test_the_file_is_beside_the_settings_and_each_of_many_sites_has_its_own(tmp_path: Path) -> None:
    one, many = tmp_path / "one.toml", tmp_path / "many.toml"
    one.touch()
    assert load_config(one, {}).notes_file == tmp_path / "notes.toml"
    assert load_config(None, {}).notes_file == Path("notes.toml")
    assert load_config(one, {"REPORTGEN_NOTES_FILE": "other.toml"}).notes_file == Path("other.toml")
    sites = '[[sites]]\nname = "a"\nsource.url = "sample"\n'
    sites += '[[sites]]\nname = "b"\nsource.url = "sample"\nnotes_file = "x.toml"\n'
    for top, names in (
        ("", [tmp_path / "a.notes.toml", "x.toml"]),
        ('notes_file = "all.toml"\n', ["all.toml", "x.toml"]),
    ):
        many.write_text(top + sites)
        settings = load_settings(many, {}, {})
        assert isinstance(settings, Sites)
        assert [site.config.notes_file for site in settings.all] == list(map(Path, names))


@pytest.mark.parametrize(("before", "after"), [
    ("", APPENDED),
    ("# mine\n", f"# mine\n\n{APPENDED}"),
    ("# mine", f"# mine\n\n{APPENDED}"),
    ("# \u00e9\r\n", f"# \u00e9\r\n\n{APPENDED}"),
])  # fmt: skip
def test_a_note_is_appended_and_the_text_before_it_stays(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "notes.toml"
    if before:
        file.write_bytes(before.encode())
        file.chmod(0o640)
    append_note(file, DEPLOYED)
    assert file.read_bytes().decode() == after
    assert not before or file.stat().st_mode & 0o777 == 0o640
    assert read_chart_notes(file) == (DEPLOYED,)
    assert list(tmp_path.iterdir()) == [file]


def test_any_text_is_appended_so_that_it_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "notes.toml"
    text = "a \"b\" \\ \x00\x1b\x7f\u202e \U0001f600 [[note]] # = '''"
    note = new_note(
        {"date": "2026-11-27", "until": "2026-11-28", "path": '/"', "link": "https://a.test", "text": text}
    )
    append_note(file, note)
    append_note(file, note)
    assert read_chart_notes(file) == (note, note)
    assert note.text == text


@pytest.mark.parametrize("text", ["note = []\n", "[[note]]\n", "x ="])
def test_a_file_to_which_nothing_can_be_appended_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = stored(tmp_path, text)
    with pytest.raises(ConfigError, match=r"notes\.toml"):
        append_note(file, DEPLOYED)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"notes.toml": text}


def test_notes_that_are_appended_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, file = tmp_path / "real" / "notes.toml", tmp_path / "notes.toml"
    file.symlink_to(real)
    program = (
        "import sys; from pathlib import Path\n"
        "from reportgen.config.chart_notes import append_note, new_note\n"
        "for n in range(10):\n"
        "    append_note(Path(sys.argv[1]), new_note({'date': '2026-11-27', 'text': sys.argv[2] + str(n)}))"
    )
    commands = [[sys.executable, "-c", program, str(file), str(name)] for name in range(4)]
    started = [subprocess.Popen(command) for command in commands]
    assert [each.wait(timeout=60) for each in started] == [0] * 4
    assert {note.text for note in read_chart_notes(file)} == {f"{a}{n}" for a in range(4) for n in range(10)}
    assert file.is_symlink()


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_appends_leaves_whole_notes(tmp_path: Path) -> None:
    file = tmp_path / "notes.toml"
    program = (
        "import sys; from pathlib import Path\n"
        "from reportgen.config.chart_notes import append_note, new_note\n"
        "note = new_note({'date': '2026-11-27', 'text': 499 * 'x'})\n"
        "while True:\n    append_note(Path(sys.argv[1]), note); print(flush=True)"
    )
    seen = 0
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE) as process:
            assert process.stdout
            written = [process.stdout.readline() for _ in range(3)]
            process.kill()
            written += process.stdout.readlines()
        notes = read_chart_notes(file)
        assert seen + len(written) <= len(notes) <= seen + len(written) + 1
        assert file.read_text().count("[[note]]") == len(notes)
        seen = len(notes)
    append_note(file, DEPLOYED)
    assert list(tmp_path.iterdir()) == [file]
