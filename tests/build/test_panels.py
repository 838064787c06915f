"""The panels of a build: read once, apart from the report and each other, or shown as they were last."""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reportgen.build.panels import PanelReader, not_renewed
from reportgen.build.pipeline import build
from reportgen.config.settings import Config, load_config
from reportgen.core.windows import Span
from reportgen.metrics.dataset import Dataset, read_dataset
from reportgen.metrics.panels import WindowPanel
from reportgen.pages.exports import paths_csv
from reportgen.publish.history import BuildResult
from reportgen.publish.release import Release, current_release, lock_output, publish
from reportgen.sources.panel_queries import PanelRows
from tests.support.commands import Run
from tests.support.engines import METRICS_TABLE

NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
TOP = "SELECT path AS label, sum(visits) AS value FROM metrics WHERE date BETWEEN :first AND :last GROUP BY 1"
STORED: dict[str, Any] = {
    "schema_version": 1, "panel": "a", "title": "Before", "window": "7d", "start": "2026-11-10",
    "end": "2026-11-16", "timezone": "UTC", "kind": "bars",
    "read_at": "2026-11-16T10:00:00Z", "renewed": True,
    "cut": False, "not_finite": 0, "columns": ["label", "value"], "rows": [["/old", 3]],
}  # fmt: skip


@pytest.fixture
def table(pg: str) -> str:
    with psycopg.connect(pg, autocommit=True) as admin:
        admin.execute(METRICS_TABLE)
        admin.execute(
            "INSERT INTO metrics VALUES ('2026-11-23', '/a', 3), ('2026-11-20', '/b', 5),"
            " ('2026-11-01', '/a', 7)"
        )
        admin.execute("CREATE TABLE plans (day date, plan text, sold int)")
        admin.execute("INSERT INTO plans VALUES ('2026-11-23', 'Pro', 2)")
    return pg


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "panels").mkdir()
    return tmp_path


def panel(name: str, sql: str, settings: str = "") -> None:
    Path(f"panels/{name}.md").write_text(f"---\ntitle: {name.title()}\n{settings}\n---\n```sql\n{sql}\n```\n")


def settings(url: str = "sample", toml: str = "", **given: Any) -> Config:
    Path("reportgen.toml").write_text(toml)
    return load_config(None, {}, {"source": {"url": url}, "windows": ["7d", "30d"], **given})


def read(config: Config, last: Release | None = None) -> Dataset:
    return read_dataset(config, NOW, None, paths_csv, PanelReader(config, last, NOW))


def shown(dataset: Dataset, window: int = 0) -> dict[str, Sequence[Sequence[object]] | str]:
    """Return what one window shows of each panel: its rows, or why there are none."""
    return {each.panel.name: each.rows.rows if each.rows else each.problem for each in dataset.panels[window]}


def released(folder: Path, **changes: Any) -> Release:
    """Return a release that shows the panel ``a``."""
    with lock_output(folder / "output") as lock:
        files = {"7d/panels/a.json": json.dumps(STORED | changes).encode()}
        return publish(lock, files, {}, built_at=NOW - timedelta(days=7), keep=3)


def test_each_window_shows_its_panels_with_the_rows_of_its_dates(folder: Path, table: str) -> None:
    panel("b", TOP)
    panel("a", "SELECT plan AS label, sold AS value FROM plans", "windows: 30d")
    (folder / "panels/c.md").write_text("Only *prose*.")
    found = read(settings(table))
    assert shown(found) == {"b": [["/a", 3], ["/b", 5]], "c": ""}
    assert shown(found, 1) == {"a": [["Pro", 2]], "b": [["/a", 10], ["/b", 5]], "c": ""}
    first = found.panels[0][0]
    assert (first.span, first.read_at, first.problem) == (
        Span(date(2026, 11, 17), date(2026, 11, 23)),
        NOW,
        "",
    )
    assert not_renewed(found) == []


