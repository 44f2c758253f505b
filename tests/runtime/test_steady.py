"""Smoothing, on sequences: what may flip the label and when it must, how much the box trembles and how far it lags."""
from __future__ import annotations

import numpy as np
import pytest

from runtime import steady as steady_module
from runtime.results import Box, Result
from runtime.steady import AGREEING_FRAMES, BOX_GAIN, JUMP_IOU, LONGEST_ABSENCE, Steady, SteadyBox, SteadyLabel, overlap

HANDS = ("gu", "choki", "pa")


def scores_for(label: str, score: float = 0.95) -> dict[str, float]:
    """`score` for the label, the rest shared between the other hands and none."""
    others = (1 - score) / 3 if label in HANDS else (1 - score) / 2
    return {hand: score if hand == label else others for hand in HANDS}


def shown(labels: str, score: float = 0.95) -> str:
    """One letter a frame (g, c, p, and - for none) to what is shown, in the same letters."""
    names = {"g": "gu", "c": "choki", "p": "pa", "-": "none"}
    letters = {name: letter for letter, name in names.items()}
    steady = SteadyLabel()
    return "".join(letters[steady(names[letter], scores_for(names[letter], score))[0]] for letter in labels)


class TestLabel:
    @pytest.mark.parametrize("letter", "gcp-")
    def test_the_first_frame_shows_at_once(self, letter):
        assert shown(letter) == letter

    @pytest.mark.parametrize("wrong", ["c", "-", "cc", "--", "c-", "cpc"])
    def test_fewer_than_three_wrong_frames_running_never_show(self, wrong):
        for score in (0.4, 0.6, 0.95):
            for before in range(1, 15):
                frames = "g" * before + wrong + "gggg"
                assert shown(frames, score) == "g" * len(frames), (score, before)

    def test_a_wrong_frame_among_doubtful_ones_does_not_show_either(self):
        steady = SteadyLabel()
        for label, score in [("gu", 0.4), ("gu", 0.4), ("choki", 1.0), ("gu", 0.4), ("gu", 0.4)]:
            assert steady(label, scores_for(label, score))[0] == "gu"

    @pytest.mark.parametrize(("before", "after"), [("g", "c"), ("g", "-"), ("-", "p"), ("c", "p")])
    def test_a_clear_change_shows_with_its_third_frame(self, before, after):
        assert AGREEING_FRAMES == 3
        assert shown(before * 20 + after * 5) == before * 22 + after * 3

    @pytest.mark.parametrize("after", ["choki", "none"])
    def test_a_doubtful_change_shows_later_but_with_its_sixth_frame_at_the_latest(self, after):
        assert LONGEST_ABSENCE == 6
        for score in np.linspace(0.26, 1, 20):  # from hardly more than the others' to certain
            steady = SteadyLabel()
            for _ in range(10):
                steady("gu", scores_for("gu"))
            seen = [steady(after, scores_for(after, score))[0] for _ in range(LONGEST_ABSENCE)]
            assert seen[:2] == ["gu", "gu"] and seen[5] == after
            if after == "choki":
                assert (seen[2] == after) == (score > 0.45), score

    def test_a_change_seen_in_most_frames_only_shows_too(self):
        assert shown("gggg" + "ccgccgccc" + "gcc").endswith("cccc")

    def test_a_label_that_changes_every_frame_stays(self):
        assert set(shown("g" + "pcgcg" * 20)) == {"g"}

    def test_a_label_that_no_frame_gives_any_more_goes_although_the_others_disagree(self):
        assert shown("gggg" + "c-" * 5) == "ggggggggg" + "-----"

    def test_what_is_shown_was_given_by_one_of_the_last_six_frames(self):
        random = np.random.default_rng(2)
        steady, given = SteadyLabel(), []
        for label in random.choice([*HANDS, "none"], 3000, p=[0.1, 0.3, 0.3, 0.3]):
            given = [*given, str(label)][-6:]
            assert steady(str(label), scores_for(str(label), random.uniform(0.26, 1)))[0] in given

    def test_the_scores_are_those_of_what_is_shown(self):
        steady = SteadyLabel()
        steady("gu", {"gu": 1.0, "pa": 0.0})
        label, score, scores = steady("pa", {"gu": 0.5, "pa": 0.5})
        assert (label, score) == ("gu", pytest.approx(0.8)) and scores == {"gu": pytest.approx(0.8), "pa": pytest.approx(0.2)}

    def test_a_rejected_frame_counts_as_none_whatever_its_hands_scored(self):
        steady = SteadyLabel()
        for _ in range(20):
            label, score, scores = steady("none", {"gu": 0.9, "pa": 0.05})
        assert label == "none" and score == pytest.approx(1.0) and max(scores.values()) == pytest.approx(0)


CENTRE = np.array([100, 80, 220, 200, 160, 140])  # x0, y0, x1, y1, peak


def track(boxes: np.ndarray) -> np.ndarray:
    """Rows of box and peak, (N, 6), through one SteadyBox."""
    steady = SteadyBox()
    rows = []
    for row in boxes:
        box, peak_xy = steady(Box(*map(int, row[:4])), (int(row[4]), int(row[5])))
        rows.append([*box, *peak_xy])
    return np.array(rows)


