"""From heat to one peak and one box around it."""
from __future__ import annotations

import numpy as np

from .heatmap import Enlarger
from .results import Box

ENLARGE = 8  # steps a feature map cell is divided into along each axis before peak and box are read


class BoxFinder:
    """Peak and box for one shape of feature map.

    Args:
        heat_hw: rows and columns of the heat.
        threshold: where the box ends, as a fraction of the peak's heat.
    """

    def __init__(self, heat_hw: tuple[int, int], threshold: float):
        self._threshold = np.float32(threshold)
        self._fine_hw = heat_hw[0] * ENLARGE, heat_hw[1] * ENLARGE
        self._enlarge = Enlarger(heat_hw, self._fine_hw)

    def __call__(self, heat: np.ndarray, size_wh: tuple[int, int]) -> tuple[tuple[int, int] | None, Box | None]:
        """peak_xy and box_xyxy in pixels of a frame of size_wh; both None when there is no heat at all.

        The box grows from the peak along x while the column maxima stay at or above the threshold, and along y while
        the row maxima do: a second warm spot behind a cold gap is left out.
        """
        if not heat.any():
            return None, None
        fine = self._enlarge(heat)
        columns, rows = fine.max(axis=0), fine.max(axis=1)
        peak_x, peak_y = middle_of_maxima(columns), middle_of_maxima(rows)
        level = self._threshold * rows[peak_y]
        x0, x1 = scale_span(*grow(columns, peak_x, level), self._fine_hw[1], size_wh[0])
        y0, y1 = scale_span(*grow(rows, peak_y, level), self._fine_hw[0], size_wh[1])
        peak_xy = scale_center(peak_x, self._fine_hw[1], size_wh[0]), scale_center(peak_y, self._fine_hw[0], size_wh[1])
        return peak_xy, Box(x0, y0, x1, y1)


def middle_of_maxima(values: np.ndarray) -> int:
    """The middle of the run that starts at the first maximum: half of an edge cell has one value, and its rim is no peak."""
    first = int(np.argmax(values))
    return (first + grow(values, first, values[first])[1] - 1) // 2


def grow(values: np.ndarray, start: int, level: float) -> tuple[int, int]:
    """The widest run of values >= level around `start`, whose value is one of them, as (first, end), end exclusive."""
    below = np.flatnonzero(values < level)
    following = int(np.searchsorted(below, start))
    first = int(below[following - 1]) + 1 if following > 0 else 0
    end = int(below[following]) if following < len(below) else len(values)
    return first, end


def scale_span(first: int, end: int, cells: int, pixels: int) -> tuple[int, int]:
    """Cells [first, end) of `cells` as the pixels they touch, of `pixels`: never outside, never less than one."""
    return first * pixels // cells, -(-end * pixels // cells)


def scale_center(cell: int, cells: int, pixels: int) -> int:
    """The pixel under the middle of a cell."""
    return (2 * cell + 1) * pixels // (2 * cells)
