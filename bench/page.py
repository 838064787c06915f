"""Measures pages in a browser: those of reportgen, and those that the part ``rivals`` has made.

Each page is opened in headless Chromium in a context of its own (nothing cached): unthrottled, at 10 Mbit/s
with 40 ms a response, and with the processor slowed down four times. All are served compressed.
"""

import gzip
import mimetypes
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from common import (
    OURS,
    REPORTGEN,
    ROOT,
    SCRATCH,
    AbsentError,
    Options,
    build_command,
    cost_of,
    interleaved,
    versions,
)

CONDITIONS: dict[str, tuple[bool, int]] = {
    "unthrottled": (False, 1),
    "10 Mbit/s, 40 ms": (True, 1),
    "CPU 4 times slower": (False, 4),
}
"""Name → whether the network is slow, and how many times slower the CPU is."""

RIVALS = {
    "baseline script": "baseline script/30d.html", "marimo": "marimo/index.html",
    "nbconvert": "nbconvert/index.html", "Framework": "Framework/30d.html",
}  # fmt: skip

WATCH = """
(() => {
  const seen = (window.__bench = { lcp: 0, cls: 0, blocked: [], chart: 0, live: 0, hovered: 0 });
  const on = (type, use) => new PerformanceObserver((list) => list.getEntries().forEach(use))
    .observe({ type, buffered: true });
  on("largest-contentful-paint", (entry) => { seen.lcp = entry.startTime; });
  on("layout-shift", (entry) => { if (!entry.hadRecentInput) seen.cls += entry.value; });
  on("longtask", (entry) => { seen.blocked.push([entry.startTime, entry.duration]); });
  const large = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.shadowRoot && large(one.shadowRoot)) return true;
      if (/^(svg|canvas)$/i.test(one.tagName)) {
        const { width, height } = one.getBoundingClientRect();
        if (width > 250 && height > 150) return true;
      }
    }
    return false;
  };
  const look = () => {
    if (!seen.chart && document.body && large(document)) seen.chart = performance.now();
    if (seen.hovered && !seen.live && document.querySelector(".live svg")?.checkVisibility()) {
      seen.live = performance.now();
    }
    if (!seen.chart || !seen.live) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
  addEventListener("pointerover", (event) => {
    if (!seen.hovered && event.target.closest?.(".chart")) seen.hovered = performance.now();
  }, true);
})();
"""

FIGURES = """
() => {
  const { lcp, cls, blocked, chart } = window.__bench;
  const fcp = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0;
  const tbt = blocked.filter(([at, took]) => at + took > fcp)
    .reduce((sum, [, took]) => sum + Math.max(0, took - 50), 0);
  return { fcp_ms: fcp, lcp_ms: lcp, chart_ms: chart, tbt_ms: tbt, cls };
}
"""


def run(options: Options) -> tuple[dict[str, object], dict[str, str]]:
    """Open every page under every condition, in turn."""
    sys.path.insert(0, str(ROOT))
    from playwright.sync_api import sync_playwright

    from tests.support.browser import find

    chromium = find()
    if not chromium:
        raise AbsentError("there is no Chromium")
    with tempfile.TemporaryDirectory(prefix="reportgen-bench-") as name, sync_playwright() as playwright:
        output = Path(name)
        cost_of(build_command(output, "--source", "sample"))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        with ours(output) as address, rivals() as theirs:
            urls = {f"reportgen, {page}": f"{address}/{page}/" for page in ("today", "7d", "30d")}
            if options.short:
                urls = {"reportgen, 30d": urls["reportgen, 30d"]}
            else:
                urls |= theirs
            conditions = ["unthrottled"] if options.short else list(CONDITIONS)
            cases: dict[str, Callable[[], Mapping[str, float]]] = {
                f"{page}: {condition}": partial(opened, browser, url, *CONDITIONS[condition])
                for condition in conditions
                for page, url in urls.items()
            }
            figures, absent = interleaved(cases, options)
        about = versions("playwright") | {"Chromium": browser.version}
        browser.close()
    return dict(figures) | {"left out": absent}, about


