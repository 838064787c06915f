"""The project as a whole: imports, documents, the wheel."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.main import get_command

import reportgen
from reportgen.cli.main import app
from reportgen.config.settings import Columns, Config

ROOT = Path(__file__).parent.parent
LIBRARIES = (
    "pandas",
    "numpy",
    "altair",
    "jinja2",
    "vl_convert",
    "psycopg",
    "duckdb",
    "obstore",
    "rich.progress",
)
"""Large libraries that a command or the service loads only when a build needs them."""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_a_package_loads_no_large_library() -> None:
    """In a fresh interpreter: what stays in memory for weeks, or starts a command, is small."""
    found = python(f"""
import importlib, pkgutil, sys
for name in ("core", "config", "publish", "serve", "cli"):
    package = importlib.import_module(f"reportgen.{{name}}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith("reportgen.publish.bucket."):  # the test below is for these
            importlib.import_module(module.name)
    print([name, *(library for library in {LIBRARIES!r} if library in sys.modules)])
""")
    names = ("core", "config", "publish", "serve", "cli")
    assert found.splitlines() == [f"['{name}']" for name in names]


def test_a_build_that_finds_nothing_new_loads_no_drawing_library() -> None:
    modules = "reportgen.build.pipeline, reportgen.build.status, reportgen.sites.runner, reportgen.__main__"
    assert (
        python(f"import sys, {modules}; print([name for name in {LIBRARIES!r} if name in sys.modules])")
        == "[]"
    )


def test_without_a_bucket_nothing_for_one_is_loaded() -> None:
    """Neither obstore nor our own modules for it: commands start as fast, builds are as small."""
    names = ("obstore", *(f"reportgen.publish.bucket.{name}" for name in ("client", "layout", "upload")))
    modules = (
        "reportgen.cli.main, reportgen.build.pipeline, reportgen.build.preflight, reportgen.serve.single"
    )
    assert (
        python(f"import sys, {modules}; print([name for name in {names!r} if name in sys.modules])") == "[]"
    )


def test_every_command_and_option_is_documented() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert f"`reportgen {name}`" in text
        for option in command.params:
            if option.param_type_name == "argument":
                continue
            for spelling in (*option.opts, *option.secondary_opts):
                assert re.search(rf"`{spelling}\b", text), f"{name} {spelling}"


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting with its name; of a section, the settings inside, but for the names of columns."""
    for name, field in model.model_fields.items():
        full = f"{prefix}{field.alias or name}"
        if isinstance(field.default, BaseModel) and not isinstance(field.default, Columns):
            yield from _settings(type(field.default), f"{full}.")
        else:
            yield full, field


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "reference.md").read_text()
    settings = list(_settings(Config))
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
        for folder in ("tests", "counter/tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named - there == set()
    assert len(named) > 50


def test_the_architecture_lists_the_modules_of_each_package() -> None:
    text = (
        (ROOT / "docs" / "architecture.md").read_text().partition("## Packages")[2].partition("## Layers")[0]
    )
    listed = {
        package: set(re.findall(r"`(\w+)`", modules))
        for package, modules in re.findall(r"^\| `([\w.]+)` \|.*\| (.+) \|$", text, re.MULTILINE)
    }
    found: dict[str, set[str]] = {}
    for path in (ROOT / "reportgen").glob("*/**/*.py"):
        package = ".".join(path.parent.relative_to(ROOT / "reportgen").parts)
        found.setdefault(package, set()).update({path.stem} - {"__init__"})
    assert listed == found


def test_the_architecture_names_files_that_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[\w-]+/)+[\w-]*(?:\.\w+)?)`", text)) - {
        "tests/",
        "templates/",
        "state/runs.json",
    }
    assert len(named) > 15
    assert [
        name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "reportgen"))
    ] == []


def test_the_benchmark_names_functions_that_exist() -> None:
    """In a new interpreter: a stage of a renamed function would not be measured."""
    folder = ROOT / "bench"
    scripts = "\n".join(path.read_text() for path in folder.glob("*.py"))
    imported = [
        (module, name.split()[0])
        for module, names in re.findall(r"from (reportgen[\w.]*) import ([\w, ]+)", scripts)
        for name in names.split(",")
    ]
    assert len(imported) > 5
    missing = python(f"""
import importlib, sys
sys.path.insert(0, {str(folder)!r})
from staged import STAGES
named = [(module, name) for module, names in STAGES.items() for name in names] + {imported!r}
for module, name in named:
    try:
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{{module}}.{{name}}")
    except ImportError as error:
        print(error)
""")
    assert missing == ""


FOREIGN_PACKAGE = re.compile(
    r"pip\d?\s+(?:install|download)\b(?:\s+[^\s`$]+){0,6}?\s+[\"'\\]*reportgen(?!-static\b)\b(?![/.:_])"
    r"|\breportgen\[(?:s3|ibis|dask)"
)
"""A command that would install the package `reportgen` of another project, or an extra of it."""


