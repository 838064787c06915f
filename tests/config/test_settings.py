"""Settings: file, then DATABASE_URL, then REPORTGEN_*, then options; all problems at once, no secrets."""

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, ValidationError

from reportgen.config.settings import Config, ImportSettings, LogSettings, load_config
from reportgen.core.errors import ConfigError
from reportgen.core.text import LocaleFormatter

Load = Callable[..., Config]

SECRET = "geheim7f3a"
URL = f"postgresql://app:{SECRET}@db.example.com:5432/stats?sslmode=require"
EXAMPLE = """\
site = "example.com"
site_url = "https://example.com"      # paths become links
base_path = "/"                       # where the report is served
intro = ""                            # Markdown, below the site's name
locale = "en"                         # of numbers, dates and the direction of the page
# templates_dir = "templates"         # files that override the page's own
# notes_file = "notes.toml"           # what happened, to be marked on the charts
# panels_dir = "panels"               # your own questions, one file each
timezone = "UTC"                      # the zone in which the table's dates were written
windows = ["today", "7d", "30d"]
default_window = "7d"
compare = ["previous"]
week_start = "monday"
top_paths = 100
schedule = "*/15 * * * *"             # cron in `timezone`, or an interval: "15m", "6h"
jitter_s = 0
build_timeout_s = 600
panel_timeout_s = 10                 # longest query of a panel, in seconds
sections = []                         # [[sections]], each with name and match

[paths]
query = "keep"
slash = "keep"
index = []
case = "keep"
decode = false
exclude = []
rename = []                           # [[paths.rename]], each with from and to

[source]
url = "postgresql://…"                # better in DATABASE_URL; with neither: sample
schema = "public"                     # where the engine has schemas
table = "metrics"
columns = { date = "date", path = "path", visits = "visits" }
# query = "SELECT …"                  # instead of a table
connect_timeout_s = 10
statement_timeout_s = 60

[words]                               # what is counted, and by what
visit = "visit"
visits = "visits"
path = "path"
paths = "paths"

[output]
dir = "output"
keep = 10                             # releases
max_page_mb = 5                       # a larger page is not published
# bucket = "s3://bucket/prefix"       # where releases go as well

[server]
host = "127.0.0.1"
port = 8080
public = false                        # the password is REPORTGEN_PASSWORD
# client_header = "Fly-Client-IP"     # where a proxy in front names the client
access_log = false
"""
"""The documented settings, each with its documented default but for the site and the source."""


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory, without settings from outside."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("REPORTGEN_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Give a function that loads a reportgen.toml of this text, under these variables and options."""

    def loaded(text: str = "", options: Mapping[str, Any] | None = None, **environment: str) -> Config:
        Path("reportgen.toml").write_text(text, encoding="utf-8")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return load_config(None, os.environ, options)

    return loaded


def problems(load: Load, text: str = "", **environment: str) -> list[str]:
    """Return the lines of the error that these settings raise."""
    with pytest.raises(ConfigError) as caught:
        load(text, **environment)
    assert caught.value.exit_code == 2
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    return str(caught.value).splitlines()


def url_of(config: Config) -> str:
    return config.source.url.get_secret_value()


# Defaults, and the documented example.


def test_the_documented_example_loads_as_it_is_written(load: Load) -> None:
    written = tomllib.loads(EXAMPLE)
    config = load(EXAMPLE)
    assert url_of(config) == written["source"].pop("url")
    assert plain(config) == written | {"sources": {}}


def test_every_default_is_the_documented_one(load: Load) -> None:
    written = tomllib.loads(EXAMPLE)
    for key in ("site", "site_url"):
        del written[key]
    for key in ("url", "schema"):
        del written["source"][key]
    config = load()
    assert plain(config) == written | {"sources": {}}
    assert url_of(config) == "sample"
    unset = (config.site, config.site_url, config.templates_dir, config.source.query, config.source.schema_)
    assert unset == (None,) * 5


def plain(config: Config) -> dict[str, Any]:
    """Return the settings as TOML writes them, without URLs, and those of logs if they are not defaults."""
    shown = config.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude={"source": {"url"}, "import_": {"into"}}
    )
    if config.notes_file == Path("notes.toml"):
        del shown["notes_file"]
    if config.source.log == LogSettings():
        del shown["source"]["log"]
    if config.import_ == ImportSettings():
        del shown["import"]
    return shown


def test_the_file_may_be_absent_unless_it_is_named() -> None:
    assert load_config(None, {}).top_paths == 100
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file. Name an existing one with --config"):
        load_config(Path("absent.toml"), {})


def test_a_named_file_takes_the_place_of_the_one_here(load: Load) -> None:
    load("top_paths = 1")
    Path("other.toml").write_text("top_paths = 2", encoding="utf-8")
    assert load_config(Path("other.toml"), {}).top_paths == 2


# Which layer wins.


@pytest.mark.parametrize(
    ("text", "environment", "options", "url"),
    [
        ("", {}, None, "sample"),
        ('source.url = "file.csv"', {}, None, "file.csv"),
        ('source.url = "file.csv"', {"DATABASE_URL": URL}, None, URL),
        ('source.url = "file.csv"', {"REPORTGEN_SOURCE__URL": "ours.csv"}, None, "ours.csv"),
        ("", {"DATABASE_URL": URL, "REPORTGEN_SOURCE__URL": "ours.csv"}, None, "ours.csv"),
        (
            'source.url = "file.csv"',
            {"DATABASE_URL": URL, "REPORTGEN_SOURCE__URL": "ours.csv"},
            {"source": {"url": "option.csv"}},
            "option.csv",
        ),
        ('source.url = "file.csv"', {"DATABASE_URL": ""}, None, "file.csv"),
    ],
)
def test_the_source_comes_from_the_highest_layer_that_names_one(
    load: Load, text: str, environment: dict[str, str], options: dict[str, Any] | None, url: str
) -> None:
    assert url_of(load(text, options, **environment)) == url


def test_each_setting_comes_from_its_own_highest_layer(load: Load) -> None:
    """Layers merge key by key: a higher one hides only what it sets."""
    text = 'top_paths = 1\nsite = "file"\n[output]\ndir = "file"\nkeep = 1\n[source]\ntable = "hits"\n'
    config = load(
        text,
        {"output": {"dir": Path("option")}},
        REPORTGEN_SITE="variable",
        REPORTGEN_OUTPUT__DIR="variable",
        REPORTGEN_OUTPUT__KEEP="2",
        DATABASE_URL=URL,
    )
    assert (config.top_paths, config.site) == (1, "variable")
    assert (config.output.dir, config.output.keep) == (Path("option"), 2)
    assert (config.source.table, url_of(config)) == ("hits", URL)


@pytest.mark.parametrize("variable", [{"REPORTGEN_SOURCE__COLUMNS__VISITS": "hits"}])
def test_columns_merge_by_name(load: Load, variable: dict[str, str]) -> None:
    columns = load('[source]\ncolumns = { date = "day" }\n', **variable).source.columns
    assert (columns.date, columns.path, columns.visits) == ("day", "path", "hits")


def test_every_setting_has_a_variable(load: Load) -> None:
    """Two underscores stand for each level of nesting."""
    Path("own").mkdir()
    wanted = {
        "site": "example.com", "site_url": "https://example.com", "base_path": "/stats/",
        "intro": "Hello, *you*", "locale": "de",
        "templates_dir": "own", "panels_dir": "own", "panel_timeout_s": 5, "notes_file": "own.toml",
        "timezone": "Europe/Berlin",
        "windows": ["1d", "3d"], "default_window": "3d", "compare": ["year", "previous"],
        "week_start": "sunday", "top_paths": 7, "schedule": "6h",
        "jitter_s": 9, "build_timeout_s": 60,
        "source": {
            "schema": "web", "table": "hits", "columns": {"date": "d", "path": "p", "visits": "v"},
            "query": "SELECT 1", "connect_timeout_s": 1, "statement_timeout_s": 2,
            "log": {"format": "%t %r %s", "query": ["page"], "hosts": ["a.org", "b.org"], "include": ["/**"],
                    "exclude": ["/x"], "assets": ["css"]},
        },
        "import": {"logs": ["a.log", "b.log"], "create": True},
        "output": {"dir": "pages", "keep": 3, "max_page_mb": 7},
        "words": {"visit": "order", "visits": "orders", "path": "product", "paths": "products"},
        "paths": {
            "query": ["page", "q"], "slash": "merge", "index": ["index.html"], "case": "lower",
            "decode": True, "exclude": ["scanners", "/x"],
        },
        "server": {
            "host": "::1", "port": 80, "public": True, "client_header": "X-Real-IP", "access_log": True,
        },
    }  # fmt: skip
    config = load(**variables(wanted), REPORTGEN_IMPORT__INTO="sqlite:///m.db")
    tables = {
        "sections": [],
        "sources": {},
        "paths": wanted["paths"] | {"rename": []},
    }  # only a file can have them
    wanted |= tables
    assert plain(config) == wanted
    assert set(wanted) == {field.alias or name for name, field in Config.model_fields.items()}
    assert config.import_.into is not None


def variables(settings: Mapping[str, Any], prefix: str = "REPORTGEN") -> dict[str, str]:
    found = {}
    for key, value in settings.items():
        name = f"{prefix}_{key}".upper()
        if isinstance(value, Mapping):
            found |= variables(value, f"{name}_")
        else:
            found[name] = ",".join(value) if isinstance(value, list) else str(value)
    return found


def test_the_environment_is_the_one_that_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the environment of the process."""
    monkeypatch.setenv("REPORTGEN_TOP_PATHS", "3")
    assert load_config(None, {"REPORTGEN_TOP_PATHS": "5"}).top_paths == 5
    assert load_config(None, {}).top_paths == 100


