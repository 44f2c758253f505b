from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest

from runtime.errors import FrameError
from runtime.image import (
    Nearest,
    NetworkInput,
    Stretch2x2,
    ThreeOfFour,
    check_frame,
    nearest_positions,
    repetition,
    sample_positions,
    stretch_2x2,
)
from runtime.quantize import Quantization, pixel_table


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


def slow_stretch(frame_rgb: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """The rule "stretch-2x2" word by word: four samples for every pixel, their mean with halves rounded up."""
    height, width = frame_rgb.shape[:2]
    image = np.empty((size_wh[1], size_wh[0], 3), np.uint8)
    for y, x in np.ndindex(size_wh[1], size_wh[0]):
        rows = [(2 * (2 * y + i) + 1) * height // (4 * size_wh[1]) for i in (0, 1)]
        columns = [(2 * (2 * x + j) + 1) * width // (4 * size_wh[0]) for j in (0, 1)]
        total = sum(frame_rgb[row, column].astype(int) for row in rows for column in columns)
        image[y, x] = (total + 2) >> 2
    return image


@pytest.mark.parametrize("size_wh", [(1, 1), (13, 7), (32, 32), (24, 40)])
@pytest.mark.parametrize(
    "frame_wh",
    [(1, 1), (2, 3), (7, 5), (31, 33), (32, 32), (64, 48), (97, 95), (106, 80), (107, 81), (320, 240), (5, 400), (320, 180)],
)
def test_the_stretch_is_the_rule_bit_for_bit(frame_wh, size_wh):
    frame_rgb = np.random.default_rng(sum(frame_wh)).integers(0, 256, (*frame_wh[::-1], 3), np.uint8)
    assert (stretch_2x2(frame_rgb, size_wh) == slow_stretch(frame_rgb, size_wh)).all()


@pytest.mark.parametrize("size_wh", [(80, 80), (96, 96)])
@pytest.mark.parametrize("frame_wh", [(320, 240), (640, 480), (1280, 720), (1920, 1080), (641, 479)])
def test_a_camera_s_frame_is_stretched_to_the_network_bit_for_bit(frame_wh, size_wh):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (*frame_wh[::-1], 3), np.uint8)
    assert (stretch_2x2(frame_rgb, size_wh) == slow_stretch(frame_rgb, size_wh)).all()


def test_a_sample_in_the_frame_s_last_pixel_is_read_and_nothing_behind_it():
    whole = np.arange(7 * 8 * 3, dtype=np.uint8)
    frame_rgb = whole[: 6 * 8 * 3].reshape(6, 8, 3)  # the rows are evenly spaced; behind them come others' bytes
    before = stretch_2x2(frame_rgb, (4, 3))
    whole[6 * 8 * 3 :] = 255
    assert (stretch_2x2(frame_rgb, (4, 3)) == before).all()
    assert (before == slow_stretch(frame_rgb, (4, 3))).all()


@pytest.mark.parametrize("quantization", [Quantization(1 / 128, 0), Quantization(1 / 100, 0), Quantization(1 / 128, 1)])
def test_the_network_s_input_is_the_stretch_as_the_pixel_table_says(quantization):
    table = pixel_table(128, 128, quantization)
    frame_rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    image, size_wh = NetworkInput((48, 32), table)(frame_rgb)
    assert size_wh == (64, 48) and image.dtype == np.int8
    assert (image == table[slow_stretch(frame_rgb, (48, 32))]).all()


@pytest.mark.parametrize("turns", [1, 2, 3, 5])
def test_the_fourth_number_is_left_out_of_pixels_that_come_in_turns(turns):
    four = np.arange(65_535, 65_535 - 4 * 30, -1, dtype=np.uint16).reshape(30, 4)
    in_turns = np.ascontiguousarray(four.reshape(-1, turns, 4).swapaxes(0, 1))
    drop_fourth = ThreeOfFour(in_turns.view(np.uint64).reshape(turns, -1))
    for _ in range(2):
        assert drop_fourth().tolist() == four[:, :3].ravel().tolist()


@pytest.mark.parametrize(("source", "target"), [(640, 96), (641, 96), (1920, 96), (1, 96), (96, 96), (7, 5)])
def test_places_repeat_after_a_period(source, target):
    period, step = repetition(target, source)
    samples = sample_positions(source, target)
    for places in (samples[0::2], samples[1::2], nearest_positions(source, target)):
        assert (places[period:] == places[:-period] + step).all()
        assert places[period - 1] < step  # so that a slice from there on has as many as are wanted


def test_a_picture_s_pixels_are_the_frame_s_nearest():
    frame_rgb = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    for size_wh in [(41, 30), (82, 60), (17, 11), (123, 7), (1, 1)]:
        expected = frame_rgb[nearest_positions(30, size_wh[1])][:, nearest_positions(41, size_wh[0])]
        assert (Nearest((41, 30), size_wh)(frame_rgb) == expected).all()


@pytest.mark.parametrize(("width", "together"), [(240, 3), (108, 3), (106, 2), (238, 2), (107, 1)])
def test_a_picture_is_made_of_neighbours_less_than_a_pixel_s_width_off(width, together):
    ramp = np.broadcast_to(np.arange(240, dtype=np.uint8)[None, :, None], (4, 240, 3))  # says its column
    picture = Nearest((240, 4), (width, 4))(ramp)
    assert (picture == picture[:1, :, :1]).all()
    columns = picture[0, :, 0].astype(int)
    for i in range(1, together):
        assert (columns[i::together] == columns[0::together] + i).all()
    middles = (np.arange(width) + 0.5) * 240 / width
    assert np.abs(columns + 0.5 - middles).max() < 240 / width


@pytest.mark.parametrize("size_wh", [(2, 2), (3, 3), (6, 7), (20, 12), (32, 24), (48, 48), (62, 48), (63, 5), (65, 3)])
def test_a_picture_holds_the_nearest_neighbours(size_wh):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (48, 65, 3), np.uint8)
    together = 3 if size_wh[0] % 3 == 0 else 2 if size_wh[0] % 2 == 0 else 1
    columns = nearest_positions(65, size_wh[0] // together, together)[:, None] + np.arange(together)
    assert (Nearest((65, 48), size_wh)(frame_rgb) == frame_rgb[nearest_positions(48, size_wh[1])][:, columns.ravel()]).all()


def test_pieces_of_several_places_have_their_middle_where_a_piece_s_middle_is():
    assert nearest_positions(9, 3, 3).tolist() == [0, 3, 6]
    assert nearest_positions(20, 3, 3).tolist() == [2, 9, 15]  # middles 3.33, 10, 16.67
    assert nearest_positions(8, 2, 2).tolist() == [1, 5]


@pytest.mark.parametrize("make", [Stretch2x2, Nearest])
def test_a_frame_that_may_not_be_written_is_read(make):
    frame_rgb = np.zeros((24, 32, 3), np.uint8)
    frame_rgb.setflags(write=False)
    assert not make((32, 24), (8, 6))(frame_rgb).any()


def test_a_new_picture_leaves_the_last_one_alone():
    shrink = Nearest((4, 2), (2, 2))
    first = shrink(np.zeros((2, 4, 3), np.uint8))
    shrink(np.full((2, 4, 3), 9, np.uint8))
    assert not first.any()
