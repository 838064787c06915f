"""The warm process of a thread: kept for the next site, renewed now and then, replaced when it is gone."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reportgen import apart
from reportgen.apart import KEPT_OPEN, Processes, build_apart
from reportgen.builder import Order
from reportgen.config import Config
from reportgen.runs import read_runs
from tests.manysites import table
from tests.services import children, eventually

SECRET = "geheim7f3a"


@pytest.fixture
def order(tmp_path: Path) -> Iterator[Order]:
    """Give an order of a small site; its process goes with the test."""
    given = {
        "windows": ["7d"], "source": {"url": table(tmp_path, "blog")}, "output": {"dir": tmp_path / "output"},
    }  # fmt: skip
    yield Order("blog", Config.model_validate(given), tmp_path / "kept")
    KEPT_OPEN.hand = None


def hand() -> int:
    """Return this thread's process."""
    return int(KEPT_OPEN.hand._child.pid)


def test_the_next_site_gets_the_same_process_and_pays_for_itself_alone(order: Order) -> None:
    """What is on record of a build is what that build took, not what its process has taken so far."""
    first = build_apart(order)
    one, before = hand(), read_runs(order.config.output.dir).last_success
    second = build_apart(order)
    after = read_runs(order.config.output.dir).last_success
    assert (first.state, second.state, hand()) == ("published", "published", one)
    assert before is not None
    assert after is not None
    assert after.cpu_seconds < before.cpu_seconds / 2


def test_a_process_is_renewed_after_many_sites(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "RENEW_AFTER", 1)
    assert build_apart(order).state == "published"
    one = hand()
    assert build_apart(order).state == "published"
    assert hand() != one
    assert not Path(f"/proc/{one}").exists()


def test_a_process_that_is_gone_is_replaced_and_nothing_is_lost(order: Order) -> None:
    """It may have ended for want of work, or was killed while it had none."""
    assert build_apart(order).state == "published"
    os.kill(hand(), signal.SIGKILL)
    eventually(lambda: KEPT_OPEN.hand._child.poll() is not None)
    assert build_apart(order).state == "published"
    assert read_runs(order.config.output.dir).failures == 0


def test_a_process_goes_with_its_thread() -> None:
    with ThreadPoolExecutor(1) as executor:
        pid = executor.submit(_started).result()
        assert pid in children(os.getpid())
    eventually(lambda: pid not in children(os.getpid()))


def _started() -> int:
    KEPT_OPEN.hand = apart._Hand()
    return hand()


def test_a_program_that_cannot_be_started_is_told(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    result = build_apart(order)
    assert (result.state, result.retry) == ("failed", True)
    assert result.message == "the build could not be started: No such file or directory"
    assert read_runs(order.config.output.dir).failures == 1


def test_orders_and_results_are_plain_values(order: Order) -> None:
    """They travel to other machines; a password in them shows in no repr."""
    url = f"postgresql://reader:{SECRET}@127.0.0.1:9/stats"
    source = Config.model_validate({"source": {"url": url, "connect_timeout_s": 1}}).source
    config = order.config.model_copy(update={"source": source})
    secret = Order("blog", config, order.kept)
    again = pickle.loads(pickle.dumps(secret))
    assert again == secret
    assert SECRET not in repr(again)
    result = build_apart(secret)
    assert (result.state, result.error) == ("failed", "SourceUnavailable")
    assert SECRET not in repr(pickle.loads(pickle.dumps(result)))


def test_so_many_sites_are_built_at_once(order: Order) -> None:
    executor = Processes(2)
    try:
        assert executor._pool._max_workers == 2
        assert executor.submit(build_apart, order).result().state == "published"
        assert executor._beside._threads == set()  # no process more where no site failed
    finally:
        executor.shutdown()


def test_a_deadline_that_is_called_off_ends_nothing(tmp_path: Path) -> None:
    """A warm process outlives the deadlines of the sites that it has built."""
    code = (
        "import sys, time; from pathlib import Path; from reportgen.runs import give_up_after\n"
        "give_up_after(0.2, Path(sys.argv[1]))(); time.sleep(1); print('lives')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "lives\n")
