"""Frame in, Result out: the whole method on one screen.

    frame ─ stretch ─ table ─► feature_map.tflite ─► embedding.tflite ─► unit length ─► nearest prototype ─► label
                                       │                                     └────────► nearest cluster
                                       └── weighted sum of channels, weights by the cluster ──► heat ──► peak, box

Where two labels are nearly as near as each other, or the hand is small, the part of the frame around the box goes the same
way once more, enlarged: a hand across the room is but a few pixels of the network's input and a few cells of its map. The
two looks decide by their mean, and the closer one places peak and box; the heat that is shown stays that of the whole frame.
"""
from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import NamedTuple, Protocol

import numpy as np

from .box import peak_and_box
from .bundle import Bundle, load_bundle
from .heatmap import ALONE, ActivationMaps, weighted_sums
from .image import NetworkInput
from .interpreter import load_networks
from .quantize import Quantization, pixel_table
from .results import NONE_LABEL, Box, Result, milliseconds
from .scoring import classify, lead, unit_length

CLOSER = 7, 10  # sixteenths of the frame's sides that a closer look sees: the first with room for the box, else the last
ROOM = 0.72  # of what a closer look sees, the box may take up


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
        self._products = np.dot if self._directions.size < ALONE else weighted_sums
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
        inferred = perf_counter()
        label, score, scores = self._classify(first.cosines)
        heat, peak_xy, box_xyxy, looks = self._no_heat, None, None, 1
        unsure = lead(first.cosines) < bundle.closer
        if unsure or label != NONE_LABEL:
            heat, peak_xy, box_xyxy = self._place(first, size_wh)
        if unsure or (bundle.closer and has_room(CLOSER[-1], box_xyxy, size_wh)):
            asked = perf_counter()
            part = closer_window(box_xyxy, size_wh)
            image, part_wh = self._prepare_closer(frame_rgb[part.y0 : part.y1, part.x0 : part.x1])
            second = self._look(image)
            inferred += perf_counter() - asked
            label, score, scores = self._classify((first.cosines + second.cosines) / 2)
            _, peak, box = self._place(second, part_wh)
            if box:
                peak_xy = (part.x0 + peak[0], part.y0 + peak[1])
                box_xyxy = Box(part.x0 + box.x0, part.y0 + box.y0, part.x0 + box.x1, part.y0 + box.y1)
            looks = 2
        if label == NONE_LABEL:
            heat, peak_xy, box_xyxy = self._no_heat, None, None
        done = perf_counter()

        return Result.made(
            label=label, score=score, scores=scores, size_wh=size_wh, box_xyxy=box_xyxy, peak_xy=peak_xy, looks=looks,
            cluster=first.cluster, heat=heat, embedding=first.embedding, ms=milliseconds(started, prepared, inferred, done),
        )

    def _look(self, image: np.ndarray) -> Look:
        """image: int8 (H, W, 3), as the first network takes it."""
        feature_map, quantized = self.networks(image)
        embedding = quantized.astype(np.float32)  # in two steps: numpy is slow where types are mixed
        embedding -= self._embedding_zero
        embedding = unit_length(embedding)  # the scale goes out with the length
        cosines = self._products(self._directions, embedding)
        labels = len(self.bundle.labels)
        return Look(feature_map, embedding, cosines[:labels], int(cosines[labels:].argmax()))

    def _classify(self, cosines: np.ndarray) -> tuple[str, float, dict[str, float]]:
        """Label, its score, and the score of every label, of the cosines to the prototypes (L,)."""
        return classify(cosines, self.bundle.labels, self.bundle.score_scale, self.bundle.reject)

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


def has_room(sixteenths: int, box: Box | None, size_wh: tuple[int, int]) -> bool:
    """Whether there is a box, smaller on both sides than ROOM of so many sixteenths of the frame."""
    share = ROOM * sixteenths / 16
    return box is not None and box.x1 - box.x0 < share * size_wh[0] and box.y1 - box.y0 < share * size_wh[1]


def closer_window(box: Box | None, size_wh: tuple[int, int]) -> Box:
    """Where the closer look goes: to the box, or to the middle of the frame where there is none.

    Of two sizes, and from one sixteenth of the frame or another: where boxes differ by a few pixels, as those of int8 and
    float do, the same is looked at, and the same is said.
    """
    sixteenths = next((s for s in CLOSER if has_room(s, box, size_wh)), CLOSER[-1])
    box = box or Box(0, 0, *size_wh)
    (x0, x1), (y0, y1) = (part_of(size, sixteenths, (first + end) / 2)
                          for size, first, end in zip(size_wh, box[:2], box[2:]))
    return Box(x0, y0, x1, y1)


def part_of(size: int, sixteenths: int, middle: float) -> tuple[int, int]:
    """So many sixteenths of `size` pixels, around `middle` as far as that fits, as (first, end)."""
    part = max(1, sixteenths * size // 16)
    sixteenth = min(max(round(16 * middle / size - sixteenths / 2), 0), 16 - sixteenths)
    first = min(sixteenth * size // 16, size - part)
    return first, first + part
