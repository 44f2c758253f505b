"""Deletion and insertion curves, with scores that can be worked out by hand."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from export.studies import faithfulness

SIZE = 40  # pixels a side
HAND = np.zeros((8, 8), np.float32)
HAND[3, 6] = 1  # cells of 5 px: rows 15 to 20, columns 30 to 35
ELSEWHERE = 1 - HAND  # everywhere but there


def photo() -> np.ndarray:
    """Dark, and bright where HAND is."""
    image = np.zeros((SIZE, SIZE, 3), np.float32)
    image[15:20, 30:35] = 1
    return image


def linear(images: np.ndarray) -> np.ndarray:
    """A network that only looks at the hand: the mean there, which is 1 on the photo."""
    return images[:, 15:20, 30:35].mean(axis=(1, 2, 3))


def areas(heat: np.ndarray, seed: int = 0) -> list[float]:
    return [faithfulness.area(curve) for curve in faithfulness.curves(linear, photo(), heat, seed)]


def test_no_heat_at_all_counts_as_random_heat():
    nothing = np.zeros_like(HAND)
    assert areas(nothing, seed=3) == areas(np.random.default_rng(3).random(HAND.shape), seed=5)
    assert areas(nothing, seed=3) != areas(nothing, seed=4), "not the same corner first in every photo"


def test_heat_on_what_decides_beats_random_heat_and_that_beats_heat_elsewhere():
    on, off = areas(HAND), areas(ELSEWHERE)
    by_chance = np.mean([areas(np.random.default_rng(i).random(HAND.shape)) for i in range(10)], axis=0)
    assert on[0] + 0.2 < by_chance[0] < off[0] - 0.2, "deletion: lower is better"
    assert on[1] - 0.2 > by_chance[1] > off[1] + 0.2, "insertion: higher is better"


def test_the_scale_of_the_heat_changes_nothing():
    assert areas(HAND) == areas(7 * HAND)


def test_steps_are_equal_and_the_curves_run_from_end_to_end():
    """A score that counts untouched pixels falls by the same share in each step, whatever the heat."""
    image = np.random.default_rng(0).random((SIZE, SIZE, 3)).astype(np.float32)
    deletion, insertion = faithfulness.curves(lambda images: (images == image).all(-1).mean((1, 2)), image, HAND)
    expected = np.linspace(0, 1, faithfulness.STEPS + 1)
    np.testing.assert_allclose(insertion, expected, atol=1e-9)
    np.testing.assert_allclose(deletion, expected[::-1], atol=1e-9)


def test_the_score_is_asked_once_a_photo():
    asked = []
    faithfulness.curves(lambda images: asked.append(images.shape) or np.zeros(len(images)), photo(), HAND)
    assert asked == [(2 * faithfulness.STEPS, SIZE, SIZE, 3)]


def test_the_hottest_pixels_come_first():
    turn = faithfulness.turns(np.array([[0.0, 1.0], [2.0, 3.0]]), (2, 2))
    np.testing.assert_array_equal(turn, [[0.75, 0.5], [0.25, 0.0]])


def test_area_by_hand():
    assert faithfulness.area(np.array([1.0, 0.5, 0.0])) == pytest.approx(0.5)
    assert faithfulness.area(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


def test_scores_and_means_of_a_network_worked_out_by_hand():
    """The embedding of a grey image is (g, g, g), whatever the length: its cosine to the first axis is 1 / sqrt(3)."""
    image = keras.Input((4, 4, 3))
    network = keras.Model(image, [image, keras.layers.GlobalAveragePooling2D()(image)])
    bundle = SimpleNamespace(prototypes=np.eye(3, dtype=np.float32)[:2], score_scale=2.0, labels=("gu", "none"))
    grey, red = np.full((4, 4, 3), 0.3, np.float32), np.zeros((4, 4, 3), np.float32)
    red[..., 0] = 9
    sure = np.exp(2) / (np.exp(2) + 1)
    np.testing.assert_allclose(faithfulness.scorer(network, bundle)(np.stack([grey, red])), [[0.5, 0.5], [sure, 1 - sure]],
                               rtol=1e-5)
    # flat photos look the same blurred: both curves lie at the photo's own probability
    found = faithfulness.mean_areas(network, bundle, np.stack([grey, red]), ["gu", "none"], [np.zeros((2, 2))] * 2)
    np.testing.assert_allclose(found, [(0.5 + 1 - sure) / 2] * 2, rtol=1e-5)


def test_controls_know_nothing_of_the_photo():
    made = faithfulness.controls((4, 6), 5, seed=0)
    assert {heat.shape for heat in made.values()} == {(5, 4, 6)}
    middle = made["middle of the frame"]
    assert (middle == middle[0]).all() and np.allclose(middle, middle[:, ::-1, ::-1])
    assert middle[0].argmax() in (1 * 6 + 2, 1 * 6 + 3, 2 * 6 + 2, 2 * 6 + 3)
    assert len(np.unique(made["random"])) == 5 * 4 * 6
