"""Batch-hard triplet loss, the choice beside ArcFace (Hermans et al., arXiv 1703.07737, eq. 5; arXiv 2001.06538 uses both)."""

from __future__ import annotations

import tensorflow as tf

from export.arcface import normalise

MARGIN = 0.3  # between cosine distances


def triplet_loss(embeddings: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean over a batch of the hinge: furthest of the same class - nearest of another + margin, not below 0.

    embeddings (B, D), of any length; labels (B,). Distance = 1 - cosine. A sample alone in its class, or in a batch of one
    class, says nothing and counts as 0.
    """
    unit = normalise(embeddings)
    distance = 1 - tf.matmul(unit, unit, transpose_b=True)
    same = labels[:, None] == labels[None, :]
    other_same = tf.logical_and(same, tf.logical_not(tf.eye(tf.shape(labels)[0], dtype=tf.bool)))
    furthest = tf.reduce_max(tf.where(other_same, distance, -1.0), axis=1)
    nearest = tf.reduce_min(tf.where(same, 3.0, distance), axis=1)
    hinge = tf.nn.relu(furthest - nearest + MARGIN)
    told = tf.logical_and(tf.reduce_any(other_same, axis=1), tf.reduce_any(tf.logical_not(same), axis=1))
    return tf.reduce_mean(tf.where(told, hinge, 0.0))
