"""The float network and the int8 bundle, side by side on the same frames, through the runtime's own pipeline.

Only the networks differ: `FloatNetworks` stands where the two TFLite models stand, so resize, prototypes, clusters, heat and
box are one code for both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from calibration import metrics
from calibration.heldout import HeldOut
from runtime.bundle import Bundle
from runtime.errors import UsageError
from runtime.pipeline import Pipeline
from runtime.quantize import Quantization
from runtime.results import NONE_LABEL, Result

GATE = Path(__file__).with_name("gate.json")
EXACT = Quantization(1.0, 0)  # of a tensor that is float already


class FloatNetworks:
    """A Keras model image -> [feature map, embedding] behind the pipeline's `Networks` interface."""

    feature_quantization = embedding_quantization = EXACT

    def __init__(self, model, divide: float):
        self.model = model
        self.image_quantization = Quantization(1.0 / divide, 0)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int8 (H, W, 3) -> float32 feature map (h, w, C) and embedding (D,)."""
        scaled = image[None].astype(np.float32) * self.image_quantization.scale
        feature_map, embedding = self.model.predict_on_batch(scaled)
        return np.asarray(feature_map)[0], np.asarray(embedding)[0]


def float_pipeline(bundle: Bundle, model) -> Pipeline:
    """The bundle's method around the float network it was made from."""
    return Pipeline(bundle, FloatNetworks(model, bundle.divide))


def judge(pipeline: Pipeline, frames: Sequence[HeldOut], what: str) -> list[Result]:
    """The pipeline's word on every frame."""
    return [pipeline(np.ascontiguousarray(f.frame_rgb)) for f in tqdm(frames, desc=what, unit="photo", mininterval=2)]


@dataclass(frozen=True)
class Quality:
    """One network on held-out frames, `hands` of which show one. Figures are shares, 0 to 1, nan where no frame can tell.

    accuracy: over all frames, and the mean over the labels, and over the frames with a hand. false_alarms: frames without a
    hand that got one. peak_inside and box_iou: over all frames whose hand's place is known, a missing box counts as 0.
    looked_closer: frames that took a second look.
    """

    frames: int
    hands: int
    accuracy: float
    accuracy_by_label_mean: float
    accuracy_hands: float
    false_alarms: float
    peak_inside: float
    box_iou: float
    looked_closer: float


def quality(frames: Sequence[HeldOut], results: Sequence[Result]) -> Quality:
    """How right the results are."""
    said, true = [r.label for r in results], [f.label for f in frames]
    by_label = [_mean([s == t for s, t in zip(said, true) if t == label]) for label in sorted(set(true))]
    placed = [(f, r) for f, r in zip(frames, results) if f.box_xyxy and f.label != NONE_LABEL]
    return Quality(
        frames=len(frames),
        hands=sum(label != NONE_LABEL for label in true),
        accuracy=metrics.accuracy(said, true),
        accuracy_by_label_mean=_mean(by_label),
        accuracy_hands=_mean([s == t for s, t in zip(said, true) if t != NONE_LABEL]),
        false_alarms=_mean([s != NONE_LABEL for s, t in zip(said, true) if t == NONE_LABEL]),
        peak_inside=_mean([metrics.peak_inside(r.peak_xy, f.hand, f.box_xyxy) for f, r in placed]),
        box_iou=_mean([metrics.box_iou(r.box_xyxy, f.box_xyxy) for f, r in placed]),
        looked_closer=_mean([r.looks > 1 for r in results]),
    )


@dataclass(frozen=True)
class Fidelity:
    """int8 against float on the same frames.

    heat, peak and box are compared where both found a hand; peak_distance is a share of the frame's diagonal. accuracy_int8
    stands here because prototypes are shared: if they are spoiled, the two agree on every wrong label.
    """

    accuracy_int8: float
    embedding_cosine_mean: float
    embedding_cosine_worst: float
    embedding_cosine_worst_1_percent: float
    label_agreement: float
    accuracy_drop: float
    heat_correlation: float
    peak_distance: float
    box_iou: float
    size_mb: float


def fidelity(frames: Sequence[HeldOut], of_float: Sequence[Result], of_int8: Sequence[Result], bundle: Bundle) -> Fidelity:
    """How much of the float network the int8 bundle kept."""
    cosines = np.array([metrics.cosine(a.embedding, b.embedding) for a, b in zip(of_float, of_int8)])
    both = [(a, b) for a, b in zip(of_float, of_int8) if a.peak_xy and b.peak_xy]
    accuracy_int8 = quality(frames, of_int8).accuracy
    return Fidelity(
        accuracy_int8=accuracy_int8,
        embedding_cosine_mean=float(cosines.mean()),
        embedding_cosine_worst=float(cosines.min()),
        embedding_cosine_worst_1_percent=float(np.percentile(cosines, 1)),
        label_agreement=metrics.accuracy([a.label for a in of_float], [b.label for b in of_int8]),
        accuracy_drop=quality(frames, of_float).accuracy - accuracy_int8,
        heat_correlation=_mean([metrics.correlation(a.heat, b.heat) for a, b in both]),
        peak_distance=_mean([metrics.peak_distance(a.peak_xy, b.peak_xy, a.size_wh) for a, b in both]),
        box_iou=_mean([metrics.box_iou(a.box_xyxy, b.box_xyxy) for a, b in both]),
        size_mb=(len(bundle.feature_map_tflite) + len(bundle.embedding_tflite)) / 1e6,
    )


@dataclass(frozen=True)
class Verdict:
    """One line of the gate: `passed` is False for nan too, because what could not be measured was not shown."""

    figure: str
    value: float
    bound: str
    passed: bool


def gate(measured: Fidelity, path: Path = GATE) -> list[Verdict]:
    """Hold the figures against gate.json: {"figure": {"least": x}} or {"most": x}.

    Raises UsageError for a file that is not such a table: a misspelt bound must not pass for a kept one.
    """
    values = asdict(measured)
    verdicts = []
    for figure, limits in _limits(path).items():
        value = values[figure]
        passed = all(value >= x if side == "least" else value <= x for side, x in limits.items())
        bound = ", ".join(f"at {side} {x:g}" for side, x in limits.items())
        verdicts.append(Verdict(figure, value, bound, bool(passed)))
    return verdicts


def _limits(path: Path) -> dict[str, dict[str, float]]:
    figures = [field.name for field in fields(Fidelity)]
    try:
        table = json.loads(path.read_text())
        sound = table and all(figure in figures and limits and set(limits) <= {"least", "most"}
                              and all(isinstance(x, (int, float)) for x in limits.values()) for figure, limits in table.items())
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"gate file {path} cannot be read", given=error) from error
    if not sound:
        raise UsageError(f"gate file {path}", given=json.dumps(table),
                         expected='{"figure": {"least": number}} or {"most": number}, '
                         + f"a figure being one of {', '.join(figures)}")
    return table


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