# Single settings.


@pytest.mark.parametrize("text", ["today,14d", "today, 14d", " today ,14d "])
def test_windows_may_be_a_list_with_commas(load: Load, text: str) -> None:
    assert load(REPORTGEN_WINDOWS=text, REPORTGEN_DEFAULT_WINDOW="14d").windows == ("today", "14d")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'windows = ["7d", "fortnight"]',
            'has "fortnight", not a valid window: write "today", "yesterday", a number of days such as "7d"',
        ),
        ('windows = ["7d", "1101d"]', 'has "1101d", not a valid window'),
        ('windows = ["7d", 7]', "windows 7 is not a text"),
        ("windows = []", "windows"),
        ('windows = ["7d", "today", "7d"]', "has 7d twice"),
        (
            'windows = ["today", "30d"]',
            'reportgen.toml:1: default_window "7d" is not one of windows (today, 30d)',
        ),
        ('default_window = "14d"', 'default_window "14d" is not one of windows (today, 7d, 30d)'),
        ('default_window = "soon"', 'default_window "soon" is not one of windows (today, 7d, 30d)'),
        (
            'windows = ["7x"]\ndefault_window = "7x"',
            'windows ["7x"] has "7x", not a valid window: write "today"',
        ),
        (
            'windows = ["7x", "x"]\ndefault_window = "8x"',
            'has "7x" and "x", not valid windows: write "today"',
        ),
    ],
)
def test_wrong_windows_are_refused(load: Load, text: str, says: str) -> None:
    [problem] = problems(load, text)
    assert says in problem


