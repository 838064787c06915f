"""Many sites built at once: each is what a single site is, and nothing that one does harms another."""

import json
import os
import signal
import time
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pebble import ProcessExpired

from reportgen.cli.multi import summary
from reportgen.config.sites import Sites, load_settings
from reportgen.core.errors import BucketUnavailable, OutputBusy, ProofError, TimedOut
from reportgen.publish.history import BuildResult, read_runs, record
from reportgen.publish.release import current_release, is_whole
from reportgen.sites.runner import SitesRun, site_result
from tests.support.manysites import (
    SMALL,
    begun,
    ended,
    reportgen,
    silent,
    table,
    worker_processes,
    written,
)
from tests.support.services import eventually

ONE = ("--processes", 1)


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Give a folder with three sites."""
    written(
        tmp_path, {name: table(tmp_path, name, at * 10) for at, name in enumerate(("a", "b", "c"), start=1)}
    )
    return tmp_path


def published(folder: Path, *names: str) -> list[bool]:
    """Tell of each site whether a whole release of it is current."""
    found = [current_release(folder / "output" / name) for name in names]
    return [release is not None and is_whole(release) for release in found]


def index(folder: Path) -> dict[str, dict[str, object]]:
    """Return what the page over all sites says, for programs, by name."""
    document = json.loads((folder / "output" / "current" / "sites.json").read_text())
    return {site["name"]: site for site in document["sites"]}


@pytest.mark.slow
def test_each_site_is_published_below_its_prefix_as_one_site_is(three: Path) -> None:
    done = reportgen(three, "build")
    assert (done.code, done.err) == (0, "")
    lines = sorted(line.rpartition(",")[0] for line in done.out.splitlines()[:3])
    assert lines == [f"{name}: published, 14 rows" for name in "abc"]
    assert done.out.splitlines()[3:] == ["3 sites on one page: output/current"]
    assert published(three, "a", "b", "c", "") == [True] * 4
    for name in "abc":
        output = three / "output" / name
        assert {path.name for path in output.iterdir()} == {"current", "releases", "state"}
        assert read_runs(output).last_success is not None
    assert read_runs(three / "output").last_success is not None


@pytest.mark.slow
def test_the_page_over_all_leads_into_each_site(three: Path) -> None:
    """Links in its release lead to what each site has published last: one tree for any web server."""
    assert reportgen(three, "build", "--quiet").code == 0
    current = three / "output" / "current"
    page = (current / "index.html").read_text()
    for name in "abc":
        assert f'<a href="{name}/index.html">{name}</a>' in page
        assert (current / name / "index.html").read_bytes() == (
            three / "output" / name / "current" / "index.html"
        ).read_bytes()
    assert "<script" not in page


@pytest.mark.slow
def test_the_results_of_all_sites_are_one_document(three: Path) -> None:
    (three / "b.csv").unlink()
    done = reportgen(three, "build", "--json")
    assert done.code == 1
    document = done.document
    assert [site["name"] for site in document["sites"]] == ["a", "b", "c"]
    assert done.states == {"a": "published", "b": "failed", "c": "published"}
    assert document["message"].startswith("1 of 3 sites failed: b: ")
    assert "b.csv: no such file" in document["message"]
    assert "b.csv: no such file" in document["sites"][1]["message"]
    assert document["sites"][0]["rows"] == 14
    quiet = reportgen(three, "build", "--json", "--quiet")
    assert quiet.states == {"b": "failed"}  # what a service reads of thousands


def test_one_site_is_built_by_name_and_the_page_over_all_with_it(three: Path) -> None:
    done = reportgen(three, "build", "--json", "--site", "b")
    assert done.states == {"b": "published"}
    assert published(three, "a", "b", "c") == [False, True, False]
    assert {name: site["total"] for name, site in index(three).items()} == {"a": None, "b": 161, "c": None}
    assert read_runs(three / "output").last_success is None  # only a run of all sites counts


@pytest.mark.slow
def test_a_site_can_be_built_without_the_page_over_all_and_the_page_without_sites(three: Path) -> None:
    """As the service does: the page is published, and its result is recorded, by a command of its own."""
    done = reportgen(three, "build", "--json", "--only", "site", "--site", "b")
    assert (done.code, done.document["status"], done.document["rows"]) == (0, "published", 14)
    assert published(three, "a", "b", "c", "") == [False, True, False, False]
    page = reportgen(three, "build", "--json", "--only", "page")
    assert (page.code, page.document["status"]) == (0, "published")
    assert {name: site["total"] for name, site in index(three).items()} == {"a": None, "b": 161, "c": None}
    success = read_runs(three / "output").last_success
    assert success is not None
    assert success.release == page.document["release"]
    assert reportgen(three, "build", "--only", "page").out == "3 sites on one page: output/current\n"


@pytest.mark.slow
def test_a_site_that_says_nothing_new_is_not_published_again(three: Path) -> None:
    assert reportgen(three, "build", "--quiet").code == 0
    before = {name: (three / "output" / name / "current").readlink() for name in "abc"}
    table(three, "b", 99)
    done = reportgen(three, "build", "--json", "--if-changed")
    assert done.states == {"a": "unchanged", "b": "published", "c": "unchanged"}
    after = {name: (three / "output" / name / "current").readlink() for name in "abc"}
    assert [name for name in "abc" if before[name] != after[name]] == ["b"]


@pytest.mark.slow
def test_only_sites_whose_schedule_is_due_are_built_when_asked_so(tmp_path: Path) -> None:
    """And those whose last build failed, but never one whose schedule is manual."""
    daily = 'schedule = "24h"\n'
    sites = {name: f'{daily}source.url = "{table(tmp_path, name)}"' for name in ("a", "b")}
    sites["c"] = f'schedule = "1s"\nsource.url = "{table(tmp_path, "c")}"'
    sites["d"] = sites["b"].replace("24h", "manual")
    written(tmp_path, sites)
    (tmp_path / "b.csv").unlink()
    assert reportgen(tmp_path, "build", "--quiet").code == 1
    table(tmp_path, "b")
    assert reportgen(tmp_path, "build", "--json", "--due").states == {"b": "published", "c": "published"}


@pytest.mark.slow
def test_a_past_day_is_built_for_all(three: Path) -> None:
    day = (datetime.now(UTC).date() - timedelta(3)).isoformat()
    done = reportgen(three, "build", "--json", "--as-of", day)
    assert [site["as_of"] for site in done.document["sites"]] == [day] * 3
    assert read_runs(three / "output").last_success is None
    far = reportgen(three, "build", "--as-of", "2999-01-01")
    assert (far.code, "in the future" in far.err) == (2, True)


@pytest.mark.slow
def test_a_second_site_costs_a_fraction_of_the_first(three: Path) -> None:
    """The process that built one is warm for the next."""
    done = reportgen(three, "build", "--json", *ONE)
    first, *rest = sorted((site["cpu_seconds"] for site in done.document["sites"]), reverse=True)
    assert max(rest) < first / 2


# What one site does to the others: nothing.


@pytest.mark.slow
def test_a_wrong_table_is_one_line_and_the_others_are_published(three: Path) -> None:
    (three / "b.csv").write_text("date,page,visits\n2026-11-23,/,1\n")
    done = reportgen(three, "build")
    assert done.code == 1
    assert done.err.startswith("error: b: ")
    assert published(three, "a", "b", "c", "") == [True, False, True, True]


@pytest.mark.slow
def test_a_site_that_hangs_one_that_is_killed_and_one_that_raises_are_one_line_each(three: Path) -> None:
    """The others are done while one is still waited for; its own time limit ends it, alone."""
    with silent() as hanging, silent() as killing:
        sites = f'[[sites]]\nname = "hangs"\nbuild_timeout_s = 20\n{hanging.source}'
        sites += f'[[sites]]\nname = "killed"\n{killing.source}[[sites]]\nname = "raises"\n'
        sites += f'source.url = "{three / "a.csv"}"\ntemplates_dir = "own"\n'
        (three / "own").mkdir()
        (three / "own" / "report.html").write_text("{{ nonsense.at.all }}")
        text = (three / "reportgen.toml").read_text()
        (three / "reportgen.toml").write_text(text.replace("[[sites]]", f"{sites}[[sites]]", 1))
        process = begun(three, "build", "--processes", 2, "--json")
        hanging.await_caller()
        killing.await_caller()
        holder = (three / "output" / "killed" / "state" / "lock").read_text().split()[-1]
        assert int(holder) in worker_processes(process.pid)
        os.kill(int(holder), signal.SIGKILL)
        eventually(lambda: published(three, "a", "b", "c") == [True] * 3, 19)
        assert process.poll() is None
        done = ended(process)
    failed = {site["name"]: site for site in done.document["sites"] if site["status"] == "failed"}
    assert done.states == dict.fromkeys(failed, "failed") | dict.fromkeys("abc", "published")
    assert {name: (site["error"], site["retry"]) for name, site in failed.items()} == {
        "hangs": ("TimedOut", True),
        "killed": ("Ended", True),
        "raises": ("RenderError", False),
    }
    assert failed["hangs"]["message"] == str(TimedOut.after(20))
    assert failed["killed"]["message"] == "the build was killed (out of memory?)"
    assert [read_runs(three / "output" / name).failures for name in failed] == [1, 1, 1]
    assert published(three, "") == [True]


@pytest.mark.slow
def test_twenty_sites_are_built_by_two_processes(tmp_path: Path) -> None:
    """Each process is warm for the next site, and is the first to be killed where memory runs out."""
    names = [f"s{number}" for number in range(20)]
    written(tmp_path, {name: table(tmp_path, name) for name in names})
    process = begun(tmp_path, "build", "--json", "--processes", 2)
    eventually(lambda: len(worker_processes(process.pid)) == 2)
    seen = worker_processes(process.pid)
    scores = [Path(f"/proc/{pid}/oom_score_adj") for pid in seen]
    eventually(lambda: [score.read_text().strip() for score in scores] == ["1000", "1000"])
    eventually(lambda: published(tmp_path, "s12") == [True], 60)
    assert worker_processes(process.pid) == seen
    assert ended(process).states == dict.fromkeys(names, "published")
    assert published(tmp_path, *names, "") == [True] * 21


def aged(output: Path, by: timedelta) -> None:
    """Let an output's last success be that much older."""
    success = read_runs(output).last_success
    assert success is not None
    record(output, replace(success, at=success.at - by))