@pytest.mark.parametrize(
    "text",
    [
        "pip install reportgen",
        'pip install "reportgen[s3]"',
        "uv pip install --upgrade 'reportgen==1.0'",
        "python -m pip install -U\n  reportgen",
        "`reportgen[dask]`",
    ],
)
def test_a_command_that_installs_the_foreign_package_is_recognised(text: str) -> None:
    assert FOREIGN_PACKAGE.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install reportgen-static",
        "pip install 'reportgen-static[s3]'",
        "pip install dist/reportgen_static-0.1.0-py3-none-any.whl",
        "uv tool install '.[s3]'\nreportgen check",
        "$ pip install dist/reportgen_static-0.1.0-py3-none-any.whl\n$ reportgen --version\nreportgen 0.1.0",
    ],
)
def test_a_command_that_installs_this_project_is_allowed(text: str) -> None:
    assert not FOREIGN_PACKAGE.search(text)


def test_no_text_installs_the_foreign_package_of_the_same_name() -> None:
    """`reportgen` on PyPI is another project: no file of the repository says to install it."""
    found = []
    for folder, below, names in os.walk(ROOT):
        hidden = {name for name in below if name.startswith(".") and name not in {".github", ".ci"}}
        below[:] = [name for name in below if name not in hidden | {"output", "dist", "__pycache__"}]
        paths = [Path(folder) / name for name in names if Path(folder) / name != Path(__file__)]
        found += [str(path) for path in paths if FOREIGN_PACKAGE.search(path.read_text(errors="replace"))]
    assert found == []


def test_the_distribution_is_reportgen_static() -> None:
    """The installed metadata, the lock and the SBOM carry the name; package and command are `reportgen`."""
    found = distribution("reportgen-static")
    [command] = found.entry_points.select(group="console_scripts")
    assert (found.version, command.name) == (reportgen.__version__, "reportgen")
    names = {package["name"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]}
    assert "reportgen-static" in names
    assert "reportgen" not in names


