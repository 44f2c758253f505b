"""The heat of a frame: a class activation map with stored weights, no backpropagation.

Grad-CAM (https://arxiv.org/abs/1610.02391) weighs the feature map's channels by gradients; here the weights are those
gradients averaged over a cluster of similar embeddings on the workstation, as in Faster-Grad-CAM.
"""
from __future__ import annotations

import numpy as np

from .quantize import Quantization

COLD = np.array([0], np.float32)  # numpy converts a plain 0 every time
ALONE = 9216  # numbers of a matrix: a product with a vector OpenBLAS leaves to one thread below that (its interface/gemv.c)


class ActivationMaps:
    """Class activation maps with the stored weights of each cluster: ReLU(sum over channels of weight * feature).

    The weights are scaled on the workstation so that 1 is full heat. The scale is therefore fixed: a frame with nothing
    in it stays cold, and there is no maximum of the frame to divide by. A very clear hand may exceed 1; only drawing cuts
    it there, so that the peak stays one place.

    A feature is (q - zero_point) * scale. The scale goes into the weights, and what the zero points add up to is the same for
    every cell: it is worked out once, by the same sum as a cell's, so that a silent cell is cold to the last bit.

    Args:
        quantization: of the feature map.
        cluster_weights: (K, C) float32.
    """

    def __init__(self, quantization: Quantization, cluster_weights: np.ndarray):
        self._weights = cluster_weights * np.float32(quantization.scale)
        silence = np.full((1, cluster_weights.shape[1]), quantization.zero_point, np.float32)
        self._silent = [weighted_sums(silence, weights) for weights in self._weights]

    def __call__(self, feature_map: np.ndarray, cluster: int) -> np.ndarray:
        """feature_map: (h, w, C) int8, as the first network left it. Returns (h, w) float32, 0 or more."""
        height, width, channels = feature_map.shape
        heat = weighted_sums(feature_map.reshape(-1, channels).astype(np.float32), self._weights[cluster])
        heat -= self._silent[cluster]
        return np.maximum(heat, COLD, out=heat).reshape(height, width)


def weighted_sums(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """rows @ weights, (N, C) and (C,) float32 to (N,), never by BLAS: a row's sum is the same whatever rows are beside it.

    And OpenBLAS shares a product of ALONE and more among threads that wait for one another by spinning, which costs more than
    the product. An environment variable that must be set before numpy is loaded prevents it; einsum's own loop needs none.
    """
    return np.einsum("nc,c->n", rows, weights)


def bilinear_matrix(target: int, source: int) -> np.ndarray:
    """Matrix M, (target, source) float32, that stretches a row of `source` values to `target` values: M @ row.

    Half-pixel centres: target pixel i looks at (i + 0.5) * source / target - 0.5; edges are clamped.
    Each row adds up to 1 and has at most two entries above 0.
    """
    position = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    left = np.floor(position).astype(np.intp)
    right = np.minimum(left + 1, source - 1)
    share = position - left
    matrix = np.zeros((target, source), np.float32)
    rows = np.arange(target)
    matrix[rows, left] += 1 - share
    matrix[rows, right] += share
    return matrix


class Enlarger:
    """Bilinear stretching of (h, w) maps to (H, W), `times` as great, by two matrices worked out once: rows @ map @ columns.T.

    Where it runs for every frame H * w * W stays below 262,144: that little OpenBLAS leaves to one thread, see weighted_sums.
    """

    def __init__(self, source_hw: tuple[int, int], target_hw: tuple[int, int], times: float = 1.0):
        self._rows = bilinear_matrix(target_hw[0], source_hw[0]) * np.float32(times)
        self._columns_t = np.ascontiguousarray(bilinear_matrix(target_hw[1], source_hw[1]).T)

    def __call__(self, small: np.ndarray) -> np.ndarray:
        """(h, w) float32 to (H, W) float32."""
        return self._rows.dot(small).dot(self._columns_t)  # `@` takes longer for so few