def test_a_named_source_needs_no_visits_and_is_opened_once(folder: Path, table: str) -> None:
    """A source that cannot be opened fails its own panels."""
    (folder / "plans.csv").write_text("bought;plan;eur\n2026-11-20;Pro;3,5\n2026-11-21;Team;4\n")
    panel("a", "SELECT sum(sold) AS value FROM plans WHERE day = :today", "source: shop")
    panel("b", "SELECT count(*) AS value FROM metrics WHERE bought >= :first", "source: file")
    panel("c", "SELECT 1 AS value", "source: gone")
    toml = f'[sources]\nshop.url = "{table}"\nfile.url = "plans.csv"\ngone.url = "sqlite:///gone.db"\n'
    found = shown(read(settings(toml=toml)))
    assert found["a"] == [[2]]
    assert found["b"] == [[2]]
    assert str(found["c"]).startswith("panels/c.md: gone.db: no such file.")


def test_a_file_that_cannot_be_used_is_shown_as_it_was_where_it_was(folder: Path, table: str) -> None:
    """Its settings cannot be read any more: how its rows are shown, and in which windows."""
    panel("a", TOP, 'position: top\nwindows: [30d]\nformat: {value: "0.00"}\nnames: {value: Money}')
    config = settings(table)
    with lock_output(folder / "output") as lock:
        build(config, lock, now=NOW)
        before = current_release(lock.root)
        Path("panels/a.md").write_text("---\ntitle: [\n---\n")
        build(config, lock, now=NOW + timedelta(hours=1))
        after = current_release(lock.root)
    assert before
    assert after
    was, now = ((each.path / "30d/index.html").read_text() for each in (before, after))
    section = was[
        was.index('<section class="panel"') : was.index("</section>", was.index('<section class="pan'))
    ]
    for part in (">A</bdi></h2>", "10.00", "Money"):
        assert part in section
        assert part in now
    assert now.index('<section class="panel"') < now.index('id="figures"')
    assert "it could not be renewed" in now
    assert not (after.path / "7d/panels").exists()
    assert after.manifest["panels"][0]["windows"] == ["30d"]


def test_a_file_that_changes_while_its_panels_are_read_fails_these(folder: Path, table: str) -> None:
    (folder / "plans.csv").write_text("plan\nPro\n")
    panel("a", "SELECT count(*) AS value FROM metrics", "source: file")
    panel("b", "SELECT 1 AS value")
    config = settings(table, '[sources.file]\nurl = "plans.csv"\n')

    class Changing(PanelReader):
        def _shown(self, panel: Any, window: Any, queries: Any) -> WindowPanel:
            found = super()._shown(panel, window, queries)
            (folder / "plans.csv").write_text(f"plan\nPro\n{panel.name}{window.name}\n")
            return found

    dataset = read_dataset(config, NOW, None, paths_csv, Changing(config, None, NOW))
    assert "was changed while it was read" in str(shown(dataset)["a"])
    assert shown(dataset)["b"] == [[1]]


FAULTS: Mapping[str, str] = {
    "SELECT x FROM gone": 'panels/a.md:6: relation "gone" does not exist',
    "SELECT 1 / 0 AS x": "panels/a.md: division by zero",
    "DELETE FROM metrics": "panels/a.md:6: syntax error at or near",
    "SELECT 'x' AS value": 'panels/a.md: row 1: value is "x", which is not a number',
    "SELECT 1 AS count": 'panels/a.md: names "visits" is not a column of the query. They are: count.',
    "SELECT :nix AS x": "panels/a.md:6: :nix is not a known value",
    "SELECT pg_terminate_backend(pg_backend_pid())": "panels/a.md: terminating connection due to",
}


