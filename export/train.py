"""Training: ArcFace on the embedding, and heat taught to sit on the hand.

The heat that the device will show is ReLU(sum over channels of stored weight * feature map), with Grad-CAM weights averaged
over a cluster. Training therefore keeps a running average of each class's Grad-CAM weights and asks the very same sum to
match the share of each cell that the hand covers. The weights are treated as constants: no second-order gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from export.arcface import ArcFace
from export.augment import Batch
from export.gradcam import plus_plus
from export.model import normalise, split
from export.triplet import triplet_loss
from export.twin import twin

KEEP_EVERY = 500  # batches
FAINT = 0.1  # mean activity of the map on hands, of 6; a taught one has about 0.7 where it is loudest


@dataclass(frozen=True)
class Recipe:
    """`loss`: of the embedding, "arcface" or "triplet"; `heat`, `silence`: weights of those losses beside it; `rounded`: see
    export/twin.py."""

    steps: int = 400
    batch_size: int = 64
    learning_rate: float = 1e-3
    heat: float = 4.0
    silence: float = 0.5
    loss: str = "arcface"
    top_channels: int = 50
    rounded: bool = True


class HeatLoss:
    """Teaches the CAM its place. Holds the running class weights (L, C) and one gain per class."""

    def __init__(self, labels: int, channels: int, top_channels: int):
        self.weights = tf.Variable(tf.zeros((labels, channels)), trainable=False)
        self.log_gain = keras.Variable(np.zeros(labels), dtype="float32", name="log_gain")
        self.top_channels, self.hands = min(top_channels, channels), labels - 1

    def update(self, feature_map: tf.Tensor, gradients: tf.Tensor, labels: tf.Tensor) -> None:
        """Feature maps and the gradients of each sample's own class cosine there, both (B, h, w, C)."""
        per_sample = plus_plus(feature_map, gradients)
        member = tf.one_hot(labels, self.weights.shape[0])
        count = tf.reduce_sum(member, axis=0)[:, None]
        mean = tf.math.l2_normalize(tf.matmul(member, per_sample, transpose_a=True) / tf.maximum(count, 1.0), axis=1)
        known = tf.cast(tf.reduce_any(self.weights != 0, axis=1, keepdims=True), tf.float32)
        momentum = tf.where(count > 0, 0.95 * known, 1.0)
        self.weights.assign(momentum * self.weights + (1 - momentum) * mean)

    def __call__(self, feature_map: tf.Tensor, batch) -> tf.Tensor:
        """1 - cosine(heat, target) + squared error at fixed scale, over samples whose heat is known."""
        _, labels, target, has_heat = batch
        nothing = tf.cast(labels == self.hands, tf.float32)
        # a frame without a hand must stay cold for whichever hand it might be taken for
        asked = tf.where(labels == self.hands, tf.random.uniform(tf.shape(labels), maxval=self.hands, dtype=tf.int32), labels)
        least = tf.math.top_k(self.weights, self.top_channels).values[:, -1:]
        weights = tf.gather(tf.where(self.weights >= least, self.weights, 0.0), asked)
        heat = tf.nn.relu(tf.einsum("bhwc,bc->bhw", feature_map, weights))
        cosine = tf.reduce_sum(tf.math.l2_normalize(heat, (1, 2)) * tf.math.l2_normalize(target, (1, 2)), (1, 2))
        error = tf.reduce_mean((heat * tf.exp(tf.gather(self.log_gain.value, asked))[:, None, None] - target) ** 2, (1, 2))
        loss = has_heat * ((1 - nothing) * (1 - cosine) + 4.0 * error)
        return tf.reduce_mean(loss)


def loudness(feature_map: tf.Tensor, target: tf.Tensor, has_heat: tf.Tensor) -> tf.Tensor:
    """Mean activity of the map beside the hand, where 1 is its activity on hands.

    All that the embedding learns of a frame passes through this map: silence there is what keeps a patterned rug from being
    taken for a hand. Only cells a whole cell away from the hand count, and the activity on hands is a constant, so that
    silence is not bought by turning everything down. Where nobody knows the hand's place, the whole frame stands for it. Below
    FAINT the measure no longer shrinks with it: a map that learns from random weights would be silenced for good.
    """
    activity = tf.reduce_mean(feature_map, axis=-1)
    on = tf.where(has_heat[:, None, None] > 0, target, 1.0)
    away = has_heat[:, None, None] * tf.cast(tf.nn.max_pool2d(target[..., None], 3, 1, "SAME")[..., 0] < 0.05, tf.float32)
    level = tf.stop_gradient(tf.reduce_sum(activity * on) / tf.maximum(tf.reduce_sum(on), 1.0))
    return tf.reduce_sum(activity * away) / tf.maximum(tf.reduce_sum(away) * tf.maximum(level, FAINT), 1e-6)


