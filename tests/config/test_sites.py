"""Settings of many sites: the shared ones, those of each site, and all problems of all sites at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reportgen.config.settings import Config
from reportgen.config.sites import Sites, load_settings
from reportgen.core.errors import ConfigError

SECRET = "geheim7f3a"
URL = f"postgresql://app:{SECRET}@db.example.com/stats"

Load = Callable[..., Sites]

ZONES = 'Use an IANA name such as "UTC" or "Europe/Berlin".'
NAME = 'is not a valid name. Write at most 64 small letters and digits, and ".", "_" or "-" between.'
ABOVE = "is the same for all sites, each in its prefix. Set it in [output], above the sites."
TAKEN = "is a name that the output directory of all sites uses. Choose another."
LIST = "reportgen.toml:1: sites is not a list of sections. Write [[sites]] above the settings of each site."
NOPE = "names the variable NOPE, which is not set, or empty. Set it to the URL of the source."
UNSET = 'is not set. Set it, or source.url_env. For the sample data, write "sample".'

TWO = """\
site = "All of them"
intro = "Of the index"
timezone = "Europe/Berlin"
top_paths = 20
[output]
dir = "pages"
keep = 3
[source]
url = "top.csv"
connect_timeout_s = 7
columns = { visits = "hits" }
[[sites]]
name = "blog"
[[sites]]
name = "shop"
site = "The shop"
prefix = "store"
timezone = "America/New_York"
windows = ["30d", "365d"]
default_window = "30d"
output.keep = 9
[sites.source]
url = "sqlite:///shop.db"
columns = { date = "day" }
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Give a function that loads a text as ``reportgen.toml``, with variables."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str, options: dict[str, Any] | None = None, **environ: str) -> Any:
        Path("reportgen.toml").write_text(text)
        return load_settings(None, environ, options or {})

    return loaded


def problems(load: Load, text: str, options: dict[str, Any] | None = None, **environ: str) -> list[str]:
    """Return the lines of the error that these settings raise."""
    with pytest.raises(ConfigError) as caught:
        load(text, options, **environ)
    assert SECRET not in str(caught.value)
    return str(caught.value).splitlines()


def settings(load: Load, text: str, **environ: str) -> dict[str, Config]:
    return {site.name: site.config for site in load(text, **environ).all}


def test_a_file_without_sites_is_one_site(load: Load) -> None:
    config: Any = load('site = "one"\n')
    assert isinstance(config, Config)
    assert (config.site, config.base_path, str(config.output.dir)) == ("one", "/", "output")


def test_a_site_overrides_the_top_of_the_file_key_by_key(load: Load) -> None:
    sites = load(TWO)
    blog, shop = (site.config for site in sites.all)
    assert [(site.name, site.prefix) for site in sites.all] == [("blog", "blog"), ("shop", "store")]
    assert (blog.timezone, shop.timezone) == ("Europe/Berlin", "America/New_York")
    assert (blog.top_paths, shop.top_paths) == (20, 20)
    assert (blog.windows, shop.windows) == (("today", "7d", "30d"), ("30d", "365d"))
    assert [str(config.output.dir) for config in (sites.common, blog, shop)] == [
        "pages", "pages/blog", "pages/store",
    ]  # fmt: skip
    assert (blog.output.keep, shop.output.keep) == (3, 9)
    urls = [config.source.url.get_secret_value() for config in (blog, shop)]
    assert urls == ["top.csv", "sqlite:///shop.db"]
    assert (shop.source.connect_timeout_s, shop.source.columns.date, shop.source.columns.visits) == (
        7,
        "day",
        "hits",
    )
    assert (blog.base_path, shop.base_path) == ("/blog/", "/store/")


def test_settings_of_the_page_over_all_sites_are_not_inherited(load: Load) -> None:
    """The name on a site's pages is its own ``site``, or else its ``name``."""
    sites = load(TWO)
    assert (sites.common.site, sites.common.intro) == ("All of them", "Of the index")
    assert [(site.config.site, site.config.intro) for site in sites.all] == [("blog", ""), ("The shop", "")]


def test_variables_override_the_top_and_not_the_settings_of_a_site(load: Load) -> None:
    environ = {"DATABASE_URL": URL, "REPORTGEN_TOP_PATHS": "5", "REPORTGEN_TIMEZONE": "UTC"}
    found = settings(load, TWO, **environ)
    assert found["blog"].source.url.get_secret_value() == URL
    assert found["shop"].source.url.get_secret_value() == "sqlite:///shop.db"
    assert [config.top_paths for config in found.values()] == [5, 5]
    assert [config.timezone for config in found.values()] == ["UTC", "America/New_York"]


