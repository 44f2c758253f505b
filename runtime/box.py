"""From heat to one peak and one box around it."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .heatmap import bilinear_matrix
from .results import Box

ENLARGE = 8  # steps a feature map cell is divided into along each axis before peak and box are read


class BoxFinder:
    """Peak and box for one shape of feature map.

    The box is that of the heat enlarged ENLARGE times. Of the enlarged map only the greatest value of each column and row
    counts, and between two cells the heat is a straight line: the steps on either side of a cell's middle are enough.

    Args:
        heat_hw: rows and columns of the heat.
        threshold: where the box ends, as a fraction of the peak's heat.
    """

    def __init__(self, heat_hw: tuple[int, int], threshold: float):
        self._threshold = np.float32(threshold)
        self._rows, self._columns = (bilinear_matrix(cells * ENLARGE, cells) for cells in heat_hw)
        self._middle_rows, self._middle_columns = (around_middles(matrix) for matrix in (self._rows, self._columns))

    def __call__(self, heat: np.ndarray, size_wh: tuple[int, int]) -> tuple[tuple[int, int] | None, Box | None]:
        """peak_xy and box_xyxy in pixels of a frame of size_wh; both None when there is no heat at all.

        The box grows from the peak along x while the column maxima stay at or above the threshold, and along y while
        the row maxima do: a second warm spot behind a cold gap is left out.
        """
        peak = int(heat.argmax())
        if not heat.item(peak) > 0:
            return None, None
        row, column = divmod(peak, heat.shape[1])
        x0, x1 = self._span(self._middle_rows.dot(heat).dot(self._columns.T), size_wh[0])
        y0, y1 = self._span(self._middle_columns.dot(heat.T).dot(self._rows.T), size_wh[1])
        peak_x = int((column + 0.5 + vertex(heat[row].tolist(), column)) * size_wh[0] / heat.shape[1])
        peak_y = int((row + 0.5 + vertex(heat[:, column].tolist(), row)) * size_wh[1] / heat.shape[0])
        return (min(max(peak_x, x0), x1 - 1), min(max(peak_y, y0), y1 - 1)), Box(x0, y0, x1, y1)

    def _span(self, heat: np.ndarray, pixels: int) -> tuple[int, int]:
        """The warm run around the maximum along the last axis, in pixels."""
        values = np.maximum.reduce(heat)
        hottest = int(values.argmax())
        return scale_span(*grow(values, hottest, self._threshold * values[hottest]), len(values), pixels)


def around_middles(matrix: np.ndarray) -> np.ndarray:
    """Of an enlarging matrix the rows next to each cell's middle, and the two at the ends."""
    half = ENLARGE // 2
    return np.ascontiguousarray(np.concatenate([matrix[half - 1 :: ENLARGE], matrix[half::ENLARGE]]))


def vertex(values: Sequence[float], peak: int) -> float:
    """Where between the cells the peak lies: the vertex of the parabola through it and its neighbours, -0.5 to 0.5 cells.

    A hand that covers two cells is hottest between them. Outside of the frame it is cold.
    """
    before = values[peak - 1] if peak > 0 else 0.0
    after = values[peak + 1] if peak + 1 < len(values) else 0.0
    bend = before - 2 * values[peak] + after
    return 0.5 * (before - after) / bend if bend < 0 else 0.0


def grow(values: np.ndarray, start: int, level: float) -> tuple[int, int]:
    """The widest run of values >= level around `start`, whose value is one of them, as (first, end), end exclusive."""
    below = (values < level).tobytes()  # a byte per value, 1 where it is too cold
    first, end = below.rfind(1, 0, start) + 1, below.find(1, start)
    return first, end if end >= 0 else len(values)


def scale_span(first: int, end: int, cells: int, pixels: int) -> tuple[int, int]:
    """Cells [first, end) of `cells` as the pixels they touch, of `pixels`: never outside, never less than one."""
    return first * pixels // cells, -(-end * pixels // cells)


def window(box: Box, size_wh: tuple[int, int], share: float) -> Box:
    """The part of a picture of size_wh that has `share` of its sides, the box in its middle, shifted to lie inside."""
    width, height = size_wh
    part_w, part_h = max(1, round(width * share)), max(1, round(height * share))
    x0 = min(max((box.x0 + box.x1 - part_w) // 2, 0), width - part_w)
    y0 = min(max((box.y0 + box.y1 - part_h) // 2, 0), height - part_h)
    return Box(x0, y0, x0 + part_w, y0 + part_h)
