"""Rings drawn by an unsteady pen on paper, whole or with a defect: what anomaly detection is shown on without photos.

A whole ring is normal. A defect is an extra stroke, a gap in the line, or a dot, in the manner of the hand-drawn circles of
https://github.com/shinmura0/Faster-Grad-CAM; nothing here is taken from them but the idea.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.anomaly_photos import Sample, small_mask

SIZE = 160  # pixels a side while it is drawn
SIZES = (120, 260)  # of the photo made of it: cameras and crops differ
FINE = 4  # drawn so many times larger, then reduced: soft edges as from a lens
DEFECTS = ("stroke", "gap", "dot")
ROUND = 128  # points of a ring's outline
MARGIN = 5  # pixels around a defect that count as its place: a rough outline, as a person would draw it


@dataclass(frozen=True)
class Ring:
    """frame_rgb uint8 (S, S, 3), S within SIZES; mask uint8 (S, S), 255 = defect, all 0 for a whole ring; kind: "good", or one
    of DEFECTS."""

    frame_rgb: np.ndarray
    mask: np.ndarray
    kind: str


def draw(rng: np.random.Generator, kind: str = "good") -> Ring:
    """One ring; everything about it but its kind is drawn by `rng`."""
    outline = _outline(rng)
    thickness = rng.uniform(2.5, 5.5)
    ink, mask = np.zeros((2, SIZE * FINE, SIZE * FINE), np.uint8)
    if kind == "gap":
        length = max(2 * thickness + 5, rng.uniform(0.08, 0.22) * _length(outline))  # the pen's round ends take their part
        outline, missing = _cut(np.roll(outline, rng.integers(ROUND), axis=0), length)
        _line(mask, missing, thickness)
    _line(ink, outline, thickness)
    if kind in ("stroke", "dot"):
        _line(mask, (_stroke if kind == "stroke" else _dot)(rng, outline), thickness * (1.4 if kind == "dot" else 1.0))
        ink |= mask
    if kind != "good":
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, [2 * MARGIN * FINE + 1] * 2))
    size_wh = (int(rng.integers(*SIZES)),) * 2
    cover = cv2.resize(ink, size_wh, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.0) * size_wh[0] / SIZE)[..., None] * rng.uniform(0.8, 1.0)
    frame = cv2.resize(_paper(rng), size_wh) * (1 - cover) + rng.uniform(10, 60) * cover
    frame += rng.standard_normal(frame.shape) * rng.uniform(0.5, 3)
    small = cv2.resize(mask, size_wh, interpolation=cv2.INTER_AREA)
    return Ring(np.clip(frame, 0, 255).astype(np.uint8), np.where(small > 127, 255, 0).astype(np.uint8), kind)


def good(count: int, seed: int) -> list[Ring]:
    """Whole rings."""
    rng = np.random.default_rng(seed)
    return [draw(rng) for _ in range(count)]


def defective(count: int, seed: int) -> list[Ring]:
    """Rings with a defect, each of DEFECTS in turn."""
    rng = np.random.default_rng(seed)
    return [draw(rng, DEFECTS[i % len(DEFECTS)]) for i in range(count)]


def samples(drawings: Sequence[Ring], prefix: str) -> list[Sample]:
    """Rings in place of photos."""
    return [Sample(f"{prefix}/{ring.kind}/{i:04d}", ring.kind, lambda ring=ring: ring.frame_rgb, small_mask(ring.mask))
            for i, ring in enumerate(drawings)]


def _outline(rng: np.random.Generator) -> np.ndarray:
    """(ROUND + 1, 2) points of a closed, turned ellipse that trembles: the radius has a few slow waves."""
    angle = np.linspace(0, 2 * np.pi, ROUND + 1) + rng.uniform(0, 2 * np.pi)
    radius = np.ones(ROUND + 1)
    for wave, most in ((2, 0.06), (3, 0.06), (4, 0.03), (5, 0.02)):
        radius += rng.uniform(0, most) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
    long = np.exp(rng.uniform(np.log(14), np.log(42)))
    points = radius[:, None] * np.column_stack([np.cos(angle) * long, np.sin(angle) * long * rng.uniform(0.5, 1.0)])
    turn = rng.uniform(0, np.pi)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    room = SIZE / 2 - np.abs(points).max(axis=0) - 14
    return points + SIZE / 2 + rng.uniform(-1, 1, 2) * np.minimum(room, 35)


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _cut(outline: np.ndarray, length: float) -> tuple[np.ndarray, np.ndarray]:
    """(what is left, what is missing) of an outline whose first `length` pixels are taken away."""
    walked = np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=1))
    end = int(np.clip(np.searchsorted(walked, length), 2, ROUND - 8))
    return outline[end:], outline[1:end]


def _stroke(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """A short line across the ring, at nearly a right angle to it."""
    at = int(rng.integers(2, len(outline) - 2))
    along = outline[at + 1] - outline[at - 1]
    across = np.array([-along[1], along[0]]) / max(np.linalg.norm(along), 1e-6)
    turn = rng.uniform(-0.6, 0.6)
    across = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ across
    ends = np.sort(rng.uniform(6, 16, 2)) * rng.choice([-1, 1])
    bend = rng.uniform(-2, 2, 2)
    return np.stack([outline[at] - across * ends[0], outline[at] + bend, outline[at] + across * ends[1]])


def _dot(rng: np.random.Generator, outline: np.ndarray) -> np.ndarray:
    """A dot inside or outside of the ring, clear of its line."""
    middle = outline.mean(axis=0)
    for _ in range(100):
        place = middle + rng.uniform(-1, 1, 2) * (np.ptp(outline, axis=0) / 2 + 25)
        if 8 < np.linalg.norm(outline - place, axis=1).min() < 25 and place.min() > 6 and place.max() < SIZE - 6:
            break
    return np.stack([place, place + rng.uniform(-1, 1, 2)])


def _line(canvas: np.ndarray, points: np.ndarray, thickness: float) -> None:
    fixed = np.rint(points * FINE).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, 255, max(1, round(thickness * FINE)), cv2.LINE_AA)


def _paper(rng: np.random.Generator) -> np.ndarray:
    """float (SIZE, SIZE, 3): light paper, darker to one side, with a tint in one corner, as a cheap lens shows it."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    paper = rng.uniform(170, 235) + rng.normal(0, 4, 3) + np.zeros((SIZE, SIZE, 3))
    paper *= 1 + (rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.15, 0.15) * y)[..., None]
    corner = np.hypot(x - rng.choice([-0.5, 0.5]), y - rng.choice([-0.5, 0.5]))
    tint = np.exp(-(corner / rng.uniform(0.2, 0.6)) ** 2) * rng.uniform(0, 1)
    return paper - tint[..., None] * np.abs(rng.normal(0, 25, 3))
