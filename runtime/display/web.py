"""A web page on the local network or on this machine. The browser blends the heat: it gets a picture and a grid."""
from __future__ import annotations

import errno
import queue
import secrets
import socket
from pathlib import Path
from time import perf_counter
from typing import Callable

import numpy as np

from ..errors import UsageError
from ..results import Result
from .feed import Feed, Pace, View, live, lost
from .pictures import PictureMaker
from .server import LOOPBACK, Page, PageServer
from .vitals import Vitals

TOKEN_BYTES = 16
MOST_KEYS = 8  # keys that may wait for the loop; more are forgotten
HERE = Path(__file__).parent
THEME = HERE / "theme.css"
SHARED_FILES = {"/theme.css": THEME, "/feed.js": HERE / "feed.js"}  # feed.js: what a live page asks its messages with
LIVE_FILES = {"/": HERE / "page.html", "/page.css": HERE / "page.css", "/page.js": HERE / "page.js", **SHARED_FILES}


class WebPage:
    """A page, served from the moment this is made. Keys come from any viewer.

    Args:
        host: name or address to listen on. On other than a loopback address the page is behind a token.
        port: 0 lets the system choose.
        say: called with the line that tells where the page is.

    Raises:
        UsageError: it cannot listen there.
    """

    def __init__(self, host: str, port: int, say: Callable[[str], None], page: Page):
        self._keys: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._vitals = Vitals()
        self._feed = Feed(PictureMaker(), lambda: self._vitals.latest)
        token = None if host in LOOPBACK else secrets.token_urlsafe(TOKEN_BYTES)
        try:
            self._server = PageServer(host, port, token, page, self._feed, self._press)
        except (OSError, OverflowError, UnicodeError) as error:
            self._feed.close()
            self._vitals.close()
            raise _cannot_listen(host, port, error) from error
        self.url = page_url(host, self._server.server_port, token)
        say(f"the page is at {self.url}{' (whoever has this address sees the camera)' if token else ''}")

    def put(self, view: View, hold_ms: int = 1) -> str:
        """Hand the newest view over and return the next key pressed, "" for none; above 1 ms (a photo) wait so long for one.

        Nobody may write into the view's frame afterwards: it is encoded later, if at all.
        """
        self._feed.put(view)
        try:
            return self._keys.get(timeout=hold_ms / 1000) if hold_ms > 1 else self._keys.get_nowait()
        except queue.Empty:
            return ""

    def lost(self, seconds: float) -> str:
        """Tell viewers that the camera has been gone for so long; returns the next key pressed, "" for none."""
        return self.put(lost(seconds))

    def _press(self, key: str) -> None:
        if self._keys.qsize() < MOST_KEYS:
            self._keys.put(key)

    def close(self) -> None:
        """Tell viewers that the program has ended, and wait for every thread."""
        self._feed.close()
        self._server.close()
        self._vitals.close()


class WebDisplay(WebPage):
    """The live page: frames, results, and the keys s and q. `name`: of what is shown, for the page's title."""

    looks = True
    composes = True  # wants frames and results, not overlays

    def __init__(self, host: str, port: int, say: Callable[[str], None], name: str = "camera"):
        self._pace = Pace()
        super().__init__(host, port, say, Page(LIVE_FILES, "sq", name))

    def present(self, frame_rgb: np.ndarray, result: Result, mode: str, hold_ms: int) -> str:
        """Show a frame, uint8 (H, W, 3), and its result; returns the next key pressed, see `put`."""
        return self.put(live(frame_rgb, result, mode, self._pace.tick(perf_counter())), hold_ms)


def page_url(host: str, port: int, token: str | None) -> str:
    """The address to open, with the token if there is one. Where the host means every address, one that others can reach."""
    if host in ("", "0.0.0.0", "::"):
        host = _outward_address()
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


def _outward_address() -> str:
    """This machine's address on its network, or else its name. Connecting a UDP socket sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address kept for documentation, so that no real host is meant
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def _cannot_listen(host: str, port: int, error: Exception) -> UsageError:
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return UsageError(
            "--display web: the port is in use", given=f"{host}:{port}", expected="a port that no other program listens on",
            remedy=f"Is the program already running? Else take another one: --port {port + 1}",
        )
    return UsageError(
        "--display web cannot listen", given=f"{host}:{port}, {getattr(error, 'strerror', None) or error}",
        expected="an address of this machine and a port from 1024 to 65535",
        remedy="--host 0.0.0.0 means every address of this machine.",
    )
