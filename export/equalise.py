"""Cross-layer equalisation (Nagel et al., arXiv 1906.04721, 4.1): the same function with channels of equal range.

It moves a factor of every channel from the convolutions that write it into those that read it, until both have
the same range. What lies between must let the factor pass: identity, padding, enlargement, sums (all of whose summands are
then scaled alike) and ReLU do. ReLU6 does not, so a channel behind one is scaled only if it stays below 6 on the calibration
frames, and no further than that it still does: on those frames the function is the same, on others nearly. What a network
hands out, its feature map above all, is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from export.fold import Rounding, fold
from export.rounding import CONVOLUTIONS, layer_inputs, walk

FACTORS_PASS = (layers.Identity, layers.ReLU, layers.Add, layers.ZeroPadding2D, layers.UpSampling2D)
ROUNDS = 50  # at most; the ReLU6 limits stop most channels long before
IDLE = 1e-4  # of the largest range: channels below carry nothing, and some of 1e-20 would get factors no int8 kernel takes
SETTLED = 1e-3  # a round that changes no factor by more than this is the last


@dataclass(eq=False)
class Stream:
    """Tensors whose channel c is one and the same, by the layers around them. `fixed`: not to be scaled.

    `limited`: the ReLU6 and their like among them.
    """

    writers: list[layers.Layer] = field(default_factory=list)
    readers: list[layers.Layer] = field(default_factory=list)
    limited: list[layers.ReLU] = field(default_factory=list)
    fixed: bool = False


def streams(network: keras.Model) -> list[Stream]:
    """The streams of a folded network whose channels can be scaled."""
    found = {id(network.input): Stream(fixed=True)}
    for layer in network.layers[1:]:
        sources = list(dict.fromkeys(found[id(tensor)] for tensor in layer_inputs(layer)))
        if isinstance(layer, FACTORS_PASS):
            joined = _join(sources)
            joined.limited += [layer] if getattr(layer, "max_value", None) is not None else []
            found = {tensor: joined if stream in sources else stream for tensor, stream in found.items()}
            found[id(layer.output)] = joined
        elif isinstance(layer, CONVOLUTIONS) and layer.activation is keras.activations.linear:
            sources[0].readers.append(layer)
            found[id(layer.output)] = Stream(writers=[layer])
        else:
            for stream in sources:
                stream.fixed = True
            found[id(layer.output)] = Stream(fixed=True)
    for tensor in network.outputs:
        found[id(tensor)].fixed = True
    return [stream for stream in dict.fromkeys(found.values()) if stream.writers and stream.readers and not stream.fixed]


def _join(parts: list[Stream]) -> Stream:
    if len(parts) == 1:
        return parts[0]
    return Stream(*(sum((getattr(part, name) for part in parts), []) for name in ("writers", "readers", "limited")),
                  fixed=any(part.fixed for part in parts))


def equalise(network: keras.Model, frames: np.ndarray) -> keras.Model:
    """A folded copy of `network` that gives the same on `frames`, float32 (N, H, W, 3), with channel ranges made equal.

    Its layers can round (export/fold.py) and are switched off; `fold` makes plain ones of them.
    """
    equalised = fold(network, Rounding())
    used = {}

    def note(layer, inputs):
        outputs = layer(inputs)
        if isinstance(layer, layers.ReLU) and layer.max_value is not None:
            used[layer.name] = tf.reduce_max(outputs, axis=(0, 1, 2)).numpy() / layer.max_value
        return outputs

    walk(equalised, frames, note)
    scalable = [(stream, _least_factors(stream, [used[layer.name] for layer in stream.limited]))
                for stream in streams(equalised)]
    for _ in range(ROUNDS):
        if max((_even_out(stream, least) for stream, least in scalable), default=0.0) < SETTLED:
            break
    return equalised


def _least_factors(stream: Stream, used: list[np.ndarray]) -> np.ndarray:
    """What each channel (C,) may be divided by at least; 1 where it is to be left alone. `used`: shares of limits reached."""
    written, read = _ranges(stream)
    idle = (written < IDLE * written.max()) | (read < IDLE * read.max())
    if not used:
        return np.where(idle, 1, np.zeros_like(read))
    share = np.max(used, axis=0)
    return np.where(idle | (share == 0), 1, share)  # where a channel that was never seen at work would be cut, nobody knows


def _even_out(stream: Stream, least: np.ndarray) -> float:
    """Divide a stream's channels by factors, and `least` with them; returns the largest change, |log factor|."""
    written, read = _ranges(stream)
    factor = np.ones_like(read)
    free = least < 1
    factor[free] = np.maximum(np.sqrt(written[free] / read[free]), least[free])  # the paper's s, eq. 11
    least /= factor
    for layer in stream.writers:
        _multiply(layer, 1 / factor, writes=True)
    for layer in stream.readers:
        _multiply(layer, factor, writes=False)
    return float(np.abs(np.log(factor)).max())


def _ranges(stream: Stream) -> tuple[np.ndarray, np.ndarray]:
    """Largest |weight| (C,) of each channel over the stream's writers, and over its readers."""
    return (np.max([channel_range(layer, writes=True) for layer in stream.writers], axis=0),
            np.max([channel_range(layer, writes=False) for layer in stream.readers], axis=0))


def channel_range(layer: layers.Layer, writes: bool) -> np.ndarray:
    """Largest |weight| (C,) of each channel that a convolution writes, or reads."""
    axis = _axis(layer, writes)
    return np.abs(layer.get_weights()[0]).max(axis=tuple(i for i in range(4) if i != axis))


def _axis(layer: layers.Layer, writes: bool) -> int:
    return 3 if writes and not isinstance(layer, layers.DepthwiseConv2D) else 2


def _multiply(layer: layers.Layer, factor: np.ndarray, writes: bool) -> None:
    kernel, bias = layer.get_weights()
    axis = _axis(layer, writes)
    kernel = np.moveaxis(np.moveaxis(kernel, axis, -1) * factor, -1, axis)
    layer.set_weights([kernel, bias * factor if writes else bias])
