"""A window on the desktop, through OpenCV."""
from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from .. import advice
from ..errors import UsageError

WITHOUT_WINDOW = "Use --display web to look with a browser, or --display none with --json - or --record out.mp4."
PROBE = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1)"
PROBE_SECONDS = 30


class Window:
    """One window, opened when it is made. Closing it with the mouse counts as the key q.

    Args:
        title: what stands above it.

    Raises:
        UsageError: OpenCV is missing, or no screen can be reached.
    """

    looks = True
    composes = False

    def __init__(self, title: str):
        try:
            import cv2
        except ImportError as error:
            remedy = f"{advice.install_line(advice.OPENCV)} . {WITHOUT_WINDOW}"
            raise UsageError("--display window needs OpenCV", given=error, remedy=remedy) from error
        _require_screen()
        self._cv2, self._title = cv2, title
        cv2.namedWindow(title)

    def show(self, overlay_rgb: np.ndarray, hold_ms: int) -> str:
        self._cv2.imshow(self._title, self._cv2.cvtColor(overlay_rgb, self._cv2.COLOR_RGB2BGR))
        key = self._cv2.waitKey(max(1, hold_ms))
        if self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1:
            return "q"
        return "" if key < 0 else chr(key & 0xFF)

    def close(self) -> None:
        self._cv2.destroyAllWindows()


def _require_screen() -> None:
    """Try a window in a child process first: without a usable screen Qt aborts its process, past any `except`."""
    probe = subprocess.run(
        [sys.executable, "-c", PROBE], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PROBE_SECONDS
    )
    if probe.returncode != 0:
        words = [line.strip() for line in probe.stderr.splitlines() if line.strip()]
        words = [line for line in words if not line.startswith(("Traceback", "File "))]
        raise UsageError(
            "--display window cannot open a window",
            given=f"DISPLAY={os.environ.get('DISPLAY', '')!r}, {words[0] if words else 'no reason'}",
            expected="a screen that can be reached, and an OpenCV with windows (not opencv-python-headless)",
            remedy=WITHOUT_WINDOW,
        )