@pytest.mark.parametrize("sql", FAULTS)
def test_a_panel_that_fails_changes_no_other_and_no_figure(folder: Path, table: str, sql: str) -> None:
    panel("0", TOP)
    panel("a", sql, "names: {visits: Orders}" if "count" in sql else "")
    panel("b", TOP)
    config = settings(table)
    found = read(config)
    assert str(shown(found)["a"]).startswith(FAULTS[sql])
    assert shown(found)["0"] == [["/a", 3], ["/b", 5]]
    if "terminate" in sql:  # the connection is lost
        assert "connection" in str(shown(found)["b"])
    else:
        assert shown(found)["b"] == shown(found)["0"]
    (folder / "panels/a.md").unlink()
    alone = read(config)
    assert (found.daily, found.paths, found.cells) == (alone.daily, alone.paths, alone.cells)


def test_panels_have_a_time_limit_each_and_together(folder: Path, table: str) -> None:
    panel("a", "SELECT pg_sleep(20), :first AS x")
    panel("b", TOP)
    config = settings(table, panel_timeout_s=1)
    start = time.monotonic()
    found = read(config)
    assert "took longer than 1 s" in str(shown(found)["a"])
    assert shown(found)["b"] == [["/a", 3], ["/b", 5]]
    assert time.monotonic() - start < 1.9  # it is not tried in the second window
    late = PanelReader(config.model_copy(update={"build_timeout_s": 0}), None, NOW)
    late = shown(read_dataset(config, NOW, None, paths_csv, late))
    assert late["b"] == "panels/b.md: not read: half of build_timeout_s had passed before it."


def test_a_panel_that_fails_is_shown_as_it_was_last(folder: Path) -> None:
    panel("a", "SELECT x FROM gone")
    found = read(settings(), released(folder))
    (last, never) = (panels[0] for panels in found.panels)
    assert last.rows == PanelRows(["label", "value"], [["/old", 3]])
    assert last.span == Span(date(2026, 11, 10), date(2026, 11, 16))
    assert last.read_at == datetime(2026, 11, 16, 10, tzinfo=UTC)
    assert (last.panel.title, last.panel.chart) == ("A", "bars")
    assert (never.rows, never.read_at, never.problem) == (None, None, last.problem)
    assert not_renewed(found) == [
        {"panel": "a", "windows": ["7d", "30d"], "as_of": "2026-11-16T10:00:00Z", "message": last.problem}
    ]
    (folder / "panels/a.md").write_text("---\ntitle: [x\n---\n")
    assert read(settings(), released(folder)).panels[0][0].panel.title == "Before"


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2}, {"rows": [["/old"]]}, {"rows": [["/old", "x"]]},
        {"rows": 3}, {"columns": None},
        {"start": "2026-11-20"}, {"end": "x"}, {"read_at": "2026-11-16T10:00:00"}, {"rows": [["/old", {}]]},
        {"kind": "nix", "columns": []},
    ],
)  # fmt: skip
def test_a_last_state_that_cannot_be_shown_is_none(folder: Path, changes: Mapping[str, Any]) -> None:
    panel("a", "SELECT x FROM gone")
    assert read(settings(), released(folder, **changes)).panels[0][0].rows is None


def test_a_damaged_last_state_is_none(folder: Path) -> None:
    panel("a", "SELECT x FROM gone")
    release = released(folder)
    (release.path / "7d/panels/a.json").write_text(json.dumps(STORED | {"rows": [["/wrong", 9]]}))
    assert read(settings(), release).panels[0][0].rows is None


def publish_once(config: Config, hours: int = 0) -> BuildResult:
    with lock_output(config.output.dir) as lock:
        return build(config, lock, now=NOW + timedelta(hours=hours), if_changed=True)


