"""Grad-CAM on an embedding network: the channel weights that the device will look up instead of computing.

Selvaraju et al., Grad-CAM (arXiv 1610.02391); for embeddings Chen et al. (arXiv 2001.06538). The score that is
differentiated is the cosine between a photo's embedding and its class prototype. The gradients are made into weights by the
rule of Grad-CAM++ (Chattopadhay et al., arXiv 1710.11063), whose average over a cluster places the heat better than that of
Grad-CAM's own (`make cams` shows both).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from export.arcface import normalise


def plus_plus(feature_map: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Grad-CAM++ weights (N, C) of feature maps, positive as behind a ReLU, and gradients, both (N, h, w, C).

    The paper's alpha = g^2 / (2 g^2 + S g^3), with S the channel's sum, is 1 / (2 + S g) where the gradient g counts: above 0.
    """
    upward = tf.nn.relu(gradient)
    return tf.reduce_sum(upward / (2 + upward * tf.reduce_sum(feature_map, axis=(1, 2), keepdims=True)), axis=(1, 2))


def channel_weights(embedding_net: keras.Model, feature_maps: np.ndarray, targets: np.ndarray, batch: int = 64) -> np.ndarray:
    """Grad-CAM++ weights (N, C) by the gradients d cosine(embedding, target) / d feature map.

    feature_maps float32 (N, h, w, C); targets float32 (N, D), the prototype each photo is asked about.
    """
    @tf.function(reduce_retracing=True)
    def gradients(feature_map, target):
        with tf.GradientTape() as tape:
            tape.watch(feature_map)
            embedding = normalise(embedding_net(feature_map, training=False))
            score = tf.reduce_sum(embedding * normalise(target), axis=-1)
        return plus_plus(feature_map, tape.gradient(score, feature_map))

    parts = [gradients(tf.constant(feature_maps[i:i + batch]), tf.constant(targets[i:i + batch], tf.float32)).numpy()
             for i in range(0, len(feature_maps), batch)]
    return np.concatenate(parts) if parts else np.zeros((0, feature_maps.shape[-1]), np.float32)


def cam(feature_maps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ReLU of the weighted channel sum: (N, h, w, C) and (N, C) -> (N, h, w), not scaled."""
    return np.maximum(np.einsum("nhwc,nc->nhw", feature_maps, weights), 0)
