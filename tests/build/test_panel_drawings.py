"""Panels with a specification of their own: drawn apart, and as in the last release if that fails."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import load_config
from reportgen.core.processes import Stopwatch
from reportgen.publish.history import BuildResult
from reportgen.publish.release import lock_output

NOW = datetime(2026, 11, 23, 16, tzinfo=UTC)
BAR = {"mark": "bar", "encoding": {"x": {"field": "path"}, "y": {"field": "n", "type": "quantitative"}}}
HOSTILE = {
    "mark": "point",
    "encoding": {"x": {"field": "n", "type": "quantitative", "axis": {"tickCount": 1e9}}},
}
SQL = "SELECT path, sum(visits) AS n FROM metrics WHERE date BETWEEN :first AND :last GROUP BY 1"

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("panels").mkdir()


def panel(name: str, spec: dict[str, Any] | None, sql: str = SQL) -> None:
    drawn = f"```vega-lite\n{json.dumps(spec)}\n```\n" if spec else ""
    Path(f"panels/{name}.md").write_text(f"---\ntitle: {name.title()}\n---\n```sql\n{sql}\n```\n{drawn}")


def built(now: datetime = NOW, **given: Any) -> tuple[BuildResult, list[str]]:
    """Build the sample's week, and return the result and the warnings."""
    said: list[str] = []
    Path("reportgen.toml").touch()
    config = load_config(None, {}, {"source": {"url": "sample"}, "windows": ["7d"], **given})
    with lock_output(Path("output")) as lock:
        return build(config, lock, now=now, watch=Stopwatch(warn=said.append), if_changed=True), said


def stored(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"output/current/7d/panels/{name}.json").read_bytes())
    return found


def test_a_specification_that_never_ends_does_not_stop_the_others() -> None:
    panel("a", HOSTILE)
    panel("b", BAR)
    result, said = built()
    page = Path("output/current/7d/index.html").read_text()
    assert 'id="panel-b-live"' in page
    assert page.count("Not available yet") == 1
    assert len(said) == 1
    assert said[0].startswith("panel a (7d) is not available yet: ")
    assert "It may take more than 5 s" in said[0]
    assert [each["panel"] for each in result.details["panels"]] == ["a"]
    assert Path("output/current/7d/panels/b.svg").exists()
    assert not Path("output/current/7d/panels/a.json").exists()


def test_the_last_drawing_is_shown_until_the_new_one_can_be_drawn() -> None:
    panel("a", BAR)
    assert built()[0].details.get("panels") is None
    panel("a", {"hello": 1})
    result, said = built(NOW + timedelta(hours=1))
    page = Path("output/current/7d/index.html").read_text()
    assert "it could not be renewed" in page
    assert ">16:00<" in page or "16:00</time>; it could not be renewed" in page
    assert 'id="panel-a-live"' in page
    assert (stored("a")["renewed"], stored("a")["vega_lite"]) == (False, BAR)
    assert "Invalid specification" in said[0]
    assert result.details["panels"][0]["as_of"] == "2026-11-23T16:00:00Z"
    panel("a", BAR)
    assert built(NOW + timedelta(hours=2))[0].details.get("panels") is None
    assert stored("a")["renewed"] is True


def test_a_panel_that_is_too_large_for_the_page_is_left_out() -> None:
    """The small one stays."""
    text = "x" * 120
    columns = ", ".join(f"'{text}{n}' AS c{n}" for n in range(10))
    panel("large", None, f"SELECT {columns} FROM metrics LIMIT 1000")
    panel("small", None)
    _, said = built(top_paths=1000, output={"max_page_mb": 1})
    assert len(said) == 1
    assert "panel large (7d) is not available yet: " in said[0]
    assert "too large for the page of 7d: " in said[0]
    assert stored("small")["kind"] == "table"
