"""calibration/metrics.py against figures worked out by hand, the empty case first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration import metrics

MAP = np.array([[0.0, 1.0], [2.0, 3.0]], np.float32)
FLAT = np.full((2, 2), 0.3, np.float32)


def test_accuracy():
    assert math.isnan(metrics.accuracy([], []))
    assert metrics.accuracy(["gu", "pa", "pa", "none"], ["gu", "pa", "choki", "gu"]) == 0.5


@pytest.mark.parametrize(("a", "b", "expected"), [
    ([0, 0], [1, 2], 0.0),  # no direction: nothing is like it
    ([0, 0], [0, 0], 0.0),
    ([1, 2], [10, 20], 1.0),  # length does not count
    ([1, 0], [0, 5], 0.0),
    ([1, 0], [-3, 0], -1.0),
    ([3, 4], [4, 3], 24 / 25),
])
def test_cosine(a, b, expected):
    assert metrics.cosine(np.array(a, np.float32), np.array(b, np.float32)) == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b", "expected"), [
    (FLAT, 2 * FLAT, 1.0),  # cold everywhere in both
    (FLAT, MAP, 0.0),
    (MAP, FLAT, 0.0),
    (MAP, 5 * MAP + 7, 1.0),  # Pearson's r knows neither scale nor shift
    (MAP, -MAP, -1.0),
    (MAP, np.array([[0.0, 1.0], [3.0, 2.0]]), 0.8),  # deviations -1.5 -.5 .5 1.5 and -1.5 -.5 1.5 .5: 4 / 5
])
def test_correlation(a, b, expected):
    assert metrics.correlation(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b", "expected"), [
    (None, None, 1.0),
    (None, (0, 0, 1, 1), 0.0),
    ((0, 0, 1, 1), None, 0.0),
    ((2, 2, 2, 2), (2, 2, 2, 2), 0.0),  # boxes without an area
    ((0, 0, 4, 2), (0, 0, 4, 2), 1.0),
    ((0, 0, 4, 4), (2, 2, 6, 6), 4 / 28),
    ((0, 0, 4, 4), (1, 1, 3, 3), 4 / 16),  # one inside the other
    ((0, 0, 2, 2), (2, 0, 4, 2), 0.0),  # side by side: x1 is exclusive
    ((0, 0, 2, 2), (5, 5, 9, 9), 0.0),  # apart on both axes: two negative sides are no area
])
def test_box_iou(a, b, expected):
    assert metrics.box_iou(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b", "expected"), [
    (None, None, 0.0),
    (None, (3, 4), 1.0),
    ((3, 4), None, 1.0),
    ((0, 0), (0, 0), 0.0),
    ((0, 0), (30, 40), 0.5),  # 50 of a 60 x 80 frame's diagonal of 100
])
def test_peak_distance(a, b, expected):
    assert metrics.peak_distance(a, b, (60, 80)) == pytest.approx(expected)


def test_peak_inside():
    hand = np.zeros((4, 6), np.uint8)
    hand[1, 5] = 255
    box = (4, 0, 6, 2)
    assert not metrics.peak_inside(None, hand, box)
    assert metrics.peak_inside((5, 1), hand, box)  # x, y: not row, column
    assert not metrics.peak_inside((4, 1), hand, box), "the mask says more than the box"
    assert metrics.peak_inside((4, 1), None, box)
    assert metrics.peak_inside((4, 0), None, box)
    assert not metrics.peak_inside((6, 1), None, box), "x1 is exclusive"
    assert not metrics.peak_inside((4, 2), None, box), "y1 is exclusive"


@pytest.mark.parametrize("side", [3, 7])
def test_a_flat_map_is_flat_whatever_rounding_makes_of_its_mean(side):
    maps = [np.full((side, side), value, np.float32) for value in np.linspace(0.01, 0.99, 50)]
    assert {metrics.correlation(a, b) for a, b in zip(maps, reversed(maps))} == {1.0}


def test_confusion_has_true_labels_as_rows():
    labels = ["gu", "pa", "none"]
    assert not metrics.confusion([], [], labels).any()
    table = metrics.confusion(said=["gu", "none", "none"], true=["gu", "pa", "pa"], labels=labels)
    np.testing.assert_array_equal(table, [[1, 0, 0], [0, 0, 2], [0, 0, 0]])
