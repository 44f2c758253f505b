"""A headless Chromium for tests, driven by its DevTools protocol over two pipes: JSON messages, each ended by a zero byte.

https://chromedevtools.github.io/devtools-protocol/ ; the pipes are those of --remote-debugging-pipe, file descriptors 3 and 4.
"""
from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from time import monotonic, sleep
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 30  # any answer, and anything waited for, comes long before


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """One browser with a profile of its own."""

    def __init__(self, program: str, profile: Path):
        flags = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-gpu", "--no-first-run",
                 "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,800"]
        flags += ["--no-sandbox"] if os.geteuid() == 0 else []
        (commands, self._commands), (self._answers, answers) = os.pipe(), os.pipe()
        high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (commands, answers)]  # clear of 3 and 4

        def place_pipes() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self._process = subprocess.Popen([program, *flags], close_fds=False, preexec_fn=place_pipes,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for end in (commands, answers, *high):
            os.close(end)
        self._number = 0
        self._unread = b""
        self.faults: list[str] = []  # exceptions that nobody caught in any page

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """One command and its answer. Raises RuntimeError when the browser refuses it or does not answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.faults.append(json.dumps(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            if not select.select([self._answers], [], [], SECONDS)[0]:
                raise RuntimeError(f"Chromium did not answer within {SECONDS} s")
            received = os.read(self._answers, 1 << 16)
            if not received:
                raise RuntimeError(f"Chromium ended with {self._process.wait(SECONDS)}")
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        return json.loads(message)

    def page(self, url: str, downloads: Path | None = None) -> Page:
        """A new page in a window of its own, with cookies of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        if downloads:
            self.call("Browser.setDownloadBehavior", behavior="allow", browserContextId=context, downloadPath=str(downloads))
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, context)
        page.call("Runtime.enable")
        page.open(url)
        return page

    def close(self) -> None:
        self.call("Browser.close")
        self._process.wait(SECONDS)
        os.close(self._commands)
        os.close(self._answers)


class Page:
    def __init__(self, browser: Chromium, session: str, context: str):
        self._browser, self._session, self._context = browser, session, context

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; None when it fails."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The expression's value as soon as it is true."""
        deadline = monotonic() + SECONDS
        while monotonic() < deadline:
            value = self.evaluate(expression)
            if value:
                return value
            sleep(0.05)
        raise AssertionError(f"not within {SECONDS} s: {expression}; the page says: {self.text()}")

    def text(self) -> str:
        return self.evaluate("document.body.innerText")

    def press(self, key: str) -> None:
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key if len(key) == 1 else "")
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, selector: str) -> None:
        x, y = self.evaluate(f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
                             f"(document.querySelector({selector!r}).getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int, *, phone: bool) -> None:
        """Pixels of the page; a phone has a touch screen with twice as many dots."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1 + phone, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    def colours(self, scheme: str) -> None:
        """Ask for "dark" or "light" as the system's settings would."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """A PNG of what is in the window."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self) -> None:
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)
