"""The photos in other light, out of focus and turned: what each change does to a frame, and the table of them all."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.__main__ import main
from calibration.conditions import CONDITIONS, toned
from calibration.heldout import HeldOut

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "models" / "tiny"
RED, GREY = (255, 0, 0), (90, 90, 90)  # red is what models/tiny takes for gu


@pytest.fixture
def frame() -> HeldOut:
    """64x48, grey, a red hand at x 40 to 56, y 8 to 20, known by its mask."""
    frame_rgb, hand = np.full((48, 64, 3), GREY, np.uint8), np.zeros((48, 64), np.uint8)
    frame_rgb[8:20, 40:56], hand[8:20, 40:56] = RED, 255
    return HeldOut(frame_rgb, "set/gu/a.png", "gu", (40, 8, 56, 20), hand)


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_keeps_size_label_and_name_and_says_where_the_hand_is(frame, name):
    before = frame.frame_rgb.copy()
    changed = CONDITIONS[name](frame)
    assert changed.frame_rgb.shape == (48, 36 if name == "upright, 3:4" else 64, 3) and changed.frame_rgb.dtype == np.uint8
    assert (changed.name, changed.label) == (frame.name, frame.label)
    assert np.array_equal(frame.frame_rgb, before)
    assert np.array_equal(changed.frame_rgb, before) == (name == "as they are")
    x0, y0, x1, y1 = changed.box_xyxy
    inside = changed.frame_rgb[y0 + 2:y1 - 2, x0 + 2:x1 - 2].reshape(-1, 3).mean(axis=0)
    outside = changed.frame_rgb[40:, :20].reshape(-1, 3).mean(axis=0)
    assert np.abs(inside - outside).max() > 3 and (changed.hand[y0:y1, x0:x1] > 0).mean() > 0.45


def test_a_mirrored_hand_is_on_the_other_side(frame):
    assert CONDITIONS["mirrored"](frame).box_xyxy == (8, 8, 24, 20)


def test_an_upright_photo_is_taken_around_the_hand_or_of_the_middle(frame):
    """The hand, at x 40 to 56, comes as near to the middle of the 36 pixels as the frame's edge lets it."""
    changed = CONDITIONS["upright, 3:4"](frame)
    assert changed.box_xyxy == (12, 8, 28, 20) and changed.hand.shape == (48, 36) and (changed.hand[8:20, 12:28] == 255).all()
    wide = CONDITIONS["upright, 3:4"](replace(frame, box_xyxy=(4, 8, 56, 20), hand=None))
    assert wide.box_xyxy == (0, 8, 36, 20) and wide.hand is None
    empty = CONDITIONS["upright, 3:4"](replace(frame, box_xyxy=None, hand=None, label="none"))
    assert empty.frame_rgb.shape == (48, 36, 3) and (empty.frame_rgb[:, :25] == GREY).all() and empty.box_xyxy is None


def test_a_hand_turned_by_90_degrees_stands_where_it_lay(frame):
    x0, y0, x1, y1 = CONDITIONS["turned by 90"](frame).box_xyxy
    assert (x1 - x0, y1 - y0) == (12, 16) and abs((x0 + x1) / 2 - 48) <= 1 and abs((y0 + y1) / 2 - 14) <= 1


def test_a_hand_without_a_mask_is_turned_with_its_box(frame):
    changed = CONDITIONS["turned by 180"](HeldOut(frame.frame_rgb, frame.name, "gu", frame.box_xyxy))
    assert changed.hand is None and np.abs(np.subtract(changed.box_xyxy, frame.box_xyxy)).max() <= 1


def test_a_frame_without_a_hand_has_none_after_it_is_turned():
    changed = CONDITIONS["turned by 20"](HeldOut(np.full((48, 64, 3), 90, np.uint8), "set/none/a.png", "none"))
    assert changed.box_xyxy is None and changed.hand is None


def test_light_is_cut_off_at_white(frame):
    changed = toned(lambda rgb: rgb * 3)(frame).frame_rgb
    assert tuple(changed[10, 45]) == (255, 0, 0) and tuple(changed[0, 0]) == (255, 255, 255)


def test_the_table_has_a_row_for_every_condition(tmp_path, capsys):
    for label, rgb in (("gu", (255, 0, 0)), ("choki", (0, 255, 0)), ("pa", (0, 0, 255))):
        for i in range(5):
            photo_rgb = np.full((48, 64, 3), 90, np.uint8)
            photo_rgb[8:20, 40:56] = rgb
            (tmp_path / "set" / label).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "set" / label / f"{i}.png"), photo_rgb[..., ::-1])
    assert main(["conditions", "--bundle", str(TINY), "--data", str(tmp_path / "set"), "--split", "all"]) == 0
    rows = {line[:24].strip(): line[24:].split() for line in capsys.readouterr().out.splitlines()[3:]}
    assert set(rows) == set(CONDITIONS)
    assert float(rows["as they are"][0]) == 1.0 and float(rows["grey"][0]) < 1.0  # to it a grey hand is none


def test_without_photos_it_says_so(tmp_path, capsys):
    assert main(["conditions", "--bundle", str(TINY), "--data", str(tmp_path / "no")]) == 2
    assert str(tmp_path / "no") in capsys.readouterr().err


@pytest.mark.parametrize("command", ["conditions", "annotation"])
def test_without_any_data_set_it_says_what_to_do(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    assert main([command, "--bundle", str(TINY)]) == 2
    assert "run `make data`, or give --data" in capsys.readouterr().err
