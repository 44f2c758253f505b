"""The usual network, its neck laid open for anomalies: the feature map holds what the backbone sees, of everything.

The neck of a trained janken network is silent beside the hand, which is no use here. So it is made anew from the normal
photos: principal components of the fine and the coarse features, for the stored patches, and beside them some channels that
learn what a defect is. The backbone below stays as it is, so that what it says of each frame is worked out once and trained
on many times.
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
from runtime.heatmap import bilinear_matrix

BACKBONE = "mobilenet_v2_0.5"
START = Path(__file__).parents[2] / "models" / "checkpoint" / "anomaly_mobilenet_v2_0.5.weights.h5"
KEPT = 64  # channels of the feature map that are components, the first ones; the others learn
COMPONENTS = 48  # of the fine and of the coarse features each
MIDDLE, REACH = 3.0, 2.0  # a component's mean within ReLU6's 0..6, and how far from it normal cells go; defects go further
REACHED = 99.9  # percentile of the cells that is brought so far: int8 steps are not wasted
RIDGE = 1e-3  # relative, of the least squares that give the embedding its coarse features back
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
    """Make the neck anew from the features of normal frames, and have the embedding read the coarse ones out of it again."""
    rng = np.random.default_rng(seed)
    layer = parts.whole.get_layer
    for name in ("detail", "context"):
        kernel = layer(name).get_weights()[0]
        spread = np.sqrt(2 / (kernel.shape[2] + kernel.shape[3]))
        layer(name).set_weights([rng.normal(0, spread, kernel.shape).astype(np.float32)])
        _plain(layer(f"{name}_BN"), 1.0)
    gain = np.full(model.CHANNELS, (MIDDLE + REACH) / np.percentile(_at("neck_add", parts, fine, coarse), REACHED))
    gain[:KEPT] = 1
    of_fine, of_coarse, offset = components(fine, coarse, rng)
    for name, kept in (("detail", of_fine), ("context", of_coarse)):
        kernel = layer(name).get_weights()[0]
        kernel[0, 0, :, :KEPT] = kept
        layer(name).set_weights([kernel])
        _plain(layer(f"{name}_BN"), gain)
    layer("detail_BN").beta.assign(np.concatenate([offset, np.zeros(model.CHANNELS - KEPT)]))
    _reread(parts, fine, coarse)


def components(fine: np.ndarray, coarse: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(96, KEPT), (48, KEPT), (KEPT,) for MobileNetV2 0.5: fine @ the first + enlarged coarse @ the second + the third are the
    leading components of both together, MIDDLE for the mean.

    Turned by chance, which changes no distance: each channel has its share of all components, and int8 rounds them alike.
    """
    (fine_mean, of_fine), (coarse_mean, of_coarse) = half_whitened(fine), half_whitened(coarse)
    enlarge = bilinear_matrix(fine.shape[1], coarse.shape[1]), bilinear_matrix(fine.shape[2], coarse.shape[2])
    enlarged = np.einsum("Yy,Xx,nyxc->nYXc", *enlarge, (coarse - coarse_mean) @ of_coarse, optimize=True)
    cells = np.concatenate([(fine - fine_mean) @ of_fine, enlarged], axis=3).reshape(-1, 2 * COMPONENTS)
    leading = np.linalg.eigh(np.cov(cells.T))[1][:, :-KEPT - 1:-1]
    turned = leading @ np.linalg.qr(rng.standard_normal((KEPT, KEPT)))[0]
    turned *= REACH / np.percentile(np.abs(cells @ turned), REACHED)
    of_fine, of_coarse = of_fine @ turned[:COMPONENTS], of_coarse @ turned[COMPONENTS:]
    return of_fine, of_coarse, MIDDLE - fine_mean @ of_fine - coarse_mean @ of_coarse


def half_whitened(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean (C,), matrix (C, COMPONENTS)): principal components of (..., C), their deviations under a root.

    Between two faults: by their own deviations a few loud components have all the say, whitened the noise has.
    """
    rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
    variances, directions = np.linalg.eigh(np.cov(rows.T))
    variances, directions = variances[:-COMPONENTS - 1:-1], directions[:, :-COMPONENTS - 1:-1]
    least = 1e-3 * rows.var(axis=0).mean()
    return rows.mean(axis=0), directions / np.sqrt(np.sqrt((variances + least) * rows.var(axis=0).mean()))


def _plain(norm: keras.layers.BatchNormalization, gain: float | np.ndarray) -> None:
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
