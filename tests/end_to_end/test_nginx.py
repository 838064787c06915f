"""nginx serves a report as docs/deploy-systemd.md says: a real nginx, with the text of that page."""

import gzip
import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.documents import read_blocks
from tests.support.services import Answer, ask, eventually, publish_files, site_files

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

MAIN = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {guide}
}}
"""
SITE = site_files("one")


def replaced(text: str, old: str, new: str) -> str:
    """Return the text with the only ``old`` replaced."""
    assert text.count(old) == 1
    return text.replace(old, new)


def connect(port: int) -> http.client.HTTPConnection:
    """Return a new connection to nginx."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=5)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an output directory with a release."""
    root = tmp_path_factory.mktemp("nginx") / "output"
    publish_files(root, SITE, ago_s=5000)
    (root / "state" / "secret").write_text("secret")
    return root


@pytest.fixture(scope="module")
def port(output: Path) -> Iterator[int]:
    """Run nginx with the configuration of the guide; give its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    blocks = read_blocks("docs/deploy-systemd.md", "nginx")
    (text,) = (block.text for block in blocks if block.text.startswith("map "))
    text = replaced(text, "listen 80;", f"listen 127.0.0.1:{number};")
    text = replaced(text, "root /var/lib/reportgen/current;", f"root {output}/current;")
    config = output.parent / "nginx.conf"
    config.write_text(MAIN.format(folder=output.parent, guide=text))
    with subprocess.Popen(
        [str(NGINX), "-e", "stderr", "-c", str(config)], stderr=subprocess.PIPE, text=True
    ) as nginx:

        def is_up() -> bool:
            assert nginx.poll() is None, nginx.stderr and nginx.stderr.read()
            with socket.socket() as wire:
                return wire.connect_ex(("127.0.0.1", number)) == 0

        try:
            eventually(is_up, 10)
            yield number
        finally:
            nginx.terminate()


def asked(port: int, path: str, method: str = "GET", **headers: str) -> Answer:
    """Return the answer to a request over a new connection."""
    connection = connect(port)
    try:
        return ask(connection, path, method, **headers)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("address", "name", "kind", "cache"),
    [
        ("/", "index.html", "text/html; charset=utf-8", "private, no-cache"),
        ("/7d/", "7d/index.html", "text/html; charset=utf-8", "private, no-cache"),
        ("/7d/report.json", "7d/report.json", "application/json", "private, no-cache"),
        ("/7d/daily.csv", "7d/daily.csv", "text/csv; charset=utf-8", "private, no-cache"),
        ("/7d/visits.svg", "7d/visits.svg", "image/svg+xml", "private, no-cache"),
        ("/assets/app.0a1b.js", "assets/app.0a1b.js", "text/javascript; charset=utf-8",
         "private, max-age=31536000, immutable"),
    ],
)  # fmt: skip
def test_nginx_sends_each_file_with_its_headers(
    port: int, address: str, name: str, kind: str, cache: str
) -> None:
    plain, packed = asked(port, address), asked(port, address, accept_encoding="gzip")
    for answer in (plain, packed):
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert answer.headers["cache-control"] == cache
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert plain.body == SITE[name]
    if f"{name}.gz" in SITE:
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.body == SITE[f"{name}.gz"]
        assert gzip.decompress(packed.body) == SITE[name]
        assert packed.headers["vary"] == "Accept-Encoding"
    assert asked(port, address, if_none_match=plain.headers["etag"]).status == 304


@pytest.mark.parametrize(
    "path", ["/state/secret", "/../state/secret", "/%2e%2e/state/secret", "/..%2fstate/secret", "/releases/",
             "/current/", "/assets/", "/nothing", "/7d/nothing"],
)  # fmt: skip
def test_nginx_sends_nothing_but_the_release(port: int, path: str) -> None:
    """All else gets the report's own 404 page; what climbs out of the root may get 400."""
    answer = asked(port, path)
    climbs = path.startswith(("/..", "/%2e"))
    assert (answer.status, answer.body) == (404, SITE["404.html"]) or (climbs and answer.status == 400)
    assert b"secret" not in answer.body
    assert asked(port, path, "HEAD").status == answer.status


def test_nginx_redirects_a_path_without_its_final_slash(port: int) -> None:
    answer = asked(port, "/7d")
    assert (answer.status, answer.headers["location"]) == (301, "/7d/")


def test_readers_of_nginx_get_whole_files_while_releases_are_published(output: Path, port: int) -> None:
    """Four readers ask without pause: each answer is a whole page, and never an older one than before."""
    pages = {site_files(f"word{n}")["7d/index.html"]: n for n in range(12)} | {SITE["7d/index.html"]: -1}
    done, wrong, counts = Event(), [], []

    def read() -> None:
        connection, last, count = connect(port), -1, 0
        while not done.is_set():
            packed = count % 2 == 1
            answer = ask(connection, "/7d/", **({"accept_encoding": "gzip"} if packed else {}))
            body = gzip.decompress(answer.body) if packed and answer.status == 200 else answer.body
            number = pages.get(body, -2)
            if answer.status != 200 or number < last:
                wrong.append((answer.status, number, last))
            last, count = number, count + 1
        connection.close()
        counts.append((count, last))

    readers = [Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for n in range(12):
        publish_files(output, site_files(f"word{n}"), ago_s=3000 - n, keep=2)
        time.sleep(0.02)
    time.sleep(0.2)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert [last for _, last in counts] == [11] * 4
    assert min(count for count, _ in counts) > 12
