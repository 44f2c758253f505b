"""MobileNetV2 made cheaper where int8 is dear: in the cells of the first layers, not in the depth of the last.

Instructions of an int8 network on a Pi go with the number of values it writes, and half of those of MobileNetV2 0.5 at 96x96
are written before 12x12 is reached. So here the map is 24x24 after two layers, as in MobileNetV3
(https://arxiv.org/abs/1905.02244, table 2), one block each that only refines at 24x24 and at 12x12 is left out, and what
follows stays. `make bench-pi` compares the two. Layers are named as Keras names MobileNetV2's, so that weights of the same
shape can be taken over by name.
"""

from __future__ import annotations

import keras
from keras import layers

STEM, FIRST = 16, 8  # channels
# of the blocks: name, expanded channels, channels, stride. Left out of MobileNetV2 0.5: 2 and 5; block 3 had 96 channels.
BLOCKS = (
    ("block_1", 48, 16, 1), ("block_3", 64, 16, 2), ("block_4", 96, 16, 1),  # 24x24, then 12x12
    ("block_6", 96, 32, 2), *((f"block_{i}", 192, 32, 1) for i in (7, 8, 9)),  # 6x6
    ("block_10", 192, 48, 1), ("block_11", 288, 48, 1), ("block_12", 288, 48, 1),
    ("block_13", 288, 80, 2), ("block_14", 480, 80, 1), ("block_15", 480, 80, 1), ("block_16", 480, 160, 1),  # 3x3
)


def thin_mobilenet_v2(shape_hwc: tuple[int, int, int]) -> keras.Model:
    """Keras functional model without top, random weights: float32 (B, H, W, 3) to (B, H / 32, W / 32, 160)."""
    image = layers.Input(shape_hwc)
    # 2x2 kernel: with 3x3 each pixel would be read more than twice, at the largest map of all
    x = _norm_relu(layers.Conv2D(STEM, 2, strides=2, use_bias=False, name="Conv1")(image), "bn_Conv1", "Conv1_relu")
    x = _project(_depthwise(x, "expanded_conv", 2), "expanded_conv", FIRST)
    for name, expanded, channels, stride in BLOCKS:
        wide = layers.Conv2D(expanded, 1, use_bias=False, name=f"{name}_expand")(x)
        wide = _norm_relu(wide, f"{name}_expand_BN", f"{name}_expand_relu")
        thin = _project(_depthwise(wide, name, stride), name, channels)
        x = layers.Add(name=f"{name}_add")([x, thin]) if thin.shape == x.shape else thin
    return keras.Model(image, x)


def _depthwise(x, name: str, stride: int):
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    return _norm_relu(x, f"{name}_depthwise_BN", f"{name}_depthwise_relu")


def _project(x, name: str, channels: int):
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
    return layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_BN")(x)


def _norm_relu(x, norm: str, relu: str):
    return layers.ReLU(6.0, name=relu)(layers.BatchNormalization(epsilon=1e-3, name=norm)(x))
