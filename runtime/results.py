"""What the pipeline says about one frame, and how it is written as a line of JSON."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

NONE_LABEL = "none"  # nothing of the classes in view: neither box nor peak
STAGES = ("capture", "preprocess", "infer", "heatmap", "draw")  # keys of `ms`, in the order they happen


def milliseconds(started: float, prepared: float, inferred: float, done: float) -> dict[str, float]:
    """`ms` of the stages between these four moments, given in seconds."""
    return {
        "preprocess": 1000 * (prepared - started),
        "infer": 1000 * (inferred - prepared),
        "heatmap": 1000 * (done - inferred),
    }


class Box(NamedTuple):
    """A box in pixels of the source frame; x1 and y1 are exclusive, so x1 - x0 is its width."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True)
class Result:
    """One frame, judged.

    Attributes:
        label: a hand class, or `none` when the hand is rejected.
        score: probability of the label, 0 to 1; for `none` it is 1 minus the best hand's.
        scores: probability of each hand class, in the bundle's order; `none` is left out, so they may add up to less.
        size_wh: width and height of the source frame, pixels.
        box_xyxy, peak_xy: pixels of the source frame; None when the label is `none` or the heat is zero everywhere.
        cluster: row of `cluster_weights` that made the heat.
        looks: 2 where the frame was looked at closer as well, see runtime/pipeline.py.
        heat: (h, w) float32 at feature map size on a fixed scale: 0 cold, 1 full heat, at times a little more.
        embedding: (D,) float32, unit length (or zero).
        ms: milliseconds a stage, see STAGES.
        frame, source, time: running number, name of the source, and seconds since the run began.
    """

    label: str
    score: float
    scores: dict[str, float]
    size_wh: tuple[int, int]
    box_xyxy: Box | None
    peak_xy: tuple[int, int] | None
    cluster: int
    heat: np.ndarray = field(repr=False, compare=False)
    embedding: np.ndarray = field(repr=False, compare=False)
    ms: dict[str, float] = field(default_factory=dict, compare=False)
    frame: int = 0
    source: str = ""
    time: float = 0.0
    looks: int = 1

    @classmethod
    def made(cls, **fields: Any) -> Result:
        """Result(**fields) for every frame, without the detour by __init__; `ms` must be among them."""
        result = object.__new__(cls)
        result.__dict__.update(fields)
        return result

    def changed(self, **fields: Any) -> Result:
        """The same result but for these fields: dataclasses.replace for every frame, without the detour by __init__."""
        return Result.made(**{**self.__dict__, **fields})

    def at(self, frame: int, source: str, time: float) -> Result:
        """The same result, saying which frame of which source it is and when it was taken."""
        return self.changed(frame=frame, source=source, time=time)

    def with_ms(self, **ms: float) -> Result:
        """The same result with the time of further stages, milliseconds."""
        return self.changed(ms={**self.ms, **ms})

    def to_json_dict(self) -> dict[str, Any]:
        """The contract's JSON object (key order included). A stage that did not run took 0 ms."""
        return {
            "frame": self.frame,
            "source": self.source,
            "time": round(self.time, 3),
            "size_wh": list(self.size_wh),
            "label": self.label,
            "score": round(self.score, 4),
            "scores": {label: round(score, 4) for label, score in self.scores.items()},
            "box_xyxy": None if self.box_xyxy is None else list(self.box_xyxy),
            "peak_xy": None if self.peak_xy is None else list(self.peak_xy),
            "cluster": self.cluster,
            "ms": {stage: round(self.ms.get(stage, 0.0), 3) for stage in STAGES},
        }
