"""A web page's server: the page's files, messages of the feed, and keys back. Standard library only.

    GET  /                              the page; with ?token=... it also leaves the token with the browser as a cookie
    GET  /page.css, /page.js, ...       its parts
    GET  /frame?after=N&viewer=NAME     waits for a message whose number is not N (feed.py says what is in it);
                                        204 when none came in time, 503 when MOST_VIEWERS others are looking
    POST /key                           a body of one of the page's keys; 204
"""
from __future__ import annotations

import hmac
import re
import socket
import socketserver
import sys
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep
from typing import Callable
from urllib.parse import parse_qs

from .feed import Feed

KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
PLAIN = "text/plain; charset=utf-8"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOPBACK_NAME = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)

MOST_VIEWERS = 20
MOST_CONNECTIONS = 100  # a browser keeps several open
WAIT_SECONDS = 10  # a viewer is told after so long that there is nothing new
CONNECTION_SECONDS = 10  # who does not take or send anything for so long is cut off
SEAT_SECONDS = 15  # a viewer who has not asked for so long has left; longer than WAIT_SECONDS
CLOSE_SECONDS = 0.1  # the end is noticed after so long
PARTING_SECONDS = 1  # at the end, for viewers between two requests to ask once more, and for the last message to get through

SAFE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
REFUSAL = """\
<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Not without the token</title>
<h1>Not without the token</h1>
<p>The program printed an address with a token when it was started, like <code>http://.../?token=...</code>.
Open that whole address. The token is a new one after every start.</p>
"""
REBOUND = "This page answers to the names localhost and 127.0.0.1 only. Start the program with --host to look from elsewhere.\n"


@dataclass(frozen=True)
class Page:
    """What is served: the file behind each path, the keys that are taken, and the name put for {{name}} in the HTML."""

    files: dict[str, Path]
    keys: str
    name: str

    def content(self) -> dict[str, tuple[bytes, str]]:
        """path -> (bytes, media type)."""
        return {path: (self._filled(file), KINDS[file.suffix]) for path, file in self.files.items()}

    def _filled(self, file: Path) -> bytes:
        content = file.read_bytes()
        return content.replace(b"{{name}}", escape(self.name).encode()) if file.suffix == ".html" else content


class Access:
    """Who may look.

    Without a token (only this machine can connect) a request must name a loopback address as its host: a page of
    another site that has its own name pointed here is turned away. Otherwise the token is asked for, in the address or
    in the cookie.
    """

    def __init__(self, token: str | None, port: int):
        self.token = token
        self.cookie = f"janken_{port}"  # cookies are shared by all ports of a host

    def allows(self, host: str, cookies: str, query: dict[str, list[str]]) -> bool:
        """host, cookies: those headers of a request; query: of its address."""
        if self.token is None:
            return LOOPBACK_NAME.fullmatch(host) is not None
        pairs = (part.strip().partition("=") for part in cookies.split(";"))
        stored = [value for name, _, value in pairs if name == self.cookie]
        return any(hmac.compare_digest(given.encode(), self.token.encode()) for given in query.get("token", []) + stored)

    @staticmethod
    def same_origin(origin: str | None, host: str) -> bool:
        """Whether a request was not sent by the page of another site. Programs that are no browser tell no origin."""
        return origin is None or origin.partition("://")[2] == host


