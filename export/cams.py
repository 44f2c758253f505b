"""Ways to make heat, side by side on the same network and photos: `python -m export cams`.

Per-image methods take the gradient of every photo; ours looks its weights up. Each method's box threshold is chosen on the
validation photos, and peak and box are read off by the runtime's own code, so that only the heat differs.

* Grad-CAM: weights = mean gradient (Selvaraju et al., arXiv 1610.02391)
* Grad-CAM++: weights = sum of alpha * ReLU(gradient) (Chattopadhay et al., arXiv 1710.11063, eq. 19)
* LayerCAM: every cell weighted by its own ReLU(gradient) (Jiang et al., IEEE TIP 2021, eq. 5)
* Eigen-CAM: projection on the first principal direction, no gradient (Muhammad and Yeasin, arXiv 2008.00299)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from calibration import metrics, photos
from calibration.__main__ import float_path, load_float
from calibration.compare import float_pipeline
from calibration.heldout import HeldOut, from_photos
from calibration.photos import DataError
from export import clusters
from export.arcface import normalise
from export.fit import BOX_CANDIDATES
from export.model import normalise as to_input
from runtime.box import BoxFinder
from runtime.bundle import load_bundle
from runtime.image import stretch_2x2
from runtime.interpreter import load_networks
from runtime.pipeline import Pipeline

REFERENCE_LAYER = "block_16_expand_relu"  # where Faster-Grad-CAM reads its heat: 3x3 cells at 96 px
Method = Callable[[np.ndarray, np.ndarray], np.ndarray]  # feature map (h, w, C), its gradient -> heat (h, w), not scaled


def grad_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    return np.maximum(maps @ gradient.mean(axis=(0, 1)), 0)


def grad_cam_pp(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    bottom = 2 * gradient ** 2 + maps.sum(axis=(0, 1)) * gradient ** 3
    alpha = np.divide(gradient ** 2, bottom, out=np.zeros_like(gradient), where=bottom != 0)
    return np.maximum(maps @ (alpha * np.maximum(gradient, 0)).sum(axis=(0, 1)), 0)


def layer_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    return (np.maximum(gradient, 0) * maps).sum(axis=-1).clip(min=0)


def eigen_cam(maps: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    cells = maps.reshape(-1, maps.shape[-1])
    direction = np.linalg.svd(cells, full_matrices=False)[2][0]
    heat = cells @ direction  # its sign is arbitrary: features are positive, so the larger side is where they are
    return np.maximum(heat * np.sign(heat.sum()), 0).reshape(maps.shape[:2])


PER_IMAGE: dict[str, Method] = {"Grad-CAM": grad_cam, "Grad-CAM++": grad_cam_pp, "LayerCAM": layer_cam, "Eigen-CAM": eigen_cam}


@dataclass(frozen=True)
class Row:
    """One method: shares of the photos whose hand's place is known."""

    method: str
    peak_inside: float
    box_iou: float
    box_threshold: float


