"""Where the person who collects looks and presses: a window, or a page with a button for each class."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Protocol

import numpy as np

from ..display.feed import View
from ..display.server import Page
from ..display.web import LIVE_FILES, SHARED_FILES, WebPage
from ..display.window import Window
from ..draw import BOX_RGB, PLATE_RGB, TEXT_RGB, canvas_size
from ..font import text_mask
from ..image import Nearest
from .album import ENOUGH, KEYS, QUIT, Album

KINDS = ("window", "web")
HEIGHT = 480  # pixels of the window
TEXT_SCALE, TEXT_MARGIN = 2, 2  # pixels of the window a pixel of the font; pixels of the font around a line
HERE = Path(__file__).parent
FILES = {"/": HERE / "capture.html", "/capture.js": HERE / "capture.js", "/capture.css": HERE / "capture.css",
         "/page.css": LIVE_FILES["/page.css"], **SHARED_FILES}


class Screen(Protocol):
    """What both offer. `show` and `lost` return the key pressed meanwhile, "" for none."""

    def show(self, frame_rgb: np.ndarray, last: str, hold_ms: int) -> str:
        """Show uint8 (H, W, 3) for at least hold_ms; `last` is the class of the last photo taken, "" for none yet."""

    def lost(self, seconds: float) -> str:
        """Say that there has been no frame for so long."""

    def close(self) -> None: ...


def open_screen(kind: str, album: Album, host: str, port: int, say: Callable[[str], None]) -> Screen:
    """The screen that a name in KINDS means. Raises UsageError: it cannot be had here."""
    return WebScreen(album, host, port, say) if kind == "web" else WindowScreen(album)


class WindowScreen:
    """The picture, with a line for each class: its key, its name, its photos."""

    def __init__(self, album: Album):
        self._album = album
        self._window = Window(f"{album.folder.name}: keys take photos, {QUIT} ends")
        self._fit: tuple[tuple[int, int], Nearest] | None = None  # for the size of the last frame, which stands first
        self._last = np.zeros((HEIGHT, HEIGHT * 4 // 3, 3), np.uint8)

    def show(self, frame_rgb: np.ndarray, last: str, hold_ms: int) -> str:
        size_wh = frame_rgb.shape[1], frame_rgb.shape[0]
        if self._fit is None or self._fit[0] != size_wh:
            self._fit = size_wh, Nearest(size_wh, canvas_size(size_wh, HEIGHT))
        self._last = self._fit[1](frame_rgb)
        for i, (key, name) in enumerate(self._album.keys.items()):
            draw_line(self._last, f"{key} {name} {self._album.counts[name]}", i, BOX_RGB if name == last else TEXT_RGB)
        return self._window.show(self._last, hold_ms)

    def lost(self, seconds: float) -> str:
        draw_line(self._last, f"no frame for {seconds:.0f} s", 0, TEXT_RGB)
        return self._window.show(self._last, 1)

    def close(self) -> None:
        self._window.close()


def draw_line(canvas: np.ndarray, text: str, number: int, colour: tuple[int, int, int]) -> None:
    """The line of this number, from the top, on a dark plate; what does not fit is cut off. Changes uint8 (H, W, 3)."""
    mask = np.pad(text_mask(text), TEXT_MARGIN).repeat(TEXT_SCALE, axis=0).repeat(TEXT_SCALE, axis=1)
    plate = canvas[number * len(mask) : (number + 1) * len(mask), : mask.shape[1]]
    plate[...] = np.where(mask[: plate.shape[0], : plate.shape[1], None], colour, PLATE_RGB)


class WebScreen(WebPage):
    """The page, for a phone as well."""

    def __init__(self, album: Album, host: str, port: int, say: Callable[[str], None]):
        self._album = album
        super().__init__(host, port, say, Page(FILES, KEYS[: len(album.keys)] + QUIT, album.folder.name))

    def show(self, frame_rgb: np.ndarray, last: str, hold_ms: int) -> str:
        return self.put(View(lambda: self._header(frame_rgb, last), frame_rgb), hold_ms)

    def _header(self, frame_rgb: np.ndarray, last: str) -> dict[str, Any]:
        album = self._album
        classes = [{"key": key, "name": name, "count": album.counts[name], "few": album.counts[name] < ENOUGH}
                   for key, name in album.keys.items()]
        return {"state": "live", "size_wh": [frame_rgb.shape[1], frame_rgb.shape[0]], "last": last,
                "added": sum(album.added.values()), "classes": classes}
