"""ArcFace: an additive angular margin between an embedding and its class centre (Deng et al., arXiv 1801.07698)."""

from __future__ import annotations

import keras
from keras import ops

SCALE, MARGIN = 16.0, 0.2  # s: inverse temperature of the softmax; m: radians added to the angle of the true class


def normalise(x):
    """L2-normalise each row by itself. (A norm over the whole batch lets every photo change every other's embedding.)"""
    return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-12)


class ArcFace(keras.layers.Layer):
    """Class centres (D, L). Calling it gives cosines (B, L); `logits` puts the margin on the true class, for training."""

    def __init__(self, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def build(self, input_shape):
        self.centres = self.add_weight(shape=(input_shape[-1], self.classes), initializer="glorot_uniform", name="centres")

    def call(self, embedding):
        return ops.matmul(normalise(embedding), ops.transpose(normalise(ops.transpose(self.centres))))

    @staticmethod
    def logits(cosines, labels, scale: float = SCALE, margin: float = MARGIN):
        """scale * cos(angle + margin) for the true class, scale * cos(angle) for the others; (B, L)."""
        cosines = ops.clip(cosines, -1 + 1e-6, 1 - 1e-6)
        true = ops.cast(ops.one_hot(labels, ops.shape(cosines)[-1]), cosines.dtype)
        return scale * ops.cos(ops.arccos(cosines) + margin * true)
