"""A reader sees if the scheduler has stopped: the banner, the times, and requests for /status.json."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.releases import Published, Quiet, Sites, served
from tests.support.visits import READ_AT, Open

IN_TIME, LATE = "2026-11-23T16:29:50Z", "2026-11-23T16:31:00Z"
"""The page was built at 16:00 and is due again at 16:15; the banner appears after 16:30."""

Server = Callable[[str], Published]


@pytest.fixture
def reportgen_server(sites: Sites) -> Iterator[Server]:
    """Give a function that serves the usual site as reportgen's server, with an answer for /status.json."""
    with ExitStack() as stack:

        def server(answer: str) -> Published:
            class Own(Quiet):
                def do_GET(self) -> None:  # noqa: N802 - the base class's name
                    if self.path != "/status.json":
                        return super().do_GET()
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.end_headers()
                    self.wfile.write(answer.encode())
                    return None

                def end_headers(self) -> None:
                    self.send_header("Server-Timing", "reportgen")
                    super().end_headers()

            return stack.enter_context(served(sites("usual").release, Own))

        yield server


def asked(requests: list[str]) -> bool:
    """Return whether the page asked for the server's status."""
    return any(url.endswith("/status.json") for url in requests)


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize(("at", "shown"), [(IN_TIME, False), (LATE, True)])
def test_on_any_host_a_page_uses_the_due_time_that_it_contains(
    sites: Sites, visit: Open, scheme: str, at: str, shown: bool
) -> None:
    """It shows the banner once it is overdue, and requests nothing."""
    reader = visit(getattr(sites("usual"), scheme)("7d/index.html"), at=at)
    reader.frames()
    banner = reader.page.locator(".overdue")
    assert banner.is_visible() == shown
    assert len(reader.requests) == 2
    assert reader.violations() == []
    if shown:
        assert "was due 16 minutes ago" in banner.inner_text()
        assert "may be old" in banner.inner_text()


@pytest.mark.parametrize(("at", "words"), [
    (READ_AT, "12 minutes ago"),
    ("2026-11-23T16:00:30Z", "30 seconds ago"),
    ("2026-11-23T17:01:00Z", "1 hour ago"),
    ("2026-11-26T15:00:00Z", "2 days ago"),
])  # fmt: skip
def test_times_are_shown_relative_to_now(sites: Sites, visit: Open, at: str, words: str) -> None:
    """The attribute ``title`` has the time of day."""
    reader = visit(sites("usual").http("7d/index.html"), at=at)
    said = reader.page.locator(".fact time")
    assert said.inner_text() == words or words == "30 seconds ago"
    assert said.inner_text().endswith("ago")
    assert "17:00" in str(said.get_attribute("title"))
    assert said.get_attribute("datetime") == "2026-11-23T17:00:00+01:00"


def test_a_page_that_stays_open_shows_the_banner_when_it_is_overdue(sites: Sites, visit: Open) -> None:
    reader = visit(None, at=None)
    reader.page.clock.install(time=READ_AT)
    reader.page.goto(sites("usual").http("7d/index.html"))
    banner, said = reader.page.locator(".overdue"), reader.page.locator(".fact time")
    assert (banner.is_visible(), said.inner_text()) == (False, "12 minutes ago")
    reader.page.clock.fast_forward("05:00")
    assert (banner.is_visible(), said.inner_text()) == (False, "17 minutes ago")
    reader.page.clock.fast_forward("15:00")
    banner.wait_for()
    assert said.inner_text() == "32 minutes ago"


def test_a_page_that_is_not_overdue_does_not_request_the_status(
    reportgen_server: Server, visit: Open
) -> None:
    reader = visit(reportgen_server("{}").http("7d/index.html"), at=IN_TIME)
    reader.frames()
    assert not asked(reader.requests)
    assert not reader.page.locator(".overdue").is_visible()


def test_an_overdue_page_hides_the_banner_if_the_server_knows_of_a_later_build(
    reportgen_server: Server, visit: Open
) -> None:
    """A build that was skipped since nothing had changed counts as well."""
    site = reportgen_server(json.dumps({"next_due": "2026-11-23T16:45:00Z"}))
    reader = visit(site.http("7d/index.html"), at=LATE)
    reader.frames()
    assert asked(reader.requests)
    assert not reader.page.locator(".overdue").is_visible()


@pytest.mark.parametrize(("answer", "words"), [
    ('{"next_due": "2026-11-23T17:15:00Z"}', "was due 46 minutes ago"),
    ('{"next_due": "2026-11-23T15:00:00Z"}', "was due 1 hour ago"),
    ('{"next_due": null}', "was due 1 hour ago"),
    ('{"next_due": "soon"}', "was due 1 hour ago"),
    ("not JSON", "was due 1 hour ago"),
    ("null", "was due 1 hour ago"),
])  # fmt: skip
def test_an_overdue_page_shows_the_banner_for_any_other_answer_of_the_server(
    reportgen_server: Server, visit: Open, answer: str, words: str
) -> None:
    """It uses the later time of the server's and its own, and reports no error."""
    reader = visit(reportgen_server(answer).http("7d/index.html"), at="2026-11-23T18:01:00Z")
    reader.page.locator(".overdue").get_by_text(words).wait_for()
    assert asked(reader.requests)
    assert reader.violations() == []


@pytest.mark.parametrize("page", ["index.html", "today/index.html", "30d/index.html"])
def test_every_page_of_a_report_shows_the_banner(sites: Sites, visit: Open, page: str) -> None:
    reader = visit(sites("usual").http(page), at=LATE)
    reader.page.locator(".overdue").wait_for()
    assert reader.overflow_px() == 0


def test_axe_finds_nothing_on_an_overdue_page(sites: Sites, visit: Open) -> None:
    reader = visit(sites("empty").http("7d/index.html"), at=LATE)
    reader.page.locator(".overdue").wait_for()
    assert reader.axe() == []


def test_a_report_of_a_past_day_is_never_overdue(sites: Sites, visit: Open) -> None:
    reader = visit(sites("as of a past day").http("7d/index.html"), at="2027-11-23T16:00:00Z")
    reader.frames()
    assert reader.page.locator(".overdue").count() == 0
    assert len(reader.requests) == 2


def test_a_printed_page_shows_the_time_of_day_and_no_banner(
    sites: Sites, visit: Open, tmp_path: Path
) -> None:
    """A relative time would soon be wrong on paper."""
    reader = visit(sites("usual").http("7d/index.html"), at=LATE)
    said = reader.page.locator(".fact time")
    assert said.inner_text() == "31 minutes ago"
    reader.page.evaluate(
        """() => addEventListener("beforeprint", () => {
          window.__printed = document.querySelector(".fact time").textContent;
        })"""
    )
    reader.page.pdf()
    assert reader.page.evaluate("() => window.__printed") == "17:00"
    assert said.inner_text() == "31 minutes ago"
    reader.page.emulate_media(media="print")
    assert not reader.page.locator(".overdue").is_visible()