class TestBox:
    def test_the_first_box_and_a_still_one_are_shown_as_they_are(self):
        assert (track(np.tile(CENTRE, (5, 1))) == CENTRE).all()

    def test_it_trembles_half_as_much(self):
        # White noise through a + g (x - a) keeps sqrt(g / (2 - g)) of its deviation.
        trembling = CENTRE + np.rint(np.random.default_rng(0).normal(0, 6, (2000, 6)))
        before, after = trembling.std(axis=0), track(trembling)[20:].std(axis=0)
        assert BOX_GAIN == 0.4 and (BOX_GAIN / (2 - BOX_GAIN)) ** 0.5 == 0.5
        assert (after < 0.55 * before).all() and (before > 5).all()
        assert abs(track(trembling).mean(axis=0) - trembling.mean(axis=0)).max() < 0.2  # and rounds to neither side

    @pytest.mark.parametrize("speed", [1, 4, 10])
    def test_it_lags_a_moving_hand_by_a_frame_and_a_half(self, speed):
        # The lag of a steady motion is (1 - g) / g frames; a pixel more for rounding.
        moving = CENTRE + speed * np.arange(100)[:, None] * np.array([1, 0, 1, 0, 1, 0])
        lag = (moving - track(moving))[:, [0, 2, 4]]
        assert lag.min() >= 0 and lag.max() <= (1 - BOX_GAIN) / BOX_GAIN * speed + 1

    def test_a_jump_is_followed_at_once(self):
        far = CENTRE + 300
        assert (track(np.stack([CENTRE, CENTRE, far]))[2] == far).all()

    def test_no_speed_leaves_it_behind(self):
        for speed in range(0, 200, 7):
            moving = CENTRE + speed * np.arange(30)[:, None]
            for given, steadied in zip(moving, track(moving)):
                assert overlap(given, steadied) >= JUMP_IOU

    @pytest.mark.parametrize("gain", [BOX_GAIN, 0.5])
    def test_the_peak_stays_inside(self, monkeypatch, gain):
        monkeypatch.setattr(steady_module, "BOX_GAIN", gain)  # with 0.5 halves occur, which are hard to round alike
        random = np.random.default_rng(1)
        x0, y0 = random.integers(0, 40, (2, 3000))
        x1, y1 = x0 + random.integers(1, 30, 3000), y0 + random.integers(1, 30, 3000)
        rows = np.stack([x0, y0, x1, y1, x1 - 1, np.minimum(y0, y1 - 1)], axis=1)  # at the edges, where rounding could fail
        after = track(rows)
        assert (after[:, 0] <= after[:, 4]).all() and (after[:, 4] < after[:, 2]).all()
        assert (after[:, 1] <= after[:, 5]).all() and (after[:, 5] < after[:, 3]).all()


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [((0, 0, 10, 10), (10, 0, 20, 10), 0), ((0, 0, 10, 10), (0, 0, 10, 10), 1), ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3)],
)
def test_overlap(a, b, expected):
    assert overlap(np.array(a), np.array(b)) == pytest.approx(expected)


BOX = Box(*map(int, CENTRE[:4]))


def result(label: str, box: Box | None = BOX, size_wh=(320, 240), cluster: int = 1) -> Result:
    """A frame's result as the pipeline gives it."""
    seen = label != "none" and box is not None
    return Result(
        label=label, score=0.95, scores=scores_for(label), size_wh=size_wh, box_xyxy=box if seen else None,
        peak_xy=((box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2) if seen else None, cluster=cluster,
        heat=np.full((6, 6), 0.5 if seen else 0.0, np.float32), embedding=np.zeros(4, np.float32), frame=7, source="cam",
    )


class TestSteady:
    def test_a_frame_without_the_hand_keeps_what_was_there(self):
        steady = Steady()
        for _ in range(3):
            steady(result("gu"))
        held = steady(result("none", cluster=2))
        assert (held.label, held.box_xyxy, held.peak_xy, held.cluster) == ("gu", BOX, (160, 140), 1)
        assert held.heat.any() and held.frame == 7

    def test_a_hand_that_is_gone_takes_its_box_along(self):
        steady = Steady()
        for label in ("gu", "gu", "gu", "none", "none", "none"):
            last = steady(result(label))
        assert (last.label, last.box_xyxy, last.peak_xy) == ("none", None, None) and not last.heat.any()

    def test_a_single_frame_with_a_hand_shows_nothing_at_all(self):
        steady = Steady()
        steady(result("none"))
        ghost = steady(result("gu"))
        assert (ghost.label, ghost.box_xyxy, ghost.peak_xy) == ("none", None, None) and not ghost.heat.any()
        assert steady(result("none")).label == "none"

    def test_a_hand_that_comes_back_elsewhere_is_not_dragged_there(self):
        steady = Steady()
        for _ in range(5):
            steady(result("gu"))
        for _ in range(3):
            steady(result("none"))
        there = Box(120, 90, 240, 210)
        for _ in range(3):
            last = steady(result("gu", there))
        assert last.box_xyxy == there

    def test_a_hand_without_heat_shows_no_old_box(self):
        steady = Steady()
        steady(result("gu"))
        assert steady(result("gu", None)).box_xyxy is None

    def test_one_wrong_label_leaves_label_and_box(self):
        steady = Steady()
        for label in ("gu", "gu", "pa", "gu"):
            last = steady(result(label))
            assert (last.label, last.box_xyxy) == ("gu", BOX)

    def test_another_frame_size_starts_over(self):
        steady = Steady()
        steady(result("gu"))
        assert steady(result("pa", size_wh=(640, 480))).label == "pa"

    def test_after_a_reset_nothing_is_remembered(self):
        steady = Steady()
        steady(result("gu"))
        steady.reset()
        moved = Box(110, 80, 230, 200)
        assert (steady(result("pa", moved)).label, steady(result("pa", moved)).box_xyxy) == ("pa", moved)