@pytest.mark.parametrize(
    ("top", "own", "environ", "expected"),
    [
        ("", 'url_env = "BLOG"', {"BLOG": URL}, URL),
        ('[source]\nurl = "top.csv"', 'url_env = "BLOG"', {"BLOG": URL}, URL),
        ('[source]\nurl_env = "TOP"', 'url = "own.csv"', {"TOP": URL}, "own.csv"),
        ('[source]\nurl_env = "TOP"', 'table = "own"', {"TOP": URL}, URL),
        ('[source]\nurl_env = "TOP"', 'table = "own"', {"TOP": "x.csv", "DATABASE_URL": URL}, URL),
        ("", 'url = "own.csv"', {"DATABASE_URL": ""}, "own.csv"),
    ],
)  # fmt: skip
def test_a_variable_may_hold_a_sites_url(
    load: Load, top: str, own: str, environ: dict[str, str], expected: str
) -> None:
    """Then the file holds no secret. The last layer that names a source, in either form, counts."""
    config = settings(load, f'{top}\n[[sites]]\nname = "blog"\n[sites.source]\n{own}\n', **environ)["blog"]
    assert config.source.url.get_secret_value() == expected
    assert SECRET not in repr(config)


def test_one_site_may_name_a_variable_too(load: Load) -> None:
    config: Any = load('[source]\nurl_env = "STATS"\n', STATS=URL)
    assert config.source.url.get_secret_value() == URL
    assert "url" in config.source.model_fields_set  # so that a missing setting differs from the sample site


def test_all_problems_of_all_sites_are_reported_at_once_with_their_lines(load: Load) -> None:
    text = """\
timezone = "UTC"
top_pathz = 3
[[sites]]
name = "blog"
timezone = "Mars"
[sites.source]
url = "a.csv"
tabl = "x"
[[sites]]
name = "Shop X"
server = { port = 3 }
output.dir = "there"
[[sites]]
name = "state"
source.url_env = "NOPE"
[[sites]]
windows = ["30d"]
source = { url = "b.csv", url_env = "STATS" }
[[sites]]
name = "docs"
"""
    assert problems(load, text, STATS=URL) == [
        'reportgen.toml:2: top_pathz is not a setting. Did you mean "top_paths"?',
        f'reportgen.toml:5: sites.blog.timezone "Mars" is not a known time zone. {ZONES}',
        'reportgen.toml:8: sites.blog.source.tabl is not a setting. Did you mean "table"?',
        f'reportgen.toml:10: sites[1].name "Shop X" {NAME}',
        "reportgen.toml:11: sites[1].server is the same for all sites. Set it at the top of the file.",
        f"reportgen.toml:12: sites[1].output.dir {ABOVE}",
        f"reportgen.toml:9: sites[1].source.url {UNSET}",
        f"reportgen.toml:14: sites.state.name {TAKEN}",
        f"reportgen.toml:15: sites.state.source.url_env {NOPE}",
        "reportgen.toml:16: sites[3].name is not set. Each site needs one.",
        "reportgen.toml:18: sites[3].source.url_env and source.url are both set. Leave one of them out.",
        'reportgen.toml:17: sites[3].default_window "7d" is not one of windows (30d). Write one of them.',
        f"reportgen.toml:19: sites.docs.source.url {UNSET}",
    ]


def test_a_wrong_setting_at_the_top_is_reported_once(load: Load) -> None:
    """Not once more for each site that inherits it."""
    text = 'timezone = "Mars"\n[source]\nurl = "a.csv"\n[[sites]]\nname = "a"\n[[sites]]\nname = "b"\n'
    assert len(problems(load, text)) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sites = "blog"', LIST),
        ("sites = []", LIST),
        (
            '[[sites]]\nname = "a"\n[[sites]]\nname = "a"',
            'sites: name "a" is set twice. Each site needs its own.',
        ),
        (
            '[[sites]]\nname = "a"\n[[sites]]\nname = "b"\nprefix = "a"',
            'sites: prefix "a" is set twice. Each site needs its own.',
        ),
    ],
)
def test_each_site_has_its_own_name_and_prefix(load: Load, text: str, message: str) -> None:
    assert problems(load, f"{text}\n", DATABASE_URL=URL) == [message]


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "/a", "A", "a b", "a\n", "-a", "a.", "", "\u00e4", "a" * 65]
)
def test_a_name_is_safe_as_a_directory_and_an_address(load: Load, name: str) -> None:
    text = f"[[sites]]\nname = {name!r}\n".replace("'", '"')
    assert " is not a valid name. Write at most 64 small letters" in problems(load, text, DATABASE_URL=URL)[0]


def test_a_source_for_all_by_an_option_is_refused(load: Load) -> None:
    """The option would publish the figures of one source for every site."""
    found = problems(load, TWO, {"source": {"url": URL}})
    assert found == ["--source would make all sites show the same. Set the source of each site in the file."]


def test_a_url_in_the_place_of_a_variable_is_not_shown(load: Load) -> None:
    found = problems(load, f'[[sites]]\nname = "a"\nsource.url_env = "{URL}"\n')
    assert "sites.a.source.url_env is not the name of an environment variable" in found[-1]


