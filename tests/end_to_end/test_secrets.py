"""No output, log, record, page or traceback of a process holds a password or token that it was given."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.planted import SECRET, clean, finds
from tests.support.services import Service, eventually, publish_files, reportgen, serving, site_files

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ODD = f"{SECRET}/@ #ü"
"""What must be percent-encoded in a URL."""

BASE = "postgresql://app:{}@127.0.0.1:1/stats"
"""Nothing listens on port 1."""

PLACES: dict[str, dict[str, str]] = {
    "DATABASE_URL": {"DATABASE_URL": BASE.format(SECRET)},
    "percent-encoded": {"DATABASE_URL": BASE.format(quote(ODD, safe=""))},
    "not encoded": {"DATABASE_URL": BASE.format(f"{SECRET}/@x")},
    "sslpassword": {"DATABASE_URL": f"postgresql://app@127.0.0.1:1/stats?sslpassword={SECRET}"},
    "password in the query": {"DATABASE_URL": f"postgresql://127.0.0.1:1/stats?user=app&password={SECRET}"},
    "bad parameter": {"DATABASE_URL": f"postgresql://127.0.0.1:1/stats?password={SECRET}&sslmode=nonsense"},
    "bad port": {"DATABASE_URL": f"postgresql://app:{SECRET}@127.0.0.1:port/stats"},
    "REPORTGEN_SOURCE__URL": {"REPORTGEN_SOURCE__URL": BASE.format(SECRET)},
    "PGPASSWORD": {"DATABASE_URL": "postgresql://app@127.0.0.1:1/stats", "PGPASSWORD": SECRET},
    "REPORTGEN_PASSWORD": {"DATABASE_URL": BASE.format("x"), "REPORTGEN_PASSWORD": SECRET},
    "unknown engine": {"DATABASE_URL": f"oracle://app:{SECRET}@db/stats"},
    "a file's URL": {"DATABASE_URL": f"sqlite://app:{SECRET}@db/stats"},
    "unknown setting": {"DATABASE_URL": BASE.format("x"), "REPORTGEN_SOURCE__PASSWORD": SECRET},
    "settings": {"toml": f'[source]\nurl = "{BASE.format(SECRET)}"\n'},
    "broken settings": {"toml": f'[source]\nurl = "{BASE.format(SECRET)}\n'},
    "misplaced setting": {"toml": f'password = "{SECRET}"\n[source]\nurl = "sample"\n'},
}


@pytest.mark.parametrize("place", PLACES)
def test_no_command_shows_a_secret_when_it_fails(tmp_path: Path, place: str) -> None:
    """Its traceback does not either, though it holds the messages of drivers."""
    given = dict(PLACES[place])
    if settings := given.pop("toml", ""):
        (tmp_path / "reportgen.toml").write_text(settings)
    publish_files(tmp_path / "output", site_files("one"))
    for command in ("build", "build --json", "check --json")[:: 1 if place == "DATABASE_URL" else 2]:
        done = reportgen(tmp_path, *command.split(), REPORTGEN_DEBUG="1", **given)
        assert (done.returncode, done.stdout + done.stderr != "") in {(1, True), (2, True)}
        clean(done.stdout + done.stderr, quote(ODD, safe=""), ODD)
    status = reportgen(tmp_path, "status", REPORTGEN_DEBUG="1", **given)
    clean(status.stdout + status.stderr, quote(ODD, safe=""), ODD)
    assert list(finds(tmp_path, quote(ODD, safe=""), ODD)) == []


def test_no_option_shows_a_secret(tmp_path: Path) -> None:
    url = BASE.format(SECRET)
    for words in (["build", "--source", url], ["build", url], ["--source", url],
                  ["build", "--as-of", url], ["serve", "--host", url]):  # fmt: skip
        done = reportgen(tmp_path, *words, REPORTGEN_DEBUG="1")
        assert done.returncode != 0
        assert done.stdout + done.stderr
    assert list(finds(tmp_path)) == []


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_the_service_shows_no_secret(tmp_path: Path, form: str) -> None:
    """While its builds fail: not in its log, its pages, its status document and its records."""
    publish_files(tmp_path / "output", site_files("one"), ago_s=86_400)
    (tmp_path / "reportgen.toml").write_text("[server]\naccess_log = true\n")
    given = {
        "DATABASE_URL": BASE.format(quote(ODD, safe="")) + f"?sslpassword={SECRET}",
        "PGPASSWORD": SECRET,
    }
    record = tmp_path / "output" / "state" / "runs.json"
    with serving(
        tmp_path,
        REPORTGEN_LOG=form,
        REPORTGEN_PASSWORD=SECRET,
        REPORTGEN_SCHEDULE="1s",
        REPORTGEN_DEBUG="1",
        **given,
    ) as service:
        eventually(lambda: any("build_failed" in line for line in service.lines), 30)
        shown = "".join(responses_of(service))
        clean(shown, ODD, quote(ODD, safe=""))
        assert "cannot connect" in shown
        clean(record.read_text(), ODD)
        service.process.terminate()
        service.process.wait(10)
    clean("".join(service.lines), ODD, quote(ODD, safe=""))
    assert "cannot connect" in "".join(service.lines)
    assert list(finds(tmp_path, ODD)) == []


def responses_of(service: Service) -> list[str]:
    """Return the responses to readers with and without the password."""
    import base64
    import re
    from http.client import HTTPConnection

    right = {"Authorization": "Basic " + base64.b64encode(f"reader:{SECRET}".encode()).decode()}
    found = re.search(r"http://127\.0\.0\.1:(\d+)", "".join(service.lines))
    assert found
    responses = []
    for path in ("/", "/7d/", "/nothing", "/status.json", "/healthz/fresh", "/manifest.json"):
        for method in ("GET", "POST"):
            for headers in ({}, right):
                connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
                connection.request(method, f"{path}?token=query-zebra", headers=headers)
                response = connection.getresponse()
                responses.append(f"{response.getheaders()}{response.read().decode()}")
                connection.close()
    return responses


LEAVING = """
def test_leaves_something(tmp_path):
    (tmp_path / "{name}").write_text("login with {word}")
"""


@pytest.mark.parametrize(
    ("name", "word", "status", "options"),
    [
        ("state.json", "no secret", 0, []),
        ("state.json", SECRET, 1, []),
        ("state.json", SECRET, 1, ["-n1"]),
        ("reportgen.toml", SECRET, 0, []),
        ("log", "open sesame", 1, []),
    ],
)
def test_a_secret_in_a_file_of_a_test_fails_the_session(
    tmp_path: Path, name: str, word: str, status: int, options: list[str]
) -> None:
    """Run the search at the end of a session in a session of its own, also where workers run the tests."""
    (tmp_path / "test_it.py").write_text(LEAVING.format(name=name, word=word))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.planted", "-p", "no:cacheprovider",
         "--basetemp", str(tmp_path / "base"), "-c", os.devnull, "--rootdir", str(tmp_path),
         str(tmp_path / "test_it.py"), *options],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, "1 passed" in done.stdout) == (status, True), done.stdout + done.stderr
    assert ("planted secrets were left behind" in done.stdout) == bool(status)
    for left in (tmp_path / "base").rglob(name):
        left.unlink()


def test_the_output_of_a_process_is_searched() -> None:
    assert clean("all is well") == "all is well"
    for text in (f"login with {SECRET}", json.dumps({"message": "guess-zebra"})):
        with pytest.raises(AssertionError, match="a planted secret is shown"):
            clean(text)
