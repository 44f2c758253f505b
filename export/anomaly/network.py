"""The usual network, its neck laid open for anomalies: the feature map holds what the backbone sees, of everything.

The neck of a trained janken network is silent beside the hand, which is no use here. So it is made anew: a fixed random
projection of the fine and the coarse features, which keeps distances (Johnson and Lindenstrauss), for the stored patches,
and beside it some channels that learn what a defect is. The backbone below stays as it is, so that what it says of each
frame is worked out once and trained on many times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np

from calibration.photos import DataError
from export import model
from export.anomaly.twins import Twin

BACKBONE = "mobilenet_v2_0.5"
START = Path(__file__).parents[2] / "models" / "checkpoint" / "anomaly_mobilenet_v2_0.5.weights.h5"
KEPT = 64  # channels of the feature map that stay a projection; the others learn
REACHED = 99.9  # percentile of the open feature map that is brought to 5 of ReLU6's 6: int8 steps are not wasted
RIDGE = 1e-2  # relative, of the least squares that give the embedding its coarse features back
NECK = ("detail", "detail_BN", "context", "context_BN")


@dataclass(frozen=True)
class Parts:
    """`whole`: image -> [feature map, embedding]. The same, cut: `below`: image -> [fine, coarse] features, `neck`: those ->
    feature map, `above`: feature map -> embedding. All share their weights."""

    whole: keras.Model
    below: keras.Model
    neck: keras.Model
    above: keras.Model


def start(init: str, backbone: str | None, size_wh: tuple[int, int]) -> Parts:
    """The network with starting weights: "checkpoint" is START, whose backbone is BACKBONE; else as in export/model.py.

    Raises DataError when the wanted starting weights are not to be had.
    """
    backbone = backbone or BACKBONE
    if init == "checkpoint":
        if backbone != BACKBONE or not START.is_file():
            raise DataError(f"no weights for anomalies of {backbone} in {START.parent}; use INIT=imagenet or INIT=random")
        init = str(START)
    whole = model.build(backbone, init, size_wh)
    fine, coarse = whole.get_layer("detail").input, whole.get_layer("context").input
    feature_map, embedding = whole.outputs
    return Parts(whole, keras.Model(whole.input, [fine, coarse]), keras.Model([fine, coarse], feature_map),
                 keras.Model(feature_map, embedding))


def features(parts: Parts, frames: np.ndarray, batch: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """(fine, coarse) features float16 of frames uint8 (N, H, W, 3)."""
    pieces = [[np.array(part, np.float16) for part in parts.below(model.normalise(frames[i:i + batch]), training=False)]
              for i in range(0, len(frames), batch)]
    return tuple(np.concatenate(side) for side in zip(*pieces))


def open_neck(parts: Parts, fine: np.ndarray, coarse: np.ndarray, seed: int) -> None:
    """Make the neck the random projection, and have the embedding read the coarse features out of it again."""
    rng = np.random.default_rng(seed)
    layer = parts.whole.get_layer
    for name in ("detail", "context"):
        kernel = layer(name).get_weights()[0]
        spread = np.sqrt(2 / (kernel.shape[2] + kernel.shape[3]))
        layer(name).set_weights([rng.normal(0, spread, kernel.shape).astype(np.float32)])
        _plain(layer(f"{name}_BN"), 1.0)
    gain = 5.0 / np.percentile(_at("neck_add", parts, fine, coarse), REACHED)
    for name in ("detail_BN", "context_BN"):
        _plain(layer(name), gain)
    _reread(parts, fine, coarse)


def _plain(norm: keras.layers.BatchNormalization, gain: float) -> None:
    """A batch norm that multiplies by `gain` and does nothing else."""
    ones = np.ones(norm.gamma.shape, np.float32)
    norm.set_weights([gain * ones, 0 * ones, 0 * ones, ones - norm.epsilon])


def _at(name: str, parts: Parts, fine: np.ndarray, coarse: np.ndarray) -> np.ndarray:
    """Output of a layer above the features."""
    layer = parts.whole.get_layer
    upto = keras.Model([layer("detail").input, layer("context").input], layer(name).output)
    return np.array(upto([fine.astype(np.float32), coarse.astype(np.float32)], training=False))


def _reread(parts: Parts, fine: np.ndarray, coarse: np.ndarray) -> None:
    """Least squares: the mean of 3x3 cells of the feature map -> the coarse features that the layers behind were made for."""
    layer = parts.whole.get_layer
    kernel = layer("gather_depthwise").get_weights()[0]
    layer("gather_depthwise").set_weights([np.full_like(kernel, 1 / 9)])
    _plain(layer("gather_depthwise_BN"), 1.0)
    rows = _at("gather_relu", parts, fine, coarse)
    rows, wanted = rows.reshape(-1, rows.shape[-1]), coarse.reshape(-1, coarse.shape[-1]).astype(np.float32)
    mean, aim = rows.mean(axis=0), wanted.mean(axis=0)
    square = (rows - mean).T @ (rows - mean)
    square += RIDGE * np.trace(square) / len(square) * np.eye(len(square), dtype=np.float32)
    weights = np.linalg.solve(square, (rows - mean).T @ (wanted - aim))
    layer("gather").set_weights([weights[None, None].astype(np.float32)])
    norm = layer("gather_BN")
    _plain(norm, 1.0)
    norm.beta.assign(aim - mean @ weights)


def heat_targets(twins: list[Twin], map_wh: tuple[int, int]) -> np.ndarray:
    """float32 (N, h, w): the share of each cell that the defect covers, under a root as in export/augment.py; peak 1."""
    heat = np.stack([np.sqrt(cv2.resize(t.mask.astype(np.float32) / 255, map_wh, interpolation=cv2.INTER_AREA)) for t in twins])
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 0.2)
