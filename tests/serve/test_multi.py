"""`reportgen serve` with many sites: the page over all at /, each site below its prefix, on its schedule."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from reportgen.config.sites import Sites, load_settings
from reportgen.core.errors import TimedOut
from reportgen.serve.app import MountedSite
from reportgen.serve.multi import SiteCaches
from tests.serve.test_service import HEAVY
from tests.support.manysites import SMALL, reportgen, silent, table, written
from tests.support.services import Service, eventually, publish_files, serving, site_files

pytestmark = pytest.mark.slow

PASSWORD = "open sesame"


def two(folder: Path, top: str = SMALL) -> None:
    """Write the settings of two sites."""
    written(folder, {name: table(folder, name) for name in ("blog", "shop")}, top)


def totals(service: Service) -> dict[str, int | None]:
    """Return the totals on the page over all sites."""
    return {one["name"]: one["total"] for one in json.loads(service.ask("/sites.json").body)["sites"]}


def test_it_builds_all_sites_and_serves_each_below_its_prefix(tmp_path: Path) -> None:
    two(tmp_path)
    with serving(tmp_path) as service:
        for number in (1, 2):
            service.await_event("build_published", number, within_s=60)
        eventually(lambda: service.ask("/").status == 200)
        eventually(lambda: totals(service) == {"blog": 91, "shop": 91}, 35)
        assert {event["site"] for event in service.events("build_published")} == {"blog", "shop"}
        assert service.events("page_failed") == []
        for name in ("blog", "shop"):
            redirect = service.ask(f"/{name}?a=1")
            assert (redirect.status, redirect.headers["location"]) == (308, f"/{name}/?a=1")
            redirect = service.ask(f"/{name}/7d")
            assert (redirect.status, redirect.headers["location"]) == (308, f"/{name}/7d/")
            page = service.ask(f"/{name}/7d/")
            assert (page.status, f"/{name}/0".encode() in page.body) == (200, True)
            assert service.ask(f"/{name}/7d/", if_none_match=page.headers["etag"]).status == 304
            gone = service.ask(f"/{name}/nothing")
            assert (gone.status, f'href="/{name}/7d/"'.encode() in gone.body) == (404, True)
            assert json.loads(service.ask(f"/{name}/status.json").body)["stale"] is False
        assert service.ask("/nothing").status == 404
        for outside in ("/state/runs.json", "/blog/state/lock", "/blog/../shop/", "/releases/", "/current"):
            assert service.ask(outside).status == 404
        status = service.status()
        assert [one["name"] for one in status["sites"]] == ["blog", "shop"]
        assert service.stop() == 0


def test_each_site_has_its_own_schedule_retries_and_time_limit(tmp_path: Path) -> None:
    """One hangs, one is killed, one fails: none delays the others, and each is tried again by itself."""
    with silent() as hanging, silent() as killing:
        sites = {
            "hangs": f"build_timeout_s = 12\n{hanging.source}",
            "killed": killing.source,
            "fails": str(tmp_path / "absent.csv"),
            "often": f'schedule = "2s"\nsource.url = "{table(tmp_path, "often")}"',
            "blog": table(tmp_path, "blog"),
        }
        written(tmp_path, sites, SMALL + 'schedule = "1h"\n')
        with serving(tmp_path, "--processes", "3") as service:
            killing.await_caller()
            holder = (tmp_path / "output" / "killed" / "state" / "lock").read_text().split()[-1]
            os.kill(int(holder), signal.SIGKILL)
            eventually(lambda: service.ask("/blog/").status == 200, 40)
            eventually(lambda: of_site(service, "build_unchanged", "often"), 20)
            assert service.ask("/healthz").status == 200
            failed = {
                name: of_site(service, "build_failed", name, 30) for name in ("hangs", "killed", "fails")
            }
            assert {name: (event["error"], event["message"]) for name, event in failed.items()} == {
                "hangs": ("TimedOut", str(TimedOut.after(12))),
                "killed": ("Ended", "the build was killed (out of memory?)"),
                "fails": ("SourceUnavailable", failed["fails"]["message"]),
            }
            for name in failed:
                assert of_site(service, "build_again", name)
                assert service.ask(f"/{name}/").status == 503
            eventually(lambda: service.ask("/").status == 200)
            eventually(lambda: totals(service)["blog"] == 91, 35)
            assert service.stop() == 0


def of_site(service: Service, event: str, name: str, within_s: float = 5) -> dict[str, Any]:
    """Wait for the first event of a site, and return it."""
    eventually(lambda: any(one["site"] == name for one in service.events(event)), within_s)
    return next(one for one in service.events(event) if one["site"] == name)


def test_the_status_shows_which_site_is_stale(tmp_path: Path) -> None:
    """One document for all; ``/healthz/fresh`` fails while any site is overdue."""
    two(tmp_path)
    assert reportgen(tmp_path, "build", "--quiet", "--site", "blog").code == 0
    with serving(tmp_path, "--no-schedule") as service:
        assert service.ask("/healthz/fresh").status == 503
        assert {one["name"]: one["stale"] for one in service.status()["sites"]} == {
            "blog": False,
            "shop": True,
        }
        assert reportgen(tmp_path, "build", "--quiet", "--site", "shop").code == 0
        eventually(lambda: service.ask("/healthz/fresh").status == 200, 15)
        assert service.ask("/shop/").status == 200


def test_one_password_protects_all_sites(tmp_path: Path) -> None:
    two(tmp_path)
    publish_files(tmp_path / "output" / "blog", site_files("one"))
    with serving(tmp_path, "--no-schedule", REPORTGEN_PASSWORD=PASSWORD) as service:
        for address in ("/", "/blog/", "/blog", "/blog/status.json", "/status.json"):
            assert service.ask(address).status == 401
        assert service.ask("/healthz").status == 200


def test_public_pages_show_no_details_for_operators(tmp_path: Path) -> None:
    two(tmp_path, SMALL + "server.public = true\n")
    (tmp_path / "blog.csv").unlink()
    assert reportgen(tmp_path, "build", "--quiet").code == 1
    with serving(tmp_path, "--no-schedule") as service:
        for address in ("/status.json", "/blog/status.json", "/", "/sites.json"):
            assert b"no such file" not in service.ask(address).body
        assert b".csv" not in service.ask("/status.json").body


def test_the_service_loads_no_heavy_library(tmp_path: Path) -> None:
    two(tmp_path)
    with serving(tmp_path, "--no-schedule") as service:
        maps = Path(f"/proc/{service.process.pid}/maps").read_text()
        assert [name for name in HEAVY if f"/{name}/" in maps] == []
    code = "import sys, reportgen.serve.multi; print('pebble' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def sites_of(folder: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> Sites:
    """Publish a small release of each of ``count`` sites, and return their settings."""
    monkeypatch.chdir(folder)
    written(folder, {f"s{n}": "sample" for n in range(count)})
    for n in range(count):
        publish_files(folder / "output" / f"s{n}", site_files(f"word{n}"))
    loaded = load_settings(None, {}, {})
    assert isinstance(loaded, Sites)
    return loaded


def size_of(site: MountedSite) -> int:
    """Return the size of a site's release in memory; 0 if it is not."""
    return site.current.cache.size_bytes if site.current.cache else 0


