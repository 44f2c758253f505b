"""Overlays to an MP4 file, through OpenCV."""
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from .. import advice
from ..errors import OutputError, UsageError

SUFFIX = ".mp4"
FRAMES_PER_SECOND = 10.0  # the file's own pace; a loop's real pace is not known when its recording begins
LEAST_FREE_BYTES = 1 << 20  # OpenCV does not say when a disk is full, so stop a little before


class Recorder:
    """One recording. The first overlay sets its size; others are scaled to fit, on black.

    Raises:
        UsageError: OpenCV is missing, or the file's name or folder will not do.
    """

    def __init__(self, path: Path):
        if path.suffix.lower() != SUFFIX:
            raise UsageError("--record", given=path, expected=f"a name ending in {SUFFIX}")
        if not path.parent.is_dir():
            raise UsageError("--record", given=path, expected="a file in a folder that exists")
        try:
            import cv2
        except ImportError as error:
            raise UsageError("--record needs OpenCV", given=error, remedy=advice.install_line(advice.OPENCV)) from error
        self._cv2 = cv2
        self._path = path
        self._writer = None
        self._written = 0

    def write(self, overlay_rgb: np.ndarray) -> None:
        """Add one overlay, uint8 (H, W, 3). Raises OutputError when the disk is full."""
        if shutil.disk_usage(self._path.parent).free < LEAST_FREE_BYTES:
            raise OutputError(f"{self._path}: the disk is full", remedy="What was recorded so far is kept.")
        if self._writer is None:
            self._size_wh = overlay_rgb.shape[1] // 2 * 2, overlay_rgb.shape[0] // 2 * 2  # the codec wants even numbers
            codec = self._cv2.VideoWriter_fourcc(*"mp4v")
            self._writer = self._cv2.VideoWriter(str(self._path), codec, FRAMES_PER_SECOND, self._size_wh)
            if not self._writer.isOpened():
                raise OutputError(f"{self._path}: the recording cannot be written", remedy="Is the folder writable?")
        overlay_bgr = self._cv2.cvtColor(overlay_rgb, self._cv2.COLOR_RGB2BGR)
        self._writer.write(self._fit(overlay_bgr))
        self._written += 1

    def _fit(self, image: np.ndarray) -> np.ndarray:
        width, height = self._size_wh
        if image.shape[:2] == (height, width):
            return image
        scale = min(width / image.shape[1], height / image.shape[0])
        inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        canvas = np.zeros((height, width, 3), np.uint8)
        left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
        canvas[top : top + inner[1], left : left + inner[0]] = self._cv2.resize(image, inner)
        return canvas

    def close(self) -> None:
        """Finish the file and read its head back, because OpenCV swallows write errors. Raises OutputError."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        readback = self._cv2.VideoCapture(str(self._path))
        frames = int(readback.get(self._cv2.CAP_PROP_FRAME_COUNT)) if readback.isOpened() else 0
        readback.release()
        if frames < self._written:
            raise OutputError(
                f"{self._path}: the recording is damaged",
                given=f"{frames} frames in the file",
                expected=f"{self._written}",
                remedy="Is the disk full?",
            )
