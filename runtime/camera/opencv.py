"""V4L2 cameras, network streams and video files, through OpenCV."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from types import ModuleType
from urllib.parse import urlsplit

import numpy as np

from .. import advice
from ..errors import SourceError
from . import Frame

STREAM_STARTS = ("rtsp://", "http://", "https://", "udp://")
READ_TRIES = 5  # reads in a row that may fail before a device counts as dead: cameras lose single frames
READ_S = 5.0  # no further try after this long, and the longest a stream may be silent


class OpenCvDevice:
    """A camera or stream, opened; see live.Device. `v4l2_camera` and `network_stream` make one."""

    def __init__(self, target: str, name: str, backend: str, settings: dict[str, int]):
        """
        Args:
            backend, settings: names of OpenCV's constants, without cv2, such as CAP_V4L2; values of the settings.

        Raises:
            SourceError: OpenCV is missing, or cannot open it.
        """
        self._cv2 = opencv(f"--source {name}")
        self._name = name
        numbers = [number for key, value in settings.items() for number in (getattr(self._cv2, key), value)]
        self._capture = self._cv2.VideoCapture(target, getattr(self._cv2, backend), numbers)
        if not self._capture.isOpened():
            self._capture.release()
            raise SourceError(f"{name}: cannot be opened", expected="a camera no other program uses, or a stream that runs")

    def read(self) -> np.ndarray:
        began = monotonic()
        for _ in range(READ_TRIES):
            came, frame_bgr = self._capture.read()
            if came and frame_bgr is not None:
                return self._cv2.cvtColor(frame_bgr, self._cv2.COLOR_BGR2RGB)
            if monotonic() - began > READ_S:
                break
        raise SourceError(f"{self._name}: no frame came")

    def close(self) -> None:
        self._capture.release()


def v4l2_camera(name: str) -> OpenCvDevice:
    """A V4L2 camera by index ("0") or device ("/dev/video0"). Raises SourceError."""
    device = device_path(name)
    if not os.path.exists(device):
        raise SourceError(
            "no such camera",
            given=device,
            expected="a V4L2 device",
            remedy=f"Plug it in, or give another --source; `{advice.doctor()}` lists what is there.",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(
            f"{device} may not be used by this user", remedy="Run: sudo usermod -aG video $USER , then log in again"
        )
    return OpenCvDevice(device, device, "CAP_V4L2", {})


def device_path(name: str) -> str:
    return f"/dev/video{name}" if name.isdigit() else name


def network_stream(url: str) -> OpenCvDevice:
    """A stream that OpenCV's FFmpeg opens. Raises SourceError."""
    milliseconds = int(1000 * READ_S)
    timeouts = {"CAP_PROP_OPEN_TIMEOUT_MSEC": milliseconds, "CAP_PROP_READ_TIMEOUT_MSEC": milliseconds}
    return OpenCvDevice(url, public_name(url), "CAP_FFMPEG", timeouts)


def public_name(url: str) -> str:
    """The address without user, password and query, which must not end up in logs and JSON lines."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class VideoSource:
    """A video file, every frame in turn. Raises SourceError when OpenCV is missing or cannot open it."""

    hold_ms = 1
    live = False
    skipped = dropped = 0

    def __init__(self, path: Path):
        self._cv2 = opencv("a video")
        self._path = path
        self._capture = self._open()

    def _open(self):
        capture = self._cv2.VideoCapture(str(self._path), self._cv2.CAP_ANY)
        if not capture.isOpened():
            raise SourceError(
                f"{self._path.name}: cannot be opened",
                given="what OpenCV cannot decode",
                expected="a video, a photo or a .npy of frames",
            )
        return capture

    def __iter__(self) -> Iterator[Frame]:
        self._capture.release()
        self._capture = self._open()
        came, frame_bgr = self._capture.read()
        if not came:
            raise SourceError(f"{self._path.name}: no frame in it", expected="a video, a photo or a .npy of frames")
        while came:
            yield Frame(self._cv2.cvtColor(frame_bgr, self._cv2.COLOR_BGR2RGB), self._path.name)
            came, frame_bgr = self._capture.read()

    def close(self) -> None:
        self._capture.release()


def opencv(reader: str) -> ModuleType:
    """The module cv2. Raises SourceError when it is missing, which says that `reader` needs it."""
    # OpenCV and its FFmpeg would write a line of their own at every attempt to open; -8 is FFmpeg's AV_LOG_QUIET.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as error:
        raise SourceError(f"{reader} needs OpenCV", given=error, remedy=advice.install_line(advice.OPENCV)) from error
    return cv2