def test_wrong_windows_weekdays_and_comparisons_are_reported_at_once_with_their_lines(load: Load) -> None:
    text = 'windows = ["7d", "fortnight"]\nweek_start = "someday"\ncompare = ["last", "year"]\n'
    window, compared, weekday = problems(load, text)
    assert window.startswith('reportgen.toml:1: windows ["7d", "fortnight"] has "fortnight", not a valid')
    assert compared == (
        'reportgen.toml:3: compare "last" is not a valid comparison: write "previous", "year", or both.'
    )
    assert weekday == (
        'reportgen.toml:2: week_start "someday" is not a weekday. Write one such as "monday" or "sunday".'
    )
    assert "has year twice" in problems(load, 'compare = ["year", "year"]')[0]


def test_a_comparison_may_be_one_word_and_a_weekday_in_capitals(load: Load) -> None:
    config = load('compare = "year"\nweek_start = "Sunday"')
    assert (config.compare, config.week_start) == (("year",), "sunday")


@pytest.mark.parametrize(
    "text", ["*/15 * * * *", "0 6 * * mon-fri", "5,35 */2 1 1-6 *", "30s", "15m", "6h", "1d", "manual"]
)
def test_a_schedule_is_cron_an_interval_or_manual(load: Load, text: str) -> None:
    assert load(f'schedule = "{text}"').schedule == text


@pytest.mark.parametrize(
    "text",
    [
        "", "15", "m", "0m", "-5m", "1.5h", "15 m", "15M", "1w", "often", "* * * *", "* * * * * *",
        "99 * * * *", "* 24 * * *", "* * 0 * *", "* * * bla *", "*/0 * * * *", "999999999999d",
    ],
)  # fmt: skip
def test_other_schedules_are_refused_with_the_forms_that_work(load: Load, text: str) -> None:
    """Refused when the settings are read, not when the server starts."""
    [problem] = problems(load, f'schedule = "{text}"')
    assert problem.startswith("reportgen.toml:1: schedule ")
    assert '"*/15 * * * *"' in problem
    assert problem.endswith(' an interval ("15m", "6h") or "manual".')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[source]\nslash = "merge"', "2: source.slash is not a setting. It belongs to [paths]."),
        (
            '[paths]\ntimezone = "UTC"',
            "2: paths.timezone is not a setting. It belongs to the top of the file, above all tables.",
        ),
        (
            "timezone = Europe/Berlin  # home",
            '1: not valid TOML: Invalid value. A text needs quotes: timezone = "Europe/Berlin"',
        ),
        ("site = \nwindows = x", "1: not valid TOML: Invalid value"),
        ("password = hunter2", "1: not valid TOML: Invalid value"),
        ("[source]\nurl = postgresql://u:secret@h/d", "2: not valid TOML: Invalid value"),
    ],
)
def test_a_setting_in_the_wrong_table_or_without_quotes(load: Load, text: str, problem: str) -> None:
    assert problems(load, text) == [f"reportgen.toml:{problem}"]


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+12"])
def test_zones_are_those_of_the_zone_database(load: Load, name: str) -> None:
    assert load(f'timezone = "{name}"').zone.key == name


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berlim", 'Did you mean "Europe/Berlin"?'),
        ("Europe/Belrin", 'Did you mean "Europe/Berlin"?'),
        ("Europe/Berin", 'Did you mean "Europe/Berlin"?'),
        ("europe/berlin", 'Did you mean "Europe/Berlin"?'),
        ("America/NewYork", 'Did you mean "America/New_York"?'),
        ("utc", 'Did you mean "UTC"?'),
        ("Berlin", 'Did you mean "Europe/Berlin"?'),
        ("new york", 'Did you mean "America/New_York"?'),
    ],
)
def test_an_unknown_zone_is_answered_with_the_one_that_is_meant(load: Load, name: str, hint: str) -> None:
    [problem] = problems(load, f'timezone = "{name}"')
    assert problem == f'reportgen.toml:1: timezone "{name}" is not a known time zone. {hint}'


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Mars/Olympus", '"UTC" or "Europe/Berlin"'),
        ("Europe", '"UTC" or "Europe/Berlin"'),
        ("IST", '"UTC" or "Europe/Berlin"'),
        ("CEST", '"UTC" or "Europe/Berlin"'),
        ("EEST", '"UTC" or "Europe/Berlin"'),
        ("PST", '"UTC" or "Europe/Berlin"'),
        ("ABC", '"UTC" or "Europe/Berlin"'),
        ("GMT+8", '"UTC" or "Europe/Berlin"'),
        ("UTC+5:30", '"UTC" or "Europe/Berlin"'),
        ("GMT+15", '"UTC" or "Europe/Berlin"'),
        ("Etc/GMT+18", '"UTC" or "Europe/Berlin"'),
        ("", '"UTC" or "Europe/Berlin"'),
        ("/etc/passwd", '"UTC" or "Europe/Berlin"'),
        ("../UTC", '"UTC" or "Europe/Berlin"'),
    ],
)
def test_no_zone_with_other_hours_is_suggested(load: Load, name: str, hint: str) -> None:
    """Such a zone would move visits to other dates."""
    [problem] = problems(load, f'timezone = "{name}"')
    assert problem.startswith(f"reportgen.toml:1: timezone {json.dumps(name)} is not a known time zone. ")
    assert hint in problem


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("http://localhost:8000/blog/", "http://localhost:8000/blog"),
    ],
)
def test_the_sites_address_is_kept_without_the_last_slash(load: Load, text: str, kept: str) -> None:
    assert load(f'site_url = "{text}"').site_url == kept


