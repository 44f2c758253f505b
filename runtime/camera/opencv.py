"""V4L2 cameras and video files, through OpenCV."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from .. import advice
from ..errors import SourceError
from . import Frame

CAMERA_TRIES = 5  # reads in a row that may fail before the camera counts as dead


class OpenCvSource:
    """A camera or a video file. Use `camera` or `video` to make one."""

    hold_ms = 1
    skipped = 0

    def __init__(self, target: int | str, name: str, *, live: bool):
        try:
            import cv2
        except ImportError as error:
            raise SourceError(
                "cameras and videos need OpenCV", given=error, remedy=advice.install_line(advice.OPENCV)
            ) from error
        self._cv2 = cv2
        self._target = target
        self._name = name
        self._live = live
        self._capture = self._open()

    @classmethod
    def camera(cls, name: str) -> OpenCvSource:
        """A V4L2 camera by index ("0") or device ("/dev/video0"). Raises SourceError."""
        device = f"/dev/video{name}" if name.isdigit() else name
        if not os.path.exists(device):
            raise SourceError(
                "no such camera",
                given=device,
                expected="a V4L2 device",
                remedy="Plug it in, or give another --source; `python3 -m runtime doctor` lists what is there.",
            )
        if not os.access(device, os.R_OK | os.W_OK):
            raise SourceError(
                f"{device} may not be used by this user", remedy="Run: sudo usermod -aG video $USER , then log in again"
            )
        return cls(device, device, live=True)

    @classmethod
    def video(cls, path: Path) -> OpenCvSource:
        """A video file. Raises SourceError."""
        return cls(str(path), path.name, live=False)

    def _open(self):
        capture = self._cv2.VideoCapture(self._target, self._cv2.CAP_V4L2 if self._live else self._cv2.CAP_ANY)
        if not capture.isOpened():
            raise SourceError(
                f"{self._name}: cannot be opened",
                given="a busy or broken camera" if self._live else "what OpenCV cannot decode",
                expected="a camera no other program uses" if self._live else "a video, a photo or a .npy of frames",
            )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        if self._live:
            return self._camera_frames()
        return self._video_frames()

    def _camera_frames(self) -> Iterator[Frame]:
        failures = 0
        while failures < CAMERA_TRIES:
            came, frame_bgr = self._capture.read()
            if not came or frame_bgr is None:
                failures += 1
                continue
            failures = 0
            yield self._frame(frame_bgr)
        raise SourceError(
            f"{self._name}: the camera died",
            given=f"{CAMERA_TRIES} reads without a frame",
            expected="a frame",
            remedy="Look at its cable and power, then start again.",
        )

    def _video_frames(self) -> Iterator[Frame]:
        self._capture.release()
        self._capture = self._open()
        came, frame_bgr = self._capture.read()
        if not came:
            raise SourceError(f"{self._name}: no frame in it", expected="a video, a photo or a .npy of frames")
        while came:
            yield self._frame(frame_bgr)
            came, frame_bgr = self._capture.read()

    def _frame(self, frame_bgr) -> Frame:
        return Frame(self._cv2.cvtColor(frame_bgr, self._cv2.COLOR_BGR2RGB), self._name)

    def close(self) -> None:
        self._capture.release()
