from __future__ import annotations

import numpy as np

from runtime.quantize import Quantization, dequantize, pixel_table, quantize


def test_nothing_stays_nothing():
    assert quantize(np.empty(0), Quantization(0.5, 3)).shape == (0,)


def test_halves_are_rounded_to_even_and_the_ends_are_clipped():
    real = np.array([0.25, 0.75, -0.25, -0.75, 1000.0, -1000.0])
    assert quantize(real, Quantization(0.5, 0)).tolist() == [0, 2, 0, -2, 127, -128]


def test_the_zero_point_stands_for_zero():
    quantization = Quantization(0.1, -128)
    assert quantize(np.zeros(1), quantization).tolist() == [-128]
    assert dequantize(np.array([-128], np.int8), quantization).tolist() == [0.0]


def test_int8_does_not_overflow_on_its_way_back():
    real = dequantize(np.array([127], np.int8), Quantization(6 / 255, -128))
    assert real.dtype == np.float32
    np.testing.assert_allclose(real, 6, rtol=1e-6)


def test_pixels_become_themselves_less_128_when_the_scales_agree():
    table = pixel_table(128, 128, Quantization(1 / 128, 0))
    assert table.dtype == np.int8
    assert table.tolist() == list(range(-128, 128))


def test_pixels_follow_another_scale():
    table = pixel_table(0, 255, Quantization(1 / 100, 0))  # 0 to 1, in hundredths
    assert table[[0, 51, 255]].tolist() == [0, 20, 100]
