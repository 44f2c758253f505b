"""ArcFace: an additive angular margin between an embedding and its class centre (Deng et al., arXiv 1801.07698)."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
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
        """scale * cos(angle + margin) for the true class, scale * cos(angle) for the others; (B, L).

        Beyond pi the cosine would rise again: with all centres opposite to all embeddings every true class would seem to lead,
        and networks that begin with random weights ended there. So the last stretch goes on straight, and always downwards.
        """
        cosines = ops.clip(cosines, -1 + 1e-6, 1 - 1e-6)
        true = ops.cast(ops.one_hot(labels, ops.shape(cosines)[-1]), cosines.dtype)
        turned = ops.cos(ops.arccos(cosines) + margin * true)
        beyond = cosines < -math.cos(margin)
        return scale * ops.where(beyond, cosines - true * (1 - math.cos(margin)), turned)


def fit_centres(embeddings: np.ndarray, labels: np.ndarray, start: np.ndarray, weights: np.ndarray,
                steps: int = 500) -> np.ndarray:
    """Class centres float32 (L, D), unit length, that the loss above likes best on embeddings (N, D) which stay as they are.

    A class's mean is not where training had its centre: what `none` holds is of many kinds, and hard frames of all classes
    lie towards it. `start` (L, D): where to begin; `weights` (N,): how much each embedding counts.
    """
    rows, truth = normalise(tf.constant(embeddings, tf.float32)), tf.constant(labels)
    share = tf.constant(weights / weights.sum(), tf.float32)
    centres = keras.Variable(start, dtype="float32")
    optimizer = keras.optimizers.Adam(0.02)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            logits = ArcFace.logits(ops.matmul(rows, ops.transpose(normalise(centres))), truth)
            loss = tf.reduce_sum(share * tf.nn.sparse_softmax_cross_entropy_with_logits(truth, logits))
        optimizer.apply(tape.gradient(loss, [centres.value]), [centres])

    optimizer.build([centres])
    for _ in range(steps):
        step()
    return normalise(centres).numpy()
