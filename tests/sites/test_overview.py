"""The page over all sites: what it says of each, and what it is made without."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reportgen.config.sites import Sites, load_settings
from reportgen.core.text import ENGLISH
from reportgen.publish.history import BuildResult, record
from reportgen.publish.release import current_release
from reportgen.sites.overview import age_of, index_files, row_of
from reportgen.sites.runner import publish_index
from tests.support.hostile import STORED
from tests.support.manysites import SMALL, written
from tests.support.releases import Published, served
from tests.support.services import publish_files
from tests.support.visits import DESKTOP, PHONE, Open

NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
SNAPSHOT = Path(__file__).parents[1] / "golden" / "snapshots" / "many"
HOSTILE = '"></title><script>window.__pwned=1</script>'


def report(name: str, visits: list[int], **more: Any) -> dict[str, bytes]:
    """Return the files of a site's release as far as the page over all reads them; the last day is today."""
    end = NOW.date()
    days = [
        {"date": str(end - timedelta(len(visits) - 1 - n)), "visits": each} for n, each in enumerate(visits)
    ]
    before, over = 100, sum(visits[:-1])
    document = {
        "site": name, "timezone": "UTC", "window": "7d", "start": days[0]["date"], "end": str(end),
        "sample": False, "total": sum(visits), "daily": days,
        "complete": {
            "days": len(visits) - 1, "total": over, "previous_total": before, "change": over / before - 1,
        },
    }  # fmt: skip
    return {"index.html": b"-", "7d/report.json": json.dumps(document | more).encode()}


def succeeded(root: Path, minutes: int) -> None:
    at = NOW - timedelta(minutes=minutes)
    record(root, BuildResult("published", at, release="x"))


@pytest.fixture
def sites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sites:
    """Give sites in every state: good, failed since, overdue, never built, and one with a hostile name."""
    monkeypatch.chdir(tmp_path)
    named = {
        "good": 'site = "The blog"\nsource.url = "sample"\ntimezone = "Asia/Tokyo"',
        "failed": "sample", "overdue": "sample", "never": "sample", "never-failed": "sample",
        "hostile": f"site = '{HOSTILE}'\nsource.url = 'sample'",
    }  # fmt: skip
    written(tmp_path, named, top=SMALL + 'site = "Our sites"\nintro = "All *we* run."\n')
    loaded = load_settings(None, {}, {})
    assert isinstance(loaded, Sites)
    output = tmp_path / "output"
    for name, minutes in (("good", 15), ("failed", 200), ("overdue", 3000), ("hostile", 15)):
        built_at = f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
        publish_files(output / name, report(name, [10, 30, 0, 20, 50, 40, 5], built_at=built_at))
        succeeded(output / name, minutes)
    for name in ("failed", "never-failed"):
        at = NOW - timedelta(minutes=5)
        record(output / name, BuildResult("failed", at, error="SourceError", message="secret host"))
    return loaded


def test_it_is_as_it_was_before(sites: Sites) -> None:
    """Byte by byte; to renew the snapshot, delete it and run this test."""
    files = {
        name: content
        for name, content in index_files(sites, NOW).items()
        if not name.endswith((".br", ".gz"))
    }
    if not SNAPSHOT.is_dir():
        SNAPSHOT.mkdir()
        for name, content in files.items():
            (SNAPSHOT / name).write_bytes(content)
    assert {path.name: path.read_bytes() for path in SNAPSHOT.iterdir()} == files


def test_a_small_chart_of_a_long_window_draws_weeks_or_months(sites: Sites) -> None:
    good = sites.all[0]
    for days, bars in ((92, 92), (93, 15), (1100, 37)):
        more = {"built_at": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}
        publish_files(good.config.output.dir, report("good", [1] * days, **more))
        spark = row_of(good, ENGLISH, NOW).spark
        assert spark is not None
        assert spark.width == bars