# The page over all.


@pytest.mark.slow
def test_a_page_over_all_that_cannot_be_made_is_reported_and_makes_all_stale(three: Path) -> None:
    """The sites are published; after more than an interval ``status`` says that the page is not."""
    (three / "own").mkdir()
    settings = 'templates_dir = "own"\nschedule = "1h"\n' + (three / "reportgen.toml").read_text()
    (three / "reportgen.toml").write_text(settings)
    (three / "own" / "overview.html").write_text("{{ nonsense.at.all }}")
    done = reportgen(three, "build", "--json")
    assert (done.code, done.document["error"], done.document["retry"]) == (1, "RenderError", False)
    assert done.err.startswith("error: the page over all sites: RenderError: ")
    assert done.states == dict.fromkeys("abc", "published")
    assert reportgen(three, "status").code == 4
    (three / "own" / "overview.html").unlink()
    assert (reportgen(three, "build", "--quiet").code, reportgen(three, "status").code) == (0, 0)
    (three / "own" / "overview.html").write_text("{{ nonsense.at.all }}")
    assert (reportgen(three, "build", "--quiet").code, reportgen(three, "status").code) == (1, 0)
    stored = read_runs(three / "output")
    aged(three / "output", timedelta(hours=3))
    assert stored.last_failure is not None
    record(three / "output", replace(stored.last_failure, at=datetime.now(UTC)))
    assert reportgen(three, "status").code == 4
    record(three / "output", replace(stored.last_failure, at=datetime.now(UTC), error="SitesFailed"))
    assert reportgen(three, "status").code == 0


