"""Who may read: a password in front of everything but the health of the process."""

import base64
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from reportgen.serve.auth import FREE_TRIES, MAX_CLIENTS, MAX_PAUSE_S, LoginThrottle
from tests.support.commands import Run
from tests.support.services import Service, eventually, publish_files, serving, site_files

PASSWORD = "geheim: pässwörd"


def basic(password: str, user: str = "reader") -> str:
    """Return the header that a browser sends for a user and a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


RIGHT = basic(PASSWORD)
NUMBERS = count(1)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Give a server with a password that logs each request, behind a proxy that names clients."""
    folder = tmp_path_factory.mktemp("closed")
    publish_files(folder / "output", site_files("one"))
    (folder / "reportgen.toml").write_text(
        '[server]\naccess_log = true\nclient_header = "X-Client"\npublic = true\n'
    )
    with serving(folder, "--no-schedule", REPORTGEN_PASSWORD=PASSWORD) as running:
        yield running


@pytest.fixture
def clock() -> list[float]:
    """Give the time of a clock that a test sets."""
    return [1000.0]


@pytest.fixture
def keeper(clock: list[float]) -> LoginThrottle:
    """Give a doorkeeper who goes by that clock."""
    return LoginThrottle(PASSWORD, lambda: clock[0])


@pytest.mark.parametrize("address", ["/", "/7d/", "/7d", "/assets/app.0a1b.js", "/nothing", "/status.json"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_nothing_is_told_without_the_password(service: Service, address: str, method: str) -> None:
    """Not even what exists."""
    for sent in ({}, {"authorization": basic("wrong"), "x_client": f"10.0.0.{next(NUMBERS)}"}):
        answer = service.ask(address, method, **sent)
        assert (answer.status, answer.headers["www-authenticate"]) == (
            401,
            'Basic realm="reportgen", charset="UTF-8"',
        )
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body == (
            b"" if method == "HEAD" else b"This report asks for a user name and a password.\n"
        )


def test_the_password_opens_everything_and_health_needs_none(service: Service) -> None:
    assert service.ask("/7d/", authorization=RIGHT).body == site_files("one")["7d/index.html"]
    assert json.loads(service.ask("/status.json", authorization=RIGHT).body)["schema_version"] == 1
    assert (service.ask("/healthz").status, service.ask("/healthz/fresh").status) == (200, 503)


def test_a_slip_of_the_finger_costs_nothing(service: Service) -> None:
    wrong, right = ({"authorization": basic(word), "x_client": "10.1.1.1"} for word in ("geheim", PASSWORD))
    statuses = [service.ask("/", **wrong).status for _ in range(FREE_TRIES - 1)]
    assert (statuses, service.ask("/", **right).status) == ([401] * (FREE_TRIES - 1), 200)


def test_guessing_is_made_slow_for_who_guesses_and_for_nobody_else(service: Service) -> None:
    """While a client waits, its credentials are not looked at; asking without any still shows the door."""
    for _ in range(FREE_TRIES):
        assert service.ask("/", authorization=basic("guess"), x_client="1.2.3.4").status == 401
    paused = service.ask("/", authorization=RIGHT, x_client="1.2.3.4")
    assert (paused.status, paused.headers["retry-after"]) == (429, "1")
    assert service.ask("/", x_client="1.2.3.4").status == 401
    assert service.ask("/", authorization=RIGHT, x_client="5.6.7.8").status == 200
    assert service.ask("/healthz", x_client="1.2.3.4").status == 200
    refused = [event["client"] for event in service.events("access_refused")]
    assert refused.count("1.2.3.4") == FREE_TRIES


def test_no_log_shows_credentials_or_a_query(service: Service) -> None:
    for sent in (RIGHT, basic("guess-zebra"), "Bearer token-zebra"):
        service.ask("/30d/?key=query-zebra", authorization=sent)

    def requests() -> list[tuple[str, int]]:
        events = [event for event in service.events("request") if event["path"] == "/30d/"]
        return [(event["method"], event["status"]) for event in events]

    eventually(lambda: len(requests()) == 3, 5, lambda: "".join(service.lines))
    assert requests() == [("GET", 404), ("GET", 401), ("GET", 401)]
    logged = "".join(service.lines)
    secret = ("zebra", PASSWORD, RIGHT.split()[1], "geheim", "key=")
    assert [word for word in secret if word in logged] == []


def test_requests_are_not_logged_unless_asked_for(tmp_path: Path) -> None:
    publish_files(tmp_path / "output", site_files("one"))
    with serving(tmp_path, "--no-schedule") as service:
        service.ask("/7d/")
        service.stop()
    assert (service.events("request"), len(service.events("stopping"))) == ([], 1)


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic", "Basic ", "Basic !!!", "Basic " + "A" * 7, "Basic é", "Bearer x", "", basic(""),
        basic(PASSWORD, "Reader"), basic(PASSWORD, ""), basic(PASSWORD + "x"), basic(PASSWORD[:-1]),
        RIGHT.replace("Basic ", ""), RIGHT + "=", RIGHT.replace("Basic", "Digest"),
    ],
)  # fmt: skip
def test_whatever_is_not_the_credentials_is_refused(keeper: LoginThrottle, authorization: str) -> None:
    assert not keeper.admits("client", authorization)


