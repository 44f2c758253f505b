from __future__ import annotations

import numpy as np
import pytest

from runtime.box import ENLARGE, BoxFinder, grow, scale_span, vertex
from runtime.heatmap import bilinear_matrix
from runtime.results import Box


def heat(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_no_heat_gives_neither_peak_nor_box():
    assert BoxFinder((2, 3), 0.45)(np.zeros((2, 3), np.float32), (64, 48)) == (None, None)


def test_a_warm_corner_by_hand():
    # Along each axis 16 fine cells hold 1, 1, 1, 1, 15/16, 13/16, 11/16, 9/16 and then less than half.
    peak_xy, box = BoxFinder((2, 2), 0.5)(heat([1, 0], [0, 0]), (32, 16))
    assert box == Box(0, 0, 16, 8)
    assert peak_xy == (8, 4)  # the middle of its cell


def test_the_peak_of_an_even_heat_is_between_the_cells():
    assert BoxFinder((2, 2), 0.5)(heat([1, 1], [1, 1]), (32, 16))[0] == (16, 8)


def test_the_peak_leans_to_the_warmer_neighbour():
    # cells of 10 px: the middle of the second is 15, and the vertex of 0.2, 0.8, 0.6 lies 0.25 cells to its right
    assert vertex(np.array([0.2, 0.8, 0.6]), 1) == pytest.approx(0.25)
    assert BoxFinder((1, 3), 0.5)(heat([0.2, 0.8, 0.6]), (30, 10))[0] == (17, 5)
    assert vertex(np.array([0.0, 1.0, 1.0]), 1) == 0.5
    assert vertex(np.array([1.0]), 0) == 0.0


def test_an_even_heat_fills_the_frame():
    assert BoxFinder((2, 2), 0.45)(heat([0.5, 0.5], [0.5, 0.5]), (31, 17))[1] == Box(0, 0, 31, 17)


def test_rows_and_columns_are_not_mixed_up():
    peak_xy, box = BoxFinder((1, 4), 0.5)(heat([0, 0, 0, 1]), (40, 10))
    assert box == Box(30, 0, 40, 10)
    assert peak_xy[0] > 30


def test_a_second_spot_behind_a_gap_is_left_out():
    box = BoxFinder((1, 5), 0.5)(heat([0.9, 0, 0, 0, 1]), (50, 10))[1]
    assert box == Box(40, 0, 50, 10)


@pytest.mark.parametrize("threshold", [0.01, 0.45, 1.0])
@pytest.mark.parametrize("size_wh", [(1, 1), (3, 2), (320, 240), (1920, 1080)])
def test_any_heat_gives_a_box_of_a_pixel_or_more_inside_the_frame_with_the_peak_in_it(size_wh, threshold):
    rng = np.random.default_rng(0)
    find = BoxFinder((6, 6), threshold)
    for _ in range(20):
        (x, y), (x0, y0, x1, y1) = find(rng.random((6, 6), np.float32) ** 4, size_wh)
        assert 0 <= x0 <= x < x1 <= size_wh[0]
        assert 0 <= y0 <= y < y1 <= size_wh[1]


def test_a_run_grows_to_the_first_value_below_on_either_side():
    values = np.array([9, 1, 5, 6, 5, 1, 9])
    assert grow(values, 3, level=5) == (2, 5)
    assert grow(values, 3, level=6) == (3, 4)
    assert grow(values, 3, level=0) == (0, 7)
    assert grow(values, 0, level=5) == (0, 1)
    assert grow(values, 6, level=5) == (6, 7)


def test_cells_become_the_pixels_they_touch():
    assert scale_span(0, 48, 48, 320) == (0, 320)
    assert scale_span(1, 2, 48, 320) == (6, 14)  # 6.67 to 13.33
    assert scale_span(3, 4, 48, 5) == (0, 1)


@pytest.mark.parametrize("heat_hw", [(12, 12), (3, 5), (1, 4), (1, 1)])
def test_the_box_is_that_of_the_whole_enlarged_map(heat_hw):
    rng = np.random.default_rng(0)
    find = BoxFinder(heat_hw, 0.5)
    rows, columns = (bilinear_matrix(ENLARGE * cells, cells) for cells in heat_hw)
    for _ in range(50):
        small = rng.random(heat_hw, np.float32) ** 3
        fine = rows @ small @ columns.T
        spans = []
        for values, pixels in ((fine.max(axis=0), 640), (fine.max(axis=1), 480)):
            hottest = int(values.argmax())
            spans.append(scale_span(*grow(values, hottest, np.float32(0.5) * values[hottest]), len(values), pixels))
        (x0, x1), (y0, y1) = spans
        assert find(small, (640, 480))[1] == Box(x0, y0, x1, y1)
