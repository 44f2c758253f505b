from __future__ import annotations

import numpy as np
import pytest

from runtime.box import peak_and_box, reach, span, vertex
from runtime.results import Box


def heat(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_no_heat_gives_neither_peak_nor_box():
    assert peak_and_box(np.zeros((2, 3), np.float32), 0.45, (64, 48)) == (None, None)


def test_a_warm_corner_by_hand():
    # Cells of 16 and 8 px: from the middle of the first to that of the second, 8 to 24 and 4 to 12, the heat falls to nothing.
    peak_xy, box = peak_and_box(heat([1, 0], [0, 0]), 0.5, (32, 16))
    assert box == Box(0, 0, 16, 8)
    assert peak_xy == (8, 4)  # the middle of its cell


def test_the_peak_of_an_even_heat_is_between_the_cells():
    assert peak_and_box(heat([1, 1], [1, 1]), 0.5, (32, 16))[0] == (16, 8)


def test_the_peak_leans_to_the_warmer_neighbour():
    # cells of 10 px: the middle of the second is 15, and the vertex of 0.2, 0.8, 0.6 lies 0.25 cells to its right
    assert vertex(np.array([0.2, 0.8, 0.6]), 1) == pytest.approx(0.25)
    assert peak_and_box(heat([0.2, 0.8, 0.6]), 0.5, (30, 10))[0] == (17, 5)
    assert vertex(np.array([0.0, 1.0, 1.0]), 1) == 0.5
    assert vertex(np.array([1.0]), 0) == 0.0


def test_an_even_heat_fills_the_frame():
    assert peak_and_box(heat([0.5, 0.5], [0.5, 0.5]), 0.45, (31, 17))[1] == Box(0, 0, 31, 17)


@pytest.mark.parametrize("cells", range(1, 65))
def test_an_even_heat_ends_where_the_frame_does_whatever_their_sizes(cells):
    for pixels in range(1, 2000, 7):
        assert span([1.0] * cells, cells // 2, level=0.5, pixels=pixels) == (0, pixels)


def test_rows_and_columns_are_not_mixed_up():
    peak_xy, box = peak_and_box(heat([0, 0, 0, 1]), 0.5, (40, 10))
    assert box == Box(30, 0, 40, 10)
    assert peak_xy[0] > 30


def test_a_second_spot_behind_a_gap_is_left_out():
    box = peak_and_box(heat([0.9, 0, 0, 0, 1]), 0.5, (50, 10))[1]
    assert box == Box(40, 0, 50, 10)


@pytest.mark.parametrize("threshold", [0.01, 0.45, 1.0])
@pytest.mark.parametrize("size_wh", [(1, 1), (3, 2), (320, 240), (1920, 1080)])
def test_any_heat_gives_a_box_of_a_pixel_or_more_inside_the_frame_with_the_peak_in_it(size_wh, threshold):
    rng = np.random.default_rng(0)
    for _ in range(20):
        (x, y), (x0, y0, x1, y1) = peak_and_box(rng.random((6, 6), np.float32) ** 4, threshold, size_wh)
        assert 0 <= x0 <= x < x1 <= size_wh[0]
        assert 0 <= y0 <= y < y1 <= size_wh[1]


def test_a_run_ends_where_the_line_falls_below_on_either_side():
    assert reach([6, 2], level=4) == 0.5
    assert reach([6, 5, 1, 9], level=4) == 1.25  # 1 and a quarter of the way from 5 to 1
    assert reach([6, 5, 4], level=4) == 2.5  # nowhere: to the last cell's far edge
    assert reach([6, 5], level=6) == 0
    assert span([9, 1, 5, 6, 5, 1, 9], 3, level=4, pixels=700) == (225, 475)  # from the middle at 350


def test_a_run_takes_every_pixel_it_touches():
    assert span([0, 1, 0], 1, level=0.5, pixels=32) == (10, 22)  # 10.67 to 21.33
    assert span([0, 1, 0], 1, level=1, pixels=30) == (15, 16)  # a point, between two pixels
    assert span([0, 0, 1], 2, level=1, pixels=1) == (0, 1)


@pytest.mark.parametrize("heat_hw", [(10, 12), (3, 5), (1, 4), (1, 1)])
def test_the_box_ends_where_the_greatest_of_columns_and_rows_do(heat_hw):
    """On a fine line through the cells' middles every point within the box is warm, and the next beyond it is cold."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        small = rng.random(heat_hw, np.float32) ** 3
        box = peak_and_box(small, 0.5, (640, 480))[1]
        peak = np.unravel_index(small.argmax(), heat_hw)
        for (first, end), greatest, cell, pixels in (((box.x0, box.x1), small.max(axis=0), peak[1], 640),
                                                     ((box.y0, box.y1), small.max(axis=1), peak[0], 480)):
            size = pixels / len(greatest)
            line = np.interp(np.arange(pixels + 1), (np.arange(len(greatest)) + 0.5) * size, greatest)
            warm = line >= 0.5 * small.max()
            assert warm[first + 1 : end].all()
            assert first <= (cell + 0.5) * size <= end
            assert first == 0 or not warm[first]
            assert end == pixels or not warm[end]
