"""Weights rounded so that int8 takes least from the network, without training: adaptive rounding and bias correction.

To the nearest step is not the best way to round: what matters is the error of what a convolution gives, and errors of weights
that read alike inputs can cancel. For one output channel with weight error d that is d' C d, C being the covariance of what
its weights read (Nagel et al., Up or Down?, arXiv 2004.10568, eq. 13; they relax it, here single weights are turned over, the
most useful first). What is left of the mean is taken off the bias (Nagel et al., arXiv 1906.04721, 4.2). Layer by layer, each
behind those that are rounded already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from export.fold import Rounding, fold

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)
COVARIANCE_FRAMES = 200  # at most: their patches are held at once
LARGEST = 127  # of an int8 weight; such a weight sets its channel's scale and stays


def rounded_well(network: keras.Model, frames: np.ndarray, adapt: bool = True) -> keras.Model:
    """A folded copy of `network` that gives nearly the same on `frames`, float32 (N, H, W, 3), once it is converted to int8.

    Its weights lie on the steps that int8 will have. Without `adapt` they stay, and biases alone are corrected.
    """
    rounding = Rounding()
    rounded = fold(network, rounding)
    wanted = {}

    def note(layer, inputs):
        outputs = layer(inputs)
        if isinstance(layer, CONVOLUTIONS):
            wanted[layer.name] = tf.reduce_mean(outputs, axis=(0, 1, 2))
        return outputs

    def settle(layer, inputs):
        if not isinstance(layer, CONVOLUTIONS):
            return layer(inputs)
        if adapt:
            _adapt(layer, inputs[:COVARIANCE_FRAMES])
        outputs = layer(inputs)
        shift = wanted[layer.name] - tf.reduce_mean(outputs, axis=(0, 1, 2))
        layer.bias.assign_add(shift)
        return outputs + shift

    rounding.state = "observe"
    walk(rounded, frames, note)
    rounding.state = "on"
    walk(rounded, frames, settle)
    return fold(rounded)


def _adapt(layer: layers.Layer, inputs: tf.Tensor) -> None:
    kernel, bias = layer.get_weights()
    by_output = kernel.reshape(-1, kernel.shape[2 if isinstance(layer, layers.DepthwiseConv2D) else 3])
    layer.set_weights([adapted(by_output, covariance(layer, inputs)).reshape(kernel.shape), bias])


def covariance(layer: layers.Layer, inputs: tf.Tensor) -> np.ndarray:
    """Of what the K weights of an output channel read: (1, K, K), or (C, K, K) where every channel has its own input."""
    patches = tf.image.extract_patches(inputs, (1, *layer.kernel_size, 1), (1, *layer.strides, 1), (1, 1, 1, 1),
                                       layer.padding.upper())
    patches = tf.reshape(patches, (-1, np.prod(layer.kernel_size), inputs.shape[3]))
    patches -= tf.reduce_mean(patches, axis=0)
    if isinstance(layer, layers.DepthwiseConv2D):
        read = tf.transpose(patches, (2, 0, 1))
    else:
        read = tf.reshape(patches, (1, len(patches), -1))
    return (tf.matmul(read, read, transpose_a=True) / len(patches)).numpy()


def adapted(weights: np.ndarray, covariances: np.ndarray) -> np.ndarray:
    """`weights` (K, M) on each column's 255 int8 steps, every one rounded up or down so that d' C d becomes small.

    `covariances` (M, K, K), or (1, K, K) for all. One weight of each column is turned over at a time, the one that gains most,
    until none gains.
    """
    weights, covariances = weights.astype(np.float64), covariances.astype(np.float64)
    columns = np.arange(weights.shape[1])
    own = columns if len(covariances) > 1 else np.zeros_like(columns)
    step = np.maximum(np.abs(weights).max(axis=0) / LARGEST, 1e-9)
    steps = np.round(weights / step)
    error = steps * step - weights
    slope = np.stack([covariances[c] @ error[:, m] for m, c in enumerate(own)], axis=1)  # half the gradient of d' C d
    curve = covariances.diagonal(axis1=1, axis2=2).T
    for _ in range(2 * len(weights)):
        turn = np.where(error > 0, -step, step)
        change = 2 * turn * slope + turn ** 2 * curve
        change[(np.abs(steps) >= LARGEST) | (error == 0)] = 0
        best = change.argmin(axis=0)
        turned = np.where(change[best, columns] < 0, turn[best, columns], 0.0)
        if not turned.any():
            break
        error[best, columns] += turned
        steps[best, columns] += np.sign(turned)
        slope += covariances[own, best].T * turned
    return (steps * step).astype(np.float32)


def walk(network: keras.Model, frames: np.ndarray, visit: Callable[[layers.Layer, tf.Tensor | list], tf.Tensor]) -> None:
    """Run the network one layer after the other; what `visit(layer, inputs)` returns is what the next layers read."""
    tensors = {id(network.input): tf.constant(frames)}
    readers = Counter(id(tensor) for layer in network.layers[1:] for tensor in layer_inputs(layer))
    for layer in network.layers[1:]:
        inputs = [tensors[id(tensor)] for tensor in layer_inputs(layer)]
        tensors[id(layer.output)] = visit(layer, inputs if isinstance(layer.input, list) else inputs[0])
        readers.subtract(id(tensor) for tensor in layer_inputs(layer))
        for read in [key for key in tensors if not readers[key]]:  # hundreds of frames of every layer would fill the memory
            del tensors[read]


def layer_inputs(layer: layers.Layer) -> list:
    """The tensors that a layer reads."""
    return layer.input if isinstance(layer.input, list) else [layer.input]
