"""Photos on disk, one folder a class: each is written whole or not at all, and never over another."""
from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from time import localtime, strftime
from typing import Callable

import numpy as np

from ..camera.images import PHOTO_SUFFIXES
from ..display.pictures import jpeg_compressor
from ..errors import OutputError, UsageError

ENOUGH = 20  # photos of a class that a bundle can be made from
QUIT = "q"
KEYS = "123456789" "abcdefghijklmnoprstuvwxyz" "ABCDEFGHIJKLMNOPRSTUVWXYZ"  # one a class, in this order; QUIT is no class
JPEG_QUALITY = 95  # training adds its own artefacts
NUMBER_DIGITS = 4

Encode = Callable[[np.ndarray], bytes]  # uint8 (H, W, 3) RGB -> a photo file's bytes


class Album:
    """The class folders in `folder`; a class gets its folder with its first photo.

    A photo is called <start of this run>_<number>. Photos taken in one go so begin alike, and `make export`, which takes
    what stands before the last number for a session, can hold out whole runs.

    Attributes:
        counts: class -> photos in its folder, those from earlier runs included.
        added: class -> photos of this run.

    Raises:
        UsageError: class names that cannot be used, or a folder that cannot be made.
    """

    def __init__(self, folder: Path, classes: Sequence[str], started: str | None = None):
        self.folder, self.classes = folder.resolve(), check_classes(classes)
        self.keys = dict(zip(KEYS, self.classes))
        self._started = started or strftime("%Y%m%d-%H%M%S", localtime())
        self._suffix, self._encode = photo_encoder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.counts = {name: _count_photos(folder / name) for name in self.classes}
        except OSError as error:
            raise UsageError("photos cannot be kept there", given=f"{folder}, {error.strerror}",
                             expected="a folder that you may write to, or a name for a new one") from error
        self.added = dict.fromkeys(self.classes, 0)

    def add(self, name: str, frame_rgb: np.ndarray) -> Path:
        """Keep uint8 (H, W, 3) as a photo of a class; returns its path. Raises OutputError when that fails."""
        folder = self.folder / name
        try:
            folder.mkdir(exist_ok=True)
            path = self._write(folder, self._encode(frame_rgb))
        except OSError as error:
            raise OutputError(f"{folder}: the photo cannot be written", given=error.strerror or error,
                              remedy="Is the disk full, or the folder not writable?") from error
        self.counts[name] += 1
        self.added[name] += 1
        return path

    def _write(self, folder: Path, content: bytes) -> Path:
        """Into a file that no reader takes for a photo, and from there to the first name that is free."""
        partial = folder / f".{self._started}-{os.getpid()}.part"
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # a Pi is often switched off by its plug
            number = self.added[folder.name] + 1
            while True:
                path = folder / f"{self._started}_{number:0{NUMBER_DIGITS}d}{self._suffix}"
                try:
                    _move(partial, path)
                    return path
                except FileExistsError:  # a clock that stands or was set back
                    number += 1
        finally:
            partial.unlink(missing_ok=True)


def _move(partial: Path, path: Path) -> None:
    """Rename, but never over a file. Raises FileExistsError."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # no hard links on a USB stick's FAT: take the name first, then rename over the empty file
        path.open("xb").close()
        partial.replace(path)


def check_classes(names: Sequence[str]) -> tuple[str, ...]:
    """The names, if each can be a class folder. Raises UsageError."""
    expected = "different names, without / and not beginning with . or _"
    if not 1 <= len(names) <= len(KEYS):
        raise UsageError("--classes", given=f"{len(names)} names", expected=f"1 to {len(KEYS)}, for example: mug cup none")
    for name in names:
        if not name.strip() or "/" in name or "\0" in name or name[0] in "._":
            raise UsageError("--classes", given=repr(name), expected=expected)
    if len(set(names)) < len(names):
        raise UsageError("--classes", given=" ".join(names), expected=expected)
    return tuple(names)


def class_folders(folder: Path) -> list[str]:
    """Names of the class folders that are there, sorted; empty where there are none."""
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] not in "._") if folder.is_dir() else []


def _count_photos(folder: Path) -> int:
    return sum(f.suffix.lower() in PHOTO_SUFFIXES for f in folder.iterdir()) if folder.is_dir() else 0


def photo_encoder() -> tuple[str, Encode]:
    """(suffix, encoder): JPEG where OpenCV or Pillow is installed, else PNG."""
    jpeg = jpeg_compressor(JPEG_QUALITY)
    return (".jpg", jpeg) if jpeg else (".png", png)


def png(frame_rgb: np.ndarray) -> bytes:
    """uint8 (H, W, 3) -> PNG, 8-bit RGB, without filters or interlace (https://www.w3.org/TR/png-3/)."""
    height, width = frame_rgb.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # every row begins with the number of its filter, 0: none
    rows[:, 1:] = frame_rgb.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
