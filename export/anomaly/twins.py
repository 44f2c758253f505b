"""Twins: the same normal photo without and with a synthetic defect, so that a network learns what a defect is from normals.

A defect is a shape (a scar's line, a torn blob, a rectangle, dots) filled with something that does not belong there: another
colour, a piece of the photo from elsewhere (CutPaste, https://arxiv.org/abs/2104.04015), its surroundings as if the part
were cut away, a stain, or the photo itself pushed aside. All of it is drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SHAPES = ("line", "blob", "rectangle", "dots")
FILLINGS = ("colour", "patch", "cut", "stain", "shift")
LEAST_CHANGE = 14  # grey levels; what changes a pixel by less is no defect to see, and is not called one
LEAST_SHARE = 0.0004  # of the frame: 20 pixels at 224x224
TRIES = 8


@dataclass(frozen=True)
class Twin:
    """frame_rgb uint8 (H, W, 3) with a defect; mask uint8 (H, W), 255 where it can be seen; kind: its shape and filling."""

    frame_rgb: np.ndarray
    mask: np.ndarray
    kind: tuple[str, str]


def twin(frame_rgb: np.ndarray, rng: np.random.Generator, kinds: list[tuple[str, str]]) -> Twin:
    """A twin of uint8 (H, W, 3) with a defect of one of the kinds; what could hardly be seen is drawn anew, stronger."""
    for attempt in range(TRIES):  # the last try is taken as it is
        shape, filling = kinds[rng.integers(len(kinds))]
        cover = _shape(shape, frame_rgb, rng)
        other = _filling(filling, frame_rgb, cover, rng)
        opacity = rng.uniform(0.35 + 0.08 * attempt, 1.0) if filling in ("colour", "stain") else rng.uniform(0.8, 1.0)
        share = (cover * opacity)[..., None]
        made = np.clip(frame_rgb * (1 - share) + other * share, 0, 255).astype(np.uint8)
        changed = np.abs(made.astype(np.int16) - frame_rgb).max(axis=2) >= LEAST_CHANGE
        if changed.mean() >= LEAST_SHARE:
            break
    near = cv2.morphologyEx(changed.astype(np.uint8) * 255, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    return Twin(made, near, (shape, filling))


def kinds(parity: int | None = None) -> list[tuple[str, str]]:
    """All (shape, filling); with `parity` 0 or 1 a half of them, as a chessboard's fields: train on one, judge on the other."""
    every = [(s, f) for s in SHAPES for f in FILLINGS]
    return [(s, f) for s, f in every if parity is None or (SHAPES.index(s) + FILLINGS.index(f)) % 2 == parity]


# --- where ------------------------------------------------------------------------------------------------------------


def _shape(name: str, frame_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W), 0..1: which pixels the defect covers."""
    height, width = frame_rgb.shape[:2]
    size, middle = min(height, width), _middle(frame_rgb, rng)
    cover = np.zeros((height, width), np.uint8)
    if name == "line":
        cv2.polylines(cover, [_walk(rng, middle, size)], False, 255, int(rng.integers(1, 2 + size // 40)), cv2.LINE_AA)
    elif name == "blob":
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = np.exp(rng.uniform(np.log(0.02), np.log(0.16))) * size * np.ones(24)
        for wave in range(1, 6):
            radius *= 1 + rng.uniform(0, 0.35) / wave ** 0.5 * np.sin(wave * angle + rng.uniform(0, 2 * np.pi))
        points = np.column_stack([np.cos(angle) * rng.uniform(0.4, 1.0), np.sin(angle)]) * radius[:, None]
        cv2.fillPoly(cover, [np.rint(_turned(points, rng) + middle).astype(np.int32)], 255, cv2.LINE_AA)
    elif name == "rectangle":
        sides = np.exp(rng.uniform(np.log(0.03), np.log(0.3), 2)) * size
        box = cv2.boxPoints((middle.tolist(), sides.tolist(), rng.choice([0.0, rng.uniform(0, 90)])))
        cv2.fillPoly(cover, [np.rint(box).astype(np.int32)], 255, cv2.LINE_AA)
    else:
        for _ in range(rng.integers(1, 4)):
            place = np.rint(middle + rng.normal(0, 0.06 * size, 2)).astype(int)
            cv2.circle(cover, place.tolist(), int(rng.integers(1, 2 + size // 40)), 255, -1, cv2.LINE_AA)
    if rng.random() < 0.4:
        cover = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.4, 1.5))
    return cover.astype(np.float32) / 255


def _middle(frame_rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place (x, y): half of them anywhere, half where there is something to see."""
    height, width = frame_rgb.shape[:2]
    if rng.random() < 0.5:
        return rng.uniform(0.03, 0.97, 2) * (width, height)
    small = cv2.resize(cv2.cvtColor(frame_rgb, cv2.COLOR_RGB2GRAY), (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = np.abs(small - np.median(small)) + 1
    cell = rng.choice(576, p=(detail / detail.sum()).ravel())
    return (np.array([cell % 24, cell // 24]) + rng.uniform(0, 1, 2)) * (width / 24, height / 24)


def _walk(rng: np.random.Generator, middle: np.ndarray, size: int) -> np.ndarray:
    """(P, 1, 2) int32: a line that wanders."""
    steps = int(rng.integers(2, 9))
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0, 0.6), steps))
    stride = np.exp(rng.uniform(np.log(0.05), np.log(0.6))) * size / steps
    points = np.cumsum(np.column_stack([np.cos(turn), np.sin(turn)]) * stride, axis=0)
    return np.rint(points - points.mean(axis=0) + middle).astype(np.int32)[:, None]


def _turned(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turn = rng.uniform(0, np.pi)
    return points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])


# --- what -------------------------------------------------------------------------------------------------------------


def _filling(name: str, frame_rgb: np.ndarray, cover: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W, 3): what the defect shows where it covers the photo."""
    photo = frame_rgb.astype(np.float32)
    height, width = cover.shape
    if name == "colour":
        grey = rng.choice([rng.uniform(0, 70), rng.uniform(180, 255)])
        colour = rng.uniform(0, 255, 3) if rng.random() < 0.3 else np.full(3, grey)
        if rng.random() < 0.4:  # one that occurs elsewhere in the photo
            colour = photo[rng.integers(height), rng.integers(width)]
        return np.broadcast_to(colour, photo.shape) + rng.normal(0, rng.uniform(0, 8), (height, width, 1))
    if name == "patch":
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), rng.uniform(0.7, 1.5))
        matrix[:, 2] += rng.uniform(-0.4, 0.4, 2) * (width, height)
        moved = cv2.warpAffine(photo, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        return moved * rng.uniform(0.7, 1.3) + rng.uniform(-20, 20)
    if name == "cut":
        around = cv2.dilate(cover, np.ones((9, 9))) > 0.05
        rim = photo[around & (cover < 0.05)]
        if len(rim) == 0 or rng.random() < 0.3:  # through to what lies at the photo's edge
            rim = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
        return np.broadcast_to(rim[rng.integers(len(rim))], photo.shape) + rng.normal(0, 2, (height, width, 1))
    if name == "stain":
        return photo * np.exp(rng.choice([-1, 1]) * rng.uniform(0.2, 0.7) + rng.normal(0, 0.12, 3)) + rng.uniform(-15, 15)
    push = rng.uniform(0.03, 0.12) * min(height, width) * np.array([np.cos(t := rng.uniform(0, 2 * np.pi)), np.sin(t)])
    return cv2.warpAffine(photo, np.float32([[1, 0, push[0]], [0, 1, push[1]]]), (width, height), borderMode=cv2.BORDER_REFLECT)
