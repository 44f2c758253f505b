"""From heat to one peak and one box around it."""
from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np

from .results import Box


def peak_and_box(
    heat: np.ndarray, threshold: float, size_wh: tuple[int, int]
) -> tuple[tuple[int, int] | None, Box | None]:
    """peak_xy and box_xyxy in pixels of a frame of size_wh; both None when there is no heat at all.

    Of the heat's columns and rows only the greatest value counts; from cell to cell it is a straight line. The box grows from
    the peak along x while the columns' line stays at or above the threshold, and along y while the rows' does: a second warm
    spot behind a cold gap is left out.

    Args:
        heat: (h, w) float32, 0 or more.
        threshold: where the box ends, as a fraction of the peak's heat, above 0 to 1.
    """
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    level = threshold * heat.item(row, column)
    if not level > 0:
        return None, None
    x0, x1 = span(np.maximum.reduce(heat, 0).tolist(), column, level, size_wh[0])
    y0, y1 = span(np.maximum.reduce(heat, 1).tolist(), row, level, size_wh[1])
    peak_x = int((column + 0.5 + vertex(heat[row].tolist(), column)) * size_wh[0] / heat.shape[1])
    peak_y = int((row + 0.5 + vertex(heat[:, column].tolist(), row)) * size_wh[1] / heat.shape[0])
    return (min(max(peak_x, x0), x1 - 1), min(max(peak_y, y0), y1 - 1)), Box(x0, y0, x1, y1)


def vertex(values: Sequence[float], peak: int) -> float:
    """Where between the cells the peak lies: the vertex of the parabola through it and its neighbours, -0.5 to 0.5 cells.

    A hand that covers two cells is hottest between them. Outside of the frame it is cold.
    """
    before = values[peak - 1] if peak > 0 else 0.0
    after = values[peak + 1] if peak + 1 < len(values) else 0.0
    bend = before - 2 * values[peak] + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def span(values: Sequence[float], peak: int, level: float, pixels: int) -> tuple[int, int]:
    """The pixels, of `pixels`, that the warm run around the cell `peak` touches, as (first, end), end exclusive."""
    middle, cells = peak + 0.5, len(values)
    # multiplied first: then all cells are exactly all pixels
    first = floor((middle - reach(values[peak::-1], level)) * pixels / cells)
    return first, max(first + 1, ceil((middle + reach(values[peak:], level)) * pixels / cells))


def reach(values: Sequence[float], level: float) -> float:
    """How many cells from the middle of the first one the line through the values, all told, stays at `level` or above.

    The first value is. Where all are, to the far edge of the last cell.
    """
    for i, (inner, outer) in enumerate(zip(values, values[1:])):
        if outer < level:
            return i + (inner - level) / (inner - outer)
    return len(values) - 0.5
