"""Uploads to a bucket on a real S3 server: complete releases only, and one machine at a time."""

import gzip
import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest

from reportgen.config.problems import cloud_secrets
from reportgen.core.errors import BucketUnavailable, OutputBusy, PublishError
from reportgen.core.release_files import packed
from reportgen.publish.bucket import client
from reportgen.publish.bucket.client import (
    Bucket,
    find_ignored_conditions,
    open_bucket,
    translate_bucket_errors,
)
from reportgen.publish.bucket.download import download_release
from reportgen.publish.bucket.layout import CURRENT, current_id, objects_of
from reportgen.publish.bucket.upload import put_release
from reportgen.publish.release import Release, public_manifest
from tests.support.planted import SECRET, clean
from tests.support.services import publish_files, site_files
from tests.support.stores import NAME, OPEN, Proxy, Request, publisher, use_store, variables


@pytest.fixture
def proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """Return a proxy before the server, and set the environment variables for it."""
    use_store(proxy.address, monkeypatch)
    return proxy


@pytest.fixture
def bucket(proxy: Proxy) -> Bucket:
    """Return the bucket at an empty prefix."""
    return open_bucket(f"s3://{NAME}/{uuid4().hex}")


@pytest.fixture
def open_to_all(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return the bucket that accepts requests without a signature, at an empty prefix."""
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    return open_bucket(f"s3://{OPEN}/{uuid4().hex}")


def seen(bucket: Bucket) -> dict[str, bytes]:
    """Return what readers of the bucket get: each file at the prefix, unpacked."""
    found = {}
    for key in bucket.list_below(""):
        if not key.startswith("releases/") and key != CURRENT:
            got = bucket.read(key)
            assert got
            found[key] = gzip.decompress(got[0]) if got[0][:2] == b"\x1f\x8b" else got[0]
    return found


def shown(release: Release) -> dict[str, bytes]:
    """Return what readers should get of a release."""
    names = [name for name in release.manifest["files"] if not name.endswith((".br", ".gz"))]
    manifest = json.dumps(public_manifest(release.manifest), ensure_ascii=False, indent=1) + "\n"
    return {name: (release.path / name).read_bytes() for name in names} | {"manifest.json": manifest.encode()}


def current_of(bucket: Bucket) -> str | None:
    """Return the id of the release that is current in the bucket."""
    return current_id(bucket.read(CURRENT))


def whole(release: Release) -> dict[str, bytes]:
    """Return all files of a release but its manifest."""
    return {name: (release.path / name).read_bytes() for name in release.manifest["files"]}


# Objects and headers.


def test_a_release_is_at_the_prefix_and_below_its_id(tmp_path: Path, bucket: Bucket) -> None:
    assert download_release(bucket) is None
    release = publish_files(tmp_path, site_files("one"), source="postgresql://db/app")
    put_release(bucket, release, keep=10)
    assert seen(bucket) == shown(release)
    assert current_of(bucket) == release.id
    below = {key.removeprefix(f"releases/{release.id}/") for key in bucket.list_below("releases")}
    packed_away = {f"{name}.gz" for name in shown(release)}
    assert below == {*release.manifest["files"], "manifest.json"} - packed_away
    assert "index.html.br" in below
    restored = {**release.manifest, "source": "postgresql"}
    assert download_release(bucket) == (restored, whole(release))
    assert not any(b"db/app" in content for content in seen(bucket).values())


YEAR = "public, max-age=31536000, immutable"
HEADERS = {
    "index.html": ("text/html; charset=utf-8", "no-cache", "gzip"),
    "7d/report.json": ("application/json", "no-cache", "gzip"),
    "7d/daily.csv": ("text/csv; charset=utf-8", "no-cache", None),
    "7d/visits.svg": ("image/svg+xml", "no-cache", None),
    "assets/app.0a1b.js": ("text/javascript; charset=utf-8", YEAR, "gzip"),
    "robots.txt": ("text/plain; charset=utf-8", "no-cache", None),
    "current.json": ("application/json", "no-cache", None),
    "manifest.json": ("application/json", "no-cache", None),
}


def test_each_object_has_its_media_type_cache_control_and_encoding(tmp_path: Path, bucket: Bucket) -> None:
    """In the response to a plain GET, not as an S3 library shows it."""
    import obstore

    put_release(bucket, publish_files(tmp_path, site_files("one")), keep=10)
    for key, expected in HEADERS.items():
        with urllib.request.urlopen(obstore.sign(bucket._store, "GET", key, timedelta(minutes=5))) as answer:
            got = answer.headers
        assert (got["Content-Type"], got["Cache-Control"], got["Content-Encoding"]) == expected, key


@pytest.mark.parametrize(
    ("name", "damaged", "message"),
    [
        ("index.html", b"<p>", "index.html: is not what was published"),
        ("index.html", gzip.compress(site_files("one")["index.html"])[:-9], "is not what was published"),
        ("7d/daily.csv", None, "daily.csv: is not there"),
        ("manifest.json", b"{", "is not a manifest of that release"),
        ("manifest.json", {"id": "x"}, "is not a manifest of that release"),
        ("manifest.json", {"files": {"../../x": {"sha256": ""}}}, "Could not parse path"),
    ],
)
def test_a_damaged_release_in_the_bucket_is_not_downloaded(
    tmp_path: Path, bucket: Bucket, name: str, damaged: bytes | dict[str, object] | None, message: str
) -> None:
    release = publish_files(tmp_path, site_files("one"))
    put_release(bucket, release, keep=10)
    key = f"releases/{release.id}/{name}"
    if isinstance(damaged, dict):
        damaged = json.dumps(dict(release.manifest) | damaged).encode()
    if damaged is None:
        bucket.delete([key])
    else:
        bucket.write(key, damaged, {})
    with pytest.raises(PublishError, match=f"{re.escape(bucket.url)}.*{message}"):
        download_release(bucket)


# What is sent.


def test_a_release_that_is_current_is_only_compared(tmp_path: Path, bucket: Bucket, proxy: Proxy) -> None:
    """Five folders that readers see are listed, and nothing is written."""
    release = publish_files(tmp_path, site_files("one"))
    put_release(bucket, release, keep=10)
    proxy.reset()
    put_release(bucket, release, keep=10)
    assert {request.method for request in proxy.requests} == {"GET"}
    assert [key for key in proxy.keys_of("GET") if key] == [f"{bucket.url.rpartition('/')[2]}/{CURRENT}"]
    assert len(proxy.requests) <= 6


def test_only_files_that_differ_are_replaced(tmp_path: Path, bucket: Bucket, proxy: Proxy) -> None:
    put_release(bucket, publish_files(tmp_path, site_files("one"), ago_s=60), keep=10)
    proxy.reset()
    release = publish_files(tmp_path, site_files("one") | {"robots.txt": b"User-agent: *"})
    put_release(bucket, release, keep=10)
    written = {key.partition("/")[2] for key in proxy.keys_of("PUT")}
    at_prefix = {key for key in written if not key.startswith("releases/")}
    assert at_prefix == {"robots.txt", "manifest.json", CURRENT}
    assert seen(bucket) == shown(release)


@pytest.mark.parametrize("new", [False, True])
def test_objects_that_somebody_overwrote_or_deleted_are_written_again(
    tmp_path: Path, bucket: Bucket, new: bool
) -> None:
    """By the next build, also if it publishes no new release."""
    release = publish_files(tmp_path, site_files("one"), ago_s=60)
    put_release(bucket, release, keep=10)
    bucket.write("robots.txt", b"User-agent: *\nAllow: /all/\n", {})
    bucket.write("index.html", gzip.compress(b"<p>of another release"), {"Content-Encoding": "gzip"})
    bucket.delete(["assets/app.0a1b.js", "7d/daily.csv"])
    release = publish_files(tmp_path, site_files("one")) if new else release
    put_release(bucket, release, keep=10)
    assert seen(bucket) == shown(release)


def test_objects_of_a_killed_build_are_checked_before_they_are_used(
    tmp_path: Path, bucket: Bucket, proxy: Proxy
) -> None:
    release = publish_files(tmp_path, site_files("one"))
    sound, *rest = objects_of(release)
    bucket.write(f"releases/{release.id}/{sound.name}", sound.body, sound.headers)
    for item in rest:  # the right size with other content
        bucket.write(f"releases/{release.id}/{item.name}", b"x" * len(item.body), item.headers)
    proxy.reset()
    put_release(bucket, release, keep=10)
    assert download_release(bucket) == (release.manifest, whole(release))
    assert [key for key in proxy.keys_of("PUT") if key.endswith(f"{release.id}/{sound.name}")] == []


@pytest.mark.slow
@pytest.mark.parametrize("unpack", [False, True])
def test_objects_are_read_back_if_the_tags_of_the_store_are_not_checksums(
    tmp_path: Path, open_to_all: Bucket, proxy: Proxy, unpack: bool
) -> None:
    """As at Azure, or with an encryption key of one's own. The store may also unpack gzip."""
    proxy.opaque, proxy.unpack = True, unpack
    for word, ago_s in (("one", 60), ("two", 0)):
        release = publish_files(tmp_path, site_files(word), ago_s=ago_s)
        put_release(open_to_all, release, keep=10)
        assert seen(open_to_all) == shown(release)
        assert download_release(open_to_all) == (release.manifest, whole(release))
    read = {key for key in proxy.keys_of("GET") if f"releases/{release.id}/" in key}
    assert len(read) >= len(objects_of(release))
    proxy.requests.clear()
    put_release(open_to_all, release, keep=10)
    assert proxy.keys_of("PUT") == []


def test_a_store_that_changes_an_object_gets_no_new_release(
    tmp_path: Path, open_to_all: Bucket, proxy: Proxy
) -> None:
    before = publish_files(tmp_path, site_files("one"), ago_s=60)
    put_release(open_to_all, before, keep=10)
    release = publish_files(tmp_path, site_files("two"))
    proxy.alter = lambda request, body: (body[:-1] + b"?") if request.key.endswith("7d/report.json") else body
    with pytest.raises(BucketUnavailable, match=r"report\.json: the store does not hold what was sent"):
        put_release(open_to_all, release, keep=10)
    proxy.reset()
    assert seen(open_to_all) == shown(before)
    assert download_release(open_to_all) == (before.manifest, whole(before))


def test_a_release_with_a_damaged_file_is_not_uploaded(tmp_path: Path, bucket: Bucket) -> None:
    release = publish_files(tmp_path, site_files("one"))
    (release.path / "7d" / "daily.csv").write_bytes(b"date")
    with pytest.raises(PublishError, match=r"daily\.csv: is not what was published"):
        put_release(bucket, release, keep=10)
    assert bucket.list_below("") == {}


# What is deleted.


def test_keep_releases_stay_and_other_files_are_not_deleted(tmp_path: Path, bucket: Bucket) -> None:
    """Scripts at the prefix stay as long as a kept release has them."""
    foreign = ["releases/notes/a.html", "releases/20261123/x", "releases/b", "assets/c.svg", "press/d.zip"]
    for key in foreign:
        bucket.write(key, b"mine", {})
    ids = []
    for n in range(4):
        files = site_files(str(n)) | {f"assets/only.{n}.js": str(n).encode()}
        files |= {"assets/shared.js": b"of all but the last"} if n < 3 else {}
        release = publish_files(tmp_path, files, ago_s=100 - n)
        ids.append(release.id)
        put_release(bucket, release, keep=2)
    kept = {key.split("/")[1] for key in bucket.list_below("releases")}
    assert kept == {*ids[2:], "notes", "20261123", "b"}
    scripts = {key for key in bucket.list_below("assets") if "only" in key or "shared" in key}
    assert scripts == {"assets/only.2.js", "assets/only.3.js", "assets/shared.js"}
    assert [bucket.read(key) is not None for key in foreign] == [True] * 5


def test_the_next_build_deletes_what_the_last_one_could_not(
    tmp_path: Path, bucket: Bucket, proxy: Proxy
) -> None:
    """The release is published all the same."""
    release = publish_files(tmp_path, site_files("one") | {"30d/index.html": b"<p>30"}, ago_s=60)
    put_release(bucket, release, keep=10)
    release = publish_files(tmp_path, site_files("two"), ago_s=30)
    proxy.intercept = lambda _, request: 403 if request.method in {"POST", "DELETE"} else None
    put_release(bucket, release, keep=1)
    assert seen(bucket) == shown(release) | {"30d/index.html": b"<p>30"}
    proxy.reset()
    release = publish_files(tmp_path, site_files("three"))
    put_release(bucket, release, keep=1)
    assert seen(bucket) == shown(release)
    assert {key.split("/")[1] for key in bucket.list_below("releases")} == {release.id}


def test_the_next_build_deletes_the_files_of_a_killed_build(
    tmp_path: Path, bucket: Bucket, proxy: Proxy
) -> None:
    put_release(bucket, publish_files(tmp_path, site_files("one"), ago_s=60), keep=10)
    proxy.intercept = lambda _, request: (
        403 if request.method == "PUT" and request.key.count("/") == 2 else None
    )
    with pytest.raises(PublishError):
        put_release(bucket, publish_files(tmp_path, site_files("two") | {"old.csv": b"1"}, ago_s=30), keep=10)
    proxy.reset()
    assert "old.csv" in seen(bucket)
    release = publish_files(tmp_path, site_files("three"))
    put_release(bucket, release, keep=10)
    assert seen(bucket) == shown(release)


def test_a_release_that_another_machine_uploads_is_not_deleted(tmp_path: Path, bucket: Bucket) -> None:
    newer = publish_files(tmp_path / "b", site_files("new") | {"30d/index.html": b"<p>30"}, ago_s=1)
    slow = publish_files(tmp_path / "a", site_files("slow"), ago_s=60)
    for each in objects_of(newer):
        bucket.write(f"releases/{newer.id}/{each.name}", each.body, each.headers)
        bucket.write(each.name, each.body, each.headers)
    put_release(bucket, slow, keep=1)
    assert "30d/index.html" in seen(bucket)
    put_release(bucket, newer, keep=1)
    assert download_release(bucket) == (newer.manifest, whole(newer))


# Two machines.


def test_a_newer_release_of_another_machine_stays(tmp_path: Path, bucket: Bucket) -> None:
    old = publish_files(tmp_path / "a", site_files("old"), ago_s=60)
    new = publish_files(tmp_path / "b", site_files("new"))
    put_release(bucket, new, keep=10)
    with pytest.raises(OutputBusy, match=rf"newer release \({new.id}\), which stays.*only one machine"):
        put_release(bucket, old, keep=10)
    put_release(bucket, old, allow_newer=True, keep=10)
    assert seen(bucket) == shown(new)


def test_a_release_from_the_future_is_replaced(tmp_path: Path, bucket: Bucket) -> None:
    put_release(bucket, publish_files(tmp_path / "a", site_files("of tomorrow"), ago_s=-86_400), keep=10)
    release = publish_files(tmp_path / "b", site_files("of today"))
    put_release(bucket, release, keep=10)
    assert seen(bucket) == shown(release)


@pytest.mark.slow
def test_of_two_machines_at_once_one_publishes_and_the_other_is_busy(
    tmp_path: Path, store: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is whole. After the next build of either, all are of its release."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    bucket, lost = open_bucket(bucket.url), 0
    for n in range(12):
        releases = [publish_files(tmp_path / side, small(3, side * n), ago_s=100 - n) for side in "ab"]
        begin = Barrier(2)

        def race(release: Release, begin: Barrier = begin) -> str:
            begin.wait()
            try:
                put_release(bucket, release, keep=10)
            except OutputBusy as exc:
                return str(exc)
            return ""

        with ThreadPoolExecutor(2) as pool:
            errors = list(pool.map(race, releases))
        assert "" in errors
        lost += sum(map(bool, errors))
        one, other = (shown(release).items() for release in releases)
        assert seen(bucket).items() <= one | other
        current = next(release for release in releases if release.id == current_of(bucket))
        assert download_release(bucket) == (current.manifest, whole(current))
        if n % 2:
            current = publish_files(tmp_path / "b", small(3, "next"), ago_s=99 - n)
        put_release(bucket, current, keep=10)
        assert pages_of(bucket) == shown(current)
    assert lost > 0


@pytest.mark.parametrize(
    ("method", "key", "count"), [("GET", CURRENT, 2), ("PUT", "index.html", 1), ("PUT", CURRENT, 1)]
)
def test_a_machine_whose_release_another_replaces_is_busy_and_the_next_build_repairs_the_pages(
    tmp_path: Path, bucket: Bucket, proxy: Proxy, method: str, key: str, count: int
) -> None:
    """It changes no page if the other one was first before it began to replace them."""
    put_release(bucket, publish_files(tmp_path / "a", site_files("before"), ago_s=600), keep=10)
    other = publish_files(tmp_path / "b", site_files("other"), ago_s=10)
    mine = publish_files(tmp_path / "c", site_files("mine"))
    pending = [other]
    at_prefix = f"{bucket.url.rpartition('/')[2]}/{key}"

    def replaced(_: int, request: Request) -> None:
        """Let another machine publish just before this request."""
        found = (request.method, request.key) == (method, at_prefix)
        if found and proxy.keys_of(method).count(at_prefix) == count and pending:
            release = pending.pop()
            proxy.lock.release()
            try:
                put_release(bucket, release, keep=10)
            finally:
                proxy.lock.acquire()

    proxy.reset()
    proxy.intercept = replaced
    with pytest.raises(OutputBusy, match="only one machine"):
        put_release(bucket, mine, keep=10)
    proxy.reset()
    assert current_of(bucket) == other.id
    assert (seen(bucket) == shown(other)) is (key == CURRENT)
    put_release(bucket, other, keep=10)
    assert seen(bucket) == shown(other)
    put_release(bucket, mine, keep=10)
    assert seen(bucket) == shown(mine)


# Faults.


@pytest.mark.slow
def test_a_build_killed_before_any_request_leaves_complete_pages_and_the_next_one_publishes(
    tmp_path: Path, bucket: Bucket, store: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is complete, of either release, and its links and scripts work."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", store)
    bucket = open_bucket(bucket.url)
    root, killed, number, before = tmp_path, -9, 0, publish_files(tmp_path, small(0), ago_s=1000)
    states = set()
    with publisher(bucket.url, root, variables(proxy.address)) as published:
        assert published(proxy, 0) == 0
        while killed:
            number += 1
            release = publish_files(root, small(number), ago_s=1000 - number)
            killed = published(proxy, number)
            states.add(state_of(bucket, before, release))
            assert download_release(bucket) in [(each.manifest, whole(each)) for each in (before, release)]
            assert published(proxy, 0) == 0
            assert pages_of(bucket) == shown(release)
            assert download_release(bucket) == (release.manifest, whole(release))
            before = release
    assert number > 15
    assert states == {"old", "switching", "new"}
    assert len({key.split("/")[1] for key in bucket.list_below("releases")}) == 3


def small(number: int, word: str = "") -> dict[str, bytes]:
    """Return a site whose pages and data differ for each number, and its script for every third number."""
    links = f'<script src="assets/a.{number // 3}.js"></script>'.encode()
    pages = {name: f"<p>{number} {word} {name}".encode() + links for name in ("index.html", "7d.html")}
    data = {"7d.json": str(number).encode(), f"assets/a.{number // 3}.js": str(number // 3).encode() * 700}
    return pages | data | packed(data)


def pages_of(bucket: Bucket) -> dict[str, bytes]:
    """Return what readers get, without scripts of older releases; check that all linked scripts are there."""
    found = seen(bucket)
    linked = {name.decode() for content in found.values() for name in re.findall(rb'src="([^"]+)"', content)}
    assert linked <= set(found)
    return {name: content for name, content in found.items() if name in linked or "assets/" not in name}


def state_of(bucket: Bucket, before: Release, release: Release) -> str:
    """Return at which step a build of ``release`` was killed, and check what it has left."""
    current, found, old, new = current_of(bucket), pages_of(bucket), shown(before), shown(release)
    if current == release.id:
        assert found == new
        return "new"
    assert current == before.id
    if found == old:
        return "old"
    assert found.items() <= old.items() | new.items()
    assert {name for name in old if "assets/" not in name} <= set(found)
    return "switching"


def test_a_conditional_write_whose_response_was_lost_counts(
    tmp_path: Path, bucket: Bucket, proxy: Proxy
) -> None:
    """The build finds its own bytes in ``current.json``."""
    release = publish_files(tmp_path, site_files("one"))
    key = f"{bucket.url.rpartition('/')[2]}/{CURRENT}"
    proxy.lose = lambda request: (
        (request.method, request.key, proxy.keys_of("PUT").count(key)) == ("PUT", key, 1)
    )
    put_release(bucket, release, keep=10)
    assert proxy.keys_of("PUT").count(key) == 2
    assert seen(bucket) == shown(release)
    assert current_of(bucket) == release.id


@pytest.mark.slow
def test_requests_are_retried_after_temporary_errors(tmp_path: Path, bucket: Bucket, proxy: Proxy) -> None:
    release = publish_files(tmp_path, site_files("one"))
    failed: set[tuple[str, str]] = set()

    def once(_: int, request: Request) -> int | None:
        if (request.method, request.key) in failed:
            return None
        failed.add((request.method, request.key))
        return (503, 0, 500)[len(failed) % 3]

    proxy.intercept = once
    put_release(bucket, release, keep=10)
    assert len(failed) > 20
    assert seen(bucket) == shown(release)


def test_a_bucket_that_stays_down_is_an_error_that_may_be_retried(
    tmp_path: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    down = open_bucket(f"s3://{NAME}/{uuid4().hex}")
    proxy.intercept = lambda *_: 503
    with pytest.raises(BucketUnavailable, match=r"503 Service Unavailable.*Try again later") as caught:
        put_release(down, publish_files(tmp_path, site_files("one")), keep=10)
    assert caught.value.retry


@pytest.mark.parametrize(
    ("url", "environment", "message"),
    [
        ("s3://absent/x", {}, "no such bucket: create it, or correct output.bucket"),
        (
            f"s3://{NAME}/x",
            {"AWS_SECRET_ACCESS_KEY": f"{SECRET}-wrong"},
            "SignatureDoesNotMatch.*credentials",
        ),
        (f"s3://{NAME}/x", {"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "InvalidAccessKeyId.*credentials"),
        (f"s3://{NAME}/x", {"AWS_ENDPOINT_URL": "http://a b"}, "obstore failed"),
        ("az://container/x", {}, "Account must be specified.*AZURE_STORAGE_ACCOUNT_NAME"),
        ("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS": "absent.json"}, r"absent\.json"),
    ],
)
@pytest.mark.usefixtures("proxy")
def test_an_error_says_what_to_do_and_contains_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PublishError, match=message) as caught:
        put_release(open_bucket(url), publish_files(tmp_path, site_files("one")), keep=10)
    assert not caught.value.retry
    clean(str(caught.value))


def test_messages_of_obstore_are_shown_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature in a query is not shown either."""
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", f"{SECRET}-of-the-container")
    message = f"Error performing GET https://a.test/x?sig=s in 1ms - bad header {SECRET}-of-the-container"
    with pytest.raises(PublishError) as caught, translate_bucket_errors("az://container/x"):
        raise ValueError(message)
    assert clean(str(caught.value)).startswith("az://container/x: GET https://a.test/x: bad header ***. ")


def test_credentials_of_the_environment_are_secrets() -> None:
    environment = {
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "AZURE_STORAGE_SAS_TOKEN": "sv=2024&sig=abc",
        "AWS_SSE_BUCKET_KEY_ENABLED": "true", "AWS_REGION": "eu-central-1", "HOME": "/home/key",
    }  # fmt: skip
    assert set(cloud_secrets(environment)) == {"wJalrXUtnFEMI", "sv=2024&sig=abc"}


# The check of conditional writes, for `reportgen check`.


def test_the_check_of_conditions_leaves_no_object(bucket: Bucket) -> None:
    assert find_ignored_conditions(bucket) == []
    assert bucket.list_below("") == {}


@pytest.mark.parametrize("lost", [["If-Match"], ["If-None-Match"], ["If-None-Match", "If-Match"]])
def test_a_store_that_ignores_conditions_is_reported(
    open_to_all: Bucket, proxy: Proxy, lost: list[str]
) -> None:
    proxy.drop = tuple(name.lower() for name in lost)
    assert find_ignored_conditions(open_to_all) == lost
    assert open_to_all.list_below("") == {}


# current.json.


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b'{"release": null}', b'{"release": "99999999T999999.999Z-0a1b2c3d"}']
)
def test_current_json_names_the_release_and_a_damaged_one_is_replaced(
    tmp_path: Path, bucket: Bucket, damaged: bytes
) -> None:
    bucket.write(CURRENT, damaged, {})
    assert current_of(bucket) is None
    release = publish_files(tmp_path, site_files("one"))
    put_release(bucket, release, keep=10)
    found = bucket.read(CURRENT)
    assert found
    assert json.loads(found[0]) == {"schema_version": 1, "release": release.id}