@pytest.mark.parametrize("authorization", [RIGHT, RIGHT.replace("Basic", "basic"), RIGHT + " "])
def test_the_credentials_are_accepted(keeper: LoginThrottle, authorization: str) -> None:
    assert keeper.admits("client", authorization)


def test_a_password_of_any_bytes_works(clock: list[float]) -> None:
    """As the environment hands it over where it is no UTF-8."""
    keeper = LoginThrottle("p\udcff", lambda: clock[0])
    assert keeper.admits("client", "Basic " + base64.b64encode(b"reader:p\xff").decode())


def test_pauses_double_up_to_a_minute_and_end_with_the_right_password(
    keeper: LoginThrottle, clock: list[float]
) -> None:
    pauses = []
    for _ in range(FREE_TRIES + 8):
        keeper.admits("client", basic("guess"))
        pauses.append(keeper.pause_s("client"))
        clock[0] += pauses[-1]
    assert pauses == [0] * (FREE_TRIES - 1) + [1, 2, 4, 8, 16, 32] + [MAX_PAUSE_S] * 3
    assert keeper.pause_s("client") == 0
    assert keeper.admits("client", RIGHT)
    keeper.admits("client", basic("slip"))
    assert keeper.pause_s("client") == 0


def test_an_attack_from_many_addresses_fills_no_memory(keeper: LoginThrottle) -> None:
    for number in range(MAX_CLIENTS + 10):
        keeper.admits(str(number), basic("guess"))
    assert len(keeper._failures) == MAX_CLIENTS


def test_beyond_this_machine_it_refuses_to_start_without_a_password(run: Run, tmp_path: Path) -> None:
    """And says which settings would do; an empty password is none."""
    done = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert done.stderr == (
        'error: server.host: "0.0.0.0" can be reached from other machines, and there is no password. '
        "Set REPORTGEN_PASSWORD, or server.public = true if everybody may read\n"
    )
    empty = run("serve", "--host", "0.0.0.0", "--port", "0", REPORTGEN_PASSWORD="")
    assert (empty.returncode, empty.stderr) == (
        2,
        "error: REPORTGEN_PASSWORD: is empty; set a password, or unset it\n",
    )
    assert not (tmp_path / "output").exists()


def test_with_a_password_it_listens_anywhere(tmp_path: Path) -> None:
    publish_files(tmp_path / "output", site_files("one"))
    with serving(tmp_path, "--no-schedule", "--host", "0.0.0.0", REPORTGEN_PASSWORD=PASSWORD) as service:
        assert service.events("listening")[0]["address"] == f"http://0.0.0.0:{service.port}"
        assert (service.ask("/").status, service.ask("/", authorization=RIGHT).status) == (401, 200)
