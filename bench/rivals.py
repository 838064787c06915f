"""Measures the same report made by other programs: a plain script, marimo, nbconvert, Observable Framework.

Each makes the three windows with the stacked chart by path, the daily table and the top paths, from the
same PostgreSQL, in turn. The other programs are installed below ``.bench/``, each in its own environment.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import data
from common import (
    ENVIRONMENT,
    LAST,
    OURS,
    ROOT,
    SCRATCH,
    AbsentError,
    Options,
    build_command,
    costs,
    interleaved,
    postgres,
    printed,
    tool,
    versions,
)

HERE = ROOT / "bench" / "rivals"
PAGES = SCRATCH / "pages"
"""Directory that keeps each program's page of the small table, for the part ``page``."""

TABLES = {"73,000 rows": data.Shape(365, 200, 200), "3.65 million rows": data.Shape(365, 10_000, 10_000)}
Case = Callable[[], Mapping[str, float]]


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Measure all programs on both tables."""
    found: dict[str, object] = {}
    left_out: dict[str, str] = {}
    cases, programs = installed(left_out, options)
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as folder, postgres() as url:
        Path(folder).chmod(0o755)
        for name, shape in list(TABLES.items())[: 1 if options.short else 2]:
            options.say(f"make the table of {name}")
            parquet = Path(folder) / "metrics.parquet"
            data.load(shape, parquet, {"PostgreSQL": url})
            own = {case: partial(make, url, Path(folder)) for case, make in cases.items()}
            figures, absent = interleaved(own, options)
            found[name] = figures
            left_out |= absent
            if name == next(iter(TABLES)) and not options.short:
                keep_pages(url, cases, left_out, options)
    found["left out"] = left_out
    return found, versions("pandas", "altair", "psycopg") | programs


def keep_pages(
    url: str, cases: Mapping[str, Callable[..., object]], left_out: Mapping[str, str], options: Options
) -> None:
    """Make every page once more, in the directory that the part ``page`` reads."""
    for name, make in cases.items():
        folder = PAGES / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if name not in left_out:
            try:
                make(url, folder)
            except AbsentError as exc:
                options.say(str(exc))


def installed(
    left_out: dict[str, str], options: Options
) -> tuple[dict[str, Callable[..., Mapping[str, float]]], dict[str, str]]:
    """Return the function for each program, and versions; add reasons to ``left_out``."""
    cases: dict[str, Callable[..., Mapping[str, float]]] = {"reportgen": ours, "baseline script": baseline}
    programs: dict[str, str] = {}
    if options.short:
        left_out |= dict.fromkeys(("marimo", "nbconvert", "Framework"), "not in the short form")
        return cases, programs
    for name, prepare, make in (
        ("marimo", partial(environment, "marimo"), marimo),
        ("nbconvert", partial(environment, "nbconvert"), nbconvert),
        ("Framework", framework_project, framework),
    ):
        try:
            programs[name] = prepare()
            cases[name] = make
        except (AbsentError, OSError, subprocess.SubprocessError) as exc:
            options.say(f"{name}: left out: {exc}")
            left_out[name] = str(exc)
    return cases, programs


def ours(url: str, folder: Path) -> Mapping[str, float]:
    """Build with reportgen."""
    output = folder / "reportgen"
    return costs(build_command(output, "--source", url, "--as-of", LAST.isoformat()))


def baseline(url: str, folder: Path) -> Mapping[str, float]:
    """Run the plain script, in the environment of reportgen."""
    return costs([sys.executable, str(ROOT / "bench" / "baseline.py"), str(folder)], env=asked(url, OURS))


def marimo(url: str, folder: Path) -> Mapping[str, float]:
    """Export the notebook with its outputs."""
    notebook = folder / "marimo_report.py"  # a copy: marimo keeps its cache beside it
    shutil.rmtree(folder / "__marimo__", ignore_errors=True)
    shutil.copy(HERE / notebook.name, notebook)
    command = [program("marimo", "marimo"), "export", "html", str(notebook)]
    took = costs([*command, "--no-include-code", "-o", str(folder / "index.html"), "-f"], env=asked(url))
    return whole(took, folder / "index.html", "vega")


def nbconvert(url: str, folder: Path) -> Mapping[str, float]:
    """Execute the notebook and convert it, without scripts from other hosts."""
    # As in an active environment: the kernel's Python comes first in PATH.
    path = f"{SCRATCH / 'nbconvert' / 'bin'}:{ENVIRONMENT.get('PATH', '')}"
    command = [
        program("nbconvert", "jupyter-nbconvert"), "--to", "html", "--execute", "--no-input",
        "--HTMLExporter.mathjax_url=", "--HTMLExporter.require_js_url=", "--HTMLExporter.jquery_url=",
        "--output-dir", str(folder), "--output", "index", str(HERE / "report.ipynb"),
    ]  # fmt: skip
    took = costs(command, env=asked(url) | {"PATH": path})
    return whole(took, folder / "index.html", "<svg", "vega")


def framework(url: str, folder: Path) -> Mapping[str, float]:
    """Build the project; the cache of its loaders, which never expires, is deleted before."""
    project = SCRATCH / "framework"
    cache = project / "src" / ".observablehq" / "cache"
    for cached in cache.glob("*"):
        if not cached.name.startswith("_"):  # names with an underscore are its libraries, which stay
            shutil.rmtree(cached)
    env = asked(url) | {"OBSERVABLE_TELEMETRY_DISABLE": "true"}
    took = costs([str(project / "node_modules" / ".bin" / "observable"), "build"], env=env, cwd=project)
    if folder.parent == PAGES:
        shutil.copytree(project / "dist", folder, dirs_exist_ok=True)
    return whole(took, project / "dist" / "30d.html", "report")


def asked(url: str, under: Mapping[str, str] = ENVIRONMENT) -> dict[str, str]:
    """Return the environment variables that name the table and its last date."""
    return dict(under) | {"BENCH_URL": url, "BENCH_LAST": LAST.isoformat()}


def whole(took: dict[str, float], page: Path, *words: str) -> dict[str, float]:
    """Return the cost of a run, if it made its page."""
    text = page.read_text() if page.is_file() else ""
    if not any(word in text for word in words) or "Traceback" in text:
        raise AbsentError(f"{page.name} was not made, or shows an error")
    return took


def program(name: str, command: str) -> str:
    """Return the path of a command in a program's environment."""
    return str(SCRATCH / name / "bin" / command)