@pytest.mark.parametrize(
    "text",
    ["example.com", "//example.com", "https://", "ftp://example.com", "javascript:alert(1)", "", "http://[::1",
     "https://example.com/a b"],
)  # fmt: skip
def test_other_addresses_are_refused_with_the_form_that_works(load: Load, text: str) -> None:
    [problem] = problems(load, f'site_url = "{text}"')
    assert problem.startswith("reportgen.toml:1: site_url ")
    assert '"https://example.com"' in problem


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("en", "en"), ("de", "de"), ("ar", "ar"), ("en-GB", "en_GB"), ("pt_BR", "pt_BR"), ("DE-at", "de_AT"),
        ("zh-Hans-CN", "zh_Hans_CN"), ("de_DE.UTF-8", "de_DE"),
    ],
)  # fmt: skip
def test_a_locale_is_written_with_hyphens_or_underscores(load: Load, text: str, kept: str) -> None:
    """The normalised name formats numbers as the name in the file would."""
    locale = load(f'locale = "{text}"').locale
    assert locale.replace("-", "_") == kept
    assert LocaleFormatter.of(locale).tag == kept.replace("_", "-")


@pytest.mark.parametrize(
    "text", ["", " ", "xx", "english", "de-XX-YY", "C", "../de", "en;de", "d", "12"]
)  # fmt: skip
def test_an_unknown_locale_is_refused_with_some_that_work(load: Load, text: str) -> None:
    [problem] = problems(load, f'locale = "{text}"')
    assert problem.startswith("reportgen.toml:1: locale ")
    assert '"en-GB", "de" or "pt-BR"' in problem


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ('""', ""),
        ('"  \\n "', ""),
        ('" Hello, *you* "', "Hello, *you*"),
        ('"""\n# One\n\nTwo\n"""', "# One\n\nTwo"),
        (f'"{"x" * 10_000}"', "x" * 10_000),
    ],
)
def test_an_intro_is_a_text_of_up_to_10000_letters(load: Load, value: str, kept: str) -> None:
    assert load(f"intro = {value}").intro == kept


def test_a_longer_intro_is_refused_and_only_its_beginning_is_shown(load: Load) -> None:
    [problem] = problems(load, f'intro = "{"x" * 10_001}"')
    assert problem.startswith("reportgen.toml:1: intro ")
    assert "10000" in problem
    assert len(problem) < 300


@pytest.mark.parametrize(
    "link",
    ["[x](about.html)", "[x](../x)", "[x](<a b>)", "*[x](7d/)*", "- [x][1]\n\n[1]: ./y", "![x](x.png)"],
)
def test_a_relative_link_of_an_intro_is_refused(load: Load, link: str) -> None:
    """The pages lie in several directories, so its target would differ between them."""
    [problem] = problems(load, f"intro = {json.dumps('Hello ' + link)}")
    assert problem.startswith("reportgen.toml:1: intro ")
    assert 'or one from the root, such as "/about"' in problem


@pytest.mark.parametrize(
    "text",
    ["[x](https://a.test/b)", "[x](/about)", "[x](#paths)", "[x](?a=b)", "[x]()", "[x](mailto:a@b.test)",
     "[x](//a.test)", "<https://a.test>", "`[x](about.html)`", "[x] (about.html)", "a < b", "[x](data:,y)"],
)  # fmt: skip
def test_other_links_of_an_intro_are_accepted(load: Load, text: str) -> None:
    assert load(f"intro = {json.dumps(text)}").intro == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("s3://bucket", "s3://bucket"), ("S3://bucket/P", "s3://bucket/P"), ("s3://bucket/", "s3://bucket"),
        (" s3://b/a/c/ ", "s3://b/a/c"),
        ("gs://my-bucket/report", "gs://my-bucket/report"), ("az://container/x", "az://container/x"),
    ],
)  # fmt: skip
def test_a_bucket_is_named_by_its_store_its_name_and_a_prefix(load: Load, text: str, kept: str) -> None:
    assert load(f'output.bucket = "{text}"').output.bucket == kept
    assert load(REPORTGEN_OUTPUT__BUCKET=text).output.bucket == kept


