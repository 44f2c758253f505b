"""Where overlays go: one file a kind of display, all behind the small interface `Display`, and the recorder."""
from __future__ import annotations

from typing import Protocol

import numpy as np

from ..errors import UsageError

KINDS = ("window", "web", "none")


class Display(Protocol):
    """What every display offers.

    Attributes:
        looks: whether anyone looks; overlays need not be drawn for a display that does not.
    """

    looks: bool

    def show(self, overlay_rgb: np.ndarray, hold_ms: int) -> str:
        """Show uint8 (H, W, 3) for at least hold_ms; return the key pressed meanwhile, "" for none."""

    def close(self) -> None: ...


class NoDisplay:
    """Shows nothing."""

    looks = False

    def show(self, overlay_rgb: np.ndarray, hold_ms: int) -> str:
        return ""

    def close(self) -> None:
        pass


def open_display(kind: str) -> Display:
    """The display that a name in KINDS means.

    Raises:
        UsageError: it cannot be had here.
    """
    if kind == "web":
        raise UsageError(
            "--display web is not in this version",
            expected="window or none",
            remedy="Use --display none --record out.mp4",
        )
    if kind == "window":
        from .window import Window

        return Window()
    return NoDisplay()
