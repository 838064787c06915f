"""Settings of many sites: what they share, what each says itself, and all problems of all at once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reportgen.config.settings import Config
from reportgen.config.sites import Sites, load_settings, placed
from reportgen.core.errors import ConfigError

SECRET = "geheim7f3a"
URL = f"postgresql://app:{SECRET}@db.example.com/stats"

Load = Callable[..., Sites]

NAMES = 'write a name such as "UTC" or "Europe/Berlin"'
ABOVE = "is one for all sites, each in its prefix; set it in [output], above the sites"
TAKEN = "this name is taken below the output directory; choose another"
UNSET = "is not set, or empty; set it to the URL"

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
    """Return what is said to be wrong, a line each."""
    with pytest.raises(ConfigError) as caught:
        load(text, options, **environ)
    assert SECRET not in str(caught.value)
    return str(caught.value).splitlines()


def settings(load: Load, text: str, **environ: str) -> dict[str, Config]:
    return {site.name: site.config for site in load(text, **environ).all}


def test_a_file_without_sites_is_one_site(load: Load) -> None:
    """Nothing is different for who has one."""
    config: Any = load('site = "one"\n')
    assert isinstance(config, Config)
    assert (config.site, config.base_path, str(config.output.dir)) == ("one", "/", "output")


def test_a_site_overrides_what_stands_at_the_top_key_by_key(load: Load) -> None:
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


def test_what_the_top_says_of_the_index_is_no_default(load: Load) -> None:
    """A site's name on its pages is its own, or what it is called here."""
    sites = load(TWO)
    assert (sites.common.site, sites.common.intro) == ("All of them", "Of the index")
    assert [(site.config.site, site.config.intro) for site in sites.all] == [("blog", ""), ("The shop", "")]


def test_variables_override_the_top_and_not_what_a_site_says(load: Load) -> None:
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
    """So that no secret stands in the file. The last layer that names a source, in either form, counts."""
    config = settings(load, f'{top}\n[[sites]]\nname = "blog"\n[sites.source]\n{own}\n', **environ)["blog"]
    assert config.source.url.get_secret_value() == expected
    assert SECRET not in repr(config)


def test_one_site_may_name_a_variable_too(load: Load) -> None:
    config: Any = load('[source]\nurl_env = "STATS"\n', STATS=URL)
    assert config.source.url.get_secret_value() == URL
    assert "url" in config.source.model_fields_set  # so that a lost setting is told from the sample site


def test_all_problems_of_all_sites_are_told_at_once_with_their_lines(load: Load) -> None:
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
        'reportgen.toml:2: top_pathz: no such setting; did you mean "top_paths"?',
        "reportgen.toml:5: sites.blog.timezone: unknown zone; " + NAMES + " (is 'Mars')",
        'reportgen.toml:8: sites.blog.source.tabl: no such setting; did you mean "table"?',
        "reportgen.toml:9: sites[1].name: write small letters, digits, and . _ - between them (at most 64)",
        "reportgen.toml:9: sites[1].server: is one for all sites; set it at the top of the file",
        "reportgen.toml:9: sites[1].output.dir: " + ABOVE,
        'reportgen.toml:9: sites[1].source.url: is not set; name it, or url_env, or write "sample"',
        "reportgen.toml:13: sites.state.prefix: " + TAKEN,
        "reportgen.toml:13: sites.state.source.url_env: the variable NOPE " + UNSET,
        "reportgen.toml:16: sites[3].name: is not set; each site needs one",
        "reportgen.toml:16: sites[3].source.url_env: source.url is set, too; leave one of them out",
        "reportgen.toml:16: sites[3].default_window: \"7d\" is not among windows (is '7d')",
        'reportgen.toml:19: sites.docs.source.url: is not set; name it, or url_env, or write "sample"',
    ]


def test_a_wrong_setting_at_the_top_is_told_once(load: Load) -> None:
    """Not once more for each site that has it from there."""
    text = 'timezone = "Mars"\n[source]\nurl = "a.csv"\n[[sites]]\nname = "a"\n[[sites]]\nname = "b"\n'
    assert len(problems(load, text)) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('sites = "blog"', "sites: write [[sites]] and a site's settings below it, once for each site"),
        ("sites = []", "sites: write [[sites]] and a site's settings below it, once for each site"),
        (
            '[[sites]]\nname = "a"\n[[sites]]\nname = "a"',
            'sites: the name "a" is given twice; each site needs its own',
        ),
        (
            '[[sites]]\nname = "a"\n[[sites]]\nname = "b"\nprefix = "a"',
            'sites: the prefix "a" is given twice; each site needs its own',
        ),
    ],
)
def test_sites_are_named_each_once(load: Load, text: str, told: str) -> None:
    assert problems(load, f"{text}\n", DATABASE_URL=URL) == [told]