@pytest.mark.parametrize(
    "text",
    ["", "bucket", "s3:bucket", "s3://", "s3:///prefix", "https://bucket.s3.amazonaws.com", "file:///x", "S4://b",
     "s3://b:9000/x", "s3://b/../x", "s3://b/a//c", "s3://b/a%2Fc", "s3://[b"],
)  # fmt: skip
def test_other_buckets_are_refused_with_the_form_that_works(load: Load, text: str) -> None:
    [problem] = problems(load, f'output.bucket = "{text}"')
    assert problem.startswith("reportgen.toml:1: output.bucket ")
    assert '"s3://bucket/prefix"' in problem


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (f"s3://AKIA:{SECRET}@bucket/x", "AWS_SECRET_ACCESS_KEY"),
        (f"s3://{SECRET}@bucket", "AWS_SECRET_ACCESS_KEY"),
        (f"s3://bucket/x?secret={SECRET}", "AWS_SECRET_ACCESS_KEY"),
        (f"s3://bucket/x#{SECRET}", "AWS_SECRET_ACCESS_KEY"),
        (f"az://container/x?sig={SECRET}", "AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)
def test_a_bucket_with_a_login_is_refused_with_the_variables_for_it(load: Load, url: str, named: str) -> None:
    for [problem] in (
        problems(load, f'output.bucket = "{url}"'),
        problems(load, REPORTGEN_OUTPUT__BUCKET=url),
    ):
        assert "output.bucket must not have a login or a query" in problem
        assert named in problem


def test_a_missing_bucket_library_is_a_problem_of_the_settings(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reportgen.config.types.find_spec", lambda _: None)
    [problem] = problems(load, 'output.bucket = "s3://bucket"')
    assert "output.bucket needs the extra s3, which is not installed. See docs/install.md" in problem
    assert load().output.bucket is None


def test_templates_dir_is_an_existing_directory(load: Load) -> None:
    """Relative to the working directory; a link to a directory is accepted."""
    Path("own").mkdir()
    Path("link").symlink_to("own")
    for name in ("own", "./own/", "link", str(Path("own").resolve())):
        assert load(f'templates_dir = "{name}"').templates_dir == Path(name)


@pytest.mark.parametrize("name", ["absent", "reportgen.toml", "own/absent", "dangling"])
def test_a_directory_of_templates_that_is_not_there_is_refused(load: Load, name: str) -> None:
    Path("own").mkdir()
    Path("dangling").symlink_to("nowhere")
    [problem] = problems(load, f'templates_dir = "{name}"')
    assert problem.startswith("reportgen.toml:1: templates_dir ")
    assert "is not an existing directory" in problem
    assert name in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("intro", "5"), ("intro", '["a"]'), ("locale", "5"), ("locale", '["de"]'), ("templates_dir", '""'),
        ("templates_dir", "7"), ("templates_dir", '"a\\u0000b"'),
        ("site", '" "'), ("site", "5"), ("top_paths", "0"), ("top_paths", "1001"), ("top_paths", "1.5"),
        ("source.table", '""'), ("source.columns", '"date"'), ("source.connect_timeout_s", "0"),
        ("source.statement_timeout_s", '"60s"'), ("source.query", '"  "'), ("output.keep", "0"),
        ("output.dir", '""'), ("output.dir", '"a\\u0000b"'), ("output.dir", "7"), ("server.port", "65536"),
        ("server.port", "-1"), ("server.host", '""'), ("server.public", '"perhaps"'),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_line(load: Load, key: str, value: str) -> None:
    [problem] = problems(load, f"\n{key} = {value}\n")
    assert problem.startswith(f"reportgen.toml:2: {key} ")


# Messages.


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[output]\nkeep = 0", 2),
        ("output.keep = 0", 1),
        ('# output\n\noutput = { dir = "x", keep = 0 }', 3),
        ("[source]\n[ output ]\n# keep = 1\n  keep=0", 4),
        ('["output"]\n"keep" = 0', 2),
        ('[source]\nquery = """\nSELECT *\n"""\n[output]\nkeep = 0\n[server]\nport = 1', 6),
        ('[output]\nkeep = 0\ndir = """\\\nkeep = 5\n"""', 2),
        ('intro = """\n[output]\nkeep = 3\n"""\n[output]\nkeep = 0', 6),
        ("intro = '''\noutput.keep = 3\n''''\noutput.keep = 0", 4),
        ('intro = """a \\""" \\\\"""\n[output]\nkeep = 0', 3),
        ('site = "[output]" # """\n[output]\nkeep = 0', 3),
        ('windows = [\n  "7d", # ]\n  "today",\n]\n[output]\nkeep = 0', 6),
    ],
)
def test_a_problem_names_its_line(load: Load, text: str, line: int) -> None:
    """In every form of nesting, and with texts and lists of several lines before it."""
    [problem] = problems(load, text)
    assert problem.startswith(f"reportgen.toml:{line}: output.keep ")


