"""A service switches to the next release while readers read, and ignores a damaged one."""

import socket
import time
from pathlib import Path

import pytest

from reportgen.serve.release_cache import load_release
from tests.support.services import ask, publish_files, serving, site_files

SITE = site_files("one")


def test_a_damaged_release_is_not_loaded(tmp_path: Path) -> None:
    """A release is not served if a file is missing, shortened or changed."""
    release = publish_files(tmp_path, SITE)
    assert load_release(release).id == release.id
    file = release.path / "7d" / "report.json"
    file.write_bytes(SITE["7d/report.json"][:-1])
    with pytest.raises(ValueError, match=r"7d/report\.json"):
        load_release(release)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        load_release(release)


def test_a_new_release_is_served_within_a_second(tmp_path: Path) -> None:
    """Also to an old connection, and if another process has published the release."""
    publish_files(tmp_path / "output", SITE, ago_s=5)
    with serving(tmp_path, "--no-schedule") as service:
        connection = service.connect()
        assert ask(connection, "/7d/").body == SITE["7d/index.html"]
        tag = ask(connection, "/7d/").headers["etag"]
        publish_files(tmp_path / "output", site_files("two"))
        time.sleep(1)
        assert ask(connection, "/7d/").body == site_files("two")["7d/index.html"]
        assert ask(connection, "/7d/", if_none_match=tag).status == 200
        connection.close()


def test_a_response_that_has_begun_ends_with_the_same_release(tmp_path: Path) -> None:
    """Although that release is replaced and deleted while a slow reader reads."""
    large = {"7d/index.html": b"1" * 30_000_000}
    publish_files(tmp_path / "output", SITE | large, ago_s=5)
    with serving(tmp_path, "--no-schedule") as service:
        with socket.socket() as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.settimeout(10)
            wire.connect(("127.0.0.1", service.port))
            wire.sendall(b"GET /7d/ HTTP/1.0\r\n\r\n")
            got = wire.recv(1000)
            publish_files(tmp_path / "output", site_files("two"), keep=1)
            service.await_event("release_served", 2)
            assert service.ask("/7d/").body == site_files("two")["7d/index.html"]
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            got += b"".join(iter(lambda: wire.recv(1 << 20), b""))
        assert got.partition(b"\r\n\r\n")[2] == large["7d/index.html"]


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", ["cut", "gone"])
def test_the_last_good_release_is_served_if_the_new_one_cannot_be_read(tmp_path: Path, spoilt: str) -> None:
    """The fault is logged once. The next complete release is served."""
    publish_files(tmp_path / "output", SITE, ago_s=9)
    with serving(tmp_path, "--no-schedule") as service:
        elsewhere = tmp_path / "elsewhere"
        bad = publish_files(elsewhere, site_files("bad"), ago_s=5)
        file = bad.path / "7d" / "index.html"
        file.unlink() if spoilt == "gone" else file.write_bytes(b"<p")
        bad.path.rename(tmp_path / "output" / "releases" / bad.id)
        link = tmp_path / "output" / "state" / "link"
        link.symlink_to(f"releases/{bad.id}")
        link.replace(tmp_path / "output" / "current")
        service.await_event("release_unreadable")
        time.sleep(1.2)
        assert len(service.events("release_unreadable")) == 1
        assert service.ask("/7d/").body == SITE["7d/index.html"]
        publish_files(tmp_path / "output", site_files("two"))
        service.await_event("release_served", 2)
        assert service.ask("/7d/").body == site_files("two")["7d/index.html"]
