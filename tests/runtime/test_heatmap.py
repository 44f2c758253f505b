from __future__ import annotations

import numpy as np

from runtime.heatmap import Enlarger, bilinear_matrix, class_activation_map, weighted_sums
from runtime.quantize import Quantization

RELU6 = Quantization(6 / 255, -128)


def test_a_feature_map_without_activation_is_cold():
    feature_map = np.full((2, 3, 4), -128, np.int8)
    heat = class_activation_map(feature_map, RELU6, np.ones(4, np.float32))
    assert heat.dtype == np.float32
    assert heat.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_heat_is_the_weighted_sum_never_below_zero():
    feature_map = np.array([[[2, 0], [0, 2]], [[1, 1], [100, 0]]], np.int8)
    weights = np.array([0.25, -0.125], np.float32)
    heat = class_activation_map(feature_map, Quantization(1.0, 0), weights)
    assert heat.tolist() == [[0.5, 0.0], [0.125, 25.0]]


def test_bilinear_by_hand():
    assert bilinear_matrix(4, 2).tolist() == [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    assert bilinear_matrix(3, 1).tolist() == [[1], [1], [1]]
    assert bilinear_matrix(3, 3).tolist() == np.eye(3).tolist()


def test_bilinear_rows_add_up_to_one_for_any_sizes():
    for target, source in [(48, 6), (384, 6), (288, 3), (3, 12), (1, 5)]:
        np.testing.assert_allclose(bilinear_matrix(target, source).sum(axis=1), 1, rtol=1e-6)


def test_enlarging_keeps_rows_and_columns_apart():
    small = np.array([[0, 1]], np.float32)
    assert Enlarger((1, 2), (2, 4))(small).tolist() == [[0, 0.25, 0.75, 1]] * 2


def test_weighted_sums_are_the_matrix_product():
    rng = np.random.default_rng(0)
    rows, weights = rng.random((144, 96), np.float32), rng.random(96, np.float32)
    np.testing.assert_allclose(weighted_sums(rows, weights), rows @ weights, rtol=1e-5)