@pytest.mark.parametrize(
    ("output", "own", "expected"),
    [
        ("keep = 3", "", ("out/blog", None, 3)),
        ('bucket = "s3://all/stats/"', "", ("out/blog", "s3://all/stats/blog", 10)),
        ('bucket = "s3://all"', 'output.bucket = "s3://mine"', ("out/blog", "s3://mine", 10)),
    ],
)
def test_two_sites_never_share_a_directory_or_a_bucket(
    load: Load, output: str, own: str, expected: object
) -> None:
    """The prefix of each site is appended to the directory and the bucket of all sites."""
    text = f'[output]\ndir = "out"\n{output}\n[[sites]]\nname = "blog"\nsource.url = "a.csv"\n{own}\n'
    config = settings(load, text)["blog"]
    assert (str(config.output.dir), config.output.bucket, config.output.keep) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('output = "x"\n[[sites]]\nname = "a"', "reportgen.toml:1: output"),
        ('[[sites]]\nname = "a"\noutput = "x"', "reportgen.toml:3: sites.a.output"),
    ],
)
def test_an_output_that_is_not_a_section_is_reported_once(load: Load, text: str, line: str) -> None:
    words = (
        "is a section, not a value. Set each setting in it, such as output.dir (or REPORTGEN_OUTPUT__DIR)."
    )
    assert problems(load, f"{text}\n", DATABASE_URL=URL) == [f"{line} {words}"]


@pytest.mark.parametrize("top", ["", '[output]\nbucket = "s3://all"\n'])
def test_two_sites_have_different_buckets(load: Load, top: str) -> None:
    """They would replace each other's pages. The page over all sites has a bucket too."""
    own = '[[sites]]\nname = "{}"\nsource.url = "{}.csv"\noutput.bucket = "s3://{}"\n'
    text = top + own.format("a", "a", "all") + own.format("b", "b", "all" if not top else "b")
    assert problems(load, text) == ['sites: output.bucket "s3://all" is set twice. Each site needs its own.']


@pytest.mark.parametrize(
    ("top", "a", "b", "pairs"),
    [
        ("", "x/stats/", "x/stats/b", ('"s3://x/stats/b" lies in "s3://x/stats"',)),
        ("", "x/stats", "x/stats-b", ()),
        ("", "x", "y/x/b", ()),
        ('[output]\nbucket = "s3://x/a/all"\n', "x/a", "y", ('"s3://x/a/all" lies in "s3://x/a"',)),
        ('[output]\nbucket = "s3://x"\n', "x/one", "x/two", ()),
    ],
)
def test_no_bucket_lies_in_that_of_a_site(
    load: Load, top: str, a: str, b: str, pairs: tuple[str, ...]
) -> None:
    """That site would take its objects for its own. The bucket of the page over all sites may hold others."""
    own = '[[sites]]\nname = "{}"\nsource.url = "{}.csv"\noutput.bucket = "s3://{}"\n'
    text = top + own.format("a", "a", a) + own.format("b", "b", b)
    expected = [f"sites: output.bucket {pair}, the bucket of a site. Choose another." for pair in pairs]
    assert (problems(load, text) if pairs else list(settings(load, text))) == (expected or ["a", "b"])


def test_the_address_of_a_site_lies_below_that_of_all_sites(load: Load) -> None:
    """For a proxy that serves everything below one path."""
    text = 'base_path = "/stats/"\n[[sites]]\nname = "a"\nsource.url = "a.csv"\n'
    assert settings(load, text)["a"].base_path == "/stats/a/"


def test_sites_are_chosen_by_name(load: Load) -> None:
    sites = load(TWO)
    assert [site.name for site in sites.named(["shop"])] == ["shop"]
    assert [site.name for site in sites.named([])] == ["blog", "shop"]
    with pytest.raises(
        ConfigError, match=r'--site "x" is not the name of a site\. The sites are: blog, shop\.'
    ):
        sites.named(["shop", "x"])


def test_the_secrets_of_all_sites_are_known(load: Load) -> None:
    assert SECRET in load('[[sites]]\nname = "a"\nsource.url_env = "A"\n', A=URL).secrets


def test_a_thousand_sites_are_read_in_a_moment(load: Load) -> None:
    """The lines of the text are not searched for each of them."""
    text = "".join(f'[[sites]]\nname = "site-{n}"\nsource.table = "t{n}"\n' for n in range(1000))
    before = os.times()
    assert len(load(text, DATABASE_URL=URL).all) == 1000
    after = os.times()
    assert after.user - before.user < 2


def test_a_problem_of_an_inherited_setting_names_where_it_was_set(load: Load) -> None:
    """The place is the variable, or the line at the top, and not the section of the site."""
    text = 'default_window = "7d"\n[[sites]]\nname = "a"\nsource.url = "a.csv"\nwindows = ["30d"]\n'
    words = 'sites.a.default_window "7d" is not one of windows (30d). Write one of them.'
    assert problems(load, text) == [f"reportgen.toml:1: {words}"]
    assert problems(load, text, Reportgen_Default_Window="7d") == [f"Reportgen_Default_Window: {words}"]


def test_a_section_in_a_text_is_not_a_site(load: Load) -> None:
    text = (
        'intro = """\n[[sites]]\ntop_paths = 3\n"""\n[[sites]]\nname = "a"\nsource.url = "a"\ntop_paths = 0\n'
    )
    [problem] = problems(load, text)
    assert problem.startswith("reportgen.toml:8: sites.a.top_paths 0 is too small.")
