"""Rendered hands and rooms: the same for the same seed, whole, and inside the canvas."""

from __future__ import annotations

import numpy as np
import pytest

from export.rendering import light
from export.rendering.hand_poses import THUMB_MM, draw_skeleton
from export.rendering.render import HAND_SHARE, POSES, contact_sheet, render_background, render_hand

SIZE = 64


def hands_of(pose: str, count: int = 6):
    rng = np.random.default_rng(3)
    return [render_hand(pose, rng, SIZE) for _ in range(count)]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(mask > 127)
    return xs.min(), ys.min(), xs.max() + 1, ys.max() + 1


@pytest.mark.parametrize("pose", POSES)
def test_same_seed_same_hand(pose):
    first, second = (render_hand(pose, np.random.default_rng(11), SIZE) for _ in range(2))
    assert first.pose == pose
    for name in ("frame_rgb", "alpha", "hand_alpha"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_other_seed_other_hand():
    first, second = (render_hand("pa", np.random.default_rng(seed), SIZE) for seed in (1, 2))
    assert np.abs(first.alpha.astype(int) - second.alpha).mean() > 1


@pytest.mark.parametrize("size", [48, 96, 131])
def test_sizes_and_types(size):
    hand = render_hand("choki", np.random.default_rng(0), size)
    assert hand.frame_rgb.shape == (size, size, 3) and hand.frame_rgb.dtype == np.uint8
    assert hand.alpha.shape == hand.hand_alpha.shape == (size, size)
    assert hand.alpha.dtype == hand.hand_alpha.dtype == np.uint8


@pytest.mark.parametrize("pose", POSES)
def test_hand_lies_within_the_forearm_mask_and_off_every_edge(pose):
    for hand in hands_of(pose):
        assert (hand.hand_alpha <= hand.alpha).all()
        assert (hand.alpha > 127).sum() > (hand.hand_alpha > 127).sum() > 0.02 * SIZE**2
        edge = np.concatenate([hand.hand_alpha[[0, -1]].ravel(), hand.hand_alpha[:, [0, -1]].ravel()])
        assert not edge.any()


@pytest.mark.parametrize("pose", POSES)
def test_hand_fills_its_share_of_the_canvas(pose):
    for hand in hands_of(pose):
        x0, y0, x1, y1 = box_of(hand.hand_alpha)
        # The wrist hides a little of the box that the share is measured on.
        assert HAND_SHARE[0] - 0.12 <= max(x1 - x0, y1 - y0) / SIZE <= HAND_SHARE[1] + 0.03


@pytest.mark.parametrize(("pose", "stretched"), [("gu", "...."), ("choki", "||.."), ("pa", "||||")])
def test_the_right_fingers_are_stretched(pose, stretched):
    rng = np.random.default_rng(2)
    for _ in range(20):
        knuckle, middle, _, tip = draw_skeleton(pose, rng).fingers_mm.transpose(1, 0, 2)
        beyond = np.linalg.norm(tip - knuckle, axis=1) > 1.5 * np.linalg.norm(middle - knuckle, axis=1)
        assert "".join(".|"[int(is_out)] for is_out in beyond) == stretched


@pytest.mark.parametrize("pose", POSES)
def test_a_reaching_thumb_keeps_its_proportions(pose):
    rng = np.random.default_rng(4)
    for _ in range(20):
        skeleton = draw_skeleton(pose, rng)
        lengths = np.linalg.norm(np.diff(skeleton.thumb_mm, axis=0), axis=1)
        np.testing.assert_allclose(lengths, THUMB_MM * skeleton.person.length, rtol=1e-6)


def test_frame_is_black_outside_the_mask():
    for hand in hands_of("gu"):
        assert not hand.frame_rgb[hand.alpha == 0].any()


def test_an_open_hand_fills_less_of_its_box_than_a_fist():
    def solidity(pose: str) -> float:
        shares = []
        for hand in hands_of(pose, 12):
            x0, y0, x1, y1 = box_of(hand.hand_alpha)
            shares.append((hand.hand_alpha[y0:y1, x0:x1] > 127).mean())
        return float(np.mean(shares))

    assert solidity("gu") > solidity("pa") + 0.05
    assert solidity("gu") > solidity("choki") + 0.1


def test_skins_differ_from_hand_to_hand():
    colors = np.array([hand.frame_rgb[hand.hand_alpha > 250].mean(axis=0) for hand in hands_of("pa", 16)])
    assert np.ptp(colors.mean(axis=1)) > 60


def test_unknown_pose_is_refused_with_the_known_ones_named():
    with pytest.raises(ValueError, match="'rock'.*gu, choki, pa"):
        render_hand("rock", np.random.default_rng(0))


@pytest.mark.parametrize("size_wh", [(128, 128), (96, 64), (33, 80)])
def test_background_shape_and_seed(size_wh):
    first, second = (render_background(np.random.default_rng(5), size_wh) for _ in range(2))
    assert first.shape == (size_wh[1], size_wh[0], 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_backgrounds_differ():
    rng = np.random.default_rng(0)
    rooms = np.stack([render_background(rng, (32, 32)) for _ in range(20)]).astype(float)
    assert rooms.mean(axis=(1, 2, 3)).std() > 20


def test_contact_sheet_holds_every_pose_and_backgrounds():
    sheet = contact_sheet(np.random.default_rng(0), size=32, columns=3, rows=1)
    assert sheet.shape == (32 * (len(POSES) + 1), 32 * 3, 3)


def test_a_ball_has_no_hollow_at_its_outline_and_two_balls_have_one_between_them():
    ys, xs = np.indices((160, 160), np.float32)
    height = np.full((160, 160), -np.inf, np.float32)
    normal = np.zeros((160, 160, 3), np.float32)
    for x in (50, 110):  # of radius 32, so that they just overlap
        offset = np.dstack([xs - x, ys - 80]) / 32
        up = 1 - (offset ** 2).sum(axis=2)
        front = (up > 0) & (32 * np.sqrt(np.maximum(up, 0)) > height)
        height[front] = 32 * np.sqrt(up[front])
        normal[front] = np.dstack([offset, np.sqrt(np.maximum(up, 0))])[front]
    solid = np.isfinite(height)
    hidden = np.zeros((160, 160))
    hidden[solid] = light._hollows(np.where(solid, height, 0), solid, normal[solid], hand_px=150)
    outer = hidden[:, :60][solid[:, :60]]  # the left half of the left ball, and a little more
    assert outer.max() < 0.1
    assert hidden[80, 79:82].max() > 0.5
