"""Photo files to frames, by OpenCV or else by Pillow: upright (EXIF orientation applied), RGB whatever was stored."""
from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np

from .. import advice
from ..errors import SourceError

PHOTO_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))
PHOTO = "a readable photo"

Decoder = Callable[[Path], np.ndarray]  # path -> uint8 (H, W, 3) RGB; raises SourceError when the photo is unreadable


def photo_decoder() -> Decoder:
    """The first decoder that is installed.

    Raises:
        SourceError: neither OpenCV nor Pillow is.
    """
    for make in (_opencv_decoder, _pillow_decoder):
        try:
            return make()
        except ImportError:
            continue
    raise SourceError(
        "photos cannot be read here",
        given="neither OpenCV nor Pillow",
        expected="one of them (a .npy of frames needs neither)",
        remedy=advice.install_line(advice.PILLOW),
    )


def _opencv_decoder() -> Decoder:
    import cv2

    def decode(path: Path) -> np.ndarray:
        try:
            # IMREAD_COLOR turns the photo upright by its EXIF tag, repeats grey, and drops an alpha channel.
            photo_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        except cv2.error as error:
            raise SourceError(f"{path}: unreadable", given=error.err, expected=PHOTO) from error
        if photo_bgr is None:
            raise SourceError(f"{path}: unreadable", given="what OpenCV cannot decode", expected=PHOTO)
        return cv2.cvtColor(photo_bgr, cv2.COLOR_BGR2RGB)

    return decode


def _pillow_decoder() -> Decoder:
    from PIL import Image, ImageOps

    def decode(path: Path) -> np.ndarray:
        try:
            with Image.open(path) as photo:
                return np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))
        # Pillow's decoders raise nearly anything on damaged files: OSError, SyntaxError, ValueError, struct.error, …
        except Exception as error:
            raise SourceError(f"{path}: unreadable", given=error, expected=PHOTO) from error

    return decode
