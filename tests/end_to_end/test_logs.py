"""A report from access logs: what its pages and files say, and what they never hold."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.sources.test_logs import BROWSER, LOGS, combined
from tests.support.commands import ONE_WINDOW, Run
from tests.support.proof import assert_sound

AS_OF = ("--as-of", "2026-01-15")


def test_a_report_from_a_log_says_what_is_left_out(run: Run, tmp_path: Path) -> None:
    done = run("build", "--source", LOGS / "sauna-combined.log", *AS_OF, REPORTGEN_WINDOWS="7d,30d")
    assert done.returncode == 0, done.stderr
    said = "1,068 requests: bots 191 (AhrefsBot 61, "
    assert f"left out: {said}" in done.stdout
    release = tmp_path / "output" / "current"
    files = {
        str(path.relative_to(release)): path.read_bytes() for path in release.rglob("*") if path.is_file()
    }
    assert_sound(files, ["7d", "30d"])
    report = json.loads((release / "30d" / "report.json").read_text())
    assert report["total"] + report["left_out"]["requests"] == 1212
    assert sum(reason["requests"] for reason in report["left_out"]["reasons"]) == 1068
    bots = report["left_out"]["reasons"][0]
    assert (bots["reason"], sum(kind["requests"] for kind in bots["kinds"])) == ("bot", bots["requests"])
    assert f"<li>Left out: {said}" in (release / "30d" / "index.html").read_text()
    week = json.loads((release / "7d" / "report.json").read_text())
    assert 0 < week["left_out"]["requests"] < 1068


def test_nothing_of_a_reader_is_stored(run: Run, tmp_path: Path) -> None:
    """No file holds an address of the log, or a user agent, nor does the output of the commands."""
    log = tmp_path / "access.log"
    log.write_text(
        combined() * 50 + combined(agent="Mozilla/5.0 (compatible; ABot/1.0)") + "198.18.0.1 odd\n" * 3
    )
    written = [run(command, "--source", log, **ONE_WINDOW).stdout for command in ("build", "check")]
    written.append(run("import", log, "--into", "sqlite:///m.db", "--create").stdout)
    log.write_text("198.18.0.1 odd\n" * 30 + combined())
    failed = run("build", "--source", log, **ONE_WINDOW)
    assert failed.returncode == 1
    log.unlink()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    content = b"".join([*files, *(text.encode() for text in (*written, failed.stdout, failed.stderr))])
    assert b"ABot" in content
    assert b"198.18." not in content
    assert BROWSER.encode() not in content
    assert b"Mozilla/5.0 (" not in content


@pytest.mark.slow
def test_unchanged_logs_are_not_parsed_again(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(combined("GET /a HTTP/1.1"))
    assert "published" in run("build", "--source", log, **ONE_WINDOW).stdout
    stat = log.stat()
    log.write_text(combined("GET /b HTTP/1.1"))  # would be another report, if it were read
    os.utime(log, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "unchanged" in run("build", "--source", log, "--if-changed", **ONE_WINDOW).stdout
    counted = ONE_WINDOW | {"REPORTGEN_SOURCE__LOG__QUERY": "a"}
    assert "published" in run("build", "--source", log, "--if-changed", **counted).stdout
    with log.open("a") as file:
        file.write(combined())
    assert "published" in run("build", "--source", log, "--if-changed", **counted).stdout


def test_check_shows_the_format_and_what_is_left_out(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(combined() * 15 + combined(status=404))
    lines = run("check", "--source", log).stdout
    assert re.search(r"ok\s+format\s+combined: .*access\.log", lines)
    assert re.search(r"ok\s+table\s+16 requests in 1 file", lines)
    assert re.search(r"left out\s+from \S+ to \S+: 1 request: errors 1\n", lines)
    with log.open("a") as file:
        file.write('198.18.0.1 "/?token=8f3a" odd\n')
    shown = '1 unreadable line: line 17: "… "/?…=…" odd"\n'
    assert f"warning  left out {shown}" in run("check", "--source", log).stdout
    assert f"warning: {shown}" in run("build", "--source", log, **ONE_WINDOW).stderr
    log.write_text('198.18.0.1 - - [26/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 5\n')
    assert "has no user agent: visits of bots are counted" in run("check", "--source", log).stdout
