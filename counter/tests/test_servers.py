"""The counter inside real servers: the examples, workers that end and are killed."""

import os
import signal
import time
from collections import Counter as Counts
from pathlib import Path
from threading import Thread

import pytest

from counter.tests.support import REQUESTS, Server, server, sqlite_url, table, wait_for

FIREFOX_OPENS = {"Sec_Fetch_Dest": "document", "Accept": "text/html"}
GUNICORN = ["gunicorn", "--bind", "127.0.0.1:0"]
UVICORN = ["uvicorn", "--port", "0"]
APP = """
import os
from reportgen_counter import Counter, WSGIMiddleware

def page(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", "4")])
    return [b"page"]

app = WSGIMiddleware(page, Counter(os.environ["METRICS_URL"], flush_s=float(os.environ.get("FLUSH_S", "15"))))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [*UVICORN, "fastapi_app:app"],
        ["flask", "--app", "flask_app", "run", "--port", "0"],
        [*GUNICORN, "django_app:application"],
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                [*GUNICORN, "flask_app:app"],
                [*GUNICORN, "--preload", "--workers", "2", "django_app:application"],
                [*UVICORN, "django_app:asgi_application"],
            )
        ),
    ],
    ids=lambda arguments: f"{arguments[-1]} on {arguments[0]}",
)
def test_an_example_counts_its_visits_and_writes_them_when_it_ends(
    arguments: list[str], tmp_path: Path
) -> None:
    url = sqlite_url(tmp_path / "metrics.db")
    with server(tmp_path, arguments, url) as running:
        for _ in range(3):
            assert running.get("/?query=1", **FIREFOX_OPENS) == 200
        assert running.get("/", Sec_Purpose="prefetch") == 200
        assert running.get("/", User_Agent="Googlebot/2.1") == 200
        assert running.get("/missing") == 404
        running.stop()
    assert table(url) == {"/": 3}


def ask(running: Server, paths: int, requests: int, threads: int = 8) -> Counts[str]:
    """Send requests from several threads, and return how many of each path were answered."""
    answered: list[str] = []

    def send(first: int) -> None:
        for number in range(first, requests, threads):
            path = f"/{number % paths}"
            assert running.get(path) == 200
            answered.append(path)

    senders = [Thread(target=send, args=(first,)) for first in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    return Counts(answered)


def count_with_replaced_workers(
    folder: Path, url: str, requests: int, *options: str, application: str = APP
) -> None:
    (folder / "application.py").write_text(application)
    arguments = [*GUNICORN, "--workers", "4", "--max-requests", "50", *options, "application:app"]
    with server(folder, arguments, url) as running:
        answered = ask(running, 97, requests)
        assert answered.total() == requests
        running.stop()
        assert running.log.read_text().count("Booting worker") >= requests // 50
    assert table(url) == answered


def test_workers_that_are_replaced_after_50_requests_count_exactly(tmp_path: Path) -> None:
    count_with_replaced_workers(tmp_path, sqlite_url(tmp_path / "metrics.db"), 200)


@pytest.mark.slow
def test_hundreds_of_workers_count_thousands_of_requests_exactly(pg: str, tmp_path: Path) -> None:
    """Workers do not import the application, and do not free their memory when they have written.

    Both take longer than their 50 requests.
    """
    application = "import atexit, os\natexit.register(os._exit, 0)\n" + APP  # called after the counter's
    count_with_replaced_workers(tmp_path, pg, REQUESTS, "--preload", application=application)


def workers_of(running: Server) -> list[int]:
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


@pytest.mark.slow
def test_killed_workers_lose_at_most_the_visits_of_the_last_flush_s(url: str, tmp_path: Path) -> None:
    """What was answered ``flush_s`` before, and a moment for the write, is in the table."""
    (tmp_path / "application.py").write_text(APP)
    arguments, flush_s = [*GUNICORN, "--workers", "2", "application:app"], 1.0
    with server(tmp_path, arguments, url, FLUSH_S=str(flush_s)) as running:
        safe = 0
        for _ in range(4):
            safe += ask(running, 10, 200).total()
            time.sleep(flush_s + 0.5)
            lost = ask(running, 10, 20).total()
            for pid in workers_of(running):
                os.kill(pid, signal.SIGKILL)
            written = sum(table(url).values())
            assert safe <= written <= safe + lost
            safe = written
        running.stop()


@pytest.mark.slow
def test_a_worker_with_threads_counts_exactly(url: str, tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APP)
    arguments = [*GUNICORN, "--threads", "8", "application:app"]
    with server(tmp_path, arguments, url, FLUSH_S="0.05") as running:
        answered = ask(running, 7, 500)
        running.stop()
    assert table(url) == answered


def test_a_database_that_is_down_delays_no_response(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APP)
    url = "postgresql://postgres:geheim@127.0.0.1:1/none"
    with server(tmp_path, [*GUNICORN, "application:app"], url, FLUSH_S="0.05") as running:
        start = time.monotonic()
        assert ask(running, 7, 100).total() == 100
        assert time.monotonic() - start < 5
        wait_for(lambda: "visits wait in memory" in running.log.read_text())
        running.stop()
        assert "at least 100 visits are lost" in running.log.read_text()
        assert "geheim" not in running.log.read_text()
