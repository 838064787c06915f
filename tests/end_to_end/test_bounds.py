"""Upper bounds of what commands, builds and the service load, and of the size of a release.

If one of these tests fails, a change loads, reads or writes more than before. If the change is worth it,
raise the bound here, in the same commit; `make bench` measures the cost.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from reportgen.build.pipeline import build
from reportgen.config.settings import Config
from reportgen.metrics import dataset
from reportgen.publish.release import Release, current_release, lock_output
from reportgen.sources.base import Source
from tests.support.postgres import Database, temporary_database
from tests.support.services import environment

pytestmark = pytest.mark.slow

START = {
    "annotated_doc", "annotated_types", "cronsim", "pydantic", "pydantic_core", "shellingham",
    "typer", "typing_extensions", "typing_inspection",
}  # fmt: skip
"""Packages that every command loads besides the standard library and reportgen."""

DRAWING = START | {
    "altair", "attr", "attrs", "babel", "brotli", "dateutil", "idna", "jinja2", "jsonschema",
    "jsonschema_specifications", "markupsafe", "narwhals", "numpy", "packaging", "pandas", "referencing",
    "rpds", "vl_convert", "wcwidth",
}  # fmt: skip
"""Packages that a build of the sample loads if it draws charts; idna only where FastAPI has installed it."""

SERVICE = START | {"apscheduler", "tornado", "tzlocal"}
"""Packages that the service loads."""

STATEMENTS = 6
MOST_FILES = 61
MOST_BYTES = {"pages": 450_000, "drawings": 56_000, "data": 24_000, "compressed": 175_000, "manifest": 9_000}
"""Maximum bytes by kind of file, of the sample's release as of a fixed day, without the Vega script."""

BUNDLE = re.compile(r"assets/vega\.")


LOG_LOADED_PACKAGES = """
import os, sys
end = os._exit
def log_and_end(status):
    with open("loaded", "a") as file:
        print(*sys.modules, file=file)
    end(status)
os._exit = log_and_end
"""
"""Writes the names of the loaded modules when the process or a forked child ends."""

COMMAND = "sys.argv = ['reportgen', *{}]; from reportgen.__main__ import command; command()"


def loaded(code: str, folder: Path, **settings: str) -> set[str]:
    """Run a program; return the packages outside the standard library that it and its children load."""
    (folder / "loaded").unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", f"{LOG_LOADED_PACKAGES}{code}"],
        cwd=folder, env=environment(**settings), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    names = {name.partition(".")[0] for name in (folder / "loaded").read_text().split()}
    known = sys.stdlib_module_names | {"cython_runtime", "reportgen", "sitecustomize"}
    return {name for name in names - known if not name.startswith("_")}


def test_a_command_loads_nothing_new(tmp_path: Path) -> None:
    found = loaded(COMMAND.format(["--version"]), tmp_path)
    assert (found - START, "typer" in found) == (set(), True)


def test_an_unchanged_build_loads_nothing_besides(tmp_path: Path) -> None:
    """Most builds of a service are unchanged: they load no pandas, V8 or templates."""
    loaded(COMMAND.format(["build", "--quiet"]), tmp_path)
    found = loaded(COMMAND.format(["build", "--quiet", "--if-changed"]), tmp_path)
    assert (found - START, "typer" in found) == (set(), True)


def test_a_build_loads_nothing_new(tmp_path: Path) -> None:
    """Neither does its forked child, which draws the charts."""
    found = loaded(COMMAND.format(["build", "--quiet"]), tmp_path)
    assert (found - DRAWING, {"altair", "vl_convert"} <= found) == (set(), True)
    modules = set((tmp_path / "loaded").read_text().split())
    assert {"reportgen.pages.report", "reportgen.sources.sample"} <= modules
    assert [name for name in modules if "panel" in name or name in {"yaml", "markdown_it"}] == []


def test_a_build_with_panels_loads_only_yaml_and_markdown_besides(tmp_path: Path) -> None:
    (tmp_path / "panels").mkdir()
    (tmp_path / "panels" / "a.md").write_text("---\ntitle: A\n---\n*One*\n```sql\nSELECT 1 AS value\n```\n")
    found = loaded(COMMAND.format(["build", "--quiet"]), tmp_path)
    assert found - DRAWING == {"markdown_it", "mdurl", "yaml"}


def test_a_build_from_postgresql_loads_its_driver_besides(db: Database, tmp_path: Path) -> None:
    found = loaded(COMMAND.format(["build", "--quiet"]), tmp_path, DATABASE_URL=db.url)
    assert found - DRAWING == {"psycopg", "psycopg_binary"}


def test_the_service_loads_nothing_new(tmp_path: Path) -> None:
    found = loaded("import reportgen.cli.main, reportgen.serve.single; os._exit(0)", tmp_path)
    assert (found - SERVICE, "tornado" in found) == (set(), True)


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    """Yield a PostgreSQL server for this module."""
    with temporary_database() as server:
        yield server


@pytest.fixture(scope="module")
def statements() -> list[str]:
    """Return the list to which the fixture ``release`` adds the statements of its build."""
    return []


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, statements: list[str]) -> Iterator[Release]:
    """Yield the sample's release as of a fixed day."""
    opened = dataset.open_source

    def listening(*given: Any) -> Source:
        source = opened(*given)
        run = source.rows

        def rows(sql: str, values: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
            statements.append(sql)
            return run(sql, values)

        source.rows = rows  # type: ignore[method-assign]
        return source

    root = tmp_path_factory.mktemp("bounds") / "output"
    with pytest.MonkeyPatch.context() as patch, lock_output(root) as lock:
        patch.setattr(dataset, "open_source", listening)
        now = datetime(2026, 11, 23, 16, tzinfo=UTC)
        build(Config(), lock, now=now, as_of=date(2026, 5, 25))
        released = current_release(root)
        assert released
        yield released


def test_a_build_sends_no_more_statements(release: Release, statements: list[str]) -> None:
    """For a past day; for today a build sends one more, for rows of later days."""
    assert len(statements) == STATEMENTS


def test_a_release_holds_no_more_files(release: Release) -> None:
    assert MOST_FILES - 3 <= sum(file.is_file() for file in release.path.rglob("*")) <= MOST_FILES


def kind(name: str) -> str:
    """Return the kind of a file of a release: a key of ``MOST_BYTES``."""
    if name.endswith((".br", ".gz")):
        return "compressed"
    if name == "manifest.json":
        return "manifest"
    return {".html": "pages", ".svg": "drawings", ".js": "pages"}.get(Path(name).suffix, "data")


def test_a_release_holds_no_more_bytes(release: Release) -> None:
    """Nor less than 90 % of the bound: then the bound is too loose, or a part of the page is missing."""
    found = dict.fromkeys(MOST_BYTES, 0)
    for file in release.path.rglob("*"):
        name = file.relative_to(release.path).as_posix()
        if file.is_file() and not BUNDLE.match(name):
            found[kind(name)] += file.stat().st_size
    outside = {name: found[name] for name, most in MOST_BYTES.items() if not 0.9 * most < found[name] <= most}
    assert outside == {}
