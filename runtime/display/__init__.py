"""Where overlays go: one file a kind of display, all behind the small interface `Display`, and the recorder."""
from __future__ import annotations

from typing import Callable, Protocol

import numpy as np

from ..results import Result

KINDS = ("window", "web", "none")
HOST, PORT = "127.0.0.1", 8000  # where the web page is served: to this machine alone


class Display(Protocol):
    """What displays offer. Each method but `close` returns the key pressed meanwhile, "" for none.

    Attributes:
        looks: whether anyone looks; nothing need be drawn or handed over where nobody does.
        composes: whether it draws for itself: it then has `present` and `lost`, and else `show`.
    """

    looks: bool
    composes: bool

    def show(self, overlay_rgb: np.ndarray, hold_ms: int) -> str:
        """Show uint8 (H, W, 3) for at least hold_ms."""

    def present(self, frame_rgb: np.ndarray, result: Result, mode: str, hold_ms: int) -> str:
        """Show a frame, uint8 (H, W, 3), and its result, in one of draw.MODES."""

    def lost(self, seconds: float) -> str:
        """Say that a live source has had no frame for so long; called again and again until there is one."""

    def close(self) -> None: ...


class NoDisplay:
    """Shows nothing."""

    looks = False
    composes = False

    def show(self, overlay_rgb: np.ndarray, hold_ms: int) -> str:
        return ""

    def close(self) -> None:
        pass


def open_display(
    kind: str, host: str = HOST, port: int = PORT, say: Callable[[str], None] = print, name: str = "camera"
) -> Display:
    """The display that a name in KINDS means.

    Args:
        host, port: where the web page is served.
        say: called with a line for the person at the keyboard, such as the page's address.
        name: of what is shown, the bundle's; it stands in the title.

    Raises:
        UsageError: it cannot be had here.
    """
    if kind == "web":
        from .web import WebDisplay

        return WebDisplay(host, port, say, name)
    if kind == "window":
        from .window import Window

        return Window(f"{name} (s: heatmap or box, q: quit)")
    return NoDisplay()
