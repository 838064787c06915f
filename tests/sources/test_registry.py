"""Which engine a source's URL or path means, in the spellings of other tools."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from reportgen.core.errors import ConfigError, SourceError, SourceUnavailable
from reportgen.sources.statements import read_daily
from tests.support.engines import SPAN, Engine, day, make_engine


@pytest.fixture
def postgres(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Engine, str]:
    """Give PostgreSQL and the URL of a table of one row."""
    engine = make_engine("postgres", request, tmp_path)
    return engine, engine.load([(day(1), "/", 7)])


@pytest.mark.parametrize(
    "scheme", ["ecto", "postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg", "postgres+x"]
)
def test_other_tools_names_of_postgresql(postgres: tuple[Engine, str], scheme: str) -> None:
    engine, url = postgres
    with engine.open(f"{scheme}://{url.partition('://')[2]}") as source:
        assert read_daily(source, SPAN).visits == {day(1): 7}
        assert source.name.startswith("postgresql://")


def test_parameters_of_other_tools_are_ignored_and_named(postgres: tuple[Engine, str]) -> None:
    engine, url = postgres
    own = "pgbouncer=true&connection_limit=1&connect_timeout=5&pool_timeout=20"
    with engine.open(f"{url}{'&' if '?' in url else '?'}{own}") as source:
        assert read_daily(source, SPAN).rows == 1
        finding = next(iter(source.inspect()))
    assert (
        finding.message == "parameters of other tools are ignored: pgbouncer, connection_limit, pool_timeout"
    )
    with engine.open(url) as source:
        assert "ignored" not in next(iter(source.inspect())).message


def test_an_unknown_parameter_stays_an_error(postgres: tuple[Engine, str]) -> None:
    """A misspelled sslmode must not be left out."""
    engine, url = postgres
    wrong = f"{url}{'&' if '?' in url else '?'}sslmod=require"
    message = 'invalid URI query parameter: "sslmod". Correct its name, or leave the parameter out'
    with pytest.raises(ConfigError, match=message), engine.open(wrong):
        pass
    with (
        pytest.raises(
            SourceError, match=r'"no-verify"\. Write one that libpq knows, such as sslmode=require'
        ),
        engine.open(wrong.replace("sslmod=require", "sslmode=no-verify")),
    ):
        pass


def test_the_schema_of_a_url_is_that_of_the_table_unless_one_is_set(postgres: tuple[Engine, str]) -> None:
    engine, url = postgres
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA web")
        connection.execute("CREATE TABLE web.metrics AS SELECT date, path, 9 AS visits FROM public.metrics")
    named = f"{url}{'&' if '?' in url else '?'}schema=web"
    with engine.open(named) as source:
        assert read_daily(source, SPAN).visits == {day(1): 9}
    with engine.open(named, schema="public") as source:
        assert read_daily(source, SPAN).visits == {day(1): 7}
    with (
        pytest.raises(SourceError, match="missing"),
        engine.open(f"{named}&schema=missing", schema="missing"),
    ):
        pass


@pytest.mark.parametrize("name", ["sqlite", "duckdb"])
@pytest.mark.parametrize("file", ["stats", "my stats?.db", "r\u00e9sum\u00e9 100%.data"])
def test_the_bare_path_of_a_database_is_taken_by_its_first_bytes(
    name: str, file: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(name, request, tmp_path)
    stored = Path(engine.load([(day(1), "/", 7)]).partition(":///")[2])
    shutil.move(stored, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    for path in (file, str(tmp_path / file)):
        with engine.open(path) as source:
            assert read_daily(source, SPAN).visits == {day(1): 7}


def test_a_directory_or_spreadsheet_is_not_a_source(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    engine = make_engine("sqlite", request, tmp_path)
    cases = {
        str(tmp_path): r"is a directory\. Name files in it: .*/access\.log",
        "list.xlsx": "names a spreadsheet, which cannot be read",
    }
    for path, message in cases.items():
        with pytest.raises(ConfigError, match=message), engine.open(path):
            pass


def test_a_file_of_another_kind_is_not_a_source(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "notes").write_bytes(b"SQLite is a database")
    engine = make_engine("sqlite", request, tmp_path)
    for path in (tmp_path / "notes", tmp_path / "missing"):
        with (
            pytest.raises(
                ConfigError, match=r"neither .* existing SQLite or DuckDB file .*; it can be: postg"
            ),
            engine.open(str(path)),
        ):
            pass


def test_the_sample_is_not_a_file_of_that_name(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine("sqlite", request, tmp_path)
    shutil.move(engine.load([(day(1), "/", 7)]).partition(":///")[2], tmp_path / "sample")
    monkeypatch.chdir(tmp_path)
    with engine.open("sample") as source:
        assert source.site == "jarv.is"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    engine = make_engine("csv", request, tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(SourceUnavailable, match="no such file"), engine.open(str(tmp_path / "pipe.csv")):
        pass