def unlike(answers: list[tf.Tensor], wanted: list[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """How far [feature map (B, h, w, C), embedding (B, D)] are from those of a teacher: mean of 1 - cosine of the embeddings,
    0 where their widths differ, and squared error of the feature maps relative to their square."""
    (feature_map, embedding), (wanted_map, wanted_embedding) = answers, wanted
    error = tf.reduce_sum((feature_map - wanted_map) ** 2) / tf.reduce_sum(wanted_map ** 2)
    if embedding.shape[1] != wanted_embedding.shape[1]:
        return tf.constant(0.0), error
    cosine = tf.reduce_sum(tf.math.l2_normalize(embedding, 1) * tf.math.l2_normalize(wanted_embedding, 1), 1)
    return 1 - tf.reduce_mean(cosine), error


@dataclass(frozen=True)
class Teacher:
    """A network with a feature map of the learner's shape, and where its classes lie: (L, D), of unit length.

    `embeds`: the learner is to have the teacher's embedding, of the same width and with the same centres; else its own.
    """

    network: keras.Model
    centres: np.ndarray
    embeds: bool

    def unlike(self, frames: tf.Tensor, answers: list[tf.Tensor], cosines: tf.Tensor) -> tf.Tensor:
        """How far the learner's answers to the frames are from the teacher's, see above; for an embedding of its own, the
        squared error of its cosines to the classes' centres (B, L), to one's own each."""
        wanted = self.network(frames, training=False)
        turned, error = unlike(answers, wanted)
        if self.embeds:
            return turned + error
        wanted_cosines = tf.math.l2_normalize(wanted[1], 1) @ self.centres.T
        return error + tf.reduce_mean(tf.reduce_sum((cosines - wanted_cosines) ** 2, 1))


def train(model: keras.Model, head: ArcFace, batches: Iterable[Batch], recipe: Recipe,
          keep: Callable[[], None] | None = None, teacher: Teacher | None = None) -> None:
    """Fit model and (built) head in place on `recipe.steps` batches. `keep()` is called now and then, to save the model.

    `teacher`: its answers to the same frames are learned as well.
    """
    learner = twin(model, recipe.rounded)
    feature_net, embedding_net = split(learner)
    channels = feature_net.output_shape[-1]
    heat_loss = HeatLoss(head.classes, channels, recipe.top_channels)
    variables = learner.trainable_variables + head.trainable_variables + [heat_loss.log_gain]
    rate = keras.optimizers.schedules.CosineDecay(1e-5, recipe.steps, alpha=0.01,
                                                  warmup_target=recipe.learning_rate, warmup_steps=min(100, recipe.steps // 5))
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=5.0)
    optimizer.build(variables)

    @tf.function
    def step(frames, labels, target, has_heat):
        with tf.GradientTape() as tape:
            feature_map = feature_net(frames, training=True)
            with tf.GradientTape() as inner:
                inner.watch(feature_map)
                embedding = embedding_net(feature_map, training=True)
                cosines = head(embedding)
                own = tf.gather(cosines, labels, batch_dims=1)
            with tape.stop_recording():
                heat_loss.update(feature_map, inner.gradient(own, feature_map), labels)
            of_embedding = 0.0
            if recipe.loss == "triplet":  # the head's centres then only follow: Grad-CAM asks for the cosine with them
                of_embedding = triplet_loss(embedding, labels)
                cosines = head(tf.stop_gradient(embedding))
            logits = ArcFace.logits(cosines, labels)
            arc = of_embedding + tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
            heat = heat_loss(feature_map, (frames, labels, target, has_heat))
            noise = loudness(feature_map, target, has_heat)
            loss = arc + recipe.heat * heat + recipe.silence * noise
            if teacher:
                loss += teacher.unlike(frames, [feature_map, embedding], cosines)
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return arc, heat, noise, tf.reduce_mean(tf.cast(tf.argmax(cosines, 1, tf.int32) == labels, tf.float32))

    shown = np.zeros(4)
    progress = tqdm(batches, total=recipe.steps, desc="training", unit="batch", mininterval=2)
    for i, batch in enumerate(progress):
        values = step(normalise(batch.frames), batch.labels, batch.heat, batch.has_heat)
        shown += (np.array([float(v) for v in values]) - shown) * max(0.02, 1 / (i + 1))
        progress.set_postfix_str("arcface {:.3f} heat {:.3f} beside {:.3f} right {:.3f}".format(*shown), refresh=False)
        if keep and (i + 1) % KEEP_EVERY == 0:
            model.set_weights(learner.get_weights())
            keep()
    model.set_weights(learner.get_weights())
