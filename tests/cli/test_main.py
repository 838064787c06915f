"""The commands, run as a person or a script runs them."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from reportgen import __version__
from reportgen.core.errors import mask_logins
from reportgen.publish.release import current_release
from tests.support.commands import ONE_WINDOW, Run
from tests.support.manysites import interruptible, silent
from tests.support.services import environment, write_table

STAGES = ["query", "load", "charts", "pages", "svg", "pack", "proof", "publish"]
SAMPLE_NOTE = "note: no source is set, so this is the sample site; set DATABASE_URL"


def test_a_build_prints_its_stages_and_its_result(run: Run, tmp_path: Path) -> None:
    """Stages with their times on standard error; only the result on standard output."""
    done = run("build", **ONE_WINDOW)
    assert done.returncode == 0
    *stages, note = done.stderr.splitlines()
    assert [line.split()[0] for line in stages] == STAGES
    assert all(re.fullmatch(r"\w+ +\d+\.\d\d s", line) for line in stages)
    assert note == SAMPLE_NOTE
    release = (tmp_path / "output" / "current").resolve().name
    assert re.fullmatch(rf"published {release} to output/current: [\d,]+ rows, \d+\.\d\d s\n", done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["option", "variable", "file"])
def test_a_build_of_the_sample_prints_no_note_if_the_sample_is_set(
    run: Run, tmp_path: Path, place: str
) -> None:
    """The note is for settings that name no source by mistake."""
    if place == "file":
        (tmp_path / "reportgen.toml").write_text('source.url = "sample"\n')
    options = ["--source", "sample"] if place == "option" else []
    done = run("build", *options, **ONE_WINDOW, **({"DATABASE_URL": "sample"} if place == "variable" else {}))
    assert done.returncode == 0
    assert "note:" not in done.stderr + done.stdout


def test_a_build_for_scripts_is_one_json_document(run: Run, tmp_path: Path) -> None:
    done = run("build", "--json", **ONE_WINDOW)
    summary = json.loads(done.stdout)
    assert done.stderr == ""
    assert summary["status"] == "published"
    assert Path(tmp_path / summary["path"]).resolve() == (tmp_path / "output" / "current").resolve()
    assert list(summary["timings_s"]) == STAGES
    assert (summary["source"], summary["notes"], summary["version"]) == ("sample", [], __version__)


@pytest.mark.slow
def test_a_quiet_build_prints_nothing(run: Run) -> None:
    done = run("build", "--quiet", **ONE_WINDOW)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_an_unchanged_report_is_not_published_again(run: Run, tmp_path: Path) -> None:
    assert run("build", "--if-changed", "--quiet", **ONE_WINDOW).returncode == 0
    release = (tmp_path / "output" / "current").readlink()
    again = run("build", "--if-changed", "--json", **ONE_WINDOW)
    assert json.loads(again.stdout)["status"] == "unchanged"
    assert (tmp_path / "output" / "current").readlink() == release
    changed = run("build", "--if-changed", "--json", REPORTGEN_SITE="another name", **ONE_WINDOW)
    assert json.loads(changed.stdout)["status"] == "published"


def read_terminal(main: int) -> bytes:
    """Return what a child process writes to a pseudo-terminal until it ends, and close our side."""
    shown = b""
    with suppress(OSError):  # the other side is closed: the child has ended
        while block := os.read(main, 65536):
            shown += block
    os.close(main)
    return shown


@pytest.mark.slow
def test_progress_on_a_terminal_shows_each_stage(tmp_path: Path) -> None:
    """On a pseudo-terminal: a spinner while a stage runs, a line with its time when it is done."""
    main, side = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "reportgen", "build"],
        cwd=tmp_path, stdout=side, stderr=side, stdin=side, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(side)
    shown = read_terminal(main)
    assert child.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert [stage for stage in STAGES if re.search(rf"\b{stage} +\d+\.\d\d s\r\n", text)] == STAGES
    assert b"\x1b[?25l" in shown  # the cursor hides while the live line runs


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_shows_the_cursor_again(tmp_path: Path) -> None:
    """The live line hides it. Here the database never answers."""
    main, side = pty.openpty()
    with silent() as database:
        child = subprocess.Popen(
            [sys.executable, "-m", "reportgen", "build", "--source", database.url],
            cwd=tmp_path, stdout=side, stderr=side, stdin=side, env=os.environ | {"TERM": "xterm"},
            preexec_fn=interruptible,  # noqa: PLW1509
        )  # fmt: skip
        os.close(side)
        database.await_caller()
        child.send_signal(signal.SIGINT)
        shown = read_terminal(main)
        code = child.wait(10)
    cursor = re.findall(rb"\x1b\[\?25([lh])", shown)
    assert (code, cursor[0], cursor[-1]) == (130, b"l", b"h")


@pytest.mark.slow
def test_the_output_of_a_build_has_the_notes_on_its_data(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(
        "date,path,visits\n2026-11-22,/a,3\n2026-11-22,/a,-1\n2026-11-21,,1\n,/x,1\n"
    )
    done = run("build", "--source", "m.csv", "--as-of", "2026-11-23", REPORTGEN_WINDOWS="7d")
    assert done.stdout.splitlines()[1:] == [
        "left out: 1 row with negative visits (such as: 2026-11-22, /a, -1)",
        "left out: 1 row without a date (such as: (nothing), /x, 1)",
        "left out: 1 row without a path (such as: 2026-11-21, (nothing), 1)",
    ]


def test_check_lists_what_is_correct(run: Run, pg: str) -> None:
    done = run("check", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert {finding["level"] for finding in found if finding["subject"] != "source"} == {"ok"}
    assert [finding["subject"] for finding in found] == [
        "config", "zone", "source", "table", "rights", "index", "rows", "newest", "paths", "output",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_demo_serves_the_sample_until_it_is_interrupted(tmp_path: Path) -> None:
    """It serves every file of the release and nothing else, and Ctrl-C ends it."""
    child = subprocess.Popen(
        [sys.executable, "-m", "reportgen", "demo", "--port", "0"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        # A background job's children ignore SIGINT; a person's terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs here
    )  # fmt: skip
    try:
        assert child.stdout
        assert child.stdout.readline().startswith("published ")
        address = child.stdout.readline().split()[5]
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        current = tmp_path / "output" / "current"
        for name in json.loads((current / "manifest.json").read_text())["files"]:
            with urllib.request.urlopen(f"{address}/{name}") as answer:
                assert answer.read() == (current / name).read_bytes()
        for absent in ("nothing", "..%2f..%2fstate/lock", "7d/../../../state/lock"):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{address}/{absent}")
            assert refused.value.code == 404
            assert b"There is no such page" in refused.value.read()
            refused.value.close()
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=10) == 0
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


@pytest.mark.slow
def test_the_demo_only_builds_with_no_serve(run: Run, tmp_path: Path) -> None:
    """It builds the sample and ignores the settings in this directory."""
    (tmp_path / "reportgen.toml").write_text('[source]\nurl = "postgresql://nobody@127.0.0.1:1/none"\n')
    done = run("demo", "--no-serve", "--json")
    summary = json.loads(done.stdout)
    assert (summary["status"], summary["source"], summary["address"]) == ("published", "sample", None)


def test_the_demo_reports_a_wrong_option_as_the_other_commands_do(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--no-serve", "--output", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'error: --output: output.dir "" is not the path of a directory. Write one such as "output".\n'
    )
    assert list(tmp_path.iterdir()) == []


def test_the_message_on_a_wrong_source_shows_the_example_url_whole(run: Run) -> None:
    """Logins are masked in all messages, but not the one of the example."""
    done = run("build", "--source", "oracle://user:geheim@host/stats")
    assert (done.returncode, done.stdout) == (2, "")
    assert 'no engine for "oracle://…"; it can be: postgresql://user@host/database, sqlite:///' in done.stderr
    assert "geheim" not in done.stderr


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://user@host/database", "postgresql://user@host/database"),
        ("postgresql://user:geheim@host/x", "postgresql://***@host/x"),
        ("postgresql://geheim@host/x", "postgresql://***@host/x"),
        ("a://users@host b://user@host c://app:geheim@host", "a://***@host b://user@host c://***@host"),
    ],
)
def test_logins_are_masked_in_all_urls_but_examples(text: str, shown: str) -> None:
    assert mask_logins(text) == shown


def test_a_port_in_use_is_reported_before_the_build(tmp_path: Path, run: Run) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("demo", "--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: cannot listen on 127\.0\.0\.1:\d+: Address already in use\. .*--port.*\n", done.stderr
    )
    assert not (tmp_path / "output").exists()


@pytest.mark.slow
def test_the_sample_is_labelled_on_every_page(run: Run, tmp_path: Path) -> None:
    """With its origin, its licence, and the number of weeks by which its dates are moved."""
    assert run("build", "--quiet").returncode == 0
    current = tmp_path / "output" / "current"
    for page in ("index.html", "today/index.html", "7d/index.html", "30d/index.html"):
        text = (current / page).read_text()
        assert re.search(
            r"Sample data: real visits of jarv\.is, .*\(MIT licence\), .* moved by \d+ weeks\.", text
        )
    assert (current / "robots.txt").read_text() == "User-agent: *\nDisallow: /\n"


def test_a_url_in_the_wrong_place_does_not_show_its_password(run: Run) -> None:
    for words in (
        ["build", "postgresql://app:geheim@127.0.0.1/x"],
        ["build", "--as-of", "postgresql://app:geheim@h/x"],
    ):
        done = run(*words)
        assert (done.returncode, "geheim" in done.stderr + done.stdout) == (2, False)


def test_a_password_that_is_a_common_word_does_not_garble_messages(run: Run) -> None:
    done = run("check", DATABASE_URL="postgresql://postgres:postgres@127.0.0.1:1/postgres")
    assert "postgresql://127.0.0.1:1/postgres: cannot connect" in done.stdout


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"reportgen {__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_and_a_parent_that_ignores_its_children_stop_no_build(
    closed: str, tmp_path: Path
) -> None:
    """Some supervisors start their programs so."""
    source = write_table(tmp_path / "metrics.csv")
    command = f"{sys.executable} -m reportgen build --source {source} --output {tmp_path / 'output'} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], env=environment(), check=False,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 0
    assert current_release(tmp_path / "output")


def test_a_note_is_written_and_shown_by_the_next_build(run: Run, tmp_path: Path) -> None:
    """With today's date in the site's zone; beside the settings file, and after the text that is there."""
    (tmp_path / "conf").mkdir()
    settings, notes = tmp_path / "conf" / "own.toml", tmp_path / "conf" / "notes.toml"
    settings.write_text('timezone = "Pacific/Kiritimati"\nwindows = ["7d"]\nsource.url = "sample"\n')
    notes.write_text("# ours\n")
    done = run("note", "v2.3\ndeployed\x1b", "--config", str(settings))
    today = f"{datetime.now(ZoneInfo('Pacific/Kiritimati')):%Y-%m-%d}"
    assert done.stdout.splitlines()[0] == f"{notes}: {today}: v2.3 deployed\u241b"
    assert re.fullmatch(
        r"From the next build on, by the schedule at [\d-]+ \d\d:\d\d \(\+14\), it is shown in: 7d",
        done.stdout.splitlines()[1],
    )
    old = run(
        "note", "old", "--config", str(settings), "--date=2020-01-01", "--until=2020-01-02", "--path=/a"
    )
    assert old.stdout == f"{notes}: 2020-01-01 to 2020-01-02: old\nNo window shows this date today\n"
    assert notes.read_text().startswith("# ours\n\n[[note]]\n")
    assert run("build", "--quiet", "--config", str(settings)).returncode == 0
    report = json.loads((tmp_path / "output" / "current" / "7d" / "report.json").read_bytes())
    assert report["annotations"] == [{"number": 1, "date": today, "text": "v2.3 deployed\x1b"}]
    checked = run("check", "--config", str(settings)).stdout
    assert f"ok       notes   {notes}: 2, the last of {today}\n" in checked


def test_without_a_schedule_a_note_names_no_time(run: Run) -> None:
    done = run("note", "v3", REPORTGEN_SCHEDULE="manual", REPORTGEN_WINDOWS="today,7d")
    assert done.stdout.endswith("\nFrom the next build on, it is shown in: today, 7d\n")


def test_a_wrong_note_is_refused_with_all_its_problems_and_nothing_is_written(
    run: Run, tmp_path: Path
) -> None:
    unquoted = run("note", "two", "words")
    assert (unquoted.returncode, unquoted.stderr) == (
        2, 'error: note: more than one text. Put it in quotes: "two words".\n'
    )  # fmt: skip
    assert "Repeatable" not in run("note", "--help").stdout
    done = run("note", " ", "--date=tomorrow", "--link=x", "--path=blog/viral")
    assert done.returncode == 2
    assert 'note: path "blog/viral" does not begin with "/". Write "/blog/viral".' in done.stderr
    assert done.stderr.endswith('note: text "" is empty. Write a text.\n')
    assert [re.split(" is | does ", line)[0] for line in done.stderr.splitlines()] == [
        'error: note: date "tomorrow"', 'error: note: path "blog/viral"', 'error: note: link "x"',
        'error: note: text ""',
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_file_of_notes_ends_build_and_note_and_check_names_each_problem(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "notes.toml").write_text('[[note]]\ndate = 1\ntext = "a"\n[[note]]\ndate = 2026-11-20\n')
    problems = [
        "notes.toml:2: note.date 1 is not a date. Write one such as 2026-11-20.",
        "notes.toml:4: note.text is not set. Write it.",
    ]
    for command in (["build"], ["note", "b"]):
        done = run(*command)
        assert done.returncode == 2
        assert [
            line.removeprefix("error: ") for line in done.stderr.splitlines() if "note." in line
        ] == problems
    checked = run("check")
    assert checked.returncode == 1
    assert [line.split("   ")[-1] for line in checked.stdout.splitlines() if "note." in line] == problems


def test_a_note_of_one_of_many_sites_is_in_a_file_of_its_own(run: Run, tmp_path: Path) -> None:
    sites = '[[sites]]\nname = "a"\nsource.url = "sample"\n[[sites]]\nname = "b"\nsource.url = "sample"\n'
    (tmp_path / "reportgen.toml").write_text(sites)
    assert "Add --site NAME, once" in run("note", "x").stderr
    assert run("note", "x", "--site=b").stdout.startswith("b.notes.toml: ")
    assert (tmp_path / "b.notes.toml").is_file()


RULES = """
[paths]
slash = "merge"
case = "lower"
exclude = ["**/*.php"]
[[sections]]
name = "Blog"
match = "/blog/**"
"""
VISITS = (
    "date,path,visits\n{day},/blog/a/,5\n{day},/blog/a,4\n{day},/x.php,30\n{day},/y.php,1\n{day},/about,2\n"
)


@pytest.fixture
def ruled(tmp_path: Path) -> Path:
    """Return a folder with rows of today and settings with path rules."""
    day = datetime.now(ZoneInfo("UTC")).date()
    (tmp_path / "metrics.csv").write_text(VISITS.format(day=day))
    (tmp_path / "reportgen.toml").write_text(f'windows = ["7d"]\nsource.url = "metrics.csv"\n{RULES}')
    return tmp_path


def test_paths_prints_what_each_rule_touches(run: Run, ruled: Path) -> None:
    lines = run("paths").stdout.splitlines()
    assert [line.split() for line in lines[:-2]] == [
        ["rule", "paths", "visits", "example"],
        ["exclude", "**/*.php", "2", "31", "/x.php"],
        ["section", "Blog", "2", "9", "/blog/a"],
        ["slash", "1", "5", "/blog/a/", "→", "/blog/a"],
        ["no", "rule", "1", "2", "/about"],
    ]
    assert lines[-2] == "without effect: case"
    document = json.loads(run("paths", "--json").stdout)
    assert document["rules"][0] == {
        "rule": "exclude **/*.php", "paths": 2, "visits": 31, "before": "/x.php", "after": None
    }  # fmt: skip
    assert sum(rule["paths"] for rule in document["rules"] if rule["rule"] in {"case", "no rule"}) == 1


def test_a_build_says_what_the_rules_leave_out(run: Run, ruled: Path) -> None:
    last = datetime.now(ZoneInfo("UTC")).date()
    first = last - timedelta(days=6)
    assert f"left out by your rules: 2 paths, 31 visits from {first} to {last}\n" in run("build").stdout
    document = json.loads(run("build", "--json").stdout)
    assert document["excluded"] == {"paths": 2, "visits": 31, "first": f"{first}", "last": f"{last}"}
    report = json.loads((ruled / "output" / "current" / "7d" / "report.json").read_text())
    assert (report["total"], report["excluded"]) == (11, {"paths": 2, "visits": 31})
    (ruled / "reportgen.toml").write_text('source.url = "metrics.csv"\n')
    assert json.loads(run("build", "--if-changed", "--json").stdout)["status"] == "published"


def test_a_note_is_shown_with_the_path_that_the_rules_make(run: Run, ruled: Path) -> None:
    for path in ("/Blog/a/", "/x.php"):
        assert run("note", "HN", f"--path={path}").returncode == 0
    assert run("build", "--quiet").returncode == 0
    report = json.loads((ruled / "output" / "current" / "7d" / "report.json").read_text())
    assert [note["path"] for note in report["annotations"]] == ["/blog/a", "/x.php"]
    assert "(/blog/a)" in (ruled / "output" / "current" / "7d" / "visits-by-section.svg").read_text()


def test_check_says_what_the_rules_leave_out_and_which_have_no_effect(run: Run, ruled: Path) -> None:
    rules = RULES.replace('"]', '", "about/x", "/none/*", "scanners"]')
    rules += '[[sections]]\nname = "More"\nmatch = ["/blog/**", "/about"]\n[[sections]]\nname = "Old"\n'
    rules += 'match = "/old"\n[[paths.rename]]\nfrom = "old"\nto = "/new"\n'
    (ruled / "reportgen.toml").write_text(f'source.url = "metrics.csv"\n{rules}')
    done = run("check")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(
        re.fullmatch(r"ok +left out by your rules: 2 paths, 31 visits on \S+ to \S+", line) for line in lines
    )
    warned = [re.sub(" on .*? to [0-9-]+", "", line) for line in lines if line.startswith("warning  paths")]
    assert sorted(line.removeprefix("warning  paths   ") for line in warned) == [
        "exclude /none/*: without effect. Correct it, or leave it out",
        'exclude about/x: without effect. Write "/about/x": paths begin with "/"',
        'rename old to /new: without effect. Write "/old": paths begin with "/"',
        "section More: paths of /blog/** are in section Blog already. Leave one of the two globs out",
        "section Old: without effect. Correct it, or leave it out",
    ]


@pytest.mark.parametrize(("path", "words"), [
    ("/about/", "/about and /about/ are counted apart"),
    ("/about?utm_source=x", "/about?utm_source=x is counted apart from the path without its query"),
    ("/.env", "/.env looks like a request of a scanner"),
    ("/x.php", ""),
])  # fmt: skip
def test_check_has_a_hint_if_rules_could_merge_or_leave_out_a_path(
    run: Run, tmp_path: Path, path: str, words: str
) -> None:
    day = datetime.now(ZoneInfo("UTC")).date()
    (tmp_path / "metrics.csv").write_text(f"date,path,visits\n{day},/about,2\n{day},{path},1\n")
    lines = run("check", "--source", "metrics.csv").stdout.splitlines()
    hints = [line for line in lines if "hint: " in line]
    assert hints == ([f"ok       paths   hint: {words}: see [paths] in docs/paths.md"] if words else [])


def test_each_of_many_sites_may_have_rules_of_its_own(run: Run, ruled: Path) -> None:
    sites = "".join(f'\n[[sites]]\nname = "{name}"\nsource.url = "metrics.csv"\n' for name in ("a", "b"))
    own = '[sites.paths]\nexclude = ["/about"]\n[[sites.sections]]\nname = "X"\nmatch = "/x*"\n'
    (ruled / "reportgen.toml").write_text(RULES + sites + own)
    lines = run("paths").stdout.splitlines()
    assert any(re.match(r"a: exclude \*\*/\*\.php +2 ", line) for line in lines)
    assert any(re.match(r"b: exclude /about +1 ", line) for line in lines)
    assert any(re.match(r"b: section X +1 ", line) for line in lines)
    assert any(re.match(r"b: slash +1 ", line) for line in lines)
    (one,) = json.loads(run("paths", "--site", "b", "--json").stdout)
    assert one["site"] == "b"