class PageServer(ThreadingHTTPServer):
    """Serves in threads of its own from the moment it is made until `close`. Raises OSError when it cannot listen."""

    daemon_threads = False  # so that `close` waits for every one of them
    request_queue_size = 32

    def __init__(self, host: str, port: int, token: str | None, page: Page, feed: Feed, press: Callable[[str], None]):
        """press: called with each key that arrives, from any thread."""
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, (address, _, *scope) = found[0]
        self.feed = feed
        self.press = press
        self.files, self.keys = page.content(), page.keys
        self._connections: set[socket.socket] = set()
        self._seats: dict[str, float] = {}  # viewer -> when it asked last
        self._seats_lock = Lock()
        super().__init__((address, port, *scope), Handler)
        self.access = Access(token, self.server_port)
        self._thread = Thread(target=self.serve_forever, args=(CLOSE_SECONDS,), name="web server", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's would look the host's full name up, which can take long
        self.server_name, self.server_port = self.server_address[:2]

    def seat(self, viewer: str) -> bool:
        """Whether this viewer is one of MOST_VIEWERS."""
        with self._seats_lock:
            if viewer not in self._seated() and len(self._seats) >= MOST_VIEWERS:
                return False
            self._seats[viewer] = monotonic()
            return True

    def leave(self, viewer: str) -> None:
        """This viewer has been told that the program has ended."""
        with self._seats_lock:
            self._seats.pop(viewer, None)

    def _anyone(self) -> bool:
        """Whether any viewer is here who has not been told yet."""
        with self._seats_lock:
            return bool(self._seated())

    def _seated(self) -> dict[str, float]:
        """The viewers who have not left, and when each asked last; under the lock."""
        now = monotonic()
        self._seats = {name: asked for name, asked in self._seats.items() if now - asked < SEAT_SECONDS}
        return self._seats

    def verify_request(self, request, client_address) -> bool:
        return len(self._connections) < MOST_CONNECTIONS

    def process_request(self, request, client_address) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a viewer who left is no news
            super().handle_error(request, client_address)

    def close(self) -> None:
        """Let every viewer ask for the last message, stop listening, hang up, and wait for the threads."""
        _wait_while(self._anyone)
        self.shutdown()
        self._hang_up(socket.SHUT_RD)  # who is idle sees its end; who is sending can finish
        _wait_while(lambda: self._connections)
        self._hang_up(socket.SHUT_RDWR)
        self.server_close()
        self._thread.join()

    def _hang_up(self, how: int) -> None:
        for connection in list(self._connections):
            with suppress(OSError):  # gone by itself
                connection.shutdown(how)


def _wait_while(busy: Callable[[], object]) -> None:
    """Wait until it is not, for PARTING_SECONDS at most."""
    deadline = monotonic() + PARTING_SECONDS
    while busy() and monotonic() < deadline:
        sleep(0.01)


class Handler(BaseHTTPRequestHandler):
    """One connection, with one request after the other."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    timeout = CONNECTION_SECONDS
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path, _, query_text = self.path.partition("?")
        query = parse_qs(query_text)
        if not self._admitted(query):
            return
        if not self._answered(path, query):
            self._answer(404, b"There is nothing here.\n")

    def _answered(self, path: str, query: dict[str, list[str]]) -> bool:
        """Whether there is anything at that path."""
        if path == "/frame":
            self._answer_frame(query)
        elif path in self.server.files:
            self._answer_file(path)
        else:
            return False
        return True

    def _answer_file(self, path: str, more: dict[str, str] | None = None) -> None:
        """A file of the page; the page itself brings the token as a cookie."""
        access = self.server.access
        cookie = {"Set-Cookie": f"{access.cookie}={access.token}; HttpOnly; SameSite=Strict; Path=/"}
        self._answer(200, *self.server.files[path], {**(more or {}), **(cookie if access.token and path == "/" else {})})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if length != "1":
            self.close_connection = True  # what the body holds is not read
            self._answer(413 if length.isdecimal() else 411, b"Expected one key.\n")
            return
        key = self.rfile.read(1).decode("latin-1")
        if not self._admitted(parse_qs(self.path.partition("?")[2])):
            return
        if not Access.same_origin(self.headers.get("Origin"), self.headers.get("Host", "")):
            self._answer(403, b"Keys are taken from this page only.\n")
        elif self.path.partition("?")[0] != "/key" or key not in self.server.keys:
            self._answer(400, f"Expected POST /key with one of {', '.join(self.server.keys)}.\n".encode())
        else:
            self.server.press(key)
            self._answer(204)

    def _admitted(self, query: dict[str, list[str]]) -> bool:
        access, headers = self.server.access, self.headers
        if access.allows(headers.get("Host", ""), headers.get("Cookie", ""), query):
            return True
        if access.token is None:
            self._answer(403, REBOUND.encode())
        else:
            self._answer(403, REFUSAL.encode(), KINDS[".html"])
        return False

    def _answer_frame(self, query: dict[str, list[str]]) -> None:
        try:
            after = int(query.get("after", ["-1"])[0])
        except ValueError:
            self._answer(400, b"Expected a whole number for after.\n")
            return
        viewer = query.get("viewer", [""])[0]
        if not self.server.seat(viewer):
            self._answer(503, f"{MOST_VIEWERS} others are looking.\n".encode())
            return
        message = self.server.feed.wait(after, WAIT_SECONDS)
        last = self.server.feed.is_last(message)
        self.close_connection |= last
        if message is None:
            self._answer(204)
        else:
            self._answer(200, message, "application/octet-stream")
        if last:
            self.server.leave(viewer)

    def _answer(self, status: int, body: bytes = b"", kind: str = PLAIN, more: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        headers = {**SAFE_HEADERS, **(more or {})}
        if status != 204:
            headers.update({"Content-Type": kind, "Content-Length": str(len(body))})
        if self.close_connection:
            headers["Connection"] = "close"
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        pass
