"""Small pure functions: how right a network is, and how much of it is left after rounding to int8."""

from __future__ import annotations

import numpy as np


def accuracy(said: list[str], true: list[str]) -> float:
    """Share of equal labels; nan for none."""
    return float(np.mean([a == b for a, b in zip(said, true)])) if true else float("nan")


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """a.b / (|a| |b|) of two vectors; 0 when either is zero."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a.ravel() @ b.ravel()) / lengths if lengths > 0 else 0.0


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of two maps; 1 when both are flat, 0 when only one is."""
    flat = np.ptp(a) == 0, np.ptp(b) == 0  # asked before the mean is taken off, whose rounding would leave a pattern
    if any(flat):
        return 1.0 if all(flat) else 0.0
    return cosine(a - a.mean(), b - b.mean())


def box_iou(a, b) -> float:
    """Area of the intersection over area of the union of two xyxy boxes; 1 when both are None, 0 when only one is."""
    if a is None or b is None:
        return 1.0 if a is None and b is None else 0.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return float(both / union) if union > 0 else 0.0


def peak_distance(a, b, size_wh: tuple[int, int]) -> float:
    """Distance of two peaks as a share of the frame's diagonal; 0 when both are None, 1 when only one is."""
    if a is None or b is None:
        return 0.0 if a is None and b is None else 1.0
    return float(np.hypot(a[0] - b[0], a[1] - b[1]) / np.hypot(*size_wh))


def peak_inside(peak_xy, hand: np.ndarray | None, box_xyxy) -> bool:
    """Whether a peak lies on the hand's mask, or without a mask in its box; a missing peak does not."""
    if peak_xy is None:
        return False
    x, y = peak_xy
    if hand is not None:
        return bool(hand[y, x] > 127)
    return bool(box_xyxy[0] <= x < box_xyxy[2] and box_xyxy[1] <= y < box_xyxy[3])


def confusion(said: list[str], true: list[str], labels: list[str]) -> np.ndarray:
    """Counts (L, L): row = true label, column = label said."""
    table = np.zeros((len(labels), len(labels)), int)
    for a, b in zip(true, said):
        table[labels.index(a), labels.index(b)] += 1
    return table


def measurable(value):
    """Nested dicts and lists of figures, with None for nan, which JSON does not have."""
    if isinstance(value, dict):
        return {key: measurable(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [measurable(entry) for entry in value]
    return None if value != value else value