def test_a_build_is_repeated_if_a_panel_would_be_other(folder: Path, table: str) -> None:
    panel("a", TOP)
    config = settings(table)
    assert [publish_once(config, hour).changed for hour in range(2)] == [True, False]
    with psycopg.connect(table, autocommit=True) as admin:
        panel("b", "SELECT sum(sold) AS value FROM plans")
        assert [publish_once(config, hour).changed for hour in range(2, 4)] == [True, False]
        admin.execute("INSERT INTO plans VALUES ('2026-11-23', 'Pro', 2)")
        assert [publish_once(config, hour).changed for hour in range(4, 6)] == [True, False]
        admin.execute("ALTER TABLE plans RENAME TO gone")
        failed = [publish_once(config, hour) for hour in range(6, 8)]
        assert [each.changed for each in failed] == [True, False]
        assert [each.details["panels"][0]["panel"] for each in failed] == ["b", "b"]
        admin.execute("ALTER TABLE gone RENAME TO plans")
        renewed = publish_once(config, 8)
        assert (renewed.changed, "panels" in renewed.details) == (True, False)


def test_the_report_is_published_whatever_panels_do_to_the_connection(folder: Path, table: str) -> None:
    """One is too slow, and another session ends the connection while the next one runs."""
    panel("0", TOP)
    panel("a", "SELECT pg_sleep(20)")
    panel("b", "SELECT pg_sleep(2.5) AS b")
    panel("c", TOP)
    config = settings(table, panel_timeout_s=3)
    alone = publish_once(config.model_copy(update={"panels_dir": None}))

    def end_b() -> None:
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%AS b%' AND pid <> $1"
        with psycopg.connect(table, autocommit=True) as admin:
            own = admin.info.backend_pid
            while not ended.wait(0.1):
                admin.execute(sql.replace("$1", str(own)))

    ended = threading.Event()
    ending = threading.Thread(target=end_b)
    ending.start()
    built = publish_once(config, 1)
    ended.set()
    ending.join()
    messages = {each["panel"]: each["message"] for each in built.details["panels"]}
    assert messages.keys() == {"a", "b", "c"}
    assert "took longer than 3 s" in messages["a"]
    assert "terminating connection" in messages["b"]
    assert built.changed
    files = {
        name for name in json.loads((built.path / "manifest.json").read_text())["files"] if "panels" in name
    }
    assert {name for name in files if name.startswith("7d") and name.endswith("json")} == {"7d/panels/0.json"}
    for name in ("7d/daily.csv", "7d/paths.csv", "30d/daily.csv"):
        assert (built.path / name).read_bytes() == (alone.path / name).read_bytes()


def test_logs_that_did_not_change_are_read_again_after_a_panel_failed(folder: Path) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
    line = f'198.18.0.1 - - [23/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 9 "-" "{agent}"\n'
    (folder / "access.log").write_text(line * 3)
    (folder / "other.log").write_text(line)
    panel("a", "SELECT sum(visits) AS value FROM metrics WHERE date = :today")
    panel("b", "SELECT count(*) AS value FROM left_out", "source: other")
    config = settings("access.log", '[sources.other]\nurl = "other.log"\n')
    assert shown(read(config)) == {"a": [[3]], "b": [[0]]}
    publish_once(config)
    release = current_release(config.output.dir)
    assert release is not None
    assert "source_state" in release.manifest
    (folder / "other.log").write_text("nonsense\n")
    publish_once(config, 1)
    release = current_release(config.output.dir)
    assert release is not None
    assert "source_state" not in release.manifest
    assert [each["panel"] for each in release.manifest["panels"]] == ["b"]


def test_a_message_shows_no_secret(folder: Path, table: str) -> None:
    toml = '[sources.shop]\nurl = "postgresql://a:verborgen12@127.0.0.1:1/x?password=verborgen12"\n'
    panel("a", "SELECT 'verborgen12'::int AS x", "source: shop")
    panel("b", "SELECT 'verborgen12'::int AS x")
    found = shown(read(settings(table, toml)))
    assert "verborgen12" not in str(found)
    assert "***" in str(found["b"])


# The commands.


