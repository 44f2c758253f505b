from __future__ import annotations

import numpy as np
import pytest

from runtime.draw import (
    BLOCK,
    COLD_LEVEL,
    STRONGEST_BLEND,
    Overlay,
    blend_tables,
    canvas_size,
    draw_box,
    draw_text,
    heat_colours,
    warm_rows,
)
from runtime.font import GLYPHS, text_mask
from runtime.heatmap import Enlarger
from runtime.results import Box, Result

YELLOW = [255, 220, 0]


def result(label: str, heat: np.ndarray, box_xyxy: Box | None) -> Result:
    return Result(label=label, score=0.5, scores={}, size_wh=(64, 48), box_xyxy=box_xyxy, peak_xy=None, cluster=0,
                  heat=heat, embedding=np.zeros(1, np.float32))


@pytest.fixture
def photo_rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def test_a_cold_frame_is_the_photo_untouched(photo_rgb):
    overlay = Overlay((64, 48), (6, 6), (64, 48))
    assert (overlay.blend(photo_rgb, np.zeros((6, 6), np.float32)) == photo_rgb).all()


def test_the_blend_grows_with_the_heat(photo_rgb):
    overlay = Overlay((64, 48), (1, 1), (64, 48))
    changes = [
        np.abs(overlay.blend(photo_rgb, np.full((1, 1), heat, np.float32)).astype(int) - photo_rgb).mean()
        for heat in (0.15, 0.4, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_full_heat_by_hand():
    white = np.full((2, 2, 3), 255, np.uint8)
    blended = Overlay((2, 2), (1, 1), (2, 2)).blend(white, np.ones((1, 1), np.float32))
    # Six eighths are taken, 6 * 31; 0.7 of the last colour, (128, 0, 0), and 0.05 of grey come, less 6 * 3.5 / 8.
    assert blended[0, 0].tolist() == [255 - 6 * 31 + round(0.7 * 128 + 0.05 * 128 - 2.625), *[255 - 6 * 31 + 4] * 2]


def test_the_blend_is_near_what_is_meant_for_every_pixel_and_heat():
    """And never wraps around: 256 instead of 255 would be black."""
    pixel = np.arange(256)
    lost, colour_part = (table.astype(int)[:, None] for table in blend_tables())
    share = STRONGEST_BLEND * np.maximum(np.arange(256) - COLD_LEVEL, 0)[:, None, None] / (255 - COLD_LEVEL)
    for channel in range(3):
        got = pixel - (pixel >> 3) * lost[..., 0] + colour_part[..., channel]
        meant = pixel * (1 - share[..., 0]) + heat_colours()[:, None, channel] * share[..., 0]
        assert got.min() >= 0 and got.max() <= 255
        assert np.abs(got - meant).max() < 18.5 and np.abs(got - meant).mean() < 5
    assert (lost[: COLD_LEVEL + 1] == 0).all() and (colour_part[: COLD_LEVEL + 1] == 0).all()


def test_heat_of_10_percent_counts_as_cold_and_a_little_more_shows(photo_rgb):
    overlay = Overlay((64, 48), (1, 1), (64, 48))
    assert (overlay.blend(photo_rgb, np.full((1, 1), 0.1, np.float32)) == photo_rgb).all()
    assert (overlay.blend(photo_rgb, np.full((1, 1), 0.12, np.float32)) != photo_rgb).any()


def test_a_warm_spot_leaves_the_rest_of_the_photo_alone(photo_rgb):
    heat = np.zeros((8, 8), np.float32)
    heat[6, 1] = 1  # a cell of 8x6 pixels: x 8..15, y 36..41
    changed = (Overlay((64, 48), (8, 8), (64, 48)).blend(photo_rgb, heat) != photo_rgb).any(axis=2)
    assert changed[37:41, 9:15].all()
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    assert rows.min() >= 24 and columns.max() < 24


def test_a_canvas_that_is_no_multiple_of_a_block_is_blended_to_its_edges():
    white = np.full((11, 9, 3), 255, np.uint8)
    blended = Overlay((9, 11), (1, 1), (9, 11)).blend(white, np.ones((1, 1), np.float32))
    assert (blended == blended[0, 0]).all() and (blended != white).any()


def slow_blend(canvas: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The blend word by word, pixel for pixel: a level for each block, eighths taken for it, its colour added."""
    height, width = canvas.shape[:2]
    blocks = Enlarger(heat.shape, (-(-height // BLOCK), -(-width // BLOCK)), 255.5)(np.minimum(heat, np.float32(1)))
    levels = blocks.astype(int)
    lost, colour_part = (table.astype(int) for table in blend_tables())
    blended = canvas.astype(int)
    for y, x in np.ndindex(height, width):
        level = levels[y // BLOCK, x // BLOCK]
        blended[y, x] += colour_part[level] - (blended[y, x] >> 3) * lost[level]
    return blended


@pytest.mark.parametrize("canvas_wh", [(64, 48), (48, 60), (29, 31), (5, 3)])
def test_every_pixel_is_blended_as_the_rule_says(canvas_wh):
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (*canvas_wh[::-1], 3), np.uint8)
    heats = rng.random((10, 10), np.float32) ** 4, 2 * np.eye(3, 5, 2, dtype=np.float32), np.full((1, 1), 0.11, np.float32)
    for heat in heats:
        assert (Overlay((64, 48), heat.shape, canvas_wh).blend(canvas, heat) == slow_blend(canvas, heat)).all()


def test_the_warm_rows_go_from_the_first_row_with_a_warm_block_to_the_last():
    warm = np.zeros((6, 3), bool)
    warm[1:3, 2], warm[4, 0] = True, True
    assert warm_rows(warm) == (1, 5)
    assert warm_rows(warm[5:])[1] == 0
    assert warm_rows(np.ones((2, 2), bool)) == (0, 2)


def test_more_than_full_heat_is_drawn_as_full():
    white = np.full((2, 2, 3), 255, np.uint8)
    overlay = Overlay((2, 2), (1, 1), (2, 2))
    assert (overlay.blend(white, np.full((1, 1), 3.0, np.float32)) == overlay.blend(white, np.ones((1, 1), np.float32))).all()


def test_colours_go_from_blue_over_green_to_red():
    colours = heat_colours()
    assert colours.shape == (256, 3) and colours.dtype == np.uint8
    assert colours[[0, 255]].tolist() == [[0, 0, 128], [128, 0, 0]]
    assert colours[[64, 128, 192]].argmax(axis=1).tolist() == [2, 1, 0]


def test_the_canvas_keeps_the_frame_s_aspect():
    assert canvas_size((320, 240)) == (384, 288)
    assert canvas_size((240, 320)) == (216, 288)
    assert canvas_size((1, 1000)) == (2, 288)


def test_an_overlay_has_the_canvas_size_and_leaves_the_frame_alone(photo_rgb):
    before = photo_rgb.copy()
    picture = Overlay((64, 48), (6, 6))(photo_rgb, result("gu", np.ones((6, 6), np.float32), Box(0, 0, 9, 9)), "heatmap")
    assert picture.shape == (288, 384, 3) and picture.dtype == np.uint8
    assert (photo_rgb == before).all()


def test_each_mode_draws_its_own(photo_rgb):
    overlay = Overlay((64, 48), (6, 6), (128, 96))
    hand = result("gu", np.ones((6, 6), np.float32), Box(40, 30, 60, 44))
    inside_box, on_box = (74, 100), (60, 100)  # y, x on the canvas, which is twice the frame
    plain = overlay(photo_rgb, result("none", np.zeros((6, 6), np.float32), None), "box")
    boxed, heated = overlay(photo_rgb, hand, "box"), overlay(photo_rgb, hand, "heatmap")
    assert boxed[on_box].tolist() == YELLOW and boxed[inside_box].tolist() == plain[inside_box].tolist()
    assert heated[inside_box].tolist() != plain[inside_box].tolist()


def test_none_shows_the_photo_and_its_label_only(photo_rgb):
    overlay = Overlay((64, 48), (6, 6), (128, 96))
    none = result("none", np.zeros((6, 6), np.float32), None)
    heatmap, box = overlay(photo_rgb, none, "heatmap"), overlay(photo_rgb, none, "box")
    assert (heatmap == box).all()
    assert (heatmap[20:] == photo_rgb.repeat(2, axis=0).repeat(2, axis=1)[20:]).all()  # below the label


def test_a_box_is_two_pixels_wide_and_inside_its_corners():
    canvas = np.zeros((8, 10, 3), np.uint8)
    draw_box(canvas, Box(1, 1, 9, 7))
    drawn = (canvas == YELLOW).all(axis=2)
    expected = np.zeros((8, 10), bool)
    expected[1:7, 1:9] = True
    expected[3:5, 3:7] = False
    assert (drawn == expected).all()


def test_a_box_smaller_than_its_own_line_stays_inside():
    canvas = np.zeros((4, 4, 3), np.uint8)
    draw_box(canvas, Box(1, 1, 2, 3))
    assert (canvas == YELLOW).all(axis=2).nonzero()[0].tolist() == [1, 2]


def test_text_of_no_letters_is_no_ink():
    assert text_mask("").shape == (7, 0)
    assert not text_mask(" ").any()


def test_every_glyph_has_its_size_and_its_own_shape():
    assert {glyph.shape for glyph in GLYPHS.values()} == {(7, 5)}
    assert len({glyph.tobytes() for glyph in GLYPHS.values()}) == len(GLYPHS)
    assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .-_") <= set(GLYPHS)


def test_text_is_set_glyph_by_glyph():
    mask = text_mask("1語")
    assert mask.shape == (7, 12)
    assert (mask[:, :5] == GLYPHS["1"]).all() and (mask[:, 6:11] == GLYPHS["?"]).all()
    assert not mask[:, [5, 11]].any()


def test_text_is_cut_off_at_the_edge_of_the_canvas():
    canvas = np.full((9, 20, 3), 50, np.uint8)
    draw_text(canvas, "GU 0.93")
    assert set(np.unique(canvas)) == {0, 255}


def test_a_text_looks_the_same_the_second_time():
    pictures = []
    for before in ("gu 0.93", "pa 0.10", "gu 0.93"):
        canvas = np.full((96, 128, 3), 50, np.uint8)
        draw_text(canvas, before)
        pictures.append(canvas.copy())
        canvas[:] = 7  # what is drawn over one picture is not on the next
    assert (pictures[0] == pictures[2]).all() and (pictures[0] != pictures[1]).any()


def test_accents_are_left_out_rather_than_the_letter():
    np.testing.assert_array_equal(text_mask("Käse"), text_mask("kase"))
