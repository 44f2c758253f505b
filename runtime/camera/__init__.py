"""Where frames come from: one file a kind of source, all behind the small interface `Source`."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Protocol

import numpy as np

from .. import advice
from ..errors import SourceError

Warn = Callable[[str], None]  # called with one line for the person at the keyboard
GIVE_UP_S = 60.0  # seconds without a frame after which a camera or stream is given up


@dataclass(frozen=True)
class Frame:
    """One frame, uint8 (H, W, 3) RGB, and the name it goes by in the results (a photo's path within its folder)."""

    rgb: np.ndarray = field(repr=False)
    source: str


@dataclass(frozen=True)
class Gap:
    """Instead of a frame: there has been none for so many seconds."""

    seconds: float


class Source(Protocol):
    """What every source offers.

    Iterating starts at the first frame (a camera: at the next one) and ends after the last; it may be done again.
    A source without a single frame raises SourceError instead of ending at once. Only a live one has gaps.

    Attributes:
        hold_ms: how long a window should show a frame, milliseconds; 1 means no longer than it takes.
        live: whether it goes on without being asked, as cameras and streams do; the frames then follow one another.
        skipped: how many photos could not be read so far; each was named through `warn`.
        dropped: how many frames of a live source came and went before anyone asked for them.
    """

    hold_ms: int
    live: bool
    skipped: int
    dropped: int

    def __iter__(self) -> Iterator[Frame | Gap]: ...

    def close(self) -> None: ...


def open_source(name: str, warn: Warn, give_up_s: float = GIVE_UP_S) -> Source:
    """The source a name on the command line means.

    Args:
        name: "picamera2", a V4L2 index ("0") or device ("/dev/video0"), the address of a stream ("rtsp://..."), a folder, a
            photo, a .npy of frames, or a video file.
        give_up_s: after how many seconds without a frame a camera or stream is an error; 0 means never.

    Raises:
        SourceError: it cannot be opened.
    """
    from . import images, live, opencv, picamera, replay  # here, because these files need Frame and Warn from this one

    if name == picamera.NAME:
        return live.LiveSource(picamera.PiCamera, name, warn, give_up_s)
    if name.isdigit() or name.startswith("/dev/"):
        return live.LiveSource(partial(opencv.v4l2_camera, name), opencv.device_path(name), warn, give_up_s)
    if name.lower().startswith(opencv.STREAM_STARTS):
        return live.LiveSource(partial(opencv.network_stream, name), opencv.public_name(name), warn, give_up_s)
    path = Path(name)
    if path.is_dir():
        return replay.FolderSource(path, images.photo_decoder(), warn)
    if not path.is_file():
        raise SourceError(
            "no such source",
            given=repr(name),
            expected="picamera2, a V4L2 index or device, a stream's address, a folder, a photo, a video file or a .npy",
            remedy=f"`{advice.doctor()}` lists the cameras.",
        )
    if path.suffix.lower() == ".npy":
        return replay.ArraySource(path)
    if path.suffix.lower() in images.PHOTO_SUFFIXES:
        return replay.PhotoSource(path, images.photo_decoder())
    return opencv.VideoSource(path)
