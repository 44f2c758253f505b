"""Frames from disk: a photo, a folder of photos, a .npy. The .npy source needs numpy only and is the tests' camera."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format

from ..errors import SourceError
from . import Frame, Warn
from .images import PHOTO_SUFFIXES, Decoder

PHOTO_HOLD_MS = 500  # long enough to look at a photo, short enough to leaf through a folder


class PhotoSource:
    """A single photo; unlike in a folder, not being able to read it is an error."""

    hold_ms = PHOTO_HOLD_MS
    live = False
    skipped = dropped = 0

    def __init__(self, path: Path, decode: Decoder):
        self._frame = Frame(decode(path), path.name)

    def __iter__(self) -> Iterator[Frame]:
        yield self._frame

    def close(self) -> None:
        pass


class FolderSource:
    """All photos under a folder, sorted by path; names are relative to the folder, with `/`."""

    hold_ms = PHOTO_HOLD_MS
    live = False
    dropped = 0

    def __init__(self, folder: Path, decode: Decoder, warn: Warn):
        self._folder = folder
        self._decode = decode
        self._warn = warn
        self._unreadable: set[Path] = set()
        self._photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
        if not self._photos:
            raise SourceError(
                "no photo in the folder", given=folder, expected=f"files ending in {', '.join(sorted(PHOTO_SUFFIXES))}"
            )

    @property
    def skipped(self) -> int:
        return len(self._unreadable)

    def __iter__(self) -> Iterator[Frame]:
        for path in self._photos:
            if path in self._unreadable:
                continue
            try:
                photo_rgb = self._decode(path)
            except SourceError as error:
                self._unreadable.add(path)
                self._warn(f"skipped {error}")
                continue
            yield Frame(photo_rgb, path.relative_to(self._folder).as_posix())
        if len(self._unreadable) == len(self._photos):
            raise SourceError("no photo in the folder can be read", given=self._folder, expected="at least one")

    def close(self) -> None:
        pass


class ArraySource:
    """Frames from a .npy of shape (N, H, W, 3) uint8 RGB, mapped into memory: only the frames looked at are read."""

    hold_ms = 1
    live = False
    skipped = dropped = 0

    def __init__(self, path: Path):
        expected = "a .npy of uint8 frames (N, H, W, 3), RGB, N at least 1"
        try:
            frames = npy_format.open_memmap(path, mode="r")  # never unpickles: objects cannot be mapped
        except (OSError, ValueError) as error:
            raise SourceError(f"{path}: cannot be opened", given=error, expected=expected) from error
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise SourceError(f"{path}: not frames", given=f"{frames.dtype} {frames.shape}", expected=expected)
        self._frames = frames.view(np.ndarray)  # plain arrays are quicker to index than memmap's subclass
        self._name = path.name

    def __iter__(self) -> Iterator[Frame]:
        for frame_rgb in self._frames:
            yield Frame(frame_rgb, self._name)

    def close(self) -> None:
        pass