def environment(name: str) -> str:
    """Make a program's Python environment, with compiled bytecode, if it is missing; return the version."""
    folder, wanted = SCRATCH / name, HERE / f"{name}.txt"
    stamp = folder / ".installed"
    if not stamp.is_file() or stamp.read_text() != wanted.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        uv = shutil.which("uv") or next((str(each) for each in uvs() if each.is_file()), None) or tool("uv")
        done([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        install = [
            uv,
            "pip",
            "install",
            "--quiet",
            "--compile-bytecode",
            "--python",
            str(folder / "bin" / "python"),
        ]
        done([*install, "-r", str(wanted)])
        stamp.write_text(wanted.read_text())
    lines = wanted.read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))


def uvs() -> list[Path]:
    """Return where the Makefile puts uv."""
    return [ROOT / ".uv" / "bin" / "uv", Path(sys.prefix).parent / ".uv" / "bin" / "uv"]


def framework_project() -> str:
    """Install Framework from npm, if it is not there; return the versions."""
    project = SCRATCH / "framework"
    shutil.copytree(HERE / "framework", project, dirs_exist_ok=True)
    wanted = (project / "package.json").read_text()
    stamp = project / "node_modules" / ".installed"
    if not stamp.is_file() or stamp.read_text() != wanted:
        done([tool("npm"), "install", "--no-audit", "--no-fund", "--loglevel=error"], cwd=project)
        stamp.write_text(wanted)
    version = json.loads(wanted)["dependencies"]["@observablehq/framework"]
    return f"{version} on Node.js {printed(tool('node'), '--version')}"


def done(command: list[str], cwd: Path | None = None) -> None:
    """Run an installation.

    Raises:
        AbsentError: it failed; the message holds its standard error.

    """
    ended = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600
    )
    if ended.returncode:
        raise AbsentError(f"{' '.join(command)}: {(ended.stderr or ended.stdout).strip()[-600:]}")
