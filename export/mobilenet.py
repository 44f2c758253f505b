"""MobileNetV2 made cheaper where int8 is dear: in the cells of the first layers, not in the depth of the last.

Instructions of an int8 network on a Pi go with the number of values it writes, and half of those of MobileNetV2 0.5 are written
before a twelfth of the image's side is reached. So here the map has a quarter of the image's side after two layers, as in
MobileNetV3 (https://arxiv.org/abs/1905.02244, table 2): block 0 takes the stride of block 1, and every layer keeps its name and,
but for one expansion, its shape, so that the weights of MobileNetV2 0.5 can be taken over (scripts/transplant.py).
"""

from __future__ import annotations

import keras
from keras import layers

STEM, FIRST = 16, 8  # channels
# of the blocks: name, expanded channels, channels, stride
BLOCKS = (
    ("block_1", 48, 16, 1), ("block_2", 96, 16, 1), ("block_3", 96, 16, 2),  # a quarter of the image's side, then an eighth
    ("block_4", 96, 16, 1), ("block_5", 96, 16, 1),
    ("block_6", 96, 32, 2), *((f"block_{i}", 192, 32, 1) for i in (7, 8, 9)),
    ("block_10", 192, 48, 1), ("block_11", 288, 48, 1), ("block_12", 288, 48, 1),
    ("block_13", 288, 80, 2), ("block_14", 480, 80, 1), ("block_15", 480, 80, 1), ("block_16", 480, 160, 1),
)


def early_mobilenet_v2(shape_hwc: tuple[int, int, int], expand_2: int = 96) -> keras.Model:
    """Keras functional model without top, random weights: float32 (B, H, W, 3) to (B, H / 32, W / 32, 160)."""
    image = layers.Input(shape_hwc)
    stem = layers.Conv2D(STEM, 3, strides=2, padding="same", use_bias=False, name="Conv1")(image)
    x = _project(_depthwise(_norm_relu(stem, "bn_Conv1", "Conv1_relu"), "expanded_conv", 2), "expanded_conv", FIRST)
    for name, expanded, channels, stride in BLOCKS:
        expanded = expand_2 if name == "block_2" else expanded
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