of_error = BuildResult.of_error
FAILED = BuildResult("failed", datetime.now(UTC), site="a")


@pytest.mark.parametrize(
    ("results", "index", "code", "error", "retry"),
    [
        ([], of_error(BucketUnavailable("no answer")), 1, "BucketUnavailable", True),
        ([], of_error(OutputBusy("another machine")), 3, None, False),
        ([FAILED], of_error(OutputBusy("another")), 1, "SitesFailed", False),
        ([replace(FAILED, retry=True)], of_error(ProofError("x")), 1, "ProofError", True),
    ],
)
def test_what_becomes_of_the_page_over_all_counts(
    results: list[BuildResult], index: BuildResult, code: int, error: str | None, retry: bool
) -> None:
    document = summary(SitesRun(results, index, datetime.now(UTC), 1.0))
    assert (document["exit_code"], document["error"], document["retry"]) == (code, error, retry)
    assert "the page over all sites was not published" in document["message"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_builds_on_when_the_command_is_ended(three: Path, number: int) -> None:
    """However it ends; the site's lock goes with its process."""
    with silent() as database:
        (three / "reportgen.toml").write_text(f'{SMALL}[[sites]]\nname = "hangs"\n{database.source}')
        process = begun(three, "build")
        database.await_caller()
        (process_id,) = worker_processes(process.pid)
        process.send_signal(number)
        done = ended(process, 10)
        eventually(lambda: not Path(f"/proc/{process_id}").exists(), 10)
    assert "Traceback" not in done.err
    assert number != signal.SIGINT or (done.code, done.err) == (130, "")


def test_ctrl_c_while_the_processes_start_prints_nothing(three: Path) -> None:
    """A terminal sends the signal to all processes of the command."""
    process = begun(three, "build", "--processes", 3, start_new_session=True)
    eventually(lambda: worker_processes(process.pid))
    os.killpg(process.pid, signal.SIGINT)
    done = ended(process, 10)
    assert (done.code, done.out, done.err) == (130, "", "")


@pytest.mark.slow
def test_a_site_whose_builds_fail_keeps_its_figures_marked_with_their_age(three: Path) -> None:
    assert reportgen(three, "build", "--quiet").code == 0
    total = index(three)["b"]["total"]
    (three / "b.csv").unlink()
    time.sleep(1)
    assert reportgen(three, "build", "--quiet").code == 1
    row = index(three)["b"]
    assert row["total"] == total
    assert row["failed_at"] is not None
    page = (three / "output" / "current" / "index.html").read_text()
    assert page.count(" old: the build of ") == 1
    assert "3 sites · 1 failed or overdue" in page


@pytest.mark.slow
def test_two_runs_at_once_do_not_disturb_each_other(three: Path) -> None:
    """Each site's lock is its own: a second run waits for it, or reports that it is busy."""
    both = [begun(three, "build", "--json") for _ in range(2)]
    assert [ended(each).code for each in both] == [0, 0]
    assert published(three, "a", "b", "c", "") == [True] * 4


@pytest.mark.slow
def test_a_site_that_is_being_built_is_busy_for_who_does_not_wait(three: Path) -> None:
    from reportgen.publish.release import lock_output

    with lock_output(three / "output" / "b"):
        done = reportgen(three, "build", "--json", "--no-wait")
    assert (done.code, done.states) == (3, {"a": "published", "b": "busy", "c": "published"})
    assert read_runs(three / "output" / "b").failures == 0
    assert read_runs(three / "output").last_success is None  # one answer: exit code 3, no success


def failing(error: Exception | None) -> "Future[Any]":
    """Return what an executor gives back that failed itself, or that gave up."""
    future: Future[Any] = Future()
    if error is None:
        future.cancel()
    else:
        future.set_exception(error)
    return future


@pytest.mark.parametrize(
    ("future", "message"),
    [
        (Future(), "no worker accepted the job, or answered, in time"),
        (failing(ProcessExpired("Abnormal termination", -9)), "the build was killed (out of memory?)"),
        (failing(None), "the executor cancelled the job"),
        (failing(RuntimeError("postgresql://u:geheim@db/x")), "could not build: postgresql://***@db/x"),
    ],
)
def test_a_site_that_the_executor_loses_is_reported_and_on_record(
    three: Path, monkeypatch: pytest.MonkeyPatch, future: "Future[Any]", message: str
) -> None:
    """As when a whole cluster dies: no site ends unseen."""
    monkeypatch.chdir(three)
    sites = load_settings(None, {}, {})
    assert isinstance(sites, Sites)
    result = site_result(future, sites.all[0])
    assert (result.site, result.state, result.retry) == ("a", "failed", True)
    assert message in result.message
    failure = read_runs(three / "output" / "a").last_failure
    assert failure is not None
    assert failure.message == result.message


# The other commands.


@pytest.mark.slow
def test_check_and_status_tell_of_each_site(three: Path) -> None:
    (three / "b.csv").unlink()
    assert reportgen(three, "build", "--quiet").code == 1
    checked = reportgen(three, "check")
    assert checked.code == 1
    assert [line[:20] for line in checked.out.splitlines() if "error" in line] == ["b: error    source  "]
    assert reportgen(three, "check", "--site", "a").code == 0
    found = reportgen(three, "check", "--json").document
    assert {finding.get("site") for finding in found} == {"a", "b", "c", None}
    assert [finding["subject"] for finding in found if "site" not in finding] == ["output"]
    status = reportgen(three, "status")
    assert status.code == 4
    assert [line.partition(",")[0] for line in status.out.splitlines()] == [
        "a: fresh",
        "b: STALE",
        "c: fresh",
    ]
    fresh = reportgen(three, "status", "--json", "--site", "a", "--site", "c")
    assert (fresh.code, [site["name"] for site in fresh.document["sites"]]) == (0, ["a", "c"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("build", "--site", "x"), '--site "x" is not the name of a site. The sites are: a, b, c.'),
        (("build", "--only", "site"), "--only site needs the name of one site. Add --site NAME, once."),
        (
            ("build", "--only", "page", "--site", "x", "--as-of", "2099-01-01", "--due", "--processes", "3"),
            "--only page does not use --due, --processes, --site, --as-of. Leave it out.",
        ),
        (
            ("build", "--only", "site", "--site", "a", "--executor", "dask://x:1"),
            "--only site does not use --executor. Leave it out.",
        ),
        (("build", "--source", "sample"), "--source would make all sites show the same"),
        (
            ("build", "--executor", "ray://x"),
            '--executor "ray://x": not a valid address. Write dask://HOST:PORT',
        ),
    ],
)
def test_an_option_that_cannot_work_ends_with_2(
    three: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = reportgen(three, *arguments)
    assert (done.code, message in done.err) == (2, True)


@pytest.mark.parametrize(
    "option",
    [("--site", "a"), ("--due",), ("--only", "page"), ("--processes", "2"), ("--executor", "dask://x:1")],
)
def test_options_for_many_sites_are_refused_where_there_is_one(
    tmp_path: Path, option: tuple[str, ...]
) -> None:
    done = reportgen(tmp_path, "build", *option)
    assert (done.code, "is for many sites, and the settings have no [[sites]]" in done.err) == (2, True)
