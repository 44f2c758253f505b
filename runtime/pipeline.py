"""Frame in, Result out: the whole method on one screen.

    frame ─ stretch ─ table ─► feature_map.tflite ─► embedding.tflite ─► unit length ─► nearest prototype ─► label
                                       │                                     └────────► nearest cluster
                                       └── weighted sum of channels, weights by the cluster ──► heat ──► peak, box
"""
from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np

from .box import BoxFinder
from .bundle import Bundle, load_bundle
from .heatmap import class_activation_map, weighted_sums
from .image import NetworkInput
from .interpreter import load_networks
from .quantize import Quantization, dequantize, pixel_table
from .results import NONE_LABEL, Result, milliseconds
from .scoring import classify, unit_length


class Networks(Protocol):
    """What the pipeline needs of the two networks: runtime.interpreter.SplitNetwork, or a stand-in."""

    image_quantization: Quantization
    feature_quantization: Quantization
    embedding_quantization: Quantization

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int8 (H, W, 3) to int8 feature map (h, w, C) and int8 embedding (D,)."""


class Pipeline:
    """The method for one bundle; call it with one frame after the other."""

    def __init__(self, bundle: Bundle, networks: Networks):
        self.bundle = bundle
        self.networks = networks
        table = pixel_table(bundle.subtract, bundle.divide, networks.image_quantization)
        self._prepare = NetworkInput(bundle.size_wh, table)
        self._directions = np.concatenate([bundle.prototypes, bundle.cluster_centers])
        self._find_box = BoxFinder(bundle.feature_shape_hwc[:2], bundle.box_threshold)
        self._no_heat = np.zeros(bundle.feature_shape_hwc[:2], np.float32)
        self._no_heat.setflags(write=False)  # every result without a hand shares it

    @classmethod
    def open(cls, bundle_path: str | Path, threads: int = 1) -> Pipeline:
        """Load and check a bundle and its networks. Raises BundleError, InterpreterError."""
        bundle = load_bundle(bundle_path)
        return cls(bundle, load_networks(bundle, threads))

    def __call__(self, frame_rgb: np.ndarray) -> Result:
        """frame_rgb: uint8 (H, W, 3), any size. Raises FrameError for anything else, None included."""
        bundle, networks = self.bundle, self.networks
        started = perf_counter()
        image, size_wh = self._prepare(frame_rgb)
        prepared = perf_counter()

        feature_map, quantized = networks(image)
        embedding = unit_length(dequantize(quantized, networks.embedding_quantization))
        cosines = weighted_sums(self._directions, embedding)
        label, score, scores = classify(cosines[: len(bundle.labels)], bundle.labels, bundle.score_scale, bundle.reject)
        inferred = perf_counter()

        cluster = int(cosines[len(bundle.labels) :].argmax())
        heat, peak_xy, box_xyxy = self._no_heat, None, None
        if label != NONE_LABEL:
            heat = class_activation_map(feature_map, networks.feature_quantization, bundle.cluster_weights[cluster])
            peak_xy, box_xyxy = self._find_box(heat, size_wh)
        done = perf_counter()

        return Result(
            label=label, score=score, scores=scores, size_wh=size_wh, box_xyxy=box_xyxy, peak_xy=peak_xy,
            cluster=cluster, heat=heat, embedding=embedding, ms=milliseconds(started, prepared, inferred, done),
        )
