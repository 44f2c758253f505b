"""Boxes from heat: its islands, and two ways to put a box around one. Cells here, pixels only in look.py."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..results import Box


def islands(heat: np.ndarray, share: float) -> Iterator[np.ndarray]:
    """The connected parts of (H, W) heat at or above `share` of its maximum, hottest first, each as a bool mask (H, W)."""
    if not heat.any():
        return
    left = heat >= np.float32(share) * heat.max()
    while left.any():
        hottest = np.argmax(np.where(left, heat, -1))
        island = flood(left, *np.unravel_index(hottest, heat.shape))
        yield island
        left &= ~island


def flood(mask: np.ndarray, row: int, column: int) -> np.ndarray:
    """The part of a bool mask (H, W) that can be reached from a cell of it by steps up, down, left and right."""
    reached = np.zeros_like(mask)
    reached[row, column] = True
    while True:
        grown = reached.copy()
        grown[1:] |= reached[:-1]
        grown[:-1] |= reached[1:]
        grown[:, 1:] |= reached[:, :-1]
        grown[:, :-1] |= reached[:, 1:]
        grown &= mask
        if np.array_equal(grown, reached):
            return reached
        reached = grown


def bounds(mask: np.ndarray) -> Box:
    """The smallest box around all cells of a bool mask (H, W), at least one of which is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def best_box(mask: np.ndarray) -> tuple[Box, float]:
    """The box with the largest IoU with a bool mask (H, W), at least one cell of which is set, and that IoU.

    Exact, over all boxes of whole cells. With M cells in the mask, a box of A cells, I of them in the mask, has

        IoU = I / (M + A - I), above a ratio r just when (1 + r) I - r A > r M.

    So a box better than the best so far is one in which the cells, weighing 1 in the mask and -r outside, add up to most:
    the maximum-sum rectangle (Bentley, https://doi.org/10.1145/358234.381162), found for all pairs of rows at once. Its IoU is
    the next r, until there is no better one: Dinkelbach's method (https://doi.org/10.1287/mnsc.13.7.492), a handful of rounds.
    r is kept as a fraction, everything is in whole numbers, and nothing is rounded.
    """
    edge = bounds(mask)  # a row or column without a cell of the mask only adds to the union
    inside = mask[edge.y0 : edge.y1, edge.x0 : edge.x1].astype(np.int64)
    height, width = inside.shape
    down = np.zeros((height + 1, width), np.int64)
    np.cumsum(inside, axis=0, out=down[1:])
    top, bottom = np.triu_indices(height + 1, 1)
    counts, heights = down[bottom] - down[top], (bottom - top)[:, None]  # of each strip of rows: cells a column, in and all

    total = int(inside.sum())
    best, both, union = Box(0, 0, width, height), total, height * width
    while True:
        sums = np.zeros((len(top), width + 1), np.int64)
        np.cumsum((union + both) * counts - both * heights, axis=1, out=sums[:, 1:])
        gains = sums - np.minimum.accumulate(sums, axis=1)
        strip, x1 = np.unravel_index(np.argmax(gains), gains.shape)
        if gains[strip, x1] <= both * total:
            x0, y0, x1, y1 = best
            return Box(edge.x0 + x0, edge.y0 + y0, edge.x0 + x1, edge.y0 + y1), both / union
        x0 = np.argmin(sums[strip, : x1 + 1])
        best = Box(int(x0), int(top[strip]), int(x1), int(bottom[strip]))
        both = int(counts[strip, x0:x1].sum())
        union = total + (best.x1 - best.x0) * (best.y1 - best.y0) - both


def overlap(a: Box, b: Box) -> float:
    """Area of the intersection over area of the union of two boxes."""
    width, height = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
    both = max(0, width) * max(0, height)
    return both / ((a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - both)