def test_a_problem_names_the_variable_that_set_the_value(load: Load) -> None:
    [problem] = problems(load, "[output]\nkeep = 5\n", REPORTGEN_OUTPUT__KEEP="none")
    assert problem.startswith("REPORTGEN_OUTPUT__KEEP: output.keep ")
    assert '"none" is not a whole number' in problem


@pytest.mark.parametrize("text", ["", "[output]\nkeep = 5\ndir = 'x'\n"])
@pytest.mark.parametrize("environment", [{}, {"REPORTGEN_OUTPUT__DIR": "x", "DATABASE_URL": "sample"}])
def test_a_problem_names_the_option_that_set_the_value(
    load: Load, text: str, environment: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, {"output": {"dir": ""}}, **environment)
    message = '--output: output.dir "" is not the path of a directory. Write one such as "output".'
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["REPORTGEN_site", "Reportgen_Site", "REPORTGEN_SITE"])
def test_a_problem_names_the_variable_as_it_is_spelled(load: Load, name: str) -> None:
    [problem] = problems(load, 'site = "in the file"\n', **{name: ""})
    assert problem == f'{name}: site "" is empty. Write a text, or leave the setting out.'


def test_a_setting_within_a_setting_names_its_variable(load: Load) -> None:
    [problem] = problems(load, "[source]\ntable = 'a'\n", REPORTGEN_SOURCE__TABLE__NAME="x")
    assert problem.startswith("REPORTGEN_SOURCE__TABLE__NAME: source.table is not a text")


@pytest.mark.parametrize("setting", ["SITE", "TOP_PATHS", "OUTPUT__DIR", "TEMPLATES_DIR", "WINDOWS"])
def test_a_variable_that_is_not_utf_8_is_a_problem_of_its_setting(load: Load, setting: str) -> None:
    """Python reads other bytes as lone surrogates, which could not be printed."""
    [problem] = problems(load, **{f"REPORTGEN_{setting}": "a\udcff"})
    assert problem.startswith(f"REPORTGEN_{setting}: {setting.lower().replace('__', '.')}")
    problem.encode()


def test_a_section_set_as_a_value_is_refused_whatever_is_set_in_it(load: Load) -> None:
    [problem] = problems(load, REPORTGEN_SOURCE__TABLE="hits", reportgen_source=URL)
    assert problem == (
        "reportgen_source: source is a section, not a value. "
        "Set each setting in it, such as source.url (or REPORTGEN_SOURCE__URL)."
    )


def test_a_number_of_thousands_of_digits_is_a_problem_of_its_setting(load: Load) -> None:
    """Python does not convert it to text, or from text."""
    [problem] = problems(load, f"top_paths = 0x{'f' * 5000}")
    assert problem.startswith("reportgen.toml:1: top_paths is too large")
    [problem] = problems(load, f"top_paths = {'9' * 5000}")
    assert problem.startswith("reportgen.toml: not valid TOML")


def test_a_rule_over_two_settings_names_its_line_or_variable(load: Load) -> None:
    [problem] = problems(load, 'site = "x"\ndefault_window = "14d"')
    assert problem.startswith("reportgen.toml:2: default_window ")
    [problem] = problems(load, 'site = "x"', REPORTGEN_DEFAULT_WINDOW="14d")
    assert problem.startswith("REPORTGEN_DEFAULT_WINDOW: default_window ")


def test_all_problems_are_reported_at_once(load: Load) -> None:
    """A rule over two settings is checked even if another setting is wrong."""
    found = problems(load, 'timezone = "Nowhere"\ntop_path = 3\ndefault_window = "14d"', REPORTGEN_SIDE="x")
    assert len(found) == 4
    for name in ("timezone", "top_path ", "default_window", "REPORTGEN_SIDE"):
        assert any(name in line for line in found), name


@pytest.mark.parametrize("name", ["REPORTGEN_SIDE", "REPORTGEN_URL", "REPORTGEN_SOURCE__TABEL", "REPORTGEN_"])
def test_an_unknown_variable_with_our_prefix_is_an_error(load: Load, name: str) -> None:
    [problem] = problems(load, **{name: SECRET if name == "REPORTGEN_URL" else "x"})
    assert re.match(rf"({name}|{name}: \S+) is not a setting\.", problem)


@pytest.mark.parametrize("name", ["REPORTGEN_PASSWORD", "REPORTGEN_DEBUG", "REPORTGEN_LOG", "OTHER_SIDE"])
def test_variables_that_are_not_settings_are_ignored(load: Load, name: str) -> None:
    assert load(**{name: "x"}) == load()


# Secrets, and settings that stay as they are.


