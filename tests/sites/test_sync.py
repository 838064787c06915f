"""What is made elsewhere comes here: workers that share only a bucket, new machines, records."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from reportgen.build.job import BuildJob, BuildOptions, build_site
from reportgen.config.settings import Config
from reportgen.config.sites import Site, Sites
from reportgen.publish.bucket import client
from reportgen.publish.bucket.layout import CURRENT, current_id
from reportgen.publish.history import BuildResult, read_runs, record
from reportgen.publish.release import current_release, is_whole, lock_output
from reportgen.sites.sync import collected, from_bucket
from tests.support.manysites import table
from tests.support.services import publish_files
from tests.support.stores import NAME, Proxy, Request, use_store

pytestmark = pytest.mark.slow

FOLLOW = BuildOptions(if_changed=True, follow=True)
"""As a cluster's workers build with ``--if-changed``."""


@dataclass(frozen=True)
class Machine:
    """A machine with a directory of its own, which builds one site after another."""

    folder: Path
    url: str | None
    threads: ThreadPoolExecutor

    def site(self, name: str = "a") -> Site:
        """Return a site whose table all machines see."""
        output: dict[str, Any] = {"dir": self.folder / name}
        output |= {"bucket": f"{self.url}/{name}"} if self.url else {}
        source = {"url": str(self.folder.parent / f"{name}.csv")}
        config = Config.model_validate({"windows": ["7d"], "source": source, "output": output})
        return Site(name, name, config)

    def build(self, options: BuildOptions = FOLLOW, name: str = "a") -> BuildResult:
        """Build a site as an executor would."""
        job = BuildJob(name, self.site(name).config, self.folder, options)
        return self.threads.submit(build_site, job).result(timeout=60)

    def current(self, name: str = "a") -> str | None:
        """Return the release that is current here."""
        release = current_release(self.folder / name)
        return release.id if release and is_whole(release) else None


Machines = Callable[[str], Machine]


