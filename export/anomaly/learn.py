"""Metric learning on twins: the normal photo against itself with a defect, ArcFace on the embedding, heat on the defect."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from export.anomaly.network import KEPT, NECK, Parts
from export.arcface import ArcFace
from export.train import HeatLoss

DEFECT, NORMAL = 0, 1  # labels; the normal one is last, as `none` is in every bundle
HEAT = 2.0  # weight of the heat's loss beside ArcFace's
LOG_GAIN = -1.5  # what the heat's scale begins with: some 30 channels that are all active sum up to about 5


@dataclass(frozen=True)
class Pairs:
    """Features of P normal frames and of their twins, float16, both as (fine, coarse); heat float32 (P, h, w) of the twins."""

    normals: tuple[np.ndarray, np.ndarray]
    twins: tuple[np.ndarray, np.ndarray]
    heat: np.ndarray


def learn(parts: Parts, pairs: Pairs, steps: int, batch: int, rate: float, top_channels: int, seed: int) -> None:
    """Train the neck's free channels and all that is above it, in place, on `steps` batches of `batch` pairs.

    Batch norms keep the statistics they have: a few photos would only spoil them.
    """
    channels = parts.neck.output_shape[-1]
    head, heat_loss = ArcFace(2), HeatLoss(2, channels, top_channels)
    head.build((None, parts.above.output_shape[-1]))
    heat_loss.log_gain.assign(np.full(2, LOG_GAIN))
    free = tf.constant(np.arange(channels) >= KEPT, tf.float32)
    neck = [variable for name in NECK for variable in parts.whole.get_layer(name).trainable_variables]
    variables = [*neck, *parts.above.trainable_variables, *head.trainable_variables, heat_loss.log_gain]
    schedule = keras.optimizers.schedules.CosineDecay(1e-5, steps, alpha=0.01, warmup_target=rate, warmup_steps=steps // 10)
    optimizer = keras.optimizers.Adam(schedule, global_clipnorm=5.0)
    optimizer.build(variables)

    @tf.function
    def step(fine, coarse, labels, heat):
        with tf.GradientTape() as tape:
            feature_map = parts.neck([tf.cast(fine, tf.float32), tf.cast(coarse, tf.float32)], training=False)
            with tf.GradientTape() as inner:
                inner.watch(feature_map)
                cosines = head(parts.above(feature_map, training=False))
                own = tf.gather(cosines, labels, batch_dims=1)
            with tape.stop_recording():
                heat_loss.update(feature_map, inner.gradient(own, feature_map) * free, labels)  # heat by what learns
            arc = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, ArcFace.logits(cosines, labels)))
            warm = heat_loss(feature_map, (None, labels, heat, tf.ones_like(labels, tf.float32)))
            loss = arc + HEAT * warm
        gradients = tape.gradient(loss, [v.value for v in variables])
        gradients[:len(neck)] = [gradient * free for gradient in gradients[:len(neck)]]
        optimizer.apply(gradients, variables)
        return arc, warm, tf.reduce_mean(tf.cast(tf.argmax(cosines, 1, tf.int32) == labels, tf.float32))

    rng, shown = np.random.default_rng(seed), np.zeros(3)
    labels = np.repeat([NORMAL, DEFECT], batch).astype(np.int32)
    progress = tqdm(range(steps), desc="learning defects", unit="batch", mininterval=2)
    for i in progress:
        drawn = rng.integers(len(pairs.heat), size=batch)
        fine, coarse = (np.concatenate([n[drawn], t[drawn]]) for n, t in zip(pairs.normals, pairs.twins))
        heat = np.concatenate([np.zeros_like(pairs.heat[drawn]), pairs.heat[drawn]])
        values = step(fine, coarse, labels, heat)
        shown += (np.array([float(v) for v in values]) - shown) * max(0.02, 1 / (i + 1))
        progress.set_postfix_str("arcface {:.3f} heat {:.3f} right {:.3f}".format(*shown), refresh=False)
