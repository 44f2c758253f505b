"""Rendered persons: the same for the same seed, of all skin tones, without a wrist in view, and kept for the next run."""

from __future__ import annotations

import numpy as np
import pytest

from export.rendering import person, pool
from export.rendering.person import SIZE_WH, contact_sheet, main, render_person, rendered_people
from export.rendering.person_body import LIMB, SKIN, Body, add_arms, add_torso, draw_looks
from export.rendering.person_paint import draw_palette
from export.rendering.person_view import View, splat
from export.rendering.skin import BACK_SRGB, linear


@pytest.fixture(scope="module")
def people():
    return [render_person(np.random.default_rng([1, i])) for i in range(40)]


def ball_seen_from(axes_mm, focus_mm=(0.0, 0.0, 0.0)):
    """Depth, normal, part and material of an ellipsoid at the origin, 1 mm a pixel, in the middle of a canvas of 100."""
    body = Body()
    body.ball(body.part(LIMB, (0, 0, 0), np.eye(3)), (0, 0, 0), axes_mm)
    return splat(body, View(1.0, 1e6, np.array(focus_mm), np.array([50.0, 40.0]), 100))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_same_seed_same_person(seed):
    first, second = (render_person(np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first.frame_rgb, second.frame_rgb)
    np.testing.assert_array_equal(first.alpha, second.alpha)


def test_shapes_and_types(people):
    for one in people:
        assert one.frame_rgb.shape == (SIZE_WH[1], SIZE_WH[0], 3) and one.frame_rgb.dtype == np.uint8
        assert one.alpha.shape == (SIZE_WH[1], SIZE_WH[0]) and one.alpha.dtype == np.uint8
        assert not one.frame_rgb[one.alpha == 0].any()


def test_persons_cover_a_sensible_share_and_leave_the_picture_by_an_edge(people):
    shares = np.array([(one.alpha > 127).mean() for one in people])
    assert shares.min() > 0.03 and 0.3 < shares.mean() < 0.7
    for one in people:
        assert max(one.alpha[[0, -1]].max(), one.alpha[:, [0, -1]].max()) > 127


def test_persons_differ(people):
    means = np.array([one.frame_rgb[one.alpha > 250].mean(axis=0) for one in people])
    assert np.ptp(means.mean(axis=1)) > 80


def test_skin_tones_span_those_of_the_hands():
    rng = np.random.default_rng(0)
    green = np.array([draw_palette(rng).skin[1] for _ in range(200)])
    lightest, darkest = linear(BACK_SRGB[0])[1], linear(BACK_SRGB[-1])[1]
    assert green.max() > 0.85 * lightest and green.min() < 1.3 * darkest


def test_no_wrist_is_left_in_view(monkeypatch):
    """A wrist is out of the frame, or within the trunk or the head, which hide it."""
    wrists, shown = [], []
    monkeypatch.setattr("export.rendering.person_body.add_limb", lambda body, joints, *_: wrists.append(joints[-1]))
    view = View(0.5, 1e6, np.zeros(3), np.array([120.0, 60.0]), 240)
    for seed in range(60):
        rng, body = np.random.default_rng(seed), Body()
        looks = draw_looks(rng)
        torso = add_torso(body, looks, 0.0, 0.0, rng)
        add_arms(body, torso, looks, view.leaves, rng)
        frame = body.parts[torso]
        in_view = [wrist for wrist in wrists[-2:] if not view.leaves(wrist)]
        shown += [frame.rotation.T @ wrist / frame.stretch for wrist in in_view]
    assert len(wrists) == 120 and 0 < len(shown) < 120
    x, _, z = np.array(shown).T
    assert (np.abs(x) < 125).all() and (z < 0).all()


def test_a_ball_is_round_and_nearest_in_its_middle():
    depth, normal, part, material = ball_seen_from((20, 20, 20))
    assert depth[40, 50] == pytest.approx(20, abs=0.1)
    np.testing.assert_allclose(normal[40, 50], (0, 0, 1), atol=1e-3)
    np.testing.assert_allclose(normal[40, 66], (0.8, 0, 0.6), atol=1e-3)
    assert (part >= 0).sum() == pytest.approx(np.pi * 400, rel=0.02)
    assert (material[part >= 0] == SKIN).all()


def test_a_rod_is_as_thick_as_its_ends():
    body = Body()
    body.rod(body.part(LIMB, (0, 0, 0), np.eye(3)), (-30, 0, 0), (30, 0, 0), 10, 20)
    depth, _, part, _ = splat(body, View(1.0, 1e6, np.zeros(3), np.array([50.0, 40.0]), 100))
    assert depth[40, 20] == pytest.approx(10, abs=0.3) and depth[40, 80] == pytest.approx(20, abs=0.3)
    assert (part[:, 20] >= 0).sum() == pytest.approx(21, abs=2)


def test_what_is_off_the_canvas_leaves_it_empty():
    assert (ball_seen_from((5, 5, 5), (300.0, 0.0, 0.0))[2] == -1).all()


def test_people_are_kept_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "CACHE", tmp_path)
    drawn = rendered_people(3, 5)
    assert [path.name.rsplit("-", 1)[0] for path in tmp_path.iterdir()] == ["people-3-5"]
    monkeypatch.setattr(person, "ProcessPoolExecutor", None)  # a second drawing would fail
    for first, second in zip(drawn, rendered_people(3, 5), strict=True):
        np.testing.assert_array_equal(first.frame_rgb, second.frame_rgb)
        np.testing.assert_array_equal(first.alpha, second.alpha)


def test_sheet_is_written_and_a_bad_path_refused(tmp_path, monkeypatch, capsys):
    assert contact_sheet(np.random.default_rng(0), (48, 40), columns=3, rows=2).shape == (80, 144, 3)
    monkeypatch.setattr("sys.argv", ["person", "--out", str(tmp_path / "missing" / "sheet.png")])
    with pytest.raises(SystemExit):
        main()
    assert "expected a folder that is there" in capsys.readouterr().err