def refresh(caches: SiteCaches) -> None:
    """Let new releases be read and served."""
    with ThreadPoolExecutor(1) as thread:  # this thread may have the event loop of a browser test
        thread.submit(lambda: asyncio.run(caches.refresh_sites())).result()


def test_the_releases_in_memory_have_a_maximum_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release that was requested longest ago is dropped, and read again at the next request."""
    sites = sites_of(tmp_path, monkeypatch, 4)

    first = SiteCaches(sites).mount(sites.all[0], dict)
    first.fetch()
    caches = SiteCaches(sites, max_bytes=2 * size_of(first) + 100)
    mounted = [caches.mount(one, dict) for one in sites.all]
    in_memory = []
    for number in (0, 1, 0, 2, 3, 0):
        mounted[number].fetch()
        in_memory.append([site.current.cache is not None for site in mounted])
        assert caches.size_bytes == sum(map(size_of, mounted))
    assert in_memory == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, False, False],
        [True, False, True, False],
        [False, False, True, True],
        [True, False, False, True],
    ]


def test_an_asset_that_sites_share_is_in_memory_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = sites_of(tmp_path, monkeypatch, 2)

    caches, found = SiteCaches(sites), set()
    for site in [caches.mount(one, dict) for one in sites.all]:
        site.fetch()
        assert site.current.cache is not None
        found.add(id(site.current.cache.resources["/assets/app.0a1b.js"].variants["identity"].body))
    assert len(found) == 1


def with_asset(number: int) -> dict[str, bytes]:
    """Return the files of a release with an asset of its own."""
    files = {name: content for name, content in site_files("word").items() if not name.startswith("assets/")}
    return files | {f"assets/app.{number}.js": b"// %d" % number}


def test_an_asset_leaves_memory_with_the_last_release_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New releases replace old ones on disk and in memory; a site that is dropped takes its assets along."""
    sites = sites_of(tmp_path, monkeypatch, 2)
    caches = SiteCaches(sites, max_bytes=1)
    mounted, other = (caches.mount(one, dict) for one in sites.all)
    mounted.fetch()
    for number in range(5):
        publish_files(tmp_path / "output" / "s0", with_asset(number), keep=1)
        refresh(caches)
        assert mounted.current.cache is not None
        assert f"/assets/app.{number}.js" in mounted.current.cache.resources
        assert len(caches.assets) == 1
    other.fetch()
    assert mounted.current.cache is None
    assert other.current.cache is not None
    assert len(caches.assets) == sum(path.startswith("/assets/") for path in other.current.cache.resources)


def test_a_release_that_is_dropped_while_its_successor_is_read_stays_out_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would take memory that no limit counts."""
    sites = sites_of(tmp_path, monkeypatch, 2)
    caches = SiteCaches(sites, max_bytes=1)
    mounted, other = (caches.mount(one, dict) for one in sites.all)
    mounted.fetch()
    publish_files(tmp_path / "output" / "s0", site_files("new"))
    read = mounted.current.refresh

    def read_while_the_other_is_requested() -> None:
        other.fetch()
        read()

    monkeypatch.setattr(mounted.current, "refresh", read_while_the_other_is_requested)
    refresh(caches)
    assert mounted.current.cache is None
    assert caches.size_bytes == size_of(other) > 0


def test_the_size_in_memory_follows_new_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites = sites_of(tmp_path, monkeypatch, 2)
    caches = SiteCaches(sites)
    mounted = [caches.mount(one, dict) for one in sites.all]
    for site in mounted:
        site.fetch()
    before = caches.size_bytes
    publish_files(tmp_path / "output" / "s1", site_files("word") | {"large.txt": b"1" * 10_000})
    refresh(caches)
    assert before + 10_000 < caches.size_bytes == sum(map(size_of, mounted))