def test_the_source_distribution_holds_what_a_build_and_its_tests_need(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (archive,) = tmp_path.glob("reportgen_static-*.tar.gz")
    with tarfile.open(archive) as file:
        names = [name.partition("/")[2] for name in file.getnames()]
    needed = {
        "hatch_build.py",
        "pyproject.toml",
        "uv.lock",
        "templates/report.html",
        "docs/images/7d-phone.png",
    }
    assert needed - set(names) == set()
    assert set((ROOT / "reportgen" / "assets").iterdir()) == {
        ROOT / name for name in names if name.startswith("reportgen/assets/")
    }
    own = {path.name for path in ROOT.iterdir()} - {"output", "dist"}
    assert {name.partition("/")[0] for name in names} - {"PKG-INFO"} <= own
    assert [name for name in names if "__pycache__" in name or "site-packages" in name] == []


def package_metadata(**variables: str) -> dict[str, Any]:
    """Return the metadata that a build of the package would carry."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "metadata"],
        cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout))


MARKDOWN_LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")


def test_the_readme_on_a_package_index_has_absolute_links() -> None:
    """Links and pictures point to the repository that made the release, at the tag of the version."""
    metadata = package_metadata(REPOSITORY_URL="https://git.example/owner/name")
    links = MARKDOWN_LINK.findall(metadata["readme"]["text"])
    tag = f"v{reportgen.__version__}"
    own = "https://git.example/owner/name"
    assert [link for link in links if not link.startswith("https://")] == []
    assert f"{own}/blob/{tag}/docs/reference.md" in links
    assert f"{own}/raw/{tag}/docs/images/7d-desktop.png" in links
    assert metadata["urls"]["Source"] == own
    assert metadata["urls"]["Changelog"] == f"{own}/blob/{tag}/CHANGELOG.md"


def test_without_a_repository_the_readme_is_unchanged_and_its_links_name_files() -> None:
    metadata = package_metadata(REPOSITORY_URL="")
    readme = (ROOT / "README.md").read_text()
    assert (metadata["readme"]["text"], metadata.get("urls", {})) == (readme, {})
    targets = [link for link in MARKDOWN_LINK.findall(readme) if not link.startswith("https://")]
    assert [target for target in targets if not (ROOT / target).exists()] == []
    assert len(targets) > 10


def test_each_python_of_the_classifiers_is_tested() -> None:
    """And no other: the workflow, the classifiers and `requires-python` agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    matrix = re.search(r"python: (\[.+\])", (ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert matrix
    names = [name.rpartition(" :: ")[2] for name in project["classifiers"] if "Python :: 3." in name]
    assert json.loads(matrix[1]) == names
    assert project["requires-python"] == f">={names[0]}"


def test_the_counter_has_the_version_of_reportgen() -> None:
    """Both are released together."""
    project = tomllib.loads((ROOT / "counter" / "pyproject.toml").read_text())["project"]
    assert project["version"] == reportgen.__version__


def test_only_one_module_touches_html() -> None:
    """Markup, which switches escaping off, appears in one module alone."""
    users = [
        path.name
        for path in (ROOT / "reportgen").rglob("*.py")
        if re.search(r"\bMarkup\b|markupsafe", path.read_text())
    ]
    assert users == ["environment.py"]


def test_publishing_needs_the_standard_library_only() -> None:
    tree = ast.parse((ROOT / "reportgen" / "publish" / "release.py").read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    foreign = {name.partition(".")[0] for name in modules} - set(sys.stdlib_module_names)
    assert foreign == {"reportgen"}
    assert [name for name in modules if name.startswith("reportgen")] == ["reportgen.core.errors"]


@pytest.mark.slow
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
    installer = str(uv) if uv.exists() else shutil.which("uv")
    if installer is None:
        pytest.skip("uv is not here: make installs it into .uv/")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("reportgen_static-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for template in (ROOT / "templates").iterdir():
        assert f"reportgen/templates/{template.name}" in names
    assert "reportgen/report.schema.json" in names
    assert "reportgen/sample/LICENSE.jarv-is.MIT.txt" in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"reportgen", "reportgen_static"}

    environment["UV_CACHE_DIR"] = environment.get("UV_CACHE_DIR", os.path.expanduser("~/.cache/uv"))  # noqa: PTH111
    export = [
        installer,
        "export",
        "--quiet",
        "--locked",
        "--no-dev",
        "--no-emit-workspace",
        "--format",
        "requirements.txt",
    ]
    locked = subprocess.run(export, cwd=ROOT, check=True, capture_output=True, text=True, env=environment)
    (tmp_path / "locked.txt").write_text(locked.stdout)
    clean = tmp_path / "clean"
    for step in (
        [installer, "venv", "--quiet", "--python", sys.executable, str(clean)],
        [installer, "pip", "install", "--quiet", "--python", str(clean), "-r", "locked.txt"],
        [installer, "pip", "install", "--quiet", "--python", str(clean), "--no-deps", str(wheel)],
    ):
        subprocess.run(step, cwd=tmp_path, check=True, capture_output=True, env=environment)

    empty = tmp_path / "empty"
    empty.mkdir()
    command = str(clean / "bin" / "reportgen")
    help_text = subprocess.run(
        [command, "--help"], cwd=empty, check=True, capture_output=True, text=True, env=environment
    )
    assert "build" in help_text.stdout
    built = subprocess.run(
        [command, "build", "--json"], cwd=empty, check=True, capture_output=True, text=True, env=environment
    )
    summary = json.loads(built.stdout)
    assert summary["status"] == "published"
    assert (empty / "output" / "current" / "index.html").stat().st_size > 10_000
