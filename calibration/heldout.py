"""Frames to be judged on: whole photos of a split, what is in them, and where; and frames without a hand.

Frames without a hand come from `none` folders and from the parts of the same photos beside the hand. Rendered frames, for
a machine without photos, travel in a .npz and say in their names that they are rendered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from calibration.photos import NONE, DataError, Photo, load, load_hand_mask

RENDERED = "rendered"  # the source that rendered frames name


@dataclass(frozen=True)
class HeldOut:
    """One frame: uint8 (H, W, 3) RGB, its label, where the hand is (None: not known), and where the frame is from."""

    frame_rgb: np.ndarray
    name: str
    label: str
    box_xyxy: tuple[float, float, float, float] | None = None
    hand: np.ndarray | None = None  # uint8 (H, W), 255 = hand

    @property
    def source(self) -> str:
        """The data set, for tables by source."""
        return self.name.split("/")[0]

    @property
    def rendered(self) -> bool:
        """Drawn, not photographed: to be said wherever a figure comes from it."""
        return self.source == RENDERED


def describe(frames: Sequence[HeldOut]) -> str:
    """What figures over these frames are measured on, in words that follow their number."""
    rendered = sum(frame.rendered for frame in frames)
    if rendered in (0, len(frames)):
        return "rendered hands, held out" if rendered else "held-out photos"
    return f"held-out frames, {rendered} of them rendered"


def from_photos(photos: Sequence[Photo], parts: bool = True) -> list[HeldOut]:
    """Every photo of the list, then (with `parts`) the largest hand-free part of each photo whose hand has a box.

    `other` hand shapes are left out: they are a hand, and yet none of the classes.
    """
    photos = [p for p in photos if p.path.parent.name != "other"]
    result, empty = [], []
    for photo, frame in zip(*load(photos)):
        masks = load_hand_mask(photo, frame.shape[1::-1])
        result.append(HeldOut(frame, photo.name, photo.label, photo.box_xyxy, masks[1] if masks else None))
        if parts and photo.box_xyxy and photo.label != NONE:
            shadow = photo.box_xyxy if not masks else bounds(masks[0])
            empty += [HeldOut(part, f"{photo.name}#without-hand", NONE) for part in parts_without(frame, shadow)[:1]]
    return result + empty


def parts_without(frame_rgb: np.ndarray, box_xyxy, least: int = 64) -> list[np.ndarray]:
    """The strips of a photo beside its box (with a margin of 12 %), the largest first, at least `least` px a side."""
    height, width = frame_rgb.shape[:2]
    x0, y0, x1, y1 = box_xyxy
    mx, my = 0.12 * (x1 - x0), 0.12 * (y1 - y0)
    x0, y0, x1, y1 = (int(v) for v in (max(0, x0 - mx), max(0, y0 - my), min(width, x1 + mx), min(height, y1 + my)))
    parts = [frame_rgb[:, :x0], frame_rgb[:, x1:], frame_rgb[:y0], frame_rgb[y1:]]
    parts = [p for p in parts if min(p.shape[:2]) >= least]
    return sorted(parts, key=lambda p: -p.shape[0] * p.shape[1])


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The xyxy box of a mask's non-zero pixels."""
    x, y, w, h = cv2.boundingRect(mask)
    return x, y, x + w, y + h


def save(frames: Sequence[HeldOut], path: Path) -> None:
    """Write frames of one size as a .npz that `read` takes; hands without a mask or a box cannot be stored."""
    np.savez_compressed(path, frames=np.stack([f.frame_rgb for f in frames]), names=np.array([f.name for f in frames]),
                        labels=np.array([f.label for f in frames]),
                        hands=np.stack([_no_hand(f.frame_rgb) if f.hand is None else f.hand for f in frames]))


def _no_hand(frame_rgb: np.ndarray) -> np.ndarray:
    return np.zeros(frame_rgb.shape[:2], np.uint8)


def read(path: Path) -> list[HeldOut]:
    """Frames written by `save`. Raises DataError when the file is not one."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[key] for key in ("frames", "names", "labels", "hands")]
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise DataError(f"{path} is not a file of held-out frames ({error}); "
                        "write one with `python -m export heldout`") from error
    return [HeldOut(frame, str(name), str(label), bounds(hand) if hand.any() else None, hand if hand.any() else None)
            for frame, name, label, hand in zip(*columns)]
