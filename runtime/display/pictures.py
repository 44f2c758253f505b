"""Frames as pictures for a browser: JPEG by OpenCV or else by Pillow; where neither is installed, small plain RGB."""
from __future__ import annotations

import io
from typing import Callable, NamedTuple

import numpy as np

from ..image import Stretch2x2

JPEG_LONGEST = 640  # pixels of the longer side; a larger frame is shrunk first
RGB_LONGEST = 320  # the same where nothing compresses: 320x240 are 230 kB
JPEG_QUALITY = 80

Compress = Callable[[np.ndarray], bytes]  # uint8 (H, W, 3) RGB -> the picture's bytes


class Picture(NamedTuple):
    """A frame on its way to a browser. format: "jpeg", or "rgb" for rows of R, G, B bytes; size_wh: of the picture."""

    format: str
    size_wh: tuple[int, int]
    data: bytes


class PictureMaker:
    """Makes pictures with the first compressor that is installed. Not for several threads at once."""

    def __init__(self):
        self.format, self._longest, self._compress = _best_compressor()
        self._stretch: Stretch2x2 | None = None  # for the size of the last frame that had to be shrunk

    def __call__(self, frame_rgb: np.ndarray) -> Picture:
        """frame_rgb: uint8 (H, W, 3)."""
        frame_size_wh = frame_rgb.shape[1], frame_rgb.shape[0]
        size_wh = fit(frame_size_wh, self._longest)
        if size_wh != frame_size_wh:
            if self._stretch is None or self._stretch.source_size_wh != frame_size_wh:
                self._stretch = Stretch2x2(frame_size_wh, size_wh)
            frame_rgb = self._stretch(frame_rgb)
        return Picture(self.format, size_wh, self._compress(frame_rgb))


def fit(size_wh: tuple[int, int], longest: int) -> tuple[int, int]:
    """The size, shrunk to a longer side of `longest` pixels; never enlarged, never below one pixel."""
    width, height = size_wh
    side = max(width, height, longest)
    return max(1, round(width * longest / side)), max(1, round(height * longest / side))


def _best_compressor() -> tuple[str, int, Compress]:
    jpeg = jpeg_compressor(JPEG_QUALITY)
    return ("jpeg", JPEG_LONGEST, jpeg) if jpeg else ("rgb", RGB_LONGEST, np.ndarray.tobytes)


def jpeg_compressor(quality: int) -> Compress | None:
    """Frame to JPEG by OpenCV or else by Pillow, quality 1 to 100; None where neither is installed."""
    for make in (_opencv_jpeg, _pillow_jpeg):
        try:
            return make(quality)
        except ImportError:
            continue
    return None


def _opencv_jpeg(quality: int) -> Compress:
    import cv2

    def compress(frame_rgb: np.ndarray) -> bytes:
        frame_bgr = cv2.cvtColor(frame_rgb, cv2.COLOR_RGB2BGR)
        return cv2.imencode(".jpg", frame_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()

    return compress


def _pillow_jpeg(quality: int) -> Compress:
    from PIL import Image

    def compress(frame_rgb: np.ndarray) -> bytes:
        jpeg = io.BytesIO()
        Image.fromarray(frame_rgb).save(jpeg, "JPEG", quality=quality)
        return jpeg.getvalue()

    return compress
