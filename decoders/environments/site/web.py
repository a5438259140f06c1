"""The sites for browsers: `GET /<level>-<kind>-<seed>/<page>`, and `/answer?code=k+4` ends an episode.

Rule: the server keeps nothing. A browser knows where it is; what it answers is judged in the page that it gets for it.
"""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from decoders.environments.site.episode import Site
from decoders.environments.site.pages import document


class SiteServer(ThreadingHTTPServer):
    """Listens on `host` and `port`; port 0 takes any that is free."""

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server_address[0]!s}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """A page, or what follows an answer."""
        address = urlsplit(self.path)
        try:
            body, status = _document(address.path, address.query), 200
        except (ValueError, IndexError):
            body, status = document("no such page", "<p>no such page: try /2-find-7/0</p>"), 404
        data = body.encode()
        self.send_response(status)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: an agent makes thousands of requests."""


def _document(path: str, query: str) -> str:
    name, place = path.strip("/").split("/")
    site = Site.named(name)
    if place == "answer":
        return site.ending(parse_qs(query).get("code", [""])[0])
    if not place.isdecimal():
        raise ValueError(f"not a page: {place!r}")
    return site.html(int(place))
