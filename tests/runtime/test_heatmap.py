from __future__ import annotations

import numpy as np

from runtime.heatmap import ActivationMaps, Enlarger, bilinear_matrix, weighted_sums
from runtime.quantize import Quantization, dequantize

RELU6 = Quantization(6 / 255, -128)


def test_a_silent_feature_map_is_cold_to_the_last_bit():
    weights = np.random.default_rng(0).normal(size=(5, 96)).astype(np.float32)
    for zero_point in (-128, 3):
        maps = ActivationMaps(Quantization(6 / 255, zero_point), weights)
        for cluster in range(5):
            heat = maps(np.full((10, 12, 96), zero_point, np.int8), cluster)
            assert heat.dtype == np.float32 and heat.shape == (10, 12)
            assert not heat.any()


def test_heat_is_the_weighted_sum_never_below_zero():
    feature_map = np.array([[[2, 0], [0, 2]], [[1, 1], [100, 0]]], np.int8)
    maps = ActivationMaps(Quantization(1.0, 0), np.array([[0, 0], [0.25, -0.125]], np.float32))
    assert maps(feature_map, 1).tolist() == [[0.5, 0.0], [0.125, 25.0]]


def test_heat_is_that_of_the_real_features():
    rng = np.random.default_rng(0)
    quantized, weights = rng.integers(-128, 128, (3, 4, 96)).astype(np.int8), rng.random((2, 96), np.float32)
    heat = ActivationMaps(RELU6, weights)(quantized, 1)
    np.testing.assert_allclose(heat, dequantize(quantized, RELU6) @ weights[1], rtol=1e-5)


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
    assert Enlarger((1, 2), (2, 4), times=4)(small).tolist() == [[0, 1, 3, 4]] * 2


def test_weighted_sums_are_the_matrix_product():
    rng = np.random.default_rng(0)
    rows, weights = rng.random((144, 96), np.float32), rng.random(96, np.float32)
    np.testing.assert_allclose(weighted_sums(rows, weights), rows @ weights, rtol=1e-5)
