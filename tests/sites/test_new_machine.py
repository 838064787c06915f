"""What a new machine downloads from the bucket before it builds a site."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from reportgen.build.pipeline import BuildJob, BuildOptions, build_site
from reportgen.config.settings import Config
from reportgen.config.sites import Site, Sites
from reportgen.publish.bucket import client
from reportgen.publish.history import BuildResult
from reportgen.publish.release import current_release, is_whole
from reportgen.sites.runner import from_bucket
from tests.support.manysites import table
from tests.support.stores import NAME, Proxy, use_store

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Machine:
    """A machine with a directory of its own, which builds one site after another."""

    folder: Path
    url: str
    threads: ThreadPoolExecutor

    def site(self, name: str) -> Site:
        """Return a site whose table all machines see."""
        output: dict[str, Any] = {"dir": self.folder / name, "bucket": f"{self.url}/{name}"}
        source = {"url": str(self.folder.parent / f"{name}.csv")}
        config = Config.model_validate({"windows": ["7d"], "source": source, "output": output})
        return Site(name, name, config)

    def sites(self, *names: str) -> Sites:
        """Return the sites of these names; the page over all is in the directory ``top``."""
        return Sites(self.site("top").config, [self.site(name) for name in names])

    def build(self, name: str = "a") -> BuildResult:
        """Build a site as an executor would."""
        job = BuildJob(name, self.site(name).config, BuildOptions(if_changed=True))
        return self.threads.submit(build_site, job).result(timeout=60)

    def current(self, name: str = "a") -> str | None:
        """Return the release that is current here."""
        release = current_release(self.folder / name)
        return release.id if release and is_whole(release) else None


Machines = Callable[[str], Machine]


@pytest.fixture
def at(tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Give machines by name, which share a bucket and the tables of the sites, and nothing else."""
    use_store(proxy.address, monkeypatch)
    for name in ("a", "b", "top"):
        table(tmp_path, name)
    url = f"s3://{NAME}/{uuid4().hex}"

    def machine(name: str) -> Machine:
        (tmp_path / name).mkdir()
        return Machine(tmp_path / name, url, ThreadPoolExecutor(1))

    return machine


def test_a_new_machine_has_all_sites_before_it_builds_one(at: Machines) -> None:
    old, new = at("old"), at("new")
    for name in "ab":
        old.build(name)
    from_bucket(new.sites("a", "b", "never"))
    assert [new.current(name) for name in ("a", "b", "never")] == [old.current("a"), old.current("b"), None]


def test_a_site_that_has_a_release_here_keeps_it(tmp_path: Path, at: Machines) -> None:
    """Its next build publishes a newer one."""
    one, two = at("one"), at("two")
    two.build()
    before = two.current()
    table(tmp_path, "a", visits=99)
    one.build()
    from_bucket(two.sites("a"))
    assert two.current() == before
    assert (two.build().state, two.current() != before) == ("published", True)


def test_the_page_over_all_comes_back_with_its_links(at: Machines) -> None:
    """A server of files finds each site below it, as before."""
    old, new = at("old"), at("new")
    for name in ("a", "top"):
        old.build(name)
    from_bucket(new.sites("a"))
    release = current_release(new.folder / "top")
    assert release
    assert (release.path / "a").readlink() == Path("../../a/current")


def test_a_machine_that_has_a_page_over_all_sends_no_request(at: Machines, proxy: Proxy) -> None:
    """Each build restores what its site lacks."""
    one = at("one")
    one.build()
    shutil.copytree(one.folder / "a", one.folder / "top", symlinks=True)
    proxy.reset()
    from_bucket(one.sites("a", "b"))
    assert proxy.requests == []


def test_a_build_of_a_machine_that_has_a_release_reads_only_what_is_current(
    at: Machines, proxy: Proxy
) -> None:
    one = at("one")
    one.build()
    proxy.reset()
    assert one.build().state == "unchanged"
    assert [request.key.rpartition("/")[2] for request in proxy.requests if request.key] == ["current.json"]


def test_a_bucket_that_does_not_answer_is_waited_for_once_and_not_for_each_site(
    at: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    start = time.monotonic()
    from_bucket(at("new").sites(*(f"s{n}" for n in range(40))))
    assert time.monotonic() - start < 8
