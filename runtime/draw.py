"""The overlay a person looks at: the photo, and on it the heat or the box, and the label. numpy only."""
from __future__ import annotations

import numpy as np

from .font import text_mask
from .heatmap import Enlarger
from .image import Stretch2x2
from .results import Box, Result

MODES = ("heatmap", "box")
CANVAS_HEIGHT = 288  # pixels; the width follows the frame's aspect
STRONGEST_BLEND = 0.7  # share of the heat's colour at full heat, so that the hand stays visible under it
BOX_RGB = (255, 220, 0)
BOX_PIXELS = 2
TEXT_RGB, PLATE_RGB = (255, 255, 255), (0, 0, 0)
TEXT_SCALE_HEIGHT = 96  # canvas rows for each step of text size: 3 at CANVAS_HEIGHT
UNIT = 256  # blending is done in 1/256 steps, in uint16


def heat_colours() -> np.ndarray:
    """Colours for heat 0..255: blue, cyan, yellow, red, as (256, 3) uint8.

    With x = level / 255: red = 1.5 - |4x - 3|, green = 1.5 - |4x - 2|, blue = 1.5 - |4x - 1|, clipped to 0..1.
    """
    x = np.arange(256)[:, None] / 255
    return np.rint(255 * np.clip(1.5 - np.abs(4 * x - (3, 2, 1)), 0, 1)).astype(np.uint8)


def canvas_size(frame_size_wh: tuple[int, int], height: int = CANVAS_HEIGHT) -> tuple[int, int]:
    """size_wh of the overlay for a frame: the given height, and an even width (for videos) of the frame's aspect."""
    width, frame_height = frame_size_wh
    return max(2, 2 * round(width * height / frame_height / 2)), height


class Overlay:
    """Composes overlays for one size of frame and one shape of heat; tables and matrices are made once, here."""

    def __init__(
        self, frame_size_wh: tuple[int, int], heat_hw: tuple[int, int], size_wh: tuple[int, int] | None = None
    ):
        self.frame_size_wh = frame_size_wh
        self.size_wh = size_wh or canvas_size(frame_size_wh)
        width, height = self.size_wh
        self._stretch = Stretch2x2(frame_size_wh, self.size_wh)
        self._enlarge = Enlarger(heat_hw, (height, width))
        # The share of the colour grows with the heat from exactly 0: where it is cold the photo is untouched.
        share = np.rint(UNIT * STRONGEST_BLEND * np.arange(256) / 255).astype(np.uint16)[:, None]
        self._photo_share = UNIT - share
        self._colour_part = share * heat_colours()

    def __call__(self, frame_rgb: np.ndarray, result: Result, mode: str) -> np.ndarray:
        """frame_rgb: uint8 of frame_size_wh; mode: one of MODES. Returns uint8 (H, W, 3) of size_wh, a new array."""
        canvas = self._stretch(frame_rgb).copy()
        if mode == "heatmap" and result.heat.any():
            canvas = self.blend(canvas, result.heat)
        if mode == "box" and result.box_xyxy is not None:
            draw_box(canvas, self._on_canvas(result.box_xyxy))
        draw_text(canvas, f"{result.label} {result.score:.2f}")
        return canvas

    def blend(self, canvas: np.ndarray, heat: np.ndarray) -> np.ndarray:
        """canvas: uint8 (H, W, 3) of size_wh; heat: (h, w), 1 full. Returns canvas * (1 - share) + colour * share."""
        level = np.rint(np.minimum(self._enlarge(heat), 1) * 255).astype(np.uint8)
        blended = canvas * self._photo_share[level]
        blended += self._colour_part[level]
        blended >>= 8
        return blended.astype(np.uint8)

    def _on_canvas(self, box: Box) -> Box:
        (frame_w, frame_h), (width, height) = self.frame_size_wh, self.size_wh
        return Box(box.x0 * width // frame_w, box.y0 * height // frame_h,
                   -(-box.x1 * width // frame_w), -(-box.y1 * height // frame_h))


def draw_box(canvas: np.ndarray, box: Box) -> None:
    """A rectangle, BOX_PIXELS wide, just inside the box; changes canvas, uint8 (H, W, 3)."""
    x0, y0, x1, y1 = box
    inner_x0, inner_y0 = min(x0 + BOX_PIXELS, x1), min(y0 + BOX_PIXELS, y1)
    inner_x1, inner_y1 = max(x1 - BOX_PIXELS, x0), max(y1 - BOX_PIXELS, y0)
    canvas[y0:inner_y0, x0:x1] = BOX_RGB
    canvas[inner_y1:y1, x0:x1] = BOX_RGB
    canvas[y0:y1, x0:inner_x0] = BOX_RGB
    canvas[y0:y1, inner_x1:x1] = BOX_RGB


def draw_text(canvas: np.ndarray, text: str) -> None:
    """Text on a dark plate in the top left corner, cut off at the canvas' edge; changes canvas, uint8 (H, W, 3)."""
    scale = max(1, canvas.shape[0] // TEXT_SCALE_HEIGHT)
    mask = np.pad(text_mask(text), 2).repeat(scale, axis=0).repeat(scale, axis=1)
    plate = canvas[: mask.shape[0], : mask.shape[1]]
    plate[...] = np.where(mask[: plate.shape[0], : plate.shape[1], None], TEXT_RGB, PLATE_RGB)
