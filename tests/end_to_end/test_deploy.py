"""The files for platforms: fly.toml, the systemd unit, and their guides."""

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest

from reportgen.config.settings import load_config
from reportgen.core.processes import GRACE_S
from reportgen.serve.app import PUBLIC_PATHS
from reportgen.serve.server import DRAIN_S
from tests.support.commands import Run
from tests.support.documents import read_blocks
from tests.support.engines import METRICS_TABLE
from tests.support.image import ROOT, read_dockerfile

FLY: dict[str, Any] = tomllib.loads((ROOT / "fly.toml").read_text())
SCHEMA = json.loads((ROOT / "tests" / "end_to_end" / "fly.schema.json").read_text())
IMAGE = read_dockerfile((ROOT / "Dockerfile").read_text())[-1]
UNIT = ROOT / "deploy" / "reportgen.service"
HOST_GUIDE = (ROOT / "docs" / "deploy-systemd.md").read_text()
KeyPath = tuple[str | int, ...]


def problems(document: dict[str, Any]) -> list[str]:
    """Return the messages of the schema's errors."""
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)]


def key_paths(document: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of each key, except names that users choose: of variables and of checks."""
    if isinstance(document, dict):
        for key, value in document.items():
            if path not in {("env",), ("checks",)}:
                yield (*path, key)
            yield from key_paths(value, (*path, key))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from key_paths(value, (*path, number))


def value_at(document: Any, path: KeyPath) -> Any:
    for step in path:
        document = document[step]
    return document


def test_fly_toml_holds_only_keys_that_fly_documents() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert problems(FLY) == []


@pytest.mark.parametrize("path", list(key_paths(FLY)), ids=lambda path: ".".join(map(str, path)))
def test_a_typo_in_any_key_of_fly_toml_is_found(path: KeyPath) -> None:
    broken = deepcopy(FLY)
    section = value_at(broken, path[:-1])
    section[f"{path[-1]}s"] = section.pop(path[-1])
    assert problems(broken) != []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("app",), "My Report"),
        (("kill_signal",), "TERM"),
        (("kill_timeout",), "10 seconds"),
        (("kill_timeout",), 301),
        (("env", "FLY_REGION"), "fra"),
        (("env", "REPORTGEN_SERVER__PUBLIC"), True),
        (("http_service", "internal_port"), "8080"),
        (("http_service", "auto_stop_machines"), "of"),
        (("http_service", "checks", 0, "timeout"), "5 s"),
        (("http_service", "checks", 0, "path"), "healthz"),
        (("checks", "fresh", "type"), "https"),
        (("checks", "fresh", "type"), "tcp"),
        (("restart", 0, "policy"), "on-fail"),
        (("mounts", 0, "destination"), "/"),
        (("vm", 0, "size"), "shared-cpu-1"),
        (("vm", 0, "memory"), "256"),
    ],
)
def test_a_value_that_fly_would_refuse_is_found(path: KeyPath, value: Any) -> None:
    broken = deepcopy(FLY)
    value_at(broken, path[:-1])[path[-1]] = value
    assert problems(broken) != []


def test_fly_and_image_agree_on_port_and_volume() -> None:
    assert {str(FLY["http_service"]["internal_port"]), str(FLY["checks"]["fresh"]["port"])} == {
        IMAGE.environment["REPORTGEN_SERVER__PORT"]
    }
    assert IMAGE.last("EXPOSE").text == IMAGE.environment["REPORTGEN_SERVER__PORT"]
    assert [mount["destination"] for mount in FLY["mounts"]] == [IMAGE.environment["REPORTGEN_OUTPUT__DIR"]]
    assert IMAGE.last("VOLUME").text == IMAGE.environment["REPORTGEN_OUTPUT__DIR"]


def test_the_machine_never_stops_by_itself() -> None:
    """The schedule runs in the process."""
    service = FLY["http_service"]
    assert (service["auto_stop_machines"], service["min_machines_running"]) == ("off", 1)
    assert FLY["kill_timeout"] >= DRAIN_S + GRACE_S + 2
    assert "processes" not in FLY
    limits = {"type": "requests", "soft_limit": 100, "hard_limit": 200}
    assert service["concurrency"] == limits


def test_an_old_report_is_served_rather_than_none() -> None:
    """A failing check of ``http_service`` takes the machine from readers; one of ``[checks]`` does not."""
    assert [check["path"] for check in FLY["http_service"]["checks"]] == ["/healthz"]
    assert [check["path"] for check in FLY["checks"].values()] == ["/healthz/fresh"]
    assert set(PUBLIC_PATHS) == {"/healthz", "/healthz/fresh"}


def test_the_variables_of_fly_and_image_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, IMAGE.environment | FLY["env"])
    assert (config.server.host, config.server.port) == ("0.0.0.0", 8080)
    assert config.server.client_header == "Fly-Client-IP"


def test_no_secret_is_written_into_fly_toml() -> None:
    """The comments name them; ``fly secrets set`` takes them."""
    text = (ROOT / "fly.toml").read_text()
    for secret in ("DATABASE_URL", "REPORTGEN_PASSWORD"):
        assert secret not in FLY["env"]
        assert re.search(rf"^# +{secret} ", text, re.MULTILINE)


def test_six_commands_lead_from_a_clone_to_a_report() -> None:
    """With the names in fly.toml."""
    blocks = read_blocks("docs/deploy-fly.md", "sh")
    (found,) = (block.text.splitlines() for block in blocks if "fly deploy" in block.text)
    (mount,) = FLY["mounts"]
    begun = [
        f"fly apps create {FLY['app']}",
        f"fly volumes create {mount['source']} --region {FLY['primary_region']} ",
        "fly secrets set DATABASE_URL='postgresql://",
        "fly deploy",
        "fly logs",
        'fly ssh console -C "reportgen build"',
    ]
    assert len(found) == len(begun)
    assert [
        command for command, start in zip(found, begun, strict=True) if not command.startswith(start)
    ] == []
    assert "REPORTGEN_PASSWORD='" in found[2]


def test_the_role_of_the_guide_may_only_read(pg: str, run: Run) -> None:
    """The guide's statements: check gives no warning, a build works, and nothing can be written."""
    (statements,) = read_blocks("docs/deploy-fly.md", "sql")
    with psycopg.connect(pg, autocommit=True) as owner:
        owner.execute(METRICS_TABLE)
        owner.execute("INSERT INTO metrics VALUES (CURRENT_DATE, '/', 3)")
        owner.execute(statements.text.encode())
        try:
            url = re.sub(r"^(\w+://)[^@/]*@", r"\1", pg, count=1)
            url += f"{'&' if '?' in url else '?'}user=reportgen_reader&password=choose%20one"
            findings = json.loads(run("check", "--json", DATABASE_URL=url).stdout)
            assert [finding for finding in findings if finding["level"] != "ok"] == []
            assert "rights" in {finding["subject"] for finding in findings}
            assert run("build", DATABASE_URL=url).returncode == 0
            with psycopg.connect(url, autocommit=True) as reader:
                (timeout,) = reader.execute("SHOW statement_timeout").fetchone() or ("",)
                assert timeout == "1min"
                with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                    reader.execute("DELETE FROM metrics")
                reader.execute("SET default_transaction_read_only = off")
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    reader.execute("DELETE FROM metrics")
        finally:
            owner.execute("DROP OWNED BY reportgen_reader; DROP ROLE reportgen_reader")


def test_the_systemd_guide_installs_like_the_image() -> None:
    """The guide has the commands of the Dockerfile."""
    builder = read_dockerfile((ROOT / "Dockerfile").read_text())[0]
    (command,) = (step.text for step in builder.steps if "vega_bundle" in step.text)
    sync, _, bundle = command.partition(" && /app/.venv/bin/")
    assert f"{sync} --python /usr/bin/python3\n" in HOST_GUIDE
    assert f"/opt/reportgen/bin/{bundle}\n" in HOST_GUIDE


def analysed(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run systemd-analyze on the unit, with a program that exists here."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/reportgen/bin/reportgen", "/bin/true"))
    return subprocess.run([program, *arguments, str(unit)], capture_output=True, text=True, check=False)


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    done = analysed(tmp_path, "verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_systemd_finds_the_unit_well_hardened(tmp_path: Path) -> None:
    """As the guide says: 1.4, where 10 is a unit without any of this."""
    done = analysed(tmp_path, "security", "--offline=true", "--threshold=15", "--no-pager")
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot analyse a unit that is not installed")
    assert done.returncode == 0, done.stdout


def test_the_unit_allows_v8_and_keeps_the_server_running() -> None:
    settings = [line.partition("=")[::2] for line in UNIT.read_text().splitlines() if "=" in line]
    found = dict(settings)
    assert "MemoryDenyWriteExecute" not in found
    assert found["OOMPolicy"] == "continue"
    assert int(found["TimeoutStopSec"]) >= DRAIN_S + GRACE_S + 2
    assert (found["KillMode"], found["RestartPreventExitStatus"]) == ("mixed", "2")


@pytest.mark.parametrize("guide", ["deploy-fly.md", "deploy-fly-scheduled.md", "deploy-systemd.md"])
def test_the_readme_links_to_the_guides(guide: str) -> None:
    assert f"](docs/{guide})" in (ROOT / "README.md").read_text()
