from __future__ import annotations

import numpy as np
import pytest

from runtime.scoring import classify, lead, softmax, unit_length

LABELS = ("gu", "choki", "pa", "none")


def cosines(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_zero_vector_stays_zero():
    assert unit_length(cosines(0, 0)).tolist() == [0, 0]


def test_the_lead_is_the_nearest_before_the_next():
    assert lead(np.array([0.25, 0.875, 0.5], np.float32)) == 0.375
    assert lead(np.array([0.5], np.float32)) == np.inf


def test_a_vector_gets_length_one():
    np.testing.assert_allclose(unit_length(cosines(3, -4)), [0.6, -0.8])


def test_softmax_by_hand_and_without_overflow():
    np.testing.assert_allclose(softmax(np.log(np.array([1.0, 2.0, 5.0]))), [0.125, 0.25, 0.625])
    np.testing.assert_allclose(softmax(np.array([1000.0, 1000.0])), [0.5, 0.5])


def test_the_nearest_hand_wins_with_its_probability():
    label, score, scores = classify(cosines(0.1, 0.9, 0.1, 0.1), LABELS, np.log(7) / 0.8, reject=0.5)
    assert label == "choki"
    assert list(scores) == ["gu", "choki", "pa"]  # none is no hand class
    assert score == scores["choki"] == pytest.approx(0.7)  # 7 to 1, 1, 1
    assert scores["gu"] == pytest.approx(0.1)


def test_none_wins_when_its_prototype_is_nearest():
    label, score, scores = classify(cosines(0.6, 0.1, 0.1, 0.9), LABELS, 16.0, reject=0.5)
    assert label == "none"
    assert score == pytest.approx(1 - scores["gu"])


def test_a_hand_too_far_away_is_none():
    label, score, scores = classify(cosines(0.49, 0.1, 0.1, 0.0), LABELS, 16.0, reject=0.5)
    assert label == "none"
    assert score == pytest.approx(1 - max(scores.values()))


def test_a_bundle_without_none_can_still_reject():
    hands = ("gu", "pa")
    assert classify(cosines(0.9, 0.1), hands, 16.0, reject=0.5)[0] == "gu"
    assert classify(cosines(0.4, 0.1), hands, 16.0, reject=0.5)[0] == "none"
    assert list(classify(cosines(0.4, 0.1), hands, 16.0, reject=0.5)[2]) == ["gu", "pa"]


def test_a_last_label_of_any_other_name_is_a_hand():
    assert classify(cosines(0.1, 0.9), ("gu", "pa"), 16.0, reject=0.5)[0] == "pa"