@pytest.mark.parametrize("place", ["file", "DATABASE_URL", "REPORTGEN_SOURCE__URL", "option"])
def test_no_representation_of_the_settings_shows_the_password(load: Load, place: str) -> None:
    if place == "file":
        config = load(f'source.url = "{URL}"')
    elif place == "option":
        config = load("", {"source": {"url": URL}})
    else:
        config = load(**{place: URL})
    assert url_of(config) == URL
    shown = [repr(config), str(config), f"{config!r:>9}", config.model_dump_json(), str(config.model_dump())]
    assert not any(SECRET in text for text in shown)


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("top_paths = 0", {"DATABASE_URL": URL}),
        (f'[source]\nurl = "{URL}"\ntabel = "x"', {}),
        (f'[source]\nurl = ["{URL}"]', {}),
        (f'[source]\nurl = {{ dsn = "{URL}" }}', {}),
        (f'source = "{URL}"', {}),
        (f'source = ["{URL}"]', {}),
        (f'database_url = "{URL}"', {}),
        (f'[source]\npassword = "{SECRET}"', {}),
        (f'[source]\npwd = "{SECRET}"', {}),
        (f'[source]\ndsn = "host=db password={SECRET}"', {}),
        (f'[server]\npassword = "{SECRET}"', {}),
        (f'source = "host=db password={SECRET}"', {}),
        ("", {"REPORTGEN_SOURCE": f'{{"url": "{URL}", "tabel": 1}}'}),
        ("", {"REPORTGEN_SOURCE": f'{{"url": "{URL}"'}),
        ("", {"REPORTGEN_SOURCE__PASSWORD": SECRET}),
        ("", {"REPORTGEN_PASWORD": SECRET}),
        (f'[source]\nurl = "{URL}\n', {}),
        (f"[source]\nurl = {URL}\n", {}),
    ],
)
def test_no_error_shows_the_password(load: Load, text: str, environment: dict[str, str]) -> None:
    """The message names the key and not the value, in each place where a user may write it by mistake."""
    assert problems(load, text, **environment)


@pytest.mark.parametrize("password", [SECRET, "sp ace", "sla/sh", "at@sign", "pér%cent", "plus+sign"])
def test_the_secrets_to_keep_out_of_messages_are_known(load: Load, password: str) -> None:
    """As written in the URL, and as the server receives it."""
    written = quote(password, safe="")
    config = load(DATABASE_URL=f"postgresql://app:{written}@db/stats?sslpassword=other{written}")
    assert {password, written, f"other{password}"} <= set(config.secrets)


def test_settings_do_not_change_once_they_are_loaded(load: Load) -> None:
    config = load()
    parts: list[tuple[BaseModel, str]] = [
        (config, "site"), (config.source, "table"), (config.source.columns, "date"), (config.output, "keep"),
        (config.server, "port"),
    ]  # fmt: skip
    for part, name in parts:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, "other")
    assert config == load()


# Path rules.

