"""A small server for the demo: the current release, to this machine only.

Each request resolves ``current`` anew, so a new release shows at the next click.
"""

from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from reportgen.errors import ConfigError


class ReleaseHandler(SimpleHTTPRequestHandler):
    """Serves files of the current release; no listing, no log, the release's own 404."""

    protocol_version = "HTTP/1.1"
    server_version = "reportgen"
    sys_version = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: the demo's terminal shows what matters."""

    def list_directory(self, path: Any) -> None:
        """Answer 404 where the base class would list a directory."""
        del path
        self.send_error(HTTPStatus.NOT_FOUND)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with the release's 404 page where there is one."""
        page = Path(self.directory) / "404.html"
        if code != HTTPStatus.NOT_FOUND or not page.is_file():
            super().send_error(code, message, explain)
            return
        content = page.read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        """Let no page be kept beyond its release."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()


def demo_server(root: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server of ``root/current``, listening but not yet serving.

    Raises:
        ConfigError: the address cannot be listened on.

    """
    try:
        return ThreadingHTTPServer((host, port), partial(ReleaseHandler, directory=str(root / "current")))
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {host}:{port}: {exc.strerror}. "
            "Name another port with --port, or stop what holds it"
        ) from exc