def test_it_says_of_each_site_what_its_last_release_says(sites: Sites) -> None:
    rows = {site.name: row_of(site, ENGLISH, NOW) for site in sites.all}
    good = rows["good"]
    assert (good.name, good.total, good.change, good.compared) == ("The blog", 155, 0.5, True)
    assert str(good.built_at) == "2026-11-24 00:45:00+09:00"  # in the site's own zone
    assert good.spark is not None
    assert (good.failed_at, good.overdue) == (None, False)
    assert (rows["failed"].total, str(rows["failed"].failed_at)) == (155, "2026-11-23 15:55:00+00:00")
    assert rows["failed"].age == "3 hours"
    assert (rows["overdue"].overdue, rows["overdue"].age) == (True, "2 days")
    assert (rows["never"].shown, rows["never"].failed_at) == (False, None)
    assert (rows["never-failed"].shown, rows["never-failed"].failed_at is None) == (False, False)


def test_a_site_without_a_schedule_is_never_overdue(sites: Sites) -> None:
    site = next(site for site in sites.all if site.name == "overdue")
    assert row_of(site, ENGLISH, NOW).overdue
    manual = replace(site, config=site.config.model_copy(update={"schedule": "manual"}))
    assert not row_of(manual, ENGLISH, NOW).overdue


def test_it_tells_no_reader_why_a_build_failed(sites: Sites) -> None:
    assert [name for name, content in index_files(sites, NOW).items() if b"secret host" in content] == []


def test_a_damaged_release_counts_as_none(sites: Sites) -> None:
    """One site's broken disk must not take the page from the others."""
    release = current_release(sites.root / "good")
    assert release is not None
    (release.path / "7d" / "report.json").write_text("{")
    page = index_files(sites, NOW)["index.html"].decode()
    assert "The blog" in page
    assert 'href="good/index.html"' not in page
    assert 'href="failed/index.html"' in page


def test_it_is_published_as_a_release_is(sites: Sites) -> None:
    """Whole, proven, and replaced by one step; its links lead to what each site has published."""
    first = publish_index(sites, NOW)
    second = publish_index(sites, NOW + timedelta(minutes=1))
    found = current_release(sites.root)
    assert found is not None
    assert (found.id, first.path.is_dir()) == (second.id, True)
    assert (sites.root / "current" / "good" / "7d" / "report.json").is_file()
    assert not (sites.root / "current" / "never").exists()
    assert found.manifest["sites"] == 6


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 seconds"), (1, "1 second"), (119, "1 minute"), (7200, "2 hours"), (90_000, "1 day")],
)
def test_an_age_is_said_in_its_largest_unit(seconds: int, said: str) -> None:
    assert age_of(NOW - timedelta(seconds=seconds), NOW) == said


def test_neither_pandas_nor_v8_is_loaded_for_it() -> None:
    """A page over a thousand sites must not cost what a build does."""
    code = (
        "import sys, reportgen.sites.overview, reportgen.sites.runner;"
        " print([name for name in ('pandas', 'numpy', 'altair', 'vl_convert') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# In a browser.


@pytest.fixture
def index(sites: Sites) -> Iterator[Published]:
    with served(publish_index(sites, NOW).path.absolute()) as published:
        yield published


@pytest.mark.slow
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(index: Published, visit: Open, size: tuple[int, int], scheme: str) -> None:
    """Nothing of a hostile name runs. The page requests only itself, and does not scroll horizontally."""
    reader = visit(index.http("index.html"), size=size)
    reader.page.emulate_media(color_scheme=scheme)
    assert reader.axe() == []
    reader.page.locator(".help summary").click()
    assert reader.axe() == []
    assert len(reader.requests) == 1
    width = reader.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= size[0]


def test_the_link_of_a_site_leads_to_it_from_a_file_too(index: Published, visit: Open) -> None:
    reader = visit(index.file("index.html"))
    reader.page.get_by_role("link", name="The blog").click()
    assert reader.page.url.endswith("/good/index.html")


def test_hostile_names_stay_text(index: Published, visit: Open) -> None:
    assert STORED
    reader = visit(index.http("index.html"))
    assert HOSTILE in reader.texts("tbody th a")
