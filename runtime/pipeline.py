"""Frame in, Result out: the whole method on one screen.

    frame ─ stretch ─ table ─► feature_map.tflite ─► embedding.tflite ─► unit length ─► nearest prototype ─► label
                                       │                                     └────────► nearest cluster
                                       └── weighted sum of channels, weights by the cluster ──► heat ──► peak, box

Where two labels are nearly as near as each other, the part of the frame around the box goes the same way once more,
enlarged: a hand across the room is but a few pixels of the network's input. The two looks decide by their mean, and the
closer one places peak and box; the heat that is shown stays that of the whole frame.
"""
from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from .box import peak_and_box
from .bundle import Bundle, load_bundle
from .heatmap import ActivationMaps, weighted_sums
from .image import NetworkInput
from .interpreter import load_networks
from .quantize import Quantization, pixel_table
from .results import NONE_LABEL, Box, Result, milliseconds
from .scoring import classify, lead, unit_length

SIXTEENTHS = 10  # of the frame's sides, that a closer look sees


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
        self._embedding_zero = np.array([networks.embedding_quantization.zero_point], np.float32)
        self._directions = np.concatenate([bundle.prototypes, bundle.cluster_centers])
        self._heat = ActivationMaps(networks.feature_quantization, bundle.cluster_weights)
        self._no_heat = np.zeros(bundle.feature_shape_hwc[:2], np.float32)
        self._no_heat.setflags(write=False)  # every result without a hand shares it
        self._prepare_closer = NetworkInput(bundle.size_wh, table)

    @classmethod
    def open(cls, bundle_path: str | Path, threads: int = 1) -> Pipeline:
        """Load and check a bundle and its networks. Raises BundleError, InterpreterError."""
        bundle = load_bundle(bundle_path)
        return cls(bundle, load_networks(bundle, threads))

    def __call__(self, frame_rgb: np.ndarray) -> Result:
        """frame_rgb: uint8 (H, W, 3), any size. Raises FrameError for anything else, None included."""
        bundle = self.bundle
        started = perf_counter()
        image, size_wh = self._prepare(frame_rgb)
        prepared = perf_counter()

        first = self._look(image)
        cosines, looks = first.cosines, 1
        heat, peak_xy, box_xyxy = self._no_heat, None, None
        if lead(cosines) < bundle.closer:
            heat, peak_xy, box_xyxy = self._place(first, size_wh)  # now: the networks will overwrite the map
            part = closer_window(box_xyxy, size_wh)
            image, part_wh = self._prepare_closer(frame_rgb[part.y0 : part.y1, part.x0 : part.x1])
            second = self._look(image)
            cosines, looks = (cosines + second.cosines) / 2, 2
        label, score, scores = classify(cosines, bundle.labels, bundle.score_scale, bundle.reject)
        inferred = perf_counter()

        if label == NONE_LABEL:
            heat, peak_xy, box_xyxy = self._no_heat, None, None
        elif looks == 1:
            heat, peak_xy, box_xyxy = self._place(first, size_wh)
        else:
            _, peak, box = self._place(second, part_wh)
            if box:
                peak_xy = (part.x0 + peak[0], part.y0 + peak[1])
                box_xyxy = Box(part.x0 + box.x0, part.y0 + box.y0, part.x0 + box.x1, part.y0 + box.y1)
        done = perf_counter()

        return Result.made(
            label=label, score=score, scores=scores, size_wh=size_wh, box_xyxy=box_xyxy, peak_xy=peak_xy, looks=looks,
            cluster=first.cluster, heat=heat, embedding=first.embedding, ms=milliseconds(started, prepared, inferred, done),
        )

    def _look(self, image: np.ndarray) -> Look:
        """image: int8 (H, W, 3), as the first network takes it."""
        feature_map, quantized = self.networks(image)
        embedding = unit_length(quantized - self._embedding_zero)  # the scale goes out with the length
        cosines = weighted_sums(self._directions, embedding)
        labels = len(self.bundle.labels)
        return Look(feature_map, embedding, cosines[:labels], int(cosines[labels:].argmax()))

    def _place(self, look: Look, size_wh: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int] | None, Box | None]:
        """Heat (h, w); peak and box in pixels of what was looked at, of size_wh."""
        heat = self._heat(look.feature_map, look.cluster)
        return heat, *peak_and_box(heat, self.bundle.box_threshold, size_wh)


class Look(NamedTuple):
    """What the networks say of an image: int8 feature map (h, w, C), until they are asked again; embedding (D,) of unit
    length; its cosine to each label's prototype (L,); the nearest cluster."""

    feature_map: np.ndarray
    embedding: np.ndarray
    cosines: np.ndarray
    cluster: int


def closer_window(box: Box | None, size_wh: tuple[int, int]) -> Box:
    """Where the closer look goes: to the box, or to the middle of the frame where there is none.

    Always as large, and from one sixteenth of the frame or another: where boxes differ by a few pixels, as those of int8 and
    float do, the same is looked at, and the same is said.
    """
    box = box or Box(0, 0, *size_wh)
    (x0, x1), (y0, y1) = (part_of(size, (first + end) / 2) for size, first, end in zip(size_wh, box[:2], box[2:]))
    return Box(x0, y0, x1, y1)


def part_of(size: int, middle: float) -> tuple[int, int]:
    """SIXTEENTHS of `size` pixels, around `middle` as far as that fits, as (first, end)."""
    part = max(1, SIXTEENTHS * size // 16)
    sixteenth = min(max(round(16 * middle / size - SIXTEENTHS / 2), 0), 16 - SIXTEENTHS)
    first = min(sixteenth * size // 16, size - part)
    return first, first + part