def test_the_operator_sees_why_a_panel_was_not_renewed(folder: Path, run: Run) -> None:
    panel("a", "SELECT x FROM gone")
    why = "panel a (today, 7d, 30d) is not available yet: panels/a.md: no such table: gone"
    built = run("build")
    assert built.returncode == 0
    assert f"warning: {why}\n" in built.stderr
    assert f"\n{why.replace('panel a', 'panel         a')}\n" in run("status").stdout
    (failed,) = json.loads(run("status", "--json").stdout)["panels"]
    assert failed == {
        "panel": "a", "windows": ["today", "7d", "30d"], "as_of": None,
        "message": "panels/a.md: no such table: gone",
    }  # fmt: skip
    again = run("build", "--if-changed", "--json")
    assert json.loads(again.stdout)["panels"] == [failed]
    (folder / "panels/a.md").unlink()
    run("build")
    assert json.loads(run("status", "--json").stdout)["panels"] == []


def test_check_runs_each_panel_once(folder: Path, run: Run) -> None:
    panel("a", "SELECT path AS label, visits AS value FROM metrics ORDER BY date DESC, visits DESC, 1")
    panel("b", "SELECT x FROM gone")
    panel(
        "c",
        "SELECT count(*) AS days FROM (SELECT DISTINCT date FROM metrics WHERE date >= :first)",
        "windows: 30d",
    )
    (folder / "panels/d.md").write_text("Prose")
    done = run("check", "--json")
    found = [each for each in json.loads(done.stdout) if each["subject"] == "panel"]
    assert [each["level"] for each in found] == ["ok", "error", "ok", "ok"]
    assert found[0]["message"].startswith("a: bars, 7,")
    assert found[1]["message"] == "panels/b.md: no such table: gone"
    assert found[2]["message"] == "c: table, 1 row: 30"
    assert found[3]["message"] == "d: prose"
    assert done.returncode == 1


def test_a_panel_is_shown_while_it_is_written(folder: Path, run: Run) -> None:
    """Without settings, it reads the sample."""
    file = folder / "plans.md"
    file.write_text(f"---\ntitle: Plans\n---\n```sql\n{TOP} ORDER BY 2 DESC LIMIT 22\n```\n")
    done = run("panel", "plans.md", "--window", "30d")
    lines = done.stdout.splitlines()
    note = "note: no source is set, so this is the sample site; set DATABASE_URL\n"
    assert (done.returncode, done.stderr) == (0, note)
    assert lines[0].startswith("Plans (30d: ")
    assert lines[1:3] == ["bars, 22 rows", ""]
    assert lines[3].split() == ["label", "value"]
    assert len({len(line) for line in lines[3:24]}) == 1
    assert lines[24] == "… and 2 more"
    found = json.loads(run("panel", "plans.md", "--json").stdout)
    assert (found["kind"], found["window"], len(found["rows"])) == ("bars", "7d", 22)
    file.write_text("```sql\nSELECT 'a' || char(27) || char(8238) AS \"x\ty\", NULL AS n, 1.5 AS f\n```\n")
    assert run("panel", "plans.md").stdout.splitlines()[1:] == [
        "table, 1 row", "", "x␉y         n    f", "a␛<U+202E>  -  1.5",
    ]  # fmt: skip
    file.write_text("```sql\nSELECT 1\nWHERE x = :frist\n```\n")
    wrong = run("panel", "plans.md")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == 'error: plans.md:3: :frist is not a known value. Did you mean "first"?\n'
    assert json.loads(run("panel", "plans.md", "--json").stdout)["error"] == "PanelError"
    assert run("panel", "plans.md", "--window", "8d").returncode == 2
    spec = '{"mark": "MARK", "encoding": {"x": {"field": "a", "type": "nominal"}}}'
    for mark, line in (("bar", "vega-lite, 1 row"), ("nix", "")):
        file.write_text(f"```sql\nSELECT 1 AS a\n```\n```vega-lite\n{spec.replace('MARK', mark)}\n```\n")
        drawn = run("panel", "plans.md")
        assert line in [*drawn.stdout.splitlines(), ""]
        assert drawn.stderr.startswith("" if line else "error: plans.md: vega-lite: ")
    assert run("panel", "gone.md").stderr == "error: gone.md: no such file. Name an existing one.\n"
