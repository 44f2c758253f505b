"""How a bundle does where light or camera are unkind: `python -m calibration conditions`.

The photos of a split are judged as they are, then once more for every condition, changed as that would change them. A photo
made blue is not a photo of a blue room, so a figure here says where a network is weak, not how often it will be wrong in a
room. A box without a mask grows as it is turned, so that box IoU is only fair by 90 degrees and 180.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from calibration.compare import Quality, judge, quality
from calibration.heldout import HeldOut, bounds, from_photos
from calibration.photos import box_mask, scan, split
from runtime.pipeline import Pipeline

Change = Callable[[HeldOut], HeldOut]
CAMERA_WH = 320, 240  # pixels of the cheap camera behind noise and JPEG
SEED = 0
HEAD = f"{'':<24}accuracy   hands  false alarms  peak inside  box IoU"  # as `row`


def toned(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A change of float32 (H, W, 3) RGB, 0 to 255; what leaves that range is cut off, as in a camera."""
    def changed(frame: HeldOut) -> HeldOut:
        return replace(frame, frame_rgb=np.clip(change(frame.frame_rgb.astype(np.float32)), 0, 255).astype(np.uint8))
    return changed


def out_of_focus(frame_rgb: np.ndarray) -> np.ndarray:
    """Blurred by a hundredth of the width (standard deviation)."""
    return cv2.GaussianBlur(frame_rgb, (0, 0), frame_rgb.shape[1] / 100)


def noisy(frame_rgb: np.ndarray) -> np.ndarray:
    """As a cheap camera sees in the dusk: a standard deviation of 25 at 320x240, the same noise for every frame."""
    noise = np.random.default_rng(SEED).normal(0, 25, (*CAMERA_WH[::-1], 3)).astype(np.float32)
    return frame_rgb + cv2.resize(noise, frame_rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def compressed(frame: HeldOut) -> HeldOut:
    """JPEG of quality 15 at 320x240, at the frame's size again."""
    small = cv2.resize(frame.frame_rgb, CAMERA_WH, interpolation=cv2.INTER_AREA)
    coded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
    small = cv2.cvtColor(cv2.imdecode(coded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return replace(frame, frame_rgb=cv2.resize(small, frame.frame_rgb.shape[1::-1]))


def moved(frame: HeldOut, matrix: np.ndarray) -> HeldOut:
    """Frame, hand and box by `matrix` (2x3), at the same size; edges go on where the frame ends."""
    size_wh = frame.frame_rgb.shape[1::-1]
    frame_rgb = cv2.warpAffine(frame.frame_rgb, matrix, size_wh, borderMode=cv2.BORDER_REPLICATE)
    if frame.box_xyxy is None:
        return replace(frame, frame_rgb=frame_rgb)
    hand = box_mask(frame.box_xyxy, size_wh) if frame.hand is None else frame.hand
    hand = cv2.warpAffine(hand, matrix, size_wh, flags=cv2.INTER_NEAREST)
    return replace(frame, frame_rgb=frame_rgb, hand=None if frame.hand is None else hand, box_xyxy=bounds(hand))


def mirrored(frame: HeldOut) -> HeldOut:
    return moved(frame, np.float64([[-1, 0, frame.frame_rgb.shape[1] - 1], [0, 1, 0]]))


def turned(degrees: float) -> Change:
    """Turned counter-clockwise about the hand, or about the middle."""
    def changed(frame: HeldOut) -> HeldOut:
        x0, y0, x1, y1 = frame.box_xyxy or (0, 0, *frame.frame_rgb.shape[1::-1])
        return moved(frame, cv2.getRotationMatrix2D(((x0 + x1) / 2, (y0 + y1) / 2), degrees, 1))
    return changed


def upright(frame: HeldOut) -> HeldOut:
    """As a phone held upright sees it, three wide and four high: around the hand, or the middle. A wider hand is cut."""
    height, width = frame.frame_rgb.shape[:2]
    view = min(width, round(height * 3 / 4))
    x0, y0, x1, y1 = frame.box_xyxy or (0, 0, width, height)
    left = min(max(round((x0 + x1 - view) / 2), 0), width - view)
    part = replace(frame, frame_rgb=np.ascontiguousarray(frame.frame_rgb[:, left:left + view]))
    if frame.box_xyxy is None:
        return part
    return replace(part, box_xyxy=(max(x0 - left, 0), y0, min(x1 - left, view), y1),
                   hand=None if frame.hand is None else np.ascontiguousarray(frame.hand[:, left:left + view]))


CONDITIONS: dict[str, Change] = {
    "as they are": lambda frame: frame,
    "a third of the light": toned(lambda rgb: 0.35 * rgb),
    "too much light": toned(lambda rgb: 1.6 * rgb),
    "mist": toned(lambda rgb: 128 + 0.4 * (rgb - 128)),
    "blue light": toned(lambda rgb: rgb * np.float32([0.75, 1, 1.3])),
    "yellow light": toned(lambda rgb: rgb * np.float32([1.3, 1, 0.7])),
    "grey": toned(lambda rgb: np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2)),
    "out of focus": toned(out_of_focus),
    "noise": toned(noisy),
    "JPEG, quality 15": compressed,
    "upright, 3:4": upright,
    "mirrored": mirrored,
    **{f"turned by {degrees}": turned(degrees) for degrees in (20, -20, 45, -45, 90, -90, 180)},
}


def measure(pipeline: Pipeline, folders: Sequence[Path], part: str) -> str:
    """The table, as text, of all photos of a split. Raises DataError."""
    frames = from_photos([photo for photo in split(scan(folders)) if part in (photo.split, "all")])
    lines = [f"{part}: {len(frames)} frames, {sum(f.box_xyxy is not None for f in frames)} of them of hands", "", HEAD]
    for name, change in CONDITIONS.items():
        changed = [change(frame) for frame in frames]
        lines.append(row(name, quality(changed, judge(pipeline, changed, name))))
    return "\n".join(lines)


def row(name: str, q: Quality) -> str:
    return f"{name:<24}{q.accuracy:8.3f}{q.accuracy_hands:8.3f}{q.false_alarms:14.3f}{q.peak_inside:13.3f}{q.box_iou:9.3f}"
