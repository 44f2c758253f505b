"""export/triplet.py against numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from export.triplet import MARGIN, triplet_loss


def loss(embeddings, labels) -> float:
    return float(triplet_loss(tf.constant(embeddings, tf.float32), tf.constant(labels)))


def test_classes_far_apart_cost_nothing():
    assert loss([[1, 0], [2, 0], [0, 1], [0, 3]], [0, 0, 1, 1]) == pytest.approx(0)


def test_furthest_of_the_class_against_nearest_of_another():
    # the first two are 1 apart; the third, of another class and alone in it, lies 1 - sqrt(1/2) from both
    nearest = 1 - np.sqrt(0.5)
    assert loss([[1, 0], [0, 1], [1, 1]], [0, 0, 1]) == pytest.approx(2 / 3 * (1 - nearest + MARGIN))


def test_a_batch_of_one_class_says_nothing():
    assert loss([[1, 0], [0, 1]], [1, 1]) == 0
