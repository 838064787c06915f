"""Access logs as a source: which requests are visits, and that every line is counted once."""

import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from reportgen.config.settings import config_from_options
from reportgen.core.errors import SourceError, SourceUnavailable
from reportgen.core.windows import Span
from reportgen.metrics.left_out import REASON_WORDS
from reportgen.sources.base import REASONS
from reportgen.sources.log_formats import COMBINED, FormatError, parse_format
from reportgen.sources.registry import open_source
from reportgen.sources.user_agents import program_of

LOGS = Path(__file__).parent / "logs"
DAY = date(2026, 11, 26)
ALL = Span(date(2000, 1, 1), date(2030, 1, 1))
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
ASSET = re.compile(
    r"\.(?:css|js|mjs|map|wasm|json|webmanifest|xml|txt|png|jpe?g|gif|webp|avif|svg|ico|bmp|woff2?|ttf|otf|eot"
    r"|mp[34]|webm|ogg|m4a|wav)$",
    re.IGNORECASE,
)
Visits = dict[tuple[date, str], int]


def read_log(url: str, span: Span = ALL, timezone: str = "UTC", **log: Any) -> tuple[Visits, Counter[str]]:
    """Return the visits by date and path, and the requests left out by reason."""
    config = config_from_options({"source": {"url": url, "log": log}, "timezone": timezone})
    with open_source(config.source, timezone, span) as source:
        visits = {(day, path): n for day, path, n in source.rows("SELECT day, path, visits FROM visits", {})}
        left_out: Counter[str] = Counter()
        for each in source.read_left_out(span):
            left_out[each.reason] += each.requests
    return visits, left_out


def combined(
    request: str = "GET / HTTP/1.1",
    status: int = 200,
    agent: str = BROWSER,
    time: str = "26/Nov/2026:12:00:00 +0000",
) -> str:
    return f'198.18.0.1 - - [{time}] "{request}" {status} 512 "-" "{agent}"\n'


def write(folder: Path, lines: Iterable[str], name: str = "access.log") -> str:
    file = folder / name
    content = "".join(lines).encode()
    file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return str(file)


