"""Tests that hold the house together: wings, documents, the wheel."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.main import get_command

from reportgen.cli import app
from reportgen.config import Columns, Config, OutputSettings, ServerSettings, SourceSettings

ROOT = Path(__file__).parent.parent
HEAVY = ("pandas", "numpy", "altair", "jinja2", "vl_convert", "psycopg", "duckdb", "obstore", "rich.progress")
HEAVY_WING = {
    "changes", "charts", "check", "drawing", "ink", "metrics", "overview", "pages", "rendering", "report",
    "sparklines", "theme", "views",
}  # fmt: skip
LIGHT = (
    "access", "apart", "aside", "bucket", "bucket_errors", "build", "builder", "bundle", "cli", "collect",
    "config", "console", "diagnosis", "disk", "errors", "exports", "figures", "fleet", "gather", "hosting",
    "layers", "ledger", "log", "many", "markup", "messages", "mirror", "notes", "options", "orders",
    "packing", "paths", "progress", "proof", "protocol", "publish", "resources", "restore", "runs",
    "schedule", "serve", "service", "sites", "sources", "spelling", "status", "stopwatch", "templates",
    "timetable", "values", "website", "windows", "worker",
)  # fmt: skip


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("module", LIGHT)
def test_the_light_wing_loads_nothing_heavy(module: str) -> None:
    """What stays in memory for weeks, or starts a command, is free of pandas and its kind."""
    code = f"import sys, reportgen.{module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code) == "[]"


def test_the_light_wing_is_all_that_is_not_heavy() -> None:
    """A new module must be put in one wing or the other, here and in the architecture's picture."""
    found = {
        path.stem for path in (ROOT / "reportgen").iterdir() if path.suffix == ".py" or path.name == "sources"
    }
    assert found - {"__init__", "__main__"} == HEAVY_WING | set(LIGHT)


def test_who_sets_no_bucket_loads_nothing_for_one() -> None:
    """Neither obstore nor our own modules about it: commands start as fast, builds are as small."""
    rooms = ("obstore", *(f"reportgen.{name}" for name in ("bucket", "ledger", "mirror", "restore")))
    code = f"import sys, reportgen.{{}}; print([name for name in {rooms!r} if name in sys.modules])"
    for module in ("cli", "build", "check", "service"):
        assert python(code.format(module)) == "[]"


def test_the_architecture_names_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {path.stem for path in (ROOT / "reportgen").glob("*.py")} - {"__init__", "__main__"}
    assert [name for name in sorted(modules) if f"`{name}`" not in text] == []


def test_every_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert f"`reportgen {name}`" in text
        for option in command.params:
            for spelling in (*option.opts, *option.secondary_opts):
                assert re.search(rf"`{spelling}\b", text), f"{name} {spelling}"


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    sections = {"source": SourceSettings, "output": OutputSettings, "server": ServerSettings}
    settings = [(name, field) for name, field in Config.model_fields.items() if name not in sections]
    for section, model in sections.items():
        settings += [(f"{section}.{f.alias or name}", f) for name, f in model.model_fields.items()]
    for name, field in settings:
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, f"{name} is not in docs/reference.md"
        default = field.default
        if isinstance(default, str | int | tuple | bool):
            shown = json.dumps(list(default) if isinstance(default, tuple) else default)
            assert f"`{shown}`" in row, f"{name}: {shown} is not in: {row}"
    assert list(Columns.model_fields) == ["date", "path", "visits"]


def test_every_fault_names_a_test_that_is_there() -> None:
    """docs/reliability.md promises nothing that nobody tries to break."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text()))
    there = {
        name
        for path in (ROOT / "tests").glob("*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named - there == set()
    assert len(named) > 50


def test_only_one_room_touches_html() -> None:
    """Markup, which switches escaping off, appears in one module alone."""
    users = [
        path.name
        for path in (ROOT / "reportgen").rglob("*.py")
        if re.search(r"\bMarkup\b|markupsafe", path.read_text())
    ]
    assert users == ["rendering.py"]


@pytest.mark.parametrize(
    ("module", "ours"),
    [("publish", ["reportgen.disk", "reportgen.errors"]), ("disk", ["reportgen.errors"])],
)
def test_publish_is_standard_library_only(module: str, ours: list[str]) -> None:
    tree = ast.parse((ROOT / "reportgen" / f"{module}.py").read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    foreign = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert foreign == {"reportgen"}
    assert [name for name in modules if name.startswith("reportgen")] == ours


def test_modules_stay_small() -> None:
    """A module that outgrows its room is two modules."""
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / "reportgen").rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_the_wheel_carries_templates_and_builds_the_sample_in_a_clean_environment(tmp_path: Path) -> None:
    """Install the wheel, without the development dependencies, and build from an empty directory."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in (
        "UV_CACHE_DIR",
        "SSL_CERT_FILE",
        "PIP_CERT",
        "UV_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "XDG_CACHE_HOME",
    ):
        if name in os.environ:
            environment[name] = os.environ[name]
    uv = ROOT / ".uv" / "bin" / "uv"
    command = str(uv) if uv.exists() else shutil.which("uv")
    if command is None:
        pytest.skip("uv is not here: make installs it into .uv/")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for template in (ROOT / "templates").iterdir():
        assert f"reportgen/templates/{template.name}" in names
    assert "reportgen/report.schema.json" in names
    assert "reportgen/sample/LICENSE.jarv-is.MIT.txt" in names
    assert [name for name in names if name.startswith(("tests", "output", "bench"))] == []

    environment["UV_CACHE_DIR"] = environment.get("UV_CACHE_DIR", os.path.expanduser("~/.cache/uv"))  # noqa: PTH111
    export = [
        command,
        "export",
        "--quiet",
        "--locked",
        "--no-dev",
        "--no-emit-project",
        "--format",
        "requirements.txt",
    ]
    locked = subprocess.run(export, cwd=ROOT, check=True, capture_output=True, text=True, env=environment)
    (tmp_path / "locked.txt").write_text(locked.stdout)
    clean = tmp_path / "clean"
    for step in (
        [command, "venv", "--quiet", "--python", sys.executable, str(clean)],
        [command, "pip", "install", "--quiet", "--python", str(clean), "-r", "locked.txt"],
        [command, "pip", "install", "--quiet", "--python", str(clean), "--no-deps", str(wheel)],
    ):
        subprocess.run(step, cwd=tmp_path, check=True, capture_output=True, env=environment)

    empty = tmp_path / "empty"
    empty.mkdir()
    reportgen = str(clean / "bin" / "reportgen")
    help_text = subprocess.run(
        [reportgen, "--help"], cwd=empty, check=True, capture_output=True, text=True, env=environment
    )
    assert "build" in help_text.stdout
    built = subprocess.run(
        [reportgen, "build", "--json"], cwd=empty, check=True, capture_output=True, text=True, env=environment
    )
    summary = json.loads(built.stdout)
    assert summary["status"] == "published"
    assert (empty / "output" / "current" / "index.html").stat().st_size > 10_000
