"""The learning curve's own parts: which photos are drawn, how the folder is laid out, table and plot."""

from __future__ import annotations

from collections import Counter
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from calibration import photos
from scripts import learning_curve
from scripts.learning_curve import draw, five_sessions, lay_out, plot, table


@pytest.fixture
def everything(tmp_path):
    """Eight people, three poses, four photos of each, the hand in the left half; ann never shows pa."""
    rows = []
    for person in ("ann", "bob", "cem", "dai", "eve", "fay", "gus", "hal"):
        for label in ("gu", "choki") + (("pa",) if person != "ann" else ()):
            for k in range(4):
                path = tmp_path / "mine" / label / f"{person}_{k}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.full((120, 200, 3), 90, np.uint8))
                rows.append(f"{label}/{path.name}\t10\t10\t90\t110\t200\t120")
    (tmp_path / "mine" / "boxes.tsv").write_text("path\tx0\ty0\tx1\ty1\twidth\theight\n" + "\n".join(rows) + "\n")
    return photos.split(photos.scan([tmp_path / "mine"]))


def test_five_sessions_with_every_class_and_none_of_test(everything):
    sessions = five_sessions(everything)
    assert len(sessions) == 5
    assert not set(sessions) & {p.session for p in everything if p.split == "test"}
    assert "mine/ann_" not in sessions or len({p.session for p in everything if p.split != "test"}) < 6


def test_the_sessions_take_turns(everything):
    pool = [p for p in everything if p.label == "gu"]
    drawn = draw(pool, 12, np.random.default_rng(0))
    assert len(set(drawn)) == 12
    assert sorted(Counter(p.session for p in drawn).values()) == [1, 1, 1, 1, 2, 2, 2, 2]
    assert draw(pool, 12, np.random.default_rng(1)) != drawn
    assert len(draw(pool, 99, np.random.default_rng(0))) == len(pool)


def test_the_folder_is_one_that_export_takes_and_knows_nothing_of_janken(everything, tmp_path):
    folder = lay_out(tmp_path / "drawn", everything, 5, seed=0, boxes=False)
    found = photos.scan([folder])
    assert Counter(p.label for p in found) == {"rock": 5, "scissors": 5, "paper": 5, "none": 5}
    assert {p.box_xyxy for p in found} == {None}
    assert len({p.session for p in found}) == 5
    part = cv2.imread(str(next((folder / "none").iterdir())))
    assert part.shape[1] < 200, "beside the hand"
    boxed = photos.scan([lay_out(tmp_path / "boxed", everything, 5, seed=0, boxes=True)])
    assert all((p.box_xyxy is None) == (p.label == "none") for p in boxed)


RUNS = [{"row": row, "photos": count, "seed": seed, "hands": hands, "false alarms": 0.0, "peak inside": 0.5, "box IoU": 0.5,
         "core minutes": 1.0} for row, count, seed, hands in (("a <b", 5, 0, 0.5), ("a <b", 5, 1, 0.7), ("a <b", 80, 0, 1.0))]


def test_the_table_gives_mean_and_spread():
    lines = table(RUNS).splitlines()
    assert lines[2].startswith("| a <b | 5 | 2 | 0.600 ± 0.100 |") and lines[3].startswith("| a <b | 80 | 1 | 1.000 |")


def test_the_plot_is_svg_with_a_dot_for_each_run():
    root = ElementTree.fromstring(plot(RUNS))
    dots = root.findall("{*}circle")
    top, bottom = learning_curve.MARGIN, learning_curve.HEIGHT - learning_curve.MARGIN
    assert [float(dot.get("cy")) for dot in dots] == pytest.approx([(top + bottom) / 2, bottom - 0.7 * (bottom - top), top])
    assert "a <b" in [text.text for text in root.findall("{*}text")]
    assert ElementTree.fromstring(plot(RUNS[:1])) is not None, "one count alone"
