"""The colour of skin: very light to very dark, palms and backs, blushes, creases, palm lines and nails."""

from __future__ import annotations

import numpy as np

from export.rendering.hand_model import ARM, DIGIT, PALM, Bones

# sRGB of skin from very light to very dark: back of the hand, and palm.
BACK_SRGB = np.array([[247, 218, 200], [229, 182, 153], [196, 142, 108], [134, 90, 63], [70, 45, 35]], np.float32)
PALM_SRGB = np.array([[247, 208, 194], [235, 184, 163], [217, 166, 142], [186, 136, 114], [148, 106, 90]], np.float32)
# How much a blush and a crease take from red, green and blue light.
BLUSH_RGB = np.array([0.06, 0.40, 0.32], np.float32)
CREASE_RGB = np.array([0.8, 1.0, 1.05], np.float32)


def linear(srgb: np.ndarray) -> np.ndarray:
    """Return linear light 0 to 1 of sRGB 0 to 255."""
    return (np.asarray(srgb, np.float32) / 255) ** 2.2


def _bell(x: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((x / width) ** 2))


def _palm_lines(at_mm: np.ndarray) -> np.ndarray:
    """Return how much of a palm line is at each point (N, 3): life, head and heart line, 0 to 1."""
    x, y = at_mm[:, 0], at_mm[:, 1]
    around_thumb = np.hypot((x - 32) / 0.85, y - 28) - 42
    lines = _bell(around_thumb, 1.4) * (y > 14) * (x < 26)
    lines += _bell(y - (58 + 0.30 * x + 0.004 * x * x), 1.3) * (x > -28) * (x < 28)
    lines += _bell(y - (70 + 0.012 * (x + 8) ** 2), 1.3) * (x > -38) * (x < 14)
    return np.minimum(lines, 1.0)


def paint_skin(
    at_mm: np.ndarray, palm_side: np.ndarray, backness: np.ndarray, owner: np.ndarray, bones: Bones,
    mottling: np.ndarray, rng: np.random.Generator,
) -> np.ndarray:
    """Return linear albedo float32 (N, 3) of one person's skin.

    at_mm (N, 3) are points in the hand's frame, owner (N,) their bones, backness (N,) -1 on the palm side of the bone
    to 1 on its back, palm_side (N,) how far the surface faces out of the palm, mottling (N,) noise of deviation one.
    """
    tone, steps = rng.uniform(0, len(BACK_SRGB) - 1), np.arange(len(BACK_SRGB))
    tint = (1 + rng.normal(0, 0.035, 3)).astype(np.float32)
    back, palm = (
        linear([np.interp(tone, steps, table[:, c]) for c in range(3)]) * tint for table in (BACK_SRGB, PALM_SRGB)
    )
    kind, segment = bones.kind[owner], bones.segment[owner]
    digit = kind == DIGIT
    along = ((at_mm - bones.start_mm[owner]) * bones.axis[owner]).sum(-1)
    place = np.where(digit, segment + along / bones.length_mm[owner], -1).astype(np.float32)
    # The palm's paler skin ends a little below the wrist.
    palmar = np.clip(0.5 - 1.1 * backness, 0, 1) * np.clip(at_mm[:, 1] / 40 + 0.8, 0, 1) ** (kind == ARM)
    to_joint = np.where(digit, np.abs(place - np.clip(np.rint(place), 1, 2)), 9)

    blush = 0.16 * mottling * (1 + palmar) + 0.5 * (place > 2.4) * palmar + 0.45 * _bell(to_joint, 0.2) * (1 - palmar)
    blush = rng.uniform(0.3, 1.3) * np.maximum(blush, -0.4)
    base_crease = _bell(place - 0.42, 0.04) * (segment == 0)
    wrinkles = sum(_bell(place - at, 0.022) for at in (0.93, 1.0, 1.06, 1.97, 2.03))
    dark = 0.30 * palmar * (_bell(to_joint, 0.05) + base_crease) + 0.25 * wrinkles * np.clip(backness * 1.5, 0, 1)
    dark += rng.uniform(0.05, 0.4) * _palm_lines(at_mm) * np.clip(palm_side * 2 - 0.6, 0, 1) * (kind == PALM)
    albedo = (back + (palm - back) * palmar[:, None]).astype(np.float32)
    albedo *= np.exp(-blush[:, None] * BLUSH_RGB - rng.uniform(0.3, 1.2) * dark[:, None] * CREASE_RGB)

    nail = np.clip((backness - 0.55) * 6, 0, 1) * np.clip((place - 2.42) * 14, 0, 1) * rng.uniform(0.3, 0.8)
    pink = palm * np.array([1.12, 1.0, 1.0], np.float32)
    return albedo + nail[:, None].astype(np.float32) * (pink - albedo)
