"""Logs: one line an event, for people or for machines, and never a secret."""

import json
import logging
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from reportgen.core.errors import ConfigError
from reportgen.core.logs import Form, event, form_of, logfmt, set_up
from tests.support.commands import Run
from tests.support.services import publish_files, serving, site_files


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Give a function that returns what was written to standard error; afterwards logging is as it was."""
    loggers = (logging.getLogger(), logging.getLogger("reportgen"))
    before = [(logger, logger.handlers, logger.level) for logger in loggers]
    yield lambda: capsys.readouterr().err
    for logger, handlers, level in before:
        logger.handlers = handlers
        logger.setLevel(level)


def test_a_line_for_people_is_name_and_value(written: Callable[[], str]) -> None:
    set_up("logfmt", [])
    event("build_done", seconds=1.5, release="r1", message="two words", empty="", absent=None, fresh=True)
    line = written()
    assert re.fullmatch(
        r"time=20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 level=info event=build_done "
        r'seconds=1.5 release=r1 message="two words" empty="" fresh=true\n',
        line,
    )


def test_a_line_for_machines_is_json(written: Callable[[], str]) -> None:
    set_up("json", [])
    event("build_failed", level=logging.ERROR, seconds=1.5, message='größer "als"', absent=None)
    line = json.loads(written())
    assert datetime.fromisoformat(line.pop("time")).utcoffset() is not None
    assert line == {
        "level": "error", "event": "build_failed", "seconds": 1.5, "message": 'größer "als"',
    }  # fmt: skip


@pytest.mark.parametrize("form", ["logfmt", "json"])
@pytest.mark.parametrize(
    "text", ["a\nb", "a\r\nlevel=info event=forged", "a\u2028b", "a\x85b", "\x1b[2J", "\x9b2J", "\u202eabc"]
)
def test_whatever_is_in_it_a_record_is_one_line_that_moves_nothing(
    written: Callable[[], str], form: Form, text: str
) -> None:
    """No value ends the line, forges another, or steers the terminal; it can be read back."""
    set_up(form, [])
    event("seen", text=text)
    line = written().removesuffix("\n")
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["text"] == text
    else:
        assert json.loads(line.partition(" text=")[2]) == text


def test_values_with_quotes_or_equals_signs_are_quoted() -> None:
    line = logfmt({"a": "x=y", "b": 'say "hi"', "c": "plain/path?", "d": None, "e": 3, "f": "größer"})
    assert line == 'a="x=y" b="say \\"hi\\"" c=plain/path? d=null e=3 f=größer'
    assert shlex.split(line)[0] == "a=x=y"


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_secrets_are_masked_wherever_they_come_from(written: Callable[[], str], form: Form) -> None:
    """In our events, in a library's lines, in an error and its traceback."""
    set_up(form, ["ge heim", ""])
    event("failed", message="login ge heim at ge%20heim", url="postgresql://app:x@h/db")
    logging.getLogger("foreign.client").warning("password is %s", "ge heim")
    try:
        int("ge heim")
    except ValueError:
        logging.getLogger("foreign.client").exception("it broke")
    lines = written().splitlines()
    assert len(lines) == 3
    assert [line for line in lines for word in ("ge heim", "ge%20heim", "app:x") if word in line] == []
    assert "login *** at ***" in lines[0]
    assert "foreign.client" in lines[1]
    assert "ValueError: invalid literal for int() with base 10: '***'" in lines[2]
    assert "Traceback" in lines[2]


def test_a_password_that_is_a_common_word_does_not_show_by_its_absence(written: Callable[[], str]) -> None:
    set_up("logfmt", ["info", "0", "seen"])
    event("seen", what="x")
    assert re.fullmatch(r"time=[\d:T.+-]+ level=info event=seen what=x\n", written())


def test_libraries_speak_only_when_something_is_wrong(written: Callable[[], str]) -> None:
    set_up("logfmt", [])
    logging.getLogger("asyncio").info("Using selector")
    logging.getLogger("apscheduler.scheduler").info("Added job")
    assert written() == ""


@pytest.mark.parametrize(
    ("setting", "form"), [(None, "logfmt"), ("", "logfmt"), ("logfmt", "logfmt"), ("json", "json")]
)
def test_the_form_is_a_choice_of_two(setting: str | None, form: str) -> None:
    assert form_of(setting) == form


def test_another_form_is_an_error_that_names_the_choice(run: Run) -> None:
    with pytest.raises(ConfigError, match="REPORTGEN_LOG"):
        form_of("xml")
    done = run("serve", "--port", "0", REPORTGEN_LOG="xml")
    assert (done.returncode, done.stderr) == (
        2,
        'error: REPORTGEN_LOG: "xml" is not a known log format. Set it to "json" or "logfmt", or unset it\n',
    )


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_every_line_of_the_service_has_the_form(tmp_path: Path, form: str) -> None:
    """The server's own lines, too: here, that it could make nothing of a request."""
    import socket

    publish_files(tmp_path / "output", site_files("one"))
    with serving(tmp_path, "--no-schedule", REPORTGEN_LOG=form) as service:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", "".join(service.lines))
        assert found
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=5) as wire:
            wire.sendall(b"nonsense\r\n\r\n")
            wire.recv(1000)
        assert service.stop() == 0
    lines = [line.rstrip("\n") for line in service.lines]
    assert len(lines) == 4
    if form == "json":
        events = [json.loads(line)["event"] for line in lines]
    else:
        assert [line for line in lines if not re.fullmatch(r'([a-z_]+=("[^"]*"|[^" ]+)( |$))+', line)] == []
        events = [dict(word.split("=", 1) for word in shlex.split(line))["event"] for line in lines]
    assert events == ["release_served", "listening", "request_refused", "stopping"]
