"""export/cutout.py on drawn scenes whose true mask is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from export import cutout
from export.cutout import RING, hand_mask

SKIN, WALL = (205, 150, 125), (90, 105, 120)
BOX = (120.0, 70.0, 200.0, 150.0)
CENTRE, RADIUS = (160, 110), 39


def wall(seed: int = 0) -> np.ndarray:
    """uint8 (240, 320, 3): a noisy, blotchy wall."""
    rng = np.random.default_rng(seed)
    blotches = cv2.resize(rng.normal(0, 12, (15, 20, 1)), (320, 240))[..., None]
    return np.clip(WALL + blotches + rng.normal(0, 6, (240, 320, 3)), 0, 255).astype(np.uint8)


def scene(arms: tuple = ((160, 240),)) -> tuple[np.ndarray, np.ndarray]:
    """(frame, truth): a skin-coloured disc that fills BOX, and a bar from it to each of the points."""
    truth = np.zeros((240, 320), np.uint8)
    cv2.circle(truth, CENTRE, RADIUS, 255, -1)
    for end in arms:
        cv2.line(truth, CENTRE, end, 255, 28)
    skin = np.clip(SKIN + np.random.default_rng(1).normal(0, 6, (240, 320, 3)), 0, 255)
    return np.where(truth[..., None] > 0, skin, wall()).astype(np.uint8), truth


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero((a > 0) & (b > 0)) / np.count_nonzero((a > 0) | (b > 0))


def within(mask: np.ndarray, margin: float) -> np.ndarray:
    x0, y0, x1, y1 = (round(v) for v in (BOX[0] - margin, BOX[1] - margin, BOX[2] + margin, BOX[3] + margin))
    part = np.zeros_like(mask)
    part[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    return part


def test_hand_ends_at_the_box_and_alpha_goes_on_along_the_forearm():
    frame, truth = scene()
    alpha, hand = hand_mask(frame, BOX)
    for mask in (alpha, hand):
        assert mask.shape == frame.shape[:2] and mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
    assert iou(hand, within(truth, 0)) > 0.95
    assert iou(alpha, within(truth, RING * 80)) > 0.95
    assert alpha[155, 160] == 255 and hand[155, 160] == 0


def test_shadow_beside_the_hand_is_left_out():
    frame, truth = scene()
    shade = np.roll(truth, 9, axis=1) & ~truth
    frame[shade > 0] //= 2
    _, hand = hand_mask(frame, BOX)
    assert np.count_nonzero(hand & within(shade, 0)) < 0.1 * np.count_nonzero(within(shade, 0))


def test_large_photo_and_box_at_its_edge():
    frame, truth = scene()
    cropped, crop_truth = frame[70:, 120:], truth[70:, 120:]
    large = cv2.resize(cropped, None, fx=3, fy=3)
    _, hand = hand_mask(large, (0.0, 0.0, 240.0, 240.0))
    assert iou(hand[:240, :240], cv2.resize(crop_truth, None, fx=3, fy=3)[:240, :240]) > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_texture_without_an_object_is_refused(seed):
    assert hand_mask(wall(seed), BOX) is None


def test_object_that_leaves_the_box_twice_is_refused():
    assert hand_mask(scene(arms=((160, 240), (160, 0)))[0], BOX) is None


@pytest.mark.parametrize("box", [(100, 40, 240, 180), (96, 70, 200, 150), (160, 110, 200, 150)],
                         ids=["too wide", "too far to the left", "too close"])
def test_box_that_does_not_fit_the_object_is_refused(box):
    assert hand_mask(scene(arms=())[0], box) is None


def test_cut_is_refused_when_the_two_colour_spaces_disagree(monkeypatch):
    calls = []

    def lacks_a_corner(colours, inside, seed, grab=cutout._grab):
        cut = grab(colours, inside, seed)
        calls.append(len(calls))
        if len(calls) == 2:
            ys, xs = np.ogrid[:cut.shape[0], :cut.shape[1]]
            cut[(xs - cut.shape[1] / 2) + (ys - cut.shape[0] / 2) > 24] = 0  # a fifth of the disc
        return cut

    monkeypatch.setattr(cutout, "_grab", lacks_a_corner)
    frame, _ = scene(arms=())
    assert hand_mask(frame, BOX) is None
    assert hand_mask(frame, BOX) is not None  # the third and fourth call leave the cut whole


def test_ragged_outline_is_refused():
    truth = np.zeros((240, 320), np.uint8)
    cv2.circle(truth, CENTRE, 28, 255, -1)
    for angle in np.arange(24) * 2 * np.pi / 24:
        cv2.line(truth, CENTRE, (round(160 + 39 * np.cos(angle)), round(110 + 39 * np.sin(angle))), 255, 4)
    assert hand_mask(np.where(truth[..., None] > 0, SKIN, wall()).astype(np.uint8), BOX) is None


def test_ring_around_nothing_is_refused():
    frame, _ = scene()
    cv2.circle(frame, (160, 95), 11, WALL, -1)
    assert hand_mask(frame, BOX) is None


@pytest.mark.parametrize("box", [(120, 70, 120, 150), (200, 150, 120, 70), (120, 70, 130, 150), (400, 300, 480, 380),
                                 (0, 0, 320, 240), (-50, -50, 900, 900)])
def test_degenerate_box_is_refused(box):
    assert hand_mask(scene()[0], box) is None


def test_same_photo_gives_the_same_mask():
    frame, _ = scene()
    first, second = hand_mask(frame, BOX), hand_mask(frame, BOX)
    assert np.array_equal(first[0], second[0]) and np.array_equal(first[1], second[1])