def count_by_hand(lines: Sequence[str]) -> tuple[Visits, Counter[str]]:
    """Count line by line, by splitting at quotes: another way than the product's."""
    visits: Counter[tuple[date, str]] = Counter()
    left_out: Counter[str] = Counter()
    days: set[date] = set()
    for line in lines:
        parts = line.split('"')
        if len(parts) not in {3, 7}:
            left_out["unreadable"] += 1
            continue
        method, _, rest = parts[1].partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        status = int(parts[2].split()[0])
        day = (
            datetime.strptime(line.split("[")[1].split("]")[0], "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC).date()
        )
        if len(parts) == 7 and program_of(parts[5]):
            left_out["bot"] += 1
        elif status >= 400:
            left_out["error"] += 1
        elif method != "GET":
            left_out["method"] += 1
        elif 300 <= status != 304:
            left_out["redirect"] += 1
        elif status not in {200, 201, 202, 203, 304}:
            left_out["other_status"] += 1
        elif ASSET.search(path):
            left_out["asset"] += 1
        else:
            visits[day, path] += 1
        days.add(day)
    recorded = dict.fromkeys(((day, "/") for day in days - {day for day, _ in visits}), 0)
    return {**visits, **recorded}, left_out


@pytest.mark.parametrize(
    "name", ["semicomplete-combined.log.gz", "sauna-combined.log", "farmwork-common.log"]
)
def test_real_logs_are_counted_as_by_hand(name: str) -> None:
    file = LOGS / name
    content = gzip.decompress(file.read_bytes()) if name.endswith(".gz") else file.read_bytes()
    lines = content.decode(errors="replace").splitlines()
    visits, left_out = read_log(str(file))
    assert (visits, left_out) == count_by_hand(lines)
    assert sum(visits.values()) + left_out.total() == len(lines)
    assert sum(visits.values()) > 100


REQUESTS = [
    ("GET", "/", 200, BROWSER, ""),
    ("GET", "/a?page=2&fbclid=1", 304, BROWSER, ""),
    ("HEAD", "/", 200, BROWSER, ""),
    ("GET", "/gone", 404, BROWSER, ""),
    ("GET", "/moved", 301, BROWSER, ""),
    ("GET", "/a.css", 200, BROWSER, ""),
    ("GET", "/range", 206, BROWSER, ""),
    ("GET", "/", 200, "Mozilla/5.0 (compatible; GPTBot/1.2)", ""),
    ("GET", "/next", 200, BROWSER, "prefetch;prerender"),
]
"""Method, target, status, user agent and Sec-Purpose: two visits, and one request for each reason."""
KEPT = {(DAY, "/"): 1, (DAY, "/a"): 1}
LEFT_OUT = dict.fromkeys(("bot", "method", "error", "redirect", "asset", "other_status", "prefetch"), 1)


def _caddy(method: str, target: str, status: int, agent: str, purpose: str) -> str:
    headers = {"User-Agent": [agent], **({"Sec-Purpose": [purpose]} if purpose else {})}
    request = {
        "remote_ip": "198.18.0.1",
        "method": method,
        "host": "example.com",
        "uri": target,
        "headers": headers,
    }
    return json.dumps({"level": "info", "ts": 1795694400.5, "request": request, "status": status})


def _traefik(method: str, target: str, status: int, agent: str, purpose: str) -> str:
    fields = {"ClientHost": "198.18.0.1", "DownstreamStatus": status, "RequestHost": "example.com",
              "RequestMethod": method, "RequestPath": target, "StartUTC": "2026-11-26T12:00:00.1Z",
              "request_User-Agent": agent, "request_Sec-Purpose": purpose}  # fmt: skip
    return json.dumps(fields)


LOCAL = "[26/Nov/2026:12:00:00 +0000]"
ISO = "2026-11-26T12:00:00+00:00"
REST = '"{m} {t} HTTP/1.1" {s} 5 "-" "{a}"'
SPELLINGS: dict[str, tuple[str | None, str]] = {
    "combined": (None, f"198.18.0.1 - ann {LOCAL} {REST}"),
    "more fields": (None, f'198.18.0.1 - - {LOCAL} {REST} "-" 0.003'),
    "host first": (None, f"example.com:443 198.18.0.1 - - {LOCAL} {REST}"),
    "nginx": (
        """log_format main '$remote_addr [$time_iso8601] $host "$request" '
               '$status "$http_user_agent" $http_sec_purpose';""",
        f'198.18.0.1 [{ISO}] example.com "{{m}} {{t}} HTTP/1.1" {{s}} "{{a}}" {{p}}',
    ),
    "nginx json": (
        '{"t":"$time_iso8601","r":"$request","s":$status,"a":"$http_user_agent","p":"$http_sec_purpose"}',
        f'{{{{"t":"{ISO}","r":"{{m}} {{t}} HTTP/1.1","s":{{s}},"a":"{{a}}","p":"{{p}}"}}}}',
    ),
    "apache": (
        'LogFormat "%{Host}i %h %l %u %t \\"%r\\" %>s %b \\"%{User-Agent}i\\" %{Sec-Purpose}i" mine',
        'example.com 198.18.0.1 - - [26/Nov/2026:13:00:00 +0100] "{m} {t} HTTP/1.1" {s} 5 "{a}" {p}',
    ),
    "nginx in double quotes": (
        r"""log_format m "$time_local\t$host\\$status[$request]" " \"$http_user_agent\"" '$scheme';""",
        '26/Nov/2026:12:00:00 +0000\texample.com\\{s}[{m} {t} HTTP/1.1] "{a}"-',
    ),
    "apache's other variables": (
        r"%{%F %T %z}t %{us}T %{id}C %{x}^ti %^FU %r \"%{User-Agent}i\" %>s",
        '2026-11-26 12:00:00 +0000 512 - - - {m} {t} HTTP/1.1 "{a}" {s}',
    ),
    "milliseconds": ("%{msec}t %m %U%q %>s %{User-Agent}i", "1795694400123 {m} {t} {s} {a}"),
    "microseconds": ("%{usec}t %m %U%q %>s %{User-Agent}i", "1795694400123456 {m} {t} {s} {a}"),
    "parts": (
        "$msec\t$request_method\t$uri\t$args\t$status\t$http_user_agent",
        "1795694400.123\t{m}\t{u}\t{q}\t{s}\t{a}",
    ),
}


@pytest.mark.parametrize("name", [*SPELLINGS, "Caddy (purpose)", "Traefik (purpose)"])
def test_each_format_gives_the_same_visits(name: str, tmp_path: Path) -> None:
    text, template = SPELLINGS.get(name, (None, ""))
    log = {"format": text} if text else {}
    if name not in SPELLINGS:
        lines = [(_caddy if name.startswith("Caddy") else _traefik)(*each) for each in REQUESTS]
    else:
        lines = [
            template.format(
                m=m, t=t, u=t.partition("?")[0], q=t.partition("?")[2] or "-", s=s, a=a, p=p or "-"
            )
            for m, t, s, a, p in REQUESTS
        ]
    visits, left_out = read_log(write(tmp_path, [line + "\n" for line in lines]), **log)
    if "Purpose" not in (text or "") and "purpose" not in (text or name):  # the format does not hold it
        assert visits.pop((DAY, "/next")) == 1
        left_out["prefetch"] = 1
    assert (visits, left_out) == (KEPT, LEFT_OUT)


def test_the_query_is_dropped_but_for_the_names_that_are_kept(tmp_path: Path) -> None:
    targets = [
        "/a?page=2&fbclid=x",
        "/a?fbclid=y",
        "/a?x=1&page=2",
        "/a?page=3",
        "/a",
        "/a?pages=1",
        "http://example.com/a",
        "/a?",
    ]
    url = write(tmp_path, [combined(f"GET {target} HTTP/1.1") for target in targets])
    assert read_log(url)[0] == {(DAY, "/a"): 8}
    assert read_log(url, query=["page"])[0] == {(DAY, "/a"): 5, (DAY, "/a?page=2"): 2, (DAY, "/a?page=3"): 1}
    args = "$msec $request_method $uri $args $status"
    parts = [
        f"1795694400.1 GET {t.partition('?')[0]} {t.partition('?')[2] or '-'} 200\n"
        for t in targets
        if t[0] == "/"
    ]
    assert read_log(write(tmp_path, parts), format=args, query="page")[0][DAY, "/a?page=2"] == 2


def test_hosts_paths_and_endings_are_chosen_by_settings(tmp_path: Path) -> None:
    def line(host: str, target: str) -> str:
        return f"{host} " + combined(f"GET {target} HTTP/1.1")

    hosts = ["example.com:443", "WWW.example.com:80", "other.org:80"]
    url = write(
        tmp_path, [line(host, "/blog/2026/a.pdf") for host in hosts] + [line(hosts[0], "/wp-login.php")]
    )
    assert read_log(url)[0] == {(DAY, "/blog/2026/a.pdf"): 3, (DAY, "/wp-login.php"): 1}
    visits, left_out = read_log(url, hosts=["Example.com", "*.example.com"], exclude=["/wp-*"])
    assert (visits, left_out) == ({(DAY, "/blog/2026/a.pdf"): 2}, {"other_host": 1, "excluded": 1})
    assert read_log(url, include=["/blog/*"])[1] == {"excluded": 4}
    assert read_log(url, include=["/blog/**"], assets=[".pdf"])[1] == {"excluded": 1, "asset": 3}
    with pytest.raises(SourceError, match=r"does not hold the host, which source\.log\.hosts needs"):
        read_log(write(tmp_path, [combined()]), hosts=["example.com"])


def test_times_are_cut_in_the_zone_and_earlier_dates_are_not_read(tmp_path: Path) -> None:
    times = ["25/Nov/2026:23:30:00 +0000", "26/Nov/2026:23:30:00 +0000", "26/Nov/2026:00:30:00 +0100"]
    url = write(tmp_path, [combined(time=time) for time in times])
    assert read_log(url, timezone="Europe/Berlin")[0] == {(DAY, "/"): 2, (date(2026, 11, 27), "/"): 1}
    visits, left_out = read_log(url, Span(DAY, DAY))
    assert (visits, left_out.total()) == ({(DAY, "/"): 1}, 0)


def test_a_day_with_bots_alone_has_no_visits_but_is_recorded(tmp_path: Path) -> None:
    lines = [combined(), combined(agent="curl/8.5", time="25/Nov/2026:12:00:00 +0000")]
    assert read_log(write(tmp_path, lines))[0] == {(DAY, "/"): 1, (date(2026, 11, 25), "/"): 0}


def test_rotated_and_packed_files_are_read_together(tmp_path: Path) -> None:
    write(tmp_path, [combined()] * 2)
    write(tmp_path, [combined()] * 3, "access.log.1")
    write(tmp_path, [combined()] * 5, "access.log.2.gz")
    write(tmp_path, [], "access.log.3")
    write(tmp_path, [_caddy("GET", "/", 200, BROWSER, "") + "\n"] * 7, "access.log.4")
    write(tmp_path, [combined()] * 2, "access.log.1.gz")
    packed = Path(write(tmp_path, [combined()] * 7, "access.log.4.gz"))
    packed.write_bytes(packed.read_bytes()[:30])  # gzip is writing it, and will delete the log then
    for url in (f"{tmp_path}/access.log*", f"log:{tmp_path}/*"):
        assert read_log(url)[0] == {(DAY, "/"): 17}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$remote_addr $", 'has "\\$" without a name at position 14'),
        ("$remote_addr [$time_local] $status", "has no method: add \\$request or"),
        ("$time_local $request_method $request_uri", "has no status: add \\$status"),
        ("$request $status", "has no time: add \\$time_local"),
        ("%h %t %r %Z%", 'has "%" without a known name at position 12'),
        ("", "has no time"),
        ("log_format m '$time_local;", "has a quote without its end"),
        ("'$time_local $request' $status", "has a quote without its end, or text outside its quotes"),
        ("%{%H:%M:%S}t %r %{%z}t %>s", "has no time"),
        (
            "[$time_iso8061] $request $status",
            'Unknown variable "\\$time_iso8061": did you mean "\\$time_iso8601"',
        ),
        ("$time_local $request $statuss", 'Unknown variable "\\$statuss": did you mean "\\$status"'),
        ("$time_local $request $request_time", r"has no status: add \$status \(Apache: %>s\)$"),
    ],
)
def test_a_mistake_in_a_format_is_named_with_its_position(text: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        parse_format(text)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            '$remote_addr - $remote_user [$time_local] "$request" $status',
            r"differs at \$time_local\. Correct",
        ),
        ('$remote_addr [$time_local] "$request" $status', r'differs at " \[" after \$remote_addr\. Correct'),
        ('%h %l %u [%{%F %T %z}t] "%r" %>s', r"differs at %\{%F %T %z\}t\. Correct"),
    ],
)
def test_a_format_that_does_not_fit_is_shown_beside_a_line(form: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        read_log(write(tmp_path, [combined(time="2026-11-26T12:00:00+00:00")] * 2), format=form)
    assert re.search(message, str(error.value))
    assert f'do not have source.log.format "{form}". The first: "…[' in str(error.value)
    assert "Set source.log.format" not in str(error.value)


def test_lines_whose_time_has_another_form_are_shown(tmp_path: Path) -> None:
    said = r'100 %.*: line 1: ".*", whose time cannot be read; line 2: .*\. Correct source\.log\.format'
    with pytest.raises(SourceError, match=said):
        read_log(
            write(tmp_path, [combined()] * 20),
            format='$remote_addr - $remote_user [$time_iso8601] "$request" $status',
        )


def test_a_format_with_quotes_and_comments_is_that_of_the_server() -> None:
    assert parse_format(f"log_format combined '{COMBINED}';").pattern == parse_format(COMBINED).pattern


def test_lines_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    odd = ["\n", "x" * 1_000_000 + "\n", "y" * 3_000_000 + "\n", "a\0b\n", "café \n"]
    odd += [combined("\\x16\\x03", 400), combined(time="31/Feb/2026:12:00:00 +0000"), combined()[:60]]
    file = Path(write(tmp_path, [combined()] * 100 + odd))
    file.write_bytes(file.read_bytes() + b"\n\xff\xfe\n")
    visits, left_out = read_log(str(file))
    assert (visits, left_out) == ({(DAY, "/"): 100}, {"error": 1, "unreadable": 7})


def test_times_that_no_date_can_hold_are_unreadable(tmp_path: Path) -> None:
    times = ["1795694400.1", "1e300", "-1e300", "nan", "1795694400123456789", "", "x"]
    visits, left_out = read_log(
        write(tmp_path, [f"{time} GET / 200\n" for time in ["1795694400.1"] * 60 + times]),
        format="$msec $request_method $uri $status",
    )
    assert (visits, left_out) == ({(DAY, "/"): 62}, {"unreadable": 5})


def test_very_long_user_agents_do_not_take_long(tmp_path: Path) -> None:
    agents = [text * 20_000 + str(n) for n in range(5) for text in ("-", "1.", "a;", "x/")]
    start = time.process_time()
    visits, left_out = read_log(write(tmp_path, [combined(agent=agent) for agent in agents]))
    assert sum(visits.values()) + left_out.total() == 20
    assert time.process_time() - start < 5


def test_too_many_unreadable_lines_are_an_error_that_shows_three_without_readers(tmp_path: Path) -> None:
    odd = [f'198.18.0.7 2001:db8::7 "{BROWSER}" something else {n}\n' for n in range(12)]
    url = write(tmp_path, [combined()] * 80 + odd[:8])
    assert read_log(url)[1] == {"unreadable": 8}
    url = write(tmp_path, [combined()] * 80 + odd)
    with pytest.raises(
        SourceError, match=r"12 of 92 lines are unreadable \(13 %, and at most 10 % may be\)"
    ) as error:
        read_log(url)
    assert 'may be): line 81: "… … "…" something else 0"; line 82: ' in str(error.value)
    assert "else 3" not in str(error.value)
    assert "198.18" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        combined(time="26/Mai/2026:12:00:00 +0000").encode(),  # not the name of a month in English
        combined(agent="Caf\u00e9").encode("latin-1"),
        combined("GET /\r HTTP/1.1").encode(),
    ],
)
def test_lines_that_only_duckdb_does_not_read_are_shown(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "access.log").write_bytes(combined().encode() * 1500 + line * 1500)
    with pytest.raises(SourceError, match=r'may be\): line 1501: "…\[.*; line 1502: .*; line 1503: '):
        read_log(str(tmp_path / "access.log"))


