"""How good the boxes are that `python3 -m runtime annotate` writes: `python -m calibration annotation`.

Photos whose hand has a known box are annotated, and the largest part of each without a hand, and the hands of other shapes
in a folder `other`: a box in those is a wrong one. A right label is no condition for a right box; it has a figure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
from tqdm import tqdm

from calibration import metrics
from calibration.heldout import HeldOut, from_photos
from calibration.photos import NONE, Photo, load, scan, split
from runtime.annotate.cli import CONFIDENCE
from runtime.annotate.look import TIGHTEN, Looker
from runtime.annotate.records import Instance
from runtime.annotate.work import Job, annotate
from runtime.pipeline import Pipeline

RIGHT = 0.5  # IoU from which on a box is right
REFERENCE_SECONDS = 15.0  # an image, by Bayesian optimisation: the figure of the method that ours is held against
LOWER = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)  # confidences that are compared when one is to be chosen


@dataclass(frozen=True)
class Figures:
    """Boxes at one confidence, on `photos` photos of hands to be found, among frames without any.

    kept: share of those photos that got a box. iou: mean over the boxes in them. precision: share of all boxes, those in
    frames without a hand included, that overlap the true box by RIGHT. label: share of all boxes with the true label.
    """

    photos: int
    boxes: int
    kept: float
    iou: float
    precision: float
    label: float


def figures(frames: Sequence[HeldOut], found: Sequence[Sequence[Instance]], confidence: float) -> Figures:
    """Hold what was found against the true boxes. nan where nothing can be said."""
    kept = [(f, i) for f, instances in zip(frames, found) for i in instances if i.score >= confidence]
    overlaps = [metrics.box_iou(i.box_xyxy, f.box_xyxy) for f, i in kept if f.label != NONE]
    hands = [f for f in frames if f.label != NONE]
    with_box = {id(f) for f, _ in kept if f.label != NONE}
    return Figures(
        photos=len(hands), boxes=len(kept), kept=_share(len(with_box), len(hands)),
        iou=float(np.mean(overlaps)) if overlaps else float("nan"),
        precision=_share(sum(overlap >= RIGHT for overlap in overlaps), len(kept)),
        label=_share(sum(i.label == f.label for f, i in kept), len(kept)),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def measure(pipeline: Pipeline, folders: Sequence[Path], part: str) -> str:
    """The report, as text: ways to find the box on all photos of a split, confidences, then each data set. Raises DataError."""
    photos = [photo for photo in split(scan(folders)) if part in (photo.split, "all")]
    frames = from_photos([photo for photo in photos if photo.box_xyxy]) + other_hands(photos)
    ways = {"live": as_live(pipeline)} | {f"closer look, {way}": Looker(pipeline, way) for way in TIGHTEN}
    found, pace = {}, {}
    for name, way in ways.items():
        began = process_time()
        found[name] = [way(np.ascontiguousarray(f.frame_rgb))[1] for f in tqdm(frames, desc=name, unit="photo", mininterval=2)]
        pace[name] = len(frames) / (process_time() - began)
    hands = sum(f.label != NONE for f in frames)
    lines = [f"{part}: {hands} photos of hands, {len(frames) - hands} frames without one of them", "", f"{'':<22}{HEAD}"]
    lines += [row(name, figures(frames, found[name], CONFIDENCE)) for name in ways] + [""]
    default = found[f"closer look, {TIGHTEN[0]}"]
    lines += [row(f"confidence {at}", figures(frames, default, at)) for at in LOWER] + [""]
    for source in sorted({f.source for f in frames}):
        members = [k for k, f in enumerate(frames) if f.source == source]
        lines.append(row(source, figures([frames[k] for k in members], [default[k] for k in members], CONFIDENCE)))
    lines += ["", "photos a second and core:"] + [f"  {name:<20}{pace[name]:8.1f}" for name in ways]
    lines += [f"  {'with reading them':<20}{whole_pace(pipeline, photos):8.1f}"]
    lines += [f"  {'reference':<20}{1 / REFERENCE_SECONDS:8.3f}"]
    return "\n".join(lines)


def other_hands(photos: Sequence[Photo]) -> list[HeldOut]:
    """Hands that are none of the classes, as frames in which there is nothing to be found."""
    others = [photo for photo in photos if photo.path.parent.name == "other"]
    return [HeldOut(frame, photo.name, NONE) for photo, frame in zip(*load(others))]


def whole_pace(pipeline: Pipeline, photos: Sequence[Photo]) -> float:
    """Photos a second and core as `annotate` works, the reading of each file and the loading of the bundle included."""
    began = process_time()
    job = Job(pipeline.bundle, Path(), TIGHTEN[0], None)
    done = list(annotate(job, [str(photo.path.resolve()) for photo in photos]))
    return len(done) / (process_time() - began)


HEAD = "photos  boxes    kept     IoU  right >= .5  label"  # as `row`


def row(name: str, f: Figures) -> str:
    return f"{name:<22}{f.photos:6}{f.boxes:7}{f.kept:8.3f}{f.iou:8.3f}{f.precision:13.3f}{f.label:7.3f}"


def as_live(pipeline: Pipeline):
    """The pipeline's own box, as a Looker would give it."""
    def look(photo_rgb: np.ndarray) -> tuple[float, list[Instance]]:
        result = pipeline(photo_rgb)
        return result.score, [Instance(result.label, result.score, result.box_xyxy)] if result.box_xyxy else []
    return look
