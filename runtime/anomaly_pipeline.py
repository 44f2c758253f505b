"""Frame in, Result out, for bundles of the task "anomaly": how far is this frame from the normal ones, and where?

    frame ─ stretch ─ table ─► feature_map.tflite ─► embedding.tflite ─► unit length, whitened ─► distance to the nearest normal
                                       │                                                                    │ score, label
                                       ├── each cell: distance to the nearest stored patch ─ farthest cells ┘
                                       └── that distance, or the weighted sum of channels ──► heat ──► peak, box

The label is `defect`, or `none` when there is none. Distances to stored patches are PatchCore's
(https://arxiv.org/abs/2106.08265), counted in the deviations that are usual at each place: at the edge of the frame, around
which the network sees zeros, other distances are normal than inside. Whitening makes the distance of embeddings Mahalanobis'
(https://arxiv.org/abs/2005.14140).
"""
from __future__ import annotations

from math import exp
from pathlib import Path
from time import perf_counter

import numpy as np

from .box import peak_and_box
from .bundle import Anomaly, Bundle, load_bundle
from .heatmap import ActivationMaps
from .image import NetworkInput
from .interpreter import load_networks
from .pipeline import Networks, Pipeline
from .quantize import dequantize, pixel_table
from .results import NONE_LABEL, Result, milliseconds
from .scoring import unit_length

COLD_HEAT = 0.05  # the heat where normal frames end: a tint that cannot be seen, and yet keeps the order of the cells
EMBEDDING_SHARE = 1 / 3  # of the score "both": most defects are small, and show in few cells
SOFTNESS = 2.0  # deviations around the threshold over which the score goes from 0.27 to 0.73


class PatchDistance:
    """Euclidean distance of cells to the nearest of the stored patches (M, P)."""

    def __init__(self, patches: np.ndarray):
        self._minus_two_patches = np.ascontiguousarray(-2 * patches.T)
        self._squares = (patches * patches).sum(axis=1)

    def __call__(self, cells: np.ndarray) -> np.ndarray:
        """cells (..., P or more) float32 to (...) float32, by |a - b|^2 = |a|^2 - 2ab + |b|^2."""
        flat = cells.reshape(-1, cells.shape[-1])[:, :len(self._minus_two_patches)]
        nearest = (flat @ self._minus_two_patches + self._squares).min(axis=1) + (flat * flat).sum(axis=1)
        return np.sqrt(np.maximum(nearest, 0)).reshape(cells.shape[:-1])