class Probe:
    """A layer of a float network, with the gradient of cos(embedding, prototype) at it."""

    def __init__(self, network: keras.Model, layer: str | None = None):
        features = network.get_layer(layer).output if layer else network.outputs[0]
        into, tail = keras.Model(network.input, features), keras.Model(features, network.outputs[1])

        @tf.function
        def compute(image, prototype):
            maps = into(image, training=False)
            with tf.GradientTape() as tape:
                tape.watch(maps)
                score = tf.reduce_sum(normalise(tail(maps, training=False)) * prototype)
            return maps[0], tape.gradient(score, maps)[0]

        self._compute = compute

    def __call__(self, image: np.ndarray, prototype: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """image float32 (H, W, 3), prototype (D,) -> feature map and gradient, float32 (h, w, C)."""
        return tuple(t.numpy() for t in self._compute(tf.constant(image[None]), tf.constant(prototype[None])))


def compare(network: keras.Model, of_float: Pipeline, of_int8: Pipeline, train: Sequence[HeldOut],
            validation: Sequence[HeldOut], test: Sequence[HeldOut], seed: int = 0) -> list[Row]:
    """All methods on `test`, thresholds from `validation`; `train` gives the reference's rule its clusters.

    Gradients are asked for the true class. The looked-up methods only see the photo; ours, as on the device, shows nothing
    of a hand that it takes for none, and that counts against it.
    """
    bundle = of_int8.bundle
    count, top_channels = (bundle.manifest["clusters"][key] for key in ("count", "top_channels"))
    at_ours, at_reference = Probe(network), Probe(network, REFERENCE_LAYER)

    def probed(frames, probe):
        return [probe(to_input(stretch_2x2(np.ascontiguousarray(f.frame_rgb), bundle.size_wh)),
                      bundle.prototypes[bundle.labels.index(f.label)]) for f in frames]

    def embeddings(frames):
        return np.stack([of_float(np.ascontiguousarray(f.frame_rgb)).embedding for f in frames])

    sets = [_placed(frames) for frames in (validation, test)]
    heats: dict[str, list[list[np.ndarray]]] = {}
    for name, probe in (("6x6", at_ours), ("reference layer", at_reference)):
        pairs = [probed(frames, probe) for frames in sets]
        for method, function in PER_IMAGE.items():
            heats[f"{method}, {name}"] = [[function(m, g) for m, g in part] for part in pairs]
        learned = _placed(train)
        weights = np.stack([g.mean(axis=(0, 1)) for _, g in probed(learned, probe)])
        maps = np.stack([m for m, _ in probed(learned, probe)])
        found = clusters.fit(embeddings(learned), weights, maps, count, top_channels, seed)
        nearest = [np.argmax(embeddings(frames) @ found.centers.T, axis=1) for frames in sets]
        heats[f"k={count} top {top_channels}, {name}"] = [
            [np.maximum(m @ found.weights[k], 0) for (m, _), k in zip(part, near)] for part, near in zip(pairs, nearest)]
    for name, pipeline in (("ours, float", of_float), ("ours, int8", of_int8)):
        heats[name] = [[pipeline(np.ascontiguousarray(f.frame_rgb)).heat for f in frames] for frames in sets]
    return [_row(name, *parts, *sets) for name, parts in heats.items()]


def run(folder: Path, data: Sequence[Path]) -> list[Row]:
    """`compare` for a bundle folder over data sets whose split it knows. Raises DataError, BundleError."""
    bundle = load_bundle(folder)
    network = load_float(float_path(folder), bundle)
    if REFERENCE_LAYER not in {layer.name for layer in network.layers}:
        raise DataError(f"{folder} has no layer {REFERENCE_LAYER}; the comparison needs a MobileNetV2")
    every = photos.split(photos.scan(data))
    sets = [from_photos([p for p in every if p.split == name], parts=False) for name in ("train", "validation", "test")]
    return compare(network, float_pipeline(bundle, network), Pipeline(bundle, load_networks(bundle)), *sets)


def text(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    lines = [f"{'heat':<32}{'peak inside':>12}{'box IoU':>9}{'threshold':>11}"]
    return "\n".join(lines + [f"{r.method:<32}{r.peak_inside:>12.3f}{r.box_iou:>9.3f}{r.box_threshold:>11.2f}" for r in rows])


def _placed(frames: Sequence[HeldOut]) -> list[HeldOut]:
    return [f for f in frames if f.box_xyxy is not None and f.label != "none"]


def _row(method: str, on_validation: list[np.ndarray], on_test: list[np.ndarray], validation: Sequence[HeldOut],
         test: Sequence[HeldOut]) -> Row:
    def judged(heats, frames, threshold):
        found = [BoxFinder(h.shape, threshold)(h.astype(np.float32), f.frame_rgb.shape[1::-1]) for h, f in zip(heats, frames)]
        inside = np.mean([metrics.peak_inside(peak, f.hand, f.box_xyxy) for (peak, _), f in zip(found, frames)])
        return float(inside), float(np.mean([metrics.box_iou(box, f.box_xyxy) for (_, box), f in zip(found, frames)]))

    best = max(BOX_CANDIDATES, key=lambda t: judged(on_validation, validation, t)[1])
    return Row(method, *judged(on_test, test, best), round(float(best), 2))