@pytest.fixture
def at(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Give machines by name, which share a bucket and a table of the site ``a``, and nothing else."""
    use_store(proxy.address, monkeypatch)
    table(tmp_path, "a")
    return _machines(tmp_path, f"s3://{NAME}/{uuid4().hex}")


@pytest.fixture
def alone(tmp_path: Path) -> Machine:
    """Give a machine without a bucket."""
    table(tmp_path, "a")
    return _machines(tmp_path, None)("one")


def _machines(folder: Path, url: str | None) -> Machines:
    def machine(name: str) -> Machine:
        (folder / name).mkdir()
        return Machine(folder / name, url, ThreadPoolExecutor(1))

    return machine


def in_bucket(url: str | None) -> str | None:
    """Return which release of the site ``a`` is current in the bucket."""
    return current_id(client.open_bucket(f"{url}/a").read(CURRENT))


# Workers that share a bucket.


def test_a_worker_compares_with_what_another_built_last(tmp_path: Path, at: Machines) -> None:
    """Its own last release says the same as the table again; readers of the bucket see another's."""
    one, two = at("one"), at("two")
    assert one.build().state == "published"
    table(tmp_path, "a", visits=99)
    assert two.build().state == "published"
    table(tmp_path, "a")
    again = one.build()
    assert again.state == "published"
    assert in_bucket(one.url) == one.current()
    assert (one.build().state, two.build().state) == ("unchanged", "unchanged")
    assert two.current() == one.current()


def test_a_worker_fetches_only_what_it_lacks(tmp_path: Path, at: Machines, proxy: Proxy) -> None:
    one, two = at("one"), at("two")
    one.build()
    proxy.reset()
    two.build()
    assert any("/assets/" in key for key in proxy.keys_of("GET"))
    table(tmp_path, "a", visits=99)
    one.build()
    proxy.reset()
    assert two.build().state == "unchanged"
    fetched = [key for key in proxy.keys_of("GET") if "/releases/" in key]
    assert any(key.endswith("7d/index.html") for key in fetched), fetched
    assert not any("/assets/" in key for key in fetched)
    assert two.current() == one.current() == in_bucket(one.url)


def test_a_worker_does_not_take_a_file_for_sound_because_it_has_the_name(
    tmp_path: Path, at: Machines
) -> None:
    """What is damaged here is fetched anew."""
    one, two = at("one"), at("two")
    one.build()
    two.build()
    release = current_release(two.folder / "a")
    assert release
    script = next((release.path / "assets").glob("*.js"))
    script.write_bytes(b"harmed")
    table(tmp_path, "a", visits=99)
    one.build()
    assert two.build().state == "unchanged"
    assert two.current() == one.current()


def test_a_worker_that_cannot_learn_the_last_release_finds_nothing_unchanged(
    at: Machines, proxy: Proxy
) -> None:
    """The bucket's manifest is gone: whether the report is the same cannot be known, so it is built."""
    one, two = at("one"), at("two")
    one.build()
    two.build()
    newer = one.build(replace(FOLLOW, if_changed=False)).release
    assert newer
    proxy.intercept = lambda _, request: _gone(request, f"{newer}/manifest.json")
    assert two.build().state == "published"
    assert in_bucket(two.url) == two.current()


def test_a_worker_whose_upload_failed_keeps_its_newer_release_and_sends_it(
    tmp_path: Path, at: Machines, proxy: Proxy
) -> None:
    """The bucket's last is older than what is here, and does not take its place."""
    one = at("one")
    one.build()
    table(tmp_path, "a", visits=99)
    proxy.intercept = lambda _, request: 403 if request.method == "PUT" else None
    assert one.build().error == "PublishError"
    newer = one.current()
    proxy.reset()
    assert (one.build().state, one.current(), in_bucket(one.url)) == ("unchanged", newer, newer)
    proxy.reset()
    assert one.build().state == "unchanged"
    assert [request.key.rpartition("/")[2] for request in proxy.requests if request.key] == [
        "current.json"
    ] * 2


def _gone(request: Request, key: str) -> int | None:
    return 404 if request.method == "GET" and request.key.endswith(key) else None


def test_a_build_by_hand_asks_the_bucket_for_nothing_while_it_has_a_release(
    at: Machines, proxy: Proxy
) -> None:
    """One machine that builds alone pays nothing for what clusters need: only what readers get is listed."""
    one = at("one")
    usual = BuildOptions(if_changed=True)
    one.build(usual)
    proxy.reset()
    assert one.build(usual).state == "unchanged"
    assert [request.key.rpartition("/")[2] for request in proxy.requests if request.key] == ["current.json"]


# Results and records.


def test_a_release_comes_back_with_its_record(at: Machines) -> None:
    """A site built elsewhere stands here as if it had been built here."""
    here, there = at("here"), at("there")
    result = there.build()
    assert collected(here.site(), result, past=False) == result
    assert here.current() == there.current()
    theirs, ours = read_runs(there.folder / "a").last_success, read_runs(here.folder / "a").last_success
    assert ours
    assert theirs
    assert ours == theirs


def test_a_record_that_is_here_is_not_written_twice(alone: Machine) -> None:
    """Processes of one machine write their own, and so do workers that share the directory."""
    result = alone.build()
    runs = read_runs(alone.folder / "a")
    assert collected(alone.site(), result, past=False) == result
    assert read_runs(alone.folder / "a") == runs
    (alone.folder.parent / "a.csv").unlink()
    failed = alone.build()
    assert collected(alone.site(), failed, past=False) == failed
    assert read_runs(alone.folder / "a").failures == 1


def test_an_older_record_is_not_taken_for_this_one(alone: Machine) -> None:
    """The worker could not write its own: it shares nothing, or was killed."""
    root, begun = alone.folder / "a", datetime.now(UTC)
    before = BuildResult(
        "failed", begun - timedelta(seconds=30), error="TimedOut", message="before", retry=True
    )
    record(root, before)
    failed = BuildResult("failed", begun, error="SourceError", message="now", retry=True, site="a")
    collected(alone.site(), failed, past=False)
    runs = read_runs(root)
    assert runs.last_failure
    assert (runs.failures, runs.last_failure.message, runs.last_failure.retry) == (2, "now", True)


@pytest.mark.parametrize("past", [False, True])
def test_the_report_of_a_past_day_is_no_news_of_this_one(at: Machines, past: bool) -> None:
    here, there = at("here"), at("there")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    result = there.build(BuildOptions(as_of=yesterday if past else None, follow=True))
    collected(here.site(), result, past=past)
    assert here.current() == there.current()
    assert (read_runs(here.folder / "a").last_success is None) == past


def test_a_release_that_is_nowhere_is_a_failure_on_record(alone: Machine, tmp_path: Path) -> None:
    """Built where nothing is shared, and no bucket is set."""
    result = alone.build()
    elsewhere = Machine(tmp_path / "else", None, alone.threads).site()
    stored = collected(elsewhere, result, past=False)
    assert (stored.state, stored.error, stored.retry, stored.release) == ("failed", "PublishError", False, "")
    assert "Let the workers share this directory" in stored.message
    runs = read_runs(elsewhere.config.output.dir)
    assert (runs.failures, runs.last_success) == (1, None)


def test_a_release_that_is_not_the_buckets_last_is_a_failure_that_may_pass(at: Machines) -> None:
    """As where a store's reads lag behind its writes, or the worker publishes into another bucket."""
    here, there = at("here"), at("there")
    result = there.build()
    later = replace(result, release="29991231T000000.000Z-0a1b2c3d")
    stored = collected(here.site(), later, past=False)
    assert (stored.state, stored.error, stored.retry) == ("failed", "BucketUnavailable", True)


def test_a_release_from_before_a_clock_was_put_right_is_not_taken_for_the_workers(at: Machines) -> None:
    here, there = at("here"), at("there")
    result = there.build()
    publish_files(here.folder / "a", {"index.html": b"<p>tomorrow"}, ago_s=-86_400)
    assert collected(here.site(), result, past=False).state == "published"
    assert here.current() == there.current()


def test_an_output_that_another_build_holds_is_busy(at: Machines) -> None:
    here, there = at("here"), at("there")
    result = there.build()
    with lock_output(here.folder / "a"):
        stored = collected(here.site(), result, past=False)
    assert (stored.state, read_runs(here.folder / "a").failures) == ("busy", 0)


# New machines.


def test_a_new_machine_has_all_sites_before_it_builds_one(tmp_path: Path, at: Machines) -> None:
    old, new = at("old"), at("new")
    table(tmp_path, "b")
    for name in "ab":
        old.build(name=name)
    from_bucket(_sites(new, "a", "b", "never"))
    assert [new.current(name) for name in ("a", "b", "never")] == [old.current("a"), old.current("b"), None]


def test_the_page_over_all_comes_back_with_its_links(tmp_path: Path, at: Machines) -> None:
    """A server of files finds each site below it, as before."""
    old, new = at("old"), at("new")
    old.build()
    shutil.copyfile(tmp_path / "a.csv", tmp_path / "top.csv")
    old.build(name="top")
    from_bucket(_sites(new, "a"))
    release = current_release(new.folder / "top")
    assert release
    assert (release.path / "a").readlink() == Path("../../a/current")


def test_a_machine_with_a_page_over_all_asks_for_none(at: Machines, proxy: Proxy) -> None:
    """What its sites lack, their builds restore."""
    one = at("one")
    one.build()
    shutil.copytree(one.folder / "a", one.folder / "top", symlinks=True)
    proxy.reset()
    from_bucket(_sites(one, "a", "b"))
    assert proxy.requests == []


def test_a_bucket_that_does_not_answer_is_waited_for_once_and_not_for_each_site(
    at: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    new = at("new")
    start = time.monotonic()
    from_bucket(_sites(new, *(f"s{n}" for n in range(40))))
    assert time.monotonic() - start < 8


def _sites(machine: Machine, *names: str) -> Sites:
    common = machine.site("top").config
    return Sites(common, [machine.site(name) for name in names])
