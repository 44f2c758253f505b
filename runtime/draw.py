"""The overlay a person looks at: the photo, and on it the heat or the box, and the label. numpy only."""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from .font import text_mask
from .heatmap import Enlarger
from .image import Nearest
from .results import Box, Result

MODES = ("heatmap", "box")
CANVAS_HEIGHT = 288  # pixels; the width follows the frame's aspect
STRONGEST_BLEND = 0.7  # share of the heat's colour at full heat, so that the hand stays visible under it
BOX_RGB = (255, 220, 0)
BOX_PIXELS = 2
TEXT_RGB, PLATE_RGB = (255, 255, 255), (0, 0, 0)
TEXT_SCALE_HEIGHT = 96  # canvas rows for each step of text size: 3 at CANVAS_HEIGHT
LEVELS = 255.5  # of full heat; the fraction is cut off
GREY = 128  # the shade a photo is taken to have where only whole eighths of it can be taken away
BLOCK = 6  # pixels each way that share one colour of the heat: a quarter of a cell and less, for 12x12 cells at CANVAS_HEIGHT
COLD_LEVEL = 26  # of 255: heat up to here, 10 %, is not drawn: no haze around the hand, and less of the picture to blend
TEXT_MARGIN = 2  # steps of text size, black

# numpy converts a plain number on every call; these are of the type they are used with.
FULL, COLDEST = np.array([1], np.float32), np.array([COLD_LEVEL], np.uint8)
EIGHTH = np.array([3], np.uint8)  # by so many bits a pixel is moved to be an eighth of it


def heat_colours() -> np.ndarray:
    """Colours for heat 0..255: blue, cyan, yellow, red, as (256, 3) uint8.

    With x = level / 255: red = 1.5 - |4x - 3|, green = 1.5 - |4x - 2|, blue = 1.5 - |4x - 1|, clipped to 0..1.
    """
    x = np.arange(256)[:, None] / 255
    return np.rint(255 * np.clip(1.5 - np.abs(4 * x - (3, 2, 1)), 0, 1)).astype(np.uint8)


def blend_tables() -> tuple[np.ndarray, np.ndarray]:
    """For heat 0..255 how many eighths of a pixel are taken away, (256, 1), and the colour added, (256, 3), both uint8.

    Meant is pixel * (1 - share) + colour * share; the share grows with the heat from exactly 0, so that where it is cold the
    photo is untouched. All is done in bytes, of which a vector holds twice as many as of wider numbers: an eighth is
    pixel >> 3, and taken are whole ones. What is taken too much comes back as grey, so steps from one eighth to the
    next are faint: at most 18 shades from what is meant, for black and white where a step begins, and always 0
    to 255.
    """
    share = STRONGEST_BLEND * np.maximum(np.arange(256)[:, None] - COLD_LEVEL, 0) / (255 - COLD_LEVEL)
    lost = np.ceil(8 * share)
    left_over = lost * 3.5 / 8  # pixel >> 3 forgets 3.5 on the average
    colour_part = share * heat_colours() + (lost / 8 - share) * GREY - left_over
    return lost.astype(np.uint8), np.rint(np.clip(colour_part, 0, 31 * lost)).astype(np.uint8)


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
        self._shrink = Nearest(frame_size_wh, self.size_wh)
        self._level = Enlarger(heat_hw, (-(-height // BLOCK), -(-width // BLOCK)), LEVELS)
        # For each level what a row of a block needs: BLOCK pixels of three channels.
        lost, colour_part = blend_tables()
        self._lost, self._colour_part = np.tile(lost, 3 * BLOCK), np.tile(colour_part, BLOCK)

    def __call__(self, frame_rgb: np.ndarray, result: Result, mode: str) -> np.ndarray:
        """frame_rgb: uint8 of frame_size_wh; mode: one of MODES. Returns uint8 (H, W, 3) of size_wh, a new array."""
        canvas = self._shrink(frame_rgb)
        if mode == "heatmap":
            self._blend_in(canvas, result.heat)
        if mode == "box" and result.box_xyxy is not None:
            draw_box(canvas, self._on_canvas(result.box_xyxy))
        draw_text(canvas, f"{result.label} {result.score:.2f}")
        return canvas

    def blend(self, canvas: np.ndarray, heat: np.ndarray) -> np.ndarray:
        """canvas: uint8 (H, W, 3) of size_wh; heat: (h, w), 1 full. Returns the blend of the two, see blend_tables."""
        blended = canvas.copy()
        self._blend_in(blended, heat)
        return blended

    def _blend_in(self, canvas: np.ndarray, heat: np.ndarray) -> None:
        """The same, in canvas; only the part of it that is warm is touched."""
        hottest = heat.item(heat.argmax())
        if not hottest:
            return
        level = self._level(np.minimum(heat, FULL) if hottest > 1 else heat).astype(np.uint8)
        shown = level > COLDEST
        (top, bottom), (left, right) = warm_rows(shown), warm_rows(np.logical_or.reduce(shown, 0)[:, None])
        if not bottom:
            return
        level = level[top:bottom, left:right]
        warm = canvas[top * BLOCK : bottom * BLOCK, left * BLOCK : right * BLOCK]
        lost, colour_part = (
            table.take(level, axis=0).reshape(len(level), level.shape[1] * BLOCK, 3)[:, : warm.shape[1]]
            for table in (self._lost, self._colour_part)
        )
        # Every block's first row, then every second row and so on: to each of these the same numbers apply.
        whole = len(warm) // BLOCK  # blocks; the lowest may lie partly beyond the canvas
        parts = [(warm[: whole * BLOCK].reshape(whole, BLOCK, *warm.shape[1:]).swapaxes(0, 1), slice(whole))]
        if len(warm) % BLOCK:
            parts.append((warm[whole * BLOCK :], -1))
        for photo, blocks in parts:
            blended = photo.copy()
            taken = blended >> EIGHTH
            taken *= lost[blocks]
            blended -= taken
            blended += colour_part[blocks]
            photo[...] = blended

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
    plate = text_plate(text, max(1, canvas.shape[0] // TEXT_SCALE_HEIGHT))
    height, width = min(len(plate), canvas.shape[0]), min(plate.shape[1], canvas.shape[1])
    canvas[:height, :width] = plate[:height, :width]


@lru_cache(maxsize=64)  # a megabyte: labels and scores are mostly those of a moment ago
def text_plate(text: str, scale: int) -> np.ndarray:
    """The plate with its text, uint8 (h, w, 3)."""
    margin = text_tile("", scale)
    return np.concatenate([margin, *(text_tile(character, scale) for character in text), margin], axis=1)


@lru_cache(maxsize=256)
def text_tile(character: str, scale: int) -> np.ndarray:
    """A character on its piece of the plate, uint8 (h, w, 3), drawn once; "" is the margin left and right."""
    mask = np.pad(text_mask(character), ((TEXT_MARGIN, TEXT_MARGIN), (0, 0 if character else TEXT_MARGIN)))
    return np.where(mask.repeat(scale, axis=0).repeat(scale, axis=1)[..., None], TEXT_RGB, PLATE_RGB).astype(np.uint8)


def warm_rows(warm: np.ndarray) -> tuple[int, int]:
    """From the first row of (h, w) bool with a True to the last, as (first, end), end exclusive; end 0 without any."""
    one_each = warm.tobytes()
    return one_each.find(1) // warm.shape[1], one_each.rfind(1) // warm.shape[1] + 1
