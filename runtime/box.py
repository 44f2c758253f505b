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
        x0, x1 = self._span(fine.max(axis=0), size_wh[0])
        y0, y1 = self._span(fine.max(axis=1), size_wh[1])
        row, column = divmod(int(np.argmax(heat)), heat.shape[1])
        peak_x = int((column + 0.5 + vertex(heat[row], column)) * size_wh[0] / heat.shape[1])
        peak_y = int((row + 0.5 + vertex(heat[:, column], row)) * size_wh[1] / heat.shape[0])
        return (min(max(peak_x, x0), x1 - 1), min(max(peak_y, y0), y1 - 1)), Box(x0, y0, x1, y1)

    def _span(self, values: np.ndarray, pixels: int) -> tuple[int, int]:
        """The warm run around the maximum of one axis, in pixels."""
        hottest = int(np.argmax(values))
        return scale_span(*grow(values, hottest, self._threshold * values[hottest]), len(values), pixels)


def vertex(values: np.ndarray, peak: int) -> float:
    """Where between the cells the peak lies: the vertex of the parabola through it and its neighbours, -0.5 to 0.5 cells.

    A hand that covers two cells is hottest between them. Outside of the frame it is cold.
    """
    before = values[peak - 1] if peak > 0 else 0.0
    after = values[peak + 1] if peak + 1 < len(values) else 0.0
    bend = before - 2 * values[peak] + after
    return float(0.5 * (before - after) / bend) if bend < 0 else 0.0


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
