"""Between real numbers and int8: real = (quantised - zero_point) * scale, as in the TFLite quantisation specification
(https://ai.google.dev/edge/litert/models/quantization_spec)."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

INT8_MIN, INT8_MAX = -128, 127


class Quantization(NamedTuple):
    """Scale (above 0) and zero point of a whole tensor."""

    scale: float
    zero_point: int


def quantize(real: np.ndarray, quantization: Quantization) -> np.ndarray:
    """Real numbers to int8 of the same shape: round half to even, then clip."""
    scaled = np.rint(np.asarray(real, np.float64) / quantization.scale) + quantization.zero_point
    return np.clip(scaled, INT8_MIN, INT8_MAX).astype(np.int8)


def dequantize(quantized: np.ndarray, quantization: Quantization) -> np.ndarray:
    """int8 to float32 of the same shape."""
    real = quantized.astype(np.float32)
    real -= np.float32(quantization.zero_point)
    real *= np.float32(quantization.scale)
    return real


def pixel_table(subtract: float, divide: float, quantization: Quantization) -> np.ndarray:
    """What each pixel value becomes in the network's input: quantize((0..255 - subtract) / divide), (256,) int8."""
    return quantize((np.arange(256) - subtract) / divide, quantization)
