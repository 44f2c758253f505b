"""Where frames come from: one file a kind of source, all behind the small interface `Source`."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Protocol

import numpy as np

from ..errors import SourceError

Warn = Callable[[str], None]  # called with one line for the person at the keyboard


@dataclass(frozen=True)
class Frame:
    """One frame, uint8 (H, W, 3) RGB, and the name it goes by in the results (a photo's path within its folder)."""

    rgb: np.ndarray = field(repr=False)
    source: str


class Source(Protocol):
    """What every source offers.

    Iterating starts at the first frame (a camera: at the next one) and ends after the last; it may be done again.
    A source without a single frame raises SourceError instead of ending at once.

    Attributes:
        hold_ms: how long a window should show a frame, milliseconds; 1 means no longer than it takes.
        skipped: how many photos could not be read so far; each was named through `warn`.
    """

    hold_ms: int
    skipped: int

    def __iter__(self) -> Iterator[Frame]: ...

    def close(self) -> None: ...


def open_source(name: str, warn: Warn) -> Source:
    """The source a name on the command line means.

    Args:
        name: a V4L2 index ("0") or device ("/dev/video0"), a folder, a photo, a .npy of frames, or a video file.

    Raises:
        SourceError: it cannot be opened.
    """
    from . import images, opencv, replay  # here, because these files need Frame and Warn from this one

    if name == "picamera2":
        raise SourceError(
            "--source picamera2 is not in this version",
            expected="a V4L2 camera, a video, photos or a .npy",
            remedy="A USB camera works as --source 0; a Pi camera can write photos: rpicam-still -o hand.jpg",
        )
    if name.isdigit() or name.startswith("/dev/"):
        return opencv.OpenCvSource.camera(name)
    path = Path(name)
    if path.is_dir():
        return replay.FolderSource(path, images.photo_decoder(), warn)
    if not path.is_file():
        raise SourceError(
            "no such source",
            given=repr(name),
            expected="a V4L2 index or device, a folder, a photo, a video file or a .npy",
            remedy="`python3 -m runtime doctor` lists the cameras.",
        )
    if path.suffix.lower() == ".npy":
        return replay.ArraySource(path)
    if path.suffix.lower() in images.PHOTO_SUFFIXES:
        return replay.PhotoSource(path, images.photo_decoder())
    return opencv.OpenCvSource.video(path)