def smoothed(distances: np.ndarray) -> np.ndarray:
    """(..., h, w): the mean of each cell and its neighbours, weighted 1-4-1 both ways: chance is one cell, defects are not."""
    edged = np.pad(distances, [(0, 0)] * (distances.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = edged[..., :-2, :] + 4 * edged[..., 1:-1, :] + edged[..., 2:, :]
    return (rows[..., :-2] + 4 * rows[..., 1:-1] + rows[..., 2:]) / 36


def farthest_mean(distances: np.ndarray, cells: int) -> float:
    """Mean of the `cells` largest of the distances (h, w)."""
    flat = distances.ravel()
    return float(np.partition(flat, -cells)[-cells:].mean()) if cells < flat.size else float(flat.mean())


def nearest_normal(embedding: np.ndarray, normals: np.ndarray) -> float:
    """Distance of a whitened embedding (D,) to the nearest of the normals (N, D)."""
    return float(np.sqrt(((normals - embedding) ** 2).sum(axis=1).min()))


def deviations(scorer: str, embedding: float | np.ndarray, patch: float | np.ndarray,
               of: dict[str, tuple[float, float]]) -> float | np.ndarray:
    """How far from normal, in deviations of the normal photos: by the distance of the embedding, of patches, or by both.

    `of`: mean and deviation of each of the two distances over normal photos, by its name.
    """
    of_embedding = (embedding - of["embedding"][0]) / of["embedding"][1]
    of_patches = (patch - of["patch"][0]) / of["patch"][1]
    share = {"embedding": 1.0, "patch": 0.0, "both": EMBEDDING_SHARE}[scorer]
    return share * of_embedding + (1 - share) * of_patches


def probability(value: float, threshold: float) -> float:
    """1 / (1 + e^-x) of the deviations above the threshold, in units of SOFTNESS: 0.5 at the threshold."""
    x = min(max((value - threshold) / SOFTNESS, -30.0), 30.0)
    return 1.0 / (1.0 + exp(-x))


def patch_heat(distances: np.ndarray, anomaly: Anomaly) -> np.ndarray:
    """Distances (h, w), in deviations, as heat on a fixed scale: 0, COLD_HEAT at `cold`, 1 at `hot`, and on."""
    below = COLD_HEAT * np.maximum(distances, 0) / anomaly.cold
    above = COLD_HEAT + (1 - COLD_HEAT) * (distances - anomaly.cold) / (anomaly.hot - anomaly.cold)
    return np.where(distances < anomaly.cold, below, above).astype(np.float32)


class AnomalyPipeline:
    """The method for one bundle; call it with one frame after the other."""

    def __init__(self, bundle: Bundle, networks: Networks):
        self.bundle = bundle
        self.networks = networks
        self._anomaly = bundle.anomaly
        self._normal = {"embedding": bundle.anomaly.embedding, "patch": bundle.anomaly.patch}
        self._distance = PatchDistance(bundle.anomaly.patches)
        table = pixel_table(bundle.subtract, bundle.divide, networks.image_quantization)
        self._prepare = NetworkInput(bundle.size_wh, table)
        self._heat = ActivationMaps(networks.feature_quantization, bundle.cluster_weights)

    def __call__(self, frame_rgb: np.ndarray) -> Result:
        """frame_rgb: uint8 (H, W, 3), any size. Raises FrameError for anything else, None included."""
        bundle, networks, anomaly = self.bundle, self.networks, self._anomaly
        started = perf_counter()
        image, size_wh = self._prepare(frame_rgb)
        prepared = perf_counter()

        feature_map, quantized = networks(image)
        embedding = unit_length(dequantize(quantized, networks.embedding_quantization))
        distances = self.distances(dequantize(feature_map, networks.feature_quantization))
        nearest = nearest_normal(embedding @ anomaly.whitening, anomaly.normals)
        value = deviations(anomaly.scorer, nearest, farthest_mean(distances, anomaly.top_cells), self._normal)
        defect, score = bundle.labels[0], probability(value, anomaly.threshold)
        inferred = perf_counter()

        cluster = int(np.argmax(bundle.cluster_centers @ embedding))
        heat = self._heat(feature_map, cluster) if anomaly.scorer == "embedding" else patch_heat(distances, anomaly)
        peak_xy, box_xyxy = peak_and_box(heat, bundle.box_threshold, size_wh) if value > anomaly.threshold else (None, None)
        done = perf_counter()

        return Result(
            label=defect if value > anomaly.threshold else NONE_LABEL,
            score=score if value > anomaly.threshold else 1.0 - score, scores={defect: score},
            size_wh=size_wh, box_xyxy=box_xyxy, peak_xy=peak_xy, cluster=cluster, heat=heat, embedding=embedding,
            ms=milliseconds(started, prepared, inferred, done),
        )

    def distances(self, feature_map: np.ndarray) -> np.ndarray:
        """How far each cell (h, w) of a feature map, float32 (h, w, C), is from the patches, in what is usual at its place."""
        usual, deviation = self._anomaly.places
        return (smoothed(self._distance(feature_map)) - usual) / deviation


def pipeline_for(bundle: Bundle, networks: Networks) -> Pipeline | AnomalyPipeline:
    """The pipeline of the task that the bundle was made for."""
    return AnomalyPipeline(bundle, networks) if bundle.task == "anomaly" else Pipeline(bundle, networks)


def open_pipeline(bundle_path: str | Path, threads: int = 1) -> Pipeline | AnomalyPipeline:
    """Load and check a bundle and its networks, whatever its task. Raises BundleError, InterpreterError."""
    bundle = load_bundle(bundle_path)
    return pipeline_for(bundle, load_networks(bundle, threads))
