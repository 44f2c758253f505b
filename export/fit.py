"""What the device needs beside the networks, fitted on the int8 outputs it will see: prototypes, clusters, thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from calibration import metrics
from calibration.heldout import HeldOut
from export import arcface, clusters, gradcam
from runtime.box import peak_and_box
from runtime.bundle import Bundle
from runtime.image import stretch_2x2
from runtime.interpreter import SplitNetwork
from runtime.pipeline import Pipeline
from runtime.quantize import dequantize, pixel_table
from runtime.results import NONE_LABEL

BOX_CANDIDATES = np.arange(0.15, 0.86, 0.025)
REJECT_CANDIDATES = np.arange(-1.0, 0.91, 0.02)  # -1 rejects nothing: `none` then wins as any class does
AS_GOOD = 0.01  # mean accuracies closer than this are not told apart by so few photos
CLOSER = 0.1  # cosine: see models/TRIED.md, "A closer look"
DEFAULT_BOX, DEFAULT_REJECT = 0.45, 0.3  # where no validation photo can tell


@dataclass(frozen=True)
class Fitted:
    """prototypes (L, D), clusters: see clusters.Clusters."""

    prototypes: np.ndarray
    clusters: clusters.Clusters


def outputs(networks: SplitNetwork, frames: Sequence[np.ndarray], size_wh, subtract: float, divide: float):
    """(feature maps float32 (N, h, w, C), embeddings float32 (N, D)) of the int8 networks, dequantised."""
    table = pixel_table(subtract, divide, networks.image_quantization)
    pairs = [networks(table[stretch_2x2(np.ascontiguousarray(frame), size_wh)]) for frame in frames]
    maps = dequantize(np.stack([m for m, _ in pairs]), networks.feature_quantization)
    return maps, dequantize(np.stack([e for _, e in pairs]), networks.embedding_quantization)


def fit(networks: SplitNetwork, embedding_net: keras.Model, frames: Sequence[np.ndarray], labels: np.ndarray, classes: int, *,
        size_wh, subtract: float, divide: float, count: int, top_channels: int, seed: int) -> Fitted:
    """Prototypes over all frames, clusters over those with a hand. The last of the classes is `none`.

    The gradients are the float network's: int8 has none.
    """
    maps, embeddings = outputs(networks, frames, size_wh, subtract, divide)
    means = clusters.prototypes(embeddings, labels, classes)
    prototypes = arcface.fit_centres(embeddings, labels, means, frame_weights(labels, classes))
    hands = labels < classes - 1
    weights = gradcam.channel_weights(embedding_net, maps[hands], prototypes[labels[hands]])
    return Fitted(prototypes, clusters.fit(embeddings[hands], weights, maps[hands], count, top_channels, seed))


def frame_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """(N,): every hand counts alike, and all of them together as much as `none`, the last class: a camera sees both."""
    share = np.array([1.0] * (classes - 1) + [classes - 1])
    return (share / np.bincount(labels, minlength=classes))[labels]


def thresholds(bundle: Bundle, networks: SplitNetwork, frames: Sequence[HeldOut]) -> dict[str, float]:
    """{"reject", "box"} that do best on validation frames at the first look: mean accuracy over labels, then mean box IoU.
    {"closer"} is CLOSER."""
    open_bundle = replace(bundle, reject=-1.0, closer=0.0)
    results = [Pipeline(open_bundle, networks)(np.ascontiguousarray(f.frame_rgb)) for f in frames]
    truth = np.array([f.label for f in frames])
    hands = [label for label in bundle.labels if label != NONE_LABEL]
    nearest = np.array([max(bundle.prototypes[: len(hands)] @ r.embedding) for r in results])
    said = np.array([r.label for r in results])

    def mean_accuracy(reject: float) -> float:
        now = np.where(nearest < reject, NONE_LABEL, said)
        return float(np.mean([np.mean(now[truth == label] == label) for label in sorted(set(truth))]))

    reject = DEFAULT_REJECT
    if NONE_LABEL in truth:
        scores = [mean_accuracy(c) for c in REJECT_CANDIDATES]
        # the lowest that is as good as the best: a hand unlike those known here is rather named than rejected
        reject = float(REJECT_CANDIDATES[int(np.argmax(np.array(scores) >= max(scores) - AS_GOOD))])
    placed = [(f, r) for f, r in zip(frames, results) if f.box_xyxy and r.peak_xy]
    box = DEFAULT_BOX
    if placed:
        def mean_iou(threshold: float) -> float:
            boxes = [peak_and_box(r.heat, threshold, r.size_wh)[1] for _, r in placed]
            return float(np.mean([metrics.box_iou(box, f.box_xyxy) for box, (f, _) in zip(boxes, placed)]))
        box = float(BOX_CANDIDATES[int(np.argmax([mean_iou(c) for c in BOX_CANDIDATES]))])
    return {"reject": round(reject, 3), "box": round(box, 3), "closer": CLOSER}
