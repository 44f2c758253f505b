"""Batch norm folded into the convolutions, and fake quantisation: the network as the int8 converter will see it.

A folded network whose weights and activations are rounded as int8 will round them shows, layer by layer, what that does
(export/rounding.py), and can be trained so, gradients passed straight through (Jacob et al., arXiv 1712.05877; export/studies).
Weights: per channel, symmetric. ReLU6 outputs: 0..6. Linear outputs: the calibrated range.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class Rounding:
    """One switch for all layers of a network: "off", "observe" (widen every range to what passes, eagerly), or "on".

    A traced function keeps the state it was traced with; trace anew after turning the switch.
    """

    def __init__(self):
        self.state = "off"


def straight_through(x: tf.Tensor, scale: tf.Tensor, zero_point: tf.Tensor, low: int, high: int) -> tf.Tensor:
    """x rounded to the int8 grid; the gradient is that of clipping to the grid's range."""
    clipped = tf.clip_by_value(x, (low - zero_point) * scale, (high - zero_point) * scale)
    rounded = (tf.clip_by_value(tf.round(x / scale) + zero_point, float(low), float(high)) - zero_point) * scale
    return clipped + tf.stop_gradient(rounded - clipped)


def round_activation(x: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """x on the 256-step grid that TFLite derives from the range low..high (which must hold zero)."""
    scale = tf.maximum((high - low) / 255.0, 1e-9)
    return straight_through(x, scale, tf.round(-128.0 - low / scale), -128, 127)


def round_weights(kernel: tf.Tensor, axis: int) -> tf.Tensor:
    """kernel on the symmetric 255-step grid of each output channel (`axis` of the 4-D kernel)."""
    others = [i for i in range(4) if i != axis]
    scale = tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(kernel), axis=others, keepdims=True) / 127.0, 1e-9))
    return straight_through(kernel, scale, tf.constant(0.0), -127, 127)


class FoldedConv(layers.Conv2D):
    """Conv2D whose kernel can be rounded."""

    rounding: Rounding

    def convolution_op(self, inputs, kernel):
        if self.rounding.state == "on":
            kernel = round_weights(tf.convert_to_tensor(kernel), axis=3)
        return super().convolution_op(inputs, kernel)


class FoldedDepthwise(layers.DepthwiseConv2D):
    """DepthwiseConv2D whose kernel can be rounded."""

    rounding: Rounding

    def call(self, inputs):
        if self.rounding.state != "on":
            return super().call(inputs)
        kernel = round_weights(tf.convert_to_tensor(self.kernel), axis=2)
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, (1, *self.strides, 1), self.padding.upper())
        return tf.nn.bias_add(outputs, self.bias)


class _RoundsOutput:
    """Before a Keras layer in the base list: its output can be observed and rounded. ReLU6 has its range from the start."""

    rounding: Rounding
    low, high = 0.0, 0.0

    def call(self, inputs):
        outputs = super().call(inputs)
        if self.rounding.state == "on":
            return round_activation(outputs, self.low, self.high)
        if self.rounding.state == "observe":
            self.low = min(self.low, float(tf.reduce_min(outputs)))
            self.high = max(self.high, float(tf.reduce_max(outputs)))
        return outputs


class RoundedReLU(_RoundsOutput, layers.ReLU):
    """ReLU or ReLU6."""


class RoundedAdd(_RoundsOutput, layers.Add):
    """Residual sum."""


class RoundedPooling(_RoundsOutput, layers.GlobalAveragePooling2D):
    """Mean over the map."""


class RoundedIdentity(_RoundsOutput, layers.Identity):
    """Where a batch norm stood behind a convolution without activation."""


ROUNDED = {layers.ReLU: RoundedReLU, layers.Add: RoundedAdd, layers.GlobalAveragePooling2D: RoundedPooling,
           layers.Conv2D: FoldedConv, layers.DepthwiseConv2D: FoldedDepthwise}


def fold(model: keras.Model, rounding: Rounding | None = None) -> keras.Model:
    """The same function without batch norm: every convolution carries the scale and shift of the norm behind it.

    With `rounding` the copy is built of layers that can round; without it, of plain Keras layers ready for the converter.
    A model that is folded already is copied as it is.
    """
    def replace(layer):
        if isinstance(layer, layers.InputLayer):
            return layer
        kind, config = _plain_kind(layer), layer.get_config()
        rounded = ROUNDED.get(kind, kind)
        if kind in (layers.BatchNormalization, layers.Identity):  # the norm's place is kept, its work is the convolution's
            kind, config, rounded = layers.Identity, {"name": layer.name}, RoundedIdentity
        if kind in (layers.Identity, layers.Add) and consumer(model, layer, layers.ReLU):
            rounded = kind  # the converter makes one operator of it and the ReLU, rounded once
        if kind in (layers.Conv2D, layers.DepthwiseConv2D):
            config = {**config, "use_bias": True}
        new = (rounded if rounding else kind).from_config(config)
        if rounding:
            new.rounding = rounding
            if kind is layers.ReLU and config["max_value"] == 6.0:
                new.low, new.high = 0.0, 6.0
        return new

    folded = keras.models.clone_model(model, clone_function=replace, call_function=lambda layer, inputs, **_: layer(inputs))
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
            norm = consumer(model, layer, layers.BatchNormalization)
            folded.get_layer(layer.name).set_weights(_absorb(layer, norm))
    return folded


def _plain_kind(layer: layers.Layer) -> type:
    """The Keras class behind a layer of this file, or the layer's own."""
    return next((plain for plain in [*ROUNDED, layers.Identity] if isinstance(layer, plain)
                 and not (plain is layers.Conv2D and isinstance(layer, layers.DepthwiseConv2D))), layer.__class__)


def consumer(model: keras.Model, layer: layers.Layer, kind: type) -> layers.Layer | None:
    """The layer of `kind` that reads `layer`'s output, if there is one."""
    return next((other for other in model.layers if isinstance(other, kind) and other.input is layer.output), None)


def _absorb(layer: layers.Layer, norm: layers.BatchNormalization | None) -> list[np.ndarray]:
    """[kernel, bias] of a convolution together with the batch norm behind it."""
    kernel, *bias = layer.get_weights()
    channels = kernel.shape[2] if isinstance(layer, layers.DepthwiseConv2D) else kernel.shape[3]
    bias = bias[0] if bias else np.zeros(channels, np.float32)
    if norm is None:
        return [kernel, bias]
    gain = 1 / np.sqrt(np.array(norm.moving_variance) + norm.epsilon)
    gain = gain * np.array(norm.gamma) if norm.scale else gain
    shift = np.array(norm.beta) if norm.center else 0.0
    by_output = gain[:, None] if isinstance(layer, layers.DepthwiseConv2D) else gain
    return [kernel * by_output, shift + (bias - np.array(norm.moving_mean)) * gain]
