"""Visits to pages in a real browser: what a reader sees, and what a page must not do."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Dialog, Locator, Page, Request

PHONE, DESKTOP = (390, 844), (1440, 900)
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

WATCH = """
window.__seen = { violations: [], shifts: [] };
document.addEventListener("securitypolicyviolation", (event) =>
  window.__seen.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    const box = ({ x, y, width, height }) => [x, y, width, height].map(Math.round);
    const moved = sources.map(({ node, previousRect, currentRect }) =>
      `${node?.outerHTML?.slice(0, 60) ?? node?.textContent} ${box(previousRect)} > ${box(currentRect)}`);
    window.__seen.shifts.push(`${value}: ${moved.join("; ")}`);
  }
}).observe({ type: "layout-shift", buffered: true });
"""

CLOCK = """
(() => {
  const Real = Date;
  const ahead = Real.parse("%s") - Real.now();
  const now = () => Real.now() + ahead;
  globalThis.Date = new Proxy(Real, {
    construct: (target, given) => new target(...(given.length ? given : [now()])),
    get: (target, name) => (name === "now" ? now : target[name]),
  });
})();
"""
"""Sets the clock, which then runs on. (Playwright's own clock hides the header Server-Timing.)"""

READ_AT = "2026-11-23T16:12:00Z"
"""When pages are read: 12 minutes after they were built."""


@dataclass
class Visit:
    """One page, opened in a context of its own; ``requests`` and ``noise`` grow while it is open."""

    page: Page
    requests: list[str] = field(default_factory=list)
    noise: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Record the page's requests, messages, dialogs and windows."""
        self.page.on("request", self._asked)
        self.page.on("dialog", self._dialog)
        self.page.on("console", lambda message: self.noise.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        self.page.on("requestfailed", lambda request: self.noise.append(f"failed: {request.url}"))
        self.page.on("popup", lambda _: self.noise.append("a window opened"))

    def _asked(self, request: Request) -> None:
        if not request.url.startswith("data:"):  # the icon
            self.requests.append(request.url)

    def _dialog(self, dialog: Dialog) -> None:
        self.noise.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def violations(self) -> list[str]:
        """Return messages, policy violations, requests to other hosts, and scripts that came from paths."""
        seen = self.page.evaluate("() => window.__seen?.violations ?? []")  # nothing watches without scripts
        ran = self.page.evaluate("() => window.__pwned === undefined ? [] : ['a path ran']")
        return self.noise + seen + ran + [url for url in self.requests if _host(url) != _host(self.page.url)]

    def shifts(self) -> list[str]:
        """Return all layout shifts so far, with what moved."""
        self.frames()
        shifts: list[str] = self.page.evaluate("() => window.__seen.shifts")
        return shifts

    def frames(self) -> None:
        """Let the page paint."""
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")

    def charts(self) -> list[Locator]:
        """Return the page's charts."""
        return self.page.locator(".chart").all()

    def activate_charts(self) -> None:
        """Make every chart interactive by moving the pointer over it, then move the pointer away."""
        for chart in self.charts():
            chart.scroll_into_view_if_needed()
            chart.hover(position={"x": 3, "y": 3})
            chart.locator(".live svg:visible").wait_for()
        self.page.mouse.move(0, 0)
        self.page.evaluate("() => scrollTo(0, 0)")
        self.frames()

    def overflow_px(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        wider = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wider))

    def axe(self) -> list[str]:
        """Return axe-core's findings, each with its first elements."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE_SCRIPT)
        options = {"runOnly": {"type": "tag", "values": TAGS}, "resultTypes": ["violations"]}
        found = self.page.evaluate("(options) => axe.run(options)", options)["violations"]
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found
        ]

    def boxes(self, selector: str) -> list[Mapping[str, float]]:
        """Return place and size in the page of every element that matches and is shown."""
        return list(
            self.page.eval_on_selector_all(
                selector,
                """(all) => all.filter((one) => one.checkVisibility()).map((one) => {
                  const { x, y, width, height } = one.getBoundingClientRect();
                  const box = { x: x + scrollX, y: y + scrollY, width, height };
                  return Object.fromEntries(
                    Object.entries(box).map(([name, value]) => [name, Math.round(value * 10) / 10]));
                })""",
            )
        )

    def texts(self, selector: str) -> list[str]:
        """Return the text of every element that matches, as it stands in the page."""
        return self.page.locator(selector).all_text_contents()


Open = Callable[..., Visit]
"""The fixture ``visit``: called with the page's address and options of the visit."""


@contextmanager
def visited(
    chromium: Browser,
    url: str | None,
    *,
    size: tuple[int, int] = DESKTOP,
    at: str | None = READ_AT,
    **options: Any,
) -> Iterator[Visit]:
    """Open a page, or a blank one, at a time (or now), in a window of ``size``.

    ``options`` are those of Playwright's contexts.
    """
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    context.set_default_timeout(60_000)
    context.add_init_script(WATCH)
    if at:
        context.add_init_script(CLOCK % at)
    visit = Visit(context.new_page())
    visit.listen()
    try:
        if url:
            visit.page.goto(url)
        yield visit
    finally:
        context.close()


def _host(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
