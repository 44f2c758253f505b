"""Grad-CAM on an embedding network: the channel weights that the device will look up instead of computing.

Selvaraju et al., Grad-CAM (arXiv 1610.02391); for embeddings Chen et al. (arXiv 2001.06538). The score that is
differentiated is the cosine between a photo's embedding and its class prototype.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from export.arcface import normalise


def channel_weights(embedding_net: keras.Model, feature_maps: np.ndarray, targets: np.ndarray, batch: int = 64) -> np.ndarray:
    """Grad-CAM weights (N, C): the mean over the map of d cosine(embedding, target) / d feature map.

    feature_maps float32 (N, h, w, C); targets float32 (N, D), the prototype each photo is asked about.
    """
    @tf.function(reduce_retracing=True)
    def gradients(feature_map, target):
        with tf.GradientTape() as tape:
            tape.watch(feature_map)
            embedding = normalise(embedding_net(feature_map, training=False))
            score = tf.reduce_sum(embedding * normalise(target), axis=-1)
        return tf.reduce_mean(tape.gradient(score, feature_map), axis=(1, 2))

    parts = [gradients(tf.constant(feature_maps[i:i + batch]), tf.constant(targets[i:i + batch], tf.float32)).numpy()
             for i in range(0, len(feature_maps), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, feature_maps.shape[-1]), np.float32)


def cam(feature_maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ReLU of the weighted channel sum: (N, h, w, C) and (N, C) -> (N, h, w), not scaled."""
    return np.maximum(np.einsum("nhwc,nc->nhw", feature_maps, weights), 0)
