"""A photo, looked at as a whole and then closely at each island of its heat: boxes with label and score.

The network sees 96x80 pixels of whatever it is given, so a hand that fills a quarter of the photo is three cells of heat wide.
Cut out and looked at again it fills four fifths, and its edges are found several times as finely.
"""
from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np

from ..heatmap import Enlarger
from ..pipeline import Pipeline
from ..results import NONE_LABEL, Box, Result
from .boxes import best_box, bounds, flood, islands, overlap
from .records import Instance

ENLARGE = 8  # steps a feature map cell is divided into along each axis before islands are looked for
FILL = 0.8  # share of the closer look that the island's box takes along its longer side
# Where a box ends in the heat from near, as a fraction of the bundle's own threshold, which is for heat from afar. Both
# were chosen on validation photos (`python -m calibration annotation` compares the two ways on any photos).
EDGE = {"bounds": 0.85, "iou": 0.55}
TIGHTEN = tuple(EDGE)  # the island's own bounds, or the box with the largest IoU with the island
SAME = 0.5  # two boxes whose IoU is above are one thing seen twice
DIGITS = 4  # of a score, from here on: what is written and read again stays equal
MOST_ISLANDS = 20  # of one photo; the hottest count


class Looker:
    """Finds the instances in photos.

    Args:
        tighten: one of TIGHTEN.
        label: what every instance is called; None takes the bundle's own labels.
    """

    def __init__(self, pipeline: Pipeline, tighten: str = TIGHTEN[0], label: str | None = None):
        self._pipeline = Pipeline(replace(pipeline.bundle, closer=0.0), pipeline.networks)  # it looks closer itself
        self._tighten = tighten
        self._label = label
        self._threshold = pipeline.bundle.box_threshold
        rows, columns, _ = pipeline.bundle.feature_shape_hwc
        self._enlarge = Enlarger((rows, columns), (rows * ENLARGE, columns * ENLARGE))

    def __call__(self, photo_rgb: np.ndarray) -> tuple[float, list[Instance]]:
        """The score of the photo's own label, and the instances, surest first; none where that label is `none`.

        photo_rgb: uint8 (H, W, 3). Raises FrameError for anything else.
        """
        whole = self._pipeline(photo_rgb)
        found: list[Instance] = []
        heat = self._enlarge(whole.heat)
        for number, island in enumerate(islice(islands(heat, self._threshold), MOST_ISLANDS)):
            # What the whole photo is taken for says something about its hottest island alone.
            instance = self._closer(photo_rgb, to_pixels(bounds(island), heat.shape, whole.size_wh), [whole][number:])
            if instance and all(overlap(instance.box_xyxy, other.box_xyxy) < SAME for other in found):
                found.append(instance)
        return round(whole.score, DIGITS), sorted(found, key=lambda instance: -instance.score)

    def _closer(self, photo_rgb: np.ndarray, box: Box, looks: list[Result]) -> Instance | None:
        """Look at a box from near, and at its mirror image; None where nothing is seen in it, not from afar either."""
        x0, y0, x1, y1 = part_box = around(box, photo_rgb.shape[1::-1])
        part = photo_rgb[y0:y1, x0:x1]
        near = [self._pipeline(np.ascontiguousarray(view)) for view in (part, part[:, ::-1])]
        looks = looks + near
        if all(look.label == NONE_LABEL for look in looks):
            return None
        scores = {label: sum(look.scores[label] for look in looks) / len(looks) for label in looks[0].scores}
        label = max(scores, key=scores.__getitem__)
        heat = self._enlarge(near[0].heat + near[1].heat[:, ::-1])
        tight = self._tight(heat, box, part_box)
        return Instance(self._label or label, round(scores[label], DIGITS), tight or box)

    def _tight(self, heat: np.ndarray, box: Box, part_box: Box) -> Box | None:
        """The box around the warm part of the part_box's heat (H, W) that is hottest within `box`; None where that is cold."""
        size_wh = part_box.x1 - part_box.x0, part_box.y1 - part_box.y0
        first_x, end_x = scale_span(box.x0 - part_box.x0, box.x1 - part_box.x0, size_wh[0], heat.shape[1])
        first_y, end_y = scale_span(box.y0 - part_box.y0, box.y1 - part_box.y0, size_wh[1], heat.shape[0])
        inside = np.full_like(heat, -1)
        inside[first_y:end_y, first_x:end_x] = heat[first_y:end_y, first_x:end_x]
        seed = np.unravel_index(np.argmax(inside), heat.shape)
        if heat[seed] <= 0:
            return None
        island = flood(heat >= np.float32(EDGE[self._tighten] * self._threshold) * heat[seed], *seed)
        cells = bounds(island) if self._tighten == "bounds" else best_box(island)[0]
        x0, y0, x1, y1 = to_pixels(cells, heat.shape, size_wh)
        return Box(part_box.x0 + x0, part_box.y0 + y0, part_box.x0 + x1, part_box.y0 + y1)


def around(box: Box, size_wh: tuple[int, int]) -> Box:
    """The part of a photo of size_wh to look at closely: of the photo's shape, FILL of it the box, shifted to lie inside."""
    width, height = size_wh
    return window(box, size_wh, min(1.0, max((box.x1 - box.x0) / width, (box.y1 - box.y0) / height) / FILL))


def to_pixels(cells: Box, shape_hw: tuple[int, int], size_wh: tuple[int, int]) -> Box:
    """A box of whole cells, of a map of shape_hw, as the pixels it touches of a picture of size_wh."""
    x0, x1 = scale_span(cells.x0, cells.x1, shape_hw[1], size_wh[0])
    y0, y1 = scale_span(cells.y0, cells.y1, shape_hw[0], size_wh[1])
    return Box(x0, y0, x1, y1)


def scale_span(first: int, end: int, cells: int, pixels: int) -> tuple[int, int]:
    """Cells [first, end) of `cells` as the pixels they touch, of `pixels`: never outside, never less than one."""
    return first * pixels // cells, -(-end * pixels // cells)


def window(box: Box, size_wh: tuple[int, int], share: float) -> Box:
    """The part of a picture of size_wh that has `share` of its sides, the box in its middle, shifted to lie inside."""
    width, height = size_wh
    part_w, part_h = max(1, round(width * share)), max(1, round(height * share))
    x0 = min(max((box.x0 + box.x1 - part_w) // 2, 0), width - part_w)
    y0 = min(max((box.y0 + box.y1 - part_h) // 2, 0), height - part_h)
    return Box(x0, y0, x0 + part_w, y0 + part_h)