@pytest.mark.parametrize(
    "reader",
    ["198.18.0.1", "fe80::1", "::1", "2a02:810d::5", "2001:db8:1:2:3:4:5:6", "::ffff:198.18.0.1",
     "/reset?token=8f3a", "/a?email=ann@example.org", "ann@example.org", '"session=8f3a; theme=dark"',
     '"user_id":"ann"', '"ClientUsername":"ann"', '"Authorization: Basic 8f3a"', "/a%3Ftoken%3D8f3a",
     '"Opera/9.80 (X11; Linux)"', f'"{BROWSER}"'],
)  # fmt: skip
def test_no_message_shows_a_reader(reader: str, tmp_path: Path) -> None:
    odd = [f"odd {reader} x\n", f"{reader} - ann {LOCAL} odd\n"]
    with pytest.raises(SourceError, match="The first: ") as first:
        read_log(write(tmp_path, odd))
    with pytest.raises(SourceError, match="line 4: ") as second:
        read_log(write(tmp_path, [combined(), combined(), *odd]))
    shown = f"{first.value}{second.value}"
    for secret in ("198.", "::", "2a02", "db8", "8f3a", "ann", "dark", "X11"):
        assert secret not in shown, shown
    assert "26/Nov/2026:12:00:00" in shown


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the log has no lines yet"),
        (b"\n\n", "the log has no lines yet"),
        (
            b"date,path,visits\n2026-11-26,/,1\n",
            r'not have the format of an access log \(combined,.*first: "date,path',
        ),
        (bytes(range(256)) * 40, "not have the format of an access log"),
        ("".join([combined()] * 3).encode("utf-16"), "not have the format of an access log"),
        (json.dumps({"level": "info", "msg": "started"}).encode(), "not have the format of an access log"),
    ],
)
def test_what_is_not_an_access_log_is_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_log(str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    packed = gzip.compress("".join([combined(f"GET /{n} HTTP/1.1") for n in range(5000)]).encode())
    (tmp_path / "half.log.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "plain.log.gz").write_bytes(combined().encode())
    (tmp_path / "old.log.xz").write_bytes(b"\xfd7zXZ\x00" + bytes(100))
    for url, message in (
        (
            f"log:{tmp_path}/logs",
            "is a directory. Write a pattern of its files, such as '.*/logs/access.log[*]'",
        ),
        (f"{tmp_path}/none.log", "none.log: no such file$"),
        (f"{tmp_path}/none.log*", "no file matches"),
        (f"{tmp_path}/half.log.gz", "half.log.gz: .*whole access log"),
        (f"{tmp_path}/plain.log.gz", "plain.log.gz: is not packed with gzip"),
        (f"{tmp_path}/old.log.xz", "old.log.xz: only gzip can be unpacked"),
    ):
        with pytest.raises(SourceError, match=message):
            read_log(url)


def test_logs_that_are_rotated_while_they_are_read_are_read_again(tmp_path: Path) -> None:
    url = write(tmp_path, [combined()])
    config = config_from_options({"source": {"url": f"{url}*"}})
    with ExitStack() as opened:
        opened.enter_context(open_source(config.source, "UTC", ALL))
        Path(url).rename(f"{url}.1")
        write(tmp_path, [combined()])
        with pytest.raises(SourceUnavailable, match="rotated while they were read"):
            opened.close()
    with pytest.raises(SourceUnavailable, match="rotated"), open_source(config.source, "UTC", ALL):
        Path(url).write_text("")  # copytruncate
    write(tmp_path, [combined()])
    with open_source(config.source, "UTC", ALL), Path(url).open("a") as log:
        log.write(combined())  # a log that grows is read as far as it went


def test_each_reason_has_words_in_the_order_of_the_reasons() -> None:
    assert tuple(REASON_WORDS) == REASONS


def test_the_list_of_programs_knows_bots_and_no_browser() -> None:
    """The user agents are of ua-parser (programs, Apache-2.0) and of isbot (browsers, public domain)."""
    bots = (LOGS / "programs.txt").read_text().splitlines()
    browsers = (LOGS / "browsers.txt").read_text().splitlines()
    assert len(bots) >= 70
    assert len(browsers) >= 200
    missed = [each for each in bots if program_of(each) is None]
    assert len(missed) <= 0.03 * len(bots), missed
    assert [each for each in browsers if program_of(each)] == []


@pytest.mark.parametrize(
    ("agent", "kind", "name"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://google.com)", "search_engine", "Googlebot"),
        ("Mozilla/5.0 (KHTML, like Gecko); compatible; GPTBot/1.2", "ai_crawler", "GPTBot"),
        ("Mozilla/5.0 (compatible; ChatGPT-User/1.0)", "ai_for_a_person", "ChatGPT-User"),
        ("Feedbin feed-id:1 - 3 subscribers", "feed_reader", "Feedbin"),
        ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://uptimerobot.com/)", "monitor", "UptimeRobot"),
        ("facebookexternalhit/1.1", "preview", "facebookexternalhit"),
        ("curl/8.5.0", "library", "curl"),
        ("python-requests/2.32", "library", "python-requests"),
        ("MyOwnBot/1.0", "other", "MyOwnBot"),
        ("something", "other", "something"),
        ("-", "other", "without a user agent"),
    ],
)  # fmt: skip
def test_a_program_has_a_kind_and_a_name(agent: str, kind: str, name: str) -> None:
    assert program_of(agent) == (kind, name)