@pytest.mark.parametrize(
    "name", ["..", ".", "a/b", "/a", "A", "a b", "a\n", "-a", "a.", "", "\u00e4", "a" * 65]
)
def test_a_name_is_safe_as_a_directory_and_an_address(load: Load, name: str) -> None:
    text = f"[[sites]]\nname = {name!r}\n".replace("'", '"')
    assert "name: write small letters" in problems(load, text, DATABASE_URL=URL)[0]


def test_a_source_for_all_by_an_option_is_refused(load: Load) -> None:
    """A word on the command line would publish one site's figures as every site's."""
    told = problems(load, TWO, {"source": {"url": URL}})
    assert told == ["--source: would make all sites show the same; name each site's in the file"]


def test_who_names_a_password_as_a_variable_does_not_see_it_again(load: Load) -> None:
    told = problems(load, f'[[sites]]\nname = "a"\nsource.url_env = "{URL}"\n')
    assert "sites.a.source.url_env: write the name of an environment variable" in told[-1]


@pytest.mark.parametrize(
    ("output", "own", "expected"),
    [
        ({"keep": 3}, {}, {"keep": 3, "dir": Path("out/blog")}),
        ({"bucket": "s3://all/stats/"}, {}, {"bucket": "s3://all/stats/blog", "dir": Path("out/blog")}),
        (
            {"bucket": "s3://mine"}, {"bucket": "s3://mine"},
            {"bucket": "s3://mine", "dir": Path("out/blog")},
        ),
        ("out", {}, "out"),
    ],
)  # fmt: skip
def test_two_sites_never_share_a_directory_or_a_bucket(output: object, own: object, expected: object) -> None:
    """Each has its prefix in what is set for all."""
    assert placed(output, own, Path("out"), "blog") == expected


@pytest.mark.parametrize("top", ["", '[output]\nbucket = "s3://all"\n'])
def test_no_bucket_is_given_to_two(load: Load, top: str) -> None:
    """They would replace each other's pages; that of all sites is one of them."""
    own = '[[sites]]\nname = "{}"\nsource.url = "{}.csv"\noutput.bucket = "s3://{}"\n'
    text = top + own.format("a", "a", "all") + own.format("b", "b", "all" if not top else "b")
    assert problems(load, text) == [
        'sites: the output.bucket "s3://all" is given twice; each site needs its own'
    ]


@pytest.mark.parametrize(
    ("top", "a", "b", "told"),
    [
        ("", "x/stats/", "x/stats/b", ('"s3://x/stats/b" lies in "s3://x/stats"',)),
        ("", "x/stats", "x/stats-b", ()),
        ("", "x", "y/x/b", ()),
        ('[output]\nbucket = "s3://x/a/all"\n', "x/a", "y", ('"s3://x/a/all" lies in "s3://x/a"',)),
        ('[output]\nbucket = "s3://x"\n', "x/one", "x/two", ()),
    ],
)
def test_no_bucket_lies_in_that_of_a_site(
    load: Load, top: str, a: str, b: str, told: tuple[str, ...]
) -> None:
    """Its objects would be taken for that site's own; below the page over all is their place."""
    own = '[[sites]]\nname = "{}"\nsource.url = "{}.csv"\noutput.bucket = "s3://{}"\n'
    text = top + own.format("a", "a", a) + own.format("b", "b", b)
    expected = [f"sites: the output.bucket {each}, which is a site's; choose another" for each in told]
    assert (problems(load, text) if told else list(settings(load, text))) == (expected or ["a", "b"])


def test_addresses_of_sites_stand_below_that_of_the_whole(load: Load) -> None:
    """Behind a proxy that serves it all below a path."""
    text = 'base_path = "/stats/"\n[[sites]]\nname = "a"\nsource.url = "a.csv"\n'
    assert settings(load, text)["a"].base_path == "/stats/a/"


def test_sites_are_chosen_by_name(load: Load) -> None:
    sites = load(TWO)
    assert [site.name for site in sites.named(["shop"])] == ["shop"]
    assert [site.name for site in sites.named([])] == ["blog", "shop"]
    with pytest.raises(ConfigError, match='--site: there is no site "x"; there are: blog, shop'):
        sites.named(["shop", "x"])


def test_the_secrets_of_all_sites_are_known(load: Load) -> None:
    assert SECRET in load('[[sites]]\nname = "a"\nsource.url_env = "A"\n', A=URL).secrets


def test_a_thousand_sites_are_read_in_a_moment(load: Load) -> None:
    """The text is not searched for each of them."""
    text = "".join(f'[[sites]]\nname = "site-{n}"\nsource.table = "t{n}"\n' for n in range(1000))
    before = os.times()
    assert len(load(text, DATABASE_URL=URL).all) == 1000
    after = os.times()
    assert after.user - before.user < 2
