"""The password that protects every path but those of health checks."""

import base64
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from reportgen.serve.auth import FORGET_AFTER_S, FREE_TRIES, MAX_CLIENTS, MAX_PAUSE_S, LoginThrottle
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
    """Give a server with a password and an access log, behind a proxy that sends the client's address."""
    folder = tmp_path_factory.mktemp("closed")
    publish_files(folder / "output", site_files("one"))
    (folder / "reportgen.toml").write_text(
        '[server]\naccess_log = true\nclient_header = "X-Client"\npublic = true\n'
    )
    with serving(folder, "--no-schedule", REPORTGEN_PASSWORD=PASSWORD) as running:
        yield running


@pytest.fixture
def clock() -> list[float]:
    """Give the time of a clock, which a test can set."""
    return [1000.0]


@pytest.fixture
def throttle(clock: list[float]) -> LoginThrottle:
    """Give a throttle with that clock."""
    return LoginThrottle(PASSWORD, lambda: clock[0])


@pytest.mark.parametrize("address", ["/", "/7d/", "/7d", "/assets/app.0a1b.js", "/nothing", "/status.json"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_without_the_password_every_path_gets_the_same_response(
    service: Service, address: str, method: str
) -> None:
    """So it does not show which paths exist."""
    for sent in ({}, {"authorization": basic("wrong"), "x_client": f"10.0.0.{next(NUMBERS)}"}):
        answer = service.ask(address, method, **sent)
        assert (answer.status, answer.headers["www-authenticate"]) == (
            401,
            'Basic realm="reportgen", charset="UTF-8"',
        )
        assert answer.headers["cache-control"] == "no-store"
        assert answer.body == (
            b"" if method == "HEAD" else b"This report asks for a password. The user name is reader.\n"
        )


def test_the_password_gives_access_and_health_checks_need_none(service: Service) -> None:
    assert service.ask("/7d/", authorization=RIGHT).body == site_files("one")["7d/index.html"]
    assert json.loads(service.ask("/status.json", authorization=RIGHT).body)["schema_version"] == 1
    assert (service.ask("/healthz").status, service.ask("/healthz/fresh").status) == (200, 503)


def test_a_few_wrong_passwords_cause_no_pause(service: Service) -> None:
    wrong, right = ({"authorization": basic(word), "x_client": "10.1.1.1"} for word in ("geheim", PASSWORD))
    statuses = [service.ask("/", **wrong).status for _ in range(FREE_TRIES - 1)]
    assert (statuses, service.ask("/", **right).status) == ([401] * (FREE_TRIES - 1), 200)


def test_wrong_passwords_cause_a_pause_of_that_client_only(service: Service) -> None:
    """During a pause further wrong passwords get 429; a request without any still gets 401."""
    for _ in range(FREE_TRIES):
        assert service.ask("/", authorization=basic("guess"), x_client="1.2.3.4").status == 401
    paused = service.ask("/", authorization=basic("guess"), x_client="1.2.3.4")
    assert (paused.status, paused.headers["retry-after"]) == (429, "1")
    assert service.ask("/", x_client="1.2.3.4").status == 401
    assert service.ask("/", authorization=basic("guess"), x_client="5.6.7.8").status == 401
    assert service.ask("/healthz", x_client="1.2.3.4").status == 200
    refused = [event["client"] for event in service.events("access_refused")]
    assert refused.count("1.2.3.4") == FREE_TRIES


def test_the_right_password_works_while_somebody_behind_the_same_address_guesses(service: Service) -> None:
    """And it does not end the pause of the one who guesses."""
    guess, right = ({"authorization": basic(word), "x_client": "10.2.2.2"} for word in ("guess", PASSWORD))
    for _ in range(FREE_TRIES):
        service.ask("/", **guess)
    statuses = [service.ask("/7d/", **sent).status for sent in (guess, right, guess, right)]
    assert statuses == [429, 200, 429, 200]


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


@pytest.mark.parametrize("authorization", [RIGHT, RIGHT.replace("Basic", "basic"), RIGHT + " "])
def test_the_credentials_are_accepted(throttle: LoginThrottle, authorization: str) -> None:
    assert throttle.accepts(authorization)


def test_a_password_of_any_bytes_works(clock: list[float]) -> None:
    """The environment may hold bytes that are not UTF-8."""
    throttle = LoginThrottle("p\udcff", lambda: clock[0])
    assert throttle.accepts("Basic " + base64.b64encode(b"reader:p\xff").decode())


def test_pauses_double_up_to_a_minute(throttle: LoginThrottle, clock: list[float]) -> None:
    pauses = []
    for _ in range(FREE_TRIES + 8):
        assert throttle.record_failure("client") == 0
        pauses.append(0.0 if len(pauses) < FREE_TRIES - 1 else throttle.record_failure("client"))
        clock[0] += pauses[-1]
    assert pauses == [0] * (FREE_TRIES - 1) + [1, 2, 4, 8, 16, 32] + [MAX_PAUSE_S] * 3


def test_failures_during_a_pause_do_not_make_it_longer(throttle: LoginThrottle, clock: list[float]) -> None:
    for _ in range(FREE_TRIES):
        throttle.record_failure("client")
    for _ in range(100):
        assert throttle.record_failure("client") == 1
    clock[0] += 0.75
    assert throttle.record_failure("client") == 0.25


def test_failures_are_forgotten_after_an_hour_without_any(
    throttle: LoginThrottle, clock: list[float]
) -> None:
    for _ in range(FREE_TRIES):
        throttle.record_failure("client")
    clock[0] += FORGET_AFTER_S + 1
    assert [throttle.record_failure("client") for _ in range(FREE_TRIES + 1)] == [0] * FREE_TRIES + [1]


def test_an_attack_from_many_addresses_takes_little_memory(throttle: LoginThrottle) -> None:
    for number in range(MAX_CLIENTS + 10):
        throttle.record_failure(str(number))
    assert len(throttle._failures) == MAX_CLIENTS


def test_it_listens_beyond_this_machine_only_with_a_password(run: Run, tmp_path: Path) -> None:
    """The message says which settings allow it. An empty password is refused, too."""
    anywhere = ("serve", "--host", "0.0.0.0", "--port", "0")
    done, empty = run(*anywhere), run(*anywhere, REPORTGEN_PASSWORD="")
    assert done.returncode == 2
    assert done.stderr == (
        'error: server.host: "0.0.0.0" can be reached from other machines, and there is no password. Set '
        "REPORTGEN_PASSWORD, or server.public = true if everybody may read\n"
    )
    assert empty.stderr == "error: REPORTGEN_PASSWORD: is empty; set a password, or unset it\n"
    assert not (tmp_path / "output").exists()
    publish_files(tmp_path / "output", site_files("one"))
    with serving(tmp_path, "--no-schedule", "--host", "0.0.0.0", REPORTGEN_PASSWORD=PASSWORD) as service:
        assert service.events("listening")[0]["address"] == f"http://0.0.0.0:{service.port}"
        assert (service.ask("/").status, service.ask("/", authorization=RIGHT).status) == (401, 200)