def opened(browser: Any, url: str, slow_line: bool, slower: int) -> dict[str, float]:  # noqa: FBT001 - a row of CONDITIONS
    """Open one page with nothing cached; return times in ms, kilobytes received, and number of requests."""
    from playwright.sync_api import Error

    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        context.add_init_script(WATCH)
        page = context.new_page()
        line = context.new_cdp_session(page)
        received: list[float] = []
        asked: list[str] = []
        line.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
        page.on("request", lambda one: None if one.url.startswith("data:") else asked.append(one.url))
        line.send("Network.enable")
        if slow_line:
            speed = {"downloadThroughput": 1_250_000, "uploadThroughput": 1_250_000}
            line.send("Network.emulateNetworkConditions", {"offline": False, "latency": 40, **speed})
        line.send("Emulation.setCPUThrottlingRate", {"rate": slower})
        page.goto(url, wait_until="load", timeout=60_000)
        page.wait_for_function("() => window.__bench.chart > 0", timeout=60_000)
        page.wait_for_load_state("networkidle", timeout=60_000)
        page.wait_for_timeout(500)  # long tasks and late shifts are reported a little later
        found: dict[str, float] = page.evaluate(FIGURES)
        found |= {"kb": sum(received) / 1000, "requests": len(asked)}
        if "/30d/" in url or "/7d/" in url or "/today/" in url:
            found["hover_ms"] = hovered(page)
    except Error as exc:
        raise AbsentError(str(exc)) from exc
    else:
        return found
    finally:
        context.close()


def hovered(page: Any) -> float:
    """Move the pointer to the first chart; return the ms until it is interactive."""
    chart = page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    chart.hover(position={"x": 30, "y": 60})
    page.wait_for_function("() => window.__bench.live > 0", timeout=60_000)
    return float(page.evaluate("() => window.__bench.live - window.__bench.hovered"))


@contextmanager
def ours(output: Path) -> Iterator[str]:
    """Serve the sample by ``reportgen serve`` until the block ends; yield the address."""
    from serve import running

    port = _free_port()
    command = [*REPORTGEN, "serve", "--no-schedule", "--port", str(port), "--output", str(output)]
    with running(command, port, output):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def rivals() -> Iterator[dict[str, str]]:
    """Serve the pages of other programs, compressed, until the block ends; yield the URL of each."""
    found = {name: page for name, page in RIVALS.items() if (SCRATCH / "pages" / page).is_file()}
    if "marimo" in found:
        localise(SCRATCH / "pages" / "marimo")
    port = _free_port()
    command = [sys.executable, __file__, str(port), str(SCRATCH / "pages")]
    with subprocess.Popen(command, env=OURS) as server:  # noqa: S603 - our own command
        try:
            from serve import wait_for

            wait_for(port)
            yield {
                name: f"http://127.0.0.1:{port}/{page.replace(' ', '%20')}" for name, page in found.items()
            }
        finally:
            server.terminate()


def localise(folder: Path) -> None:
    """Put marimo's files beside its page, which would load them from another host."""
    page = folder / "index.html"
    text = re.sub(r"https://[^\"' ]*/@marimo-team/frontend@[^/]*/dist", "/marimo/static", page.read_text())
    page.write_text(text)
    source = next((SCRATCH / "marimo").glob("lib/python*/site-packages/marimo/_static"))
    with suppress(FileExistsError):
        shutil.copytree(source, folder / "static")


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        return int(free.server_address[1])


def serve_files(port: int, root: Path) -> None:
    """Serve a folder; each file is compressed with gzip once and kept in memory."""
    kept: dict[str, tuple[str, bytes]] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            from urllib.parse import unquote

            name = unquote(self.path.partition("?")[0]).lstrip("/")
            file = root / name
            if name not in kept and file.is_file():
                kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
                kept[name] = (kind, gzip.compress(file.read_bytes(), 6))
            kind, body = kept.get(name, ("text/plain", gzip.compress(b"")))
            self.send_response(200 if name in kept else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    Thread(target=server.serve_forever).start()


if __name__ == "__main__":
    serve_files(int(sys.argv[1]), Path(sys.argv[2]))
