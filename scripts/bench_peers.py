"""What our loop is measured against, written anew from descriptions: whole frame loops around TFLite networks.

Used by scripts/bench.py on a workstation and by scripts/bench_guest.py in an emulated Pi, hence with numpy, OpenCV and
scikit-learn alone. Each loop takes one frame, uint8 (H, W, 3) RGB, and calls `lap(stage)` whenever a stage has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from sklearn.cluster import KMeans

Lap = Callable[[str], None]
OVERLAY_WH = (288, 288)
REFERENCE_SHAPES = {"vectors": (40, 1280), "channels": (10, 50)}  # of the reference's own files
FEATURE_CHANNELS = 480  # of its feature layer, 3x3x480
PA_COSINE = 0.25  # below it is gu


def no_lap(stage: str) -> None:
    """Where nobody asks for stages."""


class LiteNetwork:
    """A TFLite model with one input and outputs told apart by their rank; called with the input, batch axis and all."""

    def __init__(self, interpreter: Any, **ranks: int):
        interpreter.allocate_tensors()
        self.interpreter = interpreter
        self._into = interpreter.get_input_details()[0]["index"]
        outputs = interpreter.get_output_details()
        self._out = {name: next(o["index"] for o in outputs if len(o["shape"]) == rank) for name, rank in ranks.items()}

    def __call__(self, values: np.ndarray) -> dict[str, np.ndarray]:
        self.interpreter.set_tensor(self._into, values)
        self.interpreter.invoke()
        return {name: self.interpreter.get_tensor(index) for name, index in self._out.items()}


class ReferenceLoop:
    """Faster-Grad-CAM's loop as described, around its float network or an integer one with float input and output.

    Square picture, 96x96 of it divided by 255, network, highest cosine to 40 stored vectors, scikit-learn's k-means, the
    cluster's 50 channels weighted and summed, stretched to the picture, scaled by their maximum, colour map, blend, text. It
    draws heat for gu alone; here for every frame. Its camera gives 352x288, cut to the middle: here each frame is brought to
    that size. Its k-means was a pickle that is not part of its public files: one of the same shape is fitted. Without
    `folder` vectors and weights are random, which costs the same.
    """

    def __init__(self, interpreter: Any, folder: Path | None):
        self._network = LiteNetwork(interpreter, maps=4, embedding=2)
        if folder:
            names = ("vector_pa", "channel_adress", "channel_weight")
            self._vectors, channels, self._weights = (np.loadtxt(folder / f"{name}.csv", delimiter=",") for name in names)
            self._channels = channels.astype(int)
        else:
            rng = np.random.default_rng(0)
            self._vectors = rng.random(REFERENCE_SHAPES["vectors"])
            self._channels = rng.integers(0, FEATURE_CHANNELS, REFERENCE_SHAPES["channels"])
            self._weights = rng.random(REFERENCE_SHAPES["channels"])
        self._kmeans = KMeans(len(self._channels), n_init=1, random_state=0).fit(self._vectors.astype(np.float32))

    def __call__(self, frame_rgb: np.ndarray, lap: Lap = no_lap) -> tuple[str, np.ndarray]:
        """Label and picture, uint8 (288, 288, 3)."""
        picture = cv2.resize(frame_rgb, OVERLAY_WH)
        image = np.float32(cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (96, 96))[None] / 255)
        lap("preprocess")
        out = self._network(image)
        lengths = np.linalg.norm(out["embedding"], axis=1) * np.linalg.norm(self._vectors, axis=1)
        cosine = np.max(np.dot(out["embedding"], self._vectors.T) / (lengths + 1e-10))
        cluster = int(self._kmeans.predict(out["embedding"])[0])
        lap("infer")
        heat = np.dot(out["maps"][0][:, :, self._channels[cluster]], self._weights[cluster])
        heat = np.maximum(cv2.resize(heat, OVERLAY_WH), 0)
        heat = heat / max(heat.max(), 1e-12)  # the reference divides by 0 where it is cold
        lap("heatmap")
        colours = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_JET)
        picture = np.copy(cv2.addWeighted(colours, 0.5, picture, 0.5, 2.2))
        label = "gu" if cosine < PA_COSINE else "pa"
        for text, size, place in ((f"{label} {cosine:.1f} Score", 1.0, (62, 70)), ("Push [q] to quit.", 0.5, (67, 15)),
                                  ("Push [s] to change mode.", 0.5, (67, 35)), ("8 FPS", 1.0, (177, 110))):
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 0, 0), 1, cv2.LINE_AA)
        lap("overlay")
        return label, picture


class FomoLoop:
    """An int8 network of FOMO's shape with its rule: cells above a threshold, those that touch merged, their centroids."""

    THRESHOLD = 0.5

    def __init__(self, interpreter: Any):
        self._network = LiteNetwork(interpreter, scores=4)
        scale, zero_point = interpreter.get_output_details()[0]["quantization"]
        self._level = round(self.THRESHOLD / scale) + zero_point
        height, width = interpreter.get_input_details()[0]["shape"][1:3]
        self._size_wh = int(width), int(height)

    def __call__(self, frame_rgb: np.ndarray, lap: Lap = no_lap) -> list[tuple[int, float, float]]:
        """(class, x, y) of each centroid, x and y in pixels of the frame."""
        image = (cv2.resize(frame_rgb, self._size_wh) ^ 0x80).view(np.int8)  # pixel - 128
        lap("preprocess")
        scores = self._network(image[None])["scores"][0]
        lap("infer")
        height, width = frame_rgb.shape[:2]
        found = []
        for hand in range(1, scores.shape[2]):  # 0 is the background
            cells = np.uint8(scores[..., hand] >= self._level)
            centroids = cv2.connectedComponentsWithStats(cells)[3][1:]
            found += [(hand, (x + 0.5) * width / cells.shape[1], (y + 0.5) * height / cells.shape[0]) for x, y in centroids]
        lap("heatmap")
        return found
