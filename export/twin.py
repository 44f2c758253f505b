"""The network as it is trained: the same weights, batch norm in one kernel, and activations rounded as int8 will round them.

Keras composes batch norm of a dozen operators, each of which walks over the whole map; TensorFlow has one kernel for it.
Activations are rounded so that the network learns to do with what int8 leaves it (Jacob et al., arXiv 1712.05877); the
fake-quantisation kernel takes the place of ReLU6's. Weights stay as they are: export/rounding.py sees to those.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from export.fold import consumer


class FusedBatchNorm(layers.BatchNormalization):
    """Batch norm in one kernel. The variance it keeps is the sample's, greater by 1 / N of N cells than Keras' own."""

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma.value, self.beta.value, epsilon=self.epsilon, is_training=True)
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept.assign(self.momentum * kept + (1 - self.momentum) * new)
        return outputs


class RoundedReLU6(layers.ReLU):
    """ReLU6 on int8's 256 steps from 0 to 6; the gradient is ReLU6's."""

    def call(self, inputs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, 0.0, 6.0)


class RoundsOutput:
    """Before a Keras layer in the base list: its output on 256 steps over the range that the batch has."""

    def call(self, inputs, *args, **kwargs):
        outputs = super().call(inputs, *args, **kwargs)
        low, high = (tf.stop_gradient(limit(outputs)) for limit in (tf.reduce_min, tf.reduce_max))
        return tf.quantization.fake_quant_with_min_max_vars(outputs, tf.minimum(low, 0.0), tf.maximum(high, 0.0))


class RoundedBatchNorm(RoundsOutput, FusedBatchNorm):
    """Of a convolution without activation."""


class RoundedAdd(RoundsOutput, layers.Add):
    """Residual sum."""


def twin(network: keras.Model, rounded: bool = True) -> keras.Model:
    """A copy that learns faster; `network.set_weights(copy.get_weights())` brings back what it learned."""
    def quicker(layer):
        kind = {layers.BatchNormalization: FusedBatchNorm}.get(layer.__class__, layer.__class__)
        # the converter makes one operator of a norm, or a sum, and the ReLU behind it, rounded once
        if rounded and not consumer(network, layer, layers.ReLU):
            kind = {FusedBatchNorm: RoundedBatchNorm, layers.Add: RoundedAdd}.get(kind, kind)
        if rounded and kind is layers.ReLU and layer.max_value == 6.0:
            kind = RoundedReLU6
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=quicker,
                                    call_function=lambda layer, inputs, **_: layer(inputs))
    copy.set_weights(network.get_weights())
    return copy