WRONG_RULES = """
windows = ["7x"]
[paths]
query = "dorp"
slash = "merg"
exclude = ["/**", "scanners", "/a?b", "scaners"]
index = ["a/b"]
unknown = 1
[[paths.rename]]
from = "/a"
to = "b"
[[paths.rename]]
tu = "/b"
from = "/c"
[[sections]]
name = "Other"
match = ["/a", "**"]
"""
TANGLED_RULES = """
windows = ["7x"]
[paths]
slash = "merge"
case = "lower"
exclude = ["/WP-*"]
[[paths.rename]]
from = "/a/**"
to = "/b/**"
[[paths.rename]]
from = "/b/x"
to = "/c/"
[[paths.rename]]
from = "/e"
to = "/f/**"
[[sections]]
name = "Blog"
match = "/blog/**"
[[sections]]
name = "Blog"
match = "/notes/"
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            WRONG_RULES,
            {
                2: "windows", 4: 'paths.query "dorp" is not',
                5: 'paths.slash "merg" is not "keep" or "merge"',
                6: 'paths.exclude "/**" matches every path', 7: "paths.index",
                8: "paths.unknown is not a setting",
                11: 'paths.rename.to "b" is not a path', 12: "paths.rename.to is not set",
                13: "paths.rename.tu is not a setting", 16: 'sections.name "Other" is the name',
                17: 'sections.match "**" matches every path',
            },
        ),
        (
            TANGLED_RULES,
            {
                2: "windows", 6: 'paths.exclude "/WP-*" cannot be met',
                9: 'paths.rename.to "/b/**" of from = "/a/**" would be renamed again, by from = "/b/x"',
                12: 'paths.rename.to "/c/" cannot be met, as other rules change such paths first. '
                    'Write "/c".',
                15: 'paths.rename.to "/f/**" ends in "/**", and from does not',
                20: 'sections.name "Blog" is set twice', 21: 'sections.match "/notes/" cannot be met',
            },
        ),
    ],
)  # fmt: skip
def test_all_wrong_path_rules_are_named_at_once_each_with_its_line(
    load: Load, text: str, expected: dict[int, str]
) -> None:
    found = problems(load, text)
    assert any("scaners" in line for line in found) == ("scaners" in text)
    for line, words in expected.items():
        assert any(each.startswith(f"reportgen.toml:{line}: {words}") for each in found), (line, found)


@pytest.mark.parametrize(("given", "expected"), [
    ('visits = "Orders"', "has visits, but not visit. Write both, for one and for several."),
    ('visit = "order"', "has visit, but not visits. Write both, for one and for several."),
    ('path = "plan"', "has path, but not paths. Write both, for one and for several."),
    ('path = "day"\npaths = "Daily"', 'has paths = "daily": daily is another file. Write another word.'),
])  # fmt: skip
def test_words_are_given_for_one_and_for_several(load: Load, given: str, expected: str) -> None:
    assert problems(load, f"[words]\n{given}\n") == [f"reportgen.toml:1: words {expected}"]


@pytest.mark.parametrize("value", ["true", "1", '[""]', "[1]", '"page"', "{ a = 1 }"])
def test_a_wrong_query_rule_is_one_problem(load: Load, value: str) -> None:
    (found,) = problems(load, f"[paths]\nquery = {value}\n")
    message = ' is not valid. Write "keep", "drop", or a list of names such as ["page"].'
    assert found == f"reportgen.toml:2: paths.query{'' if '{' in value else f' {value}'}{message}"


@pytest.mark.parametrize(("pairs", "expected"), [
    ([("/a", "/a")], ['"/a" is the same as from. Leave this rule out.']),
    ([("/a/**", "/a/b/**")], ['"/a/b/**" would be renamed again by the same rule. Write a path']),
    ([("/a", "/b"), ("/b", "/a")], [
        f'"{to}" of from = "{old}" would be renamed again, by from = "{to}" to = "{old}". '
        "Leave one of the two rules out."
        for old, to in (("/a", "/b"), ("/b", "/a"))
    ]),
    ([("/a", "/b"), ("/b", "/c")], [
        '"/b" of from = "/a" would be renamed again, by from = "/b" to = "/c". Leave one of the two rules o'
    ]),
    ([("/a/**", "/a"), ("/b", "/a")], []),
])  # fmt: skip
def test_a_path_that_would_be_renamed_twice_is_refused(
    load: Load, pairs: list[tuple[str, str]], expected: list[str]
) -> None:
    text = "".join(f'[[paths.rename]]\nfrom = "{old}"\nto = "{new}"\n' for old, new in pairs)
    found = problems(load, text) if expected else []
    load("" if expected else text)
    for number, (line, words) in enumerate(zip(found, expected, strict=True), start=1):
        assert line.startswith(f"reportgen.toml:{3 * number}: paths.rename.to {words}")


def test_a_section_set_twice_is_named_beside_other_wrong_rules(load: Load) -> None:
    text = "".join(f'[[sections]]\nname = "{name}"\nmatch = "/x"\n' for name in ("Blog", "Other", "Blog"))
    found = problems(load, f'{text}[paths]\nslash = "merge"\ncase = "x"\nexclude = ["/a/"]\n')
    assert sorted(line.split(" ")[0] for line in found) == [
        f"reportgen.toml:{line}:" for line in (12, 13, 5, 8)
    ]


def test_path_rules_are_those_of_the_settings(load: Load) -> None:
    text = """
[paths]
query = []
exclude = ["scanners", "/x"]
[[paths.rename]]
from = "/old/**"
to = "/new/**"
[[sections]]
name = "Blog"
match = "/a,b"
"""
    rules = load(text).path_rules
    assert (rules.query, rules.renames) == ((), (("/old/**", "/new/**"),))
    assert rules.exclude[-1] == "/x"
    assert "**/*.php" in rules.exclude
    assert rules.sections == (("Blog", ("/a,b",)),)
    assert not load("").path_rules


# Panels and their sources.


def test_panels_lie_beside_the_settings(load: Load, tmp_path: Path) -> None:
    assert load().panels_dir is None
    Path("panels").mkdir()
    assert load().panels_dir == Path("panels")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "r.toml").write_text("")
    assert load_config(tmp_path / "other" / "r.toml", {}).panels_dir is None
    with pytest.raises(ConfigError, match='panels_dir "nix" is not an existing directory'):
        load('panels_dir = "nix"')


def test_sources_of_panels_have_names_and_urls(load: Load) -> None:
    config = load(
        '[sources.plans]\nurl_env = "PLANS"\n[sources.b]\nurl = "b.csv"\nthousands = ","',
        PLANS=URL,
        REPORTGEN_SOURCES__B__URL="c.csv",
        REPORTGEN_SOURCES__NEW__URL="sqlite:///new.db",
    )
    urls = {name: source.url.get_secret_value() for name, source in config.sources.items()}
    assert urls == {"plans": URL, "b": "c.csv", "new": "sqlite:///new.db"}
    assert config.sources["b"].thousands == ","
    assert set(load(DATABASE_URL=URL).secrets) <= set(config.secrets)
    with pytest.raises(ConfigError) as wrong:
        load('[sources.c]\nurl_env = "NIX"\n[sources.d]\nurk = "x"')
    unset = "names the variable NIX, which is not set, or empty. Set it to the URL of the source."
    assert str(wrong.value).splitlines() == [
        f"reportgen.toml:2: sources.c.url_env {unset}",
        "reportgen.toml:3: sources.d.url is not set. Write it.",
        'reportgen.toml:4: sources.d.urk is not a setting. Did you mean "url"?',
    ]
    with pytest.raises(ConfigError, match=r"sources has the name \"Plans\". Write small letters"):
        load('[sources.Plans]\nurl = "x"')
