"""Backgrounds drawn from nothing: walls, boards, furniture and people, for hands to be laid over and for `none`."""

from __future__ import annotations

import cv2
import numpy as np

from export.rendering.skin import BACK_SRGB


def room_color(rng: np.random.Generator) -> np.ndarray:
    """Return a float32 RGB: mostly greys, whites and browns as rooms have, now and then a loud one."""
    value = rng.uniform(15, 245)
    loudness = rng.choice([0.10, 0.35, 0.9], p=[0.6, 0.3, 0.1])
    return np.clip(value * (1 + loudness * rng.uniform(-1, 1, 3)), 0, 255).astype(np.float32)


def _paint_base(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return float32 (H, W, 3): a wall, boards, stripes, checks or clouds."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] * (width / height)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    frequency = rng.uniform(2, 16)
    kind = rng.choice(["wall", "wood", "stripes", "checks", "clouds"], p=[0.42, 0.14, 0.1, 0.09, 0.25])
    if kind == "wall":
        share = np.clip(along * 0.5 + 0.5, 0, 1)
    elif kind == "wood":
        bend = cv2.resize(rng.standard_normal((6, 3), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        rings = np.sin(across * frequency * 4 + bend * rng.uniform(0.5, 3))
        share = 0.5 + 0.3 * rings + 0.15 * np.sin(across * 90 + bend)
    elif kind == "stripes":
        share = (np.sin(along * frequency * np.pi) > rng.uniform(-0.8, 0.8)).astype(np.float32)
    elif kind == "checks":
        share = 0.5 + 0.25 * np.sign(np.sin(along * frequency * 2)) + 0.25 * np.sign(np.sin(across * frequency * 2))
    else:
        cells = int(rng.integers(3, 24))
        noise = rng.standard_normal((cells, cells), np.float32)
        share = 0.5 + 0.4 * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    first = room_color(rng)
    second = np.clip(first * rng.uniform(0.5, 1.3), 0, 255) if rng.random() < 0.6 else room_color(rng)
    return np.ascontiguousarray(first + np.clip(share, 0, 1)[..., None] * (second - first), np.float32)


def _paint_furniture(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw boxes, shelves, blinds, cables and blobs into image (H, W, 3)."""
    height, width = image.shape[:2]
    for _ in range(rng.integers(0, 9)):
        color = tuple(float(c) for c in room_color(rng))
        x, y = rng.uniform(-0.2, 1.0, 2) * (width, height)
        w, h = rng.uniform(0.05, 0.7, 2) * (width, height)
        kind = rng.choice(["box", "box", "shelf", "line", "blob"])
        if kind == "blob":
            axes = (int(w / 3) + 1, int(h / 3) + 1)
            cv2.ellipse(image, (int(x), int(y)), axes, rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        elif kind == "line":
            end = (int(x + rng.normal(0, 0.6) * width), int(y + rng.normal(0, 0.6) * height))
            cv2.line(image, (int(x), int(y)), end, color, int(rng.integers(1, 2 + width // 10)), cv2.LINE_AA)
        else:
            corners = cv2.boxPoints(((x + w / 2, y + h / 2), (w, h), rng.normal(0, 8)))
            cv2.fillConvexPoly(image, corners.astype(np.int32), color, cv2.LINE_AA)
            if rng.random() < 0.4:
                cv2.polylines(image, [corners.astype(np.int32)], True, tuple(0.5 * c for c in color), 2, cv2.LINE_AA)
        if kind == "shelf":
            second = tuple(float(c) for c in room_color(rng))
            count, upright = int(rng.integers(2, 9)), rng.random() < 0.5
            for step in range(count):
                at = (x + w * step / count, y) if upright else (x, y + h * step / count)
                to = (at[0], y + h) if upright else (x + w, at[1])
                cv2.line(image, (int(at[0]), int(at[1])), (int(to[0]), int(to[1])), second, 1 + width // 48)


def _paint_person(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw something like a person into image (H, W, 3): torso, arm, neck, face and hair."""
    height, width = image.shape[:2]
    tone = rng.uniform(0, len(BACK_SRGB) - 1)
    shade = rng.uniform(0.4, 1.1)
    skin = tuple(float(np.interp(tone, np.arange(len(BACK_SRGB)), BACK_SRGB[:, c]) * shade) for c in range(3))
    dark = tuple(0.3 * c for c in skin)
    cloth, hair = (tuple(float(c) for c in room_color(rng) * f) for f in (1.0, 0.35))
    head = rng.uniform(0.10, 0.34) * width
    x, y = rng.uniform(0.0, 1.0) * width, rng.uniform(0.0, 0.9) * height

    def oval(dx: float, dy: float, rx: float, ry: float, color: tuple, angle: float = 0.0) -> None:
        axes = (max(int(rx * head), 1), max(int(ry * head), 1))
        cv2.ellipse(image, (int(x + dx * head), int(y + dy * head)), axes, angle, 0, 360, color, -1, cv2.LINE_AA)

    oval(0, 3.4, 2.1, 2.2, cloth)
    if rng.random() < 0.4:
        elbow = (int(x + rng.uniform(-3, 3) * head), int(y + rng.uniform(2, 5) * head))
        wrist = (int(elbow[0] + rng.uniform(-2, 2) * head), int(elbow[1] + rng.uniform(-3, 3) * head))
        cv2.line(image, elbow, wrist, skin, max(int(0.6 * head), 1), cv2.LINE_AA)
    oval(0, 1.1, 0.42, 0.7, tuple(0.8 * c for c in skin))
    oval(0, -0.25, 0.92, 1.1, hair)
    oval(0, 0, 0.76, 1.02, skin)
    turn = rng.uniform(-0.3, 0.3)
    for side in (-0.3, 0.3):
        oval(turn + side, -0.12, 0.13, 0.07, dark)
        oval(turn + side, -0.3, 0.18, 0.04, hair)
    oval(turn * 1.3, 0.15, 0.09, 0.22, tuple(0.85 * c for c in skin))
    oval(turn, 0.52, 0.26, 0.07, (0.75 * skin[0], 0.5 * skin[1], 0.5 * skin[2]))


def render_background(rng: np.random.Generator, size_wh: tuple[int, int]) -> np.ndarray:
    """Return uint8 (H, W, 3): something like a room, sharp or blurred, with or without a person, never with a hand."""
    width, height = size_wh
    image = _paint_base(rng, width, height)
    _paint_furniture(image, rng)
    if rng.random() < 0.4:
        _paint_person(image, rng)
    if rng.random() < 0.6:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 0.03 * width + 0.5))
    light = np.full((height, width), 1.0, np.float32)
    for cells, strength in ((2, 0.18), (5, 0.08), (max(min(size_wh) // 3, 2), 0.03)):
        noise = rng.standard_normal((cells, cells), np.float32)
        light += rng.uniform(0, strength) * cv2.resize(noise, size_wh, interpolation=cv2.INTER_LINEAR)
    image *= light[..., None]
    image += rng.uniform(0, 7) * rng.standard_normal((height, width, 1), np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)
