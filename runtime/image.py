"""From a camera frame to the network's image size, in whole numbers only.

The same rule shrinks training photos and calibration photos on the workstation, so that the network sees on the device
what it saw when it was trained; OpenCV's and Pillow's resizes differ between versions and are not used.
"""
from __future__ import annotations

import numpy as np

from .errors import FrameError

FRAME = "a uint8 numpy array (H, W, 3), RGB, of at least one pixel"


def check_frame(frame_rgb: object) -> tuple[int, int]:
    """Refuse anything that is no frame, before anyone slices it; return its size_wh.

    Raises:
        FrameError: not a uint8 array of shape (H, W, 3), or without a single pixel.
    """
    if frame_rgb is None:
        raise FrameError("no frame came", given="None", expected=FRAME, remedy="Is the camera still connected?")
    if not isinstance(frame_rgb, np.ndarray):
        raise FrameError("not a frame", given=type(frame_rgb).__name__, expected=FRAME)
    shape = frame_rgb.shape
    if frame_rgb.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise FrameError(
            "not a frame",
            given=f"{frame_rgb.dtype} {shape}",
            expected=FRAME,
            remedy="Convert greyscale or RGBA to RGB, with values 0 to 255.",
        )
    return shape[1], shape[0]


def sample_positions(source: int, target: int) -> np.ndarray:
    """Where the samples along one axis lie: floor((k + 0.5) * source / (2 * target)) for k = 0 .. 2 * target - 1.

    Written in integers, so that no rounding of floats can move a sample. Returns (2 * target,) intp.
    """
    k = np.arange(2 * target, dtype=np.int64)
    return ((2 * k + 1) * source // (4 * target)).astype(np.intp)


class Stretch2x2:
    """The resize rule "stretch-2x2" for one pair of sizes: stretch the whole frame; a pixel is the mean of 2x2 samples.

    The samples' places are worked out once, here; a call gathers and averages. When enlarging the four samples fall
    together and the rule is nearest neighbour.
    """

    def __init__(self, source_size_wh: tuple[int, int], target_size_wh: tuple[int, int]):
        self.source_size_wh = source_size_wh
        self.target_size_wh = target_size_wh
        (source_w, source_h), (target_w, target_h) = source_size_wh, target_size_wh
        columns = sample_positions(source_w, target_w).reshape(target_w, 2)
        rows = sample_positions(source_h, target_h).reshape(target_h, 2) * source_w
        corners = [rows[:, i, None] + columns[None, :, j] for i in (0, 1) for j in (0, 1)]
        self._index = np.stack(corners).reshape(4, target_h * target_w)
        self._samples = np.empty((4, target_h * target_w, 3), np.uint8)
        self._sums = np.empty((target_h * target_w, 3), np.uint16)
        self._image = np.empty((target_h, target_w, 3), np.uint8)

    def __call__(self, frame_rgb: np.ndarray) -> np.ndarray:
        """frame_rgb: uint8 (h, w, 3) of source_size_wh. Returns uint8 (H, W, 3); the next call overwrites it."""
        pixels = frame_rgb.reshape(-1, 3)
        # mode="clip" lets numpy write straight into `out`; the index is in range by construction.
        np.take(pixels, self._index, axis=0, out=self._samples, mode="clip")
        np.add.reduce(self._samples, axis=0, dtype=np.uint16, out=self._sums)
        self._sums += 2
        self._sums >>= 2
        np.copyto(self._image.reshape(-1, 3), self._sums, casting="unsafe")
        return self._image


def stretch_2x2(frame_rgb: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The same for a single image: uint8 (h, w, 3) to uint8 (H, W, 3). Raises FrameError."""
    return Stretch2x2(check_frame(frame_rgb), size_wh)(frame_rgb)
