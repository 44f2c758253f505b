from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from runtime.errors import FrameError
from runtime.image import Stretch2x2, check_frame, sample_positions, stretch_2x2


@pytest.mark.parametrize(
    ("frame_rgb", "words"),
    [
        (None, "no frame came: given None, expected a uint8 numpy array (H, W, 3)"),
        ([[0, 0, 0]], "given list"),
        (np.zeros((0, 4, 3), np.uint8), r"given uint8 (0, 4, 3)"),
        (np.zeros((4, 4), np.uint8), "given uint8 (4, 4)"),
        (np.zeros((4, 4, 4), np.uint8), "given uint8 (4, 4, 4)"),
        (np.zeros((4, 4, 3), np.float32), "given float32 (4, 4, 3)"),
    ],
)
def test_what_is_no_frame_is_refused_with_what_came_instead(frame_rgb, words):
    with pytest.raises(FrameError) as caught:
        check_frame(frame_rgb)
    assert words in str(caught.value)


def test_a_frame_gives_its_width_and_height():
    assert check_frame(np.zeros((2, 5, 3), np.uint8)) == (5, 2)


def test_samples_lie_where_the_rule_says():
    assert sample_positions(3, 2).tolist() == [0, 1, 1, 2]
    assert sample_positions(1, 2).tolist() == [0, 0, 0, 0]
    for source, target in [(320, 96), (241, 96), (1920, 96), (7, 96), (96, 96)]:
        rule = [floor((k + Fraction(1, 2)) * source / (2 * target)) for k in range(2 * target)]
        assert sample_positions(source, target).tolist() == rule


def test_one_pixel_fills_any_size():
    frame_rgb = np.array([[[1, 2, 3]]], np.uint8)
    assert (stretch_2x2(frame_rgb, (3, 2)) == [1, 2, 3]).all()


def test_the_same_size_changes_nothing():
    frame_rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (stretch_2x2(frame_rgb, (7, 5)) == frame_rgb).all()


def test_four_samples_become_their_rounded_mean():
    grey = np.array([[0, 1, 255, 255], [1, 0, 255, 254]], np.uint8)  # sums 2 and 1019: means 0.5 and 254.75
    assert stretch_2x2(np.repeat(grey[..., None], 3, axis=2), (2, 1))[..., 0].tolist() == [[1, 255]]


def test_columns_and_rows_are_not_mixed_up():
    frame_rgb = np.zeros((2, 4, 3), np.uint8)
    frame_rgb[1, 3] = 10, 20, 30
    assert stretch_2x2(frame_rgb, (4, 2))[1, 3].tolist() == [10, 20, 30]
    assert stretch_2x2(frame_rgb, (4, 4))[3, 3].tolist() == [10, 20, 30]


def test_a_view_of_a_frame_gives_what_its_copy_gives():
    frame_rgb = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)[::-1, ::2]
    stretch = Stretch2x2((20, 30), (9, 8))
    assert (stretch(frame_rgb).copy() == stretch(frame_rgb.copy())).all()
